//! What verdicts and levels of a block mean for incidents that are not closed.

use alloy::primitives::B256;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;

use super::codec::decode_words;
use super::db::{Connection, Row, query, query_as};
use super::incidents::{self, RULEBOOK, close};
use super::{BlockRecord, IncidentState, Names, StoreError, int, owner};
use crate::decide::ScopeReading;

const ANOTHER_RULEBOOK: &str = "another rulebook was adopted before anything was raised: the rule that opened it is judged no more, and what the new rules find breached is told anew";
const BACK_TO_NORMAL: &str = "the scope is back to Normal and nothing the guard did is in force";

/// What is stored of an incident that is not closed.
struct Held {
    id: i64,
    state: String,
    scope: i64,
    rule: Option<i64>,
    witness: Vec<B256>,
    first_bad: i64,
    opened: i64,
    contained: Option<i64>,
    ended: Option<i64>,
    level: Level,
    /// Actions for it that are being carried out, while nothing is raised.
    under_way: i64,
    /// Whether its rule is one of another rulebook than the block's, of which verdicts say nothing.
    is_foreign: bool,
}

impl Held {
    fn of(row: &Row, version: B256) -> Result<Self, StoreError> {
        let own: Option<Vec<u8>> = row.try_get("version")?;
        Ok(Self {
            is_foreign: own.is_some_and(|own| own != version.as_slice()),
            id: row.try_get("id")?,
            state: row.try_get("state")?,
            scope: row.try_get("scope")?,
            rule: row.try_get("rule")?,
            witness: decode_words(row.try_get("witness")?)?,
            first_bad: row.try_get("first_bad_block")?,
            opened: row.try_get("opened_block")?,
            contained: row.try_get("contained_block")?,
            ended: row.try_get("ended_block")?,
            level: super::intents::level(row.try_get("level")?)?,
            under_way: row.try_get("under_way")?,
        })
    }

    fn reading<'a>(&self, record: &BlockRecord<'a>) -> Option<&'a ScopeReading> {
        let scopes = record.scopes?;
        scopes.iter().find(|reading| i64::from(reading.scope) == self.scope)
    }
}

/// Lets a block's verdicts and scopes speak: the first bad block moves back when an older block turns out to be bad, a
/// breach that ended before anything was raised closes its incident, a level that ran out ends its containment, and a level
/// that is raised is one, whatever was heard of it. Nothing ends at a block that is evaluated ahead of its turn: what lies
/// before it may be another branch than the one that is known.
pub(super) async fn follow_verdicts(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    names: &Names,
) -> Result<(), StoreError> {
    let number = int("block number", record.block.number)?;
    // The block that an incident was opened at is kept for as long as the incident. Of a hundred that are contained, and whose levels are what
    // they were, each block would hear nothing new.
    let rows = query(&format!(
        "SELECT i.id, i.state, i.scope, i.rule, i.witness, i.first_bad_block, i.opened_block, i.contained_block, i.ended_block, i.level,
            {RULEBOOK} AS version, CASE WHEN i.state = 'open'
                THEN (SELECT COUNT(*) FROM intents n WHERE n.incident = i.id AND n.outcome IS NULL) ELSE 0 END AS under_way
         FROM incidents i LEFT JOIN blocks b ON b.hash = i.opened_hash WHERE i.state <> 'closed'
            AND (i.state = 'open' OR i.first_bad_block > ?
                OR ? NOT LIKE '%,' || CAST(i.scope AS TEXT) || ':' || CAST(i.level AS TEXT) || ',%')",
    ))
    .bind(number)
    .bind(as_they_were(record.scopes))
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let held = Held::of(&row, record.version)?;
        let verdict = record
            .verdicts
            .iter()
            .filter(|_| !held.is_foreign)
            .find(|v| Some(i64::from(v.rule)) == held.rule && v.witness == held.witness)
            .map(|v| v.reading.verdict);
        if verdict == Some(Verdict::Breached) && number < held.first_bad {
            query("UPDATE incidents SET first_bad_block = ?, first_bad_time = ? WHERE id = ?")
                .bind(number)
                .bind(int("block timestamp", record.block.timestamp)?)
                .bind(held.id)
                .later(connection);
        }
        if held.state == IncidentState::Open.name() {
            follow_open(connection, record, &held, verdict).await?;
        } else {
            follow_contained(connection, record, names, &held).await?;
        }
    }
    Ok(())
}

