//! Programs and contracts calling each other, and how programs end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
use common::{Chain, Outcome, SENDER, entry, guest, intrinsic};
use cordon_stylus::code;
use revm::context::result::{ExecutionResult, HaltReason};

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

/// EVM code that answers caller, address, value and calldata.
fn reflector() -> Vec<u8> {
    // mstore(0, caller); mstore(32, address); mstore(64, callvalue); calldatacopy(96, 0, size); return(0, 96 + size)
    hex!("336000523060205234604052366000606037606036016000f3").to_vec()
}

/// The program that calls the address at the start of its calldata with the rest of it and answers status and result.
fn caller(hook: &str) -> Vec<u8> {
    entry(&format!(
        "(call $read_args (i32.const 0))
         (i32.store (i32.const 4096) ({hook}))
         (drop (call $read_return_data (i32.const 4100) (i32.const 0) (call $return_data_size)))
         (call $write_result (i32.const 4096) (i32.add (i32.const 4) (call $return_data_size)))
         i32.const 0"
    ))
}

const CALL: &str = "call $call (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i32.const 8000) (i64.const -1) (i32.const 8100)";
const DELEGATE: &str = "call $delegate (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i64.const -1) (i32.const 8100)";
const STATIC: &str = "call $static (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i64.const -1) (i32.const 8100)";

fn to(address: Address, data: &[u8]) -> Vec<u8> {
    [address.as_slice(), data].concat()
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
fn calls_pass_who_and_what() {
    let mut chain = Chain::default();
    chain.set_code(EVM, &reflector());
    let fields = |output: &Bytes| {
        let word = |index: usize| U256::from_be_slice(&output[4 + index * 32..4 + index * 32 + 32]);
        let account = |index| Address::from_word(word(index).into());
        (output[0], account(0), account(1), word(2), output[100..].to_vec())
    };
    for (hook, expected) in [
        (CALL, (0, PROGRAM, EVM, U256::ZERO, b"data".to_vec())),
        (DELEGATE, (0, SENDER, PROGRAM, U256::from(9), b"data".to_vec())),
        (STATIC, (0, PROGRAM, EVM, U256::ZERO, b"data".to_vec())),
    ] {
        chain.install(PROGRAM, &caller(hook));
        let outcome = chain.send_with(TxKind::Call(PROGRAM), &to(EVM, b"data"), U256::from(9), 10_000_000);
        assert_eq!(fields(&outcome.output()), expected, "{hook}");
    }
}

#[test]
fn value_is_moved_and_missing_value_is_a_failed_call() {
    let mut chain = Chain::default();
    chain.set_code(EVM, &reflector());
    let pay = "call $call (i32.const 0) (i32.const 20) (i32.const 0) (i32.const 20) (i64.const -1) (i32.const 8100)";
    chain.install(PROGRAM, &caller(pay));
    let data = to(EVM, &U256::from(40).to_be_bytes::<32>());
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &data, U256::from(100), 10_000_000);
    assert_eq!(outcome.output()[0], 0);
    assert_eq!(
        (chain.balance(EVM), chain.balance(PROGRAM)),
        (U256::from(40), U256::from(60))
    );
    let data = to(EVM, &U256::from(61).to_be_bytes::<32>());
    let outcome = chain.send(PROGRAM, &data);
    assert!(outcome.success());
    assert_eq!(outcome.output()[..], [2, 0, 0, 0]);
    assert!(outcome.gas() < 100_000, "the gas of a call that never ran comes back");
}

#[test]
fn reverts_return_their_data_to_programs() {
    let mut chain = Chain::default();
    chain.set_code(EVM, &hex!("6001600053600260015360026000fd"));
    chain.install(PROGRAM, &caller(CALL));
    assert_eq!(chain.send(PROGRAM, &to(EVM, &[])).output()[..], [2, 0, 0, 0, 1, 2]);
    // INVALID takes all gas that it was given, and only that.
    chain.set_code(EVM, &hex!("fe"));
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &to(EVM, &[]), U256::ZERO, 6_400_000);
    assert!(outcome.success() && outcome.output()[..] == [2, 0, 0, 0]);
    assert!(outcome.gas() > 6_200_000 && outcome.gas() < 6_400_000, "{outcome:?}");
}

