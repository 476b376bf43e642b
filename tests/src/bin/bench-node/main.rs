//! `cordon node` against stock anvil: the same client, the same work, in the same run. `scripts/bench node` runs it.
//!
//! Prints Markdown, and ends with an error when a target is missed. Each figure is the median of several runs on fresh processes,
//! ours and the peer's by turns, because the machine is noisy. Usage: `bench-node CORDON [--short] [WORKLOAD...]`, where CORDON
//! is the program to measure. The short form runs what can be told of a development build, once, and again only what missed.

mod client;
mod load;
mod peer;
mod stylus;
mod table;
mod target;
mod token;
mod transfers;
mod workload;

use std::path::{Path, PathBuf};

use cordon_drill::{Market, Tools};
use eyre::{OptionExt, bail, ensure};

use crate::peer::Programs;
use crate::table::Measured;
use crate::workload::{Upstream, Workload};

/// Name of the load test for the command line.
const LOAD: &str = "load";

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: bench-node CORDON [--short] [WORKLOAD...]";
    let cordon = PathBuf::from(args.next().ok_or_eyre(usage)?);
    let (options, names): (Vec<String>, Vec<String>) = args.partition(|arg| arg.starts_with('-'));
    let short = !options.is_empty();
    if let Some(unknown) = options.iter().find(|option| *option != "--short") {
        bail!("there is no option `{unknown}`; {usage}");
    }
    let chosen = |id: &str| names.iter().any(|name| name == id);
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
    let wanted = |workload: &Workload| match names.is_empty() {
        true => !short || workload.is_short(),
        false => chosen(workload.id()),
    };
    let workloads: Vec<Workload> = Workload::ALL.into_iter().filter(wanted).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_eyre("the project has no root")?;
    let tools = Tools::discover(Some(root), None)?;
    let programs = Programs {
        cordon,
        anvil: tools.anvil.clone(),
    };
    let mut missed = 0usize;
    if !workloads.is_empty() {
        let market = Market::start(&tools).await?;
        let upstream = Upstream {
            endpoint: market.endpoint().to_owned(),
            pool: market.pool,
            borrower: market.borrower,
        };
        let measured = Measured {
            programs: &programs,
            root,
            upstream: &upstream,
            short,
        };
        missed = measured.table(&workloads).await;
        market.stop().await;
    }
    if chosen(LOAD) || (names.is_empty() && !short) {
        missed = missed.saturating_add(load::loads(&programs, root).await);
    }
    ensure!(missed == 0, "{missed} targets are missed");
    Ok(())
}
