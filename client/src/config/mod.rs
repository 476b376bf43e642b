//! The configuration file `cordon.toml`: what is written there, checked as a whole before anything is done with it.
//!
//! [`Config::load`] reads the file, resolves every name in it and reports all that is wrong at once, each problem with its
//! line, column and the nearest known name. Rules and containment calls are compiled by [`Config::compile`]. Every key is
//! described in `docs/config.md`.

mod check;
mod credential;
mod decisions;
mod duration;
mod endpoint;
mod fallback;
mod notify;
mod schema;
mod schema_list;
mod schema_playbook;
mod secret;
mod secret_form;
mod source;
mod template;
mod watch;
mod witness;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy::dyn_abi::DynSolType;
use alloy::primitives::{Address, B256};
use cordon_core::action::ActionSet;
use cordon_core::level::Level;
use cordon_core::matrix::Matrix;
use cordon_core::rule::Type;
use cordon_core::rulebook::Order;
use toml::Spanned;

use crate::abi::Contracts;
use crate::playbook::Playbook;

pub use credential::{Credential, SecretText};
pub use duration::{DurationError, format_duration, parse_duration};
pub use endpoint::{ChainConfig, Endpoint, EndpointError, RpcEndpoint};
pub use fallback::{Fallback, SafeService};
pub use notify::{Audience, Email, MailSecurity, NotifyChannel, Via};
pub use secret::{GcpKeyVersion, Secret, SecretError};
pub use source::{Problem, Report, Source, nearest, suggest};
pub use template::{EVENTS, Placeholder, Template, TemplateText};
pub use watch::{Condition, Finality, InvariantContract, Maintenance, Standard, Status, Watch, WatchKind};
pub use witness::Witness;

/// A configuration whose names are all resolved. Nothing of it was read from a chain.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file itself.
    pub source: Source,
    /// The chain and how to reach it.
    pub chain: ChainConfig,
    /// The guard, its scopes and its roles.
    pub guard: GuardConfig,
    /// The keeper, when there is a `[keeper]` section.
    pub keeper: Option<KeeperConfig>,
    /// All named contracts.
    pub contracts: Contracts,
    /// Invariants in the order of the file, which is that of the rulebook.
    pub invariants: Vec<Invariant>,
    /// Containment calls in the order of the file, which is that of the rulebook.
    pub containments: Vec<Containment>,
    /// Containment sets in the order of the file.
    pub sets: Vec<ContainmentSet>,
    /// Who is told what happened.
    pub notify: Vec<NotifyChannel>,
    /// What is looked for in every block besides the invariants, in the order of the file.
    pub watches: Vec<Watch>,
    /// Times in which what watches find is not told.
    pub maintenance: Vec<Maintenance>,
    /// What is done at which incident: those of the file, then those of the folder that it names.
    pub playbooks: Vec<Playbook>,
    /// Who may approve what.
    pub people: People,
    /// What is tried when the keeper's own way does not contain an incident, in the order of the file.
    pub fallbacks: Vec<Fallback>,
    /// Doubtful things that do not keep the configuration from being used.
    pub warnings: Vec<Problem>,
}

/// `[guard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Whether the file has the section. Without it nothing can be raised: invariants are told, and their scopes are labels.
    pub is_declared: bool,
    /// The deployed guard; `None` before `cordon guard deploy`.
    pub address: Option<Address>,
    /// Names of the scopes; the position is the scope's id, the first is `protocol`.
    pub scopes: Vec<String>,
    /// Contracts whose hook calls the guard accepts.
    pub callers: Vec<Caller>,
    /// The governor, needed for deployment.
    pub governor: Option<Address>,
    /// Accounts with the guardian role.
    pub guardians: Vec<Address>,
    /// Accounts with the keeper role.
    pub keepers: Vec<Address>,
    /// Accounts with the heartbeat role.
    pub heartbeats: Vec<Address>,
    /// Accounts with a seal: they contain once, for longer than a guardian may.
    pub seals: Vec<Address>,
    /// Seconds between the governor's announcement of a loosening call and that call.
    pub governor_delay: u32,
    /// What the levels close: the default, and what `[guard.stricter]` adds.
    pub matrix: Matrix,
    /// Most gas that a caller gives to one hook call (`_guardGas` in `Guarded.sol`).
    pub hook_gas: u64,
}

