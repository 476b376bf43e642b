//! What watches found: stored with the block, told once, taken back when the block vanishes.

use alloy::primitives::B256;
use cordon_client::config::Finality;
use serde_json::json;

use super::alarms::{self, AlarmKind, OpenAlarms};
use super::db::{Connection, QueryAs, query, query_as};
use super::{NoticeKind, Step, Store, StoreError, int, uint};
use crate::chain::BlockRef;
use crate::rules::{Pending, Sighting, Sightings, Unwatched};

/// Subject of the alarm that the mempool is not seen.
pub(crate) const MEMPOOL: &str = "pending transactions";

/// A sighting as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSighting {
    /// Number in the record.
    pub id: i64,
    /// Name of the watch.
    pub watch: String,
    /// Height of the block; of the newest one then for a pending transaction.
    pub block_number: u64,
    /// What tells it from others of the watch in the block.
    pub key: String,
    /// The sentence for people.
    pub text: String,
    /// Whether its block is part of the chain.
    pub canonical: bool,
    /// `waiting` for finality, `told`, `seen` (acknowledged), `retracted`, or `quiet` (in shadow, maintenance or cooldown).
    pub state: String,
}

/// Stores what the watches found in a block. At one that is evaluated ahead of its turn nothing is known of what was so before: the blocks
/// between may show when it began.
pub(super) async fn note(
    connection: &mut Connection,
    block: &BlockRef,
    is_next: bool,
    sightings: &Sightings,
    standing: &[Standing],
) -> Result<(), StoreError> {
    if is_next {
        end_standing(connection, sightings, standing);
    }
    for sighting in sightings.found.iter().filter(|sighting| is_next || !sighting.standing) {
        insert(connection, block, &block.hash.0, sighting).await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut Connection,
    block: &BlockRef,
    hash: &[u8],
    sighting: &Sighting,
) -> Result<bool, StoreError> {
    let known: Option<(i64, bool, String)> =
        query_as("SELECT id, canonical, state FROM sightings WHERE block_hash = ? AND watch = ? AND key = ?")
            .bind(hash.to_vec())
            .bind(&sighting.watch)
            .bind(&sighting.key)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((id, canonical, state)) = known {
        if !canonical {
            query("UPDATE sightings SET canonical = 1 WHERE id = ?")
                .bind(id)
                .later(connection);
            if state == "retracted" {
                // The block is back: so is what was seen in it.
                tell(connection, id, NoticeKind::Seen);
            }
            if state != "quiet" {
                note_standing(connection, hash, sighting);
            }
        }
        return Ok(false);
    }
    if sighting.standing && is_known(connection, sighting).await? {
        return Ok(false);
    }
    let state = if sighting.silent || is_cooling(connection, block, sighting).await? {
        "quiet"
    } else {
        "waiting"
    };
    if state == "waiting" {
        note_standing(connection, hash, sighting);
    } else if sighting.standing && is_stored(connection, sighting).await? {
        // It is told when it may be, if it is so then; until then a row for each block would say nothing.
        return Ok(false);
    }
    let at_ms = connection.now_ms();
    let facts = json!({
        "block": block.number,
        "block_hash": alloy::hex::encode_prefixed(hash),
        "tx": sighting.tx,
        "key": sighting.key,
        "found": sighting.facts,
    });
    let (id,): (i64,) = query_as(
        "INSERT INTO sightings (watch, block_hash, block_number, block_time, key, severity, finality, tx, text, facts,
            canonical, state, at_ms, channels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?) RETURNING id",
    )
    .bind(&sighting.watch)
    .bind(hash.to_vec())
    .bind(int("block number", block.number)?)
    .bind(int("block timestamp", block.timestamp)?)
    .bind(&sighting.key)
    .bind(sighting.severity.name())
    .bind(sighting.finality.name())
    .bind(sighting.tx.map(|tx| tx.to_vec()))
    .bind(&sighting.text)
    .bind(facts.to_string())
    .bind(state)
    .bind(at_ms)
    .bind(super::route_text(&sighting.channels))
    .fetch_one(&mut *connection)
    .await?;
    if state == "waiting" && sighting.finality == Finality::Latest {
        tell(connection, id, NoticeKind::Seen);
    }
    Ok(true)
}

