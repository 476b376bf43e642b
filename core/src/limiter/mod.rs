//! Outflow limits: how much of an asset may leave within a time, kept in one word per asset and account class.
//!
//! A limit is a bucket that what leaves fills and that empties steadily. What fits goes out; the rest is for the caller to delay or
//! to refuse. Nothing is rounded on the way: the bucket holds token units times seconds, so that many small outflows equal
//! one large one to the unit, in any order and over any splitting of time.
//!
//! # Credit for inflows
//!
//! Somebody who brings in 100 and takes out 100 has moved nothing, and must neither be held up nor fill the bucket for others
//! (otherwise a flash loan closes the exits for the price of its fee). So an inflow gives its *account* credit, and outflows of that
//! account use the credit before they touch the bucket. Inflows never empty the bucket itself: an honest deposit cannot be taken
//! out by a thief as if it were room in the limit. Two sorts of credit exist:
//!
//! - within the transaction: the caller keeps a plain number in transient storage ([`use_credit`]). It ends with the transaction.
//! - over time: [`Credit`], one word per asset and account, which ends after one to two periods, so that nobody hoards it by sending
//!   the same capital round for months.
//!
//! Both give the same bound, whatever the accounts and the order: **all outflows minus all inflows, over any stretch of time, are at
//! most the limit, plus what the bucket empties in that time, plus credit for inflows of the last two periods.** `docs/limiter.md`
//! goes through the attacks.

mod credit;
mod holds;

pub use credit::{Credit, MAX_CREDIT, use_credit};
pub use holds::{GUARDIAN_BUDGET, GUARDIAN_HOLD, HoldError, Holds, ScopeHolds};

use crate::level::Permission;
use alloy_primitives::U256;

/// Largest limit, in units of the asset: 2^104 - 1 (2e13 tokens of 18 decimals).
pub const MAX_UNITS: u128 = (1 << 104) - 1;

/// Longest period in seconds: 2^24 - 1 (194 days).
pub const MAX_PERIOD: u32 = (1 << 24) - 1;

/// A whole in basis points.
pub const WHOLE: u16 = 10_000;

const MANTISSA_BITS: u32 = 32;
const TIME_MASK: u64 = (1 << 40) - 1;

/// How tightly an asset is held, set by the guard's containment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hold {
    /// The limit applies.
    #[default]
    None = 0,
    /// A quarter of the limit applies.
    Quarter = 1,
    /// Nothing leaves at once.
    Full = 2,
}

impl Hold {
    /// The hold with this number; `None` when there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Hold::None,
            1 => Hold::Quarter,
            2 => Hold::Full,
            _ => return None,
        })
    }

    /// What a level's grant to an action means for its outflow.
    #[must_use]
    pub const fn of(permission: Permission) -> Self {
        match permission {
            Permission::Open | Permission::Limited => Hold::None,
            Permission::Quartered => Hold::Quarter,
            Permission::Announced | Permission::Deferred | Permission::Closed => Hold::Full,
        }
    }

    /// The stricter of two.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if other as u8 > self as u8 { other } else { self }
    }
}

/// A limit and how much of it is used, stored in one word. Its fields are what the word can hold: build one with [`Limit::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    mantissa: u32,
    exponent: u8,
    period: u32,
    share: u16,
    hold: Hold,
    rebasing: bool,
    tag: u8,
    /// Units that have left and not leaked yet, times the period in seconds.
    filled: u128,
    /// When `filled` was computed, Unix seconds.
    at: u64,
}

/// Why a limit cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No units, or more than a word can hold.
    #[error("a limit of {units} units is not between 1 and 2^104 - 1")]
    BadUnits {
        /// Units asked for.
        units: u128,
    },
    /// No period, or too long a one.
    #[error("a period of {period} s is not between 1 s and {MAX_PERIOD} s")]
    BadPeriod {
        /// Seconds asked for.
        period: u32,
    },
    /// More than the whole pool.
    #[error("a share of {share} basis points is more than the whole")]
    BadShare {
        /// Basis points asked for.
        share: u16,
    },
}

/// What came of an outflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The limit afterwards.
    pub limit: Limit,
    /// Units that may leave now.
    pub passed: u128,
    /// Units that exceed the limit.
    pub excess: u128,
}

