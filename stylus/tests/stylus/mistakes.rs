//! What earlier implementations of Stylus outside Nitro got wrong, one test each (those on calls, creations, re-entrance, refunds
//! and fragments that are not here are in the files on those).

use alloy_primitives::{Address, TxKind, U256, hex};
use cordon_stylus::activation::ProgramRecord;
use cordon_stylus::arbos::{STATE_ADDRESS, Space};
use cordon_stylus::precompile::{ARB_SYS, ARB_WASM};
use revm::context::result::ExecutionResult;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};

use crate::common::{Chain, ETHER, GAS, activate, call, deploy, echo, entry, guest, intrinsic};
use crate::hooks::measure;
use crate::precompiles::ask;

const PROGRAM: Address = Address::with_last_byte(0x99);
const EVM: Address = Address::with_last_byte(0x43);
const NOBODY: Address = Address::with_last_byte(0x77);

/// Base price of a call, and of copying `len` bytes of calldata or init code.
const fn base_ink(len: u64) -> u64 {
    83_193 + 2 * (16_381 + 55 * len.saturating_sub(32))
}

/// Calldata for [`CALL_WITH_VALUE`].
fn callee(address: Address, value: u64) -> Vec<u8> {
    let mut data = vec![0; 32];
    data.extend_from_slice(address.as_slice());
    data.extend_from_slice(&[0; 12]);
    data.extend_from_slice(&U256::from(value).to_be_bytes::<32>());
    data
}

const CALL_WITH_VALUE: &str =
    "call $call (i32.const 32) (i32.const 0) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 400)";

#[test]
fn calls_without_value_pay_for_access_alone() {
    for address in [EVM, NOBODY] {
        let mut chain = Chain::default();
        chain.set_code(EVM, &[0]);
        let measured = measure(&mut chain, &callee(address, 0), "", CALL_WITH_VALUE);
        assert_eq!(measured.ink, base_ink(0) + 2_600 * 10_000);
    }
}

/// Calls the address in its calldata with one wei, and answers the gas that was left before and what the callee returned.
fn payer() -> Vec<u8> {
    entry(
        "(call $read_args (i32.const 0))
         (i64.store (i32.const 4096) (call $gas_left))
         (drop (call $call (i32.const 32) (i32.const 0) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 400)))
         (i64.store (i32.const 4104) (call $gas_left))
         (drop (call $read_return_data (i32.const 4112) (i32.const 0) (i32.const 32)))
         (call $write_result (i32.const 4096) (i32.const 48))
         i32.const 0",
    )
}

/// Gas before the call, gas that it cost with what surrounds it, and the number that the callee returned.
fn pay(chain: &mut Chain, to: Address) -> (u64, u64, u64) {
    chain.install(PROGRAM, &payer());
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &callee(to, 1), U256::from(5), 1_000_000);
    assert!(outcome.success(), "{outcome:?}");
    let output = outcome.output();
    let number = |at: usize| u64::from_le_bytes(output[at..at + 8].try_into().unwrap());
    let answer = U256::from_be_slice(&output[16..48]).to::<u64>();
    (number(0), number(0) - number(8), answer)
}

#[test]
fn value_costs_9000_and_a_new_account_25000() {
    let mut chain = Chain::default();
    chain.set_code(EVM, &[0]);
    let (_, existing, _) = pay(&mut chain, EVM);
    assert!((11_600..11_650).contains(&existing), "{existing}");
    let (_, new, _) = pay(&mut chain, NOBODY);
    assert!((36_600..36_650).contains(&new), "{new}");
    assert_eq!(
        (chain.balance(EVM), chain.balance(NOBODY)),
        (U256::from(1), U256::from(1))
    );
}

#[test]
fn a_64th_is_kept_of_what_the_base_price_leaves_and_the_stipend_comes_on_top() {
    let mut chain = Chain::default();
    // gas; mstore(0); return(0, 32)
    chain.set_code(EVM, &hex!("5a60005260206000f3"));
    let (before, _, seen) = pay(&mut chain, EVM);
    let base = 2_600 + 9_000;
    // The host call itself takes its ink between the two.
    let ink = (base_ink(0) + 20_000) / 10_000;
    let expected = (before - ink - base) * 63 / 64 + 2_300 - 2;
    assert!(seen.abs_diff(expected) <= 3, "{seen} instead of about {expected}");
}

#[test]
fn init_code_is_neither_limited_nor_charged_by_the_word() {
    let mut chain = Chain::default();
    let create = "call $create1 (i32.const 512) (i32.const 320) (i32.const 448) (i32.const 0) (i32.const 480)";
    let measured = measure(&mut chain, &[], "", create);
    assert_eq!(measured.ink, base_ink(320) + 32_000 * 10_000);
    let huge = "call $create1 (i32.const 512) (i32.const 60000) (i32.const 448) (i32.const 0) (i32.const 480)";
    // A new chain, where the address is still free.
    let measured = measure(&mut Chain::default(), &[], "", huge);
    assert_ne!(
        measured.memory[..20],
        [0; 20],
        "60,000 bytes are more than EIP-3860 allows"
    );
}

