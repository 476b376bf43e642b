//! From a head to stored decisions: every block in order, the newest first when there are many.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::agreement::Council;
use crate::alarm::Alarms;
use crate::catchup::Behind;
use crate::chain::{BlockRef, Canonical, ChainEvent, FollowError, Headers, Heads, Rpc, Seen};
use crate::decide::{BlockFacts, Decision, Past, RulePolicy, Waiting, decide};
use crate::error::KeeperError;
use crate::event::KeeperEvent;
use crate::forget::Forgetting;
use crate::health::Progress;
use crate::record::{AlarmKind, BlockRecord, Intent, Names, Store, StoreError};
use crate::report::Reports;
use crate::respond::{Account, Job, Queue, Rehearsal, Responder, Upkeep};
use crate::rules::{BlockReading, ReadError, Reader};
use crate::watchdog::RECORD;

/// Blocks that are kept in memory to recognise a reorg.
pub(crate) const WINDOW: u32 = 256;
/// With more blocks than this to catch up on, the newest is evaluated first, and again every [`PROBE_EVERY`] blocks.
pub(crate) const PROBE_LAG: u64 = 8;
pub(crate) const PROBE_EVERY: usize = 32;
const RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// How long the rest of a block waits for its actions to be broadcast: most are in half of it.
const HEAD_START: Duration = Duration::from_millis(10);
/// The responder is reminded of all that is open once per so many blocks.
pub(crate) const REMIND_EVERY: u64 = 32;

/// Why a block could not be finished now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Hindrance {
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The pipeline's parts.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) headers: Headers<Rpc>,
    pub(crate) store: Store,
    pub(crate) rpc: Rpc,
    pub(crate) reader: Reader,
    pub(crate) council: Council,
    pub(crate) policies: Vec<RulePolicy>,
    pub(crate) names: Names,
    pub(crate) version: B256,
    pub(crate) witness_limit: u32,
    pub(crate) forgetting: Forgetting,
    /// Whether the guard has another rulebook than the configured one, as far as people were told. `None` until it is looked at: an earlier
    /// run may have left the alarm open.
    pub(crate) is_foreign: Mutex<Option<bool>>,
    pub(crate) queue: Queue,
    /// `None` in a keeper that only watches.
    pub(crate) upkeep: Option<Upkeep>,
    /// `None` in a keeper that only watches.
    pub(crate) responder: Option<Responder>,
    /// The heartbeat's account, if it has one of its own.
    pub(crate) heartbeat: Option<Account>,
    pub(crate) alarms: Alarms,
    pub(crate) events: broadcast::Sender<KeeperEvent>,
    pub(crate) reports: Reports,
    pub(crate) progress: Progress,
    pub(crate) behind: Behind,
}

impl Pipeline {
    /// Follows the heads until `stop`. A block that cannot be finished is begun again from the record: nothing is skipped.
    pub(crate) async fn run(self, mut heads: Heads, stop: CancellationToken) -> Result<(), KeeperError> {
        self.store.adopt(self.version).await?;
        let mut chain = Canonical::new(WINDOW as usize, self.store.window(WINDOW).await?);
        self.resume_upkeep().await?;
        while let Some(Some(seen)) = stop.run_until_cancelled(heads.next()).await {
            self.progress.begin();
            let mut target = seen;
            let (mut wait, mut done) = (RETRY, self.progress.height());
            let work = async {
                while let Err(hindrance) = self.follow(&mut chain, target, &heads).await {
                    self.report(&hindrance, target.block.number).await;
                    if matches!(&hindrance, Hindrance::Follow(FollowError::WrongBlock { .. })) {
                        self.headers.forget();
                    }
                    // Only what gets nowhere is tried less and less often.
                    let before = std::mem::replace(&mut done, self.progress.height());
                    wait = if before == done { wait } else { RETRY };
                    // The record knows what is done; the rest is walked again from there, to the newest head.
                    chain = self.done_so_far(&mut wait, target.block.number).await;
                    target = heads.newest().unwrap_or(target);
                }
            };
            // Dropping the work between two steps is safe: every step is one transaction of the record.
            if stop.run_until_cancelled(work).await.is_none() {
                break;
            }
            self.progress.rest();
            self.alarms.clear(AlarmKind::Record, RECORD).await;
        }
        Ok(())
    }

    /// The blocks that are done, once the record gives them. What was walked to before the failure is never followed on: some of it is
    /// not done.
    async fn done_so_far(&self, wait: &mut Duration, number: u64) -> Canonical {
        loop {
            tokio::time::sleep(*wait).await;
            *wait = wait.saturating_mul(2).min(LAST_RETRY);
            match self.store.window(WINDOW).await {
                Ok(window) => return Canonical::new(WINDOW as usize, window),
                Err(error) => self.report(&error.into(), number).await,
            }
        }
    }

