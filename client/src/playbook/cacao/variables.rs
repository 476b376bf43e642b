//! Variables of a playbook: constants, which are written in where they are used, and what the keeper knows of the incident.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pattern;
use super::reader::{Object, Problems};
use crate::playbook::condition::LEVELS;
use crate::playbook::{Condition, Relation, RuleSays, Standing};

/// How a variable is referred to: its name, then this.
const REFERENCE: &str = ":value";
/// Longest value, in characters.
const LONGEST: usize = 2_000;

/// What is known of an incident, as an external variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Severity,
    Level,
    State,
    Verdict,
    Acknowledged,
    Age,
}

impl Fact {
    const ALL: [(&'static str, &'static str, Self); 6] = [
        ("__incident_severity__", "severity", Self::Severity),
        ("__incident_level__", "level", Self::Level),
        ("__incident_state__", "state", Self::State),
        ("__incident_verdict__", "verdict", Self::Verdict),
        ("__incident_acknowledged__", "acknowledged", Self::Acknowledged),
        ("__incident_age__", "age", Self::Age),
    ];

    fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _, _)| *known == name);
        found.map(|(_, _, fact)| *fact)
    }

    fn property(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, _, fact)| *fact == self);
        found.map_or("", |(_, property, _)| property)
    }

    /// That it has this value, as a case of a switch names it.
    pub(super) fn is(self, case: &str) -> Option<Condition> {
        let equal = Relation::Equal;
        match self {
            Self::Severity => {
                let severity = crate::config::Severity::ALL
                    .into_iter()
                    .find(|held| held.name() == case)?;
                Some(Condition::Severity(equal, severity))
            }
            Self::Level => {
                let level = LEVELS.into_iter().find(|level| level.name() == case)?;
                Some(Condition::Level(equal, level))
            }
            Self::State => {
                let standing = Standing::ALL.into_iter().find(|held| held.name() == case)?;
                Some(Condition::State(equal, standing))
            }
            Self::Verdict => {
                let says = RuleSays::ALL.into_iter().find(|held| held.name() == case)?;
                Some(Condition::Verdict {
                    rule: None,
                    relation: equal,
                    says,
                })
            }
            Self::Acknowledged => case.parse().ok().map(Condition::Acknowledged),
            Self::Age => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Text(String),
    /// A number or a truth value: without quotes in a pattern.
    Bare(String),
    Known(Fact),
}

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(BTreeMap<String, Meaning>);

impl Variables {
    /// Reads `playbook_variables` or `step_variables`, which stand at `place`.
    pub(super) fn read(&mut self, place: &str, entries: &[(&str, &Value)], problems: &mut Problems) {
        for (name, value) in entries {
            let Some(mut object) = Object::of(&format!("{place}/{name}"), value, problems) else {
                continue;
            };
            if let Some(meaning) = meaning(name, &mut object) {
                self.0.insert((*name).to_owned(), meaning);
            }
            object.finish();
        }
    }

    /// Whether it is defined.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What a switch asks: a reference to a fact.
    pub(super) fn fact(&self, reference: &str) -> Result<Fact, String> {
        let name = reference.strip_suffix(REFERENCE).unwrap_or(reference);
        match self.0.get(name) {
            Some(Meaning::Known(fact)) => Ok(*fact),
            Some(_) => Err(format!(
                "`{name}` does not change, so that only one case would ever be done: put its steps here"
            )),
            None => Err(format!("the variable `{name}` is not defined")),
        }
    }

    /// A text for people, with values in the place of variables.
    pub(super) fn in_text(&self, text: &str) -> Result<String, String> {
        replaced(text, |name| match self.0.get(name) {
            Some(Meaning::Text(value) | Meaning::Bare(value)) => Ok(value.clone()),
            Some(Meaning::Known(_)) => Err(format!(
                "`{name}` changes with the incident, which a text cannot: leave it to a condition"
            )),
            None => Err(format!("the variable `{name}` is not defined")),
        })
    }

    /// A condition's pattern, with values and what is known of the incident in the place of variables.
    pub(super) fn in_pattern(&self, text: &str) -> Result<String, String> {
        replaced(text, |name| match self.0.get(name) {
            Some(Meaning::Bare(value)) => Ok(value.clone()),
            Some(Meaning::Text(value)) if value.contains(['\'', '\\']) => Err(format!(
                "the value of `{name}` has a quote in it, which no comparison has"
            )),
            Some(Meaning::Text(value)) => Ok(format!("'{value}'")),
            Some(Meaning::Known(fact)) => Ok(format!("{}{}", pattern::OBJECT, fact.property())),
            None => Err(format!("the variable `{name}` is not defined")),
        })
    }
}

fn meaning(name: &str, object: &mut Object<'_, '_>) -> Option<Meaning> {
    let kind = object.text("type");
    object.optional_text("description");
    let value = object.optional_text("value");
    let external = object.truth("external");
    object.truth("constant");
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let is_name = inner.is_some_and(|inner| !inner.is_empty() && inner.chars().all(is_part));
    if !is_name {
        object.problem("", "the name of a variable is `__NAME__`");
        return None;
    }
    if external {
        let known: Vec<&str> = Fact::ALL.iter().map(|(name, _, _)| *name).collect();
        let fact = Fact::of(name).map(Meaning::Known);
        return object.check("external", fact, || {
            format!(
                "its value is not known to the keeper; what is known: {}",
                known.join(", ")
            )
        });
    }
    let value = object.check("value", value, || {
        "a variable that is not external has a value".to_owned()
    })?;
    match kind? {
        "integer" | "long" => {
            let number = value
                .parse::<i64>()
                .ok()
                .map(|number| Meaning::Bare(number.to_string()));
            object.check("value", number, || format!("`{value}` is no whole number"))
        }
        "bool" => {
            let truth = value.parse::<bool>().ok().map(|truth| Meaning::Bare(truth.to_string()));
            object.check("value", truth, || format!("`{value}` is neither true nor false"))
        }
        kind @ ("dictionary" | "list") => {
            object.problem("type", format!("a variable of type {kind} is not supported"));
            None
        }
        _ => {
            let text = (value.chars().count() <= LONGEST).then(|| Meaning::Text(value.to_owned()));
            object.check("value", text, || format!("a value has at most {LONGEST} characters"))
        }
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The text with each `__NAME__:value` replaced.
fn replaced(text: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(end) = rest.find(REFERENCE) {
        let (before, after) = rest.split_at_checked(end).unwrap_or_default();
        let start = before.trim_end_matches(is_part).len();
        let (kept, name) = before.split_at_checked(start).unwrap_or_default();
        out.push_str(kept);
        if name.len() > 4 && name.starts_with("__") && name.ends_with("__") {
            out.push_str(&value(name)?);
        } else {
            out.push_str(name);
            out.push_str(REFERENCE);
        }
        rest = after.get(REFERENCE.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}
