//! The keeper against the clock: how fast it tells what its watches see, how fast it catches up, and what it misses or tells
//! twice when the endpoint stalls or the chain reorganises. `scripts/bench keeper` runs it.
//!
//! Prints Markdown. The keeper runs as a process of its own, so that its memory is its own; the chain is a stock anvil (for rules on
//! the state `cordon node`, which runs guards), the receiver of its webhooks is here. Usage: `bench-keeper ANVIL [ROW...]`, or
//! `bench-keeper soak SECONDS [--check]` for a keeper with a guard on our own node: with `--check` growth is an error, and a keeper that
//! is much slower than a plain reader beside it.

mod chain;
mod child;
mod drift;
mod hook;
mod peer;
mod proxy;
mod rows;
mod soak;
mod state;

use std::path::{Path, PathBuf};

use eyre::{OptionExt, bail};

/// Rows of the table by name.
const ROWS: [&str; 6] = ["latency", "catch-up", "stall", "reorg", "replay", "state"];

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let mut args = std::env::args().skip(1);
    let first = args.next().ok_or_eyre("usage: bench-keeper ANVIL [ROW...]")?;
    if first == child::WORD {
        return child::run(args.next().ok_or_eyre("the child needs its configuration")?).await;
    }
    if first == child::GUARD {
        return child::guard(args.next().ok_or_eyre("the child needs its configuration")?).await;
    }
    if first == child::REPLAY {
        return child::replay(&args.collect::<Vec<_>>()).await;
    }
    if first == soak::WORD {
        return soak::keep(args.next().ok_or_eyre("the child needs its configuration")?).await;
    }
    if first == peer::WORD {
        return peer::read(args.next().ok_or_eyre("the reader needs its configuration")?).await;
    }
    if first == "soak" {
        let seconds = args.next().ok_or_eyre("usage: bench-keeper soak SECONDS [--check]")?;
        let checks = args.next().is_some_and(|word| word == "--check");
        println!("{}", soak::soak(seconds.parse()?, checks).await?);
        return Ok(());
    }
    let anvil = PathBuf::from(first);
    let names: Vec<String> = args.collect();
    if let Some(unknown) = names.iter().find(|name| !ROWS.contains(&name.as_str())) {
        bail!("there is no row `{unknown}`; there are {}", ROWS.join(", "));
    }
    println!("| row | measured |");
    println!("| --- | --- |");
    for row in ROWS {
        if !names.is_empty() && !names.iter().any(|name| name == row) {
            continue;
        }
        let line = match row {
            "latency" => rows::latency(&anvil).await?,
            "catch-up" => rows::catch_up(&anvil).await?,
            "stall" => rows::stall(&anvil).await?,
            "reorg" => rows::reorg(&anvil).await?,
            "replay" => rows::replay(&anvil).await?,
            _ => state::state(Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or_eyre("no root")?).await?,
        };
        println!("{line}");
    }
    Ok(())
}
