//! An HTTP proxy in front of a JSON-RPC endpoint that fails in the ways endpoints fail.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::laggard;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered.
    None,
    /// It is answered late.
    Slow(Duration),
    /// No answer ever: the connection stays open.
    Hang,
    /// The connection ends without an answer; the request was not seen.
    Cut,
    /// The connection ends without an answer, after the request was carried out.
    CutAfter,
    /// An HTTP status.
    Http(u16),
    /// Status 429 of HTTP, with so many seconds to wait.
    RetryAfter(u32),
    /// A JSON-RPC error as providers give it above their limit.
    RateLimit,
    /// Another JSON-RPC error.
    Error(i64, &'static str),
    /// A page instead of an answer.
    Page,
    /// Half of the answer.
    Truncated,
    /// The answer with a list that lacks its last half: well-formed, and nothing says so.
    Shorter,
    /// Another answer than the endpoint's.
    Answer(Value),
    /// The answer of an endpoint that is so many blocks behind: it has nothing of the newer ones.
    Stale(u64),
    /// The answer of another endpoint (`http://host:port`): this one has become one of another chain.
    Elsewhere(String),
    /// The answer with each first text replaced by the second, in this order: well-formed, and a lie.
    Changed(Vec<(String, String)>),
}

/// In front of an endpoint. It ends with this value.
#[derive(Debug)]
pub struct RpcProxy {
    address: SocketAddr,
    upstream: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for RpcProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RpcProxy {
    /// A proxy in front of `upstream` (`http://host:port`). Request number n (from 0) with this body meets the fault that
    /// `plan` has for it.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn start(
        upstream: &str,
        plan: impl Fn(usize, &str) -> Fault + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicUsize::new(0));
        let upstream = Arc::new(Mutex::new(place(upstream).to_owned()));
        let behind = Arc::clone(&upstream);
        let counter = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&behind), Arc::clone(&counter), plan.clone()));
            }
        });
        Ok(Self {
            address,
            upstream,
            requests,
            task,
        })
    }

    /// From now on it stands in front of another endpoint.
    pub fn move_to(&self, upstream: &str) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = place(upstream).to_owned();
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it has seen.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Host and port of an endpoint.
fn place(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

/// Reads one HTTP message; answers its body.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end)?).to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
                .unwrap_or_default();
            let body = end.checked_add(4)?;
            if bytes.len() >= body.checked_add(length)? {
                return Some(bytes.split_off(body));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn respond(stream: &mut TcpStream, status: u16, body: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}

pub(crate) async fn forward(upstream: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut up = TcpStream::connect(upstream).await.ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {upstream}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    up.write_all(head.as_bytes()).await.ok()?;
    up.write_all(body).await.ok()?;
    read_message(&mut up).await
}

/// `part` of an answer for a request, or for each of a batch.
fn answers(request: &Value, part: &Value) -> Vec<u8> {
    let one = |request: &Value| {
        let mut answer = json!({ "jsonrpc": "2.0", "id": request.get("id") });
        if let (Some(answer), Some(part)) = (answer.as_object_mut(), part.as_object()) {
            answer.extend(part.clone());
        }
        answer
    };
    let all = match request.as_array() {
        Some(batch) => Value::Array(batch.iter().map(one).collect()),
        None => one(request),
    };
    all.to_string().into_bytes()
}

/// An answer whose list lacks its last half, or that of each of a batch.
fn shorter(answer: &[u8]) -> Option<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    let cut = |answer: &mut Value| {
        if let Some(list) = answer.get_mut("result").and_then(Value::as_array_mut) {
            list.truncate(list.len() / 2);
        }
    };
    match answer.as_array_mut() {
        Some(batch) => batch.iter_mut().for_each(cut),
        None => cut(&mut answer),
    }
    Some(answer.to_string().into_bytes())
}

async fn serve(
    mut stream: TcpStream,
    upstream: Arc<Mutex<String>>,
    counter: Arc<AtomicUsize>,
    plan: impl Fn(usize, &str) -> Fault,
) -> Option<()> {
    loop {
        let body = read_message(&mut stream).await?;
        let upstream = upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8_lossy(&body).into_owned();
        let fault = plan(counter.fetch_add(1, Ordering::SeqCst), &text);
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::Cut => return None,
            Fault::CutAfter => {
                forward(&upstream, &body).await?;
                return None;
            }
            Fault::Http(status) => respond(&mut stream, status, b"no").await?,
            Fault::RetryAfter(seconds) => {
                let head = format!(
                    "HTTP/1.1 429 X\r\ncontent-type: text/plain\r\nretry-after: {seconds}\r\ncontent-length: 8\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(b"too many").await.ok()?;
            }
            Fault::Page => respond(&mut stream, 200, b"<html>maintenance</html>").await?,
            Fault::RateLimit => {
                let part = json!({ "error": { "code": -32005, "message": "rate limit exceeded" } });
                respond(&mut stream, 200, &answers(&request, &part)).await?;
            }
            Fault::Error(code, message) => {
                let part = json!({ "error": { "code": code, "message": message } });
                respond(&mut stream, 200, &answers(&request, &part)).await?;
            }
            Fault::Answer(result) => {
                respond(&mut stream, 200, &answers(&request, &json!({ "result": result }))).await?;
            }
            Fault::Truncated => {
                let answer = forward(&upstream, &body).await?;
                respond(&mut stream, 200, answer.get(..answer.len() / 2)?).await?;
            }
            Fault::Shorter => {
                let answer = forward(&upstream, &body).await?;
                respond(&mut stream, 200, &shorter(&answer)?).await?;
            }
            Fault::Stale(ago) => {
                let answer = laggard::answer(&upstream, &request, ago).await?;
                respond(&mut stream, 200, answer.to_string().as_bytes()).await?;
            }
            Fault::Elsewhere(other) => {
                let answer = forward(place(&other), &body).await?;
                respond(&mut stream, 200, &answer).await?;
            }
            Fault::Changed(texts) => {
                let answer = String::from_utf8(forward(&upstream, &body).await?).ok()?;
                let lie = texts.iter().fold(answer, |answer, (from, to)| answer.replace(from, to));
                respond(&mut stream, 200, lie.as_bytes()).await?;
            }
            Fault::None | Fault::Slow(_) => {
                if let Fault::Slow(time) = fault {
                    tokio::time::sleep(time).await;
                }
                let answer = forward(&upstream, &body).await?;
                respond(&mut stream, 200, &answer).await?;
            }
        }
    }
}
