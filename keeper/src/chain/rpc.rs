//! JSON-RPC endpoints behind one handle: every call has a deadline, a broken endpoint is skipped for the next one, and an
//! endpoint of another chain is never used.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, Log, TransactionReceipt, TransactionRequest};
use alloy::transports::{TransportError, TransportResult};

use super::{BlockRef, BlockSource};

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

#[derive(Debug)]
pub(super) struct Endpoint {
    /// Scheme, host and port: what may be shown in logs.
    name: String,
    provider: DynProvider,
    /// Whether the chain id was compared.
    verified: AtomicBool,
}

impl Endpoint {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn provider(&self) -> DynProvider {
        self.provider.clone()
    }
}

/// Several endpoints of one chain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rpc {
    endpoints: Arc<Vec<Endpoint>>,
    current: Arc<AtomicUsize>,
    chain_id: u64,
    timeout: Duration,
}

impl Rpc {
    /// Prepares the endpoints without touching the network. `timeout` bounds each request at each endpoint.
    ///
    /// # Errors
    /// [`RpcError::NoEndpoint`], [`RpcError::BadUrl`].
    pub fn new<U: AsRef<str>>(urls: &[U], chain_id: u64, timeout: Duration) -> Result<Self, RpcError> {
        if urls.is_empty() {
            return Err(RpcError::NoEndpoint);
        }
        let mut endpoints = Vec::with_capacity(urls.len());
        for (position, url) in urls.iter().enumerate() {
            let url: alloy::transports::http::reqwest::Url =
                url.as_ref().parse().map_err(|error| RpcError::BadUrl {
                    position,
                    reason: format!("{error}"),
                })?;
            let host = url.host_str().unwrap_or("?").to_owned();
            let name = match url.port_or_known_default() {
                Some(port) => format!("{}://{host}:{port}", url.scheme()),
                None => format!("{}://{host}", url.scheme()),
            };
            if !matches!(url.scheme(), "http" | "https") {
                return Err(RpcError::BadUrl {
                    position,
                    reason: format!("scheme {} is not http or https", url.scheme()),
                });
            }
            let provider = ProviderBuilder::new()
                .disable_recommended_fillers()
                .connect_http(url)
                .erased();
            endpoints.push(Endpoint {
                name,
                provider,
                verified: AtomicBool::new(false),
            });
        }
        Ok(Self {
            endpoints: Arc::new(endpoints),
            current: Arc::new(AtomicUsize::new(0)),
            chain_id,
            timeout,
        })
    }

