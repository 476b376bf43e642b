//! State of one scope: which level holds, until when, and how it gets back to `Normal`.
//!
//! Transitions are pure: they take the state and the time and return the next state. Whether an actor may ask for one at
//! all is decided in [`crate::bounds`].

use crate::level::Level;
use crate::rule::Verdict;
use alloy_primitives::{B256, U256};

/// Longest time, in seconds, that a scope can be away from `Normal` without the governor, stepping down included: 7 days.
pub const CEILING: u32 = 7 * 24 * 3600;

/// Seconds that a queued release waits, so that a guardian can cancel it: 15 minutes.
pub const RELEASE_DELAY: u32 = 15 * 60;

/// Most seconds that each of `ReduceOnly`, `Throttled` and `Grace` lasts below the level that a call raises to: 1 hour. A call that pays for
/// less from a budget makes them no longer than that, so that nobody gets hours of closure for a second of budget.
pub const STEP: u32 = 3600;

/// Latest time that the packed word can hold (40 bits).
pub const MAX_TIME: u64 = (1 << 40) - 1;

/// First byte of the keys under which a guard stores scopes: a tag of its own among those of `contracts/host/src/layout.rs`.
pub const TAG: u8 = 4;

/// Where a guard stores the word of a scope, see [`ScopeState::pack`].
#[must_use]
pub const fn key(scope: u8) -> B256 {
    let mut key = [0; 32];
    key[0] = TAG;
    key[31] = scope;
    B256::new(key)
}

const SPENT_BITS: u32 = 20;
const CEILING_BITS: u32 = 22;
const THROTTLE_BITS: u32 = 22;
const GRACE_BITS: u32 = 12;
const HOLD_BITS: u32 = 24;

/// State of a scope, stored in one 256-bit word. All times are Unix seconds. The level is the one last set; ask
/// [`ScopeState::effective`] for the one that holds now.
///
/// What it says is a schedule: until when the scope is at each level or a stricter one. Raising a level lays another schedule over it,
/// and at every moment the stricter of the two holds: nothing that stood before is shortened, and nothing of it is prolonged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeState {
    /// Level last set.
    pub level: Level,
    /// Whether the governor has raised or extended this containment.
    pub by_governor: bool,
    /// When the level last set begins to step down. While the level is `Normal`: when the last containment ended.
    pub expires_at: u64,
    /// When the containment began; 0 when `Normal`.
    pub since: u64,
    /// Seconds of earlier containment that still count against the ceiling, at most [`CEILING`].
    pub spent: u32,
    /// When the scope is back at `Normal` at the latest; 0 when `Normal`.
    pub ceiling_at: u64,
    /// Number of the incident that is open; 0 when none is. It stays after the scope is back at `Normal`, until what was done in
    /// it is undone and [`ScopeState::closed`] says so.
    pub incident: u32,
    /// When a queued release may be executed; 0 when none is queued.
    pub release_at: u64,
    /// Seconds at `ReduceOnly` after `Halted`. Less than 2^24.
    pub hold: u32,
    /// Seconds at `Throttled` after the stricter levels. Less than 2^22.
    pub throttle: u32,
    /// Seconds at `Grace` after all others, at most [`STEP`].
    pub grace: u32,
}

/// Until when a scope is at a level or a stricter one, in Unix seconds; each end is at or after that of the stricter level.
#[derive(Clone, Copy)]
struct Schedule {
    halted: u64,
    reduce_only: u64,
    throttled: u64,
    grace: u64,
}

impl Schedule {
    const fn end(&self, level: Level) -> u64 {
        match level {
            Level::Halted => self.halted,
            Level::ReduceOnly => self.reduce_only,
            Level::Throttled => self.throttled,
            Level::Grace => self.grace,
            Level::Normal => 0,
        }
    }

