//! Steps carried out, as rows of the record.

use alloy::primitives::B256;
use cordon_client::config::format_duration;
use cordon_client::playbook::Act;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;

use super::quorum::{self, Agreed, Answers};
use super::{Open, PlayPlan, Played};
use crate::chain::BlockRef;
use crate::decide::playbook::{StepStatus, WAITS};
use crate::decide::quorum::PROTOCOL;
use crate::record::checkpoint::{BlockRow, block_of};
use crate::record::db::{Connection, query, query_as};
use crate::record::intents::{self, NewIntent};
use crate::record::timeline::{self, Entry};
use crate::record::{IntentKind, NoticeKind, Outcome, StoreError, set_words};

/// Carries out steps of one run.
pub(super) struct Desk<'a> {
    pub(super) chain_id: u64,
    pub(super) plan: &'a PlayPlan,
    pub(super) run: &'a Open,
    /// What others say of steps that were asked about.
    pub(super) answers: &'a Answers,
}

/// An action of the keeper that a step wants.
struct Wanted<'a> {
    kind: IntentKind,
    scope: u8,
    level: Level,
    seconds: u32,
    witness: &'a [B256],
    /// Whether it raises the whole protocol, and nobody has approved that.
    needs_quorum: bool,
    detail: String,
}

/// How a step stands when it was begun.
pub(super) enum Begun {
    /// It takes its time.
    Running { intent: Option<i64>, detail: String },
    /// It is over.
    Over { status: StepStatus, detail: String },
    /// It waits until enough agree.
    Short { why: String },
    /// It cannot be begun now.
    NotNow,
}

impl Begun {
    pub(super) fn done(detail: impl Into<String>) -> Self {
        Self::Over {
            status: StepStatus::Done,
            detail: detail.into(),
        }
    }

    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self::Over {
            status: StepStatus::Failed,
            detail: detail.into(),
        }
    }
}

