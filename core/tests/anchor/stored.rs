//! What is stored: begun by two observations that agree, moved by time alone, whoever observes.

use super::*;

#[test]
fn an_anchor_is_known_a_period_after_two_observations_that_agree_a_period_apart() {
    let empty = Anchor::default();
    assert_eq!((empty.value(T0), empty.due(&spec())), (Err(Unknown::NotStored), 0));
    let one = empty.observe(&spec(), &int(5_000), T0).unwrap();
    assert_eq!((one.stage, one.candidate()), (Stage::Seeding, Some(int(5_000))));
    assert_eq!((one.due(&spec()), one.agrees_at(&spec())), (T0 + 2, T0 + 600));
    assert_eq!(one.observe(&spec(), &int(9), T0 + 1), Err(too_soon(T0 + 2)));
    for at in [T0 + 2, T0 + 599] {
        assert_eq!(one.observe(&spec(), &int(5_100), at), Err(too_soon(T0 + 600)));
    }
    let two = one.observe(&spec(), &int(5_100), T0 + 600).unwrap();
    assert_eq!(
        (two.stage, two.fresh(), two.due(&spec()), two.candidate()),
        (Stage::Fresh, int(5_000), T0 + 1_200, None)
    );
    assert_eq!(two.value(T0 + 1_200), Err(Unknown::NotStored));
    assert!(two.observe(&spec(), &int(5_000), T0 + 1_199).is_err());
    let three = two.observe(&spec(), &int(5_000), T0 + 1_200).unwrap();
    assert_eq!(three.value(T0 + 1_200), Ok(int(5_000)));
    assert_eq!(three.since, T0 + 600);
}

/// Two lies a period apart begin nothing while somebody honest looks in between: what contradicts a candidate takes its place at once.
#[test]
fn a_candidate_is_contradicted_at_any_time() {
    let lie = Anchor::default().observe(&spec(), &int(100_000), T0).unwrap();
    let honest = lie.observe(&spec(), &int(100), T0 + 2).unwrap();
    assert_eq!((honest.stage, honest.candidate()), (Stage::Seeding, Some(int(100))));
    let again = honest.observe(&spec(), &int(100_000), T0 + 600).unwrap();
    assert_eq!((again.stage, again.candidate()), (Stage::Seeding, Some(int(100_000))));
    assert_eq!(again.agrees_at(&spec()), T0 + 1_200);
    let settled = honest.observe(&spec(), &int(101), T0 + 602).unwrap();
    assert_eq!((settled.stage, settled.fresh()), (Stage::Fresh, int(100)));
}

#[test]
fn only_a_candidate_is_refuted_and_only_by_what_could_stand_in_its_place() {
    let begun = Anchor::default().observe(&spec(), &int(1_000), T0).unwrap();
    let refutes = |value: Int| begun.is_refuted_by(&spec(), &value);
    assert!(refutes(int(2_000)) && refutes(int(500)));
    assert!(!refutes(int(1_000)) && !refutes(int(1_050)), "it agrees within a step");
    let beyond = Int::from(U256::from(10).pow(U256::from(31)));
    assert!(!refutes(beyond) && !refutes(Int::new(true, U256::from(5))));
    for other in [Anchor::default(), settled(1_000)] {
        assert!(!other.is_refuted_by(&spec(), &int(2_000)), "{:?}", other.stage);
    }
}

#[test]
fn nothing_outside_of_the_bounds_is_stored_at_any_stage() {
    let spec = bounded(&int(50), &int(200));
    let mut anchor = Anchor::default();
    for at in [T0, T0 + 600, T0 + 1_200, T0 + 1_800] {
        for lie in [int(49), int(201), Int::new(true, U256::from(100)), Int::from(U256::MAX)] {
            assert_eq!(anchor.observe(&spec, &lie, at), Err(NotTaken::OutOfBounds));
        }
        // It took no turn: the honest observation of the same moment counts.
        anchor = anchor.observe(&spec, &int(100), at).unwrap();
    }
    assert_eq!(anchor.value(T0 + 1_800), Ok(int(100)));
    for (at, within) in [(T0 + 2_400, 50), (T0 + 3_000, 200)] {
        assert!(anchor.observe(&spec, &int(within), at).is_ok());
    }
}

