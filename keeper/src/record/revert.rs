//! What is taken back when blocks vanish: their marks on incidents, the actions that ended in them, the place to go on from.
//! What the readings of later blocks say by themselves (levels, breaches) is left to them.

use alloy::primitives::B256;

use super::checkpoint::{BlockRow, ROOT, block_of, set_checkpoint};
use super::codec::{encode_scopes, encode_verdicts};
use super::db::{Connection, QueryAs, query, query_as};
use super::notices::{forget_containment, tell_incident};
use super::timeline::{Entry, entry};
use super::{Intent, NoticeKind, Step, Store, StoreError, breaches, int, intents, sightings, uint, word};
use crate::chain::BlockRef;
use crate::turns::Urgency;

impl Store {
    /// Blocks that the record takes for canonical at the height of another one that is: what was evaluated ahead of its turn, on
    /// a fork that was given up before the walk came there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rivals(&self, block: &BlockRef) -> Result<Vec<BlockRef>, StoreError> {
        rivals_of(block, rivals(block)?.fetch_all(&self.pool).await?)
    }

    /// Takes back blocks that are canonical no more, newest last: their effects on incidents are undone, actions that were
    /// carried out in them are open again, the checkpoint goes to the parent of the first.
    ///
    /// Returns the actions that are open again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn revert_blocks(&self, blocks: &[BlockRef]) -> Result<Vec<Intent>, StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let mut reopened = Vec::new();
        let mut held_checkpoint = false;
        for block in blocks.iter().rev() {
            let hash = block.hash.to_vec();
            query("UPDATE blocks SET canonical = 0 WHERE hash = ?")
                .bind(hash.clone())
                .later(&mut tx);
            let checkpoint = query("DELETE FROM checkpoint WHERE hash = ?")
                .bind(hash.clone())
                .execute(&mut *tx)
                .await?;
            held_checkpoint |= checkpoint.rows_affected() > 0;
            reopened.extend(intents::reopen(&mut tx, block).await?);
            revert_incidents(&mut tx, block).await?;
            breaches::revert(&mut tx, block)?;
            sightings::revert(&mut tx, block.hash).await?;
        }
        if let Some(first) = blocks.first().filter(|_| held_checkpoint) {
            go_on_with(&mut tx, first).await?;
        }
        tx.commit(Step::Revert).await?;
        self.news();
        Ok(reopened)
    }

    /// The newest canonical block of the record at this height or below it, up to the checkpoint: what a fork is compared with.
    /// `None` when the record begins above it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn canonical_at(&self, number: u64) -> Result<Option<BlockRef>, StoreError> {
        let row: Option<BlockRow> = query_as(
            "SELECT hash, number, parent, timestamp FROM blocks WHERE canonical = 1 AND number <= ?
                AND number <= (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)
             ORDER BY number DESC LIMIT 1",
        )
        .bind(int("block number", number)?)
        .fetch_optional(&self.pool)
        .await?;
        row.map(block_of).transpose()
    }

    /// The newest evaluated blocks of this height or above that the record takes for canonical, up to the checkpoint, oldest first,
    /// at most `most`: the next of those that a fork has replaced.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn evaluated_from(&self, first: u64, most: u32) -> Result<Vec<BlockRef>, StoreError> {
        let rows: Vec<BlockRow> = query_as(
            "SELECT hash, number, parent, timestamp FROM blocks WHERE canonical = 1 AND number >= ? AND version <> ?
                AND number <= (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)
             ORDER BY number DESC LIMIT ?",
        )
        .bind(int("block number", first)?)
        .bind(ROOT.to_vec())
        .bind(i64::from(most))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().rev().map(block_of).collect()
    }

    /// Makes the parent of `first` the checkpoint, so that `first` is evaluated next: for a block of the chain that has replaced what
    /// was taken back. Places to go on from that were noted before are forgotten.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn go_on_with(&self, first: &BlockRef) -> Result<(), StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        go_on_with(&mut tx, first).await?;
        // The checkpoint was one of them.
        query("DELETE FROM blocks WHERE version = ? AND hash <> ?")
            .bind(ROOT.to_vec())
            .bind(first.parent.to_vec())
            .later(&mut tx);
        tx.commit(Step::Advance).await
    }
}

/// Hash, parent and timestamp of a block.
type RivalRow = (Vec<u8>, Vec<u8>, i64);

/// See [`Store::rivals`].
pub(super) fn rivals(block: &BlockRef) -> Result<QueryAs<RivalRow>, StoreError> {
    let query = query_as(
        "SELECT hash, parent, timestamp FROM blocks WHERE number = ? AND hash <> ? AND canonical = 1 AND version <> ?",
    );
    let query = query.bind(int("block number", block.number)?).bind(block.hash.to_vec());
    Ok(query.bind(ROOT.to_vec()))
}

pub(super) fn rivals_of(block: &BlockRef, rows: Vec<RivalRow>) -> Result<Vec<BlockRef>, StoreError> {
    rows.into_iter()
        .map(|(hash, parent, timestamp)| {
            Ok(BlockRef {
                number: block.number,
                hash: word("block hash", &hash)?,
                parent: word("block hash", &parent)?,
                timestamp: uint("block timestamp", timestamp)?,
                base_fee: 0,
            })
        })
        .collect()
}

async fn go_on_with(connection: &mut Connection, first: &BlockRef) -> Result<(), StoreError> {
    let parent: Option<(i64,)> = query_as("SELECT 1 FROM blocks WHERE hash = ? AND canonical = 1")
        .bind(first.parent.to_vec())
        .fetch_optional(&mut *connection)
        .await?;
    if parent.is_none() {
        insert_root(connection, first)?;
    }
    set_checkpoint(connection, first.parent);
    Ok(())
}

