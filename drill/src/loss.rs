//! Losses and their arithmetic. All amounts come from the chain; nothing here reads it.

use std::fmt;

use alloy::primitives::{U256, utils::format_units};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::error::DrillError;

/// Whole, in hundredths of a percent.
pub(crate) const BPS: u64 = 10_000;

/// What was lost, in one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    asset: &'static str,
    decimals: u8,
    amount: U256,
    share_bps: u64,
}

impl Loss {
    /// A loss of `amount` smallest units, which is `share_bps` of the market's value.
    pub(crate) const fn new(asset: &'static str, decimals: u8, amount: U256, share_bps: u64) -> Self {
        Self {
            asset,
            decimals,
            amount,
            share_bps,
        }
    }

    /// Ticker of the asset.
    #[must_use]
    pub const fn asset(&self) -> &'static str {
        self.asset
    }

    /// Amount in the asset's smallest units.
    #[must_use]
    pub const fn amount(&self) -> U256 {
        self.amount
    }

    /// Part of the market's value at the price before the attack, in hundredths of a percent, rounded down.
    #[must_use]
    pub const fn share_bps(&self) -> u64 {
        self.share_bps
    }

    /// Amount in whole units of the asset, exact.
    #[must_use]
    pub fn whole(&self) -> String {
        // A token with more decimals than a number has digits is refused when the market is set up.
        format_units(self.amount, self.decimals).unwrap_or_else(|_| self.amount.to_string())
    }

    /// Nothing, in the same asset.
    pub(crate) fn none(&self) -> Self {
        Self {
            amount: U256::ZERO,
            share_bps: 0,
            ..self.clone()
        }
    }

    /// What is left of this loss after `part` of it, in the same asset.
    pub(crate) fn less(&self, part: &Self) -> Self {
        Self {
            amount: self.amount.saturating_sub(part.amount),
            share_bps: self.share_bps.saturating_sub(part.share_bps),
            ..self.clone()
        }
    }

    /// Whether the loss is at most `bps` of `other`.
    #[must_use]
    pub(crate) fn within(&self, bps: u64, other: &Self) -> bool {
        self.amount.saturating_mul(U256::from(BPS)) <= other.amount.saturating_mul(U256::from(bps))
    }

    /// How much of `unguarded` this (guarded) loss leaves, as saved bps; a larger loss saves nothing.
    #[must_use]
    pub(crate) fn saved_bps(&self, unguarded: &Self) -> u64 {
        let saved = unguarded.amount.saturating_sub(self.amount);
        parts(saved, unguarded.amount)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole();
        let (units, cents) = whole.split_once('.').unwrap_or((&whole, ""));
        let mut grouped = String::new();
        for (place, digit) in units.chars().enumerate() {
            if place > 0 && (units.len() - place) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let cents: String = cents.chars().take(2).collect();
        write!(f, "{grouped}.{cents:0<2} {}", self.asset)
    }
}

impl Serialize for Loss {
    /// The amount is a number of whole units, for tools that add up; the exact figure is in the report.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let amount: f64 = self.whole().parse().map_err(serde::ser::Error::custom)?;
        let mut fields = serializer.serialize_struct("Loss", 3)?;
        fields.serialize_field("asset", self.asset)?;
        fields.serialize_field("amount", &amount)?;
        fields.serialize_field("share_bps", &self.share_bps)?;
        fields.end()
    }
}

/// `part` of `whole` in bps, rounded down; nothing of nothing is nothing.
pub(crate) fn parts(part: U256, whole: U256) -> u64 {
    if whole.is_zero() {
        return 0;
    }
    u64::try_from(part.saturating_mul(U256::from(BPS)) / whole).unwrap_or(u64::MAX)
}

/// What one account holds and owes in one asset, with the asset's price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Position of the asset in the market's list.
    pub(crate) asset: usize,
    /// Supplied, smallest units.
    pub(crate) supplied: U256,
    /// Owed, smallest units.
    pub(crate) owed: U256,
    /// Price of a whole unit, 8 decimals.
    pub(crate) price: U256,
    /// Decimals of the asset.
    pub(crate) decimals: u8,
}

impl Holding {
    fn value(&self, amount: U256) -> Option<U256> {
        amount.checked_mul(self.price)?.checked_div(one(self.decimals))
    }
}

/// One unit of a token, in its smallest units.
pub(crate) fn one(decimals: u8) -> U256 {
    U256::from(10u64).saturating_pow(U256::from(decimals))
}

