//! Raising levels: `trip`, `contain`, `retryContainment`.

use crate::abi::{emit, flat, refusal, Answer, Refusal};
use crate::calls::Share;
use crate::guard::{open, role, rule_in, set_in, Guard, RuleState};
use alloc::vec::Vec;
use alloy_primitives::B256;
use cordon_core::{
    bounds::{self, Actor, BoundError, Request, OBSERVATION_GAP, OBSERVATION_MAX_AGE},
    incident::{Finding, Opening, Reading, State},
    ledger::Ledger,
    rule::{Class, Evaluation, Verdict},
    rulebook::{Order, RuleBody, RuleRecord, View},
    scope::{Change, RaiseError, ScopeState},
    Level,
};
use cordon_host::{
    layout::{self, Current},
    Host,
};

/// What is to be raised by authority.
#[derive(Clone, Copy)]
enum Ordered<'a> {
    /// These orders, as a rulebook encodes them.
    Here(&'a [u8]),
    /// Those of the containment set of this name.
    Set(&'a B256),
}

/// What a trip came to.
struct Tripped {
    /// The incident's number; 0 when the breach was only observed.
    incident: u32,
    /// The scope that was raised, when containment calls are to be run for it.
    raised: Option<u8>,
}

/// Why a scope was not raised although the request was in order: what one transaction found may be gone in the next.
enum Obstacle {
    Holds,
    Unknown(u8),
    TooSoon(u64),
    Bound(u8, BoundError),
}

impl Obstacle {
    #[inline(never)]
    fn refusal(self, rule: u16) -> Refusal {
        match self {
            Obstacle::Holds => refusal!(RuleHolds, rule),
            Obstacle::Unknown(reason) => refusal!(RuleUnknown, rule, reason),
            Obstacle::TooSoon(until) => refusal!(ObservedTooSoon, rule, until),
            Obstacle::Bound(scope, error) => bound_refusal(scope, error),
        }
    }
}

impl<H: Host> Guard<H> {
    /// Re-evaluates a rule and, when it is breached, raises its scope. Answers the incident, 0 when it was only observed.
    pub fn trip(&mut self, index: u16, witness: Vec<B256>) -> Answer<u64> {
        let incidents = self.trip_many(&[index], &[witness])?;
        Ok(incidents.first().copied().unwrap_or_default())
    }

    /// Trips several rules: each that is breached raises its scope, whatever the others say, and only when none could does the call
    /// fail, as the first alone would. Whoever mends one breach in front of the transaction does not stop the others. All levels
    /// are written before the first containment call.
    pub fn trip_many(&mut self, rules: &[u16], witnesses: &[Vec<B256>]) -> Answer<Vec<u64>> {
        self.require_unlocked()?;
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let (mut incidents, mut raised, mut first) = (Vec::new(), Vec::new(), None);
        let mut any = false;
        for (index, witness) in rules.iter().zip(witnesses) {
            let tripped = match self.try_trip(&current, &view, *index, witness)? {
                Ok(tripped) => {
                    any = true;
                    tripped
                }
                Err(obstacle) => {
                    first.get_or_insert((*index, obstacle));
                    Tripped {
                        incident: 0,
                        raised: None,
                    }
                }
            };
            incidents.push(u64::from(tripped.incident));
            // Not `contains`: its search for bytes is code that the program has no room for.
            raised.extend(tripped.raised.filter(|scope| raised.iter().all(|other| other != scope)));
        }
        if !any {
            return Err(match first {
                Some((index, obstacle)) => obstacle.refusal(index),
                None => refusal!(EmptyBatch),
            });
        }
        let share = Share::of(self.host.gas_left(), raised.len());
        for scope in &raised {
            self.respond_in(current.epoch, &view, *scope, share, false)?;
        }
        Ok(incidents)
    }

    /// As [`Guard::trip`], up to the containment calls.
    fn try_trip(
        &mut self,
        current: &Current,
        view: &View<'_>,
        index: u16,
        witness: &[B256],
    ) -> Answer<Result<Tripped, Obstacle>> {
        let (rule, body) = rule_for(view, index, witness)?;
        if rule.class != Class::State || rule.shadow || !rule.level.is_raised() {
            return Err(refusal!(RuleNotTrippable, index));
        }
        let (state, now) = (self.scope(rule.scope), self.host.now());
        let holds_on = state.release_at == 0 && holds_long_enough(&state, &rule, now);
        let known = self.rule_state(current.epoch, index);
        if holds_on && known.tripped == state.incident {
            return Ok(Ok(Tripped {
                incident: state.incident,
                raised: None,
            }));
        }
        let evaluation = self.verdict_of(index, body, witness)?;
        match evaluation.verdict {
            Verdict::Breached => {}
            Verdict::Holds => return Ok(Err(Obstacle::Holds)),
            Verdict::Unknown => return Ok(Err(Obstacle::Unknown(evaluation.reason))),
        }
        if !rule.robust {
            match self.observed_before(current, index, witness, &evaluation) {
                Ok(true) => {}
                Ok(false) => {
                    return Ok(Ok(Tripped {
                        incident: 0,
                        raised: None,
                    }))
                }
                Err(until) => return Ok(Err(Obstacle::TooSoon(until))),
            }
        }
        let (next, change) = if holds_on {
            (state, Change::Nothing)
        } else {
            let finding = Finding::Breach {
                rule: index,
                observed: Reading::new(&evaluation.observed),
                bound: Reading::new(&evaluation.bound),
            };
            let order = Order {
                scope: rule.scope,
                level: rule.level,
                duration: rule.duration,
            };
            match self.raise(view, Actor::Trip, &order, &finding.opening(current.epoch)) {
                Ok(raised) => raised,
                Err(error) => return Ok(Err(Obstacle::Bound(rule.scope, error))),
            }
        };
        let tripped = RuleState {
            tripped: next.incident,
            ..known
        };
        self.set_rule_state(current.epoch, index, &tripped);
        self.emit_tripped(index, next.incident, witness, &evaluation);
        Ok(Ok(Tripped {
            incident: next.incident,
            raised: (change != Change::Nothing).then_some(rule.scope),
        }))
    }

    /// Raises a scope by authority.
    pub fn contain(&mut self, scope: u8, level: u8, duration: u32, evidence: B256) -> Answer<u64> {
        let incidents = self.contain_many(&[scope], level, duration, evidence)?;
        Ok(incidents.first().copied().unwrap_or_default())
    }

    /// Raises several scopes by authority: all within the actor's bounds, or none. One in which a stricter level holds, or that is at
    /// its ceiling, is passed over (0), unless that is so of all. All levels are written before the first containment call.
    pub fn contain_many(&mut self, scopes: &[u8], level: u8, duration: u32, evidence: B256) -> Answer<Vec<u64>> {
        let actor = self.begin_containment()?;
        let wanted = Level::from_u8(level).filter(|wanted| wanted.is_raised());
        let level = wanted.ok_or_else(|| refusal!(BadLevel, level))?;
        let mut orders = Vec::new();
        for scope in scopes {
            let scope = *scope;
            orders.extend_from_slice(&Order { scope, level, duration }.to_bytes());
        }
        self.carry_out(actor, evidence, Ordered::Here(&orders))
    }

    /// Raises the scopes of a containment set, as [`Guard::contain_many`] does: a set gives nobody more power, it only spares looking
    /// for what is to be closed.
    pub fn contain_set(&mut self, name: &B256, evidence: B256) -> Answer<Vec<u64>> {
        let actor = self.begin_containment()?;
        self.carry_out(actor, evidence, Ordered::Set(name))
    }

    #[inline(never)]
    fn begin_containment(&self) -> Answer<Actor> {
        self.require_unlocked()?;
        self.authority()
    }

    /// Carries orders out by authority, see [`Guard::contain_many`].
    fn carry_out(&mut self, actor: Actor, evidence: B256, ordered: Ordered<'_>) -> Answer<Vec<u64>> {
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let orders = match ordered {
            Ordered::Here(orders) => orders,
            Ordered::Set(name) => {
                let set = set_in(&view, name)?;
                let by = self.host.sender();
                emit!(self.host, SetContained, [name, by], set.reviewed);
                set.encoded()
            }
        };
        let opening = Finding::Authority { actor, evidence }.opening(current.epoch);
        let (mut incidents, mut raised, mut first) = (Vec::new(), Vec::new(), None);
        let mut any = false;
        for order in Order::all(orders) {
            let scope = order.scope;
            if scope >= view.header().scopes {
                return Err(refusal!(BadScope, scope, view.header().scopes));
            }
            if !view.level_has_effect(scope, order.level) {
                return Err(refusal!(LevelHasNoEffect, scope, order.level));
            }
            match self.raise(&view, actor, &order, &opening) {
                Ok((next, change)) => {
                    any = true;
                    incidents.push(u64::from(next.incident));
                    if change != Change::Nothing {
                        raised.push(scope);
                    }
                    // An incident that is open already has its finding; what is found later is kept among its notes.
                    let opened = matches!(change, Change::Nothing | Change::Raised { opened: true, .. });
                    if !opened && evidence != B256::ZERO {
                        self.note(next.incident, &evidence);
                    }
                }
                Err(error @ BoundError::Scope(RaiseError::NotTighter { .. } | RaiseError::CeilingReached { .. })) => {
                    first.get_or_insert((scope, error));
                    incidents.push(0);
                }
                Err(error) => return Err(bound_refusal(scope, error)),
            }
        }
        if !any {
            return Err(match first {
                Some((scope, error)) => bound_refusal(scope, error),
                None => refusal!(EmptyBatch),
            });
        }
        if actor == Actor::Seal && !raised.is_empty() {
            self.break_seal();
        }
        let share = Share::of(self.host.gas_left(), raised.len());
        for scope in &raised {
            self.respond_in(current.epoch, &view, *scope, share, false)?;
        }
        Ok(incidents)
    }

    /// Takes the caller's seal: what it has closed, in one call, is all that it closes until the governor arms it again.
    fn break_seal(&mut self) {
        let by = self.host.sender();
        let bits = self.roles(&by);
        self.set_roles(&by, bits & !(1 << role::SEAL));
        emit!(self.host, RoleSet, [role::SEAL, by], false);
    }

    /// Runs the containment calls of a scope whose level was raised, and notes whether all have their effect: an incident that was
    /// contained or released before is open again when one has not.
    pub(crate) fn respond_in(
        &mut self,
        epoch: u32,
        view: &View<'_>,
        scope: u8,
        share: Share,
        again: bool,
    ) -> Answer<()> {
        let contained = self.run_calls(epoch, view, scope, share, again)?;
        let incident = self.scope(scope).incident;
        if self.move_incident(incident, if contained { State::Contained } else { State::Open }) {
            if contained {
                emit!(self.host, IncidentContained, [incident]);
            } else if self.head(incident).is_some() {
                emit!(self.host, IncidentReopened, [incident]);
            }
        }
        Ok(())
    }

    /// Runs once more the calls of a scope that are not in force, those first that an earlier transaction had no gas for.
    pub fn retry_containment(&mut self, scope: u8) -> Answer<()> {
        self.require_unlocked()?;
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        if scope >= view.header().scopes {
            return Err(refusal!(BadScope, scope, view.header().scopes));
        }
        if !self.level(scope).is_raised() {
            return Err(refusal!(NothingToRetry, scope));
        }
        let share = Share::of(self.host.gas_left(), 1);
        self.respond_in(current.epoch, &view, scope, share, true)
    }

    /// As whom the caller may contain.
    fn authority(&self) -> Answer<Actor> {
        let caller = self.host.sender();
        let roles = self.roles(&caller);
        let has = |number: u8| roles >> number & 1 == 1;
        if has(layout::GOVERNS) {
            Ok(Actor::Governor)
        } else if has(role::GUARDIAN) {
            Ok(Actor::Guardian)
        } else if has(role::KEEPER) {
            Ok(Actor::Keeper)
        } else if has(role::SEAL) {
            Ok(Actor::Seal)
        } else {
            Err(refusal!(MissingRole, role::KEEPER, caller))
        }
    }

    /// Whether a spot rule was seen breached some seconds ago with the same witness. If not, it has been seen now. When it was seen
    /// just now: the time from which on it counts.
    fn observed_before(
        &mut self,
        current: &Current,
        index: u16,
        witness: &[B256],
        evaluation: &Evaluation,
    ) -> Result<bool, u64> {
        let witness_hash = self.host.keccak(&flat(witness));
        let key = layout::observation(current.epoch, index, &witness_hash);
        let (first, now) = (self.number_at(&key), self.host.now());
        let age = now.saturating_sub(first);
        if first != 0 && age <= OBSERVATION_MAX_AGE {
            if age < OBSERVATION_GAP {
                return Err(first.saturating_add(OBSERVATION_GAP));
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

    fn emit_tripped(&mut self, index: u16, incident: u32, witness: &[B256], evaluation: &Evaluation) {
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

    /// Raises a scope, of so many, within the actor's bounds; writes level, incident and budget, and says so in events.
    fn raise(
        &mut self,
        view: &View<'_>,
        actor: Actor,
        order: &Order,
        opening: &Opening,
    ) -> Result<(ScopeState, Change), BoundError> {
        let Order { scope, level, duration } = *order;
        let (state, now) = (self.scope(scope), self.host.now());
        let mut ledger = self.ledger();
        let bucket = ledger.bucket(actor);
        let opens = state.effective(now).level == Level::Normal;
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat: ledger.heartbeat,
            next_incident: if opens { self.next_incident(ledger.incidents) } else { 0 },
            elsewhere: if opens {
                self.contained_elsewhere(scope, view.header().scopes, &ledger)
            } else {
                0
            },
        };
        let outcome = bounds::contain(state, bucket, now, &request)?;
        let opened = matches!(outcome.change, Change::Raised { opened: true, .. });
        if opened {
            ledger.incidents = request.next_incident;
            // Scope 0 is read by the others from now on, until nothing of it counts any more.
            let counts = || request.elsewhere != 0 || self.scope(0).level != Level::Normal;
            ledger.whole = scope == 0 || ledger.whole && counts();
        }
        if outcome.bucket != bucket {
            ledger = ledger.with_bucket(actor, outcome.bucket);
        }
        if opened || outcome.bucket != bucket {
            self.set_ledger(&ledger);
        }
        let (next, by) = (outcome.state, self.host.sender());
        if state.release_at != 0 && next.release_at == 0 {
            emit!(self.host, ReleaseCancelled, [scope, by]);
        }
        if next != state {
            self.set_scope_under(view, scope, &next);
            self.note_halt(scope, &state, &next);
        }
        let (incident, expires_at) = (next.incident, next.expires_at);
        match outcome.change {
            Change::Nothing => {}
            Change::Extended => {
                self.raise_incident(incident, level);
                emit!(self.host, LevelExtended, [scope, incident, by], level, expires_at);
            }
            Change::Raised { from, opened } => {
                if opened {
                    // One that nobody settled ends here; what it left in force is undone with this one.
                    if state.incident != 0 {
                        self.close_incident(scope, state.incident);
                    }
                    self.open_incident(scope, incident, level, opening);
                } else {
                    self.raise_incident(incident, level);
                }
                emit!(self.host, LevelRaised, [scope, incident, by], from, level, expires_at);
            }
        }
        Ok((next, outcome.change))
    }

    /// Seconds of containment through other scopes that count against the ceiling of one that leaves Normal: of a scope those of the whole
    /// protocol, of the whole protocol the most of any scope. So nobody passes the ceiling by going from one to the other.
    pub(crate) fn contained_elsewhere(&self, scope: u8, scopes: u8, ledger: &Ledger) -> u32 {
        let now = self.host.now();
        if scope == 0 {
            return (1..scopes).map(|other| self.scope(other).used(now)).max().unwrap_or(0);
        }
        if ledger.whole {
            self.scope(0).used(now)
        } else {
            0
        }
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
        BoundError::DurationTooShort { wanted, least } => {
            refusal!(DurationTooShort, wanted, least)
        }
        BoundError::DurationBeyondRole { wanted, most } => {
            refusal!(DurationBeyondRole, wanted, most)
        }
        BoundError::HeartbeatStale { last } => refusal!(HeartbeatStale, last),
        BoundError::BudgetSpent { available, wanted } => {
            refusal!(BudgetSpent, available, wanted)
        }
        BoundError::Scope(RaiseError::NotTighter { current, wanted }) => {
            refusal!(NotTighter, scope, current, wanted)
        }
        BoundError::Scope(RaiseError::CeilingReached { ceiling_at }) => {
            refusal!(CeilingReached, scope, ceiling_at)
        }
        BoundError::Scope(RaiseError::BadLevel { wanted }) => refusal!(BadLevel, wanted),
    }
}
