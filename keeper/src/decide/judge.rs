//! The decision itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use alloy::primitives::{B256, U256};
use cordon_core::bounds::OBSERVATION_GAP;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::{
    Act, BlockFacts, Decision, Past, Reading, Refused, Response, RulePast, RulePolicy, RuleVerdict, ScopeReading,
};

/// A level that is held is renewed when less than `duration / RENEW_FRACTION` of it is left and the rule is still breached.
pub const RENEW_FRACTION: u32 = 4;

/// What the guard refuses for good is tried again after the cooldown, then after twice as long each time, up to this many seconds: somebody
/// may have granted the role, or the budget may have filled, and nobody should be asked for that.
pub const LONGEST_REFUSAL: u32 = 600;

/// Decides what to do about the breaches of one block: strictest level first, robust rules before spot rules, then by
/// severity and index. The order of `policies` and of the verdicts does not matter.
///
/// `Unknown` and `Holds` decide nothing; a shadow rule never acts, nor does one in maintenance; one that raises no level is told; a rule whose earlier decision is still being carried out,
/// or whose level is already held for long enough, is left alone; so is a breach that people had before them when they
/// queued a release, one that is only recorded and was, and one that is known to be over at a later block. What the guard keeps refusing is tried less and less often, until the scope's
/// level changes or the rule has held; breaches with other witnesses do not wait for it.
#[must_use]
pub fn decide(policies: &[RulePolicy], facts: &BlockFacts<'_>, past: &Past) -> Vec<Decision> {
    // Rules may be a thousand, breaches are few.
    let breached: BTreeSet<u16> = facts
        .verdicts
        .iter()
        .filter(|verdict| verdict.reading.verdict == Verdict::Breached)
        .map(|verdict| verdict.rule)
        .collect();
    let mut chosen: Vec<(&RulePolicy, Decision)> = policies
        .iter()
        .filter(|policy| breached.contains(&policy.index))
        .filter_map(|policy| Some((policy, decide_rule(policy, facts, past)?)))
        .collect();
    chosen.sort_by_key(|(policy, decision)| {
        (
            Reverse(decision.level.rank()),
            !policy.robust,
            decision.severity,
            decision.rule,
        )
    });
    chosen.into_iter().map(|(_, decision)| decision).collect()
}

fn decide_rule(policy: &RulePolicy, facts: &BlockFacts<'_>, past: &Past) -> Option<Decision> {
    let own = past.rules.get(&policy.index).cloned().unwrap_or_default();
    let now = facts.block.timestamp;
    let is_silent = policy.is_silent_at(now);
    let breaches = || {
        facts
            .verdicts
            .iter()
            .filter(|v| v.rule == policy.index && v.reading.verdict == Verdict::Breached)
            .filter(|v| !past.is_judged(policy.scope, v.rule, &v.witness))
            .filter(|v| !is_silent || !own.recorded.contains(&v.witness))
            .filter(|v| is_silent || !is_over(&own, &v.witness, facts))
            .filter(|v| !is_cooling(policy, &own, &v.witness, facts))
    };
    let worst = worst(breaches())?;
    let observed = |v: &&RuleVerdict| own.observed_at.is_some() && v.witness == own.observed_witness;
    let breach = breaches().find(observed).unwrap_or(worst);
    if own.open {
        return None;
    }
    let act = match (is_silent, policy.response) {
        (true, _) if policy.is_shadow_at(now) => Act::Shadow,
        (true, _) => Act::Tell,
        (false, _) if held(facts.scopes, policy.scope, policy.reachable(), now, policy.duration) => return None,
        (false, Response::Trip) => Act::Trip,
        (false, Response::Contain) => Act::Contain,
    };
    Some(Decision {
        rule: policy.index,
        witness: breach.witness.clone(),
        act,
        scope: policy.scope,
        level: policy.reachable(),
        duration: policy.duration,
        severity: policy.severity,
        reading: breach.reading,
    })
}

