//! Why a rulebook is refused.

use crate::action::Action;
use crate::rule::error::DecodeError;
use crate::rulebook::{MAX_CALL_COST, MAX_HOOK_GAS};
use core::fmt;

/// A rulebook that is refused: what is wrong, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item}: {problem}")]
pub struct RulebookError {
    /// Where the problem is.
    pub item: Item,
    /// What the problem is.
    pub problem: Problem,
}

impl RulebookError {
    /// The guard's `BadRulebook` code: [`Problem`]'s number, or 256 plus the program's [`crate::rule::DecodeReason`].
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self.problem {
            Problem::Program(error) => 256 + error.reason as u16,
            other => other.number(),
        }
    }
}

/// A part of a rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The rulebook as a whole.
    Book,
    /// The scope of this number.
    Scope(u8),
    /// The caller of this number.
    Caller(u8),
    /// The rule of this number.
    Rule(u16),
    /// The containment call of this number.
    Containment(u16),
    /// The stream of this number.
    Stream(u8),
    /// The containment set of this number.
    Set(u8),
}

impl Item {
    /// As the guard's `BadRulebook` tells it: the kind of part, from 0 for the whole on in the order of [`Item`], and its number among those.
    #[must_use]
    pub const fn place(self) -> (u8, u16) {
        match self {
            Item::Book => (0, 0),
            Item::Scope(index) => (1, index as u16),
            Item::Caller(index) => (2, index as u16),
            Item::Rule(index) => (3, index),
            Item::Containment(index) => (4, index),
            Item::Stream(index) => (5, index as u16),
            Item::Set(index) => (6, index as u16),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Book => f.write_str("rulebook"),
            Item::Scope(index) => write!(f, "scope {index}"),
            Item::Caller(index) => write!(f, "caller {index}"),
            Item::Rule(index) => write!(f, "rule {index}"),
            Item::Containment(index) => write!(f, "containment {index}"),
            Item::Stream(index) => write!(f, "stream {index}"),
            Item::Set(index) => write!(f, "containment set {index}"),
        }
    }
}

/// What is wrong with a rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Longer than the code of an account may be.
    #[error("longer than 24,576 bytes: split the protocol over several guards, or shorten rules with `let`")]
    TooLong,
    /// Does not begin like a rulebook.
    #[error("this code is not a rulebook of a known version")]
    NotARulebook,
    /// Ends too early.
    #[error("ends too early")]
    Truncated,
    /// Parts overlap, leave gaps, or follow the last one.
    #[error("the parts do not lie one after the other")]
    BadLayout,
    /// More scopes, callers, rules, containment or undo calls than there may be.
    #[error("too many of these")]
    TooMany,
    /// No scopes, a scope that does not exist, or a protocol scope elsewhere than first.
    #[error("no such scope, or scope 0 is not the protocol")]
    BadScope,
    /// A caller that is zero or named twice.
    #[error("a caller must be an address other than zero, named once")]
    BadCaller,
    /// A class that is not stored on chain.
    #[error("only state and hook rules are stored on chain; a keeper rule stays with the keeper")]
    BadClass,
    /// Unknown flags or actions.
    #[error("unknown flags or actions")]
    BadFlags,
    /// A level that does not fit.
    #[error("the level does not fit: state rules raise Throttled, ReduceOnly or Halted; hook rules raise none")]
    BadLevel,
    /// A spot rule that would raise more than `ReduceOnly`.
    #[error(
        "a spot rule raises ReduceOnly at most: lower its level, or assert `robust = true` if no transaction can move its inputs"
    )]
    SpotRuleTooStrict,
    /// A duration that does not fit.
    #[error(
        "the duration is out of range: a trip holds for 1 s to 1 h, a containment call for 7 days at most, a set for 1 s to 28 days"
    )]
    BadDuration,
    /// A hook rule that no hook checks.
    #[error("no hook checks this hook rule: name the actions in `check`")]
    NothingChecks,
    /// A rule with parameters that a hook would check.
    #[error("a hook cannot check a rule with parameters, because nobody supplies the witness")]
    WitnessInHook,
    /// The numbers of parameters or entries are not those of the program.
    #[error("the numbers of parameters and entries are not those of the program")]
    WrongInputs,
    /// A program whose value is not a boolean.
    #[error("the program's value is not a boolean")]
    NotBoolean,
    /// A level that nothing would enforce.
    #[error("this level would have no effect: no caller is registered and no containment call serves the scope at it")]
    LevelHasNoEffect,
    /// A call without target or selector, or with a gas limit out of range.
    #[error("a call needs a target, a selector, and between 1 and 5,000,000 gas")]
    BadCall,
    /// Calls that may use more gas together than one transaction should.
    #[error("containment calls, or undo calls, may use more than 20,000,000 gas together: lower their gas")]
    TooMuchGas,
    /// A call that may use more gas with its read-backs, or with its undo calls, than one transaction should.
    #[error(
        "the call with its read-backs, or its undo calls with theirs, may use more than {} gas: lower `gas`, that of the reads, or split it",
        MAX_CALL_COST
    )]
    CallTooDear,
    /// Rules that are hooked to one action and may use more gas together than a hook has.
    #[error(
        "the rules hooked to {} may use {gas} gas together, more than {}: take some out of its hooks (`check`), or lower the gas of their reads",
        .action.name(), MAX_HOOK_GAS
    )]
    HookTooDear {
        /// The action.
        action: Action,
        /// What they may use.
        gas: u64,
    },
    /// A call that closes repayment for too long.
    #[error("a call that closes Repay needs a `max_duration` of at most 1 hour")]
    RepayClosedTooLong,
    /// A call that closes repayment and leaves liquidation open.
    #[error("a call that closes Repay must close Liquidate too")]
    LiquidationWithoutRepay,
    /// A stream whose name is not that of its definition, or named twice, or with period or step out of range; or a rule that
    /// reads a stream which the rulebook does not have.
    #[error("a stream is wrong, named twice, or missing")]
    BadStream,
    /// A containment set without a proper name of its own, without the hash of what was reviewed, without scopes, or with one twice.
    #[error(
        "a containment set needs a name of its own (at most 32 visible ASCII characters), the hash of what was reviewed, and at least one scope, each once"
    )]
    BadSet,
    /// A program that is refused.
    #[error(transparent)]
    Program(DecodeError),
}

impl Problem {
    const fn number(self) -> u16 {
        match self {
            Problem::TooLong => 1,
            Problem::NotARulebook => 2,
            Problem::Truncated => 3,
            Problem::BadLayout => 4,
            Problem::TooMany => 5,
            Problem::BadScope => 6,
            Problem::BadCaller => 7,
            Problem::BadClass => 8,
            Problem::BadFlags => 9,
            Problem::BadLevel => 10,
            Problem::SpotRuleTooStrict => 11,
            Problem::BadDuration => 12,
            Problem::NothingChecks => 13,
            Problem::WitnessInHook => 14,
            Problem::WrongInputs => 15,
            Problem::NotBoolean => 16,
            Problem::LevelHasNoEffect => 17,
            Problem::BadCall => 18,
            Problem::RepayClosedTooLong => 19,
            Problem::LiquidationWithoutRepay => 20,
            Problem::TooMuchGas => 21,
            Problem::BadStream => 22,
            Problem::BadSet => 23,
            Problem::CallTooDear => 24,
            Problem::HookTooDear { .. } => 25,
            Problem::Program(_) => 256,
        }
    }
}
