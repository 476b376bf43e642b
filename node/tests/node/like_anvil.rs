//! What scripts that were written for anvil count on, asked of both.

use alloy::{
    primitives::{Address, B256, Bytes, address, bytes},
    providers::{DynProvider, Provider},
};
use cordon_node::NodeHandle;
use serde_json::{Value, json};

use crate::support::*;

/// Code that reverts with a custom error without arguments, with a reason, with a panic, and without anything; and an invalid opcode.
const FAILING: [(Address, Bytes); 5] = [
    (
        address!("c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1"),
        bytes!("635a80ad6f6000526004601cfd"),
    ),
    (
        address!("c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2"),
        bytes!(
            "6064600c60003960646000fd08c379a00000000000000000000000000000000000000000000000000000000000000020000000000000000000000000000000000000000000000000000000000000000573686f7274000000000000000000000000000000000000000000000000000000"
        ),
    ),
    (
        address!("c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3"),
        bytes!("6024600c60003960246000fd4e487b710000000000000000000000000000000000000000000000000000000000000001"),
    ),
    (
        address!("c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4"),
        bytes!("60006000fd"),
    ),
    (address!("c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5"), bytes!("fe")),
];

struct Both {
    anvil: Anvil,
    node: NodeHandle,
}

impl Both {
    async fn start() -> Self {
        let both = Self {
            anvil: Anvil::start(&[]).await,
            node: fresh().await,
        };
        for provider in both.providers() {
            for (address, code) in FAILING {
                raw(&provider, "anvil_setCode", json!([address, code])).await;
            }
        }
        both
    }

    fn providers(&self) -> [DynProvider; 2] {
        [self.anvil.provider(), plain(&self.node.http_endpoint())]
    }
}

/// The result, or code and message of the error.
async fn ask(provider: &DynProvider, method: &'static str, params: Value) -> Result<Value, (i64, String)> {
    let answer = provider.raw_request::<_, Value>(method.into(), params).await;
    answer.map_err(|error| {
        let payload = error.as_error_resp().unwrap();
        (payload.code, payload.message.to_string())
    })
}

async fn mined(provider: &DynProvider, hash: &Value) -> Value {
    eventually("a receipt", async || {
        let receipt = raw(provider, "eth_getTransactionReceipt", json!([hash])).await;
        (!receipt.is_null()).then_some(receipt)
    })
    .await
}

#[tokio::test]
async fn a_failing_transaction_without_a_limit_is_mined_and_fails() {
    let both = Both::start().await;
    let [anvil, ours] = both.providers();
    let calls = FAILING.map(|(to, _)| json!({ "from": ALICE, "to": to }));
    let creations = ["0xfe", "0x60006000fd"].map(|data| json!({ "from": ALICE, "data": data }));
    for request in calls.iter().chain(&creations) {
        let mut outcomes = Vec::new();
        for provider in [&anvil, &ours] {
            let hash = ask(provider, "eth_sendTransaction", json!([request])).await.unwrap();
            let receipt = mined(provider, &hash).await;
            let limit = raw(provider, "eth_getTransactionByHash", json!([hash])).await["gas"].clone();
            let block = raw(provider, "eth_getBlockByNumber", json!(["latest", false])).await;
            outcomes.push((
                receipt["status"].clone(),
                receipt["contractAddress"].clone(),
                limit == block["gasLimit"],
            ));
            assert!(
                receipt["blockTimestamp"].is_u64() && receipt["blobGasPrice"].is_string(),
                "{receipt}"
            );
        }
        assert_eq!(outcomes[0].0, json!("0x0"));
        assert_eq!(outcomes[0].0, outcomes[1].0, "{request}");
        assert_eq!(outcomes[0].1, outcomes[1].1, "{request}");
        assert!(outcomes[0].2, "{request}");
    }
    // What cannot be mined at all is still refused, as is what is only to be signed.
    let dear = json!([{ "from": ALICE, "to": FAILING[0].0, "value": "0xffffffffffffffffffffffff" }]);
    for provider in [&anvil, &ours] {
        let (code, _) = ask(provider, "eth_sendTransaction", dear.clone()).await.unwrap_err();
        assert_eq!(code, -32_003);
    }
    ask(&ours, "eth_signTransaction", json!([calls[0]])).await.unwrap_err();
}

#[tokio::test]
async fn a_custom_error_is_named_by_its_selector() {
    let both = Both::start().await;
    let [anvil, ours] = both.providers();
    for (to, _) in &FAILING[..4] {
        for method in ["eth_call", "eth_estimateGas"] {
            let request = json!([{ "from": ALICE, "to": to }]);
            let (theirs, found) = (
                ask(&anvil, method, request.clone()).await,
                ask(&ours, method, request).await,
            );
            assert_eq!(theirs, found, "{to}");
        }
    }
    let hash = raw(
        &ours,
        "eth_sendTransaction",
        json!([{ "from": ALICE, "to": FAILING[0].0, "gas": "0x30000" }]),
    )
    .await;
    let shown = cast(&both.node, &["receipt", hash.as_str().unwrap(), "revertReason"]).await;
    assert!(shown.starts_with("custom error 0x5a80ad6f"), "{shown}");
}

