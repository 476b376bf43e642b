//! Putting programs and the guard on a chain. Everything here can be repeated: what is already there is left alone.

mod govern;
mod guard;
mod program;
mod scopes;
mod verify;

use alloy::primitives::{Address, B256};

use crate::chain::ChainError;

pub use govern::Announcement;
pub(crate) use guard::roles as configured_roles;
pub use guard::{Deployment, GuardOptions, deploy_guard, ensure_rulebook, seal};
pub use program::{Activation, activate, activation, data_fee, deploy_at_fixed_address, deploy_program, with_margin};
pub use scopes::{MovedScope, moved_scopes};
pub use verify::{check_containment, check_contracts, verify_guard};

/// Why a deployment stopped. What was done before stays; running it again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The chain or the endpoint.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// No governor is configured.
    #[error("`governor` is missing in [guard]: name the account that may loosen")]
    NoGovernor,
    /// A chain without Stylus.
    #[error("the chain cannot run Stylus programs: ArbWasm does not answer ({reason})")]
    NoStylus {
        /// What ArbWasm gave instead.
        reason: String,
    },
    /// A chain without the deployer contract.
    #[error("the chain has no StylusDeployer at {0}: deploy it first, at this address")]
    NoDeployer(Address),
    /// A chain without the factory of contracts at fixed addresses.
    #[error("the chain has no CREATE2 factory at {0}: deploy it first, at this address")]
    NoFactory(Address),
    /// Refused by the chain's validation.
    #[error("the chain does not accept the program {name}: {reason}")]
    NotAccepted {
        /// The program.
        name: String,
        /// Why.
        reason: String,
    },
    /// A transaction that should have made a contract did not.
    #[error("the transaction {hash} was to create {name}, but there is none")]
    NotCreated {
        /// What was to be made.
        name: String,
        /// The transaction.
        hash: B256,
    },
    /// Addresses that are to be contracts.
    #[error("no code at {}; check the addresses in [contracts], and that the endpoint is of the right chain", list(.0))]
    NoCode(
        /// Names and addresses.
        Vec<(String, Address)>,
    ),
    /// A containment call that the guard cannot make.
    #[error("the guard {guard} cannot carry out every containment call:\n{}\ngive it the role that each call needs, then run this again (`--no-seal` deploys it without trying them)", lines(.failures))]
    CallsFail {
        /// The guard.
        guard: Address,
        /// Each failing call and why.
        failures: Vec<CallFailure>,
    },
    /// Streams whose beginning would be left to whoever observes first.
    #[error("the guard {guard} cannot observe what rules compare with:\n{}\nuntil it can, these rules are Unknown, and their hooks refuse what adds risk", stream_lines(.failures))]
    StreamsEmpty {
        /// The guard.
        guard: Address,
        /// Each stream and why.
        failures: Vec<StreamFailure>,
    },
    /// A guard that is not what was to be deployed.
    #[error("the guard {guard} is not as configured:\n{}", .differences.iter().map(|d| format!("  - {d}")).collect::<Vec<_>>().join("\n"))]
    Differs {
        /// The guard.
        guard: Address,
        /// What differs.
        differences: Vec<String>,
    },
    /// A sealed guard takes changes only from its governor, after an announcement.
    #[error(
        "the guard {guard} is sealed: {change} needs an announcement by its governor {governor}, {delay} before (action hash {action_hash})"
    )]
    Sealed {
        /// The guard.
        guard: Address,
        /// What was to be changed.
        change: String,
        /// The governor.
        governor: Address,
        /// The delay in words.
        delay: String,
        /// What has to be announced.
        action_hash: B256,
    },
    /// The sender has no power over the guard.
    #[error("{from} is not the governor of the guard {guard}, {governor} is: use its key")]
    NotGovernor {
        /// The guard.
        guard: Address,
        /// Its governor.
        governor: Address,
        /// Who sends.
        from: Address,
    },
}

/// A containment call that fails when the guard makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// Its name.
    pub id: String,
    /// Its text.
    pub call: String,
    /// Why.
    pub reason: String,
}

/// A stream that the guard cannot observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFailure {
    /// Its number in the rulebook.
    pub index: u8,
    /// What it reads.
    pub reads: Vec<String>,
    /// Why it cannot be observed.
    pub reason: String,
}

fn stream_lines(failures: &[StreamFailure]) -> String {
    let lines = failures
        .iter()
        .map(|f| format!("  - {} {}: {}", f.index, f.reads.join(", "), f.reason));
    lines.collect::<Vec<_>>().join("\n")
}

fn list(accounts: &[(String, Address)]) -> String {
    accounts
        .iter()
        .map(|(name, address)| format!("`{name}` ({address})"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn lines(failures: &[CallFailure]) -> String {
    failures
        .iter()
        .map(|f| format!("  - `{}`: {}: {}", f.id, f.call, f.reason))
        .collect::<Vec<_>>()
        .join("\n")
}
