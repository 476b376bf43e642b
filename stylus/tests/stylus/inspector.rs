//! Inspectors see program frames like any other.

use alloy_primitives::{Address, hex};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};

use crate::common::{Chain, SENDER, entry};

const PROGRAM: Address = Address::with_last_byte(0x99);
const EVM: Address = Address::with_last_byte(0x43);

fn nested() -> Chain {
    let mut chain = Chain::default();
    chain.install(
        PROGRAM,
        &entry(
            "(call $read_args (i32.const 0))
             (call $emit_log (i32.const 0) (i32.const 32) (i32.const 1))
             (drop (call $call (i32.const 0) (i32.const 20) (i32.const 4) (i32.const 64) (i64.const -1) (i32.const 128)))
             (call $write_result (i32.const 0) (i32.const 2))
             i32.const 0",
        ),
    );
    // log0(0, 0); mstore8(0, 7); return(0, 1)
    chain.set_code(EVM, &hex!("60006000a0600760005360016000f3"));
    chain
}

#[test]
fn a_trace_shows_programs_and_what_they_call() {
    let mut chain = nested();
    let inspector = TracingInspector::new(TracingInspectorConfig::all());
    let (outcome, inspector) = chain.inspect(PROGRAM, EVM.as_slice(), inspector);
    assert!(outcome.success(), "{outcome:?}");
    let nodes = inspector.traces().nodes();
    let calls: Vec<_> = nodes
        .iter()
        .map(|node| (node.trace.caller, node.trace.address, node.trace.success))
        .collect();
    assert_eq!(calls, [(SENDER, PROGRAM, true), (PROGRAM, EVM, true)]);
    assert_eq!(
        (nodes[0].trace.output.len(), nodes[1].trace.output[..].to_vec()),
        (2, vec![7])
    );
    assert_eq!(nodes[1].trace.data.len(), 4);
    assert_eq!([nodes[0].logs.len(), nodes[1].logs.len()], [1, 1]);
    assert!(nodes[0].trace.gas_used > nodes[1].trace.gas_used);
    assert!(
        nodes[0].trace.steps.is_empty() && !nodes[1].trace.steps.is_empty(),
        "WASM has no EVM steps"
    );
}

#[test]
fn inspection_changes_nothing() {
    let plain = nested().send(PROGRAM, EVM.as_slice());
    let inspector = TracingInspector::new(TracingInspectorConfig::all());
    let (inspected, _) = nested().inspect(PROGRAM, EVM.as_slice(), inspector);
    assert_eq!(plain.result, inspected.result);
}

#[test]
fn reverted_programs_are_traced_as_reverted() {
    let mut chain = Chain::default();
    chain.install(
        PROGRAM,
        &entry("(call $write_result (i32.const 0) (i32.const 1)) i32.const 1"),
    );
    let inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
    let (outcome, inspector) = chain.inspect(PROGRAM, &[], inspector);
    assert!(!outcome.success());
    let trace = &inspector.traces().nodes()[0].trace;
    assert!(!trace.success && trace.is_revert());
}
