//! A web service that keeps what is sent to it, and fails when it is told to: a webhook, and on their paths PagerDuty and Opsgenie.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Default)]
struct Shared {
    received: Arc<Mutex<Vec<Value>>>,
    failures: Arc<Mutex<u32>>,
}

/// A webhook's receiver. It ends with this value.
#[derive(Debug)]
pub struct Inbox {
    address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Inbox {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Shared::default();
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, shared, task })
    }

    /// Where to send.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Everything that arrived, repetitions included.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.shared
            .received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What arrived as a service sees it that knows repetitions by their `id`: each message once.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        self.received()
            .into_iter()
            .filter(|message| seen.insert(message.get("id").map(ToString::to_string)))
            .collect()
    }

    /// The next requests fail.
    pub fn fail(&self, times: u32) {
        *self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(shared): State<Shared>, uri: Uri, body: String) -> Response {
    {
        let mut failures = shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if *failures > 0 {
            *failures -= 1;
            return StatusCode::BAD_GATEWAY.into_response();
        }
    }
    let message: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let answer = match uri.path() {
        "/v2/enqueue" => {
            let key = message.get("dedup_key").cloned();
            Some(json!({ "status": "success", "message": "Event processed", "dedup_key": key }))
        }
        path if path.starts_with("/v2/alerts") => {
            Some(json!({ "result": "Request will be processed", "took": 0.1, "requestId": "43a29c5c" }))
        }
        _ => None,
    };
    shared
        .received
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(message);
    match answer {
        Some(answer) => (StatusCode::ACCEPTED, answer.to_string()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
