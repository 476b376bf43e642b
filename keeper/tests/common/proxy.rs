//! A JSON-RPC proxy that injects the faults of real endpoints, per method.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// How requests of a method are treated.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An HTTP status without JSON-RPC.
    Status(u16),
    /// An error of JSON-RPC.
    Error(i64, &'static str),
    /// The answer, cut in the middle.
    Truncated,
    /// The right answer, late.
    Late(Duration),
    /// Another answer.
    Answer(Value),
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    faults: Arc<Mutex<HashMap<String, Fault>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// A proxy in front of `upstream`; it ends with this value.
pub struct Proxy {
    shared: Shared,
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(upstream: &str) -> Self {
        let shared = Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::new(),
            faults: Arc::default(),
            seen: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(handle).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { shared, port, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn fault(&self, method: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().insert(method.to_owned(), fault);
    }

    pub fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// How often a method was asked.
    pub fn count(&self, method: &str) -> usize {
        self.shared
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == method)
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(shared): State<Shared>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    shared.seen.lock().unwrap().push(method.clone());
    let fault = shared.faults.lock().unwrap().get(&method).cloned();
    let id = request["id"].clone();
    let answer = |value: Value| value.to_string().into_response();
    match fault {
        Some(Fault::Status(status)) => (StatusCode::from_u16(status).unwrap(), "slow down").into_response(),
        Some(Fault::Error(code, message)) => {
            answer(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }))
        }
        Some(Fault::Answer(result)) => answer(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        Some(Fault::Truncated) => {
            let text = forward(&shared, body).await;
            text.get(..text.len() / 2).unwrap().to_owned().into_response()
        }
        Some(Fault::Late(delay)) => {
            tokio::time::sleep(delay).await;
            forward(&shared, body).await.into_response()
        }
        None => forward(&shared, body).await.into_response(),
    }
}

async fn forward(shared: &Shared, body: String) -> String {
    let request = shared
        .client
        .post(&shared.upstream)
        .header("content-type", "application/json");
    request.body(body).send().await.unwrap().text().await.unwrap()
}
