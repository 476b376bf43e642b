//! Fallback ladders in the record: begun once, each rung once, whatever crashes in between.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cordon_core::level::Level;

use super::alarms::{self, AlarmKind};
use super::db::{Connection, Row, query, query_as};
use super::timeline::{self, Entry as Line};
use super::{Ground, IncidentState, Intent, Outcome, Step, Store, StoreError, intents};
use crate::decide::ladder::{Rung, RungState, RungStatus};
use crate::turns::Urgency;

/// A ladder that is being climbed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// Number in the record.
    pub id: i64,
    /// The incident.
    pub incident: i64,
    /// Name of the fallback.
    pub fallback: String,
    /// What the keeper could not do.
    pub intent: Intent,
    /// The rungs that were begun, in order.
    pub rungs: Vec<RungState>,
    /// Whether the incident is contained as the action wants, or over; or the action is, without an effect.
    pub held: bool,
}

/// Whom a fallback is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderRule {
    /// Name of the fallback.
    pub fallback: String,
    /// Scopes; all when empty.
    pub scopes: Vec<u8>,
    /// Milliseconds that the keeper has by itself.
    pub deadline_ms: i64,
}

impl Store {
    /// Actions that are refused for good, or not carried out in time, with the fallbacks that are due for each; of each incident the strictest
    /// first. Not those whose level is held, nor those whose breach was found no more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due_ladders(&self, rules: &[LadderRule]) -> Result<Vec<(String, Intent)>, StoreError> {
        let mut due = {
            let mut connection = self.pool.acquire().await?;
            due(&mut connection, rules, self.now_ms()).await?
        };
        let mut grounds: BTreeMap<i64, Ground> = BTreeMap::new();
        for (_, intent) in due.iter().filter(|(_, intent)| intent.rule.is_some()) {
            if let Entry::Vacant(place) = grounds.entry(intent.id) {
                place.insert(self.ground(intent).await?);
            }
        }
        due.retain(|(_, intent)| grounds.get(&intent.id).is_none_or(|ground| *ground == Ground::Stands));
        Ok(due)
    }

    /// Begins these ladders: of each incident and fallback the first. Answers the ladders that are not at their end.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ladders(&self, due: &[(String, Intent)]) -> Result<Vec<Ladder>, StoreError> {
        if !due.is_empty() {
            let mut tx = self.begin_for(Urgency::Breach).await?;
            for (fallback, intent) in due {
                begin(&mut tx, fallback, intent).await?;
            }
            tx.commit(Step::Ladder).await?;
            self.news();
        }
        let mut connection = self.pool.acquire().await?;
        let open = query("SELECT id, incident, fallback, intent FROM ladders WHERE state <> 'held' ORDER BY id")
            .fetch_all(&mut connection)
            .await?;
        let mut ladders = Vec::with_capacity(open.len());
        for row in &open {
            ladders.push(ladder(&mut connection, row).await?);
        }
        Ok(ladders)
    }

    /// Notes that a rung is begun. `false` when it was begun before: then it is carried on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_rung(&self, ladder: &Ladder, rung: Rung, detail: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let new = query(
            "INSERT INTO ladder_rungs (ladder, rung, status, began_ms, detail) VALUES (?, ?, 'running', ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(ladder.id)
        .bind(rung.name())
        .bind(tx.now_ms())
        .bind(detail)
        .execute(&mut *tx)
        .await?;
        let is_new = new.rows_affected() > 0;
        if is_new {
            line(&mut tx, ladder, rung, RungStatus::Running, detail).await?;
        }
        tx.commit(Step::Rung).await?;
        Ok(is_new)
    }

    /// Notes how a rung ended.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_rung(
        &self,
        ladder: &Ladder,
        rung: Rung,
        status: RungStatus,
        detail: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let ended = query(
            "UPDATE ladder_rungs SET status = ?, ended_ms = ?, detail = ? WHERE ladder = ? AND rung = ? AND status = 'running'",
        )
        .bind(status.name())
        .bind(tx.now_ms())
        .bind(detail)
        .bind(ladder.id)
        .bind(rung.name())
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 {
            line(&mut tx, ladder, rung, status, detail).await?;
        }
        tx.commit(Step::RungEnd).await
    }

    /// Calls people, as the last rung: the alarm and the rung in one transaction. `false` when they were called before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn call_people(&self, ladder: &Ladder, subject: &str, text: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let now_ms = tx.now_ms();
        let new = query(
            "INSERT INTO ladder_rungs (ladder, rung, status, began_ms, ended_ms, detail) VALUES (?, ?, 'done', ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(ladder.id)
        .bind(Rung::Page.name())
        .bind(now_ms)
        .bind(now_ms)
        .bind(text)
        .execute(&mut *tx)
        .await?;
        let is_new = new.rows_affected() > 0;
        if is_new {
            alarms::raise(&mut tx, AlarmKind::NotContained, subject, text, None).await?;
            line(&mut tx, ladder, Rung::Page, RungStatus::Done, text).await?;
        }
        tx.commit(Step::Page).await?;
        self.news();
        Ok(is_new)
    }

    /// Ends a ladder: contained, or nothing left to try.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_ladder(&self, ladder: &Ladder, subject: &str, held: bool) -> Result<(), StoreError> {
        let state = if held { "held" } else { "exhausted" };
        let mut tx = self.begin().await?;
        let changed = query("UPDATE ladders SET state = ?1, ended_ms = ?2 WHERE id = ?3 AND state <> ?1")
            .bind(state)
            .bind(tx.now_ms())
            .bind(ladder.id)
            .execute(&mut *tx)
            .await?;
        if held {
            alarms::clear(&mut tx, AlarmKind::NotContained, subject).await?;
        }
        if changed.rows_affected() > 0 {
            let text = if held {
                format!(
                    "fallback {}: no more is needed: the incident is contained, or over",
                    ladder.fallback
                )
            } else {
                format!(
                    "fallback {}: nothing is left to try: people have to act",
                    ladder.fallback
                )
            };
            timeline::entry(&mut tx, ladder.incident, &Line::new("fallback", &text)).await?;
        }
        tx.commit(Step::LadderEnd).await?;
        self.news();
        Ok(())
    }
}

