//! Where the guard keeps what. Gate and logic share this storage, and an upgrade of the logic must keep it.
//!
//! A key is composed, not hashed: its first byte is a tag, the last bytes are the fields, the rest is zero. Nothing else
//! writes to this storage, so keys of different tags cannot collide, and the hot path pays for no hash.

use alloy_primitives::{Address, B256, U256};

pub use crate::words::{Caller, Current, Hooked, Settings};

/// Tags of persistent storage.
mod tag {
    pub(super) const CONFIG: u8 = 1;
    pub(super) const CALLER: u8 = 2;
    pub(super) const ROLE: u8 = 3;
    // That of `cordon_core::scope::key` too: keepers read these words.
    pub(super) const SCOPE: u8 = 4;
    pub(super) const RULE: u8 = 5;
    pub(super) const OBSERVATION: u8 = 6;
    pub(super) const CONTAINMENT: u8 = 7;
    pub(super) const INCIDENT: u8 = 8;
    pub(super) const ANNOUNCEMENT: u8 = 9;
    pub(super) const BOOK: u8 = 10;
    pub(super) const HALT: u8 = 12;
    pub(super) const NESTING: u8 = 13;
    pub(super) const ENTRY: u8 = 14;
    pub(super) const CONTEXT: u8 = 16;
    pub(super) const FLOW: u8 = 17;
    pub(super) const LOCK: u8 = 15;
    pub(super) const TURN: u8 = 19;
    pub(super) const CLOCK: u8 = 20;
    // 18 is that of streams, `cordon_core::anchor::TAG`: keepers know their keys too.
}

/// Numbers of the words that hold the programs behind the gate, see [`config`].
pub mod program {
    /// See [`super::LOGIC`].
    pub const LOGIC: u8 = 0;
    /// See [`super::RECOVER`].
    pub const RECOVER: u8 = 8;
    /// See [`super::ADMIN`].
    pub const ADMIN: u8 = 9;
    /// See [`super::HOOKS`].
    pub const HOOKS: u8 = 10;
    /// See [`super::CONTAIN`].
    pub const CONTAIN: u8 = 11;
    /// See [`super::INSPECT`].
    pub const INSPECT: u8 = 12;
}

/// Numbers of words that every response reads, see [`config`].
pub mod word {
    /// See [`super::CURRENT`].
    pub const CURRENT: u8 = 4;
    /// See [`super::LEDGER`].
    pub const LEDGER: u8 = 5;
}

/// A word of the guard's configuration, by its number.
#[must_use]
pub const fn config(index: u8) -> B256 {
    let mut key = [0; 32];
    key[0] = tag::CONFIG;
    key[31] = index;
    B256::new(key)
}

/// Address of the respond program (right-aligned); zero before `initialize`.
pub const LOGIC: B256 = config(program::LOGIC);
/// Address of the governor.
pub const GOVERNOR: B256 = config(1);
/// Address of the proposed governor.
pub const PROPOSED: B256 = config(2);
/// See [`Settings`].
pub const SETTINGS: B256 = config(3);
/// The current rulebook, see [`Current`].
pub const CURRENT: B256 = config(word::CURRENT);
/// What every response changes, see `cordon_core::ledger::Ledger`.
pub const LEDGER: B256 = config(word::LEDGER);
/// Address of the recover program; zero before `initialize`.
pub const RECOVER: B256 = config(program::RECOVER);
/// Address of the admin program; zero before `initialize`.
pub const ADMIN: B256 = config(program::ADMIN);
/// Address of the hooks program; zero before `initialize`.
pub const HOOKS: B256 = config(program::HOOKS);
/// Address of the contain program; zero before `initialize`.
pub const CONTAIN: B256 = config(program::CONTAIN);
/// Address of the inspect program; zero before `initialize`.
pub const INSPECT: B256 = config(program::INSPECT);
/// Where the addresses of the programs behind the gate are, in the order of the ABI.
pub const PROGRAMS: [B256; 6] = [LOGIC, HOOKS, RECOVER, ADMIN, CONTAIN, INSPECT];

/// The key with these last bytes.
fn tagged<const N: usize>(tag: u8, fields: &[u8; N]) -> B256 {
    let mut key = [0; 32];
    key[0] = tag;
    if let Some(tail) = key.last_chunk_mut::<N>() {
        *tail = *fields;
    }
    B256::new(key)
}

