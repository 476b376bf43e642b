//! Whether the guard could do its work now: seen before the incident, not in it.

use crate::abi::{answer, encode, refusal, refuse, Answer, ICordonGuard};
use crate::guard::{call_in, open, set_in, Guard};
use alloc::{vec, vec::Vec};
use alloy_primitives::{address, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError};
use cordon_core::{
    rule::Verdict,
    rulebook::{ContainmentBody, ContainmentRecord},
};
use cordon_host::{layout, CallKind, Host};

/// Arbitrum's precompile that knows how long programs live.
const ARB_WASM: Address = address!("0000000000000000000000000000000000000071");
/// `programTimeLeft(address)`
const PROGRAM_TIME_LEFT: [u8; 4] = [0xc7, 0x75, 0xa6, 0x2a];

/// Arbitrum's precompile that knows which programs are cached.
const ARB_WASM_CACHE: Address = address!("0000000000000000000000000000000000000072");
/// `codehashIsCached(bytes32)`
const CODEHASH_IS_CACHED: [u8; 4] = [0xa7, 0x2f, 0x17, 0x9b];

/// How a rehearsed call ended, as in the ABI.
mod outcome {
    pub(super) const WORKS: u8 = 0;
    pub(super) const IN_FORCE: u8 = 1;
    pub(super) const FAILS: u8 = 2;
    pub(super) const UNDO_FAILS: u8 = 3;
}

/// What came of a rehearsed call.
enum Made {
    /// Its effect was there already.
    InForce,
    /// It has none.
    NoEffect,
    /// It has its effect, and these undo items are ours (bit per item).
    Ours(u64),
}

impl<H: Host> Guard<H> {
    /// Heartbeat's age, time left of the programs, hash of the rulebook, and which containment calls would fail now.
    pub fn health(&mut self) -> Answer<Vec<u8>> {
        self.require_unlocked()?;
        let (last, now) = (self.ledger().heartbeat, self.host.now());
        let age = if last == 0 { u64::MAX } else { now.saturating_sub(last) };
        let mut data = answer!(age);
        for program in self.all_programs() {
            let seconds = self.time_left(&program);
            data.extend_from_slice(&answer!(seconds));
        }
        let (_, hash) = self.rulebook();
        let (cached, configuration) = self.configuration(&hash);
        data.extend_from_slice(&answer!(cached, hash, configuration, self.failing()?));
        Ok(data)
    }

    /// The gate and the programs behind it.
    fn all_programs(&self) -> [Address; 7] {
        let [respond, hooks, recover, admin, contain, inspect] = self.programs();
        [self.host.address(), respond, hooks, recover, admin, contain, inspect]
    }

    /// Which programs are cached (bit per program, the gate first), and the hash of all that the guard is configured with.
    fn configuration(&mut self, rulebook: &B256) -> (u8, B256) {
        let (mut cached, mut all) = (0, Vec::new());
        for (bit, program) in self.all_programs().iter().enumerate() {
            let hash = self.host.code_hash(program);
            let asked = encode!(&CODEHASH_IS_CACHED, hash);
            cached |= u8::from(self.asked(&ARB_WASM_CACHE, &asked) == Some(1)) << bit;
            all.extend_from_slice(hash.as_slice());
        }
        let (governor, _, delay, _) = self.governor();
        all.extend_from_slice(&answer!(rulebook, governor, delay, self.closes()));
        (cached, self.host.keccak(&all))
    }

    /// The number that a precompile answers; `None` when it does not.
    fn asked(&mut self, precompile: &Address, input: &[u8]) -> Option<u64> {
        let mut word = B256::ZERO;
        let told = self.host.call(CallKind::Static, precompile, input, u64::MAX)
            && self.host.return_data(0, word.as_mut_slice()) == word.len();
        let [number, ..] = layout::limbs(word);
        told.then_some(number)
    }

