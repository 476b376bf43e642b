//! What the record knows of an incident, for the conditions of playbooks.

use cordon_client::playbook::{Facts, RuleSays, Standing};
use cordon_core::level::Level;

use crate::record::db::{Connection, query_as};
use crate::record::notices::incident_topic;
use crate::record::{AlarmKind, IncidentState, Names, StoreError, dossier, intents};

pub(super) async fn read(
    connection: &mut Connection,
    incident: i64,
    names: &Names,
    now_ms: i64,
) -> Result<Facts, StoreError> {
    let (severity, state, level, rule, opened_ms): (String, String, i64, Option<String>, i64) =
        query_as("SELECT severity, state, level, rule_name, opened_ms FROM incidents WHERE id = ?")
            .bind(incident)
            .fetch_one(&mut *connection)
            .await?;
    let state = IncidentState::from_name(&state).ok_or(StoreError::Damaged { what: "incident state" })?;
    let breached: Vec<(i64,)> = query_as("SELECT DISTINCT rule FROM breaches")
        .fetch_all(&mut *connection)
        .await?;
    let unknown: Vec<(String,)> = query_as("SELECT subject FROM alarms WHERE kind = ? AND cleared_ms IS NULL")
        .bind(AlarmKind::RuleUnknown.name())
        .fetch_all(&mut *connection)
        .await?;
    let cared: Option<(i64,)> = query_as("SELECT at_ms FROM acknowledgements WHERE topic = ?")
        .bind(incident_topic(incident))
        .fetch_optional(connection)
        .await?;
    // A rule that cannot be evaluated now is unknown, whatever it said before.
    let mut rules: Vec<(String, RuleSays)> = unknown
        .into_iter()
        .map(|(subject,)| (subject, RuleSays::Unknown))
        .collect();
    for (index,) in breached {
        let index: u16 = crate::record::small("rule index", index)?;
        rules.push((names.rule(index), RuleSays::Breached));
    }
    Ok(Facts {
        // The row keeps the last level that was held.
        level: match state {
            IncidentState::Contained => intents::level(level)?,
            _ => Level::Normal,
        },
        severity: dossier::severity_from(&severity)?,
        standing: standing(state),
        acknowledged: cared.is_some(),
        age: u64::try_from(now_ms.saturating_sub(opened_ms) / 1_000).unwrap_or_default(),
        rule,
        rules,
    })
}

fn standing(state: IncidentState) -> Standing {
    match state {
        IncidentState::Open => Standing::Open,
        IncidentState::Contained => Standing::Contained,
        IncidentState::Released => Standing::Released,
        IncidentState::Settled => Standing::Settled,
        IncidentState::Closed => Standing::Closed,
    }
}
