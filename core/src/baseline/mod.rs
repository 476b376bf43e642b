//! What is usual for a stream of observations: mean, variance, cumulated drift and range, in two words per stream.
//!
//! Formulas: `m += a (x - m)`, `v = (1 - a)(v + a (x - m)^2)` with the mean from before; `d = sqrt(v)`, `z = (x - m) / d`; CUSUM
//! `up = max(0, up + z - k)`, `down = max(0, down - z - k)`. The average run length until a sum of independent observations is above `h`
//! for nothing is about `(exp(2 k b) - 2 k b - 1) / (2 k^2)` with `b = h + 1.166` (Siegmund).
//!
//! Who can feed a statistic can train it. So at most one observation per `spacing` seconds is learnt and the learning rate is capped; an
//! observation counts as `clip` standard deviations at most, in the mean, in the variance and in the sums; mean and deviation stay
//! within hard bounds whatever is fed; the range follows two observations in a row, never one alone; and nothing is known before
//! [`Spec::warm_up`] observations. A guard learns nothing while an incident is open, and judges an observation by what was learnt before
//! it.

mod spec;

pub use spec::{MAX_RATE, MAX_SHIFT, MIN_RATE, MIN_SPACING, SPEC_BYTES, Spec, SpecError};

use crate::anchor::{STALE, TooSoon};
use crate::bounds::OBSERVATION_GAP;
use crate::rule::{Int, Unknown};
use crate::scope::MAX_TIME;
use alloy_primitives::U256;

/// Largest sample: 2^48 - 1.
pub const MAX_SAMPLE: u64 = (1 << 48) - 1;
/// One standard deviation in scores, sums and thresholds: they are counted in thousandths. The unit `sigma` of rules.
pub const SIGMA: u32 = 1_000;

/// Fractional bits of the mean, and of the deviation.
const FRACTION: u8 = 16;
/// Most observations that are counted, more than any warm-up.
const MAX_COUNT: u16 = 0xfff;

/// What a rule can ask of a stream. The numbers are those of [`crate::rule::program::op::STORED`], where 0 is an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Statistic {
    /// The mean, rounded down.
    Mean = 1,
    /// The standard deviation that is assumed, rounded down.
    Deviation = 2,
    /// How far a value is from the mean, in 1/1000 deviations, rounded down.
    Score = 3,
    /// What the larger one of the sums comes to with a value, in 1/1000 deviations.
    Drift = 4,
    /// Least of the current and the previous window.
    Lowest = 5,
    /// Greatest of the current and the previous window.
    Highest = 6,
}

impl Statistic {
    /// The statistic with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Statistic::Mean,
            2 => Statistic::Deviation,
            3 => Statistic::Score,
            4 => Statistic::Drift,
            5 => Statistic::Lowest,
            6 => Statistic::Highest,
            _ => return None,
        })
    }

    /// Whether it judges a value.
    #[must_use]
    pub const fn judges(self) -> bool {
        matches!(self, Statistic::Score | Statistic::Drift)
    }

    /// Whether it needs the second word of what is stored.
    #[must_use]
    pub const fn is_of_range(self) -> bool {
        matches!(self, Statistic::Lowest | Statistic::Highest)
    }
}

/// What has been learnt of a stream, stored in two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Mean, of samples, with 16 fractional bits.
    mean: u64,
    /// Standard deviation, of samples, with 16 fractional bits.
    deviation: u64,
    /// When an observation was last taken, Unix seconds; 0 never.
    at: u64,
    /// Observations learnt, saturating; 0 while the first one waits for another that agrees with it.
    count: u16,
    /// CUSUM of high observations, in 1/1000 standard deviations.
    up: u16,
    /// CUSUM of low observations.
    down: u16,
    /// Least and greatest sample of this window and of the one before.
    range: [(u64, u64); 2],
    /// The last sample, as far as it counted.
    last: u64,
}

/// A window in which nothing was observed.
const EMPTY: (u64, u64) = (MAX_SAMPLE, 0);

