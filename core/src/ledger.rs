//! What every response to an incident changes besides its scope, in one word: the budgets of the actors, the heartbeat, and how
//! much is contained. A response reads it once and writes it once.

use crate::bounds::{Actor, Bucket};
use crate::scope::MAX_TIME;
use alloy_primitives::U256;

/// The word, unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Number of the latest incident; 0 before the first.
    pub incidents: u32,
    /// How many scopes have a stored level other than `Normal`.
    pub raised: u8,
    /// Whether the whole protocol (scope 0) was contained at some time: its word then counts against every scope's ceiling.
    pub whole: bool,
    /// How many containment calls are in force, of whichever rulebook.
    pub in_force: u16,
    /// Time of the latest heartbeat, Unix seconds; 0 before the first.
    pub heartbeat: u64,
    /// When the budgets were last computed, Unix seconds.
    at: u64,
    /// What the guardians have spent, as [`Bucket::spent`].
    guardian: u64,
    /// What the keepers have spent, as [`Bucket::spent`].
    keeper: u64,
}

impl Ledger {
    /// The budget of an actor; that of one without a budget is never charged.
    #[must_use]
    pub const fn bucket(&self, actor: Actor) -> Bucket {
        let spent = match actor {
            Actor::Guardian => self.guardian,
            Actor::Keeper => self.keeper,
            Actor::Trip | Actor::Governor | Actor::Seal => 0,
        };
        Bucket { spent, at: self.at }
    }

    /// The same after a charge. The other budget is brought to the same time, which changes nothing of it: a bucket never rounds.
    #[must_use]
    pub fn with_bucket(self, actor: Actor, bucket: Bucket) -> Self {
        let at = bucket.at.max(self.at).min(MAX_TIME);
        let brought = |of: Actor| match of.bound().bucket {
            Some(_) if of == actor => bucket.spent,
            Some(spec) => self.bucket(of).leaked(&spec, at).spent,
            None => 0,
        };
        Ledger {
            at,
            guardian: brought(Actor::Guardian),
            keeper: brought(Actor::Keeper),
            ..self
        }
    }

    /// The ledger as one word, which is never zero. From the low end: heartbeat (40 bits), zero (24); guardians' spending (40),
    /// raised scopes (8), calls in force (16); keepers' spending (32), incidents (32); time of the budgets (40), whole protocol
    /// contained (1), zero (22), one (1).
    #[must_use]
    pub const fn pack(&self) -> U256 {
        U256::from_limbs([
            self.heartbeat & MAX_TIME,
            at_most(self.guardian, MAX_TIME) | (self.raised as u64) << 40 | (self.in_force as u64) << 48,
            at_most(self.keeper, 0xffff_ffff) | (self.incidents as u64) << 32,
            self.at & MAX_TIME | (self.whole as u64) << 40 | 1 << 63,
        ])
    }

    /// From the word.
    #[must_use]
    pub const fn unpack(word: U256) -> Self {
        let [first, second, third, fourth] = word.into_limbs();
        Ledger {
            incidents: (third >> 32) as u32,
            raised: (second >> 40 & 0xff) as u8,
            whole: fourth >> 40 & 1 == 1,
            in_force: (second >> 48) as u16,
            heartbeat: first & MAX_TIME,
            at: fourth & MAX_TIME,
            guardian: second & MAX_TIME,
            keeper: third & 0xffff_ffff,
        }
    }
}

const fn at_most(value: u64, most: u64) -> u64 {
    if value > most { most } else { value }
}
