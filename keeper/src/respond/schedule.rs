//! Which intents are carried out when: several at once, so that no containment waits for what is slower or matters less.

use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use super::queue::Job;
use super::responder::{FIRST_RETRY, Responder, Step, delayed_subject};
use crate::record::{AlarmKind, Intent, IntentKind};

/// Intents that are carried out at once: their transactions fit in a block of Arbitrum, each with its own gas limit.
const AT_ONCE: usize = 16;
/// Those of them that may loosen: what closes something never waits for a place that such have.
const LOOSENING: usize = 4;
/// As many more may begin that are stricter than everything under way: jammed lesser actions do not keep them out.
const STRICTER: usize = 8;
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Failures after which people are told that an action is delayed.
const PATIENCE: u32 = 2;

/// What is being carried out.
#[derive(Debug, Default)]
struct Busy(Vec<Place>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    intent: i64,
    kind: IntentKind,
    scope: u8,
    rank: u8,
}

impl From<&Intent> for Place {
    fn from(intent: &Intent) -> Self {
        Self {
            intent: intent.id,
            kind: intent.kind,
            scope: intent.scope,
            rank: intent.level.rank(),
        }
    }
}

impl Busy {
    /// Whether an intent may begin beside these. Of two that want the same of a scope the second waits: what the first does may
    /// make it needless. What is stricter never waits, nor does what closes something for what is taken back.
    fn admits(&self, intent: &Intent) -> bool {
        let wanted = Place::from(intent);
        let loosens = |place: &Place| place.kind == IntentKind::Settle;
        if loosens(&wanted) && self.0.iter().filter(|place| loosens(place)).count() >= LOOSENING {
            return false;
        }
        let is_strictest = self.0.iter().all(|place| place.rank < wanted.rank);
        let room = if is_strictest { AT_ONCE + STRICTER } else { AT_ONCE };
        self.0.len() < room
            && !self.0.iter().any(|place| {
                place.intent == wanted.intent
                    || (place.scope == wanted.scope && place.rank >= wanted.rank && loosens(place) <= loosens(&wanted))
            })
    }

    fn begin(&mut self, intent: &Intent) {
        self.0.push(intent.into());
    }

    fn end(&mut self, intent: &Intent) {
        self.0.retain(|place| place.intent != intent.id);
    }
}

