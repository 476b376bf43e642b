//! Running the transactions of a block again.

use std::sync::Arc;

use alloy::{eips::BlockId, primitives::B256};
use revm::context::TxEnv;

use crate::{
    chain::Block,
    config::TRANSACTION_GAS_CAP,
    evm::{Env, Session},
    node::Node,
    rpc::RpcError,
    state::Overlay,
};

/// A transaction of a block that is about to run again. Whoever runs it commits its changes to `overlay`.
pub(crate) struct Replayed<'r, 's> {
    /// State right before it.
    pub(crate) overlay: &'r mut Overlay,
    /// Its block.
    pub(crate) env: &'r Env,
    /// Runs the block's transactions.
    pub(crate) session: &'r mut Session<'s>,
    pub(crate) tx: TxEnv,
    pub(crate) hash: B256,
    /// Position in the block.
    pub(crate) index: usize,
}

/// A block of this node.
pub(crate) fn local_block(node: &Node, id: BlockId) -> Option<Arc<Block>> {
    let number = match id {
        BlockId::Number(tag) => node.number_of(tag),
        BlockId::Hash(hash) => node.chain.read().number_of(&hash.block_hash)?,
    };
    node.chain.read().by_number(number)
}

/// State before the first transaction of a block.
fn before(node: &Node, block: &Block) -> Result<Overlay, RpcError> {
    let number = block.header.number;
    let parent = number.saturating_sub(1);
    let version = node.store.read().version_of_block(parent);
    let version = version.ok_or_else(|| node.not_held(parent))?;
    Ok(Overlay::new(node.view(version)))
}

/// State after the first `count` transactions of a block.
pub(crate) fn state_after(node: &Node, block: &Block, count: usize) -> Result<Overlay, RpcError> {
    let mut overlay = before(node, block)?;
    let env = node.env(&block.tip());
    let mut session = Session::new(&env);
    for transaction in block.transactions.iter().take(count) {
        let outcome = session.execute(&mut overlay, transaction.to_env(TRANSACTION_GAS_CAP))?;
        overlay.commit(outcome.state);
    }
    Ok(overlay)
}

/// State inside a block of this node, before its transaction `index`.
pub(crate) fn state_inside(node: &Node, id: Option<BlockId>, index: usize) -> Result<Overlay, RpcError> {
    let block = local_block(node, id.unwrap_or_default())
        .ok_or_else(|| RpcError::NotFound("a transaction index needs a block of this node".to_owned()))?;
    state_after(node, &block, index)
}

/// Runs a block again from its parent's state, and lets `visit` run one of its transactions, or all.
pub(crate) fn replay<T>(
    node: &Node,
    block: &Block,
    only: Option<usize>,
    mut visit: impl FnMut(Replayed<'_, '_>) -> Result<T, RpcError>,
) -> Result<Vec<T>, RpcError> {
    let mut overlay = before(node, block)?;
    let env = node.env(&block.tip());
    let mut session = Session::new(&env);
    let mut visited = Vec::new();
    for (index, transaction) in block.transactions.iter().enumerate() {
        let tx = transaction.to_env(TRANSACTION_GAS_CAP);
        if only.is_some_and(|only| only != index) {
            let outcome = session.execute(&mut overlay, tx)?;
            overlay.commit(outcome.state);
            continue;
        }
        visited.push(visit(Replayed {
            overlay: &mut overlay,
            env: &env,
            session: &mut session,
            tx,
            hash: transaction.hash(),
            index,
        })?);
        if only.is_some() {
            break;
        }
    }
    Ok(visited)
}
