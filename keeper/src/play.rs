//! Carries out playbooks: asks the record again and again what is due in them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::record::{PlayPlan, Store};
use crate::report::Reports;
use crate::respond::{Job, Queue};

/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// Refusals of the record in a row after which waiting gets longer.
const SLOW: Duration = Duration::from_secs(5);

/// Works for ever.
pub(crate) async fn run(plan: PlayPlan, store: Store, queue: Queue, reports: Reports) {
    loop {
        let wait = match store.play(&plan).await {
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
