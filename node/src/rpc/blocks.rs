//! Methods that read blocks, transactions and receipts.

use std::sync::Arc;

use alloy::{
    eips::{BlockId, eip2718::Encodable2718},
    primitives::B256,
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{
    Answer, Args, Module, RpcError,
    args::{data, quantity},
    method, owner,
    owner::Owner,
    render,
};
use crate::{fork::Past, node::Node};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_blockNumber"], block_number)?;
    method(module, &["eth_getBlockByNumber"], |node, args| {
        block(node, args, "eth_getBlockByNumber")
    })?;
    method(module, &["eth_getBlockByHash"], |node, args| {
        block(node, args, "eth_getBlockByHash")
    })?;
    method(module, &["eth_getBlockTransactionCountByNumber"], |node, args| {
        transaction_count(node, args, "eth_getBlockTransactionCountByNumber")
    })?;
    method(module, &["eth_getBlockTransactionCountByHash"], |node, args| {
        transaction_count(node, args, "eth_getBlockTransactionCountByHash")
    })?;
    method(module, &["eth_getBlockReceipts"], block_receipts)?;
    method(module, &["eth_getTransactionByHash"], transaction_by_hash)?;
    method(module, &["eth_getRawTransactionByHash"], raw_transaction)?;
    method(module, &["eth_getTransactionByBlockNumberAndIndex"], |node, args| {
        transaction_by_index(node, args, "eth_getTransactionByBlockNumberAndIndex")
    })?;
    method(module, &["eth_getTransactionByBlockHashAndIndex"], |node, args| {
        transaction_by_index(node, args, "eth_getTransactionByBlockHashAndIndex")
    })?;
    method(module, &["eth_getTransactionReceipt"], receipt)
}

/// What the forked chain tells of a transaction that it mined before the fork, in an answer that has its block.
async fn past_transaction(node: &Node, name: &str, args: Args) -> Answer {
    match &node.fork {
        Some(fork) => Past::mined(fork, name, args.into_values()).await,
        None => Ok(Value::Null),
    }
}

async fn block_number(node: Arc<Node>, _: Args) -> Answer {
    Ok(quantity(node.chain.read().tip().number))
}

async fn block(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let id: BlockId = args.block(0)?;
    let full = args.optional(1, "full transactions")?.unwrap_or(false);
    match owner::find_block(&node, id).await? {
        Some(Owner::Node(block)) => render::block(&block, full),
        Some(Owner::Fork(past)) => past.request_at(name, args.into_values(), 0).await,
        None => Ok(Value::Null),
    }
}

async fn transaction_count(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    match owner::find_block(&node, args.block(0)?).await? {
        Some(Owner::Node(block)) => Ok(quantity(block.transactions.len())),
        Some(Owner::Fork(past)) => past.request_at(name, args.into_values(), 0).await,
        None => Ok(Value::Null),
    }
}

async fn block_receipts(node: Arc<Node>, args: Args) -> Answer {
    match owner::find_block(&node, args.block(0)?).await? {
        Some(Owner::Node(block)) => {
            let receipts = (0..block.receipts.len()).map(|index| render::receipt(&block, index));
            Ok(Value::Array(receipts.collect::<Result<_, RpcError>>()?))
        }
        Some(Owner::Fork(past)) => past.request_at("eth_getBlockReceipts", args.into_values(), 0).await,
        None => Ok(Value::Null),
    }
}

async fn transaction_by_hash(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let mined = node.chain.read().transaction(&hash);
    if let Some((block, index)) = mined
        && let Some(transaction) = block.transactions.get(index)
    {
        return Ok(serde_json::to_value(render::mined(&block, index, transaction))?);
    }
    let waiting = node.pool.lock().get(&hash);
    match waiting {
        Some(transaction) => Ok(serde_json::to_value(render::pending(&transaction))?),
        None => past_transaction(&node, "eth_getTransactionByHash", args).await,
    }
}

async fn raw_transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let mined = node.chain.read().transaction(&hash);
    let known = match mined {
        Some((block, index)) => block.transactions.get(index).cloned(),
        None => node.pool.lock().get(&hash),
    };
    if let Some(transaction) = known {
        return Ok(data(&transaction.envelope.encoded_2718()));
    }
    match node.past_transaction(hash).await? {
        Some(past) => past.request("eth_getRawTransactionByHash", args.into_values()).await,
        None => Ok(Value::Null),
    }
}

async fn transaction_by_index(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let index = args.u64(1, "index")?;
    match owner::find_block(&node, args.block(0)?).await? {
        Some(Owner::Node(block)) => {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let transaction = block.transactions.get(index);
            Ok(json!(transaction.map(|transaction| render::mined(
                &block,
                index,
                transaction
            ))))
        }
        Some(Owner::Fork(past)) => past.request_at(name, args.into_values(), 0).await,
        None => Ok(Value::Null),
    }
}

async fn receipt(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let mined = node.chain.read().transaction(&hash);
    match mined {
        Some((block, index)) => render::receipt(&block, index),
        None if node.pool.lock().get(&hash).is_some() => Ok(Value::Null),
        None => past_transaction(&node, "eth_getTransactionReceipt", args).await,
    }
}
