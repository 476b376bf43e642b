//! `[[playbook]]`, `[roles]` and `[people]`, and the playbooks of a folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::super::schema::{OneOrMany, RawInvariant, RawKeeper, RawPerson, Text};
use super::super::schema_playbook::{RawOnFailure, RawPlaybook, RawStep};
use super::super::source::{Source, suggest};
use super::super::{Audience, NotifyChannel, People, Severity};
use super::{Checker, schema_problem};
use crate::playbook::{
    Act, Condition, DEEPEST, Does, Known, MOST_ROUNDS, MOST_STEPS, OnFailure, Playbook, Step, To, cacao,
};

/// Most bytes of a playbook's file.
const LONGEST: u64 = 1 << 20;
/// Most files of a folder.
const MOST_FILES: usize = 200;

/// The keys that only some steps have, by what they do.
const KEYS: [(&str, &[&str]); 12] = [
    ("contain", &["scope", "level", "for"]),
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

/// What playbooks may name.
pub(super) struct Around<'a> {
    pub(super) scopes: &'a [String],
    pub(super) channels: &'a [NotifyChannel],
    pub(super) people: &'a People,
}

impl Around<'_> {
    fn known<'k>(&'k self, rules: &'k [String]) -> Known<'k> {
        Known {
            scopes: self.scopes.iter().map(String::as_str).collect(),
            rules: rules.iter().map(String::as_str).collect(),
            channels: self.channels.iter().map(|channel| channel.id.as_str()).collect(),
            audiences: Audience::ALL
                .into_iter()
                .filter(|audience| self.channels.iter().any(|channel| channel.audience == *audience))
                .collect(),
            roles: self.people.roles.keys().map(String::as_str).collect(),
        }
    }
}

impl Checker {
    /// Roles and people.
    pub(super) fn people(&mut self, roles: &BTreeMap<Text, OneOrMany>, people: BTreeMap<Text, RawPerson>) -> People {
        self.ids("a role", roles.keys());
        self.ids("a person", people.keys());
        let mut result = People::default();
        for (role, members) in roles {
            self.ids("a person", members.0.iter());
            if members.0.is_empty() {
                let help = "name who may approve: [\"ada\"]".to_owned();
                self.error(role.span(), format!("nobody has the role `{}`", role.get_ref()), help);
            }
            let names = members.0.iter().map(|name| name.get_ref().clone()).collect();
            result.roles.insert(role.get_ref().clone(), names);
        }
        for (name, person) in people {
            if !result.roles.values().flatten().any(|member| member == name.get_ref()) {
                let help = suggest(name.get_ref(), result.roles.values().flatten().map(String::as_str));
                self.error(name.span(), format!("`{}` has no role", name.get_ref()), help);
            }
            result.tokens.insert(name.into_inner(), person.token);
        }
        result
    }

    /// The playbooks of the file and of the folder that it names.
    pub(super) fn playbooks(
        &mut self,
        (raws, keeper): (&[RawPlaybook], Option<&RawKeeper>),
        invariants: &[RawInvariant],
        around: &Around<'_>,
    ) -> Vec<Playbook> {
        let rules: Vec<String> = invariants.iter().map(|raw| raw.id.get_ref().clone()).collect();
        self.ids("a playbook", raws.iter().map(|playbook| &playbook.id));
        let mut found: Vec<Playbook> = raws
            .iter()
            .filter_map(|raw| self.playbook(raw, &around.known(&rules)))
            .collect();
        if let Some(folder) = keeper.and_then(|keeper| keeper.playbooks.as_ref()) {
            self.folder(folder, &around.known(&rules), &mut found);
        }
        found
    }

