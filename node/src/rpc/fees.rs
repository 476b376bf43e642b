//! Methods about the price of gas.

use std::sync::Arc;

use alloy::eips::BlockNumberOrTag;
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::quantity, method};
use crate::{chain::Block, fork::Past, node::Node};

/// The most blocks that one request about past fees covers.
const MAX_FEE_HISTORY: u64 = 1_024;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_gasPrice"], |node, _| async move {
        Ok(quantity(node.gas_price()))
    })?;
    // Transactions come in the order of their maximum fee, so that a tip buys nothing.
    method(module, &["eth_maxPriorityFeePerGas", "eth_blobBaseFee"], |_, _| async {
        Ok(quantity(0u64))
    })?;
    method(module, &["eth_feeHistory"], fee_history)
}

/// What `eth_feeHistory` tells of one block.
struct Fees {
    base_fee: u64,
    ratio: f64,
    rewards: Vec<Value>,
}

async fn fee_history(node: Arc<Node>, args: Args) -> Answer {
    let count = args.u64(0, "block count")?.min(MAX_FEE_HISTORY);
    let newest: BlockNumberOrTag = args.optional_tag(1, "newest block")?.unwrap_or_default();
    let percentiles: Vec<f64> = args.optional(2, "reward percentiles")?.unwrap_or_default();
    if percentiles.iter().any(|percentile| !(0.0..=100.0).contains(percentile)) {
        return Err(RpcError::Params(
            "reward percentiles must be between 0 and 100".to_owned(),
        ));
    }
    let last = node.number_of(newest);
    let (base, head) = {
        let chain = node.chain.read();
        (chain.base().number, chain.tip().number)
    };
    let fork = node.fork.as_ref().filter(|_| last < base);
    if let Some(past) = fork.and_then(|fork| Past::block_number(fork, last)) {
        return past.request_at("eth_feeHistory", args.into_values(), 1).await;
    }
    let last = last.min(head);
    // Blocks before the fork are left out, as if the chain were that young.
    let first = last.saturating_add(1).saturating_sub(count).max(base);
    let mut fees = Vec::new();
    for number in first..=last {
        fees.extend(fees_of(&node, number, &percentiles));
    }
    let next = node
        .chain
        .read()
        .tip_of(last)
        .map(|tip| tip.next_base_fee(node.least_base_fee))
        .unwrap_or_default();
    let base_fees = fees.iter().map(|fee| fee.base_fee).chain([next]).map(quantity);
    let mut answer = json!({
        "oldestBlock": quantity(first),
        "baseFeePerGas": base_fees.collect::<Vec<_>>(),
        "gasUsedRatio": fees.iter().map(|fee| fee.ratio).collect::<Vec<_>>(),
        "baseFeePerBlobGas": vec![quantity(0u64); fees.len().saturating_add(1)],
        "blobGasUsedRatio": vec![0.0; fees.len()],
    });
    if !percentiles.is_empty()
        && let Some(fields) = answer.as_object_mut()
    {
        let rewards: Vec<_> = fees.into_iter().map(|fee| Value::Array(fee.rewards)).collect();
        fields.insert("reward".to_owned(), Value::Array(rewards));
    }
    Ok(answer)
}

fn fees_of(node: &Node, number: u64, percentiles: &[f64]) -> Option<Fees> {
    let (tip, block) = {
        let chain = node.chain.read();
        (chain.tip_of(number)?, chain.by_number(number))
    };
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more")]
    let ratio = if tip.gas_limit == 0 {
        0.0
    } else {
        tip.gas_used as f64 / tip.gas_limit as f64
    };
    let rewards = block.map_or_else(
        || vec![quantity(0u64); percentiles.len()],
        |block| rewards(&block, percentiles),
    );
    Some(Fees {
        base_fee: tip.base_fee,
        ratio,
        rewards,
    })
}

/// Tips paid in a block at the given percentiles of its gas.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<Value> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default().into();
    let paid = block.receipts.iter();
    let mut tips: Vec<(u128, u64)> = paid
        .map(|receipt| (receipt.effective_gas_price.saturating_sub(base_fee), receipt.gas_used))
        .collect();
    tips.sort_unstable();
    let at = |percentile: &f64| {
        #[expect(clippy::cast_precision_loss, reason = "percentiles need no more")]
        let threshold = block.header.gas_used as f64 * percentile / 100.0;
        let mut sum = 0.0;
        let found = tips.iter().find(|(_, gas)| {
            #[expect(clippy::cast_precision_loss, reason = "percentiles need no more")]
            let gas = *gas as f64;
            sum += gas;
            sum >= threshold
        });
        quantity(found.or(tips.last()).map(|(tip, _)| *tip).unwrap_or_default())
    };
    percentiles.iter().map(at).collect()
}
