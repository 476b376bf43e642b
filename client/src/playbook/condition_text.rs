//! Reads conditions.

use super::condition::LEVELS;
use super::{Condition, ConditionError, Relation, RuleSays, Standing};
use crate::config::{Severity, parse_duration};

/// Comparisons of a condition at most.
const MOST: usize = 32;
/// Nested parentheses at most.
const DEEPEST: usize = 16;

pub(super) fn read(text: &str) -> Result<Condition, ConditionError> {
    let mut reader = Reader { text, at: 0, count: 0 };
    let condition = reader.any(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.error("`and`, `or` or the end is wanted here"));
    }
    Ok(condition)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    count: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error(&self, message: impl Into<String>) -> ConditionError {
        ConditionError {
            message: message.into(),
            at: self.at,
        }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        self.at += end;
        word
    }

    fn takes(&mut self, sign: &str) -> bool {
        self.space();
        let takes = self.rest().starts_with(sign);
        if takes {
            self.at += sign.len();
        }
        takes
    }

    /// Takes the word if it is the next one.
    fn takes_word(&mut self, wanted: &str) -> bool {
        let before = self.at;
        let takes = self.word() == wanted;
        if !takes {
            self.at = before;
        }
        takes
    }

    fn any(&mut self, depth: usize) -> Result<Condition, ConditionError> {
        let mut parts = vec![self.all(depth)?];
        while self.takes_word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Condition::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Condition, ConditionError> {
        let mut parts = vec![self.term(depth)?];
        while self.takes_word("and") {
            parts.push(self.term(depth)?);
        }
        Ok(joined(parts, Condition::All))
    }

    fn term(&mut self, depth: usize) -> Result<Condition, ConditionError> {
        if depth > DEEPEST {
            return Err(self.error("the condition is nested too deeply"));
        }
        if self.takes_word("not") {
            return Ok(self.term(depth + 1)?.negated());
        }
        if self.takes("(") {
            let inner = self.any(depth + 1)?;
            return if self.takes(")") {
                Ok(inner)
            } else {
                Err(self.error("a closing parenthesis is wanted here"))
            };
        }
        self.count += 1;
        if self.count > MOST {
            return Err(self.error(format!("a condition has at most {MOST} comparisons")));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, ConditionError> {
        self.space();
        let begin = self.at;
        match self.word() {
            "acknowledged" => Ok(Condition::Acknowledged(true)),
            "verdict" => {
                let rule = if self.takes("(") {
                    let rule = self.word().to_owned();
                    if rule.is_empty() || !self.takes(")") {
                        return Err(self.error("the id of an invariant and `)` are wanted here"));
                    }
                    Some(rule)
                } else {
                    None
                };
                let relation = self.relation(false)?;
                let says = self.choice("verdict", &RuleSays::ALL.map(|says| (says.name(), says)))?;
                Ok(Condition::Verdict { rule, relation, says })
            }
            "level" => {
                let relation = self.relation(true)?;
                let table = LEVELS.map(|level| (level.name(), level));
                Ok(Condition::Level(relation, self.choice("level", &table)?))
            }
            "severity" => {
                let relation = self.relation(true)?;
                let table = Severity::ALL.map(|severity| (severity.name(), severity));
                Ok(Condition::Severity(relation, self.choice("severity", &table)?))
            }
            "state" => {
                let relation = self.relation(false)?;
                let table = Standing::ALL.map(|standing| (standing.name(), standing));
                Ok(Condition::State(relation, self.choice("state", &table)?))
            }
            "age" => {
                let relation = self.relation(true)?;
                Ok(Condition::Age(relation, self.duration()?))
            }
            other => {
                let message = if other.is_empty() {
                    "a comparison is wanted here".to_owned()
                } else {
                    format!("unknown word `{other}`")
                };
                self.at = begin;
                Err(self.error(format!(
                    "{message}: `verdict`, `level`, `severity`, `state`, `age` or `acknowledged`"
                )))
            }
        }
    }

    fn relation(&mut self, may_order: bool) -> Result<Relation, ConditionError> {
        let found = Relation::ALL.into_iter().find(|relation| self.takes(relation.sign()));
        match found {
            Some(relation) if relation.is_order() && !may_order => {
                Err(self.error(format!("`{}` has no meaning here: `=` or `!=`", relation.sign())))
            }
            Some(relation) => Ok(relation),
            None => Err(self.error("one of `=`, `!=`, `<`, `<=`, `>`, `>=` is wanted here")),
        }
    }

    fn choice<T: Copy>(&mut self, what: &str, table: &[(&str, T)]) -> Result<T, ConditionError> {
        self.space();
        let begin = self.at;
        let word = self.word();
        if let Some((_, value)) = table.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        self.at = begin;
        let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        Err(self.error(format!("`{word}` is no {what}: {}", known.join(", "))))
    }

    fn duration(&mut self) -> Result<u32, ConditionError> {
        self.space();
        let begin = self.at;
        let number = self.word();
        let alone = number.chars().all(|c| c.is_ascii_digit());
        let unit = if alone { self.word() } else { "" };
        parse_duration(&format!("{number} {unit}")).map_err(|error| ConditionError {
            message: error.to_string(),
            at: begin,
        })
    }
}

/// One part is itself; more are joined.
pub(super) fn joined(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if parts.len() > 1 {
        return join(parts);
    }
    parts.pop().unwrap_or_else(|| join(Vec::new()))
}
