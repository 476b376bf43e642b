use alloy::{
    consensus::Transaction as _,
    network::TransactionBuilder,
    primitives::{B256, Bytes, U256, keccak256},
    providers::{Provider, ext::TxPoolApi},
    rpc::types::TransactionRequest,
};
use cordon_node::{NodeConfig, spawn};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_wallet_transfers_over_http() {
    let node = fresh().await;
    let provider = wallet(&node);
    let before = provider.get_balance(BOB).await.unwrap();
    let request = TransactionRequest::default().with_to(BOB).with_value(U256::from(5));
    let receipt = provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(provider.get_balance(BOB).await.unwrap() - before, U256::from(5));
    let transaction = provider
        .get_transaction_by_hash(receipt.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(transaction.block_hash, receipt.block_hash);
    assert_eq!(transaction.inner.signer(), ALICE);
    assert_eq!(transaction.value(), U256::from(5));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn blocks_are_chained_by_the_hash_of_their_header() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    deploy_counter(&provider).await;
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let blocks = [0u64, 1, 2];
    let mut parent = B256::ZERO;
    for number in blocks {
        let block = provider
            .get_block_by_number(number.into())
            .full()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(block.header.inner.hash_slow(), block.header.hash);
        assert_eq!(block.header.parent_hash, parent);
        let bodies: Vec<_> = block.transactions.txns().map(|tx| tx.inner.inner().clone()).collect();
        assert_eq!(
            alloy::consensus::proofs::calculate_transaction_root(&bodies),
            block.header.transactions_root
        );
        parent = block.header.hash;
    }
}

#[tokio::test]
async fn arbitrum_fields_are_in_blocks_and_receipts() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let receipt = send(&provider, transfer(ALICE, BOB, 1)).await;
    let block = raw(&provider, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(block["l1BlockNumber"], block["number"]);
    let receipt = raw(
        &provider,
        "eth_getTransactionReceipt",
        json!([receipt.transaction_hash]),
    )
    .await;
    assert_eq!(receipt["gasUsedForL1"], "0x0");
    assert_eq!(receipt["l1BlockNumber"], "0x1");
}

#[tokio::test]
async fn what_cannot_be_mined_is_refused_with_the_reason() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let cases: [(TransactionRequest, &str); 5] = [
        (transfer(ALICE, BOB, 1).with_gas_limit(20_000), "intrinsic gas too low"),
        (
            transfer(ALICE, BOB, 1).with_gas_price(1),
            "max fee per gas less than block base fee",
        ),
        (
            TransactionRequest {
                value: Some(U256::MAX),
                ..transfer(ALICE, BOB, 1)
            },
            "insufficient funds",
        ),
        (
            transfer(alloy::primitives::Address::repeat_byte(9), BOB, 1),
            "no signer",
        ),
        (
            TransactionRequest {
                chain_id: Some(1),
                ..transfer(ALICE, BOB, 1)
            },
            "chain id",
        ),
    ];
    for (request, reason) in cases {
        let error = provider
            .raw_request::<_, B256>("eth_sendTransaction".into(), (request,))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let stale = transfer(ALICE, BOB, 1).with_nonce(0);
    let error = provider
        .raw_request::<_, B256>("eth_sendTransaction".into(), (stale,))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("nonce too low: next nonce 1, tx nonce 0"),
        "{error}"
    );
    for garbage in ["0x", "0x01", "0xc0"] {
        let error = provider
            .raw_request::<_, B256>("eth_sendRawTransaction".into(), (garbage,))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("-32602"), "{error}");
    }
    assert_eq!(provider.get_block_number().await.unwrap(), 1);
}

#[tokio::test]
async fn a_nonce_gap_waits_in_the_pool() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let later = transfer(ALICE, BOB, 1).with_nonce(1);
    let hash: B256 = provider
        .raw_request("eth_sendTransaction".into(), (later,))
        .await
        .unwrap();
    assert!(provider.get_transaction_receipt(hash).await.unwrap().is_none());
    let status = provider.txpool_status().await.unwrap();
    assert_eq!((status.pending, status.queued), (0, 1));
    assert!(
        provider
            .get_transaction_by_hash(hash)
            .await
            .unwrap()
            .unwrap()
            .block_hash
            .is_none()
    );
    send(&provider, transfer(ALICE, BOB, 1).with_nonce(0)).await;
    assert!(provider.get_transaction_receipt(hash).await.unwrap().unwrap().status());
    assert_eq!(provider.get_transaction_count(ALICE).await.unwrap(), 2);
}

