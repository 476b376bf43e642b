//! From CACAO to a playbook.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::reader::{Object, Problems, is_identifier, kind_of};
use super::{EXTENSION, SPEC, actions, pattern};
use crate::config::Severity;
use crate::playbook::{Act, DEEPEST, Does, MOST_ROUNDS, MOST_STEPS, OnFailure, Playbook, Step};

/// Longest file, in bytes.
const LONGEST: usize = 1 << 20;
/// How long somebody has to answer when the file does not say, in seconds.
const ANSWER: u32 = 86_400;

/// What an imported file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The playbook.
    pub playbook: Playbook,
    /// What is not kept, and what is understood otherwise: nothing of it changes what is done.
    pub notes: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this playbook cannot be carried out by the keeper:\n- {}", .problems.join("\n- "))]
pub struct ImportError {
    /// Each part that is wrong, or that the keeper cannot do.
    pub problems: Vec<String>,
}

/// What has no effect on what is done.
const METADATA: [&str; 11] = [
    "playbook_types",
    "playbook_activities",
    "playbook_processing_summary",
    "derived_from",
    "related_to",
    "priority",
    "impact",
    "industry_sectors",
    "labels",
    "external_references",
    "markings",
];
const UNSUPPORTED: [(&str, &str); 8] = [
    (
        "playbook_variables",
        "variables are not supported: write the values where they are used",
    ),
    (
        "workflow_exception",
        "an exception handler of the whole workflow is not supported: use `on_failure` of its steps",
    ),
    (
        "signatures",
        "signatures are not checked: check them, and import the playbook without",
    ),
    ("authentication_info_definitions", "credentials are not imported"),
    (
        "target_definitions",
        "targets are not supported: the keeper acts on its guard",
    ),
    ("valid_from", "a time of validity is not supported"),
    ("valid_until", "a time of validity is not supported"),
    (
        "data_marking_definitions",
        "markings are not kept: handle the file as they say, and import the playbook without",
    ),
];

/// Reads a CACAO 2.0 playbook.
///
/// # Errors
/// [`ImportError`] names everything that breaks the standard's rules or that the keeper cannot carry out.
pub fn import(text: &str) -> Result<Imported, ImportError> {
    let refuse = |problem: String| ImportError {
        problems: vec![problem],
    };
    if text.len() > LONGEST {
        return Err(refuse(format!("the file is longer than {LONGEST} bytes")));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| refuse(format!("the file is no JSON: {error}")))?;
    let mut problems = Problems::default();
    let playbook = playbook(&value, &mut problems);
    match playbook {
        Some(playbook) if problems.found.is_empty() => Ok(Imported {
            playbook,
            notes: problems.notes,
        }),
        _ => Err(ImportError {
            problems: problems.found,
        }),
    }
}

fn playbook(value: &Value, problems: &mut Problems) -> Option<Playbook> {
    let mut object = Object::of("", value, problems)?;
    for (key, wanted) in [("type", "playbook"), ("spec_version", SPEC)] {
        if let Some(text) = object.text(key)
            && text != wanted
        {
            object.problem(key, format!("`{text}` is not `{wanted}`"));
        }
    }
    object.identifier("id", Some("playbook"));
    object.identifier("created_by", Some("identity"));
    if let (Some(created), Some(modified)) = (object.time("created"), object.time("modified"))
        && modified < created
    {
        object.problem("modified", "is before `created`");
    }
    let name = object.text("name");
    let description = object.optional_text("description").map(str::to_owned);
    if object
        .get("revoked")
        .is_some_and(|revoked| *revoked != Value::Bool(false))
    {
        object.problem("revoked", "its author has revoked the playbook");
    }
    object.unsupported(&UNSUPPORTED);
    object.metadata(&METADATA);
    let severity = severity(&mut object);
    let starts = object.entries("playbook_extensions");
    let definitions = object.entries("extension_definitions");
    let agents = object.entries("agent_definitions");
    let start = object.identifier("workflow_start", Some("start"));
    if object.get("workflow").is_none() {
        object.problem("workflow", "the property is missing");
    }
    let workflow = object.entries("workflow");
    object.finish();
    extension_definitions(&definitions, problems);
    let (own_severity, rules) = starts_of(&starts, problems);
    let agents = read_agents(&agents, problems);
    let mut import = Import {
        workflow: workflow.into_iter().collect(),
        agents,
        reached: BTreeSet::new(),
        names: BTreeSet::new(),
        problems,
    };
    let steps = import.branch(start?, 0);
    import.unreached();
    if steps.as_ref().is_some_and(Vec::is_empty) {
        problems.found.push("workflow: a playbook needs an action".to_owned());
    }
    Some(Playbook {
        id: slug(name?, "playbook"),
        description,
        severity: own_severity.or(severity),
        rules,
        steps: steps?,
    })
}

/// The standard's 1 to 100, by quarters.
fn severity(object: &mut Object<'_, '_>) -> Option<Severity> {
    let value = object.get("severity")?;
    let weight = value.as_u64().filter(|weight| *weight <= 100);
    match object.check("severity", weight, || {
        "a whole number from 0 to 100 is wanted".to_owned()
    })? {
        0 => None,
        1..=25 => Some(Severity::P4),
        26..=50 => Some(Severity::P3),
        51..=75 => Some(Severity::P2),
        _ => Some(Severity::P1),
    }
}

