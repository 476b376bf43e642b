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
use crate::chain::{BlockRef, CallError, Rpc};
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
/// Time until a retry is planned again that the guard would not take, or about which it could not be asked.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Time until the guard is asked again whether a scope is to be settled whose level has not run out.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
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
    /// Scopes of which the guard would take nothing back when it was asked: what they looked like, and when to ask again if they still do.
    refused: BTreeMap<u8, (Looks, Instant)>,
}

/// What a scope looks like: its reading, and whether its level has run out by the time of the newest block.
type Looks = (ScopeReading, bool);

/// What became of a call that was to be planned.
#[derive(Debug, PartialEq, Eq)]
enum Planned {
    /// It is queued, or was before.
    Queued,
    /// The guard would not take it now.
    Refused,
    /// Nobody knows: the guard could not be asked, or the record not written.
    Failed,
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
        let looks = self.looks(reading);
        let refused = self.refused.get(&reading.scope);
        let settled = self.settled.get(&reading.scope);
        settled.is_none_or(|last| last.reading != *reading || last.due <= now)
            && refused.is_none_or(|(held, due)| *held != looks || *due <= now)
    }

    fn looks(&self, reading: &ScopeReading) -> Looks {
        let time = self.block.map_or(0, |block| block.timestamp);
        (*reading, reading.expires_at <= time)
    }

    /// Before its level has run out nothing else is to be expected of the guard, unless something happens that its reading does not show.
    /// Afterwards a breach may be what keeps it, which ends at any time.
    fn note_refused(&mut self, looks: Looks, now: Instant) {
        let pause = if looks.1 { PERIOD } else { REFUSED_PAUSE };
        let due = now.checked_add(pause).unwrap_or(now);
        self.refused.insert(looks.0.scope, (looks, due));
    }

    /// A retry that could not be planned is due again: nothing else would ever bring it back.
    fn put_off(&mut self, scope: u8, now: Instant) {
        if let Some((_, due)) = self.failed.get_mut(&scope) {
            due.get_or_insert(now.checked_add(RETRY_PAUSE).unwrap_or(now));
        }
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
                let settle: Vec<Looks> = state
                    .unsettled
                    .iter()
                    .filter(|reading| state.may_settle(reading, now))
                    .map(|reading| state.looks(reading))
                    .collect();
                (state.block, retry, settle)
            });
            let Some(block) = block else { continue };
            for scope in retry {
                let data = Guard::retryContainmentCall { scope }.abi_encode().into();
                if self.plan(IntentKind::Retry, scope, data, &block).await != Planned::Queued {
                    self.with(|state| state.put_off(scope, now));
                }
            }
            if self.rpc.split().is_some() {
                // It may be over on a chain that is none.
                continue;
            }
            for looks in settle {
                let (reading, _) = looks;
                let data = Guard::settleCall { scope: reading.scope }.abi_encode().into();
                match self.plan(IntentKind::Settle, reading.scope, data, &block).await {
                    Planned::Queued => self.with(|state| state.note_settled(reading, now)),
                    Planned::Refused => self.with(|state| state.note_refused(looks, now)),
                    Planned::Failed => {}
                }
            }
        }
    }

    /// Stores and queues the call if the guard would take it now.
    async fn plan(&self, kind: IntentKind, scope: u8, data: Bytes, block: &BlockRef) -> Planned {
        // A hundred scopes may be looked at one after the other.
        self.queue.calm(kind).await;
        let asked = self
            .rpc
            .call(Some(self.sender), self.guard, data, None, BlockId::latest());
        if let Err(error) = asked.await {
            tracing::debug!(scope, kind = kind.name(), %error, "not now");
            return match error {
                CallError::Reverted(_) => Planned::Refused,
                CallError::Rpc(_) => Planned::Failed,
            };
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
                return Planned::Failed;
            }
        }
        Planned::Queued
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn the_guard_is_asked_again_when_a_level_runs_out_or_changes() {
        let at = |timestamp| {
            Some(BlockRef {
                number: 1,
                hash: B256::ZERO,
                parent: B256::ZERO,
                timestamp,
                base_fee: 0,
            })
        };
        let now = Instant::now();
        let reading = ScopeReading {
            scope: 3,
            level: Level::ReduceOnly,
            expires_at: 100,
            applied: true,
            ..ScopeReading::default()
        };
        let mut state = State {
            block: at(50),
            ..State::default()
        };
        assert!(state.may_settle(&reading, now));
        state.note_refused(state.looks(&reading), now);
        assert!(!state.may_settle(&reading, now));
        state.block = at(99);
        assert!(!state.may_settle(&reading, now), "nothing has changed");
        assert!(state.may_settle(&reading, now + REFUSED_PAUSE), "but who knows");
        state.block = at(100);
        assert!(state.may_settle(&reading, now), "it has run out");
        state.note_refused(state.looks(&reading), now);
        assert!(!state.may_settle(&reading, now));
        assert!(
            state.may_settle(&reading, now + PERIOD),
            "a breach that kept it may be over"
        );
        state.block = at(50);
        let lowered = ScopeReading {
            level: Level::Normal,
            expires_at: 0,
            ..reading
        };
        assert!(state.may_settle(&lowered, now), "somebody has opened it");
        state.note_refused(state.looks(&reading), now);
        state.note_settled(reading, now);
        assert!(!state.may_settle(&reading, now + REFUSED_PAUSE / 4));
    }

    #[test]
    fn a_retry_that_cannot_be_planned_is_not_lost() {
        let now = Instant::now();
        let mut state = State::default();
        state.failed.insert(3, (1, None));
        state.put_off(3, now);
        state.put_off(4, now);
        assert_eq!(state.failed, BTreeMap::from([(3, (1, Some(now + RETRY_PAUSE)))]));
        // One that failed on the chain meanwhile has its own time.
        state.failed.insert(3, (2, Some(now)));
        state.put_off(3, now);
        assert_eq!(state.failed[&3], (2, Some(now)));
    }
}
