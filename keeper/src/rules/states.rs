//! Whether the state of a block is to be had. A node that is no archive keeps the states of its newest blocks, and refuses every question about the
//! others by itself. That is found out once per block, by a question that only the lack of its state can refuse, and not per rule: what passed while
//! the keeper was down must not take longer to catch up with than the chain takes to go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, address};
use tokio::sync::OnceCell;

use super::{ReadError, Reader};
use crate::chain::{BlockRef, BlockSource, CallError, Newest, Rpc};

/// Whoever has not the state of a block by the time that the chain is so many blocks further has it no more: nobody waits for it.
const FAR: u64 = 16;
/// Blocks that are remembered: those that are read ahead, and those that tags stand at.
const REMEMBERED: usize = 64;
/// How long it counts that a state is not to be had: another endpoint may come back.
const COUNTS_FOR: Duration = Duration::from_secs(5);
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// How long a node that refuses is given, for all questions about one block together.
const PATIENCE: Duration = Duration::from_millis(150);
/// Nobody's address: a call to it does nothing, wherever there is a state at all.
const NOBODY: Address = address!("0x00000000000000000000000000000000c02d0002");

/// What was found out of the states of blocks. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct States {
    /// The highest block that was read lately.
    newest: Newest,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    /// Whether the block far below it that was looked for last had no state: those around it have none either.
    are_gone: bool,
    blocks: VecDeque<Looked>,
}

/// Whoever asks while it is being found out waits for the same answer.
type Answer = Arc<OnceCell<bool>>;

#[derive(Debug)]
struct Looked {
    block: B256,
    at: Instant,
    is_there: Answer,
}

impl Looked {
    fn is_gone(&self) -> bool {
        self.is_there.get() == Some(&false)
    }

    fn counts(&self, now: Instant) -> bool {
        !self.is_gone() || now.saturating_duration_since(self.at) < COUNTS_FOR
    }
}

impl States {
    fn with<T>(&self, change: impl FnOnce(&mut Found) -> T) -> T {
        change(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A block of this height is there.
    pub(super) fn note(&self, number: u64) {
        self.newest.note(number);
    }

    /// Whether the block is so far below the newest that nothing about it is waited for.
    pub(super) fn is_far(&self, block: &BlockRef) -> bool {
        self.newest.number().saturating_sub(block.number) >= FAR
    }

    /// Whether the block's state was found not to be had.
    pub(super) fn is_gone(&self, block: &BlockRef) -> bool {
        let now = Instant::now();
        self.with(|found| {
            let mut own = found.blocks.iter().filter(|looked| looked.block == block.hash);
            own.any(|looked| looked.is_gone() && looked.counts(now))
        })
    }

    /// Whether the block's state is likely not to be had, so that it is looked for before anything is asked of it.
    fn is_doubted(&self, block: &BlockRef) -> bool {
        self.with(|found| found.are_gone) && self.is_far(block)
    }

    /// What is known of a block, and since when anybody has asked.
    fn of(&self, block: &BlockRef) -> (Answer, Instant) {
        let now = Instant::now();
        self.with(|found| {
            found.blocks.retain(|looked| looked.counts(now));
            if let Some(held) = found.blocks.iter().find(|looked| looked.block == block.hash) {
                return (Arc::clone(&held.is_there), held.at);
            }
            if found.blocks.len() >= REMEMBERED {
                found.blocks.pop_front();
            }
            let is_there = Answer::default();
            found.blocks.push_back(Looked {
                block: block.hash,
                at: now,
                is_there: Arc::clone(&is_there),
            });
            (is_there, now)
        })
    }

    fn found(&self, block: &BlockRef, is_there: bool) {
        if self.is_far(block) {
            self.with(|found| found.are_gone = !is_there);
        }
    }
}

impl Reader {
    /// Whether somebody whom the node has refused an answer about the block's state may ask again. Near the newest block the node is given a
    /// moment, the same one for all who ask; a state that is not to be had after that is one that no question is asked about any more.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn has_state(&self, block: &BlockRef) -> Result<bool, ReadError> {
        let (answer, since) = self.states.of(block);
        if !answer.initialized() && !self.states.is_far(block) && since.elapsed() < PATIENCE {
            self.pause_or_gone(block, 1).await?;
            return Ok(true);
        }
        let is_there = answer.get_or_try_init(|| self.look_for_state(block)).await?;
        Ok(*is_there)
    }

    /// Looks for the block's state first, where the last block of its age had none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn foresee_state(&self, block: &BlockRef) -> Result<(), ReadError> {
        if self.states.is_doubted(block) {
            self.has_state(block).await?;
        }
        Ok(())
    }

