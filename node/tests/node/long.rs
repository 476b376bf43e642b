//! Long answers, which take another way than short ones: the same text, whichever way they come.

use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use serde_json::{Value, json};

use crate::support::*;

/// Posts a request; the body of the response.
async fn post(endpoint: &str, body: &Value) -> String {
    let client = alloy::transports::http::reqwest::Client::new();
    let request = client.post(endpoint).header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let text = response.text().await.unwrap();
    assert_eq!(text.len(), length);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_the_same_alone_in_a_batch_and_over_a_websocket() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let mut last = None;
    for _ in 0..5 {
        last = Some(send(&provider, count_up(counter)).await);
    }
    let hash = last.unwrap().transaction_hash;
    let ws = ProviderBuilder::new()
        .connect_ws(WsConnect::new(node.ws_endpoint()))
        .await
        .unwrap();
    for (method, params) in [
        ("eth_getLogs", json!([{ "fromBlock": "0x0" }])),
        ("eth_getLogs", json!([{ "fromBlock": "0x0", "address": counter }])),
        ("eth_getLogs", json!([{ "fromBlock": "0x0", "address": ALICE }])),
        ("debug_traceTransaction", json!([hash])),
        (
            "debug_traceTransaction",
            json!([hash, { "tracer": "callTracer", "tracerConfig": { "withLog": true } }]),
        ),
    ] {
        let one = |id: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let alone: Value = serde_json::from_str(&post(&node.http_endpoint(), &one(json!("a \"b\""))).await).unwrap();
        let number: Value = serde_json::from_str(&post(&node.http_endpoint(), &one(json!(7))).await).unwrap();
        let batch = post(&node.http_endpoint(), &json!([one(json!(1)), one(json!(2))])).await;
        let batch: Value = serde_json::from_str(&batch).unwrap();
        let over_ws: Value = ws.raw_request(method.into(), params.clone()).await.unwrap();
        assert_eq!(alone["id"], "a \"b\"");
        assert_eq!((&number["id"], &number["jsonrpc"]), (&json!(7), &json!("2.0")));
        assert!(!alone["result"].is_null(), "{method}: {alone}");
        assert_eq!(alone["result"], number["result"]);
        for answer in [&batch[0]["result"], &batch[1]["result"], &over_ws] {
            assert_eq!(&alone["result"], answer, "{method} {params}");
        }
    }
    // Errors do not go that way.
    let wrong = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [{ "fromBlock": "0x9", "toBlock": "0x1" }] });
    let refused: Value = serde_json::from_str(&post(&node.http_endpoint(), &wrong).await).unwrap();
    assert_eq!(refused["error"]["code"], -32602);
    assert!(refused.get("result").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_the_fields_of_the_receipts() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        let receipt = send(&provider, count_up(counter)).await;
        expected.extend(receipt.logs().to_vec());
    }
    let logs = raw(&provider, "eth_getLogs", json!([{ "fromBlock": "0x0" }])).await;
    assert_eq!(logs, serde_json::to_value(expected).unwrap());
}
