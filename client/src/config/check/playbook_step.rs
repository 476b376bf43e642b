//! Steps of a `[[playbook]]`.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::super::Audience;
use super::super::schema::Text;
use super::super::schema_playbook::{RawOnFailure, RawStep};
use super::Checker;
use crate::playbook::{Act, Condition, DEEPEST, Does, MOST_ROUNDS, OnFailure, Step, To};

/// The keys that only some steps have, by what they do.
const KEYS: [(&str, &[&str]); 13] = [
    ("contain", &["scope", "level", "for"]),
    ("contain-set", &["set"]),
    ("retry", &["scope"]),
    ("notify", &["channels", "audience", "text"]),
    ("page", &["channels", "audience", "text"]),
    ("wait", &["for", "until", "within"]),
    ("approve", &["role", "text", "within"]),
    ("escalate", &["severity"]),
    ("note", &["text"]),
    ("close", &[]),
    ("if", &["then", "else"]),
    ("while", &["most", "steps"]),
    ("parallel", &[]),
];

impl Checker {
    pub(super) fn steps(
        &mut self,
        raws: &[Spanned<RawStep>],
        prefix: &str,
        depth: usize,
        spans: &mut BTreeMap<String, Range<usize>>,
    ) -> Option<Vec<Step>> {
        // An empty list, such as an `else` that is not there, is no step too deep.
        if let Some(first) = raws.first().filter(|_| depth > DEEPEST) {
            self.error(first.span(), format!("steps are nested {DEEPEST} deep at most"), None);
            return None;
        }
        let mut steps = Vec::with_capacity(raws.len());
        let mut fine = true;
        for (number, raw) in (1..).zip(raws) {
            match self.step(raw, format!("{prefix}-{number}"), depth, spans) {
                Some(step) => steps.push(step),
                None => fine = false,
            }
        }
        fine.then_some(steps)
    }

    fn step(
        &mut self,
        raw: &Spanned<RawStep>,
        default: String,
        depth: usize,
        spans: &mut BTreeMap<String, Range<usize>>,
    ) -> Option<Step> {
        let (span, raw) = (raw.span(), raw.get_ref());
        if let Some(id) = &raw.id {
            self.ids("a step", std::iter::once(id));
        }
        let id = raw.id.as_ref().map_or(default, |id| id.get_ref().clone());
        let at = raw.id.as_ref().map_or(span.clone(), Spanned::span);
        if spans.insert(id.clone(), at.clone()).is_some() {
            self.error(at, format!("the id `{id}` is taken by another step"), None);
        }
        let kind = self.kind(raw, &span)?;
        let own = KEYS
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or(&[][..], |(_, own)| own);
        for (key, at) in raw.kind_keys(&span) {
            if !own.contains(&key) {
                let list: Vec<String> = own.iter().map(|key| format!("`{key}`")).collect();
                let help = if list.is_empty() {
                    format!("`{kind}` needs none of its own")
                } else {
                    format!("keys of `{kind}`: {}", list.join(", "))
                };
                self.error(at, format!("`{key}` is not for a step that does `{kind}`"), help);
            }
        }
        let does = match kind {
            "if" | "while" | "parallel" => self.control(kind, raw, &span, &id, depth, spans),
            _ => self.act(kind, raw, &span).map(Does::Act),
        };
        let on_failure = match &raw.on_failure {
            None => Some(OnFailure::Stop),
            Some(RawOnFailure::Word(word)) => {
                let table = [("stop", false), ("go-on", true)];
                self.choice(word, "answer to a failure", &table)
                    .map(|go_on| if go_on { OnFailure::GoOn } else { OnFailure::Stop })
            }
            Some(RawOnFailure::Steps(handler)) if handler.is_empty() => Some(OnFailure::Stop),
            Some(RawOnFailure::Steps(handler)) => self
                .steps(handler, &format!("{id}-failed"), depth + 1, spans)
                .map(OnFailure::Run),
        };
        Some(Step {
            id,
            does: does?,
            on_failure: on_failure?,
        })
    }

