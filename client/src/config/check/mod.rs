//! From the text to a [`Config`]: every name resolved, every problem collected.

mod answer;
mod contracts;
mod fallback;
mod foundry;
mod guard;
mod maintenance;
mod no_guard;
mod notify;
mod playbook;
mod playbook_step;
mod quorum;
mod route;
mod rules;
mod set;
mod template;
mod watch;

use std::collections::BTreeMap;
use std::ops::Range;

use alloy::primitives::Address;
use cordon_core::action::{Action, ActionSet};
use cordon_core::level::Level;
use toml::Spanned;

use super::credential::PLAIN_CREDENTIAL;
use super::endpoint::PLACES;
use super::schema::{PLAIN_URL, RawConfig, Text};
use super::secret_form::{ENDPOINT, PLAIN_KEY};
use super::source::{Problem, Report, Source, nearest, suggest};
use super::{Config, parse_duration};

/// Levels that a rule or an authority can raise.
const LEVELS: [Level; 3] = [Level::Throttled, Level::ReduceOnly, Level::Halted];

/// Words of the rule language, which cannot be names of contracts.
const RESERVED: [&str; 16] = [
    "min", "max", "abs", "near", "entry", "eth", "codehash", "now", "anchor", "slot", "true", "false", "bps",
    "seconds", "minutes", "hours",
];

/// Checks the whole text.
pub(super) fn check(source: Source) -> Result<Config, Report> {
    let raw: RawConfig = match toml::from_str(source.text()) {
        Ok(raw) => raw,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let problem = schema_problem(&source, span, error.message());
            return Err(Report::new(source.path(), vec![problem]));
        }
    };
    let mut checker = Checker {
        source,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let chain = checker.chain(&raw.chain);
    let contracts = checker.contracts(&raw.contracts);
    let guard = match &raw.guard {
        Some(guard) => checker.guard(guard, &contracts),
        None => checker.no_guard(&raw),
    };
    let mut notify = checker.notify(raw.notify);
    checker.templates(&raw.template, &mut notify);
    let people = checker.people(&raw.roles, raw.people);
    let containments = checker.containments(&raw.containment, &guard.scopes);
    let sets = checker.sets(&raw.containment_set, &guard.scopes);
    let around = playbook::Around {
        guard: &guard,
        sets: &sets,
        channels: &notify,
        people: &people,
    };
    let playbooks = checker.playbooks((&raw.playbook, raw.keeper.as_ref()), &raw.invariant, &around);
    let fallbacks = checker.fallbacks(&raw.fallback, &guard.scopes);
    let mut raw_keeper = raw.keeper;
    let quorum = raw_keeper.as_mut().and_then(|keeper| keeper.quorum.take());
    let mut keeper = raw_keeper.map(|keeper| checker.keeper(keeper));
    let invariants = checker.invariants(&raw.invariant, &guard, &contracts, &notify);
    if let Some(keeper) = &mut keeper {
        keeper.quorum = checker.quorum(quorum.as_ref(), keeper, chain.as_ref(), &invariants);
    }
    let watches = checker.watches(&raw.watch, &contracts, &notify);
    let maintenance = checker.maintenance(&raw.maintenance, &raw.watch, &raw.invariant);
    let Checker {
        source,
        problems,
        warnings,
    } = checker;
    match chain {
        Some(chain) if problems.is_empty() => Ok(Config {
            source,
            chain,
            guard,
            keeper,
            contracts,
            invariants,
            containments,
            sets,
            notify,
            watches,
            maintenance,
            playbooks,
            people,
            fallbacks,
            warnings,
        }),
        _ => Err(Report::new(source.path(), problems)),
    }
}

/// A message of the TOML reader, with the nearest known key for an unknown one.
fn schema_problem(source: &Source, span: Range<usize>, message: &str) -> Problem {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.starts_with("unknown field"), quoted.split_first()) {
        (true, Some((unknown, known))) => source.problem(span, format!("unknown key `{unknown}`")).with_help(
            nearest(unknown, known.iter().copied()).map_or_else(
                || {
                    format!(
                        "known here: {}",
                        known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
                    )
                },
                |nearest| format!("did you mean `{nearest}`?"),
            ),
        ),
        _ => match (message.starts_with("missing field"), quoted.first()) {
            (true, Some(key)) => source.problem(span, format!("the key `{key}` is missing")),
            _ if [PLAIN_KEY, PLAIN_CREDENTIAL, PLAIN_URL, ENDPOINT, PLACES].contains(&message) => {
                source.problem(span, message).redacted()
            }
            _ => source.problem(span, message.trim_end().replace('\n', "; ")),
        },
    }
}