/// Judgement of one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Distance from the mean in 1/1000 standard deviations.
    pub score: Int,
    /// Whether the observation lies above the mean.
    pub above: bool,
    /// CUSUM of high observations with this one.
    pub up: u32,
    /// CUSUM of low observations with this one.
    pub down: u32,
}

impl Judged {
    /// The larger sum.
    #[must_use]
    pub fn drift(&self) -> u32 {
        self.up.max(self.down)
    }
}

impl Baseline {
    /// What a rule asks for, when it is known at `now`: warmed up, and observed lately. `value` is what [`Statistic::judges`] judges.
    ///
    /// # Errors
    /// [`Unknown::NotStored`] when it is not known.
    pub fn value(&self, spec: &Spec, what: Statistic, value: &Int, now: u64) -> Result<Int, Unknown> {
        if !self.is_known(spec, now) {
            return Err(Unknown::NotStored);
        }
        match what {
            Statistic::Mean => Ok(self.mean(spec)),
            Statistic::Deviation => Ok(self.deviation(spec)),
            Statistic::Score => Ok(self.judge(spec, value).score),
            Statistic::Drift => Ok(Int::from(u64::from(self.judge(spec, value).drift()))),
            Statistic::Lowest | Statistic::Highest => {
                let (low, high) = self.range(spec, now).ok_or(Unknown::NotStored)?;
                let bound = if what == Statistic::Lowest { low } else { high };
                Ok(spec.value(bound, 0))
            }
        }
    }

    /// Whether rules know of it at `now`: it is warmed up, and not too old.
    #[must_use]
    pub fn is_known(&self, spec: &Spec, now: u64) -> bool {
        let age = now.saturating_sub(self.at);
        self.count >= spec.warm_up() && age <= u64::from(spec.spacing).saturating_mul(STALE)
    }

    /// The mean, rounded down.
    #[must_use]
    pub fn mean(&self, spec: &Spec) -> Int {
        spec.value(self.mean, FRACTION)
    }

    /// The mean, in samples, with 16 fractional bits. Off by at most `2^-17 / a` from exact arithmetic on the same observations, under
    /// 1/128 for every rate.
    #[must_use]
    pub const fn mean_bits(&self) -> u64 {
        self.mean
    }

    /// The standard deviation that is assumed, rounded down.
    #[must_use]
    pub fn deviation(&self, spec: &Spec) -> Int {
        spec.value(self.deviation_bits(spec), FRACTION)
    }

    /// The same in samples, with 16 fractional bits, from the floor to the roof. Between them its square is off by at most
    /// `D / 64 + d / 16 + 1` from exact arithmetic, where `D` is the largest distance from the mean that was learnt: twice `D` times the
    /// mean's error, and the roundings of `1 / a` roots.
    #[must_use]
    pub fn deviation_bits(&self, spec: &Spec) -> u64 {
        self.deviation.min(spec.roof << FRACTION).max(spec.floor << FRACTION)
    }

    /// Observations learnt so far, at most 4,095.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// When an observation was last taken, Unix seconds; 0 never.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Both sums of the CUSUM, high observations first.
    #[must_use]
    pub const fn sums(&self) -> (u16, u16) {
        (self.up, self.down)
    }

    /// The last sample, as far as it counted.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Least and greatest sample of the current and the previous window; `None` when there is none. Covers one to two windows.
    #[must_use]
    pub fn range(&self, spec: &Spec, now: u64) -> Option<(u64, u64)> {
        let [(a, b), (c, d)] = self.rolled(spec, now);
        (self.count > 0 && (a <= b || c <= d)).then(|| (a.min(c), b.max(d)))
    }

    /// When the next observation may be taken.
    #[must_use]
    pub fn due(&self, spec: &Spec) -> u64 {
        match (self.at, self.count) {
            (0, _) => 0,
            (at, 0) => at.saturating_add(OBSERVATION_GAP),
            (at, _) => at.saturating_add(spec.spacing.into()),
        }
    }

