//! Where the fork was, the forked chain's later blocks are not this chain's.

use alloy::{
    primitives::{B256, U256},
    providers::{DynProvider, Provider},
};
use cordon_node::{NodeConfig, spawn};
use serde_json::{Value, json};

use crate::support::*;

/// An anvil with four blocks, each with one transfer to BOB; the hashes of the blocks from 0 on, and of their transactions.
async fn four_blocks() -> (Anvil, Vec<B256>, Vec<B256>) {
    let anvil = Anvil::start(&[]).await;
    let up = anvil.provider();
    for _ in 0..4 {
        anvil.send(transfer(ALICE, BOB, 1)).await;
    }
    let (mut blocks, mut transactions) = (Vec::new(), vec![B256::ZERO]);
    for number in 0..=4u64 {
        let block = up.get_block_by_number(number.into()).await.unwrap().unwrap();
        blocks.push(block.header.hash);
        transactions.extend(block.transactions.hashes());
    }
    (anvil, blocks, transactions)
}

/// What a question is answered with, or the code of the error.
async fn outcome(provider: &DynProvider, method: &str, params: Value) -> Result<Value, i64> {
    let answer = provider.raw_request::<_, Value>(method.to_owned().into(), params).await;
    answer.map_err(|error| error.as_error_resp().expect("the node answers").code)
}

/// Questions about a block by hash, and about its transaction, that are answered null where there is none.
fn nullable(block: B256, transaction: B256) -> Vec<(&'static str, Value)> {
    vec![
        ("eth_getBlockByHash", json!([block, false])),
        ("eth_getHeaderByHash", json!([block])),
        ("eth_getBlockTransactionCountByHash", json!([block])),
        ("eth_getBlockReceipts", json!([block])),
        ("eth_getBlockReceipts", json!([{ "blockHash": block }])),
        ("eth_getTransactionByBlockHashAndIndex", json!([block, "0x0"])),
        ("eth_getRawTransactionByBlockHashAndIndex", json!([block, "0x0"])),
        ("eth_getTransactionByHash", json!([transaction])),
        ("eth_getRawTransactionByHash", json!([transaction])),
        ("eth_getTransactionReceipt", json!([transaction])),
    ]
}

/// Questions that are an error where there is no such block or transaction.
fn refusable(block: B256, transaction: B256) -> Vec<(&'static str, Value)> {
    let at = json!({ "blockHash": block });
    let call = json!({ "from": ALICE, "to": BOB, "value": "0x1" });
    vec![
        ("eth_getBalance", json!([BOB, at])),
        ("eth_getTransactionCount", json!([ALICE, at])),
        ("eth_getCode", json!([BOB, at])),
        ("eth_getStorageAt", json!([BOB, "0x0", at])),
        ("eth_getProof", json!([BOB, [], at])),
        ("eth_call", json!([call, at])),
        ("eth_estimateGas", json!([call, at])),
        ("eth_createAccessList", json!([call, at])),
        ("eth_getLogs", json!([{ "blockHash": block }])),
        ("debug_traceCall", json!([call, at, {}])),
        (
            "debug_traceTransaction",
            json!([transaction, { "tracer": "callTracer" }]),
        ),
        ("debug_traceBlockByHash", json!([block, { "tracer": "callTracer" }])),
        ("debug_getRawTransaction", json!([transaction])),
        ("trace_transaction", json!([transaction])),
        ("trace_replayBlockTransactions", json!([block, ["trace"]])),
        ("trace_block", json!([at])),
    ]
}

