//! What is decided, case by case and for any input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::chain::BlockRef;
use crate::decide::{Refused, RulePast};
use alloy::primitives::B256;
use cordon_client::config::Severity;
use cordon_core::scope::{Raise, ScopeState};
use proptest::prelude::*;

const NOW: u64 = 1_000_000;

fn block() -> BlockRef {
    BlockRef {
        number: 7,
        hash: B256::repeat_byte(7),
        parent: B256::repeat_byte(6),
        timestamp: NOW,
        base_fee: 0,
    }
}

fn int(magnitude: u64) -> Int {
    Int {
        negative: false,
        magnitude: U256::from(magnitude),
    }
}

fn policy(index: u16) -> RulePolicy {
    RulePolicy {
        index,
        id: format!("rule-{index}"),
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        robust: true,
        shadow: false,
        response: Response::Trip,
        cooldown: 10,
        maintenance: Vec::new(),
    }
}

fn verdict(rule: u16, verdict: Verdict, observed: u64, bound: u64, witness: &[u8]) -> RuleVerdict {
    RuleVerdict {
        rule,
        witness: witness.iter().map(|byte| B256::repeat_byte(*byte)).collect(),
        reading: Reading {
            verdict,
            reason: 0,
            observed: int(observed),
            bound: int(bound),
        },
    }
}

fn run(policies: &[RulePolicy], verdicts: &[RuleVerdict], scopes: &[ScopeReading], past: &Past) -> Vec<Decision> {
    decide(
        policies,
        &BlockFacts {
            block: &block(),
            verdicts,
            scopes,
        },
        past,
    )
}

fn with_past(rule: u16, past: RulePast) -> Past {
    Past {
        rules: [(rule, past)].into(),
        ..Past::default()
    }
}

#[test]
fn a_breach_is_tripped_and_the_worst_witness_is_taken() {
    let verdicts = [
        verdict(0, Verdict::Breached, 10, 20, &[1]),
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 90, &[3]),
        verdict(0, Verdict::Holds, 0, 1_000, &[4]),
    ];
    let decisions = run(&[policy(0)], &verdicts, &[], &Past::default());
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].act, Act::Trip);
    assert_eq!(decisions[0].witness, vec![B256::repeat_byte(2)]);
    assert_eq!(decisions[0].level, Level::ReduceOnly);
}

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
    let lower = ScopeReading {
        level: Level::Throttled,
        ..reading(Some(state))
    };
    assert_eq!(lower.held_until(Level::ReduceOnly), 0);
}

#[test]
fn unknown_is_neither_a_breach_nor_an_end_of_one() {
    let verdicts = [
        verdict(0, Verdict::Unknown, 0, 0, &[]),
        verdict(1, Verdict::Breached, 1, 2, &[]),
    ];
    let decisions = run(&[policy(0), policy(1)], &verdicts, &[], &Past::default());
    assert_eq!(decisions.iter().map(|d| d.rule).collect::<Vec<_>>(), vec![1]);
}

#[test]
fn shadow_only_records() {
    let rule = RulePolicy {
        shadow: true,
        ..policy(0)
    };
    let decisions = run(
        &[rule],
        &[verdict(0, Verdict::Breached, 1, 2, &[])],
        &[],
        &Past::default(),
    );
    assert_eq!(decisions[0].act, Act::Shadow);
}

#[test]
fn a_rule_that_raises_no_level_is_told_and_one_in_shadow_is_not() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    let rule = RulePolicy {
        level: Level::Normal,
        ..policy(0)
    };
    let act = |rule: RulePolicy| run(&[rule], &breach, &[], &Past::default())[0].act;
    assert_eq!(act(rule.clone()), Act::Tell);
    assert_eq!(
        act(RulePolicy {
            shadow: true,
            ..rule.clone()
        }),
        Act::Shadow
    );
    let in_maintenance = RulePolicy {
        maintenance: std::iter::once(NOW..NOW + 1).collect(),
        ..rule.clone()
    };
    assert_eq!(act(in_maintenance), Act::Shadow);
    let told = RulePast {
        recorded: [vec![]].into(),
        ..RulePast::default()
    };
    assert!(run(&[rule], &breach, &[], &with_past(0, told)).is_empty(), "once");
}

#[test]
fn maintenance_only_records_and_ends_by_itself() {
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    for (window, act) in [
        (NOW..NOW + 1, Act::Shadow),
        (NOW - 9..NOW, Act::Trip),
        (NOW + 1..NOW + 9, Act::Trip),
    ] {
        let rule = RulePolicy {
            maintenance: vec![window.clone()],
            ..policy(0)
        };
        assert_eq!(run(&[rule], &breach, &[], &Past::default())[0].act, act, "{window:?}");
    }
}

