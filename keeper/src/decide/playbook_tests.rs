//! Playbooks, played without a record.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use cordon_client::config::Severity;
use cordon_client::playbook::{Condition, RuleSays};
use cordon_core::level::Level;

fn facts() -> Facts {
    Facts {
        level: Level::Normal,
        severity: Severity::P1,
        standing: Standing::Open,
        acknowledged: false,
        age: 0,
        rule: Some("solvent".into()),
        rules: vec![("solvent".into(), RuleSays::Breached)],
    }
}

fn act(id: &str, act: Act) -> Step {
    Step {
        id: id.into(),
        does: Does::Act(act),
        on_failure: OnFailure::Stop,
    }
}

fn note(id: &str) -> Step {
    act(id, Act::Note { text: id.into() })
}

fn playbook(steps: Vec<Step>) -> Playbook {
    Playbook {
        id: "p".into(),
        description: None,
        severity: None,
        rules: vec![],
        steps,
    }
}

/// Plays until nothing happens without help; actions take the time that they take, notes are done at once. Answers what was
/// done, in order, and the end.
fn play(
    playbook: &Playbook,
    states: &mut BTreeMap<String, StepState>,
    facts: &Facts,
    now_ms: i64,
    fails: &[&str],
) -> (Vec<String>, Option<bool>) {
    let mut done = Vec::new();
    for _ in 0..1_000 {
        let advance = advance(playbook, states, facts, now_ms);
        if advance.changes.is_empty() {
            return (done, advance.end);
        }
        assert_eq!(advance.end, None, "what has changes to make is not over");
        for change in advance.changes {
            let (key, status, value) = match change {
                Change::Begin { key, act, .. } => {
                    done.push(key.clone());
                    let status = match act {
                        _ if fails.contains(&key.as_str()) => StepStatus::Failed,
                        Act::Note { .. } => StepStatus::Done,
                        _ => StepStatus::Running,
                    };
                    (key, status, 0)
                }
                Change::Mark { key, status, value, .. } => (key, status, value),
            };
            let began_ms = states.get(&key).map_or(now_ms, |state| state.began_ms);
            states.insert(
                key,
                StepState {
                    status,
                    value,
                    began_ms,
                },
            );
        }
    }
    panic!("it does not come to rest");
}

#[test]
fn steps_are_done_in_order_and_a_failure_ends_it() {
    let plan = playbook(vec![note("a"), note("b"), note("c")]);
    let all = play(&plan, &mut BTreeMap::new(), &facts(), 0, &[]);
    assert_eq!(all, (vec!["a".into(), "b".into(), "c".into()], Some(true)));
    let some = play(&plan, &mut BTreeMap::new(), &facts(), 0, &["b"]);
    assert_eq!(some, (vec!["a".into(), "b".into()], Some(false)));
}

#[test]
fn a_failure_is_gone_over_or_handled() {
    let mut plan = playbook(vec![note("a"), note("b")]);
    plan.steps.first_mut().unwrap().on_failure = OnFailure::GoOn;
    assert_eq!(
        play(&plan, &mut BTreeMap::new(), &facts(), 0, &["a"]),
        (vec!["a".into(), "b".into()], Some(true))
    );
    plan.steps.first_mut().unwrap().on_failure = OnFailure::Run(vec![note("h")]);
    assert_eq!(
        play(&plan, &mut BTreeMap::new(), &facts(), 0, &["a"]),
        (vec!["a".into(), "h".into()], Some(false))
    );
}

#[test]
fn a_branch_is_chosen_once_and_stays_chosen() {
    let branch = Step {
        id: "if".into(),
        does: Does::If {
            condition: Condition::parse("verdict = Breached").unwrap(),
            then: vec![act("wait", Act::Wait { seconds: 10 }), note("then")],
            otherwise: vec![note("else")],
        },
        on_failure: OnFailure::Stop,
    };
    let plan = playbook(vec![branch, note("last")]);
    let mut states = BTreeMap::new();
    assert_eq!(play(&plan, &mut states, &facts(), 0, &[]), (vec!["wait".into()], None));
    let holds = Facts {
        rules: vec![],
        ..facts()
    };
    assert_eq!(play(&plan, &mut states, &holds, 9_999, &[]), (vec![], None));
    let rest = play(&plan, &mut states, &holds, 10_000, &[]);
    assert_eq!(rest, (vec!["then".into(), "last".into()], Some(true)));
}

