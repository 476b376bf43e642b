//! Whose an event of the guard is: the incident that it belongs to.

use cordon_client::config::Severity;

use super::db::{Connection, query, query_as};
use super::incidents::{self, Opening};
use super::notices::{forget_containment, tell_incident};
use super::timeline::{self, Entry};
use super::{Names, NoticeKind, StoreError, int};
use crate::chain::BlockRef;
use crate::rules::{GuardEvent, GuardEventKind as Kind};

/// The incident that an event belongs to: by the guard's number; else the one of its scope that is not closed; else, when a
/// level is raised, one that was closed later than that, that of our transaction, or a new one when somebody else raised it.
pub(super) async fn of_event(
    connection: &mut Connection,
    names: &Names,
    block: &BlockRef,
    event: &GuardEvent,
) -> Result<Option<i64>, StoreError> {
    let number = event.incident();
    if let Some(number) = number {
        let held: Option<(i64,)> =
            query_as("SELECT id FROM incidents WHERE chain_incident = ? ORDER BY id DESC LIMIT 1")
                .bind(int("incident number", number)?)
                .fetch_optional(&mut *connection)
                .await?;
        if let Some((id,)) = held {
            return Ok(Some(id));
        }
    }
    let Some(scope) = event.scope() else { return Ok(None) };
    let raises = matches!(&event.kind, Kind::Raised { .. } | Kind::Opened { .. });
    let id = match incidents::of_scope(connection, scope).await? {
        Some(id) => id,
        None if !raises => return Ok(None),
        None => match closed_owner(connection, block, event, scope).await? {
            Some(id) => id,
            None => {
                let by = format!(
                    "the level of {} was raised by an account, not by a rule",
                    names.scope(scope)
                );
                open_unasked(connection, names, scope, block, by).await?
            }
        },
    };
    if let Some(number) = number {
        // The newest incident of the guard is the one that its later events name.
        query(
            "UPDATE incidents SET chain_incident = ?1, chain_hash = ?2
             WHERE id = ?3 AND (chain_incident IS NULL OR chain_incident < ?1)",
        )
        .bind(int("incident number", number)?)
        .bind(block.hash.to_vec())
        .bind(id)
        .later(connection);
    }
    Ok(Some(id))
}

/// The closed incident of the scope that lasted when this block came, or whose intent a transaction of ours carries out.
async fn closed_owner(
    connection: &mut Connection,
    block: &BlockRef,
    event: &GuardEvent,
    scope: u8,
) -> Result<Option<i64>, StoreError> {
    let number = int("block number", block.number)?;
    let row: Option<(i64,)> = query_as(
        "SELECT id FROM incidents WHERE scope = ?1 AND ended_hash IS NOT NULL AND opened_block <= ?2 AND ended_block >= ?2
         UNION SELECT c.id FROM transactions t JOIN intents i ON i.id = t.intent JOIN incidents c ON c.id = i.incident
         WHERE t.hash = ?3 AND c.scope = ?1 ORDER BY id DESC LIMIT 1",
    )
    .bind(i64::from(scope))
    .bind(number)
    .bind(event.tx.to_vec())
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(id,)| id))
}

/// An incident that no rule of ours opened.
pub(super) async fn open_unasked(
    connection: &mut Connection,
    names: &Names,
    scope: u8,
    block: &BlockRef,
    why: String,
) -> Result<i64, StoreError> {
    let opening = Opening {
        scope,
        scope_name: names.scope(scope),
        severity: Severity::P2,
        block,
        decision: None,
        why: Some(why),
        channels: &[],
    };
    incidents::open(connection, &opening).await
}

/// Lets an incident that was closed at a lower block go on: the guard has raised its level since. What lies before the close
/// is history, whenever it is read.
pub(super) async fn go_on(connection: &mut Connection, id: i64, block: &BlockRef) -> Result<(), StoreError> {
    let again = query(
        "UPDATE incidents SET state = 'open', ended_block = NULL, ended_hash = NULL, ended_time = NULL
         WHERE id = ? AND state = 'closed' AND ended_block < ?",
    )
    .bind(id)
    .bind(int("block number", block.number)?)
    .execute(&mut *connection)
    .await?;
    if again.rows_affected() == 0 {
        return Ok(());
    }
    let text = format!(
        "the guard raised the level in block {}, after the incident had been closed: it goes on",
        block.number
    );
    forget_containment(connection, id);
    let told = (format!("incident:{id}:opened:{}", block.hash), 0);
    tell_incident(connection, id, NoticeKind::Opened, &text, Some(block.number), told)?;
    let entry = Entry {
        block: Some(block),
        ..Entry::new("reopened", &text)
    };
    timeline::entry(connection, id, &entry).await?;
    Ok(())
}
