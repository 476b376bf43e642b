//! Baselines: the recursions against floating point, the alarm rate against theory, and what an attacker can teach them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]

use alloy_primitives::U256;
use cordon_core::baseline::{Baseline, MAX_RATE, MAX_SAMPLE, MIN_RATE, SIGMA, Spec, SpecError};
use proptest::prelude::*;

const START: u64 = 1_700_000_000;

fn spec() -> Spec {
    Spec {
        low: 0,
        high: MAX_SAMPLE,
        rate: 1024,
        floor: 1,
        spacing: 60,
        clip: u16::MAX,
        slack: (SIGMA / 2) as u16,
        alarm: (4 * SIGMA) as u16,
        window: 3600,
    }
}

/// Learns the samples a minute apart.
fn learn(spec: &Spec, samples: impl IntoIterator<Item = u64>) -> Baseline {
    samples
        .into_iter()
        .zip(0..)
        .fold(Baseline::default(), |baseline, (sample, minute)| {
            let judged = baseline.observe(spec, sample, START + 60 * minute, false);
            assert!(judged.learnt);
            judged.baseline
        })
}

/// A deterministic stream of normal variables (xorshift and Box-Muller).
fn normals(mut seed: u64) -> impl Iterator<Item = f64> {
    let mut uniform = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    std::iter::repeat_with(move || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mean_and_variance_follow_the_formulas(
        rate in MIN_RATE..=MAX_RATE, centre in 0u64..1 << 40, spread in 1u64..1 << 20, seed in 1u64..,
        length in 2usize..600,
    ) {
        // A floor so high that nothing is clipped.
        let spec = Spec { rate, floor: u16::MAX, ..spec() };
        let samples: Vec<u64> = normals(seed).take(length)
            .map(|z| (centre as f64 + z.clamp(-5.0, 5.0) * spread as f64).max(0.0) as u64).collect();
        let baseline = learn(&spec, samples.iter().copied());
        let a = f64::from(rate) / 65536.0;
        let (mut mean, mut variance, mut widest) = (samples[0] as f64, 0.0, 0f64);
        for x in &samples[1..] {
            let distance = *x as f64 - mean;
            widest = distance.abs().max(widest);
            variance = (1.0 - a) * (variance + a * distance * distance);
            mean += a * distance;
        }
        let error = (baseline.mean_bits() as f64 / 65536.0 - mean).abs();
        prop_assert!(error <= 2f64.powi(-17) / a + mean * 1e-14, "mean off by {error}");
        let got = baseline.variance_bits() as f64 / 256.0;
        let allowed = widest / 64.0 + 7.0 + variance * 1e-12;
        prop_assert!((got - variance).abs() <= allowed, "variance {got}, not {variance}");
    }

    #[test]
    fn the_mean_stays_within_its_bounds_whatever_is_fed(
        low in 0u64..1 << 47, width in 0u64..1 << 47, rate in MIN_RATE..=MAX_RATE,
        samples in prop::collection::vec((any::<u64>(), 0u32..64), 1..200),
    ) {
        let spec = Spec { low, high: low + width, rate, ..spec() };
        let mut baseline = Baseline::default();
        for ((sample, shift), minute) in samples.into_iter().zip(0..) {
            baseline = baseline.observe(&spec, sample >> shift, START + minute * 60, false).baseline;
            prop_assert!(baseline.mean() >= low && baseline.mean() <= low + width);
            prop_assert_eq!(Baseline::unpack(baseline.pack().0, baseline.pack().1), baseline);
        }
    }

    #[test]
    fn any_two_words_are_a_baseline(first: [u64; 4], second: [u64; 4], third: [u64; 4], sample: u64, now: u64, frozen: bool) {
        let baseline = Baseline::unpack(U256::from_limbs(first), U256::from_limbs(second));
        let judged = baseline.observe(&Spec::unpack(U256::from_limbs(third)).unwrap_or(spec()), sample, now, frozen);
        prop_assert!(!frozen || judged.baseline == baseline, "nothing is learnt while an incident is open");
        let packed = judged.baseline.pack();
        prop_assert_eq!(Baseline::unpack(packed.0, packed.1), judged.baseline);
    }

    #[test]
    fn a_specification_is_one_word(
        low in 0u64..1 << 47, width in 0u64..1 << 47, rate in MIN_RATE..=MAX_RATE, numbers: [u16; 4], slack: u16, window in 1u32..,
    ) {
        let [floor, spacing, clip, alarm] = numbers.map(|number| number.max(1));
        let spec = Spec { low, high: low + width, rate, floor, spacing, clip, slack, alarm, window };
        prop_assert_eq!(spec.check(), Ok(()));
        prop_assert_eq!(Spec::unpack(spec.pack()), Some(spec));
    }

    #[test]
    fn the_range_covers_one_to_two_windows(samples in prop::collection::vec((0u64..=MAX_SAMPLE, 60u64..5_000), 1..60)) {
        let spec = spec();
        let (mut baseline, mut seen, mut now) = (Baseline::default(), Vec::new(), START);
        for (sample, wait) in samples {
            now += wait;
            baseline = baseline.observe(&spec, sample, now, false).baseline;
            seen.push((now, sample));
            let begin = now / 3600 - 1;
            let within = seen.iter().filter(|(at, _)| at / 3600 >= begin).map(|(_, sample)| *sample);
            let wanted = (within.clone().min().unwrap(), within.max().unwrap());
            prop_assert_eq!(baseline.range(&spec, now), Some(wanted));
        }
        prop_assert_eq!(baseline.range(&spec, now + 7200), None);
    }
}

/// Siegmund's approximation of the average run length to a false alarm, for both sides together.
fn run_length(k: f64, h: f64) -> f64 {
    let b = h + 1.166;
    ((2.0 * k * b).exp() - 2.0 * k * b - 1.0) / (2.0 * k * k) / 2.0
}

#[test]
fn false_alarms_come_as_often_as_theory_says() {
    // Learning slowly, so that the estimated mean and deviation hardly move.
    let spec = Spec {
        rate: MIN_RATE,
        ..spec()
    };
    let samples: Vec<u64> = normals(7).take(100_000).map(|z| (1e6 + z * 1e4) as u64).collect();
    let (mut baseline, mut alarms, mut judged_warm) = (Baseline::default(), 0.0, 0.0);
    for (sample, minute) in samples.into_iter().zip(0..) {
        let judged = baseline.observe(&spec, sample, START + 60 * minute, false);
        baseline = judged.baseline;
        judged_warm += f64::from(u8::from(judged.warm));
        alarms += f64::from(u8::from(judged.drift));
    }
    let (measured, theory) = (judged_warm / alarms, run_length(0.5, 4.0));
    println!("average run length {measured:.0}, theory {theory:.0}");
    assert!((measured / theory - 1.0).abs() < 0.15, "{measured} instead of {theory}");
    let deviation = baseline.deviation(&spec) as f64 / 256.0;
    assert!((deviation / 1e4 - 1.0).abs() < 0.1, "deviation {deviation}");
}

#[test]
fn a_slow_drift_that_no_single_score_shows_is_found() {
    let spec = Spec {
        rate: MIN_RATE,
        ..spec()
    };
    let quiet: Vec<u64> = normals(3).take(5_000).map(|z| (1e6 + z * 1e3) as u64).collect();
    let mut baseline = learn(&spec, quiet);
    let mut found = None;
    for minute in 0..60u64 {
        // One deviation more, for good: within what every tenth observation shows anyway.
        let judged = baseline.observe(&spec, 1_001_000, START + 60 * (5_000 + minute), false);
        assert!(judged.score < 2 * SIGMA && judged.above);
        baseline = judged.baseline;
        if judged.drift {
            found = Some(minute);
            break;
        }
    }
    assert!(found.is_some_and(|minute| minute <= 15), "{found:?}");
}

#[test]
fn a_baseline_cannot_be_trained_in_a_hurry() {
    let spec = Spec {
        clip: (3 * SIGMA) as u16,
        ..spec()
    };
    let quiet: Vec<u64> = normals(5).take(2_000).map(|z| (1e6 + z * 1e3) as u64).collect();
    let trained = learn(&spec, quiet);
    let mut baseline = trained;
    // A thousand observations in one block teach as much as one.
    let now = START + 60 * 2_000;
    for _ in 0..1_000 {
        baseline = baseline.observe(&spec, 2_000_000, now, false).baseline;
    }
    let once = trained.observe(&spec, 2_000_000, now, false).baseline;
    assert_eq!(baseline, once);
    // And one moves the mean by no more than the rate times the clip.
    let most = trained.deviation(&spec) / 256 * 3 / 64 + 1;
    assert!(
        once.mean() - trained.mean() <= most,
        "{} {most}",
        once.mean() - trained.mean()
    );
    assert!(trained.observe(&spec, 2_000_000, now, false).score > 100 * SIGMA);
    // The window's range shows it all the same.
    assert_eq!(once.range(&spec, now).unwrap().1, 2_000_000);
}

#[test]
fn a_flat_line_does_not_make_every_change_an_anomaly() {
    let spec = Spec { floor: 10, ..spec() };
    let baseline = learn(&spec, std::iter::repeat_n(1_000, 300));
    let judged = baseline.observe(&spec, 1_010, START + 60 * 300, false);
    assert!(judged.warm);
    assert_eq!(judged.score, SIGMA, "one assumed deviation");
}

#[test]
fn too_little_learnt_means_nothing() {
    let baseline = learn(&spec(), [100; 10]);
    let judged = baseline.observe(&spec(), 1_000_000, START + 600, false);
    assert!(!judged.warm && !judged.drift);
    let first = Baseline::default().observe(&spec(), 5, START, true);
    assert_eq!((first.baseline, first.learnt), (Baseline::default(), false));
    assert_eq!(Baseline::default().range(&spec(), START), None);
}

#[test]
fn numbers_out_of_range_are_named() {
    let check = |spec: Spec| spec.check().unwrap_err();
    assert_eq!(
        check(Spec {
            low: 2,
            high: 1,
            ..spec()
        }),
        SpecError::BadBounds { low: 2, high: 1 }
    );
    assert_eq!(
        check(Spec {
            rate: MAX_RATE + 1,
            ..spec()
        }),
        SpecError::BadRate { rate: MAX_RATE + 1 }
    );
    assert_eq!(check(Spec { window: 0, ..spec() }), SpecError::Zero("window"));
    assert_eq!(Spec::unpack(U256::ZERO), None);
}
