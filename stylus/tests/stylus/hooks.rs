//! What host functions cost, to the ink, and what they do.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use crate::common::{self, Chain, Outcome, SENDER, entry, intrinsic};

const PROGRAM: Address = Address::with_last_byte(0x99);
const OTHER: Address = Address::with_last_byte(0x42);

/// Copies its arguments to its result; the program of the published worked example, rewritten: 187 bytes.
const WRITE_ARGS: &str = r#"(module
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (memory (export "memory") 1 1)
    (func $main (export "user_entrypoint") (param $args_len i32) (result i32)
        (call $read_args (i32.const 0))
        (call $write_result (i32.const 0) (local.get $args_len))
        i32.const 0))"#;

/// Ink between two `evm_ink_left` around a call with `args` constant arguments, beside the call's own: the first block ends
/// with the measured call, the second with the second reading, which also pays for itself.
const fn overhead(args: u64, results: u64) -> u64 {
    (210 + args + 3800 + 2450) + (9 * results + 75 + 3800 + 2450) + 8400
}

/// Runs `setup`, then measures the function call `hook`, which has constant arguments only; its result is dropped.
pub(crate) struct Measured {
    pub(crate) ink: u64,
    /// Memory from 0 to 500 after the call.
    pub(crate) memory: Bytes,
}

pub(crate) fn measure(chain: &mut Chain, data: &[u8], setup: &str, hook: &str) -> Measured {
    let name = hook.split([' ', '(']).find(|part| part.starts_with('$')).unwrap();
    let declaration = common::IMPORTS
        .lines()
        .find(|line| line.contains(&format!("func {name} ")))
        .unwrap();
    let result = declaration.contains("(result");
    let args = hook.matches("const").count() as u64;
    let drop = if result { "(drop)" } else { "" };
    chain.install(
        PROGRAM,
        &entry(&format!(
            "(call $read_args (i32.const 0)) {setup}
             (local.set $j (call $ink_left))
             ({hook}) {drop}
             (local.set $j (i64.sub (local.get $j) (call $ink_left)))
             (i64.store (i32.const 65000) (local.get $j))
             (memory.copy (i32.const 65008) (i32.const 0) (i32.const 500))
             (call $write_result (i32.const 65000) (i32.const 508))
             i32.const 0"
        )),
    );
    let outcome = chain.send(PROGRAM, data);
    assert!(outcome.success(), "{hook}: {outcome:?}");
    let output = outcome.output();
    let spent = u64::from_le_bytes(output[..8].try_into().unwrap());
    Measured {
        ink: spent - overhead(args, result.into()),
        memory: output.slice(8..),
    }
}

fn ink(setup: &str, hook: &str) -> u64 {
    measure(&mut Chain::default(), &[], setup, hook).ink
}

fn run(chain: &mut Chain, data: &[u8], body: &str) -> Outcome {
    chain.install(PROGRAM, &entry(body));
    chain.send(PROGRAM, data)
}

#[test]
fn the_worked_example_costs_what_was_published() {
    let mut chain = Chain::default();
    let wasm = wat::parse_str(WRITE_ARGS).unwrap();
    assert_eq!(wasm.len(), 187);
    let program = chain.install(PROGRAM, &wasm);
    let data = [1, 2, 3, 4];
    let outcome = chain.send(PROGRAM, &data);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(outcome.output().as_ref(), data);
    assert_eq!((program.record.init_cost, program.record.cached_cost), (34, 11));
    assert_eq!(outcome.gas() - intrinsic(&data), 9236);
    // The same block remembers the program.
    assert_eq!(chain.send(PROGRAM, &data).gas() - intrinsic(&data), 9236 - 8866);
}

#[test]
fn a_call_of_the_worked_example_costs_what_was_published() {
    let mut chain = Chain::default();
    chain.install(OTHER, &wat::parse_str(WRITE_ARGS).unwrap());
    let data = OTHER.to_vec();
    let call = "call $call (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 200) (i64.const -1) (i32.const 300)";
    let measured = measure(&mut chain, &data, "", call);
    assert_eq!(measured.ink, 83_193 + 2 * 16_381 + (2600 + 9236) * 10_000);
    assert_eq!(
        measured.memory[300..304],
        [4, 0, 0, 0],
        "the length of the answer, little endian"
    );
}

#[test]
fn getters_cost_a_host_call_and_their_pointer() {
    for name in [
        "gas_left",
        "ink_left",
        "block_gas_limit",
        "block_number",
        "block_timestamp",
        "chainid",
        "msg_reentrant",
        "tx_ink_price",
        "return_data_size",
    ] {
        assert_eq!(ink("", &format!("call ${name}")), 8_400, "{name}");
    }
    for name in [
        "block_basefee",
        "block_coinbase",
        "contract_address",
        "msg_sender",
        "msg_value",
        "tx_gas_price",
        "tx_origin",
    ] {
        assert_eq!(ink("", &format!("call ${name} (i32.const 64)")), 13_440, "{name}");
    }
}

