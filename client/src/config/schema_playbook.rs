//! `[[playbook]]` as it is written.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::schema::{OneOrMany, Text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlaybook {
    pub(super) id: Text,
    pub(super) description: Option<String>,
    pub(super) severity: Option<Text>,
    pub(super) rules: Option<OneOrMany>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<RawStep>>,
}

/// All kinds share one table; which keys belong to which is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) id: Option<Text>,
    #[serde(rename = "do")]
    pub(super) does: Option<Text>,
    #[serde(rename = "if")]
    pub(super) condition: Option<Text>,
    pub(super) then: Option<Vec<Spanned<RawStep>>>,
    #[serde(rename = "else")]
    pub(super) otherwise: Option<Vec<Spanned<RawStep>>>,
    #[serde(rename = "while")]
    pub(super) repeat: Option<Text>,
    pub(super) most: Option<Spanned<u32>>,
    pub(super) steps: Option<Vec<Spanned<RawStep>>>,
    pub(super) parallel: Option<Vec<Vec<Spanned<RawStep>>>>,
    pub(super) on_failure: Option<RawOnFailure>,
    pub(super) scope: Option<Text>,
    pub(super) level: Option<Text>,
    #[serde(rename = "for")]
    pub(super) duration: Option<Text>,
    pub(super) channels: Option<OneOrMany>,
    pub(super) audience: Option<Text>,
    pub(super) text: Option<Text>,
    pub(super) until: Option<Text>,
    pub(super) within: Option<Text>,
    pub(super) role: Option<Text>,
    pub(super) set: Option<Text>,
    pub(super) severity: Option<Text>,
}

impl RawStep {
    /// The keys that were given among those that only some kinds have. Lists of steps have no place of their own.
    pub(super) fn kind_keys(&self, step: &Range<usize>) -> Vec<(&'static str, Range<usize>)> {
        let text = |value: &Option<Text>| value.as_ref().map(Spanned::span);
        let steps = |value: &Option<Vec<Spanned<RawStep>>>| {
            let list = value.as_ref()?;
            Some(list.first().map_or(step.clone(), Spanned::span))
        };
        [
            ("then", steps(&self.then)),
            ("else", steps(&self.otherwise)),
            ("most", self.most.as_ref().map(Spanned::span)),
            ("steps", steps(&self.steps)),
            ("scope", text(&self.scope)),
            ("level", text(&self.level)),
            ("for", text(&self.duration)),
            (
                "channels",
                self.channels
                    .as_ref()
                    .map(|list| list.0.first().map_or(step.clone(), Spanned::span)),
            ),
            ("audience", text(&self.audience)),
            ("text", text(&self.text)),
            ("until", text(&self.until)),
            ("within", text(&self.within)),
            ("role", text(&self.role)),
            ("set", text(&self.set)),
            ("severity", text(&self.severity)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
    }
}

/// `"stop"`, `"go-on"`, or a list of steps.
pub(super) enum RawOnFailure {
    Word(Text),
    Steps(Vec<Spanned<RawStep>>),
}

/// Either form, before the place of a lone word is put back.
enum WordOrSteps {
    Word(String),
    Steps(Vec<Spanned<RawStep>>),
}

struct OnFailureVisitor;

impl<'de> Visitor<'de> for OnFailureVisitor {
    type Value = WordOrSteps;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"stop\", \"go-on\", or a list of steps")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<WordOrSteps, E> {
        Ok(WordOrSteps::Word(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WordOrSteps, A::Error> {
        let mut steps = Vec::new();
        while let Some(step) = seq.next_element()? {
            steps.push(step);
        }
        Ok(WordOrSteps::Steps(steps))
    }
}

impl<'de> Deserialize<'de> for WordOrSteps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnFailureVisitor)
    }
}

impl<'de> Deserialize<'de> for RawOnFailure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Spanned::<WordOrSteps>::deserialize(deserializer)?;
        let span = read.span();
        Ok(match read.into_inner() {
            WordOrSteps::Word(word) => Self::Word(Spanned::new(span, word)),
            WordOrSteps::Steps(steps) => Self::Steps(steps),
        })
    }
}
