//! How far each actor's power reaches: levels, durations, budgets. The one table of these numbers.

use crate::level::Level;
use crate::scope::{Change, Raise, RaiseError, ScopeState};
use alloy_primitives::U256;

/// Oldest heartbeat, in seconds, with which the keeper still has power: 15 minutes.
pub const HEARTBEAT_MAX_AGE: u64 = 15 * 60;

/// Longest delay, in seconds, that a governor can set for itself: 30 days.
pub const GOVERNOR_DELAY_MAX: u32 = 30 * DAY;

/// Least delay, in seconds, that a governor can have: 1 hour. With none nobody could stop a thief with its key.
pub const GOVERNOR_DELAY_MIN: u32 = HOUR;

/// Seconds that must lie between the two breached observations of a spot rule.
pub const OBSERVATION_GAP: u64 = 2;

/// Oldest first observation, in seconds, that still counts for the second: 1 hour.
pub const OBSERVATION_MAX_AGE: u64 = 3600;

/// Longest time, in seconds, that a containment call may keep repayment closed: 1 hour.
pub const REPAY_CLOSED_MAX: u32 = HOUR;

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;

/// Least seconds that keeper and guardian may ask for: 1 minute. A raise leaves a record of an incident and perhaps of a halt, on which
/// others rely; nobody responds to an incident by closing for less, and a budget makes only so many records of a minute each.
pub const LEAST: u32 = MINUTE;

/// Who asks for a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Actor {
    /// Anyone, with a rule that the guard has just found breached.
    Trip = 0,
    /// The bot, while its heartbeat is fresh.
    Keeper = 1,
    /// People who may tighten.
    Guardian = 2,
    /// The timelocked owner.
    Governor = 3,
    /// People who may tighten once, for longer, until the governor arms their seal again.
    Seal = 4,
}

/// A budget of seconds that leaks back steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSpec {
    /// Seconds of containment in a full budget.
    pub capacity: u32,
    /// Seconds in which a spent budget is full again.
    pub period: u32,
}

/// What an actor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Most seconds at `Throttled`, per call.
    pub throttled: u32,
    /// Most seconds at `ReduceOnly`, per call.
    pub reduce_only: u32,
    /// Most seconds at `Halted`, per call.
    pub halted: u32,
    /// Least seconds, per call.
    pub least: u32,
    /// The budget that the seconds are taken from.
    pub bucket: Option<BucketSpec>,
    /// Whether a fresh heartbeat is needed.
    pub heartbeat: bool,
}

/// `trip`: up to the rule's level for an hour, without a budget because the breach is re-proved each time.
pub const TRIP: Bound = Bound {
    throttled: HOUR,
    reduce_only: HOUR,
    halted: HOUR,
    least: 1,
    bucket: None,
    heartbeat: false,
};

/// Keeper: `ReduceOnly` for an hour, `Halted` for 15 minutes, 2 hours a day.
pub const KEEPER: Bound = Bound {
    throttled: HOUR,
    reduce_only: HOUR,
    halted: 15 * MINUTE,
    least: LEAST,
    bucket: Some(BucketSpec {
        capacity: 2 * HOUR,
        period: DAY,
    }),
    heartbeat: true,
};

/// Guardian: any level for 24 hours, 72 hours a week.
pub const GUARDIAN: Bound = Bound {
    throttled: DAY,
    reduce_only: DAY,
    halted: DAY,
    least: LEAST,
    bucket: Some(BucketSpec {
        capacity: 72 * HOUR,
        period: 7 * DAY,
    }),
    heartbeat: false,
};

/// Governor: any level for 28 days at a time, beyond the ceiling.
pub const GOVERNOR: Bound = Bound {
    throttled: 28 * DAY,
    reduce_only: 28 * DAY,
    halted: 28 * DAY,
    least: 1,
    bucket: None,
    heartbeat: false,
};

/// Seal: any level for 72 hours, once: its use is its budget. Longer than the longest delay that a governor should have, so that what a
/// guardian's day is too short for can be mended; short of the ceiling.
pub const SEAL: Bound = Bound {
    throttled: 3 * DAY,
    reduce_only: 3 * DAY,
    halted: 3 * DAY,
    least: LEAST,
    bucket: None,
    heartbeat: false,
};

impl Actor {
    /// The actor's row of the table.
    #[must_use]
    pub const fn bound(self) -> &'static Bound {
        match self {
            Actor::Trip => &TRIP,
            Actor::Keeper => &KEEPER,
            Actor::Guardian => &GUARDIAN,
            Actor::Governor => &GOVERNOR,
            Actor::Seal => &SEAL,
        }
    }
}

impl Bound {
    /// Most seconds at `level`, per call.
    #[must_use]
    pub const fn seconds(&self, level: Level) -> u32 {
        match level {
            Level::Throttled => self.throttled,
            Level::ReduceOnly => self.reduce_only,
            Level::Halted => self.halted,
            Level::Normal | Level::Grace => 0,
        }
    }
}

/// Why an actor may not do what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Shorter than the actor may.
    #[error("{wanted} s is less than the {least} s that this role must ask for at least")]
    DurationTooShort {
        /// Seconds asked for.
        wanted: u32,
        /// Least seconds.
        least: u32,
    },
    /// Longer than the actor may at this level.
    #[error("{wanted} s is more than the {most} s that this role may ask for at once")]
    DurationBeyondRole {
        /// Seconds asked for.
        wanted: u32,
        /// Most seconds.
        most: u32,
    },
    /// The keeper's heartbeat is too old.
    #[error("the last heartbeat, at {last}, is older than {HEARTBEAT_MAX_AGE} s")]
    HeartbeatStale {
        /// Time of the last heartbeat in Unix seconds.
        last: u64,
    },
    /// The budget does not suffice.
    #[error("the budget has {available} s left, {wanted} s are needed")]
    BudgetSpent {
        /// Seconds left, rounded down.
        available: u64,
        /// Seconds needed.
        wanted: u64,
    },
    /// The scope does not allow the transition.
    #[error(transparent)]
    Scope(#[from] RaiseError),
}

