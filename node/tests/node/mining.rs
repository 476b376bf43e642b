use std::time::{Duration, Instant};

use alloy::{
    primitives::B256,
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::Filter,
};
use cordon_node::{NodeConfig, spawn};
use futures::StreamExt;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn blocks_of_250_milliseconds_come_at_that_pace() {
    let config = NodeConfig {
        block_time: Some(Duration::from_millis(250)),
        ..NodeConfig::default()
    };
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let start = Instant::now();
    eventually("the twelfth block", async || {
        (provider.get_block_number().await.unwrap() >= 12).then_some(())
    })
    .await;
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_millis(2_500), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
    let mut last = 0;
    for number in 0..=12u64 {
        let block = provider.get_block_by_number(number.into()).await.unwrap().unwrap();
        assert!(block.header.timestamp >= last);
        last = block.header.timestamp;
    }
}

#[tokio::test]
async fn an_interval_takes_transactions_into_the_next_block() {
    let config = NodeConfig {
        block_time: Some(Duration::from_millis(100)),
        ..NodeConfig::default()
    };
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let hash: B256 = provider
        .raw_request("eth_sendTransaction".into(), (transfer(ALICE, BOB, 1),))
        .await
        .unwrap();
    let receipt = eventually("the receipt", async || {
        provider.get_transaction_receipt(hash).await.unwrap()
    })
    .await;
    assert!(receipt.status());
}

#[tokio::test]
async fn without_mining_only_requests_mine() {
    let node = spawn(NodeConfig {
        no_mining: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let hash: B256 = provider
        .raw_request("eth_sendTransaction".into(), (transfer(ALICE, BOB, 1),))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_none());
    let pending = provider
        .get_block_by_number("pending".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(pending.transactions.hashes().collect::<Vec<_>>(), [hash]);
    assert_eq!(provider.get_transaction_count(ALICE).pending().await.unwrap(), 1);
    assert_eq!(provider.get_block_number().await.unwrap(), 0);
    raw(&provider, "evm_mine", json!([])).await;
    assert!(provider.get_transaction_receipt(hash).await.unwrap().unwrap().status());
}

#[tokio::test]
async fn the_way_of_mining_can_be_changed_while_running() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    assert!(provider.anvil_get_auto_mine().await.unwrap());
    provider.anvil_set_auto_mine(false).await.unwrap();
    let hash: B256 = provider
        .raw_request("eth_sendTransaction".into(), (transfer(ALICE, BOB, 1),))
        .await
        .unwrap();
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_none());
    raw(&provider, "evm_setIntervalMining", json!([0.05])).await;
    eventually("a block", async || {
        provider.get_transaction_receipt(hash).await.unwrap()
    })
    .await;
    raw(&provider, "evm_setIntervalMining", json!([0])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let head = provider.get_block_number().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(provider.get_block_number().await.unwrap(), head);
    provider.anvil_set_auto_mine(true).await.unwrap();
    send(&provider, transfer(ALICE, BOB, 1)).await;
}

#[tokio::test]
async fn many_blocks_are_mined_quickly_and_can_be_spaced() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let start = Instant::now();
    provider.anvil_mine(Some(5_000), Some(60)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(provider.get_block_number().await.unwrap(), 5_000);
    let time = async |number: u64| {
        provider
            .get_block_by_number(number.into())
            .await
            .unwrap()
            .unwrap()
            .header
            .timestamp
    };
    assert_eq!(time(5_000).await - time(1).await, 60 * 4_999);
    let too_many = provider.anvil_mine(Some(1_000_000), None).await.unwrap_err();
    assert!(too_many.to_string().contains("too many"), "{too_many}");
}

#[tokio::test]
async fn gas_of_a_block_is_bounded_and_the_base_fee_follows_it() {
    let config = NodeConfig {
        no_mining: true,
        gas_limit: Some(63_000),
        ..NodeConfig::default()
    };
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    for _ in 0..5 {
        let request = transfer(ALICE, BOB, 1);
        let request = alloy::network::TransactionBuilder::with_gas_price(request, 2_000_000_000);
        let _: B256 = provider
            .raw_request("eth_sendTransaction".into(), (request,))
            .await
            .unwrap();
    }
    raw(&provider, "anvil_mine", json!([2])).await;
    let block = async |number: u64| provider.get_block_by_number(number.into()).await.unwrap().unwrap();
    assert_eq!(block(1).await.transactions.len(), 3);
    assert_eq!(block(2).await.transactions.len(), 2);
    let fees = [block(1).await, block(2).await].map(|block| block.header.base_fee_per_gas.unwrap());
    assert_eq!(fees, [100_000_000, 112_500_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_each_block_as_it_was_while_others_are_mined() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    let config = NodeConfig {
        block_time: Some(Duration::from_millis(50)),
        ..anvil.fork_config()
    };
    let node = spawn(config).await.unwrap();
    let http = plain(&node.http_endpoint());
    let hash: B256 = http
        .raw_request("eth_sendTransaction".into(), (counter_creation(),))
        .await
        .unwrap();
    let receipt = eventually("deployment", async || http.get_transaction_receipt(hash).await.unwrap()).await;
    let counter = receipt.contract_address.unwrap();
    let sender = tokio::spawn({
        let http = http.clone();
        async move {
            for _ in 0..150 {
                let _: B256 = http
                    .raw_request("eth_sendTransaction".into(), (count_up(counter),))
                    .await
                    .unwrap();
            }
        }
    });
    let ws = ProviderBuilder::new().connect(&node.ws_endpoint()).await.unwrap();
    let mut heads = ws.subscribe_blocks().await.unwrap().into_stream().take(40);
    let mut parent = None;
    let mut reads = Vec::new();
    while let Some(head) = heads.next().await {
        assert!(
            parent.is_none_or(|parent| parent == head.parent_hash),
            "no head is missing"
        );
        let (hash, number) = (head.hash, head.number);
        parent = Some(hash);
        for _ in 0..4 {
            let http = http.clone();
            reads.push(tokio::spawn(async move {
                let count = http.call(read_count(counter)).block(hash.into()).await.unwrap();
                let filter = Filter::new().from_block(0).to_block(number).address(counter);
                let logs = http.get_logs(&filter).await.unwrap();
                assert_eq!(count, word(logs.len() as u64));
            }));
        }
    }
    for read in reads {
        read.await.unwrap();
    }
    sender.await.unwrap();
    eventually("the last transaction", async || {
        (http.call(read_count(counter)).await.unwrap() == word(150)).then_some(())
    })
    .await;
}