fn numbered(tag: u8, epoch: u32, number: u16) -> B256 {
    let mut key = [0; 32];
    key[0] = tag;
    let [.., a, b, c, d, e, f] = &mut key;
    [*a, *b, *c, *d] = epoch.to_be_bytes();
    [*e, *f] = number.to_be_bytes();
    B256::new(key)
}

/// What is kept about a contract that may call the hooks, see [`Caller`].
#[must_use]
pub fn caller(account: &Address) -> B256 {
    tagged(tag::CALLER, &account.0)
}

/// What an account may do: bit `i` for the role of number `i`, and [`GOVERNS`].
#[must_use]
pub fn roles(account: &Address) -> B256 {
    tagged(tag::ROLE, &account.0)
}

/// The bit of [`roles`] that the governor's account has.
pub const GOVERNS: u8 = 7;

/// State of a scope (`cordon_core::scope::ScopeState`).
#[must_use]
pub fn scope(scope: u8) -> B256 {
    tagged(tag::SCOPE, &[0, scope])
}

/// What is known of a rule of the rulebook `epoch`, see the logic's `RuleState`.
#[must_use]
pub fn rule(epoch: u32, rule: u16) -> B256 {
    numbered(tag::RULE, epoch, rule)
}

/// A word of the record of an incident, by its place in the ring: 0 and 1 are those of `cordon_core::incident::Incident`, 2 is the
/// hash of all notes.
#[must_use]
pub fn incident(slot: u8, part: u8) -> B256 {
    tagged(tag::INCIDENT, &[slot, part])
}

/// Time of the first breached observation of a spot rule with the witness of this hash.
#[must_use]
pub fn observation(epoch: u32, rule: u16, witness: &B256) -> B256 {
    let mut key = numbered(tag::OBSERVATION, epoch, rule);
    for (to, from) in key.0.iter_mut().skip(1).zip(witness.0.iter().take(25)) {
        *to = *from;
    }
    key
}

/// What the guard did by a containment call of the rulebook `epoch`.
#[must_use]
pub fn containment(epoch: u32, index: u16) -> B256 {
    numbered(tag::CONTAINMENT, epoch, index)
}

/// Where running (or undoing) the calls of a scope goes on after a transaction that had too little gas for all, see the logic's `Turn`.
#[must_use]
pub fn turn(scope: u8, undoing: bool) -> B256 {
    tagged(tag::TURN, &[u8::from(undoing), scope])
}

/// How long what a target and calldata of this hash close has been closed, see the logic's `Clock`.
#[must_use]
pub fn clock(hash: &B256) -> B256 {
    let mut key = *hash;
    key.0[0] = tag::CLOCK;
    key
}

/// When the action of this hash may be executed; zero when it was not announced.
#[must_use]
pub fn announcement(hash: &B256) -> B256 {
    let mut key = *hash;
    key.0[0] = tag::ANNOUNCEMENT;
    key
}

/// Address of the rulebook `epoch`. The first byte is 1 once nothing of it is in force, nor will be.
#[must_use]
pub fn book(epoch: u32) -> B256 {
    numbered(tag::BOOK, epoch, 0)
}

/// The latest halt of a scope and how many there were, see the logic's `Halts`.
#[must_use]
pub fn halts(scope: u8) -> B256 {
    tagged(tag::HALT, &[0, scope])
}

/// An earlier halt of a scope, of this number (from 1): its begin and its end, Unix seconds, and the seconds of all before it, in the three
/// lowest limbs.
#[must_use]
pub fn halt(scope: u8, number: u32) -> B256 {
    let mut key = tagged(tag::HALT, &number.to_be_bytes());
    let [_, one, of, ..] = &mut key.0;
    (*one, *of) = (1, scope);
    key
}

/// Transient: how deep a caller's guarded calls are nested, and the number of the outermost one.
#[must_use]
pub fn nesting(caller: &Address) -> B256 {
    tagged(tag::NESTING, &caller.0)
}

