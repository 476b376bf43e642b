//! The chain that is forked: finding it, reading its state, and passing on questions about its past.

mod past;

use std::sync::Arc;

use alloy::{
    network::AnyNetwork,
    primitives::{Address, B256},
    providers::{DynProvider, Provider, ProviderBuilder, WsConnect},
    pubsub::PubSubConnect,
    rpc::{
        client::RpcClient,
        types::{BlockId, BlockNumberOrTag},
    },
    transports::{BoxTransport, TransportError, TransportErrorKind, http, http::reqwest},
};
use foundry_fork_db::{
    BlockchainDb, SharedBackend,
    backend::BlockingMode,
    cache::{BlockchainDbMeta, MemDb},
};
use futures::future::join_all;
use revm::context::BlockEnv;
use serde_json::{Value, json};
use url::Url;

pub(crate) use self::past::Past;
use crate::{
    chain::Tip,
    config::{ForkRequests, NodeConfig},
    endpoint::Endpoint,
    error::NodeError,
    rpc::{RpcError, number},
    transaction::SignedTransaction,
    upstream::{Policy, Upstreams},
};

/// The forked chain.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    provider: DynProvider<AnyNetwork>,
    /// State at the fork block, read as needed and kept.
    pub(crate) backend: SharedBackend,
    /// What `backend` has read so far.
    pub(crate) known: Arc<MemDb>,
    pub(crate) endpoint: Endpoint,
    pub(crate) chain_id: u64,
    pub(crate) tip: Tip,
    /// The first part of the block after `tip`, when the fork starts inside of a block.
    pub(crate) replay: Option<Replay>,
}

/// Transactions of a block of the forked chain that are run again.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// The whole block upstream.
    pub(crate) tip: Tip,
    pub(crate) transactions: Vec<Arc<SignedTransaction>>,
}

impl Fork {
    /// Connects to the endpoints of `config`, of which `url` is the first, and pins the block to fork. Must run in the node's
    /// runtime, which serves the state from then on.
    pub(crate) async fn connect(url: &Url, config: &NodeConfig) -> Result<Self, NodeError> {
        let requests = &config.fork_requests;
        let named = Endpoint::new(url, &requests.fallbacks);
        let provider = open_all(url, requests, &named, config.chain_id).await?;
        let found = Finder {
            provider: &provider,
            named: &named,
        };
        let chain_id = found.chain_id(config.chain_id).await?;
        let (tip, replay) = match config.fork_transaction_hash {
            Some(hash) => found.inside(hash).await?,
            None => (found.block(config).await?, None),
        };
        let meta = BlockchainDbMeta::new(BlockEnv::default(), named.name.clone());
        let database = BlockchainDb::new(meta, None);
        let pinned = found.pin(&tip).await;
        let backend = SharedBackend::spawn_backend(provider.clone(), database, Some(pinned)).await;
        // Only blocking threads read the state, so they may simply block.
        let backend = backend.with_blocking_mode(BlockingMode::Block);
        Ok(Self {
            known: backend.data(),
            provider,
            backend,
            endpoint: named,
            chain_id,
            tip,
            replay,
        })
    }

    /// Puts a question; the answer, or the error, is the endpoint's. Others ask by way of [`Past`].
    async fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.provider
            .raw_request(method.to_owned().into(), params)
            .await
            .map_err(|error| match error {
                TransportError::ErrorResp(payload) => RpcError::Upstream {
                    code: payload.code,
                    message: payload.message.into_owned(),
                    data: payload.data.and_then(|data| serde_json::from_str(data.get()).ok()),
                },
                other => RpcError::Internal(format!(
                    "the forked RPC {} failed: {}",
                    self.endpoint.name,
                    self.endpoint.explain(&other)
                )),
            })
    }
}

/// Finds the block to fork.
struct Finder<'a> {
    provider: &'a DynProvider<AnyNetwork>,
    named: &'a Endpoint,
}

