//! The canonical chain as a bounded window, and the walk that turns an observed head into [`ChainEvent`]s.

use std::collections::{HashMap, VecDeque};
use std::future::Future;

use alloy::primitives::B256;

use super::{BlockRef, ChainEvent, RpcError};

/// Where headers that were not announced are read from.
pub trait BlockSource {
    /// The block with this hash; `None` when the node does not know it.
    fn by_hash(&self, hash: B256) -> impl Future<Output = Result<Option<BlockRef>, RpcError>> + Send;
    /// The canonical block at this height; `None` when the chain is shorter.
    fn by_number(&self, number: u64) -> impl Future<Output = Result<Option<BlockRef>, RpcError>> + Send;
    /// Canonical blocks of these heights, as many as can be had at once: only to save asking for each. They prove nothing; what
    /// they are is proved by the hashes that their children name.
    fn by_numbers(&self, _numbers: std::ops::Range<u64>) -> impl Future<Output = Vec<BlockRef>> + Send {
        std::future::ready(Vec::new())
    }
}

/// Why a head could not be connected to the window. Nothing was changed; trying again with a later head is safe.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The node could not be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The node announced a block and does not have its ancestor (a reorg while walking, or a node that lost data).
    #[error(
        "block {number} ({hash}) names a parent that the node does not have; it will be tried again with the next head"
    )]
    MissingParent {
        /// Height of the child.
        number: u64,
        /// Hash of the child.
        hash: B256,
    },
    /// The node answered with a block that is not what was asked for.
    #[error(
        "the node answered with block {got_number} ({got}) when asked for the parent {wanted} of block {child}: do not trust this endpoint"
    )]
    WrongBlock {
        /// Height of the child.
        child: u64,
        /// Hash that was asked for.
        wanted: B256,
        /// Hash that was answered.
        got: B256,
        /// Height that was answered.
        got_number: u64,
    },
    /// A block was announced that nobody has, or that lies far above all that they have.
    #[error(
        "block {number} ({hash}) was announced, and the endpoints have not come to it; it will be tried again with the next head"
    )]
    Unknown {
        /// Height that was announced.
        number: u64,
        /// Hash that was announced.
        hash: B256,
    },
    /// A block is not at the height where it has to be.
    #[error("block {hash} is said to be number {number}, which has to be {expected}: do not trust who says so")]
    WrongHeight {
        /// Hash of the block.
        hash: B256,
        /// Height that it is said to have.
        number: u64,
        /// Height that was asked for, or the one above its parent.
        expected: u64,
    },
    /// The head is of a chain that none of the blocks that are held belongs to: they were replaced, and perhaps older ones too.
    #[error("a fork goes back beyond block {oldest}, the oldest that is held in memory: the record has to say how far")]
    Deeper {
        /// Height of the oldest block of the window.
        oldest: u64,
    },
    /// Nothing is taken back for a chain that nobody can be sure of.
    #[error("blocks below {below} seem to have been replaced, but {why}: nothing is taken back for now")]
    Unsure {
        /// Height below which nothing is known to be common.
        below: u64,
        /// Why it is not believed yet.
        why: String,
    },
}

/// A gap of more blocks than this is asked for at once.
const FEW: u64 = 4;
/// Steps by which a long gap is filled: the headers of one step are held in memory, and no more is asked for at once whatever height is announced.
const STEP: u64 = 256;

/// A window of the newest canonical blocks, ascending and linked by parent hash.
#[derive(Debug, Clone)]
pub struct Canonical {
    window: VecDeque<BlockRef>,
    capacity: usize,
}

impl Canonical {
    /// A window of at most `capacity` blocks (at least 2) that starts with `blocks`: ascending and linked; blocks before
    /// the last break in the linkage are dropped.
    #[must_use]
    pub fn new(capacity: usize, blocks: impl IntoIterator<Item = BlockRef>) -> Self {
        let mut chain = Self {
            window: VecDeque::new(),
            capacity: capacity.max(2),
        };
        for block in blocks {
            if chain.tip().is_some_and(|tip| tip.hash != block.parent) {
                chain.window.clear();
            }
            chain.push(block);
        }
        chain
    }

    /// The newest canonical block, `None` before the first.
    #[must_use]
    pub fn tip(&self) -> Option<&BlockRef> {
        self.window.back()
    }