    /// Judges a value by what has been learnt.
    #[must_use]
    pub fn judge(&self, spec: &Spec, value: &Int) -> Judged {
        let mut distance = spec.sample(value);
        // At most 80 bits.
        distance.add(&number(self.mean), true);
        let above = !distance.negative && distance != Int::ZERO;
        let mut score = distance.absolute();
        let known = score.scale(&number(SIGMA.into()), &number(self.deviation_bits(spec)));
        let [counted, ..] = score
            .magnitude
            .min(U256::from_limbs([spec.clip.into(), 0, 0, 0]))
            .into_limbs();
        let counted = if known {
            (counted & 0xffff) as u32
        } else {
            spec.clip.into()
        };
        let slack = u32::from(spec.slack);
        let toward = |sum: u16| (u32::from(sum) + counted).saturating_sub(slack);
        let away = |sum: u16| u32::from(sum).saturating_sub(counted + slack);
        let (up, down) = if above {
            (toward(self.up), away(self.down))
        } else {
            (away(self.up), toward(self.down))
        };
        Judged { score, above, up, down }
    }

    /// What is stored after `observed` was read at `now`. Time that goes back counts as too soon.
    ///
    /// # Errors
    /// [`TooSoon`] when no observation is due.
    pub fn observe(&self, spec: &Spec, observed: &Int, now: u64) -> Result<Self, TooSoon> {
        let (now, due) = (now & MAX_TIME, self.due(spec));
        if now < due {
            return Err(TooSoon { due });
        }
        let sample = whole(spec, observed);
        if self.count > 0 {
            return Ok(self.learn(spec, observed, sample, now));
        }
        let waiting = Baseline {
            at: now,
            last: sample,
            ..Baseline::default()
        };
        // One observation alone seeds nothing: whoever made it chose the moment.
        if self.at == 0 || self.is_far_from(spec, sample) {
            return Ok(waiting);
        }
        let first = self.last.max(spec.low).min(spec.high);
        Ok(Baseline {
            mean: first << FRACTION,
            count: 1,
            range: [(first, first), EMPTY],
            ..waiting
        })
    }

