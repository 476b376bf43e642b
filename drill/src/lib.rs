//! Drills: incidents replayed on a fork of a chain with real protocols, without the guard and with it, and scored.
//!
//! [`run`] carries out one drill, [`demo`] all of them against one live chain. A drill deploys its protocols on stock anvil,
//! forks that with `cordon-node` for every run, sends honest traffic, attacks, and reads from the chain what was lost.

mod abi;
mod arrivals;
mod artifact;
mod attack;
mod benign;
mod cast;
mod chain;
mod config;
mod dossier;
mod error;
mod fork;
mod live;
mod loss;
mod market;
mod outcome;
mod play;
mod progress;
mod refusal;
mod scenario;
mod score;
mod stage;
mod table;
mod tools;

use std::path::PathBuf;

use self::live::Live;
pub use self::{
    error::DrillError,
    loss::Loss,
    market::Market,
    outcome::{Detector, Latency, Order, Outcome, Run},
    progress::{Progress, Silent},
    scenario::Scenario,
    table::{Style, table},
    tools::Tools,
};

/// Settings of a drill.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder for incident reports, configurations and the keeper's records. `None`: `drills` in the working directory.
    pub out: Option<PathBuf>,
    /// Root of the project. `None`: it is searched for.
    pub root: Option<PathBuf>,
    /// The anvil program. `None`: it is searched for, an installed Foundry first.
    pub anvil: Option<PathBuf>,
}

/// What every part of a drill needs to know.
struct Context<'a> {
    tools: &'a Tools,
    live: &'a Live,
    out: PathBuf,
    progress: &'a dyn Progress,
}

/// Carries out the drill called `name`.
///
/// # Errors
/// When the name is unknown, something is not installed, the chain, the fork, the guard or the keeper fails, or the attack
/// does no harm without the guard. On an interrupt everything that was started is stopped before this returns.
pub async fn run(name: &str, options: &Options, progress: &dyn Progress) -> Result<Outcome, DrillError> {
    let scenario: Scenario = name.parse()?;
    let mut outcomes = all(&[scenario], options, progress).await?;
    // `all` answers one outcome per scenario.
    outcomes.pop().ok_or(DrillError::Interrupted)
}

/// Carries out all drills against one live chain.
///
/// # Errors
/// As [`run`].
pub async fn demo(options: &Options, progress: &dyn Progress) -> Result<Vec<Outcome>, DrillError> {
    all(&Scenario::ALL, options, progress).await
}

async fn all(scenarios: &[Scenario], options: &Options, progress: &dyn Progress) -> Result<Vec<Outcome>, DrillError> {
    let tools = Tools::discover(options.root.as_deref(), options.anvil.as_deref())?;
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from("drills"));
    std::fs::create_dir_all(&out).map_err(DrillError::file("create", &out))?;
    let out = out.canonicalize().map_err(DrillError::file("find", &out))?;
    tokio::select! {
        outcomes = staged(&tools, out, scenarios, progress) => outcomes,
        () = interrupted() => Err(DrillError::Interrupted),
    }
}

/// Runs the scenarios. Dropping this future stops all that it started.
async fn staged(
    tools: &Tools,
    out: PathBuf,
    scenarios: &[Scenario],
    progress: &dyn Progress,
) -> Result<Vec<Outcome>, DrillError> {
    let live = Live::start(tools, scenarios, progress).await?;
    let context = Context {
        tools,
        live: &live,
        out,
        progress,
    };
    let mut outcomes = Vec::with_capacity(scenarios.len());
    let mut failure = None;
    for scenario in scenarios {
        match scenario.run(&context).await {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    live.stop().await;
    failure.map_or(Ok(outcomes), Err)
}

/// Ends at the first SIGINT or SIGTERM. Without a way to listen for them it never ends, and the system's default applies.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
