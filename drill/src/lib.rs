//! Drills: incidents replayed on a fork of a chain with real protocols, without the guard and with it, and scored.
//!
//! A drill deploys its protocols on stock anvil,
//! forks that with `cordon-node` for every run, sends honest traffic, attacks, and reads from the chain what was lost.

mod abi;
mod artifact;
mod attack;
mod benign;
mod cast;
mod chain;
mod config;
mod error;
mod fork;
mod live;
mod loss;
mod outcome;
mod progress;
mod scenario;
mod score;
mod table;
mod tools;

use std::path::PathBuf;

use self::live::Live;
pub use self::{
    error::DrillError,
    loss::Loss,
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
