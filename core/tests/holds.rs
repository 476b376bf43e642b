//! Who holds a limit: the strictest counts, nobody loosens but his own, and what guardians hold ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alloy_primitives::U256;
use cordon_core::limiter::{GUARDIAN_BUDGET, GUARDIAN_HOLD, Hold, HoldError, Holds, ScopeHolds};
use cordon_core::scope::RELEASE_DELAY;
use proptest::prelude::*;

const START: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

fn hold() -> impl Strategy<Value = Hold> {
    prop::sample::select(vec![Hold::None, Hold::Quarter, Hold::Full])
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Contain(u8, Hold),
    Undo(u8, Hold),
    Guardian(Hold),
    TakeBack,
    Governor(Hold),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..200_000).prop_map(Step::Wait),
        (0u8..128, hold()).prop_map(|(scope, hold)| Step::Contain(scope, hold)),
        (0u8..128, hold()).prop_map(|(scope, hold)| Step::Undo(scope, hold)),
        hold().prop_map(Step::Guardian),
        Just(Step::TakeBack),
        hold().prop_map(Step::Governor),
    ]
}

fn stricter(one: Hold, other: Hold) -> bool {
    one.or(other) == one
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// After each step, whoever takes it: what others hold stands, containing never loosens, undoing never tightens.
    #[test]
    fn nobody_loosens_what_another_holds(steps in prop::collection::vec(step(), 1..60)) {
        let (mut guard, mut people, mut now) = (ScopeHolds::default(), Holds::default(), START);
        for step in steps {
            let (guard_before, people_before) = (guard, people);
            let all = |guard: ScopeHolds, people: Holds| people.strictest(guard.strictest(), now);
            match step {
                Step::Wait(seconds) => {
                    now += seconds;
                    continue;
                }
                Step::Contain(scope, hold) => {
                    guard = guard.tighten(scope, hold);
                    prop_assert!(stricter(guard.of(scope), hold) && stricter(all(guard, people), all(guard_before, people)));
                }
                Step::Undo(scope, hold) => {
                    guard = guard.loosen(scope, hold);
                    prop_assert!(stricter(hold, guard.of(scope)) || guard == guard_before);
                    prop_assert!(stricter(all(guard_before, people), all(guard, people)));
                    for other in (0..128).filter(|other| *other != scope) {
                        prop_assert_eq!(guard.of(other), guard_before.of(other));
                    }
                }
                Step::Guardian(hold) => {
                    if let Ok(held) = people.tighten(hold, now) {
                        people = held;
                        prop_assert_eq!(people.guardian(now), hold);
                        prop_assert!(people.until() <= now + u64::from(GUARDIAN_HOLD));
                    }
                }
                Step::TakeBack => {
                    if let Ok(held) = people.take_back(now) {
                        people = held;
                        prop_assert_eq!(people.until(), now + u64::from(RELEASE_DELAY));
                        prop_assert_eq!(people.guardian(now), people_before.guardian(now));
                    }
                }
                Step::Governor(hold) => people = people.governed(hold),
            }
            let strictest = (0..128).map(|scope| guard.of(scope)).fold(Hold::None, Hold::or);
            prop_assert_eq!(guard.strictest(), strictest);
            for one in [strictest, people.governor(), people.guardian(now)] {
                prop_assert!(stricter(all(guard, people), one));
            }
            prop_assert_eq!(ScopeHolds::unpack(guard.pack()), guard);
            prop_assert_eq!(Holds::unpack(people.pack()), people);
        }
        // Without anybody's help the guardians' hold ends.
        prop_assert_eq!(people.guardian(now + u64::from(GUARDIAN_HOLD)), Hold::None);
    }

    /// Guardians hold within their budget, whatever they try and however they split it.
    #[test]
    fn guardians_hold_within_their_budget(tries in prop::collection::vec((0u64..90_000, hold(), any::<bool>()), 1..80)) {
        let (mut people, mut now, mut held) = (Holds::default(), START, 0u64);
        for (wait, hold, back) in tries {
            held += people.until().min(now + wait).saturating_sub(now);
            now += wait;
            people = people.tighten(hold, now).unwrap_or(people);
            if back {
                people = people.take_back(now).unwrap_or(people);
            }
        }
        let (capacity, period) = (u64::from(GUARDIAN_BUDGET.capacity), u64::from(GUARDIAN_BUDGET.period));
        prop_assert!(held * period <= capacity * (period + now - START));
    }

    #[test]
    fn any_word_holds_something_and_never_panics(limbs: [u64; 4], now: u64, scope: u8) {
        let word = U256::from_limbs(limbs);
        let (guard, people) = (ScopeHolds::unpack(word), Holds::unpack(word));
        let hold = people.strictest(guard.strictest(), now);
        prop_assert!(stricter(hold, guard.of(scope)));
        let _ = (people.tighten(Hold::Full, now), people.take_back(now), people.budget(now));
    }
}

#[test]
fn a_guardians_mistake_lasts_for_a_quarter_of_an_hour() {
    let held = Holds::default().tighten(Hold::Full, START).unwrap();
    assert_eq!(held.until(), START + DAY);
    assert_eq!(
        held.tighten(Hold::Quarter, START),
        Err(HoldError::NotTighter { current: Hold::Full })
    );
    let back = held.take_back(START + 10).unwrap();
    assert_eq!(back.guardian(START + 10 + 899), Hold::Full);
    assert_eq!(back.guardian(START + 10 + 900), Hold::None);
    assert_eq!(
        back.take_back(START + 11),
        Err(HoldError::NotTighter { current: Hold::Full }),
        "once"
    );
}

#[test]
fn tightening_further_is_paid_for_once() {
    let quarter = Holds::default().tighten(Hold::Quarter, START).unwrap();
    let full = quarter.tighten(Hold::Full, START).unwrap();
    assert_eq!(full.budget(START), quarter.budget(START));
    // Three days in a row, and what comes back meanwhile; then nothing is left to be held with.
    let mut people = full;
    let (spent, now) = loop {
        let now = people.until();
        match people.tighten(Hold::Full, now) {
            Ok(held) => people = held,
            Err(error) => break (error, now),
        }
    };
    assert!(matches!(spent, HoldError::BudgetSpent { available: 0 }), "{spent}");
    assert!((5 * DAY..6 * DAY).contains(&(now - START)), "{} s", now - START);
}
