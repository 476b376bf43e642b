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
        if let Err(error) = self.ask(&asked).await {
            // They are asked again at the next turn: what waits for nobody must not be late for it.
            tracing::error!(%error, "others could not be asked about steps of playbooks; it is tried again");
        }
        Ok(())
    }

    /// Asks others about these steps, and does what they agree on.
    async fn ask(&self, asked: &[AskedStep]) -> Result<(), StoreError> {
        if !asked.is_empty() {
            let answers = self.council.answers(asked).await?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::agreement::tests::{council, record};
    use crate::decide::RuleVerdict;
    use crate::record::{BlockRecord, IntentKind, Names, samples};
    use crate::report::RuleTexts;
    use crate::rules::Sightings;
    use cordon_client::playbook::{Act, Does, OnFailure, Playbook, Step};
    use cordon_core::level::Level;

    fn contain(id: &str, scope: Option<&str>) -> Step {
        Step {
            id: id.to_owned(),
            does: Does::Act(Act::Contain {
                scope: scope.map(str::to_owned),
                level: Level::Halted,
                seconds: 300,
            }),
            on_failure: OnFailure::Stop,
        }
    }

    /// The steps of a playbook that contains an incident's market and, when others agree, the whole protocol.
    fn both() -> Playbook {
        let branches = Does::Parallel(vec![vec![contain("all", Some("protocol"))], vec![contain("one", None)]]);
        Playbook {
            id: "both".to_owned(),
            description: None,
            severity: None,
            rules: vec!["price".to_owned()],
            steps: vec![Step {
                id: "both".to_owned(),
                does: branches,
                on_failure: OnFailure::Stop,
            }],
        }
    }

    #[tokio::test]
    async fn what_waits_for_nobody_is_handed_on_when_nobody_can_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let store = record(&dir).await;
        let names = Names {
            scopes: vec!["protocol".to_owned(), "weth".to_owned()],
            rules: vec!["price".to_owned()],
            ..Names::default()
        };
        let (block, sightings, decisions) = (samples::block(10), Sightings::default(), [samples::trip()]);
        let verdicts = [RuleVerdict {
            rule: 0,
            witness: vec![],
            reading: samples::trip().reading,
        }];
        let breached = BlockRecord {
            verdicts: &verdicts,
            decisions: &decisions,
            ..samples::empty(&block, &sightings)
        };
        store.commit_block(&breached, &names).await.unwrap();
        let path = dir.path().join("cordon.db");
        let file = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql("DROP TABLE votes").execute(&file).await.unwrap();

        let council = council(
            &store,
            &[crate::agreement::tests::endpoint(Err(cordon_testkit::Fault::Cut)).await],
        );
        let player = Player {
            plan: PlayPlan {
                playbooks: vec![both()],
                names,
                quorum: council.quorum,
                ..PlayPlan::default()
            },
            store,
            council,
            queue: Queue::default(),
            reports: Reports::new(None, RuleTexts::default()),
        };
        player.turn().await.unwrap();
        let job = player.queue.next(|_| true).await;
        assert_eq!((job.intent.kind, job.intent.scope), (IntentKind::Contain, 1));
    }
}
