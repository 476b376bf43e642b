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
use cordon_core::baseline::{
    Baseline, MAX_RATE, MAX_SAMPLE, MIN_RATE, MIN_SPACING, SIGMA, SPEC_BYTES, Spec, SpecError, Statistic,
};
use cordon_core::rule::{Int, Unknown};
use proptest::prelude::*;

const START: u64 = 1_700_000_000;

fn spec() -> Spec {
    Spec {
        shift: 0,
        low: 0,
        high: MAX_SAMPLE,
        floor: 1,
        roof: MAX_SAMPLE,
        rate: 1024,
        clip: u16::MAX,
        slack: (SIGMA / 2) as u16,
        cap: (4 * SIGMA) as u16,
        spacing: 60,
        window: 3600,
    }
}

/// Learns the samples a minute apart; the first one is seen twice, as a stream begins.
fn learn(spec: &Spec, samples: impl IntoIterator<Item = u64>) -> Baseline {
    let mut samples = samples.into_iter().peekable();
    let first = samples.peek().copied().unwrap();
    let begun = Baseline::default()
        .observe(spec, &Int::from(first), START - 60)
        .unwrap();
    samples.zip(0..).fold(begun, |baseline, (sample, minute)| {
        baseline.observe(spec, &Int::from(sample), START + 60 * minute).unwrap()
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

fn int(value: u64) -> Int {
    Int::from(value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mean_and_variance_follow_the_formulas(
        rate in MIN_RATE..=MAX_RATE, centre in 0u64..1 << 40, spread in 1u64..1 << 20, seed in 1u64..,
        length in 2usize..600,
    ) {
        // A floor so high that nothing is clipped.
        let spec = Spec { rate, floor: 1 << 20, ..spec() };
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
        // As it is stored, below the floor too.
        let deviation = baseline.pack().0.as_limbs()[1] as f64 / 65536.0;
        let got = deviation * deviation;
        let allowed = widest / 64.0 + deviation / 16.0 + 1.0 + variance * 1e-12;
        prop_assert!((got - variance).abs() <= allowed, "variance {got}, not {variance}");
    }

    #[test]
    fn mean_and_deviation_stay_within_their_bounds_whatever_is_fed(
        low in 0u64..1 << 47, width in 0u64..1 << 47, floor in 1u64..1 << 30, rate in MIN_RATE..=MAX_RATE,
        clip in (SIGMA as u16)..u16::MAX,
        samples in prop::collection::vec((any::<u64>(), 0u32..64, any::<bool>()), 1..200),
    ) {
        let spec = Spec { low, high: low + width, floor, roof: floor * 8, clip, rate, ..spec() };
        prop_assert_eq!(spec.check(), Ok(()));
        let mut baseline = Baseline::default();
        for ((sample, shift, negative), minute) in samples.into_iter().zip(0..) {
            let observed = Int::new(negative, U256::from(sample >> shift));
            baseline = baseline.observe(&spec, &observed, START + minute * 60).unwrap();
            let mean = baseline.mean_bits() >> 16;
            prop_assert!(baseline.count() == 0 || mean >= low && mean <= low + width);
            let deviation = baseline.deviation_bits(&spec) >> 16;
            prop_assert!(deviation >= floor && deviation <= floor * 8);
            // As it is stored too: a wild time is not remembered beyond the roof.
            prop_assert!(baseline.pack().0.as_limbs()[1] <= (floor * 8) << 16);
            let range = baseline.range(&spec, START + minute * 60);
            prop_assert!(range.is_none_or(|(least, most)| low <= least && least <= most && most <= low + width));
            let (up, down) = baseline.sums();
            prop_assert!(up <= spec.cap && down <= spec.cap);
            // Before anything is known, nothing drifts from it.
            prop_assert!(baseline.count() > spec.warm_up() || (up, down) == (0, 0));
            prop_assert_eq!(Baseline::unpack(baseline.pack().0, baseline.pack().1), baseline);
        }
    }

    #[test]
    fn any_two_words_are_a_baseline(
        first: [u64; 4], second: [u64; 4], bytes in prop::array::uniform(any::<u8>()), value: [u64; 4], negative: bool, now: u64,
    ) {
        let bytes: [u8; SPEC_BYTES] = bytes;
        let baseline = Baseline::unpack(U256::from_limbs(first), U256::from_limbs(second));
        let (spec, value) = (Spec::from_bytes(&bytes).unwrap_or(spec()), Int::new(negative, U256::from_limbs(value)));
        for what in (0..8).filter_map(Statistic::from_u8) {
            let _ = baseline.value(&spec, what, &value, now);
        }
        if let Ok(next) = baseline.observe(&spec, &value, now) {
            let packed = next.pack();
            prop_assert_eq!(Baseline::unpack(packed.0, packed.1), next);
        }
    }

    #[test]
    fn a_specification_is_its_bytes(
        shift in 0u8..=192, low in 0u64..1 << 47, width in 0u64..1 << 47, rate in MIN_RATE..=MAX_RATE,
        deviations: (u32, u32), clip in 1_000u16.., slack: u16, cap in 1u16.., spacing in MIN_SPACING.., more in 0u32..2_000_000,
    ) {
        let (floor, roof) = (u64::from(deviations.0.min(deviations.1)).max(1), u64::from(deviations.0.max(deviations.1)).max(1));
        let window = u32::from(spacing) + more;
        let spec = Spec {
            shift, low, high: low + width, floor, roof, rate, clip, slack: slack.min(clip - 1), cap, spacing, window,
        };
        prop_assert_eq!(spec.check(), Ok(()));
        prop_assert_eq!(Spec::from_bytes(&spec.to_bytes()), Some(spec));
        prop_assert_eq!(Spec::from_bytes(&spec.to_bytes()[1..]), None);
    }

    #[test]
    fn the_range_is_what_two_in_a_row_agree_upon_in_one_to_two_windows(
        samples in prop::collection::vec((0u64..=MAX_SAMPLE, 60u64..5_000), 1..60),
    ) {
        let spec = spec();
        let (mut baseline, mut seen, mut now) = (learn(&spec, [samples[0].0]), Vec::new(), START);
        seen.push((now, samples[0].0));
        let mut last = samples[0].0;
        for (sample, wait) in samples {
            now += wait;
            let mean = baseline.mean_bits() >> 16;
            baseline = baseline.observe(&spec, &int(sample), now).unwrap();
            // The median of mean, last and present.
            let mut three = [mean, last, baseline.last()];
            three.sort_unstable();
            seen.push((now, three[1]));
            last = baseline.last();
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

/// The baseline with its sums at zero.
fn begun_anew(baseline: &Baseline) -> Baseline {
    let (first, second) = baseline.pack();
    Baseline::unpack(first & ((U256::ONE << 192) - U256::ONE), second)
}

#[test]
fn false_alarms_come_as_often_as_theory_says() {
    // Learning slowly, so that the estimated mean and deviation hardly move.
    let spec = Spec {
        rate: MIN_RATE,
        ..spec()
    };
    let samples: Vec<u64> = normals(7).take(100_000).map(|z| (1e6 + z * 1e4) as u64).collect();
    let (mut baseline, mut alarms, mut judged_warm) = (learn(&spec, [1_000_000]), 0.0, 0.0);
    for (sample, minute) in samples.into_iter().zip(1..) {
        let warm = baseline.count() >= spec.warm_up();
        let alarm = warm && baseline.judge(&spec, &int(sample)).drift() > 4 * SIGMA;
        baseline = baseline.observe(&spec, &int(sample), START + 60 * minute).unwrap();
        if alarm {
            baseline = begun_anew(&baseline);
        }
        judged_warm += f64::from(u8::from(warm));
        alarms += f64::from(u8::from(alarm));
    }
    let (measured, theory) = (judged_warm / alarms, run_length(0.5, 4.0));
    println!("average run length {measured:.0}, theory {theory:.0}");
    assert!((measured / theory - 1.0).abs() < 0.15, "{measured} instead of {theory}");
    let deviation = baseline.deviation_bits(&spec) as f64 / 65536.0;
    assert!((deviation / 1e4 - 1.0).abs() < 0.1, "deviation {deviation}");
}

#[test]
fn a_slow_drift_that_no_single_score_shows_is_found_and_forgotten_when_it_is_over() {
    let spec = Spec {
        rate: MIN_RATE,
        ..spec()
    };
    let quiet: Vec<u64> = normals(3).take(5_000).map(|z| (1e6 + z * 1e3) as u64).collect();
    let mut baseline = learn(&spec, quiet);
    let mut found = None;
    for minute in 0..60u64 {
        // One deviation more, for good: within what every tenth observation shows anyway.
        let judged = baseline.judge(&spec, &int(1_001_000));
        assert!(judged.score < int(2_000) && judged.above);
        if judged.drift() > 4 * SIGMA {
            found.get_or_insert(minute);
        }
        baseline = baseline
            .observe(&spec, &int(1_001_000), START + 60 * (5_000 + minute))
            .unwrap();
        // Whoever observes does not switch the alarm off.
        assert!(found.is_none() || baseline.judge(&spec, &int(1_001_000)).drift() > 4 * SIGMA);
    }
    assert!(found.is_some_and(|minute| minute <= 15), "{found:?}");
    assert_eq!(baseline.sums().0, spec.cap);
    assert!(baseline.judge(&spec, &int(1_000_000)).drift() <= 4 * SIGMA);
}

/// A stream that has learnt a quiet value, and the time of its next observation.
fn quiet(spec: &Spec) -> (Baseline, u64) {
    let quiet: Vec<u64> = normals(5).take(2_000).map(|z| (1e6 + z * 1e3) as u64).collect();
    (learn(spec, quiet), START + 60 * 2_000)
}

#[test]
fn a_baseline_cannot_be_trained_in_a_hurry() {
    let spec = Spec {
        clip: (3 * SIGMA) as u16,
        ..spec()
    };
    let (trained, now) = quiet(&spec);
    let wild = int(2_000_000);
    let once = trained.observe(&spec, &wild, now).unwrap();
    // A thousand observations in one block teach as much as one.
    assert_eq!(once.observe(&spec, &wild, now).unwrap_err().due, now + 60);
    // And one moves the mean by no more than the rate times the clip, and nothing else by more than that allows.
    let most = (trained.deviation_bits(&spec) >> 16) * 3 / 64 + 1;
    assert!((once.mean_bits() - trained.mean_bits()) >> 16 <= most);
    assert!(trained.judge(&spec, &wild).score > int(100_000));
    assert!(once.deviation_bits(&spec) < trained.deviation_bits(&spec) * 11 / 10);
    assert!(u32::from(once.sums().0) <= u32::from(trained.sums().0) + 3 * SIGMA);
    // One wild observation does not show in the range; two in a row do, as far as they count.
    let range = |of: &Baseline| of.range(&spec, now + 60).unwrap();
    assert_eq!(range(&once), range(&trained));
    let twice = once.observe(&spec, &wild, now + 60).unwrap();
    assert!(range(&twice).1 > range(&trained).1 && range(&twice).1 < 1_006_000);
}

/// Who makes every observation gets as far as the bounds in the rule's text allow, not further.
#[test]
fn whoever_makes_every_observation_meets_the_hard_bounds() {
    let spec = Spec {
        low: 900_000,
        high: 1_200_000,
        floor: 500,
        roof: 4_000,
        clip: (4 * SIGMA) as u16,
        rate: 1_966,
        ..spec()
    };
    let (mut baseline, mut now) = quiet(&spec);
    for _ in 0..2_000 {
        baseline = baseline.observe(&spec, &int(1 << 60), now).unwrap();
        now += 60;
    }
    assert_eq!(
        (baseline.mean_bits() >> 16, baseline.deviation_bits(&spec) >> 16),
        (1_200_000, 4_000)
    );
    assert!(baseline.judge(&spec, &int(1_300_000)).score > int(20_000));
    assert!(baseline.range(&spec, now).unwrap().1 <= 1_200_000);
}

#[test]
fn a_flat_line_does_not_make_every_change_an_anomaly() {
    let spec = Spec { floor: 10, ..spec() };
    let baseline = learn(&spec, std::iter::repeat_n(1_000, 300));
    let score = |value| baseline.judge(&spec, &value).score;
    assert_eq!(score(int(1_010)), int(1_000), "one assumed deviation");
    assert_eq!(score(Int::new(true, U256::from(10))), int(101_000));
    assert!(
        score(Int::from(U256::MAX)) > int(1 << 60),
        "what does not fit is far away"
    );
}

#[test]
fn one_observation_seeds_nothing() {
    let spec = Spec {
        floor: 10,
        roof: 80,
        clip: 4_000,
        ..spec()
    };
    let first = Baseline::default().observe(&spec, &int(1 << 40), START).unwrap();
    assert_eq!((first.count(), first.due(&spec)), (0, START + 2));
    assert!(first.is_refuted_by(&spec, &int(1_000)) && !first.is_refuted_by(&spec, &int(1 << 40)));
    let second = first.observe(&spec, &int(1_000), START + 2).unwrap();
    assert_eq!(second.count(), 0);
    let third = second.observe(&spec, &int(1_300), START + 4).unwrap();
    assert_eq!(
        (third.count(), third.mean_bits() >> 16, third.due(&spec)),
        (1, 1_000, START + 64)
    );
    assert!(
        !third.is_refuted_by(&spec, &int(1 << 40)),
        "what has begun is learnt from, not given up"
    );
}

#[test]
fn too_little_learnt_or_too_long_ago_is_not_known() {
    let spec = spec();
    let needed = usize::from(spec.warm_up());
    let (nearly, enough) = (learn(&spec, vec![100; needed - 1]), learn(&spec, vec![100; needed]));
    let now = START + 60 * needed as u64;
    for what in (1..=6).filter_map(Statistic::from_u8) {
        let ask = |of: &Baseline, now| of.value(&spec, what, &int(101), now);
        assert_eq!(ask(&nearly, now), Err(Unknown::NotStored), "{what:?}");
        let wanted = match what {
            Statistic::Mean | Statistic::Lowest | Statistic::Highest => 100,
            Statistic::Deviation => 1,
            Statistic::Score => 1_000,
            Statistic::Drift => 500,
        };
        assert_eq!(ask(&enough, now), Ok(int(wanted)), "{what:?}");
        assert_eq!(ask(&enough, now + 60 * 8), Err(Unknown::NotStored), "{what:?}");
        assert_eq!(ask(&Baseline::default(), now), Err(Unknown::NotStored), "{what:?}");
    }
}

/// Bits are cut off what does not fit: values come back with the zeros.
#[test]
fn large_numbers_are_scaled() {
    let spec = Spec {
        shift: 40,
        low: 1,
        high: 1 << 47,
        floor: 1 << 20,
        roof: 1 << 30,
        ..spec()
    };
    let large = Int::from(U256::from(3u8) << 80);
    let mut baseline = Baseline::default();
    for minute in 0..400 {
        baseline = baseline.observe(&spec, &large, START + 60 * minute).unwrap();
    }
    let now = START + 60 * 400;
    let ask = |what, value: &Int| baseline.value(&spec, what, value, now).unwrap();
    assert_eq!(ask(Statistic::Mean, &large), large);
    assert_eq!(ask(Statistic::Highest, &large), large);
    assert_eq!(ask(Statistic::Deviation, &large), Int::from(U256::ONE << 60));
    let away = Int::from((U256::from(3u8) << 80) + (U256::from(7u8) << 60));
    assert_eq!(ask(Statistic::Score, &away), int(7_000));
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
            floor: 2,
            roof: 1,
            ..spec()
        }),
        SpecError::BadDeviations { floor: 2, roof: 1 }
    );
    let wrong = [
        (Spec { shift: 193, ..spec() }, "shift"),
        (
            Spec {
                rate: MAX_RATE + 1,
                ..spec()
            },
            "rate",
        ),
        (Spec { clip: 999, ..spec() }, "clip"),
        (
            Spec {
                clip: 1_000,
                slack: 1_000,
                ..spec()
            },
            "slack",
        ),
        (Spec { cap: 0, ..spec() }, "cap"),
        (Spec { spacing: 59, ..spec() }, "spacing"),
        (Spec { window: 59, ..spec() }, "window"),
    ];
    for (wrong, name) in wrong {
        assert_eq!(check(wrong), SpecError::OutOfRange(name));
        assert_eq!(Spec::from_bytes(&wrong.to_bytes()), None);
    }
    assert_eq!(Spec::from_bytes(&[0; SPEC_BYTES]), None);
}
