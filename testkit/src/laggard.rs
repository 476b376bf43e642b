//! An endpoint that has not come as far as the one behind it: of newer blocks it has nothing, by number, by hash, or as the latest.

use serde_json::{Value, json};

use crate::rpc_proxy::forward;

/// The answer to a request, or to each of a batch, of one that is `behind` blocks behind `upstream`.
pub(crate) async fn answer(upstream: &str, request: &Value, behind: u64) -> Option<Value> {
    let newest = number_of(&ask(upstream, "eth_blockNumber", json!([])).await?)?.saturating_sub(behind);
    let Some(batch) = request.as_array() else {
        return one(upstream, request, newest).await;
    };
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        answers.push(one(upstream, request, newest).await?);
    }
    Some(Value::Array(answers))
}

async fn one(upstream: &str, request: &Value, newest: u64) -> Option<Value> {
    let method = request.get("method")?.as_str()?;
    let mut request = request.clone();
    if let Some(params) = request.get_mut("params") {
        name_latest(params, newest);
    }
    let told = |part: &str, what: Value| Some(json!({ "jsonrpc": "2.0", "id": request.get("id"), part: what }));
    if method == "eth_blockNumber" {
        return told("result", json!(format!("{newest:#x}")));
    }
    let is_of_block = matches!(
        method,
        "eth_getBlockByNumber" | "eth_getBlockByHash" | "eth_getBlockReceipts"
    );
    let about = match method {
        "eth_getLogs" => request.pointer("/params/0"),
        "eth_getStorageAt" => request.pointer("/params/2"),
        _ if is_of_block => request.pointer("/params/0"),
        _ => request.pointer("/params/1"),
    };
    let is_newer = match about {
        Some(about) => height(upstream, about).await.is_some_and(|height| height > newest),
        None => false,
    };
    if is_newer && is_of_block {
        return told("result", Value::Null);
    }
    if is_newer {
        return told("error", json!({ "code": -32_000, "message": "header not found" }));
    }
    let answer: Value = serde_json::from_slice(&forward(upstream, request.to_string().as_bytes()).await?).ok()?;
    let included = answer.pointer("/result/blockNumber").and_then(number_of);
    if included.is_some_and(|height| height > newest) {
        return told("result", Value::Null);
    }
    Some(answer)
}

/// Puts the number of its newest block in the place of the names for it.
fn name_latest(value: &mut Value, newest: u64) {
    match value {
        Value::String(text) if text == "latest" || text == "pending" => *text = format!("{newest:#x}"),
        Value::Array(parts) => parts.iter_mut().for_each(|part| name_latest(part, newest)),
        Value::Object(parts) => parts.values_mut().for_each(|part| name_latest(part, newest)),
        _ => {}
    }
}

/// Height of the block that a parameter names; `None` when it names none.
async fn height(upstream: &str, about: &Value) -> Option<u64> {
    let about = about.get("blockHash").or_else(|| about.get("toBlock")).unwrap_or(about);
    if about.as_str()?.len() < 66 {
        return number_of(about);
    }
    let block = ask(upstream, "eth_getBlockByHash", json!([about, false])).await?;
    number_of(block.get("number")?)
}

fn number_of(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

async fn ask(upstream: &str, method: &str, params: Value) -> Option<Value> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = forward(upstream, request.to_string().as_bytes()).await?;
    let mut answer: Value = serde_json::from_slice(&answer).ok()?;
    answer.get_mut("result").map(Value::take)
}