/// Whether the record holds another block to be canonical at this height, or is about to, so that this one is not.
pub(super) async fn is_replaced(connection: &mut Connection, block: &BlockRef) -> Result<bool, StoreError> {
    let (own, other): (i64, i64) = query_as(
        "SELECT COUNT(*) FILTER (WHERE hash = ?1), COUNT(*) FILTER (WHERE hash <> ?1)
         FROM blocks WHERE number = ?2 AND (canonical = 1 OR length(verdicts) = 0) AND version <> ?3",
    )
    .bind(block.hash.to_vec())
    .bind(int("block number", block.number)?)
    .bind(ROOT.to_vec())
    .fetch_one(connection)
    .await?;
    Ok(own == 0 && other > 0)
}

/// What ended, or was contained, at the height of a block in another block.
pub(super) fn strangers(block: &BlockRef) -> Result<QueryAs<(Vec<u8>,)>, StoreError> {
    let query = query_as(
        "SELECT effect_hash FROM intents WHERE effect_block = ?1 AND effect_hash <> ?2
         UNION SELECT contained_hash FROM incidents WHERE contained_block = ?1 AND contained_hash <> ?2",
    );
    Ok(query.bind(int("block number", block.number)?).bind(block.hash.to_vec()))
}

/// Takes back what ended, or was contained, at the height of a block of the canonical chain in other blocks, the `strangers`: they were
/// reorganised away before they were walked. Returns the actions that are open again.
pub(super) async fn settle_height(
    connection: &mut Connection,
    block: &BlockRef,
    strangers: Vec<(Vec<u8>,)>,
) -> Result<Vec<Intent>, StoreError> {
    let mut reopened = Vec::new();
    for (hash,) in strangers {
        let gone = BlockRef {
            hash: word("block hash", &hash)?,
            ..*block
        };
        reopened.extend(intents::reopen(connection, &gone).await?);
        revert_incidents(connection, &gone).await?;
    }
    Ok(reopened)
}

/// Notes the parent of the oldest block of the record, which was taken back: the walk along the blocks that replace it begins
/// there, however often it is interrupted. It was never evaluated, and has no verdicts.
fn insert_root(connection: &mut Connection, first: &BlockRef) -> Result<(), StoreError> {
    query(
        "INSERT INTO blocks (hash, number, parent, timestamp, canonical, version, verdicts, scopes) VALUES (?, ?, ?, ?, 1, ?, ?, ?)
         ON CONFLICT (hash) DO UPDATE SET canonical = 1,
            version = CASE WHEN length(blocks.verdicts) = 0 THEN excluded.version ELSE blocks.version END",
    )
    .bind(first.parent.to_vec())
    .bind(int("block number", first.number.saturating_sub(1))?)
    .bind(B256::ZERO.to_vec())
    .bind(int("block timestamp", first.timestamp)?)
    .bind(ROOT.to_vec())
    .bind(encode_verdicts(&[]))
    .bind(encode_scopes(&[]))
    .later(connection);
    Ok(())
}

/// Takes back what a block did to incidents.
async fn revert_incidents(connection: &mut Connection, block: &BlockRef) -> Result<(), StoreError> {
    let hash = block.hash.to_vec();
    let touched: Vec<(i64,)> =
        query_as("SELECT DISTINCT incident FROM timeline WHERE block_hash = ? AND mark IS NOT NULL")
            .bind(hash.clone())
            .fetch_all(&mut *connection)
            .await?;
    reopen(connection, block).await?;
    for sql in [
        "UPDATE timeline SET mark = NULL WHERE block_hash = ?",
        "DELETE FROM closures WHERE from_hash = ?",
        "UPDATE closures SET to_block = NULL, to_hash = NULL, to_time = NULL WHERE to_hash = ?",
        "UPDATE incidents SET state = 'contained', ended_block = NULL, ended_hash = NULL, ended_time = NULL
         WHERE ended_hash = ? AND contained_block IS NOT NULL",
        "UPDATE incidents SET state = 'open', ended_block = NULL, ended_hash = NULL, ended_time = NULL WHERE ended_hash = ?",
        "UPDATE incidents SET state = CASE WHEN state = 'closed' THEN 'closed' ELSE 'open' END, level = 0,
         contained_block = NULL, contained_hash = NULL, contained_time = NULL WHERE contained_hash = ?",
        "UPDATE incidents SET chain_incident = NULL, chain_hash = NULL WHERE chain_hash = ?",
    ] {
        query(sql).bind(hash.clone()).later(connection);
    }
    for (id,) in touched {
        let text = format!(
            "block {} ({}) was reorganised away; its events count no more",
            block.number, block.hash
        );
        entry(
            connection,
            id,
            &Entry {
                block: Some(block),
                ..Entry::new("reorganised", &text)
            },
        )
        .await?;
    }
    Ok(())
}

/// Tells that what was contained, or over, is not any more.
async fn reopen(connection: &mut Connection, block: &BlockRef) -> Result<(), StoreError> {
    let ids: Vec<(i64,)> = query_as("SELECT id FROM incidents WHERE contained_hash = ?1 OR ended_hash = ?1")
        .bind(block.hash.to_vec())
        .fetch_all(&mut *connection)
        .await?;
    for (id,) in ids {
        forget_containment(connection, id);
        let text = format!(
            "block {} was reorganised away, and with it what was done there about the incident; the keeper does it again",
            block.number
        );
        let told = (format!("incident:{id}:reorganised:{}", block.hash), 0);
        tell_incident(connection, id, NoticeKind::Reorged, &text, Some(block.number), told)?;
    }
    Ok(())
}
