//! One step of an imported workflow, read strictly.

use std::collections::BTreeMap;

use serde_json::Value;

use super::import::Agent;
use super::reader::{Object, is_identifier};
use super::{EXTENSION, actions, pattern};
use crate::playbook::{Act, Condition, MOST_ROUNDS};

/// How long somebody has to answer when the file does not say, in seconds.
const ANSWER: u32 = 86_400;

/// What a step does, before its branches are read.
pub(super) enum Body<'a> {
    Act(Act),
    If(Condition, &'a str, Option<&'a str>),
    While(Condition, u32, &'a str),
    Parallel(Vec<&'a str>),
}

/// A step as it stands in the file.
pub(super) struct ReadStep<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) delay: Option<u32>,
    pub(super) body: Option<Body<'a>>,
    pub(super) on_completion: Option<&'a str>,
    pub(super) on_success: Option<&'a str>,
    pub(super) on_failure: Option<&'a str>,
}

/// What every step may have.
pub(super) fn common<'a>(object: &mut Object<'a, '_>, kind: &str) -> Option<&'a str> {
    if let Some(found) = object.text("type")
        && found != kind
    {
        object.problem("type", format!("`{found}` is not the type of its identifier"));
    }
    object.metadata(&["description", "external_references", "owner"]);
    object.unsupported(&[("step_variables", "variables are not supported")]);
    object.optional_text("name")
}

/// Whole seconds of a number of milliseconds.
fn seconds(object: &mut Object<'_, '_>, key: &'static str) -> Option<u32> {
    let value = object.get(key)?;
    let seconds = value
        .as_u64()
        .filter(|ms| *ms > 0 && ms.is_multiple_of(1_000))
        .and_then(|ms| u32::try_from(ms / 1_000).ok());
    object.check(key, seconds, || {
        format!("{value} is not a whole number of seconds in milliseconds")
    })
}

pub(super) fn read_step<'a>(
    kind: &str,
    mut object: Object<'a, '_>,
    agents: &BTreeMap<&str, Agent>,
) -> Option<ReadStep<'a>> {
    let name = common(&mut object, kind);
    let delay = seconds(&mut object, "delay");
    let body = match kind {
        "action" => action(&mut object, agents).map(Body::Act),
        "if-condition" => {
            let condition = condition(&mut object);
            let on_true = object.identifier("on_true", None);
            let on_false = object.optional_identifier("on_false", None);
            condition
                .zip(on_true)
                .map(|(condition, on_true)| Body::If(condition, on_true, on_false))
        }
        "while-condition" => {
            let condition = condition(&mut object);
            let on_true = object.identifier("on_true", None);
            let most = rounds(&mut object);
            condition
                .zip(on_true)
                .zip(most)
                .map(|((condition, on_true), most)| Body::While(condition, most, on_true))
        }
        "parallel" => next_steps(&mut object).map(Body::Parallel),
        "playbook-action" | "switch-condition" => {
            let help = if kind == "switch-condition" {
                "use if-conditions"
            } else {
                "put its steps here"
            };
            object.problem("", format!("a {kind} is not supported: {help}"));
            return None;
        }
        other => {
            object.problem("", format!("`{other}` is no type of a step"));
            return None;
        }
    };
    let read = ReadStep {
        name,
        delay,
        body,
        on_completion: object.optional_identifier("on_completion", None),
        on_success: object.optional_identifier("on_success", None),
        on_failure: object.optional_identifier("on_failure", None),
    };
    if kind != "action"
        && let Some(timeout) = object.get("timeout")
    {
        let message = format!("a limit of {timeout} ms for a {kind} is not supported: limit its steps");
        object.problem("timeout", message);
    }
    object.finish();
    Some(read)
}

fn condition(object: &mut Object<'_, '_>) -> Option<Condition> {
    let text = object.text("condition")?;
    let read = pattern::read(text);
    object.result("condition", read)
}

