//! Honest traffic on the Aave market: supplies, borrows, repayments, withdrawals, feeds that lag behind each other, a fall of
//! 8 %, an honest liquidation, a large honest borrow.

use alloy::primitives::{Address, I256, U256};

use super::{Step, Wave};
use crate::{
    abi::{IPool, IPriceFeed},
    cast,
    chain::signer,
    error::DrillError,
    live::{AaveMarket, Asset, borrow_call, repay_call, supply_call},
};

/// Prices per wave, in hundredths of a percent of the price at the start. The reference shows the same prices, later.
const WETH_PATH: [u64; 13] = [
    10_000, 10_020, 9_990, 10_000, 9_200, 9_190, 9_210, 9_240, 9_235, 9_260, 9_250, 9_270, 9_265,
];
const WBTC_PATH: [u64; 13] = [
    10_000, 10_010, 9_995, 10_000, 9_480, 9_450, 9_470, 9_500, 9_490, 9_520, 9_510, 9_530, 9_520,
];
const USDC_PATH: [u64; 13] = [
    10_000, 9_998, 10_001, 10_000, 9_990, 9_985, 9_992, 9_996, 10_000, 10_001, 10_000, 9_999, 10_000,
];

/// How many waves the reference feeds are behind the market's.
const LAG: usize = 2;

/// The wave with the fall, seen from the prices' table.
const FALL: usize = 4;
/// Wave of the large honest borrow.
const LARGE_BORROW: usize = 2;
/// Whole USDC of the large honest borrow.
const LARGE_BORROW_USDC: u64 = 1_200_000;

/// The whole traffic.
pub(crate) fn plan(market: &AaveMarket) -> Result<Vec<Wave>, DrillError> {
    (0..WETH_PATH.len()).map(|wave| plan_wave(market, wave)).collect()
}

fn plan_wave(market: &AaveMarket, wave: usize) -> Result<Wave, DrillError> {
    let mut steps = Vec::new();
    for (asset, path) in [
        (&market.weth, &WETH_PATH),
        (&market.wbtc, &WBTC_PATH),
        (&market.usdc, &USDC_PATH),
    ] {
        steps.extend(feed_steps(asset, path, wave)?);
    }
    for (turn, actor) in cast::SUPPLIERS.enumerate() {
        steps.push(supplier_step(market, actor, turn, wave)?);
    }
    // The last borrower goes to the limit, is caught by the fall, and is liquidated.
    let marginal = cast::BORROWERS.end - 1;
    for (turn, actor) in (cast::BORROWERS.start..marginal).enumerate() {
        steps.push(borrower_step(market, actor, turn, wave)?);
    }
    if wave == 1 {
        let borrow = borrow_call(&market.usdc, market.usdc.units(4_800), signer(marginal)?.address());
        steps.push(Step::new(marginal, market.pool, &borrow, "borrow to the limit"));
    }
    if wave == FALL + 2 {
        let liquidation = IPool::liquidationCallCall {
            collateral: market.weth.token,
            debt: market.usdc.token,
            user: signer(marginal)?.address(),
            amount: market.usdc.units(10_000),
            receiveAToken: false,
        };
        steps.push(Step::new(cast::LIQUIDATOR, market.pool, &liquidation, "liquidation"));
    }
    Ok(steps)
}

/// The market's feed at this wave's price, and the reference at the price of `LAG` waves ago.
fn feed_steps(asset: &Asset, path: &[u64], wave: usize) -> Result<Vec<Step>, DrillError> {
    let mut steps = Vec::new();
    for (operator, feed, at) in [
        (cast::FEED_OPERATOR, asset.feed, Some(wave)),
        (cast::REFERENCE_OPERATOR, asset.reference, wave.checked_sub(LAG)),
    ] {
        let Some(bps) = at.and_then(|at| path.get(at)) else {
            continue;
        };
        // Dollars with 8 decimals, times bps over 10,000.
        let answer = asset
            .dollars
            .checked_mul(10_000)
            .and_then(|scaled| scaled.checked_mul(*bps));
        let answer = answer.and_then(|answer| I256::try_from(answer).ok());
        let answer = answer.ok_or_else(|| DrillError::OutOfRange {
            what: format!("a price of {}", asset.symbol),
        })?;
        steps.push(Step::new(
            operator,
            feed,
            &IPriceFeed::setAnswerCall { answer },
            "feed update",
        ));
    }
    Ok(steps)
}

