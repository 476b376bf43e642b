//! JSON objects read strictly: what nobody asked for is a problem that is named.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Problems of a file, each with its place.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) found: Vec<String>,
    /// What is not kept and changes nothing that is done.
    pub(super) notes: Vec<String>,
}

/// An object of the file. When it is finished, what was not read is a problem.
pub(super) struct Object<'a, 'p> {
    pub(super) place: String,
    map: &'a Map<String, Value>,
    read: BTreeSet<&'static str>,
    problems: &'p mut Problems,
}

impl<'a, 'p> Object<'a, 'p> {
    /// `value` as an object; a problem when it is none.
    pub(super) fn of(place: &str, value: &'a Value, problems: &'p mut Problems) -> Option<Self> {
        let Value::Object(map) = value else {
            let place = if place.is_empty() { "the file" } else { place };
            problems.found.push(format!("{place}: an object is wanted"));
            return None;
        };
        Some(Self {
            place: place.to_owned(),
            map,
            read: BTreeSet::new(),
            problems,
        })
    }

    pub(super) fn problem(&mut self, key: &str, message: impl AsRef<str>) {
        let place = match (self.place.as_str(), key) {
            (place, "") => place.to_owned(),
            ("", key) => key.to_owned(),
            (place, key) => format!("{place}/{key}"),
        };
        self.problems.found.push(format!("{place}: {}", message.as_ref()));
    }

    pub(super) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// A property that may be missing.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.insert(key);
        self.map.get(key)
    }

    /// The value, or a problem in its place.
    pub(super) fn check<T>(&mut self, key: &str, value: Option<T>, message: impl FnOnce() -> String) -> Option<T> {
        if value.is_none() {
            self.problem(key, message());
        }
        value
    }

    pub(super) fn result<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.problem(key, message)).ok()
    }

    /// A text that has to be there.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text),
            Some(_) => self.check(key, None, || "a text is wanted".to_owned()),
            None => self.check(key, None, || "the property is missing".to_owned()),
        }
    }

    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<&'a str> {
        self.get(key)?;
        self.text(key)
    }

    /// True or false; false when it is missing.
    pub(super) fn truth(&mut self, key: &'static str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::Bool(truth)) => *truth,
            Some(_) => {
                self.problem(key, "true or false is wanted");
                false
            }
        }
    }

    /// A list of texts; empty when it is missing.
    pub(super) fn optional_texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let texts: Option<Vec<String>> = value
            .as_array()
            .and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        self.check(key, texts, || "a list of texts is wanted".to_owned())
            .unwrap_or_default()
    }

    /// A whole number of at least 1 that has to be there.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<u32> {
        let number = self.get(key).and_then(Value::as_u64);
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0);
        self.check(key, number, || "a whole number of at least 1 is wanted".to_owned())
    }

    /// An identifier of the standard, `type--UUID`. Of this type, unless none is wanted.
    pub(super) fn identifier(&mut self, key: &'static str, kind: Option<&str>) -> Option<&'a str> {
        let text = self.text(key)?;
        let fine = is_identifier(text) && kind.is_none_or(|kind| kind_of(text) == kind);
        let wanted = kind.unwrap_or("TYPE");
        self.check(key, fine.then_some(text), || {
            format!("`{text}` is no identifier {wanted}--UUID")
        })
    }

    pub(super) fn optional_identifier(&mut self, key: &'static str, kind: Option<&str>) -> Option<&'a str> {
        self.get(key)?;
        self.identifier(key, kind)
    }

    /// A time of the standard: RFC 3339 in UTC.
    pub(super) fn time(&mut self, key: &'static str) -> Option<&'a str> {
        let text = self.text(key)?;
        self.check(key, is_time(text).then_some(text), || {
            format!("`{text}` is no time such as 2026-11-21T08:00:00.000Z")
        })
    }

    /// The entries of a property that is an object; none when it is missing.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(&'a str, &'a Value)> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            Some(_) => {
                self.problem(key, "an object is wanted");
                Vec::new()
            }
        }
    }

    /// What is said and has no effect: it is noted that it is not kept.
    pub(super) fn metadata(&mut self, keys: &[&'static str]) {
        for key in keys {
            if self.get(key).is_some() {
                let place = if self.place.is_empty() {
                    (*key).to_owned()
                } else {
                    format!("{}/{key}", self.place)
                };
                self.problems.notes.push(format!("{place} is not kept"));
            }
        }
    }

    /// What has an effect that cannot be had.
    pub(super) fn unsupported(&mut self, table: &[(&'static str, &str)]) {
        for (key, why) in table {
            if self.get(key).is_some() {
                self.problem(key, why);
            }
        }
    }

    /// Names what nobody has asked for.
    pub(super) fn finish(self) {
        for key in self.map.keys() {
            if !self.read.contains(key.as_str()) {
                let place = if self.place.is_empty() {
                    "the playbook"
                } else {
                    &self.place
                };
                self.problems
                    .found
                    .push(format!("{place}: the property `{key}` is not known here"));
            }
        }
    }
}

/// The type of an identifier.
pub(super) fn kind_of(identifier: &str) -> &str {
    identifier.split_once("--").map_or("", |(kind, _)| kind)
}

pub(super) fn is_identifier(text: &str) -> bool {
    let Some((kind, uuid)) = text.split_once("--") else {
        return false;
    };
    let fine_kind = kind.len() > 2
        && kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !kind.ends_with('-');
    let groups: Vec<&str> = uuid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let begins = |at: usize, with: &[char]| groups.get(at).is_some_and(|group| group.starts_with(with));
    fine_kind
        && lengths == [8, 4, 4, 4, 12]
        && groups.iter().all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
        && begins(2, &['1', '2', '3', '4', '5'])
        && begins(3, &['8', '9', 'a', 'b', 'A', 'B'])
}

fn is_time(text: &str) -> bool {
    let parsed: Option<toml::value::Datetime> = text.parse().ok();
    parsed.is_some_and(|time| {
        time.date.is_some() && time.time.is_some() && time.offset == Some(toml::value::Offset::Z) && text.ends_with('Z')
    })
}