/// Collects problems while it resolves names.
struct Checker {
    source: Source,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Checker {
    fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push(self.source.problem(span, message).with_help(help));
    }

    fn warn(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.warnings.push(self.source.problem(span, message).with_help(help));
    }

    /// An address in hex. One in mixed case must have the right checksum: that catches a mistyped digit.
    fn address(&mut self, text: &Text) -> Option<Address> {
        let value = text.get_ref();
        let Ok(address) = value.parse::<Address>() else {
            let help = "an address is 0x and 40 hex digits".to_owned();
            self.error(text.span(), format!("`{value}` is no address"), help);
            return None;
        };
        if address.is_zero() {
            self.error(text.span(), "the zero address is nobody's", None);
            return None;
        }
        let digits = value.trim_start_matches("0x");
        let mixed = digits.contains(|c: char| c.is_ascii_lowercase() && c.is_ascii_alphabetic())
            && digits.contains(|c: char| c.is_ascii_uppercase());
        if mixed && address.to_checksum(None) != *value {
            let help = format!("a digit may be mistyped; the same digits with a right checksum are {address}");
            self.error(text.span(), "the address has a wrong checksum", help);
            return None;
        }
        Some(address)
    }

    fn duration(&mut self, text: Option<&Text>, default: u32) -> u32 {
        let Some(text) = text else { return default };
        match parse_duration(text.get_ref()) {
            Ok(seconds) => seconds,
            Err(error) => {
                self.error(text.span(), error.to_string(), None);
                default
            }
        }
    }

    /// The value that `text` names in `table`.
    fn choice<T: Copy>(&mut self, text: &Text, what: &str, table: &[(&str, T)]) -> Option<T> {
        let name = text.get_ref();
        let found = table.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        if found.is_none() {
            let help = suggest(name, table.iter().map(|(known, _)| *known));
            self.error(text.span(), format!("unknown {what} `{name}`"), help);
        }
        found
    }

    fn level(&mut self, text: &Text) -> Option<Level> {
        self.choice(text, "level", &LEVELS.map(|level| (level.name(), level)))
    }

    fn actions(&mut self, texts: &[Text]) -> ActionSet {
        let mut actions = ActionSet::EMPTY;
        for text in texts {
            let Some(action) = self.choice(text, "action", &Action::ALL.map(|a| (a.name(), a))) else {
                continue;
            };
            if actions.contains(action) {
                self.error(text.span(), format!("action `{}` is named twice", text.get_ref()), None);
            }
            actions = actions.with(action);
        }
        actions
    }

    fn scope(&mut self, text: &Text, scopes: &[String]) -> Option<u8> {
        let name = text.get_ref();
        let found = scopes
            .iter()
            .position(|scope| scope == name)
            .and_then(|at| u8::try_from(at).ok());
        if found.is_none() {
            let help = suggest(name, scopes.iter().map(String::as_str));
            self.error(text.span(), format!("unknown scope `{name}`"), help);
        }
        found
    }

    /// Reports ids that occur twice or are no names.
    fn ids<'a>(&mut self, what: &str, ids: impl Iterator<Item = &'a Text>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for id in ids {
            let name = id.get_ref();
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
                let help = "1 to 64 letters, digits, `-` or `_`".to_owned();
                self.error(id.span(), format!("`{name}` cannot be the id of {what}"), help);
            }
            let line = self.source.problem(id.span(), "").line;
            if let Some(first) = seen.insert(name, line) {
                self.error(
                    id.span(),
                    format!("the id `{name}` is taken: line {first} has it already"),
                    None,
                );
            }
        }
    }
}

/// Whether `name` can be written in a rule.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= 64
}

/// The place of a value without the value.
fn place<T>(value: &Spanned<T>) -> Spanned<()> {
    Spanned::new(value.span(), ())
}
