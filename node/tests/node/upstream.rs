//! A fork of a chain whose endpoint is slow, fails, limits the rate or goes over to another chain.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, U256},
    providers::Provider,
};
use cordon_node::{ForkRequests, NodeConfig, spawn};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::*;

/// What a proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Slow(Duration),
    /// No answer ever.
    Hang,
    /// The connection ends without an answer.
    Cut,
    Http(u16),
    /// A JSON-RPC error as providers give it above their limit.
    RateLimit,
    /// A page instead of an answer.
    Page,
}

/// In front of an endpoint; request number n (from 0) meets the fault that the plan has for it.
struct Proxy {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(upstream: &str, plan: impl Fn(usize, &str) -> Fault + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, upstream) = (requests.clone(), upstream.trim_start_matches("http://").to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, upstream.clone(), counter.clone(), plan.clone()));
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    fn config(&self) -> NodeConfig {
        NodeConfig {
            fork_url: Some(format!("http://{}", self.address).parse().unwrap()),
            fork_requests: ForkRequests {
                backoff: Duration::from_millis(20),
                timeout: Duration::from_millis(500),
                ..ForkRequests::default()
            },
            ..NodeConfig::default()
        }
    }
}

/// Reads one HTTP message; answers its body.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0usize) {
                return Some(bytes.split_off(end + 4));
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

async fn serve(
    mut stream: TcpStream,
    upstream: String,
    counter: Arc<AtomicUsize>,
    plan: impl Fn(usize, &str) -> Fault,
) -> Option<()> {
    loop {
        let body = read_message(&mut stream).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let fault = plan(counter.fetch_add(1, Ordering::SeqCst), &text);
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::Cut => return None,
            Fault::Http(status) => respond(&mut stream, status, b"no").await?,
            Fault::Page => respond(&mut stream, 200, b"<html>maintenance</html>").await?,
            Fault::RateLimit => {
                let request: Value = serde_json::from_slice(&body).unwrap();
                let error = json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": -32005, "message": "rate limit exceeded" } });
                respond(&mut stream, 200, error.to_string().as_bytes()).await?;
            }
            Fault::None | Fault::Slow(_) => {
                if let Fault::Slow(time) = fault {
                    tokio::time::sleep(time).await;
                }
                let mut up = TcpStream::connect(&upstream).await.ok()?;
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: {upstream}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                up.write_all(head.as_bytes()).await.ok()?;
                up.write_all(&body).await.ok()?;
                let answer = read_message(&mut up).await?;
                respond(&mut stream, 200, &answer).await?;
            }
        }
    }
}

async fn upstream() -> (Anvil, Address) {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    let somebody = Address::repeat_byte(0x77);
    raw(&anvil.provider(), "anvil_setBalance", json!([somebody, "0x7"])).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x3"])).await;
    (anvil, somebody)
}

#[tokio::test]
async fn every_third_answer_failing_is_not_noticed() {
    for fault in [
        Fault::Cut,
        Fault::Http(502),
        Fault::Http(429),
        Fault::RateLimit,
        Fault::Page,
        Fault::Slow(Duration::from_millis(50)),
    ] {
        let (anvil, somebody) = upstream().await;
        let proxy = Proxy::start(
            &anvil.endpoint,
            move |number, _| {
                if number % 3 == 0 { fault } else { Fault::None }
            },
        )
        .await;
        let node = spawn(proxy.config())
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let provider = plain(&node.http_endpoint());
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(7),
            "{fault:?}"
        );
        assert!(
            send(&provider, transfer(ALICE, somebody, 1)).await.status(),
            "{fault:?}"
        );
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(8),
            "{fault:?}"
        );
        assert!(proxy.requests.load(Ordering::SeqCst) > 3);
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_a_clear_error_in_bounded_time() {
    for fault in [Fault::Hang, Fault::Http(503), Fault::RateLimit, Fault::Page] {
        let (anvil, somebody) = upstream().await;
        let healthy = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_healthy = healthy.clone();
        let proxy = Proxy::start(&anvil.endpoint, move |_, _| {
            if is_healthy.load(Ordering::SeqCst) {
                Fault::None
            } else {
                fault
            }
        })
        .await;
        let mut config = proxy.config();
        config.fork_requests.retries = 2;
        config.fork_requests.timeout = Duration::from_millis(200);
        let node = spawn(config).await.unwrap();
        let provider = plain(&node.http_endpoint());
        healthy.store(false, Ordering::SeqCst);
        let begun = Instant::now();
        let error = provider.get_balance(somebody).await.unwrap_err().to_string();
        assert!(
            error.contains("the forked chain could not be read"),
            "{fault:?}: {error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}");
        // What does not need the endpoint works, and the value is not wrong once it is back.
        assert!(send(&provider, transfer(ALICE, BOB, 1)).await.status());
        healthy.store(true, Ordering::SeqCst);
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(7),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn another_endpoint_answers_for_one_that_fails() {
    let (anvil, somebody) = upstream().await;
    let dead = Proxy::start(&anvil.endpoint, |_, _| Fault::Http(500)).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = dead.config();
    config.fork_requests.fallbacks = vec![
        anvil.endpoint.parse().unwrap(),
        format!("http://{nobody}").parse().unwrap(),
    ];
    config.fork_requests.retries = 3;
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));

    // One of another chain is not taken for the same one.
    let other = Anvil::start(&["--chain-id", "5"]).await;
    let mut config = anvil.fork_config();
    config.fork_requests.fallbacks = vec![other.endpoint.parse().unwrap()];
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("serves chain 5, not chain 42161"), "{error}");
}

#[tokio::test]
async fn an_upstream_reorganisation_is_an_error_and_not_another_state() {
    let (anvil, somebody) = upstream().await;
    let up = anvil.provider();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    raw(&up, "anvil_reorg", json!([1, []])).await;
    raw(&up, "anvil_setBalance", json!([somebody, "0x9"])).await;
    let answer = provider.get_balance(somebody).await;
    assert!(
        answer.as_ref().is_err() || answer.as_ref().unwrap() == &U256::from(7),
        "{answer:?}"
    );
}

#[tokio::test]
async fn headers_reach_the_endpoint_and_requests_are_paced() {
    let (anvil, _) = upstream().await;
    let proxy = Proxy::start(&anvil.endpoint, |_, _| Fault::None).await;
    let mut config = proxy.config();
    // 100 units a second are 5 requests a second.
    config.fork_requests.units_per_second = Some(100);
    config.accounts = 0;
    let begun = Instant::now();
    let node = spawn(config).await.unwrap();
    let requests = proxy.requests.load(Ordering::SeqCst);
    assert!(
        begun.elapsed() >= Duration::from_millis(200) * u32::try_from(requests - 1).unwrap(),
        "{requests} requests in {:?}",
        begun.elapsed()
    );
    drop(node);
    let mut config = proxy.config();
    config.fork_requests.headers = vec![("x-key".into(), "a\nb".into())];
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("x-key") && !error.contains("a\nb"), "{error}");
}
