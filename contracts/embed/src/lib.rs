//! The guard's hooks as a library, for protocols that are Stylus programs: [`enter`] and [`exit`] run in the protocol's own frame and
//! read one word of its storage, without a call.
//!
//! What is embedded is what has to be fast and nothing that decides. The levels are set by the protocol's guard, a contract of its own,
//! by containment calls of [`set_level`]: budgets, roles, proofs and records stay there. So the power that is embedded is small by
//! construction: the guard can close actions by the level matrix (never repayment), for [`CEILING`] at a stretch at most, and nothing
//! else; no call, no code and no funds of the protocol are its to use.
//!
//! `contracts/examples/embedded` is a contract that does so.
//!
//! ```toml
//! [[containment]]
//! id    = "till-reduce-only"
//! scope = "till"
//! level = "ReduceOnly"
//! call  = "till.setLevel(1, 2)"
//! done  = "till.levelOf(1) == 2 || till.levelOf(1) == 3"
//! undo  = [{ call = "till.setLevel(1, 0)", undone = "till.levelOf(1) == 0 || till.levelOf(1) == 4" }]
//! ```
//!
//! A call for `Halted` comes after it and is undone to `ReduceOnly` (`docs/guard.md`), so that the protocol steps down with the guard.
//!
//! What the levels close is the default matrix, for [`enter`], or one that the protocol has chosen as a constant of its own, for
//! [`enter_under`]: stricter only, for no other [`Matrix`] exists. It is not read from the guard, because that would be a call, and the
//! guard's own (`setMatrix`) does not count here.
//!
//! Rules are the protocol's own conditions, in Rust, handed to [`exit`] as verdicts. Storage is written to the VM's cache, as the SDK
//! does: it is persisted when the program ends.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

pub mod limit;

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolError;
use cordon_core::{
    level::Permission,
    rule::Verdict,
    scope::{CEILING, STEP},
    Action, Level, Matrix,
};
use cordon_host::Host;

#[allow(missing_docs)]
mod errors {
    alloy_sol_types::sol! {
        error ActionClosed(uint8 scope, uint8 level, uint8 action);
        error BadScope(uint8 scope);
        error BadLevel(uint8 level);
        error NotTheGuard(address caller);
        error AlreadyBound(address guard);
        error CeilingReached(uint8 scope, uint64 notBefore);
        error RuleFailed(uint8 scope, uint16 rule, uint256 observed, uint256 bound);
        error RuleUndecided(uint8 scope, uint16 rule);
    }
}
pub use errors::{
    ActionClosed, AlreadyBound, BadLevel, BadScope, CeilingReached, NotTheGuard, RuleFailed, RuleUndecided,
};

/// How many scopes a protocol can have; 0 is the whole protocol.
pub const SCOPES: u8 = 5;

/// Levels of all scopes: from the low end 48 bits each, see [`Held`]. No slot that the SDK gives to a field, and no hash of one.
const LEVELS: B256 = B256::new(*b"cordon.embed levels\0\0\0\0\0\0\0\0\0\0\0\0\0");
/// The guard's address.
const GUARD: B256 = B256::new(*b"cordon.embed guard\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

const HOUR: u64 = 3600;
/// Bits of a time, Unix seconds; they last for four thousand years.
const TIME_BITS: u32 = 37;
const MAX_TIME: u64 = (1 << TIME_BITS) - 1;

/// Why a call is refused: revert data, one of the errors of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Vec<u8>);

impl Refusal {
    #[inline(never)]
    fn new<E: SolError>(error: &E) -> Self {
        Self(error.abi_encode())
    }

    /// The revert data.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.0
    }
}

/// A guarded call that has begun. It is given back to [`exit`], so that the compiler sees when that is forgotten.
#[derive(Debug)]
#[must_use = "hand it to `exit` when the call has acted, or its rules are not checked"]
pub struct Guarded {
    action: Action,
    granted: Permission,
}

impl Guarded {
    /// What is granted: `Limited` and `Quartered` ask the protocol to apply its limit, or a quarter of it.
    #[must_use]
    pub const fn granted(&self) -> Permission {
        self.granted
    }
}

/// What one of the protocol's conditions said once the call had acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The scope that the condition belongs to: of the call's scopes, or 0.
    pub scope: u8,
    /// The protocol's own number of the condition.
    pub rule: u16,
    /// What it said.
    pub verdict: Verdict,
    /// What was compared, in the protocol's own units; 0 when nothing was.
    pub observed: U256,
    /// What it was compared with, in the same units; 0 when nothing was.
    pub bound: U256,
}

impl Outcome {
    /// Of a condition that holds while `observed <= bound`.
    #[must_use]
    pub fn at_most(scope: u8, rule: u16, observed: U256, bound: U256) -> Self {
        Self::compared(scope, rule, observed <= bound, observed, bound)
    }

