//! Actions that wait to be carried out. What is here is also in the record: losing the queue loses nothing.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::rehearsal::Rehearsal;
use crate::record::{Intent, IntentKind};

/// How long what was decided on is as good as new: a block of Arbitrum.
pub(super) const FRESH: Duration = Duration::from_millis(250);

/// An intent to be carried out.
#[derive(Debug)]
pub struct Job {
    /// The intent.
    pub intent: Intent,
    /// When it was decided on; `None` for one of an earlier run.
    pub decided_at: Option<Instant>,
    /// A rehearsal that began when it was decided on.
    pub rehearsal: Option<Rehearsal>,
    /// Not before this.
    pub due: Instant,
    /// How often it was tried in vain.
    pub failures: u32,
}

impl Job {
    /// A job that is due now.
    #[must_use]
    pub fn now(intent: Intent, decided_at: Option<Instant>) -> Self {
        Self {
            intent,
            decided_at,
            rehearsal: None,
            due: Instant::now(),
            failures: 0,
        }
    }

    /// Whether it is tried for the first time, just after it was decided on: nothing was sent for it, and what it rests on is as it was.
    pub(super) fn is_fresh(&self) -> bool {
        self.failures == 0 && self.decided_at.is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// Whether it only takes back.
fn can_wait(kind: IntentKind) -> bool {
    kind == IntentKind::Settle
}

/// How long what can wait keeps still when something was decided: until that is broadcast, which takes a few milliseconds.
const HUSH: Duration = Duration::from_millis(15);

/// Jobs in order of level (strictest first) and age. Cheap to clone; clones share the jobs.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    jobs: Arc<Mutex<Vec<Job>>>,
    wake: Arc<Notify>,
    quiet_until: Arc<Mutex<Option<Instant>>>,
}

impl Queue {
    /// Adds a job unless its intent is waiting already. Of two for one intent the one stays that was tried more often: an open intent is
    /// pushed again every few blocks, also while it is carried out, and how it fails must not be forgotten by that.
    pub fn push(&self, job: Job) {
        let is_decided = job.decided_at.is_some() && job.failures == 0 && !can_wait(job.intent.kind);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.iter_mut().find(|held| held.intent.id == job.intent.id) {
            Some(held) if held.failures >= job.failures => return,
            Some(held) => *held = job,
            None => jobs.push(job),
        }
        if is_decided {
            // Storing it may have taken longer than the quiet that began when it was decided.
            self.hush();
        }
        self.wake.notify_one();
    }

    /// Something was decided on: until it is broadcast it is to have the node, the record and the machine for itself.
    pub(crate) fn hush(&self) {
        let until = Instant::now() + HUSH;
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Waits while what was decided just now is on its way, a few milliseconds at most: to be called before each step of an action. One that
    /// closes something waits for nothing.
    pub(crate) async fn calm(&self, kind: IntentKind) {
        if !can_wait(kind) {
            return;
        }
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Waits for the next job that is due and `may_begin`, and takes it out. Cancelling it loses nothing.
    pub async fn next(&self, may_begin: impl Fn(&Intent) -> bool) -> Job {
        loop {
            let wait = match self.take(Instant::now(), &may_begin) {
                Ok(job) => return job,
                Err(wait) => wait,
            };
            match wait {
                Some(due) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(due.into()) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// The best job that is due and may begin, or else when the next one will be due.
    fn take(&self, now: Instant, may_begin: impl Fn(&Intent) -> bool) -> Result<Job, Option<Instant>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let best = (0..)
            .zip(jobs.iter())
            .filter(|(_, job)| job.due <= now && may_begin(&job.intent))
            .min_by_key(|(_, job)| (Reverse(job.intent.level.rank()), job.intent.id))
            .map(|(at, _): (usize, _)| at);
        match best {
            Some(at) => Ok(jobs.swap_remove(at)),
            None => Err(jobs.iter().map(|job| job.due).filter(|due| *due > now).min()),
        }
    }
}

/// An intent for tests.
#[cfg(test)]
pub(super) fn sample(id: i64, level: cordon_core::level::Level) -> Intent {
    use cordon_core::rule::value::Int;

    Intent {
        id,
        incident: None,
        kind: crate::record::IntentKind::Trip,
        rule: Some(0),
        scope: 0,
        level,
        duration: 0,
        witness: vec![],
        observed: Int::ZERO,
        bound: Int::ZERO,
        block_number: 0,
        block_hash: alloy::primitives::B256::ZERO,
        block_time: 0,
        decided_ms: 0,
        outcome: None,
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use cordon_core::level::Level;
    use futures::FutureExt;

    fn job(id: i64, level: Level, delay: u64) -> Job {
        Job {
            due: Instant::now() + Duration::from_millis(delay),
            ..Job::now(sample(id, level), None)
        }
    }

    #[tokio::test]
    async fn what_can_wait_keeps_still_for_a_moment_when_something_was_decided() {
        let queue = Queue::default();
        let calm = || queue.calm(IntentKind::Settle);
        assert_eq!(calm().now_or_never(), Some(()));
        let begun = Instant::now();
        queue.clone().hush();
        for kind in [
            IntentKind::Trip,
            IntentKind::Contain,
            IntentKind::ContainSet,
            IntentKind::Retry,
        ] {
            assert_eq!(queue.calm(kind).now_or_never(), Some(()), "it closes something");
        }
        calm().await;
        assert!(begun.elapsed() >= HUSH);
        assert_eq!(calm().now_or_never(), Some(()), "it is over by itself");
    }

    #[tokio::test]
    async fn it_is_quiet_until_what_was_decided_is_broadcast_however_long_it_took_to_store() {
        let queue = Queue::default();
        let of = |id, kind, decided_at| {
            Job::now(
                Intent {
                    kind,
                    ..sample(id, Level::Halted)
                },
                decided_at,
            )
        };
        let is_calm = || queue.calm(IntentKind::Settle).now_or_never().is_some();
        let decided_at = Instant::now();
        queue.push(of(1, IntentKind::Settle, Some(decided_at)));
        assert!(is_calm(), "it takes back");
        queue.push(of(2, IntentKind::Trip, None));
        assert!(is_calm(), "it was decided long ago");
        queue.push(of(3, IntentKind::Trip, Some(decided_at)));
        assert!(!is_calm());
    }

    #[tokio::test]
    async fn what_may_not_begin_yet_is_passed_over_and_kept() {
        let queue = Queue::default();
        queue.push(job(1, Level::Halted, 0));
        queue.push(job(2, Level::Throttled, 0));
        assert_eq!(queue.next(|intent| intent.id != 1).await.intent.id, 2);
        assert_eq!(queue.next(|_| true).await.intent.id, 1);
    }

    #[tokio::test]
    async fn strictest_first_and_never_before_time() {
        let queue = Queue::default();
        queue.push(job(1, Level::Throttled, 0));
        queue.push(job(2, Level::Halted, 60));
        queue.push(job(3, Level::ReduceOnly, 0));
        queue.push(job(3, Level::ReduceOnly, 0));
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(queue.next(|_| true).await.intent.id);
        }
        assert_eq!(order, [3, 1, 2]);
        // Pushed again while it was carried out, in vain.
        queue.push(job(4, Level::Halted, 0));
        queue.push(Job {
            failures: 2,
            ..job(4, Level::Halted, 60)
        });
        queue.push(job(4, Level::Halted, 0));
        let held = queue.next(|_| true).await;
        assert_eq!((held.failures, held.due <= Instant::now()), (2, true));
        assert!(
            tokio::time::timeout(Duration::from_millis(50), queue.next(|_| true))
                .await
                .is_err()
        );
    }
}
