//! The chain that is forked: reading its state, and passing on questions about its past.

mod answers;
mod find;
mod open;
mod past;

use std::sync::Arc;

use alloy::{
    network::AnyNetwork,
    providers::{DynProvider, Provider},
    transports::TransportError,
};
use foundry_fork_db::{
    BlockchainDb, SharedBackend,
    backend::BlockingMode,
    cache::{BlockchainDbMeta, MemDb},
};
use parking_lot::{Mutex, RwLock};
use revm::context::BlockEnv;
use serde_json::{Value, value::RawValue};
use url::Url;

pub(crate) use self::past::Past;
use self::{answers::Answers, find::Finder};
use crate::{
    chain::Tip,
    config::{ForkRequests, NodeConfig},
    endpoint::Endpoint,
    error::NodeError,
    rpc::RpcError,
    transaction::SignedTransaction,
    upstream::Upstreams,
};

/// The forked chain.
#[derive(Debug)]
pub(crate) struct Fork {
    provider: DynProvider<AnyNetwork>,
    /// What `provider` sends by.
    upstreams: Upstreams,
    /// The first endpoint.
    url: RwLock<Url>,
    /// Answers about the past, which stay true.
    answers: Mutex<Answers>,
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
        let opened = open::open_all(url, requests, &named, config.fork_chain_id).await?;
        let upstreams = open::together(&opened, requests);
        let provider = open::provider(upstreams.clone());
        let found = Finder {
            provider: &provider,
            named: &named,
        };
        let chain_id = found.chain_id(config.fork_chain_id).await?;
        let (tip, replay) = match config.fork_transaction_hash {
            Some(hash) => found.inside(hash).await?,
            None => (found.block(config).await?, None),
        };
        let meta = BlockchainDbMeta::new(BlockEnv::default(), named.name());
        let database = BlockchainDb::new(meta, None);
        let pinned = open::pin_all(&opened, &upstreams, requests, &tip).await?;
        let backend = SharedBackend::spawn_backend(provider.clone(), database, Some(pinned)).await;
        // Only blocking threads read the state, so they may simply block.
        let backend = backend.with_blocking_mode(BlockingMode::Block);
        Ok(Self {
            known: backend.data(),
            provider,
            upstreams,
            url: RwLock::new(url.clone()),
            answers: Mutex::default(),
            backend,
            endpoint: named,
            chain_id,
            tip,
            replay,
        })
    }

    /// The endpoint that is asked first.
    pub(crate) fn url(&self) -> Url {
        self.url.read().clone()
    }

    /// Asks at `url` alone from now on.
    ///
    /// # Errors
    ///
    /// When it does not answer, serves another chain, or has another block than the forked one; nothing is changed then.
    pub(crate) async fn move_to(&self, url: Url, requests: &ForkRequests) -> Result<(), NodeError> {
        let named = Endpoint::new(&url, &[]);
        let transport = open::open(&url, requests, &named).await?;
        let provider = open::provider(Upstreams::new(vec![transport.clone()], open::policy(requests)));
        let finder = Finder {
            provider: &provider,
            named: &named,
        };
        finder.chain_id(Some(self.chain_id)).await?;
        finder.has(&self.tip).await?;
        self.upstreams.replace(vec![transport]);
        self.endpoint.rename(&named);
        *self.url.write() = url;
        Ok(())
    }

    /// Puts a question; the answer, or the error, is the endpoint's. Others ask by way of [`Past`].
    async fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let question = Answers::question(method, &params);
        if let Some(known) = question.as_ref().and_then(|question| self.answers.lock().get(question)) {
            return Ok(serde_json::from_str(known.get())?);
        }
        let answer: Box<RawValue> = self
            .provider
            .raw_request(method.to_owned().into(), params)
            .await
            .map_err(|error| self.failure(error))?;
        let value: Value = serde_json::from_str(answer.get())?;
        if let Some(question) = question.filter(|_| answers::lasts(&value)) {
            self.answers.lock().put(question, answer);
        }
        Ok(value)
    }

    fn failure(&self, error: TransportError) -> RpcError {
        match error {
            TransportError::ErrorResp(payload) => RpcError::Upstream {
                code: payload.code,
                message: payload.message.into_owned(),
                data: payload.data.and_then(|data| serde_json::from_str(data.get()).ok()),
            },
            other => RpcError::Internal(format!(
                "the forked RPC {} failed: {}",
                self.endpoint.name(),
                self.endpoint.explain(&other)
            )),
        }
    }
}

/// A shared, optional fork.
pub(crate) type SharedFork = Option<Arc<Fork>>;
