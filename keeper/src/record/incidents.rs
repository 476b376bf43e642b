//! Incidents: opened at detection, carried on by what the chain and the keeper do, closed when the scope is normal again.

use alloy::primitives::B256;
use cordon_client::config::Severity;
use cordon_core::level::Level;

use super::codec::{decode_words, encode_words, int_text};
use super::db::{Connection, QueryAs, query, query_as};
use super::intents::Confirmation;
use super::notices::tell_incident;
use super::timeline::{Entry, entry};
use super::{IncidentState, Intent, IntentKind, Names, NoticeKind, Outcome, Step, Store, StoreError, int, route_text};
use crate::chain::BlockRef;
use crate::decide::Decision;

/// The incident of a scope that is not closed.
pub(super) async fn of_scope(connection: &mut Connection, scope: u8) -> Result<Option<i64>, StoreError> {
    Ok(held(scope).fetch_optional(connection).await?.map(|(id,)| id))
}

/// See [`of_scope`].
pub(super) fn held(scope: u8) -> QueryAs<(i64,)> {
    query_as("SELECT id FROM incidents WHERE scope = ? AND state <> 'closed' ORDER BY id DESC LIMIT 1")
        .bind(i64::from(scope))
}

/// What a new incident begins with.
pub(super) struct Opening<'a> {
    pub(super) scope: u8,
    pub(super) scope_name: String,
    pub(super) severity: Severity,
    pub(super) block: &'a BlockRef,
    pub(super) decision: Option<(&'a Decision, String)>,
    /// What people are told when no decision opens it.
    pub(super) why: Option<String>,
    /// Channels that are told of it; those that want the severity when there are none.
    pub(super) channels: &'a [String],
}

impl<'a> Opening<'a> {
    /// What an incident begins with that a decision opens.
    pub(super) fn of(block: &'a BlockRef, decision: &'a Decision, names: &'a Names) -> Self {
        Self {
            scope: decision.scope,
            scope_name: names.scope(decision.scope),
            severity: decision.severity,
            block,
            decision: Some((decision, names.rule(decision.rule))),
            why: None,
            channels: names.route(decision.rule),
        }
    }
}

pub(super) async fn open(connection: &mut Connection, opening: &Opening<'_>) -> Result<i64, StoreError> {
    let (id,) = insertion(opening, connection.now_ms())?
        .fetch_one(&mut *connection)
        .await?;
    tell_opened(connection, id, opening)?;
    Ok(id)
}

/// Answers the number of a new incident.
pub(super) fn insertion(opening: &Opening<'_>, now_ms: i64) -> Result<QueryAs<(i64,)>, StoreError> {
    let decision = opening.decision.as_ref();
    let number = int("block number", opening.block.number)?;
    let time = int("block timestamp", opening.block.timestamp)?;
    let query = query_as(
        "INSERT INTO incidents (scope, scope_name, severity, state, rule, rule_name, witness, observed, bound, opened_ms,
            opened_block, opened_hash, opened_time, first_bad_block, first_bad_time, channels, configuration)
         VALUES (?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT MAX(number) FROM configurations)) RETURNING id",
    );
    Ok(query
        .bind(i64::from(opening.scope))
        .bind(&opening.scope_name)
        .bind(opening.severity.name())
        .bind(decision.map(|(decision, _)| i64::from(decision.rule)))
        .bind(decision.map(|(_, name)| name.as_str()))
        .bind(decision.map_or_else(Vec::new, |(decision, _)| encode_words(&decision.witness)))
        .bind(decision.map(|(decision, _)| int_text(decision.reading.observed)))
        .bind(decision.map(|(decision, _)| int_text(decision.reading.bound)))
        .bind(now_ms)
        .bind(number)
        .bind(opening.block.hash.to_vec())
        .bind(time)
        .bind(number)
        .bind(time)
        .bind(route_text(opening.channels)))
}

/// Tells people of a new incident.
pub(super) fn tell_opened(connection: &mut Connection, id: i64, opening: &Opening<'_>) -> Result<(), StoreError> {
    let text = match &opening.decision {
        Some((decision, name)) => breach_text(decision, name, opening.block.number),
        None => opening.why.clone().unwrap_or_default(),
    };
    let mark = (format!("incident:{id}:opened"), 0);
    let block = Some(opening.block.number);
    tell_incident(connection, id, NoticeKind::Opened, &text, block, mark)
}

