//! What a decision is made from, and what it says.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;
use cordon_client::config::Severity;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use cordon_core::scope::{ScopeState, tail_seconds};

use crate::chain::BlockRef;

/// How the keeper answers a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// `trip`: the guard re-evaluates the rule itself. Needs no role.
    Trip,
    /// `contain` by the keeper's own authority, within its bounds.
    Contain,
}

/// What the keeper knows of a rule before it is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePolicy {
    /// Index in the rulebook.
    pub index: u16,
    /// Name in `cordon.toml`.
    pub id: String,
    /// Scope that a breach raises.
    pub scope: u8,
    /// Level that a breach raises the scope to; `Normal` for a rule that cannot be tripped.
    pub level: Level,
    /// Seconds for which it is raised.
    pub duration: u32,
    /// How bad a breach is.
    pub severity: Severity,
    /// One transaction cannot move its inputs; otherwise two observations are needed.
    pub robust: bool,
    /// Evaluated and recorded, never acted on.
    pub shadow: bool,
    /// How a breach is answered.
    pub response: Response,
    /// Least seconds between two decisions on this rule.
    pub cooldown: u32,
    /// Times in Unix seconds at which a breach is only recorded.
    pub maintenance: Vec<std::ops::Range<u64>>,
}

impl RulePolicy {
    /// Whether nothing is sent for a breach: the rule is in shadow, or raises no level.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.shadow || !self.level.is_raised()
    }

    /// Whether nothing is sent for a breach at this time, in Unix seconds.
    #[must_use]
    pub fn is_silent_at(&self, now: u64) -> bool {
        !self.level.is_raised() || self.is_shadow_at(now)
    }

    /// Whether a breach is only recorded at this time, in Unix seconds: the rule is in shadow, or in maintenance.
    #[must_use]
    pub fn is_shadow_at(&self, now: u64) -> bool {
        self.shadow || self.maintenance.iter().any(|window| window.contains(&now))
    }

    /// The level that a trip of this rule reaches: a spot rule goes to `ReduceOnly` at most.
    #[must_use]
    pub fn reachable(&self) -> Level {
        if !self.robust && self.level.rank() > Level::ReduceOnly.rank() {
            Level::ReduceOnly
        } else {
            self.level
        }
    }
}

/// Outcome of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is `Unknown`, 0 otherwise; codes in docs/rules.md, and [`crate::rules::READ_FAILED`] when nothing was evaluated.
    pub reason: u8,
    /// Left operand of the deciding comparison; zero when none decided.
    pub observed: Int,
    /// Right operand of the deciding comparison; zero when none decided.
    pub bound: Int,
}

/// One rule evaluated with one witness at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Index of the rule.
    pub rule: u16,
    /// Witness words, empty for rules without parameters.
    pub witness: Vec<B256>,
    /// What came out.
    pub reading: Reading,
}

/// State of a scope at a block. Only scopes that are not `Normal`, or not settled, are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeReading {
    /// Id of the scope.
    pub scope: u8,
    /// Effective level.
    pub level: Level,
    /// Unix seconds at which the level steps down; 0 when it does not.
    pub expires_at: u64,
    /// Whether an effect of a containment call is still in force.
    pub applied: bool,
    /// Whether a release is queued: the level will not last, whatever its expiry.
    pub releasing: bool,
    /// Whether the guard has an open incident on the scope.
    pub incident: bool,
    /// The guard's own word of the scope, which says when each level ends; `None` where it was not read. It is not stored.
    pub state: Option<ScopeState>,
}

impl ScopeReading {
    /// Until when the scope stays at `level` or a stricter one, in Unix seconds, if nothing else happens.
    #[must_use]
    pub fn held_until(&self, level: Level) -> u64 {
        if self.level.rank() < level.rank() {
            return 0;
        }
        match self.state {
            Some(state) => state.held_until(level).max(self.expires_at),
            // As it is when nobody has paid for less.
            None => {
                let tail = tail_seconds(self.level).saturating_sub(tail_seconds(level));
                self.expires_at.saturating_add(u64::from(tail))
            }
        }
    }
}

