//! Raising levels: `trip`, `contain`, `retryContainment`.

use crate::abi::{emit, flat, refusal, Answer, Refusal};
use crate::calls::ScopeExtra;
use crate::guard::{open, role, rule_in, Guard};
use alloy_primitives::B256;
use cordon_core::{
    bounds::{self, Actor, BoundError, Bucket, Request, OBSERVATION_GAP, OBSERVATION_MAX_AGE},
    rule::{Class, Evaluation, Inputs, Verdict},
    rulebook::{RuleBody, RuleRecord, View},
    scope::{Change, ScopeError, ScopeState},
    Level,
};
use cordon_host::{
    layout::{self, Current},
    Host,
};

impl<H: Host> Guard<H> {
    /// Re-evaluates a rule and, when it is breached, raises its scope. Answers the incident, 0 when it was only observed.
    pub fn trip(&mut self, index: u16, witness: &[B256]) -> Answer<u64> {
        self.require_unlocked()?;
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let (rule, body) = rule_for(&view, index, witness)?;
        if rule.class != Class::State || rule.shadow || !rule.level.is_raised() {
            return Err(refusal!(RuleNotTrippable, index));
        }
        let (state, now) = (self.scope(rule.scope), self.host.now());
        let holds_on = state.release_at == 0 && holds_long_enough(&state, &rule, now);
        let tripped_key = layout::rule(current.epoch, index);
        if holds_on && self.number_at(&tripped_key) == u64::from(state.incident) {
            return Ok(state.incident.into());
        }
        let evaluation = self.breach(body, index, witness)?;
        if !rule.robust && !self.observed_before(&current, index, witness, &evaluation)? {
            return Ok(0);
        }
        let (next, change) = if holds_on {
            (state, Change::Nothing)
        } else {
            self.raise(Actor::Trip, rule.scope, rule.level, rule.duration, B256::ZERO)?
        };
        let incident = u64::from(next.incident);
        self.set_number(&tripped_key, incident);
        self.emit_tripped(index, incident, witness, &evaluation);
        if change != Change::Nothing {
            self.run_calls(current.epoch, &view, rule.scope, &next)?;
        }
        Ok(incident)
    }

    /// Raises a scope by authority.
    pub fn contain(&mut self, scope: u8, level: u8, duration: u32, evidence: B256) -> Answer<u64> {
        self.require_unlocked()?;
        let actor = self.authority()?;
        let wanted = Level::from_u8(level).filter(|wanted| wanted.is_raised());
        let wanted = wanted.ok_or_else(|| refusal!(BadLevel, level))?;
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        if scope >= view.header().scopes {
            return Err(refusal!(BadScope, scope));
        }
        if !view.level_has_effect(scope, wanted) {
            return Err(refusal!(LevelHasNoEffect, scope, wanted));
        }
        let (next, change) = self.raise(actor, scope, wanted, duration, evidence)?;
        if change != Change::Nothing {
            self.run_calls(current.epoch, &view, scope, &next)?;
        }
        Ok(next.incident.into())
    }

    /// Runs once more the calls of a scope that are not in force.
    pub fn retry_containment(&mut self, scope: u8) -> Answer<()> {
        self.require_unlocked()?;
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let state = self.scope(scope);
        if scope >= layout::MAX_SCOPES || !state.effective(self.host.now()).level.is_raised() {
            return Err(refusal!(NothingToRelease, scope));
        }
        self.run_calls(current.epoch, &view, scope, &state)
    }

    /// As whom the caller may contain.
    fn authority(&self) -> Answer<Actor> {
        let caller = self.host.sender();
        if self.is_governor(&caller) {
            Ok(Actor::Governor)
        } else if self.has_role_number(role::GUARDIAN, &caller) {
            Ok(Actor::Guardian)
        } else if self.has_role_number(role::KEEPER, &caller) {
            Ok(Actor::Keeper)
        } else {
            Err(refusal!(MissingRole, role::KEEPER, caller))
        }
    }

    /// The evaluation of a rule that is breached; an error when it is not.
    fn breach(&mut self, body: RuleBody<'_>, index: u16, witness: &[B256]) -> Answer<Evaluation> {
        let evaluation = self.check(
            &body.program(),
            &Inputs {
                params: witness,
                entries: &[],
            },
        )?;
        match evaluation.verdict {
            Verdict::Breached => Ok(evaluation),
            Verdict::Holds => Err(refusal!(RuleHolds, index)),
            Verdict::Unknown => Err(refusal!(RuleUnknown, index, evaluation.reason)),
        }
    }

    /// Whether a spot rule was seen breached some seconds ago with the same witness. If not, it has been seen now.
    fn observed_before(
        &mut self,
        current: &Current,
        index: u16,
        witness: &[B256],
        evaluation: &Evaluation,
    ) -> Answer<bool> {
        let witness_hash = self.host.keccak(&flat(witness));
        let key = layout::observation(current.epoch, index, &witness_hash);
        let (first, now) = (self.number_at(&key), self.host.now());
        let age = now.saturating_sub(first);
        if first != 0 && age <= OBSERVATION_MAX_AGE {
            if age < OBSERVATION_GAP {
                let until = first.saturating_add(OBSERVATION_GAP);
                return Err(refusal!(ObservedTooSoon, index, until));
            }
            self.set_number(&key, 0);
            return Ok(true);
        }
        self.set_number(&key, now);
        let (observed, bound) = (&evaluation.observed, &evaluation.bound);
        emit!(
            self.host,
            RuleObserved,
            [index],
            witness_hash,
            observed.negative,
            observed.magnitude,
            bound.negative,
            bound.magnitude
        );
        Ok(false)
    }

