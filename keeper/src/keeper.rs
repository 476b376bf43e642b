//! The keeper as a whole: set up with every check that can be made beforehand, then run until it is told to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use cordon_client::CompiledConfig;
use cordon_client::guard::ICordonGuard as Guard;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chain::{Heads, Link, Rpc};
use crate::decide::{Response, RulePolicy};
use crate::error::KeeperError;
use crate::event::KeeperEvent;
use crate::options::{Options, Signers};
use crate::pipeline::Pipeline;
use crate::policy;
use crate::record::{AlarmKind, Names, Store};
use crate::report::Reports;
use crate::respond::{Account, Heartbeat, Job, Queue, Responder, Upkeep};
use crate::rules::Reader;

/// Events that a slow listener may lag behind.
const EVENTS: usize = 4_096;
/// How often nonce and fees are asked for while nothing is on its way.
const REARM: Duration = Duration::from_secs(10);
/// A head that was seen this long ago and is not evaluated yet means that the keeper does not keep up.
const STALE: Duration = Duration::from_secs(30);

/// A keeper of one guard.
#[derive(Debug)]
pub struct Keeper {
    options: Options,
    rpc: Rpc,
    store: Store,
    policies: Vec<RulePolicy>,
    names: Names,
    version: B256,
    reader: Reader,
    responder: Responder,
    heartbeat: Option<Heartbeat>,
    events: broadcast::Sender<KeeperEvent>,
}

/// What the heartbeat asks the pipeline: is the newest head evaluated?
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Option<(u64, Instant)>>>);

impl Progress {
    /// Notes that the block of this height was evaluated.
    pub(crate) fn done(&self, number: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, Instant::now()));
    }

    /// Whether the newest head is evaluated, or arrived only just now.
    fn check(&self, heads: &Heads) -> Result<(), String> {
        if heads.link().is_blind() {
            return Err("no head source works".to_owned());
        }
        let Some(newest) = heads.newest() else {
            return Err("no block was seen yet".to_owned());
        };
        let done = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Some((number, _)) if number >= newest.block.number => Ok(()),
            _ if newest.at.elapsed() < STALE => Ok(()),
            Some((_, at)) if at.elapsed() < STALE => Ok(()),
            _ => Err(format!(
                "block {} was not evaluated within {} s",
                newest.block.number,
                STALE.as_secs()
            )),
        }
    }
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
        let account = Account::new(signers.keeper, rpc.clone());
        let contains = policies.iter().find(|policy| policy.response == Response::Contain);
        if let (Some(policy), None) = (contains, &signers.heartbeat) {
            return Err(KeeperError::NoHeartbeat {
                rule: policy.id.clone(),
            });
        }
        check_account(
            &rpc,
            options.guard,
            account.address(),
            contains.map(|_| Guard::Role::Keeper),
        )
        .await?;
        let (events, _) = broadcast::channel(EVENTS);
        let alarms = Alarms::new(store.clone(), events.clone());
        let heartbeat = match signers.heartbeat {
            Some(signer) => {
                let account = Account::new(signer, rpc.clone());
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
        let reader = Reader::new(rpc.clone(), options.guard, policy::watched(compiled, &options));
        let responder = Responder {
            rpc: rpc.clone(),
            guard: options.guard,
            account,
            settings: options.deliver,
            gas: policy::gas(compiled),
            names: names.clone(),
            store: store.clone(),
            queue: Queue::default(),
            alarms,
            events: events.clone(),
            reports: Reports::new(options.reports.clone()),
        };
        Ok(Self {
            options,
            rpc,
            store,
            policies,
            names,
            version,
            reader,
            responder,
            heartbeat,
            events,
        })
    }

    /// A stream of what the keeper sees, decides and does from now on. A listener that is slow loses the oldest events.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<KeeperEvent> {
        self.events.subscribe()
    }

    /// The record.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The account that acts.
    #[must_use]
    pub fn address(&self) -> Address {
        self.responder.account.address()
    }

    /// Runs until `stop` is cancelled. What was decided and not carried out before is resumed first; blocks that passed
    /// meanwhile are evaluated.
    ///
    /// # Errors
    /// Only when the record or the chain cannot be read at the start; later failures are retried and alarmed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), KeeperError> {
        let stop = stop.child_token();
        let _stop_all = stop.clone().drop_guard();
        let (queue, account) = (self.responder.queue.clone(), self.responder.account.clone());
        account.refresh().await?;
        for intent in self.store.open_intents().await? {
            tracing::warn!(
                intent = intent.id,
                kind = intent.kind.name(),
                "resuming an action that was decided on before"
            );
            queue.push(Job::now(intent, None));
        }
        let heads = Heads::start(
            self.rpc.clone(),
            self.options.ws.clone(),
            self.options.heads,
            stop.clone(),
        );
        let upkeep = Upkeep::new(
            self.rpc.clone(),
            self.options.guard,
            account.address(),
            self.version,
            self.store.clone(),
            queue.clone(),
        );
        let progress = Progress::default();
        let alarms = self.responder.alarms.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(stop.clone().run_until_cancelled_owned(self.responder.clone().run()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep.clone().run()));
        tasks.spawn({
            let account = account.clone();
            stop.clone()
                .run_until_cancelled_owned(async move { account.stay_armed(REARM).await })
        });
        tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(watch_link(heads.clone(), alarms.clone())),
        );
        if let Some(heartbeat) = self.heartbeat.clone() {
            let (heads, progress) = (heads.clone(), progress.clone());
            let beat = async move { heartbeat.run(move || progress.check(&heads)).await };
            tasks.spawn(stop.clone().run_until_cancelled_owned(beat));
        }
        let pipeline = Pipeline {
            rpc: self.rpc,
            store: self.store,
            reader: self.reader,
            policies: self.policies,
            names: self.names,
            version: self.version,
            witness_limit: self.options.witness_limit,
            keep_blocks: self.options.keep_blocks,
            queue,
            upkeep,
            account,
            alarms,
            events: self.events,
            reports: self.responder.reports.clone(),
            progress,
        };
        let result = pipeline.run(heads, stop.clone()).await;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        result
    }
}

/// Turns the health of the head sources into alarms.
async fn watch_link(mut heads: Heads, alarms: Alarms) {
    // A subscription that is back within moments is nobody's business.
    const CALM: Duration = Duration::from_secs(3);
    let mut known = Link {
        subscribed: true,
        ..Link::default()
    };
    loop {
        if !heads.link_changed().await {
            return;
        }
        tokio::time::sleep(if heads.link().is_blind() { Duration::ZERO } else { CALM }).await;
        let link = heads.link();
        if link.is_blind() {
            let why = link.poll_error.clone().unwrap_or_default();
            alarms
                .raise(
                    AlarmKind::Blind,
                    "heads",
                    &format!("the keeper sees no blocks: {why}"),
                    None,
                )
                .await;
        } else if known.is_blind() {
            alarms.clear(AlarmKind::Blind, "heads").await;
        }
        match (&link.subscription_error, link.subscribed) {
            (Some(why), false) => {
                alarms
                    .raise(
                        AlarmKind::Polling,
                        "heads",
                        &format!("heads come by polling: {why}"),
                        None,
                    )
                    .await;
            }
            _ => alarms.clear(AlarmKind::Polling, "heads").await,
        }
        known = link;
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