/// Everything that was read of one block.
#[derive(Debug, Clone, Copy)]
pub struct BlockFacts<'a> {
    /// The block.
    pub block: &'a BlockRef,
    /// All verdicts of the block.
    pub verdicts: &'a [RuleVerdict],
    /// Scopes that are not `Normal` at the block. A scope that is missing counts as `Normal`.
    pub scopes: &'a [ScopeReading],
}

/// Refusals of the guard, for good, of what was decided on a breach that stands. What was refused in an earlier breach says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// How often in a row; observations between do not count.
    pub times: u32,
    /// Timestamp of the block that the newest was decided on.
    pub at: u64,
    /// The strictest level that held for the rule's scope when the newest was decided; `None` when that is not known.
    pub level: Option<Level>,
}

/// What was decided on a rule before. Times are block timestamps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulePast {
    /// The newest decision that the guard has not refused for good.
    pub decided_at: Option<u64>,
    /// When the guard recorded the first of two observations, if no decision has followed it.
    pub observed_at: Option<u64>,
    /// Witness of that observation: the second must have the same.
    pub observed_witness: Vec<B256>,
    /// A decision is still being carried out.
    pub open: bool,
    /// What the guard has refused for good, by witness, in the breaches that stand.
    pub refused: BTreeMap<Vec<B256>, Refused>,
    /// Witnesses of breaches that stand and were recorded already, or told in an incident that lasts, for a rule that is not acted on.
    pub recorded: BTreeSet<Vec<B256>>,
    /// By witness, the highest block at which an action was given up because the rule was found to hold there.
    pub over: BTreeMap<Vec<B256>, u64>,
}

/// What was decided before, by rule. A rule that is missing has no past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// By index of the rule.
    pub rules: BTreeMap<u16, RulePast>,
    /// Breaches that stand, by rule and witness, with the height at which each was first seen.
    pub standing: BTreeMap<(u16, Vec<B256>), u64>,
    /// By scope, the height at which people last queued a release that was not cancelled.
    pub released: BTreeMap<u8, u64>,
}

impl Past {
    /// Whether people queued the release of the scope when this breach stood already. They have judged it: the keeper must
    /// not tighten against them until the rule has held in between.
    #[must_use]
    pub fn is_judged(&self, scope: u8, rule: u16, witness: &[B256]) -> bool {
        let since = self.standing.get(&(rule, witness.to_vec()));
        since
            .zip(self.released.get(&scope))
            .is_some_and(|(since, released)| since < released)
    }

    /// Forgets what was found at blocks above `newest`, the newest that there is: an endpoint that has made one up once must not keep a breach
    /// from being decided on for ever.
    pub(crate) fn forget_beyond(&mut self, newest: u64) {
        for rule in self.rules.values_mut() {
            rule.over.retain(|_, at| *at <= newest);
        }
    }
}

/// What is to be done about a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send `trip`.
    Trip,
    /// Send `contain`.
    Contain,
    /// Nothing: the rule is in shadow, or in maintenance. The breach is recorded.
    Shadow,
    /// Tell people: the rule raises no level, so nothing can be sent. The breach is an incident.
    Tell,
}

impl Act {
    /// Whether a transaction is sent.
    #[must_use]
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Trip | Self::Contain)
    }
}

/// A breach that calls for an act. At most one per rule and block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Index of the rule.
    pub rule: u16,
    /// Witness that shows the breach best.
    pub witness: Vec<B256>,
    /// What is to be done.
    pub act: Act,
    /// Scope to be raised.
    pub scope: u8,
    /// Level to be reached.
    pub level: Level,
    /// Seconds for which it is to be raised.
    pub duration: u32,
    /// How bad it is.
    pub severity: Severity,
    /// The reading that decided.
    pub reading: Reading,
}
