//! Playbooks, played without a record.
#![allow(clippy::unwrap_used, clippy::panic)]

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
                Change::Begin { key, act } => {
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
