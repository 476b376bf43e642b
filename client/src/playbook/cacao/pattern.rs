//! Conditions in the STIX patterning grammar that CACAO uses, over an object of ours: `[x-cordon-incident:level >= 2 AND …]`.
//!
//! Levels and severities are numbers there, because the grammar orders texts by their letters: 0 `Normal` to 3 `Halted`, 1 `P1` to
//! 5 `P5`. Ages are seconds.

use cordon_core::level::Level;

use crate::config::Severity;
use crate::playbook::condition::LEVELS;
use crate::playbook::condition_text::joined;
use crate::playbook::{Condition, Relation, RuleSays, Standing};

/// What a property is written after.
pub(super) const OBJECT: &str = "x-cordon-incident:";
const DEEPEST: usize = 16;
const MOST: usize = 32;

/// The pattern of a condition.
pub(super) fn write(condition: &Condition) -> String {
    format!("[{}]", comparison(condition))
}

fn comparison(condition: &Condition) -> String {
    let joined = |parts: &[Condition], word: &str| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Condition::All(_) | Condition::Any(_) => format!("({})", comparison(part)),
                _ => comparison(part),
            })
            .collect();
        parts.join(word)
    };
    match condition {
        Condition::Verdict { rule, relation, says } => {
            let rule = rule.as_ref().map(|rule| format!(".'{rule}'")).unwrap_or_default();
            format!("{OBJECT}verdict{rule} {} '{}'", relation.sign(), says.name())
        }
        Condition::Level(relation, level) => format!("{OBJECT}level {} {}", relation.sign(), level.rank()),
        Condition::Severity(relation, severity) => {
            format!("{OBJECT}severity {} {}", relation.sign(), number(*severity))
        }
        Condition::State(relation, standing) => {
            format!("{OBJECT}state {} '{}'", relation.sign(), standing.name())
        }
        Condition::Age(relation, seconds) => format!("{OBJECT}age {} {seconds}", relation.sign()),
        Condition::Acknowledged(wanted) => format!("{OBJECT}acknowledged = {wanted}"),
        Condition::All(parts) => joined(parts, " AND "),
        Condition::Any(parts) => joined(parts, " OR "),
    }
}

fn number(severity: Severity) -> usize {
    Severity::ALL
        .iter()
        .position(|held| *held == severity)
        .unwrap_or_default()
        + 1
}

/// Reads a pattern. The error says what of it cannot be had.
pub(super) fn read(text: &str) -> Result<Condition, String> {
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(|| format!("the condition `{text}` is not one pattern in brackets over `{OBJECT}…`"))?;
    let mut reader = Reader { rest: inner, count: 0 };
    let condition = reader.any(0)?;
    reader.rest = reader.rest.trim_start();
    if reader.rest.is_empty() {
        Ok(condition)
    } else {
        Err(format!("`{}` of the condition is not understood", reader.rest))
    }
}

struct Reader<'a> {
    rest: &'a str,
    count: usize,
}

