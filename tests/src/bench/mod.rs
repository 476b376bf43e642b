//! The figures of `docs/benchmarks.md`, measured on a node of ours.
//!
//! Gas is read from receipts, events and traces of real transactions. Times are medians of several runs, next to a peer's in the same
//! run, because machines differ and are noisy.

mod adapters;
mod embedded;
mod gas;
mod keeper;
pub mod landed;
mod peers;
mod questions;
mod response;
mod start;
mod streams;
mod stylus;
pub mod targets;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use cordon_node::NodeConfig;
use eyre::OptionExt;

pub use self::gas::{Hooks, ProgramFigures};
pub use self::response::ResponseGas;
pub use self::targets::Miss;
pub use self::world::{Bench, creation_code};

/// Runs of everything that is timed.
const RUNS: usize = 5;

/// The project's root, as it was when this was compiled.
///
/// # Errors
/// When this crate has no folder above it.
pub fn root() -> eyre::Result<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().ok_or_eyre("the project has no root")?.to_owned())
}

/// Measures a section (`gas`, `stylus`), or everything, and prints it as Markdown.
///
/// # Errors
/// For another section, and when something cannot be measured. A target that is missed is an answer.
pub async fn run(section: Option<&str>) -> eyre::Result<Vec<Miss>> {
    let root = root()?;
    match section {
        Some("gas") | None => {}
        Some("stylus") => {
            stylus::stylus(&root).await?;
            return Ok(Vec::new());
        }
        Some(other) => eyre::bail!("there is no section `{other}`: give `gas`, `stylus`, or nothing for all"),
    }
    let bench = Bench::new(&root, NodeConfig::default()).await?;
    bench.print_programs().await?;
    let hooks = bench.print_hooks().await?;
    bench.questions().await?;
    let responses = bench.print_responses().await?;
    bench.questions_contained().await?;
    let embedded = bench.embedded().await?;
    bench.adapters().await?;
    bench.node.stop().await?;
    streams::streams(&root).await?;
    peers::print();
    let missed = targets::missed(&hooks, &responses, &embedded);
    if section.is_none() {
        start::fork_start(&root).await?;
        stylus::stylus(&root).await?;
        keeper::keeper(&root).await?;
    }
    Ok(missed)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
