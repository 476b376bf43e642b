//! What an account brought in lately, and may therefore take out besides the limit.

use alloy_primitives::U256;

/// Largest amount of a [`Credit`]; more is not credited.
pub const MAX_CREDIT: u128 = (1 << 112) - 1;

/// Uses credit before the limit: what is left of the credit, and the part of `amount` that the limit must still pass.
#[must_use]
pub const fn use_credit(credit: u128, amount: u128) -> (u128, u128) {
    if credit >= amount {
        (credit - amount, 0)
    } else {
        (0, amount - credit)
    }
}

/// What an account brought in during this period and the one before, stored in one word. It ends one to two periods after the inflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    epoch: u32,
    fresh: u128,
    old: u128,
}

impl Credit {
    /// The credit at `now`: what is older than the last full period is gone. Time that goes back changes nothing.
    #[must_use]
    pub fn settled(self, now: u64, period: u32) -> Self {
        let epoch = now.checked_div(period.into()).unwrap_or(u64::MAX);
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        match epoch.saturating_sub(self.epoch) {
            0 => self,
            1 => Credit {
                epoch,
                fresh: 0,
                old: self.fresh,
            },
            _ => Credit {
                epoch,
                ..Credit::default()
            },
        }
    }

    /// Units of credit, as of the last change.
    #[must_use]
    pub const fn units(&self) -> u128 {
        self.fresh + self.old
    }

    /// The credit after an inflow of `amount` units.
    #[must_use]
    pub fn inflow(self, amount: u128, now: u64, period: u32) -> Self {
        let credit = self.settled(now, period);
        Credit {
            fresh: credit.fresh.saturating_add(amount).min(MAX_CREDIT),
            ..credit
        }
    }

    /// Uses credit for an outflow of `amount` units, the older first: the credit afterwards, and what the limit must still pass.
    #[must_use]
    pub fn outflow(self, amount: u128, now: u64, period: u32) -> (Self, u128) {
        let credit = self.settled(now, period);
        let (old, rest) = use_credit(credit.old, amount);
        let (fresh, rest) = use_credit(credit.fresh, rest);
        (Credit { old, fresh, ..credit }, rest)
    }

    /// The credit as a word: from the low end the number of the period (32 bits), this period's inflow (112), the last one's (112).
    #[must_use]
    pub fn pack(&self) -> U256 {
        U256::from(self.epoch) | U256::from(self.fresh & MAX_CREDIT) << 32 | U256::from(self.old & MAX_CREDIT) << 144
    }

    /// The credit in a word that [`Credit::pack`] made.
    #[must_use]
    pub fn unpack(word: U256) -> Self {
        let [a, b, c, d] = word.into_limbs();
        let wide = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        Credit {
            epoch: (a & 0xffff_ffff) as u32,
            fresh: wide(a >> 32 | b << 32, b >> 32 | c << 32) & MAX_CREDIT,
            old: wide(c >> 16 | d << 48, d >> 16) & MAX_CREDIT,
        }
    }
}
