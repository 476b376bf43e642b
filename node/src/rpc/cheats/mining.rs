//! When blocks are made, and with which limits.

use std::{sync::Arc, time::Duration};

use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, method, render, time};
use crate::{
    chain::Block,
    node::{Mining, Node},
    rpc::number,
    trace,
};

/// The most blocks that one request mines.
const MAX_MINE: u64 = 100_000;

/// The most blocks that one request mines and tells of.
const MAX_DETAILED: u64 = 1_000;

/// The longest time between blocks, a year.
const MAX_INTERVAL: f64 = 31_536_000.0;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["evm_mine"], evm_mine)?;
    method(module, &["evm_mine_detailed", "anvil_mine_detailed"], mine_detailed)?;
    method(module, &["anvil_mine", "hardhat_mine"], mine)?;
    method(module, &["evm_setAutomine", "anvil_setAutomine"], set_automine)?;
    method(
        module,
        &["anvil_getAutomine", "hardhat_getAutomine"],
        |node, _| async move { Ok(json!(node.automine())) },
    )?;
    method(
        module,
        &["evm_setIntervalMining", "anvil_setIntervalMining"],
        set_interval,
    )?;
    method(module, &["anvil_getIntervalMining"], |node, _| async move {
        let mining = *node.mining.borrow();
        Ok(match mining {
            Mining::Interval(interval) | Mining::Mixed(interval) => json!(interval.as_secs()),
            _ => Value::Null,
        })
    })?;
    method(
        module,
        &["anvil_setMinGasPrice", "hardhat_setMinGasPrice"],
        |node, args| async move {
            let price = args.number(0, "wei per gas")?;
            node.cheats.write().min_gas_price =
                u128::try_from(price).map_err(|_| RpcError::Params(format!("{price} is too big")))?;
            Ok(Value::Null)
        },
    )?;
    method(
        module,
        &["anvil_setNextBlockBaseFeePerGas", "hardhat_setNextBlockBaseFeePerGas"],
        |node, args| async move {
            node.cheats.write().next_base_fee = Some(args.u64(0, "wei per gas")?);
            Ok(Value::Null)
        },
    )?;
    method(
        module,
        &["evm_setBlockGasLimit", "anvil_setBlockGasLimit"],
        |node, args| async move {
            node.cheats.write().gas_limit = args.u64(0, "gas")?;
            Ok(json!(true))
        },
    )?;
    method(
        module,
        &["anvil_setLoggingEnabled", "hardhat_setLoggingEnabled"],
        |_, _| async { Ok(Value::Null) },
    )
}

/// Time of the first block and number of blocks, of an `evm_mine`: `{timestamp, blocks}`, or the time alone.
fn mine_options(args: &Args) -> Result<(Option<u64>, u64), RpcError> {
    let options = args.raw(0);
    let field = |name: &str| {
        options
            .and_then(|value| value.get(name))
            .filter(|value| !value.is_null())
    };
    let timestamp = match options.filter(|value| !value.is_object()) {
        Some(value) => Some(value),
        None => field("timestamp"),
    };
    let timestamp = timestamp.map(|value| small(value, "timestamp")).transpose()?;
    let count = field("blocks")
        .map(|value| small(value, "blocks"))
        .transpose()?
        .unwrap_or(1);
    check_count(count)?;
    Ok((timestamp, count))
}

/// Mines blocks, the first of them at `timestamp`; answers the numbers of the first and the last.
async fn mine_blocks(node: &Arc<Node>, timestamp: Option<u64>, count: u64) -> Result<(u64, u64), RpcError> {
    node.exclusively(move |node| {
        if let Some(timestamp) = timestamp {
            time::set_next(node, timestamp)?;
        }
        let first = node.tip().number.saturating_add(1);
        for _ in 0..count {
            node.mine(None)?;
        }
        Ok((first, node.tip().number))
    })
    .await
}

async fn evm_mine(node: Arc<Node>, args: Args) -> Answer {
    let (timestamp, count) = mine_options(&args)?;
    mine_blocks(&node, timestamp, count).await?;
    Ok(json!("0x0"))
}