#[test]
fn a_loop_ends_with_its_condition_or_its_bound_and_keeps_rounds_apart() {
    let body = Step {
        id: "loop".into(),
        does: Does::While {
            condition: Condition::parse("verdict = Breached").unwrap(),
            most: 3,
            steps: vec![note("a")],
        },
        on_failure: OnFailure::Stop,
    };
    let plan = playbook(vec![body, note("last")]);
    let (done, end) = play(&plan, &mut BTreeMap::new(), &facts(), 0, &[]);
    assert_eq!(done, ["a@1", "a@2", "a@3", "last"]);
    assert_eq!(end, Some(true));
    let holds = Facts {
        rules: vec![],
        ..facts()
    };
    assert_eq!(play(&plan, &mut BTreeMap::new(), &holds, 0, &[]).0, ["last"]);
}

#[test]
fn parallel_branches_wait_for_each_other_and_fail_together() {
    let both = Step {
        id: "both".into(),
        does: Does::Parallel(vec![
            vec![act("wait", Act::Wait { seconds: 5 }), note("a")],
            vec![note("b")],
        ]),
        on_failure: OnFailure::Stop,
    };
    let plan = playbook(vec![both, note("last")]);
    let mut states = BTreeMap::new();
    assert_eq!(
        play(&plan, &mut states, &facts(), 0, &[]),
        (vec!["wait".into(), "b".into()], None)
    );
    assert_eq!(
        play(&plan, &mut states, &facts(), 5_000, &[]),
        (vec!["a".into(), "last".into()], Some(true))
    );
    let mut states = BTreeMap::new();
    assert_eq!(play(&plan, &mut states, &facts(), 0, &["b"]).1, None);
    assert_eq!(
        play(&plan, &mut states, &facts(), 5_000, &[]),
        (vec!["a".into()], Some(false))
    );
}

#[test]
fn nobody_is_called_about_what_is_over() {
    let plan = playbook(vec![
        act(
            "contain",
            Act::Contain {
                scope: None,
                level: Level::Halted,
                seconds: 60,
            },
        ),
        act(
            "ask",
            Act::Approve {
                role: "lead".into(),
                text: "go?".into(),
                within: 60,
            },
        ),
        note("lessons"),
    ]);
    let closed = Facts {
        standing: Standing::Closed,
        ..facts()
    };
    let (done, end) = play(&plan, &mut BTreeMap::new(), &closed, 0, &[]);
    assert_eq!((done, end), (vec!["lessons".into()], Some(true)));
}

#[test]
fn an_approval_that_nobody_gives_fails() {
    let ask = act(
        "ask",
        Act::Approve {
            role: "lead".into(),
            text: "go?".into(),
            within: 60,
        },
    );
    let plan = playbook(vec![ask, note("go")]);
    let mut states = BTreeMap::new();
    assert_eq!(play(&plan, &mut states, &facts(), 0, &[]), (vec!["ask".into()], None));
    assert_eq!(play(&plan, &mut states, &facts(), 59_999, &[]), (vec![], None));
    assert_eq!(play(&plan, &mut states, &facts(), 60_000, &[]), (vec![], Some(false)));
}

fn ask(id: &str) -> Step {
    act(
        id,
        Act::Approve {
            role: "lead".into(),
            text: "go?".into(),
            within: 60,
        },
    )
}

fn halt(id: &str) -> Step {
    act(
        id,
        Act::Contain {
            scope: None,
            level: Level::Halted,
            seconds: 60,
        },
    )
}

fn state(status: StepStatus, value: i64) -> StepState {
    StepState {
        status,
        value,
        began_ms: 0,
    }
}