#[tokio::test]
async fn requests_without_nonce_that_race_all_get_mined() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let sends = (0..40).map(|_| {
        let provider = provider.clone();
        async move { send(&provider, transfer(ALICE, BOB, 1)).await }
    });
    let receipts = futures::future::join_all(sends).await;
    assert!(receipts.iter().all(|receipt| receipt.status()));
    assert_eq!(provider.get_transaction_count(ALICE).await.unwrap(), 40);
}

#[tokio::test]
async fn thousands_of_pending_transactions_do_not_wedge_the_node() {
    let config = NodeConfig {
        no_mining: true,
        max_transactions: 3_000,
        ..NodeConfig::default()
    };
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    for batch in 0..30u64 {
        let sends = (0..100).map(|index| {
            let nonce = batch * 100 + index;
            let request = transfer(ALICE, BOB, 1).with_nonce(nonce).with_gas_limit(21_000);
            provider.raw_request::<_, B256>("eth_sendTransaction".into(), (request,))
        });
        futures::future::try_join_all(sends).await.unwrap();
    }
    let full = transfer(ALICE, BOB, 1).with_nonce(3_000).with_gas_limit(21_000);
    let error = provider
        .raw_request::<_, B256>("eth_sendTransaction".into(), (full,))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("pool is full"), "{error}");
    raw(&provider, "anvil_mine", json!([3])).await;
    assert_eq!(provider.txpool_status().await.unwrap().pending, 0);
    assert_eq!(provider.get_transaction_count(ALICE).await.unwrap(), 3_000);
}

#[tokio::test]
async fn the_better_fee_goes_first_and_equal_fees_keep_their_order() {
    let node = spawn(NodeConfig {
        no_mining: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let accounts = node.accounts();
    let mut hashes = Vec::new();
    for (sender, fee) in [(0, 2_000_000_000u128), (1, 3_000_000_000), (2, 2_000_000_000)] {
        let request = transfer(accounts[sender], BOB, 1)
            .with_gas_price(fee)
            .with_gas_limit(21_000);
        let hash: B256 = provider
            .raw_request("eth_sendTransaction".into(), (request,))
            .await
            .unwrap();
        hashes.push(hash);
    }
    raw(&provider, "evm_mine", json!([])).await;
    let block = provider.get_block_by_number(1.into()).await.unwrap().unwrap();
    let mined: Vec<_> = block.transactions.hashes().collect();
    assert_eq!(mined, [hashes[1], hashes[0], hashes[2]]);
}

#[tokio::test]
async fn a_synchronous_send_answers_the_receipt() {
    let node = spawn(NodeConfig {
        block_time: Some(std::time::Duration::from_millis(100)),
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let signed: Bytes = provider
        .raw_request("eth_signTransaction".into(), (transfer(ALICE, BOB, 1),))
        .await
        .unwrap();
    let receipt = raw(&provider, "eth_sendRawTransactionSync", json!([signed])).await;
    assert_eq!(receipt["transactionHash"], json!(keccak256(&signed)));
    assert_eq!(receipt["status"], "0x1");
    let again = provider
        .raw_request::<_, Value>("eth_sendRawTransaction".into(), (signed,))
        .await
        .unwrap_err();
    assert!(again.to_string().contains("nonce too low"), "{again}");
}

#[tokio::test]
async fn batches_are_answered() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let mut batch = alloy::rpc::client::BatchRequest::new(provider.client());
    let chain = batch.add_call::<_, Value>("eth_chainId", &()).unwrap();
    let head = batch.add_call::<_, Value>("eth_blockNumber", &()).unwrap();
    batch.send().await.unwrap();
    assert_eq!(chain.await.unwrap(), "0x7a69");
    assert_eq!(head.await.unwrap(), "0x0");
}
