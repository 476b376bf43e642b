//! Methods of test nodes: time, mining, snapshots, impersonation, edits of the state.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, Bytes};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{
    Answer, Args, Module, RpcError,
    args::{number, quantity},
    method, reorg,
};
use crate::{
    clock,
    node::{Mining, Node},
    programs::WASM_MAGIC,
    state::Overlay,
};

/// The most blocks that one request mines.
const MAX_MINE: u64 = 100_000;

/// The longest time between blocks, a year.
const MAX_INTERVAL: f64 = 31_536_000.0;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    register_accounts(module)?;
    register_time(module)?;
    register_mining(module)?;
    register_chain(module)
}

fn register_accounts(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(
        module,
        &["anvil_impersonateAccount", "hardhat_impersonateAccount"],
        |node, args| impersonate(node, args, true),
    )?;
    method(
        module,
        &["anvil_stopImpersonatingAccount", "hardhat_stopImpersonatingAccount"],
        |node, args| impersonate(node, args, false),
    )?;
    method(
        module,
        &["anvil_autoImpersonateAccount", "hardhat_autoImpersonateAccount"],
        |node, args| async move {
            node.cheats.write().auto_impersonate = args.required(0, "enabled")?;
            Ok(Value::Null)
        },
    )?;
    method(
        module,
        &["anvil_setBalance", "hardhat_setBalance", "tenderly_setBalance"],
        set_balance,
    )?;
    method(
        module,
        &["anvil_addBalance", "hardhat_addBalance", "tenderly_addBalance"],
        add_balance,
    )?;
    method(module, &["anvil_setCode", "hardhat_setCode"], set_code)?;
    method(module, &["cordon_deployStylus"], deploy_stylus)?;
    method(
        module,
        &["anvil_setNonce", "hardhat_setNonce", "evm_setAccountNonce"],
        set_nonce,
    )?;
    method(module, &["anvil_setStorageAt", "hardhat_setStorageAt"], set_storage)?;
    method(
        module,
        &["anvil_setCoinbase", "hardhat_setCoinbase"],
        |node, args| async move {
            node.cheats.write().coinbase = args.required(0, "address")?;
            Ok(Value::Null)
        },
    )
}

fn register_time(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["evm_increaseTime", "anvil_increaseTime"], increase_time)?;
    method(
        module,
        &["evm_setNextBlockTimestamp", "anvil_setNextBlockTimestamp"],
        set_next_timestamp,
    )?;
    method(module, &["evm_setTime", "anvil_setTime"], set_time)?;
    method(module, &["anvil_setBlockTimestampInterval"], |node, args| async move {
        let seconds = args.u64(0, "seconds")?;
        node.clock.lock().set_interval(Some(seconds));
        Ok(Value::Null)
    })?;
    method(module, &["anvil_removeBlockTimestampInterval"], |node, _| async move {
        Ok(json!(node.clock.lock().set_interval(None)))
    })
}

fn register_mining(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["evm_mine"], evm_mine)?;
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

async fn impersonate(node: Arc<Node>, args: Args, on: bool) -> Answer {
    let address: Address = args.required(0, "address")?;
    let mut cheats = node.cheats.write();
    if on {
        cheats.impersonated.insert(address);
    } else {
        cheats.impersonated.remove(&address);
    }
    Ok(Value::Null)
}

async fn set_balance(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let balance = args.number(1, "wei")?;
    node.exclusively(move |node| node.edit_account(address, |info| info.balance = balance))
        .await?;
    Ok(Value::Null)
}

async fn add_balance(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let wei = args.number(1, "wei")?;
    node.exclusively(move |node| node.edit_account(address, |info| info.balance = info.balance.saturating_add(wei)))
        .await?;
    Ok(Value::Null)
}

