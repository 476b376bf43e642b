//! The incident report of a run: the keeper's record, with what only the drill knows.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cordon_keeper::{
    record::{Incident, TimelineEntry},
    report::{Amount, RuleTexts, write},
};

use crate::{attack::Landed, chain::Chain, error::DrillError, loss::Loss, score::Damage};

/// Something that happened on the chain and that the keeper cannot know the meaning of.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    landed: Landed,
    kind: &'static str,
    text: String,
}

impl Note {
    /// What happened in the transaction `landed`.
    pub(crate) fn new(landed: Landed, kind: &'static str, text: &str) -> Self {
        Self {
            landed,
            kind,
            text: text.to_owned(),
        }
    }
}

/// Adds notes to the incident's timeline, each before the first entry that is about a later transaction, or about what was
/// noticed in its block as a whole.
pub(crate) async fn tell(incident: &mut Incident, chain: &Chain, notes: Vec<Note>) -> Result<(), DrillError> {
    for note in notes {
        let block = note.landed.block;
        let time = chain.timestamp(block).await?;
        let turn = turn(&incident.timeline, chain, &note.landed).await?;
        // A block's time is its second, rounded down: not before what came before.
        let second = i64::try_from(time.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let before = turn.checked_sub(1).and_then(|before| incident.timeline.get(before));
        let entry = TimelineEntry {
            at_ms: before.map_or(second, |before| before.at_ms.max(second)),
            block_number: Some(block),
            block_time: Some(time),
            kind: note.kind.to_owned(),
            text: note.text,
            tx: Some(note.landed.hash),
        };
        incident.timeline.insert(turn, entry);
    }
    Ok(())
}

/// Where in the timeline what `landed` did has its place.
async fn turn(timeline: &[TimelineEntry], chain: &Chain, landed: &Landed) -> Result<usize, DrillError> {
    for (position, entry) in timeline.iter().enumerate() {
        let is_later = match (entry.block_number, entry.tx) {
            (Some(number), _) if number != landed.block => number > landed.block,
            // What is said of a block as a whole was noticed once the block was there.
            (Some(_), None) => true,
            (Some(_), Some(hash)) => landed.before(&Landed::try_from(&chain.receipt(hash, "the timeline").await?)?),
            (None, _) => false,
        };
        if is_later {
            return Ok(position);
        }
    }
    Ok(timeline.len())
}

/// Says in the timeline that the fork's clock was moved `ahead`: from there on the blocks' times are ahead of the clock on the wall.
pub(crate) fn tell_of_clock(incident: &mut Incident, ahead: Duration, queued: &str) {
    let turn = incident.timeline.iter().position(|entry| entry.kind == queued);
    let Some((turn, entry)) = turn.and_then(|turn| Some((turn, incident.timeline.get(turn)?))) else {
        return;
    };
    let moved = TimelineEntry {
        at_ms: entry.at_ms,
        block_number: None,
        block_time: None,
        kind: "drill".to_owned(),
        text: format!(
            "nobody waits in a drill: the fork's clock was moved {} s ahead",
            ahead.as_secs()
        ),
        tx: None,
    };
    incident.timeline.insert(turn.saturating_add(1), moved);
}

/// Writes the report into `folder`, with amounts by asset.
pub(crate) async fn publish(
    folder: &Path,
    incident: &Incident,
    texts: &RuleTexts,
    unguarded: &Damage,
    guarded: &Damage,
) -> Result<PathBuf, DrillError> {
    let amounts = amounts(unguarded, guarded);
    let folder = folder.join("incidents");
    write(&folder, incident, &amounts, texts)
        .await
        .map_err(DrillError::file("write", folder))
}

/// What was lost on this chain, what the same attack takes without the guard, and the difference, asset by asset.
fn amounts(unguarded: &Damage, guarded: &Damage) -> Vec<Amount> {
    let row = |what: &str, loss: &Loss, source: &str| Amount {
        what: what.to_owned(),
        asset: loss.asset().to_owned(),
        amount: loss.whole(),
        source: source.to_owned(),
    };
    let mut rows = Vec::new();
    for without in &unguarded.by_asset {
        let with = guarded
            .by_asset
            .iter()
            .find(|loss| loss.asset() == without.asset())
            .cloned();
        let with = with.unwrap_or_else(|| without.none());
        rows.push(row("lost", &with, "this chain, at the prices before the attack"));
        rows.push(row(
            "lost without the guard",
            without,
            "the same attack on a fork of its own",
        ));
        rows.push(row("saved", &without.less(&with), "the difference"));
    }
    let only_here = guarded
        .by_asset
        .iter()
        .filter(|loss| unguarded.by_asset.iter().all(|without| without.asset() != loss.asset()));
    rows.extend(only_here.map(|loss| row("lost", loss, "this chain, at the prices before the attack")));
    rows
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;

    use super::*;

    fn damage(losses: &[(&'static str, u64)]) -> Damage {
        let by_asset: Vec<Loss> = losses
            .iter()
            .map(|(asset, amount)| Loss::new(asset, 0, U256::from(*amount), 0))
            .collect();
        let main = by_asset.first().cloned().unwrap_or(Loss::new("USDC", 0, U256::ZERO, 0));
        Damage { main, by_asset }
    }

    fn rows(unguarded: &[(&'static str, u64)], guarded: &[(&'static str, u64)]) -> Vec<String> {
        let amounts = amounts(&damage(unguarded), &damage(guarded));
        amounts
            .iter()
            .map(|row| format!("{} {} {}", row.what, row.amount, row.asset))
            .collect()
    }

    #[test]
    fn what_was_not_lost_was_saved() {
        assert_eq!(
            rows(&[("USDC", 10)], &[]),
            ["lost 0.0 USDC", "lost without the guard 10.0 USDC", "saved 10.0 USDC"]
        );
    }

    #[test]
    fn assets_are_told_apart() {
        let expected = [
            "lost 4.0 USDC",
            "lost without the guard 10.0 USDC",
            "saved 6.0 USDC",
            "lost 1.0 WETH",
        ];
        assert_eq!(rows(&[("USDC", 10)], &[("USDC", 4), ("WETH", 1)]), expected);
    }
}