    /// Of a condition that holds while `observed >= bound`.
    #[must_use]
    pub fn at_least(scope: u8, rule: u16, observed: U256, bound: U256) -> Self {
        Self::compared(scope, rule, observed >= bound, observed, bound)
    }

    /// Of a condition that could not be decided: a read failed.
    #[must_use]
    pub const fn undecided(scope: u8, rule: u16) -> Self {
        Self {
            scope,
            rule,
            verdict: Verdict::Unknown,
            observed: U256::ZERO,
            bound: U256::ZERO,
        }
    }

    const fn compared(scope: u8, rule: u16, holds: bool, observed: U256, bound: U256) -> Self {
        let verdict = if holds { Verdict::Holds } else { Verdict::Breached };
        Self {
            scope,
            rule,
            verdict,
            observed,
            bound,
        }
    }
}

/// Names the guard, once. For the protocol's constructor or initializer: whoever calls this first decides.
///
/// # Errors
/// [`AlreadyBound`]; [`NotTheGuard`] for the zero address.
pub fn bind<H: Host>(host: &mut H, guard: Address) -> Result<(), Refusal> {
    let bound = Address::from_word(host.load(&GUARD));
    if bound != Address::ZERO {
        return Err(Refusal::new(&AlreadyBound { guard: bound }));
    }
    if guard == Address::ZERO {
        return Err(Refusal::new(&NotTheGuard { caller: guard }));
    }
    host.store(&GUARD, &guard.into_word());
    Ok(())
}

/// Before a call acts: whether the strictest of the named scopes and scope 0 permits it. `Loosen` is refused while anything is closed:
/// announcements are the guard's.
///
/// # Errors
/// [`ActionClosed`], [`BadScope`].
pub fn enter<H: Host>(host: &H, scopes: [u8; 3], action: Action) -> Result<Guarded, Refusal> {
    enter_under(host, Matrix::DEFAULT, scopes, action)
}

/// [`enter`] by a matrix of the protocol's own, made in a constant:
///
/// ```
/// use cordon_core::{Action, Level, Matrix};
/// const STRICTER: Matrix = match Matrix::DEFAULT.closing(Level::Throttled, Action::Increase) {
///     Some(matrix) => matrix,
///     None => Matrix::DEFAULT,
/// };
/// assert_ne!(STRICTER, Matrix::DEFAULT);
/// ```
///
/// # Errors
/// [`ActionClosed`], [`BadScope`].
pub fn enter_under<H: Host>(host: &H, matrix: Matrix, scopes: [u8; 3], action: Action) -> Result<Guarded, Refusal> {
    let word = host.load(&LEVELS);
    let (mut granted, mut by) = (Permission::Open, (0, Level::Normal));
    let [a, b, c] = scopes;
    for scope in [0, a, b, c] {
        if scope >= SCOPES {
            return Err(Refusal::new(&BadScope { scope }));
        }
        // A quiet day: nothing is raised, and the time need not be asked.
        let level = if word == B256::ZERO {
            Level::Normal
        } else {
            Held::of(&word, scope).level(host.now())
        };
        let grants = matrix.permission(level, action);
        if grants > granted {
            (granted, by) = (grants, (scope, level));
        }
    }
    if !granted.passes() {
        let (scope, level) = by;
        return Err(Refusal::new(&ActionClosed {
            scope,
            level: level as u8,
            action: action as u8,
        }));
    }
    Ok(Guarded { action, granted })
}

/// When a call has acted: refuses it when one of its rules is breached, and when one could not be decided if the action adds risk.
/// A repayment passes whatever the rules say, as in the guard: a condition that others can keep breached would shut it. A protocol that
/// must not take one checks that itself.
///
/// # Errors
/// [`RuleFailed`], [`RuleUndecided`].
pub fn exit(call: Guarded, outcomes: impl IntoIterator<Item = Outcome>) -> Result<(), Refusal> {
    for outcome in outcomes {
        let Outcome {
            scope,
            rule,
            verdict,
            observed,
            bound,
        } = outcome;
        match verdict {
            Verdict::Holds => {}
            Verdict::Breached if call.action == Action::Repay => {}
            Verdict::Breached => {
                return Err(Refusal::new(&RuleFailed {
                    scope,
                    rule,
                    observed,
                    bound,
                }));
            }
            Verdict::Unknown if Action::RISK_INCREASING.contains(call.action) => {
                return Err(Refusal::new(&RuleUndecided { scope, rule }));
            }
            Verdict::Unknown => {}
        }
    }
    Ok(())
}

