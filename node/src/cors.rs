//! Lets pages in a browser ask the node, as far as the settings say so.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use alloy::transports::http::reqwest::{
    Method, StatusCode,
    header::{self, HeaderValue},
};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower::{Layer, Service};

/// Adds the headers that browsers ask for.
#[derive(Clone, Debug)]
pub(crate) struct Cors(Option<HeaderValue>);

impl Cors {
    /// Allows pages of `origin` (`*`: all); without it no page. An origin that is no header value allows none.
    pub(crate) fn new(origin: Option<&str>) -> Self {
        Self(origin.and_then(|origin| origin.parse().ok()))
    }

    fn mark(&self, response: &mut HttpResponse) {
        let Some(origin) = &self.0 else { return };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let any = HeaderValue::from_static("*");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, any);
        let methods = HeaderValue::from_static("GET, POST");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
}

impl<S> Layer<S> for Cors {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> CorsService<S> {
        CorsService {
            inner,
            cors: self.clone(),
        }
    }
}

/// A service with [`Cors`].
#[derive(Clone, Debug)]
pub(crate) struct CorsService<S> {
    inner: S,
    cors: Cors,
}

impl<S, B> Service<HttpRequest<B>> for CorsService<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let cors = self.cors.clone();
        // A browser asks first whether it may ask.
        if request.method() == Method::OPTIONS {
            let mut response = HttpResponse::new(HttpBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            cors.mark(&mut response);
            return Box::pin(async move { Ok(response) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            cors.mark(&mut response);
            Ok(response)
        })
    }
}
