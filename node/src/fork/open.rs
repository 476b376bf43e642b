//! Connecting to the endpoints of the forked chain.

use alloy::{
    network::AnyNetwork,
    providers::{DynProvider, Provider, ProviderBuilder, WsConnect},
    pubsub::PubSubConnect,
    rpc::client::RpcClient,
    transports::{BoxTransport, TransportErrorKind, http, http::reqwest},
};
use futures::future::join_all;
use url::Url;

use super::find::Finder;
use crate::{
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

/// Opens all endpoints. One that does not answer is left out while another does; all must serve the same chain.
pub(super) async fn open_all(
    url: &Url,
    requests: &ForkRequests,
    named: &Endpoint,
    expected: Option<u64>,
) -> Result<Upstreams, NodeError> {
    let policy = policy(requests);
    let urls: Vec<&Url> = std::iter::once(url).chain(&requests.fallbacks).collect();
    if urls.len() == 1 {
        let only = open(url, requests, named).await?;
        return Ok(Upstreams::new(vec![only], policy));
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
                    endpoint: named.name(),
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
        _ => Ok(Upstreams::new(usable, policy)),
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
