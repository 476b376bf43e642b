//! How long scopes stood still: what a protocol adds to its deadlines.

use crate::abi::{refusal, Answer};
use crate::guard::Guard;
use alloc::vec::Vec;
use alloy_primitives::B256;
use cordon_core::{scope::ScopeState, Level};
use cordon_host::{layout, Host};

/// How many halts of a scope count, the latest ones: the view's cost is bounded.
const MAX_HALTS: u32 = 64;

/// The latest halt of a scope, one word that is never zero. The earlier ones have words of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halts {
    /// How many there were.
    count: u32,
    /// Whether the latest has a word of its own too.
    filed: bool,
    /// Begin of the latest, Unix seconds.
    from: u64,
    /// End of the latest, Unix seconds.
    until: u64,
}

impl Halts {
    fn unpack(word: B256) -> Self {
        let [count, from, until, _] = layout::limbs(word);
        Self {
            count: (count & 0xffff_ffff) as u32,
            filed: count >> 32 & 1 == 1,
            from,
            until,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        layout::from_limbs([
            u64::from(self.count) | u64::from(self.filed) << 32,
            self.from,
            self.until,
            1,
        ])
    }
}

impl<H: Host> Guard<H> {
    /// Notes from when to when a scope is Halted, after its state has changed. Levels and their ends are known when they are set,
    /// so that expiry needs no note.
    pub(crate) fn note_halt(&mut self, scope: u8, before: &ScopeState, state: &ScopeState) {
        let (was, is) = (before.level == Level::Halted, state.level == Level::Halted);
        if !was && !is {
            return;
        }
        let (halts, now) = (self.halts(scope), self.host.now());
        let runs = halts.count > 0 && halts.until >= now;
        let next = match (is, runs) {
            // Not filed as it is now, even if `settle` has filed it at the very second of its end.
            (true, true) => Halts {
                until: state.expires_at,
                filed: false,
                ..halts
            },
            (true, false) => {
                self.file_halt(scope);
                Halts {
                    count: halts.count.saturating_add(1),
                    filed: false,
                    from: now,
                    until: state.expires_at,
                }
            }
            (false, true) => Halts { until: now, ..halts },
            (false, false) => return,
        };
        self.host.store(&layout::halts(scope), &next.pack());
    }

    /// Gives the latest halt, which is over, a word of its own, so that the next one finds its word free.
    pub(crate) fn file_halt(&mut self, scope: u8) {
        let halts = self.halts(scope);
        if halts.count > 0 && !halts.filed {
            self.host.store(
                &layout::halt(scope, halts.count),
                &layout::from_limbs([halts.from, halts.until, 0, 0]),
            );
            self.host
                .store(&layout::halts(scope), &Halts { filed: true, ..halts }.pack());
        }
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
        let (latest, now) = (self.halts(scope), self.host.now());
        let mut halts = Vec::new();
        for back in 0..latest.count.min(MAX_HALTS) {
            let (from, until) = if back == 0 {
                (latest.from, latest.until)
            } else {
                let filed = self.host.load(&layout::halt(scope, latest.count.saturating_sub(back)));
                let [from, until, ..] = layout::limbs(filed);
                (from, until)
            };
            if until <= since {
                break;
            }
            halts.push((from.max(since), until.min(now)));
        }
        halts
    }

    fn halts(&self, scope: u8) -> Halts {
        Halts::unpack(self.host.load(&layout::halts(scope)))
    }
}

fn length(halt: &(u64, u64)) -> u64 {
    halt.1.saturating_sub(halt.0)
}
