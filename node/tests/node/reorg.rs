//! Reorganisations that are refused change nothing, and those that are not are one step.

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider},
};
use serde_json::{Value, json};

use crate::support::*;

async fn refused(provider: &DynProvider, params: Value) -> i64 {
    let answer = provider.raw_request::<_, Value>("anvil_reorg".into(), params).await;
    answer.unwrap_err().as_error_resp().unwrap().code
}

#[tokio::test]
async fn a_refused_reorganisation_leaves_the_chain_alone() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let (lucky, mut hashes) = (Address::repeat_byte(7), Vec::new());
    for wei in 1..=4 {
        hashes.push(send(&provider, transfer(ALICE, lucky, wei)).await.transaction_hash);
    }
    let head = raw(&provider, "eth_getBlockByNumber", json!(["latest", false])).await;
    let good = json!({ "from": ALICE, "to": lucky, "value": "0x64" });
    let poor = json!({ "from": ALICE, "to": lucky, "gas": "0x1" });
    let rich = json!({ "from": ALICE, "to": lucky, "value": U256::MAX });
    let early = json!({ "from": ALICE, "to": lucky, "nonce": "0x9" });
    for (bad, code) in [(poor, -32_000), (rich, -32_003), (early, -32_000)] {
        assert_eq!(
            refused(&provider, json!([2, [[good, 0], [bad, 1]]])).await,
            code,
            "{bad}"
        );
    }
    for bad in [
        json!([1, [[good, 7]]]),
        json!([2, [[good, 2]]]),
        json!([2, [["0x12", 0]]]),
    ] {
        assert_eq!(refused(&provider, bad.clone()).await, -32_602, "{bad}");
    }
    let after = raw(&provider, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(after, head);
    for hash in hashes {
        assert!(
            provider.get_transaction_receipt(hash).await.unwrap().is_some(),
            "{hash}"
        );
    }
    assert_eq!(provider.get_balance(lucky).await.unwrap(), U256::from(10));
}

#[tokio::test]
async fn transactions_build_on_each_other_in_the_new_blocks() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    send(&provider, transfer(ALICE, BOB, 1)).await;
    send(&provider, transfer(ALICE, BOB, 2)).await;
    let counter = ALICE.create(0);
    // The gas of the calls can be estimated only where the contract is.
    let pairs = json!([[counter_creation(), 0], [count_up(counter), 0], [count_up(counter), 1]]);
    raw(&provider, "anvil_reorg", json!([2, pairs])).await;
    assert_eq!(provider.get_block_number().await.unwrap(), 2);
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::latest())
            .await
            .unwrap(),
        word(2)
    );
    let block = async |number: u64| provider.get_block_by_number(number.into()).await.unwrap().unwrap();
    let (first, second) = (block(1).await, block(2).await);
    assert_eq!((first.transactions.len(), second.transactions.len()), (2, 1));
    assert_eq!(second.header.parent_hash, first.header.hash);
    // What is mined next builds on the same state and clock.
    let receipt = send(&provider, count_up(counter)).await;
    assert_eq!(receipt.block_number, Some(3));
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::latest())
            .await
            .unwrap(),
        word(3)
    );
}

#[tokio::test]
async fn nobody_mines_between_the_new_blocks() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    for wei in 1..=8 {
        send(&provider, transfer(ALICE, Address::repeat_byte(7), wei)).await;
    }
    let bob = async || {
        for wei in 1..=8 {
            // Without its receipt: what was mined a moment ago may have been taken back already.
            raw(
                &provider,
                "eth_sendTransaction",
                json!([transfer(BOB, Address::repeat_byte(9), wei)]),
            )
            .await;
        }
    };
    let pairs: Vec<Value> = (0..8).map(|block| json!([transfer(ALICE, BOB, 1), block])).collect();
    let ((), _) = tokio::join!(bob(), raw(&provider, "anvil_reorg", json!([8, pairs])));
    let mut blocks = Vec::new();
    for number in 1..=provider.get_block_number().await.unwrap() {
        let block = provider
            .get_block_by_number(number.into())
            .full()
            .await
            .unwrap()
            .unwrap();
        let to_bob = block
            .transactions
            .txns()
            .any(|tx| alloy::consensus::Transaction::to(tx) == Some(BOB));
        blocks.push(to_bob);
    }
    let run: Vec<usize> = (0..blocks.len()).filter(|index| blocks[*index]).collect();
    assert_eq!(run.len(), 8, "{blocks:?}");
    assert_eq!(run[7] - run[0], 7, "{blocks:?}");
}

#[tokio::test]
async fn a_polled_filter_takes_back_the_logs_of_dropped_blocks() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let logs = raw(&provider, "eth_newFilter", json!([{ "address": counter }])).await;
    let late = raw(&provider, "eth_newFilter", json!([{ "address": BOB }])).await;
    let blocks = raw(&provider, "eth_newBlockFilter", json!([])).await;
    let poll = async |filter: &Value| raw(&provider, "eth_getFilterChanges", json!([filter])).await;
    send(&provider, count_up(counter)).await;
    send(&provider, count_up(counter)).await;
    let told = poll(&logs).await;
    assert_eq!(told.as_array().unwrap().len(), 2);
    poll(&blocks).await;
    // A third that nobody was told of.
    send(&provider, count_up(counter)).await;
    let pairs = json!([[count_up(counter), 0]]);
    raw(&provider, "anvil_reorg", json!([3, pairs])).await;
    let changes = poll(&logs).await;
    let expected = |log: &Value| {
        let mut log = log.clone();
        log["removed"] = json!(true);
        log
    };
    assert_eq!(changes[0], expected(&told[1]));
    assert_eq!(changes[1], expected(&told[0]));
    assert_eq!(changes[2]["removed"], json!(false));
    assert_eq!(changes[2]["blockNumber"], json!("0x2"));
    assert_eq!(changes.as_array().unwrap().len(), 3);
    assert_eq!(poll(&late).await, json!([]));
    assert_eq!(poll(&blocks).await.as_array().unwrap().len(), 3);
    assert_eq!(poll(&logs).await, json!([]));
}
