//! Reorganisations: other blocks in the place of the newest ones.

use std::sync::Arc;

use alloy::{primitives::Bytes, rpc::types::TransactionRequest};
use serde_json::Value;

use super::{
    Answer, Args, RpcError,
    cheats::{check_count, small},
    transactions,
};
use crate::{
    node::{Event, Node},
    transaction::SignedTransaction,
};

/// Takes back `depth` blocks and mines as many others, with the given transactions in the blocks that they name.
pub(super) async fn reorg(node: Arc<Node>, args: Args) -> Answer {
    let (depth, pairs) = match args.raw(0) {
        Some(Value::Object(options)) => {
            let depth = options.get("depth").map(|value| small(value, "depth")).transpose()?;
            let pairs = options
                .get("tx_block_pairs")
                .or_else(|| options.get("txBlockPairs"))
                .cloned();
            (depth.unwrap_or(1), pairs)
        }
        _ => (args.u64(0, "depth")?, args.raw(1).cloned()),
    };
    check_count(depth)?;
    let pairs: Vec<(Value, u64)> = pairs
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| RpcError::Params(format!("pairs of transaction and block: {error}")))?
        .unwrap_or_default();
    let (dropped, waiting) = node
        .exclusively(move |node| {
            let dropped = node.rollback(depth)?;
            let salt = node.cheats.read().extra_data.len();
            node.cheats.write().extra_data = vec![0x72; salt.saturating_add(1) % 32].into();
            // The new blocks hold what was asked for and nothing else.
            Ok((dropped, node.pool.lock().take_all()))
        })
        .await?;
    for block in 0..depth {
        for (transaction, _) in pairs.iter().filter(|(_, target)| *target == block) {
            add_transaction(&node, transaction).await?;
        }
        node.exclusively(|node| node.mine(None)).await?;
    }
    let dropped: Vec<_> = dropped.iter().flat_map(|block| block.transactions.clone()).collect();
    node.exclusively(move |node| put_back(node, dropped.iter().chain(&waiting)))
        .await?;
    Ok(Value::Null)
}

/// Transactions wait for a block (again), unless the new blocks hold them or another with their nonce.
fn put_back<'t>(node: &Node, transactions: impl Iterator<Item = &'t Arc<SignedTransaction>>) -> Result<(), RpcError> {
    for transaction in transactions {
        // A full pool, and one that has it already, are no failures of the reorganisation.
        if node.nonce(transaction.sender)? <= transaction.nonce() && node.pool.lock().add(transaction.clone()).is_ok() {
            // Nobody may be listening.
            let _ = node.events.send(Event::Pending(transaction.clone()));
        }
    }
    Ok(())
}

async fn add_transaction(node: &Arc<Node>, transaction: &Value) -> Result<(), RpcError> {
    if let Ok(raw) = serde_json::from_value::<Bytes>(transaction.clone()) {
        return transactions::admit(node, SignedTransaction::decode(&raw)?)
            .await
            .map(drop);
    }
    let request: TransactionRequest = serde_json::from_value(transaction.clone())
        .map_err(|error| RpcError::Params(format!("neither raw transaction nor request: {error}")))?;
    transactions::fill_and_admit(node, request).await.map(drop)
}
