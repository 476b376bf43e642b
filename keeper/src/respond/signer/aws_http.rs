//! HTTP for the AWS SDK: the client that everything else here uses, so that there is one TLS library, with one set of roots.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

/// Where nobody listens is known sooner than any request has to be answered.
const CONNECT: Duration = Duration::from_millis(800);
/// More than any answer of KMS, or of what hands out credentials.
const LONGEST: usize = 1 << 20;

#[derive(Debug, Clone)]
struct Http {
    client: reqwest::Client,
    /// How long an answer may take to begin.
    read: Option<Duration>,
}

/// The client.
pub(super) fn client() -> Result<SharedHttpClient, String> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| format!("no HTTP client can be made: {}", error.without_url()))?;
    Ok(SharedHttpClient::new(Http { client, read: None }))
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Self {
            client: self.client.clone(),
            read: settings.read_timeout(),
        })
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move { http.send(request).await })
    }
}

impl Http {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?
            .map(|body| body.bytes().map(<[u8]>::to_vec));
        let (parts, body) = request.into_parts();
        // Bodies of these services are a few hundred bytes, and never streams.
        let body = body.ok_or_else(|| ConnectorError::user("a streamed request is not for this client".into()))?;
        let mut request = self
            .client
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body);
        if let Some(read) = self.read {
            request = request.timeout(read);
        }
        let mut answer = request.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST {
                return Err(ConnectorError::other("the answer is too long".into(), None));
            }
        }
        let status = status
            .as_u16()
            .try_into()
            .map_err(|_| ConnectorError::other("the answer has no status".into(), None))?;
        let mut response = HttpResponse::new(status, SdkBody::from(bytes));
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                response
                    .headers_mut()
                    .append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

/// The SDK tries again what did not arrive.
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
