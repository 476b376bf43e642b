//! The newest block that there is, as far as anybody knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a height counts that no other has reached: somebody may have made it up. Who catches up looks at the newest again and again.
const COUNTS_FOR: Duration = Duration::from_secs(30);

/// Height of the newest block that came by lately; blocks that are caught up with come after it. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Newest(Arc<Mutex<Option<(u64, Instant)>>>);

impl Newest {
    /// A block of this height is there. That is the word of whoever has it: a higher one counts for a while, not for good.
    pub(crate) fn note(&self, number: u64) {
        self.note_at(number, Instant::now());
    }

    fn note_at(&self, number: u64, now: Instant) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = |since: Instant| now.saturating_duration_since(since) < COUNTS_FOR;
        if held.is_none_or(|(newest, since)| number >= newest || !counts(since)) {
            *held = Some((number, now));
        }
    }

    /// The height; zero while none has come by.
    pub(crate) fn number(&self) -> u64 {
        let held = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.map_or(0, |(newest, _)| newest)
    }

    /// Nothing is known any more: blocks were taken back.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_height_that_was_made_up_does_not_count_for_good() {
        let (newest, begun) = (Newest::default(), Instant::now());
        assert_eq!(newest.number(), 0);
        newest.note_at(100, begun);
        newest.note_at(99, begun);
        assert_eq!(newest.clone().number(), 100);
        newest.note_at(1 << 62, begun);
        newest.note_at(101, begun + COUNTS_FOR / 2);
        assert_eq!(newest.number(), 1 << 62);
        newest.note_at(102, begun + COUNTS_FOR);
        assert_eq!(newest.number(), 102);
        newest.forget();
        assert_eq!(newest.number(), 0);
    }
}
