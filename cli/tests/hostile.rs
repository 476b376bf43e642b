//! Requests that want to break `cordon node`: the process answers each, stays small, and goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use alloy::primitives::{Bytes, hex};
use common::{Process, listening, node};
use serde_json::{Value, json};

const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const CONTRACT: &str = "0x0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c";
const PROGRAM: &str = "0x0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d";

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running node, killed with the value.
struct Running {
    process: Process,
    address: String,
}

impl Running {
    fn start() -> Self {
        let (process, address) = listening(&mut node(&["--port", "0", "--no-program-cache"]));
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Posts a body; the whole response with its head.
    fn post(&self, body: &str) -> String {
        let mut stream = self.connect();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The node may answer before it has read all.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The answer to a request, as text: it may be nested more deeply than a parser takes.
    fn text(&self, method: &str, params: &Value) -> String {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.post(&body.to_string());
        answer
            .split_once("\r\n\r\n")
            .expect("an answer with a body")
            .1
            .to_owned()
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let answer: Value = serde_json::from_str(&self.text(method, params)).unwrap();
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The most memory that the process ever had in RAM, in MiB.
    #[cfg(target_os = "linux")]
    fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
    }

    /// It still runs, answers, mines, and has not grown beyond measure.
    fn is_well(&mut self, most_mib: u64) {
        assert!(self.process.0.try_wait().unwrap().is_none(), "the node has ended");
        let before = self.call("eth_blockNumber", &json!([]));
        self.call("evm_mine", &json!([]));
        assert_ne!(self.call("eth_blockNumber", &json!([])), before);
        #[cfg(target_os = "linux")]
        assert!(self.peak_mib() < most_mib, "{} MiB", self.peak_mib());
    }
}

#[test]
fn bytes_that_are_no_request_do_no_harm() {
    let mut node = Running::start();
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let params = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{}}}"#,
        nested("[", "]", 1_000_000)
    );
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x{}"]}}"#,
        "f9".repeat(4_000_000)
    );
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\u{0}\u{1}",
        &nested("[", "]", 1_000_000),
        &nested(r#"{"a":"#, "}", 500_000),
        &params,
        &long,
    ] {
        let answer = node.post(body);
        let short: String = body.chars().take(60).collect();
        assert!(
            answer.contains("\"error\"") || answer.starts_with("HTTP/1.1 4"),
            "{short}: {answer:.300}"
        );
        assert!(answer.len() < 100_000, "{short}: an answer of {} bytes", answer.len());
    }
    // No HTTP at all, a body that never comes, a length that is a lie, and a request beyond the limit of 64 MiB.
    let mut open = Vec::new();
    for bytes in [
        &[0u8, 255, 13, 10, 13, 10][..],
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 18446744073709551615\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ] {
        for _ in 0..100 {
            let mut stream = node.connect();
            stream.write_all(bytes).unwrap();
            open.push(stream);
        }
    }
    let huge = format!("[{}]", " ".repeat(70 << 20));
    assert!(node.post(&huge).starts_with("HTTP/1.1 413"));
    node.is_well(600);
    drop(open);
    node.is_well(600);
}

#[test]
fn a_batch_is_bounded_in_requests_and_in_what_it_answers() {
    let mut node = Running::start();
    let batch = |request: &Value, count: usize| format!("[{}]", vec![request.to_string(); count].join(","));
    let small = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
    assert_eq!(node.post(&batch(&small, 10_000)).matches("0x7a69").count(), 10_000);
    assert!(node.post(&batch(&small, 10_001)).contains("\"error\""));
    // 40 KB of code each, so 800 MB in all.
    node.call(
        "anvil_setCode",
        &json!([CONTRACT, format!("0x{}", "00".repeat(20_000))]),
    );
    let code = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [CONTRACT, "latest"] });
    let answer = node.post(&batch(&code, 10_000));
    assert!(answer.len() < 65 << 20, "{} bytes", answer.len());
    assert!(answer.contains("\"error\""), "{answer:.300}");
    node.is_well(800);
}

