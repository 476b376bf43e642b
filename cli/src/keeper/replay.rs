//! `cordon keeper replay`.

use std::path::{Path, PathBuf};

use clap::Parser;
use cordon_client::{CompiledConfig, Config};
use cordon_keeper::decide::Act;
use cordon_keeper::{Found, Options, Side, What, one_line};
use serde_json::{Value, json};

use super::Args;
use crate::check::warn;
use crate::out::say;
use crate::style::Style;

/// How a replay is shown, and against what.
#[derive(Parser)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    args: Args,
    /// First block.
    #[arg(long, value_name = "BLOCK")]
    from: u64,
    /// Last block.
    #[arg(long, value_name = "BLOCK")]
    to: u64,
    /// Another configuration: shows the alerts that its rules and watches would add (+) and remove (-).
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// One JSON object per line instead of text; the last one is the summary.
    #[arg(long)]
    json: bool,
}

fn compiled(path: &Path) -> eyre::Result<(Options, CompiledConfig)> {
    let config = Config::load(path)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    Ok((Options::from_config(&config)?, compiled))
}

pub(super) async fn replay(wanted: &ReplayArgs) -> eyre::Result<()> {
    let (from, to) = (wanted.from, wanted.to);
    eyre::ensure!(from <= to, "--from {from} is after --to {to}");
    let (options, rules) = compiled(&wanted.args.config)?;
    let other = wanted.against.as_deref().map(compiled).transpose()?;
    if let Some((other, _)) = &other {
        eyre::ensure!(
            other.chain_id == options.chain_id,
            "the two configurations are for different chains: {} and {}",
            options.chain_id,
            other.chain_id
        );
    }
    if [Some(&options), other.as_ref().map(|(options, _)| options)]
        .into_iter()
        .flatten()
        .any(|options| options.quorum.endpoints > 1 || options.quorum.keepers > 1)
    {
        eprintln!(
            "what other endpoints and keepers said then cannot be replayed: of `quorum`, only `rules` is applied"
        );
    }
    let style = Style::of_stdout();
    let begun = std::time::Instant::now();
    let against = other.as_ref().map(|(options, rules)| (options, rules));
    let replayed = cordon_keeper::replay((&options, &rules), against, (from, to), |found| {
        let sentence = sentence(found, &rules);
        if wanted.json {
            say!("{}", found_json(found, &sentence));
            return;
        }
        let line = format!("block {}: {}", found.block.number, one_line(&sentence));
        match found.side {
            Side::Both if against.is_some() => say!("  {line}"),
            Side::Both => say!("{line}"),
            Side::Added => say!("{}", style.green(&format!("+ {line}"))),
            Side::Removed => say!("{}", style.red(&format!("- {line}"))),
        }
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    if wanted.json {
        let summary = json!({
            "summary": true, "blocks": replayed.blocks, "verdicts": replayed.verdicts, "unknown": replayed.unknown,
            "decisions": replayed.decisions, "sightings": replayed.sightings, "added": replayed.added,
            "removed": replayed.removed, "seconds": seconds,
        });
        say!("{summary}");
        return Ok(());
    }
    say!(
        "{} blocks, {} verdicts ({} unknown), {} decisions, {} sightings in {seconds:.1} s",
        replayed.blocks,
        replayed.verdicts,
        replayed.unknown,
        replayed.decisions,
        replayed.sightings,
    );
    if let Some(other) = &wanted.against {
        say!(
            "{} adds {} alerts and removes {}",
            other.display(),
            replayed.added,
            replayed.removed
        );
    }
    Ok(())
}

/// What was found, for people.
fn sentence(found: &Found, compiled: &CompiledConfig) -> String {
    let id = &found.id;
    match &found.what {
        What::Decided(decision) => {
            let name = compiled.scope_name(decision.scope).unwrap_or("?");
            let act = match decision.act {
                Act::Trip => "trip",
                Act::Contain => "contain",
                Act::Shadow => "only record (shadow)",
                Act::Tell => return format!("{id} is breached: tell people (no level)"),
            };
            format!("{id} is breached: {act}, scope {name} to {}", decision.level.name())
        }
        What::Waiting(held) => {
            let name = compiled.scope_name(held.decision.scope).unwrap_or("?");
            let level = held.decision.level.name();
            format!("{id} is breached: waits with scope {name} to {level}: {}", held.why)
        }
        What::Unknown => format!("{id} could not be evaluated"),
        What::Sighted(sighting) => format!("{id}: {}", sighting.text),
    }
}

fn found_json(found: &Found, sentence: &str) -> Value {
    let (kind, facts) = match &found.what {
        What::Decided(decision) => (
            "decided",
            json!({
                "level": decision.level.name(), "scope": decision.scope, "severity": decision.severity.name(),
                "witness": decision.witness, "shadow": decision.act == Act::Shadow,
            }),
        ),
        What::Waiting(held) => (
            "waiting",
            json!({
                "level": held.decision.level.name(), "scope": held.decision.scope,
                "severity": held.decision.severity.name(), "witness": held.decision.witness, "why": held.why,
            }),
        ),
        What::Unknown => ("unknown", Value::Null),
        What::Sighted(sighting) => ("sighted", sighting.facts.clone()),
    };
    let side = match found.side {
        Side::Both => "both",
        Side::Added => "added",
        Side::Removed => "removed",
    };
    json!({
        "block": found.block.number, "hash": found.block.hash, "id": found.id, "kind": kind, "side": side,
        "text": sentence, "facts": facts,
    })
}
