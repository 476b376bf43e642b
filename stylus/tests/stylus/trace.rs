//! Tracers hear of every host call: operands, results and ink.

use crate::common::{Chain, GAS, Outcome, entry, word};
use std::sync::Arc;

use alloy_primitives::{Address, TxKind, U256, hex, keccak256};
use cordon_stylus::ProgramCache;
use cordon_stylus::cache::{CacheOptions, EngineChoice};
use cordon_stylus::hooks::{Hook, HostCall, HostEvent, HostTrace, Stop};
use revm::inspector::NoOpInspector;

const PROGRAM: Address = Address::with_last_byte(0x99);
const EVM: Address = Address::with_last_byte(0x43);

fn traced(chain: &mut Chain, data: &[u8]) -> (Outcome, Vec<HostEvent>) {
    let trace = HostTrace::default();
    let tx = chain.tx(TxKind::Call(PROGRAM), data, U256::ZERO, GAS);
    let mut evm = chain.evm(NoOpInspector);
    evm.trace_programs(trace.clone());
    let result = evm.transact(tx).unwrap().result;
    assert_eq!(trace.dropped(), 0);
    (Outcome { result }, trace.take())
}

fn calls(events: &[HostEvent]) -> Vec<&HostCall> {
    let called = events.iter().filter_map(|event| match event {
        HostEvent::Called(call) => Some(call),
        _ => None,
    });
    called.collect()
}

fn program(body: &str) -> Chain {
    let mut chain = Chain::default();
    chain.install(PROGRAM, &entry(body));
    chain
}

#[test]
fn operands_results_and_ink_of_each_call_are_told() {
    let mut chain = program(
        "(call $read_args (i32.const 0))
         (call $storage_load (i32.const 0) (i32.const 64))
         (call $storage_cache (i32.const 0) (i32.const 32))
         (call $storage_flush (i32.const 1))
         (call $keccak (i32.const 0) (i32.const 64) (i32.const 0))
         (drop (call $gas_left))
         (call $write_result (i32.const 0) (i32.const 32))
         i32.const 0",
    );
    chain.set_slot(PROGRAM, U256::from(7), U256::from(70));
    let data = [word(7).0, word(8).0].concat();
    let (outcome, events) = traced(&mut chain, &data);
    assert!(outcome.success(), "{outcome:?}");
    let calls = calls(&events);
    let hooks: Vec<_> = calls.iter().map(|call| call.hook).collect();
    let expected = [
        Hook::ReadArgs,
        Hook::StorageLoad,
        Hook::StorageCache,
        Hook::StorageFlush,
        Hook::Keccak,
        Hook::GasLeft,
        Hook::WriteResult,
    ];
    assert_eq!(hooks, expected);
    assert_eq!(calls[0].outs, data);
    assert_eq!((&calls[1].args[..], &calls[1].outs[..]), (&word(7)[..], &word(70)[..]));
    // The published cost of a cold load.
    assert_eq!(calls[1].start_ink - calls[1].end_ink, 21_068_480);
    assert_eq!(calls[2].args, data);
    assert_eq!(calls[3].args[..], [1]);
    assert_eq!(
        (&calls[4].args[..], &calls[4].outs[..]),
        (&data[..], &keccak256(&data)[..])
    );
    assert_eq!(calls[4].start_ink - calls[4].end_ink, 121_800);
    assert_eq!(calls[5].outs.len(), 8);
    assert_eq!(calls[6].args[..], keccak256(&data)[..]);
    for pair in calls.windows(2) {
        assert!(pair[0].end_ink > pair[1].start_ink, "the program itself costs ink too");
    }
    let HostEvent::Entered { calldata: 64, ink } = events[0] else {
        panic!("{:?}", events[0])
    };
    assert!(ink > calls[0].start_ink);
    let Some(HostEvent::Left {
        status: Some(0),
        ink,
        reason: None,
    }) = events.last()
    else {
        panic!("{events:?}")
    };
    assert!(*ink < calls[6].end_ink);
}

#[test]
fn tracing_changes_nothing() {
    let body = "(call $read_args (i32.const 0))
        (drop (call $call (i32.const 0) (i32.const 20) (i32.const 4) (i32.const 64) (i64.const -1) (i32.const 128)))
        (call $write_result (i32.const 0) (i32.const 2)) i32.const 0";
    let run = |trace: bool| {
        let mut chain = program(body);
        // mstore8(0, 7); return(0, 1)
        chain.set_code(EVM, &hex!("600760005360016000f3"));
        if trace {
            let (outcome, events) = traced(&mut chain, EVM.as_slice());
            let call = calls(&events)[1];
            assert_eq!(
                call.outs[..],
                [0, 0, 0, 1, 0],
                "one byte came back, and the call succeeded"
            );
            assert_eq!(call.args.len(), 20 + 8 + 32 + 4);
            outcome.result
        } else {
            chain
                .send_with(TxKind::Call(PROGRAM), EVM.as_slice(), U256::ZERO, GAS)
                .result
        }
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn both_engines_tell_the_same() {
    let events = |engine| {
        let mut chain = program(
            "(call $read_args (i32.const 0))
             (call $storage_cache (i32.const 0) (i32.const 0))
             (call $storage_flush (i32.const 0))
             (drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 128)))
             (call $write_result (i32.const 0) (i32.const 2))
             i32.const 0",
        );
        let options = CacheOptions {
            engine,
            ..CacheOptions::default()
        };
        chain.cache = Arc::new(ProgramCache::with_options(options).unwrap());
        traced(&mut chain, EVM.as_slice()).1
    };
    let interpreted = events(EngineChoice::Wasmi);
    assert_eq!(calls(&interpreted).len(), 5);
    assert_eq!(interpreted, events(EngineChoice::Wasmtime));
}

#[test]
fn a_call_that_ends_the_program_says_why() {
    let mut chain = program("(call $emit_log (i32.const 0) (i32.const 160) (i32.const 5)) i32.const 0");
    let (outcome, events) = traced(&mut chain, &[]);
    assert!(!outcome.success());
    let call = calls(&events)[0];
    assert!(matches!(call.stop, Some(Stop::Failure(_))), "{call:?}");
    assert!(call.outs.is_empty());
    let Some(HostEvent::Left {
        status: None,
        reason: Some(reason),
        ..
    }) = events.last()
    else {
        panic!("{events:?}")
    };
    assert!(reason.contains("topics"), "{reason}");
}

#[test]
fn leaving_early_and_not_getting_in_are_told() {
    let (_, events) = traced(&mut program("(call $exit_early (i32.const 1)) i32.const 0"), &[]);
    assert_eq!(calls(&events)[0].args[..], [0, 0, 0, 1]);
    assert!(matches!(events.last(), Some(HostEvent::Left { status: Some(1), .. })));

    let mut chain = Chain::default();
    let code = cordon_stylus::code::compress(&entry("i32.const 0")).unwrap();
    chain.set_code(PROGRAM, &code);
    let (_, events) = traced(&mut chain, &[]);
    let [HostEvent::Refused(Some(reason))] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        reason.contains("not activated") || reason.contains("activated"),
        "{reason}"
    );
}
