//! `cordon guard …`.

mod deploy;
mod observe;
mod operate;
mod set;
mod status;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use cordon_client::Config;
use cordon_client::build::{Artifacts, build_programs, find_root};
use eyre::OptionExt;

/// What to do with a guard.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build the guard's programs from their sources.
    Build(BuildArgs),
    /// Deploy and activate the guard, give roles, adopt the rulebook, and seal it once it can do what it has to. Can be
    /// repeated: what is there is left alone.
    Deploy(deploy::Args),
    /// Show a guard: levels, roles, rulebook, programs.
    Status(status::Args),
    /// Have the guard re-evaluate a rule, and raise its scope when it is breached. Open to anyone.
    Trip(operate::TripArgs),
    /// Run once more the containment calls of a scope that failed or have not run. Open to anyone.
    Retry(operate::ScopeArgs),
    /// Raise the level of a scope.
    Contain(operate::ContainArgs),
    /// List, rehearse or contain the containment sets of the configuration.
    #[command(subcommand)]
    Set(set::Command),
    /// Queue the release of a scope; run again after the delay, execute it.
    Release(operate::ReleaseArgs),
    /// Undo, after expiry, what the guard did in a scope.
    Settle(operate::ScopeArgs),
    /// Have the guard observe the streams that are due: what rules compare with (`anchor`, `mean` and so on). Open to anyone.
    Observe(observe::Args),
    /// Take an announcement back: the governor, or a guardian who stops a thief with the governor's key.
    Cancel(operate::CancelArgs),
    /// Show the guard that the keeper lives.
    Heartbeat(operate::HeartbeatArgs),
}

/// Where the sources are.
#[derive(Parser)]
pub(crate) struct BuildArgs {
    /// Cordon's sources; found from the current folder upwards unless given.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// The configuration of a command.
#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "cordon.toml")]
    config: PathBuf,
}

impl ConfigArgs {
    pub(crate) fn load(&self) -> eyre::Result<Config> {
        Ok(Config::load(&self.config)?)
    }
}

pub(crate) async fn run(command: Command) -> eyre::Result<()> {
    match command {
        Command::Build(args) => build(&args).await,
        Command::Deploy(args) => deploy::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Trip(args) => operate::trip(&args).await,
        Command::Retry(args) => operate::retry(&args).await,
        Command::Contain(args) => operate::contain(&args).await,
        Command::Set(command) => set::run(&command).await,
        Command::Release(args) => operate::release(&args).await,
        Command::Settle(args) => operate::settle(&args).await,
        Command::Observe(args) => observe::run(&args).await,
        Command::Cancel(args) => operate::cancel(&args).await,
        Command::Heartbeat(args) => operate::heartbeat(&args).await,
    }
}

pub(crate) fn root(given: Option<&Path>) -> eyre::Result<PathBuf> {
    let start = match given {
        Some(folder) => folder.to_owned(),
        None => std::env::current_dir()?,
    };
    Ok(find_root(&start)?)
}

async fn build(args: &BuildArgs) -> eyre::Result<()> {
    let root = root(args.root.as_deref())?;
    let artifacts = build_programs(&root).await?;
    for program in artifacts.all() {
        println!(
            "{}: {} bytes of WebAssembly, {} bytes of code, code hash {}",
            program.name,
            program.wasm.len(),
            program.code.len(),
            program.code_hash()
        );
    }
    println!("in {}", Artifacts::directory(&root).display());
    Ok(())
}

/// The guard that a command is about.
pub(crate) fn deployed(config: &Config) -> eyre::Result<alloy::primitives::Address> {
    config.guard.address.ok_or_eyre(
        "`address` is missing in [guard]: deploy the guard with `cordon guard deploy`, then put its address there",
    )
}

/// Id of the scope of that name.
pub(crate) fn scope(config: &Config, name: &str) -> eyre::Result<u8> {
    config.scope(name).ok_or_else(|| {
        let help = cordon_client::config::suggest(name, config.guard.scopes.iter().map(String::as_str));
        eyre::eyre!(
            "unknown scope `{name}`{}",
            help.map(|help| format!("; {help}")).unwrap_or_default()
        )
    })
}
