//! Methods that read blocks, transactions and receipts.

use std::sync::Arc;

use alloy::{
    eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718},
    primitives::B256,
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{
    Answer, Args, Module, RpcError,
    args::{data, quantity},
    method, render,
};
use crate::{chain::Block, node::Node};

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

/// Who has a block.
enum Found {
    Local(Arc<Block>),
    Upstream,
    Nobody,
}

fn find(node: &Node, id: BlockId) -> Found {
    let chain = node.chain.read();
    let forked = node.fork.is_some();
    match id {
        BlockId::Hash(hash) => match chain.by_hash(&hash.block_hash) {
            Some(block) => Found::Local(block),
            None if forked => Found::Upstream,
            None => Found::Nobody,
        },
        BlockId::Number(tag) => {
            drop(chain);
            let number = node.number_of(tag);
            let chain = node.chain.read();
            match chain.by_number(number) {
                Some(block) => Found::Local(block),
                None if forked && number < chain.first() => Found::Upstream,
                None => Found::Nobody,
            }
        }
    }
}

/// Asks the forked chain the same question; tags are numbers there, because they mean another block.
async fn upstream(node: &Node, name: &str, args: Args) -> Answer {
    let Some(fork) = &node.fork else { return Ok(Value::Null) };
    let mut params = args.into_values();
    if let Some(first) = params.first_mut()
        && let Ok(tag) = serde_json::from_value::<BlockNumberOrTag>(first.clone())
        && first.as_str().is_some_and(|text| text.len() < 66)
    {
        *first = quantity(node.number_of(tag));
    }
    fork.request(name, params).await
}

async fn block_number(node: Arc<Node>, _: Args) -> Answer {
    Ok(quantity(node.chain.read().tip().number))
}

async fn block(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let id: BlockId = args.required(0, "block")?;
    let full = args.optional(1, "full transactions")?.unwrap_or(false);
    if id == BlockId::Number(BlockNumberOrTag::Pending) {
        let pending = node
            .reading(|node| {
                let tip = node.tip();
                let timestamp = node.clock.lock().peek(tip.timestamp);
                Ok(node.build(&tip, timestamp)?.block)
            })
            .await?;
        return render::block(&pending, full);
    }
    match find(&node, id) {
        Found::Local(block) => render::block(&block, full),
        Found::Upstream => upstream(&node, name, args).await,
        Found::Nobody => Ok(Value::Null),
    }
}

async fn transaction_count(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    match find(&node, args.required(0, "block")?) {
        Found::Local(block) => Ok(quantity(block.transactions.len())),
        Found::Upstream => upstream(&node, name, args).await,
        Found::Nobody => Ok(Value::Null),
    }
}

async fn block_receipts(node: Arc<Node>, args: Args) -> Answer {
    match find(&node, args.required(0, "block")?) {
        Found::Local(block) => {
            let receipts = (0..block.receipts.len()).map(|index| render::receipt(&block, index));
            Ok(Value::Array(receipts.collect::<Result<_, RpcError>>()?))
        }
        Found::Upstream => upstream(&node, "eth_getBlockReceipts", args).await,
        Found::Nobody => Ok(Value::Null),
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
        None => upstream(&node, "eth_getTransactionByHash", args).await,
    }
}

async fn raw_transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let mined = node.chain.read().transaction(&hash);
    let known = match mined {
        Some((block, index)) => block.transactions.get(index).cloned(),
        None => node.pool.lock().get(&hash),
    };
    match known {
        Some(transaction) => Ok(data(&transaction.envelope.encoded_2718())),
        None => upstream(&node, "eth_getRawTransactionByHash", args).await,
    }
}

async fn transaction_by_index(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let index = args.u64(1, "index")?;
    match find(&node, args.required(0, "block")?) {
        Found::Local(block) => {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let transaction = block.transactions.get(index);
            Ok(json!(transaction.map(|transaction| render::mined(
                &block,
                index,
                transaction
            ))))
        }
        Found::Upstream => upstream(&node, name, args).await,
        Found::Nobody => Ok(Value::Null),
    }
}

async fn receipt(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let mined = node.chain.read().transaction(&hash);
    match mined {
        Some((block, index)) => render::receipt(&block, index),
        None if node.pool.lock().get(&hash).is_some() => Ok(Value::Null),
        None => upstream(&node, "eth_getTransactionReceipt", args).await,
    }
}