/// What `cast` prints; it waits for its child, so that it must not hold up the runtime.
async fn cast(node: &NodeHandle, args: &[&str]) -> String {
    let endpoint = node.http_endpoint();
    let mut command = std::process::Command::new(tool("cast"));
    command.args(args).args(["--rpc-url", &endpoint]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn sending_ether_is_estimated_whatever_the_sender_has() {
    let both = Both::start().await;
    let [anvil, ours] = both.providers();
    let poor = Address::repeat_byte(0x77);
    let plain = [
        json!({ "from": poor, "to": BOB, "value": "0xde0b6b3a7640000" }),
        json!({ "from": poor, "to": BOB, "gasPrice": "0x3b9aca00" }),
        json!({ "from": poor, "to": BOB, "value": "0x1", "maxFeePerGas": "0x77359400" }),
        json!({ "to": BOB, "value": "0x1" }),
    ];
    for request in plain {
        for provider in [&anvil, &ours] {
            let answer = ask(provider, "eth_estimateGas", json!([request])).await;
            assert_eq!(answer.unwrap(), json!("0x5208"), "{request}");
        }
    }
    // A call to a contract needs the ether that it sends, and pays for.
    for (field, reason) in [
        ("value", "insufficient funds"),
        ("gasPrice", "gas required exceeds allowance"),
    ] {
        let request = json!([{ "from": poor, "to": FAILING[3].0, field: "0x77359400" }]);
        let theirs = ask(&anvil, "eth_estimateGas", request.clone()).await.unwrap_err();
        let (code, message) = ask(&ours, "eth_estimateGas", request).await.unwrap_err();
        assert_eq!(code, theirs.0);
        assert!(message.contains(reason), "{message}");
        assert!(theirs.1.to_lowercase().contains(reason), "{}", theirs.1);
    }
}

#[tokio::test]
async fn an_access_list_is_paid_for_in_the_gas_that_it_is_told_with() {
    let both = Both::start().await;
    // Stores what it is called with, and reads the balance of another account.
    let setter = Address::repeat_byte(0xa5);
    let mut answers = Vec::new();
    for provider in both.providers() {
        raw(
            &provider,
            "anvil_setCode",
            json!([setter, "0x600035600155 60aa31 00".replace(' ', "")]),
        )
        .await;
        let call = json!({ "from": ALICE, "to": setter, "data": B256::with_last_byte(7) });
        let mut answer = raw(&provider, "eth_createAccessList", json!([call])).await;
        // Anvil names the accounts in any order.
        let list = answer["accessList"].as_array_mut().unwrap();
        list.sort_by_key(|entry| entry["address"].to_string());
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn the_past_and_contradictions_are_refused() {
    let both = Both::start().await;
    for provider in both.providers() {
        let block = raw(&provider, "eth_getBlockByNumber", json!(["latest", false])).await;
        let head = u64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        for params in [json!([{ "timestamp": head - 100 }]), json!([head - 50])] {
            let (code, _) = ask(&provider, "evm_mine", params).await.unwrap_err();
            assert_eq!(code, -32_602);
        }
        assert_eq!(provider.get_block_number().await.unwrap(), 0);
        ask(&provider, "evm_mine", json!([{ "timestamp": head }]))
            .await
            .unwrap();
        let both_given = json!([{ "to": BOB }, "latest", { BOB.to_string(): { "state": {}, "stateDiff": {} } }]);
        let (code, _) = ask(&provider, "eth_call", both_given).await.unwrap_err();
        assert_eq!(code, -32_602);
        let one_given = json!([{ "to": BOB }, "latest", { BOB.to_string(): { "state": {}, "stateDiff": null } }]);
        assert_eq!(ask(&provider, "eth_call", one_given).await.unwrap(), json!("0x"));
    }
}

#[tokio::test]
async fn what_waits_still_waits_after_a_revert() {
    let both = Both::start().await;
    for provider in both.providers() {
        let snapshot = raw(&provider, "evm_snapshot", json!([])).await;
        let early = json!([{ "from": ALICE, "to": BOB, "gas": "0x5208", "nonce": "0x2" }]);
        let hash = raw(&provider, "eth_sendTransaction", early).await;
        raw(&provider, "evm_mine", json!([])).await;
        assert_eq!(raw(&provider, "evm_revert", json!([snapshot])).await, json!(true));
        let status = raw(&provider, "txpool_status", json!([])).await;
        assert_eq!(status, json!({ "pending": "0x0", "queued": "0x1" }));
        for _ in 0..2 {
            let next = raw(&provider, "eth_sendTransaction", json!([{ "from": ALICE, "to": BOB }])).await;
            mined(&provider, &next).await;
        }
        assert_eq!(mined(&provider, &hash).await["status"], json!("0x1"));
    }
}
