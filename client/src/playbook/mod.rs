//! Playbooks: what is done at which incident, by the keeper and by whom. Data only; the keeper carries them out.
//!
//! They are written in `cordon.toml`, and exchanged with other tools as OASIS CACAO 2.0 ([`cacao`]).

pub mod cacao;
mod condition;
mod condition_text;
mod text;

use std::collections::BTreeSet;
use std::fmt;

use cordon_core::bounds::Actor;
use cordon_core::level::Level;
use cordon_core::rulebook::{Order, is_within};

use crate::config::{Audience, Severity};

pub use condition::{Condition, ConditionError, Facts, Relation, RuleSays, Standing};
pub use text::to_toml;

/// Steps of a playbook at most, those in branches included.
pub const MOST_STEPS: usize = 200;
/// Branches within branches at most.
pub const DEEPEST: usize = 8;
/// Rounds of a loop at most.
pub const MOST_ROUNDS: u32 = 100;

/// `[[playbook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// Unique name.
    pub id: String,
    /// What it is for.
    pub description: Option<String>,
    /// The least severity of an incident that starts it; any when `None`.
    pub severity: Option<Severity>,
    /// Invariants whose incidents start it; all when empty.
    pub rules: Vec<String>,
    /// What is done, in order; at least one.
    pub steps: Vec<Step>,
}

impl Playbook {
    /// Whether an incident starts it.
    pub fn starts_at(&self, severity: Severity, rule: Option<&str>) -> bool {
        let is_bad = self.severity.is_none_or(|least| severity <= least);
        is_bad && (self.rules.is_empty() || rule.is_some_and(|rule| self.rules.iter().any(|held| held == rule)))
    }

    /// All steps, those in branches included, each before those in its branches.
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut found = Vec::new();
        collect(&self.steps, &mut found);
        found
    }

    /// Whether a step contains the containment set of that name.
    pub fn uses_set(&self, id: &str) -> bool {
        let uses = |step: &&Step| matches!(&step.does, Does::Act(Act::ContainSet { set }) if set == id);
        self.all_steps().iter().any(uses)
    }

    /// Whether the keeper contains something by its own authority in it.
    pub fn contains(&self) -> bool {
        let is_contain = |step: &&Step| matches!(step.does, Does::Act(Act::Contain { .. } | Act::ContainSet { .. }));
        self.all_steps().iter().any(is_contain)
    }
}

fn collect<'a>(steps: &'a [Step], found: &mut Vec<&'a Step>) {
    for step in steps {
        found.push(step);
        for branch in step.branches() {
            collect(branch, found);
        }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name, unique in the playbook.
    pub id: String,
    /// What is done.
    pub does: Does,
    /// What follows when it fails.
    pub on_failure: OnFailure,
}

impl Step {
    /// The lists of steps that it holds.
    pub fn branches(&self) -> Vec<&[Step]> {
        let mut branches: Vec<&[Step]> = match &self.does {
            Does::Act(_) => Vec::new(),
            Does::If { then, otherwise, .. } => vec![then, otherwise],
            Does::While { steps, .. } => vec![steps],
            Does::Parallel(branches) => branches.iter().map(Vec::as_slice).collect(),
        };
        if let OnFailure::Run(steps) = &self.on_failure {
            branches.push(steps);
        }
        branches
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// One thing.
    Act(Act),
    /// One of two branches. The condition is asked once.
    If {
        /// Which one.
        condition: Condition,
        /// When it is true; at least one step.
        then: Vec<Step>,
        /// When it is not.
        otherwise: Vec<Step>,
    },
    /// A branch again and again, while the condition is true before each round.
    While {
        /// The condition.
        condition: Condition,
        /// Rounds at most, from 1 to [`MOST_ROUNDS`].
        most: u32,
        /// The branch; at least one step.
        steps: Vec<Step>,
    },
    /// Branches at the same time, at least two; done when all are.
    Parallel(Vec<Vec<Step>>),
}

/// What follows when a step fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Its branch fails, and with it the step that holds the branch, or the playbook.
    #[default]
    Stop,
    /// The next step.
    GoOn,
    /// These steps, then as [`OnFailure::Stop`].
    Run(Vec<Step>),
}

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct To {
    /// Channels by name.
    pub channels: Vec<String>,
    /// All channels of an audience.
    pub audience: Option<Audience>,
}

impl To {
    /// Whether nobody is named: the channels that want the incident's severity are meant.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.audience.is_none()
    }
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The keeper raises a scope by its own authority.
    Contain {
        /// Name of the scope; the incident's when `None`.
        scope: Option<String>,
        /// The level.
        level: Level,
        /// For how many seconds.
        seconds: u32,
    },
    /// The keeper contains a containment set of the guard by its own authority.
    ContainSet {
        /// Name of the set.
        set: String,
    },
    /// The keeper runs failed containment calls again.
    Retry {
        /// Name of the scope; the incident's when `None`.
        scope: Option<String>,
    },
    /// People are told.
    Notify {
        /// Who.
        to: To,
        /// What.
        text: String,
    },
    /// People are called: escalated and repeated until somebody acknowledges.
    Page {
        /// Who.
        to: To,
        /// What.
        text: String,
    },
    /// Time passes.
    Wait {
        /// Seconds.
        seconds: u32,
    },
    /// Until a condition is true. It fails when that takes too long.
    Until {
        /// The condition.
        condition: Condition,
        /// Seconds at most.
        within: u32,
    },
    /// Somebody of a role does or decides something, and says so. It fails when nobody does, or somebody refuses.
    Approve {
        /// Name of the role.
        role: String,
        /// What is asked for.
        text: String,
        /// Seconds at most.
        within: u32,
    },
    /// The incident is worse than it was thought to be.
    Escalate {
        /// What it is at least from now on.
        severity: Severity,
    },
    /// A line in the timeline.
    Note {
        /// The line.
        text: String,
    },
    /// The incident is closed, unless the guard holds a level for it: then it fails.
    Close,
}

