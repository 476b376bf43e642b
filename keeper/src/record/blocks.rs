//! Blocks: the one transaction that makes a block done. What is sent may be stored before it, see `decisions`.

use std::collections::{BTreeSet, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;

use super::alarms::{self, AlarmKind, OpenAlarms};
use super::breaches::Breach;
use super::checkpoint::{forget_root, set_checkpoint};
use super::codec::encode_scopes;
use super::db::{Connection, Landing, Together, query};
use super::frames::{self, Framed};
use super::{
    Intent, Names, Step, Store, StoreError, breaches, events, follow, int, refused, revert, rulebook, sightings,
    stopped, waiting, witnesses,
};
use crate::chain::BlockRef;
use crate::decide::{Decision, RuleVerdict, ScopeReading, Waiting};
use crate::rules::{GuardEvent, OTHER_RULEBOOK, Sightings, StoppedCall};
use crate::turns::Urgency;

/// Blocks that are forgotten in one transaction at most: it must not hold up what is decided.
pub(crate) const BLOCKS_AT_ONCE: u64 = 500;

/// A witness that was evaluated at a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Rule that it belongs to.
    pub rule: u16,
    /// Its words.
    pub words: Vec<B256>,
    /// Whether an event of the block named it.
    pub named: bool,
}

/// Everything that makes a block done.
#[derive(Debug, Clone, Copy)]
pub struct BlockRecord<'a> {
    /// The block.
    pub block: &'a BlockRef,
    /// Code hash of the rulebook that was evaluated.
    pub version: B256,
    /// All verdicts.
    pub verdicts: &'a [RuleVerdict],
    /// Scopes that are not `Normal`; `None` when they could not be read.
    pub scopes: Option<&'a [ScopeReading]>,
    /// What was decided.
    pub decisions: &'a [Decision],
    /// Breaches that are not acted on yet, because others have to agree.
    pub waiting: &'a [Waiting],
    /// What the guard logged in the block.
    pub events: &'a [GuardEvent],
    /// Calls that the guard's hooks stopped.
    pub stopped: &'a [StoppedCall],
    /// What the watches say.
    pub sightings: &'a Sightings,
    /// Witnesses that were evaluated.
    pub witnessed: &'a [Witnessed],
    /// Most witnesses to remember per rule.
    pub witness_limit: u32,
    /// From the arrival of the head to the decisions, when there are any.
    pub head_to_decision: Option<Duration>,
    /// Whether all blocks before it are done, so that it becomes the checkpoint.
    pub is_next: bool,
}

/// What storing a block brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockCommit {
    /// Actions to be carried out now. Those that were stored before are not among them.
    pub intents: Vec<Intent>,
    /// Rules that are newly `Unknown`.
    pub newly_unknown: Vec<u16>,
    /// Rules that can be evaluated again.
    pub known_again: Vec<u16>,
    /// Incidents that events of the block changed.
    pub changed: BTreeSet<i64>,
    /// Actions that had ended in another block at this height: they are open again.
    pub reopened: Vec<Intent>,
}

