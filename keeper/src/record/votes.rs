//! Votes: which keeper of a fleet has found which breach of which rulebook by itself. Whoever has the turn asks by voting; those that wait for
//! theirs look with their own endpoints, and vote too. No lease is needed to vote: a vote does nothing.

use alloy::primitives::B256;

use super::codec::{decode_words, encode_words};
use super::db::{query, query_as};
use super::{Step, Store, StoreError, fleet, int, small};
use crate::chain::BlockRef;
use crate::rules::Request;

/// A vote counts for so long, in milliseconds.
const FRESH: i64 = 30_000;

impl Store {
    /// Notes what this keeper found of a rule of the rulebook `version`: a breach, or that it holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn vote(
        &self,
        keeper: &str,
        (version, rule): (B256, u16),
        witness: &[B256],
        block: &BlockRef,
        breached: bool,
    ) -> Result<(), StoreError> {
        let now = self.votes_now();
        let sql = format!(
            "INSERT INTO votes (keeper, version, rule, words, block, breached, at_ms) VALUES (?, ?, ?, ?, ?, ?, {now})
             ON CONFLICT (keeper, version, rule, words) DO UPDATE SET block = excluded.block, breached = excluded.breached, at_ms = excluded.at_ms"
        );
        query(&sql)
            .bind(keeper)
            .bind(version.to_vec())
            .bind(i64::from(rule))
            .bind(encode_words(witness))
            .bind(int("block number", block.number)?)
            .bind(breached)
            .execute(self.pool.alone(Step::Vote))
            .await?;
        Ok(())
    }

    /// How many keepers have lately found this breach of a rule of the rulebook `version`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn voters(&self, (version, rule): (B256, u16), witness: &[B256]) -> Result<u32, StoreError> {
        let sql = format!(
            "SELECT COUNT(*) FROM votes WHERE version = ? AND rule = ? AND words = ? AND breached = 1 AND at_ms > {} - ?",
            self.votes_now()
        );
        let (count,): (i64,) = query_as(&sql)
            .bind(version.to_vec())
            .bind(i64::from(rule))
            .bind(encode_words(witness))
            .bind(FRESH)
            .fetch_one(&self.pool)
            .await?;
        small("number of votes", count)
    }

    /// What other keepers of the same rulebook ask about: the breaches that they have lately found.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn asked_by_others(&self, keeper: &str, version: B256) -> Result<Vec<Request>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT rule, words FROM votes WHERE keeper <> ? AND version = ? AND breached = 1 AND at_ms > {} - ?",
            self.votes_now()
        );
        let rows: Vec<(i64, Vec<u8>)> = query_as(&sql)
            .bind(keeper)
            .bind(version.to_vec())
            .bind(FRESH)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|(rule, words)| {
                Ok(Request {
                    rule: small("rule index", rule)?,
                    witness: decode_words(&words)?,
                })
            })
            .collect()
    }

    /// The database's clock in SQL: no keeper's own decides how old a vote is.
    fn votes_now(&self) -> &'static str {
        if self.is_shared() {
            fleet::NOW
        } else {
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        }
    }
}
