//! What is decided when something was decided before: refused, recorded, held, or released by people.

use super::*;
use crate::decide::Refused;
use cordon_core::scope::{Raise, ScopeState};

fn refused(at: u64, times: u32) -> Refused {
    Refused {
        times,
        at,
        level: Some(Level::Normal),
    }
}

#[test]
fn what_is_refused_of_one_witness_delays_no_other() {
    let (worse, new) = (
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 20, &[5]),
    );
    let both = [worse.clone(), new.clone()];
    let decided = |at: &[(&RuleVerdict, u64, u32)]| {
        let past = RulePast {
            refused: at
                .iter()
                .map(|(of, seconds, times)| (of.witness.clone(), refused(NOW - seconds, *times)))
                .collect(),
            ..RulePast::default()
        };
        let decisions = run(&[policy(0)], &both, &[], &with_past(0, past));
        decisions.into_iter().next().map(|decision| decision.witness)
    };
    assert_eq!(decided(&[(&worse, 1, 8)]), Some(new.witness.clone()), "at once");
    assert_eq!(decided(&[(&worse, 1, 8), (&new, 11, 1)]), None, "refused ones in turn");
    assert_eq!(decided(&[(&worse, 11, 8), (&new, 11, 1)]), Some(new.witness.clone()));
    assert_eq!(decided(&[(&worse, 601, 8), (&new, 11, 1)]), Some(worse.witness.clone()));
}

#[test]
fn what_the_guard_keeps_refusing_is_tried_less_and_less_often() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    let tried_after = |cooldown: u32, refusals: u32, scopes: &[ScopeReading]| {
        let rule = RulePolicy { cooldown, ..policy(0) };
        let is_tried = |seconds: &u64| {
            let past = RulePast {
                refused: std::iter::once((vec![], refused(NOW - seconds, refusals))).collect(),
                ..RulePast::default()
            };
            !run(std::slice::from_ref(&rule), &breach, scopes, &with_past(0, past)).is_empty()
        };
        (0..2_000).find(is_tried).unwrap()
    };
    let waits: Vec<u64> = (0..9).map(|refusals| tried_after(10, refusals, &[])).collect();
    assert_eq!(waits, [10, 10, 20, 40, 80, 160, 320, 600, 600]);
    assert_eq!(tried_after(10, u32::MAX, &[]), 600);
    assert_eq!((tried_after(0, 1, &[]), tried_after(0, 5, &[])), (1, 16));
    assert_eq!(tried_after(900, 5, &[]), 900, "never sooner than the cooldown");
    // The level is another one: what was refused then may pass now. That of another scope says nothing.
    let at = |scope| ScopeReading {
        scope,
        level: Level::Throttled,
        ..ScopeReading::default()
    };
    assert_eq!(tried_after(10, 6, &[at(1)]), 10);
    assert_eq!(tried_after(10, 6, &[at(0)]), 10);
    assert_eq!(tried_after(10, 6, &[at(2)]), 320);
}

#[test]
fn a_breach_that_stands_is_recorded_once_in_shadow() {
    let verdicts = [
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 20, &[5]),
    ];
    let rule = RulePolicy {
        shadow: true,
        ..policy(0)
    };
    let recorded = |words: &[u8]| RulePast {
        recorded: words.iter().map(|byte| vec![B256::repeat_byte(*byte)]).collect(),
        ..RulePast::default()
    };
    let witnesses = |rule: &RulePolicy, past: RulePast| {
        let decisions = run(std::slice::from_ref(rule), &verdicts, &[], &with_past(0, past));
        decisions.into_iter().map(|d| d.witness).next()
    };
    let word = |byte| Some(vec![B256::repeat_byte(byte)]);
    assert_eq!(witnesses(&rule, recorded(&[])), word(2));
    assert_eq!(
        witnesses(&rule, recorded(&[2])),
        word(5),
        "another account is another breach"
    );
    assert_eq!(witnesses(&rule, recorded(&[2, 5])), None);
    assert_eq!(
        witnesses(&policy(0), recorded(&[2, 5])),
        word(2),
        "out of shadow it is acted on"
    );
}

#[test]
fn a_level_that_was_paid_for_steps_down_as_soon_as_its_word_says() {
    // A keeper's Halted of 15 minutes, which nothing prolongs beyond: each step down is 15 minutes too, not an hour.
    let halted = Raise {
        level: Level::Halted,
        duration: 900,
        next_incident: 1,
        governor: false,
        budgeted: true,
        elsewhere: 0,
    };
    let (state, _) = ScopeState::default().raise(NOW, &halted).unwrap();
    let reading = |state| ScopeReading {
        scope: 1,
        level: Level::Halted,
        expires_at: NOW + 900,
        state,
        ..ScopeReading::default()
    };
    assert_eq!(reading(Some(state)).held_until(Level::ReduceOnly), NOW + 1_800);
    assert_eq!(reading(None).held_until(Level::ReduceOnly), NOW + 900 + 3_600);
    assert_eq!(reading(Some(state)).held_until(Level::Halted), NOW + 900);
    let is_held = |state, later: u64| held(&[reading(state)], 1, Level::ReduceOnly, NOW + later, 3_600);
    assert!(
        is_held(Some(state), 900) && !is_held(Some(state), 901),
        "a quarter of an hour before it ends"
    );
    assert!(is_held(None, 901));
    // The view says how long it lasts at least, whatever the word that was read beside it says.
    let longer = ScopeReading {
        expires_at: NOW + 5_000,
        ..reading(Some(state))
    };
    assert_eq!(longer.held_until(Level::ReduceOnly), NOW + 5_000);
    let lower = ScopeReading {
        level: Level::Throttled,
        ..reading(Some(state))
    };
    assert_eq!(lower.held_until(Level::ReduceOnly), 0);
}

