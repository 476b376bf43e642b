//! How a stream is judged and learnt: what a rule's text says of it.

use crate::anchor::MAX_PERIOD;
use crate::baseline::{MAX_SAMPLE, SIGMA};
use crate::rule::Int;
use alloy_primitives::U256;

/// Largest learning rate, in 1/65536: an observation counts for an eighth at most.
pub const MAX_RATE: u16 = 8192;
/// Smallest learning rate, in 1/65536. Below it the mean's rounding would show.
pub const MIN_RATE: u16 = 64;
/// Least seconds between two observations.
pub const MIN_SPACING: u16 = 60;
/// Most bits that are cut off an observation: a mean, 64 bits with its fraction, has then room for them.
pub const MAX_SHIFT: u8 = 192;
/// Bytes of an encoded specification.
pub const SPEC_BYTES: usize = 39;

/// How a stream is judged and learnt. An observation is a *sample* once `shift` bits are cut off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Bits that are cut off an observation, at most [`MAX_SHIFT`]: samples have 48.
    pub shift: u8,
    /// Least sample that the mean can come to.
    pub low: u64,
    /// Greatest sample that the mean can come to, at most [`MAX_SAMPLE`].
    pub high: u64,
    /// Least standard deviation that is assumed, in samples, at least 1: a flat line must not make every change an anomaly.
    pub floor: u64,
    /// Greatest standard deviation that is assumed, in samples: whoever makes the line wild must not make everything usual.
    pub roof: u64,
    /// Learning rate `a` in 1/65536, from [`MIN_RATE`] to [`MAX_RATE`].
    pub rate: u16,
    /// Score beyond which an observation counts only as this much when it is learnt, in 1/1000 standard deviations, at least [`SIGMA`].
    pub clip: u16,
    /// Slack `k` of the CUSUM, in 1/1000 standard deviations, less than `clip`.
    pub slack: u16,
    /// Most that a sum of the CUSUM comes to, in 1/1000 standard deviations, at least 1: once a drift is over, so is its alarm.
    pub cap: u16,
    /// Least seconds between two observations that are learnt, at least [`MIN_SPACING`].
    pub spacing: u16,
    /// Seconds of a window for the range: `spacing` to [`MAX_PERIOD`].
    pub window: u32,
}

/// Why a specification cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The bounds are crossed or too large.
    #[error("bounds from {low} to {high} are not within 0 to {MAX_SAMPLE}")]
    BadBounds {
        /// Least sample.
        low: u64,
        /// Greatest sample.
        high: u64,
    },
    /// The least deviation is 0, or more than the greatest.
    #[error("deviations from {floor} to {roof} are not within 1 to {MAX_SAMPLE}")]
    BadDeviations {
        /// Least deviation.
        floor: u64,
        /// Greatest deviation.
        roof: u64,
    },
    /// Another number is out of range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