    /// The stricter, at every moment, of this schedule and of one that holds `level` until `until`, then each looser one for `step`
    /// seconds.
    fn over(self, level: Level, until: u64, step: u64) -> Self {
        let mut end = until;
        let mut lay = |rung: Level, before: u64| {
            if rung.rank() > level.rank() {
                return before;
            }
            let laid = before.max(end);
            end = end.saturating_add(step);
            laid
        };
        Schedule {
            halted: lay(Level::Halted, self.halted),
            reduce_only: lay(Level::ReduceOnly, self.reduce_only),
            throttled: lay(Level::Throttled, self.throttled),
            grace: lay(Level::Grace, self.grace),
        }
    }
}

/// The level that holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The level that holds.
    pub level: Level,
    /// When it steps down, in Unix seconds; 0 when `Normal`.
    pub expires_at: u64,
}

/// What a transition did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The level already holds for long enough.
    Nothing,
    /// The level holds for longer.
    Extended,
    /// The level is stricter than before.
    Raised {
        /// The level that held before.
        from: Level,
        /// Whether a new incident was opened.
        opened: bool,
    },
}

/// Why a level is not raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaiseError {
    /// `Normal` and `Grace` cannot be raised to.
    #[error("a scope cannot be raised to {}: use Throttled, ReduceOnly or Halted", wanted.name())]
    BadLevel {
        /// The level that was asked for.
        wanted: Level,
    },
    /// A stricter level holds, and not for as long as was asked.
    #[error("{} already holds, which is stricter than {}: wait until it has expired", current.name(), wanted.name())]
    NotTighter {
        /// The level that holds.
        current: Level,
        /// The level that was asked for.
        wanted: Level,
    },
    /// The scope has been contained for as long as it can be without the governor.
    #[error("the scope must be back at Normal by {ceiling_at}: only the governor can contain it for longer")]
    CeilingReached {
        /// When the scope is back at `Normal` at the latest, in Unix seconds.
        ceiling_at: u64,
    },
}

/// Why a level is not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// No level is raised.
    #[error("nothing to release: no level is raised in this scope")]
    NothingToRelease,
    /// The release was not queued, or was cancelled.
    #[error("no release is queued in this scope: queue it first")]
    ReleaseNotQueued,
    /// The release has not waited long enough.
    #[error("the queued release may be executed at {release_at}, not before")]
    ReleaseTooEarly {
        /// When it may be executed, in Unix seconds.
        release_at: u64,
    },
}

/// How a level is to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// The level wanted: `Throttled`, `ReduceOnly` or `Halted`.
    pub level: Level,
    /// For how many seconds from now.
    pub duration: u32,
    /// Number that a new incident gets if one is opened.
    pub next_incident: u32,
    /// Whether the governor asks: the ceiling then moves instead of refusing.
    pub governor: bool,
    /// Whether it is paid for from a budget. Then the steps down are no longer than what is paid for; what a breach proves, or the governor
    /// asks for, steps down as long as it holds from now on.
    pub budgeted: bool,
    /// Seconds of containment that came about elsewhere and count against this scope's ceiling, see [`ScopeState::used`]: of a scope those of
    /// the whole protocol (scope 0), of the whole protocol the most of any scope. They count when a containment begins.
    pub elsewhere: u32,
}

/// Whether a robust rule of a scope lets its level be released. What is not known to hold does not open, unless it is the governor that asks
/// and the rule has no part in the incident: what was raised by mistake must not wait until some oracle can be read. A guardian is never let
/// past what is not known, also where the containment itself keeps the guard from storing what the rule compares with: who waits long enough would
/// open a scope over a breach. `has_part` is asked for only when it matters.
#[must_use]
pub fn lets_release(verdict: Verdict, governor: bool, has_part: impl FnOnce() -> bool) -> bool {
    match verdict {
        Verdict::Holds => true,
        Verdict::Breached => false,
        Verdict::Unknown => governor && !has_part(),
    }
}

