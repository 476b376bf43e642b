//! The ink of every host function, as a tracer sees it, and what a program must own to be served at all.

use std::collections::BTreeSet;

use alloy_primitives::{Address, TxKind, U256, hex};
use cordon_stylus::hooks::{Hook, HostCall, HostEvent, HostTrace};
use revm::context::result::ExecutionResult;
use revm::inspector::NoOpInspector;

use crate::common::{Chain, GAS, Outcome, entry};

const PROGRAM: Address = Address::with_last_byte(0x99);
const OTHER: Address = Address::with_last_byte(0x42);

/// A host function: what comes before, the call itself (its result is dropped), and its ink.
type Row<'a> = (&'a str, &'a str, &'a str, u64);

/// Calldata is the address of a contract that does nothing, at 0 in memory; the word at 32 is zero.
const ARGS: &str = "(call $read_args (i32.const 0))";
/// Two data copies of a call without calldata.
const NO_DATA: u64 = 2 * 16_381;
const GAS_INK: u64 = 10_000;

#[rustfmt::skip]
const ROWS: [Row<'_>; 42] = [
    ("read_args", "", "call $read_args (i32.const 0)", 13_440),
    ("write_result", "", "call $write_result (i32.const 0) (i32.const 0)", 41_162),
    ("exit_early", "", "call $exit_early (i32.const 0)", 0),
    ("storage_load_bytes32", "", "call $storage_load (i32.const 32) (i32.const 64)", 21_068_480),
    ("storage_cache_bytes32", "", "call $storage_cache (i32.const 32) (i32.const 0)", 18_480),
    ("storage_flush_cache", "(i32.store8 (i32.const 31) (i32.const 1)) (call $storage_cache (i32.const 32) (i32.const 0))", "call $storage_flush (i32.const 0)", 221_068_073),
    ("transient_load_bytes32", "", "call $transient_load (i32.const 32) (i32.const 64)", 1_078_153),
    ("transient_store_bytes32", "", "call $transient_store (i32.const 32) (i32.const 0)", 1_078_153),
    ("call_contract", ARGS, "call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64) (i64.const -1) (i32.const 96)", 83_193 + NO_DATA + 2_600 * GAS_INK),
    ("delegate_call_contract", ARGS, "call $delegate (i32.const 0) (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 96)", 83_193 + NO_DATA + 2_600 * GAS_INK),
    ("static_call_contract", ARGS, "call $static (i32.const 0) (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 96)", 83_193 + NO_DATA + 2_600 * GAS_INK),
    ("create1", "", "call $create1 (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 96) (i32.const 128)", 83_193 + NO_DATA + 32_000 * GAS_INK),
    // Two words of init code, which are hashed for the address.
    ("create2", "", "call $create2 (i32.const 64) (i32.const 33) (i32.const 128) (i32.const 128) (i32.const 160) (i32.const 192)", 88_233 + NO_DATA + 2 * 55 + (32_000 + 2 * 6) * GAS_INK),
    ("read_return_data", "", "call $read_return_data (i32.const 0) (i32.const 0) (i32.const 100)", 68_073 + 5_040),
    ("return_data_size", "", "call $return_data_size", 8_400),
    ("emit_log", "", "call $emit_log (i32.const 0) (i32.const 0) (i32.const 0)", 68_073 + 16_381 + 375 * GAS_INK),
    ("account_balance", ARGS, "call $account_balance (i32.const 0) (i32.const 64)", 26_078_153),
    ("account_code", ARGS, "call $account_code (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)", 33_068_073 + 5_040),
    ("account_code_size", ARGS, "call $account_code_size (i32.const 0)", 33_068_073),
    ("account_codehash", ARGS, "call $account_codehash (i32.const 0) (i32.const 64)", 26_078_153),
    ("evm_gas_left", "", "call $gas_left", 8_400),
    ("evm_ink_left", "", "call $ink_left", 8_400),
    ("block_basefee", "", "call $block_basefee (i32.const 0)", 13_440),
    ("block_coinbase", "", "call $block_coinbase (i32.const 0)", 13_440),
    ("block_gas_limit", "", "call $block_gas_limit", 8_400),
    ("block_number", "", "call $block_number", 8_400),
    ("block_timestamp", "", "call $block_timestamp", 8_400),
    ("chainid", "", "call $chainid", 8_400),
    ("contract_address", "", "call $contract_address (i32.const 0)", 13_440),
    ("msg_sender", "", "call $msg_sender (i32.const 0)", 13_440),
    ("msg_value", "", "call $msg_value (i32.const 0)", 13_440),
    ("msg_reentrant", "", "call $msg_reentrant", 8_400),
    ("tx_gas_price", "", "call $tx_gas_price (i32.const 0)", 13_440),
    ("tx_ink_price", "", "call $tx_ink_price", 8_400),
    ("tx_origin", "", "call $tx_origin (i32.const 0)", 13_440),
    ("math_div", "", "call $math_div (i32.const 0) (i32.const 32)", 43_520),
    ("math_mod", "", "call $math_mod (i32.const 0) (i32.const 32)", 43_520),
    // An exponent of zero has one significant byte for the meter.
    ("math_pow", "", "call $math_pow (i32.const 0) (i32.const 32)", 23_520 + 3_000 + 17_500),
    ("math_add_mod", "", "call $math_add_mod (i32.const 0) (i32.const 32) (i32.const 64)", 49_560),
    ("math_mul_mod", "", "call $math_mul_mod (i32.const 0) (i32.const 32) (i32.const 64)", 52_660),
    ("native_keccak256", "", "call $keccak (i32.const 0) (i32.const 64) (i32.const 64)", 121_800),
    ("pay_for_memory_grow", "", "call $pay_for_memory_grow (i32.const 0)", 8_400),
];

