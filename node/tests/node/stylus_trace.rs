use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, hex},
    providers::{DynProvider, ext::DebugApi},
    rpc::types::{
        TransactionRequest,
        trace::geth::{GethDebugTracerType, GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace},
    },
};
use serde_json::{Value, json};

use crate::{
    stylus::{deployed, word_program},
    support::*,
};

/// The part of the script of `cargo stylus` by which the node knows it.
const SCRIPT: &str =
    r#"{ "hostio": function(info) { this.open.push(info); }, "result": function() { return this.open; }, open: [] }"#;

/// Calls the contract whose address is its calldata, and then loads slot 0.
const CALLER: &str = r#"(module
    (import "vm_hooks" "pay_for_memory_grow" (func (param i32)))
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "static_call_contract" (func $call (param i32 i32 i32 i64 i32) (result i32)))
    (import "vm_hooks" "storage_load_bytes32" (func $load (param i32 i32)))
    (memory (export "memory") 1)
    (func (export "user_entrypoint") (param $len i32) (result i32)
        (call $read_args (i32.const 0))
        (drop (call $call (i32.const 0) (i32.const 64) (i32.const 0) (i64.const -1) (i32.const 128)))
        (call $load (i32.const 64) (i32.const 96))
        (i32.const 0)))"#;

fn call_to(target: Address, data: &[u8]) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(ALICE)
        .with_to(target)
        .with_input(data.to_vec())
}

async fn steps(provider: &DynProvider, hash: B256, tracer: &str) -> Value {
    let options = GethDebugTracingOptions {
        tracer: Some(GethDebugTracerType::JsTracer(tracer.to_owned())),
        ..GethDebugTracingOptions::default()
    };
    match provider.debug_trace_transaction(hash, options).await.unwrap() {
        GethTrace::JS(value) => value,
        other => panic!("{other:?}"),
    }
}

fn names(steps: &Value) -> Vec<&str> {
    let steps = steps.as_array().unwrap().iter();
    steps.map(|step| step["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_tracer_of_programs_answers_their_host_calls() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let register = deployed(&provider, &word_program()).await;
    let write = TransactionRequest::default()
        .with_from(ALICE)
        .with_to(register)
        .with_input(word(5));
    let hash = send(&provider, write.clone()).await.transaction_hash;
    let by_script = steps(&provider, hash, SCRIPT).await;
    assert_eq!(by_script, steps(&provider, hash, "stylusTracer").await);
    let expected = [
        "user_entrypoint",
        "storage_load_bytes32",
        "read_args",
        "storage_cache_bytes32",
        "storage_flush_cache",
        "write_result",
        "user_returned",
    ];
    assert_eq!(names(&by_script), expected);
    let (start, end) = (&by_script[0], &by_script[6]);
    assert_eq!(
        (&start["args"], &end["outs"]),
        (&json!("0x00000020"), &json!("0x00000000"))
    );
    assert_eq!(start["startInk"], end["endInk"], "as in Nitro: the ink at the start");
    assert_eq!(by_script[2]["outs"], json!(word(5)));
    let zero = "00".repeat(32);
    assert_eq!(by_script[3]["args"], json!(format!("0x{zero}{}", hex::encode(word(5)))));
    let ink = |step: &Value| step["startInk"].as_u64().unwrap() - step["endInk"].as_u64().unwrap();
    assert_eq!(ink(&by_script[1]), 21_068_480);

    // What a call would do, at the newest state: the slot is warm to nobody and holds 5.
    let options = GethDebugTracingCallOptions::new(GethDebugTracingOptions {
        tracer: Some(GethDebugTracerType::JsTracer(SCRIPT.to_owned())),
        ..GethDebugTracingOptions::default()
    });
    let trace = provider
        .debug_trace_call(write, Default::default(), options)
        .await
        .unwrap();
    let GethTrace::JS(simulated) = trace else {
        panic!("{trace:?}")
    };
    assert_eq!(names(&simulated), expected);
    assert_eq!(simulated[1]["outs"], json!(word(5)));
}

#[tokio::test]
async fn calls_between_contracts_and_programs_are_nested() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let register = deployed(&provider, &word_program()).await;
    let caller = deployed(&provider, &wat::parse_str(CALLER).unwrap()).await;
    let to_program = call_to(caller, register.as_slice());
    let hash = send(&provider, to_program).await.transaction_hash;
    let trace = steps(&provider, hash, SCRIPT).await;
    let outer = [
        "user_entrypoint",
        "read_args",
        "static_call_contract",
        "storage_load_bytes32",
        "user_returned",
    ];
    assert_eq!(names(&trace), outer);
    let call = &trace[2];
    assert_eq!(call["address"], json!(register));
    assert_eq!(
        names(&call["steps"]),
        [
            "user_entrypoint",
            "storage_load_bytes32",
            "write_result",
            "user_returned"
        ]
    );
    assert_eq!(call["outs"], json!("0x0000002000"), "32 bytes came back, status 0");

    // A contract whose calldata is the address that it calls: PUSH0 x4, the word at 0, GAS, CALL.
    let forwarder: Address = Address::repeat_byte(0x77);
    let code: Bytes = hex!("5f5f5f5f5f5f3560601c5af100").into();
    raw(&provider, "anvil_setCode", json!([forwarder, code])).await;
    let mut data = caller.to_vec();
    data.resize(32, 0);
    // An estimate would not leave the program enough: the contract does not mind its failure.
    let forwarded = call_to(forwarder, &data).with_gas_limit(5_000_000);
    let hash = send(&provider, forwarded).await.transaction_hash;
    let trace = steps(&provider, hash, SCRIPT).await;
    assert_eq!(names(&trace), ["evm_call_contract"]);
    assert_eq!(trace[0]["address"], json!(caller));
    assert_eq!(names(&trace[0]["steps"]), outer);
    // With no calldata the program calls the zero address, which is a frame without steps.
    assert_eq!(trace[0]["steps"][2]["steps"], json!([]));
    assert_eq!(trace[0]["steps"][2]["address"], json!(Address::ZERO));
}

#[tokio::test]
async fn a_transaction_without_programs_has_no_steps_and_other_scripts_are_refused() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let hash = send(&provider, transfer(ALICE, BOB, 1)).await.transaction_hash;
    let empty = raw(
        &provider,
        "debug_traceTransaction",
        json!([hash, { "tracer": "stylusTracer" }]),
    )
    .await;
    assert_eq!(empty, json!([]));
    let script = "{ step: function(log, db) {}, fault: function() {}, result: function() { return 1; } }";
    let options = GethDebugTracingOptions {
        tracer: Some(GethDebugTracerType::JsTracer(script.to_owned())),
        ..GethDebugTracingOptions::default()
    };
    let error = provider.debug_trace_transaction(hash, options).await.unwrap_err();
    let error = error.as_error_resp().unwrap();
    assert_eq!(error.code, -32_602);
    assert!(error.message.contains("stylusTracer"), "{error:?}");
}
