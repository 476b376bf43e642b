//! What is usual for a stream of observations: mean, variance, cumulated drift and range, in two words per stream.
//!
//! Formulas: `m += a (x - m)`, `v = (1 - a)(v + a (x - m)^2)` with the mean from before; `z = (x - m) / sqrt(v)`; CUSUM
//! `up = max(0, up + z - k)`, `down = max(0, down - z - k)`, alarm above `h`. The average run length to a false alarm of one side is about
//! `(exp(2 k b) - 2 k b - 1) / (2 k^2)` with `b = h + 1.166` (Siegmund).
//!
//! Who can feed a statistic can train it. So at most one observation per `spacing` seconds is learnt, the learning rate is capped,
//! a single observation moves the mean by no more than `clip` standard deviations, the mean stays within hard bounds whatever is
//! fed, and nothing is learnt while an incident is open. An observation is judged by what was learnt before it.

use alloy_primitives::U256;

/// Largest observation: 2^48 - 1. Scale prices and balances so that they fit.
pub const MAX_SAMPLE: u64 = (1 << 48) - 1;

/// Largest learning rate, in 1/65536: an observation counts for an eighth at most.
pub const MAX_RATE: u16 = 8192;

/// Smallest learning rate, in 1/65536. Below it the mean's rounding would show.
pub const MIN_RATE: u16 = 64;

/// One standard deviation in the scores and thresholds of this module: they have 8 fractional bits.
pub const SIGMA: u32 = 256;

/// Largest score: 65,535 / 256 standard deviations.
pub const MAX_SCORE: u32 = 0xffff;

/// Fractional bits of the mean.
const MEAN_BITS: u32 = 16;
/// Fractional bits of the variance.
const VARIANCE_BITS: u32 = 8;
/// Largest sum of a CUSUM, 24 bits.
const MAX_SUM: u32 = 0xff_ffff;

/// How a stream is judged and learnt, stored in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Least value that the mean can take.
    pub low: u64,
    /// Greatest value that the mean can take, at most [`MAX_SAMPLE`].
    pub high: u64,
    /// Learning rate `a` in 1/65536, from [`MIN_RATE`] to [`MAX_RATE`].
    pub rate: u16,
    /// Least standard deviation that is assumed, in units of the observation, at least 1: a flat line must not make every change an
    /// anomaly.
    pub floor: u16,
    /// Least seconds between two observations that are learnt, at least 1.
    pub spacing: u16,
    /// Score beyond which an observation counts only as this much when it is learnt, in 1/256 standard deviations.
    pub clip: u16,
    /// Slack `k` of the CUSUM, in 1/256 standard deviations.
    pub slack: u16,
    /// Alarm threshold `h` of the CUSUM, in 1/256 standard deviations.
    pub alarm: u16,
    /// Seconds of a window for the range, at least 1.
    pub window: u32,
}

/// Why a specification cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The bounds are crossed or beyond [`MAX_SAMPLE`].
    #[error("bounds from {low} to {high} are not within 0 to {MAX_SAMPLE}")]
    BadBounds {
        /// Least value.
        low: u64,
        /// Greatest value.
        high: u64,
    },
    /// Learns too fast or too slowly.
    #[error("a learning rate of {rate}/65536 is not between {MIN_RATE} and {MAX_RATE}")]
    BadRate {
        /// Rate asked for.
        rate: u16,
    },
    /// A number that must not be zero is.
    #[error("`{0}` must not be 0")]
    Zero(&'static str),
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
        if self.rate < MIN_RATE || self.rate > MAX_RATE {
            return Err(SpecError::BadRate { rate: self.rate });
        }
        match (self.floor, self.spacing, self.clip, self.alarm, self.window) {
            (0, ..) => Err(SpecError::Zero("floor")),
            (_, 0, ..) => Err(SpecError::Zero("spacing")),
            (_, _, 0, ..) => Err(SpecError::Zero("clip")),
            (_, _, _, 0, _) => Err(SpecError::Zero("alarm")),
            (.., 0) => Err(SpecError::Zero("window")),
            _ => Ok(()),
        }
    }

    /// Observations after which the baseline is trusted: three times the reciprocal of the rate.
    #[must_use]
    pub const fn warm_up(&self) -> u16 {
        // At most 3 * 65536 / 64 = 3072.
        ((3 * 65_536
            / if self.rate < MIN_RATE {
                MIN_RATE as u32
            } else {
                self.rate as u32
            })
            & 0xffff) as u16
    }

    /// The specification as a word, fields in their order from the low end: 48, 48, then 16 bits each, window 32.
    #[must_use]
    pub const fn pack(&self) -> U256 {
        let low = self.low & MAX_SAMPLE;
        let high = self.high & MAX_SAMPLE;
        U256::from_limbs([
            low | high << 48,
            high >> 16 | (self.rate as u64) << 32 | (self.floor as u64) << 48,
            self.spacing as u64 | (self.clip as u64) << 16 | (self.slack as u64) << 32 | (self.alarm as u64) << 48,
            self.window as u64,
        ])
    }

    /// The specification in a word; `None` when one of its numbers is out of range.
    #[must_use]
    pub fn unpack(word: U256) -> Option<Self> {
        let [a, b, c, d] = word.into_limbs();
        let half = |limb: u64, shift: u32| (limb >> shift & 0xffff) as u16;
        let spec = Spec {
            low: a & MAX_SAMPLE,
            high: a >> 48 | (b & 0xffff_ffff) << 16,
            rate: half(b, 32),
            floor: half(b, 48),
            spacing: half(c, 0),
            clip: half(c, 16),
            slack: half(c, 32),
            alarm: half(c, 48),
            window: u32::try_from(d).ok()?,
        };
        spec.check().is_ok().then_some(spec)
    }
}

