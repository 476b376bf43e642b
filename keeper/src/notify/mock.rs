//! Servers for tests that speak each service's API, refuse what the real one refuses, and fail in the ways it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_client::config::{Audience, Credential, NotifyChannel, Severity, Via};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the server treats one request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// As the real service.
    Properly,
    /// With this status, header and body.
    With(u16, Option<(&'static str, &'static str)>, &'static str),
    /// As the real service, after a while.
    Late(Duration),
    /// It takes the request and never answers.
    Hang,
    /// It takes the request and closes the connection.
    Close,
    /// It answers something that is no HTTP.
    Garbage,
}

/// A request that came in.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A word, and the status of the answer to what has it in it.
type Poison = Option<(&'static str, u16)>;

/// An HTTP server of all services at once, told apart by path.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    fallback: Arc<Mutex<Reply>>,
    /// What is refused wherever it stands, and with which status.
    poison: Arc<Mutex<Poison>>,
    _task: Arc<tokio::task::JoinHandle<()>>,
}

impl Drop for Services {
    fn drop(&mut self) {
        if Arc::strong_count(&self._task) == 1 {
            self._task.abort();
        }
    }
}

impl Services {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let script: Arc<Mutex<VecDeque<Reply>>> = Arc::default();
        let fallback = Arc::new(Mutex::new(Reply::Properly));
        let poison: Arc<Mutex<Poison>> = Arc::default();
        let (log, plan, other, bad) = (requests.clone(), script.clone(), fallback.clone(), poison.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (log, plan, other, bad) = (log.clone(), plan.clone(), other.clone(), bad.clone());
                tokio::spawn(async move { serve(socket, &log, &plan, (&other, &bad)).await });
            }
        });
        Self {
            port,
            requests,
            script,
            fallback,
            poison,
            _task: Arc::new(task),
        }
    }

    /// The next requests are treated like this, in order; those after them as [`Services::always`] says.
    pub(super) fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().extend(replies);
    }

    pub(super) fn always(&self, reply: Reply) {
        *self.fallback.lock().unwrap() = reply;
    }

    /// What has this in it is refused.
    pub(super) fn refuse(&self, word: Option<&'static str>) {
        self.answer_to(word, 400);
    }

    /// What has this in it gets an answer of this status.
    pub(super) fn answer_to(&self, word: Option<&'static str>, status: u16) {
        *self.poison.lock().unwrap() = word.map(|word| (word, status));
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

async fn serve(
    socket: TcpStream,
    log: &Mutex<Vec<Request>>,
    script: &Mutex<VecDeque<Reply>>,
    (fallback, poison): (&Mutex<Reply>, &Mutex<Poison>),
) {
    let mut socket = BufReader::new(socket);
    while let Some(request) = read(&mut socket).await {
        let bad = poison.lock().unwrap().filter(|(word, _)| request.body.contains(word));
        let reply = if let Some((_, status)) = bad {
            Reply::With(status, None, "it looks like spam")
        } else {
            let next = script.lock().unwrap().pop_front();
            next.unwrap_or_else(|| fallback.lock().unwrap().clone())
        };
        log.lock().unwrap().push(request.clone());
        let (status, header, body) = match reply {
            Reply::Properly => {
                let (status, body) = answer(&request);
                (status, None, body)
            }
            Reply::Late(wait) => {
                tokio::time::sleep(wait).await;
                let (status, body) = answer(&request);
                (status, None, body)
            }
            Reply::With(status, header, body) => (status, header, body.to_owned()),
            Reply::Hang => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            Reply::Close => return,
            Reply::Garbage => {
                let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
                return;
            }
        };
        let header = header.map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{header}\r\n{body}",
            body.len()
        );
        if socket.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(socket: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    socket.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
    let target = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Request { target, headers, body })
}

/// What the service of this path says to a request, right or wrong.
fn answer(request: &Request) -> (u16, String) {
    let body = request.json();
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let short = |path: &str, most: usize| (1..=most).contains(&text(path).chars().count());
    match request.target.split('?').next().unwrap_or_default() {
        "/slack" if short("/text", 40_000) => (200, "ok".to_owned()),
        "/slack" => (400, "invalid_payload".to_owned()),
        "/discord" if !short("/content", 2_000) => (400, json!({ "content": ["BASE_TYPE_BAD_LENGTH"] }).to_string()),
        "/discord" if request.target.ends_with("wait=true") => (200, json!({ "id": "9" }).to_string()),
        "/discord" => (204, String::new()),
        "/botT0KEN-secret/sendMessage" if short("/text", 4_096) && text("/chat_id") == "-100" => {
            (200, json!({ "ok": true, "result": {} }).to_string())
        }
        "/v2/enqueue" => {
            let known = ["trigger", "acknowledge", "resolve"].contains(&text("/event_action"));
            let whole = text("/event_action") != "trigger"
                || (short("/payload/summary", 1_024)
                    && !text("/payload/source").is_empty()
                    && ["critical", "error", "warning", "info"].contains(&text("/payload/severity")));
            if known && whole && text("/routing_key") == "R0UTING-secret" {
                let key = text("/dedup_key");
                (
                    202,
                    json!({ "status": "success", "message": "Event processed", "dedup_key": key }).to_string(),
                )
            } else {
                (400, json!({ "status": "invalid event", "errors": ["bad"] }).to_string())
            }
        }
        path if path.starts_with("/v2/alerts") => {
            let is_new = path == "/v2/alerts";
            if request.header("authorization") != Some("GenieKey GENIE-secret") {
                (401, json!({ "message": "Could not authenticate" }).to_string())
            } else if is_new && !(short("/message", 130) && short("/alias", 512)) {
                (422, json!({ "message": "Request body is not processable" }).to_string())
            } else {
                (
                    202,
                    json!({ "result": "Request will be processed", "requestId": "43a2" }).to_string(),
                )
            }
        }
        "/hook" => (204, String::new()),
        _ => (404, "no such thing".to_owned()),
    }
}

/// One `[[notify]]` with defaults.
pub(super) fn notify(id: &str, via: Via) -> NotifyChannel {
    NotifyChannel {
        id: id.to_owned(),
        via,
        audience: Audience::Technical,
        severity: Some(Severity::P4),
        after: 0,
        repeat: None,
        per_minute: 600,
        templates: Vec::new(),
    }
}

/// A credential in a file of `dir`.
pub(super) fn credential(dir: &std::path::Path, name: &str, value: &str) -> Credential {
    std::fs::write(dir.join(name), value).unwrap();
    Credential::File(name.into())
}

impl Services {
    pub(super) fn slack(&self, dir: &std::path::Path) -> Via {
        Via::Slack {
            url: credential(dir, "slack", &self.url("slack")),
        }
    }

    pub(super) fn pagerduty(&self, dir: &std::path::Path) -> Via {
        Via::PagerDuty {
            key: credential(dir, "pagerduty", "R0UTING-secret"),
            server: self.url("").parse().unwrap(),
        }
    }

    pub(super) fn webhook(&self, dir: &std::path::Path) -> Via {
        Via::Webhook {
            url: credential(dir, "hook", &self.url("hook?key=h00k-secret")),
            secret: credential(dir, "hook-key", "shared-secret"),
        }
    }

    /// All that speak HTTP.
    pub(super) fn all(&self, dir: &std::path::Path) -> Vec<NotifyChannel> {
        let server: reqwest::Url = self.url("").parse().unwrap();
        vec![
            notify("slack", self.slack(dir)),
            notify(
                "discord",
                Via::Discord {
                    url: credential(dir, "discord", &self.url("discord")),
                },
            ),
            notify(
                "telegram",
                Via::Telegram {
                    token: credential(dir, "telegram", "T0KEN-secret"),
                    chat: "-100".into(),
                    server: server.clone(),
                },
            ),
            notify("pagerduty", self.pagerduty(dir)),
            notify(
                "opsgenie",
                Via::Opsgenie {
                    key: credential(dir, "opsgenie", "GENIE-secret"),
                    server,
                },
            ),
            notify("webhook", self.webhook(dir)),
        ]
    }
}