/// Transient: a value recorded for `entry()`. `half` 0 is the header, 1 the magnitude or word.
#[must_use]
pub fn entry(caller: &Address, rule: u16, index: u8, half: u8) -> B256 {
    let mut key = tagged(tag::ENTRY, &caller.0);
    let [_, a, b, c, d, ..] = &mut key.0;
    [*a, *b] = rule.to_be_bytes();
    *c = index;
    *d = half;
    key
}

/// Transient: what is known of the running transaction, see the logic's `Seen`.
#[must_use]
pub fn context() -> B256 {
    tagged(tag::CONTEXT, &[])
}

/// Transient: how much of an asset has come in (false) or gone out (true) by guarded calls of the running transaction.
#[must_use]
pub fn flow(asset: &Address, out: bool) -> B256 {
    let mut key = tagged(tag::FLOW, &asset.0);
    key.0[1] = u8::from(out);
    key
}

/// Transient: one while the guard calls out.
#[must_use]
pub fn lock() -> B256 {
    tagged(tag::LOCK, &[])
}

/// A word as four numbers, the lowest first.
#[must_use]
#[inline(never)]
pub fn limbs(word: B256) -> [u64; 4] {
    let mut limbs = [0; 4];
    // Eight bytes at a time: byte by byte it costs 16 gas a word, and a response packs and unpacks dozens.
    for (limb, chunk) in limbs.iter_mut().rev().zip(word.0.chunks_exact(8)) {
        *limb = chunk.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    }
    limbs
}

/// The word of four numbers, the lowest first.
#[must_use]
#[inline(never)]
pub fn from_limbs(limbs: [u64; 4]) -> B256 {
    let mut word = [0; 32];
    for (chunk, limb) in word.chunks_exact_mut(8).rev().zip(limbs) {
        if let Some(bytes) = chunk.first_chunk_mut() {
            *bytes = limb.to_be_bytes();
        }
    }
    B256::new(word)
}

/// A word as an unsigned number.
#[must_use]
pub fn to_number(word: B256) -> U256 {
    U256::from_limbs(limbs(word))
}

/// The word of an unsigned number.
#[must_use]
pub fn from_number(number: &U256) -> B256 {
    from_limbs(*number.as_limbs())
}

/// Number of scopes that a guard can have.
pub const MAX_SCOPES: u8 = 128;

/// Whether the stored level of a scope, by its word, is Normal. Of any other the time must be asked too.
#[must_use]
pub const fn is_normal(scope: &B256) -> bool {
    let [.., level, _, _, _, _, _] = scope.0;
    level == 0
}

/// Whether the stored level of any scope, by the word of the ledger, is not Normal.
#[must_use]
pub const fn is_quiet(ledger: &B256) -> bool {
    let [.., raised, _, _, _, _, _, _, _, _, _, _, _, _, _] = ledger.0;
    raised == 0
}

/// Time of the latest heartbeat, by the word of the ledger, as a word; 0 before the first.
#[must_use]
pub fn heartbeat(ledger: &B256) -> B256 {
    let mut word = *ledger;
    // The 24 bits before the 40 of the time are zero.
    word.0.split_at_mut(24).0.fill(0);
    word
}

/// Ticket of a guarded call: what `exit` must know of its `enter`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The call was counted as nested and values were recorded.
    pub counted: bool,
    /// Scopes as given to `enter`.
    pub scopes: [u8; 3],
    /// Number of the action.
    pub action: u8,
}

impl Ticket {
    const MARK: u8 = 0xc0;

    /// As the word handed to the caller.
    #[must_use]
    pub fn pack(&self) -> B256 {
        let mut word = [0; 32];
        let [mark, .., counted, a, b, c, action] = &mut word;
        *mark = Self::MARK;
        *counted = u8::from(self.counted);
        [*a, *b, *c] = self.scopes;
        *action = self.action;
        B256::new(word)
    }