/// Most seconds from the expiry of `level` until the scope is back at `Normal`, unless it was held for longer before.
#[must_use]
pub const fn tail_seconds(level: Level) -> u32 {
    match level {
        Level::Halted => 3 * STEP,
        Level::ReduceOnly => 2 * STEP,
        Level::Throttled => STEP,
        Level::Grace | Level::Normal => 0,
    }
}

impl ScopeState {
    /// The level that holds at `now`: an expired level steps down one rung at a time,
    /// `Halted -> ReduceOnly -> Throttled -> Grace -> Normal`, as its schedule says.
    #[must_use]
    pub fn effective(&self, now: u64) -> Effective {
        let (level, until) = self.walk(now);
        Effective {
            level,
            expires_at: if matches!(level, Level::Normal) { 0 } else { until },
        }
    }

    /// The level at `now` and its end; for `Normal`, the time at which containment ended.
    fn walk(&self, now: u64) -> (Level, u64) {
        let schedule = self.schedule();
        let mut level = self.level;
        let mut until = self.expires_at;
        while !matches!(level, Level::Normal) && now >= until {
            level = level.step_down();
            until = until.max(schedule.end(level));
        }
        (level, until)
    }

    fn schedule(&self) -> Schedule {
        let rank = self.level.rank();
        let mut end = 0u64;
        let mut rung = |level: Level, stay: u32| {
            if rank > level.rank() {
                end = end.saturating_add(stay.into());
            } else if rank == level.rank() {
                end = self.expires_at;
            }
            end
        };
        Schedule {
            halted: rung(Level::Halted, 0),
            reduce_only: rung(Level::ReduceOnly, self.hold),
            throttled: rung(Level::Throttled, self.throttle),
            grace: rung(Level::Grace, self.grace),
        }
    }

    /// Until when the scope stays at `level` or stricter, if nothing else happens; 0 when it does not.
    #[must_use]
    pub fn held_until(&self, level: Level) -> u64 {
        self.schedule().end(level)
    }

    /// Seconds of containment that count against the ceiling at `now`: those that it has lasted, and those of before that no time at
    /// `Normal` has given back. None of a containment that the governor has taken on itself.
    #[must_use]
    pub fn used(&self, now: u64) -> u32 {
        let settled = self.settled(now);
        let lasted = if matches!(settled.level, Level::Normal) || settled.by_governor {
            0
        } else {
            now.saturating_sub(settled.since)
        };
        let used = u64::from(settled.spent).saturating_add(lasted).min(u64::from(CEILING));
        u32::try_from(used).unwrap_or(CEILING)
    }

    /// The state with an ended containment written off: the same state while one is in force, else `Normal` with the
    /// seconds that still count against the ceiling.
    #[must_use]
    pub fn settled(self, now: u64) -> Self {
        let (level, ended) = self.walk(now);
        if !matches!(level, Level::Normal) {
            return self;
        }
        let lasted = if matches!(self.level, Level::Normal) || self.by_governor {
            0
        } else {
            ended.saturating_sub(self.since)
        };
        let spent = u64::from(self.spent).saturating_add(lasted).min(u64::from(CEILING));
        // A second at Normal gives back a second of containment.
        let spent = spent.saturating_sub(now.saturating_sub(ended));
        let spent = u32::try_from(spent).unwrap_or(CEILING);
        ScopeState {
            expires_at: now,
            spent,
            incident: self.incident,
            ..ScopeState::default()
        }
    }

    /// The state when its incident is over.
    #[must_use]
    pub const fn closed(self) -> Self {
        ScopeState { incident: 0, ..self }
    }

