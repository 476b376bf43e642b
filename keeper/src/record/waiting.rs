//! Breaches that others have to agree on before they are acted on: people are told at once, and see what is missing.

use std::collections::BTreeSet;

use super::alarms::{self, AlarmKind, OpenAlarms};
use super::db::Connection;
use super::incidents::{self, Opening};
use super::timeline::{self, Entry};
use super::{BlockRecord, Names, StoreError, is_of_playbook};

/// Notes what waits at a block, and what does not any more.
pub(super) async fn note(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    names: &Names,
    open: &OpenAlarms,
) -> Result<(), StoreError> {
    for waiting in record.waiting {
        let decision = &waiting.decision;
        let name = names.rule(decision.rule);
        let id = match incidents::of_scope(connection, decision.scope).await? {
            Some(id) => id,
            None => {
                let opening = Opening::of(record.block, decision, names);
                incidents::open(connection, &opening).await?
            }
        };
        let text = format!(
            "rule {name} is breached; {} is not raised to {} yet: {}",
            names.scope(decision.scope),
            decision.level.name(),
            waiting.why
        );
        let entry = Entry {
            block: Some(record.block),
            mark: Some(format!("waiting:{id}:{}:{}", decision.rule, waiting.why)),
            ..Entry::new("waiting", &text)
        };
        timeline::entry(connection, id, &entry).await?;
        alarms::raise(
            connection,
            AlarmKind::QuorumShort,
            &name,
            &text,
            Some(record.block.number),
        )
        .await?;
    }
    if record.verdicts.is_empty() {
        return Ok(());
    }
    let waiting: BTreeSet<String> = record
        .waiting
        .iter()
        .map(|held| names.rule(held.decision.rule))
        .collect();
    for subject in open
        .subjects(AlarmKind::QuorumShort)
        .filter(|subject| !waiting.contains(*subject) && !is_of_playbook(subject))
    {
        alarms::clear(connection, AlarmKind::QuorumShort, subject).await?;
    }
    Ok(())
}
