//! Methods that give blocks, transactions and receipts as they are encoded, code by its hash, and storage as Geth lists it.

use std::sync::Arc;

use alloy::{
    consensus::{BlockBody, TxEnvelope},
    eips::{BlockId, eip2718::Encodable2718},
    primitives::{Address, B256, U256, keccak256},
    rlp::{Encodable, encode},
};
use jsonrpsee::core::RegisterMethodError;
use revm::DatabaseRef;
use serde_json::{Map, Value, json};

use super::{Answer, Args, Module, RpcError, args::data, method, owner, owner::Owner, render};
use crate::{
    chain::Block,
    node::{Node, Place},
    trace,
};

/// The most slots that one request lists.
const MAX_SLOTS: usize = 100_000;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["debug_getRawHeader"], |node, args| {
        of_block(node, args, "debug_getRawHeader", |block| data(&encode(&block.header)))
    })?;
    method(module, &["debug_getRawBlock"], |node, args| {
        of_block(node, args, "debug_getRawBlock", |block| data(&rlp(block)))
    })?;
    method(module, &["debug_getRawReceipts"], |node, args| {
        of_block(node, args, "debug_getRawReceipts", |block| {
            let receipts = block
                .receipts
                .iter()
                .map(|receipt| data(&receipt.envelope.encoded_2718()));
            Value::Array(receipts.collect())
        })
    })?;
    method(module, &["debug_getRawTransaction"], transaction)?;
    method(module, &["debug_getBadBlocks"], |_, _| async { Ok(json!([])) })?;
    method(module, &["debug_codeByHash"], code_by_hash)?;
    method(module, &["debug_storageRangeAt"], storage_range)?;
    method(module, &["debug_executionWitness", "debug_dbGet"], |_, _| async {
        Err(RpcError::Unsupported(
            "the node keeps no Merkle trie and no database of its own, so that it has no witness and no raw entries"
                .to_owned(),
        ))
    })
}

/// The block in RLP.
fn rlp(block: &Block) -> Vec<u8> {
    let body = BlockBody::<TxEnvelope> {
        transactions: block
            .transactions
            .iter()
            .map(|transaction| transaction.envelope.clone())
            .collect(),
        ommers: Vec::new(),
        withdrawals: Some(Vec::<alloy::eips::eip4895::Withdrawal>::new().into()),
    };
    let mut out = Vec::new();
    body.into_block(block.header.clone()).encode(&mut out);
    out
}

async fn of_block(node: Arc<Node>, args: Args, name: &'static str, encode: fn(&Block) -> Value) -> Answer {
    let id: BlockId = args.block(0)?;
    match owner::block(&node, id).await? {
        Owner::Node(block) => Ok(encode(&block)),
        Owner::Fork(past) => past.request_at(name, args.into_values(), 0).await,
    }
}

async fn transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let waiting = node.pool.lock().get(&hash);
    if let Some(transaction) = waiting {
        return Ok(data(&transaction.envelope.encoded_2718()));
    }
    match owner::mined(&node, hash).await? {
        Owner::Node((block, index)) => Ok(block
            .transactions
            .get(index)
            .map_or(Value::Null, |transaction| data(&transaction.envelope.encoded_2718()))),
        Owner::Fork(past) => past.request("debug_getRawTransaction", args.into_values()).await,
    }
}

async fn code_by_hash(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "code hash")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("debug_codeByHash", args.into_values(), 1).await,
        Place::Local { state, .. } => {
            let code = state.code_by_hash_ref(hash);
            // Code of the forked chain is known once an account with it was read.
            Ok(code.map_or(Value::Null, |code| data(code.original_byte_slice())))
        }
    }
}

/// Storage of an account before a transaction of a block, in the order of the hashes of its slots.
async fn storage_range(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "block hash")?;
    let index = usize::try_from(args.u64(1, "transaction index")?).unwrap_or(usize::MAX);
    let address: Address = args.required(2, "address")?;
    let start: B256 = args.required(3, "first hashed key")?;
    let limit = usize::try_from(args.u64(4, "limit")?)
        .unwrap_or(usize::MAX)
        .min(MAX_SLOTS);
    let block = match owner::block(&node, hash.into()).await? {
        Owner::Node(block) => block,
        Owner::Fork(past) => return past.request("debug_storageRangeAt", args.into_values()).await,
    };
    node.reading(move |node| {
        let overlay = trace::state_after(node, &block, index)?;
        let slots = overlay.slots(address).ok_or_else(|| {
            RpcError::Unsupported(format!(
                "not all slots of {address} are known: it has its storage from the forked chain, which cannot be listed"
            ))
        })?;
        let hashed = |slot: &U256| keccak256(B256::from(*slot));
        let mut sorted: Vec<_> = slots.iter().map(|(slot, value)| (hashed(slot), slot, value)).collect();
        sorted.sort_unstable_by_key(|(hash, ..)| *hash);
        let mut rest = sorted.into_iter().filter(|(hash, ..)| *hash >= start);
        let listed: Map<String, Value> = rest
            .by_ref()
            .take(limit)
            .map(|(hash, slot, value)| {
                let entry = json!({ "key": B256::from(*slot), "value": B256::from(*value) });
                (hash.to_string(), entry)
            })
            .collect();
        Ok(json!({ "storage": listed, "nextKey": rest.next().map(|(hash, ..)| render::hash(hash)) }))
    })
    .await
}
