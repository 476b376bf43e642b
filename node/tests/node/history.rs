use alloy::{
    eips::BlockId,
    primitives::{B256, U256},
    providers::Provider,
};
use cordon_node::{NodeConfig, spawn};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn every_read_works_at_old_blocks_by_number_and_by_hash() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for _ in 0..5 {
        send(&provider, count_up(counter)).await;
    }
    // The counter was deployed in block 1 and counted in blocks 2 to 6.
    for number in 1..=6u64 {
        let hash = provider
            .get_block_by_number(number.into())
            .await
            .unwrap()
            .unwrap()
            .header
            .hash;
        for id in [BlockId::number(number), BlockId::hash(hash)] {
            let count = provider.call(read_count(counter)).block(id).await.unwrap();
            assert_eq!(count, word(number - 1));
            assert_eq!(
                provider.get_storage_at(counter, U256::ZERO).block_id(id).await.unwrap(),
                U256::from(number - 1)
            );
            assert_eq!(
                provider.get_transaction_count(ALICE).block_id(id).await.unwrap(),
                number
            );
            assert_eq!(provider.get_code_at(counter).block_id(id).await.unwrap().len(), 54);
        }
    }
    let before = BlockId::number(0);
    assert!(provider.get_code_at(counter).block_id(before).await.unwrap().is_empty());
    let rich = provider.get_balance(ALICE).block_id(before).await.unwrap();
    assert_eq!(rich, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
    assert!(provider.get_balance(ALICE).await.unwrap() < rich);
}

#[tokio::test]
async fn state_beyond_the_history_is_an_error_that_says_so() {
    let node = spawn(NodeConfig {
        history: 10,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for _ in 0..30 {
        send(&provider, count_up(counter)).await;
    }
    let oldest = BlockId::number(21);
    assert_eq!(
        provider.call(read_count(counter)).block(oldest).await.unwrap(),
        word(20)
    );
    let error = provider
        .call(read_count(counter))
        .block(BlockId::number(20))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no longer held (the oldest is 21)"),
        "{error}"
    );
    // Blocks, receipts and logs stay.
    let logs = raw(
        &provider,
        "eth_getLogs",
        json!([{ "fromBlock": "0x0", "address": counter }]),
    )
    .await;
    assert_eq!(logs.as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn blocks_that_do_not_exist_are_not_found() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let error = provider
        .get_balance(ALICE)
        .block_id(BlockId::number(5))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("block 5 does not exist; the head is 0"),
        "{error}"
    );
    let unknown = B256::repeat_byte(1);
    let error = provider
        .get_balance(ALICE)
        .block_id(BlockId::hash(unknown))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not known"), "{error}");
    assert!(provider.get_block_by_hash(unknown).await.unwrap().is_none());
    assert!(provider.get_transaction_receipt(unknown).await.unwrap().is_none());
}

#[tokio::test]
async fn an_edit_belongs_to_the_block_it_was_made_on() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    raw(&provider, "evm_mine", json!([])).await;
    raw(&provider, "anvil_setBalance", json!([BOB, "0x7"])).await;
    raw(&provider, "evm_mine", json!([])).await;
    raw(&provider, "anvil_setBalance", json!([BOB, "0x8"])).await;
    let at = async |number| {
        provider
            .get_balance(BOB)
            .block_id(BlockId::number(number))
            .await
            .unwrap()
    };
    assert!(at(0).await > U256::from(8));
    assert_eq!(at(1).await, U256::from(7));
    assert_eq!(at(2).await, U256::from(8));
}
