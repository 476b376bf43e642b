//! `cordon guard deploy`.

use std::path::PathBuf;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use clap::Parser;
use cordon_client::CompiledConfig;
use cordon_client::build::{Artifacts, PROGRAMS};
use cordon_client::config::format_duration;
use cordon_client::deploy::{Announcement, DeployError, GuardOptions, deploy_guard, moved_scopes, seal};
use cordon_client::observe::begin_streams;
use cordon_client::status::streams;

use super::{ConfigArgs, root};
use crate::check::{warn, warn_moved};
use crate::key::KeyArgs;
use crate::style::Style;

/// How to deploy.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Folder with the programs' .bin files; that of `cordon guard build` unless given.
    #[arg(long, value_name = "FOLDER")]
    artifacts: Option<PathBuf>,
    /// Cordon's sources; found from the current folder upwards unless given.
    #[arg(long, value_name = "FOLDER", conflicts_with = "artifacts")]
    root: Option<PathBuf>,
    /// 32 bytes in hex that make this guard's address differ from another one's of the same governor.
    #[arg(long, value_name = "HEX")]
    salt: Option<B256>,
    /// Do not end the set-up: the governor can still change everything without announcing it.
    #[arg(long)]
    no_seal: bool,
    /// Announce the changes that a sealed guard takes only after its governor's delay; the same command without this makes them then.
    #[arg(long)]
    announce: bool,
    /// Write the guard's address into the configuration.
    #[arg(long)]
    write: bool,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let config = args.config.load()?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    let folder = match &args.artifacts {
        Some(folder) => folder.clone(),
        None => Artifacts::directory(&root(args.root.as_deref())?),
    };
    let artifacts = Artifacts::load(&folder)?;
    let (provider, from) = args.key.connect(&config.chain).await?;
    if let Some(guard) = config.guard.address {
        warn_moved(&moved_scopes(&provider, guard, &compiled).await?);
    }
    let options = GuardOptions {
        salt: args.salt.unwrap_or(GuardOptions::default().salt),
        seals: !args.no_seal,
        announces: args.announce,
    };
    let deployment = deploy_guard(&provider, from, &config, &compiled, &artifacts, options).await?;

    let style = Style::of_stdout();
    let how = if deployment.created { "deployed" } else { "found" };
    println!("guard     {} ({how})", style.bold(&deployment.guard.to_string()));
    for (name, account) in PROGRAMS.iter().zip(deployment.programs) {
        println!("{name:<9} {account}");
    }
    println!("rulebook  {} (code hash {})", deployment.rulebook, compiled.code_hash());
    if config.guard.address.is_none() {
        let text = config.with_guard_address(deployment.guard).filter(|_| args.write);
        match text {
            Some(text) => {
                std::fs::write(config.source.path(), text)?;
                println!("its address is now in {}", config.source.path().display());
            }
            None => println!("put its address into [guard]: address = \"{}\"", deployment.guard),
        }
    }
    if !deployment.announced.is_empty() {
        return tell_announced(&provider, &deployment.announced).await;
    }
    if args.no_seal {
        println!(
            "{}",
            style.yellow("not sealed: the governor can change everything without announcing it")
        );
    } else if deployment.is_sealed {
        begin(&provider, from, deployment.guard, &compiled).await?;
    } else {
        seal(&provider, from, deployment.guard, &config, &compiled).await?;
        println!("{}", style.green("sealed"));
    }
    streams_known(&provider, deployment.guard, &compiled).await?;
    if !deployment.proposed_governor.is_zero() {
        println!(
            "{} has to accept the governor's role: acceptGovernor()",
            deployment.proposed_governor
        );
    }
    Ok(())
}

/// Says what waits for its time, when it is due, and who can take it back.
async fn tell_announced(provider: &impl Provider, announced: &[Announcement]) -> eyre::Result<()> {
    let head = provider.get_block(BlockId::latest()).await?;
    let now = head.map_or(0, |head| head.header.timestamp);
    for of in announced {
        println!(
            "{}: {}; due in {} and void 14 days later (action hash {})",
            if of.is_new { "announced" } else { "announced before" },
            of.change,
            format_duration(of.due.saturating_sub(now)),
            of.action_hash
        );
    }
    println!("run this again without --announce then; until then `cordon guard cancel HASH` takes one back");
    Ok(())
}

/// Has a sealed guard begin with the streams of a rulebook that it has adopted. What it cannot observe is a warning: the rulebook is adopted.
async fn begin(provider: &impl Provider, from: Address, guard: Address, compiled: &CompiledConfig) -> eyre::Result<()> {
    match begin_streams(provider, from, guard, compiled).await {
        Err(error @ DeployError::StreamsEmpty { .. }) => {
            eprintln!("{}: {error}", Style::of_stderr().yellow("warning"));
            Ok(())
        }
        done => Ok(done.map(|_| ())?),
    }
}

/// Says which rules wait for their streams, and for how long at least.
async fn streams_known(provider: &impl Provider, guard: Address, compiled: &CompiledConfig) -> eyre::Result<()> {
    let warning = Style::of_stderr().yellow("warning");
    let head = provider.get_block(BlockId::latest()).await?;
    let now = head.map_or(0, |head| head.header.timestamp);
    for state in streams(provider, guard, BlockId::latest(), compiled).await? {
        let wait = state.known_in(now);
        if wait == 0 {
            continue;
        }
        let (name, rules) = (state.reads.join(", "), state.rules.join("`, `"));
        let begun = match state.stored.observed_at() {
            0 => "was never observed, and begins with whatever is observed first",
            _ => "has begun",
        };
        eprintln!(
            "{warning}: stream {} ({name}) {begun}; rules can compare with it in {} at the earliest. Until then `{rules}` is Unknown, \
             and hooks that check it refuse what adds risk. Run the keeper from now on: it contradicts what others may have made the guard \
             observe (`cordon guard status` shows it)",
            state.index,
            format_duration(wait)
        );
    }
    Ok(())
}
