//! How patiently something is asked for that nobody may have at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::read::ATTEMPTS;

/// How long it counts that something was not to be had: it is asked for once, and not waited for, until then.
const COUNTS_FOR: Duration = Duration::from_secs(5);

/// Remembers whether something that each block is asked for was to be had, so that blocks do not each wait for it in vain. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience(Arc<Mutex<Option<Instant>>>);

impl Patience {
    /// How often it is asked for now.
    pub(super) fn attempts(&self) -> u32 {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.is_some_and(|at| at.elapsed() < COUNTS_FOR) {
            true => 1,
            false => ATTEMPTS,
        }
    }

    /// Notes what came of asking so many times. That it was not there at a single attempt says nothing new.
    pub(super) fn note(&self, was_had: bool, attempts: u32) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if was_had {
            *failed = None;
        } else if attempts > 1 {
            *failed = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_to_be_had_is_asked_for_once_for_a_while() {
        let patience = Patience::default();
        patience.note(false, 1);
        assert_eq!(patience.attempts(), ATTEMPTS);
        patience.note(false, ATTEMPTS);
        assert_eq!(patience.clone().attempts(), 1);
        patience.note(true, 1);
        assert_eq!(patience.attempts(), ATTEMPTS);
        let long_ago = Instant::now().checked_sub(COUNTS_FOR);
        *patience.0.lock().unwrap_or_else(PoisonError::into_inner) = long_ago;
        assert_eq!(patience.attempts(), ATTEMPTS);
    }
}