/// What has been learnt of a stream, stored in two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Mean with 16 fractional bits.
    mean: u64,
    /// Variance with 8 fractional bits (104 bits).
    variance: u128,
    /// When an observation was last learnt, Unix seconds; 0 never.
    at: u64,
    /// Observations learnt, saturating.
    count: u16,
    /// CUSUM of high observations, in 1/256 standard deviations.
    up: u32,
    /// CUSUM of low observations.
    down: u32,
    /// Least and greatest observation of this window and of the one before.
    range: [(u64, u64); 2],
    /// Number of this window, modulo 65536.
    window: u16,
}

/// Judgement of one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The baseline afterwards.
    pub baseline: Baseline,
    /// Whether enough has been learnt for the rest to mean something.
    pub warm: bool,
    /// Distance from the mean in 1/256 standard deviations, at most [`MAX_SCORE`].
    pub score: u32,
    /// Whether the observation lies above the mean.
    pub above: bool,
    /// Whether a CUSUM exceeds the alarm threshold with this observation. Once that is learnt, both start anew.
    pub drift: bool,
    /// Whether the observation was learnt.
    pub learnt: bool,
}

impl Baseline {
    /// The mean, rounded down. Off by at most `2^-17 / a` from exact arithmetic on the same observations, under 1/128 for every rate.
    #[must_use]
    pub const fn mean(&self) -> u64 {
        self.mean >> MEAN_BITS
    }

    /// The mean with 16 fractional bits.
    #[must_use]
    pub const fn mean_bits(&self) -> u64 {
        self.mean
    }

    /// The variance with 8 fractional bits. Off by at most `D / 64 + 7` from exact arithmetic, where `D` is the largest distance from
    /// the mean that was learnt: twice `D` times the mean's error, and the roundings of `1 / a` updates.
    #[must_use]
    pub const fn variance_bits(&self) -> u128 {
        self.variance
    }

    /// The standard deviation with 8 fractional bits, rounded down, at least the floor.
    #[must_use]
    pub fn deviation(&self, spec: &Spec) -> u64 {
        // 104 bits and 8 more.
        let root = (self.variance << VARIANCE_BITS).isqrt();
        u64::try_from(root).unwrap_or(u64::MAX).max(u64::from(spec.floor) << 8)
    }

    /// Observations learnt so far, at most 65,535.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Least and greatest observation of the current and the previous window; `None` before the first. Covers one to two windows.
    #[must_use]
    pub fn range(&self, spec: &Spec, now: u64) -> Option<(u64, u64)> {
        let rolled = self.rolled(spec, now);
        let [(a, b), (c, d)] = rolled.range;
        (self.count > 0 && (a <= b || c <= d)).then(|| (a.min(c), b.max(d)))
    }

    /// Judges `sample` (more than [`MAX_SAMPLE`] counts as that) at `now` and, unless `frozen` (an incident is open) or too soon after
    /// the last one, learns it. Time that goes back counts as too soon.
    #[must_use]
    pub fn observe(&self, spec: &Spec, sample: u64, now: u64, frozen: bool) -> Judged {
        let sample = sample.min(MAX_SAMPLE);
        let now = now & ((1 << 40) - 1);
        if self.count == 0 {
            let baseline = if frozen { *self } else { Self::seeded(spec, sample, now) };
            return Judged {
                baseline,
                warm: false,
                score: 0,
                above: false,
                drift: false,
                learnt: !frozen,
            };
        }
        let exact = sample << MEAN_BITS;
        let (above, distance) = (exact > self.mean, exact.abs_diff(self.mean));
        // 16 fractional bits over 8 leave 8.
        let score = distance.checked_div(self.deviation(spec)).unwrap_or(u64::MAX);
        let score = u32::try_from(score).unwrap_or(MAX_SCORE).min(MAX_SCORE);
        let warm = self.count >= spec.warm_up();
        let (up, down) = self.cusum(spec, score, above);
        let drift = warm && up.max(down) > u32::from(spec.alarm);
        let learnt = !frozen && now >= self.at.saturating_add(spec.spacing.into());
        let baseline = if learnt {
            Baseline {
                up: if warm && !drift { up } else { 0 },
                down: if warm && !drift { down } else { 0 },
                ..self.learn(spec, sample, above, distance, now)
            }
        } else {
            *self
        };
        Judged {
            baseline,
            warm,
            score,
            above,
            drift,
            learnt,
        }
    }