    async fn report(&self, hindrance: &Hindrance, number: u64) {
        match hindrance {
            Hindrance::Store(error) => {
                self.progress.not_stored(error.to_string());
                self.alarms
                    .raise(AlarmKind::Record, RECORD, &error.to_string(), Some(number))
                    .await;
            }
            other => tracing::warn!(
                block = number,
                "a block could not be finished; it is tried again: {other}"
            ),
        }
    }

    /// Containment that had failed before the restart is tried again.
    async fn resume_upkeep(&self) -> Result<(), StoreError> {
        let failed = self
            .store
            .alarms()
            .await?
            .into_iter()
            .any(|alarm| alarm.kind == AlarmKind::ContainmentFailed.name() && alarm.cleared_ms.is_none());
        if let Some(upkeep) = self.upkeep.as_ref().filter(|_| failed) {
            for incident in self.store.watched().await? {
                upkeep.note_failed(incident.scope);
            }
        }
        Ok(())
    }

    /// Follows the chain to `target`.
    async fn follow(&self, chain: &mut Canonical, target: Seen, heads: &Heads) -> Result<(), Hindrance> {
        let Err(hindrance) = self.follow_to(chain, target, heads).await else {
            return Ok(());
        };
        if hindrance.is_ahead() {
            self.follow_without(&hindrance, chain, target, heads).await?;
        }
        Err(hindrance)
    }

