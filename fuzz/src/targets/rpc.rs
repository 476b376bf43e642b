//! Requests to a node over HTTP, as a stranger may send them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cordon_node::{NodeConfig, NodeHandle, spawn};
use serde_json::Value;

/// The node starts over after this many requests, so that what one of them set (a block per millisecond, say) ends.
const FRESH_AFTER: u64 = 32;
const TIMEOUT: Duration = Duration::from_secs(50);
/// The one request that makes a node connect to somewhere else is not for strangers.
const OUTWARD: &[u8] = b"Url";

/// The bytes as the body of a request.
pub(super) fn run(data: &[u8]) {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    if data.windows(OUTWARD.len()).any(|part| part == OUTWARD) {
        return;
    }
    let node = node();
    let (status, body) = post(node, data);
    if status == 200 && !body.is_empty() {
        let answer: Value = serde_json::from_slice(&body).expect("an answer is JSON");
        let answers = match &answer {
            Value::Array(answers) => answers.iter().collect(),
            // A request without an id wants no answer.
            Value::Null => Vec::new(),
            one => vec![one],
        };
        for answer in answers {
            let has = |field| answer.get(field).is_some();
            assert!(has("jsonrpc") && (has("result") != has("error")), "no answer: {answer}");
        }
    }
    if REQUESTS.fetch_add(1, Ordering::Relaxed) % FRESH_AFTER == FRESH_AFTER - 1 {
        ask(node, r#"{"jsonrpc":"2.0","id":1,"method":"anvil_reset","params":[]}"#);
    }
    let alive = ask(node, r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#);
    assert_eq!(alive["result"], "0x7a69", "the node goes on answering");
}

fn ask(node: SocketAddr, request: &str) -> Value {
    let (status, body) = post(node, request.as_bytes());
    assert_eq!(status, 200, "{request}");
    serde_json::from_slice(&body).expect("an answer is JSON")
}

/// Status and body of the answer.
fn post(node: SocketAddr, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(node).expect("the node accepts connections");
    stream.set_read_timeout(Some(TIMEOUT)).expect("it is not zero");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {node}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .expect("the node reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the node answers");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an answer of HTTP");
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let body = answer.split_off(end + 4);
    let chunked = head.contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(&body) } else { body })
}

/// The body of an answer in chunks: a size in hexadecimal, a line's end, so many bytes, a line's end.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
    body
}

/// One node for all requests, which lives as long as the process.
fn node() -> SocketAddr {
    static NODE: OnceLock<(NodeHandle, tokio::runtime::Runtime)> = OnceLock::new();
    let (node, _) = NODE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("threads can be started");
        let node = runtime
            .block_on(spawn(NodeConfig::default()))
            .expect("a node starts on a free port");
        (node, runtime)
    });
    let endpoint = node.http_endpoint();
    endpoint
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .expect("an address and a port")
}