impl Responder {
    /// Works off the queue for ever.
    pub async fn run(self) {
        let mut busy = Busy::default();
        let mut running: FuturesUnordered<BoxFuture<'_, (Job, bool)>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some((job, is_over)) = running.next(), if !running.is_empty() => {
                    busy.end(&job.intent);
                    if !is_over {
                        self.queue.push(job);
                    }
                }
                mut job = self.queue.next(|intent| busy.admits(intent)) => {
                    busy.begin(&job.intent);
                    let responder = &self;
                    let work = async move {
                        responder.queue.calm(job.intent.kind).await;
                        let is_over = responder.carry_out(&mut job).await;
                        (job, is_over)
                    };
                    running.push(work.boxed());
                }
            }
        }
    }

    /// Tries to carry out a job. `false` when it is to be tried again, at the time that it says by then.
    async fn carry_out(&self, job: &mut Job) -> bool {
        let subject = delayed_subject(&job.intent);
        let (after, why) = match self.attempt(job).await {
            Ok(Step::Finished(end)) => match self.finish(job, &end).await {
                Ok(true) => {
                    // Whoever raised it: an earlier run may have.
                    self.alarms.clear(AlarmKind::ActionDelayed, &subject).await;
                    self.ended.notify_one();
                    return true;
                }
                Ok(false) => (
                    FIRST_RETRY,
                    "the block that it was seen in was reorganised away".to_owned(),
                ),
                Err(error) => (FIRST_RETRY, error.to_string()),
            },
            Ok(Step::Needless) => {
                self.alarms.clear(AlarmKind::ActionDelayed, &subject).await;
                return true;
            }
            Ok(Step::Unjudged { why }) => {
                tracing::info!(intent = job.intent.id, "{} waits: {why}", self.title(&job.intent));
                job.due = Instant::now() + FIRST_RETRY;
                return false;
            }
            Ok(Step::Later { after, why }) => (after, why),
            Err(error) => (FIRST_RETRY, error.to_string()),
        };
        self.put_off(job, after, &why).await;
        false
    }

    /// Tells people of an action that is delayed, and says when it is tried again.
    async fn put_off(&self, job: &mut Job, after: Duration, why: &str) {
        job.failures = job.failures.saturating_add(1);
        let (intent, failures) = (&job.intent, job.failures);
        if failures == PATIENCE {
            let text = format!("{} is delayed: {why}", self.title(intent));
            let subject = delayed_subject(intent);
            self.alarms
                .raise(AlarmKind::ActionDelayed, &subject, &text, Some(intent.block_number))
                .await;
        }
        tracing::warn!(
            intent = intent.id,
            failures,
            "{} is tried again: {why}",
            self.title(intent)
        );
        let backoff = FIRST_RETRY
            .saturating_mul(2_u32.saturating_pow(failures.min(8)))
            .min(LAST_RETRY);
        let wait = if failures > PATIENCE { after.max(backoff) } else { after };
        job.due = Instant::now() + wait;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::chain::Rpc;
    use crate::decide::{Act, Decision};
    use crate::record::samples::{block, empty, trip};
    use crate::record::{BlockRecord, Names, Outcome, Store};
    use crate::respond::bench;
    use crate::respond::queue::sample;
    use crate::rules::Sightings;
    use alloy::primitives::Address;
    use cordon_core::level::Level;

    /// A responder with a record, and with nobody to ask.
    async fn alone() -> (Responder, tempfile::TempDir) {
        let (dir, guard) = (tempfile::tempdir().unwrap(), Address::repeat_byte(0x11));
        let store = Store::open(dir.path().join("cordon.db"), 1, guard).await.unwrap();
        let rpc = Rpc::new(&["http://127.0.0.1:1"], 1, Duration::from_secs(1)).unwrap();
        let responder = bench::responder(rpc, guard, Vec::new(), store);
        (responder, dir)
    }

    /// What the open alarms say: subject and text.
    async fn told(responder: &Responder) -> Vec<(String, String)> {
        let alarms = responder.store.alarms().await.unwrap().into_iter();
        let open = alarms.filter(|alarm| alarm.kind == AlarmKind::ActionDelayed.name() && alarm.cleared_ms.is_none());
        open.map(|alarm| (alarm.subject, alarm.text)).collect()
    }

    #[tokio::test]
    async fn what_rests_on_a_block_that_is_not_done_waits_and_has_not_failed() {
        let (responder, _dir) = alone().await;
        let (first, at, none) = (block(10), block(11), Sightings::default());
        let (store, names) = (&responder.store, Names::default());
        store.commit_block(&empty(&first, &none), &names).await.unwrap();
        let decisions = [Decision {
            act: Act::Contain,
            ..trip()
        }];
        let record = BlockRecord {
            decisions: &decisions,
            ..empty(&at, &none)
        };
        let intent = store.write_decisions(&record, &names).await.unwrap().remove(0);
        let mut job = Job::now(intent, None);
        for _ in 0..=PATIENCE {
            assert!(!responder.carry_out(&mut job).await);
            assert!(job.due <= Instant::now() + FIRST_RETRY);
        }
        assert_eq!((job.failures, told(&responder).await), (0, Vec::new()));
    }

    #[tokio::test]
    async fn what_is_put_off_waits_longer_each_time_and_is_told_once_it_fails_again() {
        let (responder, _dir) = alone().await;
        let mut job = Job::now(intent(7, IntentKind::Trip, 0, Level::Halted), None);
        let mut put_off = async |after: u64| {
            let before = Instant::now();
            responder
                .put_off(&mut job, Duration::from_millis(after), "nobody answers")
                .await;
            // Since before it, and since after it.
            let due = (job.due - before, job.due.saturating_duration_since(Instant::now()));
            (job.failures, due, told(&responder).await)
        };
        let is = |(most, least): (Duration, Duration), wait: u64| {
            let wait = Duration::from_millis(wait);
            least <= wait && wait <= most
        };
        let (failures, due, alarms) = put_off(70).await;
        assert!(failures == 1 && is(due, 70) && alarms.is_empty(), "{failures} {due:?}");
        let (failures, due, alarms) = put_off(0).await;
        assert!(failures == 2 && is(due, 0), "{failures} {due:?}");
        let [(subject, text)] = alarms.as_slice() else {
            unreachable!("{alarms:?}")
        };
        assert_eq!(subject, "intent 7");
        assert!(
            text.starts_with("trip of ") && text.ends_with(" is delayed: nobody answers"),
            "{text}"
        );
        // From the third time in a row on, however soon it wants to be tried.
        for (after, wait) in [
            (0, 800),
            (0, 1_600),
            (4_000, 4_000),
            (0, 5_000),
            (0, 5_000),
            (60_000, 60_000),
        ] {
            let (failures, due, alarms) = put_off(after).await;
            assert!(is(due, wait), "{failures}: {due:?} for {wait} ms");
            assert_eq!(alarms.len(), 1);
        }
        for _ in 0..20 {
            assert!(is(put_off(0).await.1, 5_000), "it never waits longer by itself");
        }
    }

    #[tokio::test]
    async fn what_is_over_is_over_and_what_fails_is_tried_again() {
        let (responder, _dir) = alone().await;
        let stored = bench::intent(&responder.store).await;
        let mut job = Job::now(stored.clone(), None);
        // Nobody answers: it stays in the record, and people hear of it at the second time.
        assert!(!responder.carry_out(&mut job).await && !responder.carry_out(&mut job).await);
        assert_eq!(job.failures, 2);
        assert!(
            job.due >= Instant::now() - Duration::from_secs(1) && responder.store.is_open(stored.id).await.unwrap()
        );
        assert_eq!(told(&responder).await.len(), 1);
        // What needs no transaction ends, and with it the alarm.
        job.intent.kind = IntentKind::Shadow;
        assert!(responder.carry_out(&mut job).await);
        assert!(told(&responder).await.is_empty());
        let intents = responder.store.intents().await.unwrap();
        assert!(
            matches!(intents.as_slice(), [held] if held.outcome == Some(Outcome::Recorded)),
            "{intents:?}"
        );
        // So does the alarm of what has ended meanwhile; nothing is sent for it.
        responder.put_off(&mut job, Duration::ZERO, "it hangs").await;
        job.failures = 1;
        responder.put_off(&mut job, Duration::ZERO, "it hangs").await;
        assert_eq!(told(&responder).await.len(), 1);
        job.intent.kind = IntentKind::Trip;
        assert!(responder.carry_out(&mut job).await);
        assert!(told(&responder).await.is_empty());
    }

    #[tokio::test]
    async fn what_fails_comes_back_to_the_queue_and_gives_its_place_free() {
        let (responder, _dir) = alone().await;
        let stored = bench::intent(&responder.store).await;
        let (queue, store) = (responder.queue.clone(), responder.store.clone());
        queue.push(Job::now(stored.clone(), None));
        let at_work = tokio::spawn(responder.run());
        // It fails twice and more: the place that it had was free again, or it could not have begun.
        let begun = Instant::now();
        while store.alarms().await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not tried again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        at_work.abort();
    }

    fn intent(id: i64, kind: IntentKind, scope: u8, level: Level) -> Intent {
        Intent {
            kind,
            scope,
            ..sample(id, level)
        }
    }

    #[test]
    fn what_closes_waits_for_nothing_that_loosens_nor_for_another_scope() {
        let mut busy = Busy::default();
        for id in 0..20 {
            let settle = intent(i64::from(id), IntentKind::Settle, id, Level::ReduceOnly);
            if busy.admits(&settle) {
                busy.begin(&settle);
            }
        }
        assert_eq!(busy.0.len(), LOOSENING, "the others wait");
        let trip = |id, scope, level| intent(id, IntentKind::Trip, scope, level);
        let same = trip(100, 0, Level::ReduceOnly);
        assert!(busy.admits(&same), "a scope that is being settled is raised again");
        busy.begin(&same);
        assert!(
            !busy.admits(&trip(101, 0, Level::ReduceOnly)),
            "the first may do for both"
        );
        assert!(
            busy.admits(&trip(102, 0, Level::Halted)),
            "what is stricter does not wait"
        );
        assert!(busy.admits(&trip(103, 90, Level::Throttled)), "nor does another scope");
        assert!(!busy.admits(&intent(104, IntentKind::Settle, 0, Level::ReduceOnly)));
        busy.end(&same);
        assert!(busy.admits(&trip(101, 0, Level::ReduceOnly)));
        assert!(
            !busy.admits(&intent(1, IntentKind::Settle, 1, Level::ReduceOnly)),
            "never twice at once"
        );
        for scope in 100..=u8::MAX {
            let lesser = trip(i64::from(scope) + 100, scope, Level::ReduceOnly);
            if busy.admits(&lesser) {
                busy.begin(&lesser);
            }
        }
        assert_eq!(busy.0.len(), AT_ONCE, "there is an end to it");
        let halt = trip(400, 50, Level::Halted);
        assert!(busy.admits(&halt), "but not for what is stricter than all of it");
        busy.begin(&halt);
        assert!(!busy.admits(&trip(401, 51, Level::ReduceOnly)));
    }
}