fn next_steps<'a>(object: &mut Object<'a, '_>) -> Option<Vec<&'a str>> {
    let list = object.get("next_steps").and_then(Value::as_array);
    let ids: Option<Vec<&str>> = list.and_then(|list| list.iter().map(Value::as_str).collect());
    let ids = ids.filter(|ids| ids.len() >= 2 && ids.iter().all(|id| is_identifier(id)));
    object.check("next_steps", ids, || {
        "a list of at least two identifiers is wanted".to_owned()
    })
}

fn rounds(object: &mut Object<'_, '_>) -> Option<u32> {
    let place = format!("{}/step_extensions", object.place);
    let extensions = object.entries("step_extensions");
    let Some((_, value)) = extensions.iter().find(|(id, _)| *id == EXTENSION) else {
        object.problem(
            "step_extensions",
            format!("a while-condition needs a bound: {EXTENSION} with `most_rounds`"),
        );
        return None;
    };
    foreign(object, &extensions);
    let mut inner = Object::of(&place, value, object.problems())?;
    let most = inner.seconds("most_rounds");
    inner.finish();
    let most = most?;
    object.check("step_extensions", (most <= MOST_ROUNDS).then_some(most), || {
        format!("{most} rounds are too many: {MOST_ROUNDS} at most")
    })
}

fn foreign(object: &mut Object<'_, '_>, extensions: &[(&str, &Value)]) {
    for (id, _) in extensions {
        if *id != EXTENSION {
            object.problem("step_extensions", format!("the extension {id} is not known"));
        }
    }
}

fn action(object: &mut Object<'_, '_>, agents: &BTreeMap<&str, Agent>) -> Option<Act> {
    object.unsupported(&[
        ("targets", "targets are not supported: the keeper acts on its guard"),
        ("in_args", "variables are not supported"),
        ("out_args", "variables are not supported"),
    ]);
    let agent_id = object.identifier("agent", None);
    let agent = agent_id.and_then(|id| {
        let agent = agents.get(id).cloned();
        object.check("agent", agent, || format!("{id} is not among the agent_definitions"))
    });
    let timeout = seconds(object, "timeout");
    let commands = commands(object);
    let extensions = object.entries("step_extensions");
    foreign(object, &extensions);
    if let Some((_, value)) = extensions.iter().find(|(id, _)| *id == EXTENSION) {
        let place = format!("{}/step_extensions", object.place);
        let mut inner = Object::of(&place, value, object.problems())?;
        let act = actions::act(&mut inner);
        inner.finish();
        return act;
    }
    match (agent?, commands?.as_slice()) {
        (Agent::People(role), [text]) => Some(Act::Approve {
            role,
            text: text.clone(),
            within: timeout.unwrap_or(ANSWER),
        }),
        (Agent::People(role), texts) => Some(Act::Approve {
            role,
            text: texts.join("\n"),
            within: timeout.unwrap_or(ANSWER),
        }),
        (Agent::Machine, _) => {
            object.problem(
                "agent",
                "a manual command is for people: a group, an individual or an organization",
            );
            None
        }
    }
}

/// The texts of manual commands; what is not manual is a problem.
fn commands(object: &mut Object<'_, '_>) -> Option<Vec<String>> {
    let place = format!("{}/commands", object.place);
    let list = object
        .get("commands")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let list = object.check("commands", list, || {
        "a list of at least one command is wanted".to_owned()
    })?;
    let mut texts = Vec::new();
    let mut fine = true;
    for (number, value) in list.iter().enumerate() {
        let Some(mut command) = Object::of(&format!("{place}/{number}"), value, object.problems()) else {
            fine = false;
            continue;
        };
        match command.text("type") {
            Some("manual") => {}
            Some(other) => {
                command.problem(
                    "type",
                    format!("commands of type `{other}` are not carried out by the keeper"),
                );
                fine = false;
                continue;
            }
            None => {
                fine = false;
                continue;
            }
        }
        command.unsupported(&[("command_b64", "an encoded command is not supported: use `command`")]);
        for key in ["playbook_activity", "version", "description"] {
            command.optional_text(key);
        }
        command.metadata(&["external_references"]);
        match command.text("command") {
            Some(text) if !text.trim().is_empty() => texts.push(text.to_owned()),
            _ => fine = false,
        }
        command.finish();
    }
    fine.then_some(texts)
}
