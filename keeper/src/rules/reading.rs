//! What is asked of a block, and what is known of it when it was read.

use alloy::primitives::B256;
use cordon_core::rule::error::Unknown;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::{GuardEvent, Sightings, StoppedCall};
use crate::chain::RpcError;
use crate::decide::{Reading, RuleVerdict, ScopeReading};
use crate::record::Witnessed;

/// Reason of an `Unknown` verdict when the guard could not be asked, or gave no answer for this rule.
pub const READ_FAILED: u8 = u8::MAX;

/// Reason of an `Unknown` verdict while the guard has another rulebook than the configured one: its rule of that number is another.
pub const OTHER_RULEBOOK: u8 = u8::MAX - 1;

/// An evaluation to be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Index of the rule.
    pub rule: u16,
    /// Witness words, as many as the rule has parameters.
    pub witness: Vec<B256>,
}

impl Request {
    /// Of a rule without parameters.
    #[must_use]
    pub fn plain(rule: u16) -> Self {
        Self {
            rule,
            witness: Vec::new(),
        }
    }
}

/// Everything that was read of a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockReading {
    /// One verdict per evaluation.
    pub verdicts: Vec<RuleVerdict>,
    /// Scopes that are not `Normal` or have effects in force; `None` when they could not be read.
    pub scopes: Option<Vec<ScopeReading>>,
    /// What the guard logged.
    pub events: Vec<GuardEvent>,
    /// Whether the node gave the block's logs. Where it did not, nothing is known of what the guard logged.
    pub logs_read: bool,
    /// Why the logs may not be all that there are, or came another way.
    pub logs_doubted: Option<String>,
    /// Calls that the guard's hooks stopped.
    pub stopped: Vec<StoppedCall>,
    /// What the watches say.
    pub sightings: Sightings,
    /// Witnesses that were evaluated.
    pub witnessed: Vec<Witnessed>,
}

/// Why a block was not read at all. Everything less is an `Unknown` verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No endpoint answers; the block has to be read again.
    #[error(transparent)]
    Unreachable(RpcError),
    /// The node does not have the block any more (a reorg), or not yet (a node that lags).
    #[error("the node does not know block {number} ({hash}); it will be read again if it is still canonical")]
    Gone {
        /// Height of the block.
        number: u64,
        /// Hash of the block.
        hash: B256,
    },
}

/// What a reason code of an `Unknown` verdict means.
#[must_use]
pub fn reason_text(reason: u8) -> String {
    match (reason, Unknown::from_code(reason)) {
        (READ_FAILED, _) => "the node or the guard gave no answer".to_owned(),
        (OTHER_RULEBOOK, _) => "the guard has another rulebook than the one of the configuration".to_owned(),
        (_, Some(unknown)) => unknown.to_string(),
        (code, None) => format!("reason {code}"),
    }
}

/// The verdict on a rule that nobody has evaluated.
pub(super) fn unread(rule: u16) -> RuleVerdict {
    let reading = Reading {
        verdict: Verdict::Unknown,
        reason: READ_FAILED,
        observed: Int::ZERO,
        bound: Int::ZERO,
    };
    RuleVerdict {
        rule,
        witness: Vec::new(),
        reading,
    }
}