    async fn look_for_state(&self, block: &BlockRef) -> Result<bool, ReadError> {
        let asked = self.rpc.call(None, NOBODY, Bytes::new(), None, block.hash.into());
        let is_there = match asked.await {
            Ok(_) | Err(CallError::Reverted(_)) => true,
            Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
            Err(error) => {
                known_or_gone(&self.rpc, block).await?;
                tracing::warn!(block = block.number, %error, "the state of a block is not to be had: nothing is evaluated there");
                false
            }
        };
        self.states.found(block, is_there);
        Ok(is_there)
    }

    /// Before something is asked again: whether the block is still there, and, near the newest, time for the node.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when nobody knows the block.
    pub(super) async fn pause_or_gone(&self, block: &BlockRef, attempt: u32) -> Result<(), ReadError> {
        known_or_gone(&self.rpc, block).await?;
        if !self.states.is_far(block) {
            tokio::time::sleep(PAUSE.saturating_mul(attempt)).await;
        }
        Ok(())
    }
}

/// Whether the endpoints have the block at all.
///
/// # Errors
/// [`ReadError`] when they have not, or do not answer.
pub(super) async fn known_or_gone(rpc: &Rpc, block: &BlockRef) -> Result<(), ReadError> {
    match rpc.by_hash(block.hash).await {
        Ok(None) => Err(ReadError::Gone {
            number: block.number,
            hash: block.hash,
        }),
        Err(error) if error.is_unreachable() => Err(ReadError::Unreachable(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64) -> BlockRef {
        BlockRef {
            number,
            hash: B256::left_padding_from(&number.to_be_bytes()),
            parent: B256::ZERO,
            timestamp: 0,
            base_fee: 0,
        }
    }

    fn look(states: &States, number: u64, is_there: bool) {
        let block = block(number);
        let _ = states.of(&block).0.set(is_there);
        states.found(&block, is_there);
    }

    #[test]
    fn a_state_that_is_gone_makes_those_of_its_age_doubted_and_no_other() {
        let states = States::default();
        states.note(100);
        assert!(!states.is_doubted(&block(50)) && !states.is_gone(&block(50)));
        look(&states, 50, false);
        assert!(states.is_gone(&block(50)) && !states.is_gone(&block(51)));
        assert!(states.is_doubted(&block(51)) && states.is_doubted(&block(84)));
        assert!(!states.is_doubted(&block(85)), "near the newest");
        // A hiccup of the newest says nothing of the others, nor does it that they are there.
        look(&states, 99, true);
        assert!(states.is_doubted(&block(51)));
        look(&states, 60, true);
        assert!(!states.is_doubted(&block(61)));
        look(&states, 98, false);
        assert!(states.is_gone(&block(98)) && !states.is_doubted(&block(61)));
    }

    #[test]
    fn what_is_gone_is_looked_for_again_and_what_is_there_is_not() {
        let states = States::default();
        look(&states, 1, false);
        look(&states, 2, true);
        let (gone, there) = (states.of(&block(1)).0, states.of(&block(2)).0);
        let long_ago = Instant::now().checked_sub(2 * COUNTS_FOR).unwrap_or_else(Instant::now);
        states.with(|found| found.blocks.iter_mut().for_each(|looked| looked.at = long_ago));
        assert!(!states.is_gone(&block(1)));
        assert!(!Arc::ptr_eq(&gone, &states.of(&block(1)).0));
        assert!(Arc::ptr_eq(&there, &states.of(&block(2)).0));
    }

    #[test]
    fn no_more_blocks_are_remembered_than_are_of_use() {
        let states = States::default();
        for number in 0..200 {
            look(&states, number, number % 2 == 0);
        }
        assert_eq!(states.with(|found| found.blocks.len()), REMEMBERED);
        assert!(states.is_gone(&block(199)) && !states.is_gone(&block(1)));
    }
}
