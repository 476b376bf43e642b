//! What an account brought in lately, and may therefore take out besides the limit.

use alloy_primitives::U256;

const AMOUNT_BITS: u32 = 96;
const TIME_BITS: u32 = 40;
const SPAN_MASK: u64 = (1 << 24) - 1;

/// Largest amount of a [`Credit`]: 2^96 - 1 (7.9e10 tokens of 18 decimals); more is not credited.
pub const MAX_CREDIT: u128 = (1 << AMOUNT_BITS) - 1;

/// Uses credit before the limit: what is left of the credit, and the part of `amount` that the limit must still pass.
#[must_use]
pub const fn use_credit(credit: u128, amount: u128) -> (u128, u128) {
    if credit >= amount {
        (credit - amount, 0)
    } else {
        (0, amount - credit)
    }
}

/// What an account brought in lately, stored in one word. It ends one to two periods after the inflow, at a time in seconds that is
/// fixed by the period of that day: no later change of the period prolongs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// When `old` ends, Unix seconds.
    ends: u64,
    /// Seconds after `ends` at which `fresh` ends: the period of its inflows.
    span: u32,
    fresh: u128,
    old: u128,
}

impl Credit {
    /// The credit at `now`: what has ended is gone. Time that goes back changes nothing.
    #[must_use]
    pub fn settled(self, now: u64) -> Self {
        if now < self.ends {
            return self;
        }
        let ends = self.ends.saturating_add(self.span.into());
        if now < ends {
            return Credit {
                ends,
                fresh: 0,
                old: self.fresh,
                ..self
            };
        }
        Credit::default()
    }

    /// Units of credit, as of the last change.
    #[must_use]
    pub const fn units(&self) -> u128 {
        self.fresh + self.old
    }

    /// The credit after an inflow of `amount` units under a limit of this period: they end one to two periods from now. What came in
    /// under another period ends with the older part of it, and within one period of now.
    #[must_use]
    pub fn inflow(self, amount: u128, now: u64, period: u32) -> Self {
        let mut credit = self.settled(now);
        if credit.span != period {
            let soon = now.saturating_add(period.into());
            credit = Credit {
                ends: if credit.units() == 0 {
                    soon
                } else {
                    credit.ends.min(soon)
                },
                span: period,
                fresh: 0,
                old: credit.units().min(MAX_CREDIT),
            };
        }
        Credit {
            fresh: credit.fresh.saturating_add(amount).min(MAX_CREDIT),
            ..credit
        }
    }

    /// Uses credit for an outflow of `amount` units, the older first: the credit afterwards, and what the limit must still pass.
    #[must_use]
    pub fn outflow(self, amount: u128, now: u64) -> (Self, u128) {
        let credit = self.settled(now);
        let (old, rest) = use_credit(credit.old, amount);
        let (fresh, rest) = use_credit(credit.fresh, rest);
        (Credit { old, fresh, ..credit }, rest)
    }

    /// The credit as a word: from the low end when the older part ends (40 bits), the span (24), the newer part (96), the older (96).
    #[must_use]
    pub fn pack(&self) -> U256 {
        let times = self.ends & ((1 << TIME_BITS) - 1) | (u64::from(self.span) & SPAN_MASK) << TIME_BITS;
        U256::from(times) | U256::from(self.fresh & MAX_CREDIT) << 64 | U256::from(self.old & MAX_CREDIT) << 160
    }

    /// The credit in a word that [`Credit::pack`] made.
    #[must_use]
    pub fn unpack(word: U256) -> Self {
        let [times, b, c, d] = word.into_limbs();
        let wide = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        Credit {
            ends: times & ((1 << TIME_BITS) - 1),
            span: (times >> TIME_BITS & SPAN_MASK) as u32,
            fresh: wide(b, c) & MAX_CREDIT,
            old: wide(c >> 32 | d << 32, d >> 32) & MAX_CREDIT,
        }
    }
}