#[test]
fn calls_that_nest_as_deep_as_gas_goes_end() {
    let mut node = Running::start();
    // Calls itself with all gas, and then answers how deep it went: 1 and what the call answered.
    // mstore(0, 0); call(gas, address, 0, 0, 0, 0, 32); mstore(0, mload(0) + 1); return(0, 32)
    node.call(
        "anvil_setCode",
        &json!([CONTRACT, "0x5f5f5260205f5f5f5f305af1505f516001015f5260205ff3"]),
    );
    let request = json!([{ "to": CONTRACT }, "latest"]);
    let depth = node.call("eth_call", &request);
    let depth = u64::from_str_radix(depth.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!((400..=1_025).contains(&depth), "{depth}");
    let traced = node.text(
        "debug_traceCall",
        &json!([{ "to": CONTRACT }, "latest", { "tracer": "callTracer" }]),
    );
    let frames = traced.matches("\"type\":\"CALL\"").count();
    assert!(frames >= 400, "{frames} frames: {traced:.300}");
    let sent = node.call(
        "eth_sendTransaction",
        &json!([{ "from": ALICE, "to": CONTRACT, "gas": "0x1e84800" }]),
    );
    assert_eq!(
        node.call("eth_getTransactionReceipt", &json!([sent]))["status"],
        json!("0x1")
    );
    node.is_well(600);
}

/// Calls the account named in its calldata, with its calldata, and answers what that answers.
const PING: &str = r#"(module
    (import "vm_hooks" "pay_for_memory_grow" (func (param i32)))
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (import "vm_hooks" "call_contract" (func $call (param i32 i32 i32 i32 i64 i32) (result i32)))
    (import "vm_hooks" "read_return_data" (func $returned (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "user_entrypoint") (param $len i32) (result i32)
        (call $read_args (i32.const 0))
        (drop (call $call (i32.const 12) (i32.const 0) (i32.const 32) (i32.const 512) (i64.const -1) (i32.const 128)))
        (call $write_result (i32.const 256) (call $returned (i32.const 256) (i32.const 0) (i32.const 32)))
        (i32.const 0)))"#;

#[test]
fn programs_and_contracts_that_call_each_other_end() {
    let mut node = Running::start();
    let wasm = Bytes::from(wat::parse_str(PING).unwrap());
    node.call("anvil_setCode", &json!([PROGRAM, wasm]));
    // Calls the program, naming itself, and adds one to what that answers.
    // mstore(0, address); call(gas, PROGRAM, 0, 0, 32, 0, 32); mstore(0, mload(0) + 1); return(0, 32)
    let program = PROGRAM.trim_start_matches("0x");
    let code = format!("0x305f5260205f60205f5f73{program}5af1503d602014601f575f5f525b5f516001015f5260205ff3");
    // The jump goes over the reset of what a failed call left.
    let jump = hex::decode(&code)
        .unwrap()
        .iter()
        .rposition(|byte| *byte == 0x5b)
        .unwrap();
    let code = code.replace("601f57", &format!("60{jump:02x}57"));
    node.call("anvil_setCode", &json!([CONTRACT, code]));
    let depth = node.call("eth_call", &json!([{ "to": CONTRACT }, "latest"]));
    let depth = u64::from_str_radix(depth.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!(depth >= 50, "the pair nested {depth} times");
    for tracer in ["callTracer", "stylusTracer"] {
        let traced = node.text(
            "debug_traceCall",
            &json!([{ "to": CONTRACT }, "latest", { "tracer": tracer }]),
        );
        assert!(traced.contains("\"result\""), "{tracer}: {traced:.300}");
    }
    node.is_well(800);
}

#[test]
fn endless_loops_end_with_their_gas_and_their_traces_at_the_limit() {
    let mut node = Running::start();
    node.call("anvil_setCode", &json!([CONTRACT, "0x5b600056"]));
    let request = json!({ "to": CONTRACT });
    let answer = node.text("eth_call", &json!([request, "latest"]));
    assert!(answer.contains("out of gas"), "{answer:.300}");
    let begun = Instant::now();
    for (method, params) in [
        ("debug_traceCall", json!([request, "latest"])),
        (
            "debug_traceCall",
            json!([request, "latest", { "enableMemory": true, "disableStack": true }]),
        ),
        ("trace_call", json!([request, ["vmTrace"], "latest"])),
    ] {
        let answer = node.text(method, &params);
        assert!(answer.contains("the steps take more than"), "{method}: {answer:.300}");
    }
    assert!(begun.elapsed() < PATIENCE);
    // What tells calls only is not bounded so.
    let answer = node.text(
        "debug_traceCall",
        &json!([request, "latest", { "tracer": "callTracer" }]),
    );
    assert!(answer.contains("\"gasUsed\":\"0x2faf080\""), "{answer:.300}");
    node.is_well(2_048);
}

/// A message in a frame of a client: text, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let head = [0x81, 0x80 | 126, high, low, 0, 0, 0, 0];
    [&head, text.as_bytes()].concat()
}

/// A WebSocket to the node.
fn websocket(node: &Running) -> TcpStream {
    let mut stream = node.connect();
    let handshake = "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream
}

/// The text of the next frame of the node.
fn answer(stream: &mut TcpStream) -> Value {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x81);
    assert!(head[1] < 126, "a short answer");
    let mut text = vec![0; usize::from(head[1])];
    stream.read_exact(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_websocket_tells_what_is_wrong_and_goes_on() {
    let node = Running::start();
    let mut stream = websocket(&node);
    for (message, code) in [
        ("nonsense", -32_700),
        ("{\"jsonrpc\"", -32_700),
        ("1", -32_600),
        ("[]", -32_600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":-1,"method":"eth_chainId"}"#, -32_600),
    ] {
        stream.write_all(&frame(message)).unwrap();
        let answer = answer(&mut stream);
        assert_eq!(answer["error"]["code"], json!(code), "{message}: {answer}");
        assert_eq!(answer["id"], Value::Null, "{message}");
    }
    // A notification is carried out and not answered.
    for message in [
        r#"{"jsonrpc":"2.0","method":"evm_mine"}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"eth_chainId"}"#,
    ] {
        stream.write_all(&frame(message)).unwrap();
    }
    assert_eq!(answer(&mut stream)["id"], json!(7));
    let begun = Instant::now();
    while node.call("eth_blockNumber", &json!([])) != json!("0x1") {
        assert!(begun.elapsed() < PATIENCE, "the notification was not carried out");
    }
}

#[test]
fn clients_that_never_read_are_not_read_from() {
    let mut node = Running::start();
    node.call(
        "anvil_setCode",
        &json!([CONTRACT, format!("0x{}", "00".repeat(20_000))]),
    );
    // 40 KB of answer to each, 1.2 GB in all.
    let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [CONTRACT, "latest"] });
    let question = frame(&ask.to_string());
    let mut greedy: Vec<_> = (0..3).map(|_| websocket(&node)).collect();
    for stream in &mut greedy {
        let taken = (0..10_000).take_while(|_| stream.write_all(&question).is_ok()).count();
        assert!(taken > 100, "{taken}");
    }
    // Subscribers of what happens 20,000 times.
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"] });
    let mut deaf: Vec<_> = (0..20).map(|_| websocket(&node)).collect();
    for stream in &mut deaf {
        stream.write_all(&frame(&subscribe.to_string())).unwrap();
    }
    node.call("anvil_mine", &json!(["0x4e20"]));
    // Who only listens is no burden.
    let idle: Vec<_> = (0..500).map(|_| websocket(&node)).collect();
    node.is_well(500);
    // A greedy client that reads after all gets its answers.
    let mut received = vec![0; 200_000];
    greedy[0].read_exact(&mut received).unwrap();
    assert!(received.windows(8).filter(|window| window == b"\"result\"").count() > 3);
    drop((greedy, deaf, idle));
    node.is_well(500);
}
