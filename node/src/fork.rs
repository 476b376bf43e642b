//! The chain that is forked: finding it, reading its state, and passing on questions about its past.

use std::{sync::Arc, time::Duration};

use alloy::{
    network::AnyNetwork,
    primitives::{Address, B256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::BlockNumberOrTag,
    transports::{TransportError, http::reqwest},
};
use foundry_fork_db::{BlockchainDb, SharedBackend, backend::BlockingMode, cache::BlockchainDbMeta};
use revm::context::BlockEnv;
use serde_json::{Value, json};
use url::Url;

use crate::{
    chain::Tip,
    config::NodeConfig,
    error::NodeError,
    rpc::{RpcError, number},
};

/// How long one question to the upstream endpoint may take.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);

/// The forked chain.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    provider: DynProvider<AnyNetwork>,
    /// State at the fork block, read as needed and kept.
    pub(crate) backend: SharedBackend,
    pub(crate) endpoint: Endpoint,
    pub(crate) chain_id: u64,
    pub(crate) tip: Tip,
}

impl Fork {
    /// Connects to `url` and pins the block to fork. Must run in the node's runtime, which serves the state from then on.
    pub(crate) async fn connect(url: &Url, config: &NodeConfig) -> Result<Self, NodeError> {
        let named = Endpoint::new(url);
        let endpoint = named.name.clone();
        let unreachable = |error: TransportError| NodeError::ForkUnreachable {
            endpoint: endpoint.clone(),
            reason: named.explain(&error),
        };
        let provider = open(url, &named).await?;
        let chain_id = provider.get_chain_id().await.map_err(unreachable)?;
        if let Some(expected) = config.chain_id.filter(|expected| *expected != chain_id) {
            return Err(NodeError::WrongChain {
                endpoint,
                expected,
                found: chain_id,
            });
        }
        let newest = provider.get_block_number().await.map_err(unreachable)?;
        let number = config.fork_block_number.unwrap_or(newest);
        let missing = || NodeError::ForkBlockMissing {
            endpoint: endpoint.clone(),
            number,
            newest,
        };
        if number > newest {
            return Err(missing());
        }
        let block: Value = provider
            .raw_request(
                "eth_getBlockByNumber".into(),
                json!([BlockNumberOrTag::Number(number), false]),
            )
            .await
            .map_err(unreachable)?;
        if block.is_null() {
            return Err(missing());
        }
        let tip = tip_of(&block).map_err(|reason| NodeError::ForkAnswer {
            endpoint: endpoint.clone(),
            method: "eth_getBlockByNumber",
            reason,
        })?;
        let meta = BlockchainDbMeta::new(BlockEnv::default(), endpoint.clone());
        let database = BlockchainDb::new(meta, None);
        let backend = SharedBackend::spawn_backend(provider.clone(), database, Some(number.into())).await;
        // Only blocking threads read the state, so they may simply block.
        let backend = backend.with_blocking_mode(BlockingMode::Block);
        Ok(Self {
            provider,
            backend,
            endpoint: named,
            chain_id,
            tip,
        })
    }

    /// Passes a question on; the answer, or the error, is the endpoint's.
    pub(crate) async fn request(&self, method: &str, params: Vec<Value>) -> Result<Value, RpcError> {
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

async fn open(url: &Url, endpoint: &Endpoint) -> Result<DynProvider<AnyNetwork>, NodeError> {
    let builder = ProviderBuilder::new()
        .disable_recommended_fillers()
        .network::<AnyNetwork>();
    match url.scheme() {
        "http" | "https" => {
            let client = reqwest::Client::builder()
                .timeout(UPSTREAM_TIMEOUT)
                .build()
                .map_err(|error| NodeError::ForkUnreachable {
                    endpoint: endpoint.name.clone(),
                    reason: endpoint.explain(&error),
                })?;
            Ok(builder.connect_reqwest(client, url.clone()).erased())
        }
        "ws" | "wss" => {
            let provider = builder
                .connect(url.as_str())
                .await
                .map_err(|error| NodeError::ForkUnreachable {
                    endpoint: endpoint.name.clone(),
                    reason: endpoint.explain(&error),
                })?;
            Ok(provider.erased())
        }
        other => Err(NodeError::Config {
            field: "fork_url",
            reason: format!("scheme `{other}` cannot be forked; use http, https, ws or wss"),
        }),
    }
}

/// The endpoint as messages may name it: paths and credentials of providers' URLs are secrets.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and port.
    pub(crate) name: String,
    full: String,
}

impl Endpoint {
    fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or("?");
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self {
            name: format!("{}://{host}{port}", url.scheme()),
            full: url.to_string(),
        }
    }

    /// An error with its causes, and without the secret parts of the URL.
    pub(crate) fn explain(&self, error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text = format!("{text}: {part}");
            }
            cause = error.source();
        }
        text.replace(&self.full, &self.name)
    }
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
