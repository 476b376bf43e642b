//! Breaches that stand, and releases that people have queued: what tells a new breach from one that was judged.

use std::collections::HashSet;

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;

use super::codec::{decode_words, encode_words};
use super::db::{Connection, QueryAs, query, query_as};
use super::{BlockRecord, StoreError, int, small, uint};
use crate::chain::BlockRef;
use crate::decide::Past;
use crate::rules::{GuardEvent, GuardEventKind as Kind};

/// A breach that stands: its rule, and its witness.
pub(super) type Breach = (i64, Vec<u8>);

/// The breaches that stand.
pub(super) fn standing() -> QueryAs<Breach> {
    query_as("SELECT rule, words FROM breaches")
}

/// Notes new breaches of a block and strikes those whose rule holds. `Unknown` changes nothing.
pub(super) fn follow(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    standing: &HashSet<Breach>,
) -> Result<(), StoreError> {
    for verdict in record.verdicts {
        let key = (i64::from(verdict.rule), encode_words(&verdict.witness));
        let stands = standing.contains(&key);
        let (rule, words) = key;
        match verdict.reading.verdict {
            Verdict::Breached if !stands => {
                query("INSERT INTO breaches (rule, words, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                    .bind(rule)
                    .bind(words)
                    .bind(int("block number", record.block.number)?)
                    .later(connection);
            }
            Verdict::Holds if stands => {
                query("DELETE FROM breaches WHERE rule = ? AND words = ?")
                    .bind(rule)
                    .bind(words)
                    .later(connection);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Notes that a breach that stands was recorded, for a rule that is only recorded.
pub(super) fn note_recorded(connection: &mut Connection, rule: u16, witness: &[B256]) {
    query("UPDATE breaches SET recorded = 1 WHERE rule = ? AND words = ?")
        .bind(i64::from(rule))
        .bind(encode_words(witness))
        .later(connection);
}

/// Notes that people were told, in an incident, of a breach that stands and that nothing is sent for.
pub(super) fn note_told(connection: &mut Connection, rule: u16, witness: &[B256], incident: i64) {
    query("UPDATE breaches SET incident = ? WHERE rule = ? AND words = ?")
        .bind(incident)
        .bind(i64::from(rule))
        .bind(encode_words(witness))
        .later(connection);
}

/// The rule's breaches that stand, with the block that each was first seen in.
pub(super) async fn since(connection: &mut Connection, rule: u16) -> Result<Vec<(Vec<B256>, i64)>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> = query_as("SELECT words, since FROM breaches WHERE rule = ?")
        .bind(i64::from(rule))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|(words, since)| Ok((decode_words(words)?, *since)))
        .collect()
}

/// Whether a breach of the rule stands.
pub(super) async fn stands(connection: &mut Connection, rule: u16) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = query_as("SELECT 1 FROM breaches WHERE rule = ? LIMIT 1")
        .bind(i64::from(rule))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Notes when people queue a release, or take it back. Noting it again changes nothing.
pub(super) fn note_release(
    connection: &mut Connection,
    block: &BlockRef,
    event: &GuardEvent,
) -> Result<(), StoreError> {
    let (scope, queued) = match &event.kind {
        Kind::ReleaseQueued { scope, .. } => (*scope, true),
        Kind::ReleaseCancelled { scope, .. } => (*scope, false),
        _ => return Ok(()),
    };
    query(
        "INSERT INTO judgements (scope, block, hash, position, queued) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(i64::from(scope))
    .bind(int("block number", block.number)?)
    .bind(block.hash.to_vec())
    .bind(int("log index", event.log_index)?)
    .bind(i64::from(queued))
    .later(connection);
    Ok(())
}

/// Takes back what people did in a block that is canonical no more, and breaches that it was the first to show: where they
/// stand on the new branch too, its blocks say so.
pub(super) fn revert(connection: &mut Connection, block: &BlockRef) -> Result<(), StoreError> {
    query("DELETE FROM judgements WHERE hash = ?")
        .bind(block.hash.to_vec())
        .later(connection);
    query("DELETE FROM breaches WHERE since >= ?")
        .bind(int("block number", block.number)?)
        .later(connection);
    Ok(())
}

/// Which judgements `j` are releases that nobody has taken back since.
pub(super) const RELEASED: &str = "j.queued = 1 AND NOT EXISTS (SELECT 1 FROM judgements k
    WHERE k.scope = j.scope AND (k.block > j.block OR (k.block = j.block AND k.position > j.position)))";

/// Loads what stands and what was released.
pub(super) async fn load(connection: &mut Connection, past: &mut Past) -> Result<(), StoreError> {
    let released: Vec<(i64, i64)> = query_as(&format!("SELECT scope, block FROM judgements j WHERE {RELEASED}"))
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
