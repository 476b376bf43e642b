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

#[tokio::test]
async fn the_first_steps_of_a_run_that_is_too_long_to_tell_can_be_had() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    // An endless loop: JUMPDEST, GAS, POP, PUSH0, JUMP.
    raw(&provider, "anvil_setCode", json!([BOB, "0x5b5a505f56"])).await;
    let call = json!({ "from": ALICE, "to": BOB, "gas": "0x1c9c380" });
    let whole = provider
        .raw_request::<_, serde_json::Value>("debug_traceCall".into(), json!([call, "latest", {}]))
        .await;
    let refused = whole.unwrap_err().to_string();
    assert!(refused.contains("ask for the first ones (`limit`)"), "{refused}");
    for (limit, expected) in [(1, 1), (7, 7), (1_000, 1_000)] {
        let first = raw(
            &provider,
            "debug_traceCall",
            json!([call, "latest", { "limit": limit }]),
        )
        .await;
        let steps = first["structLogs"].as_array().unwrap();
        assert_eq!(steps.len(), expected);
        assert_eq!((&steps[0]["op"], &steps[0]["pc"]), (&json!("JUMPDEST"), &json!(0)));
        assert_eq!(first["gas"], json!(0x1c9_c380), "the run itself went on to its end");
        assert_eq!(first["failed"], json!(true));
    }
    // Zero means all, as in Geth.
    let short = json!([{ "from": ALICE, "to": ALICE }, "latest", { "limit": 0 }]);
    assert_eq!(raw(&provider, "debug_traceCall", short).await["structLogs"], json!([]));
}
