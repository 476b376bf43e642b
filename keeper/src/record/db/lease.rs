//! The lease of a fleet: which of several keepers has its turn to work, and the token that fences off all others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::record::StoreError;

/// A turn to work. Every later one has a higher token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Fencing token.
    pub token: i64,
}

/// Who has the turn, as the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Name that the keeper gave itself.
    pub holder: String,
    /// Its fencing token.
    pub token: i64,
    /// How long it still has, if it does nothing more about it.
    pub left: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    token: i64,
    until: Instant,
}

/// What all clones of a store know about the lease.
#[derive(Debug, Default)]
pub(in crate::record) struct LeaseState {
    /// Writes need the lease.
    required: AtomicBool,
    held: Mutex<Option<Held>>,
    /// The database's clock when it was last seen, in Unix milliseconds.
    clock: Mutex<Option<(Instant, i64)>>,
}

impl LeaseState {
    pub(in crate::record) fn require(&self) {
        self.required.store(true, Ordering::SeqCst);
    }

    /// The lease is ours as long as the monotonic clock of this machine has not reached `until`.
    pub(in crate::record) fn hold(&self, token: i64, until: Instant) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { token, until });
    }

    pub(in crate::record) fn lose(&self) -> Option<i64> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.map(|held| held.token)
    }

    pub(in crate::record) fn token(&self) -> Option<i64> {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.map(|held| held.token)
    }

    /// Whether nobody else can have the turn: none is needed, or ours has not run out.
    pub(in crate::record) fn may_act(&self) -> bool {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        !self.required.load(Ordering::SeqCst) || held.is_some_and(|held| Instant::now() < held.until)
    }

    /// Refuses to write under another token than the record's.
    pub(in crate::record) fn check(&self, recorded: i64) -> Result<(), StoreError> {
        if !self.required.load(Ordering::SeqCst) || self.token() == Some(recorded) {
            return Ok(());
        }
        Err(StoreError::Fenced {
            held: self.token(),
            recorded,
        })
    }

    pub(in crate::record) fn note_clock(&self, now_ms: i64) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), now_ms));
    }

    /// The database's time now; `None` before it was first seen.
    pub(in crate::record) fn now_ms(&self) -> Option<i64> {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map(|(at, ms)| ms.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_a_lease_may_do_nothing_without_a_valid_one() {
        let state = LeaseState::default();
        assert!(
            state.may_act() && state.check(7).is_ok(),
            "a record of one keeper has no lease"
        );
        state.require();
        assert!(!state.may_act() && state.check(7).is_err());
        state.hold(7, Instant::now() + Duration::from_secs(60));
        assert!(state.may_act() && state.check(7).is_ok());
        assert!(state.check(8).is_err(), "somebody else has had a turn since");
        state.hold(7, Instant::now());
        assert!(!state.may_act(), "it has run out by our own clock");
        assert_eq!(state.lose(), Some(7));
        assert!(state.check(7).is_err());
    }
}
