//! Containment calls: run, read back, undo. What the guard did, and only that, is what it undoes.

use crate::abi::{emit, encode, Answer, ICordonGuard};
use crate::guard::{call_in, open, Guard};
use crate::reader::gas_needed;
use alloc::{vec, vec::Vec};
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolError;
use cordon_core::{
    rule::Verdict,
    rulebook::{ContainmentBody, ContainmentRecord, UndoView, View, FULL_GAS},
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

/// Gas that is kept, for each scope, to write down what was done and what was left over.
const SCOPE_RESERVE: u64 = 80_000;

/// First byte of an old rulebook's word when nothing of it is in force, nor will be.
const SETTLED: u8 = 1;

/// Gas that it takes to look through a rulebook.
const BOOK_GAS: u64 = 1_500_000;

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

    const fn without_reason(self) -> Self {
        Self {
            own: false,
            whole: false,
            ..self
        }
    }

    const fn is_in_force(&self) -> bool {
        self.own || self.whole
    }

    /// Whether the call has been in force for as long as it may be.
    pub(crate) const fn is_overdue(&self, record: &ContainmentRecord, now: u64) -> bool {
        record.max_duration > 0 && now >= self.ran_at.saturating_add(record.max_duration as u64)
    }
}

/// How long what a call closes has been closed: of a target and calldata, whichever calls of whichever rulebooks name them. One word
/// that is never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// When it was closed first, Unix seconds; 0 when it never was.
    ran_at: u64,
    /// The newest incident that it was closed in.
    incident: u32,
    /// The longest `max_duration` of the calls that have closed it since.
    span: u32,
}

impl Clock {
    fn unpack(word: B256) -> Self {
        let [ran_at, of, ..] = layout::limbs(word);
        Self {
            ran_at,
            incident: (of & 0xffff_ffff) as u32,
            span: (of >> 32) as u32,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        layout::from_limbs([self.ran_at, u64::from(self.incident) | u64::from(self.span) << 32, 0, 1])
    }

    /// The clock with which a call runs in an incident, `None` when it must not. It belongs to what is closed, not to a scope or a call:
    /// it starts again only for an incident that is newer than all that it ran in, and after [`REST`]. Scopes that are raised in turn, and
    /// calls that do the same, keep nothing closed for longer.
    fn started(self, span: u32, incident: u32, now: u64) -> Option<Self> {
        let rested = now
            >= self
                .ran_at
                .saturating_add(u64::from(self.span).saturating_mul(1 + REST));
        if self.ran_at == 0 || (incident > self.incident && rested) {
            return Some(Self {
                ran_at: now,
                incident,
                span,
            });
        }
        (now < self.ran_at.saturating_add(span.into())).then_some(Self {
            incident: self.incident.max(incident),
            span: self.span.max(span),
            ..self
        })
    }
}

/// Where running or undoing the calls of a scope goes on after a transaction that had too little gas for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    /// The rulebook of the call.
    epoch: u32,
    /// The call.
    index: u16,
    /// The incident; another one begins from the start.
    incident: u32,
}

impl Turn {
    /// Itself when it is somebody's turn.
    fn is_set(self) -> Option<Self> {
        (self.epoch != 0).then_some(self)
    }

    fn unpack(word: B256) -> Self {
        let [epoch, index, incident, _] = layout::limbs(word);
        Self {
            epoch: (epoch & 0xffff_ffff) as u32,
            index: (index & 0xffff) as u16,
            incident: (incident & 0xffff_ffff) as u32,
        }
    }

    fn pack(&self) -> B256 {
        layout::from_limbs([self.epoch.into(), self.index.into(), self.incident.into(), 0])
    }
}

/// The gas that a transaction had when it came to its calls.
///
/// One that had less than [`FULL_GAS`] makes every call or fails: whoever chooses its gas does not choose which calls are made. One that
/// had as much leaves over what the rest does not suffice for: targets that burn all they get stop neither the level nor other calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    full: bool,
    reserve: u64,
}

impl Share {
    /// The share of a transaction that has `gas` left and calls to make for so many scopes.
    pub(crate) fn of(gas: u64, scopes: usize) -> Self {
        let scopes = u64::try_from(scopes).unwrap_or(u64::MAX);
        Self {
            full: gas >= FULL_GAS.into(),
            reserve: SCOPE_RESERVE.saturating_mul(scopes.saturating_add(1)),
        }
    }

    /// Gas that must be left for something that may need so much, when that may be left over; else 0.
    fn floor(&self, cost: u64) -> u64 {
        if self.full {
            gas_needed(cost).saturating_add(self.reserve)
        } else {
            0
        }
    }
}

