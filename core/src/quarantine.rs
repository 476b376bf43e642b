//! Life of an outflow that exceeds its limit: delayed, then paid. Pure transitions; who may ask for one is decided by the limiter.
//!
//! An item carries all that its payment needs, so that no later change of limits, roles or delay can keep it. Every path ends: an item
//! is due at the latest [`MAX_HOLD`] after its delay, whatever guardians do, and from then on anyone may pay it out.

use crate::scope::{MAX_TIME, RELEASE_DELAY};

/// Longest delay of quarantine in seconds: 7 days.
pub const MAX_DELAY: u32 = 7 * 86_400;

/// Seconds by which one hold moves an item's release away from now: 1 day.
pub const HOLD: u32 = 86_400;

/// Longest time, in seconds, that holds keep an item beyond its delay: 7 days.
pub const MAX_HOLD: u32 = 7 * 86_400;

/// Seconds after which an item that is due and whose recipient cannot be paid goes back to the protocol: 30 days.
pub const STALE: u32 = 30 * 86_400;

/// Seconds after which an item that is due can be paid to a payee whom its protocol or the governor names, if neither recipient nor
/// protocol can be paid: as [`STALE`].
pub const NAMED: u32 = STALE;

/// When an item was queued and when it is due. Times are Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Item {
    /// When it was queued.
    pub queued_at: u64,
    /// When anyone may pay it out.
    pub release_at: u64,
    /// Until when holds can keep it.
    pub held_until: u64,
}

/// Why a transition is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The item is not due yet.
    #[error("the item is due at {until}, not before")]
    TooEarly {
        /// When it is, Unix seconds.
        until: u64,
    },
    /// Early payment would undo what the containment is for.
    #[error("the item's scope is contained: it is not paid early")]
    Contained,
    /// Only an incident justifies it.
    #[error("the item's scope is not contained")]
    NotContained,
    /// Holds have reached their end.
    #[error("the item cannot be held beyond {until}")]
    HeldTooLong {
        /// The end, Unix seconds.
        until: u64,
    },
}

/// Whom a payment goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payee {
    /// The recipient alone.
    Recipient,
    /// The recipient, or the protocol when that fails.
    RecipientElseProtocol,
}

impl Item {
    /// An item queued at `now` for `delay` seconds (at most [`MAX_DELAY`]).
    #[must_use]
    pub fn queued(now: u64, delay: u32) -> Self {
        let now = now.min(MAX_TIME);
        let release_at = now.saturating_add(delay.min(MAX_DELAY).into()).min(MAX_TIME);
        Item {
            queued_at: now,
            release_at,
            held_until: release_at.saturating_add(MAX_HOLD.into()).min(MAX_TIME),
        }
    }

    /// Payment by anyone.
    ///
    /// # Errors
    /// [`ItemError::TooEarly`].
    pub const fn release(&self, now: u64) -> Result<Payee, ItemError> {
        if now < self.release_at {
            return Err(ItemError::TooEarly { until: self.release_at });
        }
        if now - self.release_at < STALE as u64 {
            Ok(Payee::Recipient)
        } else {
            Ok(Payee::RecipientElseProtocol)
        }
    }

    /// Payment by a guardian before the item is due. It waits as long as a release of a scope does, so that people see the item first;
    /// and a stolen guardian key does not let out during an incident what the limit has caught.
    ///
    /// # Errors
    /// [`ItemError::TooEarly`], [`ItemError::Contained`].
    pub fn release_early(&self, now: u64, contained: bool) -> Result<(), ItemError> {
        let until = self.queued_at.saturating_add(RELEASE_DELAY.into()).min(self.release_at);
        if now < until {
            return Err(ItemError::TooEarly { until });
        }
        if contained && now < self.release_at {
            return Err(ItemError::Contained);
        }
        Ok(())
    }

    /// Moves the release [`HOLD`] seconds away from `now`, but never nearer and never beyond the end of holds.
    ///
    /// # Errors
    /// [`ItemError::NotContained`], [`ItemError::HeldTooLong`].
    pub fn hold(self, now: u64, contained: bool) -> Result<Self, ItemError> {
        if !contained {
            return Err(ItemError::NotContained);
        }
        let release_at = now.saturating_add(HOLD.into()).min(self.held_until);
        if release_at <= self.release_at {
            return Err(ItemError::HeldTooLong { until: self.release_at });
        }
        Ok(Item { release_at, ..self })
    }

    /// Payment to somebody whom the protocol or the governor names, because neither recipient nor protocol takes it: both are tried
    /// first, so that naming takes nothing from who can be paid.
    ///
    /// # Errors
    /// [`ItemError::TooEarly`].
    pub const fn pay_instead(&self, now: u64) -> Result<(), ItemError> {
        let until = self.release_at.saturating_add(NAMED as u64);
        if now < until {
            return Err(ItemError::TooEarly { until });
        }
        Ok(())
    }

    /// Payment back to the protocol, by the governor.
    ///
    /// # Errors
    /// [`ItemError::NotContained`]: without an incident, what somebody is owed is not taken back.
    pub const fn give_back(&self, contained: bool) -> Result<(), ItemError> {
        if contained {
            Ok(())
        } else {
            Err(ItemError::NotContained)
        }
    }
}
