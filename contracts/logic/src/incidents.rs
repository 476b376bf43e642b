//! The record of incidents: a ring of the latest ones, and what people say of them.

use crate::abi::{answer, emit, refusal, Answer};
use crate::guard::{role, Guard};
use alloc::vec::Vec;
use alloy_primitives::B256;
use cordon_core::{
    bounds::Actor,
    incident::{Finding, Head, Incident, Opening, State, RING},
    rule::Int,
    Level,
};
use cordon_host::{layout, Host};

impl<H: Host> Guard<H> {
    /// The record of an incident, while it is among the latest ones.
    pub(crate) fn recorded(&self, number: u32) -> Option<Incident> {
        let slot = Incident::slot(number);
        let first = layout::to_number(self.host.load(&layout::incident(slot, 0)));
        let second = self.host.load(&layout::incident(slot, 1));
        Incident::unpack(first, second).filter(|incident| incident.number == number)
    }

    /// Writes the word of a record that changes after it was opened.
    fn rewrite(&mut self, incident: &Incident) {
        let key = layout::incident(Incident::slot(incident.number), 0);
        self.host.store(&key, &layout::from_number(&incident.pack().0));
    }

    /// The number of the next incident. One whose place in the ring is that of an incident which is not over is passed over, so that no
    /// record is lost on which somebody still works; when every place is such a one, the next in turn is taken.
    pub(crate) fn next_incident(&self, latest: u32) -> u32 {
        let next = latest.saturating_add(1);
        (next..next.saturating_add(RING))
            .find(|number| {
                let word = self.host.load(&layout::incident(Incident::slot(*number), 0));
                !Head::is_under_way(layout::to_number(word))
            })
            .unwrap_or(next)
    }

    /// Opens an incident.
    pub(crate) fn open_incident(&mut self, scope: u8, number: u32, level: Level, opening: &Opening) {
        let block = (self.host.block() & 0xffff_ffff) as u32;
        let head = Head::opened(number, scope, level, opening, self.host.now(), block);
        self.set_head(number, &head);
        let key = layout::incident(Incident::slot(number), 1);
        self.host.store(&key, &opening.word);
        let evidence = opening.evidence;
        emit!(self.host, IncidentOpened, [number, scope], evidence);
    }

    /// Notes that the level of an incident was raised or extended.
    pub(crate) fn raise_incident(&mut self, number: u32, level: Level) {
        if let Some(head) = self.head(number) {
            self.set_head(number, &head.raised(level));
        }
    }

    /// The word of a record that changes after it was opened, while it is among the latest ones.
    pub(crate) fn head(&self, number: u32) -> Option<Head> {
        let word = self.host.load(&layout::incident(Incident::slot(number), 0));
        Head::of(layout::to_number(word), number)
    }

    fn set_head(&mut self, number: u32, head: &Head) {
        let key = layout::incident(Incident::slot(number), 0);
        self.host.store(&key, &layout::from_number(&head.word()));
    }

    /// Notes how far an incident has come; whether that is news, of which whoever moves it tells.
    pub(crate) fn move_incident(&mut self, number: u32, state: State) -> bool {
        let known = self.head(number);
        if known.is_some_and(|head| head.is(state)) {
            return false;
        }
        if let Some(head) = known {
            let moved = head.moved(state, self.host.now());
            self.set_head(number, &moved);
        }
        true
    }

    /// Notes the end of an incident.
    pub(crate) fn close_incident(&mut self, scope: u8, number: u32) {
        emit!(self.host, IncidentClosed, [number, scope]);
        self.move_incident(number, State::Closed);
    }

    /// Attaches the hash of a note to an incident: what is kept is the hash of all of them in order.
    pub fn note_incident(&mut self, number: u64, note: B256) -> Answer<()> {
        self.require_unlocked()?;
        let by = self.host.sender();
        let may = 1 << role::GUARDIAN | 1 << role::KEEPER | 1 << layout::GOVERNS;
        if self.roles(&by) & may == 0 {
            return Err(refusal!(MissingRole, role::KEEPER, by));
        }
        let incident = self.known_incident(number)?;
        self.note(incident.number, &note);
        Ok(())
    }

    /// Attaches a note to an incident; one that has left the ring has the event alone.
    pub(crate) fn note(&mut self, number: u32, note: &B256) {
        if let Some(head) = self.head(number) {
            let key = layout::incident(Incident::slot(number), 2);
            let before = if head.is_noted() {
                self.host.load(&key)
            } else {
                B256::ZERO
            };
            let chained = self.host.keccak(&crate::abi::flat(&[before, *note]));
            self.host.store(&key, &chained);
            self.set_head(number, &head.noted());
        }
        let by = self.host.sender();
        emit!(self.host, IncidentNoted, [number, by], note);
    }

    /// Says of an incident that is over whether there was nothing to contain. Moves no level.
    pub fn judge_incident(&mut self, number: u64, false_positive: bool) -> Answer<()> {
        self.require_unlocked()?;
        let by = self.host.sender();
        if self.roles(&by) & (1 << role::GUARDIAN | 1 << layout::GOVERNS) == 0 {
            return Err(refusal!(MissingRole, role::GUARDIAN, by));
        }
        let incident = self.known_incident(number)?;
        if !incident.state.is_over() {
            return Err(refusal!(IncidentNotOver, number));
        }
        let state = if false_positive {
            State::FalsePositive
        } else {
            State::Closed
        };
        if state != incident.state {
            self.rewrite(&Incident { state, ..incident });
            emit!(self.host, IncidentJudged, [number, by], false_positive);
        }
        Ok(())
    }

    fn known_incident(&self, number: u64) -> Answer<Incident> {
        let known = u32::try_from(number).ok().and_then(|number| self.recorded(number));
        known.ok_or_else(|| refusal!(UnknownIncident, number))
    }

    /// The record of an incident, as in the ABI.
    pub fn incident(&self, number: u64) -> Answer<Vec<u8>> {
        let incident = self.known_incident(number)?;
        let notes = if incident.noted {
            self.host.load(&layout::incident(Incident::slot(incident.number), 2))
        } else {
            B256::ZERO
        };
        let (actor, rule, evidence, observed, bound) = match &incident.finding {
            Finding::Breach { rule, observed, bound } => {
                (Actor::Trip, *rule, B256::ZERO, observed.number(), bound.number())
            }
            Finding::Authority { actor, evidence } => (*actor, 0, *evidence, Int::ZERO, Int::ZERO),
        };
        let rulebook = self.host.code_hash(&self.address_at(&layout::book(incident.epoch)));
        Ok(answer!(
            number,
            incident.scope,
            incident.state as u8,
            actor as u8,
            rule,
            incident.peak,
            incident.raises,
            incident.opened_at,
            incident.released_at,
            incident.closed_at,
            incident.block,
            evidence,
            observed.negative,
            observed.magnitude,
            bound.negative,
            bound.magnitude,
            notes,
            rulebook
        ))
    }

    /// Numbers of the latest incident and of the oldest one that is remembered; 0 and 0 before the first.
    #[must_use]
    pub fn incidents(&self) -> (u32, u32) {
        let latest = self.ledger().incidents;
        (latest, latest.saturating_sub(RING - 1).max(latest.min(1)))
    }
}
