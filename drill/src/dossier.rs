//! The incident report of a run: the keeper's record, with what only the drill knows.

use std::path::{Path, PathBuf};

use cordon_keeper::{
    record::{Incident, TimelineEntry},
    report::{Amount, write},
};

use crate::{attack::Landed, chain::Chain, error::DrillError, loss::Loss, score::Damage};

/// Adds what happened in `landed` to the incident's timeline: after everything that is about that block or earlier ones, or at
/// the very beginning.
pub(crate) async fn tell(
    incident: &mut Incident,
    chain: &Chain,
    landed: &Landed,
    place: Place,
    kind: &str,
    text: String,
) -> Result<(), DrillError> {
    let time = chain.timestamp(landed.block).await?;
    let entry = TimelineEntry {
        at_ms: i64::try_from(time.saturating_mul(1_000)).unwrap_or(i64::MAX),
        block_number: Some(landed.block),
        block_time: Some(time),
        kind: kind.to_owned(),
        text,
        tx: Some(landed.hash),
    };
    let later = |other: &TimelineEntry| other.block_number.is_some_and(|block| block > landed.block);
    let at = match place {
        Place::First => 0,
        Place::InTurn => incident
            .timeline
            .iter()
            .position(later)
            .unwrap_or(incident.timeline.len()),
    };
    incident.timeline.insert(at, entry);
    Ok(())
}

/// Where an entry belongs in a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before everything that the keeper has seen.
    First,
    /// After what is about the same block.
    InTurn,
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