    /// Both sums with an observation added.
    fn cusum(&self, spec: &Spec, score: u32, above: bool) -> (u32, u32) {
        let slack = u32::from(spec.slack);
        let toward = |sum: u32| sum.saturating_add(score).saturating_sub(slack).min(MAX_SUM);
        let away = |sum: u32| sum.saturating_sub(score.saturating_add(slack));
        if above {
            (toward(self.up), away(self.down))
        } else {
            (away(self.up), toward(self.down))
        }
    }

    fn seeded(spec: &Spec, sample: u64, now: u64) -> Self {
        Baseline {
            mean: sample.clamp(spec.low, spec.high) << MEAN_BITS,
            at: now,
            count: 1,
            range: [(sample, sample), (MAX_SAMPLE, 0)],
            window: window(spec, now),
            ..Baseline::default()
        }
    }

    fn learn(&self, spec: &Spec, sample: u64, above: bool, distance: u64, now: u64) -> Self {
        let rate = u128::from(spec.rate);
        // A wild observation counts as one `clip` deviations away.
        let most = u128::from(self.deviation(spec)) * u128::from(spec.clip);
        let distance = u128::from(distance).min(most);
        let step = u64::try_from((distance * rate + (1 << 15)) >> 16).unwrap_or(u64::MAX);
        let mean = if above {
            self.mean.saturating_add(step)
        } else {
            self.mean.saturating_sub(step)
        };
        // (x - m)^2 has 32 fractional bits; the variance keeps 8 of them. At most 2^96 * 2^32 before the shift.
        let square = (U256::from(distance) * U256::from(distance) * U256::from(rate)) >> 40;
        let grown = U256::from(self.variance).saturating_add(square);
        let kept = (grown * U256::from(65_536 - rate) + U256::from(1u32 << 15)) >> 16;
        let rolled = self.rolled(spec, now);
        let [(low, high), before] = rolled.range;
        Baseline {
            mean: mean.clamp(spec.low << MEAN_BITS, spec.high << MEAN_BITS),
            variance: u128::try_from(kept).unwrap_or(u128::MAX).min((1 << 104) - 1),
            at: now,
            count: self.count.saturating_add(1),
            range: [(low.min(sample), high.max(sample)), before],
            ..rolled
        }
    }

    /// The baseline with its windows moved on to the time `now`.
    fn rolled(&self, spec: &Spec, now: u64) -> Self {
        let empty = (MAX_SAMPLE, 0);
        let current = window(spec, now);
        let [this, _] = self.range;
        let long_ago = now.saturating_sub(self.at) >= u64::from(spec.window).saturating_mul(2);
        let range = match current.wrapping_sub(self.window) {
            _ if long_ago => [empty, empty],
            0 => self.range,
            1 => [empty, this],
            _ => [empty, empty],
        };
        Baseline {
            range,
            window: current,
            ..*self
        }
    }

    /// The baseline as two words. First, from the low end: mean (64 bits), variance (104), time (40), count (16). Second: least and
    /// greatest of this window and of the last (48 each), up, down (24 each), window (16).
    #[must_use]
    pub fn pack(&self) -> (U256, U256) {
        let first = U256::from(self.mean)
            | U256::from(self.variance) << 64
            | U256::from(self.at) << 168
            | U256::from(self.count) << 208;
        let [(a, b), (c, d)] = self.range;
        let mut second = U256::ZERO;
        for (place, bound) in [a, b, c, d].into_iter().enumerate() {
            second |= U256::from(bound & MAX_SAMPLE) << (48 * place);
        }
        let sums = u64::from(self.up & MAX_SUM) | u64::from(self.down & MAX_SUM) << 24 | u64::from(self.window) << 48;
        (first, second | U256::from(sums) << 192)
    }

    /// The baseline in two words that [`Baseline::pack`] made.
    #[must_use]
    pub fn unpack(first: U256, second: U256) -> Self {
        let [mean, low, high, rest] = first.into_limbs();
        let [a, b, c, sums] = second.into_limbs();
        let bound = |value: u64| value & MAX_SAMPLE;
        Baseline {
            mean,
            variance: (u128::from(low) | u128::from(high) << 64) & ((1 << 104) - 1),
            at: high >> 40 & 0xff_ffff | (rest & 0xffff) << 24,
            count: (rest >> 16 & 0xffff) as u16,
            up: (sums & 0xff_ffff) as u32,
            down: (sums >> 24 & 0xff_ffff) as u32,
            range: [
                (bound(a), bound(a >> 48 | b << 16)),
                (bound(b >> 32 | c << 32), bound(c >> 16)),
            ],
            window: (sums >> 48) as u16,
        }
    }
}

/// Number of the window at `now`, modulo 65536.
fn window(spec: &Spec, now: u64) -> u16 {
    (now.checked_div(spec.window.into()).unwrap_or(0) & 0xffff) as u16
}
