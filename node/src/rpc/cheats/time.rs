//! The clock of the chain.

use std::sync::Arc;

use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, method};
use crate::{clock, node::Node};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
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

async fn increase_time(node: Arc<Node>, args: Args) -> Answer {
    let seconds = args.u64(0, "seconds")?;
    let offset = node.clock.lock().increase(seconds);
    Ok(json!(i64::try_from(offset).unwrap_or(i64::MAX)))
}

async fn set_next_timestamp(node: Arc<Node>, args: Args) -> Answer {
    set_next(&node, args.u64(0, "timestamp")?)?;
    Ok(Value::Null)
}

/// The next block gets this time.
///
/// # Errors
///
/// When that is before the newest block's.
pub(super) fn set_next(node: &Node, timestamp: u64) -> Result<(), RpcError> {
    let parent = node.tip().timestamp;
    if timestamp < parent {
        return Err(RpcError::Params(format!(
            "timestamp {timestamp} is before that of the newest block, {parent}"
        )));
    }
    node.clock.lock().set_next(timestamp);
    Ok(())
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
