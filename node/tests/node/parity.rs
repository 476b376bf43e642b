use alloy::{
    eips::eip2718::Encodable2718,
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider, ext::DebugApi},
    rpc::types::{
        Bundle, StateContext, TransactionRequest,
        trace::{
            geth::{CallConfig, GethDebugTracingCallOptions, GethDebugTracingOptions},
            parity::{Action, Delta, LocalizedTransactionTrace, TraceResults, TraceResultsWithTransactionHash},
        },
    },
    signers::local::PrivateKeySigner,
};
use cordon_node::spawn;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::*;

async fn typed<T: DeserializeOwned>(provider: &DynProvider, method: &'static str, params: Value) -> T {
    serde_json::from_value(raw(provider, method, params).await).unwrap()
}

/// Sends its value on to the address in its calldata: PUSH0 x4, CALLVALUE, the word at 0, GAS, CALL, STOP.
async fn forwarder(provider: &DynProvider) -> Address {
    let address = Address::repeat_byte(0x77);
    raw(provider, "anvil_setCode", json!([address, "0x5f5f5f5f345f355af100"])).await;
    address
}

fn forward(forwarder: Address, wei: u64) -> TransactionRequest {
    transfer(ALICE, forwarder, wei).with_input(BOB.into_word().to_vec())
}

#[tokio::test]
async fn calls_of_transactions_are_told_by_hash_block_and_filter() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let forwarder = forwarder(&provider).await;
    send(&provider, transfer(ALICE, BOB, 1)).await;
    let hash = send(&provider, forward(forwarder, 7)).await.transaction_hash;

    let traces: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_transaction", json!([hash])).await;
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[1].trace.trace_address, [0]);
    let Action::Call(inner) = &traces[1].trace.action else {
        panic!("{traces:?}")
    };
    assert_eq!((inner.from, inner.to, inner.value), (forwarder, BOB, U256::from(7)));
    assert!(
        traces
            .iter()
            .all(|trace| trace.transaction_hash == Some(hash) && trace.block_number == Some(2))
    );

    let block: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_block", json!(["0x2"])).await;
    assert_eq!(block, traces);
    let second: LocalizedTransactionTrace = typed(&provider, "trace_get", json!([hash, ["0x1"]])).await;
    assert_eq!(second, traces[1]);
    assert_eq!(raw(&provider, "trace_get", json!([hash, ["0x9"]])).await, Value::Null);

    let all: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_filter", json!([{}])).await;
    assert_eq!(all.len(), 3);
    let to_bob = json!([{ "fromBlock": "0x0", "toBlock": "latest", "toAddress": [BOB] }]);
    let found: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_filter", to_bob).await;
    assert_eq!(found.len(), 2);
    let page = json!([{ "toAddress": [BOB], "after": 1, "count": 5 }]);
    let page: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_filter", page).await;
    assert_eq!(page, [traces[1].clone()]);

    let unknown = provider
        .raw_request::<_, Value>("trace_transaction".into(), json!([B256::ZERO]))
        .await;
    assert!(unknown.unwrap_err().to_string().contains("not known"));
}

#[tokio::test]
async fn replays_and_calls_tell_output_steps_and_state() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let hash = send(&provider, count_up(counter)).await.transaction_hash;
    let types = json!(["trace", "vmTrace", "stateDiff"]);
    let replayed: TraceResults = typed(&provider, "trace_replayTransaction", json!([hash, types])).await;
    assert_eq!(replayed.trace.len(), 1);
    assert!(!replayed.vm_trace.unwrap().ops.is_empty());
    let changed = &replayed.state_diff.as_ref().unwrap()[&counter].storage[&B256::ZERO];
    let Delta::Changed(change) = changed else {
        panic!("{changed:?}")
    };
    assert_eq!((change.from, change.to), (B256::ZERO, B256::with_last_byte(1)));

    let block: Vec<TraceResultsWithTransactionHash> =
        typed(&provider, "trace_replayBlockTransactions", json!(["0x2", ["trace"]])).await;
    assert_eq!(block[0].transaction_hash, hash);
    assert!(block[0].full_trace.state_diff.is_none());

    let call: TraceResults = typed(
        &provider,
        "trace_call",
        json!([read_count(counter), ["trace"], "latest"]),
    )
    .await;
    assert_eq!(call.output, word(1));
    let calls = json!([
        [[count_up(counter), ["trace"]], [read_count(counter), ["trace"]]],
        "latest"
    ]);
    let many: Vec<TraceResults> = typed(&provider, "trace_callMany", calls).await;
    assert_eq!(many[1].output, word(2), "the second call sees what the first changed");
    let after = provider.call(read_count(counter)).await.unwrap();
    assert_eq!(after, word(1), "and the chain does not");

    let key: PrivateKeySigner = KEY.parse().unwrap();
    let request = count_up(counter)
        .with_nonce(2)
        .with_chain_id(31_337)
        .with_gas_limit(100_000)
        .with_gas_price(1_000_000_000);
    let signed = request.build(&EthereumWallet::from(key)).await.unwrap().encoded_2718();
    // As alloy sends it: a list of numbers.
    let traced: TraceResults = typed(&provider, "trace_rawTransaction", json!([signed, ["trace"]])).await;
    let Action::Call(call) = &traced.trace[0].action else {
        panic!("{traced:?}")
    };
    assert_eq!((call.from, call.to), (ALICE, counter));
}