    fn folder(&mut self, folder: &Text, known: &Known<'_>, found: &mut Vec<Playbook>) {
        let path = self.source.resolve(folder.get_ref());
        let files = std::fs::read_dir(&path).and_then(|entries| {
            let mut files = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()?;
            files.sort();
            Ok(files)
        });
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                self.error(folder.span(), format!("the folder cannot be read: {error}"), None);
                return;
            }
        };
        let is_playbook = |file: &&std::path::PathBuf| {
            let ending = file.extension().and_then(|ending| ending.to_str());
            matches!(ending, Some("toml" | "json"))
        };
        let files: Vec<_> = files.iter().filter(is_playbook).collect();
        if files.len() > MOST_FILES {
            let message = format!("a folder has at most {MOST_FILES} playbooks, here are {}", files.len());
            self.error(folder.span(), message, None);
            return;
        }
        for file in files {
            match self.file(file, known) {
                Ok(Some(playbook)) if found.iter().any(|held| held.id == playbook.id) => {
                    let message = format!("{}: the id `{}` is taken", file.display(), playbook.id);
                    self.error(folder.span(), message, None);
                }
                Ok(Some(playbook)) => found.push(playbook),
                Ok(None) => {}
                Err(messages) => {
                    for message in messages {
                        self.error(folder.span(), format!("{}: {message}", file.display()), None);
                    }
                }
            }
        }
    }

    /// A file of the folder. `None` when its problems are noted, at their places in that file.
    fn file(&mut self, file: &Path, known: &Known<'_>) -> Result<Option<Playbook>, Vec<String>> {
        let one = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let length = std::fs::metadata(file).map_err(|error| one(&error))?.len();
        if length > LONGEST {
            return Err(vec![format!("it is longer than {LONGEST} bytes")]);
        }
        let text = std::fs::read_to_string(file).map_err(|error| one(&error))?;
        if file.extension().is_some_and(|ending| ending == "json") {
            let imported = cacao::import(&text).map_err(|error| error.problems)?;
            let playbook = imported.playbook;
            let misfits = playbook.misfits(known);
            return if misfits.is_empty() {
                Ok(Some(playbook))
            } else {
                Err(misfits.iter().map(ToString::to_string).collect())
            };
        }
        let source = Source::new(file, &text);
        let outer = std::mem::replace(&mut self.source, source);
        let before = self.problems.len();
        let playbook = match toml::from_str::<RawPlaybook>(&text) {
            Ok(raw) => {
                self.ids("a playbook", std::iter::once(&raw.id));
                self.playbook(&raw, known)
            }
            Err(error) => {
                let problem = schema_problem(&self.source, error.span().unwrap_or(0..0), error.message());
                self.problems.push(problem);
                None
            }
        };
        self.source = outer;
        for problem in self.problems.iter_mut().skip(before) {
            problem.set_file(file);
        }
        Ok(playbook)
    }

    fn playbook(&mut self, raw: &RawPlaybook, known: &Known<'_>) -> Option<Playbook> {
        let before = self.problems.len();
        let severity = raw.severity.as_ref().map(|text| self.severity(text));
        let rules: Vec<&Text> = raw.rules.iter().flat_map(|rules| &rules.0).collect();
        for rule in &rules {
            if !known.rules.contains(&rule.get_ref().as_str()) {
                let help = suggest(rule.get_ref(), known.rules.iter().copied());
                self.error(rule.span(), format!("unknown invariant `{}`", rule.get_ref()), help);
            }
        }
        if raw.step.is_empty() {
            self.error(raw.id.span(), "a playbook needs steps: step = [{ do = … }]", None);
        }
        let mut spans = BTreeMap::new();
        let steps = self.steps(&raw.step, "step", 0, &mut spans);
        if spans.len() > MOST_STEPS {
            self.error(
                raw.id.span(),
                format!("a playbook has at most {MOST_STEPS} steps"),
                None,
            );
        }
        let playbook = Playbook {
            id: raw.id.get_ref().clone(),
            description: raw.description.clone(),
            severity: severity.flatten(),
            rules: rules.iter().map(|rule| rule.get_ref().clone()).collect(),
            steps: steps?,
        };
        if self.problems.len() > before {
            return None;
        }
        for misfit in playbook.misfits(known) {
            let step = misfit.step.as_ref().and_then(|step| spans.get(step));
            let span = step.cloned().unwrap_or_else(|| raw.id.span());
            self.error(span, misfit.message, None);
        }
        (self.problems.len() == before).then_some(playbook)
    }

    fn severity(&mut self, text: &Text) -> Option<Severity> {
        self.choice(
            text,
            "severity",
            &Severity::ALL.map(|severity| (severity.name(), severity)),
        )
    }

    fn steps(
        &mut self,
        raws: &[Spanned<RawStep>],
        prefix: &str,
        depth: usize,
        spans: &mut BTreeMap<String, Range<usize>>,
    ) -> Option<Vec<Step>> {
        if depth > DEEPEST {
            let span = raws.first().map_or(0..0, Spanned::span);
            self.error(span, format!("steps are nested {DEEPEST} deep at most"), None);
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