/// As [`evm_mine`]; answers the blocks with their transactions, what each returned, and why one reverted.
async fn mine_detailed(node: Arc<Node>, args: Args) -> Answer {
    let (timestamp, count) = mine_options(&args)?;
    if count > MAX_DETAILED {
        return Err(RpcError::Params(format!(
            "{count} blocks are too many to be told of; at most {MAX_DETAILED}"
        )));
    }
    let (first, last) = mine_blocks(&node, timestamp, count).await?;
    node.reading(move |node| {
        let blocks = node.chain.read().range(first, last).to_vec();
        blocks.iter().map(|block| detailed(node, block)).collect()
    })
    .await
}

/// A block with its transactions, which have anvil's `output`, and `revertReason` where there is one.
fn detailed(node: &Node, block: &Block) -> Answer {
    let mut rendered = render::block(block, true)?;
    let outputs = trace::replay(node, block, None, |replayed| {
        let outcome = replayed.session.execute(replayed.overlay, replayed.tx)?;
        replayed.overlay.commit(outcome.state);
        let failed = !outcome.result.is_success();
        Ok(outcome.result.into_output().map(|output| (output, failed)))
    })?;
    let transactions = rendered.get_mut("transactions").and_then(Value::as_array_mut);
    for (transaction, output) in transactions.into_iter().flatten().zip(outputs) {
        let (Some(fields), Some((output, failed))) = (transaction.as_object_mut(), output) else {
            continue;
        };
        if failed {
            let message = node.names.revert_message(&output);
            let reason = message.strip_prefix("execution reverted: ").unwrap_or_default();
            fields.insert("revertReason".to_owned(), json!(reason));
        }
        fields.insert("output".to_owned(), json!(output));
    }
    Ok(rendered)
}

pub(in crate::rpc) fn small(value: &Value, name: &str) -> Result<u64, RpcError> {
    let parsed = number(value).and_then(|number| u64::try_from(number).ok());
    parsed.ok_or_else(|| RpcError::Params(format!("`{name}` is no number of 64 bits: {value}")))
}

pub(in crate::rpc) fn check_count(count: u64) -> Result<(), RpcError> {
    if count > MAX_MINE {
        return Err(RpcError::Params(format!(
            "{count} blocks are too many for one request; at most {MAX_MINE}"
        )));
    }
    Ok(())
}

async fn mine(node: Arc<Node>, args: Args) -> Answer {
    let count = args.optional_u64(0, "blocks")?.unwrap_or(1);
    let interval = args.optional_u64(1, "seconds between blocks")?;
    check_count(count)?;
    node.exclusively(move |node| {
        for index in 0..count {
            if let Some(interval) = interval.filter(|_| index > 0) {
                let next = node.tip().timestamp.saturating_add(interval);
                node.clock.lock().set_next(next);
            }
            node.mine(None)?;
        }
        Ok(())
    })
    .await?;
    Ok(Value::Null)
}

async fn set_automine(node: Arc<Node>, args: Args) -> Answer {
    let on: bool = args.required(0, "enabled")?;
    let mining = *node.mining.borrow();
    match mining {
        Mining::Mixed(interval) if !on => drop(node.mining.send_replace(Mining::Interval(interval))),
        Mining::Auto if !on => drop(node.mining.send_replace(Mining::Manual)),
        Mining::Interval(_) | Mining::Manual if on => drop(node.mining.send_replace(Mining::Auto)),
        _ => {}
    }
    if on {
        node.exclusively(Node::mine_ready).await?;
    }
    Ok(Value::Null)
}

/// Seconds between blocks, fractions allowed; 0 ends it.
async fn set_interval(node: Arc<Node>, args: Args) -> Answer {
    let seconds: f64 = match args.raw(0) {
        Some(value @ Value::String(_)) => {
            let whole = small(value, "seconds")?;
            f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
        }
        _ => args.required(0, "seconds")?,
    };
    if !(0.0..=MAX_INTERVAL).contains(&seconds) {
        return Err(RpcError::Params(format!(
            "{seconds} seconds between blocks: must be 0 to {MAX_INTERVAL}"
        )));
    }
    let mining = if seconds == 0.0 {
        Mining::Manual
    } else {
        Mining::Interval(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
    };
    node.mining.send_replace(mining);
    Ok(Value::Null)
}