impl Finder<'_> {
    fn unreachable(&self, error: &TransportError) -> NodeError {
        NodeError::ForkUnreachable {
            endpoint: self.named.name.clone(),
            reason: self.named.explain(error),
        }
    }

    fn not_understood(&self, method: &'static str, reason: String) -> NodeError {
        NodeError::ForkAnswer {
            endpoint: self.named.name.clone(),
            method,
            reason,
        }
    }

    async fn ask(&self, method: &'static str, params: Value) -> Result<Value, NodeError> {
        let answer = self.provider.raw_request(method.into(), params).await;
        answer.map_err(|error| self.unreachable(&error))
    }

    async fn chain_id(&self, expected: Option<u64>) -> Result<u64, NodeError> {
        let found = self.provider.get_chain_id().await;
        let found = found.map_err(|error| self.unreachable(&error))?;
        match expected.filter(|expected| *expected != found) {
            Some(expected) => Err(NodeError::WrongChain {
                endpoint: self.named.name.clone(),
                expected,
                found,
            }),
            None => Ok(found),
        }
    }

    async fn newest(&self) -> Result<u64, NodeError> {
        let newest = self.provider.get_block_number().await;
        newest.map_err(|error| self.unreachable(&error))
    }

    /// The block that the settings name, or the newest.
    async fn block(&self, config: &NodeConfig) -> Result<Tip, NodeError> {
        let tag = match (config.fork_block_number, config.fork_blocks_back) {
            (Some(number), _) => BlockNumberOrTag::Number(number),
            (None, Some(back)) => BlockNumberOrTag::Number(self.newest().await?.saturating_sub(back)),
            (None, None) => BlockNumberOrTag::Latest,
        };
        let block = self.ask("eth_getBlockByNumber", json!([tag, false])).await?;
        if block.is_null() {
            return Err(NodeError::ForkBlockMissing {
                endpoint: self.named.name.clone(),
                number: tag.as_number().unwrap_or_default(),
                newest: self.newest().await?,
            });
        }
        tip_of(&block).map_err(|reason| self.not_understood("eth_getBlockByNumber", reason))
    }

    /// The block before that of a transaction, and what has to be run on top of it.
    async fn inside(&self, hash: B256) -> Result<(Tip, Option<Replay>), NodeError> {
        let transaction = self.ask("eth_getTransactionByHash", json!([hash])).await?;
        let number = quantity(&transaction, "blockNumber")
            .map_err(|reason| self.not_understood("eth_getTransactionByHash", reason))?;
        let Some(number) = number else {
            return Err(NodeError::Config {
                field: "fork_transaction_hash",
                reason: format!("{} knows no mined transaction {hash}", self.named.name),
            });
        };
        let block = self
            .ask("eth_getBlockByNumber", json!([BlockNumberOrTag::Number(number), true]))
            .await?;
        let not_understood = |reason| self.not_understood("eth_getBlockByNumber", reason);
        let whole = tip_of(&block).map_err(not_understood)?;
        let transactions = replayed(&block, hash).map_err(not_understood)?;
        let parent = BlockNumberOrTag::Number(number.saturating_sub(1));
        let parent = self.ask("eth_getBlockByNumber", json!([parent, false])).await?;
        let parent = tip_of(&parent).map_err(not_understood)?;
        Ok((
            parent,
            Some(Replay {
                tip: whole,
                transactions,
            }),
        ))
    }

    /// How the state is asked for: by hash where that is understood, so that an endpoint that has gone over to another chain
    /// gives an error and not another state.
    async fn pin(&self, tip: &Tip) -> BlockId {
        let by_hash = BlockId::hash(tip.hash);
        let answer = self.provider.get_balance(Address::ZERO).block_id(by_hash).await;
        match answer {
            Ok(_) => by_hash,
            Err(_) => BlockId::number(tip.number),
        }
    }
}

/// The transactions of a block up to `last`. Arbitrum's own, at the start of each block, are left out.
fn replayed(block: &Value, last: B256) -> Result<Vec<Arc<SignedTransaction>>, String> {
    let all = block.get("transactions").and_then(Value::as_array);
    let mut transactions = Vec::new();
    for transaction in all.ok_or("`transactions` is missing")? {
        let hash = transaction.get("hash").and_then(Value::as_str).unwrap_or_default();
        if transaction.get("type").and_then(Value::as_str) != Some("0x6a") {
            let signed = SignedTransaction::from_rpc(transaction);
            transactions.push(Arc::new(
                signed.map_err(|error| format!("transaction {hash} cannot be run again: {error}"))?,
            ));
        }
        if hash.parse() == Ok(last) {
            return Ok(transactions);
        }
    }
    Err(format!("the block has no transaction {last}"))
}

