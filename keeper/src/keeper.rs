//! The keeper as a whole: set up with every check that can be made beforehand, then run until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolCall;
use cordon_client::CompiledConfig;
use cordon_client::guard::ICordonGuard as Guard;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chain::{Headers, Heads, Rpc};
use crate::console::{self, Approvers, Shown};
use crate::decide::{Response, RulePolicy};
use crate::error::KeeperError;
use crate::event::KeeperEvent;
use crate::fleet;
use crate::health::Progress;
use crate::lookout::Lookout;
use crate::notify::{Channel, DeadMan, Desk};
use crate::options::{Options, Signers};
use crate::pipeline::Pipeline;
use crate::play;
use crate::policy;
use crate::record::{AlarmKind, Names, PlayPlan, Store};
use crate::report::{Reports, RuleTexts};
use crate::respond::{Account, Armory, Climber, Heartbeat, Job, Observer, Queue, Readiness, Responder, Upkeep};
use crate::rules::{HereStatus, Reader, Request, Watched};
use crate::second::SecondLook;
use crate::watchdog::{watch_endpoints, watch_health, watch_link};

/// Events that a slow listener may lag behind.
const EVENTS: usize = 4_096;
/// How often nonce and fees are asked for while nothing is on its way.
const REARM: Duration = Duration::from_secs(10);

