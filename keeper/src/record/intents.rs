//! Intents: what was decided, under a key that lets it be stored once.

use std::time::Duration;

use alloy::primitives::B256;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;

use super::codec::{decode_words, encode_words, int_from_text, int_text};
use super::db::{Connection, QueryAs, Row, query, query_as};
use super::incidents;
use super::timeline::{self, Entry};
use super::{Intent, IntentKind, Outcome, Step, Store, StoreError, int, past, revert, small, transactions, uint, word};
use crate::chain::BlockRef;

/// An intent to be stored. Together with the chain id, block, rule, version, kind and scope are its idempotency key.
#[derive(Debug, Clone, Copy)]
pub struct NewIntent<'a> {
    /// What is to be done.
    pub kind: IntentKind,
    /// Rule that it answers; `None` for upkeep.
    pub rule: Option<u16>,
    /// Scope that it concerns.
    pub scope: u8,
    /// Level to be reached.
    pub level: Level,
    /// Seconds for which the level is to be raised.
    pub duration: u32,
    /// Witness of the rule.
    pub witness: &'a [B256],
    /// Left operand of the deciding comparison.
    pub observed: Int,
    /// Right operand of the deciding comparison.
    pub bound: Int,
    /// Block that it was decided on.
    pub block: &'a BlockRef,
    /// Code hash of the rulebook.
    pub version: B256,
    /// Incident that it belongs to, when that is known.
    pub incident: Option<i64>,
}

/// How an intent ended, with the transaction that did it when one of ours did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The outcome.
    pub outcome: Outcome,
    /// What is to be known about it; a sentence for the timeline.
    pub detail: String,
    /// The included transaction: hash, block, gas used, wei paid.
    pub included: Option<(B256, BlockRef, u64, u128)>,
    /// The block on whose state it was found that nothing is to be sent.
    pub judged_at: Option<BlockRef>,
    /// From the decision to the acceptance of the transaction by a node.
    pub decision_to_broadcast: Option<Duration>,
    /// From there to receipt, event and read-back.
    pub broadcast_to_contained: Option<Duration>,
}

impl Confirmation {
    /// The block that the outcome stands and falls with.
    #[must_use]
    pub fn block(&self) -> Option<&BlockRef> {
        let included = self.included.as_ref().map(|(_, block, _, _)| block);
        included.or(self.judged_at.as_ref())
    }
}

const COLUMNS: &str = "id, incident, kind, rule, scope, level, duration, witness, observed, bound, block_number, block_hash, \
                       block_time, decided_ms, outcome, detail";

