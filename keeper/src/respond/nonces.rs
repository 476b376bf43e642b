//! Which delivery has which nonce of an account. An action keeps its nonce until the chain has used it: of several transactions with one
//! nonce only one can ever be included, so that nothing is done twice, however often it is sent.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an inclusion of our own counts against endpoints that have not heard of it.
const REMEMBERED: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    /// Nonces of the transactions that are on their way.
    flying: BTreeSet<u64>,
    /// Transactions that the account has at least, as one that was included told, and when it did.
    least: Option<(u64, Instant)>,
    /// Those with which nothing that has ended can be included any more.
    over: BTreeSet<u64>,
    /// Those that were sent with in vain: something else has used them.
    lost: BTreeSet<u64>,
}

/// The nonces of one account. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Nonces(Arc<Mutex<State>>);

/// A nonce that belongs to one delivery until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) nonce: u64,
    nonces: Nonces,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.nonces.state().flying.remove(&self.nonce);
    }
}

/// What has become of a nonce that a transaction was sent with before.
#[derive(Debug)]
pub(super) enum Again {
    /// It is the caller's again.
    Ours(Slot),
    /// Another delivery is sending with it: one of the two will be included.
    Taken,
    /// The chain has used it.
    Used,
}

impl Nonces {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, state: &mut State, nonce: u64) -> Slot {
        state.flying.insert(nonce);
        Slot {
            nonce,
            nonces: self.clone(),
        }
    }

    /// Whether no transaction is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.state().flying.is_empty()
    }

    /// The lowest that the chain has not used, which wants `next`, and no delivery has: what an ended delivery leaves open is filled before
    /// anything behind it.
    pub(super) fn take(&self, next: u64) -> Slot {
        let mut state = self.state();
        let free = (next..=u64::MAX).find(|nonce| !state.flying.contains(nonce));
        self.slot(&mut state, free.unwrap_or(next))
    }

    /// A nonce that was sent with before, on a chain that wants `next`.
    pub(super) fn take_again(&self, nonce: u64, next: u64) -> Again {
        let mut state = self.state();
        if nonce < next {
            Again::Used
        } else if state.flying.contains(&nonce) {
            Again::Taken
        } else {
            Again::Ours(self.slot(&mut state, nonce))
        }
    }

    /// What the chain, which wants `next`, waits for before it can take `nonce`, when no delivery brings any of it. Nothing when one does,
    /// or nothing is missing.
    pub(super) fn gap(&self, next: u64, nonce: u64) -> Range<u64> {
        let is_coming = next < nonce && self.state().flying.range(next..nonce).next().is_some();
        if is_coming { nonce..nonce } else { next..nonce.max(next) }
    }

    /// A transaction with this nonce was included at `now`.
    pub(super) fn note_used(&self, nonce: u64, now: Instant) {
        let mut state = self.state();
        let held = state.least.map_or(0, |(least, _)| least);
        state.least = Some((held.max(nonce.saturating_add(1)), now));
    }

    /// Nothing that was sent with this nonce and has ended can be included any more, until blocks are taken back.
    pub(super) fn note_over(&self, nonce: u64) {
        self.state().over.insert(nonce);
    }

    /// Whether that was found.
    pub(super) fn is_over(&self, nonce: u64) -> bool {
        self.state().over.contains(&nonce)
    }

    /// Something else has used this nonce than what it was sent with for an action. Answers whether that is news.
    pub(super) fn note_lost(&self, nonce: u64) -> bool {
        self.state().lost.insert(nonce)
    }

    /// Whether that was found before.
    pub(super) fn is_lost(&self, nonce: u64) -> bool {
        self.state().lost.contains(&nonce)
    }

    /// Blocks were taken back: what was included may not be any more.
    pub(super) fn forget_used(&self) {
        let mut state = self.state();
        state.least = None;
        state.over.clear();
        state.lost.clear();
    }

    /// What endpoints say that the chain wants next, corrected by what was seen included just before `now`.
    pub(super) fn at_least(&self, said: u64, now: Instant) -> u64 {
        let mut state = self.state();
        state.least = state
            .least
            .filter(|(_, seen)| now.saturating_duration_since(*seen) < REMEMBERED);
        state.least.map_or(said, |(least, _)| said.max(least))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    fn ours(again: Again) -> Slot {
        match again {
            Again::Ours(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_nonce_has_one_owner_and_what_was_left_open_is_filled_first() {
        let nonces = Nonces::default();
        assert!(nonces.is_idle());
        let (first, second) = (nonces.take(5), nonces.take(5));
        assert_eq!((first.nonce, second.nonce), (5, 6));
        assert!(!nonces.is_idle());
        assert!(matches!(nonces.take_again(6, 5), Again::Taken));
        drop(first);
        assert_eq!(nonces.take(5).nonce, 5, "the hole before the one behind it");
        assert_eq!(nonces.take(6).nonce, 7);
        drop(second);
        let again = ours(nonces.take_again(6, 5));
        assert!(matches!(nonces.take_again(6, 5), Again::Taken));
        drop(again);
        assert!(matches!(nonces.take_again(6, 7), Again::Used));
        assert!(nonces.is_idle());
    }

    #[test]
    fn a_gap_is_what_nobody_brings() {
        let nonces = Nonces::default();
        let behind = ours(nonces.take_again(9, 7));
        assert_eq!(nonces.gap(7, behind.nonce), 7..9);
        assert!(nonces.gap(9, 9).is_empty() && nonces.gap(12, 9).is_empty());
        let first = nonces.take(7);
        assert!(nonces.gap(7, behind.nonce).is_empty(), "it is on its way");
        drop(first);
        assert_eq!(nonces.gap(7, behind.nonce), 7..9);
    }

    #[test]
    fn an_endpoint_that_is_behind_does_not_take_an_inclusion_back_for_a_moment() {
        let nonces = Nonces::default();
        let now = Instant::now();
        assert_eq!(nonces.at_least(5, now), 5);
        nonces.note_used(7, now);
        nonces.note_used(5, now);
        assert_eq!((nonces.at_least(5, now), nonces.at_least(11, now)), (8, 11));
        assert_eq!(
            nonces.at_least(5, now + REMEMBERED),
            5,
            "a block may have been taken back"
        );
        nonces.note_used(7, now);
        nonces.forget_used();
        assert_eq!(nonces.at_least(5, now), 5);
    }
}