    /// From the word; `None` when `enter` made no such ticket.
    #[must_use]
    pub fn unpack(word: &B256) -> Option<Self> {
        let [.., counted, a, b, c, action] = word.0;
        let ticket = Self {
            counted: counted == 1,
            scopes: [a, b, c],
            action,
        };
        (ticket.pack() == *word).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quick::{Comparison, Quick};

    #[test]
    fn numbers_are_big_endian_words() {
        let number = U256::from_limbs([0x0102_0304_0506_0708, 2, 3, u64::MAX - 1]);
        assert_eq!(from_number(&number), B256::from(number));
        assert_eq!(to_number(B256::from(number)), number);
    }

    #[test]
    fn words_survive_packing() {
        let quick = Quick {
            target: Address::repeat_byte(0xab),
            selector: [1, 2, 3, 4],
            comparison: Comparison::Unequal,
            mantissa: (1 << 23) - 1,
            exponent: 63,
        };
        for quick in [None, Some(quick)] {
            let mut caller = Caller::new(128, quick);
            let kinds = [Hooked::Nothing, Hooked::Quick, Hooked::Checked, Hooked::Recorded];
            for (action, kind) in (0..11).zip(kinds.into_iter().cycle()) {
                caller = caller.with(action, kind);
                assert_eq!(caller.hooked(action), kind);
            }
            assert_eq!(Caller::unpack(&caller.pack()), caller);
            assert!(!caller.is_quiet());
            let caller = Caller::unpack(&caller.with_quiet(true).pack());
            assert!(caller.is_quiet() && !caller.with_quiet(false).is_quiet());
            for quiet in [true, false] {
                assert_eq!(Caller::quieted(caller.pack(), quiet), caller.with_quiet(quiet).pack());
            }
            for (action, kind) in (0..11).zip(kinds.into_iter().cycle()) {
                assert_eq!(caller.hooked(action), kind);
            }
            assert_eq!(caller.hooked(200), Hooked::Nothing);
            assert!(!caller.counts_all());
            let all = (0..11).fold(caller, |caller, action| caller.with(action, Hooked::Recorded));
            assert!(all.counts_all() && !all.with(10, Hooked::Checked).counts_all());
        }
        assert_eq!(Caller::unpack(&B256::ZERO), Caller::default());
        let current = Current {
            epoch: 9,
            oldest: 7,
            book: Address::repeat_byte(0xcd),
        };
        assert_eq!(Current::unpack(&current.pack()), current);
        let settings = Settings {
            sealed: true,
            delay: 172_800,
            closes: 0x0102_0304_0506_0708,
            agreed: 0x090a_0b0c,
        };
        assert_eq!(Settings::unpack(&settings.pack()), settings);
    }

    #[test]
    fn a_ticket_is_never_zero_and_forgeries_are_seen() {
        let ticket = Ticket {
            counted: false,
            scopes: [0, 0, 0],
            action: 0,
        };
        assert_ne!(ticket.pack(), B256::ZERO);
        assert_eq!(Ticket::unpack(&ticket.pack()), Some(ticket));
        assert_eq!(Ticket::unpack(&B256::repeat_byte(0xc0)), None);
        assert_eq!(Ticket::unpack(&B256::ZERO), None);
    }

    #[test]
    fn keys_of_different_things_differ() {
        let account = Address::repeat_byte(1);
        let mut keys = std::vec![
            LOGIC,
            GOVERNOR,
            PROPOSED,
            SETTINGS,
            CURRENT,
            LEDGER,
            RECOVER,
            ADMIN,
            HOOKS,
            CONTAIN,
            INSPECT,
            lock(),
            caller(&account),
            roles(&account),
            nesting(&account),
            context(),
            flow(&account, false),
            flow(&account, true),
        ];
        for number in 0..3u8 {
            keys.extend([
                scope(number),
                incident(number, 0),
                incident(number, 1),
                incident(number, 2),
                halts(number),
                halt(number, 1),
                halt(number, 2),
            ]);
            for epoch in 0..3 {
                keys.extend([
                    rule(epoch, number.into()),
                    containment(epoch, number.into()),
                    observation(epoch, number.into(), &B256::ZERO),
                    observation(epoch, number.into(), &B256::repeat_byte(1)),
                ]);
            }
            keys.extend([
                entry(&account, number.into(), 0, 0),
                entry(&account, 0, 1, number),
                entry(&account, 0, 2, number),
            ]);
        }
        keys.extend([1, 2, 3].map(book));
        let before = keys.len();
        keys.sort();
        keys.dedup();
        // entry(account, 0, 0, 0) is listed once only because `number` 0 makes it once.
        assert_eq!(keys.len(), before);
    }
}
