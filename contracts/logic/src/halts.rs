//! How long scopes stood still: what a protocol adds to its deadlines.

use crate::abi::{refusal, Answer};
use crate::guard::Guard;
use alloc::vec::Vec;
use cordon_core::{scope::ScopeState, Level};
use cordon_host::{layout, Host};

/// How many halts of a scope count, the latest ones: the view's cost is bounded.
const MAX_HALTS: u64 = 64;

impl<H: Host> Guard<H> {
    /// Notes from when to when a scope is Halted, after its state has changed. Levels and their ends are known when they are set,
    /// so that expiry needs no note.
    pub(crate) fn note_halt(&mut self, scope: u8, state: &ScopeState) {
        let (count, now) = (self.number_at(&layout::halts(scope)), self.host.now());
        let (from, until) = self.halt(scope, count);
        let runs = count > 0 && until >= now;
        let (number, from, until) = match (state.level == Level::Halted, runs) {
            (true, true) => (count, from, state.expires_at),
            (true, false) => (count.saturating_add(1), now, state.expires_at),
            (false, true) => (count, from, now),
            (false, false) => return,
        };
        if number != count {
            self.set_number(&layout::halts(scope), number);
        }
        self.host
            .store(&halt_key(scope, number), &layout::from_limbs([from, until, 0, 0]));
    }

    /// Seconds from `since` until now in which the scope or the whole protocol was Halted.
    pub fn halted_seconds(&self, scope: u8, since: u64) -> Answer<u64> {
        if scope >= layout::MAX_SCOPES {
            return Err(refusal!(BadScope, scope));
        }
        let own = self.halts_since(scope, since);
        let mut seconds: u64 = own.iter().map(length).sum();
        if scope != 0 {
            for whole in &self.halts_since(0, since) {
                let both = own
                    .iter()
                    .map(|halt| length(&(halt.0.max(whole.0), halt.1.min(whole.1))));
                seconds = seconds.saturating_add(length(whole)).saturating_sub(both.sum());
            }
        }
        Ok(seconds)
    }

    /// The latest halts of a scope, as far as they lie between `since` and now.
    fn halts_since(&self, scope: u8, since: u64) -> Vec<(u64, u64)> {
        let (count, now) = (self.number_at(&layout::halts(scope)), self.host.now());
        let mut halts = Vec::new();
        for back in 0..count.min(MAX_HALTS) {
            let (from, until) = self.halt(scope, count.saturating_sub(back));
            if until <= since {
                break;
            }
            halts.push((from.max(since), until.min(now)));
        }
        halts
    }

    fn halt(&self, scope: u8, number: u64) -> (u64, u64) {
        let [from, until, ..] = layout::limbs(self.host.load(&halt_key(scope, number)));
        (from, until)
    }
}

fn halt_key(scope: u8, number: u64) -> alloy_primitives::B256 {
    layout::halt(scope, (number & 0xffff_ffff) as u32)
}

fn length(halt: &(u64, u64)) -> u64 {
    halt.1.saturating_sub(halt.0)
}
