//! The block that would be mined now, and the state that it would leave.

use std::sync::Arc;

use alloy::primitives::B256;
use parking_lot::Mutex;

use crate::{
    chain::{Block, Tip},
    config::Print,
    node::Node,
    rpc::RpcError,
    state::{StateView, Version},
};

/// What a pending block was built from: while it is the same, so is the block.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    parent: B256,
    version: Version,
    /// Of the pool.
    generation: u64,
    next: Tip,
}

/// The block that would be mined now.
#[derive(Debug)]
pub(crate) struct Pending {
    origin: Origin,
    pub(crate) block: Arc<Block>,
    /// State at its end.
    pub(crate) state: StateView,
}

impl Pending {
    /// The block before it was sealed: it has no hash yet.
    pub(crate) fn tip(&self) -> Tip {
        self.origin.next.clone()
    }
}

/// The pending block that was built last.
#[derive(Debug, Default)]
pub(crate) struct PendingCache(Mutex<Option<Arc<Pending>>>);

impl Node {
    /// The block that would be mined now. It is built again only when head, state, pool, settings or the clock's second differ.
    ///
    /// Fails when the state cannot be read, as on a fork.
    pub(crate) fn pending(&self) -> Result<Arc<Pending>, RpcError> {
        let generation = self.pool.lock().generation();
        let ground = self.ground();
        let timestamp = self.clock.lock().peek(ground.parent.timestamp);
        let next = self.tip_after(&ground.parent, timestamp);
        let origin = Origin {
            parent: ground.parent.hash,
            version: ground.version,
            generation,
            next: next.clone(),
        };
        if let Some(known) = self.pending.0.lock().as_ref().filter(|known| known.origin == origin) {
            return Ok(known.clone());
        }
        let ready = self.ready(&ground.state, &next)?;
        let built = self.build_on(ground, next, ready, Print::Nothing);
        if let Some(failure) = built.state_failure() {
            return Err(RpcError::Internal(format!(
                "the pending block cannot be built: {failure}"
            )));
        }
        let pending = Arc::new(Pending {
            state: self.view(origin.version).after(Arc::new(built.changes)),
            block: Arc::new(built.block),
            origin,
        });
        *self.pending.0.lock() = Some(pending.clone());
        Ok(pending)
    }
}
