//! What is forgotten, beside the pipeline: no block waits for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::record::{BLOCKS_AT_ONCE, Store, StoreError};

/// Between two parts, so that the disk has other things to do.
const PAUSE: Duration = Duration::from_millis(100);

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
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Forgetting {
    pub(crate) fn new(store: Store, keep_blocks: u64, every: u64, retention: Duration) -> Self {
        Self {
            store,
            keep_blocks,
            every,
            retention_ms: i64::try_from(retention.as_millis()).unwrap_or(i64::MAX),
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
        let (store, keep, retention_ms) = (self.store.clone(), self.keep_blocks, self.retention_ms);
        *task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            match forget(&store, keep, retention_ms).await {
                Ok(()) => {}
                Err(StoreError::Fenced { .. }) => tracing::debug!("it is another keeper's turn to forget what is old"),
                Err(error) => tracing::error!(%error, "what is old could not be forgotten; it is tried again"),
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

    #[tokio::test]
    async fn what_is_old_is_forgotten_now_and_then_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cordon.db"), 1, Address::repeat_byte(0x11));
        let store = store.await.unwrap();
        let forgetting = Forgetting::new(store.clone(), 10, 8, Duration::ZERO);
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
            while !store.alarms().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            while forgetting
                .task
                .lock()
                .unwrap()
                .as_ref()
                .is_some_and(|task| !task.is_finished())
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}