impl Store {
    /// Actions that are to be carried out, strictest level first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM intents WHERE outcome IS NULL ORDER BY id");
        let rows = query(&sql).fetch_all(&self.pool).await?;
        let mut intents = rows.iter().map(intent).collect::<Result<Vec<_>, _>>()?;
        intents.sort_by_key(|intent| (std::cmp::Reverse(intent.level.rank()), intent.id));
        Ok(intents)
    }

    /// Whether an action is still to be carried out.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn is_open(&self, intent: i64) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = query_as("SELECT 1 FROM intents WHERE id = ? AND outcome IS NULL")
            .bind(intent)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// Code hash of the rulebook by which an action was decided; `None` when there is no such action.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn version_of(&self, intent: i64) -> Result<Option<B256>, StoreError> {
        let row: Option<(Vec<u8>,)> = query_as("SELECT version FROM intents WHERE id = ?")
            .bind(intent)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|(version,)| word("rulebook", &version)).transpose()
    }

    /// Everything that was ever decided, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn intents(&self) -> Result<Vec<Intent>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM intents ORDER BY id");
        query(&sql).fetch_all(&self.pool).await?.iter().map(intent).collect()
    }

    /// What rules in shadow, or in maintenance, would have done, newest first, at most `most`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn shadowed(&self, most: u32) -> Result<Vec<Intent>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM intents WHERE kind = 'shadow' AND incident IS NULL ORDER BY id DESC LIMIT ?"
        );
        let rows = query(&sql).bind(i64::from(most)).fetch_all(&self.pool).await?;
        rows.iter().map(intent).collect()
    }

    /// How many breaches of each rule in shadow the record holds, by the rule's index.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn shadow_counts(&self) -> Result<Vec<(u16, u64)>, StoreError> {
        let rows: Vec<(i64, i64)> = query_as(
            "SELECT rule, COUNT(*) FROM intents WHERE kind = 'shadow' AND incident IS NULL GROUP BY rule ORDER BY rule",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(rule, count)| Ok((small("rule index", rule)?, uint("number of breaches", count)?)))
            .collect()
    }

    /// Stores an action that answers no rule. `None` when it is stored already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn plan(&self, new: &NewIntent<'_>) -> Result<Option<Intent>, StoreError> {
        let mut tx = self.begin_for(new.kind.urgency()).await?;
        let mut new = *new;
        if new.incident.is_none() {
            new.incident = incidents::of_scope(&mut tx, new.scope).await?;
        }
        let stored = insert(&mut tx, self.chain_id(), &new).await?;
        tx.commit(Step::Plan).await?;
        Ok(stored)
    }

    /// Ends an intent: outcome, included transaction, latencies and the line in the timeline, in one transaction. `false`, and
    /// nothing is stored, when the record has another block at that height by now: the outcome vanished with its block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn finish(&self, intent: &Intent, end: &Confirmation) -> Result<bool, StoreError> {
        // The next one for its scope begins when this one has ended.
        let mut tx = self.begin_for(intent.kind.urgency()).await?;
        let block = end.block();
        if let Some(block) = block
            && revert::is_replaced(&mut tx, block).await?
        {
            return Ok(false);
        }
        let is_known = match (intent.incident, intent.rule, end.outcome) {
            (Some(incident), Some(rule), Outcome::Refused | Outcome::Observed) => {
                past::was_refused(&mut tx, incident, rule).await?
            }
            _ => false,
        };
        query("UPDATE intents SET outcome = ?, detail = ?, effect_hash = ?, effect_block = ?, effect_time = ? WHERE id = ?")
            .bind(end.outcome.name())
            .bind(&end.detail)
            .bind(block.map(|block| block.hash.to_vec()))
            .bind(block.map(|block| int("block number", block.number)).transpose()?)
            .bind(block.map(|block| int("block timestamp", block.timestamp)).transpose()?)
            .bind(intent.id)
            .later(&mut tx);
        if let Some((hash, block, gas, fee)) = &end.included {
            transactions::include(&mut tx, *hash, block, *gas, *fee, "succeeded")?;
        }
        if let Some(incident) = intent.incident.filter(|_| !is_known) {
            incidents::finish_intent(&mut tx, incident, intent, end).await?;
        }
        tx.commit(Step::Finish).await?;
        self.news();
        Ok(true)
    }
}

/// One intent; `None` when there is none of that number.
pub(super) async fn one(connection: &mut Connection, id: i64) -> Result<Option<Intent>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM intents WHERE id = ?");
    let row = query(&sql).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(intent).transpose()
}

/// Stores an intent unless its key is there already.
pub(super) async fn insert(
    connection: &mut Connection,
    chain_id: u64,
    new: &NewIntent<'_>,
) -> Result<Option<Intent>, StoreError> {
    let now_ms = connection.now_ms();
    let row = insertion(new, chain_id, now_ms)?.fetch_optional(connection).await?;
    Ok(row.map(|(id,)| new.stored(id, now_ms)))
}

/// See [`insert`]: answers the number of one that is new.
pub(super) fn insertion(new: &NewIntent<'_>, chain_id: u64, now_ms: i64) -> Result<QueryAs<(i64,)>, StoreError> {
    let query = query_as(
        "INSERT INTO intents (incident, chain_id, block_hash, rule, version, kind, scope, level, duration, witness, observed, bound,
            block_number, block_time, decided_ms, outcome)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
    );
    Ok(query
        .bind(new.incident)
        .bind(int("chain id", chain_id)?)
        .bind(new.block.hash.to_vec())
        .bind(new.rule.map_or(-1, i64::from))
        .bind(new.version.to_vec())
        .bind(new.kind.name())
        .bind(i64::from(new.scope))
        .bind(i64::from(new.level as u8))
        .bind(i64::from(new.duration))
        .bind(encode_words(new.witness))
        .bind(int_text(new.observed))
        .bind(int_text(new.bound))
        .bind(int("block number", new.block.number)?)
        .bind(int("block timestamp", new.block.timestamp)?)
        .bind(now_ms)
        .bind(new.outcome().map(Outcome::name)))
}

