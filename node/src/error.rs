//! Why a node could not be started or stopped.

use std::{net::SocketAddr, path::PathBuf};

use alloy::primitives::B256;

/// A node could not be started, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process listens on the port.
    #[error("port {port} on {host} is in use by another process: choose another one with --port, or 0 for a free one", host = .address.ip(), port = .address.port())]
    PortInUse {
        /// Where the node wanted to listen.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where the node wanted to listen.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The socket for IPC cannot be listened on.
    #[error("cannot listen on the socket {path}: {source}", path = .path.display())]
    Ipc {
        /// Where the node wanted to listen.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The upstream endpoint does not answer.
    #[error("the RPC to fork, {endpoint}, does not answer ({reason}): check that it runs and that the URL is right")]
    ForkUnreachable {
        /// The endpoint without path and credentials.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The upstream chain has another id than the one asked for.
    #[error(
        "the RPC to fork, {endpoint}, serves chain {found}, not chain {expected}: give the endpoint of the right chain, or leave out the fork's chain id"
    )]
    WrongChain {
        /// The endpoint without path and credentials.
        endpoint: String,
        /// Chain id of the configuration.
        expected: u64,
        /// Chain id of the endpoint.
        found: u64,
    },
    /// The upstream chain has no such block.
    #[error(
        "the RPC to fork, {endpoint}, has no block {number} (its newest is {newest}): choose a fork block up to that one"
    )]
    ForkBlockMissing {
        /// The endpoint without path and credentials.
        endpoint: String,
        /// Block that was asked for.
        number: u64,
        /// Newest block of the endpoint.
        newest: u64,
    },
    /// The upstream endpoint has another block than the one that is forked.
    #[error(
        "{endpoint} has block {found} at {number}, where the forked chain has {expected}: give an endpoint of the same chain, or fork anew with anvil_reset"
    )]
    WrongBlock {
        /// The endpoint without path and credentials.
        endpoint: String,
        /// Number of the forked block.
        number: u64,
        /// Hash of the forked block.
        expected: B256,
        /// Hash of the endpoint's block.
        found: B256,
    },
    /// The upstream endpoints have different blocks.
    #[error("the RPCs to fork do not serve the same chain: of block {number}, {blocks}; give endpoints of one chain")]
    EndpointsDiffer {
        /// Number of the block.
        number: u64,
        /// Which endpoint has which.
        blocks: String,
    },
    /// The upstream endpoint answered something that the node cannot use.
    #[error("the RPC to fork, {endpoint}, gave an answer to {method} that is not understood: {reason}")]
    ForkAnswer {
        /// The endpoint without path and credentials.
        endpoint: String,
        /// The method that was called.
        method: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A setting is not usable.
    #[error("setting `{field}`: {reason}")]
    Config {
        /// Name of the field of [`NodeConfig`](crate::NodeConfig).
        field: &'static str,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// Reading or writing the state of the chain failed while the node was set up.
    #[error("preparing the state of the chain failed: {reason}")]
    State {
        /// What failed.
        reason: String,
    },
    /// The state could not be written when the node stopped.
    #[error("the state of the chain was not saved: {reason}")]
    NotSaved {
        /// What failed.
        reason: String,
    },
    /// The thread or runtime of the node could not be started.
    #[error("the node's thread could not be started: {0}")]
    Runtime(#[from] std::io::Error),
    /// The node ended without saying why, which is a defect.
    #[error("the node ended unexpectedly; its log says more")]
    Ended,
}