    fn kind(&mut self, raw: &RawStep, span: &Range<usize>) -> Option<&'static str> {
        let given: Vec<&'static str> = [
            raw.does.as_ref().map(|_| "do"),
            raw.condition.as_ref().map(|_| "if"),
            raw.repeat.as_ref().map(|_| "while"),
            raw.parallel.as_ref().map(|_| "parallel"),
        ]
        .into_iter()
        .flatten()
        .collect();
        match given.as_slice() {
            ["do"] => {
                let text = raw.does.as_ref()?;
                self.choice(text, "thing to do", &Act::NAMES.map(|name| (name, name)))
            }
            [control] => Some(control),
            _ => {
                let help = format!("do = {}", Act::NAMES.map(|name| format!("\"{name}\"")).join(", "));
                self.error(
                    span.clone(),
                    "a step has one of `do`, `if`, `while` and `parallel`",
                    help,
                );
                None
            }
        }
    }

    fn condition(&mut self, text: &Text) -> Option<Condition> {
        Condition::parse(text.get_ref())
            .map_err(|error| {
                let column = text
                    .get_ref()
                    .get(..error.at)
                    .map_or(0, |before| before.chars().count())
                    + 1;
                let span = self.source.inside(text.span(), text.get_ref(), column);
                self.error(span, error.message, None);
            })
            .ok()
    }

    fn control(
        &mut self,
        kind: &str,
        raw: &RawStep,
        span: &Range<usize>,
        id: &str,
        depth: usize,
        spans: &mut BTreeMap<String, Range<usize>>,
    ) -> Option<Does> {
        let mut branch = |checker: &mut Self, name: &str, steps: &Option<Vec<Spanned<RawStep>>>, wanted: bool| {
            let steps = steps.as_deref().unwrap_or_default();
            if wanted && steps.is_empty() {
                checker.error(span.clone(), format!("`{kind}` needs steps in `{name}`"), None);
                return None;
            }
            checker.steps(steps, &format!("{id}-{name}"), depth + 1, spans)
        };
        match kind {
            "if" => {
                let condition = self.condition(raw.condition.as_ref()?);
                let then = branch(self, "then", &raw.then, true);
                let otherwise = branch(self, "else", &raw.otherwise, false);
                Some(Does::If {
                    condition: condition?,
                    then: then?,
                    otherwise: otherwise?,
                })
            }
            "while" => {
                let condition = self.condition(raw.repeat.as_ref()?);
                let steps = branch(self, "steps", &raw.steps, true);
                let most = raw.most.as_ref().map(|most| *most.get_ref());
                if !most.is_some_and(|most| (1..=MOST_ROUNDS).contains(&most)) {
                    let at = raw.most.as_ref().map_or(span.clone(), Spanned::span);
                    let message = format!("`while` needs `most`: between 1 and {MOST_ROUNDS} rounds");
                    self.error(at, message, None);
                }
                Some(Does::While {
                    condition: condition?,
                    most: most?,
                    steps: steps?,
                })
            }
            _ => {
                let branches = raw.parallel.as_deref().unwrap_or_default();
                if branches.len() < 2 || branches.iter().any(Vec::is_empty) {
                    let message = "`parallel` needs at least two lists of steps";
                    self.error(span.clone(), message, None);
                    return None;
                }
                let branches: Vec<Option<Vec<Step>>> = (1..)
                    .zip(branches)
                    .map(|(number, steps)| self.steps(steps, &format!("{id}-branch-{number}"), depth + 1, spans))
                    .collect();
                Some(Does::Parallel(branches.into_iter().collect::<Option<_>>()?))
            }
        }
    }

    fn act(&mut self, kind: &str, raw: &RawStep, span: &Range<usize>) -> Option<Act> {
        let scope = raw.scope.as_ref().map(|scope| scope.get_ref().clone());
        match kind {
            "contain" => {
                let level = self.key(kind, "level", span, raw.level.as_ref());
                let level = level.and_then(|text| self.level(text));
                let seconds = self.span_of_time(kind, "for", span, raw.duration.as_ref());
                Some(Act::Contain {
                    scope,
                    level: level?,
                    seconds: seconds?,
                })
            }
            "contain-set" => {
                let set = self.key(kind, "set", span, raw.set.as_ref())?;
                Some(Act::ContainSet {
                    set: set.get_ref().clone(),
                })
            }
            "retry" => Some(Act::Retry { scope }),
            "notify" | "page" => {
                let text = self.words(kind, span, raw);
                let audience = raw.audience.as_ref().map(|text| {
                    self.choice(
                        text,
                        "audience",
                        &Audience::ALL.map(|audience| (audience.name(), audience)),
                    )
                });
                let audience = match audience {
                    Some(found) => Some(found?),
                    None => None,
                };
                let channels = raw.channels.iter().flat_map(|channels| &channels.0);
                let to = To {
                    channels: channels.map(|channel| channel.get_ref().clone()).collect(),
                    audience,
                };
                let text = text?;
                Some(if kind == "page" {
                    Act::Page { to, text }
                } else {
                    Act::Notify { to, text }
                })
            }
            "wait" => self.wait(raw, span),
            "approve" => {
                let role = self.key(kind, "role", span, raw.role.as_ref());
                let text = self.words(kind, span, raw);
                let within = self.span_of_time(kind, "within", span, raw.within.as_ref());
                Some(Act::Approve {
                    role: role?.get_ref().clone(),
                    text: text?,
                    within: within?,
                })
            }
            "escalate" => {
                let severity = self.key(kind, "severity", span, raw.severity.as_ref())?;
                Some(Act::Escalate {
                    severity: self.severity(severity)?,
                })
            }
            "note" => self.words(kind, span, raw).map(|text| Act::Note { text }),
            _ => Some(Act::Close),
        }
    }

    fn wait(&mut self, raw: &RawStep, span: &Range<usize>) -> Option<Act> {
        match (&raw.duration, &raw.until) {
            (Some(_), None) => {
                if let Some(within) = &raw.within {
                    self.error(within.span(), "`within` belongs to `until`", None);
                }
                let seconds = self.span_of_time("wait", "for", span, raw.duration.as_ref())?;
                Some(Act::Wait { seconds })
            }
            (None, Some(until)) => {
                let condition = self.condition(until);
                let within = self.span_of_time("wait", "within", span, raw.within.as_ref());
                Some(Act::Until {
                    condition: condition?,
                    within: within?,
                })
            }
            _ => {
                let help = "for = \"10 minutes\", or until = \"level = Normal\", within = \"1 hour\"".to_owned();
                self.error(span.clone(), "`wait` needs either `for` or `until`", help);
                None
            }
        }
    }

    fn words(&mut self, kind: &str, span: &Range<usize>, raw: &RawStep) -> Option<String> {
        let text = self.key(kind, "text", span, raw.text.as_ref())?;
        let words = text.get_ref().trim();
        if words.is_empty() || words.chars().count() > 2_000 {
            self.error(text.span(), "between 1 and 2000 characters are wanted", None);
            return None;
        }
        Some(text.get_ref().clone())
    }

    /// A duration that is not 0.
    fn span_of_time(&mut self, kind: &str, key: &str, span: &Range<usize>, text: Option<&Text>) -> Option<u32> {
        let text = self.key(kind, key, span, text)?;
        let before = self.problems.len();
        let seconds = self.duration(Some(text), 0);
        if self.problems.len() > before {
            return None;
        }
        if seconds == 0 {
            self.error(text.span(), "a time longer than none is wanted", None);
            return None;
        }
        Some(seconds)
    }

    /// A key that the step cannot do without.
    fn key<'a>(&mut self, kind: &str, key: &str, span: &Range<usize>, value: Option<&'a Text>) -> Option<&'a Text> {
        if value.is_none() {
            self.error(
                span.clone(),
                format!("a step that does `{kind}` needs the key `{key}`"),
                None,
            );
        }
        value
    }
}
