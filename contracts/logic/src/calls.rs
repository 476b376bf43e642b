//! Containment calls: run, read back, undo. What the guard did, and only that, is what it undoes.

use crate::abi::{emit, Answer};
use crate::guard::{call_in, open, Guard};
use alloc::{vec, vec::Vec};
use alloy_primitives::{Address, B256, U256};
use cordon_core::{
    rule::Verdict,
    rulebook::{ContainmentBody, ContainmentRecord, UndoView, View},
    scope::ScopeState,
    Level,
};
use cordon_host::{
    layout::{self, Current},
    CallKind, Host,
};

/// Most bytes of a call's revert data that an event carries: a hostile target must not make the guard pay for more.
const REASON_LIMIT: usize = 256;

/// How many times its `max_duration` a call rests before it may run again: it closes what it closes for at most a quarter of any
/// longer time.
const REST: u64 = 3;

/// What the guard did by one containment call, one word that is never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doing {
    /// Undo calls that are ours to make (bit per undo call).
    pub(crate) ours: u64,
    /// When the call first ran in the incident, Unix seconds.
    pub(crate) ran_at: u64,
    /// The incident.
    pub(crate) incident: u32,
    /// In force because of its own scope, and because of scope 0 (the same for a call of scope 0).
    own: bool,
    whole: bool,
}

impl Doing {
    pub(crate) fn unpack(word: B256) -> Self {
        let [ours, ran_at, incident, _] = layout::limbs(word);
        Self {
            ours,
            ran_at,
            incident: (incident & 0xffff_ffff) as u32,
            own: incident >> 32 & 1 == 1,
            whole: incident >> 33 & 1 == 1,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        let reasons = u64::from(self.own) << 32 | u64::from(self.whole) << 33;
        layout::from_limbs([self.ours, self.ran_at, u64::from(self.incident) | reasons, 1])
    }

    /// Whether the call is in force because of a scope that it serves.
    pub(crate) const fn because_of(&self, scope: u8) -> bool {
        if scope == 0 {
            self.whole
        } else {
            self.own
        }
    }

    const fn with_reason(self, scope: u8, holds: bool) -> Self {
        if scope == 0 {
            Self { whole: holds, ..self }
        } else {
            Self { own: holds, ..self }
        }
    }

    const fn is_in_force(&self) -> bool {
        self.own || self.whole
    }

    /// Whether the call has been in force for as long as it may be.
    pub(crate) const fn is_overdue(&self, record: &ContainmentRecord, now: u64) -> bool {
        record.max_duration > 0 && now >= self.ran_at.saturating_add(record.max_duration as u64)
    }

    /// The state with which the call runs in an incident, `None` when it must not. The clock of a call with a `max_duration`
    /// belongs to the call, not to a scope: it starts again only for an incident that is newer than all that it ran in, and after
    /// [`REST`]. Scopes that are raised in turn keep nothing closed for longer.
    fn started(self, record: &ContainmentRecord, incident: u32, now: u64) -> Option<Self> {
        let span = u64::from(record.max_duration);
        let rested = now >= self.ran_at.saturating_add(span.saturating_mul(1 + REST));
        if self.incident == 0 || span == 0 || (incident > self.incident && rested) {
            return Some(Self {
                ran_at: if self.incident == incident { self.ran_at } else { now },
                incident,
                ..self
            });
        }
        (!self.is_overdue(record, now)).then_some(Self {
            incident: self.incident.max(incident),
            ..self
        })
    }
}

/// What came of undoing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// Something was undone, handed over, or tried.
    pub(crate) tried: bool,
    /// Something is left in force.
    pub(crate) left: bool,
    /// Something was undone that a rulebook had done which is in force no more.
    pub(crate) of_old_book: bool,
}

/// A call in force: whose, because of which scope, which.
struct Place {
    epoch: u32,
    scope: u8,
    index: u16,
}

