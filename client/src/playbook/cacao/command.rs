//! Commands that a person can carry out.

use std::fmt::Write;

use serde_json::Value;

use super::reader::Object;

/// A command as a person reads it, with variables as they are written.
pub(super) struct Command {
    pub(super) text: String,
    /// A request to be sent (`http-api`), which a machine was meant to send.
    pub(super) is_request: bool,
}

/// The commands of a step. Those that no person could follow are problems.
pub(super) fn read(object: &mut Object<'_, '_>) -> Option<Vec<Command>> {
    let place = format!("{}/commands", object.place);
    let list = object
        .get("commands")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let list = object.check("commands", list, || {
        "a list of at least one command is wanted".to_owned()
    })?;
    let mut found = Vec::new();
    for (number, value) in list.iter().enumerate() {
        let command = Object::of(&format!("{place}/{number}"), value, object.problems());
        found.push(command.and_then(one));
    }
    found.into_iter().collect()
}

fn one(mut command: Object<'_, '_>) -> Option<Command> {
    let is_request = match command.text("type")? {
        "manual" => false,
        "http-api" => true,
        other => {
            command.problem(
                "type",
                format!("commands of type `{other}` are not carried out by the keeper"),
            );
            return None;
        }
    };
    command.unsupported(&[("command_b64", "an encoded command is not supported: use `command`")]);
    for key in ["playbook_activity", "version", "description"] {
        command.optional_text(key);
    }
    command.metadata(&["external_references"]);
    let written = command.text("command").filter(|text| !text.trim().is_empty());
    let text = if is_request {
        written.map(|written| request(written, &mut command))
    } else {
        written.map(str::to_owned)
    };
    command.finish();
    text.map(|text| Command { text, is_request })
}

/// A request as a sentence: its first line, its headers, its content.
fn request(written: &str, command: &mut Object<'_, '_>) -> String {
    let mut text = format!("Send the HTTP request `{}`", written.trim());
    command.unsupported(&[("content_b64", "encoded content is not supported: use `content`")]);
    for (name, value) in command.entries("headers") {
        let values: Option<Vec<&str>> = match value {
            Value::String(value) => Some(vec![value]),
            Value::Array(values) => values.iter().map(Value::as_str).collect(),
            _ => None,
        };
        match values {
            // Writing to a string cannot fail.
            Some(values) => {
                let _ = write!(text, "; {name}: {}", values.join(", "));
            }
            None => command.problem("headers", format!("a text, or a list of texts, is wanted as {name}")),
        }
    }
    if let Some(content) = command.optional_text("content") {
        let _ = write!(text, "; with the content: {content}");
    }
    text
}
