//! What a step of ours does, in the step extension and as a sentence for a person.

use serde_json::{Map, Value, json};

use super::pattern;
use super::reader::Object;
use crate::config::{Audience, Severity, format_duration};
use crate::playbook::{Act, To};
use cordon_core::level::Level;

/// The sentence of the `manual` command: what a person would do in the keeper's place.
pub(super) fn sentence(act: &Act) -> String {
    let of = |scope: &Option<String>| match scope {
        Some(scope) => format!("the scope {scope}"),
        None => "the incident's scope".to_owned(),
    };
    let time = |seconds: &u32| format_duration(u64::from(*seconds));
    match act {
        Act::Contain { scope, level, seconds } => {
            format!("Raise {} to {} for {}.", of(scope), level.name(), time(seconds))
        }
        Act::ContainSet { set } => format!("Contain what the containment set {set} names."),
        Act::Retry { scope } => format!("Run the failed containment calls of {} again.", of(scope)),
        Act::Notify { to, text } => format!("Tell {}: {text}", whom(to)),
        Act::Page { to, text } => format!("Call {}: {text}", whom(to)),
        Act::Wait { seconds } => format!("Wait for {}.", time(seconds)),
        Act::Until { condition, within } => format!("Wait until {condition}, for {} at most.", time(within)),
        Act::Approve { text, .. } => text.clone(),
        Act::Escalate { severity } => format!("Raise the incident's severity to {severity}."),
        Act::Note { text } => format!("Note in the timeline: {text}"),
        Act::Close => "Close the incident.".to_owned(),
    }
}

fn whom(to: &To) -> String {
    let mut names = to.channels.clone();
    names.extend(to.audience.map(|audience| format!("the audience {}", audience.name())));
    if names.is_empty() {
        "whoever is told of the incident".to_owned()
    } else {
        names.join(", ")
    }
}

/// The activity of the standard's vocabulary that fits best.
pub(super) fn activity(act: &Act) -> &'static str {
    match act {
        Act::Contain { .. } | Act::ContainSet { .. } | Act::Retry { .. } => "restrict-access",
        Act::Notify { .. } | Act::Page { .. } => "deliver-content",
        Act::Note { .. } => "compose-content",
        Act::Approve { .. } => "execute-operation",
        Act::Wait { .. } | Act::Until { .. } | Act::Escalate { .. } | Act::Close => "step-sequence",
    }
}

/// The extension's properties.
pub(super) fn extension(act: &Act) -> Value {
    let mut properties = Map::new();
    let mut put = |key: &str, value: Value| {
        properties.insert(key.to_owned(), value);
    };
    // The names of properties have at least three letters, by the standard.
    put("does", json!(act.name()));
    match act {
        Act::Contain { scope, level, seconds } => {
            put("scope", json!(scope));
            put("level", json!(level.name()));
            put("seconds", json!(seconds));
        }
        Act::ContainSet { set } => put("set", json!(set)),
        Act::Retry { scope } => put("scope", json!(scope)),
        Act::Notify { to, text } | Act::Page { to, text } => {
            put("channels", json!(to.channels));
            put("audience", json!(to.audience.map(Audience::name)));
            put("text", json!(text));
        }
        Act::Wait { seconds } => put("seconds", json!(seconds)),
        Act::Until { condition, within } => {
            put("until", json!(pattern::write(condition)));
            put("seconds", json!(within));
        }
        Act::Approve { role, text, within } => {
            put("role", json!(role));
            put("text", json!(text));
            put("seconds", json!(within));
        }
        Act::Escalate { severity } => put("severity", json!(severity.name())),
        Act::Note { text } => put("text", json!(text)),
        Act::Close => {}
    }
    properties.retain(|_, value| !value.is_null());
    Value::Object(properties)
}

/// Reads the extension's properties. Problems go to the object; `None` when there are some.
pub(super) fn act(object: &mut Object<'_, '_>) -> Option<Act> {
    let does = object.text("does")?;
    match does {
        "contain" => {
            let (scope, level) = (object.optional_text("scope"), object.text("level"));
            let level = level.and_then(|name| {
                let level = Level::from_name(name).filter(|level| level.is_raised());
                object.check("level", level, || format!("`{name}` is no level"))
            });
            let seconds = object.seconds("seconds");
            Some(Act::Contain {
                scope: scope.map(str::to_owned),
                level: level?,
                seconds: seconds?,
            })
        }
        "contain-set" => object.text("set").map(|set| Act::ContainSet { set: set.to_owned() }),
        "retry" => Some(Act::Retry {
            scope: object.optional_text("scope").map(str::to_owned),
        }),
        "notify" | "page" => {
            let channels = object.optional_texts("channels");
            let audience = match object.optional_text("audience") {
                None => None,
                Some(name) => {
                    let audience = Audience::ALL.into_iter().find(|audience| audience.name() == name);
                    Some(object.check("audience", audience, || format!("`{name}` is no audience"))?)
                }
            };
            let to = To { channels, audience };
            let text = object.text("text")?.to_owned();
            Some(if does == "page" {
                Act::Page { to, text }
            } else {
                Act::Notify { to, text }
            })
        }
        "wait" => match object.optional_text("until") {
            None => object.seconds("seconds").map(|seconds| Act::Wait { seconds }),
            Some(until) => {
                let condition = pattern::read(until);
                let condition = object.result("until", condition);
                let within = object.seconds("seconds");
                Some(Act::Until {
                    condition: condition?,
                    within: within?,
                })
            }
        },
        "approve" => {
            let (role, text, within) = (object.text("role"), object.text("text"), object.seconds("seconds"));
            Some(Act::Approve {
                role: role?.to_owned(),
                text: text?.to_owned(),
                within: within?,
            })
        }
        "escalate" => {
            let name = object.text("severity")?;
            let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name);
            let severity = object.check("severity", severity, || format!("`{name}` is no severity"));
            Some(Act::Escalate { severity: severity? })
        }
        "note" => object.text("text").map(|text| Act::Note { text: text.to_owned() }),
        "close" => Some(Act::Close),
        other => object.check("does", None, || format!("`{other}` is nothing that the keeper does")),
    }
}