/// A leaky bucket in one word: what is spent leaks out at `capacity / period`. It is kept in seconds times the period, so
/// that it never rounds and many small updates equal one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Seconds spent times the period.
    pub spent: u64,
    /// When `spent` was computed, in Unix seconds.
    pub at: u64,
}

impl Bucket {
    /// The bucket in a word: spent in the lowest 64 bits, time in the next.
    #[must_use]
    pub const fn unpack(word: U256) -> Self {
        let [spent, at, _, _] = word.into_limbs();
        Bucket { spent, at }
    }

    /// The bucket as a word.
    #[must_use]
    pub const fn pack(&self) -> U256 {
        U256::from_limbs([self.spent, self.at, 0, 0])
    }

    /// The bucket with what has leaked until `now` taken out.
    #[must_use]
    pub const fn leaked(&self, spec: &BucketSpec, now: u64) -> Self {
        let leak = now.saturating_sub(self.at).saturating_mul(spec.capacity as u64);
        Bucket {
            spent: self.spent.saturating_sub(leak),
            at: if now > self.at { now } else { self.at },
        }
    }

    /// Whole seconds that can be spent at `now`.
    #[must_use]
    pub fn available(&self, spec: &BucketSpec, now: u64) -> u64 {
        let full = u64::from(spec.capacity).saturating_mul(u64::from(spec.period));
        let left = full.saturating_sub(self.leaked(spec, now).spent);
        left.checked_div(u64::from(spec.period)).unwrap_or(0)
    }

    /// Takes `seconds` out of the budget at `now`.
    ///
    /// # Errors
    /// [`BoundError::BudgetSpent`] when less is left.
    pub fn charge(&self, spec: &BucketSpec, now: u64, seconds: u64) -> Result<Self, BoundError> {
        let available = self.available(spec, now);
        if seconds > available {
            return Err(BoundError::BudgetSpent {
                available,
                wanted: seconds,
            });
        }
        let leaked = self.leaked(spec, now);
        let cost = seconds.saturating_mul(u64::from(spec.period));
        Ok(Bucket {
            spent: leaked.spent.saturating_add(cost),
            at: leaked.at,
        })
    }
}

/// What an actor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks. For [`Actor::Trip`] the caller has found the rule breached and chosen its level and duration.
    pub actor: Actor,
    /// The level wanted.
    pub level: Level,
    /// For how many seconds.
    pub duration: u32,
    /// Time of the last heartbeat in Unix seconds; used for the keeper only.
    pub last_heartbeat: u64,
    /// Number that a new incident gets if one is opened.
    pub next_incident: u32,
    /// Seconds of containment that came about elsewhere, see [`Raise::elsewhere`].
    pub elsewhere: u32,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The scope's next state.
    pub state: ScopeState,
    /// The actor's next bucket.
    pub bucket: Bucket,
    /// What changed.
    pub change: Change,
}

/// Decides a request: the actor's bound first, then the scope's transition, then the budget for the seconds that it adds.
/// A level that already holds for long enough costs nothing.
///
/// # Errors
/// [`BoundError`], in that order.
pub fn contain(state: ScopeState, bucket: Bucket, now: u64, request: &Request) -> Result<Outcome, BoundError> {
    let bound = request.actor.bound();
    if !request.level.is_raised() {
        let wanted = request.level;
        return Err(BoundError::Scope(RaiseError::BadLevel { wanted }));
    }
    let most = bound.seconds(request.level);
    if request.duration < bound.least {
        return Err(BoundError::DurationTooShort {
            wanted: request.duration,
            least: bound.least,
        });
    }
    if request.duration > most {
        return Err(BoundError::DurationBeyondRole {
            wanted: request.duration,
            most,
        });
    }
    if bound.heartbeat && now.saturating_sub(request.last_heartbeat) > HEARTBEAT_MAX_AGE {
        return Err(BoundError::HeartbeatStale {
            last: request.last_heartbeat,
        });
    }
    let held = state.effective(now);
    let raise = Raise {
        level: request.level,
        duration: request.duration,
        next_incident: request.next_incident,
        governor: matches!(request.actor, Actor::Governor),
        // A seal is spent by its use.
        budgeted: bound.bucket.is_some() || matches!(request.actor, Actor::Seal),
        elsewhere: request.elsewhere,
    };
    let (mut next, change) = state.raise(now, &raise)?;
    if matches!(request.actor, Actor::Keeper | Actor::Seal) && !matches!(change, Change::Raised { opened: true, .. }) {
        // Only a guardian, the governor or a fresh observation cancels a release: a stolen key of another must not keep a scope shut.
        next.release_at = state.release_at;
    }
    let from = match change {
        Change::Nothing => {
            return Ok(Outcome {
                state: next,
                bucket,
                change,
            });
        }
        Change::Extended => held.expires_at,
        Change::Raised { .. } => now,
    };
    let bucket = match &bound.bucket {
        Some(spec) => bucket.charge(spec, now, next.expires_at.saturating_sub(from))?,
        None => bucket,
    };
    Ok(Outcome {
        state: next,
        bucket,
        change,
    })
}
