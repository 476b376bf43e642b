//! Playbooks in the record: which were started at which incident, and how far each of their steps is.
//!
//! All that a step does is a row of the record: a notice, an intent, a line of the timeline. It is written in the transaction that
//! notes the step, so that after a crash it is either done or not begun, and never done twice.

mod approve;
mod carry;
mod facts;
mod people;
mod quorum;

use std::collections::BTreeMap;

use cordon_client::SetMeta;
use cordon_client::config::Audience;
use cordon_client::playbook::{Playbook, To, cacao};

use super::db::{Connection, Row, query, query_as};
use super::timeline::{self, Entry};
use super::{Intent, Names, Step, Store, StoreError};
use crate::decide::playbook::{Change, StepState, StepStatus, advance};
use crate::decide::{Quorum, RulePolicy};
use alloy::primitives::B256;

pub use approve::{ApproveError, Approved, OpenApproval};
pub(crate) use quorum::is_of_playbook;
pub use quorum::{Answers, AskedStep};

/// Changes of a run that are made in one transaction at most: more are made in the next.
const AT_ONCE: usize = 500;
/// The highest incident whose playbooks were started.
const SEEN: &str = "playbooks";

/// What playbooks are carried out with.
#[derive(Debug, Clone, Default)]
pub struct PlayPlan {
    /// The playbooks.
    pub playbooks: Vec<Playbook>,
    /// All channels, with whom they serve.
    pub channels: Vec<(String, Audience)>,
    /// The guard's containment sets.
    pub sets: Vec<SetMeta>,
    /// Names of scopes and rules.
    pub names: Names,
    /// Code hash of the rulebook.
    pub version: B256,
    /// Who has to agree before a playbook contains the whole protocol by itself.
    pub quorum: Quorum,
    /// The rules, of which enough may have to be breached for that.
    pub policies: Vec<RulePolicy>,
}

impl PlayPlan {
    /// The channels that a step means; none when those that want the severity are meant.
    fn route(&self, to: &To) -> Vec<String> {
        let mut channels = to.channels.clone();
        for (channel, audience) in &self.channels {
            if to.audience == Some(*audience) && !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        channels
    }
}

/// A playbook that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookRun {
    /// Number in the record.
    pub id: i64,
    /// The incident.
    pub incident: i64,
    /// Name of the playbook.
    pub playbook: String,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// When it was started, Unix milliseconds.
    pub began_ms: i64,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// Steps that were begun, in the order in which they were.
    pub steps: Vec<PlaybookStep>,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookStep {
    /// Its name; in a loop with `@` and the round.
    pub step: String,
    /// How far it is.
    pub status: StepStatus,
    /// When it was begun, Unix milliseconds.
    pub began_ms: i64,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// Who has approved or refused.
    pub person: Option<String>,
    /// What is to be known of it.
    pub detail: String,
}

/// What playbooks have brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Played {
    /// Actions to be carried out now.
    pub intents: Vec<Intent>,
    /// Incidents whose story goes on.
    pub incidents: Vec<i64>,
    /// Steps that go on when others were asked about them: play again with the [`Answers`].
    pub asked: Vec<AskedStep>,
}

/// A run that is not over, as it is read from the record.
struct Open {
    id: i64,
    incident: i64,
    playbook: Playbook,
    states: BTreeMap<String, StepState>,
}

impl Store {
    /// Starts the playbooks of new incidents and does what is due in those that run. Everything of it is in one transaction.
    ///
    /// # Errors
    /// See [`StoreError`]; then nothing was done.
    pub async fn play(&self, plan: &PlayPlan) -> Result<Played, StoreError> {
        self.play_with(plan, &Answers::new()).await
    }

    /// The same, with what others say of the steps that were asked about.
    ///
    /// # Errors
    /// See [`StoreError`]; then nothing was done.
    pub async fn play_with(&self, plan: &PlayPlan, answers: &Answers) -> Result<Played, StoreError> {
        if !self.has_to_play(plan).await? {
            return Ok(Played::default());
        }
        let mut tx = self.begin_for(crate::turns::Urgency::Sending).await?;
        let mut played = Played::default();
        start(&mut tx, plan, &mut played).await?;
        let runs: Vec<(i64,)> = query_as("SELECT id FROM playbook_runs WHERE state = 'running' ORDER BY id")
            .fetch_all(&mut *tx)
            .await?;
        for (run,) in runs {
            self.go_on(&mut tx, (plan, answers), run, &mut played).await?;
        }
        quorum::clear(&mut tx).await?;
        tx.commit(Step::Playbook).await?;
        if !played.incidents.is_empty() {
            self.news();
        }
        played.incidents.sort_unstable();
        played.incidents.dedup();
        Ok(played)
    }

