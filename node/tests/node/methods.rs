use std::collections::BTreeSet;

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, address, hex, keccak256},
    providers::{
        Provider,
        ext::{AnvilApi, TxPoolApi},
    },
    rpc::types::{Bundle, StateContext, StorageValuesRequest},
    sol,
    sol_types::SolCall,
};
use serde_json::{Value, json};

use crate::support::*;

/// What alloy's `Provider`, `AnvilApi`, `DebugApi`, `TraceApi`, `TxPoolApi`, `NetApi` and `RpcApi` send.
const METHODS: &str = "
    anvil_autoImpersonateAccount anvil_dealERC20 anvil_dropAllTransactions anvil_dropTransaction anvil_dumpState
    anvil_getAutomine anvil_getBlobByHash anvil_getBlobsByTransactionHash anvil_getIntervalMining anvil_impersonateAccount
    anvil_loadState anvil_metadata anvil_mine anvil_nodeInfo anvil_removeBlockTimestampInterval anvil_removePoolTransactions
    anvil_reorg anvil_reset anvil_rollback anvil_setAutomine anvil_setBalance anvil_setBlockTimestampInterval anvil_setChainId
    anvil_setCode anvil_setCoinbase anvil_setERC20Allowance anvil_setIntervalMining anvil_setLoggingEnabled
    anvil_setMinGasPrice anvil_setNextBlockBaseFeePerGas anvil_setNonce anvil_setRpcUrl anvil_setStorageAt
    anvil_stopImpersonatingAccount
    debug_codeByHash debug_dbGet debug_executionWitness debug_getBadBlocks debug_getRawBlock debug_getRawHeader
    debug_getRawReceipts debug_getRawTransaction debug_storageRangeAt debug_subscribe debug_traceBlock debug_traceBlockByHash
    debug_traceBlockByNumber debug_traceCall debug_traceCallMany debug_traceChain debug_traceTransaction
    eth_accounts eth_blobBaseFee eth_blockNumber eth_call eth_callMany eth_chainId eth_createAccessList eth_estimateGas
    eth_feeHistory eth_fillTransaction eth_gasPrice eth_getAccount eth_getAccountInfo eth_getBalance eth_getBlockAccessList
    eth_getBlockAccessListByBlockHash eth_getBlockAccessListByBlockNumber eth_getBlockAccessListRaw eth_getBlockByHash
    eth_getBlockByNumber eth_getBlockReceipts eth_getBlockTransactionCountByHash eth_getBlockTransactionCountByNumber
    eth_getCode eth_getFilterChanges eth_getFilterLogs eth_getHeaderByHash eth_getHeaderByNumber eth_getLogs eth_getProof
    eth_getRawTransactionByBlockHashAndIndex eth_getRawTransactionByBlockNumberAndIndex eth_getRawTransactionByHash
    eth_getStorageAt eth_getStorageValues eth_getTransactionByBlockHashAndIndex eth_getTransactionByBlockNumberAndIndex
    eth_getTransactionByHash eth_getTransactionBySenderAndNonce eth_getTransactionCount eth_getTransactionReceipt
    eth_getUncleByBlockHashAndIndex eth_getUncleByBlockNumberAndIndex eth_getUncleCountByBlockHash
    eth_getUncleCountByBlockNumber eth_maxPriorityFeePerGas eth_newBlockFilter eth_newFilter eth_newPendingTransactionFilter
    eth_sendRawTransaction eth_sendRawTransactionConditional eth_sendRawTransactionSync eth_sendTransaction
    eth_sendTransactionSync eth_signTransaction eth_simulateV1 eth_subscribe eth_syncing eth_uninstallFilter eth_unsubscribe
    evm_increaseTime evm_mine evm_mine_detailed evm_revert evm_setBlockGasLimit evm_setNextBlockTimestamp evm_setTime evm_snapshot
    net_listening net_peerCount net_version rpc_modules
    trace_block trace_call trace_callMany trace_filter trace_get trace_rawTransaction trace_replayBlockTransactions
    trace_replayTransaction trace_transaction
    txpool_content txpool_contentFrom txpool_inspect txpool_status web3_clientVersion web3_sha3";

