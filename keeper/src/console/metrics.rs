//! Metrics for Prometheus. Labels are names of a bounded set: never a block, a transaction, or a text from the chain.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shown;
use super::recorded::Recorded;
use crate::event::KeeperEvent;
use crate::health::Health;
use crate::notify::DeadMan;

/// One label and its value.
pub(super) type Label = [(&'static str, String); 1];

/// How long the record is waited for: whoever asks for the metrics may give up after a few seconds.
const RECORD: Duration = Duration::from_secs(2);

/// Upper bounds in seconds, from a millisecond to half a minute.
const BUCKETS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// What is counted while the keeper runs. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    blocks: Counter,
    decisions: Counter,
    finished: Family<Label, Counter>,
    alarms: Family<Label, Counter>,
    sightings: Family<Label, Counter>,
    missed: Counter,
    head_to_verdicts: Histogram,
    head_to_decision: Histogram,
    decision_to_broadcast: Histogram,
    broadcast_to_contained: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            blocks: Counter::default(),
            decisions: Counter::default(),
            finished: Family::default(),
            alarms: Family::default(),
            sightings: Family::default(),
            missed: Counter::default(),
            head_to_verdicts: Histogram::new(BUCKETS),
            head_to_decision: Histogram::new(BUCKETS),
            decision_to_broadcast: Histogram::new(BUCKETS),
            broadcast_to_contained: Histogram::new(BUCKETS),
        }
    }
}