/// What lenders will not get back from one account: debts beyond what backs them, at the given prices, as amounts of the
/// assets owed (in proportion to the debts). Empty when the account is solvent.
pub(crate) fn shortfall(holdings: &[Holding]) -> Result<Vec<(usize, U256)>, DrillError> {
    let out_of_range = || DrillError::OutOfRange {
        what: "a position's value".to_owned(),
    };
    let mut backing = U256::ZERO;
    let mut debt = U256::ZERO;
    for holding in holdings {
        let supplied = holding.value(holding.supplied).ok_or_else(out_of_range)?;
        let owed = holding.value(holding.owed).ok_or_else(out_of_range)?;
        backing = backing.checked_add(supplied).ok_or_else(out_of_range)?;
        debt = debt.checked_add(owed).ok_or_else(out_of_range)?;
    }
    let missing = debt.saturating_sub(backing);
    if missing.is_zero() {
        return Ok(Vec::new());
    }
    let owed = holdings.iter().filter(|holding| !holding.owed.is_zero());
    owed.map(|holding| {
        let part = holding.owed.checked_mul(missing).ok_or_else(out_of_range)? / debt;
        Ok((holding.asset, part))
    })
    .collect()
}

/// The market's value: everything supplied, at the given prices (8 decimals).
pub(crate) fn market_value(holdings: &[Holding]) -> Result<U256, DrillError> {
    let out_of_range = || DrillError::OutOfRange {
        what: "the market's value".to_owned(),
    };
    holdings.iter().try_fold(U256::ZERO, |sum, holding| {
        sum.checked_add(holding.value(holding.supplied).ok_or_else(out_of_range)?)
            .ok_or_else(out_of_range)
    })
}

/// Value of `amount` of the asset of `holding`, 8 decimals.
pub(crate) fn value_of(holding: &Holding, amount: U256) -> Result<U256, DrillError> {
    holding.value(amount).ok_or_else(|| DrillError::OutOfRange {
        what: "a loss".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn weth(supplied: u64, owed: u64) -> Holding {
        let ether = U256::from(10u64).pow(U256::from(18u64));
        let [supplied, owed] = [supplied, owed].map(|whole| U256::from(whole) * ether);
        Holding {
            asset: 0,
            supplied,
            owed,
            price: U256::from(200_000_000_000u64),
            decimals: 18,
        }
    }

    fn usdc(supplied: u64, owed: u64) -> Holding {
        let [supplied, owed] = [supplied, owed].map(|whole| U256::from(whole) * U256::from(1_000_000u64));
        Holding {
            asset: 1,
            supplied,
            owed,
            price: U256::from(100_000_000u64),
            decimals: 6,
        }
    }

    #[test]
    fn the_shortfall_is_debt_beyond_backing() {
        let lost = shortfall(&[weth(25, 0), usdc(0, 3_600_000)]).unwrap();
        assert_eq!(lost, [(1, U256::from(3_550_000_000_000u64))]);
    }

    #[test]
    fn a_solvent_account_loses_nothing() {
        assert!(shortfall(&[weth(25, 0), usdc(0, 50_000)]).unwrap().is_empty());
    }

    #[test]
    fn it_is_spread_over_the_assets_owed() {
        // Owed 2,000 + 2,000 dollars, backed by 1,000.
        let lost = shortfall(&[weth(0, 1), usdc(1_000, 2_000)]).unwrap();
        assert_eq!(
            lost,
            [
                (0, U256::from(750_000_000_000_000_000u64)),
                (1, U256::from(1_500_000_000u64))
            ]
        );
    }

    #[test]
    fn shares_and_savings_are_in_bps() {
        let unguarded = Loss::new("USDC", 6, U256::from(4_000_000u64), 3_000);
        let guarded = Loss::new("USDC", 6, U256::from(1_000_000u64), 750);
        assert_eq!(guarded.saved_bps(&unguarded), 7_500);
        assert!(guarded.within(2_500, &unguarded));
        assert!(!guarded.within(2_499, &unguarded));
        assert_eq!(parts(U256::ZERO, U256::ZERO), 0);
    }

    #[test]
    fn amounts_are_readable_and_exact() {
        let loss = Loss::new("USDC", 6, U256::from(3_549_950_123_456u64), 3_000);
        assert_eq!(loss.to_string(), "3,549,950.12 USDC");
        assert_eq!(loss.whole(), "3549950.123456");
        let json = serde_json::to_string(&loss).unwrap();
        assert_eq!(json, r#"{"asset":"USDC","amount":3549950.123456,"share_bps":3000}"#);
    }

    proptest! {
        #[test]
        fn a_shortfall_never_exceeds_the_debt(supplied in 0u64..10_000, owed in 0u64..10_000, dollars in 0u64..10_000_000) {
            let holdings = [weth(supplied, owed), usdc(0, dollars)];
            for (asset, lost) in shortfall(&holdings).unwrap() {
                prop_assert!(lost <= holdings[asset].owed);
            }
        }

        #[test]
        fn no_debt_no_shortfall(supplied in 0u64..10_000, dollars in 0u64..10_000_000) {
            prop_assert!(shortfall(&[weth(supplied, 0), usdc(dollars, 0)]).unwrap().is_empty());
        }
    }
}