impl Act {
    /// Names of all kinds.
    pub const NAMES: [&'static str; 10] = [
        "contain",
        "contain-set",
        "retry",
        "notify",
        "page",
        "wait",
        "approve",
        "escalate",
        "note",
        "close",
    ];

    /// The name as written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Contain { .. } => "contain",
            Self::ContainSet { .. } => "contain-set",
            Self::Retry { .. } => "retry",
            Self::Notify { .. } => "notify",
            Self::Page { .. } => "page",
            Self::Wait { .. } | Self::Until { .. } => "wait",
            Self::Approve { .. } => "approve",
            Self::Escalate { .. } => "escalate",
            Self::Note { .. } => "note",
            Self::Close => "close",
        }
    }
}

/// What in a playbook does not fit what is configured around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The step; none for what starts it.
    pub step: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step `{step}`: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The names that playbooks may use.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// Nothing can be raised: there is no guard.
    pub has_no_guard: bool,
    /// Scopes.
    pub scopes: Vec<&'a str>,
    /// Containment sets, with what each raises.
    pub sets: Vec<(&'a str, &'a [Order])>,
    /// Invariants.
    pub rules: Vec<&'a str>,
    /// Channels.
    pub channels: Vec<&'a str>,
    /// Audiences that some channel serves.
    pub audiences: Vec<Audience>,
    /// Roles.
    pub roles: Vec<&'a str>,
}

impl Playbook {
    /// What it names that does not exist, and what the keeper may not do.
    pub fn misfits(&self, known: &Known<'_>) -> Vec<Misfit> {
        let mut found: Vec<Misfit> = Vec::new();
        for rule in &self.rules {
            if !known.rules.contains(&rule.as_str()) {
                found.push(Misfit {
                    step: None,
                    message: format!("unknown invariant `{rule}`"),
                });
            }
        }
        let mut seen = BTreeSet::new();
        for step in self.all_steps() {
            let mut say = |message: String| {
                found.push(Misfit {
                    step: Some(step.id.clone()),
                    message,
                });
            };
            if !seen.insert(step.id.as_str()) {
                say(format!("the id `{}` is taken by another step", step.id));
            }
            for message in step.misfits(known) {
                say(message);
            }
        }
        found
    }
}

impl Step {
    fn misfits(&self, known: &Known<'_>) -> Vec<String> {
        let mut found = Vec::new();
        let mut name = |what: &str, list: &[&str], name: &str| {
            if !list.contains(&name) {
                found.push(format!("unknown {what} `{name}`"));
            }
        };
        let condition = match &self.does {
            Does::If { condition, .. } | Does::While { condition, .. } => Some(condition),
            Does::Act(Act::Until { condition, .. }) => Some(condition),
            Does::Act(_) | Does::Parallel(_) => None,
        };
        for rule in condition.iter().flat_map(|condition| condition.rules()) {
            name("invariant", &known.rules, rule);
        }
        match &self.does {
            Does::Act(Act::Contain { scope, .. } | Act::Retry { scope }) => {
                if let Some(scope) = scope {
                    name("scope", &known.scopes, scope);
                }
            }
            Does::Act(Act::ContainSet { set }) => {
                let found_set = known.sets.iter().find(|(id, _)| id == set);
                match found_set {
                    None => found.push(format!("unknown containment set `{set}`")),
                    Some((_, orders)) if !is_within(orders, Actor::Keeper) => found.push(format!(
                        "the containment set `{set}` is beyond a keeper: it holds ReduceOnly for 1 hour, Halted for 15 minutes, and \
                         has 2 hours a day"
                    )),
                    Some(_) => {}
                }
            }
            Does::Act(Act::Approve { role, .. }) => name("role", &known.roles, role),
            Does::Act(Act::Notify { to, .. } | Act::Page { to, .. }) => {
                for channel in &to.channels {
                    name("channel", &known.channels, channel);
                }
            }
            _ => {}
        }
        if let Does::Act(act @ (Act::Contain { .. } | Act::ContainSet { .. } | Act::Retry { .. })) = &self.does
            && known.has_no_guard
        {
            found.push(format!(
                "`{}` needs the section [guard]: without one nothing can be raised",
                act.name()
            ));
        }
        if let Does::Act(Act::Contain { level, seconds, .. }) = &self.does {
            let most = cordon_core::bounds::KEEPER.seconds(*level);
            if *seconds < cordon_core::bounds::LEAST {
                found.push("a keeper holds a level for a minute at least".to_owned());
            }
            if *seconds > most {
                found.push(format!(
                    "a keeper may hold {} for {} at most",
                    level.name(),
                    crate::config::format_duration(u64::from(most))
                ));
            }
        }
        if let Does::Act(Act::Notify { to, .. } | Act::Page { to, .. }) = &self.does
            && let Some(audience) = to.audience
            && !known.audiences.contains(&audience)
        {
            found.push(format!("no channel has the audience `{}`", audience.name()));
        }
        found
    }
}