#[test]
fn getters_answer_block_and_call() {
    let mut chain = Chain::default();
    let outcome = run(
        &mut chain,
        &[],
        "(call $block_basefee (i32.const 0))
         (call $block_coinbase (i32.const 32))
         (call $contract_address (i32.const 64))
         (call $msg_sender (i32.const 96))
         (call $msg_value (i32.const 128))
         (call $tx_gas_price (i32.const 160))
         (call $tx_origin (i32.const 192))
         (i64.store (i32.const 224) (call $block_gas_limit))
         (i64.store (i32.const 232) (call $block_number))
         (i64.store (i32.const 240) (call $block_timestamp))
         (i64.store (i32.const 248) (call $chainid))
         (i32.store (i32.const 256) (call $tx_ink_price))
         (i32.store (i32.const 260) (call $msg_reentrant))
         (call $write_result (i32.const 0) (i32.const 264))
         i32.const 0",
    );
    let output = outcome.output();
    let at = |index: usize| Address::from_slice(&output[index..index + 20]);
    assert_eq!(U256::from_be_slice(&output[..32]), U256::from(100_000_000));
    assert_eq!(
        [at(32), at(64), at(96), at(192)],
        [Address::with_last_byte(0xcb), PROGRAM, SENDER, SENDER]
    );
    assert_eq!(U256::from_be_slice(&output[128..160]), U256::ZERO);
    assert_eq!(U256::from_be_slice(&output[160..192]), U256::from(100_000_000));
    let numbers: Vec<_> = output[224..256]
        .chunks(8)
        .map(|n| u64::from_le_bytes(n.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, [1 << 50, 1000, common::NOW, 412_346]);
    assert_eq!(output[256..264], [0x10, 0x27, 0, 0, 0, 0, 0, 0]);
}

/// Sets slot 7 to what comes with the calldata.
const STORE: &str = "(i32.store8 (i32.const 131) (i32.const 7)) (call $storage_cache (i32.const 100) (i32.const 0))";
const LOAD: &str = "call $storage_load (i32.const 100) (i32.const 200)";
const FLUSH: &str = "call $storage_flush (i32.const 0)";

fn flush(before: u64, value: u64) -> u64 {
    let mut chain = Chain::default();
    chain.set_slot(PROGRAM, U256::from(7), U256::from(before));
    let measured = measure(&mut chain, common::word(value).as_slice(), STORE, FLUSH);
    assert_eq!(chain.slot(PROGRAM, 7), U256::from(value));
    measured.ink
}

#[test]
fn flushing_costs_what_was_published() {
    assert_eq!(flush(0, 5), 221_068_073);
    assert_eq!(flush(3, 5), 50_068_073);
    assert_eq!(flush(3, 0), 50_068_073);
    assert_eq!(ink("", FLUSH), 68_073, "nothing to write");
    let twice = format!(
        "{STORE} (call $storage_flush (i32.const 0)) (i32.store8 (i32.const 0) (i32.const 9))
         (call $storage_cache (i32.const 100) (i32.const 0))"
    );
    let mut chain = Chain::default();
    chain.set_slot(PROGRAM, U256::from(7), U256::from(3));
    assert_eq!(
        measure(&mut chain, common::word(5).as_slice(), &twice, FLUSH).ink,
        1_068_073
    );
}

#[test]
fn loading_costs_what_was_published() {
    let key = "(i32.store8 (i32.const 131) (i32.const 7))";
    assert_eq!(ink(key, LOAD), 21_068_480);
    assert_eq!(ink(&format!("{key} ({LOAD})"), LOAD), 18_480);
    assert_eq!(
        ink(&format!("{key} ({LOAD}) (call $storage_flush (i32.const 1))"), LOAD),
        1_068_480
    );
    assert_eq!(ink("", "call $storage_cache (i32.const 100) (i32.const 0)"), 18_480);
}

#[test]
fn the_storage_cache_gets_dearer() {
    let loads = |n: usize| format!("({LOAD})").repeat(n);
    assert_eq!(ink(&loads(31), LOAD), 18_480);
    assert_eq!(ink(&loads(32), LOAD), 18_480 + 20_000);
    assert_eq!(ink(&loads(128), LOAD), 18_480 + 100_000);
    let store = "call $storage_cache (i32.const 100) (i32.const 0)";
    let stores = |n: usize| format!("({store})").repeat(n);
    assert_eq!(ink(&stores(7), store), 18_480);
    assert_eq!(ink(&stores(8), store), 18_480 + 70_000);
    assert_eq!(ink(&stores(64), store), 18_480 + 100_000);
}

#[test]
fn transient_storage_is_kept_for_the_transaction() {
    assert_eq!(ink("", "call $transient_load (i32.const 0) (i32.const 32)"), 1_078_153);
    assert_eq!(ink("", "call $transient_store (i32.const 0) (i32.const 32)"), 1_078_153);
    let mut chain = Chain::default();
    let body = "(call $read_args (i32.const 0))
        (call $transient_load (i32.const 64) (i32.const 96))
        (call $transient_store (i32.const 64) (i32.const 0))
        (call $transient_load (i32.const 64) (i32.const 128))
        (call $write_result (i32.const 96) (i32.const 64))
        i32.const 0";
    for _ in 0..2 {
        let output = run(&mut chain, common::word(5).as_slice(), body).output();
        assert_eq!(
            (&output[..32], &output[32..]),
            (B256::ZERO.as_slice(), common::word(5).as_slice())
        );
    }
}

#[test]
fn account_reads_cost_what_was_published() {
    let mut chain = Chain::default();
    chain.set_code(OTHER, &[0xfe; 50]);
    let other = OTHER.to_vec();
    let mut cost = |data: &[u8], hook: &str| measure(&mut chain, data, "", hook).ink;
    let balance = "call $account_balance (i32.const 0) (i32.const 64)";
    assert_eq!(cost(SENDER.as_slice(), balance), 1_078_153, "the sender is warm");
    assert_eq!(cost(&other, balance), 26_078_153);
    assert_eq!(cost(&other, "call $account_code_size (i32.const 0)"), 33_068_073);
    assert_eq!(
        cost(&other, "call $account_codehash (i32.const 0) (i32.const 64)"),
        26_078_153
    );
}

#[test]
fn reading_code_costs_what_was_published() {
    for (len, expected) in [
        (120, 33_075_753),
        (206, 33_078_333),
        (179, 33_077_523),
        (135, 33_076_203),
    ] {
        let mut chain = Chain::default();
        chain.set_code(OTHER, &vec![7; len]);
        let code = "call $account_code (i32.const 0) (i32.const 2) (i32.const 3) (i32.const 64)";
        let measured = measure(&mut chain, OTHER.as_slice(), "", code);
        assert_eq!(measured.ink, expected);
        assert_eq!(measured.memory[64..68], [7, 7, 7, 0], "three bytes were wanted");
        // The last code is remembered.
        let again = measure(&mut chain, OTHER.as_slice(), &format!("(drop ({code}))"), code);
        assert_eq!(again.ink, expected - 33_000_000);
    }
}

#[test]
fn account_reads_answer_the_state() {
    let mut chain = Chain::default();
    chain.set_code(OTHER, b"\xfesome code");
    chain.set_balance(OTHER, U256::from(123));
    let outcome = run(
        &mut chain,
        OTHER.as_slice(),
        "(call $read_args (i32.const 0))
         (call $account_balance (i32.const 0) (i32.const 32))
         (call $account_codehash (i32.const 0) (i32.const 64))
         (i32.store (i32.const 96) (call $account_code_size (i32.const 0)))
         (i32.store (i32.const 100) (call $account_code (i32.const 0) (i32.const 6) (i32.const 100) (i32.const 104)))
         (i32.store8 (i32.const 0) (i32.const 0xff))
         (call $account_codehash (i32.const 0) (i32.const 160))
         (i32.store (i32.const 192) (call $account_code_size (i32.const 0)))
         (call $write_result (i32.const 32) (i32.const 164))
         i32.const 0",
    );
    let output = outcome.output();
    assert_eq!(U256::from_be_slice(&output[..32]), U256::from(123));
    assert_eq!(B256::from_slice(&output[32..64]), keccak256(b"\xfesome code"));
    assert_eq!((output[64], output[68]), (10, 4));
    assert_eq!(&output[72..77], b"code\0", "no padding beyond the code");
    assert_eq!(
        &output[128..160],
        B256::ZERO.as_slice(),
        "an account that does not exist"
    );
    assert_eq!(output[160], 0);
}

#[test]
fn hashing_copying_and_results_cost_what_was_published() {
    for (len, expected) in [(10, 121_800), (100, 163_800), (1000, 751_800)] {
        assert_eq!(
            ink(
                "",
                &format!("call $keccak (i32.const 0) (i32.const {len}) (i32.const 2000)")
            ),
            expected
        );
    }
    let measured = measure(
        &mut Chain::default(),
        b"cordon",
        "",
        "call $keccak (i32.const 0) (i32.const 6) (i32.const 100)",
    );
    assert_eq!(measured.memory[100..132], keccak256(b"cordon")[..]);
    assert_eq!(ink("", "call $write_result (i32.const 0) (i32.const 0)"), 41_162);
    assert_eq!(
        ink("", "call $write_result (i32.const 0) (i32.const 132)"),
        41_162 + 2 * 55 * 100
    );
    let mut chain = Chain::default();
    assert_eq!(
        measure(&mut chain, &[1; 132], "", "call $read_args (i32.const 0)").ink,
        13_440 + 30 * 100
    );
}

#[test]
fn big_integer_arithmetic() {
    // Little numbers in the last bytes of words at 0, 32 and 64.
    let operands = |a: u64, b: u64, c: u64| [a, b, c].map(|n| U256::from(n).to_be_bytes::<32>()).concat();
    let check = |hook: &str, operands: &[u8], expected: U256, cost: u64| {
        let measured = measure(&mut Chain::default(), operands, "", hook);
        assert_eq!(U256::from_be_slice(&measured.memory[..32]), expected, "{hook}");
        assert_eq!(measured.ink, cost, "{hook}");
    };
    let two = |name: &str| format!("call ${name} (i32.const 0) (i32.const 32)");
    let three = |name: &str| format!("call ${name} (i32.const 0) (i32.const 32) (i32.const 64)");
    check(&two("math_div"), &operands(17, 5, 0), U256::from(3), 43_520);
    check(&two("math_div"), &operands(17, 0, 0), U256::ZERO, 43_520);
    check(&two("math_mod"), &operands(17, 5, 0), U256::from(2), 43_520);
    check(&two("math_mod"), &operands(17, 0, 0), U256::ZERO, 43_520);
    check(
        &two("math_pow"),
        &operands(3, 4, 0),
        U256::from(81),
        23_520 + 3_000 + 17_500 * 2,
    );
    check(
        &two("math_pow"),
        &operands(2, 256, 0),
        U256::ZERO,
        23_520 + 3_000 + 17_500 * 3,
    );
    check(&three("math_add_mod"), &operands(17, 5, 7), U256::from(1), 49_560);
    check(&three("math_add_mod"), &operands(17, 5, 0), U256::ZERO, 49_560);
    check(&three("math_mul_mod"), &operands(17, 5, 7), U256::from(1), 52_660);
    let full = [U256::MAX, U256::MAX, U256::from(12)]
        .map(|n| n.to_be_bytes::<32>())
        .concat();
    // (2^256 - 1) mod 12 = 3 and 3 * 3 mod 12 = 9, in full width.
    check(&three("math_mul_mod"), &full, U256::from(9), 52_660);
    check(&three("math_add_mod"), &full, U256::from(6), 49_560);
}

#[test]
fn logs_carry_their_topics_and_cost_like_the_evm() {
    for topics in 0..=4_u64 {
        let len = 32 * topics + 50;
        let log = format!("call $emit_log (i32.const 0) (i32.const {len}) (i32.const {topics})");
        let read = 16_381 + 55 * len.saturating_sub(32);
        assert_eq!(ink("", &log), 68_073 + read + (375 * (topics + 1) + 8 * 50) * 10_000);
    }
    let mut chain = Chain::default();
    let data = [[1; 32], [2; 32], [3; 32]].concat();
    let body =
        "(call $read_args (i32.const 0)) (call $emit_log (i32.const 0) (i32.const 66) (i32.const 2)) i32.const 0";
    let outcome = run(&mut chain, &data, body);
    let log = &outcome.result.logs()[0];
    assert_eq!(log.address, PROGRAM);
    assert_eq!(log.topics(), [B256::repeat_byte(1), B256::repeat_byte(2)]);
    assert_eq!(log.data.data[..], [3, 3]);
    for bad in ["(i32.const 200) (i32.const 5)", "(i32.const 31) (i32.const 1)"] {
        let outcome = run(
            &mut chain,
            &[],
            &format!("(call $emit_log (i32.const 0) {bad}) i32.const 0"),
        );
        assert!(
            !outcome.success() && outcome.output().is_empty() && outcome.gas() < 100_000,
            "{outcome:?}"
        );
    }
}

#[test]
fn consoles_are_linked_on_debug_chains_only() {
    let wasm = wat::parse_str(
        r#"(module (import "console" "tee_i32" (func $tee (param i32) (result i32)))
            (import "console" "log_txt" (func $log (param i32 i32)))
            (memory (export "memory") 1 1)
            (func (export "user_entrypoint") (param i32) (result i32)
                (call $log (i32.const 0) (i32.const 8))
                (i32.sub (call $tee (i32.const 5)) (i32.const 5))))"#,
    )
    .unwrap();
    let mut chain = Chain::default();
    assert!(cordon_stylus::install::program(&wasm, &chain.params, chain.now, false).is_err());
    chain.params.debug = true;
    chain.cache = std::sync::Arc::new(cordon_stylus::ProgramCache::for_debug_chain());
    chain.install(PROGRAM, &wasm);
    assert!(chain.send(PROGRAM, &[]).success());
}
