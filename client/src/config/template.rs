//! Texts of a team's own for what people are told: with named placeholders, read once and checked.

use std::fmt;

/// Longest template, in characters.
pub(super) const LONGEST: usize = 4_000;

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `P1` to `P5`.
    Severity,
    /// The scope, watch or alarm that it is about.
    Subject,
    /// What has happened, in a few words.
    What,
    /// The sentence about it.
    Text,
    /// When, in UTC.
    Time,
    /// Chain id.
    Chain,
    /// Address of the guard.
    Guard,
    /// Height of the block.
    Block,
    /// Hash of the transaction that was found, or that contained.
    Transaction,
    /// Number of the incident.
    Incident,
    /// State of the incident.
    State,
    /// Name of the rule that is breached.
    Rule,
    /// The level that holds.
    Level,
    /// What is closed for users now.
    Closed,
    /// All that the channel's audience would be told without a template.
    Details,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Severity,
        Self::Subject,
        Self::What,
        Self::Text,
        Self::Time,
        Self::Chain,
        Self::Guard,
        Self::Block,
        Self::Transaction,
        Self::Incident,
        Self::State,
        Self::Rule,
        Self::Level,
        Self::Closed,
        Self::Details,
    ];

    /// The name as written between braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::Subject => "subject",
            Self::What => "what",
            Self::Text => "text",
            Self::Time => "time",
            Self::Chain => "chain",
            Self::Guard => "guard",
            Self::Block => "block",
            Self::Transaction => "transaction",
            Self::Incident => "incident",
            Self::State => "state",
            Self::Rule => "rule",
            Self::Level => "level",
            Self::Closed => "closed",
            Self::Details => "details",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    Value(Placeholder),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateText(Vec<Part>);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplateError {
    Empty,
    Long(usize),
    Unknown(String),
    Brace,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the text is empty: nobody would be told anything"),
            Self::Long(length) => write!(f, "the text has {length} characters, more than {LONGEST}"),
            Self::Unknown(name) => write!(f, "unknown placeholder `{{{name}}}`"),
            Self::Brace => f.write_str("a brace that belongs to no placeholder"),
        }
    }
}

impl TemplateText {
    /// Reads a text: `{name}` is a placeholder, `{{` and `}}` are braces.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let length = text.chars().count();
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        if length > LONGEST {
            return Err(TemplateError::Long(length));
        }
        let (mut parts, mut words) = (Vec::new(), String::new());
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.next_if_eq(&c).is_some() => words.push(c),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) if c != '{' && c != '\n' => name.push(c),
                            _ => return Err(TemplateError::Brace),
                        }
                    }
                    let meant = Placeholder::ALL.into_iter().find(|held| held.name() == name);
                    let meant = meant.ok_or(TemplateError::Unknown(name))?;
                    parts.push(Part::Words(std::mem::take(&mut words)));
                    parts.push(Part::Value(meant));
                }
                '}' => return Err(TemplateError::Brace),
                c => words.push(c),
            }
        }
        parts.push(Part::Words(words));
        Ok(Self(parts))
    }

    /// The text with its values.
    pub fn render(&self, value: impl Fn(Placeholder) -> String) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Words(words) => out.push_str(words),
                Part::Value(placeholder) => out.push_str(&value(*placeholder)),
            }
        }
        out
    }
}

/// What can be told, by the names that `on` takes.
pub const EVENTS: [&str; 14] = [
    "opened",
    "contained",
    "reorganised",
    "released",
    "settled",
    "closed",
    "stopped",
    "alarm",
    "cleared",
    "acknowledged",
    "seen",
    "retracted",
    "told",
    "called",
];

/// `[[template]]`, as a channel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What it is for, by the names of [`EVENTS`]; everything when empty.
    pub on: Vec<String>,
    /// The title; as without a template when `None`.
    pub title: Option<TemplateText>,
    /// The text; as without a template when `None`.
    pub text: Option<TemplateText>,
}

impl Template {
    /// Whether it is for this event.
    pub fn is_for(&self, event: &str) -> bool {
        self.on.is_empty() || self.on.iter().any(|name| name == event)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn placeholders_and_braces_are_told_apart() {
        let text = TemplateText::parse("{{{subject}}} {severity}").unwrap();
        let shown = text.render(|placeholder| placeholder.name().to_uppercase());
        assert_eq!(shown, "{SUBJECT} SEVERITY");
        let error = |text: &str| TemplateText::parse(text).unwrap_err().to_string();
        assert_eq!(error("{subjct}"), "unknown placeholder `{subjct}`");
        for open in ["{subject", "subject}", "{sub{ject}", "{\n}"] {
            assert_eq!(error(open), "a brace that belongs to no placeholder", "{open}");
        }
        assert!(error(" \n").contains("empty"));
        assert!(error(&"x".repeat(LONGEST + 1)).contains("4001 characters"));
    }

    proptest! {
        #[test]
        fn no_text_is_read_as_what_it_does_not_say(text in "\\PC{0,40}") {
            if let Ok(read) = TemplateText::parse(&text) {
                let back = read.render(|placeholder| format!("\u{1}{}\u{2}", placeholder.name()));
                let plain = back.replace('{', "{{").replace('}', "}}").replace('\u{1}', "{").replace('\u{2}', "}");
                prop_assert_eq!(plain, text);
            }
        }
    }
}
