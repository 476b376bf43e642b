//! What has to be done after containment: calls that failed are run again, and what the guard did is taken back when its
//! level has expired. Both are open to anyone; the keeper asks the guard by a simulation whether it is time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;

use super::queue::{Job, Queue};
use crate::chain::{BlockRef, Rpc};
use crate::decide::ScopeReading;
use crate::record::{IntentKind, NewIntent, Store};

/// Waits before a failed containment call is run again; after the last one people have to look.
const RETRIES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// Time until a scope is settled once more when settling it has changed nothing; doubled each time.
const SETTLE_PAUSE: Duration = Duration::from_secs(5);
/// Doublings of [`SETTLE_PAUSE`] at most: about ten minutes.
const SETTLE_DOUBLINGS: u32 = 7;
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    /// The newest block that was evaluated.
    block: Option<BlockRef>,
    /// Scopes that are not settled.
    unsettled: Vec<ScopeReading>,
    /// Failed containment by scope: how often, and when to try again.
    failed: BTreeMap<u8, (usize, Option<Instant>)>,
    /// Scopes that were settled lately.
    settled: BTreeMap<u8, Settled>,
}

/// The last attempt to settle a scope.
#[derive(Debug)]
struct Settled {
    /// What the scope looked like.
    reading: ScopeReading,
    /// Attempts that have not changed that.
    attempts: u32,
    /// When to try again if it still looks like that.
    due: Instant,
}

impl State {
    /// Whether it is worth asking the guard to settle the scope.
    fn may_settle(&self, reading: &ScopeReading, now: Instant) -> bool {
        self.settled
            .get(&reading.scope)
            .is_none_or(|last| last.reading != *reading || last.due <= now)
    }

    fn note_settled(&mut self, reading: ScopeReading, now: Instant) {
        let attempts = match self.settled.get(&reading.scope) {
            Some(last) if last.reading == reading => last.attempts.saturating_add(1),
            _ => 0,
        };
        let pause = SETTLE_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.min(SETTLE_DOUBLINGS)));
        let due = now.checked_add(pause).unwrap_or(now);
        self.settled.insert(reading.scope, Settled { reading, attempts, due });
    }
}

/// Watches over what was contained. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub struct Upkeep {
    rpc: Rpc,
    guard: Address,
    sender: Address,
    version: B256,
    store: Store,
    queue: Queue,
    state: Arc<Mutex<State>>,
}

impl Upkeep {
    pub(crate) fn new(rpc: Rpc, guard: Address, sender: Address, version: B256, store: Store, queue: Queue) -> Self {
        Self {
            rpc,
            guard,
            sender,
            version,
            store,
            queue,
            state: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes the newest block and the scopes that are not `Normal`, or have effects in force, at it.
    pub fn note_block(&self, block: &BlockRef, scopes: &[ScopeReading]) {
        self.with(|state| {
            state
                .failed
                .retain(|failed, _| scopes.iter().any(|reading| reading.scope == *failed));
            state.block = Some(*block);
            state.unsettled = scopes
                .iter()
                .filter(|reading| reading.applied || reading.incident)
                .copied()
                .collect();
        });
    }

    /// Notes that a containment call of the scope failed.
    pub fn note_failed(&self, scope: u8) {
        self.with(|state| {
            let (count, due) = state.failed.entry(scope).or_default();
            *due = RETRIES.get(*count).map(|wait| Instant::now() + *wait);
            *count = count.saturating_add(1);
        });
    }

    /// Plans upkeep for ever.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = Instant::now();
            let (block, retry, settle) = self.with(|state| {
                let retry: Vec<u8> = state
                    .failed
                    .iter_mut()
                    .filter_map(|(scope, (_, due))| due.take_if(|due| *due <= now).map(|_| *scope))
                    .collect();
                let settle: Vec<ScopeReading> = state
                    .unsettled
                    .iter()
                    .filter(|reading| state.may_settle(reading, now))
                    .copied()
                    .collect();
                (state.block, retry, settle)
            });
            let Some(block) = block else { continue };
            for scope in retry {
                let data = Guard::retryContainmentCall { scope }.abi_encode().into();
                self.plan(IntentKind::Retry, scope, data, &block).await;
            }
            if self.rpc.split().is_some() {
                // It may be over on a chain that is none.
                continue;
            }
            for reading in settle {
                let data = Guard::settleCall { scope: reading.scope }.abi_encode().into();
                if self.plan(IntentKind::Settle, reading.scope, data, &block).await {
                    self.with(|state| state.note_settled(reading, now));
                }
            }
        }
    }

    /// Stores and queues the call if the guard would take it now.
    async fn plan(&self, kind: IntentKind, scope: u8, data: Bytes, block: &BlockRef) -> bool {
        if let Err(error) = self
            .rpc
            .call(Some(self.sender), self.guard, data, None, BlockId::latest())
            .await
        {
            tracing::debug!(scope, kind = kind.name(), %error, "not now");
            return false;
        }
        let new = NewIntent {
            kind,
            rule: None,
            scope,
            level: Level::Normal,
            duration: 0,
            witness: &[],
            observed: Int::ZERO,
            bound: Int::ZERO,
            block,
            version: self.version,
            incident: None,
        };
        match self.store.plan(&new).await {
            Ok(Some(intent)) => self.queue.push(Job::now(intent, Some(Instant::now()))),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(scope, kind = kind.name(), %error, "upkeep could not be stored; it is tried again");
                return false;
            }
        }
        true
    }
}
