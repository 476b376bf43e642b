//! Conditions of a playbook: what is known of the incident, compared with constants.
//!
//! ```text
//! level >= ReduceOnly and not acknowledged
//! verdict(vault-backed) = Breached or age > 10 minutes
//! ```

use std::fmt;

use cordon_core::level::Level;

use crate::config::{Severity, format_duration};

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Relation {
    /// All of them. Longer signs come before those that they begin with.
    pub const ALL: [Self; 6] = [
        Self::AtMost,
        Self::AtLeast,
        Self::NotEqual,
        Self::Equal,
        Self::Less,
        Self::Greater,
    ];

    /// As it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether it is about order, and not about sameness alone.
    pub fn is_order(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    /// What holds when it does not.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtLeast => Self::Less,
            Self::Greater => Self::AtMost,
            Self::AtMost => Self::Greater,
        }
    }

    /// Whether it holds between two values.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// What a rule says, as far as the record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[allow(missing_docs)]
pub enum RuleSays {
    Holds,
    Breached,
    Unknown,
}

impl RuleSays {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Holds, Self::Breached, Self::Unknown];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "Holds",
            Self::Breached => "Breached",
            Self::Unknown => "Unknown",
        }
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[allow(missing_docs)]
pub enum Standing {
    Open,
    Contained,
    Released,
    Settled,
    Closed,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Open, Self::Contained, Self::Released, Self::Settled, Self::Closed];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Contained => "contained",
            Self::Released => "released",
            Self::Settled => "settled",
            Self::Closed => "closed",
        }
    }
}

/// Levels that a condition may name.
pub(super) const LEVELS: [Level; 4] = [Level::Normal, Level::Throttled, Level::ReduceOnly, Level::Halted];

/// What is known of an incident when a condition is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Level that its scope is held at.
    pub level: Level,
    /// Its severity.
    pub severity: Severity,
    /// Where it stands.
    pub standing: Standing,
    /// Whether somebody takes care of it.
    pub acknowledged: bool,
    /// Seconds since it was detected.
    pub age: u64,
    /// The rule that opened it; `None` when an account raised the level.
    pub rule: Option<String>,
    /// Rules that do not hold.
    pub rules: Vec<(String, RuleSays)>,
}

impl Facts {
    /// What a rule says; the rule that opened the incident when none is named. A rule that nothing is known of holds.
    pub fn verdict(&self, rule: Option<&str>) -> RuleSays {
        let Some(rule) = rule.or(self.rule.as_deref()) else {
            return RuleSays::Holds;
        };
        let found = self.rules.iter().find(|(name, _)| name == rule);
        found.map_or(RuleSays::Holds, |(_, says)| *says)
    }
}

/// A condition over [`Facts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `verdict = Breached`, `verdict(RULE) != Holds`.
    Verdict {
        /// The rule; that of the incident when `None`.
        rule: Option<String>,
        /// `=` or `!=`.
        relation: Relation,
        /// What it says.
        says: RuleSays,
    },
    /// `level >= ReduceOnly`: the level of the incident's scope.
    Level(Relation, Level),
    /// `severity <= P2`: P1 is the least.
    Severity(Relation, Severity),
    /// `state = contained`.
    State(Relation, Standing),
    /// `age > 10 minutes`, in seconds.
    Age(Relation, u32),
    /// `acknowledged`, or `not acknowledged`: whether somebody takes care of it.
    Acknowledged(bool),
    /// `… and …`, at least two.
    All(Vec<Condition>),
    /// `… or …`, at least two.
    Any(Vec<Condition>),
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes from the text's beginning.
    pub at: usize,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`ConditionError`] with what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        super::condition_text::read(text)
    }

    /// Whether it is true.
    pub fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Verdict { rule, relation, says } => relation.holds(facts.verdict(rule.as_deref()), *says),
            Self::Level(relation, level) => relation.holds(facts.level.rank(), level.rank()),
            Self::Severity(relation, severity) => relation.holds(facts.severity, *severity),
            Self::State(relation, standing) => relation.holds(facts.standing, *standing),
            Self::Age(relation, seconds) => relation.holds(facts.age, u64::from(*seconds)),
            Self::Acknowledged(wanted) => facts.acknowledged == *wanted,
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
        }
    }

    /// The rules that it names.
    pub fn rules(&self) -> Vec<&str> {
        match self {
            Self::Verdict { rule: Some(rule), .. } => vec![rule],
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::rules).collect(),
            _ => Vec::new(),
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        let all = |parts: Vec<Self>| parts.into_iter().map(Self::negated).collect();
        match self {
            Self::Verdict { rule, relation, says } => Self::Verdict {
                rule,
                relation: relation.opposite(),
                says,
            },
            Self::Level(relation, level) => Self::Level(relation.opposite(), level),
            Self::Severity(relation, severity) => Self::Severity(relation.opposite(), severity),
            Self::State(relation, standing) => Self::State(relation.opposite(), standing),
            Self::Age(relation, seconds) => Self::Age(relation.opposite(), seconds),
            Self::Acknowledged(wanted) => Self::Acknowledged(!wanted),
            Self::All(parts) => Self::Any(all(parts)),
            Self::Any(parts) => Self::All(all(parts)),
        }
    }

    fn is_compound(&self) -> bool {
        matches!(self, Self::All(_) | Self::Any(_))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                if part.is_compound() {
                    write!(f, "({part})")?;
                } else {
                    write!(f, "{part}")?;
                }
            }
            Ok(())
        };
        match self {
            Self::Verdict { rule, relation, says } => {
                let rule = rule.as_ref().map(|rule| format!("({rule})")).unwrap_or_default();
                write!(f, "verdict{rule} {} {}", relation.sign(), says.name())
            }
            Self::Level(relation, level) => write!(f, "level {} {}", relation.sign(), level.name()),
            Self::Severity(relation, severity) => write!(f, "severity {} {severity}", relation.sign()),
            Self::State(relation, standing) => write!(f, "state {} {}", relation.sign(), standing.name()),
            Self::Age(relation, seconds) => {
                write!(f, "age {} {}", relation.sign(), format_duration(u64::from(*seconds)))
            }
            Self::Acknowledged(true) => f.write_str("acknowledged"),
            Self::Acknowledged(false) => f.write_str("not acknowledged"),
            Self::All(parts) => list(f, parts, "and"),
            Self::Any(parts) => list(f, parts, "or"),
        }
    }
}