impl Spec {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`SpecError`] names what is out of range.
    pub const fn check(&self) -> Result<(), SpecError> {
        if self.low > self.high || self.high > MAX_SAMPLE {
            return Err(SpecError::BadBounds {
                low: self.low,
                high: self.high,
            });
        }
        if self.floor == 0 || self.floor > self.roof || self.roof > MAX_SAMPLE {
            return Err(SpecError::BadDeviations {
                floor: self.floor,
                roof: self.roof,
            });
        }
        let checks = [
            (self.shift <= MAX_SHIFT, "shift"),
            (self.rate >= MIN_RATE && self.rate <= MAX_RATE, "rate"),
            (self.clip as u32 >= SIGMA, "clip"),
            (self.slack < self.clip, "slack"),
            (self.cap >= 1, "cap"),
            (self.spacing >= MIN_SPACING, "spacing"),
            (
                self.window >= self.spacing as u32 && self.window <= MAX_PERIOD,
                "window",
            ),
        ];
        let mut rest: &[(bool, &'static str)] = &checks;
        while let Some(((good, name), behind)) = rest.split_first() {
            if !*good {
                return Err(SpecError::OutOfRange(name));
            }
            rest = behind;
        }
        Ok(())
    }

    /// Observations after which the baseline is trusted: three times the reciprocal of the rate.
    #[must_use]
    pub const fn warm_up(&self) -> u16 {
        let rate = if self.rate < MIN_RATE { MIN_RATE } else { self.rate };
        // At most 3 * 65536 / 64 = 3072.
        ((3 * 65_536 / rate as u32) & 0xffff) as u16
    }

    /// The sample of an observation, with 16 fractional bits; what needs more than 64 counts as if it had them all set. By hand, as below:
    /// the integers' own shifts take more room than all the rest.
    #[must_use]
    pub(crate) fn sample(&self, observed: &Int) -> Int {
        let mut limbs = observed
            .magnitude
            .as_limbs()
            .iter()
            .copied()
            .skip(usize::from(self.shift / 64));
        let (low, high) = (limbs.next().unwrap_or(0), limbs.next().unwrap_or(0));
        let wide = (u128::from(low) | u128::from(high) << 64) >> (self.shift % 64);
        let whole = if limbs.any(|limb| limb != 0) {
            u64::MAX
        } else {
            u64::try_from(wide).unwrap_or(u64::MAX)
        };
        Int::new(observed.negative, U256::from_limbs([whole << 16, whole >> 48, 0, 0]))
    }

    /// The value that a sample with so many fractional bits, at most 16, stands for, rounded down.
    #[must_use]
    pub fn value(&self, sample: u64, fraction: u8) -> Int {
        let sample = sample >> fraction.saturating_sub(self.shift);
        let shift = self.shift.saturating_sub(fraction);
        let wide = u128::from(sample) << (shift % 64);
        let mut limbs = [0; 4];
        let [low, high, ..] = U256::from(wide).into_limbs();
        for (limb, part) in limbs.iter_mut().skip(usize::from(shift / 64)).zip([low, high]) {
            *limb = part;
        }
        Int::from(U256::from_limbs(limbs))
    }

    /// The specification as bytes: shift (1), low, high, floor, roof (6 each), rate, clip, slack, cap, spacing (2 each), window (4).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SPEC_BYTES] {
        let mut out = [0; SPEC_BYTES];
        let wide = [self.low, self.high, self.floor, self.roof].into_iter();
        let short = [self.rate, self.clip, self.slack, self.cap, self.spacing].into_iter();
        let bytes = [self.shift]
            .into_iter()
            .chain(wide.flat_map(|number| number.to_be_bytes().into_iter().skip(2)))
            .chain(short.flat_map(u16::to_be_bytes))
            .chain(self.window.to_be_bytes());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }

    /// The specification in bytes that [`Spec::to_bytes`] made; `None` when they are too few, or a number is out of range.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let spec = Self::assume_valid(bytes)?;
        spec.check().is_ok().then_some(spec)
    }

    /// The same of bytes that were checked before.
    #[must_use]
    pub(crate) fn assume_valid(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SPEC_BYTES] = bytes.first_chunk()?;
        let [shift, rest @ ..] = *bytes;
        let mut numbers = [0_u64; 4];
        for (number, bytes) in numbers.iter_mut().zip(rest.chunks_exact(6)) {
            *number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        let [low, high, floor, roof] = numbers;
        let [.., r0, r1, c0, c1, k0, k1, h0, h1, s0, s1, w0, w1, w2, w3] = rest;
        Some(Spec {
            shift,
            low,
            high,
            floor,
            roof,
            rate: u16::from_be_bytes([r0, r1]),
            clip: u16::from_be_bytes([c0, c1]),
            slack: u16::from_be_bytes([k0, k1]),
            cap: u16::from_be_bytes([h0, h1]),
            spacing: u16::from_be_bytes([s0, s1]),
            window: u32::from_be_bytes([w0, w1, w2, w3]),
        })
    }
}