    fn emit_tripped(&mut self, index: u16, incident: u64, witness: &[B256], evaluation: &Evaluation) {
        let (observed, bound) = (&evaluation.observed, &evaluation.bound);
        // The witness comes last: its place after the five words, its length, its words.
        let (offset, count) = (5u8 * 32, witness.len() as u64);
        emit!(
            self.host,
            RuleTripped,
            [index, incident],
            offset,
            observed.negative,
            observed.magnitude,
            bound.negative,
            bound.magnitude,
            count;
            &flat(witness)
        );
    }

    /// Raises a scope within the actor's bounds; writes level, incident and budget, and says so in events.
    fn raise(
        &mut self,
        actor: Actor,
        scope: u8,
        level: Level,
        duration: u32,
        evidence: B256,
    ) -> Answer<(ScopeState, Change)> {
        let (state, now) = (self.scope(scope), self.host.now());
        let bucket_key = layout::bucket(actor as u8);
        let bucket = Bucket::unpack(layout::to_number(self.host.load(&bucket_key)));
        let next_incident = u32::try_from(self.number_at(&layout::INCIDENTS))
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat: self.number_at(&layout::HEARTBEAT),
            next_incident,
        };
        let outcome = bounds::contain(state, bucket, now, &request).map_err(|error| bound_refusal(scope, error))?;
        if outcome.bucket != bucket {
            self.host
                .store(&bucket_key, &layout::from_number(&outcome.bucket.pack()));
        }
        let (next, by) = (outcome.state, self.host.sender());
        if state.release_at != 0 && next.release_at == 0 {
            emit!(self.host, ReleaseCancelled, [scope, by]);
        }
        if next != state {
            self.set_scope(scope, &next);
            self.note_halt(scope, &next);
        }
        let (incident, expires_at) = (next.incident, next.expires_at);
        match outcome.change {
            Change::Nothing => {}
            Change::Extended => {
                emit!(self.host, LevelExtended, [scope, incident, by], level, expires_at);
            }
            Change::Raised { from, opened } => {
                if opened {
                    self.open_incident(scope, incident, evidence);
                }
                emit!(self.host, LevelRaised, [scope, incident, by], from, level, expires_at);
            }
        }
        Ok((next, outcome.change))
    }

    /// Opens an incident. Its record is what the guard emits with its number.
    fn open_incident(&mut self, scope: u8, number: u32, evidence: B256) {
        let extra = self.extra(scope);
        // One that nobody settled ends here; what it left in force is undone with this one.
        if extra.incident != 0 {
            self.close_incident(scope, extra.incident);
        }
        self.set_number(&layout::INCIDENTS, number.into());
        self.set_extra(
            scope,
            &ScopeExtra {
                incident: number,
                ..extra
            },
        );
        emit!(self.host, IncidentOpened, [number, scope], evidence);
    }

    /// Notes the end of an incident.
    pub(crate) fn close_incident(&mut self, scope: u8, number: u32) {
        emit!(self.host, IncidentClosed, [number, scope]);
    }
}

/// A rule, when it takes so many witness words.
pub(crate) fn rule_for<'a>(view: &View<'a>, index: u16, witness: &[B256]) -> Answer<(RuleRecord, RuleBody<'a>)> {
    if index >= view.header().rules {
        return Err(refusal!(UnknownRule, index));
    }
    let (rule, body) = rule_in(view, index)?;
    if usize::from(rule.params) == witness.len() {
        return Ok((rule, body));
    }
    Err(refusal!(WrongWitness, index, rule.params, witness.len() as u64))
}

/// Whether the rule's level holds for at least half of the time that a trip would give it.
fn holds_long_enough(state: &ScopeState, rule: &RuleRecord, now: u64) -> bool {
    let held = state.effective(now).level.rank() >= rule.level.rank();
    held && state.held_until(rule.level).saturating_sub(now) >= u64::from(rule.duration / 2)
}

/// The refusal of a request beyond the actor's bounds.
fn bound_refusal(scope: u8, error: BoundError) -> Refusal {
    match error {
        BoundError::LevelBeyondRole { wanted } => {
            refusal!(LevelBeyondRole, wanted, Level::ReduceOnly)
        }
        BoundError::DurationBeyondRole { wanted, most } => {
            refusal!(DurationBeyondRole, wanted, most)
        }
        BoundError::HeartbeatStale { last } => refusal!(HeartbeatStale, last),
        BoundError::BudgetSpent { available, wanted } => {
            refusal!(BudgetSpent, available, wanted)
        }
        BoundError::Scope(error) => scope_refusal(scope, error),
    }
}

/// The refusal of a transition that a scope does not allow.
pub(crate) fn scope_refusal(scope: u8, error: ScopeError) -> Refusal {
    match error {
        ScopeError::BadLevel => refusal!(BadLevel, Level::Normal),
        ScopeError::NotTighter { current, wanted } => {
            refusal!(NotTighter, scope, current, wanted)
        }
        ScopeError::CeilingReached { ceiling_at } => refusal!(CeilingReached, scope, ceiling_at),
        ScopeError::NothingToRelease => refusal!(NothingToRelease, scope),
        ScopeError::ReleaseNotQueued => refusal!(ReleaseNotQueued, scope),
        ScopeError::ReleaseTooEarly { release_at } => refusal!(ReleaseTooEarly, release_at),
    }
}
