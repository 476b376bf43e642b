//! Why a keeper cannot be set up or go on.

use std::net::SocketAddr;

use alloy::primitives::{Address, B256};
use cordon_client::config::EndpointError;

use crate::chain::{CallError, RpcError};
use crate::record::StoreError;
use crate::respond::{FallbackError, KeyError};
use crate::rules::ReadError;

/// Why a keeper cannot be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The configuration has no keeper.
    #[error("cordon.toml has no [keeper] section: add one with `store` and `key`")]
    NoSection,
    /// There are neither rules nor watches.
    #[error(
        "cordon.toml has neither [[invariant]] nor [[watch]]: a keeper would run, look healthy, and look for nothing"
    )]
    NothingToLookFor,
    /// The guard was not deployed yet.
    #[error(
        "cordon.toml names no guard: deploy one with `cordon guard deploy` and write its address to [guard] address; or leave [guard] out, and invariants are watched and told"
    )]
    NoGuard,
    /// A keeper with a guard has no key.
    #[error("[keeper] names no key, and a keeper with a guard needs one to act: set `key`")]
    NoKey,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A fallback cannot be set up.
    #[error(transparent)]
    Fallback(#[from] FallbackError),
    /// An endpoint cannot be had.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Two keys are of one account.
    #[error(
        "two keys of [keeper] are of the account {account}: a further key helps when the first is jammed, so it has to be of another account"
    )]
    SameAccount {
        /// The account.
        account: Address,
    },
    /// The chain could not be asked, or is another one.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no contract at the guard's address.
    #[error("{guard} has no code on chain {chain_id}: correct [guard] address in cordon.toml, or deploy the guard")]
    NoCode {
        /// The address.
        guard: Address,
        /// The chain.
        chain_id: u64,
    },
    /// The contract does not answer as a guard does.
    #[error("{guard} does not answer {what} as a guard does ({reason}): correct [guard] address in cordon.toml")]
    NotAGuard {
        /// The address.
        guard: Address,
        /// The view that was called.
        what: &'static str,
        /// What came back.
        reason: String,
    },
    /// The guard runs other rules than those configured.
    #[error(
        "the guard has adopted the rulebook {adopted}, cordon.toml compiles to {compiled}: the rules would not be those that the guard checks; use the file the guard was deployed with, or let the governor adopt the new rulebook"
    )]
    OtherRulebook {
        /// Code hash that the guard has adopted.
        adopted: B256,
        /// Code hash of the configuration.
        compiled: B256,
    },
    /// The record belongs to another guard than the configuration.
    #[error("the record belongs to guard {record}, the configuration is for {configured}")]
    OtherRecord {
        /// Guard of the record.
        record: Address,
        /// Guard of the configuration.
        configured: Address,
    },
    /// An account lacks a role that its key is configured for.
    #[error(
        "{account} does not have the role {role} in guard {guard}: the governor must grant it (setRole), or remove the key from cordon.toml"
    )]
    MissingRole {
        /// The account.
        account: Address,
        /// The role.
        role: &'static str,
        /// The guard.
        guard: Address,
    },
    /// An account cannot pay for a transaction.
    #[error("{account} has no ether on chain {chain_id} to pay for its transactions: fund it")]
    NoFunds {
        /// The account.
        account: Address,
        /// The chain.
        chain_id: u64,
    },
    /// A rule or a playbook contains, which the guard accepts only while the heartbeat is fresh.
    #[error(
        "the {who} uses `contain`, which the guard refuses without a fresh heartbeat: set `heartbeat_key` in [keeper], or let it do something else"
    )]
    NoHeartbeat {
        /// The rule or playbook.
        who: String,
    },
    /// A block of a replay could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A replay asks for a block that the node does not have.
    #[error("the node does not have block {number}: choose blocks up to its newest")]
    NoBlock {
        /// Height of the block.
        number: u64,
    },
    /// What the keeper evaluates by itself is not what the node says.
    #[error(
        "{text}; the verdicts before it may be wrong too: report it with the rule and the block, and replay with another endpoint"
    )]
    Differs {
        /// The rule, the block, and both verdicts.
        text: String,
    },
    /// The console cannot listen.
    #[error("the console cannot listen at {address}: {reason}; choose another `listen` for `console` in [keeper]")]
    Console {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
}

impl KeeperError {
    pub(crate) fn view(guard: Address, what: &'static str, error: CallError) -> Self {
        match error {
            CallError::Rpc(error @ RpcError::Unreachable { .. }) => Self::Rpc(error),
            other => Self::NotAGuard {
                guard,
                what,
                reason: other.to_string(),
            },
        }
    }
}