/// What came of undoing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// Something was undone, handed over, or tried.
    pub(crate) tried: bool,
    /// Something is left in force.
    pub(crate) left: bool,
    /// What cannot be undone is written off.
    give_up: bool,
    /// Something was undone that a rulebook had done which is in force no more.
    pub(crate) of_old_book: bool,
}

/// A call in force: whose, because of which scope, which.
struct Place {
    epoch: u32,
    scope: u8,
    index: u16,
}

/// Whether the word of an old rulebook says that nothing of it will ever be in force again.
fn is_settled(book: &B256) -> bool {
    let [mark, ..] = book.0;
    mark == SETTLED
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

    /// Whether there is enough gas left for something that may be left over; if not, by how much: needed and left.
    fn spare(&self, share: Share, cost: u64) -> Result<(), (u64, u64)> {
        let (needed, left) = (share.floor(cost), self.host.gas_left());
        if left < needed {
            return Err((needed, left));
        }
        Ok(())
    }

    /// Runs the calls that serve the level of a scope and are not in force, beginning with the one whose `again` turn it is. Level and
    /// incident are written before. Answers whether every one of them has its effect.
    pub(crate) fn run_calls(
        &mut self,
        epoch: u32,
        view: &View<'_>,
        scope: u8,
        share: Share,
        again: bool,
    ) -> Answer<bool> {
        let state = self.scope(scope);
        let level = state.effective(self.host.now()).level;
        let key = layout::turn(scope, false);
        let mut first = 0;
        if again {
            let turn = Turn::unpack(self.host.load(&key));
            if turn.epoch == epoch && turn.incident == state.incident {
                first = turn.index;
            }
        }
        let mut all = true;
        self.lock();
        for index in (first..view.header().containments).chain(0..first) {
            let (record, body) = call_in(view, index)?;
            if !record.serves(scope, level) {
                continue;
            }
            if let Err((needed, left)) = self.spare(share, body.run_gas(record.gas)) {
                // This one and those after it are left to whoever retries.
                let why = encode!(&ICordonGuard::OutOfGasFloor::SELECTOR, needed, left);
                self.emit_failed(index, state.incident, &why);
                let turn = Turn {
                    epoch,
                    index,
                    incident: state.incident,
                };
                self.host.store(&key, &turn.pack());
                self.unlock();
                return Ok(false);
            }
            all &= self.run_call(epoch, scope, index, &record, &body, state.incident)?;
        }
        if first != 0 {
            self.host.store(&key, &B256::ZERO);
        }
        self.unlock();
        Ok(all)
    }

    fn emit_failed(&mut self, index: u16, incident: u32, reason: &[u8]) {
        let (offset, length, tail) = bytes_tail(reason);
        emit!(self.host, ContainmentFailed, [index, incident], offset, length; &tail);
    }

    /// Of a call with a `max_duration`, where its clock is kept.
    pub(crate) fn clock_key(&self, body: &ContainmentBody<'_>) -> B256 {
        layout::clock(&self.host.keccak(&[body.target.as_slice(), body.calldata].concat()))
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
        let now = self.host.now();
        let known = self.doing(epoch, index);
        let mut doing = Doing {
            ran_at: if known.incident == incident { known.ran_at } else { now },
            incident: known.incident.max(incident),
            ..known
        };
        let mut clock = None;
        if record.max_duration > 0 {
            let key = self.clock_key(body);
            let Some(started) = Clock::unpack(self.host.load(&key)).started(record.max_duration, incident, now) else {
                return Ok(false);
            };
            doing.ran_at = started.ran_at;
            clock = Some((key, started));
        }
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
        // What somebody else has opened is not ours any more, whoever closes it next.
        doing.ours &= !undone_before;
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
            if let Some((key, started)) = clock {
                self.host.store(&key, &started.pack());
            }
        } else if known.ours != 0 {
            self.set_doing(epoch, index, &doing.without_reason());
        }
        if done {
            emit!(self.host, ContainmentApplied, [index, incident]);
        } else {
            self.emit_failed(index, incident, &reason);
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
    /// the present one too goes over to that. With `give_up`, what cannot be undone is written off.
    pub(crate) fn undo_calls(&mut self, scope: u8, share: Share, give_up: bool) -> Answer<Undone> {
        let current = self.current();
        let mut undone = Undone {
            give_up,
            ..Undone::default()
        };
        if self.ledger().in_force == 0 {
            return Ok(undone);
        }
        let key = layout::turn(scope, true);
        let incident = self.scope(scope).incident;
        let turn = Turn::unpack(self.host.load(&key));
        let turn = if turn.incident == incident {
            turn
        } else {
            Turn::default()
        };
        let mut next = None;
        self.lock();
        for before_turn in [false, true] {
            if next.is_none() && (!before_turn || turn.epoch != 0) {
                next = self.undo_round(scope, &current, share, &turn, before_turn, &mut undone)?;
            }
        }
        if next != turn.is_set() {
            // That it gets on is worth keeping, even when nothing else has changed.
            undone.tried = true;
            self.host.store(&key, &next.unwrap_or_default().pack());
        }
        undone.left |= next.is_some();
        self.forget_books(&current);
        self.unlock();
        Ok(undone)
    }

    /// The part of [`Guard::undo_calls`] that comes from a turn on, or the part before it. Answers whose turn it is when gas did not
    /// suffice.
    fn undo_round(
        &mut self,
        scope: u8,
        current: &Current,
        share: Share,
        turn: &Turn,
        before_turn: bool,
        undone: &mut Undone,
    ) -> Answer<Option<Turn>> {
        let code = self.code(&current.book);
        let present = open(&code)?;
        for epoch in current.oldest..=current.epoch {
            let is_present = epoch == current.epoch;
            let book = self.host.load(&layout::book(epoch));
            if is_settled(&book) {
                continue;
            }
            let book = Address::from_word(book);
            let start = Turn {
                epoch,
                index: u16::MAX,
                incident: self.scope(scope).incident,
            };
            if self.spare(share, BOOK_GAS).is_err() {
                return Ok(Some(start));
            }
            let old_code = if is_present { Vec::new() } else { self.code(&book) };
            let view = if is_present { present } else { open(&old_code)? };
            let mut in_force = false;
            // Last done, first undone.
            for index in (0..view.header().containments).rev() {
                let doing = self.doing(epoch, index);
                let is_before = epoch < turn.epoch || (epoch == turn.epoch && index > turn.index);
                if is_before != before_turn || !doing.because_of(scope) {
                    in_force |= doing.is_in_force();
                    continue;
                }
                let (record, body) = call_in(&view, index)?;
                if record.serves(scope, Level::Halted) {
                    if self.spare(share, body.undo_gas(record.gas)).is_err() {
                        return Ok(Some(Turn { index, ..start }));
                    }
                    let at = Place { epoch, scope, index };
                    let twin = if is_present {
                        None
                    } else {
                        twin(&present, record.scope, &body)?
                    };
                    if let Some(twin) = twin {
                        self.take_over(&at, current.epoch, twin);
                    } else {
                        undone.of_old_book |= !is_present;
                        self.undo_unless_wanted(&at, is_present, &record, &body, undone)?;
                    }
                }
                in_force |= self.doing(epoch, index).is_in_force();
            }
            if !is_present && !in_force {
                // Nothing of it will ever be in force again: not looked at any more. Incidents are still told by its numbers.
                let mut word = book.into_word();
                word.0[0] = SETTLED;
                self.host.store(&layout::book(epoch), &word);
            }
        }
        Ok(None)
    }

    /// Forgets old rulebooks of which nothing is in force.
    fn forget_books(&mut self, current: &Current) {
        let mut oldest = current.oldest;
        while oldest != current.epoch && is_settled(&self.host.load(&layout::book(oldest))) {
            oldest = oldest.saturating_add(1);
        }
        if self.ledger().in_force == 0 {
            oldest = current.epoch;
        }
        if oldest != current.oldest {
            let forgotten = Current { oldest, ..*current };
            self.host.store(&layout::CURRENT, &forgotten.pack());
        }
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
            undone.tried |= self.note_overruled(at, body, &doing)?;
            return Ok(());
        }
        undone.tried = true;
        let other = if scope == 0 { record.scope } else { 0 };
        if wanted && other != scope && self.serves(record, other) {
            self.set_doing(epoch, index, &doing.with_reason(scope, false).with_reason(other, true));
            return Ok(());
        }
        let mut rest = self.undo_call(index, record, body, &doing)?;
        if undone.give_up && rest != 0 {
            emit!(self.host, UndoWrittenOff, [index, doing.incident]);
            rest = 0;
        }
        undone.left |= rest != 0;
        let left = Doing { ours: rest, ..doing };
        self.set_doing(epoch, index, &left.with_reason(scope, rest != 0));
        Ok(())
    }

    /// Notes what somebody else has opened while it was to stay closed: it is not ours to open any more, whoever closes it next.
    /// Answers whether there was something to note.
    fn note_overruled(&mut self, at: &Place, body: &ContainmentBody<'_>, doing: &Doing) -> Answer<bool> {
        let mut ours = doing.ours;
        for (bit, undo) in body.undo().enumerate() {
            if ours >> bit & 1 == 1 && self.holds(&undo.undone)? == Verdict::Holds {
                ours &= !(1 << bit);
            }
        }
        if ours == doing.ours {
            return Ok(false);
        }
        let left = Doing { ours, ..*doing };
        let left = if ours == 0 { left.without_reason() } else { left };
        self.set_doing(at.epoch, at.index, &left);
        emit!(self.host, ContainmentOverruled, [at.index, doing.incident]);
        Ok(true)
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
