//! Settings of a keeper.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use cordon_client::Config;
use cordon_client::config::{Audience, Evaluate, Maintenance, People};
use cordon_client::playbook::Playbook;
use cordon_core::Matrix;
use futures::future::try_join_all;

use crate::chain::HeadSettings;
use crate::decide::Quorum;
use crate::error::KeeperError;
use crate::respond::{DeliverSettings, KeySigner, SafeFallback};
use crate::rules::Watches;

/// Settings of a keeper. [`Options::new`] has the defaults of docs/keeper.md.
#[derive(Debug, Clone)]
pub struct Options {
    /// Chain id that every endpoint must have.
    pub chain_id: u64,
    /// HTTP endpoints, the primary first.
    pub rpc: Vec<String>,
    /// Most requests a second at each of them, in their order; no limit where there is `None` or nothing.
    pub rates: Vec<Option<u32>>,
    /// WebSocket endpoint; `None` for polling only.
    pub ws: Option<String>,
    /// The guard; zero for a keeper that only watches and tells.
    pub guard: Address,
    /// What is looked for besides the rules.
    pub watches: Watches,
    /// Who evaluates the rules without parameters.
    pub evaluate: Evaluate,
    /// Times in which invariants are only recorded.
    pub maintenance: Vec<Maintenance>,
    /// What the guard's levels close.
    pub matrix: Matrix,
    /// How many have to agree before the whole protocol is raised.
    pub quorum: Quorum,
    /// Directory for Markdown reports; `None` for none.
    pub reports: Option<PathBuf>,
    /// Deadline of each request at each endpoint.
    pub rpc_timeout: Duration,
    /// Timing of the head sources.
    pub heads: HeadSettings,
    /// Timing and limits of transactions.
    pub deliver: DeliverSettings,
    /// Least seconds between two decisions on a rule.
    pub cooldown: u32,
    /// Most witnesses to remember per rule.
    pub witness_limit: u32,
    /// Remembered witnesses that are evaluated again per block and rule.
    pub recheck: u32,
    /// Time between heartbeats; the guard wants one every 15 minutes.
    pub heartbeat: Duration,
    /// Blocks whose verdicts are kept.
    pub keep_blocks: u64,
    /// How long notices, sightings, cleared alarms, and playbooks of closed incidents are kept when they are over.
    pub retention: Duration,
    /// What is old is forgotten once per so many blocks.
    pub prune_every: u64,
    /// A chain without a new block for so long is one that is not seen any more.
    pub stale_head: Duration,
    /// A keeper that has not caught up for so long, and has many blocks waiting, tells people.
    pub behind_after: Duration,
    /// How long the turn of a keeper lasts that shares its record with others, unless it renews it: what a dead one is replaced
    /// within.
    pub term: Duration,
    /// What is tried when the keeper's own way does not contain an incident.
    pub fallbacks: Vec<SafeFallback>,
    /// What is done at which incident.
    pub playbooks: Vec<Playbook>,
    /// Who may approve steps of playbooks.
    pub people: People,
    /// All channels, with whom they serve.
    pub audiences: Vec<(String, Audience)>,
    /// How often the endpoints are compared with each other, when there are several.
    pub compare_every: Duration,
}

impl Options {
    /// The defaults for a guard at these endpoints.
    #[must_use]
    pub fn new(chain_id: u64, rpc: Vec<String>, ws: Option<String>, guard: Address) -> Self {
        Self {
            chain_id,
            rpc,
            rates: Vec::new(),
            ws,
            guard,
            watches: Watches::default(),
            evaluate: Evaluate::Auto,
            maintenance: Vec::new(),
            matrix: Matrix::DEFAULT,
            quorum: Quorum::default(),
            reports: None,
            rpc_timeout: Duration::from_secs(3),
            heads: HeadSettings::default(),
            deliver: DeliverSettings::default(),
            cooldown: 10,
            witness_limit: 10_000,
            recheck: 32,
            heartbeat: Duration::from_secs(5 * 60),
            keep_blocks: 2_000_000,
            retention: Duration::from_secs(90 * 24 * 60 * 60),
            prune_every: 10_000,
            stale_head: Duration::from_secs(60),
            behind_after: Duration::from_secs(60),
            term: Duration::from_secs(4),
            fallbacks: Vec::new(),
            playbooks: Vec::new(),
            people: People::default(),
            audiences: Vec::new(),
            compare_every: Duration::from_secs(5),
        }
    }

    /// The guard that a configuration file is about; zero for one without `[guard]`, and for one that names none and only watches.
    ///
    /// # Errors
    /// [`KeeperError::NoGuard`].
    pub fn guard_of(config: &Config) -> Result<Address, KeeperError> {
        let only_watches = config.invariants.is_empty() && !config.watches.is_empty();
        match config.guard.address {
            None if only_watches || !config.guard.is_declared => Ok(Address::ZERO),
            address => address.ok_or(KeeperError::NoGuard),
        }
    }

