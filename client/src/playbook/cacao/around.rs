//! What the steps of an imported playbook refer to: agents, targets, variables.

use std::collections::BTreeMap;

use serde_json::Value;

use super::import::slug;
use super::reader::{Object, Problems, is_identifier, kind_of};
use super::variables::Variables;

/// Who carries out commands.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// The name of its role.
    pub(super) role: String,
    /// Not people: the keeper, or a machine that the keeper is not.
    pub(super) is_machine: bool,
}

/// Everything that steps may refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Around<'a> {
    pub(super) agents: BTreeMap<&'a str, Agent>,
    /// Names of targets, with their addresses.
    pub(super) targets: BTreeMap<&'a str, String>,
    pub(super) variables: Variables,
}

/// What an agent or target says of itself, and has no effect.
const DETAILS: [&str; 9] = [
    "location",
    "contact",
    "sector",
    "category",
    "port",
    "description",
    "username",
    "user_id",
    "authentication_info",
];

pub(super) fn read_agents<'a>(entries: &[(&'a str, &'a Value)], problems: &mut Problems) -> BTreeMap<&'a str, Agent> {
    let mut found = BTreeMap::new();
    for (id, value) in entries {
        if let Some((kind, name, _)) = party("agent_definitions", id, value, problems) {
            let agent = Agent {
                role: slug(name, "role"),
                is_machine: !matches!(kind, "group" | "individual" | "organization"),
            };
            found.insert(*id, agent);
        }
    }
    // What an agent is made of is not kept, but for its name: that is told once, and only where people are meant.
    problems
        .notes
        .retain(|note| !note.starts_with("agent_definitions/security-category--"));
    found
}

pub(super) fn read_targets<'a>(
    entries: &[(&'a str, &'a Value)],
    variables: &Variables,
    problems: &mut Problems,
) -> BTreeMap<&'a str, String> {
    let mut found = BTreeMap::new();
    for (id, value) in entries {
        let Some((_, name, addresses)) = party("target_definitions", id, value, problems) else {
            continue;
        };
        let text = if addresses.is_empty() {
            name.to_owned()
        } else {
            format!("{name} ({})", addresses.join(", "))
        };
        match variables.in_text(&text) {
            Ok(text) => {
                found.insert(*id, text);
            }
            Err(problem) => problems.found.push(format!("target_definitions/{id}: {problem}")),
        }
    }
    found
}

/// Type, name and addresses of an agent or a target.
fn party<'a>(
    list: &str,
    id: &'a str,
    value: &'a Value,
    problems: &mut Problems,
) -> Option<(&'a str, &'a str, Vec<String>)> {
    let place = format!("{list}/{id}");
    let mut object = Object::of(&place, value, problems)?;
    if !is_identifier(id) {
        object.problem("", "the key is no identifier TYPE--UUID");
    }
    let (kind, name) = (object.text("type"), object.text("name"));
    if let Some(kind) = kind
        && kind != kind_of(id)
    {
        object.problem("type", format!("`{kind}` is not the type of its identifier"));
    }
    object.metadata(&DETAILS);
    object.unsupported(&[("agent_target_extensions", "extensions of agents are not supported")]);
    let mut addresses = Vec::new();
    for (kind, value) in object.entries("address") {
        let texts: Option<Vec<&str>> = value
            .as_array()
            .and_then(|list| list.iter().map(Value::as_str).collect());
        match texts {
            Some(texts) => addresses.extend(texts.into_iter().map(str::to_owned)),
            None => object.problem("address", format!("a list of texts is wanted as {kind}")),
        }
    }
    object.finish();
    Some((kind?, name?, addresses))
}
