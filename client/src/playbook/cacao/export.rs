//! From a playbook to CACAO.

use serde_json::{Map, Value, json};

use super::{AUTHOR, EXTENSION, KEEPER, SPEC, actions, identifier, pattern};
use crate::config::Severity;
use crate::playbook::{Act, Does, OnFailure, Playbook, Step};

/// The playbook as a CACAO 2.0 object. `at` is when it was made, such as `2026-11-21T08:00:00.000Z`.
pub fn export(playbook: &Playbook, at: &str) -> Value {
    let mut export = Export {
        playbook: &playbook.id,
        workflow: Map::new(),
        agents: Map::new(),
    };
    let end = export.end("");
    let first = export.sequence(&playbook.steps, end);
    let start = identifier("start", &[&playbook.id]);
    export
        .workflow
        .insert(start.clone(), json!({ "type": "start", "on_completion": first }));
    let mut activities: Vec<&str> = playbook
        .all_steps()
        .iter()
        .filter_map(|step| match &step.does {
            Does::Act(act) => Some(actions::activity(act)),
            _ => None,
        })
        .collect();
    activities.sort_unstable();
    activities.dedup();
    let mut object = json!({
        "type": "playbook",
        "spec_version": SPEC,
        "id": identifier("playbook", &[&playbook.id]),
        "name": playbook.id,
        "created_by": AUTHOR,
        "created": at,
        "modified": at,
        "playbook_extensions": { EXTENSION: starts(playbook) },
        "workflow_start": start,
        "workflow": export.workflow,
        "agent_definitions": export.agents,
        "extension_definitions": { EXTENSION: definition() },
    });
    if let Some(fields) = object.as_object_mut() {
        if !activities.is_empty() {
            fields.insert("playbook_types".to_owned(), json!(["mitigation"]));
            fields.insert("playbook_activities".to_owned(), json!(activities));
        }
        if let Some(description) = &playbook.description {
            fields.insert("description".to_owned(), json!(description));
        }
        if let Some(severity) = playbook.severity {
            fields.insert("severity".to_owned(), json!(weight(severity)));
        }
    }
    object
}

/// A severity on the standard's scale, 100 the worst.
pub(super) fn weight(severity: Severity) -> u32 {
    match severity {
        Severity::P1 => 100,
        Severity::P2 => 75,
        Severity::P3 => 50,
        Severity::P4 => 25,
        Severity::P5 => 10,
    }
}

fn starts(playbook: &Playbook) -> Value {
    let mut starts = json!({ "start_rules": playbook.rules });
    if let (Some(severity), Some(fields)) = (playbook.severity, starts.as_object_mut()) {
        fields.insert("start_severity".to_owned(), json!(severity.name()));
    }
    starts
}

fn definition() -> Value {
    json!({
        "type": "extension-definition",
        "name": "Cordon playbook",
        "description": "What starts a playbook, and what the keeper of an on-chain guard does at a step",
        "created_by": AUTHOR,
        "schema": "On a playbook: start_severity (P1 to P4) and start_rules (ids of invariants). On a step: does (contain, retry, notify, page, wait, approve, escalate, note, close) with scope, level, seconds, channels, audience, text, until (a pattern over x-cordon-incident), role, severity; most_rounds on a while-condition.",
        "version": "1.0.0",
    })
}

struct Export<'a> {
    playbook: &'a str,
    workflow: Map<String, Value>,
    agents: Map<String, Value>,
}

impl Export<'_> {
    fn id(&self, kind: &str, step: &str) -> String {
        identifier(kind, &[self.playbook, step])
    }

    /// The end of a branch, which is its own.
    fn end(&mut self, branch: &str) -> String {
        let id = self.id("end", branch);
        self.workflow.insert(id.clone(), json!({ "type": "end" }));
        id
    }

    /// Steps that are done one after the other, then `end`. Answers the first one's identifier.
    fn sequence(&mut self, steps: &[Step], end: String) -> String {
        let mut next = end;
        for step in steps.iter().rev() {
            next = self.step(step, &next);
        }
        next
    }

    fn branch(&mut self, name: &str, steps: &[Step]) -> String {
        let end = self.end(name);
        self.sequence(steps, end)
    }

    fn step(&mut self, step: &Step, next: &str) -> String {
        let (kind, mut fields) = match &step.does {
            Does::Act(act) => ("action", self.action(act)),
            Does::If {
                condition,
                then,
                otherwise,
            } => {
                let mut fields = json!({
                    "condition": pattern::write(condition),
                    "on_true": self.branch(&format!("{}/then", step.id), then),
                });
                if !otherwise.is_empty() {
                    let on_false = self.branch(&format!("{}/else", step.id), otherwise);
                    put(&mut fields, "on_false", json!(on_false));
                }
                ("if-condition", fields)
            }
            Does::While { condition, most, steps } => (
                "while-condition",
                json!({
                    "condition": pattern::write(condition),
                    "on_true": self.branch(&format!("{}/steps", step.id), steps),
                    "step_extensions": { EXTENSION: { "most_rounds": most } },
                }),
            ),
            Does::Parallel(branches) => {
                let branches: Vec<String> = (1..)
                    .zip(branches)
                    .map(|(number, steps)| self.branch(&format!("{}/{number}", step.id), steps))
                    .collect();
                ("parallel", json!({ "next_steps": branches }))
            }
        };
        put(&mut fields, "type", json!(kind));
        put(&mut fields, "name", json!(step.id));
        match &step.on_failure {
            OnFailure::GoOn => put(&mut fields, "on_completion", json!(next)),
            OnFailure::Stop => put(&mut fields, "on_success", json!(next)),
            OnFailure::Run(handler) => {
                let handler = self.branch(&format!("{}/failed", step.id), handler);
                put(&mut fields, "on_success", json!(next));
                put(&mut fields, "on_failure", json!(handler));
            }
        }
        let id = self.id(kind, &step.id);
        self.workflow.insert(id.clone(), fields);
        id
    }

    fn action(&mut self, act: &Act) -> Value {
        let (agent, definition, timeout) = match act {
            Act::Approve { role, within, .. } => (
                identifier("group", &[role]),
                json!({ "type": "group", "name": role }),
                Some(u64::from(*within)),
            ),
            Act::Until { within, .. } => (keeper(), keeper_definition(), Some(u64::from(*within))),
            _ => (keeper(), keeper_definition(), None),
        };
        self.agents.insert(agent.clone(), definition);
        let mut fields = json!({
            "commands": [{
                "type": "manual",
                "command": actions::sentence(act),
                "playbook_activity": actions::activity(act),
            }],
            "agent": agent,
            "step_extensions": { EXTENSION: actions::extension(act) },
        });
        if let Some(seconds) = timeout {
            put(&mut fields, "timeout", json!(seconds.saturating_mul(1_000)));
        }
        fields
    }
}

fn keeper() -> String {
    identifier("security-category", &[KEEPER])
}

fn keeper_definition() -> Value {
    json!({ "type": "security-category", "name": KEEPER, "category": ["orchestrator"] })
}

fn put(fields: &mut Value, key: &str, value: Value) {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}
