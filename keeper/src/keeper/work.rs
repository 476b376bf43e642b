//! The tasks that a keeper is made of while it works.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_client::SetMeta;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Keeper;
use crate::agreement::Council;
use crate::catchup::Behind;
use crate::chain::{BlockSource, Headers, Heads};
use crate::console::{self, Shown};
use crate::error::KeeperError;
use crate::fleet;
use crate::forget::Forgetting;
use crate::health::Progress;
use crate::lookout::Lookout;
use crate::notify::Desk;
use crate::pipeline::Pipeline;
use crate::play::Player;
use crate::record::{AlarmKind, PlayPlan};
use crate::respond::{Account, Armory, Climber, Job, KeyWatch, Observer, Queue, Readiness, Responder, Upkeep};
use crate::watchdog::{first_look, watch_chains, watch_endpoints, watch_health, watch_link, watch_record};

/// How often nonce and fees are asked for while nothing is on its way.
const REARM: Duration = Duration::from_secs(10);

/// How often the endpoints are asked which chain they are of.
const CHECK_CHAINS: Duration = Duration::from_secs(15);

/// Tasks that end together.
struct Tasks {
    set: JoinSet<()>,
    stop: CancellationToken,
}

impl Tasks {
    fn start<T: Send>(&mut self, task: impl Future<Output = T> + Send + 'static) {
        let stop = self.stop.clone();
        self.set.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// The same for one that is told to stop, and ends by itself.
    fn start_to_end(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(task);
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.set.join_next().await.is_some() {}
    }
}

/// What the tasks of one turn have in common.
struct Turn {
    /// Who acts, with a queue of this turn; nobody in a keeper that only watches.
    responder: Option<Responder>,
    upkeep: Option<Upkeep>,
    heads: Heads,
    progress: Progress,
    /// Whether each rule could be answered now.
    ready: Readiness,
    /// Whether each fallback would work now.
    fallbacks: Readiness,
    /// Whether each key that others hold would sign now.
    keys: Readiness,
}

impl Turn {
    fn accounts(&self) -> Vec<Account> {
        let responder = self.responder.as_ref();
        responder.map(|held| held.accounts.clone()).unwrap_or_default()
    }

    fn queue(&self) -> Queue {
        let responder = self.responder.as_ref();
        responder.map(|held| held.queue.clone()).unwrap_or_default()
    }
}

/// Asks what the account's next transaction needs. Endpoints that do not answer keep nobody from being told that they do not, and of all that
/// waits to be told.
async fn take_up(account: &Account) {
    const PATIENCE: Duration = Duration::from_millis(1_500);
    let why = match tokio::time::timeout(PATIENCE, account.refresh()).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    // What an earlier turn knew is not to be used.
    account.disarm().await;
    tracing::warn!(account = %account.address(), why, "nonce and fees are not known yet; who sends asks again");
}

impl Keeper {
    /// Does the keeper's work until `stop` is cancelled.
    pub(crate) async fn work(&self, stop: &CancellationToken) -> Result<(), KeeperError> {
        let stop = stop.child_token();
        let _stop_all = stop.clone().drop_guard();
        let turn = self.begin_turn(&stop).await?;
        let mut tasks = Tasks {
            set: JoinSet::new(),
            stop: stop.clone(),
        };
        self.start_acting(&mut tasks, &turn);
        self.start_looking(&mut tasks, &turn);
        self.start_telling(&mut tasks, &turn);
        let result = self.pipeline(&turn).run(turn.heads, stop).await;
        tasks.end().await;
        result
    }