    pub(crate) async fn follow_to(&self, chain: &mut Canonical, target: Seen, heads: &Heads) -> Result<(), Hindrance> {
        loop {
            match chain.advance(target.block, &self.headers).await {
                Ok(Some(event)) => self.apply(&event, target, heads).await?,
                Ok(None) => return Ok(()),
                Err(FollowError::Deeper { .. }) => *chain = self.rejoin(chain, &target.block).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn apply(&self, event: &ChainEvent, target: Seen, heads: &Heads) -> Result<(), Hindrance> {
        if !event.reverted().is_empty() {
            tracing::warn!(blocks = event.reverted().len(), "blocks were reorganised away");
            self.revert(event.reverted()).await?;
        }
        let mut ahead = event.committed();
        let mut position = 0_usize;
        while let Some((block, rest)) = ahead.split_first() {
            let newest = heads.newest().unwrap_or(target);
            let lag = newest.block.number.saturating_sub(block.number);
            if lag > PROBE_LAG && position.is_multiple_of(PROBE_EVERY) {
                self.probe(newest, block).await;
            }
            if self.behind.note(lag, Instant::now()) {
                let text = self.behind.text(lag);
                self.alarms
                    .raise(AlarmKind::Behind, "blocks", &text, Some(block.number))
                    .await;
            }
            if lag > PROBE_LAG {
                let together = self.process_many(ahead, target.at).await?;
                if together > 0 {
                    ahead = ahead.get(together..).unwrap_or_default();
                    position = position.next_multiple_of(PROBE_EVERY);
                    continue;
                }
            }
            // A block that was never announced is known since the head that comes after it.
            let at = heads.arrival(block.hash).unwrap_or(target.at);
            self.process(block, at, true).await?;
            self.progress.done(block.number);
            ahead = rest;
            position = position.saturating_add(1);
            if lag <= PROBE_LAG && block.number.is_multiple_of(16) {
                self.alarms.clear(AlarmKind::Behind, "blocks").await;
            }
            if block.number.is_multiple_of(REMIND_EVERY) {
                // The record is the truth about what is to be done, whatever became of the queue.
                self.resume(self.store.open_intents().await?);
            }
            self.forgetting.note_block(block.number);
        }
        Ok(())
    }

    /// The keeper's accounts, that of the heartbeat too; none in one that only watches.
    fn accounts(&self) -> impl Iterator<Item = &Account> {
        let acting = self.responder.iter().flat_map(|responder| &responder.accounts);
        acting.chain(&self.heartbeat)
    }

    /// Takes blocks back; what was carried out in them is to be done again.
    pub(crate) async fn revert(&self, blocks: &[BlockRef]) -> Result<(), StoreError> {
        for account in self.accounts() {
            account.note_reverted().await;
        }
        self.resume(self.store.revert_blocks(blocks).await?);
        Ok(())
    }

    /// Hands on what is to be carried out again.
    pub(crate) fn resume(&self, intents: Vec<Intent>) {
        for intent in intents {
            self.queue.push(Job::now(intent, None));
        }
    }

    /// Reads, decides and stores one block, then hands its actions on. A block that is done is not done again.
    pub(crate) async fn process(&self, block: &BlockRef, seen_at: Instant, is_next: bool) -> Result<(), Hindrance> {
        let mut known = self.store.look(block).await?;
        if is_next && !known.rivals.is_empty() {
            self.revert(&known.rivals).await?;
            known = self.store.look(block).await?;
        }
        if known.is_done {
            if is_next {
                self.resume(self.store.advance(block).await?);
            }
            return Ok(());
        }
        for account in self.accounts() {
            account.note_head(block).await;
        }
        let open = known.open;
        let requests = self.reader.watched().requests(&self.store, &open).await?;
        let scopes: BTreeSet<u8> = open.iter().map(|incident| incident.scope).collect();
        let scopes: Vec<u8> = scopes.into_iter().collect();
        let reading = self.reader.read(block, &requests, &scopes).await?;
        let (decisions, waiting) = self.decide(block, &reading).await?;
        let decided_at = Instant::now();
        let head_to_decision = decided_at.saturating_duration_since(seen_at);
        if decisions.iter().any(|decision| decision.act.is_sent()) {
            self.queue.hush();
        }
        let record = BlockRecord {
            decisions: &decisions,
            waiting: &waiting,
            head_to_decision: (!decisions.is_empty()).then_some(head_to_decision),
            is_next,
            ..self.record(block, &reading)
        };
        let scopes = reading.scopes.as_deref();
        let mut foreseen = self
            .responder
            .as_ref()
            .map_or_else(Vec::new, |responder| responder.foresee(&decisions, block.hash, scopes));
        if decisions.iter().any(|decision| decision.act.is_sent()) {
            let first = self.store.write_decisions(&record, &self.names).await?;
            let (ids, events) = (first.iter().map(|intent| intent.id).collect(), self.events.subscribe());
            self.carry_out(first, &mut foreseen, (decided_at, head_to_decision));
            self.give_way(ids, events).await;
        }
        let (mut commit, landing) = self.store.write_block(&record, &self.names).await?;
        self.resume(std::mem::take(&mut commit.reopened));
        self.carry_out(
            std::mem::take(&mut commit.intents),
            &mut foreseen,
            (decided_at, head_to_decision),
        );
        // What closes something does not wait for the disk: if the power goes now, the block is judged again, and the chain is asked before
        // anything is sent once more.
        landing.kept().await;
        let times = (seen_at, Some(head_to_decision));
        self.after((block, times), &reading, &decisions, &commit, &open).await;
        Ok(())
    }

    /// Lets what was decided reach the node before the rest of its block wants the same cores, the disk and the record.
    async fn give_way(&self, mut actions: BTreeSet<i64>, mut events: broadcast::Receiver<KeeperEvent>) {
        if self.responder.is_none() {
            return;
        }
        let are_sent = async {
            while !actions.is_empty() {
                match events.recv().await {
                    Ok(KeeperEvent::Broadcast { intent, .. }) => drop(actions.remove(&intent)),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        // Whatever has become of them, the block is not kept waiting for longer.
        let _ = tokio::time::timeout(HEAD_START, are_sent).await;
    }

    /// Hands on what was decided on a block and is stored, each with its rehearsal if one has begun.
    fn carry_out(
        &self,
        intents: Vec<Intent>,
        foreseen: &mut Vec<Rehearsal>,
        (decided_at, head_to_decision): (Instant, Duration),
    ) {
        for intent in intents {
            let rehearsal = foreseen.iter().position(|rehearsal| rehearsal.is_of(&intent));
            let event = KeeperEvent::Decided {
                intent: intent.id,
                incident: intent.incident,
                rule: intent.rule.map_or_else(String::new, |rule| self.names.rule(rule)),
                scope: intent.scope,
                level: intent.level,
                block: intent.block_number,
                head_to_decision,
            };
            self.queue.push(Job {
                rehearsal: rehearsal.map(|at| foreseen.swap_remove(at)),
                ..Job::now(intent, Some(decided_at))
            });
            let _ = self.events.send(event);
        }
    }

    /// What is stored of a block in which nothing was decided.
    pub(crate) fn record<'a>(&'a self, block: &'a BlockRef, reading: &'a BlockReading) -> BlockRecord<'a> {
        BlockRecord {
            block,
            version: self.version,
            verdicts: &reading.verdicts,
            scopes: reading.scopes.as_deref(),
            decisions: &[],
            waiting: &[],
            events: &reading.events,
            stopped: &reading.stopped,
            sightings: &reading.sightings,
            witnessed: &reading.witnessed,
            witness_limit: self.witness_limit,
            head_to_decision: None,
            is_next: true,
        }
    }

    /// What is done about the block's breaches, and what waits for others to agree.
    async fn decide(
        &self,
        block: &BlockRef,
        reading: &BlockReading,
    ) -> Result<(Vec<Decision>, Vec<Waiting>), StoreError> {
        let breached: BTreeSet<u16> = reading
            .verdicts
            .iter()
            .filter(|v| v.reading.verdict == Verdict::Breached)
            .map(|v| v.rule)
            .collect();
        if breached.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let breached: Vec<u16> = breached.into_iter().collect();
        let mut past: Past = self.store.past(&breached, self.version).await?;
        past.forget_beyond(block.number.saturating_add(self.behind.waiting()));
        let facts = BlockFacts {
            block,
            verdicts: &reading.verdicts,
            scopes: reading.scopes.as_deref().unwrap_or_default(),
        };
        let decisions = decide(&self.policies, &facts, &past);
        self.agreed(&facts, &past, decisions).await
    }
}
