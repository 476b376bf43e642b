//! The rulebook of one protocol: everything that the guard is configured with, as the code of one account.
//!
//! [`Rulebook`] is the owned form; [`view`] reads an encoded one without copying and gives cheap access to a single rule
//! or containment call; [`check()`] decides whether a guard may adopt one. `docs/rules.md` has the layout.

pub mod check;
mod encode;
pub mod error;
pub mod set;
pub mod stream;
pub mod view;

pub use check::check;
pub use encode::init_code;
pub use error::{Item, Problem, RulebookError};
pub use set::{ContainmentSet, Order, SetView, is_within, set_name};
pub use stream::{Stream, StreamRecord, check_streams};
pub use view::{ContainmentBody, ContainmentRecord, Header, RuleBody, RuleRecord, SCOPE, UndoView, View};

use crate::action::ActionSet;
use crate::level::Level;
use crate::rule::program::{Class, MAX_GAS};
use alloc::vec::Vec;
use alloy_primitives::{Address, keccak256};

/// Most bytes of the account's code, the STOP byte included.
pub const MAX_CODE: usize = 24_576;
/// Most scopes.
pub const MAX_SCOPES: u8 = 128;
/// Most registered callers.
pub const MAX_CALLERS: u8 = 64;
/// Most rules.
pub const MAX_RULES: u16 = 512;
/// Most containment calls: their state is a bitmap of one word.
pub const MAX_CONTAINMENTS: u16 = 256;
/// Most streams.
pub const MAX_STREAMS: u8 = 32;
/// Most containment sets.
pub const MAX_SETS: u8 = 32;
/// Most undo calls of a containment call.
pub const MAX_UNDO: u8 = 8;
/// Most gas of a containment call or an undo call.
pub const MAX_CALL_GAS: u32 = 5_000_000;
/// Most gas of all containment calls together, and of all undo calls together, read-backs aside: so that scope 0 runs them all, and
/// settles them all, in one transaction (32 M at most on Arbitrum) while no target burns gas in being read.
pub const MAX_TOTAL_GAS: u32 = 20_000_000;
/// Gas with which a transaction that runs or undoes containment calls is full. Whoever gives less gives enough for each of them, or it
/// fails; from here on what it does not suffice for is left to the next transaction. Below what a block holds (32 M on Arbitrum), with
/// room for a rule's reads.
pub const FULL_GAS: u32 = 20_000_000;
/// Most gas of one containment call with its read-backs, and of its undo calls with theirs: a full transaction makes it.
pub const MAX_CALL_COST: u32 = 15_000_000;
/// Most gas that the rules hooked to an action may need together, before the call or after it: as much as one rule.
pub const MAX_HOOK_GAS: u32 = MAX_GAS;
/// How long a trip holds its level unless the rule says otherwise, in seconds.
pub const DEFAULT_TRIP_DURATION: u32 = 3600;

/// What a scope stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ScopeKind {
    /// The whole protocol: scope 0, and no other.
    Protocol = 0,
    /// A market.
    Market = 1,
    /// An asset.
    Asset = 2,
    /// A function.
    Function = 3,
}

impl ScopeKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => ScopeKind::Protocol,
            1 => ScopeKind::Market,
            2 => ScopeKind::Asset,
            3 => ScopeKind::Function,
            _ => return None,
        })
    }
}

/// A scope: what can be contained on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// What it stands for.
    pub kind: ScopeKind,
    /// The name that people gave it, as [`scope_tag`].
    pub tag: [u8; 4],
}

impl Scope {
    /// A scope with this name.
    #[must_use]
    pub fn new(kind: ScopeKind, name: &str) -> Self {
        let tag = scope_tag(name);
        Scope { kind, tag }
    }
}

/// What a rulebook keeps of the name of a scope: four bytes of its Keccak-256. A guard knows scopes by number, and so do the contracts that
/// call its hooks; by this it sees that a number has come to mean something else. It is made against mistakes, of which one in four
/// billion would pass: who may adopt a rulebook and wants a scope opened has no need to find two names with the same tag.
#[must_use]
pub fn scope_tag(name: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(name).0;
    [a, b, c, d]
}

/// All that a guard is configured with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rulebook {
    /// The scopes; a scope's number is its position. The first is the protocol.
    pub scopes: Vec<Scope>,
    /// The contracts whose hook calls are accepted.
    pub callers: Vec<Address>,
    /// The rules; a rule's number is its position.
    pub rules: Vec<Rule>,
    /// The containment calls; a call's number is its position.
    pub containments: Vec<Containment>,
    /// The streams; a stream's number is its position.
    pub streams: Vec<Stream>,
    /// The containment sets; each has a name.
    pub sets: Vec<ContainmentSet>,
}

/// A rule of a rulebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The scope that a trip raises.
    pub scope: u8,
    /// `State` or `Hook`. Keeper rules are not stored on chain.
    pub class: Class,
    /// Whether its author asserts that no single transaction can move its inputs.
    pub robust: bool,
    /// Whether hooks only count a breach instead of reverting.
    pub shadow: bool,
    /// The level that a trip raises; `Normal` for a rule that cannot be tripped.
    pub level: Level,
    /// How long a trip holds the level, in seconds; 0 when it cannot be tripped.
    pub duration: u32,
    /// The hooks that check it.
    pub check: ActionSet,
    /// How many witness words it takes.
    pub params: u8,
    /// The program; its value is a boolean.
    pub program: Vec<u8>,
    /// The programs evaluated when a guarded call begins.
    pub entries: Vec<Vec<u8>>,
}

/// A containment call of a rulebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containment {
    /// The scope whose level runs it.
    pub scope: u8,
    /// It runs when the scope reaches this level or a stricter one.
    pub level: Level,
    /// The contract that is called.
    pub target: Address,
    /// What it is called with.
    pub calldata: Vec<u8>,
    /// Most gas that the call, and each undo call, may use.
    pub gas: u32,
    /// The actions that it closes for honest users. `Repay` among them must be accepted by the configuration's author.
    pub closes: ActionSet,
    /// Longest time in seconds that it may stay in force; 0 for as long as the level holds.
    pub max_duration: u32,
    /// A program that is true when the call has had its effect.
    pub done: Vec<u8>,
    /// The calls that undo it.
    pub undo: Vec<Undo>,
}

/// A call that undoes a containment call, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The contract that is called.
    pub target: Address,
    /// What it is called with.
    pub calldata: Vec<u8>,
    /// A program that is true when this part is not in force.
    pub undone: Vec<u8>,
}
