//! Words of storage that gate and logic share, packed and unpacked.

use crate::quick::Quick;
use alloy_primitives::{Address, B256};

/// Set-up of the guard, one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Set-up has ended.
    pub sealed: bool,
    /// Seconds between announcement and execution of what loosens.
    pub delay: u32,
    /// What the levels close, as `cordon_core::Matrix` has it; 0 is the default.
    pub closes: u64,
    /// The delay of the set-up, or the latest that was announced: without an announcement `delay` becomes twice as long at most.
    pub agreed: u32,
}

impl Settings {
    /// From its storage word.
    #[must_use]
    pub fn unpack(word: &B256) -> Self {
        let [.., e, f, g, h, i, j, k, l, m, n, o, p, sealed, a, b, c, d] = word.0;
        Self {
            sealed: sealed != 0,
            delay: u32::from_be_bytes([a, b, c, d]),
            closes: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            // The lowest byte first: a program has no room for the other order.
            agreed: u32::from_le_bytes([e, f, g, h]),
        }
    }

    /// As a storage word.
    #[must_use]
    pub fn pack(&self) -> B256 {
        let mut word = [0; 32];
        let [.., e, f, g, h, i, j, k, l, m, n, o, p, sealed, a, b, c, d] = &mut word;
        [*e, *f, *g, *h] = self.agreed.to_le_bytes();
        *sealed = u8::from(self.sealed);
        [*a, *b, *c, *d] = self.delay.to_be_bytes();
        [*i, *j, *k, *l, *m, *n, *o, *p] = self.closes.to_be_bytes();
        B256::new(word)
    }
}

/// The rulebook that is in force, one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// Number of the rulebook, counted from 1; 0: none was adopted.
    pub epoch: u32,
    /// Number of the oldest rulebook of which calls may be in force.
    pub oldest: u32,
    /// Its address.
    pub book: Address,
}

impl Current {
    /// From its storage word.
    #[must_use]
    pub fn unpack(word: &B256) -> Self {
        let [_, _, _, _, o, p, q, r, a, b, c, d, book @ ..] = word.0;
        Self {
            epoch: u32::from_be_bytes([a, b, c, d]),
            oldest: u32::from_be_bytes([o, p, q, r]),
            book: Address::new(book),
        }
    }

    /// As a storage word.
    #[must_use]
    pub fn pack(&self) -> B256 {
        let mut word = [0; 32];
        let [_, _, _, _, o, p, q, r, a, b, c, d, book @ ..] = &mut word;
        [*a, *b, *c, *d] = self.epoch.to_be_bytes();
        [*o, *p, *q, *r] = self.oldest.to_be_bytes();
        *book = self.book.into_array();
        B256::new(word)
    }
}

/// What the guard has to do for an action's hooks once its level permits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Hooked {
    /// Nothing.
    #[default]
    Nothing = 0,
    /// `exit` checks the one-word rule and no other.
    Quick = 1,
    /// `exit` checks rules.
    Checked = 2,
    /// `enter` records values for the rules that `exit` checks.
    Recorded = 3,
}

/// A registered contract, one word: all that the hooks need while everything is Normal and no rule but the one-word rule looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// How many scopes there are; 0 when the contract is not registered.
    pub scopes: u8,
    /// [`Hooked`] of each action, two bits each, [`QUIET`] and [`CONTEXT`].
    hooked: u32,
    /// The rule that the gate checks itself.
    pub quick: Option<Quick>,
}

impl Caller {
    /// A registered contract without hooked rules.
    #[must_use]
    pub const fn new(scopes: u8, quick: Option<Quick>) -> Self {
        Self {
            scopes,
            hooked: 0,
            quick,
        }
    }

    /// Whether its hook calls are accepted.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.scopes != 0
    }

    /// Whether the stored level of every scope is Normal. Kept with the caller, so that a guarded call on a quiet day reads one
    /// word; whoever raises the first level and lowers the last keeps it so.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.hooked & QUIET != 0
    }

    /// Whether hooks keep the context of the transaction.
    #[must_use]
    pub const fn keeps_context(&self) -> bool {
        self.hooked & CONTEXT != 0
    }

    /// The same, keeping the context of the transaction.
    #[must_use]
    pub const fn keeping_context(self) -> Self {
        Self {
            hooked: self.hooked | CONTEXT,
            ..self
        }
    }

    /// The same with that set or not.
    #[must_use]
    pub const fn with_quiet(self, quiet: bool) -> Self {
        let hooked = if quiet {
            self.hooked | QUIET
        } else {
            self.hooked & !QUIET
        };
        Self { hooked, ..self }
    }

    /// What has to be done for an action; of one that does not exist, nothing.
    #[must_use]
    pub const fn hooked(&self, action: u8) -> Hooked {
        match self.hooked.wrapping_shr(shift(action)) & 3 {
            0 => Hooked::Nothing,
            1 => Hooked::Quick,
            2 => Hooked::Checked,
            _ => Hooked::Recorded,
        }
    }

    /// Whether every guarded call of its is counted from `enter` to `exit`, whatever the action.
    #[must_use]
    pub const fn counts_all(&self) -> bool {
        self.hooked & ALL_RECORDED == ALL_RECORDED
    }

    /// The same with what has to be done for an action.
    #[must_use]
    pub const fn with(self, action: u8, hooked: Hooked) -> Self {
        let at = shift(action);
        Self {
            hooked: self.hooked & !(3 << at) | (hooked as u32) << at,
            ..self
        }
    }

    /// The word of a registered contract, with whether the stored level of every scope is Normal.
    #[must_use]
    pub const fn quieted(mut word: B256, quiet: bool) -> B256 {
        let [_, flags, ..] = &mut word.0;
        if quiet {
            *flags |= QUIET_FLAG;
        } else {
            *flags &= !QUIET_FLAG;
        }
        word
    }

    /// From its storage word.
    #[must_use]
    pub fn unpack(word: &B256) -> Self {
        let [scopes, a, b, c, quick @ ..] = word.0;
        Self {
            scopes,
            hooked: u32::from_be_bytes([0, a, b, c]),
            quick: Quick::unpack(quick),
        }
    }

    /// As a storage word.
    #[must_use]
    pub fn pack(&self) -> B256 {
        let mut word = [0; 32];
        let [scopes, a, b, c, quick @ ..] = &mut word;
        *scopes = self.scopes;
        [_, *a, *b, *c] = self.hooked.to_be_bytes();
        *quick = self.quick.map_or([0; 28], |rule| rule.pack());
        B256::new(word)
    }
}

/// The two highest of the 24 bits.
const QUIET: u32 = 1 << 23;
const CONTEXT: u32 = 1 << 22;
/// [`Hooked::Recorded`] of all eleven actions.
const ALL_RECORDED: u32 = CONTEXT - 1;
/// [`QUIET`] in the second byte of the word.
const QUIET_FLAG: u8 = (QUIET >> 16 & 0xff) as u8;

/// Where the two bits of an action are. There are eleven actions; what is none has no bits.
const fn shift(action: u8) -> u32 {
    if action < 11 {
        2 * action as u32
    } else {
        24
    }
}