#[test]
fn an_anchor_is_between_one_and_two_periods_old_and_too_old_one_is_not_known() {
    let anchor = settled(1_000);
    assert_eq!(anchor.since, T0 - 600);
    assert_eq!(anchor.value(T0 + 599), Ok(int(1_000)));
    let last = anchor.since + STALE * 600;
    assert_eq!(anchor.value(last), Ok(int(1_000)));
    assert_eq!(anchor.value(last + 1), Err(Unknown::NotStored));
    // Time that goes back makes it younger than it may be.
    assert_eq!(anchor.value(anchor.since + 599), Err(Unknown::NotStored));
    // After an outage the next observation makes the old fresh value the anchor, which is too old; the one after that is known.
    let later = T0 + 100 * 600;
    let next = anchor.observe(&spec(), &int(1_000), later).unwrap();
    assert_eq!(next.value(later), Err(Unknown::NotStored));
    let known = next.observe(&spec(), &int(1_000), later + 600).unwrap();
    assert_eq!(known.value(later + 600), Ok(int(1_000)));
}

#[test]
fn a_single_observation_moves_nothing() {
    let anchor = settled(1_000);
    let spiked = anchor.observe(&spec(), &int(1_000_000), T0 + 600).unwrap();
    assert_eq!(spiked.fresh(), int(1_000));
    let after = spiked.observe(&spec(), &int(1_001), T0 + 1_200).unwrap();
    assert_eq!(after.fresh(), int(1_001));
    // Twice the same lie moves it by one step.
    let twice = spiked.observe(&spec(), &int(1_000_000), T0 + 1_200).unwrap();
    assert_eq!(twice.fresh(), int(1_100));
    // After a long time without observations by a few, never by as many as have passed.
    let late = spiked.observe(&spec(), &int(1_000_000), T0 + 600 * 100).unwrap();
    assert_eq!(late.fresh(), int(1_000 + 100 * CATCH_UP));
}

#[test]
fn it_follows_what_lasts_up_down_through_zero_and_below() {
    for (from, to) in [(1_000, 1_090), (1_000, 910)] {
        let mut anchor = settled(from);
        for round in 1..=3 {
            anchor = anchor.observe(&spec(), &int(to), T0 + 600 * round).unwrap();
        }
        assert_eq!(anchor.value(T0 + 1_800), Ok(int(to)));
    }
    let mut anchor = settled(8);
    let below = bounded(&Int::new(true, U256::from(5)), &int(1_000));
    for round in 1..=40 {
        anchor = anchor
            .observe(&below, &Int::new(true, U256::from(3)), T0 + 600 * round)
            .unwrap();
    }
    assert_eq!(anchor.fresh(), Int::new(true, U256::from(3)));
    // From zero nothing is a share.
    let mut anchor = settled(0);
    for round in 1..=3 {
        anchor = anchor.observe(&spec(), &int(u64::MAX), T0 + 600 * round).unwrap();
    }
    assert_eq!(anchor.value(T0 + 1_800), Ok(int(u64::MAX)));
}

/// One observation: seconds since the one before, and what was read.
fn observations() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let value = prop_oneof![3 => 900..1_100_u64, 1 => any::<u64>(), 1 => Just(0)];
    let wait = prop_oneof![3 => 0..700_u64, 1 => 600..10_000_u64, 1 => Just(0)];
    prop::collection::vec((wait, value), 0..200)
}

/// What a thief makes a stream read: the same again and again, mostly.
fn lie() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(1_800_u64), 1 => 0..3_000_u64]
}

fn number(int: Int) -> f64 {
    let magnitude: f64 = int.magnitude.to_string().parse().unwrap();
    if int.negative { -magnitude } else { magnitude }
}

