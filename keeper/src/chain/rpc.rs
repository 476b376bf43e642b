//! JSON-RPC endpoints behind one handle: every call has a deadline, a broken endpoint is skipped for the next one, and an
//! endpoint of another chain is never used.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::Header;
use alloy::transports::{TransportError, TransportResult};

use super::bloom::{Seal, Seals};
use super::compare::Agreement;
use super::endpoint::Endpoint;
use super::failure::{describe, is_limit, wait_named_in};
use super::{BlockRef, BlockSource, RpcError};

/// What every node of a chain answers: one that refuses it (a key that was revoked, a plan that has ended) is as good as not there.
const ALWAYS_ANSWERED: [&str; 7] = [
    "eth_chainId",
    "eth_blockNumber",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getTransactionReceipt",
    "eth_getTransactionCount",
    "eth_getBalance",
];

/// Several endpoints of one chain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rpc {
    endpoints: Arc<Vec<Arc<Endpoint>>>,
    current: Arc<AtomicUsize>,
    seals: Arc<Seals>,
    /// Who had receipts last.
    pub(super) has_receipts: Arc<AtomicUsize>,
    agreement: Arc<Agreement>,
    chain_id: u64,
    timeout: Duration,
    /// It speaks for one endpoint alone, whatever side that is on.
    alone: bool,
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
            let mut name = match url.port_or_known_default() {
                Some(port) => format!("{}://{host}:{port}", url.scheme()),
                None => format!("{}://{host}", url.scheme()),
            };
            // Two keys or paths at one gateway are two endpoints.
            if endpoints.iter().any(|other: &Arc<Endpoint>| other.name() == name) {
                name = format!("{name} (number {})", position.saturating_add(1));
            }
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
            endpoints.push(Arc::new(Endpoint::new(name, provider)));
        }
        Ok(Self {
            endpoints: Arc::new(endpoints),
            current: Arc::new(AtomicUsize::new(0)),
            seals: Arc::default(),
            has_receipts: Arc::new(AtomicUsize::new(usize::MAX)),
            agreement: Arc::default(),
            chain_id,
            timeout,
            alone: false,
        })
    }

    /// Chain id that every endpoint must have.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Checks the chain id of every endpoint that answers; at least one must be of this chain. One of another chain is not used, and named by
    /// [`Rpc::check_chains`].
    ///
    /// # Errors
    /// [`RpcError::WrongChain`] when all that there are are of other chains; [`RpcError::Unreachable`] when none of this chain answers, and one
    /// may be.
    pub async fn verify(&self) -> Result<(), RpcError> {
        let (mut foreign, mut silent, mut reached) = (None, None, false);
        for endpoint in self.endpoints.iter() {
            match self.verify_endpoint(endpoint).await {
                Ok(()) => reached = true,
                Err(error @ RpcError::WrongChain { .. }) => {
                    tracing::error!(%error, "an RPC endpoint is not used");
                    foreign = Some(error);
                }
                Err(error) => {
                    tracing::warn!(endpoint = %endpoint.name(), %error, "an RPC endpoint does not answer");
                    silent = Some(error);
                }
            }
        }
        match silent.or(foreign) {
            Some(error) if !reached => Err(error),
            _ => Ok(()),
        }
    }

    /// Those that are believed: all but those that were outvoted.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.all_endpoints().filter(|endpoint| !endpoint.is_outvoted())
    }

    pub(super) fn all_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(Arc::as_ref)
    }

    pub(super) fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Position of the endpoint that is asked first.
    pub(super) fn asked_first(&self) -> Option<usize> {
        self.in_turn().next()
    }

    /// Positions of the endpoints that are believed, in the order in which they are asked: beginning with the one that answered last.
    /// In a split those of the side that is followed: one bad moment of it must not put the keeper on another chain.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> {
        let count = self.endpoints.len();
        let start = self.current.load(Ordering::Relaxed);
        let order = (0..count).filter_map(move |offset| start.wrapping_add(offset).checked_rem(count));
        order.filter(|at| {
            let endpoint = self.endpoints.get(*at);
            endpoint.is_some_and(|endpoint| !endpoint.is_outvoted() && (self.alone || !endpoint.is_aside()))
        })
    }

    pub(super) fn seals(&self) -> &Seals {
        &self.seals
    }

    /// A header as the keeper uses it; what it says of its block's receipts is remembered when it is true.
    pub(super) fn block(&self, header: &Header) -> BlockRef {
        self.note_seal(header);
        BlockRef::from(header)
    }

    /// Remembers what a header says of its block's receipts; whether the header is the one that its hash names.
    pub(super) fn note_seal(&self, header: &Header) -> bool {
        let seal = Seal::of(header);
        if let Some(seal) = seal {
            self.seals.note(header.hash, seal);
        }
        seal.is_some()
    }

    /// A head that was announced. One that its hash does not name is whatever the endpoints have under that hash; `None` when they have
    /// nothing.
    pub(super) async fn announced(&self, header: &Header) -> Option<BlockRef> {
        /// An endpoint may come to it a moment later.
        const ATTEMPTS: u32 = 4;
        const PAUSE: Duration = Duration::from_millis(25);
        if self.note_seal(header) {
            return Some(BlockRef::from(header));
        }
        for _ in 0..ATTEMPTS {
            if let Ok(Some(block)) = self.by_hash(header.hash).await {
                return Some(block);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Every endpoint that is believed by itself, with its name.
    pub(crate) fn each(&self) -> Vec<(String, Self)> {
        self.endpoints
            .iter()
            .filter(|endpoint| !endpoint.is_outvoted())
            .map(|endpoint| (endpoint.name().to_owned(), self.alone_with(endpoint)))
            .collect()
    }

    /// Those that are asked, each by itself: in a split one side alone.
    pub(crate) fn apart(&self) -> Vec<Self> {
        let asked = self.in_turn().filter_map(|at| self.endpoints.get(at));
        asked.map(|endpoint| self.alone_with(endpoint)).collect()
    }

    /// The one at this position by itself.
    pub(super) fn alone_at(&self, at: usize) -> Option<Self> {
        self.endpoints.get(at).map(|endpoint| self.alone_with(endpoint))
    }

    fn alone_with(&self, endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoints: Arc::new(vec![Arc::clone(endpoint)]),
            current: Arc::default(),
            alone: true,
            ..self.clone()
        }
    }

    /// Asks this endpoint first from now on, and in a split those that are on its side.
    pub(crate) fn prefer(&self, name: &str) {
        if let Some(index) = self.endpoints.iter().position(|endpoint| endpoint.name() == name) {
            self.current.store(index, Ordering::Relaxed);
            self.change_side(index);
        }
    }

    /// Asks another endpoint first from now on, if there is one that is believed: the one that was has said what cannot be.
    pub(crate) fn pass_over(&self) {
        let next = self.in_turn().nth(1);
        if let Some((index, endpoint)) = next.and_then(|index| Some((index, self.endpoints.get(index)?))) {
            self.current.store(index, Ordering::Relaxed);
            tracing::warn!(endpoint = %endpoint.name(), "the RPC endpoint that was asked first says what cannot be: another one is");
        }
    }

    pub(super) async fn verify_endpoint(&self, endpoint: &Endpoint) -> Result<(), RpcError> {
        if endpoint.is_verified() {
            return Ok(());
        }
        self.verify_again(endpoint).await
    }

    /// Whether the endpoint of this name was found to be of this chain.
    pub(crate) fn is_verified(&self, name: &str) -> bool {
        let mut named = self.all_endpoints().filter(|endpoint| endpoint.name() == name);
        named.any(Endpoint::is_verified)
    }

    /// Compares the chain id of every endpoint anew: one that stood for this chain may stand for another one since, such as a gateway whose
    /// configuration was changed. Those that do are not used until they are of this chain again. Answers what was found of them.
    pub async fn check_chains(&self) -> Vec<RpcError> {
        let checks = self.all_endpoints().map(|endpoint| self.verify_again(endpoint));
        let found = futures::future::join_all(checks).await.into_iter();
        found
            .filter_map(Result::err)
            .filter(|error| matches!(error, RpcError::WrongChain { .. }))
            .collect()
    }

    async fn verify_again(&self, endpoint: &Endpoint) -> Result<(), RpcError> {
        let provider = endpoint.provider();
        let id = self
            .bounded("eth_chainId", endpoint, async move { provider.get_chain_id().await })
            .await?;
        endpoint.set_verified(id == self.chain_id);
        if id != self.chain_id {
            return Err(RpcError::WrongChain {
                endpoint: endpoint.name().to_owned(),
                expected: self.chain_id,
                actual: id,
            });
        }
        Ok(())
    }

    /// One request at one endpoint with the deadline.
    pub(super) async fn bounded<T>(
        &self,
        method: &'static str,
        endpoint: &Endpoint,
        request: impl Future<Output = TransportResult<T>>,
    ) -> Result<T, RpcError> {
        let unreachable = |why: String| RpcError::Unreachable {
            method,
            reason: format!("{}: {why}", endpoint.name()),
        };
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(value)) => {
                endpoint.note_answer();
                Ok(value)
            }
            // A node that is busy has not answered: another one may.
            Ok(Err(error)) if is_limit(&error) => {
                endpoint.note_busy(wait_named_in(&error));
                Err(unreachable(describe(&error)))
            }
            Ok(Err(error @ TransportError::ErrorResp(_))) if ALWAYS_ANSWERED.contains(&method) => {
                Err(unreachable(describe(&error)))
            }
            Ok(Err(TransportError::ErrorResp(payload))) => {
                endpoint.note_answer();
                Err(RpcError::Refused {
                    method,
                    code: payload.code,
                    message: payload.message.into_owned(),
                })
            }
            Ok(Err(error)) => {
                endpoint.doubt();
                Err(unreachable(describe(&error)))
            }
            Err(_) => {
                endpoint.doubt();
                Err(unreachable(format!("no answer within {} ms", self.timeout.as_millis())))
            }
        }
    }

    /// Asks the endpoints that are believed in turn, beginning with the one that answered last, until one answers (with a result or a refusal).
    pub(crate) async fn ask<T, F, R>(&self, method: &'static str, request: R) -> Result<T, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        self.ask_until(method, request, |_| true).await
    }

    /// The same until one answers with a result: what one refuses another may do. The last refusal when all that answer refuse.
    pub(super) async fn ask_past_refusals<T, F, R>(&self, method: &'static str, request: R) -> Result<T, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        self.ask_until(method, request, |answer: &Result<T, RpcError>| answer.is_ok())
            .await
    }

    /// Asks in turn until an answer is the end of it.
    async fn ask_until<T, F, R>(
        &self,
        method: &'static str,
        request: R,
        is_end: impl Fn(&Result<T, RpcError>) -> bool,
    ) -> Result<T, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        let mut refused = None;
        let start = self.current.load(Ordering::Relaxed);
        let mut last = RpcError::NoEndpoint;
        let mut turns = self.turns();
        while let Some(index) = turns.next().await {
            let Some(endpoint) = self.endpoints.get(index) else {
                continue;
            };
            if let Some(left) = endpoint.busy_for() {
                last = RpcError::Unreachable {
                    method,
                    reason: format!("{} takes no more requests for {} ms", endpoint.name(), left.as_millis()),
                };
                continue;
            }
            let answer = match self.verify_endpoint(endpoint).await {
                Ok(()) => self.bounded(method, endpoint, request(endpoint.provider())).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error @ (RpcError::Unreachable { .. } | RpcError::WrongChain { .. })) => last = error,
                answered if !is_end(&answered) => {
                    if !self.alone {
                        self.note_answer();
                    }
                    refused = answered.err();
                }
                answered => {
                    if !self.alone {
                        self.note_answer();
                    }
                    if index != start && !turns.has_passed(start) {
                        self.current.store(index, Ordering::Relaxed);
                        tracing::warn!(endpoint = %endpoint.name(), "switched to another RPC endpoint");
                    }
                    return answered;
                }
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if !self.alone {
            self.note_silence();
        }
        Err(last)
    }
}
