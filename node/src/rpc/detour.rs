//! The way of long answers to an HTTP client, past the JSON-RPC server.
//!
//! The server reads every answer that it has written once more, to make sure that it is JSON, and copies it. For megabytes of logs or
//! traces that is most of the work. A method with long answers leaves its text with the request instead and answers `null`; the text
//! takes that word's place when the response leaves. Batches and WebSockets have no detour: their answers go the ordinary way.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use alloy::transports::http::reqwest::header::UPGRADE;
use jsonrpsee::{
    Extensions, MethodResponse,
    core::middleware::{Batch, Notification, RpcServiceT},
    server::{HttpBody, HttpRequest, HttpResponse},
    types::{ErrorObjectOwned, Request, error::OVERSIZED_RESPONSE_CODE},
};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tower::{Layer, Service};

use crate::handle::MAX_MESSAGE;

/// What a response looks like up to its result, which the text replaces.
const PLACEHOLDER: &str = "null}";

/// An answer that can be long.
pub(super) trait Long: Serialize + Clone + Send + 'static {
    /// The answer as JSON; nothing when it is longer than `limit` bytes.
    fn into_text(self, limit: usize) -> Option<Vec<u8>>;
}

impl Long for Box<RawValue> {
    fn into_text(self, limit: usize) -> Option<Vec<u8>> {
        let text = String::from(Box::<str>::from(self)).into_bytes();
        (text.len() <= limit).then_some(text)
    }
}

/// Where the text of a long answer waits.
#[derive(Clone, Debug, Default)]
struct Detour(Arc<Mutex<Option<Vec<u8>>>>);

/// A detour of the connection that a request came by. Only a request that stands for itself takes it.
#[derive(Clone, Debug)]
struct Offered(Detour);

/// What is left for the JSON-RPC server to write.
#[derive(Clone, Debug)]
pub(super) enum Rest<T> {
    /// The answer went by the detour.
    Nothing,
    Answer(T),
}

impl<T: Serialize> Serialize for Rest<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Answer(answer) => answer.serialize(serializer),
        }
    }
}

/// Sends an answer by the request's detour, if it has one.
///
/// # Errors
///
/// When the answer is too long, as the server would say it.
pub(super) fn send<T: Long>(answer: T, request: &Extensions) -> Result<Rest<T>, ErrorObjectOwned> {
    let Some(Detour(place)) = request.get() else {
        return Ok(Rest::Answer(answer));
    };
    let limit = usize::try_from(MAX_MESSAGE).unwrap_or(usize::MAX);
    let text = answer.into_text(limit).ok_or_else(|| {
        let bound = format!("Exceeded max limit of {MAX_MESSAGE}");
        ErrorObjectOwned::owned(OVERSIZED_RESPONSE_CODE, "Response is too big", Some(bound))
    })?;
    *place.lock() = Some(text);
    Ok(Rest::Nothing)
}

/// Offers a detour to requests over HTTP, and lets what came by it take the place of the response's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bypass;

impl<S> Layer<S> for Bypass {
    type Service = BypassService<S>;

    fn layer(&self, inner: S) -> BypassService<S> {
        BypassService(inner)
    }
}

/// A service, of HTTP requests or of JSON-RPC calls, with [`Bypass`].
#[derive(Clone, Debug)]
pub(crate) struct BypassService<S>(S);

impl<S, B> Service<HttpRequest<B>> for BypassService<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: HttpRequest<B>) -> Self::Future {
        // A connection that becomes a WebSocket passes on what its first request carries.
        if request.headers().contains_key(UPGRADE) {
            return Box::pin(self.0.call(request));
        }
        let detour = Detour::default();
        request.extensions_mut().insert(Offered(detour.clone()));
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if let Some(text) = detour.0.lock().take() {
                *response.body_mut() = HttpBody::from(text);
            }
            Ok(response)
        })
    }
}

impl<S> RpcServiceT for BypassService<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse>,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(&self, mut request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let offered = request.extensions.get::<Offered>().cloned();
        if let Some(Offered(detour)) = &offered {
            request.extensions.insert(detour.clone());
        }
        let answer = self.0.call(request);
        async move {
            let response = answer.await;
            if let Some(Offered(Detour(place))) = offered {
                complete(&mut place.lock(), response.as_json().get());
            }
            response
        }
    }

    fn batch<'a>(&self, requests: Batch<'a>) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        self.0.batch(requests)
    }

    fn notification<'a>(&self, n: Notification<'a>) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.0.notification(n)
    }
}

/// Makes a result the whole response by putting around it what the server wrote around its placeholder.
fn complete(result: &mut Option<Vec<u8>>, written: &str) {
    let Some(text) = result else { return };
    match written.strip_suffix(PLACEHOLDER) {
        Some(head) => {
            text.splice(0..0, head.bytes());
            text.push(b'}');
        }
        // An error after all: it stands as it is.
        None => *result = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_takes_the_place_of_the_word() {
        let mut result = Some(b"[1,2]".to_vec());
        complete(&mut result, r#"{"jsonrpc":"2.0","id":"a","result":null}"#);
        assert_eq!(
            result.as_deref(),
            Some(br#"{"jsonrpc":"2.0","id":"a","result":[1,2]}"#.as_slice())
        );
    }

    #[test]
    fn an_error_stands_as_it_is() {
        let mut result = Some(b"[1,2]".to_vec());
        complete(
            &mut result,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#,
        );
        assert_eq!(result, None);
    }
}