impl Desk<'_> {
    /// Begins a step, which somebody has `approved` or not, and for which others are asked for the last time or not. `false` when it has to
    /// wait for another block, or for others.
    pub(super) async fn begin(
        &self,
        connection: &mut Connection,
        ((key, approved, is_last), act): ((&str, bool, bool), &Act),
        played: &mut Played,
    ) -> Result<bool, StoreError> {
        let step = (key, approved);
        let begun = match act {
            Act::Contain { scope, level, seconds } => {
                let wanted = (IntentKind::Contain, *level, *seconds);
                self.intend(connection, step, (scope.as_deref(), wanted), played)
                    .await?
            }
            Act::ContainSet { set } => self.contain_set(connection, step, set, played).await?,
            Act::Retry { scope } => {
                let wanted = (IntentKind::Retry, Level::Normal, 0);
                self.intend(connection, step, (scope.as_deref(), wanted), played)
                    .await?
            }
            Act::Notify { to, text } => {
                self.tell(connection, key, NoticeKind::Told, (text, self.plan.route(to)))
                    .await?;
                Begun::done(text)
            }
            Act::Page { to, text } => {
                self.tell(connection, key, NoticeKind::Called, (text, self.plan.route(to)))
                    .await?;
                Begun::done(text)
            }
            Act::Wait { seconds } => Begun::Running {
                intent: None,
                detail: format!("waits for {}", format_duration(u64::from(*seconds))),
            },
            Act::Until { condition, within } => Begun::Running {
                intent: None,
                detail: format!(
                    "waits until {condition}, for {} at most",
                    format_duration(u64::from(*within))
                ),
            },
            Act::Approve { role, text, within } => self.ask(connection, key, (role, text, *within)).await?,
            Act::Escalate { severity } => self.escalate(connection, key, *severity).await?,
            Act::Note { text } => {
                timeline::entry(connection, self.run.incident, &Entry::new("note", text)).await?;
                Begun::done("noted")
            }
            Act::Close => self.close(connection).await?,
        };
        let (status, value, intent, detail) = match begun {
            Begun::NotNow => return Ok(false),
            Begun::Short { why } if is_last => {
                let detail = format!("too few have agreed in time: {why}");
                (StepStatus::Failed, 0, None, detail)
            }
            // It is known to wait, and said to be.
            Begun::Short { .. } if self.run.states.contains_key(key) => return Ok(false),
            Begun::Short { why } => (
                StepStatus::Running,
                WAITS,
                None,
                format!("waits until enough agree: {why}"),
            ),
            Begun::Running { intent, detail } => (StepStatus::Running, 0, intent, detail),
            Begun::Over { status, detail } => (status, 0, None, detail),
        };
        self.write(connection, (key, status, value, &detail), intent).await?;
        Ok(true)
    }

    /// Notes a new state of a step.
    pub(super) async fn mark(
        &self,
        connection: &mut Connection,
        key: &str,
        status: StepStatus,
        value: i64,
        text: &str,
    ) -> Result<(), StoreError> {
        self.write(connection, (key, status, value, text), None).await
    }

    async fn write(
        &self,
        connection: &mut Connection,
        (key, status, value, detail): (&str, StepStatus, i64, &str),
        intent: Option<i64>,
    ) -> Result<(), StoreError> {
        let now_ms = connection.now_ms();
        let ended = (status != StepStatus::Running).then_some(now_ms);
        query(
            "INSERT INTO playbook_steps (run, step, status, value, began_ms, ended_ms, intent, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (run, step) DO UPDATE SET
                status = excluded.status, value = excluded.value, ended_ms = excluded.ended_ms,
                intent = COALESCE(excluded.intent, playbook_steps.intent), detail = excluded.detail",
        )
        .bind(self.run.id)
        .bind(key)
        .bind(status.name())
        .bind(value)
        .bind(now_ms)
        .bind(ended)
        .bind(intent)
        .bind(detail)
        .later(connection);
        let text = format!("{}: {key}: {}: {detail}", self.run.playbook.id, status.name());
        timeline::entry(connection, self.run.incident, &Entry::new("playbook", &text)).await?;
        Ok(())
    }

    /// Plans an action of the keeper.
    async fn intend(
        &self,
        connection: &mut Connection,
        (key, approved): (&str, bool),
        (scope, (kind, level, seconds)): (Option<&str>, (IntentKind, Level, u32)),
        played: &mut Played,
    ) -> Result<Begun, StoreError> {
        let scope = match scope {
            Some(name) => {
                let at = self.plan.names.scopes.iter().position(|held| held == name);
                let Some(id) = at.and_then(|at| u8::try_from(at).ok()) else {
                    return Ok(Begun::failed(format!("the guard has no scope {name} any more")));
                };
                id
            }
            None => {
                let (scope,): (i64,) = query_as("SELECT scope FROM incidents WHERE id = ?")
                    .bind(self.run.incident)
                    .fetch_one(&mut *connection)
                    .await?;
                crate::record::small("scope", scope)?
            }
        };
        let name = self.plan.names.scope(scope);
        let detail = match kind {
            IntentKind::Contain => format!("{name} shall be {}", level.name()),
            _ => format!("the failed calls of {name} are run again"),
        };
        let wanted = Wanted {
            kind,
            scope,
            level,
            seconds,
            witness: &[],
            needs_quorum: kind == IntentKind::Contain && scope == PROTOCOL && !approved,
            detail,
        };
        self.store(connection, key, wanted, played).await
    }

    /// Plans the containment of a set.
    async fn contain_set(
        &self,
        connection: &mut Connection,
        (key, approved): (&str, bool),
        set: &str,
        played: &mut Played,
    ) -> Result<Begun, StoreError> {
        let found = self.plan.sets.iter().find(|held| held.id == set);
        let Some((held, first)) = found.and_then(|held| held.orders.first().map(|first| (held, first))) else {
            return Ok(Begun::failed(format!(
                "the guard has no containment set {set} any more"
            )));
        };
        let wanted = Wanted {
            kind: IntentKind::ContainSet,
            scope: first.scope,
            level: first.level,
            seconds: first.duration,
            witness: &set_words(held),
            needs_quorum: held.orders.iter().any(|order| order.scope == PROTOCOL) && !approved,
            detail: format!("what the set {set} names shall be contained"),
        };
        self.store(connection, key, wanted, played).await
    }

    /// Stores an action of the keeper.
    async fn store(
        &self,
        connection: &mut Connection,
        key: &str,
        wanted: Wanted<'_>,
        played: &mut Played,
    ) -> Result<Begun, StoreError> {
        let Some(block) = newest(connection).await? else {
            return Ok(Begun::NotNow);
        };
        if wanted.needs_quorum && self.plan.quorum.is_wanted() {
            match quorum::judge(connection, (self.plan, self.run, key), &block, self.answers).await? {
                Agreed::Yes => {}
                Agreed::Ask(asked) => {
                    played.asked.push(asked);
                    return Ok(Begun::NotNow);
                }
                Agreed::Short(why) => {
                    quorum::alarm(connection, (self.run, key), &block, &why).await?;
                    return Ok(Begun::Short { why });
                }
            }
        }
        let new = NewIntent {
            kind: wanted.kind,
            rule: None,
            scope: wanted.scope,
            level: wanted.level,
            duration: wanted.seconds,
            witness: wanted.witness,
            observed: Int::ZERO,
            bound: Int::ZERO,
            block: &block,
            version: self.plan.version,
            incident: Some(self.run.incident),
        };
        let Some(intent) = intents::insert(connection, self.chain_id, &new).await? else {
            // The same was planned at this block already: the next block shows what came of it.
            return Ok(Begun::NotNow);
        };
        let id = intent.id;
        played.intents.push(intent);
        Ok(Begun::Running {
            intent: Some(id),
            detail: wanted.detail,
        })
    }
}