#[test]
fn a_held_level_is_left_alone_until_it_is_nearly_over() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    let scope = |scope, level, left: u64| ScopeReading {
        scope,
        level,
        expires_at: NOW + left,
        ..ScopeReading::default()
    };
    for (reading, acts) in [
        (scope(1, Level::ReduceOnly, 3_000), false),
        (scope(1, Level::Halted, 900), false),
        (scope(0, Level::ReduceOnly, 900), false),
        (scope(1, Level::ReduceOnly, 899), true),
        (scope(1, Level::Throttled, 3_000), true),
        (scope(1, Level::Grace, 3_000), true),
        (scope(2, Level::Halted, 3_000), true),
    ] {
        let decisions = run(&[policy(0)], &breach, &[reading], &Past::default());
        assert_eq!(!decisions.is_empty(), acts, "{reading:?}");
    }
}

#[test]
fn a_level_about_to_be_released_is_not_held() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    let reading = ScopeReading {
        scope: 1,
        level: Level::Halted,
        expires_at: NOW + 3_600,
        releasing: true,
        ..ScopeReading::default()
    };
    assert_eq!(run(&[policy(0)], &breach, &[reading], &Past::default()).len(), 1);
}

#[test]
fn a_breach_that_people_released_is_theirs_until_the_rule_has_held() {
    let verdicts = [
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 20, &[5]),
    ];
    let standing = |since| [((0, verdicts[0].witness.clone()), since)].into();
    let released = [(1, 50)].into();
    let past = Past {
        standing: standing(49),
        released,
        ..Past::default()
    };
    assert_eq!(
        run(&[policy(0)], &verdicts, &[], &past)[0].witness,
        verdicts[1].witness,
        "another account is new"
    );
    assert!(run(&[policy(0)], &verdicts[..1], &[], &past).is_empty());
    let later = Past {
        standing: standing(50),
        ..past.clone()
    };
    assert_eq!(
        run(&[policy(0)], &verdicts, &[], &later)[0].witness,
        verdicts[0].witness
    );
    let elsewhere = Past {
        released: [(2, 50)].into(),
        ..past
    };
    assert_eq!(run(&[policy(0)], &verdicts[..1], &[], &elsewhere).len(), 1);
}

#[test]
fn a_breach_that_is_known_to_be_over_at_a_later_block_calls_for_nothing() {
    let verdicts = [
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 20, &[5]),
    ];
    let past = |over| {
        let past = RulePast {
            over: [(verdicts[0].witness.clone(), over)].into(),
            ..RulePast::default()
        };
        with_past(0, past)
    };
    let number = block().number;
    let later = past(number + 1);
    assert!(run(&[policy(0)], &verdicts[..1], &[], &later).is_empty());
    assert_eq!(
        run(&[policy(0)], &verdicts, &[], &later)[0].witness,
        verdicts[1].witness,
        "another account's is not"
    );
    assert_eq!(run(&[policy(0)], &verdicts[..1], &[], &past(number)).len(), 1);
    // A block that somebody made up, far above the newest.
    let mut made_up = past(1 << 62);
    made_up.forget_beyond(number + 100);
    assert_eq!(run(&[policy(0)], &verdicts[..1], &[], &made_up).len(), 1);
    let mut true_one = past(number + 100);
    true_one.forget_beyond(number + 100);
    assert!(run(&[policy(0)], &verdicts[..1], &[], &true_one).is_empty());
    let shadow = RulePolicy {
        shadow: true,
        ..policy(0)
    };
    assert_eq!(run(&[shadow], &verdicts[..1], &[], &later).len(), 1, "it is recorded");
}

#[test]
fn open_and_recent_decisions_are_not_repeated() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    let past = |decided_at, open| {
        with_past(
            0,
            RulePast {
                decided_at,
                open,
                ..RulePast::default()
            },
        )
    };
    assert!(run(&[policy(0)], &breach, &[], &past(Some(NOW - 600), true)).is_empty());
    assert!(run(&[policy(0)], &breach, &[], &past(Some(NOW - 9), false)).is_empty());
    assert_eq!(run(&[policy(0)], &breach, &[], &past(Some(NOW - 10), false)).len(), 1);
    // An observation from when the rule was a spot rule shortens nothing.
    let robust_now = RulePast {
        decided_at: Some(NOW - 9),
        observed_at: Some(NOW - 9),
        ..RulePast::default()
    };
    assert!(run(&[policy(0)], &breach, &[], &with_past(0, robust_now)).is_empty());
    // A block that is evaluated late, after a decision on a newer one, decides nothing either.
    assert!(run(&[policy(0)], &breach, &[], &past(Some(NOW + 50), false)).is_empty());
}
