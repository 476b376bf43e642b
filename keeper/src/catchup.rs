//! Catching up: blocks in which nothing has to be decided are read several at a time and stored in one transaction, so that
//! neither the endpoint's round trips nor the disk are waited for once per block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cordon_core::rule::eval::Verdict;
use futures::stream::{FuturesOrdered, StreamExt};

use crate::chain::BlockRef;
use crate::pipeline::{Hindrance, PROBE_EVERY, Pipeline};
use crate::rules::{BlockReading, ReadError, Request};

/// Blocks that are read at the same time.
const READ_AHEAD: usize = 8;
/// With more blocks waiting than this the keeper is behind.
const MANY: u64 = 100;
/// With fewer than this it has caught up.
const FEW: u64 = 8;

/// Whether the keeper is behind, and since when.
#[derive(Debug)]
pub(crate) struct Behind {
    /// How long it may be: what a downtime of hours takes to be caught up with is nobody's business.
    patience: Duration,
    since: Mutex<Option<Instant>>,
    waiting: AtomicU64,
}

impl Behind {
    /// Of a keeper that may be behind for so long.
    pub(crate) fn longer_than(patience: Duration) -> Self {
        Self {
            patience,
            since: Mutex::default(),
            waiting: AtomicU64::new(0),
        }
    }

    /// How many blocks were waiting when that was noted last.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What people are told when so many blocks are waiting.
    pub(crate) fn text(&self, waiting: u64) -> String {
        format!(
            "{waiting} blocks are waiting to be evaluated, and the keeper has not caught up for {} s; the newest is evaluated first",
            self.patience.as_secs()
        )
    }

    /// Notes how many blocks are waiting; whether people should hear of it.
    pub(crate) fn note(&self, waiting: u64, now: Instant) -> bool {
        self.waiting.store(waiting, Ordering::Relaxed);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting <= FEW {
            *since = None;
        }
        if waiting <= MANY {
            return false;
        }
        now.saturating_duration_since(*since.get_or_insert(now)) >= self.patience
    }
}

impl Pipeline {
    /// Processes the first of `blocks` together, as many as may be, and answers how many: none when the first of them has to be
    /// taken by itself.
    ///
    /// That is so when what is read of a block depends on those before it (open incidents, remembered witnesses), when the
    /// block is done already, and when its verdicts or the guard's events may change what comes after it.
    pub(crate) async fn process_many(&self, blocks: &[BlockRef], seen_at: Instant) -> Result<usize, Hindrance> {
        let watched = self.reader.watched();
        if !watched.witnessed.is_empty() || !self.store.watched().await?.is_empty() {
            return Ok(0);
        }
        let mut chosen = Vec::new();
        for block in blocks.iter().take(PROBE_EVERY) {
            if self.store.is_done(block.hash).await? || !self.store.rivals(block).await?.is_empty() {
                break;
            }
            chosen.push(*block);
        }
        let requests: Vec<Request> = watched.plain.iter().map(|rule| Request::plain(*rule)).collect();
        let readings = self.read_ahead(&chosen, &requests).await?;
        let quiet: Vec<(&BlockRef, &BlockReading)> = chosen
            .iter()
            .zip(&readings)
            .take_while(|(_, reading)| is_quiet(reading))
            .collect();
        let records: Vec<_> = quiet
            .iter()
            .map(|(block, reading)| self.record(block, reading))
            .collect();
        if records.is_empty() {
            return Ok(0);
        }
        let commits = self.store.commit_blocks(&records, &self.names).await?;
        for ((block, reading), commit) in quiet.iter().zip(&commits) {
            self.resume(commit.reopened.clone());
            self.after((block, (seen_at, None)), reading, &[], commit, &[]).await;
            self.progress.done(block.number);
        }
        Ok(records.len())
    }

    /// The readings of all blocks, in their order.
    async fn read_ahead(&self, blocks: &[BlockRef], requests: &[Request]) -> Result<Vec<BlockReading>, ReadError> {
        let mut waiting = blocks.iter();
        let mut reads = FuturesOrdered::new();
        for block in waiting.by_ref().take(READ_AHEAD) {
            reads.push_back(self.reader.fetch(block, requests, &[]));
        }
        let mut readings = Vec::with_capacity(blocks.len());
        for block in blocks {
            let Some(fetched) = reads.next().await else { break };
            if let Some(next) = waiting.next() {
                reads.push_back(self.reader.fetch(next, requests, &[]));
            }
            readings.push(self.reader.complete(block, requests, fetched?).await?);
        }
        Ok(readings)
    }
}

/// Whether nothing in the block calls for a decision, or changes what is read of the blocks after it.
fn is_quiet(reading: &BlockReading) -> bool {
    let breached = reading
        .verdicts
        .iter()
        .any(|verdict| verdict.reading.verdict == Verdict::Breached);
    !breached && reading.events.is_empty() && reading.stopped.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_does_not_catch_up_within_a_minute_is_behind() {
        let (behind, start) = (Behind::longer_than(Duration::from_secs(60)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // A downtime: many blocks wait, and are caught up with.
        assert!(!behind.note(100_000, at(0)));
        assert!(!behind.note(5_000, at(59)));
        assert!(!behind.note(3, at(60)));
        assert!(!behind.note(101, at(70)), "a new time of waiting");
        assert!(!behind.note(50, at(100)));
        assert!(!behind.note(101, at(129)));
        assert!(behind.note(101, at(130)), "never caught up in between");
        assert!(!behind.note(100, at(131)));
        assert!(!behind.note(8, at(132)));
        assert!(!behind.note(500, at(133)));
        assert_eq!(behind.waiting(), 500);
    }
}