async fn line(
    connection: &mut Connection,
    ladder: &Ladder,
    rung: Rung,
    status: RungStatus,
    detail: &str,
) -> Result<(), StoreError> {
    let text = format!(
        "fallback {}: {}: {}: {detail}",
        ladder.fallback,
        rung.name(),
        status.name()
    );
    timeline::entry(connection, ladder.incident, &Line::new("fallback", &text)).await?;
    Ok(())
}

/// Actions of incidents that are not contained as they want, with the fallbacks that are due for each; the strictest first.
async fn due(
    connection: &mut Connection,
    rules: &[LadderRule],
    now_ms: i64,
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
        if is_held(connection, incident, intent.level).await? {
            continue;
        }
        let refused = intent.outcome.is_some();
        for rule in rules {
            let is_late = now_ms.saturating_sub(intent.decided_ms) >= rule.deadline_ms;
            let is_its = rule.scopes.is_empty() || rule.scopes.contains(&intent.scope);
            if is_its && (refused || is_late) && !is_climbed(connection, &rule.fallback, &intent).await? {
                due.push((rule.fallback.clone(), intent.clone()));
            }
        }
    }
    due.sort_by_key(|(_, intent)| (Reverse(intent.level.rank()), intent.id));
    Ok(due)
}

/// The ladder of a fallback for an incident that is not at its end, and the level that it is climbed for.
async fn climbed(
    connection: &mut Connection,
    incident: i64,
    fallback: &str,
) -> Result<Option<(i64, Level)>, StoreError> {
    let row: Option<(i64, i64)> = query_as(
        "SELECT l.id, i.level FROM ladders l JOIN intents i ON i.id = l.intent
         WHERE l.incident = ? AND l.fallback = ? AND l.state <> 'held'",
    )
    .bind(incident)
    .bind(fallback)
    .fetch_optional(connection)
    .await?;
    row.map(|(id, level)| Ok((id, intents::level(level)?))).transpose()
}

/// Whether the fallback is tried already for what an action wants, or for more.
async fn is_climbed(connection: &mut Connection, fallback: &str, intent: &Intent) -> Result<bool, StoreError> {
    let Some(incident) = intent.incident else {
        return Ok(true);
    };
    let climbed = climbed(connection, incident, fallback).await?;
    Ok(climbed.is_some_and(|(_, level)| level.rank() >= intent.level.rank()))
}

/// Whether the incident is over, or the guard holds at least this level for it.
async fn is_held(connection: &mut Connection, incident: i64, wanted: Level) -> Result<bool, StoreError> {
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

async fn begin(connection: &mut Connection, fallback: &str, intent: &Intent) -> Result<(), StoreError> {
    let Some(incident) = intent.incident else { return Ok(()) };
    let now_ms = connection.now_ms();
    if let Some((lesser, level)) = climbed(connection, incident, fallback).await?
        && level.rank() < intent.level.rank()
    {
        query("UPDATE ladders SET state = 'held', ended_ms = ? WHERE id = ?")
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

/// Whether an action has ended because there was no reason for it any more.
fn is_needless(intent: &Intent) -> bool {
    matches!(intent.outcome, Some(Outcome::HoldsAgain | Outcome::Recorded))
}

async fn ladder(connection: &mut Connection, row: &Row) -> Result<Ladder, StoreError> {
    let (id, incident): (i64, i64) = (row.try_get("id")?, row.try_get("incident")?);
    let intent = intents::one(connection, row.try_get("intent")?)
        .await?
        .ok_or(StoreError::Damaged { what: "ladder" })?;
    let rows = query("SELECT rung, status, began_ms, ended_ms FROM ladder_rungs WHERE ladder = ? ORDER BY began_ms")
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
    let rungs = rows.iter().map(rung).collect::<Result<_, _>>()?;
    Ok(Ladder {
        id,
        incident,
        fallback: row.try_get("fallback")?,
        held: is_needless(&intent) || is_held(connection, incident, intent.level).await?,
        intent,
        rungs,
    })
}

fn rung(row: &Row) -> Result<RungState, StoreError> {
    let (rung, status): (String, String) = (row.try_get("rung")?, row.try_get("status")?);
    let damaged = StoreError::Damaged {
        what: "rung of a ladder",
    };
    let (Some(rung), Some(status)) = (Rung::from_name(&rung), RungStatus::from_name(&status)) else {
        return Err(damaged);
    };
    Ok(RungState {
        rung,
        status,
        began_ms: row.try_get("began_ms")?,
        ended_ms: row.try_get("ended_ms")?,
    })
}