    /// Takes up what the record holds, and begins to follow the chain.
    async fn begin_turn(&self, stop: &CancellationToken) -> Result<Turn, KeeperError> {
        // Jobs of an earlier turn are somebody else's by now, or in the record.
        let responder = self.responder.clone().map(|held| Responder {
            queue: Queue::default(),
            ..held
        });
        let queue = responder.as_ref().map(|held| held.queue.clone()).unwrap_or_default();
        let accounts = responder.as_ref().map(|held| held.accounts.clone()).unwrap_or_default();
        futures::future::join_all(accounts.iter().map(take_up)).await;
        for intent in self.store.open_intents().await? {
            tracing::warn!(
                intent = intent.id,
                kind = intent.kind.name(),
                "resuming an action that was decided on before"
            );
            queue.push(Job::now(intent, None));
        }
        self.note_config().await?;
        self.reports.renew(&self.store).await?;
        let upkeep = accounts.first().map(|account| {
            Upkeep::new(
                self.rpc.clone(),
                self.options.guard,
                account.address(),
                self.version,
                self.store.clone(),
                queue,
            )
        });
        first_look(&self.rpc).await;
        self.stay_on_side().await?;
        self.reader.look_at_rulebook().await;
        self.sweep().await?;
        let heads = Heads::start(
            self.rpc.clone(),
            self.options.ws.clone(),
            self.options.heads,
            stop.clone(),
        );
        Ok(Turn {
            responder,
            upkeep,
            heads,
            progress: Progress::new(self.options.stale_head),
            ready: Readiness::default(),
            fallbacks: Readiness::default(),
            keys: Readiness::default(),
        })
    }

    /// In a split the side is followed whose chain is in the record: a restart is no reason to change it.
    async fn stay_on_side(&self) -> Result<(), KeeperError> {
        if self.rpc.split().is_none() {
            return Ok(());
        }
        let Some(tip) = self.store.window(1).await?.pop() else {
            return Ok(());
        };
        for (name, rpc) in self.rpc.each() {
            let held = rpc.by_number(tip.number).await;
            if matches!(held, Ok(Some(held)) if held.hash == tip.hash) {
                self.rpc.prefer(&name);
                break;
            }
        }
        Ok(())
    }

    /// Alarms when the configuration is another one than that of the run before.
    async fn note_config(&self) -> Result<(), KeeperError> {
        let Some(digest) = self.config_digest else {
            return Ok(());
        };
        if let Some(text) = self.store.note_config(&digest.to_string()).await? {
            self.alarms.announce(AlarmKind::ConfigChanged, "cordon.toml", &text);
        }
        Ok(())
    }

