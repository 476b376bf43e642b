//! `cordon node` against stock anvil: the same client, the same work, in the same run. `scripts/bench node` runs it.
//!
//! Prints Markdown. Each figure is the median of several runs on fresh processes, ours and the peer's by turns, because the
//! machine is noisy. Usage: `bench-node CORDON [WORKLOAD...]`, where CORDON is the program to measure.

mod client;
mod load;
mod peer;
mod token;
mod workload;

use std::path::{Path, PathBuf};

use cordon_drill::{Market, Tools};
use eyre::{OptionExt, bail};

use crate::peer::{Kind, Programs};
use crate::workload::{Upstream, Workload};

/// Runs of each workload.
const RUNS: usize = 3;

/// Name of the load test for the command line.
const LOAD: &str = "load";

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let mut args = std::env::args().skip(1);
    let cordon = PathBuf::from(args.next().ok_or_eyre("usage: bench-node CORDON [WORKLOAD...]")?);
    let names: Vec<String> = args.collect();
    let wanted = |id: &str| names.is_empty() || names.iter().any(|name| name == id);
    if let Some(unknown) = names
        .iter()
        .find(|name| *name != LOAD && Workload::ALL.iter().all(|workload| workload.id() != name.as_str()))
    {
        let known: Vec<_> = Workload::ALL
            .iter()
            .map(|workload| workload.id())
            .chain([LOAD])
            .collect();
        bail!("there is no workload `{unknown}`; there are {}", known.join(", "));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_eyre("the project has no root")?;
    let tools = Tools::discover(Some(root), None)?;
    let programs = Programs {
        cordon,
        anvil: tools.anvil.clone(),
    };
    let market = Market::start(&tools).await?;
    let upstream = Upstream {
        endpoint: market.endpoint().to_owned(),
        pool: market.pool,
        borrower: market.borrower,
    };
    table(&programs, root, &upstream, &wanted).await?;
    market.stop().await;
    if wanted(LOAD) {
        loads(&programs, root).await?;
    }
    Ok(())
}

async fn table(
    programs: &Programs,
    root: &Path,
    upstream: &Upstream,
    wanted: &impl Fn(&str) -> bool,
) -> eyre::Result<()> {
    println!("| workload | unit | cordon node | anvil | times as good |");
    println!("| --- | --- | ---: | ---: | ---: |");
    for workload in Workload::ALL.into_iter().filter(|workload| wanted(workload.id())) {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(workload.measure(programs, Kind::Cordon, (root, upstream)).await?);
            if workload.has_peer() {
                peer.push(workload.measure(programs, Kind::Anvil, (root, upstream)).await?);
            }
        }
        let (ours, peer) = (median(&mut ours), median(&mut peer));
        let ratio = match (ours, peer) {
            (Some(ours), Some(peer)) if workload.is_rate() => Some(ours / peer),
            (Some(ours), Some(peer)) => Some(peer / ours),
            _ => None,
        };
        let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), figure_text);
        println!(
            "| {} | {} | {} | {} | {} |",
            workload.title(),
            workload.unit(),
            shown(ours),
            shown(peer),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        );
    }
    println!();
    Ok(())
}

fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Three digits say all that a noisy machine can.
fn figure_text(figure: f64) -> String {
    if figure >= 100.0 {
        format!("{figure:.0}")
    } else if figure >= 1.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.3}")
    }
}

async fn loads(programs: &Programs, root: &Path) -> eyre::Result<()> {
    println!("Sixteen connections that send ERC-20 transfers for 10 s and wait for nothing, automine:\n");
    println!(
        "| node | transfers | accepted | refused | lost | mined twice | mined per s | drained after, s | most memory, MiB |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for signed in [false, true] {
        for (kind, name) in [
            (Kind::Cordon, "cordon node, default settings"),
            (Kind::Anvil, "anvil, `--max-transactions 1000000`"),
        ] {
            let transfers = if signed { "signed" } else { "from unlocked accounts" };
            match load::run(programs, kind, root, signed).await {
                Ok(load) => println!(
                    "| {name} | {transfers} | {} | {} | {} | {} | {:.0} | {:.1} | {:.0} |",
                    load.accepted,
                    load.refused,
                    load.lost,
                    load.twice,
                    load.rate,
                    load.drained.as_secs_f64(),
                    load.peak_mib
                ),
                Err(error) => println!("| {name} | {transfers} | failed: {error} | | | | | | |"),
            }
        }
    }
    println!();
    Ok(())
}