fn extension_definitions(definitions: &[(&str, &Value)], problems: &mut Problems) {
    for (id, value) in definitions {
        let place = format!("extension_definitions/{id}");
        if *id != EXTENSION {
            let problem = format!("{place}: the extension is not known: what it says would not be done");
            problems.found.push(problem);
            continue;
        }
        let Some(mut object) = Object::of(&place, value, problems) else {
            continue;
        };
        object.text("type");
        object.text("name");
        object.identifier("created_by", Some("identity"));
        object.text("schema");
        if let Some(version) = object.text("version")
            && !version.starts_with("1.")
        {
            object.problem("version", format!("version {version} is newer than this keeper"));
        }
        object.optional_text("description");
        object.metadata(&["external_references"]);
        object.finish();
    }
}

fn starts_of(extensions: &[(&str, &Value)], problems: &mut Problems) -> (Option<Severity>, Vec<String>) {
    let mut found = (None, Vec::new());
    for (id, value) in extensions {
        let place = format!("playbook_extensions/{id}");
        if *id != EXTENSION {
            problems.found.push(format!("{place}: the extension is not known"));
            continue;
        }
        let Some(mut object) = Object::of(&place, value, problems) else {
            continue;
        };
        let severity = object.optional_text("start_severity").and_then(|name| {
            let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name);
            object.check("start_severity", severity, || format!("`{name}` is no severity"))
        });
        found = (severity, object.optional_texts("start_rules"));
        object.finish();
    }
    found
}

/// Who carries out commands.
#[derive(Clone, Debug)]
enum Agent {
    /// People, by the name of their role.
    People(String),
    /// A machine: ours, or one that is not.
    Machine,
}

fn read_agents<'a>(agents: &[(&'a str, &'a Value)], problems: &mut Problems) -> BTreeMap<&'a str, Agent> {
    let mut found = BTreeMap::new();
    for (id, value) in agents {
        let place = format!("agent_definitions/{id}");
        let Some(mut object) = Object::of(&place, value, problems) else {
            continue;
        };
        if !is_identifier(id) {
            object.problem("", "the key is no identifier TYPE--UUID");
        }
        let (kind, name) = (object.text("type"), object.text("name"));
        if let Some(kind) = kind
            && kind != kind_of(id)
        {
            object.problem("type", format!("`{kind}` is not the type of its identifier"));
        }
        object.metadata(&[
            "location",
            "contact",
            "sector",
            "category",
            "address",
            "port",
            "description",
            "username",
        ]);
        object.unsupported(&[
            ("agent_target_extensions", "extensions of agents are not supported"),
            ("authentication_info", "credentials are not imported"),
        ]);
        object.finish();
        let (Some(kind), Some(name)) = (kind, name) else {
            continue;
        };
        let agent = match kind {
            "group" | "individual" | "organization" => Agent::People(slug(name, "role")),
            _ => Agent::Machine,
        };
        found.insert(*id, agent);
    }
    // What an agent is made of is not kept, but for its name: that is told once, and only where people are meant.
    problems
        .notes
        .retain(|note| !note.starts_with("agent_definitions/security-category--"));
    found
}

struct Import<'a, 'p> {
    workflow: BTreeMap<&'a str, &'a Value>,
    agents: BTreeMap<&'a str, Agent>,
    reached: BTreeSet<&'a str>,
    names: BTreeSet<String>,
    problems: &'p mut Problems,
}

/// A step, and the one that follows.
type Next<'a> = (Option<Step>, Option<&'a str>);

impl<'a> Import<'a, '_> {
    fn say(&mut self, id: &str, message: &str) {
        self.problems.found.push(format!("workflow/{id}: {message}"));
    }

    /// The steps from `id` to the end of its branch.
    fn branch(&mut self, id: &'a str, depth: usize) -> Option<Vec<Step>> {
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
        if !is_identifier(id) {
            self.say(id, "the key is no identifier TYPE--UUID");
        }
        Object::of(&format!("workflow/{id}"), value, self.problems)
    }

    fn step(&mut self, id: &'a str, value: &'a Value, depth: usize, before: &mut Vec<Step>) -> Next<'a> {
        let kind = kind_of(id);
        let agents = std::mem::take(&mut self.agents);
        let Some(object) = Object::of(&format!("workflow/{id}"), value, self.problems) else {
            return (None, None);
        };
        let read = read_step(kind, object, &agents);
        self.agents = agents;
        let Some(read) = read else { return (None, None) };
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
            Some(body) => self.body(body, depth),
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

    fn body(&mut self, body: Body<'a>, depth: usize) -> Option<Does> {
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

    fn unreached(&mut self) {
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

/// What a step does, before its branches are read.
enum Body<'a> {
    Act(Act),
    If(crate::playbook::Condition, &'a str, Option<&'a str>),
    While(crate::playbook::Condition, u32, &'a str),
    Parallel(Vec<&'a str>),
}

struct ReadStep<'a> {
    name: Option<&'a str>,
    delay: Option<u32>,
    body: Option<Body<'a>>,
    on_completion: Option<&'a str>,
    on_success: Option<&'a str>,
    on_failure: Option<&'a str>,
}

/// What every step may have.
fn common<'a>(object: &mut Object<'a, '_>, kind: &str) -> Option<&'a str> {
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

fn read_step<'a>(kind: &str, mut object: Object<'a, '_>, agents: &BTreeMap<&str, Agent>) -> Option<ReadStep<'a>> {
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

fn condition(object: &mut Object<'_, '_>) -> Option<crate::playbook::Condition> {
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

/// A name that can be an id: letters, digits, `-` and `_`, at most 64.
fn slug(text: &str, default: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fine) {
        return text.to_owned();
    }
    let mut slug = String::new();
    for c in text.chars() {
        if fine(c) {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 56 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        default.to_owned()
    } else {
        slug.to_owned()
    }
}