    /// Whether anything may be due. Asked often and mostly in vain: that must not cost the write lock.
    async fn has_to_play(&self, plan: &PlayPlan) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (seen, newest) = incidents_seen(&mut connection).await?;
        if newest != seen {
            return Ok(true);
        }
        let runs: Vec<(i64,)> = query_as("SELECT id FROM playbook_runs WHERE state = 'running' ORDER BY id")
            .fetch_all(&mut connection)
            .await?;
        let now_ms = self.now_ms();
        for (run,) in runs {
            let Ok(open) = load(&mut connection, run).await? else {
                return Ok(true);
            };
            let facts = facts::read(&mut connection, open.incident, &plan.names, now_ms).await?;
            let next = advance(&open.playbook, &open.states, &facts, now_ms);
            if !next.changes.is_empty() || next.end.is_some() || carry::is_settled(&mut connection, run).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Does what is due in one run.
    async fn go_on(
        &self,
        connection: &mut Connection,
        (plan, answers): (&PlayPlan, &Answers),
        run: i64,
        played: &mut Played,
    ) -> Result<(), StoreError> {
        carry::settle(connection, run).await?;
        let mut made = 0;
        // Steps that have to wait for another block, or for others: asking again now would not help.
        let mut blocked: Vec<String> = Vec::new();
        while made < AT_ONCE {
            let open = match load(connection, run).await? {
                Ok(open) => open,
                Err(incident) => {
                    end(connection, run, false);
                    let text = "its stored definition cannot be read: it is given up";
                    timeline::entry(connection, incident, &Entry::new("playbook", text)).await?;
                    played.incidents.push(incident);
                    return Ok(());
                }
            };
            let now_ms = connection.now_ms();
            let facts = facts::read(connection, open.incident, &plan.names, now_ms).await?;
            let next = advance(&open.playbook, &open.states, &facts, now_ms);
            if let Some(well) = next.end {
                end(connection, run, well);
                let text = format!("{}: {}", open.playbook.id, if well { "done" } else { "failed" });
                timeline::entry(connection, open.incident, &Entry::new("playbook", &text)).await?;
                played.incidents.push(open.incident);
                return Ok(());
            }
            let before = made;
            for change in next.changes {
                let desk = carry::Desk {
                    chain_id: self.chain_id(),
                    plan,
                    run: &open,
                    answers,
                };
                match change {
                    Change::Begin { key, .. } if blocked.contains(&key) => continue,
                    Change::Begin {
                        key,
                        act,
                        approved,
                        is_last,
                    } => {
                        let step = (key.as_str(), approved, is_last);
                        if !desk.begin(connection, (step, act), played).await? {
                            blocked.push(key);
                            continue;
                        }
                    }
                    Change::Mark {
                        key,
                        status,
                        value,
                        text,
                    } => desk.mark(connection, &key, status, value, &text).await?,
                }
                played.incidents.push(open.incident);
                made += 1;
            }
            if made == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The playbooks that were started at an incident, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn playbook_runs(&self, incident: i64) -> Result<Vec<PlaybookRun>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows =
            query("SELECT id, playbook, state, began_ms, ended_ms FROM playbook_runs WHERE incident = ? ORDER BY id")
                .bind(incident)
                .fetch_all(&mut connection)
                .await?;
        let mut runs = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: i64 = row.try_get("id")?;
            let steps = query("SELECT * FROM playbook_steps WHERE run = ? ORDER BY began_ms, ended_ms, step")
                .bind(id)
                .fetch_all(&mut connection)
                .await?;
            runs.push(PlaybookRun {
                id,
                incident,
                playbook: row.try_get("playbook")?,
                state: row.try_get("state")?,
                began_ms: row.try_get("began_ms")?,
                ended_ms: row.try_get("ended_ms")?,
                steps: steps.iter().map(step).collect::<Result<_, _>>()?,
            });
        }
        Ok(runs)
    }
}

fn step(row: &Row) -> Result<PlaybookStep, StoreError> {
    Ok(PlaybookStep {
        step: row.try_get("step")?,
        status: status(row)?,
        began_ms: row.try_get("began_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        person: row.try_get("person")?,
        detail: row.try_get("detail")?,
    })
}

fn status(row: &Row) -> Result<StepStatus, StoreError> {
    let name: String = row.try_get("status")?;
    StepStatus::from_name(&name).ok_or(StoreError::Damaged {
        what: "step of a playbook",
    })
}

/// The highest incident whose playbooks were started, and the highest whose can be: what a block says besides what was decided on it is known
/// when it is done, and a playbook that begins before may take a rule for one that holds.
async fn incidents_seen(connection: &mut Connection) -> Result<(Option<i64>, Option<i64>), StoreError> {
    let (seen, newest): (Option<String>, Option<i64>) = query_as(
        "SELECT s.value, (SELECT MAX(id) FROM incidents WHERE id < COALESCE(
            (SELECT MIN(i.id) FROM incidents i JOIN blocks b ON b.hash = i.opened_hash
             WHERE i.id > COALESCE(CAST(s.value AS BIGINT), -1) AND b.canonical = 0
                AND b.number > (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)), ?))
         FROM (SELECT (SELECT value FROM settings WHERE name = ?) AS value) AS s",
    )
    .bind(i64::MAX)
    .bind(SEEN)
    .fetch_one(connection)
    .await?;
    Ok((seen.and_then(|seen| seen.parse().ok()), newest))
}