    /// Chain id that every endpoint must have.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Checks the chain id of every endpoint that answers; at least one must.
    ///
    /// # Errors
    /// [`RpcError::WrongChain`] when any endpoint is of another chain; [`RpcError::Unreachable`] when none answers.
    pub async fn verify(&self) -> Result<(), RpcError> {
        let mut failure = None;
        let mut reached = false;
        for endpoint in self.endpoints.iter() {
            match self.verify_endpoint(endpoint).await {
                Ok(()) => reached = true,
                Err(error @ RpcError::WrongChain { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(endpoint = %endpoint.name, %error, "an RPC endpoint does not answer");
                    failure = Some(error);
                }
            }
        }
        match (reached, failure) {
            (false, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    pub(super) async fn verify_endpoint(&self, endpoint: &Endpoint) -> Result<(), RpcError> {
        if endpoint.verified.load(Ordering::Relaxed) {
            return Ok(());
        }
        let provider = endpoint.provider.clone();
        let id = self
            .bounded("eth_chainId", endpoint, async move { provider.get_chain_id().await })
            .await?;
        if id != self.chain_id {
            return Err(RpcError::WrongChain {
                endpoint: endpoint.name.clone(),
                expected: self.chain_id,
                actual: id,
            });
        }
        endpoint.verified.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// One request at one endpoint with the deadline.
    pub(super) async fn bounded<T>(
        &self,
        method: &'static str,
        endpoint: &Endpoint,
        request: impl Future<Output = TransportResult<T>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(value)) => Ok(value),
            // A node that is busy has not answered: another one may.
            Ok(Err(TransportError::ErrorResp(payload))) if is_busy(payload.code, &payload.message) => {
                Err(RpcError::Unreachable {
                    method,
                    reason: format!("{}: {} (code {})", endpoint.name, payload.message, payload.code),
                })
            }
            Ok(Err(TransportError::ErrorResp(payload))) => Err(RpcError::Refused {
                method,
                code: payload.code,
                message: payload.message.into_owned(),
            }),
            Ok(Err(error)) => Err(RpcError::Unreachable {
                method,
                reason: format!("{}: {}", endpoint.name, describe(&error)),
            }),
            Err(_) => Err(RpcError::Unreachable {
                method,
                reason: format!("{}: no answer within {} ms", endpoint.name, self.timeout.as_millis()),
            }),
        }
    }

    /// Asks the endpoints in turn, beginning with the one that answered last, until one answers (with a result or a refusal).
    pub(super) async fn ask<T, F, R>(&self, method: &'static str, request: R) -> Result<T, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        let count = self.endpoints.len();
        let start = self.current.load(Ordering::Relaxed);
        let mut last = RpcError::NoEndpoint;
        for offset in 0..count {
            let index = start.wrapping_add(offset) % count;
            let Some(endpoint) = self.endpoints.get(index) else {
                continue;
            };
            let answer = match self.verify_endpoint(endpoint).await {
                Ok(()) => self.bounded(method, endpoint, request(endpoint.provider.clone())).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error @ (RpcError::Unreachable { .. } | RpcError::WrongChain { .. })) => last = error,
                answered => {
                    if offset > 0 {
                        self.current.store(index, Ordering::Relaxed);
                        tracing::warn!(endpoint = %endpoint.name, "switched to another RPC endpoint");
                    }
                    return answered;
                }
            }
        }
        Err(last)
    }

    /// The newest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn latest(&self) -> Result<BlockRef, RpcError> {
        let block = self
            .ask("eth_getBlockByNumber", |p| async move {
                p.get_block_by_number(BlockNumberOrTag::Latest).hashes().await
            })
            .await?;
        block
            .map(|block| BlockRef::from(&block.header))
            .ok_or(RpcError::Unreachable {
                method: "eth_getBlockByNumber",
                reason: "the node has no latest block".into(),
            })
    }

    /// Logs that match a filter.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        self.ask("eth_getLogs", |p| {
            let filter = filter.clone();
            async move { p.get_logs(&filter).await }
        })
        .await
    }

    /// Calls a contract on the state of a block. `from` matters only where the contract looks at its caller.
    ///
    /// # Errors
    /// [`CallError::Reverted`] with the revert data, or the RPC's failure.
    pub async fn call(
        &self,
        from: Option<Address>,
        to: Address,
        data: Bytes,
        gas: Option<u64>,
        block: BlockId,
    ) -> Result<Bytes, CallError> {
        let mut request = TransactionRequest::default().to(to).input(data.into());
        request.from = from;
        request.gas = gas;
        self.call_as(request, block).await
    }

    /// Calls as a transaction would, on the state of a block.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub(super) async fn call_as(&self, request: TransactionRequest, block: BlockId) -> Result<Bytes, CallError> {
        let answer = self
            .ask("eth_call", |p| {
                let request = request.clone();
                async move {
                    match p.call(request).block(block).await {
                        Err(TransportError::ErrorResp(payload)) => match payload.as_revert_data() {
                            Some(data) => Ok(Err(data)),
                            // A revert without data: nodes agree on code 3 or on the message.
                            None if payload.code == 3 || payload.message.contains("revert") => Ok(Err(Bytes::new())),
                            None => Err(TransportError::ErrorResp(payload)),
                        },
                        other => other.map(Ok),
                    }
                }
            })
            .await?;
        answer.map_err(CallError::Reverted)
    }

    /// Number of transactions that the account has on the latest block: its next nonce.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn nonce(&self, account: Address) -> Result<u64, RpcError> {
        self.ask("eth_getTransactionCount", |p| async move {
            p.get_transaction_count(account).await
        })
        .await
    }

    /// Balance in wei on the latest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.ask("eth_getBalance", |p| async move { p.get_balance(account).await })
            .await
    }

    /// Whether the account has code on the latest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn has_code(&self, account: Address) -> Result<bool, RpcError> {
        Ok(!self
            .ask("eth_getCode", |p| async move { p.get_code_at(account).await })
            .await?
            .is_empty())
    }

    /// Priority fee that the node suggests, in wei per gas.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn priority_fee(&self) -> Result<u128, RpcError> {
        self.ask("eth_maxPriorityFeePerGas", |p| async move {
            p.get_max_priority_fee_per_gas().await
        })
        .await
    }

    /// Receipt of a transaction, `None` while it is not included.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, RpcError> {
        self.ask("eth_getTransactionReceipt", |p| async move {
            p.get_transaction_receipt(hash).await
        })
        .await
    }

    /// Sends signed bytes to every endpoint at once; the first that accepts them decides.
    ///
    /// # Errors
    /// The first refusal when none accepts, else [`RpcError::Unreachable`]: the transaction may have arrived all the same.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<(), RpcError> {
        const METHOD: &str = "eth_sendRawTransaction";
        use futures::stream::{FuturesUnordered, StreamExt};
        let mut sends: FuturesUnordered<_> = self
            .endpoints
            .iter()
            .map(|endpoint| async move {
                self.verify_endpoint(endpoint).await?;
                let provider = endpoint.provider.clone();
                self.bounded(METHOD, endpoint, async move {
                    provider.send_raw_transaction(raw).await.map(drop)
                })
                .await
            })
            .collect();
        let mut failure: Option<RpcError> = None;
        while let Some(result) = sends.next().await {
            match result {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if failure
                        .as_ref()
                        .is_none_or(|held| !matches!(held, RpcError::Refused { .. }))
                    {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or(RpcError::NoEndpoint))
    }
}