impl<'a> Reader<'a> {
    fn takes(&mut self, wanted: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(wanted) else {
            return false;
        };
        let is_word = wanted.ends_with(|c: char| c.is_ascii_alphanumeric());
        if is_word && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return false;
        }
        self.rest = rest;
        true
    }

    fn any(&mut self, depth: usize) -> Result<Condition, String> {
        let first = self.all(depth)?;
        let mut parts = vec![first];
        while self.takes("OR") {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Condition::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Condition, String> {
        let first = self.term(depth)?;
        let mut parts = vec![first];
        while self.takes("AND") {
            parts.push(self.term(depth)?);
        }
        Ok(joined(parts, Condition::All))
    }

    fn term(&mut self, depth: usize) -> Result<Condition, String> {
        if depth > DEEPEST {
            return Err("the condition is nested too deeply".to_owned());
        }
        if self.takes("(") {
            let inner = self.any(depth + 1)?;
            return if self.takes(")") {
                Ok(inner)
            } else {
                Err("the condition lacks a closing parenthesis".to_owned())
            };
        }
        self.count += 1;
        if self.count > MOST {
            return Err(format!("a condition has at most {MOST} comparisons"));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        if !self.takes(OBJECT) {
            return Err(format!(
                "`{}` of the condition is not about `{OBJECT}…`",
                self.rest.trim_start()
            ));
        }
        let field = self.word();
        match field {
            "verdict" => {
                let rule = if self.takes(".'") {
                    let (rule, rest) = self.rest.split_once('\'').ok_or("a rule's name has no end")?;
                    self.rest = rest;
                    // What no invariant can be called could not be written in a cordon.toml either.
                    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                    if rule.is_empty() || !rule.chars().all(fine) {
                        return Err(format!("`verdict.'{rule}'` names no invariant"));
                    }
                    Some(rule.to_owned())
                } else {
                    None
                };
                let relation = self.relation(false)?;
                let says = self.text(&RuleSays::ALL.map(|says| (says.name(), says)))?;
                Ok(Condition::Verdict { rule, relation, says })
            }
            "level" => {
                let relation = self.relation(true)?;
                let rank = self.number()?;
                let level: Option<Level> = LEVELS.into_iter().find(|level| u32::from(level.rank()) == rank);
                Ok(Condition::Level(
                    relation,
                    level.ok_or("a level is 0 (Normal), 2 (Throttled), 3 (ReduceOnly) or 4 (Halted)")?,
                ))
            }
            "severity" => {
                let relation = self.relation(true)?;
                let number = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                let severity = number.checked_sub(1).and_then(|at| Severity::ALL.get(at));
                Ok(Condition::Severity(relation, *severity.ok_or("a severity is 1 to 5")?))
            }
            "state" => {
                let relation = self.relation(false)?;
                let standing = self.text(&Standing::ALL.map(|standing| (standing.name(), standing)))?;
                Ok(Condition::State(relation, standing))
            }
            "age" => {
                let relation = self.relation(true)?;
                Ok(Condition::Age(relation, self.number()?))
            }
            "acknowledged" => match (self.relation(false)?, self.word()) {
                (Relation::Equal, "true") => Ok(Condition::Acknowledged(true)),
                (Relation::Equal, "false") => Ok(Condition::Acknowledged(false)),
                _ => Err("`acknowledged` is compared with `= true` or `= false`".to_owned()),
            },
            other => Err(format!("`{OBJECT}{other}` is not known of an incident")),
        }
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        word
    }

    fn relation(&mut self, may_order: bool) -> Result<Relation, String> {
        let found = Relation::ALL.into_iter().find(|relation| self.takes(relation.sign()));
        found
            .filter(|relation| may_order || !relation.is_order())
            .ok_or_else(|| {
                format!(
                    "no comparison that has a meaning stands before `{}`",
                    self.rest.trim_start()
                )
            })
    }

    fn number(&mut self) -> Result<u32, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is no whole number"))
    }

    fn text<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T, String> {
        let found = table.iter().find(|(name, _)| self.takes(&format!("'{name}'")));
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("`{}` is not a value that can be", self.rest.trim_start()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_in_words() {
        let error = |inner: &str| read(&format!("[{inner}]")).unwrap_err();
        let names_nothing = format!("{OBJECT}verdict.'' = 'Breached'");
        assert_eq!(error(&names_nothing), "`verdict.''` names no invariant");
        let two = format!("{OBJECT}verdict.'a) = Holds or (b' = 'Breached'");
        assert_eq!(error(&two), "`verdict.'a) = Holds or (b'` names no invariant");
        assert_eq!(
            error(&format!("{OBJECT}verdict.'open = 'Breached")),
            "`verdict.'open = '` names no invariant"
        );
        assert_eq!(
            error(&format!("{OBJECT} = 1")),
            "`x-cordon-incident:` is not known of an incident"
        );
        let named = read(&format!("[{OBJECT}verdict.'vault-backed_2' = 'Breached']")).unwrap();
        assert_eq!(named.rules(), ["vault-backed_2"]);
        // What is read can be written in a cordon.toml.
        assert_eq!(Condition::parse(&named.to_string()).unwrap(), named);
    }
}
