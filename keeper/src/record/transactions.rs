//! Transactions that carry intents out, with the signed bytes, so that a restart sends the same ones again.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};

use super::db::{Connection, Row, query};
use super::timeline::{self, Entry};
use super::{Intent, IntentKind, Step, Store, StoreError, TransactionRecord, int, uint, word};
use crate::chain::BlockRef;
use crate::turns::Urgency;

/// A transaction that is about to be, or was, broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentTransaction {
    /// Its hash.
    pub hash: B256,
    /// Sender.
    pub sender: Address,
    /// Nonce of the sender.
    pub nonce: u64,
    /// The signed bytes.
    pub raw: Bytes,
    /// Most wei per gas that it pays.
    pub max_fee: u128,
    /// Most wei per gas of it that goes to the block's producer.
    pub priority_fee: u128,
}

impl From<TransactionRecord> for SentTransaction {
    fn from(record: TransactionRecord) -> Self {
        Self {
            hash: record.hash,
            sender: record.sender,
            nonce: record.nonce,
            raw: record.raw,
            max_fee: record.max_fee,
            priority_fee: record.priority_fee,
        }
    }
}

impl Store {
    /// Stores a transaction that was sent for an intent; sending the same bytes again changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record_sent(&self, intent: &Intent, sent: &SentTransaction) -> Result<(), StoreError> {
        // Of whatever kind: the account's next transaction waits for it.
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let inserted = query(
            "INSERT INTO transactions (hash, intent, sender, nonce, raw, max_fee, priority_fee, sent_ms, status)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'sent') ON CONFLICT DO NOTHING",
        )
        .bind(sent.hash.to_vec())
        .bind(intent.id)
        .bind(sent.sender.to_vec())
        .bind(int("nonce", sent.nonce)?)
        .bind(sent.raw.to_vec())
        .bind(sent.max_fee.to_string())
        .bind(sent.priority_fee.to_string())
        .bind(tx.now_ms())
        .execute(&mut *tx)
        .await?;
        if let (Some(incident), true) = (intent.incident, inserted.rows_affected() > 0) {
            let text = format!(
                "keeper {} broadcast {} with nonce {}",
                sent.sender,
                intent.kind.name(),
                sent.nonce
            );
            timeline::entry(
                &mut tx,
                incident,
                &Entry {
                    tx: Some(sent.hash),
                    ..Entry::new("broadcast", &text)
                },
            )
            .await?;
        }
        tx.commit(Step::Sent).await
    }

    /// Transactions that were sent for an intent, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn transactions_of(&self, intent: i64) -> Result<Vec<TransactionRecord>, StoreError> {
        let rows = query("SELECT t.*, i.kind FROM transactions t JOIN intents i ON i.id = t.intent WHERE t.intent = ? ORDER BY t.sent_ms")
            .bind(intent)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(transaction).collect()
    }

    /// What was sent within `since` for containments that have ended, in whatever way, but with a nonce with which something was sent for an
    /// action that has not; oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sent_for_ended_containments(&self, since: Duration) -> Result<Vec<TransactionRecord>, StoreError> {
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let rows = query(
            "SELECT t.*, i.kind FROM transactions t JOIN intents i ON i.id = t.intent
             WHERE t.sent_ms >= ? AND i.kind IN ('contain', 'contain-set') AND i.outcome IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM transactions o JOIN intents w ON w.id = o.intent
                    WHERE w.outcome IS NULL AND o.sender = t.sender AND o.nonce = t.nonce)
             ORDER BY t.sent_ms",
        )
        .bind(self.now_ms().saturating_sub(since))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(transaction).collect()
    }

    /// Stores that a transaction was included and reverted; its intent stays open.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record_reverted(
        &self,
        intent: &Intent,
        hash: B256,
        block: &BlockRef,
        gas: u64,
        fee: u128,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin_for(intent.kind.urgency()).await?;
        include(&mut tx, hash, block, gas, fee, "reverted")?;
        if let Some(incident) = intent.incident {
            let text = format!("the {} transaction was included and reverted", intent.kind.name());
            let entry = Entry {
                tx: Some(hash),
                block: Some(block),
                ..Entry::new("transaction reverted", &text)
            };
            timeline::entry(&mut tx, incident, &entry).await?;
        }
        tx.commit(Step::Reverted).await
    }
}

#[cfg(test)]
impl Store {
    /// Keeps everybody from writing until the answer is dropped.
    pub(crate) async fn hold_up(&self) -> Result<impl Sized + use<>, StoreError> {
        self.begin_for(Urgency::Breach).await
    }
}

/// Notes that an event of a block comes from this transaction, if it is one of ours whose end nobody has noted: its intent may
/// have been given up before it was included.
pub(super) fn seen(connection: &mut Connection, hash: B256, block: &BlockRef) -> Result<(), StoreError> {
    query(
        "UPDATE transactions SET status = 'succeeded', block_number = ?, block_hash = ?
         WHERE hash = ? AND status IN ('sent', 'orphaned')",
    )
    .bind(int("block number", block.number)?)
    .bind(block.hash.to_vec())
    .bind(hash.to_vec())
    .later(connection);
    Ok(())
}

/// Notes the block that includes a transaction.
pub(super) fn include(
    connection: &mut Connection,
    hash: B256,
    block: &BlockRef,
    gas: u64,
    fee: u128,
    status: &str,
) -> Result<(), StoreError> {
    query("UPDATE transactions SET status = ?, block_number = ?, block_hash = ?, gas_used = ?, fee = ? WHERE hash = ?")
        .bind(status)
        .bind(int("block number", block.number)?)
        .bind(block.hash.to_vec())
        .bind(int("gas", gas)?)
        .bind(fee.to_string())
        .bind(hash.to_vec())
        .later(connection);
    Ok(())
}

pub(super) fn transaction(row: &Row) -> Result<TransactionRecord, StoreError> {
    let damaged = |what| move |_| StoreError::Damaged { what };
    let kind: String = row.try_get("kind")?;
    let sender: Vec<u8> = row.try_get("sender")?;
    let block_hash: Option<Vec<u8>> = row.try_get("block_hash")?;
    let number: Option<i64> = row.try_get("block_number")?;
    let gas: Option<i64> = row.try_get("gas_used")?;
    let fee: Option<String> = row.try_get("fee")?;
    let max_fee: String = row.try_get("max_fee")?;
    let priority_fee: String = row.try_get("priority_fee")?;
    Ok(TransactionRecord {
        hash: word("transaction hash", row.try_get("hash")?)?,
        intent: row.try_get("intent")?,
        kind: IntentKind::from_name(&kind).ok_or(StoreError::Damaged { what: "intent kind" })?,
        sender: Address::try_from(sender.as_slice()).map_err(|_| StoreError::Damaged { what: "sender" })?,
        nonce: uint("nonce", row.try_get("nonce")?)?,
        raw: Bytes::from(row.try_get::<Vec<u8>>("raw")?),
        max_fee: max_fee.parse().map_err(damaged("fee"))?,
        priority_fee: priority_fee.parse().map_err(damaged("fee"))?,
        sent_ms: row.try_get("sent_ms")?,
        status: row.try_get("status")?,
        block_number: number.map(|number| uint("block number", number)).transpose()?,
        block_hash: block_hash.map(|hash| word("block hash", &hash)).transpose()?,
        gas_used: gas.map(|gas| uint("gas", gas)).transpose()?,
        fee: fee.map(|fee| fee.parse().map_err(damaged("fee"))).transpose()?,
    })
}