impl BlockSource for Rpc {
    async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        let block = self
            .ask("eth_getBlockByHash", |p| async move {
                p.get_block_by_hash(hash).hashes().await
            })
            .await?;
        Ok(block.map(|block| BlockRef::from(&block.header)))
    }

    async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        let tag = BlockNumberOrTag::Number(number);
        let block = self
            .ask("eth_getBlockByNumber", |p| async move {
                p.get_block_by_number(tag).hashes().await
            })
            .await?;
        Ok(block.map(|block| BlockRef::from(&block.header)))
    }
}

/// Whether an error of JSON-RPC says that the endpoint takes no more requests now, in the words of several providers.
fn is_busy(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |part: &str| message.contains(part);
    if says("query returned") || says("response size") {
        // What is too large stays too large: waiting would hold the block for ever.
        return false;
    }
    matches!(code, 429 | -32_005 | -32_097)
        || says("too many requests")
        || says("rate limit")
        || says("compute units")
        || says("throughput")
        || says("request limit")
}

/// A transport error without the URL, which may hold a key.
fn describe(error: &TransportError) -> String {
    match error {
        TransportError::DeserError { err, .. } => format!("the answer is not what JSON-RPC promises ({err})"),
        TransportError::Transport(kind) => {
            let text = kind.to_string();
            match (text.find(" for url ("), text.find("error sending request")) {
                (Some(at), _) => text.chars().take(at).collect(),
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_endpoint_is_told_from_a_refusal() {
        for (code, message) in [
            (-32_005, "limit exceeded"),
            (429, "Your app has exceeded its compute units per second capacity"),
            (-32_000, "Too Many Requests"),
            (-32_000, "project ID request rate limit exceeded"),
        ] {
            assert!(is_busy(code, message), "{message}");
        }
        for (code, message) in [
            (3, "execution reverted"),
            (-32_000, "header not found"),
            (-32_602, "invalid params"),
            (-32_005, "query returned more than 10000 results"),
            (-32_000, "nonce too low"),
        ] {
            assert!(!is_busy(code, message), "{message}");
        }
    }
}
