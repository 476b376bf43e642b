use alloy::{
    primitives::B256,
    providers::{Provider, ext::DebugApi},
    rpc::types::trace::geth::{CallConfig, GethDebugTracingCallOptions, GethDebugTracingOptions, PreStateConfig},
};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_transaction_in_the_middle_of_a_block_is_traced() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    raw(&provider, "evm_setAutomine", json!([false])).await;
    let mut hashes = Vec::new();
    for _ in 0..3 {
        let hash: B256 = provider
            .raw_request("eth_sendTransaction".into(), (count_up(counter),))
            .await
            .unwrap();
        hashes.push(hash);
    }
    raw(&provider, "evm_mine", json!([])).await;
    let options = GethDebugTracingOptions::call_tracer(CallConfig {
        with_log: Some(true),
        ..CallConfig::default()
    });
    let trace = provider.debug_trace_transaction(hashes[1], options).await.unwrap();
    let frame = trace.try_into_call_frame().unwrap();
    assert_eq!((frame.from, frame.to), (ALICE, Some(counter)));
    assert_eq!(
        frame.logs[0].data,
        Some(word(2)),
        "the state before it has the first transaction"
    );

    let prestate = GethDebugTracingOptions::prestate_tracer(PreStateConfig::default());
    let trace = provider.debug_trace_transaction(hashes[1], prestate).await.unwrap();
    let prestate = serde_json::to_value(trace).unwrap();
    let storage = &prestate[counter.to_string().to_lowercase()]["storage"];
    assert_eq!(storage[B256::ZERO.to_string()], json!(B256::with_last_byte(1)));

    let trace = provider
        .debug_trace_transaction(hashes[2], GethDebugTracingOptions::default())
        .await
        .unwrap();
    let steps = trace.try_into_default_frame().unwrap();
    assert_eq!(steps.struct_logs.iter().filter(|step| step.op == "SSTORE").count(), 1);
    assert!(!steps.failed);
}

#[tokio::test]
async fn a_call_is_traced_at_a_block() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    send(&provider, count_up(counter)).await;
    let options = GethDebugTracingCallOptions::new(GethDebugTracingOptions::call_tracer(CallConfig::default()));
    let trace = provider
        .debug_trace_call(read_count(counter), 1.into(), options.clone())
        .await
        .unwrap();
    assert_eq!(trace.try_into_call_frame().unwrap().output, Some(word(0)));
    let trace = provider
        .debug_trace_call(read_count(counter), 2.into(), options)
        .await
        .unwrap();
    assert_eq!(trace.try_into_call_frame().unwrap().output, Some(word(1)));
}

#[tokio::test]
async fn a_whole_block_is_traced() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    send(&provider, count_up(counter)).await;
    let options = GethDebugTracingOptions::call_tracer(CallConfig::default());
    let traces = provider.debug_trace_block_by_number(2.into(), options).await.unwrap();
    assert_eq!(traces.len(), 1);
    let unknown = provider
        .debug_trace_transaction(B256::ZERO, GethDebugTracingOptions::default())
        .await;
    assert!(unknown.unwrap_err().to_string().contains("not known"));
}
