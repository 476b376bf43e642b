//! Anchors: values of a read that a guard has stored over time, so that hooks, trips, keeper and drills compare with the same past.
//!
//! A stream keeps three values: the newest observation as it was read, the *fresh* value that the guard believes, and the *anchor*,
//! which is the fresh value of one period before. An observation is taken at most once per period. Then the fresh value becomes the
//! anchor, and the new fresh value is the median of the old one, the observation before and the present one, so that no single
//! observation moves it, and no further from the old one than [`Spec::step`] for each period that has passed. Whoever observes, and
//! however often, moves the anchor by no more than that.
//!
//! There is no old value to begin with, so the beginning is guarded otherwise. The first observation is a candidate. One that agrees with
//! it counts a period later, not before; one that contradicts it takes its place at any time. So a lie that lasts for a transaction, or for
//! two a period apart, begins nothing while one honest observer looks in between; at worst it makes the beginning wait. An incident, in
//! which nothing is stored, does not shield it: what contradicts the candidate then takes it away, and the beginning waits for the end. And nothing outside
//! of the hard bounds of the definition is ever stored, whoever observes and however long he makes the lie last.

use crate::bounds::OBSERVATION_GAP;
use crate::incident::Reading;
use crate::rule::{Int, Unknown};
use crate::scope::MAX_TIME;
use alloy_primitives::{B128, B256, U256};

/// Shortest period in seconds.
pub const MIN_PERIOD: u32 = 60;
/// Longest period in seconds: 28 days.
pub const MAX_PERIOD: u32 = 28 * 24 * 3600;
/// Largest step per period, in basis points.
pub const MAX_STEP: u16 = 10_000;
/// Step per period unless the rule says otherwise, in basis points.
pub const DEFAULT_STEP: u16 = 1_000;
/// Periods that one observation makes up for at most, when none was made for longer.
pub const CATCH_UP: u64 = 4;
/// Periods after which an anchor is too old to be compared with: it is then not known.
pub const STALE: u64 = 8;

/// Basis points of the whole.
const WHOLE: u64 = 10_000;

/// Names a stream: the first half of the Keccak-256 of its definition ([`crate::stream::Spec::definition`]).
pub type StreamId = B128;

/// Bytes of the encoded bounds of a stream.
pub const BOUNDS_BYTES: usize = 32;

/// How a stream is observed. The value that is observed is a program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Seconds between two observations, and the least age of an anchor: [`MIN_PERIOD`] to [`MAX_PERIOD`].
    pub period: u32,
    /// Most that the stored value moves per period, in basis points of itself: 1 to [`MAX_STEP`].
    pub step: u16,
    /// Least value that is ever stored.
    pub low: Reading,
    /// Greatest value that is ever stored, more than the least.
    pub high: Reading,
}

impl Spec {
    /// Whether period and step are within their ranges, and the bounds a range, each written in the one way there is.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.period >= MIN_PERIOD
            && self.period <= MAX_PERIOD
            && self.step >= 1
            && self.step <= MAX_STEP
            && self.low.order() < self.high.order()
            && self.low.is_canonical()
            && self.high.is_canonical()
    }

    /// Whether a value may be stored.
    #[must_use]
    pub const fn admits(&self, value: &Reading) -> bool {
        value.order() >= self.low.order() && value.order() <= self.high.order()
    }

    /// The bounds as bytes: the least, the greatest (16 each).
    #[must_use]
    pub fn bounds(&self) -> [u8; BOUNDS_BYTES] {
        let mut bytes = [0; BOUNDS_BYTES];
        let (low, high) = bytes.split_at_mut(BOUNDS_BYTES / 2);
        low.copy_from_slice(&self.low.to_bytes());
        high.copy_from_slice(&self.high.to_bytes());
        bytes
    }
}

/// The name in the hash of a definition.
#[must_use]
pub fn id_of(hash: &B256) -> StreamId {
    StreamId::from_slice(hash.first_chunk::<16>().unwrap_or(&[0; 16]))
}

/// First byte of the keys under which a guard stores streams: a tag of its own among those of `contracts/host/src/layout.rs`.
pub const TAG: u8 = 18;