/// The newest block up to which everything is done.
pub(super) async fn newest(connection: &mut Connection) -> Result<Option<BlockRef>, StoreError> {
    let row: Option<BlockRow> = query_as(
        "SELECT b.hash, b.number, b.parent, b.timestamp FROM checkpoint c JOIN blocks b ON b.hash = c.hash WHERE c.id = 1",
    )
    .fetch_optional(connection)
    .await?;
    row.map(block_of).transpose()
}

/// Whether an action that a step waits for is over.
pub(super) async fn is_settled(connection: &mut Connection, run: i64) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = query_as(
        "SELECT i.id FROM playbook_steps s JOIN intents i ON i.id = s.intent
         WHERE s.run = ? AND s.status = 'running' AND i.outcome IS NOT NULL LIMIT 1",
    )
    .bind(run)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Ends the steps whose actions are over.
pub(super) async fn settle(connection: &mut Connection, run: i64) -> Result<(), StoreError> {
    type Over = (String, String, Option<String>, String, i64);
    let over: Vec<Over> = query_as(
        "SELECT s.step, i.outcome, i.detail, r.playbook, r.incident FROM playbook_steps s
         JOIN intents i ON i.id = s.intent JOIN playbook_runs r ON r.id = s.run
         WHERE s.run = ? AND s.status = 'running' AND i.outcome IS NOT NULL ORDER BY s.step",
    )
    .bind(run)
    .fetch_all(&mut *connection)
    .await?;
    for (key, outcome, detail, playbook, incident) in over {
        let status = if outcome == Outcome::Refused.name() {
            StepStatus::Failed
        } else {
            StepStatus::Done
        };
        let detail = detail.unwrap_or(outcome);
        query("UPDATE playbook_steps SET status = ?, ended_ms = ?, detail = ? WHERE run = ? AND step = ?")
            .bind(status.name())
            .bind(connection.now_ms())
            .bind(&detail)
            .bind(run)
            .bind(&key)
            .later(connection);
        let text = format!("{playbook}: {key}: {}: {detail}", status.name());
        timeline::entry(connection, incident, &Entry::new("playbook", &text)).await?;
    }
    Ok(())
}
