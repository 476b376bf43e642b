//! Alarms about what the guard refuses for good: one for each rule, however often it is tried, until its cause is gone.

use std::collections::BTreeMap;

use super::alarms::{self, AlarmKind, OpenAlarms};
use super::db::{Connection, query_as};
use super::{Intent, Names, Outcome, StoreError, breaches, intents};

/// Clears the alarms whose action is not called for any more: the breach or the incident is over, or the newest attempt was not refused.
/// One that is being tried again keeps its alarm until that has ended.
pub(super) async fn follow(connection: &mut Connection, names: &Names, open: &OpenAlarms) -> Result<(), StoreError> {
    let mut open = open.subjects(AlarmKind::ActionRefused).peekable();
    if open.peek().is_none() {
        return Ok(());
    }
    let newest = newest(connection, names).await?;
    for subject in open {
        let lasts = match newest.get(subject) {
            Some(intent) => is_refused(connection, intent).await?,
            None => false,
        };
        if !lasts {
            alarms::clear(connection, AlarmKind::ActionRefused, subject).await?;
        }
    }
    Ok(())
}

async fn is_refused(connection: &mut Connection, intent: &Intent) -> Result<bool, StoreError> {
    if !matches!(intent.outcome, None | Some(Outcome::Refused | Outcome::Observed)) {
        return Ok(false);
    }
    match intent.rule {
        Some(rule) => breaches::stands(connection, rule).await,
        None => Ok(true),
    }
}

/// The newest action of each subject in incidents that are not closed.
async fn newest(connection: &mut Connection, names: &Names) -> Result<BTreeMap<String, Intent>, StoreError> {
    let ids: Vec<(i64,)> = query_as(
        "SELECT MAX(i.id) FROM intents i JOIN incidents n ON n.id = i.incident
         WHERE n.state <> 'closed' AND i.kind <> 'shadow' GROUP BY i.rule, i.scope, i.kind",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut newest: BTreeMap<String, Intent> = BTreeMap::new();
    for (id,) in ids {
        let Some(intent) = intents::one(connection, id).await? else {
            continue;
        };
        let subject = intent.subject(names);
        if newest.get(&subject).is_none_or(|held| held.id < intent.id) {
            newest.insert(subject, intent);
        }
    }
    Ok(newest)
}