async fn set_code(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let code: Bytes = args.required(1, "code")?;
    node.exclusively(move |node| {
        let mut overlay = Overlay::new(node.head_view());
        // A module as the compiler writes it becomes a program that can be called.
        if code.starts_with(WASM_MAGIC) {
            node.install_program(&mut overlay, address, &code, node.next_tip().timestamp)?;
        } else {
            overlay.set_code(address, code)?;
        }
        node.commit_edit(overlay);
        Ok(())
    })
    .await?;
    Ok(Value::Null)
}

/// Puts a program where the next creation of an account would: its module in, its address and code hash out.
async fn deploy_stylus(node: Arc<Node>, args: Args) -> Answer {
    let wasm: Bytes = args.required(0, "module")?;
    let given: Option<Address> = args.optional(1, "creator")?;
    let creator = given.or_else(|| node.accounts.order.first().copied());
    let creator = creator.ok_or_else(|| {
        RpcError::Params("parameter 2 (`creator`) is missing and the node has no accounts".to_owned())
    })?;
    node.exclusively(move |node| {
        let mut overlay = Overlay::new(node.head_view());
        let mut info = overlay.account(creator)?;
        let address = creator.create(info.nonce);
        info.nonce = info.nonce.saturating_add(1);
        let nonce = info.nonce;
        overlay.set_account(creator, info);
        let mut program = overlay.account(address)?;
        program.nonce = 1;
        overlay.set_account(address, program);
        let code_hash = node.install_program(&mut overlay, address, &wasm, node.next_tip().timestamp)?;
        node.commit_edit(overlay);
        node.pool.lock().prune(&creator, nonce);
        Ok(json!({ "address": address, "codeHash": code_hash }))
    })
    .await
}

async fn set_nonce(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let nonce = args.u64(1, "nonce")?;
    node.exclusively(move |node| {
        node.edit_account(address, |info| info.nonce = nonce)?;
        node.pool.lock().prune(&address, nonce);
        Ok(())
    })
    .await?;
    Ok(Value::Null)
}

async fn set_storage(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let slot = args.number(1, "slot")?;
    let value = args.number(2, "value")?;
    node.exclusively(move |node| {
        node.edit_slot(address, slot, value);
        Ok(())
    })
    .await?;
    Ok(json!(true))
}

async fn increase_time(node: Arc<Node>, args: Args) -> Answer {
    let seconds = args.u64(0, "seconds")?;
    let offset = node.clock.lock().increase(seconds);
    Ok(json!(i64::try_from(offset).unwrap_or(i64::MAX)))
}

async fn set_next_timestamp(node: Arc<Node>, args: Args) -> Answer {
    let timestamp = args.u64(0, "timestamp")?;
    let parent = node.tip().timestamp;
    if timestamp < parent {
        return Err(RpcError::Params(format!(
            "timestamp {timestamp} is before that of the newest block, {parent}"
        )));
    }
    node.clock.lock().set_next(timestamp);
    Ok(Value::Null)
}

async fn set_time(node: Arc<Node>, args: Args) -> Answer {
    let timestamp = args.u64(0, "timestamp")?;
    // Milliseconds, as some clients send them, are far beyond any date in seconds.
    let timestamp = if timestamp > 100_000_000_000 {
        timestamp / 1_000
    } else {
        timestamp
    };
    node.clock.lock().set(timestamp);
    Ok(json!(timestamp.saturating_sub(clock::unix_now())))
}

async fn evm_mine(node: Arc<Node>, args: Args) -> Answer {
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
    node.exclusively(move |node| {
        if let Some(timestamp) = timestamp {
            node.clock.lock().set_next(timestamp);
        }
        for _ in 0..count {
            node.mine(None)?;
        }
        Ok(())
    })
    .await?;
    Ok(json!("0x0"))
}

pub(super) fn small(value: &Value, name: &str) -> Result<u64, RpcError> {
    let parsed = number(value).and_then(|number| u64::try_from(number).ok());
    parsed.ok_or_else(|| RpcError::Params(format!("`{name}` is no number of 64 bits: {value}")))
}

pub(super) fn check_count(count: u64) -> Result<(), RpcError> {
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