fn chain(body: &str) -> Chain {
    let mut chain = Chain::default();
    chain.set_code(OTHER, &[0]);
    chain.install(PROGRAM, &entry(body));
    chain
}

fn traced(chain: &mut Chain, data: &[u8], gas: u64) -> (Outcome, Vec<HostCall>) {
    let trace = HostTrace::default();
    let tx = chain.tx(TxKind::Call(PROGRAM), data, U256::ZERO, gas);
    let mut evm = chain.evm(NoOpInspector);
    evm.trace_programs(trace.clone());
    let result = evm.transact(tx).unwrap().result;
    let calls = trace.take().into_iter().filter_map(|event| match event {
        HostEvent::Called(call) => Some(call),
        _ => None,
    });
    (Outcome { result }, calls.collect())
}

/// The call, with its result dropped if it has one.
fn statement(call: &str) -> String {
    let name = call.split(' ').nth(1).unwrap();
    let declared = crate::common::IMPORTS
        .lines()
        .find(|line| line.contains(&format!("func {name} ")));
    if declared.unwrap().contains("(result") {
        format!("(drop ({call}))")
    } else {
        format!("({call})")
    }
}

const fn spent(call: &HostCall) -> u64 {
    call.start_ink - call.end_ink
}

#[test]
fn every_host_function_costs_what_the_specification_says() {
    for (name, setup, call, ink) in ROWS {
        let (outcome, calls) = traced(
            &mut chain(&format!("{setup} {} i32.const 0", statement(call))),
            // Four bytes for read_args; otherwise the address.
            if name == "read_args" {
                &[1, 2, 3, 4]
            } else {
                OTHER.as_slice()
            },
            GAS,
        );
        assert!(outcome.success(), "{name}: {outcome:?}");
        let measured = calls.last().unwrap();
        assert_eq!(measured.hook.signature().name, name);
        assert_eq!(spent(measured), ink, "{name}");
    }
    let measured: BTreeSet<_> = ROWS.iter().map(|row| row.0).collect();
    let hooks = Hook::ALL.iter().map(|hook| hook.signature());
    let all: BTreeSet<_> = hooks
        .filter(|hook| hook.module == "vm_hooks")
        .map(|hook| hook.name)
        .collect();
    assert_eq!((measured.len(), measured), (42, all));
}

#[test]
fn growing_pays_for_pages_beyond_the_free_ones() {
    // One page is open; the second is free, the third and fourth cost 1,000 gas each, and one more for the exponential part at 7.
    for (pages, gas) in [(1, 0), (2, 1_000), (3, 2_000), (6, 5_001), (128, u64::MAX)] {
        let (outcome, calls) = traced(
            &mut chain(&format!("(call $pay_for_memory_grow (i32.const {pages})) i32.const 0")),
            &[],
            GAS,
        );
        assert_eq!(outcome.success(), gas != u64::MAX, "{pages} pages: {outcome:?}");
        let call = calls.last().unwrap();
        assert_eq!(
            spent(call),
            gas.saturating_mul(GAS_INK).min(call.start_ink),
            "{pages} pages"
        );
    }
}

/// Functions that want a program to own more than they charge: setup that makes the call cheap, the call, its base price, the
/// gas that has to be there after the base price.
#[rustfmt::skip]
const NEEDS: [(&str, &str, u64, u64); 7] = [
    ("(call $storage_load (i32.const 32) (i32.const 64))", "call $storage_load (i32.const 32) (i32.const 64)", 18_480, 2_115),
    ("", "call $storage_cache (i32.const 32) (i32.const 64)", 18_480, 2_310),
    ("", "call $storage_flush (i32.const 0)", 68_073, 2_300),
    ("(call $msg_sender (i32.const 0))", "call $account_balance (i32.const 0) (i32.const 64)", 78_153, 2_600),
    ("(call $msg_sender (i32.const 0))", "call $account_codehash (i32.const 0) (i32.const 64)", 78_153, 2_600),
    ("(call $read_args (i32.const 0)) (drop (call $account_code_size (i32.const 0)))", "call $account_code_size (i32.const 0)", 68_073, 2_600),
    ("(call $read_args (i32.const 0)) (drop (call $account_code_size (i32.const 0)))", "call $account_code (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)", 68_073, 2_600),
];

