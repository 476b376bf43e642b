//! `cordon guard deploy`.

use std::path::PathBuf;

use alloy::primitives::B256;
use clap::Parser;
use cordon_client::build::{Artifacts, PROGRAMS};
use cordon_client::deploy::{GuardOptions, deploy_guard, seal};

use super::{ConfigArgs, root};
use crate::check::warn;
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
    let options = GuardOptions {
        salt: args.salt.unwrap_or(GuardOptions::default().salt),
        seals: !args.no_seal,
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
    if args.no_seal {
        println!(
            "{}",
            style.yellow("not sealed: the governor can change everything without announcing it")
        );
    } else if !deployment.is_sealed {
        seal(&provider, from, deployment.guard, &config, &compiled).await?;
        println!("{}", style.green("sealed"));
    }
    if !deployment.proposed_governor.is_zero() {
        println!(
            "{} has to accept the governor's role: acceptGovernor()",
            deployment.proposed_governor
        );
    }
    Ok(())
}