/// EVM code that forwards its calldata after the address, by `opcode`, and answers status and result.
fn forwarder(opcode: u8) -> Vec<u8> {
    // calldatacopy(0, 20, size - 20); call(gas, addr, [0,] 0, size - 20, 0, 0)
    let mut code = hex!("60143603601460003760006000601436036000").to_vec();
    if opcode == 0xf1 {
        code.extend_from_slice(&hex!("6000"));
    }
    code.extend_from_slice(&hex!("60003560601c5a"));
    code.push(opcode);
    // mstore8(0, status); returndatacopy(1, 0, size); return(0, size + 1)
    code.extend_from_slice(&hex!("6000533d600060013e3d6001016000f3"));
    code
}

#[test]
fn contracts_call_programs() {
    let mut chain = Chain::default();
    chain.install(
        PROGRAM,
        &entry(
            "(call $read_args (i32.const 100))
             (call $msg_sender (i32.const 0)) (call $contract_address (i32.const 20))
             (call $write_result (i32.const 0) (i32.add (local.get $len) (i32.const 100)))
             i32.const 0",
        ),
    );
    for (opcode, sender, address) in [(0xf1, EVM, PROGRAM), (0xfa, EVM, PROGRAM), (0xf4, SENDER, EVM)] {
        chain.set_code(EVM, &forwarder(opcode));
        let outcome = chain.send(EVM, &to(PROGRAM, b"data"));
        let output = outcome.output();
        assert_eq!(output[0], 1, "{outcome:?}");
        assert_eq!(
            (&output[1..21], &output[21..41]),
            (sender.as_slice(), address.as_slice()),
            "{opcode:x}"
        );
        assert_eq!(&output[101..], b"data");
    }
}

#[test]
fn delegated_programs_write_their_callers_storage() {
    let mut chain = Chain::default();
    chain.install(
        OTHER,
        &entry(
            "(i32.store8 (i32.const 63) (i32.const 8))
             (call $storage_cache (i32.const 0) (i32.const 32)) (call $storage_flush (i32.const 0)) i32.const 0",
        ),
    );
    chain.install(PROGRAM, &caller(DELEGATE));
    chain.set_code(EVM, &forwarder(0xf4));
    for host in [PROGRAM, EVM] {
        assert!(chain.send(host, &to(OTHER, &[])).success());
        assert_eq!(chain.slot(host, 0), U256::from(8));
    }
    assert_eq!(chain.slot(OTHER, 0), U256::ZERO);
}

#[test]
fn static_frames_do_not_change_state() {
    let write = "(i32.store8 (i32.const 63) (i32.const 8)) (call $storage_cache (i32.const 0) (i32.const 32))";
    for (body, allowed) in [
        (format!("{write} i32.const 0"), true),
        ("(call $storage_flush (i32.const 0)) i32.const 0".to_owned(), true),
        (
            format!("{write} (call $storage_flush (i32.const 0)) i32.const 0"),
            false,
        ),
        (
            "(call $transient_store (i32.const 0) (i32.const 0)) i32.const 0".to_owned(),
            false,
        ),
        (
            "(call $emit_log (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 0".to_owned(),
            false,
        ),
        (
            "(call $create1 (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 64) (i32.const 96)) i32.const 0"
                .to_owned(),
            false,
        ),
    ] {
        let mut chain = Chain::default();
        chain.install(OTHER, &entry(&body));
        for caller_code in [caller(STATIC), caller(CALL)] {
            chain.install(PROGRAM, &caller_code);
            // The last one reaches the writer by a plain CALL out of a static frame.
            chain.set_code(EVM, &forwarder(0xfa));
            let data = to(PROGRAM, &to(OTHER, &[]));
            let outcome = chain.send(EVM, &data);
            assert_eq!(outcome.output()[1], if allowed { 0 } else { 2 }, "{body}: {outcome:?}");
            assert!(outcome.gas() < 200_000, "a failing program keeps its gas");
        }
        assert_eq!(chain.slot(OTHER, 0), U256::ZERO);
    }
}

