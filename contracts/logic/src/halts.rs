//! How long scopes stood still: what a protocol adds to its deadlines.

use crate::abi::Answer;
use crate::guard::Guard;
use alloc::vec::Vec;
use alloy_primitives::B256;
use cordon_core::{scope::ScopeState, Level};
use cordon_host::{layout, Host};

/// How many halts of a scope are looked at one by one, the latest ones: the view's cost is bounded. Earlier ones count by the sum that is
/// filed with each.
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
    /// Seconds of all before the latest.
    before: u64,
}

/// What lies between a time and now of the halts of a scope.
#[derive(Default)]
struct Since {
    /// The latest halts.
    latest: Vec<(u64, u64)>,
    /// Seconds of all earlier ones together.
    earlier: u64,
}

impl Halts {
    fn unpack(word: B256) -> Self {
        let [count, from, until, before] = layout::limbs(word);
        Self {
            count: (count & 0xffff_ffff) as u32,
            filed: count >> 32 & 1 == 1,
            from,
            until,
            before: before >> 1,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        layout::from_limbs([
            u64::from(self.count) | u64::from(self.filed) << 32,
            self.from,
            self.until,
            self.before << 1 | 1,
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
                    before: halts.before.saturating_add(halts.until.saturating_sub(halts.from)),
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
                &layout::from_limbs([halts.from, halts.until, halts.before, 0]),
            );
            self.host
                .store(&layout::halts(scope), &Halts { filed: true, ..halts }.pack());
        }
    }

    /// Seconds from `since` until now in which the scope or the whole protocol was Halted.
    pub fn halted_seconds(&self, scope: u8, since: u64) -> Answer<u64> {
        // The word is written when a scope comes into a rulebook, and stays: of one that is there no more the past is still told. Protocols
        // ask in their transactions, so that the rulebook is looked at only to refuse.
        if self.host.load(&layout::halts(scope)) == B256::ZERO {
            self.require_scope(scope)?;
        }
        let own = self.halts_since(scope, since);
        let mut seconds = own.latest.iter().map(length).fold(own.earlier, u64::saturating_add);
        if scope != 0 {
            let whole = self.halts_since(0, since);
            seconds = seconds.saturating_add(whole.earlier);
            for whole in &whole.latest {
                let both = own
                    .latest
                    .iter()
                    .map(|halt| length(&(halt.0.max(whole.0), halt.1.min(whole.1))));
                seconds = seconds.saturating_add(length(whole)).saturating_sub(both.sum());
            }
        }
        Ok(seconds.min(self.host.now().saturating_sub(since)))
    }

    /// The halts of a scope, as far as they lie between `since` and now.
    fn halts_since(&self, scope: u8, since: u64) -> Since {
        let (latest, now) = (self.halts(scope), self.host.now());
        let mut found = Since::default();
        for back in 0..latest.count {
            let number = latest.count.saturating_sub(back);
            let halt = self.halt(scope, &latest, number);
            if halt.until <= since {
                break;
            }
            if back >= MAX_HALTS {
                found.earlier = self.earlier(scope, &latest, number, since);
                break;
            }
            found.latest.push((halt.from.max(since), halt.until.min(now)));
        }
        found
    }

    /// Seconds from `since` on of all halts up to that of this number, which ends after `since`. Each has filed the sum of those before, so
    /// that it takes a search and not a walk.
    fn earlier(&self, scope: u8, latest: &Halts, number: u32, since: u64) -> u64 {
        let last = self.halt(scope, latest, number);
        // The first that ends after `since` is among these.
        let (mut low, mut high) = (1, number);
        while low < high {
            let middle = low.saturating_add(high.saturating_sub(low) / 2);
            if self.halt(scope, latest, middle).until <= since {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let first = self.halt(scope, latest, low);
        let cut = since.saturating_sub(first.from);
        let sum = last.before.saturating_add(length(&(last.from, last.until)));
        sum.saturating_sub(first.before).saturating_sub(cut)
    }

    /// The halt of this number, from 1.
    fn halt(&self, scope: u8, latest: &Halts, number: u32) -> Halts {
        if number == latest.count {
            return *latest;
        }
        let [from, until, before, _] = layout::limbs(self.host.load(&layout::halt(scope, number)));
        Halts {
            from,
            until,
            before,
            ..Halts::default()
        }
    }

    fn halts(&self, scope: u8) -> Halts {
        Halts::unpack(self.host.load(&layout::halts(scope)))
    }
}

fn length(halt: &(u64, u64)) -> u64 {
    halt.1.saturating_sub(halt.0)
}
