//! Whether what was decided on still is so: a decision's block may be reorganised away before it is carried out.

use super::codec::encode_words;
use super::db::query_as;
use super::{Intent, Store, StoreError, int};

/// What is left of the reason for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Its block is where it was, or its breach stands on the chain that has replaced it.
    Stands,
    /// Its block is not done yet, as the process has ended in between; or was reorganised away, and what has replaced it is not done yet.
    Unjudged,
    /// Its block was reorganised away, and its breach with it.
    Gone,
}

impl Store {
    /// What is left of the reason for a decision on a breach. What another rulebook has found counts as gone with its block: by the
    /// present one it is found anew.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ground(&self, intent: &Intent) -> Result<Ground, StoreError> {
        let canonical: Option<(i64,)> = query_as("SELECT canonical FROM blocks WHERE hash = ?")
            .bind(intent.block_hash.to_vec())
            .fetch_optional(&self.pool)
            .await?;
        if canonical.is_none_or(|(canonical,)| canonical == 1) {
            return Ok(Ground::Stands);
        }
        let (judged,): (i64,) = query_as(
            "SELECT COUNT(*) FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash WHERE tip.canonical = 1 AND tip.number >= ?",
        )
        .bind(int("block number", intent.block_number)?)
        .fetch_one(&self.pool)
        .await?;
        if judged == 0 {
            return Ok(Ground::Unjudged);
        }
        let (standing,): (i64,) = query_as(
            "SELECT COUNT(*) FROM breaches b JOIN intents i ON i.rule = b.rule WHERE i.id = ? AND b.words = ?
                AND i.version = (SELECT tip.version FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)",
        )
        .bind(intent.id)
        .bind(encode_words(&intent.witness))
        .fetch_one(&self.pool)
        .await?;
        Ok(if standing > 0 { Ground::Stands } else { Ground::Gone })
    }
}