#[test]
fn a_call_with_value_in_a_static_frame_fails_alone() {
    let mut chain = Chain::default();
    let pay = "call $call (i32.const 0) (i32.const 20) (i32.const 0) (i32.const 20) (i64.const -1) (i32.const 8100)";
    chain.install(PROGRAM, &caller(pay));
    chain.set_code(EVM, &forwarder(0xfa));
    let outcome = chain.send(EVM, &to(PROGRAM, &to(SENDER, &U256::ONE.to_be_bytes::<32>())));
    assert_eq!(outcome.output()[..], [1, 2, 0, 0, 0]);
}

/// The program that creates a contract from its calldata after 32 bytes of salt, and answers its address.
fn creator(hook: &str) -> Vec<u8> {
    entry(&format!(
        "(call $read_args (i32.const 0)) ({hook})
         (drop (call $read_return_data (i32.const 8020) (i32.const 0) (call $return_data_size)))
         (call $write_result (i32.const 8000) (i32.add (i32.const 20) (call $return_data_size)))
         i32.const 0"
    ))
}

const CREATE1: &str = "call $create1 (i32.const 32) (i32.sub (local.get $len) (i32.const 32)) (i32.const 7000) (i32.const 8000) (i32.const 7100)";
const CREATE2: &str = "call $create2 (i32.const 32) (i32.sub (local.get $len) (i32.const 32)) (i32.const 7000) (i32.const 0) (i32.const 8000) (i32.const 7100)";

#[test]
fn programs_create_contracts() {
    let mut chain = Chain::default();
    let init = code::init_code(b"\xfecode");
    let data = [[3; 32].as_slice(), &init].concat();
    chain.install(PROGRAM, &creator(CREATE1));
    let address = Address::from_slice(&chain.send(PROGRAM, &data).output());
    assert_eq!(address, PROGRAM.create(1));
    assert_eq!(
        chain.db.load_account(address).unwrap().info.code_hash,
        keccak256(b"\xfecode")
    );

    let mut chain = Chain::default();
    chain.install(PROGRAM, &creator(CREATE2));
    let outcome = chain.send(PROGRAM, &data);
    let address = PROGRAM.create2([3; 32], keccak256(&init));
    assert_eq!(outcome.output()[..], *address.as_slice());
    // The same again collides: no address, no data, and the program goes on.
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &data, U256::ZERO, 10_000_000);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(outcome.output()[..], [0; 20]);
}

#[test]
fn failed_creations_return_revert_data_only() {
    let mut chain = Chain::default();
    chain.install(PROGRAM, &creator(CREATE1));
    let salted = |init: &[u8]| [[0; 32].as_slice(), init].concat();
    let outcome = chain.send(PROGRAM, &salted(&hex!("600160005360016000fd")));
    assert_eq!(outcome.output()[..], [[0; 20].as_slice(), &[1]].concat());
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &salted(&hex!("fe")), U256::ZERO, 10_000_000);
    assert_eq!(outcome.output()[..], [0; 20]);
    // Code that only Arbitrum accepts, created by a program.
    let outcome = chain.send(PROGRAM, &salted(&code::init_code(&hex!("eff00000aa"))));
    assert_ne!(outcome.output()[..], [0; 20]);
    let outcome = chain.send(PROGRAM, &salted(&code::init_code(&hex!("ef00"))));
    assert_eq!(outcome.output()[..], [0; 20]);
    // Less than the base price of a creation is a failure of the program itself.
    let data = salted(&[]);
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &data, U256::ZERO, intrinsic(&data) + 30_000);
    assert!(reverted(&outcome) && outcome.output().is_empty(), "{outcome:?}");
}