/// Opens all endpoints. One that does not answer is left out while another does; all must serve the same chain.
async fn open_all(
    url: &Url,
    requests: &ForkRequests,
    named: &Endpoint,
    expected: Option<u64>,
) -> Result<DynProvider<AnyNetwork>, NodeError> {
    let policy = Policy {
        retries: requests.retries,
        backoff: requests.backoff,
        units_per_second: requests.units_per_second,
    };
    let urls: Vec<&Url> = std::iter::once(url).chain(&requests.fallbacks).collect();
    if urls.len() == 1 {
        let only = open(url, requests, named).await?;
        return Ok(provider(Upstreams::new(vec![only], policy)));
    }
    let once = Policy { retries: 0, ..policy };
    let asked = urls.iter().map(|url| async move {
        let named = Endpoint::new(url, &[]);
        let transport = open(url, requests, &named).await?;
        let single = provider(Upstreams::new(vec![transport.clone()], once));
        let finder = Finder {
            provider: &single,
            named: &named,
        };
        Ok::<_, NodeError>((finder.chain_id(expected).await?, named, transport))
    });
    let mut usable: Vec<BoxTransport> = Vec::new();
    let (mut chain, mut failure) = (None, None);
    for outcome in join_all(asked).await {
        match outcome {
            Ok((found, named, _)) if *chain.get_or_insert(found) != found => {
                return Err(NodeError::WrongChain {
                    endpoint: named.name,
                    expected: chain.unwrap_or_default(),
                    found,
                });
            }
            Ok((_, _, transport)) => usable.push(transport),
            Err(error @ NodeError::ForkUnreachable { .. }) => {
                tracing::warn!(%error, "an endpoint is left out");
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(error) if usable.is_empty() => Err(error),
        _ => Ok(provider(Upstreams::new(usable, policy))),
    }
}

fn provider(upstreams: Upstreams) -> DynProvider<AnyNetwork> {
    ProviderBuilder::new()
        .disable_recommended_fillers()
        .network::<AnyNetwork>()
        .connect_client(RpcClient::new(upstreams, false))
        .erased()
}

async fn open(url: &Url, requests: &ForkRequests, endpoint: &Endpoint) -> Result<BoxTransport, NodeError> {
    let unreachable = |error: &dyn std::error::Error| NodeError::ForkUnreachable {
        endpoint: endpoint.name.clone(),
        reason: endpoint.explain(error),
    };
    match url.scheme() {
        "http" | "https" => {
            let client = reqwest::Client::builder()
                .timeout(requests.timeout)
                .default_headers(headers(requests)?)
                .build()
                .map_err(|error| unreachable(&error))?;
            Ok(BoxTransport::new(http::Http::with_client(client, url.clone())))
        }
        "ws" | "wss" => {
            let connecting = WsConnect::new(url.as_str()).into_service();
            let service = tokio::time::timeout(requests.timeout, connecting)
                .await
                .map_err(|error| unreachable(&TransportErrorKind::custom(error)))?
                .map_err(|error| unreachable(&error))?;
            Ok(BoxTransport::new(service))
        }
        other => Err(NodeError::Config {
            field: "fork_url",
            reason: format!("scheme `{other}` cannot be forked; use http, https, ws or wss"),
        }),
    }
}

/// The headers of each request. Their values may be secrets and are not named.
fn headers(requests: &ForkRequests) -> Result<reqwest::header::HeaderMap, NodeError> {
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in &requests.headers {
        let wrong = || NodeError::Config {
            field: "fork_requests.headers",
            reason: format!("`{name}` and its value cannot be sent as a header"),
        };
        let parsed = reqwest::header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = reqwest::header::HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// Reads what the node needs of a block; fields that only some chains have may be missing.
fn tip_of(block: &Value) -> Result<Tip, String> {
    let number = quantity(block, "number")?.ok_or("`number` is missing")?;
    let hash = block.get("hash").and_then(Value::as_str).ok_or("`hash` is missing")?;
    Ok(Tip {
        number,
        hash: hash.parse::<B256>().map_err(|error| format!("`hash`: {error}"))?,
        timestamp: quantity(block, "timestamp")?.ok_or("`timestamp` is missing")?,
        base_fee: quantity(block, "baseFeePerGas")?.unwrap_or_default(),
        gas_used: quantity(block, "gasUsed")?.unwrap_or_default(),
        gas_limit: quantity(block, "gasLimit")?.unwrap_or_default(),
        l1_number: quantity(block, "l1BlockNumber")?.unwrap_or(number),
        beneficiary: Address::ZERO,
    })
}

fn quantity(block: &Value, field: &str) -> Result<Option<u64>, String> {
    let Some(value) = block.get(field).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = number(value).ok_or_else(|| format!("`{field}` is no number: {value}"))?;
    u64::try_from(number)
        .map(Some)
        .map_err(|_| format!("`{field}` ({value}) does not fit 64 bits"))
}

/// A shared, optional fork.
pub(crate) type SharedFork = Option<Arc<Fork>>;