#[test]
fn entering_costs_what_the_record_says() {
    let mut chain = Chain::default();
    let program = chain.install(PROGRAM, &echo());
    let plain = chain.send(PROGRAM, &[]).gas();
    let mut chain = Chain::default();
    chain.install(PROGRAM, &echo());
    let dearer = ProgramRecord {
        init_cost: program.record.init_cost + 1_000,
        cached_cost: program.record.cached_cost + 300,
        ..program.record
    };
    chain.set_slot(STATE_ADDRESS, Space::Programs.slot(program.code_hash), dearer.pack());
    assert_eq!(chain.send(PROGRAM, &[]).gas(), plain + 1_300);
}

#[test]
fn code_that_is_not_compressed_is_no_program() {
    let mut chain = Chain::default();
    let raw = [&hex!("eff00000")[..], &echo()].concat();
    chain.set_code(PROGRAM, &raw);
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(PROGRAM), U256::from(ETHER), GAS);
    assert!(matches!(outcome.result, ExecutionResult::Revert { .. }), "{outcome:?}");
    assert!(outcome.gas() < 2_000_000, "the rest of the gas is kept");
}

#[test]
fn multiple_values_ended_with_stylus_3() {
    let wasm = guest(
        r#"(func $two (result i32 i32) (i32.const 0) (i32.const 0))
           (func (export "user_entrypoint") (param i32) (result i32) (call $two) (drop))"#,
    );
    for (arbos, accepted) in [(51, true), (60, false)] {
        let mut chain = Chain::new(arbos);
        let program = deploy(&mut chain, &wasm);
        let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
        assert_eq!(outcome.success(), accepted, "ArbOS {arbos}: {outcome:?}");
        if accepted {
            assert!(chain.send(program, &[]).success());
        } else {
            assert_eq!(outcome.gas(), GAS, "a failed activation takes all gas");
        }
    }
}

#[test]
fn calling_an_inactive_program_does_not_activate_it() {
    let mut chain = Chain::default();
    let program = deploy(&mut chain, &echo());
    let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 100_000);
    assert!(!outcome.success());
    assert_eq!(outcome.gas(), 100_000);
    let version = chain.send(ARB_WASM, &call(hex!("cc8f4e88"), &[program.into_word()]));
    assert_eq!(version.output()[..], hex!("6f809c4e"), "ProgramNotActivated");
}

#[test]
fn delegate_and_static_calls_are_traced_as_what_they_are() {
    for (hook, is_delegate) in [
        (
            "call $delegate (i32.const 0) (i32.const 20) (i32.const 0) (i64.const -1) (i32.const 64)",
            true,
        ),
        (
            "call $static (i32.const 0) (i32.const 20) (i32.const 0) (i64.const -1) (i32.const 64)",
            false,
        ),
    ] {
        let mut chain = Chain::default();
        chain.set_code(EVM, &hex!("60016000f3"));
        chain.install(
            PROGRAM,
            &entry(&format!("(call $read_args (i32.const 0)) (drop ({hook})) i32.const 0")),
        );
        let inspector = TracingInspector::new(TracingInspectorConfig::all());
        let (_, inspector) = chain.inspect(PROGRAM, EVM.as_slice(), inspector);
        let kind = inspector.traces().nodes()[1].trace.kind;
        assert_eq!((kind.is_delegate(), kind.is_static_call()), (is_delegate, !is_delegate));
    }
}

#[test]
fn block_number_is_the_estimate_of_l1() {
    let mut chain = Chain::default();
    let body =
        "(i64.store (i32.const 0) (call $block_number)) (call $write_result (i32.const 0) (i32.const 8)) i32.const 0";
    chain.install(PROGRAM, &entry(body));
    assert_eq!(chain.send(PROGRAM, &[]).output()[..], 1000_u64.to_le_bytes());
    assert_eq!(
        ask(&mut chain, ARB_SYS, &hex!("a3b1b31d")),
        [U256::from(1)],
        "the height is ArbSys's"
    );
}

#[test]
fn unaffordable_entry_takes_all_gas_before_anything_runs() {
    let mut chain = Chain::default();
    chain.install(PROGRAM, &echo());
    let gas = intrinsic(&[]) + 8_000;
    let outcome = chain.send_with(TxKind::Call(PROGRAM), &[], U256::ZERO, gas);
    assert!(!outcome.success() && outcome.gas() == gas, "{outcome:?}");
}
