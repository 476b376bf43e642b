//! The workflow of an imported playbook: from steps that refer to each other to steps within steps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::around::Around;
use super::import::slug;
use super::reader::{Object, Problems, kind_of};
use super::step::{Body, common, read_step};
use crate::playbook::{Act, Condition, DEEPEST, Does, MOST_STEPS, OnFailure, Step};

/// The workflow while it is read.
pub(super) struct Import<'a, 'p> {
    workflow: BTreeMap<&'a str, &'a Value>,
    around: Around<'a>,
    reached: BTreeSet<&'a str>,
    names: BTreeSet<String>,
    problems: &'p mut Problems,
}

/// A step, and the one that follows.
type Next<'a> = (Option<Step>, Option<&'a str>);

impl<'a, 'p> Import<'a, 'p> {
    pub(super) fn new(workflow: Vec<(&'a str, &'a Value)>, around: Around<'a>, problems: &'p mut Problems) -> Self {
        Self {
            workflow: workflow.into_iter().collect(),
            around,
            reached: BTreeSet::new(),
            names: BTreeSet::new(),
            problems,
        }
    }

    fn say(&mut self, id: &str, message: &str) {
        self.problems.found.push(format!("workflow/{id}: {message}"));
    }

    /// The steps from `id` to the end of its branch.
    pub(super) fn branch(&mut self, id: &'a str, depth: usize) -> Option<Vec<Step>> {
        if depth > DEEPEST {
            self.say(id, &format!("steps are nested {DEEPEST} deep at most"));
            return None;
        }
        let mut steps = Vec::new();
        let mut next = Some(id);
        let mut fine = true;
        while let Some(id) = next.take() {
            let Some((&id, &value)) = self.workflow.get_key_value(id) else {
                self.say(id, "there is no such step");
                return None;
            };
            if !self.reached.insert(id) {
                let message = if kind_of(id) == "end" {
                    "is the end of two branches: each branch needs an end of its own"
                } else {
                    "is reached twice: repetition is a while-condition"
                };
                self.say(id, message);
                return None;
            }
            if self.reached.len() > MOST_STEPS.saturating_mul(4) {
                self.say(id, &format!("a playbook has at most {MOST_STEPS} steps"));
                return None;
            }
            match kind_of(id) {
                "start" if depth == 0 && steps.is_empty() => next = self.start(id, value),
                "end" => {
                    self.end(id, value);
                    return fine.then_some(steps);
                }
                _ => {
                    let (found, following) = self.step(id, value, depth, &mut steps);
                    fine &= found.is_some();
                    steps.extend(found);
                    next = following;
                }
            }
        }
        None
    }

    fn start(&mut self, id: &str, value: &'a Value) -> Option<&'a str> {
        let mut object = self.object(id, value)?;
        common(&mut object, "start");
        let next = object.identifier("on_completion", None);
        object.finish();
        next
    }

    fn end(&mut self, id: &str, value: &'a Value) {
        if let Some(mut object) = self.object(id, value) {
            common(&mut object, "end");
            object.finish();
        }
    }

    fn object(&mut self, id: &str, value: &'a Value) -> Option<Object<'a, '_>> {
        Object::of(&format!("workflow/{id}"), value, self.problems)
    }

    fn step(&mut self, id: &'a str, value: &'a Value, depth: usize, before: &mut Vec<Step>) -> Next<'a> {
        let kind = kind_of(id);
        let Some(object) = Object::of(&format!("workflow/{id}"), value, self.problems) else {
            return (None, None);
        };
        let Some(read) = read_step(kind, object, &self.around) else {
            return (None, None);
        };
        let name = self.name(read.name.unwrap_or(kind));
        if let Some(seconds) = read.delay {
            let id = self.name(&format!("{name}-delay"));
            before.push(Step {
                id,
                does: Does::Act(Act::Wait { seconds }),
                on_failure: OnFailure::Stop,
            });
        }
        let does = match read.body {
            Some(body) => self.body(body, &name, depth),
            None => None,
        };
        let (next, on_failure) = match (read.on_completion, read.on_success, read.on_failure) {
            (Some(next), None, None) => (Some(next), Some(OnFailure::GoOn)),
            (None, Some(next), None) => (Some(next), Some(OnFailure::Stop)),
            (None, Some(next), Some(handler)) if next == handler => (Some(next), Some(OnFailure::GoOn)),
            (None, Some(next), Some(handler)) => {
                let handler = self.branch(handler, depth + 1).map(OnFailure::Run);
                (Some(next), handler)
            }
            _ => {
                self.say(
                    id,
                    "has to have either `on_completion`, or `on_success` with or without `on_failure`",
                );
                (None, None)
            }
        };
        let step = does.zip(on_failure).map(|(does, on_failure)| Step {
            id: name,
            does,
            on_failure,
        });
        (step, next)
    }

