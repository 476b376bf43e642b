//! Carries out playbooks: asks the record again and again what is due in them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agreement::Council;
use crate::record::{Answers, AskedStep, PlayPlan, Store, StoreError};
use crate::report::Reports;
use crate::respond::{Job, Queue};

/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// Refusals of the record in a row after which waiting gets longer.
const SLOW: Duration = Duration::from_secs(5);

/// What playbooks are carried out with, and by whom.
pub(crate) struct Player {
    pub(crate) plan: PlayPlan,
    pub(crate) store: Store,
    pub(crate) council: Council,
    pub(crate) queue: Queue,
    pub(crate) reports: Reports,
}

impl Player {
    /// Works for ever.
    pub(crate) async fn run(self) {
        loop {
            let wait = match self.turn().await {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::error!(%error, "playbooks could not be carried on; it is tried again");
                    SLOW
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Does what is due. What waits for nobody goes first; then others are asked where they have to agree.
    async fn turn(&self) -> Result<(), StoreError> {
        let asked = self.play(&Answers::new()).await?;
        if !asked.is_empty() {
            let answers = self.council.answers(&asked).await?;
            self.play(&answers).await?;
        }
        Ok(())
    }

    /// Does what is due with these answers, and hands it on. Answers the steps that others have to be asked about.
    async fn play(&self, answers: &Answers) -> Result<Vec<AskedStep>, StoreError> {
        let played = self.store.play_with(&self.plan, answers).await?;
        for intent in played.intents {
            self.queue.push(Job::now(intent, Some(Instant::now())));
        }
        let changed: BTreeSet<i64> = played.incidents.into_iter().collect();
        for incident in changed {
            self.reports.write(&self.store, incident).await;
        }
        Ok(played.asked)
    }
}