pub(super) fn breach_text(decision: &Decision, name: &str, block: u64) -> String {
    format!(
        "rule {name} breached at block {block}: observed {}, bound {}",
        int_text(decision.reading.observed),
        int_text(decision.reading.bound)
    )
}

pub(super) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Closes an incident and whatever it still held closed.
pub(super) async fn close(connection: &mut Connection, id: i64, block: &BlockRef, why: &str) -> Result<(), StoreError> {
    let (was,): (String,) = query_as("SELECT state FROM incidents WHERE id = ?")
        .bind(id)
        .fetch_one(&mut *connection)
        .await?;
    if was != IncidentState::Closed.name() {
        let told = (format!("incident:{id}:closed:{}", block.hash), 0);
        tell_incident(connection, id, NoticeKind::Closed, why, Some(block.number), told)?;
    }
    set_state(connection, id, IncidentState::Closed);
    end(connection, id, block)?;
    end_closures(connection, id, None, block)?;
    let mark = Some(format!("closed:{id}:{}", block.hash));
    entry(
        connection,
        id,
        &Entry {
            block: Some(block),
            mark,
            ..Entry::new("closed", why)
        },
    )
    .await?;
    Ok(())
}

/// Notes the block that ended the containment, if none is noted.
pub(super) fn end(connection: &mut Connection, id: i64, block: &BlockRef) -> Result<(), StoreError> {
    query("UPDATE incidents SET ended_block = ?, ended_hash = ?, ended_time = ? WHERE id = ? AND ended_block IS NULL")
        .bind(int("block number", block.number)?)
        .bind(block.hash.to_vec())
        .bind(int("block timestamp", block.timestamp)?)
        .bind(id)
        .later(connection);
    Ok(())
}

pub(super) fn set_state(connection: &mut Connection, id: i64, state: IncidentState) {
    query("UPDATE incidents SET state = ? WHERE id = ?")
        .bind(state.name())
        .bind(id)
        .later(connection);
}

/// Time for a block's events to be stored, so that a message can say what is closed, in milliseconds.
const STORY: i64 = 3_000;

/// Notes that the guard holds `level` since `block`. An incident that had ended goes on. People are told after `wait_ms`, or
/// when it is noted again with less.
pub(super) async fn contain(
    connection: &mut Connection,
    id: i64,
    level: Level,
    block: Option<&BlockRef>,
    wait_ms: i64,
) -> Result<(), StoreError> {
    let lives: Option<(String,)> = query_as("SELECT scope_name FROM incidents WHERE id = ? AND state <> 'closed'")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some((scope,)) = lives else {
        // A block that is read late tells of what is over.
        return Ok(());
    };
    query(
        "UPDATE incidents SET state = 'contained', level = ?, ended_block = NULL, ended_hash = NULL, ended_time = NULL
         WHERE id = ?",
    )
    .bind(i64::from(level as u8))
    .bind(id)
    .later(connection);
    let text = format!("{scope} is {}", level.name());
    let told = (format!("incident:{id}:contained:{}", level.name()), wait_ms);
    let number = block.map(|block| block.number);
    tell_incident(connection, id, NoticeKind::Contained, &text, number, told)?;
    let Some(block) = block else { return Ok(()) };
    let number = int("block number", block.number)?;
    query(
        "UPDATE incidents SET contained_block = ?1, contained_hash = ?2, contained_time = ?3
         WHERE id = ?4 AND (contained_block IS NULL OR contained_block > ?1)",
    )
    .bind(number)
    .bind(block.hash.to_vec())
    .bind(int("block timestamp", block.timestamp)?)
    .bind(id)
    .later(connection);
    Ok(())
}

/// Ends the closures of an incident that still last: all of them, or those of one cause.
pub(super) fn end_closures(
    connection: &mut Connection,
    id: i64,
    cause: Option<&str>,
    block: &BlockRef,
) -> Result<(), StoreError> {
    query(
        "UPDATE closures SET to_block = ?1, to_hash = ?2, to_time = ?3
         WHERE incident = ?4 AND to_block IS NULL AND (?5 IS NULL OR cause = ?5)",
    )
    .bind(int("block number", block.number)?)
    .bind(block.hash.to_vec())
    .bind(int("block timestamp", block.timestamp)?)
    .bind(id)
    .bind(cause)
    .later(connection);
    Ok(())
}

