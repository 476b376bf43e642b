//! What the record knows of the chain: which blocks are done, and the checkpoint up to which all of them are.

use alloy::primitives::B256;

use super::codec::decode_scopes;
use super::db::{Connection, QueryAs, Together, query, query_as};
use super::{Intent, OpenIncident, Step, Store, StoreError, incidents, int, revert, uint, word};
use crate::chain::BlockRef;
use crate::decide::ScopeReading;
use crate::turns::Urgency;

/// A stored block's hash, number, parent and timestamp.
pub(super) type BlockRow = (Vec<u8>, i64, Vec<u8>, i64);

/// The block of a row. Its base fee is not stored.
pub(super) fn block_of((hash, number, parent, timestamp): BlockRow) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: uint("block number", number)?,
        hash: word("block hash", &hash)?,
        parent: word("block hash", &parent)?,
        timestamp: uint("block timestamp", timestamp)?,
        base_fee: 0,
    })
}

/// What the record knows of a block before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether it is done, and part of the canonical chain.
    pub is_done: bool,
    /// See [`Store::rivals`].
    pub rivals: Vec<BlockRef>,
    /// See [`Store::watched`].
    pub open: Vec<OpenIncident>,
}

impl Store {
    /// What has to be known before a block is read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn look(&self, block: &BlockRef) -> Result<Look, StoreError> {
        let questions = (is_done(block.hash), revert::rivals(block)?, incidents::watched());
        let (done, rivals, open) = questions.fetch_together(&mut self.pool.acquire().await?).await?;
        Ok(Look {
            is_done: !done.is_empty(),
            rivals: revert::rivals_of(block, rivals)?,
            open: incidents::watched_of(open)?,
        })
    }

    /// Whether the block is done and part of the canonical chain as far as the record knows.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn is_done(&self, hash: B256) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = is_done(hash).fetch_optional(&self.pool).await?;
        Ok(row.is_some())
    }

    /// Makes a block that is done already the checkpoint. Returns the actions that are open again, because they had ended in
    /// another block at its height.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn advance(&self, block: &BlockRef) -> Result<Vec<Intent>, StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let strangers = revert::strangers(block)?.fetch_all(&mut *tx).await?;
        let reopened = revert::settle_height(&mut tx, block, strangers).await?;
        set_checkpoint(&mut tx, block.hash);
        tx.commit(Step::Advance).await?;
        Ok(reopened)
    }

    /// The newest canonical blocks up to the checkpoint, oldest first, at most `most`. Empty before the first block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn window(&self, most: u32) -> Result<Vec<BlockRef>, StoreError> {
        let rows: Vec<BlockRow> = query_as(
            // The tip first, by itself: joined, SQLite would look for it beside every block of the record.
            "SELECT hash, number, parent, timestamp FROM blocks WHERE canonical = 1
                AND number <= (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)
             ORDER BY number DESC LIMIT ?",
        )
        .bind(i64::from(most))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().rev().map(block_of).collect()
    }

    /// Scopes of a block that were not `Normal`; `None` when the record has no such block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn scopes(&self, hash: B256) -> Result<Option<Vec<ScopeReading>>, StoreError> {
        let row: Option<(Vec<u8>,)> = query_as("SELECT scopes FROM blocks WHERE hash = ? AND length(verdicts) > 0")
            .bind(hash.to_vec())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|(bytes,)| decode_scopes(&bytes)).transpose()
    }
}

fn is_done(hash: B256) -> QueryAs<(i64,)> {
    query_as("SELECT 1 FROM blocks WHERE hash = ? AND canonical = 1").bind(hash.to_vec())
}

/// Verdicts of a block that is not done, but for what was decided on it: no list of them, not even an empty one. In SQL `length(verdicts) = 0`.
pub(super) const UNDONE: &[u8] = &[];

/// Rulebook of a block that was never evaluated.
pub(super) const ROOT: B256 = B256::ZERO;

/// Forgets the place to go on from once something follows it.
pub(super) fn forget_root(connection: &mut Connection, next: &BlockRef) -> Result<(), StoreError> {
    let number = int("block number", next.number)?;
    query("DELETE FROM blocks WHERE number BETWEEN ? AND ? AND version = ? AND hash <> ?")
        .bind(number.saturating_sub(1))
        .bind(number)
        .bind(ROOT.to_vec())
        .bind(next.hash.to_vec())
        .later(connection);
    Ok(())
}

pub(super) fn set_checkpoint(connection: &mut Connection, hash: B256) {
    query("INSERT INTO checkpoint (id, hash) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET hash = excluded.hash")
        .bind(hash.to_vec())
        .later(connection);
}