/// The scopes and their levels, as the question for incidents that have something to hear compares them: `,scope:level,scope:level,`.
fn as_they_were(scopes: Option<&[ScopeReading]>) -> String {
    let mut text = ",".to_owned();
    for reading in scopes.unwrap_or_default() {
        text.push_str(&format!("{}:{},", reading.scope, reading.level as u8));
    }
    text
}

/// Nothing was raised for the incident yet, as far as is known.
async fn follow_open(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    held: &Held,
    verdict: Option<Verdict>,
) -> Result<(), StoreError> {
    let number = int("block number", record.block.number)?;
    if number <= held.opened || held.under_way > 0 {
        return Ok(());
    }
    match held.reading(record) {
        Some(reading) if reading.level.is_raised() => {
            incidents::contain(connection, held.id, reading.level, Some(record.block), 0).await
        }
        _ if verdict == Some(Verdict::Holds) && record.is_next => {
            close(
                connection,
                held.id,
                record.block,
                "the breach ended before anything was raised",
            )
            .await
        }
        // Nothing else would ever end it. What the new rules find breached is told anew.
        _ if held.is_foreign && held.rule.is_some() && record.is_next && is_judged(record) => {
            close(connection, held.id, record.block, ANOTHER_RULEBOOK).await
        }
        _ => Ok(()),
    }
}

/// Whether the block's rulebook is the one that judges: before the guard has it, all its rules are `Unknown`.
fn is_judged(record: &BlockRecord<'_>) -> bool {
    let mut verdicts = record.verdicts.iter();
    verdicts.any(|v| v.reading.verdict != Verdict::Unknown)
}

/// The level was raised for the incident; it may be over.
async fn follow_contained(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    names: &Names,
    held: &Held,
) -> Result<(), StoreError> {
    let number = int("block number", record.block.number)?;
    if record.scopes.is_none() || number <= held.contained.unwrap_or(held.opened) {
        return Ok(());
    }
    match held.reading(record) {
        None if record.is_next => close(connection, held.id, record.block, BACK_TO_NORMAL).await,
        Some(reading) if record.is_next && reading.level.rank() < held.level.rank() => {
            super::events::stepped_down(connection, names, held.id, reading, record.block).await
        }
        // A reorg took back what had lowered it, or the event that raised it was not served.
        Some(reading)
            if reading.level.is_raised()
                && reading.level.rank() > held.level.rank()
                && held.ended.is_none_or(|ended| number > ended) =>
        {
            incidents::contain(connection, held.id, reading.level, Some(record.block), 0).await
        }
        None | Some(_) => Ok(()),
    }
}

/// Opens an incident for every scope that is raised and has none: the record of a keeper that is new, or was not served the
/// event. One that ended later than this block is told of already.
pub(super) async fn find_raised(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    names: &Names,
) -> Result<(), StoreError> {
    let raised = record.scopes.unwrap_or_default().iter();
    let raised: Vec<&ScopeReading> = raised.filter(|reading| reading.level.is_raised()).collect();
    if raised.is_empty() {
        return Ok(());
    }
    let told: Vec<(i64,)> = query_as(
        "SELECT scope FROM incidents WHERE state <> 'closed'
         UNION SELECT scope FROM incidents WHERE ended_block >= ? AND ended_hash IS NOT NULL",
    )
    .bind(int("block number", record.block.number)?)
    .fetch_all(&mut *connection)
    .await?;
    for reading in raised {
        if told.contains(&(i64::from(reading.scope),)) {
            continue;
        }
        let why = format!(
            "{} is {}; the keeper has not seen who raised it",
            names.scope(reading.scope),
            reading.level.name()
        );
        let id = owner::open_unasked(connection, names, reading.scope, record.block, why).await?;
        incidents::contain(connection, id, reading.level, Some(record.block), 0).await?;
    }
    Ok(())
}
