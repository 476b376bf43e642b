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
                    if let Err(error) = self.withdraw(&job.intent, &end).await {
                        tracing::warn!(intent = job.intent.id, %error, "what was sent for it could not be looked up");
                    }
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
    use super::*;
    use crate::respond::queue::sample;
    use cordon_core::level::Level;

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