impl Metrics {
    /// Counts events until there are no more.
    pub(super) async fn count(self, mut events: broadcast::Receiver<KeeperEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.note(&event),
                Err(RecvError::Lagged(missed)) => {
                    self.missed.inc_by(missed);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, event: &KeeperEvent) {
        let observe = |histogram: &Histogram, latency: Option<Duration>| {
            if let Some(latency) = latency {
                histogram.observe(latency.as_secs_f64());
            }
        };
        match event {
            KeeperEvent::BlockDone { head_to_decision, .. } => {
                self.blocks.inc();
                observe(&self.head_to_verdicts, *head_to_decision);
            }
            KeeperEvent::Decided { head_to_decision, .. } => {
                self.decisions.inc();
                observe(&self.head_to_decision, Some(*head_to_decision));
            }
            KeeperEvent::Broadcast {
                decision_to_broadcast, ..
            } => observe(&self.decision_to_broadcast, *decision_to_broadcast),
            KeeperEvent::Contained {
                broadcast_to_contained, ..
            } => observe(&self.broadcast_to_contained, *broadcast_to_contained),
            KeeperEvent::Finished { outcome, .. } => {
                self.finished
                    .get_or_create(&[("outcome", outcome.name().to_owned())])
                    .inc();
            }
            KeeperEvent::Alarm { kind, .. } => {
                self.alarms.get_or_create(&[("kind", kind.name().to_owned())]).inc();
            }
            KeeperEvent::Sighted { watch, .. } => {
                self.sightings.get_or_create(&[("watch", watch.clone())]).inc();
            }
            KeeperEvent::AlarmCleared { .. } => {}
        }
    }

    /// What was counted since the start. Labels are names of the configuration and kinds of things: what has a value for every block or
    /// transaction would be a new series each time.
    fn register(&self, registry: &mut Registry) {
        registry.register("blocks", "Blocks evaluated since the start", self.blocks.clone());
        registry.register(
            "decisions",
            "Actions decided on since the start",
            self.decisions.clone(),
        );
        registry.register(
            "actions_finished",
            "Actions ended since the start, by outcome",
            self.finished.clone(),
        );
        registry.register(
            "sightings",
            "What watches found since the start, by watch",
            self.sightings.clone(),
        );
        registry.register("alarms", "Alarms raised since the start, by kind", self.alarms.clone());
        registry.register(
            "events_missed",
            "Events that these metrics have missed",
            self.missed.clone(),
        );
        for (name, help, histogram) in [
            (
                "head_to_verdicts",
                "From a head's arrival to what was decided on its block, be it nothing",
                &self.head_to_verdicts,
            ),
            (
                "head_to_decision",
                "From a head's arrival to the decision",
                &self.head_to_decision,
            ),
            (
                "decision_to_broadcast",
                "From the decision to a node's acceptance",
                &self.decision_to_broadcast,
            ),
            (
                "broadcast_to_contained",
                "From acceptance to receipt, event and read-back",
                &self.broadcast_to_contained,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }

    /// Everything in the text format, with what the record says now, if it says something in time: what is known without it is never
    /// kept from whoever asks, least of all then.
    pub(super) async fn render(&self, shown: &Shown) -> String {
        let mut registry = Registry::with_prefix("cordon_keeper");
        self.register(&mut registry);
        let fallbacks: Family<Label, Gauge> = Family::default();
        for (fallback, is_ready) in shown.fallbacks.rules() {
            fallbacks
                .get_or_create(&[("fallback", fallback)])
                .set(i64::from(is_ready));
        }
        registry.register(
            "fallback_ready",
            "Whether a transaction that a Safe's owners have signed ahead would work now, by fallback",
            fallbacks,
        );
        let keys: Family<Label, Gauge> = Family::default();
        for (account, is_ready) in shown.keys.rules() {
            keys.get_or_create(&[("account", account)]).set(i64::from(is_ready));
        }
        registry.register(
            "key_ready",
            "Whether a key that a service or a device holds can sign now, by account",
            keys,
        );
        let ready: Family<Label, Gauge> = Family::default();
        for (rule, is_ready) in shown.readiness.rules() {
            ready.get_or_create(&[("rule", rule)]).set(i64::from(is_ready));
        }
        registry.register(
            "ready",
            "1 while the action of the rule would work if it were needed now; rules with parameters have none",
            ready,
        );
        gauges(&mut registry, shown);
        acting(&mut registry, shown);
        evaluated(&mut registry, shown);
        let read = tokio::time::timeout(RECORD, Recorded::read(shown)).await;
        let read = read.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
        if let Err(error) = &read {
            tracing::warn!(%error, "the metrics lack what the record holds");
        }
        gauge(
            &mut registry,
            "record_up",
            "1 while the record answers; what it holds is left out otherwise",
            Some(u64::from(read.is_ok())),
        );
        if let Ok(recorded) = read {
            recorded.register(&mut registry, shown);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// All that a keeper says which waits for its turn.
pub(super) fn standing_by(is_record_up: bool) -> String {
    let mut registry = Registry::with_prefix("cordon_keeper");
    let up = Some(u64::from(is_record_up));
    gauge(
        &mut registry,
        "standing_by",
        "1 while the keeper waits for its turn",
        Some(1),
    );
    gauge(&mut registry, "record_up", "1 while the record answers", up);
    gauge(&mut registry, "healthy", "1 while the keeper can take its turn", up);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str, value: Option<u64>) {
    if let Some(value) = value {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
}

fn gauges(registry: &mut Registry, shown: &Shown) {
    let head = shown.heads.newest();
    let link = shown.heads.link();
    let well = !matches!(shown.progress.health(&shown.heads), Health::Ill(_) | Health::Idle(_));
    let age = head.and_then(|seen| u64::try_from(seen.at.elapsed().as_millis()).ok());
    gauge(
        registry,
        "healthy",
        "1 while the keeper sees the chain and keeps up",
        Some(u64::from(well)),
    );
    gauge(
        registry,
        "head_block",
        "Newest block that was seen",
        head.map(|seen| seen.block.number),
    );
    gauge(registry, "head_age_milliseconds", "Time since it arrived", age);
    gauge(
        registry,
        "evaluated_block",
        "Block that was evaluated last",
        shown.progress.height(),
    );
    gauge(
        registry,
        "subscribed",
        "1 while heads come by subscription",
        Some(u64::from(link.subscribed)),
    );
}

/// What the keeper needs to act: funds, and heartbeats that the guard takes.
fn acting(registry: &mut Registry, shown: &Shown) {
    let balances: Family<Label, Gauge<f64, AtomicU64>> = Family::default();
    let heartbeat = shown.heartbeat.as_ref();
    for account in shown
        .accounts
        .iter()
        .chain(heartbeat.map(|heartbeat| &heartbeat.account))
    {
        if let Some(held) = account.balance() {
            balances
                .get_or_create(&[("account", account.address().to_string())])
                .set(f64::from(held) / 1e18);
        }
    }
    registry.register(
        "balance_ether",
        "What the keeper's accounts held when that was asked last",
        balances,
    );
    let age = heartbeat.and_then(|heartbeat| heartbeat.last.age());
    gauge(
        registry,
        "heartbeat_age_milliseconds",
        "Time since the guard took the last heartbeat of this process",
        age.and_then(|age| u64::try_from(age.as_millis()).ok()),
    );
    let answered = shown.dead_man.as_ref().and_then(DeadMan::age);
    gauge(
        registry,
        "heartbeat_url_age_milliseconds",
        "Time since the dead-man's switch answered last in this process",
        answered.and_then(|age| u64::try_from(age.as_millis()).ok()),
    );
}

/// Who evaluates the rules. Nothing where the guard evaluates all of them.
fn evaluated(registry: &mut Registry, shown: &Shown) {
    let Some(status) = shown.reader.here() else { return };
    let rules: Family<Label, Gauge> = Family::default();
    let (keeper, guard) = match status.off {
        None => (status.keeper, status.guard),
        Some(_) => (0, status.keeper.saturating_add(status.guard)),
    };
    for (by, count) in [("keeper", keeper), ("guard", guard)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        rules.get_or_create(&[("by", by.to_owned())]).set(count);
    }
    registry.register("rules", "Rules without parameters, by who evaluates them", rules);
    let made = Counter::<u64>::default();
    made.inc_by(status.made);
    registry.register(
        "evaluations",
        "Evaluations that the keeper made itself since the start",
        made,
    );
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::record::AlarmKind;

    fn series(metrics: &Metrics) -> usize {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        let _ = encode(&mut text, &registry);
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn a_thousand_blocks_and_subjects_make_no_new_series() {
        let metrics = Metrics::default();
        let note = |number: u64| {
            metrics.note(&KeeperEvent::BlockDone {
                number,
                hash: B256::from(alloy::primitives::U256::from(number)),
                head_to_decision: Some(Duration::from_millis(number)),
            });
            metrics.note(&KeeperEvent::Alarm {
                kind: AlarmKind::RuleUnknown,
                subject: format!("subject {number}"),
                text: format!("text {number}"),
            });
            metrics.note(&KeeperEvent::Sighted {
                watch: "whales".to_owned(),
                block: number,
                text: format!("transaction {number}"),
                head_to_stored: Duration::ZERO,
            });
        };
        note(1);
        let first = series(&metrics);
        (2..1_000).for_each(note);
        assert_eq!(series(&metrics), first);
    }
}
