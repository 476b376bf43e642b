//! The keeper as a whole: set up with every check that can be made beforehand, then run until it is told to stop.

mod checks;
mod preflight;
mod sweep;
mod work;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use alloy::primitives::{Address, B256, keccak256};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_client::{CompiledConfig, Config, SetMeta};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chain::Rpc;
use crate::console::Approvers;
use crate::decide::{Response, RulePolicy};
use crate::error::KeeperError;
use crate::event::KeeperEvent;
use crate::fleet;
use crate::notify::{Channel, DeadMan, Direct, Origin};
use crate::options::{Options, Signers};
use crate::policy;
use crate::record::{Names, Store};
use crate::report::{Reports, RuleTexts};
use crate::respond::{Account, Heartbeat, LastBeat, Queue, Responder};
use crate::rules::{HereStatus, Reader, Request, Watched};
use crate::second::SecondLook;
use checks::{check_account, check_guard};
pub use preflight::Preflight;

/// Events that a slow listener may lag behind.
const EVENTS: usize = 4_096;

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
    /// Sets a keeper up and checks chain, guard, rulebook, roles and funds. Nothing is sent.
    ///
    /// # Errors
    /// See [`KeeperError`]: each says what is wrong and what to do.
    pub async fn new(
        options: Options,
        compiled: &CompiledConfig,
        store: Store,
        signers: Signers,
    ) -> Result<Self, KeeperError> {
        if store.guard() != options.guard {
            return Err(KeeperError::OtherRecord {
                record: store.guard(),
                configured: options.guard,
            });
        }
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
        rpc.verify().await?;
        let version = compiled.code_hash();
        check_guard(&rpc, options.guard, version).await?;
        let policies = policy::policies(compiled, &options);
        let (events, _) = broadcast::channel(EVENTS);
        let alarms = Alarms::new(store.clone(), events.clone());
        let accounts: Vec<Account> = std::iter::once(signers.keeper)
            .chain(signers.more)
            .map(|signer| {
                let account = Account::new(signer, rpc.clone()).only_in_turn(store.clone());
                account.telling(alarms.clone())
            })
            .collect();
        for (position, account) in accounts.iter().enumerate() {
            let others = accounts.iter().skip(position.saturating_add(1));
            if others.clone().any(|other| other.address() == account.address()) {
                return Err(KeeperError::SameAccount {
                    account: account.address(),
                });
            }
        }
        let contains = policies
            .iter()
            .find(|policy| policy.response == Response::Contain)
            .map(|policy| format!("rule `{}`", policy.id))
            .or_else(|| {
                let plays = options.playbooks.iter().find(|playbook| playbook.contains());
                plays.map(|playbook| format!("playbook `{}`", playbook.id))
            });
        if let (Some(who), None) = (&contains, &signers.heartbeat) {
            return Err(KeeperError::NoHeartbeat { who: who.clone() });
        }
        for account in &accounts {
            let role = contains.as_ref().map(|_| Guard::Role::Keeper);
            check_account(&rpc, options.guard, account.address(), role).await?;
        }
        let heartbeat = match signers.heartbeat {
            Some(signer) => {
                let account = Account::new(signer, rpc.clone()).only_in_turn(store.clone());
                check_account(&rpc, options.guard, account.address(), Some(Guard::Role::Heartbeat)).await?;
                Some(Heartbeat {
                    account,
                    guard: options.guard,
                    settings: options.deliver,
                    interval: options.heartbeat,
                    alarms: alarms.clone(),
                    last: LastBeat::default(),
                })
            }
            None => {
                tracing::warn!(
                    "no heartbeat key: the guard will not accept `contain` from this keeper; trips need none"
                );
                None
            }
        };
        let names = policy::names(compiled, &options);
        let reader = policy::reader(rpc.clone(), compiled, &options);
        let second = second_look((&rpc, options.guard), compiled, &store, (&names, &alarms));
        let reports = Reports::new(options.reports.clone(), RuleTexts::of(compiled));
        let responder = Responder {
            rpc: rpc.clone(),
            guard: options.guard,
            accounts,
            settings: options.deliver,
            gas: policy::gas(compiled),
            names: names.clone(),
            store: store.clone(),
            queue: Queue::default(),
            ended: std::sync::Arc::default(),
            alarms: alarms.clone(),
            events: events.clone(),
            reports: reports.clone(),
            version,
            rulebook: reader.rulebook().clone(),
        };
        Ok(Self {
            options,
            rpc,
            store,
            policies,
            names,
            version,
            streams: u8::try_from(compiled.streams.len()).unwrap_or(u8::MAX),
            sets: compiled.sets.clone(),
            reader,
            second: Some(second),
            responder: Some(responder),
            alarms,
            reports,
            heartbeat,
            events,
            channels: Vec::new(),
            dead_man: None,
            approvers: Approvers::default(),
            config_digest: None,
            mark: mark(),
            console: None,
        })
    }

    /// Sets a keeper up that has no guard and no key: it watches, evaluates rules and tells. Nothing is sent.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub async fn watching(options: Options, compiled: &CompiledConfig, store: Store) -> Result<Self, KeeperError> {
        if store.guard() != Address::ZERO {
            return Err(KeeperError::OtherRecord {
                record: store.guard(),
                configured: Address::ZERO,
            });
        }
        let options = Options {
            guard: Address::ZERO,
            ..options
        };
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
        rpc.verify().await?;
        let (events, _) = broadcast::channel(EVENTS);
        let (policies, names) = (policy::policies(compiled, &options), policy::names(compiled, &options));
        let alarms = Alarms::new(store.clone(), events.clone());
        // Without rules there are no incidents, and no folder is needed for them.
        let has_rules = !policies.is_empty();
        let folder = options.reports.clone().filter(|_| has_rules);
        let second = has_rules.then(|| second_look((&rpc, Address::ZERO), compiled, &store, (&names, &alarms)));
        Ok(Self {
            reader: policy::reader(rpc.clone(), compiled, &options),
            second,
            responder: None,
            alarms,
            reports: Reports::new(folder, RuleTexts::of(compiled)),
            policies,
            names,
            version: compiled.version(),
            streams: 0,
            sets: Vec::new(),
            heartbeat: None,
            channels: Vec::new(),
            dead_man: None,
            approvers: Approvers::default(),
            config_digest: None,
            mark: mark(),
            console: None,
            options,
            rpc,
            store,
            events,
        })
    }

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

/// Who evaluates a second time what was evaluated.
fn second_look(
    (rpc, guard): (&Rpc, Address),
    compiled: &CompiledConfig,
    store: &Store,
    (names, alarms): (&Names, &Alarms),
) -> SecondLook {
    let programs = policy::programs(compiled);
    let asked = Reader::new(rpc.clone(), guard, Watched::default())
        .with_programs(programs.clone(), compiled.rulebook.rules.len())
        .with_finality(policy::finalities(compiled));
    SecondLook {
        native: asked.clone().with_programs(programs, 0),
        reader: asked,
        rpc: rpc.clone(),
        store: store.clone(),
        names: names.clone(),
        alarms: alarms.clone(),
    }
}

/// Process ids are not enough: in containers most are 1, and keepers that were taken for one would not hear each other.
fn mark() -> String {
    let chance = RandomState::new().hash_one(std::process::id());
    format!("(process {}) {chance:016x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn two_keepers_with_the_same_process_id_have_different_names() {
        assert_ne!(mark(), mark());
    }
}
