//! The time of the chain.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in seconds by the system's clock.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .unwrap_or_default()
}

/// How the time of the next block is found: the system's clock, shifted by what the time methods asked for. Blocks never go
/// back in time; several may share a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    offset: i128,
    next: Option<u64>,
    interval: Option<u64>,
}

impl Clock {
    /// A clock that reads `timestamp` now.
    pub(crate) fn starting_at(timestamp: u64) -> Self {
        let mut clock = Self::default();
        clock.set(timestamp);
        clock
    }

    /// The time now, in Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(i128::from(unix_now()).saturating_add(self.offset)).unwrap_or_default()
    }

    /// Makes the clock read `timestamp` now.
    pub(crate) fn set(&mut self, timestamp: u64) {
        self.offset = i128::from(timestamp).saturating_sub(i128::from(unix_now()));
    }

    /// Moves the clock on; answers the whole shift against the system's clock, in seconds.
    pub(crate) fn increase(&mut self, seconds: u64) -> i128 {
        self.offset = self.offset.saturating_add(i128::from(seconds));
        self.offset
    }

    /// The next block gets this time, and the clock goes on from there.
    pub(crate) fn set_next(&mut self, timestamp: u64) {
        self.next = Some(timestamp);
    }

    /// Every block comes this many seconds after its parent, whatever the clock says; `None` ends that.
    pub(crate) fn set_interval(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.interval, seconds).is_some()
    }

    /// Time of a block on top of one of time `parent`, were it mined now.
    pub(crate) fn peek(&self, parent: u64) -> u64 {
        match (self.next, self.interval) {
            (Some(next), _) => next.max(parent),
            (None, Some(interval)) => parent.saturating_add(interval),
            (None, None) => self.now().max(parent),
        }
    }

    /// As [`peek`](Self::peek), and uses up what was set for one block.
    pub(crate) fn take(&mut self, parent: u64) -> u64 {
        let timestamp = self.peek(parent);
        if self.next.take().is_some() {
            self.set(timestamp);
        }
        timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::starting_at(1_000);
        assert_eq!(clock.peek(5_000), 5_000);
    }

    #[test]
    fn a_set_time_holds_once_and_then_runs_on() {
        let mut clock = Clock::default();
        let far = unix_now() + 1_000_000;
        clock.set_next(far);
        assert_eq!(clock.take(0), far);
        let later = clock.take(0);
        assert!((far..far + 10).contains(&later), "{later}");
    }

    #[test]
    fn an_interval_replaces_the_clock() {
        let mut clock = Clock::default();
        clock.set_interval(Some(7));
        assert_eq!(clock.take(100), 107);
        assert!(clock.set_interval(None));
        assert!(clock.take(100) >= 1_700_000_000);
    }

    #[test]
    fn increases_add_up() {
        let mut clock = Clock::starting_at(unix_now());
        let before = clock.now();
        clock.increase(100);
        clock.increase(20);
        assert!((120..125).contains(&(clock.now() - before)));
    }
}
