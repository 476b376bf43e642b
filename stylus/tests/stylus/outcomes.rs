//! How programs end, what memory and stack cost them, and how deep they nest.

use std::sync::Arc;

use alloy_primitives::{Address, TxKind, U256, hex};
use cordon_stylus::{CacheOptions, EngineChoice, ProgramCache};
use revm::context::result::{ExecutionResult, HaltReason};

use crate::common::{Chain, Outcome, entry, guest};

const PROGRAM: Address = Address::with_last_byte(0x99);
const OTHER: Address = Address::with_last_byte(0x42);
const EVM: Address = Address::with_last_byte(0x43);

fn program(body: &str) -> (Chain, Address) {
    let mut chain = Chain::default();
    chain.install(PROGRAM, &entry(body));
    (chain, PROGRAM)
}

fn run(body: &str, data: &[u8]) -> Outcome {
    let (mut chain, program) = program(body);
    chain.send_with(TxKind::Call(program), data, U256::ZERO, 10_000_000)
}

fn reverted(outcome: &Outcome) -> bool {
    matches!(outcome.result, ExecutionResult::Revert { .. })
}

#[test]
fn programs_end_as_they_say() {
    let ok = run("(call $write_result (i32.const 0) (i32.const 3)) i32.const 0", &[]);
    assert!(ok.success() && ok.output().len() == 3);
    let revert = run("(call $write_result (i32.const 0) (i32.const 3)) i32.const 1", &[]);
    assert!(reverted(&revert) && revert.output().len() == 3 && revert.gas() < 100_000);
    let early = run(
        "(call $write_result (i32.const 0) (i32.const 3)) (call $exit_early (i32.const 0)) unreachable",
        &[],
    );
    assert!(early.success() && early.output().len() == 3);
    let early = run("(call $exit_early (i32.const 7)) unreachable", &[]);
    assert!(reverted(&early));
}

#[test]
fn traps_revert_without_data_and_keep_the_gas() {
    for trap in [
        "unreachable",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.load (i32.const 65536)))",
        "(call $read_args (i32.const 65536))",
        "(call $msg_sender (i32.const 65520))",
        "(call $storage_load (i32.const -1) (i32.const 0))",
    ] {
        let outcome = run(
            &format!("(call $write_result (i32.const 0) (i32.const 3)) {trap} i32.const 0"),
            &[1],
        );
        assert!(reverted(&outcome) && outcome.output().is_empty(), "{trap}: {outcome:?}");
        assert!(outcome.gas() < 100_000, "{trap}: {outcome:?}");
    }
}

#[test]
fn running_out_of_ink_takes_all_gas() {
    let outcome = run("(loop $forever (br $forever)) i32.const 0", &[]);
    assert!(
        matches!(
            outcome.result,
            ExecutionResult::Halt {
                reason: HaltReason::OutOfGas(_),
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(outcome.gas(), 10_000_000);
    // Also when it is a host function that cannot be paid.
    let (mut chain, program) = program("(call $keccak (i32.const 0) (i32.const 65536) (i32.const 0)) i32.const 0");
    let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 34_000);
    assert_eq!((outcome.success(), outcome.gas()), (false, 34_000));
    // And entering.
    let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 21_100);
    assert_eq!((outcome.success(), outcome.gas()), (false, 21_100));
}

#[test]
fn running_out_of_stack_takes_all_gas() {
    let wasm = guest(
        r#"(func $deeper (param i32) (result i32) (i32.add (call $deeper (local.get 0)) (i32.const 1)))
           (func (export "user_entrypoint") (param i32) (result i32) (call $deeper (i32.const 0)))"#,
    );
    let mut chain = Chain::default();
    chain.install(PROGRAM, &wasm);
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &[], U256::ZERO, 10_000_000);
    assert!(
        matches!(
            outcome.result,
            ExecutionResult::Halt {
                reason: HaltReason::StackOverflow,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(outcome.gas(), 10_000_000);
}

#[test]
fn recursion_within_the_stack_succeeds() {
    let wasm = guest(
        r#"(func $down (param $n i32) (result i32)
               (if (result i32) (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1)))) (else (i32.const 0))))
           (func (export "user_entrypoint") (param $n i32) (result i32) (call $down (local.get $n)))"#,
    );
    let mut chain = Chain::default();
    chain.install(PROGRAM, &wasm);
    // A frame is a few words, so that some thousand of them fit 22,000.
    assert!(chain.send(PROGRAM, &[0; 2000]).success());
    assert!(!chain.send(PROGRAM, &[0; 8000]).success());
}

#[test]
fn growing_memory_costs_what_was_published() {
    let grow = |from: u32, to: u32| {
        format!("(drop (memory.grow (i32.const {from}))) (drop (memory.grow (i32.const {to}))) i32.const 0")
    };
    let cost = |body: &str| {
        let (mut chain, program) = program(body);
        let outcome = chain.send(program, &[]);
        assert!(outcome.success(), "{outcome:?}");
        outcome.gas()
    };
    let nothing = cost("i32.const 0");
    let all = cost(&grow(27, 100)) - nothing;
    assert!(all.abs_diff(32_000_000) <= 3_000, "{all}");
    let one = cost("(drop (memory.grow (i32.const 1))) i32.const 0") - nothing;
    assert!(one < 5, "the second page is free: {one}");
    // Paying without growing is possible, and a u32 that is no number of pages takes all gas.
    let outcome = run("(call $pay_for_memory_grow (i32.const 65536)) i32.const 0", &[]);
    assert_eq!((outcome.success(), outcome.gas()), (false, 10_000_000));
    let outcome = run("(call $pay_for_memory_grow (i32.const 128)) i32.const 0", &[]);
    assert_eq!(
        (outcome.success(), outcome.gas()),
        (false, 10_000_000),
        "the page limit counts all that is open"
    );
}