#[test]
fn a_spot_rule_waits_two_seconds_between_observations_and_stays_below_halted() {
    let rule = RulePolicy {
        robust: false,
        level: Level::Halted,
        cooldown: 600,
        ..policy(0)
    };
    let breach = [verdict(0, Verdict::Breached, 1, 2, &[])];
    for (observed, decided) in [(NOW - 1, 0), (NOW, 0), (NOW - 2, 1), (NOW - 60, 1)] {
        let past = with_past(
            0,
            RulePast {
                decided_at: Some(observed),
                observed_at: Some(observed),
                ..RulePast::default()
            },
        );
        let decisions = run(std::slice::from_ref(&rule), &breach, &[], &past);
        assert_eq!(decisions.len(), decided, "observed {} s ago", NOW - observed);
        assert!(decisions.iter().all(|d| d.level == Level::ReduceOnly));
    }
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
fn the_second_observation_has_the_witness_of_the_first() {
    let rule = RulePolicy {
        robust: false,
        ..policy(0)
    };
    let verdicts = [
        verdict(0, Verdict::Breached, 10, 90, &[2]),
        verdict(0, Verdict::Breached, 10, 20, &[5]),
    ];
    let observed_witness = vec![B256::repeat_byte(5)];
    let past = RulePast {
        observed_at: Some(NOW - 2),
        observed_witness: observed_witness.clone(),
        ..RulePast::default()
    };
    assert_eq!(
        run(std::slice::from_ref(&rule), &verdicts, &[], &with_past(0, past.clone()))[0].witness,
        observed_witness
    );
    // When it is breached no more, the worst of the others begins anew.
    let decisions = run(&[rule], &verdicts[..1], &[], &with_past(0, past));
    assert_eq!(decisions[0].witness, vec![B256::repeat_byte(2)]);
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
    // A block that is evaluated late, after a decision on a newer one, decides nothing either.
    assert!(run(&[policy(0)], &breach, &[], &past(Some(NOW + 50), false)).is_empty());
}

#[test]
fn strictest_first_then_robust_then_severity() {
    let policies = [
        RulePolicy {
            severity: Severity::P2,
            ..policy(0)
        },
        RulePolicy {
            robust: false,
            ..policy(1)
        },
        RulePolicy {
            level: Level::Halted,
            severity: Severity::P3,
            ..policy(2)
        },
        policy(3),
    ];
    let verdicts: Vec<_> = (0..4).map(|rule| verdict(rule, Verdict::Breached, 1, 2, &[])).collect();
    let order: Vec<u16> = run(&policies, &verdicts, &[], &Past::default())
        .iter()
        .map(|d| d.rule)
        .collect();
    assert_eq!(order, vec![2, 3, 0, 1]);
}

fn any_level() -> impl Strategy<Value = Level> {
    (0usize..5).prop_map(|i| Level::ALL[i])
}

prop_compose! {
    fn any_policy(index: u16)(scope in 0u8..3, level in any_level(), duration in 60u32..7_200, robust: bool, shadow: bool,
        contain: bool, cooldown in 0u32..100, p1: bool) -> RulePolicy {
        RulePolicy { index, id: String::new(), scope, level, duration, robust, shadow, cooldown, maintenance: Vec::new(),
            severity: if p1 { Severity::P1 } else { Severity::P3 },
            response: if contain { Response::Contain } else { Response::Trip } }
    }
}

prop_compose! {
    fn any_verdict()(rule in 0u16..5, kind in 0u8..3, observed in 0u64..9, bound in 0u64..9, witness in 0u8..3) -> RuleVerdict {
        let kind = [Verdict::Holds, Verdict::Breached, Verdict::Unknown][usize::from(kind)];
        verdict(rule, kind, observed, bound, &[witness])
    }
}

prop_compose! {
    fn any_scope()(scope in 0u8..3, level in any_level(), left in 0u64..7_200, applied: bool) -> ScopeReading {
        ScopeReading { scope, level, expires_at: NOW + left, applied, ..ScopeReading::default() }
    }
}

prop_compose! {
    fn any_past()(past in prop::collection::btree_map(0u16..5, (prop::option::of(NOW - 200..NOW + 5),
        prop::option::of(NOW - 5..NOW + 1), any::<bool>()), 0..5)) -> Past {
        Past { rules: past.into_iter().map(|(rule, (decided_at, observed_at, open))|
            (rule, RulePast { decided_at, observed_at, open, ..RulePast::default() })).collect(), ..Past::default() }
    }
}

proptest! {
    #[test]
    fn decisions_keep_their_promises(
        policies in (any_policy(0), any_policy(1), any_policy(2), any_policy(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d]),
        verdicts in prop::collection::vec(any_verdict(), 0..20),
        scopes in prop::collection::vec(any_scope(), 0..3),
        past in any_past(),
    ) {
        let decisions = run(&policies, &verdicts, &scopes, &past);
        let mut seen = std::collections::BTreeSet::new();
        for decision in &decisions {
            let policy = &policies[usize::from(decision.rule)];
            prop_assert!(seen.insert(decision.rule), "one decision per rule and block");
            prop_assert!(verdicts.iter().any(|v| v.rule == decision.rule && v.witness == decision.witness
                && v.reading == decision.reading && v.reading.verdict == Verdict::Breached));
            prop_assert_eq!(decision.act == Act::Shadow, policy.shadow);
            prop_assert_eq!(decision.act == Act::Tell, !policy.shadow && !policy.level.is_raised());
            prop_assert!(policy.robust || decision.level.rank() <= Level::ReduceOnly.rank());
            prop_assert!(!past.rules.get(&decision.rule).is_some_and(|p| p.open));
            prop_assert!(policy.is_silent() || !held(&scopes, policy.scope, decision.level, NOW, policy.duration));
        }
        // Neither the order of what was read nor that of the policies matters.
        let mut turned = verdicts.clone();
        turned.reverse();
        let mut backwards = policies.clone();
        backwards.reverse();
        prop_assert_eq!(&run(&backwards, &turned, &scopes, &past), &decisions);
        // Every breach without an excuse is answered.
        for policy in policies.iter().filter(|p| !past.rules.contains_key(&p.index)) {
            let breached = verdicts.iter().any(|v| v.rule == policy.index && v.reading.verdict == Verdict::Breached);
            let excused = !policy.is_silent() && held(&scopes, policy.scope, policy.reachable(), NOW, policy.duration);
            prop_assert_eq!(decisions.iter().any(|d| d.rule == policy.index), breached && !excused);
        }
    }
}