    /// Whether one observation waits for another that agrees with it.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.count == 0 && self.at > 0
    }

    /// Whether the observation that waits is contradicted by what was read.
    #[must_use]
    pub fn is_refuted_by(&self, spec: &Spec, observed: &Int) -> bool {
        self.waits() && self.is_far_from(spec, whole(spec, observed))
    }

    fn is_far_from(&self, spec: &Spec, sample: u64) -> bool {
        let apart = u128::from(self.last.abs_diff(sample)) * u128::from(SIGMA);
        apart > u128::from(spec.roof) * u128::from(spec.clip)
    }

    fn learn(&self, spec: &Spec, observed: &Int, sample: u64, now: u64) -> Self {
        let judged = self.judge(spec, observed);
        let (rate, warm) = (u32::from(spec.rate), self.count >= spec.warm_up());
        // A wild observation counts as one `clip` deviations away. In parts, because the product may need more than 64 bits.
        let (deviation, clip, sigma) = (self.deviation_bits(spec), u64::from(spec.clip), u64::from(SIGMA));
        let most = (deviation / sigma)
            .saturating_mul(clip)
            .saturating_add(deviation % sigma * clip / sigma);
        let distance = (sample << FRACTION).abs_diff(self.mean).min(most);
        let moved = |by: u64| {
            if judged.above {
                self.mean.saturating_add(by)
            } else {
                self.mean.saturating_sub(by)
            }
        };
        let step = u64::try_from(share(distance.into(), rate)).unwrap_or(u64::MAX);
        // Squares have 32 fractional bits, and 128 at most.
        let before = u128::from(self.deviation) * u128::from(self.deviation);
        let grown = before.saturating_add(share(u128::from(distance) * u128::from(distance), rate));
        let deviation = root(share(grown, WHOLE - rate)).min(spec.roof << FRACTION);
        let sum = |sum: u32| match u16::try_from(sum) {
            _ if !warm => 0,
            Ok(sum) => sum.min(spec.cap),
            Err(_) => spec.cap,
        };
        let last = (moved(distance) >> FRACTION).min(MAX_SAMPLE);
        // The range follows what two observations in a row agree upon: of both the one nearer to the mean.
        let middle = (self.mean >> FRACTION)
            .max(self.last.min(last))
            .min(self.last.max(last));
        let middle = middle.max(spec.low).min(spec.high);
        let [(low, high), before] = self.rolled(spec, now);
        Baseline {
            mean: moved(step).max(spec.low << FRACTION).min(spec.high << FRACTION),
            deviation,
            at: now,
            count: self.count.saturating_add(1).min(MAX_COUNT),
            up: sum(judged.up),
            down: sum(judged.down),
            range: [(low.min(middle), high.max(middle)), before],
            last,
        }
    }

    /// The windows moved on to the time `now`.
    fn rolled(&self, spec: &Spec, now: u64) -> [(u64, u64); 2] {
        let number = |time: u64| time.checked_div(spec.window.into()).unwrap_or(0);
        let [this, _] = self.range;
        match number(now).saturating_sub(number(self.at)) {
            0 => self.range,
            1 => [EMPTY, this],
            _ => [EMPTY, EMPTY],
        }
    }

    /// The baseline as two words. First, from the low end: mean, deviation (64 bits each), time (40), count (12), up, down (16 each).
    /// Second: least and greatest of this window and of the last, last sample (48 each).
    #[must_use]
    pub fn pack(&self) -> (U256, U256) {
        let count = u64::from(self.count & MAX_COUNT);
        let first = U256::from_limbs([
            self.mean,
            self.deviation,
            self.at & MAX_TIME | count << 40,
            u64::from(self.up) | u64::from(self.down) << 16,
        ]);
        let [(a, b), (c, d)] = self.range;
        let [a, b, c, d, last] = [a, b, c, d, self.last].map(|bound| bound & MAX_SAMPLE);
        let second = U256::from_limbs([a | b << 48, b >> 16 | c << 32, c >> 32 | d << 16, last]);
        (first, second)
    }

    /// What most rules need, from the first word: nothing is known of range and last sample.
    #[must_use]
    pub fn head(first: U256) -> Self {
        let [mean, deviation, times, sums] = first.into_limbs();
        Baseline {
            mean,
            deviation,
            at: times & MAX_TIME,
            count: (times >> 40 & 0xfff) as u16,
            up: (sums & 0xffff) as u16,
            down: (sums >> 16 & 0xffff) as u16,
            range: [EMPTY, EMPTY],
            last: 0,
        }
    }

    /// The baseline in two words that [`Baseline::pack`] made.
    #[must_use]
    pub fn unpack(first: U256, second: U256) -> Self {
        let [a, b, c, d] = second.into_limbs();
        let bound = |value: u64| value & MAX_SAMPLE;
        Baseline {
            range: [
                (bound(a), bound(a >> 48 | b << 16)),
                (bound(b >> 32 | c << 32), bound(c >> 16)),
            ],
            last: bound(d),
            ..Self::head(first)
        }
    }
}

/// A small number of the language.
fn number(value: u64) -> Int {
    Int::from(value)
}

/// What is read as a sample, in whole units.
fn whole(spec: &Spec, observed: &Int) -> u64 {
    let exact = spec.sample(observed);
    let [low, high, ..] = exact.magnitude.into_limbs();
    match exact.negative {
        true => 0,
        false => (low >> FRACTION | high << (64 - FRACTION)).min(MAX_SAMPLE),
    }
}

/// What a rate is a share of.
const WHOLE: u32 = 65_536;

/// `value * part / 65536`, to the nearest.
fn share(value: u128, part: u32) -> u128 {
    let part = u128::from(part);
    (value >> 16) * part + (((value & 0xffff) * part + (1 << 15)) >> 16)
}

/// The square root to the nearest, digit by digit: the standard library's has half a kilobyte of tables, which every entry of a program
/// would pay for.
fn root(value: u128) -> u64 {
    let (mut rest, mut root, mut bit) = (value, 0, 1_u128 << 126);
    while bit > 0 {
        let tried = root + bit;
        root >>= 1;
        if rest >= tried {
            rest -= tried;
            root += bit;
        }
        bit >>= 2;
    }
    u64::try_from(root + u128::from(rest > root)).unwrap_or(u64::MAX)
}