    fn body(&mut self, body: Body<'a>, name: &str, depth: usize) -> Option<Does> {
        match body {
            Body::Act(act) => Some(Does::Act(act)),
            Body::If(condition, on_true, on_false) => {
                let then = self.branch(on_true, depth + 1);
                let otherwise = match on_false {
                    Some(id) => self.branch(id, depth + 1),
                    None => Some(Vec::new()),
                };
                let then = self.some_steps(on_true, then)?;
                Some(Does::If {
                    condition,
                    then,
                    otherwise: otherwise?,
                })
            }
            Body::While(condition, most, on_true) => {
                let steps = self.branch(on_true, depth + 1);
                let steps = self.some_steps(on_true, steps)?;
                Some(Does::While { condition, most, steps })
            }
            Body::Switch(cases, default) => self.switch(&cases, default, name, depth),
            Body::Parallel(ids) => {
                let branches: Vec<Option<Vec<Step>>> = ids
                    .into_iter()
                    .map(|id| {
                        let steps = self.branch(id, depth + 1);
                        self.some_steps(id, steps)
                    })
                    .collect();
                Some(Does::Parallel(branches.into_iter().collect::<Option<_>>()?))
            }
        }
    }

    /// Cases one after the other: each `else` holds the next, so that one of them is done at most, and the fact is asked at once.
    fn switch(
        &mut self,
        cases: &[(&'a str, Condition, &'a str)],
        default: Option<&'a str>,
        name: &str,
        depth: usize,
    ) -> Option<Does> {
        let ((_, condition, id), rest) = cases.split_first()?;
        let then = self.branch(id, depth + 1);
        let then = self.some_steps(id, then);
        let otherwise = match (rest.first(), default) {
            (Some((case, _, _)), _) => {
                let id = self.name(&format!("{name}-{case}"));
                self.switch(rest, default, name, depth + 1).map(|does| {
                    vec![Step {
                        id,
                        does,
                        on_failure: OnFailure::Stop,
                    }]
                })
            }
            (None, Some(id)) => self.branch(id, depth + 1),
            (None, None) => Some(Vec::new()),
        };
        Some(Does::If {
            condition: condition.clone(),
            then: then?,
            otherwise: otherwise?,
        })
    }

    fn some_steps(&mut self, id: &str, steps: Option<Vec<Step>>) -> Option<Vec<Step>> {
        if steps.as_ref().is_some_and(Vec::is_empty) {
            self.say(id, "the branch has no steps");
            return None;
        }
        steps
    }

    /// A name for a step that no other has.
    fn name(&mut self, wanted: &str) -> String {
        let name = slug(wanted, "step");
        let mut candidate = name.clone();
        let mut number = 2_u32;
        while !self.names.insert(candidate.clone()) {
            candidate = format!("{name}-{number}");
            number += 1;
        }
        candidate
    }

    pub(super) fn unreached(&mut self) {
        let lost: Vec<&str> = self
            .workflow
            .keys()
            .filter(|id| !self.reached.contains(*id))
            .copied()
            .collect();
        for id in lost {
            self.say(id, "no step leads here");
        }
    }
}
