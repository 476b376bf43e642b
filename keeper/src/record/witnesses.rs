//! Witnesses that rules with parameters are evaluated with: those that events named, remembered within a bound and looked
//! at again in turn.

use alloy::primitives::B256;

use super::codec::{decode_words, encode_words};
use super::db::{Connection, query, query_as};
use super::{Store, StoreError, int};

impl Store {
    /// The `limit` witnesses of a rule whose last check is longest ago.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn witnesses_in_turn(&self, rule: u16, limit: u32) -> Result<Vec<Vec<B256>>, StoreError> {
        let rows: Vec<(Vec<u8>,)> =
            query_as("SELECT words FROM witnesses WHERE rule = ? ORDER BY checked, seen DESC LIMIT ?")
                .bind(i64::from(rule))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|(words,)| decode_words(words)).collect()
    }

    /// How many witnesses of a rule are remembered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn witness_count(&self, rule: u16) -> Result<u64, StoreError> {
        let (count,): (i64,) = query_as("SELECT COUNT(*) FROM witnesses WHERE rule = ?")
            .bind(i64::from(rule))
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// Remembers that a witness was evaluated at a block and, when `named`, that an event of the block named it.
pub(super) fn note(
    connection: &mut Connection,
    rule: u16,
    words: &[B256],
    block: u64,
    named: bool,
) -> Result<(), StoreError> {
    let block = int("block number", block)?;
    let sql = if named {
        "INSERT INTO witnesses (rule, words, seen, checked) VALUES (?, ?, ?, ?)
         ON CONFLICT (rule, words) DO UPDATE SET
            seen = CASE WHEN excluded.seen > witnesses.seen THEN excluded.seen ELSE witnesses.seen END,
            checked = CASE WHEN excluded.checked > witnesses.checked THEN excluded.checked ELSE witnesses.checked END"
    } else {
        "INSERT INTO witnesses (rule, words, seen, checked) VALUES (?, ?, ?, ?)
         ON CONFLICT (rule, words) DO UPDATE SET
            checked = CASE WHEN excluded.checked > witnesses.checked THEN excluded.checked ELSE witnesses.checked END"
    };
    query(sql)
        .bind(i64::from(rule))
        .bind(encode_words(words))
        .bind(block)
        .bind(block)
        .later(connection);
    Ok(())
}

/// Forgets the witnesses of a rule that no event has named for longest, down to `most`.
pub(super) fn bound(connection: &mut Connection, rule: u16, most: u32) {
    query(
        "DELETE FROM witnesses WHERE rule = ?1 AND words NOT IN
         (SELECT words FROM witnesses WHERE rule = ?1 ORDER BY seen DESC, checked DESC, words LIMIT ?2)",
    )
    .bind(i64::from(rule))
    .bind(i64::from(most))
    .later(connection);
}