/// Whether the breach of this witness was found to be over at a later block: one that passed long ago calls for one action while the keeper
/// catches up, not for one in each of its blocks.
fn is_over(past: &RulePast, witness: &[B256], facts: &BlockFacts<'_>) -> bool {
    past.over.get(witness).is_some_and(|over| *over > facts.block.number)
}

/// Whether it is too early for another decision on the breach of this witness. A recorded first observation asks for the second after
/// [`OBSERVATION_GAP`], whatever the cooldown. What was refused of other witnesses delays only what was refused itself: a new breach is
/// decided at once.
fn is_cooling(policy: &RulePolicy, past: &RulePast, witness: &[B256], facts: &BlockFacts<'_>) -> bool {
    let now = facts.block.timestamp;
    if let Some(observed) = past.observed_at.filter(|_| !policy.robust) {
        return now < observed.saturating_add(OBSERVATION_GAP);
    }
    let is_within = |since: u64, pause: u32| now < since.saturating_add(u64::from(pause));
    if past
        .decided_at
        .is_some_and(|decided| is_within(decided, policy.cooldown))
    {
        return true;
    }
    let Some(own) = past.refused.get(witness) else {
        return false;
    };
    // Many witnesses that are refused are tried in turn, not all at once.
    let newest = past.refused.values().map(|refused| refused.at).max();
    newest.is_some_and(|newest| is_within(newest, policy.cooldown)) || is_within(own.at, pause(policy, own, facts))
}

/// Seconds between two decisions on a breach that the guard has refused to act on.
fn pause(policy: &RulePolicy, refused: &Refused, facts: &BlockFacts<'_>) -> u32 {
    let level = strictest(facts.scopes, policy.scope);
    let has_changed = refused.level.is_some_and(|then| then != level);
    if refused.times == 0 || has_changed {
        return policy.cooldown;
    }
    let doubled = 2_u32.saturating_pow(refused.times.saturating_sub(1));
    let longer = policy.cooldown.max(1).saturating_mul(doubled);
    longer.min(LONGEST_REFUSAL).max(policy.cooldown)
}

/// The strictest level that holds for `scope`: its own, or that of the whole protocol.
#[must_use]
pub(crate) fn strictest(scopes: &[ScopeReading], scope: u8) -> Level {
    let own = scopes
        .iter()
        .filter(|reading| reading.scope == scope || reading.scope == 0);
    own.map(|reading| reading.level)
        .max_by_key(|level| level.rank())
        .unwrap_or_default()
}

/// Whether `scope` (or the whole protocol, scope 0) is at `level` or stricter for long enough that raising it again would
/// change nothing worth a transaction. `duration` is what a raise would grant, in seconds.
#[must_use]
pub fn held(scopes: &[ScopeReading], scope: u8, level: Level, now: u64, duration: u32) -> bool {
    let margin = u64::from(duration / RENEW_FRACTION);
    scopes
        .iter()
        .filter(|reading| reading.scope == scope || reading.scope == 0)
        .filter(|reading| reading.level.rank() >= level.rank() && !reading.releasing)
        // A stricter level steps down through this one, and stays there no longer than was paid for.
        .any(|reading| reading.held_until(level) >= now.saturating_add(margin))
}

/// The breach with the largest distance between its operands; among equals the one with the smallest witness.
fn worst<'a>(breaches: impl Iterator<Item = &'a RuleVerdict>) -> Option<&'a RuleVerdict> {
    breaches.max_by_key(|breach| {
        let Reading { observed, bound, .. } = &breach.reading;
        let operands = (observed.negative, observed.magnitude, bound.negative, bound.magnitude);
        (distance(&breach.reading), Reverse(&breach.witness), operands)
    })
}

/// |observed - bound|, saturating.
fn distance(reading: &Reading) -> U256 {
    let Int {
        negative: left_negative,
        magnitude: left,
    } = reading.observed;
    let Int {
        negative: right_negative,
        magnitude: right,
    } = reading.bound;
    if left_negative == right_negative {
        left.abs_diff(right)
    } else {
        left.saturating_add(right)
    }
}

#[cfg(test)]
#[path = "judge_tests/mod.rs"]
mod tests;
