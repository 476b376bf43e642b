//! The block that would be mined now, and its state.

use alloy::{
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
};
use cordon_node::{NodeConfig, spawn};
use serde_json::{Value, json};

use crate::support::*;

async fn queue(provider: &DynProvider, request: alloy::rpc::types::TransactionRequest) -> B256 {
    provider
        .raw_request("eth_sendTransaction".into(), (request,))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_pending_state_is_that_after_the_pool() {
    let node = spawn(NodeConfig {
        no_mining: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let lucky = Address::repeat_byte(7);
    let at = async |method: &'static str, mut params: Vec<Value>, tag: &str| {
        params.push(json!(tag));
        raw(&provider, method, Value::Array(params)).await
    };
    assert_eq!(at("eth_getBalance", vec![json!(lucky)], "pending").await, json!("0x0"));
    queue(&provider, transfer(ALICE, lucky, 5)).await;
    assert_eq!(at("eth_getBalance", vec![json!(lucky)], "pending").await, json!("0x5"));
    assert_eq!(at("eth_getBalance", vec![json!(lucky)], "latest").await, json!("0x0"));
    let counter = ALICE.create(1);
    queue(&provider, counter_creation()).await;
    let mut up = count_up(counter);
    up.gas = Some(100_000);
    queue(&provider, up.clone()).await;
    // Each change of the pool is seen, not what was built before.
    assert_eq!(
        at("eth_getStorageAt", vec![json!(counter), json!("0x0")], "pending").await,
        json!(B256::with_last_byte(1))
    );
    queue(&provider, up).await;
    assert_eq!(
        at("eth_getStorageAt", vec![json!(counter), json!("0x0")], "pending").await,
        json!(B256::with_last_byte(2))
    );
    assert_ne!(at("eth_getCode", vec![json!(counter)], "pending").await, json!("0x"));
    assert_eq!(at("eth_getCode", vec![json!(counter)], "latest").await, json!("0x"));
    let read = json!(read_count(counter));
    assert_eq!(at("eth_call", vec![read.clone()], "pending").await, json!(word(2)));
    assert_eq!(at("eth_call", vec![read.clone()], "latest").await, json!("0x"));
    let traced = at("debug_traceCall", vec![read.clone()], "pending").await;
    assert!(traced["returnValue"].as_str().unwrap().ends_with('2'), "{traced}");
    let gas = async |tag: &str| at("eth_estimateGas", vec![read.clone()], tag).await;
    assert_ne!(gas("pending").await, gas("latest").await);
    let listed = at("eth_createAccessList", vec![read.clone()], "pending").await;
    assert_eq!(listed["accessList"][0]["address"], json!(counter), "{listed}");
    let proof = at("eth_getProof", vec![json!(counter), json!(["0x0"])], "pending").await;
    assert_eq!(proof["storageProof"][0]["value"], json!("0x2"));
    raw(&provider, "evm_mine", json!([])).await;
    let mined = at("eth_getProof", vec![json!(counter), json!(["0x0"])], "latest").await;
    assert_eq!(
        proof["accountProof"], mined["accountProof"],
        "the state that was mined is the one that was shown"
    );
    assert_eq!(at("eth_getBalance", vec![json!(lucky)], "latest").await, json!("0x5"));
}

#[tokio::test]
async fn every_method_knows_the_pending_block() {
    let node = spawn(NodeConfig {
        no_mining: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let count = async || raw(&provider, "eth_getBlockTransactionCountByNumber", json!(["pending"])).await;
    assert_eq!(count().await, json!("0x0"));
    let hash = queue(&provider, transfer(ALICE, BOB, 5)).await;
    assert_eq!(count().await, json!("0x1"));
    let header = raw(&provider, "eth_getHeaderByNumber", json!(["pending"])).await;
    assert_eq!(header["number"], json!("0x1"));
    let first = raw(
        &provider,
        "eth_getTransactionByBlockNumberAndIndex",
        json!(["pending", "0x0"]),
    )
    .await;
    assert_eq!(first["hash"], json!(hash));
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
    assert_eq!(
        provider.get_balance(BOB).await.unwrap(),
        U256::from(10_000) * U256::from(10).pow(U256::from(18))
    );
}