#[test]
fn pages_of_callers_count_and_are_given_back() {
    let mut chain = Chain::default();
    chain.install(OTHER, &entry("i32.const 0"));
    // Two pages of its own and one of the callee, twice: the third page costs 1,000 gas each time.
    let body = |pages: u32, calls: usize| {
        let call = "(drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 128)))";
        format!(
            "(call $read_args (i32.const 0)) (drop (memory.grow (i32.const {pages}))) {} i32.const 0",
            call.repeat(calls)
        )
    };
    let mut cost = |pages, calls| {
        chain.install(PROGRAM, &entry(&body(pages, calls)));
        chain.block = cordon_stylus::BlockContext::new(1);
        chain.send(PROGRAM, OTHER.as_slice()).gas()
    };
    let free = [cost(0, 1), cost(0, 2)];
    let paid = [cost(1, 1), cost(1, 2)];
    assert!((999..=1002).contains(&(paid[0] - free[0])), "{free:?} {paid:?}");
    assert!((1999..=2002).contains(&(paid[1] - free[1])), "{free:?} {paid:?}");
}

#[test]
fn large_results_cost_at_least_what_the_evm_charges() {
    let body = "(drop (memory.grow (i32.const 15))) (call $write_result (i32.const 0) (i32.const 1048576)) i32.const 0";
    let outcome = run(body, &[]);
    assert!(outcome.success() && outcome.output().len() == 1 << 20);
    let words = (1_u64 << 20) / 32;
    assert!(
        outcome.gas() - 21_000 >= 3 * words + words * words / 512,
        "{}",
        outcome.gas()
    );
    let small = run(body.replace("1048576", "0").as_str(), &[]);
    assert!(small.gas() < outcome.gas());
}

#[test]
fn a_mebibyte_of_result_costs_what_it_costs_a_contract() {
    let body = "(drop (memory.grow (i32.const 15))) (call $write_result (i32.const 0) (i32.const 1048576)) i32.const 0";
    let program = run(body, &[]).gas();
    let mut chain = Chain::default();
    // return(0, 2^20)
    chain.set_code(EVM, &hex!("621000006000f3"));
    let contract = chain.send_with(TxKind::Call(EVM), &[], U256::ZERO, 10_000_000).gas();
    assert!(program.abs_diff(contract) <= 100, "{program} {contract}");
    // Before ArbOS 31 the program paid for copying alone.
    let mut old = Chain::new(30);
    old.install(PROGRAM, &entry(body));
    let cheap = old.send_with(TxKind::Call(PROGRAM), &[], U256::ZERO, 10_000_000).gas();
    assert!(cheap < program / 10, "{cheap} {program}");
}

#[test]
fn who_cannot_pay_for_a_result_has_none() {
    // 1 MiB costs 2.2 million gas at the end, which is more than the frame was given; running is paid for.
    let body = "(drop (memory.grow (i32.const 15))) (call $write_result (i32.const 0) (i32.const 1048576)) i32.const 0";
    let (mut chain, program) = program(body);
    let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 2_000_000);
    assert!(!outcome.success() && outcome.output().is_empty(), "{outcome:?}");
    assert_eq!(outcome.gas(), 2_000_000);
}

#[test]
fn a_thousand_frames_of_programs_and_contracts_nest() {
    // A program that calls the other side, and a contract that calls back, until the depth limit ends it.
    let body = "(call $contract_address (i32.const 20)) (i32.store8 (i32.const 19) (i32.const 0x43))
        (drop (call $call (i32.const 0) (i32.const 20) (i32.const 20) (i32.const 64) (i64.const -1) (i32.const 128)))
        (drop (call $read_return_data (i32.const 256) (i32.const 0) (i32.const 32)))
        (i32.store (i32.const 300) (i32.add (i32.load (i32.const 256)) (i32.const 1)))
        (call $write_result (i32.const 300) (i32.const 4)) i32.const 0";
    for engine in [EngineChoice::Wasmi, EngineChoice::Wasmtime] {
        assert_eq!(
            nested(body, engine),
            513,
            "1,025 frames, every other one a program, on {engine:?}"
        );
    }
}

/// How many programs run when each calls a contract that calls it back, on a host stack of 512 KiB.
fn nested(body: &str, engine: EngineChoice) -> u32 {
    let mut chain = Chain::default();
    let options = CacheOptions {
        engine,
        ..CacheOptions::default()
    };
    chain.cache = Arc::new(ProgramCache::with_options(options).unwrap());
    // Programs of one page each would hit the page limit after 128 frames; the limit is lifted to reach the depth.
    chain.params.page_limit = u16::MAX;
    chain.params.free_pages = u16::MAX;
    chain.set_slot(
        cordon_stylus::arbos::STATE_ADDRESS,
        cordon_stylus::arbos::Space::Params.word(0),
        chain.params.pack(),
    );
    chain.install(PROGRAM, &entry(body));
    // Forwards to the program named in its calldata and answers what that answers.
    // call(gas, shr(96, calldataload(0)), 0, 0, 0, 0, 0); returndatacopy(0, 0, size); return(0, size)
    chain.set_code(EVM, &hex!("6000600060006000600060003560601c5af1503d600060003e3d6000f3"));
    // A small host stack: nothing of the nesting may live there.
    let nested = move || chain.send_with(TxKind::Call(PROGRAM), &[], U256::ZERO, 1 << 45);
    let outcome = std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(nested)
        .unwrap()
        .join()
        .unwrap();
    assert!(outcome.success(), "{outcome:?}");
    u32::from_le_bytes(outcome.output()[..4].try_into().unwrap())
}
