//! Carries out playbooks: asks the record again and again what is due in them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agreement::Council;
use crate::record::{PlayPlan, Played, Store, StoreError};
use crate::report::Reports;
use crate::respond::{Job, Queue};

/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// Refusals of the record in a row after which waiting gets longer.
const SLOW: Duration = Duration::from_secs(5);

/// Works for ever.
pub(crate) async fn run(plan: PlayPlan, store: Store, council: Council, (queue, reports): (Queue, Reports)) {
    loop {
        let wait = match play(&plan, &store, &council).await {
            Ok(played) => {
                for intent in played.intents {
                    queue.push(Job::now(intent, Some(Instant::now())));
                }
                let changed: BTreeSet<i64> = played.incidents.into_iter().collect();
                for incident in changed {
                    reports.write(&store, incident).await;
                }
                PERIOD
            }
            Err(error) => {
                tracing::error!(%error, "playbooks could not be carried on; it is tried again");
                SLOW
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Does what is due; others are asked where they have to agree.
async fn play(plan: &PlayPlan, store: &Store, council: &Council) -> Result<Played, StoreError> {
    let mut played = store.play(plan).await?;
    if !played.asked.is_empty() {
        let answers = council.answers(&played.asked).await?;
        let more = store.play_with(plan, &answers).await?;
        played.intents.extend(more.intents);
        played.incidents.extend(more.incidents);
    }
    Ok(played)
}
