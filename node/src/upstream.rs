//! Several endpoints of one chain used as one: requests go round, and what fails is tried again, elsewhere first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use alloy::transports::{
    BoxTransport, RpcError, TransportError, TransportErrorKind, TransportFut,
    http::reqwest,
    layers::{RateLimitRetryPolicy, RetryPolicy},
};
use alloy_json_rpc::{ErrorPayload, RequestPacket, ResponsePacket};
use parking_lot::{Mutex, RwLock};
use serde_json::value::RawValue;
use tower::Service;

/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Rounds over all endpoints in which none could be connected to, before that is the answer.
const DEAD_ROUNDS: usize = 2;

/// What a request costs of the compute units, on average over the methods that a fork uses.
const UNITS_PER_REQUEST: u32 = 20;

/// How failures are dealt with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Wait before the second round; it doubles with each further one.
    pub(crate) backoff: Duration,
    /// Compute units per second that may be used; `None`: as many as there are.
    pub(crate) units_per_second: Option<u32>,
}

/// The endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Upstreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: RwLock<Vec<BoxTransport>>,
    next: AtomicUsize,
    policy: Policy,
    /// When the next request may be sent, where requests are limited.
    free_at: Mutex<Instant>,
}

impl Upstreams {
    /// At least one endpoint is needed; without any every request fails.
    pub(crate) fn new(endpoints: Vec<BoxTransport>, policy: Policy) -> Self {
        Self(Arc::new(Inner {
            endpoints: RwLock::new(endpoints),
            next: AtomicUsize::new(0),
            policy,
            free_at: Mutex::new(Instant::now()),
        }))
    }

    /// Puts other endpoints in the place of all.
    pub(crate) fn replace(&self, endpoints: Vec<BoxTransport>) {
        *self.0.endpoints.write() = endpoints;
    }
}

impl Service<RequestPacket> for Upstreams {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> TransportFut<'static> {
        let inner = self.0.clone();
        Box::pin(async move { inner.send(request).await })
    }
}

impl Inner {
    async fn send(&self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        // Endpoints that are replaced meanwhile still answer what was asked of them.
        let endpoints = self.endpoints.read().clone();
        let count = endpoints.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut wait = self.policy.backoff;
        let mut unconnected = 0usize;
        let attempts = usize::try_from(self.policy.retries)
            .unwrap_or(usize::MAX)
            .max(count.saturating_sub(1));
        for attempt in 0..=attempts {
            self.pace().await;
            let chosen = first.wrapping_add(attempt).checked_rem(count).unwrap_or_default();
            let Some(endpoint) = endpoints.get(chosen) else {
                break;
            };
            let outcome = endpoint.clone().call(request.clone()).await;
            let outcome = outcome.and_then(|response| with_number(&request, response));
            let failure = match &outcome {
                Ok(response) => response.as_error().and_then(refusal),
                Err(error) => failure(error),
            };
            let Some(failure) = failure.filter(|_| attempt < attempts) else {
                return outcome;
            };
            if failure.connects {
                unconnected = 0;
            } else {
                unconnected = unconnected.saturating_add(1);
                if unconnected >= count.saturating_mul(DEAD_ROUNDS) {
                    return outcome;
                }
            }
            // Another endpoint is asked at once; only when all have failed there is something to wait for.
            if attempt.saturating_add(1).checked_rem(count) == Some(0) {
                tokio::time::sleep(failure.hint.unwrap_or(wait).min(MAX_BACKOFF)).await;
                wait = wait.saturating_mul(2).min(MAX_BACKOFF);
            }
        }
        Err(TransportErrorKind::custom_str("there is no endpoint"))
    }

    /// Waits for its turn where requests are limited.
    async fn pace(&self) {
        let Some(units) = self.policy.units_per_second.filter(|units| *units > 0) else {
            return;
        };
        let turn = {
            let mut free_at = self.free_at.lock();
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + Duration::from_secs(1).saturating_mul(UNITS_PER_REQUEST) / units;
            turn
        };
        tokio::time::sleep_until(turn.into()).await;
    }
}

/// Questions about the state whose answers are numbers.
const NUMBERS: [&str; 3] = ["eth_getBalance", "eth_getStorageAt", "eth_getTransactionCount"];

/// An answer with nothing in the place of a number: what some proxies give when they have lost the node behind them.
#[derive(Debug, thiserror::Error)]
#[error("{method} was answered with {answer}, which is no number")]
struct NoNumber {
    method: String,
    answer: String,
}

/// The response, unless it is empty where a number of the state was asked for: that must not be taken for zero.
fn with_number(request: &RequestPacket, response: ResponsePacket) -> Result<ResponsePacket, TransportError> {
    let RequestPacket::Single(asked) = request else {
        return Ok(response);
    };
    let payload = response.single_payload().and_then(|payload| payload.as_success());
    let answer = payload.map(|answer| answer.get()).unwrap_or("0");
    let numbers = match asked.method() {
        method if NUMBERS.contains(&method) => vec![answer],
        // Not of the standard: balance and nonce at once.
        "eth_getAccountInfo" => match serde_json::from_str::<Account<'_>>(answer) {
            Ok(account) => vec![account.balance.get(), account.nonce.get()],
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    let empty = numbers
        .into_iter()
        .find(|number| matches!(*number, "\"0x\"" | "\"\"" | "null"))
        .map(str::to_owned);
    match empty {
        Some(answer) => Err(TransportErrorKind::custom(NoNumber {
            method: asked.method().to_owned(),
            answer,
        })),
        None => Ok(response),
    }
}

/// The numbers of an account.
#[derive(serde::Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    balance: &'a RawValue,
    #[serde(borrow)]
    nonce: &'a RawValue,
}

/// A failure after which trying again makes sense.
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// Something answered.
    connects: bool,
    /// How long the endpoint asks to wait.
    hint: Option<Duration>,
}

/// What the error of an answer means for another attempt; `None`: it would not help.
fn refusal(payload: &ErrorPayload) -> Option<Failure> {
    payload.is_retry_err().then(|| Failure {
        connects: true,
        hint: RateLimitRetryPolicy::default().backoff_hint(&RpcError::ErrorResp(payload.clone())),
    })
}

/// What a transport's error means for another attempt; `None`: it would not help.
fn failure(error: &TransportError) -> Option<Failure> {
    let connects = |connects| Some(Failure { connects, hint: None });
    match error {
        RpcError::Transport(TransportErrorKind::HttpErrorWithRetryAfter { error, retry_after })
            if error.status >= 400 =>
        {
            Some(Failure {
                connects: true,
                hint: Some(*retry_after),
            })
        }
        RpcError::Transport(TransportErrorKind::HttpError(error)) => {
            connects(true).filter(|_| error.status == 429 || error.status >= 500)
        }
        RpcError::Transport(TransportErrorKind::MissingBatchResponse(_)) => connects(true),
        RpcError::Transport(TransportErrorKind::BackendGone) => connects(false),
        RpcError::Transport(TransportErrorKind::Custom(cause)) => match cause.downcast_ref::<reqwest::Error>() {
            Some(cause) => connects(!cause.is_connect()),
            None => connects(true).filter(|_| cause.is::<NoNumber>()),
        },
        // An answer that was cut off, or a page of a proxy instead of an answer.
        RpcError::DeserError { .. } | RpcError::NullResp => connects(true),
        _ => None,
    }
}
