//! What each actor may do, told a second time and by other means than the guard's: lists of what has happened instead of packed words.
//! The numbers are those of the table in `docs/guard.md`.

use alloy_primitives::{Address, B256};
use std::collections::BTreeMap;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Number of the action that never closes.
pub const REPAY: u8 = 5;

/// Bits of the roles.
pub const GUARDIAN: u8 = 1;
pub const KEEPER: u8 = 2;
pub const HEARTBEAT: u8 = 4;
pub const VETO: u8 = 8;
pub const SEAL: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    Governor,
    Guardian,
    Keeper,
    Seal,
    Anyone,
}

impl Actor {
    /// The most seconds at a level (1 Throttled, 2 ReduceOnly, 3 Halted), and the least.
    pub fn seconds(self, level: u8) -> (u64, u64) {
        match self {
            Actor::Governor => (28 * DAY, 1),
            Actor::Guardian => (DAY, 60),
            Actor::Keeper if level == 3 => (15 * 60, 60),
            Actor::Keeper => (HOUR, 60),
            Actor::Seal => (3 * DAY, 60),
            Actor::Anyone => (HOUR, 1),
        }
    }

    /// Seconds, in how many seconds.
    pub fn budget(self) -> Option<(u64, u64)> {
        match self {
            Actor::Guardian => Some((72 * HOUR, 7 * DAY)),
            Actor::Keeper => Some((2 * HOUR, DAY)),
            _ => None,
        }
    }
}

/// All that decides who may do what.
pub struct Reference {
    pub governor: Address,
    pub proposed: Address,
    pub delay: u64,
    /// The delay that everybody had time to object to.
    pub agreed: u64,
    pub closes: u64,
    pub heartbeat: u64,
    pub roles: BTreeMap<Address, u8>,
    /// When what was announced may be done.
    pub announced: BTreeMap<B256, u64>,
    /// What guardians and keepers have bought: when, how many seconds.
    charges: BTreeMap<Actor, Vec<(u64, u64)>>,
    /// When a spot rule was tripped while it was breached, by rulebook and rule.
    pub observed: BTreeMap<(u32, u16), Vec<u64>>,
}

impl Reference {
    pub fn new(governor: Address, delay: u64, heartbeat: u64) -> Self {
        Self {
            governor,
            proposed: Address::ZERO,
            delay,
            agreed: delay,
            closes: 0,
            heartbeat,
            roles: BTreeMap::new(),
            announced: BTreeMap::new(),
            charges: BTreeMap::new(),
            observed: BTreeMap::new(),
        }
    }

    pub fn has(&self, account: Address, role: u8) -> bool {
        self.roles.get(&account).is_some_and(|bits| bits & role != 0)
    }

    /// As whom an account contains.
    pub fn actor(&self, account: Address) -> Actor {
        if account == self.governor {
            Actor::Governor
        } else if self.has(account, GUARDIAN) {
            Actor::Guardian
        } else if self.has(account, KEEPER) {
            Actor::Keeper
        } else if self.has(account, SEAL) {
            Actor::Seal
        } else {
            Actor::Anyone
        }
    }

    /// Whole seconds that an actor can still buy: in no stretch of time that ends now has it more than a full budget and what comes back
    /// in that time.
    pub fn available(&self, actor: Actor, now: u64) -> u64 {
        let Some((capacity, period)) = actor.budget() else {
            return u64::MAX;
        };
        let charges = self.charges.get(&actor).map_or(&[][..], Vec::as_slice);
        let mut left = capacity * period;
        let mut bought = 0;
        for (at, seconds) in charges.iter().rev() {
            bought += seconds * period;
            left = left.min((capacity * period + (now - at) * capacity).saturating_sub(bought));
        }
        left / period
    }

    /// Whether an actor buys seconds within its budget; they are counted.
    pub fn buy(&mut self, actor: Actor, now: u64, seconds: u64) -> bool {
        if actor.budget().is_none() || seconds == 0 {
            return true;
        }
        let within = seconds <= self.available(actor, now);
        self.charges.entry(actor).or_default().push((now, seconds));
        within
    }

    /// Whether what was announced under a hash may be done now.
    pub fn is_due(&self, hash: &B256, now: u64) -> bool {
        let at = self.announced.get(hash);
        at.is_some_and(|at| *at <= now && now <= at + 14 * DAY)
    }

    /// The account's roles after one was granted or taken away; `None` when nobody may have them together.
    pub fn with_role(&self, role: u8, account: Address, granted: bool) -> Option<u8> {
        let bits = self.roles.get(&account).copied().unwrap_or_default();
        if !granted {
            return Some(bits & !role);
        }
        // With the veto goes whoever becomes a guardian.
        let next = bits | role | if role == GUARDIAN { VETO } else { 0 };
        let both = |pair: u8| (bits | role) & pair == pair;
        let apart = [KEEPER | HEARTBEAT, KEEPER | SEAL, GUARDIAN | SEAL];
        (!apart.into_iter().any(both)).then_some(next)
    }
}

/// What a level leaves open by the table of the design (`docs/rules.md`), one letter for each action: y yes, n no, a only what was announced.
pub fn is_open(level: u8, action: u8, closes: u64) -> bool {
    let row = match level {
        0 => "yyyyyyyyyyy",
        1 => "yyyyyyyyyya",
        2 => "nynnyyyyyya",
        3 => "nnnnnynnyya",
        _ => "yyynyyynyya",
    };
    let stricter = level != 0 && closes >> (16 * (u64::from(level) - 1) + u64::from(action)) & 1 == 1;
    row.as_bytes()[usize::from(action)] == b'y' && !stricter
}

/// How strict a level is.
pub fn rank(level: u8) -> u8 {
    match level {
        0 => 0,
        4 => 1,
        1 => 2,
        2 => 3,
        _ => 4,
    }
}
