//! Endpoints: connecting to the configured chain, sending transactions, and saying what went wrong.

use std::time::Duration;

use alloy::contract;
use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, PendingTransactionError, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::http::{Http, reqwest};
use alloy::transports::{RpcError, TransportError};
use url::Url;

use crate::config::{ChainConfig, EndpointError};
use crate::revert::revert_reason;

/// Longest time that an endpoint may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that a transaction may take to be mined.
const MINED_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a node on this machine is asked for a receipt.
const LOCAL_POLL: Duration = Duration::from_millis(50);

/// What can go wrong between here and the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No answer at all.
    #[error("the endpoint {endpoint} does not answer ({reason}); is the node running, and the address right?")]
    Unreachable {
        /// Scheme, host and port: the rest of an endpoint's address may be a key.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The endpoint cannot be had.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Another chain answers.
    #[error("the endpoint {endpoint} is of chain {found}, the configuration is for chain {expected}")]
    WrongChain {
        /// Scheme, host and port.
        endpoint: String,
        /// The configured chain id.
        expected: u64,
        /// The endpoint's chain id.
        found: u64,
    },
    /// A contract refused.
    #[error("{what}: reverted with {reason}")]
    Reverted {
        /// What was tried.
        what: String,
        /// The decoded error.
        reason: String,
    },
    /// The endpoint refused.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why.
        reason: String,
    },
    /// A transaction was not mined in time.
    #[error("{what}: the transaction {hash} was not mined within {} s", MINED_TIMEOUT.as_secs())]
    NotMined {
        /// What was tried.
        what: String,
        /// The transaction.
        hash: B256,
    },
    /// A transaction was mined and failed.
    #[error("{what}: the transaction {hash} failed on chain, though its simulation passed")]
    Failed {
        /// What was tried.
        what: String,
        /// The transaction.
        hash: B256,
    },
}

/// An endpoint without what may be secret in it: scheme, host and port.
pub fn endpoint_name(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        _ => url.scheme().to_owned(),
    }
}

/// Connects to the chain's primary endpoint and makes sure that it is of that chain. With a signer, transactions from its
/// address are signed here; without one the node must know the sender (as development nodes do).
pub async fn connect(chain: &ChainConfig, signer: Option<PrivateKeySigner>) -> Result<DynProvider, ChainError> {
    let urls = chain.rpc_urls()?;
    let Some(url) = urls.first() else {
        return Err(ChainError::Unreachable {
            endpoint: "(none)".into(),
            reason: "no endpoint is configured".into(),
        });
    };
    let endpoint = endpoint_name(url);
    let unreachable = |reason: String| ChainError::Unreachable {
        endpoint: endpoint.clone(),
        reason,
    };
    let http = reqwest::Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .build()
        .map_err(|error| unreachable(error.to_string()))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let client = RpcClient::new(Http::with_client(http, url.clone()), local);
    if local {
        client.set_poll_interval(LOCAL_POLL);
    }
    let provider = match signer {
        Some(signer) => ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .connect_client(client)
            .erased(),
        None => ProviderBuilder::new().connect_client(client).erased(),
    };
    let found = provider
        .get_chain_id()
        .await
        .map_err(|error| unreachable(transport_reason(&error)))?;
    if found != chain.id {
        return Err(ChainError::WrongChain {
            endpoint,
            expected: chain.id,
            found,
        });
    }
    Ok(provider)
}

/// The last link of the chain of causes, which says most: "connection refused" rather than "error sending request".
fn transport_reason(error: &TransportError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Explains a failed request. `what` says what was tried.
pub fn explain(what: &str, error: &TransportError) -> ChainError {
    let what = what.to_owned();
    match error {
        RpcError::ErrorResp(payload) => match payload.as_revert_data() {
            Some(data) => ChainError::Reverted {
                what,
                reason: revert_reason(&data),
            },
            // Nodes that give no data with a revert say so in the message.
            None if payload.message.contains("revert") => ChainError::Reverted {
                what,
                reason: payload.message.to_string(),
            },
            None => ChainError::Refused {
                what,
                reason: payload.message.to_string(),
            },
        },
        other => ChainError::Refused {
            what,
            reason: transport_reason(other),
        },
    }
}

/// As [`explain`], for a call through a contract's bindings.
pub fn explain_call(what: &str, error: contract::Error) -> ChainError {
    match error {
        contract::Error::TransportError(error) => explain(what, &error),
        other => ChainError::Refused {
            what: what.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// Sends a transaction and waits for it: the receipt of one that succeeded.
pub async fn send<P: Provider>(
    provider: &P,
    what: &str,
    transaction: TransactionRequest,
) -> Result<TransactionReceipt, ChainError> {
    let pending = provider
        .send_transaction(transaction)
        .await
        .map_err(|error| explain(what, &error))?;
    let hash = *pending.tx_hash();
    let receipt = pending
        .with_timeout(Some(MINED_TIMEOUT))
        .get_receipt()
        .await
        .map_err(|error| match error {
            PendingTransactionError::TransportError(error) => explain(what, &error),
            _ => ChainError::NotMined {
                what: what.to_owned(),
                hash,
            },
        })?;
    tracing::debug!(what, %hash, gas = receipt.gas_used, "mined");
    if receipt.status() {
        Ok(receipt)
    } else {
        Err(ChainError::Failed {
            what: what.to_owned(),
            hash,
        })
    }
}

/// The code of an account; empty when it has none.
pub async fn code<P: Provider>(provider: &P, account: Address) -> Result<Bytes, ChainError> {
    provider
        .get_code_at(account)
        .await
        .map_err(|error| explain(&format!("reading the code of {account}"), &error))
}