fn supplier_step(market: &AaveMarket, actor: u32, turn: usize, wave: usize) -> Result<Step, DrillError> {
    let me = signer(actor)?.address();
    if turn == 0 && wave == LARGE_BORROW {
        let amount = market.usdc.units(LARGE_BORROW_USDC);
        return Ok(Step::new(
            actor,
            market.pool,
            &borrow_call(&market.usdc, amount, me),
            "large borrow",
        ));
    }
    if turn == 0 && wave == LARGE_BORROW + 5 {
        let amount = market.usdc.units(LARGE_BORROW_USDC / 2);
        return Ok(Step::new(
            actor,
            market.pool,
            &repay_call(&market.usdc, amount, me),
            "large repayment",
        ));
    }
    Ok(match (wave + turn) % 6 {
        0 => supply(market, &market.usdc, actor, me, market.usdc.units(20_000)),
        1 => supply(market, &market.weth, actor, me, market.weth.units(5)),
        2 => withdraw(market, &market.usdc, actor, me, market.usdc.units(15_000)),
        3 => supply(market, &market.wbtc, actor, me, market.wbtc.units(1)),
        4 => withdraw(market, &market.weth, actor, me, market.weth.units(4)),
        _ => withdraw(market, &market.wbtc, actor, me, U256::from(50_000_000u64)),
    })
}

/// Only the first two thirds of the borrowers have room to borrow more after the fall.
fn borrower_step(market: &AaveMarket, actor: u32, turn: usize, wave: usize) -> Result<Step, DrillError> {
    let me = signer(actor)?.address();
    let has_room = turn < 11;
    Ok(match (wave + turn) % 5 {
        0 if has_room => Step::new(
            actor,
            market.pool,
            &borrow_call(&market.usdc, market.usdc.units(600), me),
            "borrow",
        ),
        1 if has_room => withdraw(market, &market.weth, actor, me, U256::from(300_000_000_000_000_000u64)),
        0 | 2 => Step::new(
            actor,
            market.pool,
            &repay_call(&market.usdc, market.usdc.units(500), me),
            "repayment",
        ),
        1 | 3 => supply(market, &market.weth, actor, me, U256::from(700_000_000_000_000_000u64)),
        _ => supply(market, &market.usdc, actor, me, market.usdc.units(1_000)),
    })
}

fn supply(market: &AaveMarket, asset: &Asset, actor: u32, me: Address, amount: U256) -> Step {
    Step::new(actor, market.pool, &supply_call(asset, amount, me), "supply")
}

fn withdraw(market: &AaveMarket, asset: &Asset, actor: u32, me: Address, amount: U256) -> Step {
    Step::new(
        actor,
        market.pool,
        &IPool::withdrawCall {
            asset: asset.token,
            amount,
            to: me,
        },
        "withdrawal",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use super::*;

    fn asset(name: &'static str, decimals: u8, dollars: u64, byte: u8) -> Asset {
        let [token, feed, reference, supply_token, debt_token] =
            [0, 1, 2, 3, 4].map(|offset| Address::repeat_byte(byte + offset));
        Asset {
            name,
            symbol: name,
            decimals,
            dollars,
            token,
            feed,
            reference,
            supply_token,
            debt_token,
        }
    }

    fn market() -> AaveMarket {
        let [acl, pool, configurator, data, oracle] = [1, 2, 3, 4, 5].map(Address::repeat_byte);
        let (weth, wbtc, usdc) = (
            asset("weth", 18, 2_000, 10),
            asset("wbtc", 8, 60_000, 20),
            asset("usdc", 6, 1, 30),
        );
        AaveMarket {
            acl,
            pool,
            configurator,
            data,
            oracle,
            weth,
            wbtc,
            usdc,
        }
    }

    #[test]
    fn the_traffic_has_all_that_a_guard_must_tolerate() {
        let waves = plan(&market()).unwrap();
        let steps: Vec<&Step> = waves.iter().flatten().collect();
        assert!(steps.len() >= 300, "{} transactions", steps.len());
        let kinds: BTreeSet<&str> = steps.iter().map(|step| step.what).collect();
        for kind in [
            "supply",
            "borrow",
            "repayment",
            "withdrawal",
            "feed update",
            "liquidation",
            "large borrow",
        ] {
            assert!(kinds.contains(kind), "no {kind}");
        }
    }

    #[test]
    fn the_price_falls_by_eight_percent_in_one_step_while_the_reference_lags() {
        let fall = WETH_PATH[FALL - 1] - WETH_PATH[FALL];
        assert!(fall * 10_000 / WETH_PATH[FALL - 1] >= 800, "{fall}");
        // LAG waves after the fall the reference still shows the price before it.
        assert!(WETH_PATH[FALL + 1 - LAG] > WETH_PATH[FALL]);
    }

    #[test]
    fn nobody_but_feed_operators_sends_twice_in_a_wave() {
        for wave in plan(&market()).unwrap() {
            let mut seen = BTreeSet::new();
            for step in wave.iter().filter(|step| step.what != "feed update") {
                assert!(seen.insert(step.actor), "account {} sends twice", step.actor);
            }
        }
    }
}