#[tokio::test]
async fn every_method_of_alloy_answers_unless_the_table_says_otherwise() {
    let table = include_str!("../../../docs/node.md");
    let (offered, not_offered) = table.split_once("### Not offered").expect("the table has a section");
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    // The first cell of each row names the methods, the second may name others that do the same.
    let rows: String = not_offered.lines().filter_map(|row| row.split('|').nth(1)).collect();
    let (offered, not_offered) = (named(offered), named(&rows));
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let mut wrong = Vec::new();
    for method in METHODS.split_whitespace() {
        // A parameter that no method understands: those that take one refuse it, and nothing is changed.
        let answer = provider
            .raw_request::<_, Value>(method.into(), json!([{ "?": 1 }]))
            .await;
        let unknown = answer.is_err_and(|error| {
            let payload = error.as_error_resp().expect("the node answers");
            // Subscriptions exist on sockets only.
            payload.code == -32_601 && !matches!(method, "eth_subscribe" | "eth_unsubscribe")
        });
        if unknown != not_offered.contains(method) || unknown == offered.contains(method) {
            wrong.push((method, unknown));
        }
    }
    assert!(
        wrong.is_empty(),
        "methods with whether they are unknown, which docs/node.md tells otherwise: {wrong:?}"
    );
}

sol! {
    function balanceOf(address account) external view returns (uint256);
    function allowance(address owner, address spender) external view returns (uint256);
}

/// A token that keeps the answer to any call in the slot that is the hash of the calldata.
async fn token(provider: &alloy::providers::DynProvider) -> Address {
    let address = Address::repeat_byte(0x70);
    // CALLDATACOPY(0, 0, CALLDATASIZE); SLOAD(KECCAK256(0, CALLDATASIZE)); MSTORE(0, it); RETURN(0, 32)
    let code = Bytes::from(hex!("365f5f37365f20545f5260205ff3"));
    raw(provider, "anvil_setCode", json!([address, code])).await;
    address
}

