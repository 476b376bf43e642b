//! Headers that were asked for, remembered by hash: a walk along a long gap that is interrupted goes on where it was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy::primitives::B256;

use super::{BlockRef, BlockSource, RpcError};

/// Headers that are remembered: more than a step of the walk, and a deep reorg.
const MOST: usize = 1_024;
/// How often a header is asked for when nobody answers. A walk of hundreds of them would hardly ever end if each bad moment of
/// the endpoints ended it.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(30);

/// A source that remembers what it has answered. What a hash names never changes.
#[derive(Debug)]
pub(crate) struct Headers<S> {
    source: S,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<B256, BlockRef>,
    order: VecDeque<B256>,
}

impl<S> Headers<S> {
    pub(crate) fn of(source: S) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    /// Forgets everything: an endpoint may have lied about what a hash names.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    fn get(&self, hash: B256) -> Option<BlockRef> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_hash.get(&hash).copied()
    }

    fn put(&self, block: BlockRef) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_hash.insert(block.hash, block).is_none() {
            known.order.push_back(block.hash);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.by_hash.remove(&oldest);
            }
        }
    }
}

impl<S: BlockSource + Sync> BlockSource for Headers<S> {
    async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        if let Some(block) = self.get(hash) {
            return Ok(Some(block));
        }
        let mut attempt = 1;
        loop {
            match self.source.by_hash(hash).await {
                Ok(Some(block)) if block.hash == hash => {
                    self.put(block);
                    return Ok(Some(block));
                }
                Err(error) if error.is_unreachable() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        self.source.by_number(number).await
    }

    async fn by_numbers(&self, numbers: std::ops::Range<u64>) -> Vec<BlockRef> {
        self.source.by_numbers(numbers).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::chain::Canonical;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A chain of which four requests of five are not answered.
    struct Poor {
        blocks: Vec<BlockRef>,
        asked: AtomicU64,
    }

    impl BlockSource for Poor {
        async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
            if !self.asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(5) {
                return Err(RpcError::Unreachable {
                    method: "eth_getBlockByHash",
                    reason: "no".into(),
                });
            }
            Ok(self.blocks.iter().find(|block| block.hash == hash).copied())
        }

        async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
            Ok(self.blocks.iter().find(|block| block.number == number).copied())
        }
    }

    fn chain(length: u64) -> Vec<BlockRef> {
        let hash = |number: u64| B256::left_padding_from(&(number + 1).to_be_bytes());
        let block = |number: u64| BlockRef {
            number,
            hash: hash(number),
            parent: number.checked_sub(1).map_or(B256::ZERO, hash),
            timestamp: number,
            base_fee: 0,
        };
        (0..length).map(block).collect()
    }

    #[tokio::test]
    async fn a_long_gap_is_closed_though_most_requests_fail() {
        let blocks = chain(25);
        let source = Headers::of(Poor {
            blocks: blocks.clone(),
            asked: AtomicU64::new(1),
        });
        let mut attempts = 0;
        let mut seen = 0;
        let mut window = Canonical::new(256, blocks[..1].to_vec());
        while seen < 24 {
            attempts += 1;
            assert!(attempts < 1_000, "the walk gets nowhere");
            // As the pipeline does: a walk that fails begins anew.
            match window.advance(blocks[24], &source).await {
                Ok(Some(event)) => seen += event.committed().len(),
                Ok(None) => break,
                Err(_) => window = Canonical::new(256, blocks[..1].to_vec()),
            }
        }
        assert_eq!(seen, 24, "after {attempts} attempts");
    }

    #[tokio::test]
    async fn no_more_than_enough_is_remembered_and_nothing_under_a_wrong_name() {
        let blocks = chain(3_000);
        let source = Headers::of(Poor {
            blocks: Vec::new(),
            asked: AtomicU64::new(0),
        });
        for block in &blocks {
            source.put(*block);
            source.put(*block);
        }
        assert_eq!(source.known.lock().unwrap().by_hash.len(), MOST);
        assert_eq!(source.known.lock().unwrap().order.len(), MOST);
        assert_eq!(source.get(blocks[2_999].hash), Some(blocks[2_999]));
        assert_eq!(source.get(blocks[0].hash), None);
        source.forget();
        assert_eq!(source.get(blocks[2_999].hash), None);
    }
}
