//! Honest traffic on the busy vault: first deposit, deposits and redemptions, loans and repayments, a quote that lags, a fall of
//! 8 %, a large honest borrow.

use alloy::primitives::{I256, U256};

use super::{Step, Wave};
use crate::{
    abi::{ICreditVault, IPriceFeed},
    cast,
    chain::{signer, units},
    error::DrillError,
    live::{VAULT_DECIMALS, VaultMarket},
};

/// The loan book's quote per wave, in bps of par. It stands still for waves and then catches up, and once falls by 8 %.
const QUOTE_PATH: [u64; 15] = [
    10_000, 10_000, 10_000, 10_015, 10_015, 10_015, 9_213, 9_213, 9_213, 9_250, 9_250, 9_300, 9_300, 9_300, 9_310,
];

/// Waves in which the borrower draws, with whole units; the second is the large one.
const DRAWS: [(usize, u64); 3] = [(2, 200_000), (4, 900_000), (9, 50_000)];
/// Waves in which the borrower repays, with whole units of the loan book.
const REPAYMENTS: [(usize, u64); 3] = [(5, 100_000), (8, 250_000), (12, 300_000)];

/// The whole traffic.
pub(crate) fn plan(market: &VaultMarket) -> Result<Vec<Wave>, DrillError> {
    // The first deposit into the empty vault is alone in its block: all that follow find a vault in use.
    let first = deposit(market, cast::SUPPLIERS.start, 500_000)?;
    let waves = (0..QUOTE_PATH.len()).map(|wave| plan_wave(market, wave));
    std::iter::once(Ok(vec![first])).chain(waves).collect()
}

fn plan_wave(market: &VaultMarket, wave: usize) -> Result<Wave, DrillError> {
    let mut steps = Vec::new();
    if let Some(bps) = QUOTE_PATH.get(wave) {
        let answer = I256::try_from(bps * 10_000).map_err(|_| DrillError::OutOfRange {
            what: "a quote".to_owned(),
        })?;
        steps.push(Step::new(
            cast::FEED_OPERATOR,
            market.quote,
            &IPriceFeed::setAnswerCall { answer },
            "feed update",
        ));
    }
    for (at, whole) in DRAWS {
        if at == wave {
            let call = ICreditVault::borrowCall {
                assets: units(whole, VAULT_DECIMALS),
            };
            steps.push(Step::new(cast::VAULT_BORROWER, market.busy, &call, "borrow"));
        }
    }
    for (at, whole) in REPAYMENTS {
        if at == wave {
            let call = ICreditVault::repayCall {
                units: units(whole, VAULT_DECIMALS),
            };
            steps.push(Step::new(cast::VAULT_BORROWER, market.busy, &call, "repayment"));
        }
    }
    for (turn, actor) in cast::SUPPLIERS.chain(cast::BORROWERS).enumerate() {
        steps.push(depositor_step(market, actor, turn, wave)?);
    }
    Ok(steps)
}

/// Everybody deposits first; later some redeem a part, well below what they hold.
fn depositor_step(market: &VaultMarket, actor: u32, turn: usize, wave: usize) -> Result<Step, DrillError> {
    let whole = match (wave + turn) % 4 {
        3 if wave >= 3 => {
            let call = ICreditVault::redeemCall {
                shares: units(7_000, VAULT_DECIMALS),
                receiver: signer(actor)?.address(),
            };
            return Ok(Step::new(actor, market.busy, &call, "redemption"));
        }
        0 => 20_000,
        1 => 3_333,
        _ => 12_345,
    };
    deposit(market, actor, whole)
}

fn deposit(market: &VaultMarket, actor: u32, whole: u64) -> Result<Step, DrillError> {
    // An odd amount, so that every conversion rounds.
    let assets = units(whole, VAULT_DECIMALS).saturating_add(U256::ONE);
    let call = ICreditVault::depositCall {
        assets,
        receiver: signer(actor)?.address(),
    };
    Ok(Step::new(actor, market.busy, &call, "deposit"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use alloy::primitives::Address;

    use super::*;

    #[test]
    fn the_traffic_has_all_that_a_guard_must_tolerate() {
        let [token, quote, busy, new, inflator] = [1, 2, 3, 4, 5].map(Address::repeat_byte);
        let waves = plan(&VaultMarket {
            token,
            quote,
            busy,
            new,
            inflator,
        })
        .unwrap();
        let steps: Vec<&Step> = waves.iter().flatten().collect();
        assert!(steps.len() >= 300, "{} transactions", steps.len());
        let kinds: BTreeSet<&str> = steps.iter().map(|step| step.what).collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["borrow", "deposit", "feed update", "redemption", "repayment"])
        );
        assert!(
            steps.iter().all(|step| step.target != new),
            "the new vault is left alone"
        );
    }

    #[test]
    fn the_quote_falls_by_eight_percent_in_one_step() {
        let falls = QUOTE_PATH
            .iter()
            .zip(QUOTE_PATH.iter().skip(1))
            .any(|(before, after)| after * 100 <= before * 92);
        assert!(falls);
    }
}
