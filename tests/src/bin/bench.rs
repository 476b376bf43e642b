//! The figures of `docs/benchmarks.md`, printed as Markdown; `scripts/bench` runs it. What it measures is in the library.
//!
//! Ends with 3 when the figures are complete and one of them misses its target, with 1 when something cannot be measured.

use std::process::ExitCode;

use cordon_tests::bench;

/// Exit code of a run whose figures are complete and miss a target.
const MISSED: u8 = 3;

#[tokio::main]
async fn main() -> eyre::Result<ExitCode> {
    let missed = bench::run(std::env::args().nth(1).as_deref()).await?;
    for miss in &missed {
        eprintln!("bench: {miss}");
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED)
    })
}