    /// The settings of a configuration file. Endpoints that are kept elsewhere are read.
    ///
    /// # Errors
    /// [`KeeperError::NoSection`], [`KeeperError::NothingToLookFor`] and [`KeeperError::NoGuard`] for what the file lacks. A file without `[guard]`, or
    /// with watches alone, needs no guard. [`KeeperError::Fallback`] when a fallback cannot be set up, [`KeeperError::Endpoint`] when an endpoint cannot be had.
    pub fn from_config(config: &Config) -> Result<Self, KeeperError> {
        let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
        if config.invariants.is_empty() && config.watches.is_empty() {
            return Err(KeeperError::NothingToLookFor);
        }
        let guard = Self::guard_of(config)?;
        let rpc = config.chain.rpc_urls()?.into_iter().map(String::from).collect();
        let ws = Some(String::from(config.chain.ws_url()?));
        let reports = Some(section.reports.clone());
        let fallbacks = config
            .fallbacks
            .iter()
            .map(|fallback| SafeFallback::new(fallback.clone(), config.source.directory()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            reports,
            rates: config.chain.rpc.iter().map(|endpoint| endpoint.rate).collect(),
            watches: Watches::new(&config.watches, &config.maintenance),
            evaluate: section.evaluate,
            retention: Duration::from_secs(section.retention.into()),
            stale_head: Duration::from_secs(section.stale_head.into()),
            fallbacks,
            playbooks: config.playbooks.clone(),
            people: config.people.clone(),
            audiences: config
                .notify
                .iter()
                .map(|channel| (channel.id.clone(), channel.audience))
                .collect(),
            maintenance: config.maintenance.clone(),
            matrix: config.guard.matrix,
            quorum: Quorum {
                rules: section.quorum.rules,
                endpoints: section.quorum.endpoints,
                keepers: section.quorum.keepers,
            },
            ..Self::new(config.chain.id, rpc, ws, guard)
        })
    }
}

/// Keys of a keeper.
#[derive(Debug, Clone)]
pub struct Signers {
    /// Sends trips, containment and settlement.
    pub keeper: KeySigner,
    /// Send them too when the first does not get through at once.
    pub more: Vec<KeySigner>,
    /// Sends heartbeats: another key than the one that pauses.
    pub heartbeat: Option<KeySigner>,
}

impl Signers {
    /// Keys that are at hand.
    pub fn local(keeper: PrivateKeySigner, heartbeat: Option<PrivateKeySigner>) -> Self {
        Self {
            keeper: keeper.into(),
            more: Vec::new(),
            heartbeat: heartbeat.map(KeySigner::from),
        }
    }

    /// The keys that a configuration file names. Those that others hold are asked for their accounts.
    ///
    /// # Errors
    /// [`KeeperError::NoSection`], [`KeeperError::NoKey`], [`KeeperError::Key`].
    pub async fn from_config(config: &Config) -> Result<Self, KeeperError> {
        let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
        let directory = config.source.directory();
        let key = section.key.as_ref().ok_or(KeeperError::NoKey)?;
        let keeper = KeySigner::open(key, directory);
        let more = try_join_all(section.more_keys.iter().map(|key| KeySigner::open(key, directory)));
        let heartbeat = async {
            match &section.heartbeat_key {
                Some(key) => KeySigner::open(key, directory).await.map(Some),
                None => Ok(None),
            }
        };
        let (keeper, more, heartbeat) = futures::try_join!(keeper, more, heartbeat)?;
        Ok(Self {
            keeper,
            more,
            heartbeat,
        })
    }

    /// All of them, each with the name of its key in `[keeper]`.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &KeySigner)> {
        std::iter::once(("key", &self.keeper))
            .chain(self.more.iter().map(|key| ("more_keys", key)))
            .chain(self.heartbeat.iter().map(|key| ("heartbeat_key", key)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    #[test]
    fn each_endpoint_has_its_own_rate() {
        let text = "[chain]\nid = 1\nrpc = [\"http://localhost:1\", { url = \"http://localhost:2/\", rate = 7 }, { file = \"Cargo.toml\", rate = 1 }]\nws = { url = \"ws://localhost:3\" }\n";
        let config = Config::parse(text, Path::new("cordon.toml")).unwrap();
        let rates: Vec<Option<u32>> = config.chain.rpc.iter().map(|endpoint| endpoint.rate).collect();
        assert_eq!(rates, [None, Some(7), Some(1)]);
        let rest = "rpc = [{ url = \"http://localhost:2\", rate = 7 }]\n[keeper]\nstore = \"cordon.db\"\n[contracts]\nbox = { address = \"0x00000000000000000000000000000000b0000001\" }\n[[watch]]\nid = \"balance\"\non = \"balance\"\nat = \"box\"\n";
        let config = Config::parse(&format!("[chain]\nid = 1\n{rest}"), Path::new("cordon.toml")).unwrap();
        let options = Options::from_config(&config).unwrap();
        assert_eq!(
            (options.rpc, options.rates),
            (vec!["http://localhost:2/".to_owned()], vec![Some(7)])
        );
    }

    #[test]
    fn a_configuration_that_looks_for_nothing_is_refused() {
        let text = "[chain]\nid = 1\nrpc = [\"http://localhost:1\"]\n[keeper]\nstore = \"cordon.db\"\n[contracts]\nbox = { address = \"0x00000000000000000000000000000000b0000001\" }\n";
        let options = |more: &str| {
            let config = Config::parse(&format!("{text}{more}"), Path::new("cordon.toml")).unwrap();
            Options::from_config(&config)
        };
        assert!(matches!(options(""), Err(KeeperError::NothingToLookFor)));
        let watch = "[[watch]]\nid = \"balance\"\non = \"balance\"\nat = \"box\"\n";
        assert!(options(watch).is_ok());
    }
}
