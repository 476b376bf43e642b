//! Streams: values that a guard reads by itself and stores over time, so that rules have a past to compare with. One of two kinds: an
//! anchor ([`crate::anchor`]), or statistics ([`crate::baseline`]).

use crate::anchor::{self, Anchor, NotTaken};
use crate::baseline::{self, Baseline};
use crate::rule::Int;
use alloc::vec::Vec;
use alloy_primitives::U256;

/// How a stream is observed and what is kept of it. The value that is observed is a program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// The value of a period before.
    Anchor(anchor::Spec),
    /// What is usual.
    Baseline(baseline::Spec),
}

impl Spec {
    /// Whether all its numbers are within their ranges.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        match self {
            Spec::Anchor(spec) => spec.is_valid(),
            Spec::Baseline(spec) => spec.check().is_ok(),
        }
    }

    /// Seconds between two observations.
    #[must_use]
    pub fn spacing(&self) -> u32 {
        match self {
            Spec::Anchor(spec) => spec.period,
            Spec::Baseline(spec) => spec.spacing.into(),
        }
    }

    /// The bytes whose hash names the stream that observes the value of `program`: period (4), step (2), [`anchor::Spec::bounds`],
    /// program of an anchor; six zeros, [`baseline::Spec::to_bytes`], program of statistics. Two rulebooks with the same stream share what was stored, whatever its number
    /// in them.
    #[must_use]
    pub fn definition(&self, program: &[u8]) -> Vec<u8> {
        let mut definition = Vec::with_capacity(6 + baseline::SPEC_BYTES + program.len());
        match self {
            Spec::Anchor(spec) => {
                definition.extend_from_slice(&spec.period.to_be_bytes());
                definition.extend_from_slice(&spec.step.to_be_bytes());
                definition.extend_from_slice(&spec.bounds());
            }
            Spec::Baseline(spec) => {
                definition.extend_from_slice(&[0; 6]);
                definition.extend_from_slice(&spec.to_bytes());
            }
        }
        definition.extend_from_slice(program);
        definition
    }
}

/// What a guard has stored of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Of an anchor.
    Anchor(anchor::Spec, Anchor),
    /// Of statistics.
    Baseline(baseline::Spec, Baseline),
}

impl Stored {
    /// From the two words under [`anchor::key`].
    #[must_use]
    pub fn unpack(spec: &Spec, first: U256, second: U256) -> Self {
        match spec {
            Spec::Anchor(spec) => Stored::Anchor(*spec, Anchor::unpack(first, second)),
            Spec::Baseline(spec) => Stored::Baseline(*spec, Baseline::unpack(first, second)),
        }
    }

    /// As two words.
    #[must_use]
    pub fn pack(&self) -> (U256, U256) {
        match self {
            Stored::Anchor(_, anchor) => anchor.pack(),
            Stored::Baseline(_, baseline) => baseline.pack(),
        }
    }

    /// When the next observation may be taken.
    #[must_use]
    pub fn due(&self) -> u64 {
        match self {
            Stored::Anchor(spec, anchor) => anchor.due(spec),
            Stored::Baseline(spec, baseline) => baseline.due(spec),
        }
    }

    /// What is stored after `observed` was read at `now`. Time that goes back counts as too soon.
    ///
    /// # Errors
    /// [`NotTaken`] when no observation is due, or the value is not one that may be stored.
    pub fn observe(&self, observed: &Int, now: u64) -> Result<Self, NotTaken> {
        Ok(match self {
            Stored::Anchor(spec, anchor) => Stored::Anchor(*spec, anchor.observe(spec, observed, now)?),
            Stored::Baseline(spec, baseline) => Stored::Baseline(*spec, baseline.observe(spec, observed, now)?),
        })
    }

    /// Whether a first observation waits for another one that agrees with it.
    #[must_use]
    pub const fn waits(&self) -> bool {
        match self {
            Stored::Anchor(_, anchor) => matches!(anchor.stage, anchor::Stage::Seeding),
            Stored::Baseline(_, baseline) => baseline.waits(),
        }
    }

    /// Whether the observation that waits is contradicted by what was read.
    #[must_use]
    pub fn is_refuted_by(&self, observed: &Int) -> bool {
        match self {
            Stored::Anchor(spec, anchor) => anchor.is_refuted_by(spec, observed),
            Stored::Baseline(spec, baseline) => baseline.is_refuted_by(spec, observed),
        }
    }

    /// Of an anchor that begins: the value that waits for another one which agrees, and when such a one counts.
    #[must_use]
    pub fn candidate(&self) -> Option<(Int, u64)> {
        match self {
            Stored::Anchor(spec, anchor) => anchor.candidate().map(|value| (value, anchor.agrees_at(spec))),
            Stored::Baseline(..) => None,
        }
    }

    /// Whether rules know of it at `now`.
    #[must_use]
    pub fn is_known(&self, now: u64) -> bool {
        match self {
            Stored::Anchor(_, anchor) => anchor.value(now).is_ok(),
            Stored::Baseline(spec, baseline) => baseline.is_known(spec, now),
        }
    }

    /// When the latest observation was taken, Unix seconds; 0 before the first.
    #[must_use]
    pub const fn observed_at(&self) -> u64 {
        match self {
            Stored::Anchor(_, anchor) => anchor.at,
            Stored::Baseline(_, baseline) => baseline.at(),
        }
    }

    /// The anchor, or the mean, whether or not it is known; zero when there is none.
    #[must_use]
    pub fn value(&self) -> Int {
        match self {
            Stored::Anchor(_, anchor) => anchor.stored(),
            Stored::Baseline(spec, baseline) => baseline.mean(spec),
        }
    }

    /// What becomes the anchor with the next observation; of statistics, the latest observation as far as it counted.
    #[must_use]
    pub fn fresh(&self) -> Int {
        match self {
            Stored::Anchor(_, anchor) => anchor.fresh(),
            Stored::Baseline(spec, baseline) => spec.value(baseline.last(), 0),
        }
    }
}
