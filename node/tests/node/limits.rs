//! Malformed and oversized requests: bounded answers, and the node goes on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use alloy::providers::Provider;
use cordon_node::{NodeConfig, NodeHandle, spawn};
use serde_json::{Value, json};

use crate::support::*;

/// Posts a body; the whole response.
pub(crate) fn post(node: &NodeHandle, body: &str) -> String {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The node may answer before it has read all.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_answered_and_do_no_harm() {
    let node = fresh().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_params = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{}{}}}"#,
        r#"[{"a":"#.repeat(5_000),
        "}]".repeat(5_000)
    );
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x{}"]}}"#,
        "00".repeat(2_000_000)
    );
    for body in [
        "",
        "{",
        "null",
        "[]",
        "[1,2]",
        "\u{0}",
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[1e400]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0xffffffffffffffffff",true]}"#,
        &deep,
        &deep_params,
        &long,
    ] {
        let answer = post(&node, body);
        let short: String = body.chars().take(80).collect();
        assert!(
            answer.contains("\"error\"") || answer.contains("HTTP/1.1 4"),
            "{short}: {answer}"
        );
        assert!(answer.len() < 100_000, "{short}: an answer of {} bytes", answer.len());
    }
    assert_eq!(plain(&node.http_endpoint()).get_chain_id().await.unwrap(), 31_337);
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_batches_and_ranges_are_bounded() {
    let node = fresh().await;
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let batch = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert!(post(&node, &batch(5_000)).matches("0x7a69").count() == 5_000);
    assert!(post(&node, &batch(20_000)).contains("\"error\""));
    let provider = plain(&node.http_endpoint());
    for (method, params) in [
        ("anvil_mine", json!(["0xffffffffffffffff"])),
        ("evm_mine", json!([{ "blocks": 1_000_000_000 }])),
        ("anvil_reorg", json!([u64::MAX, []])),
        ("anvil_rollback", json!([u64::MAX])),
        ("eth_getLogs", json!([{ "fromBlock": "0x9", "toBlock": "0x1" }])),
        ("evm_setNextBlockTimestamp", json!(["0xffffffffffffffffff"])),
        ("eth_sendRawTransaction", json!(["0x02c0"])),
    ] {
        let answer = provider.raw_request::<_, Value>(method.into(), params.clone()).await;
        assert!(answer.is_err(), "{method} {params}: {answer:?}");
    }
    // A range far beyond the head costs nothing.
    let logs = raw(
        &provider,
        "eth_getLogs",
        json!([{ "fromBlock": "0x0", "toBlock": "0xffffffffffffffff" }]),
    )
    .await;
    assert_eq!(logs, json!([]));
    let fees = raw(&provider, "eth_feeHistory", json!(["0xffffffffffffffff", "latest", []])).await;
    assert!(fees["gasUsedRatio"].as_array().unwrap().len() <= 1_024);
    // A call that would never end stops at its gas.
    let looping = json!([{ "data": "0x5b600056" }, "latest"]);
    assert!(
        provider
            .raw_request::<_, Value>("eth_call".into(), looping)
            .await
            .is_err()
    );
    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_may_ask_unless_told_otherwise() {
    let node = fresh().await;
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    assert!(
        post(&node, one)
            .to_lowercase()
            .contains("access-control-allow-origin: *")
    );
    let closed = spawn(NodeConfig {
        allow_origin: None,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    assert!(!post(&closed, one).to_lowercase().contains("access-control"));
}
