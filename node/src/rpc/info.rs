//! Methods that tell what the node is.

use std::sync::Arc;

use alloy::primitives::{Bytes, keccak256};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::quantity, method, render};
use crate::node::Node;

/// Name and version of the node as clients see it.
const CLIENT_VERSION: &str = concat!("cordon-node/v", env!("CARGO_PKG_VERSION"));

/// What anvil answers as the version of a protocol that there are no peers for.
const PROTOCOL_VERSION: u64 = 1;

/// Methods that anvil knows and refuses as well: proof of work, and the fee tokens of Tempo's chains.
const NOT_HERE: [&str; 6] = [
    "eth_getWork",
    "eth_submitWork",
    "eth_submitHashrate",
    "anvil_setFeeToken",
    "anvil_setValidatorFeeToken",
    "anvil_setFeeAmmLiquidity",
];

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["web3_clientVersion"], |_, _| async {
        Ok(json!(CLIENT_VERSION))
    })?;
    method(module, &["web3_sha3"], sha3)?;
    method(module, &["eth_chainId"], chain_id)?;
    method(module, &["net_version", "eth_networkId"], net_version)?;
    method(module, &["net_listening"], |_, _| async { Ok(json!(true)) })?;
    method(module, &["net_peerCount"], |_, _| async { Ok(quantity(0u64)) })?;
    method(module, &["eth_syncing", "eth_mining"], |_, _| async {
        Ok(json!(false))
    })?;
    method(module, &["eth_accounts", "eth_requestAccounts"], accounts)?;
    method(module, &["eth_protocolVersion"], |_, _| async {
        Ok(json!(PROTOCOL_VERSION))
    })?;
    method(module, &["anvil_getGenesisTime"], genesis_time)?;
    method(module, &NOT_HERE, |_, _| async {
        Err(RpcError::Unsupported(
            "not implemented: blocks are not mined by work here, and fees have no tokens".to_owned(),
        ))
    })?;
    method(module, &["anvil_nodeInfo"], node_info)?;
    method(module, &["anvil_metadata", "hardhat_metadata"], metadata)
}

async fn sha3(_: Arc<Node>, args: Args) -> Answer {
    let data: Bytes = args.required(0, "data")?;
    Ok(render::hash(keccak256(data)))
}

async fn chain_id(node: Arc<Node>, _: Args) -> Answer {
    Ok(quantity(node.chain_id))
}

async fn net_version(node: Arc<Node>, _: Args) -> Answer {
    Ok(json!(node.chain_id.to_string()))
}

/// Unix seconds of the first block, or of the forked one.
async fn genesis_time(node: Arc<Node>, _: Args) -> Answer {
    Ok(json!(node.chain.read().base().timestamp))
}

async fn accounts(node: Arc<Node>, _: Args) -> Answer {
    Ok(json!(node.accounts.order))
}

async fn node_info(node: Arc<Node>, _: Args) -> Answer {
    let tip = node.tip();
    let order = match node.config.order {
        crate::config::TransactionOrder::Fees => "fees",
        crate::config::TransactionOrder::Arrival => "fifo",
    };
    Ok(json!({
        "currentBlockNumber": quantity(tip.number),
        "currentBlockTimestamp": tip.timestamp,
        "currentBlockHash": tip.hash,
        "hardFork": node.config.hardfork.name(),
        "transactionOrder": order,
        "environment": {
            "baseFee": quantity(node.next_tip().base_fee),
            "chainId": node.chain_id,
            "gasLimit": quantity(node.cheats.read().gas_limit),
            "gasPrice": quantity(node.gas_price()),
        },
        "forkConfig": {
            "forkUrl": node.fork.as_ref().map(|fork| fork.endpoint.name()),
            "forkBlockNumber": node.fork.as_ref().map(|fork| fork.tip.number),
            "forkRetryBackoff": Value::Null,
        },
    }))
}

async fn metadata(node: Arc<Node>, _: Args) -> Answer {
    let tip = node.tip();
    let forked = node.fork.as_ref().map(|fork| {
        json!({
            "chainId": fork.chain_id,
            "forkBlockNumber": fork.tip.number,
            "forkBlockHash": fork.tip.hash,
        })
    });
    let snapshots: serde_json::Map<String, Value> = node
        .snapshots
        .lock()
        .taken
        .iter()
        .map(|(id, snapshot)| (format!("{id:#x}"), json!([snapshot.number, snapshot.hash])))
        .collect();
    Ok(json!({
        "clientVersion": CLIENT_VERSION,
        "clientSemver": env!("CARGO_PKG_VERSION"),
        "clientCommitSha": Value::Null,
        "chainId": node.chain_id,
        "instanceId": node.instance,
        "latestBlockNumber": tip.number,
        "latestBlockHash": tip.hash,
        "forkedNetwork": forked,
        "snapshots": snapshots,
        "automine": node.automine(),
    }))
}
