//! Reads from the chain what an attack cost.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};

use futures::future::try_join_all;

use crate::{
    abi::{ICreditVault, IMintable, IPriceFeed},
    cast,
    chain::signer,
    error::DrillError,
    fork::Fork,
    live::{AaveMarket, VAULT_DECIMALS, VAULT_SYMBOL, VaultMarket},
    loss::{Holding, Loss, market_value, parts, shortfall, value_of},
};

/// What an attack cost, asset by asset.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// The largest loss, which is what tables show.
    pub(crate) main: Loss,
    /// All losses; empty when nothing was lost.
    pub(crate) by_asset: Vec<Loss>,
}

/// Prices of the Aave market's assets at the end of `block`, from the market's own feeds (not through the oracle, whose sources
/// the thief replaces).
pub(crate) async fn aave_prices(fork: &Fork, market: &AaveMarket, block: u64) -> Result<[U256; 3], DrillError> {
    let mut prices = [U256::ZERO; 3];
    for (price, asset) in prices.iter_mut().zip(market.assets()) {
        let answer = fork
            .chain
            .read_at(asset.feed, &IPriceFeed::latestAnswerCall {}, BlockId::number(block))
            .await?;
        *price = answer.unsigned_abs();
    }
    Ok(prices)
}

/// What lenders of the Aave market lack at the end of `after` more than at the end of `before`, at the prices of `before`.
pub(crate) async fn aave_damage(
    fork: &Fork,
    market: &AaveMarket,
    before: u64,
    after: u64,
) -> Result<Damage, DrillError> {
    let prices = aave_prices(fork, market, before).await?;
    let at_start = aave_shortfall(fork, market, &prices, BlockId::number(before)).await?;
    let at_end = aave_shortfall(fork, market, &prices, BlockId::number(after)).await?;
    let totals = aave_totals(fork, market, &prices, BlockId::number(before)).await?;
    let whole = market_value(&totals)?;
    let mut losses = Vec::new();
    for (((asset, total), lost), lost_before) in market.assets().into_iter().zip(&totals).zip(at_end).zip(at_start) {
        let amount = lost.saturating_sub(lost_before);
        let value = value_of(total, amount)?;
        losses.push((
            value,
            Loss::new(asset.symbol, asset.decimals, amount, parts(value, whole)),
        ));
    }
    // Without any loss the attack's own asset is named, with nothing lost.
    let none = Loss::new(market.usdc.symbol, market.usdc.decimals, U256::ZERO, 0);
    losses.sort_by(|(a, _), (b, _)| b.cmp(a));
    let by_asset: Vec<Loss> = losses
        .into_iter()
        .filter(|(_, loss)| !loss.amount().is_zero())
        .map(|(_, loss)| loss)
        .collect();
    Ok(Damage {
        main: by_asset.first().cloned().unwrap_or(none),
        by_asset,
    })
}

/// Sum of all accounts' shortfalls, per asset owed.
async fn aave_shortfall(
    fork: &Fork,
    market: &AaveMarket,
    prices: &[U256; 3],
    at: BlockId,
) -> Result<[U256; 3], DrillError> {
    let indices = cast::SUPPLIERS
        .chain(cast::BORROWERS)
        .chain([cast::LIQUIDATOR, cast::FRESH, cast::THIEF]);
    let accounts = indices.map(|index| account_shortfall(fork, market, prices, index, at));
    let mut sums = [U256::ZERO; 3];
    for (position, lost) in try_join_all(accounts).await?.into_iter().flatten() {
        if let Some(sum) = sums.get_mut(position) {
            *sum = sum.saturating_add(lost);
        }
    }
    Ok(sums)
}

/// One account's shortfall, per asset owed.
async fn account_shortfall(
    fork: &Fork,
    market: &AaveMarket,
    prices: &[U256; 3],
    index: u32,
    at: BlockId,
) -> Result<Vec<(usize, U256)>, DrillError> {
    let account = signer(index)?.address();
    let mut holdings = Vec::with_capacity(prices.len());
    for (position, (asset, price)) in market.assets().into_iter().zip(prices).enumerate() {
        let supplied = balance(fork, asset.supply_token, account, at).await?;
        let owed = balance(fork, asset.debt_token, account, at).await?;
        holdings.push(Holding {
            asset: position,
            supplied,
            owed,
            price: *price,
            decimals: asset.decimals,
        });
    }
    shortfall(&holdings)
}

/// Everything supplied to the market, per asset.
async fn aave_totals(
    fork: &Fork,
    market: &AaveMarket,
    prices: &[U256; 3],
    at: BlockId,
) -> Result<Vec<Holding>, DrillError> {
    let mut totals = Vec::new();
    for (position, (asset, price)) in market.assets().into_iter().zip(prices).enumerate() {
        let supplied = fork
            .chain
            .read_at(asset.supply_token, &IMintable::totalSupplyCall {}, at)
            .await?;
        totals.push(Holding {
            asset: position,
            supplied,
            owed: U256::ZERO,
            price: *price,
            decimals: asset.decimals,
        });
    }
    Ok(totals)
}

async fn balance(fork: &Fork, token: Address, account: Address, at: BlockId) -> Result<U256, DrillError> {
    fork.chain
        .read_at(token, &IMintable::balanceOfCall { account }, at)
        .await
}

/// What the victim of the vault had before the attack and has now, in the vault's asset, shares at their worth.
pub(crate) async fn vault_damage(fork: &Fork, market: &VaultMarket, before: u64) -> Result<Damage, DrillError> {
    let had = victims_wealth(fork, market, BlockId::number(before)).await?;
    let has = victims_wealth(fork, market, BlockId::latest()).await?;
    let amount = had.saturating_sub(has);
    // At stake is what the victim brings; the vault had nothing else but the thief's own money.
    let stake = crate::attack::vault::victims_deposit();
    let main = Loss::new(VAULT_SYMBOL, VAULT_DECIMALS, amount, parts(amount, stake));
    let by_asset = if amount.is_zero() {
        Vec::new()
    } else {
        vec![main.clone()]
    };
    Ok(Damage { main, by_asset })
}

async fn victims_wealth(fork: &Fork, market: &VaultMarket, at: BlockId) -> Result<U256, DrillError> {
    let account = signer(cast::VICTIM)?.address();
    let tokens = balance(fork, market.token, account, at).await?;
    let shares = fork
        .chain
        .read_at(market.new, &ICreditVault::balanceOfCall { account }, at)
        .await?;
    let worth = fork
        .chain
        .read_at(market.new, &ICreditVault::convertToAssetsCall { shares }, at)
        .await?;
    Ok(tokens.saturating_add(worth))
}
