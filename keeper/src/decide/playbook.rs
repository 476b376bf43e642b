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
        /// Whether somebody has approved, on the way to it, that the playbook goes on.
        approved: bool,
        /// Whether it has waited for others for as long as it may: when too few agree now, it has failed.
        is_last: bool,
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

/// Value of a containment that is begun and waits until enough agree on it.
pub const WAITS: i64 = -1;
/// How long it waits, in seconds: a playbook has to come to what it does instead. Then others are asked for the last time, as nobody may have
/// asked them meanwhile.
pub const PATIENCE: u32 = 60;

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
        approved: false,
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
    /// Whether somebody has approved what comes now: an approval that was given before it in its branch.
    approved: bool,
    changes: Vec<Change<'a>>,
}

impl<'a> Walk<'a, '_> {
    fn steps(&mut self, steps: &'a [Step], rounds: &str) -> Flow {
        for step in steps {
            let approved = self.approved;
            match self.step(step, rounds) {
                Flow::Pending => return Flow::Pending,
                Flow::Done => {}
                Flow::Failed => {
                    // What was approved in a step that failed was not what is done instead.
                    self.approved = approved;
                    match &step.on_failure {
                        OnFailure::GoOn => {}
                        OnFailure::Stop => return Flow::Failed,
                        OnFailure::Run(handler) => {
                            return match self.steps(handler, rounds) {
                                Flow::Pending => Flow::Pending,
                                Flow::Done | Flow::Failed => Flow::Failed,
                            };
                        }
                    }
                }
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
                let before = self.approved;
                let mut approved = before;
                let mut flows = Vec::with_capacity(branches.len());
                for branch in branches {
                    self.approved = before;
                    flows.push(self.steps(branch, rounds));
                    approved |= self.approved;
                }
                self.approved = approved;
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
        let waits = |state: &StepState| state.status == StepStatus::Running && state.value == WAITS;
        let Some(state) = state.filter(|state| !waits(state)) else {
            let needs_incident = matches!(
                act,
                Act::Contain { .. }
                    | Act::ContainSet { .. }
                    | Act::Retry { .. }
                    | Act::Page { .. }
                    | Act::Approve { .. }
            );
            if needs_incident && self.facts.standing == Standing::Closed {
                return self.mark(key, StepStatus::Skipped, 0, "the incident is over".to_owned());
            }
            self.changes.push(Change::Begin {
                key,
                act,
                approved: self.approved,
                is_last: state.is_some_and(|state| self.is_over(&state, PATIENCE)),
            });
            return Flow::Pending;
        };
        match state.status {
            StepStatus::Done | StepStatus::Skipped => {
                self.approved |= matches!(act, Act::Approve { .. }) && state.status == StepStatus::Done;
                Flow::Done
            }
            StepStatus::Failed => Flow::Failed,
            StepStatus::Running => self.running(act, key, state),
        }
    }

    /// Whether so many seconds have passed since a step was begun.
    fn is_over(&self, state: &StepState, seconds: u32) -> bool {
        let end = state.began_ms.saturating_add(i64::from(seconds).saturating_mul(1_000));
        self.now_ms >= end
    }

    fn running(&mut self, act: &Act, key: String, state: StepState) -> Flow {
        let over = |seconds: u32| self.is_over(&state, seconds);
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
#[path = "playbook_tests.rs"]
mod tests;