    /// Raises or extends a level. A queued release is cancelled, also when the level already held for long enough.
    ///
    /// # Errors
    /// [`RaiseError::BadLevel`], [`RaiseError::NotTighter`], [`RaiseError::CeilingReached`].
    pub fn raise(self, now: u64, raise: &Raise) -> Result<(Self, Change), RaiseError> {
        if !raise.level.is_raised() {
            return Err(RaiseError::BadLevel { wanted: raise.level });
        }
        let now = now.min(MAX_TIME);
        let mut next = self.settled(now);
        next.release_at = 0;
        let held = next.effective(now);
        let wanted = now.saturating_add(u64::from(raise.duration)).min(MAX_TIME);
        if held.level.rank() >= raise.level.rank() && next.held_until(raise.level) >= wanted {
            return Ok((next, Change::Nothing));
        }
        if held.level.rank() > raise.level.rank() {
            return Err(RaiseError::NotTighter {
                current: held.level,
                wanted: raise.level,
            });
        }
        let opened = matches!(held.level, Level::Normal);
        if opened {
            next.since = now;
            next.spent = next.spent.max(raise.elsewhere).min(CEILING);
            next.ceiling_at = now
                .saturating_add(u64::from(CEILING.saturating_sub(next.spent)))
                .min(MAX_TIME);
            next.incident = raise.next_incident;
        }
        let tail = u64::from(tail_seconds(raise.level));
        let until = if raise.governor {
            next.by_governor = true;
            next.ceiling_at = next.ceiling_at.max(wanted.saturating_add(tail)).min(MAX_TIME);
            wanted
        } else {
            wanted.min(next.ceiling_at.saturating_sub(tail))
        };
        let before = next.schedule();
        let stands = before.end(raise.level).max(now);
        if until <= stands {
            return Err(RaiseError::CeilingReached {
                ceiling_at: next.ceiling_at,
            });
        }
        let from = if raise.budgeted { stands } else { now };
        let step = until.saturating_sub(from).min(u64::from(STEP));
        let after = before.over(raise.level, until, step);
        let stay = |end: u64, stricter: u64, bits: u32| low_bits(end.saturating_sub(stricter.max(until)), bits);
        next.level = raise.level;
        next.expires_at = until;
        next.hold = stay(after.reduce_only, after.halted, HOLD_BITS);
        next.throttle = stay(after.throttled, after.reduce_only, THROTTLE_BITS);
        next.grace = stay(after.grace, after.throttled, GRACE_BITS);
        let same = held.level.rank() == raise.level.rank();
        let change = if same {
            Change::Extended
        } else {
            Change::Raised {
                from: held.level,
                opened,
            }
        };
        Ok((next, change))
    }

    /// Whether the level governs in the stead of a rule of the scope that is breached and was tripped in the incident of this number (0:
    /// never): it holds, or the ceiling does not let it be raised again. What can no longer raise a level must not close the protocol
    /// by reverting either. `elsewhere` is asked for only when it matters, see [`Raise::elsewhere`].
    #[must_use]
    pub fn governs(self, now: u64, tripped: u32, level: Level, duration: u32, elsewhere: impl FnOnce() -> u32) -> bool {
        if tripped == 0 {
            return false;
        }
        if self.incident == tripped && self.effective(now).level.rank() >= level.rank() {
            return true;
        }
        let again = Raise {
            level,
            duration,
            next_incident: 0,
            governor: false,
            budgeted: false,
            elsewhere: elsewhere(),
        };
        matches!(self.raise(now, &again), Err(RaiseError::CeilingReached { .. }))
    }

    /// Queues the release of the scope for [`RELEASE_DELAY`] seconds from now. A release that is already queued keeps its
    /// time.
    ///
    /// # Errors
    /// [`ReleaseError::NothingToRelease`] when no level is raised.
    pub fn queue_release(self, now: u64) -> Result<Self, ReleaseError> {
        if !self.effective(now).level.is_raised() {
            return Err(ReleaseError::NothingToRelease);
        }
        let at = now.saturating_add(u64::from(RELEASE_DELAY)).min(MAX_TIME);
        Ok(ScopeState {
            release_at: if self.release_at == 0 { at } else { self.release_at },
            ..self
        })
    }

    /// Cancels a queued release.
    ///
    /// # Errors
    /// [`ReleaseError::ReleaseNotQueued`] when none is queued.
    pub fn cancel_release(self) -> Result<Self, ReleaseError> {
        if self.release_at == 0 {
            return Err(ReleaseError::ReleaseNotQueued);
        }
        Ok(ScopeState { release_at: 0, ..self })
    }