/// A contract that calls the guard's hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name under `[contracts]`.
    pub name: String,
    /// Its address.
    pub address: Address,
}

/// Where a keeper's record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A SQLite file: one keeper's own.
    File(PathBuf),
    /// The URL of a PostgreSQL database that the keepers of a fleet share. It holds a password, so it is not written here.
    Postgres(Credential),
}

/// Who evaluates the rules without parameters at every block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evaluate {
    /// The guard while the rules are few, else the keeper.
    #[default]
    Auto,
    /// The guard.
    Guard,
    /// The keeper, on the words of the state that the rules depend on; only rules of which one has changed.
    Keeper,
}

/// `[keeper]`; paths are resolved against the file's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperConfig {
    /// Where the record is kept.
    pub store: StorePlace,
    /// Key of the keeper role; `None` for a keeper that only watches.
    pub key: Option<Secret>,
    /// Further keys that act beside it: whichever transaction lands first counts.
    pub more_keys: Vec<Secret>,
    /// Key of the heartbeat role, when it is another one.
    pub heartbeat_key: Option<Secret>,
    /// Directory of the Markdown reports.
    pub reports: PathBuf,
    /// URL that is asked every minute while the keeper sees the chain, for a dead-man's switch that somebody else runs.
    pub heartbeat_url: Option<Credential>,
    /// Where the console listens; `None` for no console.
    pub console: Option<SocketAddr>,
    /// Who evaluates the rules.
    pub evaluate: Evaluate,
    /// How many have to agree before the whole protocol is raised.
    pub quorum: QuorumConfig,
    /// How long what is over is kept besides incidents, in seconds: a day at least.
    pub retention: u32,
    /// After how many seconds without a new block the chain counts as not seen any more: 10 at least.
    pub stale_head: u32,
}

/// `[keeper.quorum]`: each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// Rules of the scope `protocol` that are breached in the same block.
    pub rules: u32,
    /// Endpoints that say so of the same block.
    pub endpoints: u32,
    /// Keepers of the fleet that found it by themselves.
    pub keepers: u32,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        Self {
            rules: 1,
            endpoints: 1,
            keepers: 1,
        }
    }
}

/// Who may approve steps of playbooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// Names by role.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The token that somebody shows the console, by name. Who has none approves on the keeper's machine.
    pub tokens: BTreeMap<String, Credential>,
}

impl People {
    /// Whether somebody has a role.
    pub fn has(&self, name: &str, role: &str) -> bool {
        self.roles
            .get(role)
            .is_some_and(|members| members.iter().any(|member| member == name))
    }
}

/// How bad a breach is, `P1` the worst. `P5` is for the record: a channel is told of it when it asks for `P5`, or is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Severity {
    P1,
    P2,
    P3,
    P4,
    P5,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [Self::P1, Self::P2, Self::P3, Self::P4, Self::P5];

    /// The name as written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the keeper answers a breach of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Respond {
    /// Call `trip`: the guard proves the breach itself, so the keeper needs no authority and spends no budget.
    #[default]
    Trip,
    /// Call `contain` by the keeper's own authority, within its bounds, budget and heartbeat.
    Contain,
}

/// A parameter of a rule: whoever trips the rule supplies its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the rule's text.
    pub name: String,
    /// Its type: `address`, `bool`, an integer or `bytesN`.
    pub ty: Type,
}

impl Parameter {
    /// The witness word of a value as people write it: an address, a number, `true`, bytes in hex. `None` when `text` is no
    /// value of the type.
    pub fn word(&self, text: &str) -> Option<B256> {
        let ty: DynSolType = self.ty.to_string().parse().ok()?;
        ty.coerce_str(text).ok()?.as_word()
    }
}

