//! Connecting to the endpoints of the forked chain.

use alloy::{
    network::AnyNetwork,
    providers::{DynProvider, Provider, ProviderBuilder, WsConnect},
    pubsub::PubSubConnect,
    rpc::{client::RpcClient, types::BlockId},
    transports::{BoxTransport, TransportErrorKind, http, http::reqwest},
};
use futures::future::join_all;
use url::Url;

use super::find::Finder;
use crate::{
    chain::Tip,
    config::ForkRequests,
    endpoint::Endpoint,
    error::NodeError,
    upstream::{Policy, Upstreams},
};

/// How failures of the endpoints are dealt with.
pub(super) fn policy(requests: &ForkRequests) -> Policy {
    Policy {
        retries: requests.retries,
        backoff: requests.backoff,
        units_per_second: requests.units_per_second,
    }
}

/// An endpoint that answers.
pub(super) struct Opened {
    named: Endpoint,
    transport: BoxTransport,
}

/// Opens all endpoints. One that does not answer is left out while another does; all must serve the same chain.
pub(super) async fn open_all(
    url: &Url,
    requests: &ForkRequests,
    named: &Endpoint,
    expected: Option<u64>,
) -> Result<Vec<Opened>, NodeError> {
    let urls: Vec<&Url> = std::iter::once(url).chain(&requests.fallbacks).collect();
    if urls.len() == 1 {
        let transport = open(url, requests, named).await?;
        let named = named.clone();
        return Ok(vec![Opened { named, transport }]);
    }
    let once = Policy {
        retries: 0,
        ..policy(requests)
    };
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
    let mut usable = Vec::new();
    let (mut chain, mut failure) = (None, None);
    for outcome in join_all(asked).await {
        match outcome {
            Ok((found, named, _)) if *chain.get_or_insert(found) != found => {
                return Err(NodeError::WrongChain {
                    endpoint: named.name(),
                    expected: chain.unwrap_or_default(),
                    found,
                });
            }
            Ok((_, named, transport)) => usable.push(Opened { named, transport }),
            Err(error @ NodeError::ForkUnreachable { .. }) => {
                tracing::warn!(%error, "an endpoint is left out");
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(error) if usable.is_empty() => Err(error),
        _ => Ok(usable),
    }
}

/// All of them as one.
pub(super) fn together(opened: &[Opened], requests: &ForkRequests) -> Upstreams {
    let transports = opened.iter().map(|opened| opened.transport.clone());
    Upstreams::new(transports.collect(), policy(requests))
}

/// Lets only those endpoints answer from now on that have the block `tip` and its state, and answers how these are asked for it. One
/// that is not as far yet is left out.
///
/// # Errors
///
/// When they have different blocks there, or none has this one.
pub(super) async fn pin_all(
    opened: &[Opened],
    upstreams: &Upstreams,
    requests: &ForkRequests,
    tip: &Tip,
) -> Result<BlockId, NodeError> {
    let asked = opened.iter().map(|Opened { named, transport }| async move {
        let single = provider(Upstreams::new(vec![transport.clone()], policy(requests)));
        let finder = Finder {
            provider: &single,
            named,
        };
        if opened.len() > 1 {
            finder.has(tip).await?;
        }
        finder.pin(tip, requests).await
    });
    let (mut usable, mut names, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pinned, mut failure) = (None, None);
    for (outcome, opened) in join_all(asked).await.into_iter().zip(opened) {
        match outcome {
            Ok(found) => {
                // By number as soon as one of them needs it.
                let by_hash = pinned.filter(|_| found.is_hash());
                pinned = Some(by_hash.unwrap_or(found));
                names.push(format!("{} has {}", opened.named.name(), tip.hash));
                usable.push(opened.transport.clone());
            }
            Err(NodeError::WrongBlock { endpoint, found, .. }) => others.push(format!("{endpoint} has {found}")),
            Err(error) => {
                tracing::warn!(%error, "an endpoint is left out");
                failure = Some(error);
            }
        }
    }
    if !others.is_empty() {
        names.extend(others);
        return Err(NodeError::EndpointsDiffer {
            number: tip.number,
            blocks: names.join(", "),
        });
    }
    match (pinned, failure) {
        (Some(pinned), _) => {
            upstreams.replace(usable);
            Ok(pinned)
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(NodeError::Ended),
    }
}

pub(super) fn provider(upstreams: Upstreams) -> DynProvider<AnyNetwork> {
    ProviderBuilder::new()
        .disable_recommended_fillers()
        .network::<AnyNetwork>()
        .connect_client(RpcClient::new(upstreams, false))
        .erased()
}

pub(super) async fn open(url: &Url, requests: &ForkRequests, endpoint: &Endpoint) -> Result<BoxTransport, NodeError> {
    let unreachable = |error: &dyn std::error::Error| NodeError::ForkUnreachable {
        endpoint: endpoint.name(),
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
