//! What the specification of JSON-RPC wants of a server beyond what the library does by itself: a notification is carried out and gets
//! no answer, not even `null`; a request whose id is neither text, a whole number nor null is told that it is wrong; and
//! subscriptions do not exist where nothing can be pushed. This is HTTP's side; connections have [`session`](crate::session).

use std::{
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
};

use alloy::{
    primitives::bytes::Bytes,
    transports::http::reqwest::{self, Method, StatusCode},
};
use futures::future::Either;
use jsonrpsee::{
    BatchResponseBuilder, MethodResponse,
    core::{
        http_helpers::{HttpError, read_body},
        middleware::{Batch, BatchEntry, Notification, RpcServiceT},
    },
    server::{
        HttpBody, HttpRequest, HttpResponse,
        http::{content_type_is_json, response},
    },
    types::{ErrorCode, ErrorObject, Id, Request},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use soketto::handshake::http::is_upgrade_request;
use tower::{Layer, Service};

use crate::{handle::MAX_MESSAGE, session::Sessions, ws};

/// The methods that need a connection to push to.
const SUBSCRIPTIONS: [&str; 2] = ["eth_subscribe", "eth_unsubscribe"];

/// The body of an HTTP request as it came.
#[derive(Clone, Debug)]
struct Received(Bytes);

/// Marks an answer that is not to be sent.
#[derive(Clone, Copy, Debug)]
struct Silent;

/// What tells a notification from a request with an id of a wrong type.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Whether a message has an id, of whatever type.
pub(crate) fn has_id(message: &str) -> bool {
    serde_json::from_str::<Shape<'_>>(message).is_ok_and(|shape| shape.id.is_some())
}

/// The answer to what is no request.
pub(crate) fn invalid_request() -> MethodResponse {
    MethodResponse::error(Id::Null, ErrorObject::from(ErrorCode::InvalidRequest))
}

/// Whether a method needs a connection to push to.
pub(crate) fn subscribes(method: &str) -> bool {
    SUBSCRIPTIONS.contains(&method)
}

/// Keeps the body of HTTP requests for [`Strict`], sends nothing for a notification, and hands WebSockets to their sessions.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Sessions);

impl Wire {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self(sessions)
    }
}

impl<S> Layer<S> for Wire {
    type Service = WireService<S>;

    fn layer(&self, inner: S) -> WireService<S> {
        WireService {
            inner,
            sessions: self.0.clone(),
        }
    }
}

/// A service with [`Wire`].
#[derive(Clone, Debug)]
pub(crate) struct WireService<S> {
    inner: S,
    sessions: Sessions,
}

impl<S> Service<HttpRequest> for WireService<S>
where
    S: Service<HttpRequest, Response = HttpResponse> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        if is_upgrade_request(&request) {
            let answer = ws::upgrade(&self.sessions, request);
            return Box::pin(ready(Ok(answer)));
        }
        // Everything else is refused.
        if request.method() != Method::POST || !content_type_is_json(&request) {
            return Box::pin(self.inner.call(request));
        }
        // The clone may not be ready, but what was polled is.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = match read_body(&parts.headers, body, MAX_MESSAGE).await {
                Ok((body, _)) => Bytes::from(body),
                Err(HttpError::TooLarge) => return Ok(response::too_large(MAX_MESSAGE)),
                Err(HttpError::Malformed) => return Ok(response::malformed()),
                Err(HttpError::Stream(_)) => return Ok(response::internal_error()),
            };
            parts.extensions.insert(Received(body.clone()));
            let body = HttpBody::new(reqwest::Body::from(body));
            let mut answer = inner.call(HttpRequest::from_parts(parts, body)).await?;
            if answer.extensions().get::<Silent>().is_some() {
                answer = HttpResponse::new(HttpBody::empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
            }
            Ok(answer)
        })
    }
}

/// Follows the specification where the service below does not.
#[derive(Clone, Debug)]
pub(crate) struct Strict<S>(pub(crate) S);

impl<S> Strict<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    /// Carries out a notification. What it would subscribe to could not be told apart from other events.
    async fn carry_out(self, notification: Notification<'_>) -> MethodResponse {
        let Notification {
            jsonrpc,
            method,
            params,
            mut extensions,
        } = notification;
        if !subscribes(&method) {
            let request = Request {
                jsonrpc,
                id: Id::Null,
                method,
                params,
                extensions: extensions.clone(),
            };
            drop(self.0.call(request).await);
        }
        extensions.insert(Silent);
        MethodResponse::notification().with_extensions(extensions)
    }
}

impl<S> RpcServiceT for Strict<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        if subscribes(request.method_name()) {
            let error = MethodResponse::error(request.id, ErrorObject::from(ErrorCode::MethodNotFound));
            return Either::Left(ready(error.with_extensions(request.extensions)));
        }
        Either::Right(self.0.call(request))
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let body = notification.extensions().get::<Received>();
            let body = body.and_then(|Received(body)| std::str::from_utf8(body).ok());
            if body.is_some_and(has_id) {
                return invalid_request().with_extensions(notification.extensions);
            }
            service.carry_out(notification).await
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(usize::try_from(MAX_MESSAGE).unwrap_or(usize::MAX));
            // The entries with an id, once that is asked.
            let mut with_id: Option<Vec<bool>> = None;
            let mut silent = None;
            for (index, entry) in batch.into_iter().enumerate() {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => service.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        let with_id = with_id.get_or_insert_with(|| ids(notification.extensions().get()));
                        if !with_id.get(index).copied().unwrap_or_default() {
                            silent = Some(service.clone().carry_out(notification).await);
                            continue;
                        }
                        invalid_request()
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_long) = answers.append(answer) {
                    return too_long;
                }
            }
            match silent {
                Some(silent) if answers.is_empty() => silent,
                _ => MethodResponse::from_batch(answers.finish()),
            }
        }
    }
}

/// Which entries of a batch have an id.
fn ids(body: Option<&Received>) -> Vec<bool> {
    let entries = body.and_then(|Received(body)| serde_json::from_slice::<Vec<&RawValue>>(body).ok());
    let entries = entries.unwrap_or_default();
    entries.into_iter().map(|entry| has_id(entry.get())).collect()
}