#[test]
fn some_functions_want_more_than_they_take() {
    for (setup, call, base, need) in NEEDS {
        let body = format!("{setup} {} i32.const 0", statement(call));
        let run = |gas| traced(&mut chain(&body), OTHER.as_slice(), gas);
        let (_, calls) = run(GAS);
        let spare = calls.last().unwrap().start_ink - base - need * GAS_INK;
        let enough = GAS - spare / GAS_INK;
        let (outcome, calls) = run(enough);
        assert!(outcome.success(), "{call}: {outcome:?}");
        assert!(
            spent(calls.last().unwrap()) < need * GAS_INK / 2,
            "{call} takes far less"
        );
        let (outcome, _) = run(enough - 1);
        assert!(
            matches!(outcome.result, ExecutionResult::Halt { .. }),
            "{call}: {outcome:?}"
        );
        assert_eq!(outcome.gas(), enough - 1, "{call}: one gas less, and all is gone");
    }
}

#[test]
fn calls_that_cannot_be_paid_or_made_cost_what_the_specification_says() {
    // One wei to an account that nobody has made: 2,600 + 9,000 + 25,000 before anything is passed on.
    let body = format!(
        "{ARGS} (i32.store8 (i32.const 95) (i32.const 1)) {} i32.const 0",
        statement(ROWS[8].2)
    );
    let nobody = Address::with_last_byte(0x77);
    let run = |gas| traced(&mut chain(&body), nobody.as_slice(), gas);
    let (_, calls) = run(GAS);
    let call = calls.last().unwrap();
    let (base, price) = (83_193 + NO_DATA, (2_600 + 9_000 + 25_000) * GAS_INK);
    // Nothing was sent along, so that the call itself fails for want of funds and all that was passed on comes back.
    assert_eq!(
        (spent(call), call.outs[..].to_vec()),
        (base + price, vec![0, 0, 0, 0, 2])
    );
    // Just enough, and one gas less: then all whole gas is taken, and the program goes on with what is left of the last one.
    let spare = (call.start_ink - base - price) / GAS_INK;
    let (_, calls) = run(GAS - spare);
    assert_eq!(spent(calls.last().unwrap()), base + price);
    let (_, calls) = run(GAS - spare - 1);
    let call = calls.last().unwrap();
    assert!(call.end_ink < GAS_INK, "{call:?}");
    assert_eq!((spent(call) - base) % GAS_INK, 0);
    assert_eq!(call.outs[..], [0, 0, 0, 0, 2]);
}

#[test]
fn a_static_frame_pays_the_base_price_alone_for_a_call_with_value() {
    let body = format!(
        "{ARGS} (i32.store8 (i32.const 95) (i32.const 1)) {} i32.const 0",
        statement(ROWS[8].2)
    );
    let mut chain = chain(&body);
    // Static call of the program with the calldata: calldatacopy(0, 0, size); staticcall(gas, 0x99, 0, size, 0, 0)
    chain.set_code(
        Address::with_last_byte(0x43),
        &hex!("3660006000376000600036600060995afa00"),
    );
    let trace = HostTrace::default();
    let tx = chain.tx(
        TxKind::Call(Address::with_last_byte(0x43)),
        OTHER.as_slice(),
        U256::ZERO,
        GAS,
    );
    let mut evm = chain.evm(NoOpInspector);
    evm.trace_programs(trace.clone());
    assert!(evm.transact(tx).unwrap().result.is_success());
    let events = trace.take();
    let call = events.iter().find_map(|event| match event {
        HostEvent::Called(call) if call.hook == Hook::Call => Some(call),
        _ => None,
    });
    let call = call.unwrap();
    assert_eq!(
        (spent(call), call.outs[..].to_vec()),
        (83_193 + NO_DATA, vec![0, 0, 0, 0, 2])
    );
}

/// EVM code that measures one operation: GAS; operation; GAS; then answers the difference.
fn evm_cost(chain: &mut Chain, operation: &[u8]) -> u64 {
    let code = [&hex!("5a")[..], operation, &hex!("5a900360005260206000f3")].concat();
    chain.set_code(OTHER, &code);
    let output = chain.send(OTHER, &[]).output();
    U256::from_be_slice(&output).to()
}

#[test]
fn host_functions_cost_about_what_their_opcodes_cost() {
    // Operand pushes and the POP of a result are part of the measured operation.
    let rows: [(&str, &[u8]); 8] = [
        ("storage_load_bytes32", &hex!("60075450")),
        ("storage_flush_cache", &hex!("6001600755")),
        ("account_balance", &hex!("60773150")),
        ("account_codehash", &hex!("60773f50")),
        ("emit_log", &hex!("60006000a0")),
        ("call_contract", &hex!("6000600060006000600060775af150")),
        ("transient_load_bytes32", &hex!("60075c50")),
        ("create1", &hex!("600060006000f050")),
    ];
    for (name, operation) in rows {
        let ink = ROWS.iter().find(|row| row.0 == name).unwrap().3;
        let gas = evm_cost(&mut Chain::default(), operation);
        let percent = ink / gas / (GAS_INK / 100);
        assert!((75..=125).contains(&percent), "{name}: {ink} ink, its opcode {gas} gas");
    }
}