    /// Containment calls that would fail now (bit per call).
    fn failing(&mut self) -> Answer<U256> {
        let mut failing = U256::ZERO;
        if self.current().epoch == 0 {
            return Ok(failing);
        }
        let (_, code) = self.rulebook_in_force()?;
        let myself = self.host.address();
        for index in 0..open(&code)?.header().containments {
            let rehearsal = encode!(&ICordonGuard::rehearseCall::SELECTOR, index);
            // Each is made in a frame of its own, which reverts: nothing of it stays.
            self.host.call(CallKind::Call, &myself, &rehearsal, u64::MAX);
            let mut told = vec![0; self.host.return_data_len()];
            self.host.return_data(0, &mut told);
            // Anything else (want of gas, say) is no answer about the call.
            if told.len() != 68 || !told.starts_with(&ICordonGuard::Rehearsed::SELECTOR) {
                return Err(refuse(told));
            }
            let fails = told.last().is_some_and(|outcome| *outcome >= outcome::FAILS);
            failing.set_bit(usize::from(index), fails);
        }
        Ok(failing)
    }

    /// Seconds until a program expires; 0 when it cannot run.
    fn time_left(&mut self, program: &Address) -> u64 {
        let asked = encode!(&PROGRAM_TIME_LEFT, program);
        self.asked(&ARB_WASM, &asked).unwrap_or_default()
    }

    /// Makes a containment call, reads back, undoes, reads back, and reverts with how it went, so that nothing of it stays.
    pub fn rehearse(&mut self, index: u16) -> Answer<()> {
        self.require_unlocked()?;
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        if index >= view.header().containments {
            return Err(refusal!(UnknownCall, index));
        }
        let (record, body) = call_in(&view, index)?;
        self.lock();
        let outcome = self.rehearsed(&record, &body)?;
        // Natively nothing is undone by the refusal.
        self.unlock();
        Err(refusal!(Rehearsed, index, outcome))
    }

    fn rehearsed(&mut self, record: &ContainmentRecord, body: &ContainmentBody<'_>) -> Answer<u8> {
        Ok(match self.make(record, body)? {
            Made::InForce => outcome::IN_FORCE,
            Made::NoEffect => outcome::FAILS,
            Made::Ours(ours) if self.unmake(record, body, ours)? => outcome::WORKS,
            Made::Ours(_) => outcome::UNDO_FAILS,
        })
    }

    /// Makes the containment calls of a set in the order in which they would run, then undoes them, last done first undone, and reverts
    /// with how it went: calls that work alone may stand in each other's way.
    pub fn rehearse_set(&mut self, name: &B256) -> Answer<()> {
        self.require_unlocked()?;
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let set = set_in(&view, name)?;
        let (mut calls, mut failing, mut made) = (U256::ZERO, U256::ZERO, Vec::new());
        self.lock();
        for order in set.orders() {
            for index in 0..view.header().containments {
                let (record, body) = call_in(&view, index)?;
                let bit = usize::from(index);
                if calls.bit(bit) || !record.serves(order.scope, order.level) {
                    continue;
                }
                calls.set_bit(bit, true);
                match self.make(&record, &body)? {
                    Made::InForce => {}
                    Made::NoEffect => failing.set_bit(bit, true),
                    Made::Ours(ours) => made.push((bit, record, body, ours)),
                }
            }
        }
        for (bit, record, body, ours) in made.iter().rev() {
            let undone = self.unmake(record, body, *ours)?;
            failing.set_bit(*bit, !undone);
        }
        // Natively nothing is undone by the refusal.
        self.unlock();
        Err(refusal!(SetRehearsed, name, calls, failing))
    }

    /// Makes a containment call and reads back.
    fn make(&mut self, record: &ContainmentRecord, body: &ContainmentBody<'_>) -> Answer<Made> {
        if self.holds(&body.done)? == Verdict::Holds {
            return Ok(Made::InForce);
        }
        let undone = self.undone_items(body)?;
        self.call_out(&body.target, body.calldata, record.gas)?;
        if self.holds(&body.done)? != Verdict::Holds {
            return Ok(Made::NoEffect);
        }
        Ok(Made::Ours(undone & !self.undone_items(body)?))
    }

    /// Makes the undo calls of these items (bit per item); whether all had their effect.
    fn unmake(&mut self, record: &ContainmentRecord, body: &ContainmentBody<'_>, ours: u64) -> Answer<bool> {
        for (bit, undo) in body.undo().enumerate() {
            if ours >> bit & 1 == 1 && self.undo_one(record, &undo)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which undo items are not in force (bit per item).
    fn undone_items(&mut self, body: &ContainmentBody<'_>) -> Answer<u64> {
        let mut bits = 0u64;
        for (bit, undo) in body.undo().enumerate() {
            bits |= u64::from(self.holds(&undo.undone)? == Verdict::Holds) << bit;
        }
        Ok(bits)
    }
}
