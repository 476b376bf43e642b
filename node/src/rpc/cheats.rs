//! Methods of test nodes: time, mining, snapshots, impersonation, edits of the state.

use std::{sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes},
    rpc::types::TransactionRequest,
};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use serde_json::{Value, json};

use super::{
    Answer, Args, RpcError,
    args::{number, quantity},
    method, transactions,
};
use crate::{
    clock,
    node::{Mining, Node},
    state::Overlay,
    transaction::SignedTransaction,
};

/// The most blocks that one request mines.
const MAX_MINE: u64 = 100_000;

/// The longest time between blocks, a year.
const MAX_INTERVAL: f64 = 31_536_000.0;

pub(super) fn register(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
    register_accounts(module)?;
    register_time(module)?;
    register_mining(module)?;
    register_chain(module)
}

fn register_accounts(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
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
    method(module, &["anvil_addBalance"], add_balance)?;
    method(module, &["anvil_setCode", "hardhat_setCode"], set_code)?;
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

fn register_time(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
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

fn register_mining(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
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
            Mining::Interval(interval) => json!(interval.as_secs()),
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

fn register_chain(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
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
    method(module, &["anvil_reorg"], reorg)?;
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
    method(module, &["anvil_dropAllTransactions"], |node, _| async move {
        node.pool.lock().clear();
        Ok(Value::Null)
    })?;
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
        overlay.set_code(address, code)?;
        node.commit_edit(overlay);
        Ok(())
    })
    .await?;
    Ok(Value::Null)
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

fn small(value: &Value, name: &str) -> Result<u64, RpcError> {
    let parsed = number(value).and_then(|number| u64::try_from(number).ok());
    parsed.ok_or_else(|| RpcError::Params(format!("`{name}` is no number of 64 bits: {value}")))
}

fn check_count(count: u64) -> Result<(), RpcError> {
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
    if on {
        node.mining.send_replace(Mining::Auto);
        node.exclusively(Node::mine_ready).await?;
    } else if node.automine() {
        node.mining.send_replace(Mining::Manual);
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

/// Takes back `depth` blocks and mines as many others, with the given transactions in the blocks that they name.
async fn reorg(node: Arc<Node>, args: Args) -> Answer {
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
    node.exclusively(move |node| {
        node.rollback(depth)?;
        let salt = node.cheats.read().extra_data.len();
        node.cheats.write().extra_data = vec![0x72; salt.saturating_add(1) % 32].into();
        Ok(())
    })
    .await?;
    for block in 0..depth {
        for (transaction, _) in pairs.iter().filter(|(_, target)| *target == block) {
            add_transaction(&node, transaction).await?;
        }
        node.exclusively(|node| node.mine(None)).await?;
    }
    Ok(Value::Null)
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