/// `[[invariant]]`.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// Unique name.
    pub id: String,
    /// Scope that a trip raises.
    pub scope: u8,
    /// Parameters, in the order of the witness words.
    pub params: Vec<Parameter>,
    /// Event that supplies the parameters.
    pub witness: Option<Witness>,
    /// Hooks that check the rule.
    pub check: ActionSet,
    /// `in_call = "shadow"`: a breach in a hook is counted and does not revert.
    pub shadow: bool,
    /// The author asserts that one transaction cannot move the rule's inputs.
    pub robust: bool,
    /// Level that a trip raises the scope to.
    pub level: Option<Level>,
    /// Seconds for which a trip raises the level.
    pub duration: u32,
    /// How bad a breach is.
    pub severity: Severity,
    /// How the keeper answers a breach.
    pub respond: Respond,
    /// Channels that are told of its incidents, whatever their severity; those that want the severity when empty.
    pub channels: Vec<String>,
    /// The guard does not have the rule: only the keeper evaluates it.
    pub keeper_only: bool,
    /// The newest block that the keeper evaluates it on.
    pub finality: Finality,
    /// Place of the whole rule's name, for messages.
    pub(crate) id_at: Spanned<()>,
    pub(crate) level_at: Option<Spanned<()>>,
    pub(crate) rule: Spanned<String>,
    pub(crate) lets: Vec<(String, Spanned<String>)>,
}

impl Invariant {
    /// The rule's text.
    pub fn rule(&self) -> &str {
        self.rule.get_ref()
    }
}

/// `[[containment]]`.
#[derive(Clone, Debug)]
pub struct Containment {
    /// Unique name.
    pub id: String,
    /// Scope whose level runs the call.
    pub scope: u8,
    /// The least level that runs the call.
    pub level: Level,
    /// What the call closes for users.
    pub closes: ActionSet,
    /// Most seconds that its effect may last; 0 for as long as the level holds.
    pub max_duration: u32,
    /// Gas that the call gets.
    pub gas: u32,
    pub(crate) id_at: Spanned<()>,
    pub(crate) call: Spanned<String>,
    pub(crate) done: Spanned<String>,
    pub(crate) undo: Vec<Undo>,
}

impl Containment {
    /// The call's text.
    pub fn call(&self) -> &str {
        self.call.get_ref()
    }
}

/// `[[containment_set]]`: levels of several scopes that were reviewed together.
#[derive(Clone, Debug)]
pub struct ContainmentSet {
    /// Unique name.
    pub id: String,
    /// Hash of the document that was reviewed.
    pub reviewed: B256,
    /// What it raises, in order; at least one scope, each once.
    pub orders: Vec<Order>,
    pub(crate) id_at: Spanned<()>,
    /// Where the levels of `orders` stand.
    pub(crate) levels_at: Vec<Spanned<()>>,
}

/// One call that takes back an effect.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    pub(crate) call: Spanned<String>,
    pub(crate) undone: Spanned<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{0}")]
    Invalid(Report),
}

impl Config {
    /// Reads and checks the file, and the ABI files that it names.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text, path)
    }

    /// As [`Config::load`] for a text that would stand at `path`; relative paths are seen from there.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        check::check(Source::new(path.as_ref(), text)).map_err(ConfigError::Invalid)
    }

    /// The file's text with the guard's address put in at the head of `[guard]`. `None` when an address is there already, or
    /// the section is written in another way.
    pub fn with_guard_address(&self, address: Address) -> Option<String> {
        if self.guard.address.is_some() {
            return None;
        }
        let text = self.source.text();
        let header = text.split_inclusive('\n').scan(0, |end, line| {
            *end += line.len();
            Some((*end, line.split('#').next().unwrap_or_default().trim() == "[guard]"))
        });
        let (end, _) = header.into_iter().find(|(_, is_guard)| *is_guard)?;
        let (before, after) = text.split_at_checked(end)?;
        let newline = if before.ends_with('\n') { "" } else { "\n" };
        Some(format!("{before}{newline}address = \"{address}\"\n{after}"))
    }

    /// Id of the scope of that name.
    pub fn scope(&self, name: &str) -> Option<u8> {
        self.guard
            .scopes
            .iter()
            .position(|scope| scope == name)
            .and_then(|at| u8::try_from(at).ok())
    }

    /// Name of the scope of that id.
    pub fn scope_name(&self, id: u8) -> Option<&str> {
        self.guard.scopes.get(usize::from(id)).map(String::as_str)
    }
}
