//! The `cordon` command: a node that runs Stylus programs, the guard, the keeper and the drills.
//!
//! Exit codes: 0 when all went well, 1 when something failed (the message says what), 2 when the command was written wrongly.

mod check;
mod drill;
mod guard;
mod import;
mod keeper;
mod key;
mod limiter;
mod node;
mod out;
mod signals;
mod style;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// As in other Ethereum nodes: blocks, states and logs are many small pieces, allocated on one thread and freed on another.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// On-chain incident management for DeFi protocols: guard, keeper, drills, and a node to try them on.
#[derive(Parser)]
#[command(name = "cordon", version, propagate_version = true)]
struct Cordon {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node for tests and drills: anvil's interface, on a chain that runs Stylus programs.
    Node(Box<node::Args>),
    /// Build, deploy, look at and operate a guard.
    #[command(subcommand)]
    Guard(guard::Command),
    /// Deploy, look at and change a limiter: how much of an asset leaves a contract within a time.
    #[command(subcommand)]
    Limiter(limiter::Command),
    /// Run the keeper: it checks every rule at every block and trips the guard.
    #[command(subcommand)]
    Keeper(keeper::Command),
    /// Replay an incident on a fork, without the guard and with it, and show what was saved.
    Drill(drill::Args),
    /// Make a cordon.toml of another monitor's configuration.
    #[command(subcommand)]
    Import(import::Command),
    /// Check a configuration: every rule compiled, with its class and cost. Nothing is sent anywhere.
    Check(check::Args),
}

fn main() -> ExitCode {
    let cordon = Cordon::parse();
    log_to_stderr(cordon.command.log_filter());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&eyre::Report::new(error)),
    };
    let result = runtime.block_on(async {
        match cordon.command {
            Command::Node(args) => node::run(*args).await,
            Command::Guard(command) => guard::run(command).await,
            Command::Limiter(command) => limiter::run(command).await,
            Command::Keeper(command) => keeper::run(&command).await,
            Command::Drill(args) => drill::run(&args).await,
            Command::Import(command) => import::run(&command),
            Command::Check(args) => check::run(&args).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &eyre::Report) -> ExitCode {
    let label = style::Style::of_stderr().red("error");
    eprintln!("{label}: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
    ExitCode::from(1)
}

impl Command {
    /// What is worth telling while the command runs.
    fn log_filter(&self) -> &'static str {
        match self {
            Self::Node(_) => "warn,cordon_node=info",
            Self::Guard(_) | Self::Limiter(_) | Self::Check(_) | Self::Import(_) => "warn,cordon_client=info",
            Self::Keeper(_) => "warn,cordon_keeper=info",
            // Its steps and its results say it all; many a guard is deployed and many an alarm raised on the way.
            Self::Drill(_) => "off",
        }
    }
}

/// Progress and warnings go to standard error, so that standard output holds results alone. `RUST_LOG` asks for more.
fn log_to_stderr(default: &str) {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Their spans carry whole URLs, and with them the keys of RPC providers.
    for target in [
        "alloy_rpc_client",
        "alloy_transport",
        "alloy_transport_http",
        "alloy_transport_ws",
        "alloy_pubsub",
        "alloy_provider",
        "reqwest",
        "hyper_util",
        "tungstenite",
        "tokio_tungstenite",
    ] {
        if let Ok(quiet) = format!("{target}=warn").parse() {
            filter = filter.add_directive(quiet);
        }
    }
    let colour = style::Style::of_stderr().is_coloured();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .init();
}
