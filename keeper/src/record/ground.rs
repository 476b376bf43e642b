//! Whether what was decided on still is so: a decision's block may be reorganised away before it is carried out, its rule may hold again, and its
//! rulebook may be replaced.

use super::checkpoint::{BlockRow, ROOT, block_of};
use super::codec::encode_words;
use super::db::query_as;
use super::{Intent, Store, StoreError, int};
use crate::chain::BlockRef;

/// What is left of the reason for a decision, as far as blocks are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Its block is where it was, or its breach stands on the chain that has replaced it; and the rule was not found to hold since.
    Stands,
    /// Its block is where it was, and the rule was found to hold since: at `tip`, up to which every block is done, its breach does not stand.
    Held {
        /// A later block than that of the decision.
        tip: BlockRef,
    },
    /// Its block is not done yet, as the process has ended in between; or was reorganised away, and what has replaced it is not done yet. Or
    /// another rulebook is the present one, by which nothing was evaluated yet.
    Unjudged,
    /// Its block was reorganised away, and its breach with it.
    Gone,
    /// Its block is where it was, and blocks are evaluated by another rulebook since: what that finds breached is decided anew.
    Replaced,
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
            return self.found_since(intent).await;
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

    /// What the blocks after that of a decision, which is where it was, have shown of its breach. `Unknown` leaves it as it was.
    async fn found_since(&self, intent: &Intent) -> Result<Ground, StoreError> {
        type Found = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, i64);
        let found: Option<Found> = query_as(
            "SELECT i.version, (SELECT version FROM rulebook WHERE id = 1),
                (SELECT version FROM blocks WHERE canonical = 1 AND version <> ? ORDER BY number DESC LIMIT 1),
                (SELECT c.hash FROM checkpoint c),
                (SELECT COUNT(*) FROM breaches b WHERE b.rule = i.rule AND b.words = i.witness)
             FROM intents i WHERE i.id = ?",
        )
        .bind(ROOT.to_vec())
        .bind(intent.id)
        .fetch_optional(&self.pool)
        .await?;
        let Some((own, present, newest, tip, standing)) = found else {
            return Ok(Ground::Stands);
        };
        if present.as_ref().is_some_and(|present| *present != own) {
            let is_judged = newest == present;
            return Ok(if is_judged { Ground::Replaced } else { Ground::Unjudged });
        }
        let Some(tip) = tip.filter(|_| standing == 0) else {
            return Ok(Ground::Stands);
        };
        let tip: Option<BlockRow> = query_as("SELECT hash, number, parent, timestamp FROM blocks WHERE hash = ?")
            .bind(tip)
            .fetch_optional(&self.pool)
            .await?;
        let tip = tip.map(block_of).transpose()?;
        Ok(match tip.filter(|tip| tip.number > intent.block_number) {
            Some(tip) => Ground::Held { tip },
            None => Ground::Stands,
        })
    }

    /// Whether a canonical block has an event of the guard, about its incident, in a transaction that was sent for an action: then that is not
    /// to be given up, whoever has not heard of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn has_landed(&self, intent: &Intent) -> Result<bool, StoreError> {
        let (events,): (i64,) = query_as(
            "SELECT COUNT(*) FROM timeline t JOIN transactions x ON x.hash = t.tx
             WHERE t.incident = ? AND t.mark IS NOT NULL AND x.intent = ?",
        )
        .bind(intent.incident)
        .bind(intent.id)
        .fetch_one(&self.pool)
        .await?;
        Ok(events > 0)
    }
}
