use std::time::Duration;

use alloy::{
    primitives::B256,
    providers::{Provider, ProviderBuilder},
    rpc::types::Filter,
};
use futures::StreamExt;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn heads_logs_and_pending_transactions_are_pushed() {
    let node = fresh().await;
    let http = plain(&node.http_endpoint());
    let counter = deploy_counter(&http).await;
    let ws = ProviderBuilder::new().connect(&node.ws_endpoint()).await.unwrap();
    let mut heads = ws.subscribe_blocks().await.unwrap().into_stream();
    let mut logs = ws
        .subscribe_logs(&Filter::new().address(counter))
        .await
        .unwrap()
        .into_stream();
    let mut pending = ws.subscribe_pending_transactions().await.unwrap().into_stream();
    let receipt = send(&http, count_up(counter)).await;
    let soon = Duration::from_secs(10);
    let head = tokio::time::timeout(soon, heads.next()).await.unwrap().unwrap();
    assert_eq!(Some(head.hash), receipt.block_hash);
    assert_eq!(head.number, 2);
    let log = tokio::time::timeout(soon, logs.next()).await.unwrap().unwrap();
    assert_eq!(log.transaction_hash, Some(receipt.transaction_hash));
    assert_eq!(log.topics(), [B256::with_last_byte(42)]);
    assert_eq!(log.data().data, word(1));
    let hash = tokio::time::timeout(soon, pending.next()).await.unwrap().unwrap();
    assert_eq!(hash, receipt.transaction_hash);
}

#[tokio::test]
async fn a_block_taken_back_sends_its_logs_as_removed() {
    let node = fresh().await;
    let http = plain(&node.http_endpoint());
    let counter = deploy_counter(&http).await;
    let ws = ProviderBuilder::new().connect(&node.ws_endpoint()).await.unwrap();
    let mut logs = ws.subscribe_logs(&Filter::new()).await.unwrap().into_stream();
    send(&http, count_up(counter)).await;
    raw(&http, "anvil_reorg", json!([1, []])).await;
    let soon = Duration::from_secs(10);
    let first = tokio::time::timeout(soon, logs.next()).await.unwrap().unwrap();
    let second = tokio::time::timeout(soon, logs.next()).await.unwrap().unwrap();
    assert!(!first.removed && second.removed);
    assert_eq!(first.transaction_hash, second.transaction_hash);
}

#[tokio::test]
async fn calls_and_transfers_work_over_websocket() {
    let node = fresh().await;
    let ws = ProviderBuilder::new()
        .connect(&node.ws_endpoint())
        .await
        .unwrap()
        .erased();
    let counter = deploy_counter(&ws).await;
    send(&ws, count_up(counter)).await;
    assert_eq!(ws.call(read_count(counter)).await.unwrap(), word(1));
}

#[tokio::test]
async fn unknown_subscriptions_are_refused() {
    let node = fresh().await;
    let ws = ProviderBuilder::new().connect(&node.ws_endpoint()).await.unwrap();
    let error = ws
        .raw_request::<_, B256>("eth_subscribe".into(), ("syncing",))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("use newHeads, logs or newPendingTransactions"),
        "{error}"
    );
}

#[tokio::test]
async fn filters_are_polled() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let log_filter = provider.new_filter(&Filter::new().address(counter)).await.unwrap();
    let block_filter = provider.new_block_filter().await.unwrap();
    let pending_filter = provider.new_pending_transactions_filter(false).await.unwrap();
    let receipt = send(&provider, count_up(counter)).await;
    let logs: Vec<alloy::rpc::types::Log> = provider.get_filter_changes(log_filter).await.unwrap();
    assert_eq!(logs.len(), 1);
    assert_eq!(
        provider.get_filter_changes::<B256>(block_filter).await.unwrap(),
        [receipt.block_hash.unwrap()]
    );
    assert_eq!(
        provider.get_filter_changes::<B256>(pending_filter).await.unwrap(),
        [receipt.transaction_hash]
    );
    assert!(
        provider
            .get_filter_changes::<B256>(block_filter)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(provider.uninstall_filter(block_filter).await.unwrap());
    let error = provider.get_filter_changes::<B256>(block_filter).await.unwrap_err();
    assert!(error.to_string().contains("filter not found"), "{error}");
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_hash() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counters = [deploy_counter(&provider).await, deploy_counter(&provider).await];
    for counter in [counters[0], counters[1], counters[0]] {
        send(&provider, count_up(counter)).await;
    }
    let all = Filter::new().from_block(0);
    assert_eq!(provider.get_logs(&all).await.unwrap().len(), 3);
    assert_eq!(
        provider
            .get_logs(&all.clone().address(counters[0]))
            .await
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        provider
            .get_logs(&all.clone().event_signature(B256::with_last_byte(42)))
            .await
            .unwrap()
            .len(),
        3
    );
    assert!(
        provider
            .get_logs(&all.clone().event_signature(B256::with_last_byte(41)))
            .await
            .unwrap()
            .is_empty()
    );
    let block = provider.get_block_by_number(4.into()).await.unwrap().unwrap();
    let at = provider
        .get_logs(&Filter::new().at_block_hash(block.header.hash))
        .await
        .unwrap();
    assert_eq!(at.len(), 1);
    assert_eq!(
        (at[0].address(), at[0].block_number, at[0].log_index),
        (counters[1], Some(4), Some(0))
    );
    let reversed = provider
        .get_logs(&Filter::new().from_block(4).to_block(1))
        .await
        .unwrap_err();
    assert!(reversed.to_string().contains("invalid block range"), "{reversed}");
}
