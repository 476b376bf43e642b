//! Programs and contracts calling and creating each other.

use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
use cordon_stylus::code;
use revm::context::result::ExecutionResult;
use revm::context::transaction::AccessListItem;

use crate::common::{Chain, Outcome, SENDER, entry, intrinsic};

const PROGRAM: Address = Address::with_last_byte(0x99);
const OTHER: Address = Address::with_last_byte(0x42);
const EVM: Address = Address::with_last_byte(0x43);

fn reverted(outcome: &Outcome) -> bool {
    matches!(outcome.result, ExecutionResult::Revert { .. })
}

/// EVM code that answers caller, address, value and calldata.
fn reflector() -> Vec<u8> {
    // mstore(0, caller); mstore(32, address); mstore(64, callvalue); calldatacopy(96, 0, size); return(0, 96 + size)
    hex!("336000523060205234604052366000606037606036016000f3").to_vec()
}

/// The program that calls the address at the start of its calldata with the rest of it and answers status and result.
pub(crate) fn caller(hook: &str) -> Vec<u8> {
    entry(&format!(
        "(call $read_args (i32.const 0))
         (i32.store (i32.const 4096) ({hook}))
         (drop (call $read_return_data (i32.const 4100) (i32.const 0) (call $return_data_size)))
         (call $write_result (i32.const 4096) (i32.add (i32.const 4) (call $return_data_size)))
         i32.const 0"
    ))
}

pub(crate) const CALL: &str = "call $call (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i32.const 8000) (i64.const -1) (i32.const 8100)";
pub(crate) const DELEGATE: &str = "call $delegate (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i64.const -1) (i32.const 8100)";
pub(crate) const STATIC: &str = "call $static (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i64.const -1) (i32.const 8100)";

pub(crate) fn to(address: Address, data: &[u8]) -> Vec<u8> {
    [address.as_slice(), data].concat()
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

/// EVM code that answers the gas of reading slot 7 (SLOAD) and of reading the balance of 0x77.
fn prices() -> Vec<u8> {
    // GAS; SLOAD(7); POP; GAS; mstore(0, difference); the same for BALANCE, at 32; return(0, 64)
    hex!("5a600754505a90036000525a607731505a900360205260406000f3").to_vec()
}

#[test]
fn what_one_side_has_touched_is_warm_for_the_other() {
    let touch = "(call $read_args (i32.const 0)) (i32.store8 (i32.const 131) (i32.const 7)) (i32.store8 (i32.const 219) (i32.const 0x77))
        (if (i32.gt_u (local.get $len) (i32.const 20)) (then
            (call $storage_load (i32.const 100) (i32.const 300)) (call $account_balance (i32.const 200) (i32.const 300))))
        (drop (call $delegate (i32.const 0) (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 400)))
        (drop (call $read_return_data (i32.const 500) (i32.const 0) (i32.const 64)))
        (call $write_result (i32.const 500) (i32.const 64)) i32.const 0";
    let mut chain = Chain::default();
    chain.set_code(EVM, &prices());
    chain.install(PROGRAM, &entry(touch));
    let mut costs = |data: &[u8]| {
        let output = chain.send(PROGRAM, data).output();
        [0, 32].map(|at| U256::from_be_slice(&output[at..at + 32]).to::<u64>())
    };
    // Two pushes and pops and GAS itself are 7 gas.
    assert_eq!(costs(&to(EVM, &[])), [2_107, 2_607], "nobody has been there");
    assert_eq!(costs(&to(EVM, &[1])), [107, 107], "the program has");
}

#[test]
fn access_lists_of_transactions_are_for_programs_too() {
    let body =
        "(i32.store8 (i32.const 131) (i32.const 7)) (call $storage_load (i32.const 100) (i32.const 300)) i32.const 0";
    let gas = |listed: bool| {
        let mut chain = Chain::default();
        chain.install(PROGRAM, &entry(body));
        let mut tx = chain.tx(TxKind::Call(PROGRAM), &[], U256::ZERO, 1_000_000);
        let slots = if listed { vec![U256::from(7).into()] } else { vec![] };
        tx.access_list = vec![AccessListItem {
            address: PROGRAM,
            storage_keys: slots,
        }]
        .into();
        tx.tx_type = 1;
        chain.evm(()).transact(tx).unwrap().result.tx_gas_used()
    };
    assert_eq!(
        gas(false) - gas(true),
        2_000 - 1_900,
        "EIP-2930: 1,900 beforehand, 2,000 less in the program"
    );
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
