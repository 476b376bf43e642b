//! What the specification of JSON-RPC says of ids, notifications and batches, over HTTP and WebSocket.

use alloy::providers::{Provider, ProviderBuilder};
use serde_json::{Value, json};

use crate::{limits::post, support::*};

/// Status and body of the answer.
fn answer(node: &cordon_node::NodeHandle, body: &str) -> (String, String) {
    let response = post(node, body);
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_carried_out_and_gets_no_body() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let mine = r#"{"jsonrpc":"2.0","method":"evm_mine","params":[]}"#;
    let nothing = ("204".to_owned(), String::new());
    assert_eq!(answer(&node, mine), nothing);
    assert_eq!(answer(&node, &format!("[{mine},{mine}]")), nothing);
    assert_eq!(answer(&node, r#"{"jsonrpc":"2.0","method":"no_method"}"#), nothing);
    assert_eq!(provider.get_block_number().await.unwrap(), 3);
    // Among requests only these are answered.
    let mixed = format!(r#"[{mine},{{"jsonrpc":"2.0","id":"x","method":"eth_blockNumber"}}]"#);
    let (status, body) = answer(&node, &mixed);
    assert_eq!(status, "200");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!([{ "jsonrpc": "2.0", "id": "x", "result": "0x4" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_text_whole_numbers_or_null() {
    let node = fresh().await;
    let request = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"evm_mine","params":[]}}"#);
    for id in ["1", "0", "null", "\"a\"", "18446744073709551615"] {
        let (status, body) = answer(&node, &request(id));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, "200");
        assert_eq!(body["result"], json!("0x0"), "{id}: {body}");
        assert_eq!(body["id"].to_string(), id);
    }
    let before = plain(&node.http_endpoint()).get_block_number().await.unwrap();
    let invalid = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "Invalid request" } });
    for id in ["{}", "[1]", "true", "1.5", "-1"] {
        let (_, body) = answer(&node, &request(id));
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), invalid, "{id}");
        let (_, body) = answer(&node, &format!("[{}]", request(id)));
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!([invalid]), "{id}");
    }
    let after = plain(&node.http_endpoint()).get_block_number().await.unwrap();
    assert_eq!(after, before, "nothing of it was carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_need_a_connection() {
    let node = fresh().await;
    for method in ["eth_subscribe", "eth_unsubscribe"] {
        let refused = plain(&node.http_endpoint())
            .raw_request::<_, Value>(method.into(), json!(["newHeads"]))
            .await;
        assert_eq!(refused.unwrap_err().as_error_resp().unwrap().code, -32_601, "{method}");
    }
    let ws = ProviderBuilder::new().connect(&node.ws_endpoint()).await.unwrap();
    let heads = ws.subscribe_blocks().await.unwrap();
    assert!(heads.is_empty());
}
