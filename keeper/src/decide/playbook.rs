//! What a playbook does next: a pure function of its definition, of the steps that were begun, and of what is known of the
//! incident.

use std::collections::BTreeMap;

use cordon_client::playbook::{Act, Does, Facts, OnFailure, Playbook, Standing, Step};

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepStatus {
    /// Begun.
    Running,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Not wanted any more.
    Skipped,
}

impl StepStatus {
    /// Name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed, Self::Skipped]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// A step that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepState {
    /// How far it is.
    pub status: StepStatus,
    /// The branch that was taken (1 or 0), or the round of a loop, from 1.
    pub value: i64,
    /// When it was begun, Unix milliseconds.
    pub began_ms: i64,
}

/// Something that is to be done with a playbook now.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// An action is carried out.
    Begin {
        /// What the step is stored under.
        key: String,
        /// The action.
        act: &'a Act,
    },
    /// A step is in a new state.
    Mark {
        /// What the step is stored under.
        key: String,
        /// The status.
        status: StepStatus,
        /// The value.
        value: i64,
        /// Why, for people.
        text: String,
    },
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Advance<'a> {
    /// Changes, independent of each other. Ask again when they are made.
    pub changes: Vec<Change<'a>>,
    /// Whether the playbook is over, and whether it went well.
    pub end: Option<bool>,
}

/// How far a list of steps, or a step with its branches, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Pending,
    Done,
    Failed,
}

/// What a playbook does next. `now_ms` is the record's time.
#[must_use]
pub fn advance<'a>(
    playbook: &'a Playbook,
    states: &BTreeMap<String, StepState>,
    facts: &Facts,
    now_ms: i64,
) -> Advance<'a> {
    let mut walk = Walk {
        states,
        facts,
        now_ms,
        changes: Vec::new(),
    };
    let flow = walk.steps(&playbook.steps, "");
    Advance {
        changes: walk.changes,
        end: match flow {
            Flow::Pending => None,
            Flow::Done => Some(true),
            Flow::Failed => Some(false),
        },
    }
}

struct Walk<'a, 's> {
    states: &'s BTreeMap<String, StepState>,
    facts: &'s Facts,
    now_ms: i64,
    changes: Vec<Change<'a>>,
}

impl<'a> Walk<'a, '_> {
    fn steps(&mut self, steps: &'a [Step], rounds: &str) -> Flow {
        for step in steps {
            match self.step(step, rounds) {
                Flow::Pending => return Flow::Pending,
                Flow::Done => {}
                Flow::Failed => match &step.on_failure {
                    OnFailure::GoOn => {}
                    OnFailure::Stop => return Flow::Failed,
                    OnFailure::Run(handler) => {
                        return match self.steps(handler, rounds) {
                            Flow::Pending => Flow::Pending,
                            Flow::Done | Flow::Failed => Flow::Failed,
                        };
                    }
                },
            }
        }
        Flow::Done
    }

    fn step(&mut self, step: &'a Step, rounds: &str) -> Flow {
        let key = format!("{}{rounds}", step.id);
        let state = self.states.get(&key).copied();
        match &step.does {
            Does::Act(act) => self.act(act, key, state),
            Does::If {
                condition,
                then,
                otherwise,
            } => match state {
                None => {
                    let holds = condition.holds(self.facts);
                    let text = format!("{condition}: {}", if holds { "yes" } else { "no" });
                    self.mark(key, StepStatus::Done, i64::from(holds), text)
                }
                Some(state) if state.value == 1 => self.steps(then, rounds),
                Some(_) => self.steps(otherwise, rounds),
            },
            Does::While { condition, most, steps } => self.rounds(key, state, (condition, *most), steps, rounds),
            Does::Parallel(branches) => {
                let flows: Vec<Flow> = branches.iter().map(|branch| self.steps(branch, rounds)).collect();
                if flows.contains(&Flow::Pending) {
                    Flow::Pending
                } else if flows.contains(&Flow::Failed) {
                    Flow::Failed
                } else {
                    Flow::Done
                }
            }
        }
    }

    fn rounds(
        &mut self,
        key: String,
        state: Option<StepState>,
        (condition, most): (&cordon_client::playbook::Condition, u32),
        steps: &'a [Step],
        rounds: &str,
    ) -> Flow {
        let round = match state {
            None => 0,
            Some(state) if state.status != StepStatus::Running => return Flow::Done,
            Some(state) => match self.steps(steps, &format!("{rounds}@{}", state.value)) {
                Flow::Done => state.value,
                flow => return flow,
            },
        };
        let next = round.saturating_add(1);
        let holds = condition.holds(self.facts);
        if holds && next <= i64::from(most) {
            return self.mark(
                key,
                StepStatus::Running,
                next,
                format!("{condition}: yes, round {next}"),
            );
        }
        let why = if holds {
            format!("{condition} after {most} rounds still")
        } else {
            format!("{condition}: no")
        };
        self.mark(key, StepStatus::Done, round, why)
    }

    fn act(&mut self, act: &'a Act, key: String, state: Option<StepState>) -> Flow {
        let Some(state) = state else {
            let needs_incident = matches!(
                act,
                Act::Contain { .. } | Act::Retry { .. } | Act::Page { .. } | Act::Approve { .. }
            );
            if needs_incident && self.facts.standing == Standing::Closed {
                return self.mark(key, StepStatus::Skipped, 0, "the incident is over".to_owned());
            }
            self.changes.push(Change::Begin { key, act });
            return Flow::Pending;
        };
        match state.status {
            StepStatus::Done | StepStatus::Skipped => Flow::Done,
            StepStatus::Failed => Flow::Failed,
            StepStatus::Running => self.running(act, key, state),
        }
    }

    fn running(&mut self, act: &Act, key: String, state: StepState) -> Flow {
        let over = |seconds: u32| {
            let end = state.began_ms.saturating_add(i64::from(seconds).saturating_mul(1_000));
            self.now_ms >= end
        };
        match act {
            Act::Wait { seconds } if over(*seconds) => {
                self.mark(key, StepStatus::Done, 0, "the time is over".to_owned())
            }
            Act::Until { condition, .. } if condition.holds(self.facts) => {
                self.mark(key, StepStatus::Done, 0, format!("{condition}: yes"))
            }
            Act::Until { condition, within } if over(*within) => {
                self.mark(key, StepStatus::Failed, 0, format!("{condition}: not in time"))
            }
            Act::Approve { role, within, .. } if over(*within) => self.mark(
                key,
                StepStatus::Failed,
                0,
                format!("nobody of {role} has answered in time"),
            ),
            _ => Flow::Pending,
        }
    }

    /// Notes a change; what follows from it is asked for when it is made.
    fn mark(&mut self, key: String, status: StepStatus, value: i64, text: String) -> Flow {
        self.changes.push(Change::Mark {
            key,
            status,
            value,
            text,
        });
        Flow::Pending
    }
}

#[cfg(test)]
mod tests {
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
}