/// The call of a rulebook with the same scope, target, calldata, read-back and undo calls.
fn twin(view: &View<'_>, scope: u8, body: &ContainmentBody<'_>) -> Answer<Option<u16>> {
    for index in 0..view.header().containments {
        let (record, other) = call_in(view, index)?;
        if record.scope == scope && other == *body {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

impl<H: Host> Guard<H> {
    fn doing(&self, epoch: u32, index: u16) -> Doing {
        Doing::unpack(self.host.load(&layout::containment(epoch, index)))
    }

    /// Writes what was done by a call, and counts it when it comes into force or goes out of it.
    fn set_doing(&mut self, epoch: u32, index: u16, doing: &Doing) {
        let was = self.doing(epoch, index).is_in_force();
        self.host.store(&layout::containment(epoch, index), &doing.pack());
        if was != doing.is_in_force() {
            let mut ledger = self.ledger();
            ledger.in_force = if was {
                ledger.in_force.saturating_sub(1)
            } else {
                ledger.in_force.saturating_add(1)
            };
            self.set_ledger(&ledger);
        }
    }

    /// Calls of the rulebook in force that are in force because of a scope (bit per call).
    pub(crate) fn applied(&self, scope: u8) -> U256 {
        let mut bits = U256::ZERO;
        if self.ledger().in_force == 0 {
            return bits;
        }
        let Ok((current, code)) = self.rulebook_in_force() else {
            return bits;
        };
        let Ok(view) = open(&code) else { return bits };
        for index in 0..view.header().containments {
            let serves = call_in(&view, index).is_ok_and(|(record, _)| record.serves(scope, Level::Halted));
            bits.set_bit(
                usize::from(index),
                serves && self.doing(current.epoch, index).because_of(scope),
            );
        }
        bits
    }

    /// Runs the calls that serve the level of a scope and are not in force. Level and incident are written before. Answers whether
    /// every one of them has its effect.
    pub(crate) fn run_calls(&mut self, epoch: u32, view: &View<'_>, scope: u8, state: &ScopeState) -> Answer<bool> {
        let level = state.effective(self.host.now()).level;
        let mut all = true;
        self.lock();
        for index in 0..view.header().containments {
            let (record, body) = call_in(view, index)?;
            if record.serves(scope, level) {
                all &= self.run_call(epoch, scope, index, &record, &body, state.incident)?;
            }
        }
        self.unlock();
        Ok(all)
    }

    fn run_call(
        &mut self,
        epoch: u32,
        scope: u8,
        index: u16,
        record: &ContainmentRecord,
        body: &ContainmentBody<'_>,
        incident: u32,
    ) -> Answer<bool> {
        let known = self.doing(epoch, index);
        let Some(mut doing) = known.started(record, incident, self.host.now()) else {
            return Ok(false);
        };
        let before = self.holds(&body.done)?;
        if before == Verdict::Holds {
            if !known.because_of(scope) {
                emit!(self.host, ContainmentNotNeeded, [index, incident]);
            }
            return Ok(true);
        }
        let mut undone_before = 0u64;
        for (bit, undo) in body.undo().enumerate() {
            undone_before |= u64::from(self.undone(body, &undo, before)? == Verdict::Holds) << bit;
        }
        let reason = self.call_out(&body.target, body.calldata, record.gas)?;
        let after = self.holds(&body.done)?;
        let done = after == Verdict::Holds;
        for (bit, undo) in body.undo().enumerate() {
            // Ours only when it was not so before and is so now: what others had closed stays closed.
            if undone_before >> bit & 1 == 1 && self.undone(body, &undo, after)? == Verdict::Breached {
                doing.ours |= 1 << bit;
            }
        }
        if done || doing.ours != 0 {
            self.set_doing(epoch, index, &doing.with_reason(scope, true));
        }
        if done {
            emit!(self.host, ContainmentApplied, [index, incident]);
        } else {
            let (offset, length, tail) = bytes_tail(&reason);
            emit!(self.host, ContainmentFailed, [index, incident], offset, length; &tail);
        }
        Ok(done)
    }

    /// Whether an undo item is undone, when this is what the call's read-back says. Most items say no more than its opposite: then nobody
    /// has to be asked.
    fn undone(&mut self, body: &ContainmentBody<'_>, undo: &UndoView<'_>, done: Verdict) -> Answer<Verdict> {
        if !undo.undone.negates(&body.done) {
            return self.holds(&undo.undone);
        }
        Ok(match done {
            Verdict::Holds => Verdict::Breached,
            Verdict::Breached => Verdict::Holds,
            Verdict::Unknown => Verdict::Unknown,
        })
    }

    /// Calls a target as the guard; answers the revert data, empty on success.
    pub(crate) fn call_out(&mut self, target: &Address, calldata: &[u8], gas: u32) -> Answer<Vec<u8>> {
        self.require_gas(gas.into())?;
        self.host.flush(false);
        if self.host.call(CallKind::Call, target, calldata, gas.into()) {
            return Ok(Vec::new());
        }
        let mut reason = vec![0; self.host.return_data_len().min(REASON_LIMIT)];
        let read = self.host.return_data(0, &mut reason);
        reason.truncate(read);
        Ok(reason)
    }

    /// Undoes what is in force because of a scope and has no reason any more. What it did by a call of an older rulebook that is in
    /// the present one too goes over to that.
    pub(crate) fn undo_calls(&mut self, scope: u8) -> Answer<Undone> {
        let current = self.current();
        let mut undone = Undone::default();
        if self.ledger().in_force == 0 {
            return Ok(undone);
        }
        let code = self.code(&current.book);
        let present = open(&code)?;
        self.lock();
        for epoch in current.oldest..=current.epoch {
            let is_present = epoch == current.epoch;
            let old_code = if is_present {
                Vec::new()
            } else {
                self.code(&self.address_at(&layout::book(epoch)))
            };
            let view = if is_present { present } else { open(&old_code)? };
            // Last done, first undone.
            for index in (0..view.header().containments).rev() {
                let (record, body) = call_in(&view, index)?;
                if !record.serves(scope, Level::Halted) || !self.doing(epoch, index).because_of(scope) {
                    continue;
                }
                let at = Place { epoch, scope, index };
                if !is_present {
                    if let Some(twin) = twin(&present, record.scope, &body)? {
                        self.take_over(&at, current.epoch, twin);
                        continue;
                    }
                    undone.of_old_book = true;
                }
                self.undo_unless_wanted(&at, is_present, &record, &body, &mut undone)?;
            }
        }
        if self.ledger().in_force == 0 && current.oldest != current.epoch {
            let forgotten = Current {
                oldest: current.epoch,
                ..current
            };
            self.host.store(&layout::CURRENT, &forgotten.pack());
        }
        self.unlock();
        Ok(undone)
    }

    /// Makes what was done by a call of an old rulebook the doing of the same call in the present one: adopting a rulebook in an
    /// incident opens nothing.
    fn take_over(&mut self, at: &Place, epoch: u32, twin: u16) {
        let (old, new) = (self.doing(at.epoch, at.index), self.doing(epoch, twin));
        let mut taken = new.with_reason(at.scope, true);
        if old.ours != 0 {
            taken = Doing {
                ours: old.ours | new.ours,
                ran_at: old.ran_at,
                incident: old.incident.max(new.incident),
                ..taken
            };
        }
        let left = Doing { ours: 0, ..old }.with_reason(at.scope, false);
        self.set_doing(at.epoch, at.index, &left);
        self.set_doing(epoch, twin, &taken);
    }

    fn undo_unless_wanted(
        &mut self,
        at: &Place,
        present: bool,
        record: &ContainmentRecord,
        body: &ContainmentBody<'_>,
        undone: &mut Undone,
    ) -> Answer<()> {
        let Place { epoch, scope, index } = *at;
        let doing = self.doing(epoch, index);
        let wanted = present && !doing.is_overdue(record, self.host.now());
        if wanted && self.serves(record, scope) {
            undone.left = true;
            return Ok(());
        }
        undone.tried = true;
        let other = if scope == 0 { record.scope } else { 0 };
        if wanted && other != scope && self.serves(record, other) {
            self.set_doing(epoch, index, &doing.with_reason(scope, false).with_reason(other, true));
            return Ok(());
        }
        let rest = self.undo_call(index, record, body, &doing)?;
        undone.left |= rest != 0;
        let left = Doing { ours: rest, ..doing };
        self.set_doing(epoch, index, &left.with_reason(scope, rest != 0));
        Ok(())
    }

    /// Whether the level of a scope is a reason for the call.
    fn serves(&self, record: &ContainmentRecord, scope: u8) -> bool {
        let level = self.level(scope);
        level != Level::Grace && record.serves(scope, level)
    }

    /// Makes the undo calls that are ours; answers which of them are still to be made.
    fn undo_call(
        &mut self,
        index: u16,
        record: &ContainmentRecord,
        body: &ContainmentBody<'_>,
        doing: &Doing,
    ) -> Answer<u64> {
        let incident = doing.incident;
        let mut rest = doing.ours;
        for (bit, undo) in body.undo().enumerate() {
            if rest >> bit & 1 == 0 {
                continue;
            }
            match self.undo_one(record, &undo)? {
                None => rest &= !(1 << bit),
                Some(reason) => {
                    let (offset, length, tail) = bytes_tail(&reason);
                    emit!(self.host, UndoFailed, [index, incident], offset, length; &tail);
                }
            }
        }
        if rest == 0 && doing.ours != 0 {
            emit!(self.host, ContainmentUndone, [index, incident]);
        }
        Ok(rest)
    }

    /// Makes one undo call unless it is undone already; `None` when it is undone afterwards, else the revert data.
    pub(crate) fn undo_one(&mut self, record: &ContainmentRecord, undo: &UndoView<'_>) -> Answer<Option<Vec<u8>>> {
        if self.holds(&undo.undone)? == Verdict::Holds {
            return Ok(None);
        }
        let reason = self.call_out(&undo.target, undo.calldata, record.gas)?;
        let undone = self.holds(&undo.undone)? == Verdict::Holds;
        Ok(if undone { None } else { Some(reason) })
    }
}

/// The parts of a lone `bytes` value: offset, length, and the bytes padded to whole words.
fn bytes_tail(bytes: &[u8]) -> (u8, u64, Vec<u8>) {
    let mut tail = bytes.to_vec();
    tail.resize(bytes.len().next_multiple_of(32), 0);
    (32, bytes.len() as u64, tail)
}
