//! From CACAO to a playbook.

use serde_json::Value;

use super::around::{Around, read_agents, read_targets};
use super::reader::{Object, Problems};
use super::workflow::Import;
use super::{EXTENSION, SPEC};
use crate::config::Severity;
use crate::playbook::Playbook;

/// Longest file, in bytes.
const LONGEST: usize = 1 << 20;

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
const METADATA: [&str; 12] = [
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
    // Who is asked to do something has credentials of their own.
    "authentication_info_definitions",
];
const UNSUPPORTED: [(&str, &str); 5] = [
    (
        "workflow_exception",
        "an exception handler of the whole workflow is not supported: use `on_failure` of its steps",
    ),
    (
        "signatures",
        "signatures are not checked: check them, and import the playbook without",
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
    let targets = object.entries("target_definitions");
    let variables = object.entries("playbook_variables");
    let start = object.identifier("workflow_start", Some("start"));
    if object.get("workflow").is_none() {
        object.problem("workflow", "the property is missing");
    }
    let workflow = object.entries("workflow");
    object.finish();
    extension_definitions(&definitions, problems);
    let (own_severity, rules) = starts_of(&starts, problems);
    let mut around = Around {
        agents: read_agents(&agents, problems),
        ..Around::default()
    };
    around.variables.read("playbook_variables", &variables, problems);
    around.targets = read_targets(&targets, &around.variables, problems);
    let mut import = Import::new(workflow, around, problems);
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

/// The standard's 1 to 100, by quarters; the lower half of the lowest is `P5`.
fn severity(object: &mut Object<'_, '_>) -> Option<Severity> {
    let value = object.get("severity")?;
    let weight = value.as_u64().filter(|weight| *weight <= 100);
    match object.check("severity", weight, || {
        "a whole number from 0 to 100 is wanted".to_owned()
    })? {
        0 => None,
        1..=12 => Some(Severity::P5),
        13..=25 => Some(Severity::P4),
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

/// A name that can be an id: letters, digits, `-` and `_`, at most 64.
pub(super) fn slug(text: &str, default: &str) -> String {
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
