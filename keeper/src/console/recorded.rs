//! The part of the metrics that only the record knows.

use cordon_core::rule::eval::Verdict;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Shown;
use super::metrics::{Label, gauge};
use crate::decide::RuleVerdict;
use crate::record::{OpenTopic, StoreError};

/// What the record says.
pub(super) struct Recorded {
    undelivered: u64,
    /// The one in force; `None` where none was noted.
    configuration: Option<u64>,
    topics: Vec<OpenTopic>,
    shadowed: Vec<(u16, u64)>,
    /// Those of the newest block.
    verdicts: Vec<RuleVerdict>,
}

impl Recorded {
    pub(super) async fn read(shown: &Shown) -> Result<Self, StoreError> {
        let store = &shown.store;
        let verdicts = match store.window(1).await?.last() {
            Some(block) => store.verdicts(block.hash).await?,
            None => None,
        };
        Ok(Self {
            undelivered: store.undelivered().await?,
            configuration: store.configurations(1).await?.first().map(|held| held.number),
            topics: store.open_topics().await?,
            shadowed: store.shadow_counts().await?,
            verdicts: verdicts.unwrap_or_default(),
        })
    }

    pub(super) fn register(&self, registry: &mut Registry, shown: &Shown) {
        gauge(
            registry,
            "notices_undelivered",
            "Messages that people have not got yet",
            Some(self.undelivered),
        );
        gauge(
            registry,
            "configuration",
            "Number of the configuration in force: the record has its digest, and since when",
            self.configuration,
        );
        let kinds: Vec<&str> = self.open("alarm:").collect();
        gauge(
            registry,
            "incidents_open",
            "Incidents that are not closed",
            u64::try_from(self.open("incident:").count()).ok(),
        );
        gauge(
            registry,
            "alarm_kinds_open",
            "Kinds of alarms that are open",
            u64::try_from(kinds.len()).ok(),
        );
        let open: Family<Label, Gauge> = Family::default();
        for kind in kinds {
            open.get_or_create(&[("kind", kind.to_owned())]).set(1);
        }
        registry.register("alarm_open", "1 for every kind of alarm that is open", open);
        let shadowed: Family<Label, Gauge> = Family::default();
        for (rule, count) in &self.shadowed {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            shadowed.get_or_create(&[("rule", shown.names.rule(*rule))]).set(count);
        }
        registry.register(
            "shadowed",
            "Breaches of rules in shadow that the record holds: what would have been done, by rule",
            shadowed,
        );
        let verdicts: Family<Label, Gauge> = Family::default();
        for name in ["holds", "breached", "unknown"] {
            verdicts.get_or_create(&[("verdict", name.to_owned())]).set(0);
        }
        for verdict in &self.verdicts {
            let name = match verdict.reading.verdict {
                Verdict::Holds => "holds",
                Verdict::Breached => "breached",
                Verdict::Unknown => "unknown",
            };
            verdicts.get_or_create(&[("verdict", name.to_owned())]).inc();
        }
        registry.register("verdicts", "Verdicts of the newest evaluated block", verdicts);
    }

    /// What is open of a sort, by its name or number.
    fn open<'s>(&'s self, sort: &'s str) -> impl Iterator<Item = &'s str> {
        self.topics
            .iter()
            .filter_map(move |topic| topic.topic.strip_prefix(sort))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use alloy::primitives::Address;
    use tokio::sync::broadcast;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::chain::{HeadSettings, Heads, Rpc};
    use crate::health::Progress;
    use crate::record::{Names, Store};
    use crate::respond::Readiness;
    use crate::rules::{Reader, Watched};

    #[tokio::test]
    async fn what_is_known_without_the_record_is_measured_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cordon.db");
        let store = Store::open(file, 1, Address::ZERO).await.unwrap();
        let rpc = Rpc::new(&["http://127.0.0.1:1"], 1, Duration::from_secs(1)).unwrap();
        let heads = Heads::start(rpc.clone(), None, HeadSettings::default(), CancellationToken::new());
        let reader = Reader::new(rpc, Address::ZERO, Watched::default());
        let read = (
            heads,
            Progress::new(Duration::from_secs(60)),
            Readiness::default(),
            reader,
        );
        let events = broadcast::channel(1).0;
        let shown = Shown::new((store.clone(), Names::default()), Address::ZERO, read, events, false);
        let text = shown.metrics.render(&shown).await;
        let has = |text: &str, start: &str| text.lines().any(|line| line.starts_with(start));
        for line in [
            "cordon_keeper_record_up 1",
            "cordon_keeper_healthy ",
            "cordon_keeper_incidents_open 0",
        ] {
            assert!(has(&text, line), "{line} is missing in\n{text}");
        }
        store.close().await;
        let text = shown.metrics.render(&shown).await;
        for line in [
            "cordon_keeper_record_up 0",
            "cordon_keeper_healthy ",
            "cordon_keeper_blocks_total ",
        ] {
            assert!(has(&text, line), "{line} is missing in\n{text}");
        }
        // None would mean that there is none.
        for line in [
            "cordon_keeper_incidents_open",
            "cordon_keeper_notices_undelivered",
            "cordon_keeper_verdicts",
        ] {
            assert!(!has(&text, line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