/// Where a guard stores a word of a stream: 0 is the one that rules read, 1 what observations need besides.
#[must_use]
pub fn key(id: &StreamId, part: u8) -> B256 {
    let mut key = [0; 32];
    let [tag, .., last] = &mut key;
    (*tag, *last) = (TAG, part);
    for (to, from) in key.iter_mut().skip(8).zip(id.iter()) {
        *to = *from;
    }
    B256::new(key)
}

/// How much is known of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Nothing was observed.
    #[default]
    Empty = 0,
    /// One observation waits for another one, a period later, that agrees with it.
    Seeding = 1,
    /// The fresh value is known.
    Fresh = 2,
    /// The anchor too.
    Anchored = 3,
}

/// What a guard has stored of a stream, two words. Times are Unix seconds (40 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// How much is known.
    pub stage: Stage,
    /// The anchor.
    anchor: Reading,
    /// When it was stored as the fresh value.
    pub since: u64,
    /// When the latest observation was taken.
    pub at: u64,
    /// Seconds of a period.
    period: u32,
    /// What the guard believes since `at`.
    fresh: Reading,
    /// The latest observation as it was read.
    raw: Reading,
}

/// An observation came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the next observation is due at {due}")]
pub struct TooSoon {
    /// When the next one may be taken, Unix seconds.
    pub due: u64,
}

/// Why an observation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It came too soon.
    #[error(transparent)]
    TooSoon(#[from] TooSoon),
    /// The value lies outside of [`Spec::low`] and [`Spec::high`]: it is a lie, or the bounds are out of date.
    #[error("the value lies outside of the bounds of its stream")]
    OutOfBounds,
}

impl Anchor {
    /// The stored value, when it is known at `now`: stored at least a period ago, and not too long ago.
    ///
    /// # Errors
    /// [`Unknown::NotStored`] when it is not.
    pub fn value(&self, now: u64) -> Result<Int, Unknown> {
        let age = now.saturating_sub(self.since);
        let period = u64::from(self.period);
        if self.stage == Stage::Anchored && age >= period && age <= period.saturating_mul(STALE) {
            return Ok(self.anchor.number());
        }
        Err(Unknown::NotStored)
    }

    /// The value that was stored, whether or not it is known now; zero when none was.
    #[must_use]
    pub fn stored(&self) -> Int {
        self.anchor.number()
    }

    /// What the guard believes since the latest observation; zero when nothing yet.
    #[must_use]
    pub fn fresh(&self) -> Int {
        self.fresh.number()
    }

    /// When the next observation may be taken. Of a candidate ([`Stage::Seeding`]) when one may that contradicts it; see [`Self::agrees_at`].
    #[must_use]
    pub fn due(&self, spec: &Spec) -> u64 {
        match self.stage {
            Stage::Empty => 0,
            Stage::Seeding => self.at.saturating_add(OBSERVATION_GAP),
            Stage::Fresh | Stage::Anchored => self.agrees_at(spec),
        }
    }

    /// When an observation may be taken that agrees with the latest one: a period after it.
    #[must_use]
    pub fn agrees_at(&self, spec: &Spec) -> u64 {
        self.at.saturating_add(spec.period.into())
    }

    /// The value that waits for another one which agrees with it.
    #[must_use]
    pub fn candidate(&self) -> Option<Int> {
        (self.stage == Stage::Seeding).then(|| self.raw.number())
    }

    /// Whether the value that waits ([`Anchor::candidate`]) is contradicted by one that was read: by another one, or by one that may not be
    /// stored.
    #[must_use]
    pub fn is_refuted_by(&self, spec: &Spec, observed: &Int) -> bool {
        let raw = Reading::new(observed);
        self.stage == Stage::Seeding && spec.admits(&raw) && !self.raw.number().near(raw.number(), spec.step)
    }

