//! Methods that read accounts at a block.

use std::sync::Arc;

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{Address, B256, U256},
};
use jsonrpsee::core::RegisterMethodError;
use revm::DatabaseRef;
use serde_json::Value;

use super::{
    Answer, Args, Module, RpcError,
    args::{data, number, quantity},
    method, render,
};
use crate::{
    node::{Node, Place},
    state::{StateError, StateView},
};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_getBalance"], |node, args| {
        read(node, args, "eth_getBalance", 1, |view, address, _| {
            Ok(quantity(view.account(address)?.balance))
        })
    })?;
    method(module, &["eth_getCode"], |node, args| {
        read(node, args, "eth_getCode", 1, |view, address, _| {
            Ok(data(view.code(address)?.original_byte_slice()))
        })
    })?;
    method(module, &["eth_getStorageAt"], storage)?;
    method(module, &["eth_getTransactionCount"], transaction_count)
}

/// Answers from the state at the block that parameter `block_index` names, or passes the question on.
async fn read<F>(node: Arc<Node>, args: Args, name: &str, block_index: usize, local: F) -> Answer
where
    F: FnOnce(&StateView, Address, &Args) -> Result<Value, StateError> + Send + 'static,
{
    let address: Address = args.required(0, "address")?;
    let block: Option<BlockId> = args.optional_block(block_index)?;
    match node.place(block).await? {
        Place::Local { state, .. } => node.reading(move |_| Ok(local(&state, address, &args)?)).await,
        Place::Upstream(past) => past.request_at(name, args.into_values(), block_index).await,
    }
}

async fn storage(node: Arc<Node>, args: Args) -> Answer {
    let slot = args
        .raw(1)
        .and_then(number)
        .ok_or_else(|| RpcError::Params("parameter 2 (`slot`) is no number".into()))?;
    read(node, args, "eth_getStorageAt", 2, move |view, address, _| {
        Ok(render::hash(B256::from(view.storage_ref(address, slot)?)))
    })
    .await
}

async fn transaction_count(node: Arc<Node>, args: Args) -> Answer {
    let block: Option<BlockId> = args.optional_block(1)?;
    if block != Some(BlockId::Number(BlockNumberOrTag::Pending)) {
        let nonce = |view: &StateView, address: Address, _: &Args| Ok(quantity(view.account(address)?.nonce));
        return read(node, args, "eth_getTransactionCount", 1, nonce).await;
    }
    let address: Address = args.required(0, "address")?;
    node.reading_account(address, move |node| {
        let nonce = node.nonce(address)?;
        let pool = node.pool.lock();
        Ok(quantity(U256::from(pool.next_nonce(&address, nonce))))
    })
    .await
}
