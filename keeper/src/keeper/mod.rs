//! The keeper as a whole: set up with every check that can be made beforehand, then run until it is told to stop.

mod checks;
mod preflight;
mod setup;
mod sweep;
mod work;

use std::net::SocketAddr;
use std::time::Duration;

use alloy::primitives::{Address, B256, keccak256};
use cordon_client::{Config, SetMeta};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chain::Rpc;
use crate::console::Approvers;
use crate::decide::RulePolicy;
use crate::error::KeeperError;
use crate::event::KeeperEvent;
use crate::fleet;
use crate::notify::{Channel, DeadMan, Direct, Origin};
use crate::options::Options;
use crate::record::{Names, Store};
use crate::report::Reports;
use crate::respond::{Account, Heartbeat, Responder};
use crate::rules::{HereStatus, Reader, Request, Watched};
use crate::second::SecondLook;
pub use preflight::Preflight;

/// A keeper of one guard, or of none: then it watches and tells.
#[derive(Debug)]
pub struct Keeper {
    options: Options,
    rpc: Rpc,
    store: Store,
    policies: Vec<RulePolicy>,
    names: Names,
    version: B256,
    /// How many streams the guard stores for anchors.
    streams: u8,
    /// The guard's containment sets.
    sets: Vec<SetMeta>,
    reader: Reader,
    /// Evaluates a second time what was evaluated; nothing in a keeper without rules.
    second: Option<SecondLook>,
    /// Who acts; nobody in a keeper without a guard.
    responder: Option<Responder>,
    alarms: Alarms,
    reports: Reports,
    heartbeat: Option<Heartbeat>,
    events: broadcast::Sender<KeeperEvent>,
    channels: Vec<Channel>,
    dead_man: Option<DeadMan>,
    approvers: Approvers,
    config_digest: Option<B256>,
    /// What tells this keeper from others of the same account.
    mark: String,
    /// Kept open between the turns of a fleet's keeper.
    console: Option<std::net::TcpListener>,
}

impl Keeper {
    /// The same, telling people through these channels.
    #[must_use]
    pub fn with_channels(mut self, channels: Vec<Channel>) -> Self {
        self.alarms
            .tell_by(Direct::new(channels.clone(), Origin::of(&self.store)));
        self.channels = channels;
        self
    }

    /// The same with a dead-man's switch that somebody else runs.
    #[must_use]
    pub fn with_dead_man(mut self, switch: DeadMan) -> Self {
        self.dead_man = Some(switch);
        self
    }

    /// The same, with people who may approve steps of playbooks through the console.
    #[must_use]
    pub fn with_approvers(mut self, approvers: Approvers) -> Self {
        self.approvers = approvers;
        self
    }

    /// The same, alarmed when it decides by another configuration than the run before.
    #[must_use]
    pub fn with_config(mut self, config: &Config) -> Self {
        let bytes = [config.decisions().as_bytes(), self.version.as_slice()].concat();
        self.config_digest = Some(keccak256(bytes));
        self
    }

    /// Digest of what it decides by, as the record numbers it; `None` unless it was given a configuration.
    #[must_use]
    pub fn config_digest(&self) -> Option<B256> {
        self.config_digest
    }

    /// Opens the console at `address` (port 0 for a free one); it is served while the keeper runs. Answers where it listens.
    ///
    /// # Errors
    /// [`KeeperError::Console`].
    pub async fn open_console(&mut self, address: SocketAddr) -> Result<SocketAddr, KeeperError> {
        let failed = |reason| KeeperError::Console { address, reason };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        self.console = Some(listener.into_std().map_err(failed)?);
        Ok(at)
    }

    /// A stream of what the keeper sees, decides and does from now on. A listener that is slow loses the oldest events.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<KeeperEvent> {
        self.events.subscribe()
    }

    /// Evaluates every rule without parameters at the newest block and tells who does so how; `None` when the guard evaluates all
    /// of them. Nothing is stored.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub async fn rehearse(&self) -> Result<Option<HereStatus>, KeeperError> {
        if self.reader.here().is_none() {
            return Ok(None);
        }
        let block = self.rpc.latest().await?;
        let plain = self.reader.watched().plain.iter();
        let requests: Vec<Request> = plain.map(|rule| Request::plain(*rule)).collect();
        self.reader.read(&block, &requests, &[]).await?;
        Ok(self.reader.here().map(|status| HereStatus {
            guard: requests.len().saturating_sub(status.keeper),
            ..status
        }))
    }

    /// The record.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The account that acts; zero when the keeper only watches.
    #[must_use]
    pub fn address(&self) -> Address {
        self.responder
            .as_ref()
            .and_then(|responder| responder.accounts.first())
            .map_or(Address::ZERO, Account::address)
    }

    /// Runs until `stop` is cancelled. What was decided and not carried out before is resumed first; blocks that passed
    /// meanwhile are evaluated. Of several keepers that share a record one works at a time; the others wait for their turn.
    ///
    /// # Errors
    /// Only when the record or the chain cannot be read at the start, or another keeper runs on the record's file; later failures are
    /// retried and alarmed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), KeeperError> {
        let _occupied = self.store.occupy()?;
        if self.store.is_shared() {
            fleet::take_turns(&self, stop).await;
            return Ok(());
        }
        self.work(&stop).await
    }

    /// Name in the record's lease.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.address(), self.mark)
    }

    /// Asks for single verdicts.
    pub(crate) fn asked(&self) -> Reader {
        match &self.second {
            Some(second) => second.reader.clone(),
            None => Reader::new(self.rpc.clone(), self.options.guard, Watched::default()),
        }
    }

    /// Code hash of the rulebook that its rules have their numbers in.
    pub(crate) fn version(&self) -> B256 {
        self.version
    }

    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Whether keepers have to agree.
    pub(crate) fn wants_witnesses(&self) -> bool {
        self.options.quorum.keepers > 1
    }

    /// How long a turn lasts that is not renewed.
    pub(crate) fn term(&self) -> Duration {
        self.options.term
    }

    /// The console's listener for one more turn; `None` when there is no console, or it cannot be had.
    pub(crate) fn listener(&self) -> Option<TcpListener> {
        let listener = self.console.as_ref()?;
        let again = listener.try_clone().and_then(TcpListener::from_std);
        again
            .inspect_err(|error| tracing::error!(%error, "the console cannot be served"))
            .ok()
    }
}
