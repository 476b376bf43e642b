//! `[[playbook]]`, `[roles]` and `[people]`, and the playbooks of a folder.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::schema::{OneOrMany, RawInvariant, RawKeeper, RawPerson, Text};
use super::super::schema_playbook::RawPlaybook;
use super::super::source::{Source, suggest};
use super::super::{Audience, ContainmentSet, GuardConfig, NotifyChannel, People, Severity};
use super::{Checker, schema_problem};
use crate::playbook::{Known, MOST_STEPS, Playbook, cacao};

/// Most bytes of a playbook's file.
const LONGEST: u64 = 1 << 20;
/// Most files of a folder.
const MOST_FILES: usize = 200;

/// What playbooks may name.
pub(super) struct Around<'a> {
    pub(super) guard: &'a GuardConfig,
    pub(super) sets: &'a [ContainmentSet],
    pub(super) channels: &'a [NotifyChannel],
    pub(super) people: &'a People,
}

impl Around<'_> {
    fn known<'k>(&'k self, rules: &'k [String]) -> Known<'k> {
        Known {
            has_no_guard: !self.guard.is_declared,
            scopes: self.guard.scopes.iter().map(String::as_str).collect(),
            sets: self
                .sets
                .iter()
                .map(|set| (set.id.as_str(), set.orders.as_slice()))
                .collect(),
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

    pub(super) fn severity(&mut self, text: &Text) -> Option<Severity> {
        self.choice(
            text,
            "severity",
            &Severity::ALL.map(|severity| (severity.name(), severity)),
        )
    }
}
