//! The console: what the keeper sees and has recorded, over HTTP. Health, Prometheus metrics, incidents,
//! verdicts and alarms as JSON with an OpenAPI document, and a stream of events.
//!
//! It listens on this machine unless told otherwise, has no passwords and needs none: nothing can be changed through it, and
//! it holds no secret; but for approvals, which need a token of `[people]`. A page that a browser loads from elsewhere cannot read it, because a name in the `Host` header that is
//! not this machine's is refused.

mod api;
mod approvals;
mod json;
mod listen;
mod metrics;
mod recorded;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};

use crate::chain::Heads;
use crate::event::KeeperEvent;
use crate::health::Progress;
use crate::notify::DeadMan;
use crate::record::{Names, Store};
use crate::respond::{Account, Heartbeat, Readiness};
use crate::rules::Reader;

pub use approvals::{Approvers, TokenError};
use listen::{Limits, listen};
pub(crate) use metrics::Metrics;

/// Requests that are served at the same time; more are turned away.
const AT_ONCE: usize = 32;
/// Event streams that are served at the same time.
const STREAMS: usize = 16;
/// How long a request may take until its answer begins: one that sends its content slowly, or waits for the record, keeps a place from others.
const LONGEST: Duration = Duration::from_secs(15);
/// The interface as a document.
const OPENAPI: &str = include_str!("openapi.json");

/// What the console shows.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) store: Store,
    pub(crate) names: Names,
    pub(crate) keeper: Address,
    pub(crate) heads: Heads,
    pub(crate) progress: Progress,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) reader: Reader,
    pub(crate) events: broadcast::Sender<KeeperEvent>,
    /// Names besides this machine's are welcome in `Host`.
    pub(crate) remote: bool,
    /// Who may approve.
    pub(crate) approvers: Approvers,
    /// Fallbacks, and whether one of their signed transactions would work.
    pub(crate) fallbacks: Readiness,
    /// Accounts whose keys others hold, and whether they can sign.
    pub(crate) keys: Readiness,
    /// The keeper's accounts.
    pub(crate) accounts: Vec<Account>,
    /// Who sends heartbeats; `None` without a key for it.
    pub(crate) heartbeat: Option<Heartbeat>,
    /// The dead-man's switch that somebody else runs.
    pub(crate) dead_man: Option<DeadMan>,
    at_once: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Shown {
    pub(crate) fn new(
        (store, names): (Store, Names),
        keeper: Address,
        (heads, progress, readiness, reader): (Heads, Progress, Readiness, Reader),
        events: broadcast::Sender<KeeperEvent>,
        remote: bool,
    ) -> Self {
        Self {
            store,
            names,
            keeper,
            heads,
            progress,
            metrics: Metrics::default(),
            readiness,
            reader,
            events,
            remote,
            approvers: Approvers::default(),
            fallbacks: Readiness::default(),
            keys: Readiness::default(),
            accounts: Vec::new(),
            heartbeat: None,
            dead_man: None,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let counting = Metrics::count(shown.metrics.clone(), shown.events.subscribe());
    let serving = listen(listener, router(shown), Limits::default());
    futures::future::join(serving, counting).await;
}

/// Serves a keeper that waits for its turn: it has no data of its own, and says who works.
pub(crate) async fn stand_by(listener: TcpListener, store: Store) {
    let remote = listener.local_addr().is_ok_and(|at| !at.ip().is_loopback());
    let app = Router::new()
        .route("/health", get(api::standing_by))
        .route("/metrics", get(api::measured_standing_by))
        .fallback(api::not_here)
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            if !remote && !host.is_some_and(is_this_machine) {
                return (StatusCode::FORBIDDEN, "this host name is not this machine's\n").into_response();
            }
            in_time(next.run(request)).await
        }))
        .with_state(store);
    listen(listener, app, Limits::default()).await;
}

/// The answer, or that it takes too long.
async fn in_time(answer: impl Future<Output = Response>) -> Response {
    let late = |_| (StatusCode::SERVICE_UNAVAILABLE, "this takes too long\n").into_response();
    tokio::time::timeout(LONGEST, answer).await.unwrap_or_else(late)
}

fn router(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/health", get(api::health))
        .route("/metrics", get(api::measured))
        .route("/api/status", get(api::status))
        .route("/api/incidents", get(api::incidents))
        .route("/api/incidents/{id}", get(api::incident))
        .route("/api/incidents/{id}/playbooks", get(api::playbooks))
        .route("/api/approvals", get(approvals::open).post(approvals::answer))
        .route("/api/verdicts", get(api::newest_verdicts))
        .route("/api/blocks/{hash}/verdicts", get(api::verdicts))
        .route("/api/alarms", get(api::alarms))
        .route("/api/shadow", get(api::shadow))
        .route("/api/notices", get(api::notices))
        .route("/api/configurations", get(api::configurations))
        .route("/api/events", get(stream::events))
        .route("/api/openapi.json", get(openapi))
        .layer(middleware::from_fn_with_state(Arc::clone(&shown), guard))
        .with_state(shown)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Turns away what is too much, and pages from elsewhere that were given this machine's address.
async fn guard(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !shown.remote && !host.is_some_and(is_this_machine) {
        return (StatusCode::FORBIDDEN, "this host name is not this machine's\n").into_response();
    }
    let Ok(_permit) = shown.at_once.clone().try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            "too many requests at once\n",
        )
            .into_response();
    };
    let mut response = in_time(next.run(request)).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn is_this_machine(host: &str) -> bool {
    if host
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback())
    {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in [
            "localhost",
            "localhost:9464",
            "127.0.0.1:9464",
            "127.0.0.1",
            "[::1]:9464",
            "127.8.8.8:1",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9464", "10.0.0.1:9464", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let source = include_str!("mod.rs");
        let routes: BTreeSet<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
            .collect();
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let described: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(routes, described);
        assert!(routes.len() >= 14);
    }
}
