use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256},
    providers::{Provider, ext::AnvilApi},
};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_revert_restores_state_blocks_and_logs_and_is_used_up() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    send(&provider, count_up(counter)).await;
    let snapshot = provider.anvil_snapshot().await.unwrap();
    let head = provider
        .get_block_by_number("latest".parse().unwrap())
        .await
        .unwrap()
        .unwrap()
        .header
        .hash;
    for _ in 0..4 {
        send(&provider, count_up(counter)).await;
    }
    provider.anvil_set_balance(BOB, U256::from(1)).await.unwrap();
    let later = provider.anvil_snapshot().await.unwrap();
    assert!(provider.anvil_revert(snapshot).await.unwrap());
    assert_eq!(provider.get_block_number().await.unwrap(), 2);
    let restored = provider
        .get_block_by_number("latest".parse().unwrap())
        .await
        .unwrap()
        .unwrap()
        .header
        .hash;
    assert_eq!(restored, head);
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(1));
    assert_eq!(provider.get_transaction_count(ALICE).await.unwrap(), 2);
    assert!(provider.get_balance(BOB).await.unwrap() > U256::from(1));
    let logs = raw(&provider, "eth_getLogs", json!([{ "fromBlock": "0x0" }])).await;
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert!(!provider.anvil_revert(snapshot).await.unwrap());
    assert!(!provider.anvil_revert(later).await.unwrap());
    assert!(send(&provider, count_up(counter)).await.status());
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(2));
}

#[tokio::test]
async fn an_impersonated_account_sends_until_it_is_released() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let whale = Address::repeat_byte(0xaa);
    provider
        .anvil_set_balance(whale, U256::from(10).pow(U256::from(18)))
        .await
        .unwrap();
    provider.anvil_impersonate_account(whale).await.unwrap();
    let receipt = send(&provider, transfer(whale, BOB, 7)).await;
    assert_eq!(receipt.from, whale);
    let transaction = provider
        .get_transaction_by_hash(receipt.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(transaction.inner.signer(), whale);
    provider.anvil_stop_impersonating_account(whale).await.unwrap();
    assert!(
        provider
            .raw_request::<_, B256>("eth_sendTransaction".into(), (transfer(whale, BOB, 7),))
            .await
            .is_err()
    );
    provider.anvil_auto_impersonate_account(true).await.unwrap();
    send(&provider, transfer(whale, BOB, 7)).await;
}

#[tokio::test]
async fn accounts_can_be_edited() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let somebody = Address::repeat_byte(0xbb);
    provider.anvil_set_nonce(somebody, 9).await.unwrap();
    provider.anvil_set_balance(somebody, U256::from(5)).await.unwrap();
    provider
        .anvil_set_code(somebody, Bytes::from(vec![0x60, 0x00]))
        .await
        .unwrap();
    assert!(
        provider
            .anvil_set_storage_at(somebody, U256::from(1), B256::with_last_byte(3))
            .await
            .unwrap()
    );
    assert_eq!(provider.get_transaction_count(somebody).await.unwrap(), 9);
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(5));
    assert_eq!(provider.get_code_at(somebody).await.unwrap().len(), 2);
    assert_eq!(
        provider.get_storage_at(somebody, U256::from(1)).await.unwrap(),
        U256::from(3)
    );
}

#[tokio::test]
async fn time_can_be_moved() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let time = async || {
        provider
            .get_block_by_number("latest".parse().unwrap())
            .await
            .unwrap()
            .unwrap()
            .header
            .timestamp
    };
    let start = time().await;
    provider.anvil_increase_time(1_000).await.unwrap();
    provider.evm_mine(None).await.unwrap();
    assert!((1_000..1_030).contains(&(time().await - start)));
    provider.anvil_set_next_block_timestamp(start + 5_000).await.unwrap();
    provider.evm_mine(None).await.unwrap();
    assert_eq!(time().await, start + 5_000);
    provider.evm_mine(None).await.unwrap();
    assert!((5_000..5_030).contains(&(time().await - start)));
    let back = provider.anvil_set_next_block_timestamp(start).await.unwrap_err();
    assert!(back.to_string().contains("before that of the newest block"), "{back}");
    provider.anvil_set_block_timestamp_interval(12).await.unwrap();
    let before = time().await;
    provider.anvil_mine(Some(3), None).await.unwrap();
    assert_eq!(time().await - before, 36);
    assert!(provider.anvil_remove_block_timestamp_interval().await.unwrap());
}

#[tokio::test]
async fn a_reorganisation_replaces_blocks() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let mut hashes = Vec::new();
    for _ in 0..3 {
        hashes.push(send(&provider, count_up(counter)).await.block_hash.unwrap());
    }
    raw(&provider, "anvil_reorg", json!([2, []])).await;
    assert_eq!(provider.get_block_number().await.unwrap(), 4);
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::latest())
            .await
            .unwrap(),
        word(1)
    );
    let now = async |number: u64| provider.get_block_by_number(number.into()).await.unwrap().unwrap();
    assert_eq!(now(2).await.header.hash, hashes[0]);
    assert_eq!(now(3).await.header.parent_hash, hashes[0]);
    assert_ne!(now(3).await.header.hash, hashes[1]);
    assert!(provider.get_block_by_hash(hashes[1]).await.unwrap().is_none());
    raw(&provider, "anvil_reorg", json!([1, [[count_up(counter), 0]]])).await;
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(alloy::eips::BlockId::latest())
            .await
            .unwrap(),
        word(2)
    );
    assert_eq!(provider.get_block_number().await.unwrap(), 4);
    let deep = provider.anvil_rollback(Some(9)).await.unwrap_err();
    assert!(deep.to_string().contains("cannot go back 9 blocks"), "{deep}");
}

#[tokio::test]
async fn the_node_describes_itself() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let info = provider.anvil_node_info().await.unwrap();
    assert_eq!((info.current_block_number, info.environment.chain_id), (0, 31_337));
    let metadata = provider.anvil_metadata().await.unwrap();
    assert_eq!(metadata.chain_id, 31_337);
    assert!(metadata.client_version.starts_with("cordon-node/v"));
    assert_eq!(provider.get_client_version().await.unwrap(), metadata.client_version);
    assert_eq!(provider.get_net_version().await.unwrap(), 31_337);
    assert_eq!(provider.get_accounts().await.unwrap(), node.accounts());
    let unknown = provider
        .raw_request::<_, ()>("eth_nothing".into(), ())
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("-32601"), "{unknown}");
}

#[tokio::test]
async fn transactions_can_be_dropped_from_the_pool() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    provider.anvil_set_auto_mine(false).await.unwrap();
    let sent = async |nonce: u64| {
        let request = transfer(ALICE, BOB, 1).with_nonce(nonce);
        provider
            .raw_request::<_, B256>("eth_sendTransaction".into(), (request,))
            .await
            .unwrap()
    };
    let first = sent(0).await;
    sent(1).await;
    assert_eq!(provider.anvil_drop_transaction(first).await.unwrap(), Some(first));
    assert!(provider.get_transaction_by_hash(first).await.unwrap().is_none());
    provider.anvil_drop_all_transactions().await.unwrap();
    let status = raw(&provider, "txpool_status", json!([])).await;
    assert_eq!(status, json!({ "pending": "0x0", "queued": "0x0" }));
}