/// A keeper of one guard.
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
    reader: Reader,
    /// Evaluates a second time what was evaluated; nothing in a keeper that only watches.
    second: Option<SecondLook>,
    /// Who acts; nobody in a keeper that only watches.
    responder: Option<Responder>,
    alarms: Alarms,
    reports: Reports,
    heartbeat: Option<Heartbeat>,
    events: broadcast::Sender<KeeperEvent>,
    channels: Vec<Channel>,
    dead_man: Option<DeadMan>,
    approvers: Approvers,
    config_digest: Option<B256>,
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
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?;
        rpc.verify().await?;
        let version = compiled.code_hash();
        check_guard(&rpc, options.guard, version).await?;
        let policies = policy::policies(compiled, &options);
        let accounts: Vec<Account> = std::iter::once(signers.keeper)
            .chain(signers.more)
            .map(|signer| Account::new(signer, rpc.clone()).only_in_turn(store.clone()))
            .collect();
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
        let (events, _) = broadcast::channel(EVENTS);
        let alarms = Alarms::new(store.clone(), events.clone());
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
                })
            }
            None => {
                tracing::warn!(
                    "no heartbeat key: the guard will not accept `contain` from this keeper; trips need none"
                );
                None
            }
        };
        let names = policy::names(compiled);
        let reader = policy::reader(rpc.clone(), compiled, &options);
        let programs = policy::programs(compiled);
        let asked = Reader::new(rpc.clone(), options.guard, Watched::default())
            .with_programs(programs.clone(), compiled.rulebook.rules.len());
        let second = SecondLook {
            native: asked.clone().with_programs(programs, 0),
            reader: asked,
            rpc: rpc.clone(),
            store: store.clone(),
            names: names.clone(),
            alarms: alarms.clone(),
        };
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
            alarms: alarms.clone(),
            events: events.clone(),
            reports: reports.clone(),
        };
        Ok(Self {
            options,
            rpc,
            store,
            policies,
            names,
            version,
            streams: u8::try_from(compiled.streams.len()).unwrap_or(u8::MAX),
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
            console: None,
        })
    }

    /// Sets a keeper up that has no guard and no key, and only watches. Nothing is sent.
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
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?;
        rpc.verify().await?;
        let (events, _) = broadcast::channel(EVENTS);
        Ok(Self {
            reader: Reader::new(rpc.clone(), Address::ZERO, Watched::default()).with_watches(options.watches.clone()),
            second: None,
            responder: None,
            alarms: Alarms::new(store.clone(), events.clone()),
            reports: Reports::new(None, RuleTexts::of(compiled)),
            policies: Vec::new(),
            names: policy::names(compiled),
            version: compiled.code_hash(),
            streams: 0,
            heartbeat: None,
            channels: Vec::new(),
            dead_man: None,
            approvers: Approvers::default(),
            config_digest: None,
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

    /// The same, alarmed when `text` is not the configuration of the run before.
    #[must_use]
    pub fn with_config_text(mut self, text: &str) -> Self {
        let bytes = [text.as_bytes(), self.version.as_slice()].concat();
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
    /// Only when the record or the chain cannot be read at the start; later failures are retried and alarmed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), KeeperError> {
        if self.store.is_shared() {
            fleet::take_turns(&self, stop).await;
            return Ok(());
        }
        self.work(&stop).await
    }

    /// Name in the record's lease.
    pub(crate) fn name(&self) -> String {
        format!("{} (process {})", self.address(), std::process::id())
    }

    /// Asks the guard for single verdicts.
    pub(crate) fn asked(&self) -> Reader {
        Reader::new(self.rpc.clone(), self.options.guard, Watched::default())
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

    /// Does the keeper's work until `stop` is cancelled.
    pub(crate) async fn work(&self, stop: &CancellationToken) -> Result<(), KeeperError> {
        let stop = stop.child_token();
        let _stop_all = stop.clone().drop_guard();
        // Jobs of an earlier turn are somebody else's by now, or in the record.
        let responder = self.responder.clone().map(|held| Responder {
            queue: Queue::default(),
            ..held
        });
        let queue = responder.as_ref().map(|held| held.queue.clone()).unwrap_or_default();
        let accounts = responder.as_ref().map(|held| held.accounts.clone()).unwrap_or_default();
        for account in &accounts {
            account.refresh().await?;
        }
        for intent in self.store.open_intents().await? {
            tracing::warn!(
                intent = intent.id,
                kind = intent.kind.name(),
                "resuming an action that was decided on before"
            );
            queue.push(Job::now(intent, None));
        }
        self.check_config().await?;
        let heads = Heads::start(
            self.rpc.clone(),
            self.options.ws.clone(),
            self.options.heads,
            stop.clone(),
        );
        let upkeep = accounts.first().map(|account| {
            Upkeep::new(
                self.rpc.clone(),
                self.options.guard,
                account.address(),
                self.version,
                self.store.clone(),
                queue.clone(),
            )
        });
        let progress = Progress::new(self.options.stale_head);
        let readiness = Readiness::default();
        let fallbacks = Readiness::default();
        let alarms = self.alarms.clone();
        let address = self.address();
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(responder) = responder.clone() {
            let plain = &self.reader.watched().plain;
            let armory = Armory::new(responder.clone(), &self.policies, plain, readiness.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(armory.run()));
            tasks.spawn(stop.clone().run_until_cancelled_owned(responder.run()));
        }
        if let Some(responder) = responder.clone() {
            let heartbeat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.account.clone());
            let climber = Climber::new(responder, self.options.fallbacks.clone(), heartbeat);
            tasks.spawn(stop.clone().run_until_cancelled_owned(climber.run(fallbacks.clone())));
        }
        if let Some(upkeep) = upkeep.clone() {
            tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep.run()));
        }
        if responder.is_some() {
            let plan = PlayPlan {
                playbooks: self.options.playbooks.clone(),
                channels: self.options.audiences.clone(),
                names: self.names.clone(),
                version: self.version,
            };
            let plays = play::run(plan, self.store.clone(), queue.clone(), self.reports.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(plays));
        }
        for account in accounts.clone() {
            tasks.spawn(
                stop.clone()
                    .run_until_cancelled_owned(async move { account.stay_armed(REARM).await }),
            );
        }
        let lookout = Lookout {
            rpc: self.rpc.clone(),
            ws: self.options.ws.clone(),
            store: self.store.clone(),
            watches: self.options.watches.clone(),
            alarms: alarms.clone(),
            heads: heads.clone(),
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(lookout.clone().release()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(lookout.pending()));
        tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(watch_link(heads.clone(), alarms.clone())),
        );
        tasks.spawn(stop.clone().run_until_cancelled_owned(watch_health(
            heads.clone(),
            progress.clone(),
            alarms.clone(),
        )));
        tasks.spawn(stop.clone().run_until_cancelled_owned(watch_endpoints(
            self.rpc.clone(),
            self.store.clone(),
            alarms.clone(),
            self.options.compare_every,
        )));
        if let Some(second) = self.second.clone() {
            let look = second.run(self.options.compare_every);
            tasks.spawn(stop.clone().run_until_cancelled_owned(look));
        }
        if self.store.is_shared() {
            let watch = fleet::step_down_when_blind(heads.clone(), stop.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(watch));
        }
        if let Some(listener) = self.listener() {
            let remote = listener.local_addr().is_ok_and(|at| !at.ip().is_loopback());
            let mut shown = Shown::new(
                (self.store.clone(), self.names.clone()),
                address,
                (heads.clone(), progress.clone(), readiness.clone(), self.reader.clone()),
                self.events.clone(),
                remote,
            );
            shown.approvers = self.approvers.clone();
            shown.fallbacks = fallbacks;
            tasks.spawn(
                stop.clone()
                    .run_until_cancelled_owned(console::serve(listener, Arc::new(shown))),
            );
        }
        if let Some(heartbeat) = self.heartbeat.clone() {
            let (heads, progress) = (heads.clone(), progress.clone());
            let beat = async move { heartbeat.run(move || progress.health(&heads)).await };
            tasks.spawn(stop.clone().run_until_cancelled_owned(beat));
        }
        if let Some(observer) = self.observer(&accounts) {
            let (heads, progress) = (heads.clone(), progress.clone());
            let observe = async move { observer.run(move || progress.health(&heads)).await };
            tasks.spawn(stop.clone().run_until_cancelled_owned(observe));
        }
        if let Some(switch) = self.dead_man.clone() {
            let (heads, progress) = (heads.clone(), progress.clone());
            let ask = async move { switch.run(move || progress.health(&heads)).await };
            tasks.spawn(stop.clone().run_until_cancelled_owned(ask));
        }
        // Without channels too: a channel that is added later is not told of what happened before it.
        let desk = Desk::new(self.channels.clone(), self.store.clone(), alarms.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(desk.run()));
        let pipeline = Pipeline {
            headers: Headers::of(self.rpc.clone()),
            store: self.store.clone(),
            name: self.name(),
            rpc: self.rpc.clone(),
            reader: self.reader.clone(),
            asked: self.asked(),
            quorum: self.options.quorum,
            policies: self.policies.clone(),
            names: self.names.clone(),
            version: self.version,
            witness_limit: self.options.witness_limit,
            keep_blocks: self.options.keep_blocks,
            queue,
            upkeep,
            responder,
            alarms,
            events: self.events.clone(),
            reports: self.reports.clone(),
            progress,
        };
        let result = pipeline.run(heads, stop.clone()).await;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        result
    }
}