impl Limit {
    /// A limit of `units` of the asset per `period` seconds and, unless `share` is 0, of at most `share` basis points of the pool in
    /// the same time. The units are rounded down to 32 significant bits (off by less than 2.4e-10 of them): read
    /// [`Limit::units`] for what holds.
    ///
    /// # Errors
    /// [`LimitError`] when a value is out of range.
    pub fn new(units: u128, period: u32, share: u16) -> Result<Self, LimitError> {
        if units == 0 || units > MAX_UNITS {
            return Err(LimitError::BadUnits { units });
        }
        if period == 0 || period > MAX_PERIOD {
            return Err(LimitError::BadPeriod { period });
        }
        if share > WHOLE {
            return Err(LimitError::BadShare { share });
        }
        let exponent = (128 - units.leading_zeros()).saturating_sub(MANTISSA_BITS);
        Ok(Limit {
            mantissa: (units >> exponent & 0xffff_ffff) as u32,
            exponent: (exponent & 0x7f) as u8,
            period,
            share,
            ..Limit::default()
        })
    }

    /// What is left of a limit that has been taken away: everything leaves. The arithmetic here knows it as a limit of nothing; who keeps
    /// it asks [`Limit::is_lifted`] first.
    #[must_use]
    pub fn lifted() -> Self {
        Limit {
            period: 1,
            ..Limit::default()
        }
    }

    /// Whether the limit has been taken away.
    #[must_use]
    pub const fn is_lifted(&self) -> bool {
        self.mantissa == 0 && self.period != 0
    }

