//! Approvals: what people are asked, and what they answer.

use cordon_client::config::People;
use cordon_client::playbook::{Act, Does};

use super::{Open, load};
use crate::decide::playbook::StepStatus;
use crate::record::db::{Connection, query, query_as};
use crate::record::timeline::{self, Entry};
use crate::record::{Step, Store, StoreError};

/// Something that people are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenApproval {
    /// The incident.
    pub incident: i64,
    /// Name of the playbook.
    pub playbook: String,
    /// Name of the step; in a loop with `@` and the round.
    pub step: String,
    /// Whose answer is wanted.
    pub role: String,
    /// What is asked.
    pub text: String,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
}

/// An answer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Name of the playbook.
    pub playbook: String,
    /// Name of the step.
    pub step: String,
}

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// Nothing of that name is asked.
    #[error("nothing is asked as `{step}` at incident {incident}; open: {open}")]
    NotAsked {
        /// The incident.
        incident: i64,
        /// What was named.
        step: String,
        /// What is asked.
        open: String,
    },
    /// Several playbooks ask it.
    #[error("several playbooks ask `{step}`: name one as PLAYBOOK/{step}")]
    Ambiguous {
        /// What was named.
        step: String,
    },
    /// Somebody else is asked.
    #[error("{who} does not have the role `{role}`; [roles] in cordon.toml says who has")]
    NotOfRole {
        /// Who answered.
        who: String,
        /// The role that is asked.
        role: String,
    },
    /// The record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An approval with the run that it belongs to.
struct Asked {
    run: i64,
    approval: OpenApproval,
}

impl Store {
    /// What people are asked now, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_approvals(&self) -> Result<Vec<OpenApproval>, StoreError> {
        let asked = asked(&mut self.pool.acquire().await?).await?;
        Ok(asked.into_iter().map(|asked| asked.approval).collect())
    }

    /// Takes an answer. `step` is the name of the step, or PLAYBOOK/STEP.
    ///
    /// # Errors
    /// See [`ApproveError`].
    pub async fn approve(
        &self,
        people: &People,
        (incident, step): (i64, &str),
        who: &str,
        granted: bool,
    ) -> Result<Approved, ApproveError> {
        let mut tx = self.begin().await?;
        let all = asked(&mut tx).await?;
        let here: Vec<&Asked> = all.iter().filter(|asked| asked.approval.incident == incident).collect();
        let is_meant = |asked: &&&Asked| {
            let approval = &asked.approval;
            approval.step == step || format!("{}/{}", approval.playbook, approval.step) == step
        };
        let meant: Vec<&&Asked> = here.iter().filter(is_meant).collect();
        let found = match meant.as_slice() {
            [one] => one,
            [] => {
                let open: Vec<&str> = here.iter().map(|asked| asked.approval.step.as_str()).collect();
                let open = if open.is_empty() {
                    "nothing".to_owned()
                } else {
                    open.join(", ")
                };
                return Err(ApproveError::NotAsked {
                    incident,
                    step: step.to_owned(),
                    open,
                });
            }
            _ => return Err(ApproveError::Ambiguous { step: step.to_owned() }),
        };
        let approval = &found.approval;
        if !people.has(who, &approval.role) {
            return Err(ApproveError::NotOfRole {
                who: who.to_owned(),
                role: approval.role.clone(),
            });
        }
        let status = if granted { StepStatus::Done } else { StepStatus::Failed };
        let answer = if granted { "approved" } else { "refused" };
        let detail = format!("{who} has {answer}: {}", approval.text);
        query("UPDATE playbook_steps SET status = ?, ended_ms = ?, person = ?, detail = ? WHERE run = ? AND step = ?")
            .bind(status.name())
            .bind(tx.now_ms())
            .bind(who)
            .bind(&detail)
            .bind(found.run)
            .bind(&approval.step)
            .later(&mut tx);
        let text = format!("{}: {}: {detail}", approval.playbook, approval.step);
        timeline::entry(&mut tx, incident, &Entry::new(answer, &text)).await?;
        tx.commit(Step::Approve).await?;
        self.news();
        Ok(Approved {
            playbook: approval.playbook.clone(),
            step: approval.step.clone(),
        })
    }
}

async fn asked(connection: &mut Connection) -> Result<Vec<Asked>, StoreError> {
    let runs: Vec<(i64,)> = query_as("SELECT id FROM playbook_runs WHERE state = 'running' ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::new();
    for (run,) in runs {
        if let Ok(open) = load(connection, run).await? {
            found.extend(of_run(&open));
        }
    }
    Ok(found)
}

fn of_run(open: &Open) -> Vec<Asked> {
    let mut found = Vec::new();
    for step in open.playbook.all_steps() {
        let Does::Act(Act::Approve { role, text, within }) = &step.does else {
            continue;
        };
        for (key, state) in &open.states {
            // In a loop the key has the rounds after the name.
            let is_its = key == &step.id || key.strip_prefix(&step.id).is_some_and(|rest| rest.starts_with('@'));
            if is_its && state.status == StepStatus::Running {
                let approval = OpenApproval {
                    incident: open.incident,
                    playbook: open.playbook.id.clone(),
                    step: key.clone(),
                    role: role.clone(),
                    text: text.clone(),
                    until_ms: state.began_ms.saturating_add(i64::from(*within).saturating_mul(1_000)),
                };
                found.push(Asked { run: open.id, approval });
            }
        }
    }
    found
}
