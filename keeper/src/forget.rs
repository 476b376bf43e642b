//! What is forgotten, beside the pipeline: no block waits for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::alarm::Alarms;
use crate::record::{AlarmKind, BLOCKS_AT_ONCE, Store, StoreError};

/// Between two parts, so that the disk has other things to do.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two tries when it fails.
const AGAIN: Duration = Duration::from_secs(10);
/// Failures in a row that people hear of: a connection that is lost once is nobody's business.
const PATIENCE: u32 = 2;
/// What the alarm is about when it goes on failing. The pipeline has one of its own, which the next block clears.
const SUBJECT: &str = "pruning";

/// Forgets what is old, now and then; what it is doing ends with it, between two parts.
#[derive(Debug)]
pub(crate) struct Forgetting {
    store: Store,
    /// Blocks whose verdicts are kept.
    keep_blocks: u64,
    /// Blocks from one time to the next.
    every: u64,
    /// How long what is over is kept.
    retention_ms: i64,
    alarms: Alarms,
    again: Duration,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Forgetting {
    /// The verdicts of the last `keep_blocks` are kept, and what is over for `retention`; it is looked after every `every` blocks.
    pub(crate) fn new(store: Store, alarms: Alarms, (keep_blocks, every): (u64, u64), retention: Duration) -> Self {
        Self {
            store,
            keep_blocks,
            every,
            retention_ms: i64::try_from(retention.as_millis()).unwrap_or(i64::MAX),
            alarms,
            again: AGAIN,
            task: Mutex::default(),
        }
    }

    /// Begins to forget if it is time, unless it is still about it.
    pub(crate) fn note_block(&self, number: u64) {
        if !number.is_multiple_of(self.every) {
            return;
        }
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (store, alarms, again) = (self.store.clone(), self.alarms.clone(), self.again);
        let (keep, retention_ms) = (self.keep_blocks, self.retention_ms);
        *task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut failures = 0_u32;
            loop {
                match forget(&store, keep, retention_ms).await {
                    // An earlier run may have left it open.
                    Ok(()) => return alarms.clear(AlarmKind::Record, SUBJECT).await,
                    Err(StoreError::Fenced { .. }) => {
                        return tracing::debug!("it is another keeper's turn to forget what is old");
                    }
                    Err(error) => {
                        tracing::error!(%error, "what is old could not be forgotten; it is tried again");
                        failures = failures.saturating_add(1);
                        if failures >= PATIENCE {
                            let text = format!("the record grows: what is old cannot be forgotten: {error}");
                            alarms.raise(AlarmKind::Record, SUBJECT, &text, None).await;
                        }
                    }
                }
                tokio::time::sleep(again).await;
            }
        })));
    }
}

async fn forget(store: &Store, keep_blocks: u64, retention_ms: i64) -> Result<(), StoreError> {
    while store.prune_blocks(keep_blocks).await? >= BLOCKS_AT_ONCE {
        tokio::time::sleep(PAUSE).await;
    }
    while store.prune(retention_ms).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::record::AlarmKind;
    use alloy::primitives::Address;

    async fn forgetting(dir: &tempfile::TempDir) -> (Store, Forgetting) {
        let store = Store::open(dir.path().join("cordon.db"), 1, Address::repeat_byte(0x11));
        let store = store.await.unwrap();
        let alarms = Alarms::new(store.clone(), tokio::sync::broadcast::channel(16).0);
        let forgetting = Forgetting::new(store.clone(), alarms, (10, 8), Duration::ZERO);
        (store, forgetting)
    }

    async fn until(is_so: impl AsyncFn() -> bool) {
        let looking = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    #[tokio::test]
    async fn people_hear_of_it_when_what_is_old_cannot_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut forgetting) = forgetting(&dir).await;
        forgetting.again = Duration::from_millis(20);
        let path = dir.path().join("cordon.db");
        let file = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql("ALTER TABLE votes RENAME TO lost")
            .execute(&file)
            .await
            .unwrap();
        forgetting.note_block(8);
        let open = async || store.open_alarms().await.unwrap();
        let of_pruning = (AlarmKind::Record, SUBJECT.to_owned());
        until(async || open().await == [of_pruning.clone()]).await;
        sqlx::raw_sql("ALTER TABLE lost RENAME TO votes")
            .execute(&file)
            .await
            .unwrap();
        // It goes on by itself, long before the next time.
        until(async || open().await.is_empty()).await;
    }

    #[tokio::test]
    async fn what_is_old_is_forgotten_now_and_then_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, forgetting) = forgetting(&dir).await;
        let over = async || {
            let raised = store.raise_alarm(AlarmKind::Behind, "blocks", "late", None);
            assert!(raised.await.unwrap());
            assert!(store.clear_alarm(AlarmKind::Behind, "blocks").await.unwrap());
        };
        let is_begun = || forgetting.task.lock().unwrap().is_some();
        for round in 0..2 {
            over().await;
            // It is over for a millisecond at least.
            tokio::time::sleep(Duration::from_millis(5)).await;
            forgetting.note_block(8 * round + 7);
            assert_eq!(is_begun(), round > 0, "it is not time yet");
            assert_eq!(store.alarms().await.unwrap().len(), 1);
            forgetting.note_block(8 * round + 8);
            until(async || store.alarms().await.unwrap().is_empty()).await;
            let is_finished = || {
                forgetting
                    .task
                    .lock()
                    .unwrap()
                    .as_ref()
                    .is_none_or(|task| task.is_finished())
            };
            until(async || is_finished()).await;
        }
    }
}