/// Writes the end of an intent into its incident.
pub(super) async fn finish_intent(
    connection: &mut Connection,
    id: i64,
    intent: &Intent,
    end: &Confirmation,
) -> Result<(), StoreError> {
    let raises = matches!(intent.kind, IntentKind::Trip | IntentKind::Contain);
    let block = end.block();
    let tx = end.included.as_ref().map(|(hash, _, _, _)| *hash);
    if raises && end.outcome == Outcome::Done {
        contain(connection, id, intent.level, block, STORY).await?;
        query(
            "UPDATE incidents SET decision_to_broadcast = COALESCE(decision_to_broadcast, ?),
                broadcast_to_contained = COALESCE(broadcast_to_contained, ?) WHERE id = ?",
        )
        .bind(end.decision_to_broadcast.map(micros))
        .bind(end.broadcast_to_contained.map(micros))
        .bind(id)
        .later(connection);
    } else if raises && end.outcome == Outcome::AlreadyHeld {
        contain(connection, id, intent.level, end.judged_at.as_ref(), STORY).await?;
    }
    let kind = match (end.outcome, raises) {
        (Outcome::Done, true) => "contained",
        (outcome, _) => outcome.name(),
    };
    entry(
        connection,
        id,
        &Entry {
            block,
            tx,
            ..Entry::new(kind, &end.detail)
        },
    )
    .await?;
    Ok(())
}

impl Store {
    /// Adds a line to an incident's timeline: what people decided, said or did.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note(&self, incident: i64, kind: &str, text: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        entry(&mut tx, incident, &Entry::new(kind, text)).await?;
        tx.commit(Step::Note).await
    }

    /// Scope, and rule with witness when one opened it, of every incident that is not closed: all of them are read at
    /// every block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn watched(&self) -> Result<Vec<OpenIncident>, StoreError> {
        watched_of(watched().fetch_all(&self.pool).await?)
    }
}

/// Code hash of the rulebook that the rule of an incident `i` has its number in, where `b` is the block that it was opened at: the one that it was
/// decided by there, if anything was. The block may be evaluated once more by another one, should the process end before it is done.
pub(super) const RULEBOOK: &str =
    "COALESCE((SELECT n.version FROM intents n WHERE n.incident = i.id AND n.rule + 0 = i.rule
    AND n.block_hash = i.opened_hash ORDER BY n.id + 0 LIMIT 1), b.version)";

type WatchedRow = (i64, i64, Option<i64>, Vec<u8>, Option<i64>);

/// See [`Store::watched`].
pub(super) fn watched() -> QueryAs<WatchedRow> {
    // A rule of another rulebook is none that can be evaluated: its number is another rule's now.
    query_as(&format!(
        "SELECT i.id, i.scope, CASE WHEN r.version <> {RULEBOOK} THEN NULL ELSE i.rule END, i.witness, i.chain_incident
         FROM incidents i LEFT JOIN blocks b ON b.hash = i.opened_hash LEFT JOIN rulebook r ON r.id = 1
         WHERE i.state <> 'closed'"
    ))
}

pub(super) fn watched_of(rows: Vec<WatchedRow>) -> Result<Vec<OpenIncident>, StoreError> {
    rows.into_iter()
        .map(|(id, scope, rule, words, number)| {
            Ok(OpenIncident {
                id,
                scope: super::small("scope", scope)?,
                rule: rule.map(|rule| super::small("rule index", rule)).transpose()?,
                witness: decode_words(&words)?,
                chain_incident: number
                    .map(|number| super::uint("incident number", number))
                    .transpose()?,
            })
        })
        .collect()
}

/// What an incident that is not closed asks to be read at every block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIncident {
    /// Number in the record.
    pub id: i64,
    /// Scope.
    pub scope: u8,
    /// Rule that opened it.
    pub rule: Option<u16>,
    /// Witness of the rule.
    pub witness: Vec<B256>,
    /// The guard's number for it.
    pub chain_incident: Option<u64>,
}