#[test]
fn reentrancy_is_seen_but_not_through_delegation() {
    // Answers msg_reentrant, or with calldata forwards to the address in it first.
    let body = "(call $read_args (i32.const 0))
        (i32.store8 (i32.const 4096) (call $msg_reentrant))
        (if (local.get $len) (then
            (drop (CALLEE))
            (drop (call $read_return_data (i32.const 4097) (i32.const 0) (call $return_data_size)))))
        (call $write_result (i32.const 4096) (i32.add (i32.const 1) (call $return_data_size)))
        i32.const 0";
    let mut chain = Chain::default();
    chain.install(PROGRAM, &entry(&body.replace("CALLEE", CALL)));
    chain.install(OTHER, &entry(&body.replace("CALLEE", DELEGATE)));
    chain.set_code(EVM, &forwarder(0xf1));
    assert_eq!(chain.send(PROGRAM, &to(PROGRAM, &[])).output()[..], [0, 1]);
    assert_eq!(
        chain.send(PROGRAM, &to(EVM, &to(PROGRAM, &[]))).output()[..],
        [0, 1, 1],
        "status 1 is the EVM's"
    );
    assert_eq!(
        chain.send(PROGRAM, &to(OTHER, &[])).output()[..],
        [0, 0],
        "another program"
    );
    assert_eq!(
        chain.send(OTHER, &to(OTHER, &[])).output()[..],
        [0, 0],
        "delegation is no re-entrance"
    );
    // Delegated code acts for its host: a call back to the host is re-entrance.
    assert_eq!(chain.send(OTHER, &to(PROGRAM, &to(OTHER, &[]))).output()[..], [0, 0, 1]);
}

#[test]
fn state_changes_of_reverted_frames_are_undone() {
    let mut chain = Chain::default();
    chain.install(
        OTHER,
        &entry(
            "(i32.store8 (i32.const 63) (i32.const 8))
             (call $storage_cache (i32.const 0) (i32.const 32)) (call $storage_flush (i32.const 0))
             (call $emit_log (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 1",
        ),
    );
    chain.install(PROGRAM, &caller(CALL));
    let outcome = chain.send(PROGRAM, &to(OTHER, &[]));
    assert_eq!(outcome.output()[0], 2);
    assert!(outcome.result.logs().is_empty());
    assert_eq!(chain.slot(OTHER, 0), U256::ZERO);
}

#[test]
fn refunds_reach_the_transaction() {
    let clear =
        entry("(call $storage_cache (i32.const 0) (i32.const 32)) (call $storage_flush (i32.const 0)) i32.const 0");
    let gas = |value: u64| {
        let mut chain = Chain::default();
        chain.set_slot(OTHER, U256::ZERO, U256::from(value));
        chain.install(OTHER, &clear);
        chain.install(PROGRAM, &caller(CALL));
        let outcome = chain.send(PROGRAM, &to(OTHER, &[]));
        assert!(outcome.success());
        assert_eq!(chain.slot(OTHER, 0), U256::ZERO);
        outcome.gas()
    };
    // Clearing costs 5,000 and gives 4,800 back; writing zero to zero costs 2,200.
    assert_eq!(gas(5).cast_signed() - gas(0).cast_signed(), 5_000 - 4_800 - 2_200);
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
fn programs_cannot_be_destroyed() {
    let mut chain = Chain::default();
    chain.set_code(EVM, &hex!("6000ff"));
    chain.install(PROGRAM, &caller(DELEGATE));
    assert_eq!(chain.send(PROGRAM, &to(EVM, &[])).output()[..], [2, 0, 0, 0]);
    chain.set_code(OTHER, &forwarder(0xf4));
    assert_eq!(
        chain.send(OTHER, &to(EVM, &[])).output()[..],
        [1],
        "contracts still can"
    );
}

#[test]
fn a_thousand_frames_of_programs_and_contracts_nest() {
    // A program that calls the other side, and a contract that calls back, until the depth limit ends it.
    let body = "(call $contract_address (i32.const 20)) (i32.store8 (i32.const 19) (i32.const 0x43))
        (drop (call $call (i32.const 0) (i32.const 20) (i32.const 20) (i32.const 64) (i64.const -1) (i32.const 128)))
        (drop (call $read_return_data (i32.const 256) (i32.const 0) (i32.const 32)))
        (i32.store (i32.const 300) (i32.add (i32.load (i32.const 256)) (i32.const 1)))
        (call $write_result (i32.const 300) (i32.const 4)) i32.const 0";
    let mut chain = Chain::default();
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
    let programs = u32::from_le_bytes(outcome.output()[..4].try_into().unwrap());
    assert_eq!(programs, 513, "1,025 frames, every other one a program");
}