    /// What is stored after `observed` was read at `now`. Time that goes back counts as too soon.
    ///
    /// # Errors
    /// [`NotTaken`] when no observation is due, or the value is not within the bounds.
    pub fn observe(&self, spec: &Spec, observed: &Int, now: u64) -> Result<Self, NotTaken> {
        let (now, due) = (now & MAX_TIME, self.due(spec));
        if now < due {
            return Err(TooSoon { due }.into());
        }
        let raw = Reading::new(observed);
        if !spec.admits(&raw) {
            return Err(NotTaken::OutOfBounds);
        }
        let taken = Anchor {
            at: now,
            period: spec.period,
            raw,
            ..*self
        };
        let before = self.raw.number();
        Ok(match self.stage {
            Stage::Empty => Anchor {
                stage: Stage::Seeding,
                ..taken
            },
            // One observation alone seeds nothing: whoever made it chose the moment.
            Stage::Seeding if !before.near(raw.number(), spec.step) => taken,
            Stage::Seeding if now < self.agrees_at(spec) => {
                let due = self.agrees_at(spec);
                return Err(TooSoon { due }.into());
            }
            Stage::Seeding => Anchor {
                stage: Stage::Fresh,
                fresh: self.raw,
                ..taken
            },
            Stage::Fresh | Stage::Anchored => {
                let fresh = self.fresh.number();
                let wanted = median(fresh, before, raw.number());
                let moved = toward(fresh, wanted, spec, now.saturating_sub(self.at));
                Anchor {
                    stage: Stage::Anchored,
                    anchor: self.fresh,
                    since: self.at,
                    fresh: Reading::new(&moved),
                    ..taken
                }
            }
        })
    }

    /// As two words. First, from the low end: anchor (128 bits), since (40), at (40), period (32), stage (8). Second: fresh value,
    /// latest observation (128 each).
    #[must_use]
    pub fn pack(&self) -> (U256, U256) {
        let [a, b] = self.anchor.to_limbs();
        let since = self.since & MAX_TIME;
        let at = self.at & MAX_TIME;
        let high = at >> 24 | u64::from(self.period) << 16 | (self.stage as u64) << 48;
        let [c, d] = self.fresh.to_limbs();
        let [e, f] = self.raw.to_limbs();
        (
            U256::from_limbs([a, b, since | at << 40, high]),
            U256::from_limbs([c, d, e, f]),
        )
    }

    /// What rules need, from the first word: nothing is known of the fresh value.
    #[must_use]
    pub fn head(first: U256) -> Self {
        let [a, b, times, high] = first.into_limbs();
        let stage = match high >> 48 & 0xff {
            1 => Stage::Seeding,
            2 => Stage::Fresh,
            3 => Stage::Anchored,
            _ => Stage::Empty,
        };
        Anchor {
            stage,
            anchor: Reading::from_limbs([a, b]),
            since: times & MAX_TIME,
            at: (times >> 40 | high << 24) & MAX_TIME,
            period: (high >> 16 & 0xffff_ffff) as u32,
            ..Anchor::default()
        }
    }

    /// From both words.
    #[must_use]
    pub fn unpack(first: U256, second: U256) -> Self {
        let [c, d, e, f] = second.into_limbs();
        Anchor {
            fresh: Reading::from_limbs([c, d]),
            raw: Reading::from_limbs([e, f]),
            ..Self::head(first)
        }
    }
}

/// The middle one of three.
fn median(a: Int, b: Int, c: Int) -> Int {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    c.max(low).min(high)
}

/// `wanted`, but no further from `from` than the step allows in `elapsed` seconds. From zero, where there is nothing to be a share of,
/// it is `wanted`.
fn toward(from: Int, wanted: Int, spec: &Spec, elapsed: u64) -> Int {
    let period = u64::from(spec.period);
    let counted = elapsed.min(period.saturating_mul(CATCH_UP));
    let share = from.absolute().mul_div(
        Int::from(u64::from(spec.step).saturating_mul(counted)),
        Int::from(WHOLE.saturating_mul(period)),
    );
    // A value of few units must not stand still for ever.
    let most = share.unwrap_or(Int::ZERO).max(Int::ONE);
    let near = wanted.checked_sub(from).is_some_and(|way| way.absolute() <= most);
    if near || from == Int::ZERO {
        return wanted;
    }
    let moved = if wanted > from {
        from.checked_add(most)
    } else {
        from.checked_sub(most)
    };
    moved.unwrap_or(from)
}