/// What was told and has been so since: its watch, and its key.
pub(super) type Standing = (String, String);

pub(super) fn standing() -> QueryAs<Standing> {
    query_as("SELECT watch, key FROM standing")
}

/// Forgets what was told and is so no more: a watch that looked did not find it. What comes again is told again.
fn end_standing(connection: &mut Connection, sightings: &Sightings, standing: &[Standing]) {
    for (watch, key) in standing.iter().filter(|(watch, key)| sightings.has_ended(watch, key)) {
        query("DELETE FROM standing WHERE watch = ? AND key = ?")
            .bind(watch)
            .bind(key)
            .later(connection);
    }
}

/// Notes that what lasts was told in a block.
fn note_standing(connection: &mut Connection, hash: &[u8], sighting: &Sighting) {
    if !sighting.lasts() {
        return;
    }
    query("INSERT INTO standing (watch, key, block_hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(&sighting.watch)
        .bind(&sighting.key)
        .bind(hash.to_vec())
        .later(connection);
}

/// Whether the record has seen this of the watch in some block of the chain.
async fn is_stored(connection: &mut Connection, sighting: &Sighting) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = query_as("SELECT 1 FROM sightings WHERE watch = ? AND key = ? AND canonical = 1 LIMIT 1")
        .bind(&sighting.watch)
        .bind(&sighting.key)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Whether this was told, and has been so since.
async fn is_known(connection: &mut Connection, sighting: &Sighting) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = query_as("SELECT 1 FROM standing WHERE watch = ? AND key = ?")
        .bind(&sighting.watch)
        .bind(&sighting.key)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Whether the watch spoke within its cooldown before this block. What is still waiting for finality counts as spoken.
async fn is_cooling(connection: &mut Connection, block: &BlockRef, sighting: &Sighting) -> Result<bool, StoreError> {
    if sighting.cooldown == 0 {
        return Ok(false);
    }
    let since = block.timestamp.saturating_sub(u64::from(sighting.cooldown));
    let row: Option<(i64,)> = query_as(
        "SELECT 1 FROM sightings WHERE watch = ? AND block_time > ? AND block_time <= ? AND canonical = 1
         AND state IN ('waiting', 'told', 'seen') LIMIT 1",
    )
    .bind(&sighting.watch)
    .bind(int("block timestamp", since)?)
    .bind(int("block timestamp", block.timestamp)?)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Writes the notice of a sighting, or that it is taken back.
fn tell(connection: &mut Connection, id: i64, kind: NoticeKind) {
    let state = if kind == NoticeKind::Seen { "told" } else { "retracted" };
    query("UPDATE sightings SET state = ?, told = told + 1 WHERE id = ?")
        .bind(state)
        .bind(id)
        .later(connection);
    let prefix = if kind == NoticeKind::Seen {
        ""
    } else {
        "reorganised away: "
    };
    let now = connection.now_ms();
    query(
        "INSERT INTO notices (mark, topic, kind, severity, subject, text, block_number, ends, at_ms, due_ms, facts, channels)
         SELECT 'sighting:' || id || ':' || told, 'watch:' || watch, ?2, severity, watch, ?3 || text, block_number, 0, ?4, ?4,
            facts, channels
         FROM sightings WHERE id = ?1 ON CONFLICT (mark) DO NOTHING",
    )
    .bind(id)
    .bind(kind.name())
    .bind(prefix)
    .bind(now)
    .later(connection);
    if kind == NoticeKind::Seen {
        // What is new has nobody's care yet.
        query("DELETE FROM acknowledgements WHERE topic = (SELECT 'watch:' || watch FROM sightings WHERE id = ?)")
            .bind(id)
            .later(connection);
    }
}

/// Takes back what was found in a block that is canonical no more.
pub(super) async fn revert(connection: &mut Connection, hash: B256) -> Result<(), StoreError> {
    let told: Vec<(i64,)> =
        query_as("SELECT id FROM sightings WHERE block_hash = ? AND canonical = 1 AND state IN ('told', 'seen')")
            .bind(hash.to_vec())
            .fetch_all(&mut *connection)
            .await?;
    for (id,) in told {
        tell(connection, id, NoticeKind::Retracted);
    }
    query("UPDATE sightings SET canonical = 0 WHERE block_hash = ?")
        .bind(hash.to_vec())
        .later(connection);
    query("DELETE FROM standing WHERE block_hash = ?")
        .bind(hash.to_vec())
        .later(connection);
    Ok(())
}

/// Marks what was told of a watch as seen by somebody.
pub(super) fn seen(connection: &mut Connection, topic: &str) {
    if let Some(watch) = topic.strip_prefix("watch:") {
        query("UPDATE sightings SET state = 'seen' WHERE watch = ? AND state = 'told'")
            .bind(watch)
            .later(connection);
    }
}

/// Raises the alarm of every watch that could not be looked at in a block and clears that of all others, unless the block was taken before its turn.
pub(super) async fn update_unwatched(
    connection: &mut Connection,
    (block, is_next): (&BlockRef, bool),
    unwatched: &[Unwatched],
    open: &OpenAlarms,
) -> Result<(), StoreError> {
    const KIND: AlarmKind = AlarmKind::WatchUnknown;
    for Unwatched { watch, reason } in unwatched {
        let text = format!("the watch {watch} could not look at block {}: {reason}", block.number);
        alarms::raise(connection, KIND, watch, &text, Some(block.number)).await?;
    }
    if !is_next {
        return Ok(());
    }
    for subject in open.subjects(KIND) {
        // The mempool's alarm is not a block's to clear.
        if subject != MEMPOOL && !unwatched.iter().any(|held| held.watch == subject) {
            alarms::clear(connection, KIND, subject).await?;
        }
    }
    Ok(())
}

/// What waits for this finality in blocks up to `height`.
async fn due(connection: &mut Connection, finality: Finality, height: u64) -> Result<Vec<(i64,)>, StoreError> {
    query_as(
        "SELECT id FROM sightings WHERE state = 'waiting' AND finality = ? AND block_number <= ? AND canonical = 1
         ORDER BY id",
    )
    .bind(finality.name())
    .bind(int("block number", height)?)
    .fetch_all(connection)
    .await
}

impl Store {
    /// Tells what was found in blocks up to `height` by watches that waited for this finality. Answers how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn release_sightings(&self, finality: Finality, height: u64) -> Result<usize, StoreError> {
        // Asked every second, and mostly in vain: that must not cost the write lock.
        if due(&mut self.pool.acquire().await?, finality, height).await?.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let due = due(&mut tx, finality, height).await?;
        for (id,) in &due {
            tell(&mut tx, *id, NoticeKind::Seen);
        }
        tx.commit(Step::Release).await?;
        if !due.is_empty() {
            self.news();
        }
        Ok(due.len())
    }

    /// Whether anything waits for this finality.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn awaits(&self, finality: Finality) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            query_as("SELECT 1 FROM sightings WHERE state = 'waiting' AND finality = ? AND canonical = 1 LIMIT 1")
                .bind(finality.name())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.is_some())
    }

    /// Stores what a watch found in the mempool. `false` when it is known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note_pending(&self, pending: &Pending) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let new = insert(&mut tx, &pending.block, &[], &pending.sighting).await?;
        tx.commit(Step::Pending).await?;
        if new {
            self.news();
        }
        Ok(new)
    }

    /// The newest sightings, newest first, at most `most`; of one watch when it is named.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sightings(&self, watch: Option<&str>, most: u32) -> Result<Vec<StoredSighting>, StoreError> {
        type Row = (i64, String, i64, String, String, bool, String);
        let rows: Vec<Row> = query_as(
            "SELECT id, watch, block_number, key, text, canonical, state FROM sightings
             WHERE watch = ?1 OR ?1 = '' ORDER BY id DESC LIMIT ?2",
        )
        .bind(watch.unwrap_or_default())
        .bind(i64::from(most))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, watch, number, key, text, canonical, state)| {
                Ok(StoredSighting {
                    id,
                    watch,
                    block_number: uint("block number", number)?,
                    key,
                    text,
                    canonical,
                    state,
                })
            })
            .collect()
    }
}