proptest! {
    /// Whatever is observed, and however often: in any stretch of time the stored value moves by no more than one step for each period
    /// of it and one more, compounded.
    #[test]
    fn drift_is_bounded_by_time_alone(given in observations()) {
        let (mut anchor, mut now) = (settled(1_000_000), T0);
        for (wait, value) in given {
            now += wait;
            if let Ok(next) = anchor.observe(&spec(), &int(value), now) {
                anchor = next;
            }
            let periods = (now - T0) / 600 + 1;
            // A value of few units moves by whole ones.
            let most = 1_000_000.0 * 1.1_f64.powf(periods as f64) + periods as f64;
            // Catching up takes up to four steps in one, which is further down than four compounded.
            let least = 1_000_000.0 * 0.6_f64.powf(periods as f64 / 4.0) - 2.0 * periods as f64;
            let fresh = number(anchor.fresh());
            if anchor.fresh() == Int::ZERO {
                // From zero nothing is a share.
                break;
            }
            prop_assert!(fresh <= most && fresh >= least, "{fresh} after {periods} periods");
        }
    }

    /// Whoever observes, from the very first observation on: what is stored is within the bounds, and while a stream begins, one honest
    /// look within each period suffices for no lie to become what the guard believes. Incidents, in which nothing is stored, help no lie.
    #[test]
    fn lies_begin_nothing_while_somebody_looks(given in prop::collection::vec((0..400_u64, lie(), any::<bool>()), 0..120)) {
        let spec = bounded(&int(200), &int(2_000));
        let (mut anchor, mut now, mut looked) = (Anchor::default(), T0, T0);
        let observe = |anchor: Anchor, value, now, frozen| match frozen {
            true if anchor.is_refuted_by(&spec, &int(value)) => Anchor::default(),
            true => anchor,
            false => anchor.observe(&spec, &int(value), now).unwrap_or(anchor),
        };
        for (wait, lie, frozen) in given {
            now += wait + 2;
            // The thief is always first.
            anchor = observe(anchor, lie, now, frozen);
            if now - looked >= 150 {
                (now, looked) = (now + 2, now);
                anchor = observe(anchor, 1_000, now, frozen);
            }
            if anchor.stage == Stage::Empty {
                continue;
            }
            let (fresh, candidate) = (anchor.fresh(), anchor.candidate());
            let stored = candidate.unwrap_or(fresh);
            prop_assert!(spec.admits(&Reading::new(&stored)), "{stored:?}");
            if anchor.stage == Stage::Fresh {
                prop_assert!(fresh.near(int(1_000), spec.step), "{fresh:?}");
                break;
            }
        }
    }

    /// Observations that come too soon leave no trace: calling a hundred times is calling once.
    #[test]
    fn calling_often_changes_nothing(given in observations()) {
        let (mut all, mut due_only, mut now) = (settled(1_000), settled(1_000), T0);
        for (wait, value) in given {
            now += wait;
            let due = due_only.due(&spec()) <= now;
            for again in 0..3 {
                if let Ok(next) = all.observe(&spec(), &int(value.saturating_add(again)), now) {
                    all = next;
                }
            }
            if due {
                due_only = due_only.observe(&spec(), &int(value), now).unwrap();
            }
            prop_assert_eq!(all, due_only);
        }
    }

    /// Any two words are some state, and no state panics.
    #[test]
    fn any_words_can_be_observed(a in any::<[u64; 4]>(), b in any::<[u64; 4]>(), value in any::<[u64; 4]>(), negative: bool,
                                 now in any::<u64>(), period in any::<u32>(), step in any::<u16>(), within: bool) {
        let state = Anchor::unpack(U256::from_limbs(a), U256::from_limbs(b));
        let most = if within { U256::MAX } else { U256::from_limbs(b) };
        let spec = Spec { period, step, ..bounded(&Int::new(true, most), &Int::new(false, most)) };
        let _ = state.value(now);
        if let Ok(next) = state.observe(&spec, &Int::new(negative, U256::from_limbs(value)), now) {
            let (head, rest) = next.pack();
            prop_assert_eq!(Anchor::unpack(head, rest), next);
            prop_assert_eq!(Anchor::head(head).value(now), next.value(now));
        }
    }

    /// Bounds are compared as they are written: that is the order of the numbers.
    #[test]
    fn bounds_are_those_of_the_numbers(a in any::<[u64; 4]>(), b in any::<[u64; 4]>(), shift in any::<[u8; 2]>(), negative: [bool; 2]) {
        let reading = |limbs, at: usize| Reading::new(&Int::new(negative[at], U256::from_limbs(limbs) >> usize::from(shift[at])));
        let (low, value) = (reading(a, 0), reading(b, 1));
        let top = Reading::new(&Int::new(false, U256::MAX));
        let spec = Spec { low, high: top, ..spec() };
        prop_assert_eq!(spec.is_valid(), low.number() < top.number());
        prop_assert_eq!(spec.admits(&value), value.number() >= low.number());
    }

    #[test]
    fn the_middle_is_taken(values in any::<[u32; 3]>()) {
        let base = Anchor::default();
        let spec = Spec { period: 60, step: 10_000, ..spec() };
        let [a, b, c] = values.map(|value| u64::from(value) + (1 << 33));
        let seeded = base.observe(&spec, &int(a), T0).unwrap().observe(&spec, &int(a), T0 + 60).unwrap();
        let two = seeded.observe(&spec, &int(b), T0 + 120).unwrap();
        prop_assert_eq!(two.fresh(), int(a));
        let three = two.observe(&spec, &int(c), T0 + 180).unwrap();
        let mut sorted = [a, b, c];
        sorted.sort_unstable();
        prop_assert_eq!(three.fresh(), int(sorted[1]));
    }
}

#[test]
fn streams_have_keys_of_their_own() {
    let id = StreamId::repeat_byte(7);
    assert_ne!(key(&id, 0), key(&id, 1));
    assert_eq!(key(&id, 0)[0], 18);
}