#[tokio::test]
async fn tokens_and_allowances_are_dealt() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let token = token(&provider).await;
    provider.anvil_deal_erc20(BOB, token, U256::from(777)).await.unwrap();
    let ask = |call: Vec<u8>| {
        provider.call(
            alloy::rpc::types::TransactionRequest::default()
                .with_to(token)
                .with_input(call),
        )
    };
    assert_eq!(
        ask(balanceOfCall { account: BOB }.abi_encode()).await.unwrap(),
        word(777)
    );
    assert_eq!(
        ask(balanceOfCall { account: ALICE }.abi_encode()).await.unwrap(),
        word(0)
    );
    provider
        .anvil_set_erc20_allowance(BOB, ALICE, token, U256::from(5))
        .await
        .unwrap();
    let allowed = allowanceCall {
        owner: BOB,
        spender: ALICE,
    }
    .abi_encode();
    assert_eq!(ask(allowed).await.unwrap(), word(5));
    let no_token = address!("00000000000000000000000000000000000000ee");
    let error = provider
        .anvil_deal_erc20(BOB, no_token, U256::from(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no slot"), "{error}");
}

#[tokio::test]
async fn what_other_methods_find_is_found_in_more_ways() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let receipt = send(&provider, count_up(counter)).await;
    let block = provider.get_block_by_number(2.into()).await.unwrap().unwrap();
    let header = provider.get_header_by_number(2.into()).await.unwrap().unwrap();
    assert_eq!(header.hash, block.header.hash);
    assert_eq!(
        provider.get_header_by_hash(header.hash).await.unwrap().unwrap().number,
        2
    );
    let raw_transaction = provider
        .get_raw_transaction_by_block_number_and_index(2.into(), 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(keccak256(raw_transaction), receipt.transaction_hash);
    let found = provider
        .get_transaction_by_sender_nonce(ALICE, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*found.inner.tx_hash(), receipt.transaction_hash);
    assert!(
        provider
            .get_transaction_by_sender_nonce(ALICE, 9)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(provider.get_uncle_count(2.into()).await.unwrap(), 0);

    let slots = StorageValuesRequest::new().with_keys(counter, vec![B256::ZERO, B256::with_last_byte(1)]);
    let values = provider.get_storage_values(slots).await.unwrap();
    assert_eq!(values.0[&counter], [U256::from(1), U256::ZERO]);

    let bundles = vec![Bundle::from(vec![
        count_up(counter),
        read_count(counter),
        count_up(counter).with_input(word(9)),
    ])];
    let answers = raw(&provider, "eth_callMany", json!([bundles, StateContext::default()])).await;
    assert_eq!(answers[0][1]["value"], json!(word(2)));
    assert!(answers[0][2]["error"].as_str().unwrap().contains("execution reverted"));

    let filled = raw(&provider, "eth_fillTransaction", json!([transfer(ALICE, BOB, 1)])).await;
    assert_eq!(filled["tx"]["nonce"], json!("0x2"));
    let raw_filled: Bytes = serde_json::from_value(filled["raw"].clone()).unwrap();
    let sent = provider.send_raw_transaction(&raw_filled).await.unwrap();
    assert_eq!(json!(sent.tx_hash()), filled["tx"]["hash"]);
}

#[tokio::test]
async fn the_pool_is_summarised() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    raw(&provider, "evm_setAutomine", json!([false])).await;
    for nonce in [0, 2] {
        let request = transfer(ALICE, BOB, 5)
            .with_nonce(nonce)
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(3_000_000_000);
        let _: B256 = provider
            .raw_request("eth_sendTransaction".into(), (request,))
            .await
            .unwrap();
    }
    let summary = provider.txpool_inspect().await.unwrap();
    let pending = &summary.pending[&ALICE]["0"];
    assert_eq!(
        (pending.to, pending.value, pending.gas, pending.gas_price),
        (Some(BOB), U256::from(5), 21_000, 3_000_000_000)
    );
    assert_eq!(summary.queued[&ALICE].len(), 1);
    assert_eq!(raw(&provider, "anvil_setChainId", json!([31337])).await, Value::Null);
    let error = provider
        .raw_request::<_, Value>("anvil_setChainId".into(), json!([5]))
        .await
        .unwrap_err();
    assert_eq!(error.as_error_resp().unwrap().code, -32_004);
}

#[tokio::test]
async fn what_other_nodes_call_a_method_works_too() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let before = provider.get_balance(BOB).await.unwrap();
    for method in ["anvil_addBalance", "hardhat_addBalance", "tenderly_addBalance"] {
        raw(&provider, method, json!([BOB, "0x2"])).await;
    }
    assert_eq!(provider.get_balance(BOB).await.unwrap(), before + U256::from(6));
    let header = raw(&provider, "erigon_getHeaderByNumber", json!([0])).await;
    assert_eq!(header, raw(&provider, "eth_getHeaderByNumber", json!(["0x0"])).await);
    raw(&provider, "evm_setAutomine", json!([false])).await;
    raw(&provider, "eth_sendTransaction", json!([transfer(ALICE, BOB, 1)])).await;
    raw(&provider, "hardhat_dropAllTransactions", json!([])).await;
    assert_eq!(
        raw(&provider, "txpool_status", json!([])).await["pending"],
        json!("0x0")
    );
}

#[tokio::test]
async fn what_the_state_does_not_allow_has_anvils_code() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let poor = Address::repeat_byte(0x77);
    raw(&provider, "anvil_impersonateAccount", json!([poor])).await;
    for request in [
        json!({ "from": ALICE, "to": BOB, "nonce": "0x0", "gas": "0x5208" }),
        json!({ "from": poor, "to": BOB, "value": "0x1", "gas": "0x5208" }),
    ] {
        let refused = provider
            .raw_request::<_, Value>("eth_sendTransaction".into(), json!([request]))
            .await;
        assert_eq!(refused.unwrap_err().as_error_resp().unwrap().code, -32_003, "{request}");
    }
}