#[tokio::test]
async fn blocks_before_the_fork_are_asked_of_the_forked_chain() {
    let anvil = Anvil::start(&[]).await;
    let old = anvil.send(transfer(ALICE, BOB, 5)).await.transaction_hash;
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let new = send(&provider, transfer(ALICE, BOB, 6)).await.transaction_hash;
    let traces: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_transaction", json!([old])).await;
    assert_eq!(traces.len(), 1);
    let range = json!([{ "fromBlock": "0x1", "toBlock": "0x2", "toAddress": [BOB] }]);
    let both: Vec<LocalizedTransactionTrace> = typed(&provider, "trace_filter", range).await;
    let hashes: Vec<_> = both.iter().map(|trace| trace.transaction_hash.unwrap()).collect();
    assert_eq!(hashes, [old, new]);

    // The forked anvil would answer the second tracer with the result of the first.
    let call = GethDebugTracingOptions::call_tracer(CallConfig::default());
    let first = provider.debug_trace_transaction(old, call).await.unwrap();
    assert!(first.try_into_call_frame().is_ok());
    let second = provider
        .debug_trace_transaction(old, GethDebugTracingOptions::prestate_tracer(Default::default()))
        .await
        .unwrap();
    assert!(second.try_into_pre_state_frame().is_ok());
}

#[tokio::test]
async fn bundles_of_calls_are_traced_one_after_the_other() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let options = || GethDebugTracingCallOptions::new(GethDebugTracingOptions::call_tracer(CallConfig::default()));
    let bundles = vec![
        Bundle::from(vec![count_up(counter), read_count(counter)]),
        Bundle::from(vec![count_up(counter), read_count(counter)]),
    ];
    let traces = provider
        .debug_trace_call_many(bundles, StateContext::default(), options())
        .await
        .unwrap();
    let outputs: Vec<_> = traces
        .iter()
        .map(|bundle| bundle[1].clone().try_into_call_frame().unwrap().output.unwrap())
        .collect();
    assert_eq!(outputs, [word(1), word(2)]);

    // Inside a block: after its first transaction, before its second.
    raw(&provider, "evm_setAutomine", json!([false])).await;
    for _ in 0..2 {
        let _: B256 = provider
            .raw_request("eth_sendTransaction".into(), (count_up(counter),))
            .await
            .unwrap();
    }
    raw(&provider, "evm_mine", json!([])).await;
    let mut inside = options();
    inside.tx_index = Some(1);
    let trace = provider
        .debug_trace_call(read_count(counter), 2.into(), inside)
        .await
        .unwrap();
    assert_eq!(trace.try_into_call_frame().unwrap().output, Some(word(1)));
}

#[tokio::test]
async fn raw_encodings_hash_to_what_they_are() {
    use alloy::primitives::{Bytes, keccak256};
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let receipt = send(&provider, count_up(counter)).await;
    let block = provider.get_block_by_number(2.into()).await.unwrap().unwrap();
    let header = provider.debug_get_raw_header(2.into()).await.unwrap();
    assert_eq!(keccak256(header), block.header.hash);
    let transaction = provider
        .debug_get_raw_transaction(receipt.transaction_hash)
        .await
        .unwrap();
    assert_eq!(keccak256(transaction), receipt.transaction_hash);
    let receipts = provider.debug_get_raw_receipts(2.into()).await.unwrap();
    assert_eq!(receipts.len(), 1);
    assert!(provider.debug_get_bad_blocks().await.unwrap().is_empty());

    let rlp: Bytes = provider.debug_get_raw_block(2.into()).await.unwrap();
    let call = GethDebugTracingOptions::call_tracer(CallConfig::default());
    let by_rlp = provider.debug_trace_block(&rlp, call.clone()).await.unwrap();
    let by_number = provider.debug_trace_block_by_number(2.into(), call).await.unwrap();
    assert_eq!(by_rlp, by_number);
    let chain = provider.debug_trace_chain(0.into(), 2.into()).await.unwrap();
    assert_eq!(chain.iter().map(|block| block.traces.len()).collect::<Vec<_>>(), [1, 1]);

    let code = provider.get_code_at(counter).await.unwrap();
    assert_eq!(
        provider.debug_code_by_hash(keccak256(&code), None).await.unwrap(),
        Some(code)
    );
    assert_eq!(provider.debug_code_by_hash(B256::ZERO, None).await.unwrap(), None);
    let range = raw(
        &provider,
        "debug_storageRangeAt",
        json!([block.header.hash, 1, counter, B256::ZERO, 10]),
    )
    .await;
    let slot = &range["storage"][keccak256(B256::ZERO).to_string()];
    assert_eq!(slot, &json!({ "key": B256::ZERO, "value": B256::with_last_byte(1) }));
    assert_eq!(range["nextKey"], Value::Null);
    let witness = provider.debug_execution_witness(2.into()).await.unwrap_err();
    assert_eq!(witness.as_error_resp().unwrap().code, -32_004);
}