impl Store {
    /// Stores all of a block in one transaction: when this returns, the block is done; when it fails, nothing of it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn commit_block(&self, record: &BlockRecord<'_>, names: &Names) -> Result<BlockCommit, StoreError> {
        let (commit, landing) = self.write_block(record, names).await?;
        landing.kept().await;
        Ok(commit)
    }

    /// The same, not waiting until it outlives a power cut: then the block is judged again, from what is on the chain.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn write_block(
        &self,
        record: &BlockRecord<'_>,
        names: &Names,
    ) -> Result<(BlockCommit, Landing), StoreError> {
        let (mut commits, landing) = self.write_blocks(std::slice::from_ref(record), names).await?;
        Ok((commits.pop().unwrap_or_default(), landing))
    }

    /// Stores several blocks, in their order, in one transaction: all of them are done, or none is. For catching up, where
    /// waiting for the disk after each block would be most of the work.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn commit_blocks(
        &self,
        records: &[BlockRecord<'_>],
        names: &Names,
    ) -> Result<Vec<BlockCommit>, StoreError> {
        let (commits, landing) = self.write_blocks(records, names).await?;
        landing.kept().await;
        Ok(commits)
    }

    async fn write_blocks(
        &self,
        records: &[BlockRecord<'_>],
        names: &Names,
    ) -> Result<(Vec<BlockCommit>, Landing), StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let mut commits = Vec::with_capacity(records.len());
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for record in records {
            let framed = frames::store(&mut tx, &mut frame, record.verdicts);
            insert_block(&mut tx, record, framed)?;
            commits.push(self.commit_one(&mut tx, record, names).await?);
        }
        let decides = commits.iter().any(|commit| !commit.intents.is_empty());
        let landing = tx.write(if decides { Step::Decision } else { Step::Block }).await?;
        // Not before: a frame that was not stored is none.
        *self.frame.lock().unwrap_or_else(PoisonError::into_inner) = frame;
        self.news();
        Ok((commits, landing))
    }

    async fn commit_one(
        &self,
        connection: &mut Connection,
        record: &BlockRecord<'_>,
        names: &Names,
    ) -> Result<BlockCommit, StoreError> {
        // What is there is asked for at once, before any of it is changed: every question is a way to the database and back.
        let questions = (
            rulebook::current(),
            revert::strangers(record.block)?,
            breaches::standing(),
            OpenAlarms::query(),
            sightings::standing(),
        );
        let (rulebook, strangers, breaches, alarms, standing) = questions.fetch_together(connection).await?;
        let open = OpenAlarms::of(alarms);
        let mut breaches: HashSet<Breach> = breaches.into_iter().collect();
        if rulebook::adopt(connection, rulebook::version_of(rulebook)?, record.version) {
            breaches.clear();
        }
        for witnessed in record.witnessed {
            witnesses::note(
                connection,
                witnessed.rule,
                &witnessed.words,
                record.block.number,
                witnessed.named,
            )?;
        }
        for rule in record
            .witnessed
            .iter()
            .filter(|w| w.named)
            .map(|w| w.rule)
            .collect::<BTreeSet<_>>()
        {
            witnesses::bound(connection, rule, record.witness_limit);
        }
        let mut commit = BlockCommit::default();
        if record.is_next {
            commit.reopened = revert::settle_height(connection, record.block, strangers).await?;
        }
        for event in record.events {
            commit
                .changed
                .extend(events::apply(connection, names, record.block, event).await?);
        }
        for call in record.stopped {
            commit
                .changed
                .extend(stopped::note(connection, names, record.block, call).await?);
        }
        follow::follow_verdicts(connection, record, names).await?;
        breaches::follow(connection, record, &breaches)?;
        for decision in record.decisions {
            if let Some(intent) = self.commit_decision(connection, record, decision, names).await? {
                commit.intents.push(intent);
            }
        }
        waiting::note(connection, record, names, &open).await?;
        refused::follow(connection, names, &open).await?;
        follow::find_raised(connection, record, names).await?;
        update_unknown(connection, record, (names, &open), &mut commit).await?;
        sightings::note(connection, record.block, record.is_next, record.sightings, &standing).await?;
        sightings::update_unwatched(
            connection,
            (record.block, record.is_next),
            &record.sightings.unwatched,
            &open,
        )
        .await?;
        if record.is_next {
            set_checkpoint(connection, record.block.hash);
            forget_root(connection, record.block)?;
        }
        Ok(commit)
    }

    /// Drops the verdicts of blocks more than `keep` below the checkpoint, except those that an incident was opened at: the oldest 500.
    /// Returns how many blocks were dropped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune_blocks(&self, keep: u64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let done = query(
            "DELETE FROM blocks WHERE hash IN (
                SELECT hash FROM blocks WHERE number < (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash) - ?
                AND hash NOT IN (SELECT opened_hash FROM incidents) ORDER BY number LIMIT ?)",
        )
        .bind(int("block count", keep)?)
        .bind(int("block count", BLOCKS_AT_ONCE)?)
        .execute(&mut *tx)
        .await?;
        frames::prune(&mut tx);
        tx.commit(Step::PruneBlocks).await?;
        Ok(done.rows_affected())
    }
}

fn insert_block(connection: &mut Connection, record: &BlockRecord<'_>, framed: Framed) -> Result<(), StoreError> {
    let block = record.block;
    query(
        "INSERT INTO blocks (hash, number, parent, timestamp, canonical, version, verdicts, frame, scopes) VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?)
         ON CONFLICT (hash) DO UPDATE SET canonical = 1, version = excluded.version, verdicts = excluded.verdicts, frame = excluded.frame, scopes = excluded.scopes",
    )
    .bind(block.hash.to_vec())
    .bind(int("block number", block.number)?)
    .bind(block.parent.to_vec())
    .bind(int("block timestamp", block.timestamp)?)
    .bind(record.version.to_vec())
    .bind(framed.verdicts)
    .bind(framed.frame.map(|digest| digest.to_vec()))
    .bind(encode_scopes(record.scopes.unwrap_or_default()))
    .later(connection);
    Ok(())
}

/// Raises the alarm of every rule that is `Unknown` now and clears that of every rule that was evaluated. A block that was taken before its turn
/// clears nothing: it says nothing of those that are being caught up with, and people would be called once per look at the newest.
async fn update_unknown(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    (names, open): (&Names, &OpenAlarms),
    commit: &mut BlockCommit,
) -> Result<(), StoreError> {
    let unknown: BTreeSet<u16> = record
        .verdicts
        .iter()
        .filter(|v| v.reading.verdict == Verdict::Unknown)
        .map(|v| v.rule)
        .collect();
    for rule in &unknown {
        let reason = record
            .verdicts
            .iter()
            .find(|v| v.rule == *rule && v.reading.verdict == Verdict::Unknown)
            .map_or(0, |v| v.reading.reason);
        if reason == OTHER_RULEBOOK {
            // One alarm says so of all rules.
            continue;
        }
        let name = names.rule(*rule);
        let text = format!(
            "rule {name} could not be evaluated at block {}: {}",
            record.block.number,
            crate::rules::reason_text(reason)
        );
        if alarms::raise(
            connection,
            AlarmKind::RuleUnknown,
            &name,
            &text,
            Some(record.block.number),
        )
        .await?
        {
            commit.newly_unknown.push(*rule);
        }
    }
    let mut open = open.subjects(AlarmKind::RuleUnknown).peekable();
    if open.peek().is_none() || !record.is_next {
        return Ok(());
    }
    let evaluated: BTreeSet<u16> = record.verdicts.iter().map(|v| v.rule).collect();
    for subject in open {
        let Some(rule) = evaluated
            .difference(&unknown)
            .find(|rule| names.rule(**rule) == subject)
        else {
            continue;
        };
        alarms::clear(connection, AlarmKind::RuleUnknown, subject).await?;
        commit.known_again.push(*rule);
    }
    Ok(())
}