    /// Executes a queued release: the scope goes to `Grace` for [`STEP`] seconds.
    ///
    /// # Errors
    /// [`ReleaseError::ReleaseNotQueued`], [`ReleaseError::NothingToRelease`], [`ReleaseError::ReleaseTooEarly`].
    pub fn release(self, now: u64) -> Result<Self, ReleaseError> {
        if self.release_at == 0 {
            return Err(ReleaseError::ReleaseNotQueued);
        }
        if !self.effective(now).level.is_raised() {
            return Err(ReleaseError::NothingToRelease);
        }
        if now < self.release_at {
            return Err(ReleaseError::ReleaseTooEarly {
                release_at: self.release_at,
            });
        }
        let expires_at = now.saturating_add(u64::from(STEP)).min(MAX_TIME);
        Ok(ScopeState {
            level: Level::Grace,
            expires_at,
            release_at: 0,
            ..self
        })
    }

    /// The state as one word, which is never zero, so that a word written once is cheap to write again. From the low end: expiry
    /// (40 bits), level (8), governor (1), one (1), seconds at `Grace` (12), zero (2); begin (40), seconds at `ReduceOnly` (24); incident
    /// (32), release in seconds after the begin (32); seconds at `Throttled` (22), seconds spent (20), ceiling in seconds after the
    /// expiry (22).
    #[must_use]
    pub const fn pack(&self) -> U256 {
        let release = at_most(self.release_at.saturating_sub(self.since), 0xffff_ffff);
        let ceiling = at_most(self.ceiling_at.saturating_sub(self.expires_at), (1 << CEILING_BITS) - 1);
        U256::from_limbs([
            time(self.expires_at)
                | (self.level as u64) << 40
                | (self.by_governor as u64) << 48
                | 1 << 49
                | low(self.grace, GRACE_BITS) << 50,
            time(self.since) | low(self.hold, HOLD_BITS) << 40,
            self.incident as u64 | release << 32,
            low(self.throttle, THROTTLE_BITS) | low(self.spent, SPENT_BITS) << THROTTLE_BITS | ceiling << 42,
        ])
    }

    /// The state in a word that [`ScopeState::pack`] made. A level that does not exist reads as `Halted`, so that a
    /// damaged word never opens anything.
    #[must_use]
    pub const fn unpack(word: U256) -> Self {
        let [first, second, third, fourth] = word.into_limbs();
        let (expires_at, since) = (time(first), time(second));
        let release = third >> 32;
        ScopeState {
            level: match Level::from_u8((first >> 40 & 0xff) as u8) {
                Some(level) => level,
                None => Level::Halted,
            },
            by_governor: first >> 48 & 1 == 1,
            expires_at,
            since,
            spent: (fourth >> THROTTLE_BITS & ((1 << SPENT_BITS) - 1)) as u32,
            ceiling_at: if since == 0 {
                0
            } else {
                expires_at.saturating_add(fourth >> 42)
            },
            incident: (third & 0xffff_ffff) as u32,
            release_at: if release == 0 { 0 } else { since.saturating_add(release) },
            hold: (second >> 40) as u32,
            throttle: (fourth & ((1 << THROTTLE_BITS) - 1)) as u32,
            grace: (first >> 50 & ((1 << GRACE_BITS) - 1)) as u32,
        }
    }
}

/// The number, or the greatest of so many bits, at most 32.
const fn low_bits(value: u64, bits: u32) -> u32 {
    (at_most(value, (1 << bits) - 1) & 0xffff_ffff) as u32
}

/// The lowest bits of a number.
const fn low(value: u32, bits: u32) -> u64 {
    value as u64 & ((1 << bits) - 1)
}

const fn at_most(value: u64, most: u64) -> u64 {
    if value > most { most } else { value }
}

const fn time(value: u64) -> u64 {
    value & MAX_TIME
}