    /// What sends transactions, or has them sent, and what people do.
    fn start_acting(&self, tasks: &mut Tasks, turn: &Turn) {
        // Without a guard too: people are told and asked.
        let plan = PlayPlan {
            playbooks: self.options.playbooks.clone(),
            channels: self.options.audiences.clone(),
            sets: self.sets.clone(),
            names: self.names.clone(),
            version: self.version,
            quorum: self.options.quorum,
            policies: self.policies.clone(),
        };
        let player = Player {
            plan,
            store: self.store.clone(),
            council: self.council(),
            queue: turn.queue(),
            reports: self.reports.clone(),
        };
        tasks.start(player.run());
        let Some(responder) = &turn.responder else { return };
        tasks.start(self.armory(responder, turn.ready.clone()).run());
        tasks.start(responder.clone().run());
        tasks.start(responder.clone().withdraw());
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.account.clone());
        let climber = Climber::new(responder.clone(), self.options.fallbacks.clone(), heartbeat);
        tasks.start(climber.run(turn.fallbacks.clone()));
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| &heartbeat.account);
        let watch = KeyWatch::new(&turn.accounts(), heartbeat, self.alarms.clone(), turn.keys.clone());
        tasks.start(watch.run());
        if let Some(upkeep) = turn.upkeep.clone() {
            tasks.start(upkeep.run());
        }
        for account in turn.accounts() {
            tasks.start(async move { account.stay_armed(REARM).await });
        }
        if let Some(heartbeat) = self.heartbeat.clone() {
            let (heads, progress) = (turn.heads.clone(), turn.progress.clone());
            tasks.start(async move { heartbeat.run(move || progress.health(&heads)).await });
        }
        if let Some(observer) = self.observer(&turn.accounts()) {
            let (heads, progress) = (turn.heads.clone(), turn.progress.clone());
            tasks.start(async move { observer.run(move || progress.health(&heads)).await });
        }
    }

    /// What is made ready beforehand.
    fn armory(&self, responder: &Responder, ready: Readiness) -> Armory {
        let plain = &self.reader.watched().plain;
        let used = |set: &&SetMeta| self.options.playbooks.iter().any(|playbook| playbook.uses_set(&set.id));
        let sets = self.sets.iter().filter(used);
        Armory::new(responder.clone(), &self.policies, plain, ready).with_sets(sets)
    }

    /// Names of what is made ready beforehand.
    pub(super) fn armed(&self) -> Vec<String> {
        let armory = self
            .responder
            .as_ref()
            .map(|held| self.armory(held, Readiness::default()));
        armory.map(|armory| armory.names()).unwrap_or_default()
    }

    /// What looks at the chain beside the pipeline, and at the keeper itself.
    fn start_looking(&self, tasks: &mut Tasks, turn: &Turn) {
        let (heads, alarms) = (&turn.heads, &self.alarms);
        let lookout = Lookout {
            rpc: self.rpc.clone(),
            ws: self.options.ws.clone(),
            store: self.store.clone(),
            watches: self.options.watches.clone(),
            alarms: alarms.clone(),
            heads: heads.clone(),
        };
        tasks.start(lookout.clone().release());
        tasks.start(lookout.pending());
        tasks.start(watch_link(heads.clone(), alarms.clone()));
        tasks.start(watch_health(heads.clone(), turn.progress.clone(), alarms.clone()));
        tasks.start(watch_record(self.store.clone(), turn.progress.clone(), alarms.clone()));
        tasks.start(watch_endpoints(
            self.rpc.clone(),
            alarms.clone(),
            self.options.compare_every,
        ));
        tasks.start(watch_chains(self.rpc.clone(), alarms.clone(), CHECK_CHAINS));
        if let Some(second) = self.second.clone() {
            tasks.start(second.run(self.options.compare_every));
        }
        if self.store.is_shared() {
            tasks.start(fleet::step_down_when_blind(heads.clone(), tasks.stop.clone()));
        }
    }

    /// What tells people, and others that ask.
    fn start_telling(&self, tasks: &mut Tasks, turn: &Turn) {
        let (heads, progress) = (turn.heads.clone(), turn.progress.clone());
        if let Some(listener) = self.listener() {
            let remote = listener.local_addr().is_ok_and(|at| !at.ip().is_loopback());
            let mut shown = Shown::new(
                (self.store.clone(), self.names.clone()),
                self.address(),
                (heads.clone(), progress.clone(), turn.ready.clone(), self.reader.clone()),
                self.events.clone(),
                remote,
            );
            shown.approvers = self.approvers.clone();
            shown.fallbacks = turn.fallbacks.clone();
            shown.keys = turn.keys.clone();
            shown.accounts = turn.accounts();
            shown.heartbeat = self.heartbeat.clone();
            shown.dead_man = self.dead_man.clone();
            tasks.start(console::serve(listener, Arc::new(shown)));
        }
        if let Some(switch) = self.dead_man.clone() {
            let alarms = self.alarms.clone();
            tasks.start(async move { switch.run(alarms, move || progress.health(&heads)).await });
        }
        // Without channels too: a channel that is added later is not told of what happened before it.
        let desk = Desk::new(self.channels.clone(), self.store.clone(), self.alarms.clone());
        tasks.start_to_end(desk.run(tasks.stop.clone()));
    }

    /// Whom others are asked by whether they agree.
    fn council(&self) -> Council {
        Council {
            rpc: self.rpc.clone(),
            reader: self.reader.clone(),
            asked: self.asked(),
            store: self.store.clone(),
            alarms: self.alarms.clone(),
            names: self.names.clone(),
            quorum: self.options.quorum,
            name: self.name(),
            version: self.version,
        }
    }

    fn pipeline(&self, turn: &Turn) -> Pipeline {
        Pipeline {
            headers: Headers::of(self.rpc.clone()),
            store: self.store.clone(),
            rpc: self.rpc.clone(),
            reader: self.reader.clone(),
            council: self.council(),
            policies: self.policies.clone(),
            names: self.names.clone(),
            version: self.version,
            witness_limit: self.options.witness_limit,
            forgetting: Forgetting::new(
                self.store.clone(),
                self.alarms.clone(),
                (self.options.keep_blocks, self.options.prune_every),
                self.options.retention,
            ),
            is_foreign: Mutex::default(),
            queue: turn.queue(),
            upkeep: turn.upkeep.clone(),
            responder: turn.responder.clone(),
            heartbeat: self.heartbeat.as_ref().map(|heartbeat| heartbeat.account.clone()),
            alarms: self.alarms.clone(),
            events: self.events.clone(),
            reports: self.reports.clone(),
            progress: turn.progress.clone(),
            behind: Behind::longer_than(self.options.behind_after),
        }
    }

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
}
