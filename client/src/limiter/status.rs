//! Reading a limiter: its limits, who holds them, and what waits in quarantine.

use std::collections::BTreeSet;

use alloy::eips::BlockId;
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;

use super::abi::ICordonLimiter;
use crate::chain::{ChainError, explain, explain_call};

/// How many of the latest items are looked at.
const ITEMS: u64 = 256;

/// What a limiter says of itself at the latest block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimiterStatus {
    /// The limiter.
    pub limiter: Address,
    /// The block's time, Unix seconds.
    pub timestamp: u64,
    /// Its guard.
    pub guard: Address,
    /// Delay of quarantine, seconds.
    pub delay: u32,
    /// Every limit that was ever set since the block from which on events were read.
    pub limits: Vec<LimitState>,
    /// Items in quarantine, of the latest 256.
    pub items: Vec<ItemState>,
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// The protected contract.
    pub protocol: Address,
    /// The asset.
    pub asset: Address,
    /// The account class.
    pub class: u8,
    /// Its numbers; without units when it was taken away.
    pub limit: ICordonLimiter::Limit,
    /// Units that may leave now.
    pub available: U256,
    /// The strictest hold: 0 none, 1 a quarter, 2 full.
    pub hold: u8,
    /// The guard's hold.
    pub guard_hold: u8,
    /// The guardians' hold.
    pub guardian_hold: u8,
    /// When the guardians' hold ends, Unix seconds.
    pub guardian_until: u64,
    /// The governor's hold.
    pub governor_hold: u8,
}

/// An item in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemState {
    /// Its number.
    pub number: u64,
    /// The asset.
    pub asset: Address,
    /// The contract that it came from.
    pub protocol: Address,
    /// Who is to be paid.
    pub recipient: Address,
    /// Units that it is owed now.
    pub amount: U256,
    /// When anyone may pay it, Unix seconds.
    pub release_at: u64,
}

/// Reads a limiter. Its limits are found by its events from block `from_block` on.
///
/// # Errors
/// [`ChainError`] when the endpoint does not answer or no limiter is there.
pub async fn limiter_status<P: Provider>(
    provider: &P,
    limiter: Address,
    from_block: u64,
) -> Result<LimiterStatus, ChainError> {
    let contract = ICordonLimiter::new(limiter, provider);
    let config = contract
        .config()
        .call()
        .await
        .map_err(|error| explain_call(&format!("reading the limiter {limiter}"), error))?;
    let head = provider
        .get_block(BlockId::latest())
        .await
        .map_err(|error| explain("reading the latest block", &error))?;
    let mut limits = Vec::new();
    for (protocol, asset, class) in named(provider, limiter, from_block).await? {
        limits.push(limit(&contract, protocol, asset, class).await?);
    }
    let mut items = Vec::new();
    for number in config.items.saturating_sub(ITEMS).saturating_add(1)..=config.items {
        let item = contract
            .itemOf(U256::from(number))
            .call()
            .await
            .map_err(|error| explain_call(&format!("reading item {number}"), error))?;
        if item.asset != Address::ZERO {
            items.push(ItemState {
                number,
                asset: item.asset,
                protocol: item.protocol,
                recipient: item.recipient,
                amount: item.amount,
                release_at: item.releaseAt,
            });
        }
    }
    Ok(LimiterStatus {
        limiter,
        timestamp: head.map_or(0, |head| head.header.timestamp),
        guard: config.guard,
        delay: config.delay,
        limits,
        items,
    })
}

/// Every limit that an event names.
async fn named<P: Provider>(
    provider: &P,
    limiter: Address,
    from_block: u64,
) -> Result<BTreeSet<(Address, Address, u8)>, ChainError> {
    let filter = Filter::new()
        .address(limiter)
        .event_signature(ICordonLimiter::LimitSet::SIGNATURE_HASH)
        .from_block(from_block);
    let logs = provider
        .get_logs(&filter)
        .await
        .map_err(|error| explain("reading the limiter's events; try a later first block", &error))?;
    Ok(logs
        .iter()
        .filter_map(|log| ICordonLimiter::LimitSet::decode_log(&log.inner).ok())
        .map(|set| (set.protocol, set.asset, set.class))
        .collect())
}

async fn limit<P: Provider>(
    contract: &ICordonLimiter::ICordonLimiterInstance<&P>,
    protocol: Address,
    asset: Address,
    class: u8,
) -> Result<LimitState, ChainError> {
    let explained = |error| explain_call("reading a limit", error);
    let shown = contract
        .limitOf(protocol, asset, class)
        .call()
        .await
        .map_err(explained)?;
    let holders = contract
        .holdersOf(protocol, asset, class)
        .call()
        .await
        .map_err(explained)?;
    Ok(LimitState {
        protocol,
        asset,
        class,
        hold: shown.hold as u8,
        limit: shown.limit,
        available: shown.available,
        guard_hold: holders.guard,
        guardian_hold: holders.guardian,
        guardian_until: holders.guardianUntil,
        governor_hold: holders.governor,
    })
}
