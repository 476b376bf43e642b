//! What is decided, case by case and for any input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod again;
mod any;

use super::*;
use crate::chain::BlockRef;
use crate::decide::RulePast;
use alloy::primitives::B256;
use cordon_client::config::Severity;

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

    // On both sides of zero the way is as long as both parts of it.
    let mut below = verdict(0, Verdict::Breached, 10, 10, &[6]);
    below.reading.observed.negative = true;
    let decisions = run(
        &[policy(0)],
        &[verdict(0, Verdict::Breached, 0, 15, &[5]), below],
        &[],
        &Past::default(),
    );
    assert_eq!(decisions[0].witness, vec![B256::repeat_byte(6)]);
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
