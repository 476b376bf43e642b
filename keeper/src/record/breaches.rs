//! Breaches that stand, and releases that people have queued: what tells a new breach from one that was judged.

use cordon_core::rule::eval::Verdict;

use super::codec::{decode_words, encode_words};
use super::db::{Connection, query, query_as};
use super::{BlockRecord, StoreError, int, small, uint};
use crate::decide::Past;

/// Notes new breaches of a block and strikes those whose rule holds. `Unknown` changes nothing.
pub(super) async fn follow(connection: &mut Connection, record: &BlockRecord<'_>) -> Result<(), StoreError> {
    let standing: Vec<(i64, Vec<u8>)> = query_as("SELECT rule, words FROM breaches")
        .fetch_all(&mut *connection)
        .await?;
    for verdict in record.verdicts {
        let (rule, words) = (i64::from(verdict.rule), encode_words(&verdict.witness));
        let stands = standing.iter().any(|(held, of)| *held == rule && *of == words);
        match verdict.reading.verdict {
            Verdict::Breached if !stands => {
                query("INSERT INTO breaches (rule, words, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                    .bind(rule)
                    .bind(words)
                    .bind(int("block number", record.block.number)?)
                    .execute(&mut *connection)
                    .await?;
            }
            Verdict::Holds if stands => {
                query("DELETE FROM breaches WHERE rule = ? AND words = ?")
                    .bind(rule)
                    .bind(words)
                    .execute(&mut *connection)
                    .await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Loads what stands and what was released.
pub(super) async fn load(connection: &mut Connection, past: &mut Past) -> Result<(), StoreError> {
    let released: Vec<(i64, i64)> = query_as("SELECT scope, block FROM releases")
        .fetch_all(&mut *connection)
        .await?;
    for (scope, block) in released {
        past.released
            .insert(small("scope", scope)?, uint("block number", block)?);
    }
    if past.released.is_empty() {
        // Nobody has judged anything: the breaches need not be looked at.
        return Ok(());
    }
    let standing: Vec<(i64, Vec<u8>, i64)> = query_as("SELECT rule, words, since FROM breaches")
        .fetch_all(connection)
        .await?;
    for (rule, words, since) in standing {
        past.standing.insert(
            (small("rule index", rule)?, decode_words(&words)?),
            uint("block number", since)?,
        );
    }
    Ok(())
}
