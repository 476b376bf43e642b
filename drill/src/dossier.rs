//! The incident report of a run: the keeper's record, with what only the drill knows.

use std::path::{Path, PathBuf};

use cordon_keeper::{
    record::{Incident, TimelineEntry},
    report::{Amount, write},
};

use crate::{attack::Landed, chain::Chain, error::DrillError, loss::Loss, score::Damage};

/// Something that happened on the chain and that the keeper cannot know the meaning of.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    landed: Landed,
    kind: &'static str,
    text: String,
    first: bool,
}

impl Note {
    /// What happened in the transaction `landed`; it stands after everything that is about its block or earlier ones.
    pub(crate) fn new(landed: Landed, kind: &'static str, text: &str) -> Self {
        Self {
            landed,
            kind,
            text: text.to_owned(),
            first: false,
        }
    }

    /// The same, but before everything that the keeper has seen.
    pub(crate) fn first(self) -> Self {
        Self { first: true, ..self }
    }
}

/// Adds notes to the incident's timeline.
pub(crate) async fn tell(incident: &mut Incident, chain: &Chain, notes: Vec<Note>) -> Result<(), DrillError> {
    for note in notes {
        let block = note.landed.block;
        let time = chain.timestamp(block).await?;
        let later = |other: &TimelineEntry| other.block_number.is_some_and(|number| number > block);
        let turn = incident
            .timeline
            .iter()
            .position(later)
            .unwrap_or(incident.timeline.len());
        let entry = TimelineEntry {
            at_ms: i64::try_from(time.saturating_mul(1_000)).unwrap_or(i64::MAX),
            block_number: Some(block),
            block_time: Some(time),
            kind: note.kind.to_owned(),
            text: note.text,
            tx: Some(note.landed.hash),
        };
        incident.timeline.insert(if note.first { 0 } else { turn }, entry);
    }
    Ok(())
}

/// Writes the report into `folder`, with amounts by asset.
pub(crate) async fn publish(
    folder: &Path,
    incident: &Incident,
    unguarded: &Damage,
    guarded: &Damage,
) -> Result<PathBuf, DrillError> {
    let amounts = amounts(unguarded, guarded);
    let folder = folder.join("incidents");
    write(&folder, incident, &amounts)
        .await
        .map_err(DrillError::file("write", folder))
}

fn amounts(unguarded: &Damage, guarded: &Damage) -> Vec<Amount> {
    let row = |what: &str, loss: &Loss, source: &str| Amount {
        what: what.to_owned(),
        asset: loss.asset().to_owned(),
        amount: loss.whole(),
        source: source.to_owned(),
    };
    let mut rows: Vec<Amount> = guarded
        .by_asset
        .iter()
        .map(|loss| row("lost", loss, "this chain, at the prices before the attack"))
        .collect();
    if rows.is_empty() {
        rows.push(row(
            "lost",
            &guarded.main,
            "this chain, at the prices before the attack",
        ));
    }
    rows.extend(
        unguarded
            .by_asset
            .iter()
            .map(|loss| row("lost without the guard", loss, "the same attack on a fork of its own")),
    );
    rows
}
