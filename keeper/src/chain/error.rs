//! Why a read or a send failed.

use alloy::primitives::{B256, Bytes};

/// Why a read or a send failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// No endpoint answered in time. Whether a sent transaction arrived is unknown.
    #[error(
        "no endpoint answered {method}: {reason}; check that the RPC in [chain] of cordon.toml is up and reachable"
    )]
    Unreachable {
        /// JSON-RPC method.
        method: &'static str,
        /// What the last endpoint tried did, with its host.
        reason: String,
    },
    /// The node answered with an error.
    #[error("the node refused {method}: {message} (code {code})")]
    Refused {
        /// JSON-RPC method.
        method: &'static str,
        /// Error code of the answer.
        code: i64,
        /// Message of the answer.
        message: String,
    },
    /// What was answered is not what the block's header speaks of.
    #[error(
        "the receipts that were answered for block {block} are not those that its header speaks of: do not trust this endpoint"
    )]
    Untrue {
        /// Hash of the block.
        block: B256,
    },
    /// The endpoint belongs to another chain.
    #[error(
        "{endpoint} serves chain {actual}, the configuration is for chain {expected}: correct [chain] id or rpc in cordon.toml"
    )]
    WrongChain {
        /// Host of the endpoint.
        endpoint: String,
        /// Configured chain id.
        expected: u64,
        /// Chain id of the endpoint.
        actual: u64,
    },
    /// No endpoint was given.
    #[error("no RPC endpoint is configured: set rpc in [chain] of cordon.toml")]
    NoEndpoint,
    /// An endpoint's URL cannot be used.
    #[error("endpoint {position} of [chain] rpc is not a usable URL: {reason}")]
    BadUrl {
        /// Position in the list, from 0. The URL itself may hold a key, so that it is not shown.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl RpcError {
    /// Whether the same request may succeed later with no change on the chain.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the node has no such method: asking again is no use.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: -32_601 | -32_004,
                ..
            }
        )
    }
}

/// Outcome of an `eth_call` that gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The contract reverted with this data.
    #[error("the call reverted with {0}")]
    Reverted(Bytes),
    /// The call could not be made.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}
