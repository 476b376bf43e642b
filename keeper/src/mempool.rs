//! The mempool, for the watches of pending transactions: followed over WebSocket, each transaction looked at by its hash. What could not be
//! looked at is counted and told: silence means that nothing was found.

use std::time::Duration;

use alloy::primitives::B256;
use alloy::providers::{DynProvider, Provider, ProviderBuilder, WsConnect};
use alloy::pubsub::Subscription;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::chain::without;
use crate::lookout::Lookout;
use crate::record::{AlarmKind, MEMPOOL};
use crate::rules::{Pending, look_pending};
use crate::watchdog::RECORD;

/// Wait before another attempt to follow the mempool.
const RETRY: Duration = Duration::from_secs(5);
/// How long a connection, or an answer over it, may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// A connection over which nothing has come for so long is asked whether it is still one: the other end may be gone.
const IDLE: Duration = Duration::from_secs(5);
/// How often it is looked whether there is something to tell of the mempool itself.
const TICK: Duration = Duration::from_secs(1);
/// The alarm ends when for so long nothing was lost.
const CALM: Duration = Duration::from_secs(10);
/// Transactions that are looked at at the same time.
const AT_ONCE: usize = 16;
/// Transactions that may wait to be looked at. What comes beyond that is lost, and alarmed.
const WAITING: usize = 4_096;

/// What was not looked at.
#[derive(Debug, Default)]
struct Lost {
    /// Since the last time that it was told.
    count: u64,
    why: String,
    /// When the last one was lost, while the alarm stands.
    last: Option<Instant>,
}

impl Lost {
    fn note(&mut self, count: u64, why: String) {
        self.count = self.count.saturating_add(count);
        self.why = why;
        self.last = Some(Instant::now());
    }
}

impl Lookout {
    /// Watches the mempool. Ends at once when no watch is about it.
    pub(crate) async fn pending(self) {
        if self.watches.pending_watches().is_empty() {
            return;
        }
        let Some(url) = self.ws.clone() else {
            let text = "pending transactions are watched, but there is no WebSocket endpoint: set `ws` in [chain]";
            self.alarms.raise(AlarmKind::WatchUnknown, MEMPOOL, text, None).await;
            return;
        };
        loop {
            let reason = match self.subscribe(&url).await {
                Ok((provider, hashes)) => {
                    self.alarms.clear(AlarmKind::WatchUnknown, MEMPOOL).await;
                    self.follow_mempool(&provider, hashes).await
                }
                Err(reason) => reason,
            };
            let text = format!("the mempool is not seen: {reason}");
            self.alarms.raise(AlarmKind::WatchUnknown, MEMPOOL, &text, None).await;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Connects and subscribes; says why that does not work.
    async fn subscribe(&self, url: &str) -> Result<(DynProvider, Subscription<B256>), String> {
        let connect = WsConnect::new(url).with_max_retries(1);
        let setup = async {
            let provider = ProviderBuilder::new()
                .disable_recommended_fillers()
                .connect_ws(connect)
                .await
                .map_err(|error| without(url, &error.to_string()))?
                .erased();
            let actual = provider
                .get_chain_id()
                .await
                .map_err(|error| without(url, &error.to_string()))?;
            if actual != self.rpc.chain_id() {
                return Err(format!(
                    "the WebSocket endpoint serves chain {actual}, not {}",
                    self.rpc.chain_id()
                ));
            }
            let hashes = provider.subscribe_pending_transactions().channel_size(WAITING).await;
            let hashes = hashes.map_err(|error| format!("the endpoint tells no pending transactions: {error}"))?;
            Ok((provider, hashes))
        };
        match timeout(DEADLINE, setup).await {
            Ok(done) => done,
            Err(_) => Err(format!("no WebSocket connection within {} s", DEADLINE.as_secs())),
        }
    }

    /// Looks at what the subscription tells until it is of no more use; says why.
    async fn follow_mempool(&self, provider: &DynProvider, mut hashes: Subscription<B256>) -> String {
        let (mut looks, mut lost, mut heard) = (FuturesUnordered::new(), Lost::default(), Instant::now());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                hash = hashes.recv(), if looks.len() < AT_ONCE => {
                    heard = Instant::now();
                    match hash {
                        Ok(hash) => looks.push(self.look(provider, hash)),
                        Err(RecvError::Lagged(missed)) => {
                            lost.note(missed, "they come faster than they can be looked at".to_owned());
                        }
                        Err(RecvError::Closed) => return "the subscription to pending transactions ended".to_owned(),
                    }
                }
                Some(looked) = looks.next(), if !looks.is_empty() => {
                    if let Err(reason) = looked {
                        lost.note(1, reason);
                    }
                }
                _ = tick.tick() => {
                    self.tell(&mut lost).await;
                    if heard.elapsed() >= IDLE && looks.is_empty() {
                        match timeout(DEADLINE, provider.get_chain_id()).await {
                            Ok(Ok(_)) => heard = Instant::now(),
                            Ok(Err(_)) | Err(_) => return "the connection is open, and nobody answers".to_owned(),
                        }
                    }
                }
            }
        }
    }

    /// Looks at one transaction and stores what was found; says why it could not be looked at.
    async fn look(&self, teller: &DynProvider, hash: B256) -> Result<(), String> {
        let Some(seen) = self.heads.newest() else {
            return Err("no block was seen yet".to_owned());
        };
        let block = seen.block;
        for sighting in look_pending(&self.rpc, teller, &self.watches, &block, hash).await? {
            if let Err(error) = self.store.note_pending(&Pending { sighting, block }).await {
                self.alarms
                    .raise(AlarmKind::Record, RECORD, &error.to_string(), Some(block.number))
                    .await;
            }
        }
        Ok(())
    }

    /// Alarms what was lost since the last time; ends the alarm when nothing was for a while.
    async fn tell(&self, lost: &mut Lost) {
        if lost.count > 0 {
            let text = format!(
                "{} pending transactions could not be looked at: {}",
                std::mem::take(&mut lost.count),
                lost.why
            );
            self.alarms.raise(AlarmKind::WatchUnknown, MEMPOOL, &text, None).await;
        } else if lost.last.is_some_and(|last| last.elapsed() >= CALM) {
            lost.last = None;
            self.alarms.clear(AlarmKind::WatchUnknown, MEMPOOL).await;
        }
    }
}