/// What is begun now, and whether somebody has approved it.
fn begun(playbook: &Playbook, states: &[(&str, StepStatus)]) -> Vec<(String, bool)> {
    let states = states
        .iter()
        .map(|(key, status)| ((*key).to_owned(), state(*status, 1)));
    let changes = advance(playbook, &states.collect(), &facts(), 0).changes.into_iter();
    let begun = changes.filter_map(|change| match change {
        Change::Begin { key, approved, .. } => Some((key, approved)),
        Change::Mark { .. } => None,
    });
    begun.collect()
}

#[test]
fn approved_is_what_comes_after_an_approval_in_its_branch() {
    use StepStatus::{Done, Failed, Skipped};
    let halted = |approved| vec![("halt".to_owned(), approved)];
    let plan = playbook(vec![ask("ask"), halt("halt")]);
    assert_eq!(begun(&plan, &[("ask", Done)]), halted(true));
    assert_eq!(begun(&plan, &[("ask", Skipped)]), halted(false));
    assert_eq!(begun(&playbook(vec![halt("halt"), ask("ask")]), &[]), halted(false));
    let mut plan = playbook(vec![ask("first"), ask("ask"), note("next")]);
    for on_failure in [OnFailure::GoOn, OnFailure::Run(vec![halt("halt")])] {
        let goes_on = on_failure == OnFailure::GoOn;
        plan.steps[1].on_failure = on_failure;
        plan.steps[2] = if goes_on { halt("halt") } else { note("next") };
        // Who refuses has not approved what is done instead; what was approved before stays so.
        assert_eq!(begun(&plan, &[("first", Done), ("ask", Failed)]), halted(true));
        assert_eq!(begun(&plan, &[("first", Skipped), ("ask", Failed)]), halted(false));
    }
    let both = |branches| Step {
        id: "both".into(),
        does: Does::Parallel(branches),
        on_failure: OnFailure::Stop,
    };
    let apart = playbook(vec![both(vec![vec![ask("ask"), note("a")], vec![halt("halt")]])]);
    assert_eq!(begun(&apart, &[("ask", Done), ("a", Done)]), halted(false));
    let after = playbook(vec![both(vec![vec![ask("ask")], vec![note("a")]]), halt("halt")]);
    assert_eq!(begun(&after, &[("ask", Done), ("a", Done)]), halted(true));
    let mut given_up = playbook(vec![both(vec![vec![ask("ask")], vec![note("a")]]), halt("halt")]);
    given_up.steps[0].on_failure = OnFailure::GoOn;
    assert_eq!(begun(&given_up, &[("ask", Done), ("a", Failed)]), halted(false));
    let branch = Step {
        id: "if".into(),
        does: Does::If {
            condition: Condition::parse("verdict = Breached").unwrap(),
            then: vec![ask("ask")],
            otherwise: vec![],
        },
        on_failure: OnFailure::Stop,
    };
    assert_eq!(
        begun(&playbook(vec![branch, halt("halt")]), &[("if", Done), ("ask", Done)]),
        halted(true)
    );
}

#[test]
fn a_containment_that_waits_is_tried_again_and_in_the_end_for_the_last_time() {
    let plan = playbook(vec![halt("halt"), note("next")]);
    let states: BTreeMap<String, StepState> = [("halt".to_owned(), state(StepStatus::Running, WAITS))].into();
    let next = |facts: &Facts, now_ms| advance(&plan, &states, facts, now_ms).changes;
    let end = i64::from(PATIENCE) * 1_000;
    for (now_ms, last) in [(end - 1, false), (end, true), (end * 100, true)] {
        assert!(
            matches!(next(&facts(), now_ms).as_slice(), [Change::Begin { approved: false, is_last, .. }] if *is_last == last),
            "after {now_ms} ms"
        );
    }
    let new = advance(&plan, &BTreeMap::new(), &facts(), end).changes;
    assert!(matches!(new.as_slice(), [Change::Begin { is_last: false, .. }]));
    let over = Facts {
        standing: Standing::Closed,
        ..facts()
    };
    assert!(matches!(
        next(&over, 0).as_slice(),
        [Change::Mark {
            status: StepStatus::Skipped,
            ..
        }]
    ));
}
