//! Starting over, and reorganisations.

use alloy::{primitives::U256, providers::Provider};
use cordon_node::NodeConfig;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_reset_without_fork_is_a_fresh_chain() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x3"])).await;
    let node = cordon_node::spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    raw(&provider, "anvil_reset", json!([])).await;
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
    assert!(provider.get_code_at(counter).await.unwrap().is_empty());
    assert!(raw(&provider, "anvil_nodeInfo", json!([])).await["forkConfig"]["forkUrl"].is_null());
    let receipt = send(&provider, counter_creation()).await;
    assert_eq!(receipt.block_number, Some(1));
}

#[tokio::test]
async fn a_reset_forks_again_at_any_block_and_keeps_subscribers() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x9"])).await;
    let node = cordon_node::spawn(NodeConfig {
        auto_impersonate: true,
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let socket = alloy::providers::ProviderBuilder::new()
        .connect(&node.ws_endpoint())
        .await
        .unwrap();
    let mut heads = socket.subscribe_blocks().await.unwrap().into_stream();
    let counter = deploy_counter(&provider).await;
    assert_eq!(heads.next().await.unwrap().number, 10);
    raw(&provider, "anvil_reset", json!([{ "forking": { "blockNumber": 4 } }])).await;
    assert_eq!(provider.get_block_number().await.unwrap(), 4);
    assert!(provider.get_code_at(counter).await.unwrap().is_empty());
    send(&provider, transfer(ALICE, BOB, 1)).await;
    assert_eq!(heads.next().await.unwrap().number, 5);
    // Another chain, and the newest block of it.
    let other = Anvil::start(&["--chain-id", "7"]).await;
    raw(
        &provider,
        "anvil_reset",
        json!([{ "forking": { "jsonRpcUrl": other.endpoint } }]),
    )
    .await;
    assert_eq!(provider.get_chain_id().await.unwrap(), 7);
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
}

#[tokio::test]
async fn filters_outlive_a_reset_and_tell_of_the_new_chain() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x9"])).await;
    let node = cordon_node::spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let mut filters = Vec::new();
    for (method, params) in [
        ("eth_newBlockFilter", json!([])),
        ("eth_newFilter", json!([{}])),
        ("eth_newPendingTransactionFilter", json!([])),
    ] {
        filters.push(raw(&provider, method, params).await);
    }
    let polled = async || {
        let mut changes = Vec::new();
        for id in &filters {
            let found = raw(&provider, "eth_getFilterChanges", json!([id])).await;
            changes.push(found.as_array().unwrap().len());
        }
        changes
    };
    let counter = deploy_counter(&provider).await;
    send(&provider, count_up(counter)).await;
    assert_eq!(polled().await, [2, 1, 2]);
    // What a chain begins with is not news: neither one that is shorter than the old one nor one that is longer.
    for options in [json!({ "forking": { "blockNumber": 4 } }), json!({ "forking": {} })] {
        raw(&provider, "anvil_reset", json!([options])).await;
        assert_eq!(polled().await, [0, 0, 0], "{options}");
        let counter = deploy_counter(&provider).await;
        send(&provider, count_up(counter)).await;
        send(&provider, count_up(counter)).await;
        assert_eq!(polled().await, [3, 2, 3], "{options}");
    }
}

#[tokio::test]
async fn a_reset_that_fails_changes_nothing() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for options in [
        json!({ "forking": {} }),
        json!({ "forking": { "jsonRpcUrl": "http://127.0.0.1:1" } }),
        json!({ "forking": { "jsonRpcUrl": 7 } }),
    ] {
        let answer = provider
            .raw_request::<_, Value>("anvil_reset".into(), json!([options]))
            .await;
        assert!(answer.is_err(), "{options}");
    }
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(0));
}

#[tokio::test]
async fn a_reorganisation_puts_transactions_back() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let dropped = send(&provider, count_up(counter)).await;
    raw(&provider, "anvil_reorg", json!([1, []])).await;
    assert_eq!(provider.get_block_number().await.unwrap(), 2);
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::latest())
            .await
            .unwrap(),
        word(0)
    );
    // In the block to come what was dropped counts again.
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::pending())
            .await
            .unwrap(),
        word(1)
    );
    let status = raw(&provider, "txpool_status", json!([])).await;
    assert_eq!(status["pending"], json!("0x1"), "the dropped transaction waits again");
    raw(&provider, "evm_mine", json!([])).await;
    let again = provider
        .get_transaction_receipt(dropped.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.block_number, Some(3));
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(1));
}

#[tokio::test]
async fn a_fork_can_start_in_the_middle_of_a_block() {
    let anvil = Anvil::start(&["--chain-id", "42161", "--no-mining"]).await;
    let up = anvil.provider();
    let mut hashes = Vec::new();
    for wei in 1..=3u64 {
        let mut request = transfer(ALICE, alloy::primitives::Address::repeat_byte(9), wei);
        request.nonce = Some(wei - 1);
        let hash: alloy::primitives::B256 = up.raw_request("eth_sendTransaction".into(), (request,)).await.unwrap();
        hashes.push(hash);
    }
    raw(&up, "evm_mine", json!([])).await;
    for (index, expected) in [(0, 1u64), (1, 3), (2, 6)] {
        let node = cordon_node::spawn(NodeConfig {
            fork_transaction_hash: Some(hashes[index]),
            ..anvil.fork_config()
        })
        .await
        .unwrap();
        let provider = plain(&node.http_endpoint());
        let got = provider
            .get_balance(alloy::primitives::Address::repeat_byte(9))
            .await
            .unwrap();
        assert_eq!(got, U256::from(expected));
        assert_eq!(provider.get_block_number().await.unwrap(), 1);
        let block = provider.get_block_by_number(1.into()).await.unwrap().unwrap();
        let original = up.get_block_by_number(1.into()).await.unwrap().unwrap();
        assert_eq!(block.transactions.len(), index + 1);
        assert_eq!(block.header.timestamp, original.header.timestamp);
        assert_eq!(block.header.base_fee_per_gas, original.header.base_fee_per_gas);
    }
}

#[tokio::test]
async fn mixed_mining_mines_at_once_and_in_time() {
    let node = cordon_node::spawn(NodeConfig {
        block_time: Some(std::time::Duration::from_millis(400)),
        mixed_mining: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    // The receipt is there when the send returns.
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let before = provider.get_block_number().await.unwrap();
    eventually("an empty block", async || {
        (provider.get_block_number().await.unwrap() > before).then_some(())
    })
    .await;
}
