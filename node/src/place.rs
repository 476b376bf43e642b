//! Which block a request means, and who knows its state.

use std::sync::Arc;

use alloy::eips::{BlockId, BlockNumberOrTag};

use crate::{chain::Tip, fork::Past, node::Node, rpc::RpcError, state::StateView};

/// Where a question about the state is answered.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// By this node.
    Local {
        /// The block, or the next one for `pending`.
        tip: Tip,
        /// State at its end.
        state: StateView,
    },
    /// By the forked chain, before the fork.
    Upstream(Past),
}

impl Node {
    /// Number that a tag or number means now. `pending` is one above the head.
    pub(crate) fn number_of(&self, tag: BlockNumberOrTag) -> u64 {
        let (head, base) = {
            let chain = self.chain.read();
            (chain.tip().number, chain.base().number)
        };
        // A fresh chain may begin late; of a forked one, all blocks are there.
        let earliest = if self.fork.is_some() { 0 } else { base };
        let behind = |blocks: u64| head.saturating_sub(blocks).max(earliest);
        let epoch = self.config.slots_in_an_epoch;
        match tag {
            BlockNumberOrTag::Latest => head,
            BlockNumberOrTag::Pending => head.saturating_add(1),
            BlockNumberOrTag::Earliest => earliest,
            BlockNumberOrTag::Safe => behind(epoch),
            BlockNumberOrTag::Finalized => behind(epoch.saturating_mul(2)),
            BlockNumberOrTag::Number(number) => number,
        }
    }

    /// Finds who knows the state of a block. The state at `pending` is that after the transactions that the pool has ready,
    /// which are run for it unless they were before.
    pub(crate) async fn place(self: &Arc<Self>, id: Option<BlockId>) -> Result<Place, RpcError> {
        let id = id.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest));
        let number = match id {
            BlockId::Number(BlockNumberOrTag::Pending) => return self.pending_place().await,
            BlockId::Number(tag) => self.number_of(tag),
            BlockId::Hash(hash) => {
                let number = self.chain.read().number_of(&hash.block_hash);
                match number {
                    Some(number) => number,
                    None => {
                        let past = self.past_block(id).await?;
                        return past
                            .map(Place::Upstream)
                            .ok_or_else(|| RpcError::NotFound(format!("block {} is not known", hash.block_hash)));
                    }
                }
            }
        };
        self.place_of(number)
    }

    async fn pending_place(self: &Arc<Self>) -> Result<Place, RpcError> {
        // Nothing is built for clients that always ask for `pending`.
        if self.pool.lock().is_empty() {
            return Ok(self.next_place());
        }
        let pending = self.reading(Self::pending).await?;
        Ok(Place::Local {
            tip: pending.tip(),
            state: pending.state.clone(),
        })
    }

    /// The next block, still without transactions.
    pub(crate) fn next_place(&self) -> Place {
        Place::Local {
            tip: self.next_tip(),
            state: self.head_view(),
        }
    }

    fn place_of(&self, number: u64) -> Result<Place, RpcError> {
        let (tip, base, head) = {
            let chain = self.chain.read();
            (chain.tip_of(number), chain.base().number, chain.tip().number)
        };
        let Some(tip) = tip else {
            let fork = self.fork.as_ref().filter(|_| number < base);
            if let Some(past) = fork.and_then(|fork| Past::block_number(fork, number)) {
                return Ok(Place::Upstream(past));
            }
            return Err(RpcError::NotFound(format!(
                "block {number} does not exist; the head is {head}"
            )));
        };
        let version = self.store.read().version_of_block(number);
        match version {
            Some(version) => Ok(Place::Local {
                tip,
                state: self.view(version),
            }),
            None => Err(self.not_held(number)),
        }
    }

    /// Why the state of a block of this node cannot be read.
    pub(crate) fn not_held(&self, number: u64) -> RpcError {
        let loaded = self.chain.read().newest_loaded();
        if let Some(newest) = loaded.filter(|newest| number < *newest) {
            return RpcError::Rejected(format!(
                "the state of block {number} is not held: the dump that was loaded has the state of block {newest}, and not of this one; \
                 dumps with the older states come from --preserve-historical-states and anvil_dumpState [true]"
            ));
        }
        let oldest = self.store.read().oldest_block();
        RpcError::Rejected(format!(
            "the state of block {number} is no longer held (the oldest is {}): the node keeps {} blocks, see its `history` setting",
            oldest.unwrap_or(number),
            self.config.history,
        ))
    }
}
