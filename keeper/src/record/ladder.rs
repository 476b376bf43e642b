//! Fallback ladders in the record: begun once, each rung once, whatever crashes in between.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::alarms::{self, AlarmKind};
use super::db::{Connection, Row, query, query_as};
use super::due::{begin, due, is_held};
use super::timeline::{self, Entry as Line};
use super::{Ground, Intent, Outcome, Step, Store, StoreError, intents};
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
        self.standing_due(rules, None).await
    }

    /// The same of the scope of a ladder once that has ended: what else is wanted there, which is not at its end with it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due_besides(
        &self,
        rules: &[LadderRule],
        ladder: &Ladder,
    ) -> Result<Vec<(String, Intent)>, StoreError> {
        self.standing_due(rules, Some(ladder)).await
    }

    async fn standing_due(
        &self,
        rules: &[LadderRule],
        over: Option<&Ladder>,
    ) -> Result<Vec<(String, Intent)>, StoreError> {
        let mut due = {
            let mut connection = self.pool.acquire().await?;
            due(&mut connection, rules, (self.now_ms(), over)).await?
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
        let open = query(
            "SELECT id, incident, fallback, intent FROM ladders WHERE state IN ('climbing', 'exhausted') ORDER BY id",
        )
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

    /// Calls people, as the last rung: the alarm and the rung in one transaction. When they were called about the scope already, and asked for
    /// less, they are called anew. `false` when they were called before.
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
            forget_less(&mut tx, ladder, subject).await?;
            alarms::raise(&mut tx, AlarmKind::NotContained, subject, text, None).await?;
            line(&mut tx, ladder, Rung::Page, RungStatus::Done, text).await?;
        }
        tx.commit(Step::Page).await?;
        self.news();
        Ok(is_new)
    }

    /// Ends a ladder: contained, or nothing left to try. With one that is contained those begin that are due `besides`: the alarm ends with the
    /// last of the scope.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_ladder(
        &self,
        ladder: &Ladder,
        subject: &str,
        held: bool,
        besides: &[(String, Intent)],
    ) -> Result<(), StoreError> {
        let state = if held { "held" } else { "exhausted" };
        let mut tx = self.begin().await?;
        let changed =
            query("UPDATE ladders SET state = ?1, ended_ms = ?2 WHERE id = ?3 AND state NOT IN (?1, 'superseded')")
                .bind(state)
                .bind(tx.now_ms())
                .bind(ladder.id)
                .execute(&mut *tx)
                .await?;
        for (fallback, intent) in besides.iter().filter(|_| held) {
            begin(&mut tx, fallback, intent).await?;
        }
        let is_last = held && !is_wanted(&mut tx, ladder.intent.scope).await?;
        if is_last {
            alarms::clear(&mut tx, AlarmKind::NotContained, subject).await?;
        }
        if changed.rows_affected() > 0 {
            let what = match (held, is_last) {
                (true, true) => "no more is needed: the incident is contained, or over".to_owned(),
                (true, false) => format!(
                    "{} is held, or wanted no more; what else is wanted of {subject} is not",
                    ladder.intent.level.name()
                ),
                (false, _) => "nothing is left to try: people have to act".to_owned(),
            };
            let text = format!("fallback {}: {what}", ladder.fallback);
            timeline::entry(&mut tx, ladder.incident, &Line::new("fallback", &text)).await?;
        }
        tx.commit(Step::LadderEnd).await?;
        self.news();
        Ok(())
    }
}

/// Whether a ladder for this scope is not at its end.
async fn is_wanted(connection: &mut Connection, scope: u8) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = query_as(
        "SELECT l.id FROM ladders l JOIN intents i ON i.id = l.intent
         WHERE l.state IN ('climbing', 'exhausted') AND i.scope = ? LIMIT 1",
    )
    .bind(i64::from(scope))
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Lets people be called about the scope of a ladder once more, when they were asked for less: nothing is over, so nothing of that is told.
async fn forget_less(connection: &mut Connection, ladder: &Ladder, subject: &str) -> Result<(), StoreError> {
    let asked: Vec<(i64, i64)> = query_as(
        "SELECT DISTINCT a.id, i.level FROM ladder_rungs r JOIN ladders l ON l.id = r.ladder JOIN intents i ON i.id = l.intent
         JOIN alarms a ON a.raised_ms <= r.began_ms
         WHERE r.rung = ? AND r.ladder <> ? AND i.scope = ? AND a.kind = ? AND a.subject = ? AND a.cleared_ms IS NULL",
    )
    .bind(Rung::Page.name())
    .bind(ladder.id)
    .bind(i64::from(ladder.intent.scope))
    .bind(AlarmKind::NotContained.name())
    .bind(subject)
    .fetch_all(&mut *connection)
    .await?;
    for (_, level) in &asked {
        if intents::level(*level)?.rank() >= ladder.intent.level.rank() {
            return Ok(());
        }
    }
    for (alarm, _) in asked {
        query("UPDATE alarms SET cleared_ms = ? WHERE id = ?")
            .bind(connection.now_ms())
            .bind(alarm)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
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