    /// Whether the word holds a limit at all.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.mantissa != 0
    }

    /// Most units per period.
    #[must_use]
    pub const fn units(&self) -> u128 {
        (self.mantissa as u128) << self.exponent
    }

    /// The period in seconds.
    #[must_use]
    pub const fn period(&self) -> u32 {
        self.period
    }

    /// Share of the pool in basis points; 0 when only the units count.
    #[must_use]
    pub const fn share(&self) -> u16 {
        self.share
    }

    /// Hold of the guard on this asset, which applies besides what a call is held by.
    #[must_use]
    pub const fn hold(&self) -> Hold {
        self.hold
    }

    /// The same limit under another hold.
    #[must_use]
    pub const fn held(self, hold: Hold) -> Self {
        Limit { hold, ..self }
    }

    /// Whether balances of the asset change by themselves. Core only keeps the mark; who holds such an asset must not read a
    /// balance that has grown as an inflow.
    #[must_use]
    pub const fn is_rebasing(&self) -> bool {
        self.rebasing
    }

    /// The same limit with the asset marked as rebasing, or not.
    #[must_use]
    pub const fn rebasing(self, rebasing: bool) -> Self {
        Limit { rebasing, ..self }
    }

    /// A number for whoever keeps the limit.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        self.tag
    }

    /// The same limit with this number.
    #[must_use]
    pub const fn tagged(self, tag: u8) -> Self {
        Limit { tag, ..self }
    }

    /// Whether `other` lets nothing out that this limit keeps in, whatever is used: fewer or as many units, over as long a time or
    /// longer, and no larger share. Hold, marks and use are not compared.
    #[must_use]
    pub const fn is_tighter(&self, other: &Limit) -> bool {
        let share = match (self.share, other.share) {
            (0, _) => true,
            (_, 0) => false,
            (mine, others) => others <= mine,
        };
        share && other.units() <= self.units() && other.period >= self.period
    }

    /// The same use under the numbers of `other` from `now` on: what has left still counts, and so does the hold.
    #[must_use]
    pub fn reshaped(&self, other: &Limit, now: u64) -> Self {
        let (filled, _) = self.settled(now, None, Hold::None);
        // Units times seconds are counted in another period from now on: rounded up, against the outflow.
        let units = filled.div_ceil(u128::from(self.period).max(1));
        Limit {
            filled: units.saturating_mul(other.period.into()),
            at: self.at.max(now & TIME_MASK),
            hold: self.hold,
            ..*other
        }
    }

    /// Most units that the bucket holds when `pool` units are in the protocol now (`None`: unknown, the units alone count). The share
    /// is of the pool as it was before the outflows that are still counted, so that an outflow in two halves meets the same limit
    /// as in one.
    fn capacity(&self, pool: Option<u128>, filled: u128, hold: Hold) -> u128 {
        let mut capacity = self.units();
        if let (true, Some(pool)) = (self.share != 0, pool) {
            // Above 2^104 the units are the stricter anyway, whatever the share; so nothing here overflows.
            let before = pool
                .saturating_add(filled / u128::from(self.period).max(1))
                .min(1 << 114);
            let share = if self.share == WHOLE {
                before
            } else {
                before * u128::from(self.share) / u128::from(WHOLE)
            };
            capacity = capacity.min(share);
        }
        match hold.or(self.hold) {
            Hold::None => capacity,
            Hold::Quarter => capacity >> 2,
            Hold::Full => 0,
        }
    }

    /// What is left in the bucket at `now`, times the period, and its capacity. Time that stands still or goes back empties nothing.
    fn settled(&self, now: u64, pool: Option<u128>, hold: Hold) -> (u128, u128) {
        let rate = self.capacity(pool, self.filled, hold);
        let leak = rate.saturating_mul(now.saturating_sub(self.at).into());
        let filled = self.filled.saturating_sub(leak);
        (filled, self.capacity(pool, filled, hold))
    }

    /// Units that may leave at `now`, rounded down. `hold` is what applies besides the limit's own.
    #[must_use]
    pub fn available(&self, now: u64, pool: Option<u128>, hold: Hold) -> u128 {
        let (filled, capacity) = self.settled(now, pool, hold);
        let period = u128::from(self.period);
        (capacity * period)
            .saturating_sub(filled)
            .checked_div(period)
            .unwrap_or(0)
    }

    /// Takes `amount` units out of the limit at `now`: as many as fit pass, the rest is excess. Taking an amount in parts passes the
    /// same number of units in all. `pool`: units in the protocol before the outflow, where the limit has a share.
    #[must_use]
    pub fn take(&self, amount: u128, now: u64, pool: Option<u128>, hold: Hold) -> Taken {
        if amount == 0 {
            // Or a call that moves nothing could settle the time before it at a rate of its choosing.
            return Taken {
                limit: *self,
                passed: 0,
                excess: 0,
            };
        }
        let (filled, capacity) = self.settled(now, pool, hold);
        let period = u128::from(self.period);
        let room = (capacity * period).saturating_sub(filled);
        // The division is left out where nearly every outflow goes: well within the limit.
        let passed = match amount.checked_mul(period) {
            Some(cost) if cost <= room => amount,
            _ => room.checked_div(period).unwrap_or(0),
        };
        Taken {
            limit: Limit {
                filled: filled.saturating_add(passed * period),
                at: self.at.max(now & TIME_MASK),
                ..*self
            },
            passed,
            excess: amount - passed,
        }
    }

    /// The limit as a word. From the low end: use (128 bits); time (40), period (24); mantissa (32), exponent (7), share (14), hold
    /// (2), rebasing (1), tag (8).
    #[must_use]
    pub const fn pack(&self) -> U256 {
        let [a, b, c, d, e, f, g, h, high @ ..] = self.filled.to_le_bytes();
        U256::from_limbs([
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes(high),
            self.at & TIME_MASK | (self.period as u64) << 40,
            self.mantissa as u64
                | (self.exponent as u64) << 32
                | (self.share as u64) << 39
                | (self.hold as u64) << 53
                | (self.rebasing as u64) << 55
                | (self.tag as u64) << 56,
        ])
    }

    /// The limit in a word that [`Limit::pack`] made. Of a damaged word nothing leaves more freely than its numbers say: an unknown
    /// hold reads as full, a share beyond the whole as the whole, an exponent beyond the largest as the largest.
    #[must_use]
    pub const fn unpack(word: U256) -> Self {
        let [low, high, time, rest] = word.into_limbs();
        let exponent = (rest >> 32 & 0x7f) as u8;
        let share = (rest >> 39 & 0x3fff) as u16;
        Limit {
            mantissa: (rest & 0xffff_ffff) as u32,
            exponent: if exponent > 72 { 72 } else { exponent },
            period: (time >> 40) as u32,
            share: if share > WHOLE { WHOLE } else { share },
            hold: match Hold::from_u8((rest >> 53 & 3) as u8) {
                Some(hold) => hold,
                None => Hold::Full,
            },
            rebasing: rest >> 55 & 1 == 1,
            tag: (rest >> 56) as u8,
            filled: low as u128 | (high as u128) << 64,
            at: time & TIME_MASK,
        }
    }
}
