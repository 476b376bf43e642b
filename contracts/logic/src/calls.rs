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
use cordon_host::{layout, CallKind, Host};

/// Most bytes of a call's revert data that an event carries: a hostile target must not make the guard pay for more.
const REASON_LIMIT: usize = 256;

/// How many times its `max_duration` a call rests before it may run again: it closes what it closes for at most a quarter of any
/// longer time.
const REST: u64 = 3;

/// What the guard did by one containment call, one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doing {
    /// Undo calls that are ours to make (bit per undo call).
    pub(crate) ours: u64,
    /// When the call first ran in the incident, Unix seconds.
    pub(crate) ran_at: u64,
    /// The incident.
    pub(crate) incident: u32,
}

impl Doing {
    pub(crate) fn unpack(word: B256) -> Self {
        let [ours, ran_at, incident, _] = layout::limbs(word);
        Self {
            ours,
            ran_at,
            incident: (incident & 0xffff_ffff) as u32,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        layout::from_limbs([self.ours, self.ran_at, u64::from(self.incident), 0])
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

/// What a scope needs besides its state, one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeExtra {
    /// Number of the oldest rulebook of which calls may be in force; 0 when none are.
    pub(crate) oldest: u32,
    /// The incident that is open; 0 when none is.
    pub(crate) incident: u32,
}

impl ScopeExtra {
    fn unpack(word: B256) -> Self {
        let [low, ..] = layout::limbs(word);
        Self {
            oldest: (low & 0xffff_ffff) as u32,
            incident: (low >> 32) as u32,
        }
    }

    fn pack(&self) -> B256 {
        layout::from_limbs([u64::from(self.oldest) | u64::from(self.incident) << 32, 0, 0, 0])
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

/// The call of a rulebook with the same target, calldata, read-back and undo calls.
fn twin(view: &View<'_>, body: &ContainmentBody<'_>) -> Answer<Option<u16>> {
    for index in 0..view.header().containments {
        if call_in(view, index)?.1 == *body {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

impl<H: Host> Guard<H> {
    pub(crate) fn extra(&self, scope: u8) -> ScopeExtra {
        ScopeExtra::unpack(self.host.load(&layout::scope_extra(scope)))
    }

    pub(crate) fn set_extra(&mut self, scope: u8, extra: &ScopeExtra) {
        self.host.store(&layout::scope_extra(scope), &extra.pack());
    }

    /// Calls of the rulebook `epoch` that are in force because of the scope (bit per call).
    pub(crate) fn applied(&self, epoch: u32, scope: u8) -> U256 {
        layout::to_number(self.host.load(&layout::applied(epoch, scope)))
    }

    fn set_applied(&mut self, epoch: u32, scope: u8, index: u16, applied: bool) {
        let mut bits = self.applied(epoch, scope);
        if bits.bit(usize::from(index)) == applied {
            return;
        }
        bits.set_bit(usize::from(index), applied);
        self.host
            .store(&layout::applied(epoch, scope), &layout::from_number(&bits));
        let mut extra = self.extra(scope);
        if applied && (extra.oldest == 0 || epoch < extra.oldest) {
            extra.oldest = epoch;
            self.set_extra(scope, &extra);
        }
    }

    /// Runs the calls that serve the level of a scope and are not in force. Level and incident are written before.
    pub(crate) fn run_calls(&mut self, epoch: u32, view: &View<'_>, scope: u8, state: &ScopeState) -> Answer<()> {
        let level = state.effective(self.host.now()).level;
        self.lock();
        for index in 0..view.header().containments {
            let (record, body) = call_in(view, index)?;
            if record.serves(scope, level) {
                self.run_call(epoch, scope, index, &record, &body, state.incident)?;
            }
        }
        self.unlock();
        Ok(())
    }

    fn run_call(
        &mut self,
        epoch: u32,
        scope: u8,
        index: u16,
        record: &ContainmentRecord,
        body: &ContainmentBody<'_>,
        incident: u32,
    ) -> Answer<()> {
        let key = layout::containment(epoch, index);
        let known = Doing::unpack(self.host.load(&key));
        let Some(mut doing) = known.started(record, incident, self.host.now()) else {
            return Ok(());
        };
        if self.holds(&body.done)? == Verdict::Holds {
            if !self.applied(epoch, scope).bit(usize::from(index)) {
                emit!(self.host, ContainmentNotNeeded, [index, incident]);
            }
            return Ok(());
        }
        let mut undone_before = 0u64;
        for (bit, undo) in body.undo().enumerate() {
            undone_before |= u64::from(self.holds(&undo.undone)? == Verdict::Holds) << bit;
        }
        let reason = self.call_out(&body.target, body.calldata, record.gas)?;
        let done = self.holds(&body.done)? == Verdict::Holds;
        for (bit, undo) in body.undo().enumerate() {
            // Ours only when it was not so before and is so now: what others had closed stays closed.
            if undone_before >> bit & 1 == 1 && self.holds(&undo.undone)? == Verdict::Breached {
                doing.ours |= 1 << bit;
            }
        }
        if done || doing.ours != 0 {
            self.host.store(&key, &doing.pack());
            self.set_applied(epoch, scope, index, true);
        }
        if done {
            emit!(self.host, ContainmentApplied, [index, incident]);
        } else {
            let (offset, length, tail) = bytes_tail(&reason);
            emit!(self.host, ContainmentFailed, [index, incident], offset, length; &tail);
        }
        Ok(())
    }

    /// Calls a target as the guard; answers the revert data, empty on success.
    pub(crate) fn call_out(&mut self, target: &Address, calldata: &[u8], gas: u32) -> Answer<Vec<u8>> {
        self.require_gas(gas.into())?;
        self.host.flush(true);
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
        let extra = self.extra(scope);
        let current = self.current();
        let mut undone = Undone::default();
        if extra.oldest == 0 {
            return Ok(undone);
        }
        let code = self.code(&current.book);
        let present = open(&code)?;
        self.lock();
        for epoch in extra.oldest..=current.epoch {
            let bits = self.applied(epoch, scope);
            if bits.is_zero() {
                continue;
            }
            let old_code = if epoch == current.epoch {
                Vec::new()
            } else {
                self.code(&self.address_at(&layout::book(epoch)))
            };
            let view = if epoch == current.epoch {
                present
            } else {
                open(&old_code)?
            };
            // Last done, first undone.
            for index in (0..view.header().containments)
                .rev()
                .filter(|index| bits.bit(usize::from(*index)))
            {
                let (record, body) = call_in(&view, index)?;
                let at = Place { epoch, scope, index };
                if epoch != current.epoch {
                    if let Some(twin) = twin(&present, &body)? {
                        self.take_over(&at, current.epoch, twin);
                        continue;
                    }
                    undone.of_old_book = true;
                }
                self.undo_unless_wanted(&at, epoch == current.epoch, &record, &body, &mut undone)?;
            }
        }
        if !undone.left {
            self.set_extra(
                scope,
                &ScopeExtra {
                    oldest: 0,
                    ..self.extra(scope)
                },
            );
        }
        self.unlock();
        Ok(undone)
    }

    /// Makes what was done by a call of an old rulebook the doing of the same call in the present one: adopting a rulebook in an
    /// incident opens nothing.
    fn take_over(&mut self, at: &Place, epoch: u32, twin: u16) {
        let (from, to) = (
            layout::containment(at.epoch, at.index),
            layout::containment(epoch, twin),
        );
        let (old, new) = (Doing::unpack(self.host.load(&from)), Doing::unpack(self.host.load(&to)));
        if old.ours != 0 {
            let taken = Doing {
                ours: old.ours | new.ours,
                ran_at: old.ran_at,
                incident: old.incident.max(new.incident),
            };
            self.host.store(&to, &taken.pack());
            self.host.store(&from, &Doing { ours: 0, ..old }.pack());
        }
        self.set_applied(at.epoch, at.scope, at.index, false);
        self.set_applied(epoch, at.scope, twin, true);
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
        let key = layout::containment(epoch, index);
        let doing = Doing::unpack(self.host.load(&key));
        let wanted = present && !doing.is_overdue(record, self.host.now());
        if wanted && self.serves(record, scope) {
            undone.left = true;
            return Ok(());
        }
        undone.tried = true;
        let other = if scope == 0 { record.scope } else { 0 };
        if wanted && other != scope && self.serves(record, other) {
            self.set_applied(epoch, scope, index, false);
            self.set_applied(epoch, other, index, true);
            return Ok(());
        }
        let rest = self.undo_call(index, record, body, &doing)?;
        self.host.store(&key, &Doing { ours: rest, ..doing }.pack());
        if rest == 0 {
            self.set_applied(epoch, scope, index, false);
        } else {
            undone.left = true;
        }
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
