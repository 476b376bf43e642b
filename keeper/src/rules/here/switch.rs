//! Whether rules are evaluated here at all: not where the node does not give what that takes, for a while, and never again after an evaluation has
//! come out wrong.

use std::time::{Duration, Instant};

/// Blocks in a row whose words the node refuses before it is not asked for a while.
const PATIENCE: u32 = 3;
/// The first such while, doubled each time up to the longest. Other endpoints may come, and this one may learn: with hundreds of rules it is worth
/// a refused request every ten minutes.
const SHORTEST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(600);

/// On, off for a while, or off for good.
#[derive(Debug, Default)]
pub(super) struct Switch {
    off: Option<Off>,
    /// Refusals in a row.
    refused: u32,
    /// How often in a row it was turned off for a while.
    waits: u32,
}

#[derive(Debug)]
struct Off {
    why: String,
    /// When it is tried again; never when `None`.
    until: Option<Instant>,
}

impl Switch {
    /// Whether rules are evaluated here, or that is tried.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        let is_over = |off: &Off| off.until.is_some_and(|until| until <= now);
        self.off.as_ref().is_none_or(is_over)
    }

    /// Why it is off; `None` when it is on.
    pub(super) fn why(&self) -> Option<&str> {
        self.off.as_ref().map(|off| off.why.as_str())
    }

    /// The node has given what it was asked for; whether that turns it on again.
    pub(super) fn given(&mut self) -> bool {
        (self.refused, self.waits) = (0, 0);
        self.off.take_if(|off| off.until.is_some()).is_some()
    }

    /// The node has refused. Answers for how long that turns it off, if it does.
    pub(super) fn refused(&mut self, reason: &str, now: Instant) -> Option<Duration> {
        self.refused = self.refused.saturating_add(1);
        // One refusal ends a trial; those that were on their way together are one.
        let is_due = match &self.off {
            Some(_) => self.is_on(now),
            None => self.refused >= PATIENCE,
        };
        if !is_due {
            return None;
        }
        let doubled = SHORTEST.saturating_mul(2_u32.saturating_pow(self.waits.min(16)));
        let wait = doubled.min(LONGEST);
        self.waits = self.waits.saturating_add(1);
        self.off = Some(Off {
            why: format!("the node does not give words of the state: {reason}"),
            until: now.checked_add(wait),
        });
        Some(wait)
    }

    /// Off for good. The first reason stays.
    pub(super) fn end(&mut self, why: &str) {
        if self.off.as_ref().is_none_or(|off| off.until.is_some()) {
            self.off = Some(Off {
                why: why.to_owned(),
                until: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_tried_again_later_and_later() {
        let (mut switch, mut now) = (Switch::default(), Instant::now());
        assert_eq!(switch.refused("no", now), None);
        assert!(!switch.given(), "it was never off");
        assert_eq!((switch.refused("no", now), switch.refused("no", now)), (None, None));
        assert!(switch.is_on(now) && switch.why().is_none());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = switch.refused("no", now).unwrap_or_default();
            // The others that were asked for at the same time.
            assert_eq!((switch.refused("no", now), switch.refused("no", now)), (None, None));
            assert!(!switch.is_on(now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(switch.is_on(now), "it is tried again");
            assert!(
                switch.why().is_some_and(|why| why.ends_with(": no")),
                "and is not on yet"
            );
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 600, 600]);
        assert!(switch.given() && switch.is_on(now) && switch.why().is_none());
        for _ in 0..2 {
            assert_eq!(switch.refused("no", now), None);
        }
        assert_eq!(switch.refused("no", now), Some(SHORTEST), "from the beginning");
    }

    #[test]
    fn what_came_out_wrong_is_never_tried_again() {
        let (mut switch, now) = (Switch::default(), Instant::now());
        for _ in 0..PATIENCE {
            switch.refused("no", now);
        }
        switch.end("wrong");
        switch.end("another reason");
        assert!(!switch.given());
        assert_eq!(switch.refused("no", now + LONGEST), None);
        assert!(!switch.is_on(now + 10 * LONGEST));
        assert_eq!(switch.why(), Some("wrong"));
    }
}