/// Sets the level of a scope. Only the guard, as a containment call (`Throttled`, `ReduceOnly`, `Halted`) or its undo (`Normal`).
///
/// What was raised ends [`CEILING`] after the first raise, whatever the guard does or fails to do: raising it further, lowering it to
/// another raised level, or undoing it and raising it again do not prolong it. Only time at Normal gives back as much. Undone, it is at
/// `Grace` for as long as it was raised, one hour at most.
///
/// # Errors
/// [`NotTheGuard`], [`BadScope`], [`BadLevel`], [`CeilingReached`].
pub fn set_level<H: Host>(host: &mut H, scope: u8, level: u8) -> Result<(), Refusal> {
    let caller = host.sender();
    if caller == Address::ZERO || Address::from_word(host.load(&GUARD)) != caller {
        return Err(Refusal::new(&NotTheGuard { caller }));
    }
    if scope >= SCOPES {
        return Err(Refusal::new(&BadScope { scope }));
    }
    let wanted = Level::from_u8(level).filter(|wanted| *wanted != Level::Grace);
    let wanted = wanted.ok_or_else(|| Refusal::new(&BadLevel { level }))?;
    let (word, now) = (host.load(&LEVELS), host.now().min(MAX_TIME));
    let held = Held::of(&word, scope);
    let is_raised = held.level(now).is_raised();
    let next = match (wanted.is_raised(), is_raised) {
        (true, true) => Held { level: wanted, ..held },
        (true, false) => {
            let spent = held.spent(now);
            let left = u64::from(CEILING).saturating_sub(whole_hours(spent));
            if left == 0 {
                // Once an hour is left again. Nothing comes back before Grace is over.
                let missing = spent.saturating_sub(u64::from(CEILING).saturating_sub(HOUR));
                return Err(Refusal::new(&CeilingReached {
                    scope,
                    notBefore: now.max(held.until).saturating_add(missing),
                }));
            }
            Held {
                level: wanted,
                until: now.saturating_add(left).min(MAX_TIME),
                spent: 0,
            }
        }
        (false, true) => {
            let spent = held.spent(now);
            Held {
                level: Level::Grace,
                until: now.saturating_add(spent.min(STEP.into())).min(MAX_TIME),
                spent: whole_hours(spent),
            }
        }
        (false, false) => return Ok(()),
    };
    host.store(&LEVELS, &next.put(&word, scope));
    Ok(())
}

/// The level that holds in a scope now, by its number. Of a scope that does not exist, Normal.
pub fn level_of<H: Host>(host: &H, scope: u8) -> u8 {
    if scope >= SCOPES {
        return Level::Normal as u8;
    }
    Held::of(&host.load(&LEVELS), scope).level(host.now()) as u8
}

/// The guard that was named; zero when none was.
pub fn guard<H: Host>(host: &H) -> Address {
    Address::from_word(host.load(&GUARD))
}

/// Rounds up to whole hours, in seconds: against whoever raises often.
const fn whole_hours(seconds: u64) -> u64 {
    seconds.div_ceil(HOUR).saturating_mul(HOUR)
}

/// What a scope's 48 bits say: 3 of the level, 8 of hours, 37 of time.
#[derive(Clone, Copy)]
struct Held {
    level: Level,
    until: u64,
    /// Seconds, whole hours, that it had been raised for when it was undone; 0 while it is raised, for then `until` tells.
    spent: u64,
}

impl Held {
    fn of(word: &B256, scope: u8) -> Self {
        let end = 32usize.saturating_sub(6 * usize::from(scope));
        let bits = word.get(end.saturating_sub(6)..end).and_then(|bits| bits.first_chunk());
        let [a, b, c, d, e, f] = bits.copied().unwrap_or_default();
        let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Self {
            // A damaged word never opens anything.
            level: u8::try_from(bits >> 45)
                .ok()
                .and_then(Level::from_u8)
                .unwrap_or(Level::Halted),
            spent: (bits >> TIME_BITS & 0xff).saturating_mul(HOUR),
            until: bits & MAX_TIME,
        }
    }

    fn put(&self, word: &B256, scope: u8) -> B256 {
        let mut bytes = word.0;
        let hours = (self.spent / HOUR).min(0xff);
        let bits = u64::from(self.level as u8) << 45 | hours << TIME_BITS | self.until & MAX_TIME;
        let [_, _, new @ ..] = bits.to_be_bytes();
        let end = 32usize.saturating_sub(6 * usize::from(scope));
        if let Some(place) = bytes.get_mut(end.saturating_sub(6)..end) {
            place.copy_from_slice(&new);
        }
        B256::new(bytes)
    }

    /// Seconds of [`CEILING`] that are used up: those for which it has been raised, less those at Normal since.
    fn spent(&self, now: u64) -> u64 {
        let used = if self.level.is_raised() {
            u64::from(CEILING).saturating_sub(self.until.saturating_sub(now))
        } else {
            self.spent
        };
        used.saturating_sub(now.saturating_sub(self.until))
    }

    const fn level(&self, now: u64) -> Level {
        if now < self.until {
            self.level
        } else {
            Level::Normal
        }
    }
}
