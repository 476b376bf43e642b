//! Methods that take the chain as a whole: start over, dump, load.

use std::sync::Arc;

use alloy::primitives::Bytes;
use jsonrpsee::core::RegisterMethodError;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Answer, Args, Module, RpcError, args::data, args::number, method};
use crate::{
    config::NodeConfig,
    dump::Dump,
    node::{Node, Slot},
    setup,
};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    for name in ["anvil_reset", "hardhat_reset"] {
        module.register_async_method(name, |params, slot, _| {
            let args = Args::parse(&params);
            let names = slot.current();
            async move {
                let answer = async { reset(&slot, &args?).await };
                answer.await.map_err(|error| error.into_object(&names.names))
            }
        })?;
    }
    method(
        module,
        &["anvil_dumpState", "hardhat_dumpState"],
        |node, args| async move {
            let wanted: Option<bool> = args.optional(0, "preserve historical states")?;
            let dump = node
                .exclusively(move |node| node.dump(wanted.unwrap_or(node.config.state.historical)))
                .await?;
            Ok(data(&dump.encode()?))
        },
    )?;
    method(module, &["anvil_loadState", "hardhat_loadState"], load)
}

async fn load(node: Arc<Node>, args: Args) -> Answer {
    let packed: Bytes = args.required(0, "state")?;
    node.exclusively(move |node| node.load(&Dump::decode(&packed)?)).await?;
    Ok(json!(true))
}

/// What to start over from; without it a fresh chain.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResetOptions {
    forking: Option<Forking>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Forking {
    json_rpc_url: Option<Url>,
    block_number: Option<Value>,
}

/// Makes a new node in the place of the present one. Subscribers, filters, the way of mining and what is impersonated stay.
async fn reset(slot: &Slot, args: &Args) -> Answer {
    let options: ResetOptions = args.optional(0, "options")?.unwrap_or_default();
    let old = slot.current();
    let mut config = old.config.clone();
    // The endpoint may be another one by now.
    if let Some(fork) = &old.fork {
        let url = fork.url();
        if config.fork_url.as_ref() != Some(&url) {
            config.fork_requests.fallbacks.clear();
            config.fork_url = Some(url);
        }
    }
    let config = after_reset(config, options.forking)?;
    let _producing = old.producing.clone().lock_owned().await;
    let node = setup::node(config, Some(old.lasting()))
        .await
        .map_err(|error| RpcError::Rejected(error.to_string()))?;
    {
        let (before, mut now) = (old.cheats.read(), node.cheats.write());
        now.impersonated.clone_from(&before.impersonated);
        now.auto_impersonate = before.auto_impersonate;
        now.coinbase = before.coinbase;
        now.min_gas_price = before.min_gas_price;
    }
    node.filters.lock().restart(node.tip().number);
    slot.replace(Arc::new(node));
    Ok(Value::Null)
}

fn after_reset(mut config: NodeConfig, forking: Option<Forking>) -> Result<NodeConfig, RpcError> {
    config.state.load = None;
    config.fork_block_number = None;
    config.fork_blocks_back = None;
    config.fork_transaction_hash = None;
    let Some(forking) = forking else {
        config.fork_url = None;
        config.fork_requests.fallbacks.clear();
        return Ok(config);
    };
    if let Some(url) = forking.json_rpc_url {
        if config.fork_url.as_ref() != Some(&url) {
            config.fork_requests.fallbacks.clear();
            config.chain_id = None;
            config.fork_chain_id = None;
        }
        config.fork_url = Some(url);
    }
    if config.fork_url.is_none() {
        return Err(RpcError::Params(
            "this node is no fork: `jsonRpcUrl` must say what to fork".to_owned(),
        ));
    }
    let block = forking.block_number.filter(|value| !value.is_null());
    config.fork_block_number = block
        .map(|value| {
            number(&value)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| RpcError::Params(format!("`blockNumber` is no number of 64 bits: {value}")))
        })
        .transpose()?;
    Ok(config)
}
