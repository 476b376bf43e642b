//! What can go wrong in a drill.

use std::path::PathBuf;

use alloy::{
    primitives::{Address, B256},
    transports::TransportError,
};

/// Why a drill could not be carried out. Messages say what was tried, what was wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// No scenario of this name.
    #[error("there is no drill called `{name}`; drills are: {known}")]
    UnknownScenario {
        /// The name that was asked for.
        name: String,
        /// All names, comma separated.
        known: String,
    },
    /// A program or folder that the drill needs is not installed.
    #[error("{what} not found (looked in {looked}); run ./scripts/setup")]
    ToolMissing {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        looked: String,
    },
    /// A compiled contract could not be used.
    #[error("cannot use the compiled contract {}: {reason}", path.display())]
    Artifact {
        /// File that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done, as in "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The live chain's process could not be started or ended early.
    #[error("the live chain ({}) did not start: {reason}", program.display())]
    Process {
        /// The program.
        program: PathBuf,
        /// What it said.
        reason: String,
    },
    /// An RPC call failed.
    #[error("{what}: {source}")]
    Rpc {
        /// What was being done.
        what: String,
        /// The endpoint's answer.
        #[source]
        source: TransportError,
    },
    /// A chain's answer could not be decoded.
    #[error("{what} at {target} answered something else than its ABI says: {reason}")]
    Answer {
        /// The call.
        what: String,
        /// The contract.
        target: Address,
        /// The decoder's complaint.
        reason: String,
    },
    /// A transaction that the drill's own set-up needs was reverted.
    #[error("{what} was reverted in block {block} (transaction {hash})")]
    Reverted {
        /// What it was to do.
        what: String,
        /// Its hash.
        hash: B256,
        /// Its block.
        block: u64,
    },
    /// Something that must happen did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// The attack did no harm to the unguarded market, so that the drill proves nothing.
    #[error(
        "{scenario} ({run}): the attack no longer hurts the unguarded market (loss {loss}); the drill proves nothing and fails"
    )]
    Harmless {
        /// The scenario.
        scenario: &'static str,
        /// Which of its runs.
        run: String,
        /// What was lost.
        loss: String,
    },
    /// Honest traffic fails even without the guard, so that it proves nothing with it.
    #[error(
        "{scenario} ({run}): an honest {what} fails without the guard too (transaction {hash}); the traffic proves nothing"
    )]
    TrafficFails {
        /// The scenario.
        scenario: &'static str,
        /// Which of its runs.
        run: String,
        /// What the transaction is.
        what: &'static str,
        /// The transaction.
        hash: B256,
    },
    /// Two transactions did not land as the scenario needs them, on several fresh forks.
    #[error("{scenario} ({run}): the transactions did not land in the wanted order in {attempts} attempts: {reason}")]
    WrongOrder {
        /// The scenario.
        scenario: &'static str,
        /// Which of its runs.
        run: String,
        /// How often it was tried.
        attempts: u32,
        /// How they landed the last time.
        reason: String,
    },
    /// A scenario's protocol is not on the live chain.
    #[error("the protocol of {scenario} was not deployed on the live chain")]
    NotDeployed {
        /// The scenario.
        scenario: &'static str,
    },
    /// A figure is outside what the drill can compute with.
    #[error("{what} is out of range")]
    OutOfRange {
        /// The figure.
        what: String,
    },
    /// A placeholder of a configuration template has no value.
    #[error("the template of cordon.toml names `${{{name}}}`, for which the drill has no value")]
    Placeholder {
        /// The placeholder.
        name: String,
    },
    /// Key derivation or signing failed.
    #[error("cannot sign for drill account {index}: {reason}")]
    Signer {
        /// Index of the account in the drill's mnemonic.
        index: u32,
        /// What went wrong.
        reason: String,
    },
    /// The fork could not be started or stopped.
    #[error("the fork: {0}")]
    Node(#[from] cordon_node::NodeError),
    /// The configuration of the drill is not usable.
    #[error(transparent)]
    Config(#[from] cordon_client::ConfigError),
    /// The guard's programs are not usable.
    #[error("{0}; run `cordon guard build`")]
    Program(#[from] cordon_client::program::ProgramError),
    /// The fork could not be reached by the client.
    #[error(transparent)]
    Chain(#[from] cordon_client::chain::ChainError),
    /// The guard could not be deployed.
    #[error("deploying the guard: {0}")]
    Deploy(#[from] cordon_client::DeployError),
    /// The keeper could not be set up, or gave up.
    #[error("the keeper: {0}")]
    Keeper(#[from] cordon_keeper::KeeperError),
    /// The keeper's task ended in a panic.
    #[error("the keeper ended unexpectedly: {reason}")]
    KeeperDied {
        /// What the runtime says.
        reason: String,
    },
    /// The drill was interrupted; everything that it had started is stopped.
    #[error("interrupted")]
    Interrupted,
}

impl DrillError {
    /// Wraps a transport error with what was being done.
    pub(crate) fn rpc(what: impl Into<String>) -> impl FnOnce(TransportError) -> Self {
        let what = what.into();
        move |source| Self::Rpc { what, source }
    }

    /// Wraps an I/O error with what was being done to which file.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
