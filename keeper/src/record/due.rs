//! Which fallback ladders are due, and how one begins.

use std::cmp::Reverse;

use cordon_core::level::Level;

use super::db::{Connection, query, query_as};
use super::ladder::{Ladder, LadderRule};
use super::timeline::{self, Entry as Line};
use super::{IncidentState, Intent, Outcome, StoreError, intents};

/// Actions of incidents that are not contained as they want, with the fallbacks that are due for each; the strictest first. With `over` those of
/// its scope that are when that ladder has ended, which is climbed for another action.
pub(super) async fn due(
    connection: &mut Connection,
    rules: &[LadderRule],
    (now_ms, over): (i64, Option<&Ladder>),
) -> Result<Vec<(String, Intent)>, StoreError> {
    // Few incidents are open: they come first. An action that was refused is over with the next one for the same, and calls for a fallback once.
    // Another action for the incident says nothing of it: a lesser one may have been carried out.
    let wanting: Vec<(i64,)> = query_as(
        "SELECT i.id FROM incidents n CROSS JOIN intents i
         WHERE i.incident = n.id AND n.state <> 'closed' AND i.kind IN ('trip', 'contain', 'contain-set') AND (i.outcome IS NULL OR (i.outcome = ?
            AND NOT EXISTS (SELECT 1 FROM ladders l WHERE l.intent = i.id AND l.state = 'held')
            AND NOT EXISTS (SELECT 1 FROM intents o WHERE o.incident = i.incident AND o.id > i.id AND o.rule = i.rule
                AND o.scope = i.scope AND o.witness = i.witness AND o.kind IN ('trip', 'contain', 'contain-set')
                AND (i.rule >= 0 OR o.kind = i.kind))))",
    )
    .bind(Outcome::Refused.name())
    .fetch_all(&mut *connection)
    .await?;
    let mut due = Vec::new();
    for (id,) in wanting {
        let Some(intent) = intents::one(connection, id).await? else {
            continue;
        };
        let Some(incident) = intent.incident else { continue };
        if over.is_some_and(|over| over.intent.id == intent.id || over.intent.scope != intent.scope) {
            continue;
        }
        if is_held(connection, incident, intent.level).await? {
            continue;
        }
        let refused = intent.outcome.is_some();
        for rule in rules {
            let is_late = now_ms.saturating_sub(intent.decided_ms) >= rule.deadline_ms;
            let is_its = rule.scopes.is_empty() || rule.scopes.contains(&intent.scope);
            if is_its && (refused || is_late) && !is_climbed(connection, &rule.fallback, &intent, over).await? {
                due.push((rule.fallback.clone(), intent.clone()));
            }
        }
    }
    due.sort_by_key(|(_, intent)| (Reverse(intent.level.rank()), intent.id));
    Ok(due)
}

/// The ladder of a fallback for an incident that is not at its end, and is not the one that is `over`, and the level that it is climbed for.
async fn climbed(
    connection: &mut Connection,
    (incident, fallback): (i64, &str),
    over: Option<&Ladder>,
) -> Result<Option<(i64, Level)>, StoreError> {
    let row: Option<(i64, i64)> = query_as(
        "SELECT l.id, i.level FROM ladders l JOIN intents i ON i.id = l.intent
         WHERE l.incident = ? AND l.fallback = ? AND l.id <> ? AND l.state IN ('climbing', 'exhausted')",
    )
    .bind(incident)
    .bind(fallback)
    .bind(over.map_or(0, |over| over.id))
    .fetch_optional(connection)
    .await?;
    row.map(|(id, level)| Ok((id, intents::level(level)?))).transpose()
}

/// Whether the fallback is tried already for what an action wants, or for more.
async fn is_climbed(
    connection: &mut Connection,
    fallback: &str,
    intent: &Intent,
    over: Option<&Ladder>,
) -> Result<bool, StoreError> {
    let Some(incident) = intent.incident else {
        return Ok(true);
    };
    let climbed = climbed(connection, (incident, fallback), over).await?;
    Ok(climbed.is_some_and(|(_, level)| level.rank() >= intent.level.rank()))
}

/// Whether the incident is over, or the guard holds at least this level for it.
pub(super) async fn is_held(connection: &mut Connection, incident: i64, wanted: Level) -> Result<bool, StoreError> {
    let (state, level): (String, i64) = query_as("SELECT state, level FROM incidents WHERE id = ?")
        .bind(incident)
        .fetch_one(connection)
        .await?;
    let state = IncidentState::from_name(&state).ok_or(StoreError::Damaged { what: "incident state" })?;
    Ok(match state {
        IncidentState::Open => false,
        IncidentState::Contained => intents::level(level)?.rank() >= wanted.rank(),
        IncidentState::Released | IncidentState::Settled | IncidentState::Closed => true,
    })
}

/// Begins a ladder, unless one is climbed for as much or more. One that is climbed for less is superseded: nothing was settled by it.
pub(super) async fn begin(connection: &mut Connection, fallback: &str, intent: &Intent) -> Result<(), StoreError> {
    let Some(incident) = intent.incident else { return Ok(()) };
    let now_ms = connection.now_ms();
    if let Some((lesser, level)) = climbed(connection, (incident, fallback), None).await?
        && level.rank() < intent.level.rank()
    {
        query("UPDATE ladders SET state = 'superseded', ended_ms = ? WHERE id = ?")
            .bind(now_ms)
            .bind(lesser)
            .execute(&mut *connection)
            .await?;
        let text = format!("fallback {fallback}: begun anew: {} is wanted", intent.level.name());
        timeline::entry(connection, incident, &Line::new("fallback", &text)).await?;
    }
    let new = query(
        "INSERT INTO ladders (incident, fallback, intent, state, began_ms) VALUES (?, ?, ?, 'climbing', ?) ON CONFLICT DO NOTHING",
    )
    .bind(incident)
    .bind(fallback)
    .bind(intent.id)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() > 0 {
        let why = match &intent.detail {
            Some(detail) => format!("the keeper's own way is refused: {detail}"),
            None => {
                let seconds = now_ms.saturating_sub(intent.decided_ms) / 1_000;
                format!("the keeper's own way has not worked within {seconds} s")
            }
        };
        let text = format!("fallback {fallback}: begun: {why}");
        timeline::entry(connection, incident, &Line::new("fallback", &text)).await?;
    }
    Ok(())
}