impl Keeper {
    /// Who has the guard observe its streams: the heartbeat's account, so that the one that pauses has nothing else in flight, or else
    /// the last of those. `None` when there are no streams, or nobody to pay.
    fn observer(&self, accounts: &[Account]) -> Option<Observer> {
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| &heartbeat.account);
        (self.streams > 0).then_some(Observer {
            account: heartbeat.or(accounts.last())?.clone(),
            guard: self.options.guard,
            settings: self.options.deliver,
            streams: self.streams,
            alarms: self.alarms.clone(),
        })
    }

    /// Alarms when the configuration is another one than that of the run before. Only people clear it, by acknowledging it: whoever
    /// changed it unseen must not get rid of the alarm by a restart.
    async fn check_config(&self) -> Result<(), KeeperError> {
        const SETTING: &str = "config";
        let Some(digest) = self.config_digest else {
            return Ok(());
        };
        let before = self.store.swap_setting(SETTING, &digest.to_string()).await?;
        let alarms = &self.alarms;
        if let Some(before) = before.filter(|before| *before != digest.to_string()) {
            let text = format!(
                "cordon.toml is not the one of the run before (digest {digest}, before {before}): whoever did not expect that should look who changed it"
            );
            alarms.raise(AlarmKind::ConfigChanged, "cordon.toml", &text, None).await;
        }
        Ok(())
    }
}

/// Checks that `guard` is a guard with the rulebook that the configuration compiles to.
async fn check_guard(rpc: &Rpc, guard: Address, version: B256) -> Result<(), KeeperError> {
    if !rpc.has_code(guard).await? {
        return Err(KeeperError::NoCode {
            guard,
            chain_id: rpc.chain_id(),
        });
    }
    let answer = rpc
        .call(
            None,
            guard,
            Guard::rulebookCall {}.abi_encode().into(),
            None,
            BlockId::latest(),
        )
        .await
        .map_err(|error| KeeperError::view(guard, "rulebook()", error))?;
    let held = Guard::rulebookCall::abi_decode_returns(&answer).map_err(|error| KeeperError::NotAGuard {
        guard,
        what: "rulebook()",
        reason: error.to_string(),
    })?;
    if held.codeHash != version {
        return Err(KeeperError::OtherRulebook {
            adopted: held.codeHash,
            compiled: version,
        });
    }
    Ok(())
}

/// Checks that an account can pay, and has the role that it needs.
async fn check_account(
    rpc: &Rpc,
    guard: Address,
    account: Address,
    role: Option<Guard::Role>,
) -> Result<(), KeeperError> {
    if let Some(role) = role {
        let data = Guard::hasRoleCall { role, account }.abi_encode().into();
        let answer = rpc
            .call(None, guard, data, None, BlockId::latest())
            .await
            .map_err(|error| KeeperError::view(guard, "hasRole", error))?;
        let has = Guard::hasRoleCall::abi_decode_returns(&answer).map_err(|error| KeeperError::NotAGuard {
            guard,
            what: "hasRole",
            reason: error.to_string(),
        })?;
        if !has {
            let role = if matches!(role, Guard::Role::Heartbeat) {
                "Heartbeat"
            } else {
                "Keeper"
            };
            return Err(KeeperError::MissingRole { account, role, guard });
        }
    }
    if rpc.balance(account).await? == U256::ZERO {
        return Err(KeeperError::NoFunds {
            account,
            chain_id: rpc.chain_id(),
        });
    }
    Ok(())
}
