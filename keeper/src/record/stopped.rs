//! Calls that a hook stopped, as incidents of their own: over as soon as they began, because the hook has held. They cost an
//! attacker cents, so that many of them are one incident.

use cordon_client::config::Severity;

use super::codec::{encode_words, int_text};
use super::db::{Connection, query_as};
use super::notices::tell_incident;
use super::timeline::{self, Entry};
use super::{IncidentState, Names, NoticeKind, StoreError, int};
use crate::chain::BlockRef;
use crate::rules::StoppedCall;

/// Kind of the timeline's lines.
const KIND: &str = "stopped";
/// Attempts on a rule within so many seconds are one incident.
const TOGETHER: u64 = 3_600;
/// Lines that an incident's timeline gets of them; the rest is not written.
const LINES: i64 = 50;

/// Notes a stopped call; answers the incident that it belongs to, or `None` when it is known, or one of too many.
pub(super) async fn note(
    connection: &mut Connection,
    names: &Names,
    block: &BlockRef,
    call: &StoppedCall,
) -> Result<Option<i64>, StoreError> {
    let mark = format!("stopped:{}", call.tx);
    let known: Option<(i64,)> = query_as("SELECT incident FROM timeline WHERE mark = ?")
        .bind(&mark)
        .fetch_optional(&mut *connection)
        .await?;
    if known.is_some() {
        return Ok(None);
    }
    let id = match of_rule(connection, block, call).await? {
        Some((_, lines)) if lines >= LINES => return Ok(None),
        Some((id, _)) => id,
        None => open(connection, names, block, call).await?,
    };
    let to = call.to.map_or_else(|| "a new contract".to_owned(), |to| to.to_string());
    let text = format!(
        "a call of {} to {to} was reverted by the hook: {} would have been breached, observed {}, bound {}",
        call.from,
        names.rule(call.rule),
        int_text(call.observed),
        int_text(call.bound)
    );
    let entry = Entry {
        block: Some(block),
        tx: Some(call.tx),
        mark: Some(mark),
        ..Entry::new(KIND, &text)
    };
    timeline::entry(connection, id, &entry).await?;
    Ok(Some(id))
}

/// The incident of earlier attempts on the rule, with the number of its lines.
async fn of_rule(
    connection: &mut Connection,
    block: &BlockRef,
    call: &StoppedCall,
) -> Result<Option<(i64, i64)>, StoreError> {
    let row = query_as(
        "SELECT i.id, COUNT(*) FROM incidents i JOIN timeline t ON t.incident = i.id
         WHERE t.kind = ? AND i.rule = ? AND i.opened_time >= ? GROUP BY i.id ORDER BY i.id DESC LIMIT 1",
    )
    .bind(KIND)
    .bind(i64::from(call.rule))
    .bind(int("block timestamp", block.timestamp.saturating_sub(TOGETHER))?)
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

async fn open(
    connection: &mut Connection,
    names: &Names,
    block: &BlockRef,
    call: &StoppedCall,
) -> Result<i64, StoreError> {
    let number = int("block number", block.number)?;
    let time = int("block timestamp", block.timestamp)?;
    // No hash of an end: a reorg that takes the transaction back opens nothing again.
    let (id,): (i64,) = query_as(
        "INSERT INTO incidents (scope, scope_name, severity, state, rule, rule_name, witness, observed, bound, opened_ms,
            opened_block, opened_hash, opened_time, first_bad_block, first_bad_time, ended_block, ended_time, channels,
            configuration)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT MAX(number) FROM configurations)) RETURNING id",
    )
    .bind(i64::from(call.scope))
    .bind(names.scope(call.scope))
    .bind(Severity::P3.name())
    .bind(IncidentState::Closed.name())
    .bind(i64::from(call.rule))
    .bind(names.rule(call.rule))
    .bind(encode_words(&[]))
    .bind(int_text(call.observed))
    .bind(int_text(call.bound))
    .bind(connection.now_ms())
    .bind(number)
    .bind(block.hash.to_vec())
    .bind(time)
    .bind(number)
    .bind(time)
    .bind(number)
    .bind(time)
    .bind(super::route_text(names.route(call.rule)))
    .fetch_one(&mut *connection)
    .await?;
    let text = format!(
        "the hook reverted a call that would have breached {}; nothing was closed",
        names.rule(call.rule)
    );
    let mark = (format!("incident:{id}:stopped"), 0);
    tell_incident(connection, id, NoticeKind::Stopped, &text, Some(block.number), mark)?;
    Ok(id)
}