/// Starts the playbooks of incidents that are new. Of those that were over before playbooks were first looked at none is started.
async fn start(connection: &mut Connection, plan: &PlayPlan, played: &mut Played) -> Result<(), StoreError> {
    let (seen, newest) = incidents_seen(connection).await?;
    let rows: Vec<(i64,)> =
        query_as("SELECT id FROM incidents WHERE id > ?1 AND id <= ?2 AND (?1 >= 0 OR state <> 'closed') ORDER BY id")
            .bind(seen.unwrap_or(-1))
            .bind(newest.unwrap_or_default())
            .fetch_all(&mut *connection)
            .await?;
    for (incident,) in rows {
        if start_at(connection, plan, incident).await? {
            played.incidents.push(incident);
        }
    }
    if newest != seen {
        super::settings::set(connection, SEEN, &newest.unwrap_or_default().to_string());
    }
    Ok(())
}

/// Starts the playbooks of an incident that were not started yet. `false` when there are none.
async fn start_at(connection: &mut Connection, plan: &PlayPlan, incident: i64) -> Result<bool, StoreError> {
    let (severity, rule): (String, Option<String>) = query_as("SELECT severity, rule_name FROM incidents WHERE id = ?")
        .bind(incident)
        .fetch_one(&mut *connection)
        .await?;
    let severity = super::dossier::severity_from(&severity)?;
    let mut started = false;
    for playbook in &plan.playbooks {
        if playbook.starts_at(severity, rule.as_deref()) {
            started |= begin(connection, incident, playbook).await?;
        }
    }
    Ok(started)
}

/// Starts a playbook at an incident. `false` when it was started before.
async fn begin(connection: &mut Connection, incident: i64, playbook: &Playbook) -> Result<bool, StoreError> {
    let now_ms = connection.now_ms();
    let definition = cacao::export(playbook, &crate::clock::rfc3339(now_ms)).to_string();
    let new = query(
        "INSERT INTO playbook_runs (incident, playbook, definition, state, began_ms) VALUES (?, ?, ?, 'running', ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(incident)
    .bind(&playbook.id)
    .bind(definition)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    let text = format!("{}: begun", playbook.id);
    timeline::entry(connection, incident, &Entry::new("playbook", &text)).await?;
    Ok(true)
}

fn end(connection: &mut Connection, run: i64, well: bool) {
    query("UPDATE playbook_runs SET state = ?, ended_ms = ? WHERE id = ?")
        .bind(if well { "done" } else { "failed" })
        .bind(connection.now_ms())
        .bind(run)
        .later(connection);
}

/// Reads a run. The inner error is the incident of one whose definition is damaged.
async fn load(connection: &mut Connection, run: i64) -> Result<Result<Open, i64>, StoreError> {
    let (incident, definition): (i64, String) = query_as("SELECT incident, definition FROM playbook_runs WHERE id = ?")
        .bind(run)
        .fetch_one(&mut *connection)
        .await?;
    let Ok(imported) = cacao::import(&definition) else {
        return Ok(Err(incident));
    };
    let rows = query("SELECT step, status, value, began_ms FROM playbook_steps WHERE run = ?")
        .bind(run)
        .fetch_all(connection)
        .await?;
    let mut states = BTreeMap::new();
    for row in &rows {
        let state = StepState {
            status: status(row)?,
            value: row.try_get("value")?,
            began_ms: row.try_get("began_ms")?,
        };
        states.insert(row.try_get("step")?, state);
    }
    Ok(Ok(Open {
        id: run,
        incident,
        playbook: imported.playbook,
        states,
    }))
}
