//! Who holds a limit, and how tightly: the guard for each of its scopes, guardians for a time, the governor. The strictest counts, and
//! nobody loosens but his own.

use super::Hold;
use crate::bounds::{BoundError, Bucket, BucketSpec, GUARDIAN};
use crate::scope::RELEASE_DELAY;
use alloy_primitives::U256;

const TIME_MASK: u64 = (1 << 40) - 1;

/// Longest time, in seconds, for which a guardian holds a limit at a time: as long as it may contain a scope.
pub const GUARDIAN_HOLD: u32 = GUARDIAN.halted;

/// Seconds of holding that guardians have together, for each limit: as many as for scopes.
pub const GUARDIAN_BUDGET: BucketSpec = match GUARDIAN.bucket {
    Some(bucket) => bucket,
    None => BucketSpec { capacity: 0, period: 1 },
};

/// The guard's holds on a limit, one for each of its scopes, in one word: so that the end of one scope's containment does not loosen
/// what another's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeHolds(U256);

impl ScopeHolds {
    /// The holds in a word that [`ScopeHolds::pack`] made; what is no hold reads as full.
    #[must_use]
    pub const fn unpack(word: U256) -> Self {
        Self(word)
    }

    /// The holds as a word: two bits for each scope, from the low end.
    #[must_use]
    pub const fn pack(&self) -> U256 {
        self.0
    }

    /// The hold for a scope (below 128).
    #[must_use]
    pub fn of(&self, scope: u8) -> Hold {
        let [low, ..] = (self.0 >> (usize::from(scope & 0x7f) * 2)).into_limbs();
        Hold::from_u8((low & 3) as u8).unwrap_or(Hold::Full)
    }

    /// The strictest of all.
    #[must_use]
    pub fn strictest(&self) -> Hold {
        const FULL: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let [a, b, c, d] = self.0.into_limbs();
        match a | b | c | d {
            0 => Hold::None,
            any if any & FULL == 0 => Hold::Quarter,
            _ => Hold::Full,
        }
    }

    fn with(self, scope: u8, hold: Hold) -> Self {
        let at = usize::from(scope & 0x7f) * 2;
        Self(self.0 & !(U256::from(3u8) << at) | U256::from(hold as u8) << at)
    }

    /// The holds after containment of a scope: never looser.
    #[must_use]
    pub fn tighten(self, scope: u8, hold: Hold) -> Self {
        self.with(scope, self.of(scope).or(hold))
    }

    /// The holds after a containment of a scope has been undone down to `hold`: never tighter, and no other scope's.
    #[must_use]
    pub fn loosen(self, scope: u8, hold: Hold) -> Self {
        if hold.or(self.of(scope)) == hold {
            return self;
        }
        self.with(scope, hold)
    }
}

/// The holds of people on a limit, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    guardian: Hold,
    /// When the guardians' hold ends, Unix seconds.
    until: u64,
    governor: Hold,
    spent: Bucket,
}

/// Why a guardian may not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// Guardians hold as tightly and for as long already, or nothing was asked for.
    #[error("guardians hold it at {} already", *current as u8)]
    NotTighter {
        /// Their hold.
        current: Hold,
    },
    /// The time that guardians have for it is used up.
    #[error("guardians have used up their time for this limit: {available} s are left")]
    BudgetSpent {
        /// Seconds left.
        available: u64,
    },
}

impl Holds {
    /// The guardians' hold at `now`.
    #[must_use]
    pub const fn guardian(&self, now: u64) -> Hold {
        if now < self.until { self.guardian } else { Hold::None }
    }

    /// When the guardians' hold ends or has ended, Unix seconds.
    #[must_use]
    pub const fn until(&self) -> u64 {
        self.until
    }

    /// The governor's hold.
    #[must_use]
    pub const fn governor(&self) -> Hold {
        self.governor
    }

    /// Seconds of holding that guardians have left at `now`.
    #[must_use]
    pub fn budget(&self, now: u64) -> u64 {
        self.spent.available(&GUARDIAN_BUDGET, now)
    }

    /// What holds at `now`, besides `guard`: the strictest.
    #[must_use]
    pub fn strictest(&self, guard: Hold, now: u64) -> Hold {
        guard.or(self.governor).or(self.guardian(now))
    }

    /// A guardian's hold, from `now` for [`GUARDIAN_HOLD`] seconds or what is left of the budget. Time that is paid for is not paid for
    /// again.
    ///
    /// # Errors
    /// [`HoldError`].
    pub fn tighten(self, hold: Hold, now: u64) -> Result<Self, HoldError> {
        let current = self.guardian(now);
        let paid_until = self.until.max(now);
        let wanted = now.saturating_add(GUARDIAN_HOLD.into()).saturating_sub(paid_until);
        let available = self.budget(now);
        let seconds = wanted.min(available);
        if hold == Hold::None || hold.or(current) != hold || (hold == current && wanted == 0) {
            return Err(HoldError::NotTighter { current });
        }
        let until = paid_until.saturating_add(seconds);
        if until <= now || (hold == current && seconds == 0) {
            return Err(HoldError::BudgetSpent { available });
        }
        let spent = self
            .spent
            .charge(&GUARDIAN_BUDGET, now, seconds)
            .map_err(|error| match error {
                BoundError::BudgetSpent { available, .. } => HoldError::BudgetSpent { available },
                _ => HoldError::NotTighter { current },
            })?;
        Ok(Holds {
            guardian: hold,
            until,
            spent,
            ..self
        })
    }

    /// A guardian takes the guardians' hold back: it ends as long after `now` as a release of a scope takes, so that others see it.
    ///
    /// # Errors
    /// [`HoldError::NotTighter`]: there is none, or it ends as soon already.
    pub fn take_back(self, now: u64) -> Result<Self, HoldError> {
        let until = now.saturating_add(RELEASE_DELAY.into());
        let current = self.guardian(now);
        if current == Hold::None || self.until <= until {
            return Err(HoldError::NotTighter { current });
        }
        Ok(Holds { until, ..self })
    }

    /// The governor's hold, whichever it is.
    #[must_use]
    pub const fn governed(self, hold: Hold) -> Self {
        Holds { governor: hold, ..self }
    }

    /// The holds as a word: from the low end the end of the guardians' (40 bits), it (2), the governor's (2); the budget spent (64) and
    /// when (64).
    #[must_use]
    pub const fn pack(&self) -> U256 {
        U256::from_limbs([
            self.until & TIME_MASK | (self.guardian as u64) << 40 | (self.governor as u64) << 42,
            self.spent.spent,
            self.spent.at,
            0,
        ])
    }

    /// The holds in a word that [`Holds::pack`] made; what is no hold reads as full.
    #[must_use]
    pub fn unpack(word: U256) -> Self {
        let [low, spent, at, _] = word.into_limbs();
        let hold = |bits: u64| Hold::from_u8((bits & 3) as u8).unwrap_or(Hold::Full);
        Holds {
            guardian: hold(low >> 40),
            until: low & TIME_MASK,
            governor: hold(low >> 42),
            spent: Bucket { spent, at },
        }
    }
}