    /// The blocks of the window, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockRef> {
        self.window.iter()
    }

    /// Moves one step towards `head` and says what changed; `None` when there is nothing to do.
    ///
    /// A gap longer than a few hundred blocks takes several steps: call again with the same head until `None` comes back.
    /// Only another block at their height takes blocks back. That a chain ends earlier takes none: whoever says so may just be behind, and one
    /// that was rolled back is found out by the next block that it has instead.
    ///
    /// # Errors
    /// See [`FollowError`]; the window is unchanged then.
    pub async fn advance<S: BlockSource>(
        &mut self,
        head: BlockRef,
        source: &S,
    ) -> Result<Option<ChainEvent>, FollowError> {
        let unknown = FollowError::Unknown {
            number: head.number,
            hash: head.hash,
        };
        let Some(tip) = self.tip().copied() else {
            // There is nothing yet that it could be known by.
            let held = source.by_hash(head.hash).await?.ok_or(unknown)?;
            has_height(&head, held.number)?;
            self.push(head);
            return Ok(Some(ChainEvent::Committed { new: vec![head] }));
        };
        if head.hash == tip.hash {
            return Ok(None);
        }
        if let Some((_, held)) = self.find(head.hash) {
            // Under the name of one that is held there is no other.
            has_height(&head, held.number)?;
        } else if head.parent == tip.hash {
            has_height(&head, tip.number.saturating_add(1))?;
            self.push(head);
            return Ok(Some(ChainEvent::Committed { new: vec![head] }));
        }
        let mut target = head;
        if head.number <= tip.number {
            // Announcements may be late: what counts is what the node holds at the tip's height now.
            match at(source, tip.number).await? {
                Some(now) if now.hash == tip.hash => return Ok(None),
                Some(now) => target = now,
                None if self.find(head.hash).is_some() => return Ok(None),
                None => {}
            }
        } else if head.number > tip.number.saturating_add(STEP) {
            // Whoever announces a height may have made it up: the walk goes only as far as there are blocks.
            target = at(source, tip.number.saturating_add(STEP)).await?.ok_or(unknown)?;
        }
        self.connect(target, source).await
    }

    /// Walks from `target` back to the window by parent hash and splices the walked blocks in.
    async fn connect<S: BlockSource>(
        &mut self,
        target: BlockRef,
        source: &S,
    ) -> Result<Option<ChainEvent>, FollowError> {
        let oldest = self.window.front().map_or(0, |block| block.number);
        let mut fetched = HashMap::new();
        if let Some(tip) = self.tip()
            && target.number > tip.number.saturating_add(FEW)
        {
            let between = source.by_numbers(tip.number.saturating_add(1)..target.number).await;
            fetched.extend(between.into_iter().map(|block| (block.hash, block)));
        }
        let mut walked = vec![target];
        let mut child = target;
        let keep = loop {
            if let Some((position, parent)) = self.find(child.parent) {
                has_height(&child, parent.number.saturating_add(1))?;
                break position.saturating_add(1);
            }
            if child.number <= oldest {
                // Everything we hold was replaced; what lies below is not ours to judge.
                return Err(FollowError::Deeper { oldest });
            }
            let parent = match fetched.remove(&child.parent) {
                Some(parent) => parent,
                None => source.by_hash(child.parent).await?.ok_or(FollowError::MissingParent {
                    number: child.number,
                    hash: child.hash,
                })?,
            };
            if parent.hash != child.parent || parent.number.checked_add(1) != Some(child.number) {
                return Err(FollowError::WrongBlock {
                    child: child.number,
                    wanted: child.parent,
                    got: parent.hash,
                    got_number: parent.number,
                });
            }
            walked.push(parent);
            child = parent;
        };
        walked.reverse();
        Ok(Some(self.splice(keep, walked)))
    }

    /// Keeps the first `keep` blocks of the window, appends `new`, of which there is at least one, and reports the difference.
    fn splice(&mut self, keep: usize, new: Vec<BlockRef>) -> ChainEvent {
        let old: Vec<BlockRef> = self.window.drain(keep.min(self.window.len())..).collect();
        for block in &new {
            self.push(*block);
        }
        if old.is_empty() {
            ChainEvent::Committed { new }
        } else {
            ChainEvent::Reorged { old, new }
        }
    }

    fn find(&self, hash: B256) -> Option<(usize, &BlockRef)> {
        // Parents are nearly always at the end.
        self.window.iter().enumerate().rfind(|(_, block)| block.hash == hash)
    }

    fn push(&mut self, block: BlockRef) {
        if self.window.len() == self.capacity {
            self.window.pop_front();
        }
        self.window.push_back(block);
    }
}

fn has_height(block: &BlockRef, expected: u64) -> Result<(), FollowError> {
    if block.number == expected {
        return Ok(());
    }
    Err(FollowError::WrongHeight {
        hash: block.hash,
        number: block.number,
        expected,
    })
}

/// The block that the source has at this height.
async fn at<S: BlockSource>(source: &S, number: u64) -> Result<Option<BlockRef>, FollowError> {
    let block = source.by_number(number).await?;
    block.map_or(Ok(()), |block| has_height(&block, number))?;
    Ok(block)
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