impl NewIntent<'_> {
    fn outcome(&self) -> Option<Outcome> {
        (self.kind == IntentKind::Shadow).then_some(Outcome::Recorded)
    }

    /// It as it was stored.
    pub(super) fn stored(&self, id: i64, decided_ms: i64) -> Intent {
        Intent {
            id,
            incident: self.incident,
            kind: self.kind,
            rule: self.rule,
            scope: self.scope,
            level: self.level,
            duration: self.duration,
            witness: self.witness.to_vec(),
            observed: self.observed,
            bound: self.bound,
            block_number: self.block.number,
            block_hash: self.block.hash,
            block_time: self.block.timestamp,
            decided_ms,
            outcome: self.outcome(),
            detail: None,
        }
    }
}

pub(super) fn attach(connection: &mut Connection, intent: i64, incident: i64) {
    query("UPDATE intents SET incident = ? WHERE id = ?")
        .bind(incident)
        .bind(intent)
        .later(connection);
}

/// Opens again what was carried out in a block that is canonical no more.
pub(super) async fn reopen(connection: &mut Connection, block: &BlockRef) -> Result<Vec<Intent>, StoreError> {
    let hash = block.hash.to_vec();
    query("UPDATE transactions SET status = 'orphaned', block_number = NULL, block_hash = NULL WHERE block_hash = ?")
        .bind(hash.clone())
        .later(connection);
    let sql = format!("SELECT {COLUMNS} FROM intents WHERE effect_hash = ? ORDER BY id");
    let rows = query(&sql).bind(hash.clone()).fetch_all(&mut *connection).await?;
    let mut reopened = rows.iter().map(intent).collect::<Result<Vec<_>, _>>()?;
    query(
        "UPDATE intents SET outcome = NULL, detail = NULL, effect_hash = NULL, effect_block = NULL, effect_time = NULL
         WHERE effect_hash = ?",
    )
    .bind(hash)
    .later(connection);
    for intent in &mut reopened {
        let was = intent.outcome.take();
        intent.detail = None;
        if let Some(incident) = intent.incident {
            let (number, kind) = (block.number, intent.kind.name());
            let text = match was {
                Some(Outcome::Done | Outcome::Observed) => format!(
                    "block {number} was reorganised away and with it the {kind} of the keeper; it is carried out again"
                ),
                _ => format!(
                    "block {number} was reorganised away, on which nothing was left to {kind}; it is looked at again"
                ),
            };
            timeline::entry(
                connection,
                incident,
                &Entry {
                    block: Some(block),
                    ..Entry::new("reorganised", &text)
                },
            )
            .await?;
        }
    }
    Ok(reopened)
}

fn intent(row: &Row) -> Result<Intent, StoreError> {
    let kind: String = row.try_get("kind")?;
    let outcome: Option<String> = row.try_get("outcome")?;
    let rule: i64 = row.try_get("rule")?;
    Ok(Intent {
        id: row.try_get("id")?,
        incident: row.try_get("incident")?,
        kind: IntentKind::from_name(&kind).ok_or(StoreError::Damaged { what: "intent kind" })?,
        rule: if rule < 0 {
            None
        } else {
            Some(small("rule index", rule)?)
        },
        scope: small("scope", row.try_get("scope")?)?,
        level: level(row.try_get("level")?)?,
        duration: small("duration", row.try_get("duration")?)?,
        witness: decode_words(row.try_get("witness")?)?,
        observed: int_from_text(row.try_get("observed")?)?,
        bound: int_from_text(row.try_get("bound")?)?,
        block_number: uint("block number", row.try_get("block_number")?)?,
        block_hash: word("block hash", row.try_get("block_hash")?)?,
        block_time: uint("block timestamp", row.try_get("block_time")?)?,
        decided_ms: row.try_get("decided_ms")?,
        outcome: outcome
            .map(|name| Outcome::from_name(&name).ok_or(StoreError::Damaged { what: "outcome" }))
            .transpose()?,
        detail: row.try_get("detail")?,
    })
}

pub(super) fn level(number: i64) -> Result<Level, StoreError> {
    u8::try_from(number)
        .ok()
        .and_then(Level::from_u8)
        .ok_or(StoreError::Damaged { what: "level" })
}
