//! The figures of `docs/benchmarks.md`, measured on a node of ours; `scripts/bench` runs it.
//!
//! Prints Markdown. Gas is read from receipts, events and traces of real transactions. Times are medians of several runs, next to a
//! peer's in the same run, because machines differ and are noisy.

mod adapters;
mod embedded;
mod gas;
mod keeper;
mod questions;
mod response;
mod start;
mod streams;
mod stylus;
mod world;

use std::path::Path;
use std::time::Duration;

use cordon_node::NodeConfig;
use eyre::OptionExt;

use crate::world::Bench;

/// Runs of everything that is timed.
const RUNS: usize = 5;

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_eyre("the project has no root")?
        .to_owned();
    match std::env::args().nth(1).as_deref() {
        Some("gas") | None => {}
        Some("stylus") => return stylus::stylus(&root).await,
        Some(other) => eyre::bail!("there is no section `{other}`: give `gas`, `stylus`, or nothing for all"),
    }
    let bench = Bench::new(&root, NodeConfig::default()).await?;
    bench.programs().await?;
    bench.gas().await?;
    bench.questions().await?;
    bench.responses().await?;
    bench.questions_contained().await?;
    bench.embedded().await?;
    bench.adapters().await?;
    bench.node.stop().await?;
    streams::streams(&root).await?;
    if std::env::args().any(|argument| argument == "gas") {
        return Ok(());
    }
    start::fork_start(&root).await?;
    stylus::stylus(&root).await?;
    keeper::keeper(&root).await
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
