//! Who answers a question about a block or a transaction.

use std::sync::Arc;

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::B256,
};

use super::RpcError;
use crate::{chain::Block, fork::Past, node::Node, trace};

/// Who has something.
pub(super) enum Owner<T> {
    /// This node, and what it has.
    Node(T),
    /// The forked chain, before the fork.
    Fork(Past),
}

/// Finds a block, or builds the one that would be mined now for `pending`; `None` if nobody has it.
pub(super) async fn find_block(node: &Arc<Node>, id: BlockId) -> Result<Option<Owner<Arc<Block>>>, RpcError> {
    if id == BlockId::Number(BlockNumberOrTag::Pending) {
        let pending = node.reading(Node::pending).await?;
        return Ok(Some(Owner::Node(pending.block.clone())));
    }
    match trace::local_block(node, id) {
        Some(block) => Ok(Some(Owner::Node(block))),
        None => Ok(node.past_block(id).await?.map(Owner::Fork)),
    }
}

/// Finds a block that there must be.
pub(super) async fn block(node: &Arc<Node>, id: BlockId) -> Result<Owner<Arc<Block>>, RpcError> {
    let found = find_block(node, id).await?;
    found.ok_or_else(|| match id {
        BlockId::Hash(hash) => RpcError::NotFound(format!("block {} is not known", hash.block_hash)),
        BlockId::Number(tag) => RpcError::NotFound(format!("block {tag} does not exist")),
    })
}

/// Finds the block of a mined transaction that there must be, and its position there.
pub(super) async fn mined(node: &Node, hash: B256) -> Result<Owner<(Arc<Block>, usize)>, RpcError> {
    let found = node.chain.read().transaction(&hash);
    if let Some(found) = found {
        return Ok(Owner::Node(found));
    }
    if node.pool.lock().contains(&hash) {
        return Err(RpcError::NotFound(format!("transaction {hash} is not mined yet")));
    }
    let past = node.past_transaction(hash).await?;
    past.map(Owner::Fork).ok_or_else(|| unknown(hash))
}

pub(super) fn unknown(hash: B256) -> RpcError {
    RpcError::NotFound(format!("transaction {hash} is not known"))
}