#[tokio::test]
async fn what_the_forked_chain_did_after_the_fork_is_not_told() {
    let (anvil, blocks, transactions) = four_blocks().await;
    let up = anvil.provider();
    let node = spawn(NodeConfig {
        fork_block_number: Some(2),
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    for later in [3, 4] {
        let (block, transaction) = (blocks[later], transactions[later]);
        for (method, params) in nullable(block, transaction) {
            let told = outcome(&provider, method, params.clone()).await;
            assert_eq!(told, Ok(Value::Null), "{method} {params}");
        }
        for (method, params) in refusable(block, transaction) {
            let told = outcome(&provider, method, params.clone()).await;
            assert_eq!(told, Err(-32_001), "{method} {params}");
        }
    }
    // Up to the fork everything is as the forked chain has it.
    for earlier in [1, 2] {
        let (block, transaction) = (blocks[earlier], transactions[earlier]);
        for (method, params) in nullable(block, transaction) {
            let told = outcome(&provider, method, params.clone()).await;
            if method.starts_with("eth_getHeader") {
                assert_eq!(told.unwrap()["hash"], json!(block));
                continue;
            }
            let expected = outcome(&up, method, params.clone()).await.unwrap();
            assert!(!expected.is_null(), "{method} {params}");
            assert_eq!(told.unwrap(), expected, "{method} {params}");
        }
        let nonce = provider.get_transaction_count(ALICE).hash(block).await.unwrap();
        assert_eq!(nonce, u64::try_from(earlier).unwrap());
    }
    // A number above the head is nobody's, however high the forked chain is.
    for method in ["eth_getHeaderByNumber", "eth_getRawTransactionByBlockNumberAndIndex"] {
        assert_eq!(
            outcome(&provider, method, json!(["0x4", "0x0"])).await,
            Ok(Value::Null),
            "{method}"
        );
    }
    for method in ["debug_traceBlockByNumber", "trace_block", "debug_getRawHeader"] {
        assert_eq!(
            outcome(&provider, method, json!(["0x4"])).await,
            Err(-32_001),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_tag_before_the_fork_is_counted_from_this_chains_head() {
    let anvil = Anvil::start(&[]).await;
    let up = anvil.provider();
    raw(&up, "anvil_mine", json!(["0x28"])).await;
    let node = spawn(NodeConfig {
        fork_block_number: Some(38),
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    raw(&up, "anvil_setBalance", json!([BOB, "0x1"])).await;
    raw(&up, "anvil_mine", json!(["0x28"])).await;
    let provider = plain(&node.http_endpoint());
    // `safe` is block 6 here and block 48 there.
    let block = raw(&provider, "eth_getBlockByNumber", json!(["safe", false])).await;
    assert_eq!(block["number"], json!("0x6"));
    let balance = raw(&provider, "eth_getBalance", json!([BOB, "safe"])).await;
    assert_eq!(balance, raw(&up, "eth_getBalance", json!([BOB, "0x6"])).await);
    assert_ne!(balance, json!("0x1"));
    let history = raw(&provider, "eth_feeHistory", json!(["0x1", "safe", []])).await;
    assert_eq!(history["oldestBlock"], json!("0x6"));
}

#[tokio::test]
async fn what_follows_the_transaction_of_the_fork_was_not_run() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let up = anvil.provider();
    let mut sent = Vec::new();
    for _ in 0..2 {
        let request = transfer(ALICE, BOB, 1);
        let hash: B256 = up.raw_request("eth_sendTransaction".into(), (request,)).await.unwrap();
        sent.push(hash);
    }
    raw(&up, "evm_mine", json!([])).await;
    let whole = up.get_block_by_number(1.into()).await.unwrap().unwrap();
    assert_eq!(whole.transactions.hashes().collect::<Vec<_>>(), sent);
    let node = spawn(NodeConfig {
        fork_transaction_hash: Some(sent[0]),
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    assert!(
        provider
            .get_transaction_receipt(sent[0])
            .await
            .unwrap()
            .unwrap()
            .status()
    );
    assert!(provider.get_transaction_receipt(sent[1]).await.unwrap().is_none());
    assert!(provider.get_transaction_by_hash(sent[1]).await.unwrap().is_none());
    // The block upstream has both.
    let upstreams = raw(&provider, "eth_getBlockReceipts", json!([whole.header.hash])).await;
    assert_eq!(upstreams, Value::Null);
    let wei = provider.get_balance(BOB).await.unwrap() - up.get_balance(BOB).number(0).await.unwrap();
    assert_eq!(wei, U256::ONE);
}

#[tokio::test]
async fn transactions_that_wait_in_the_forked_chain_are_not_known() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let up = anvil.provider();
    let hash: B256 = up
        .raw_request("eth_sendTransaction".into(), (transfer(ALICE, BOB, 1),))
        .await
        .unwrap();
    assert!(up.get_transaction_by_hash(hash).await.unwrap().is_some());
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert!(provider.get_transaction_by_hash(hash).await.unwrap().is_none());
}

#[tokio::test]
async fn a_block_number_may_be_a_json_number() {
    let (anvil, blocks, _) = four_blocks().await;
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let block = raw(&provider, "eth_getBlockByNumber", json!([1, false])).await;
    assert_eq!(block["hash"], json!(blocks[1]));
    let block = raw(&provider, "eth_getBlockByNumber", json!([5, false])).await;
    assert_eq!(block["number"], json!("0x5"));
    for number in [1, 5] {
        let (text, json) = (json!([BOB, format!("{number:#x}")]), json!([BOB, number]));
        assert_eq!(
            raw(&provider, "eth_getBalance", text).await,
            raw(&provider, "eth_getBalance", json).await
        );
    }
    let history = raw(&provider, "eth_feeHistory", json!([1, 5, []])).await;
    assert_eq!(history["oldestBlock"], json!("0x5"));
}
