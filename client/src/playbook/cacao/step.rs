//! One step of an imported workflow, read strictly.

use serde_json::Value;

use super::around::Around;
use super::reader::{Object, is_identifier};
use super::variables::Variables;
use super::{EXTENSION, actions, command, pattern};
use crate::playbook::{Act, Condition, MOST_ROUNDS};

/// How long somebody has to answer when the file does not say, in seconds.
const ANSWER: u32 = 86_400;
/// Longest text that somebody is asked, in characters: as in `cordon.toml`.
const LONGEST_TEXT: usize = 2_000;

/// What a step does, before its branches are read.
pub(super) enum Body<'a> {
    Act(Act),
    If(Condition, &'a str, Option<&'a str>),
    While(Condition, u32, &'a str),
    /// Cases with their names, and what is done in no case.
    Switch(Vec<(&'a str, Condition, &'a str)>, Option<&'a str>),
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
    object.optional_text("name")
}

/// The variables that a step sees: the playbook's, and its own.
fn variables(object: &mut Object<'_, '_>, around: &Around<'_>) -> Variables {
    let own = object.entries("step_variables");
    let mut seen = around.variables.clone();
    let place = format!("{}/step_variables", object.place);
    seen.read(&place, &own, object.problems());
    seen
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

pub(super) fn read_step<'a>(kind: &str, mut object: Object<'a, '_>, around: &Around<'_>) -> Option<ReadStep<'a>> {
    let name = common(&mut object, kind);
    let variables = variables(&mut object, around);
    let delay = seconds(&mut object, "delay");
    let body = match kind {
        "action" => action(&mut object, around, &variables).map(Body::Act),
        "if-condition" => {
            let condition = condition(&mut object, &variables);
            let on_true = object.identifier("on_true", None);
            let on_false = object.optional_identifier("on_false", None);
            condition
                .zip(on_true)
                .map(|(condition, on_true)| Body::If(condition, on_true, on_false))
        }
        "while-condition" => {
            let condition = condition(&mut object, &variables);
            let on_true = object.identifier("on_true", None);
            let most = rounds(&mut object);
            condition
                .zip(on_true)
                .zip(most)
                .map(|((condition, on_true), most)| Body::While(condition, most, on_true))
        }
        "parallel" => next_steps(&mut object).map(Body::Parallel),
        "switch-condition" => switch(&mut object, &variables),
        "playbook-action" => {
            object.problem(
                "",
                "a playbook-action is not supported: put the other playbook's steps here",
            );
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
        let message = format!("a limit of {timeout} ms is not supported for `{kind}`: limit its steps");
        object.problem("timeout", message);
    }
    object.finish();
    Some(read)
}

fn condition(object: &mut Object<'_, '_>, variables: &Variables) -> Option<Condition> {
    let text = object.text("condition")?;
    let read = variables.in_pattern(text).and_then(|replaced| {
        // Comparisons of variables are written without brackets, too.
        if replaced == text || replaced.trim_start().starts_with('[') {
            pattern::read(&replaced)
        } else {
            pattern::read(&format!("[{replaced}]"))
        }
    });
    object.result("condition", read)
}

/// What is done when a fact of the incident has which value.
fn switch<'a>(object: &mut Object<'a, '_>, variables: &Variables) -> Option<Body<'a>> {
    let asked = object.text("switch");
    let cases = object.entries("cases");
    let fact = asked.and_then(|asked| object.result("switch", variables.fact(asked)));
    if cases.is_empty() {
        object.problem("cases", "at least one case is wanted");
    }
    let mut found = Some(Vec::new());
    let mut default = None;
    for (case, value) in cases {
        let place = format!("cases/{case}");
        let id = value.as_str().filter(|id| is_identifier(id));
        let id = object.check(&place, id, || "an identifier TYPE--UUID is wanted".to_owned());
        if case == "default" {
            default = id;
            continue;
        }
        let condition = fact.and_then(|fact| {
            let condition = fact.is(case);
            object.check(&place, condition, || format!("`{case}` is no value of the variable"))
        });
        found = match (found, condition, id) {
            (Some(mut found), Some(condition), Some(id)) => {
                found.push((case, condition, id));
                Some(found)
            }
            _ => None,
        };
    }
    let found = found.filter(|found| !found.is_empty());
    if found.is_none() && default.is_some() && fact.is_some() {
        object.problem("cases", "a case besides `default` is wanted");
    }
    found.map(|cases| Body::Switch(cases, default))
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

fn action(object: &mut Object<'_, '_>, around: &Around<'_>, variables: &Variables) -> Option<Act> {
    object.unsupported(&[("out_args", "the keeper takes no values from a step")]);
    for name in object.optional_texts("in_args") {
        if !variables.has(&name) {
            object.problem("in_args", format!("the variable `{name}` is not defined"));
        }
    }
    let agent_id = object.identifier("agent", None);
    let agent = agent_id.and_then(|id| {
        let agent = around.agents.get(id).cloned();
        object.check("agent", agent, || format!("{id} is not among the agent_definitions"))
    });
    let targets = targets(object, around);
    let timeout = seconds(object, "timeout");
    let commands = command::read(object);
    let extensions = object.entries("step_extensions");
    foreign(object, &extensions);
    if let Some((_, value)) = extensions.iter().find(|(id, _)| *id == EXTENSION) {
        if !targets.is_empty() {
            object.problem("targets", "the keeper acts on its guard, and on no other target");
        }
        let place = format!("{}/step_extensions", object.place);
        let mut inner = Object::of(&place, value, object.problems())?;
        let act = actions::act(&mut inner);
        inner.finish();
        return act;
    }
    let (agent, commands) = (agent?, commands?);
    if agent.is_machine {
        if commands.iter().any(|command| !command.is_request) {
            object.problem(
                "agent",
                "a manual command is for people: a group, an individual or an organization",
            );
            return None;
        }
        let note = format!(
            "{}: the keeper sends no requests: somebody of the role {} is asked to",
            object.place, agent.role
        );
        object.problems().notes.push(note);
    }
    let mut texts: Vec<String> = commands.into_iter().map(|command| command.text).collect();
    if !targets.is_empty() {
        texts.push(format!("Targets: {}", targets.join(", ")));
    }
    let text = object.result("commands", variables.in_text(&texts.join("\n")))?;
    let fits = (text.chars().count() <= LONGEST_TEXT).then_some(text);
    let text = object.check("commands", fits, || {
        format!("what a person is asked has at most {LONGEST_TEXT} characters")
    })?;
    Some(Act::Approve {
        role: agent.role,
        text,
        within: timeout.unwrap_or(ANSWER),
    })
}

/// The targets of a step, as a person reads them.
fn targets(object: &mut Object<'_, '_>, around: &Around<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for id in object.optional_texts("targets") {
        let target = around.targets.get(id.as_str()).cloned();
        let target = object.check("targets", target, || {
            format!("{id} is not among the target_definitions")
        });
        found.extend(target);
    }
    found
}
