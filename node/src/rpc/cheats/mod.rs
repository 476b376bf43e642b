//! Methods of test nodes: time, mining, snapshots, impersonation, edits of the state.

mod accounts;
mod endpoint;
mod mining;
mod time;

use alloy::primitives::{Address, B256};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

pub(super) use self::mining::{check_count, small};
use super::{Answer, Args, Module, RpcError, args::quantity, method, render, reorg};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    accounts::register(module)?;
    time::register(module)?;
    mining::register(module)?;
    endpoint::register(module)?;
    register_chain(module)
}

fn register_chain(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["evm_snapshot", "anvil_snapshot"], |node, _| async move {
        Ok(quantity(node.exclusively(|node| Ok(node.snapshot())).await?))
    })?;
    method(module, &["evm_revert", "anvil_revert"], |node, args| async move {
        let id = args.u64(0, "snapshot id")?;
        Ok(json!(node.exclusively(move |node| Ok(node.revert(id))).await?))
    })?;
    method(module, &["anvil_rollback"], |node, args| async move {
        let depth = args.optional_u64(0, "depth")?.unwrap_or(1);
        node.exclusively(move |node| node.rollback(depth)).await?;
        Ok(Value::Null)
    })?;
    method(module, &["anvil_reorg"], reorg::reorg)?;
    method(
        module,
        &["anvil_dropTransaction", "hardhat_dropTransaction"],
        |node, args| async move {
            let hash: B256 = args.required(0, "hash")?;
            Ok(json!(
                node.pool.lock().remove(&hash).map(|transaction| transaction.hash())
            ))
        },
    )?;
    method(
        module,
        &["anvil_dropAllTransactions", "hardhat_dropAllTransactions"],
        |node, _| async move {
            node.pool.lock().clear();
            Ok(Value::Null)
        },
    )?;
    method(module, &["anvil_removePoolTransactions"], |node, args| async move {
        let sender: Address = args.required(0, "address")?;
        node.pool.lock().remove_sender(&sender);
        Ok(Value::Null)
    })
}
