//! Costs and behaviour of host functions, through the EVM.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use alloy_primitives::{Address, U256};
use common::{Chain, entry, intrinsic};

const PROGRAM: Address = Address::with_last_byte(0x99);

/// Copies its arguments to its result; the program of the published worked example, rewritten: 187 bytes.
const WRITE_ARGS: &str = r#"(module
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (memory (export "memory") 1 1)
    (func $main (export "user_entrypoint") (param $args_len i32) (result i32)
        (call $read_args (i32.const 0))
        (call $write_result (i32.const 0) (local.get $args_len))
        i32.const 0))"#;

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
fn a_guest_stores_and_returns() {
    let mut chain = Chain::default();
    chain.install(
        PROGRAM,
        &entry(
            "(call $read_args (i32.const 0))
             (call $storage_cache (i32.const 64) (i32.const 0))
             (call $storage_flush (i32.const 0))
             (call $storage_load (i32.const 64) (i32.const 32))
             (call $write_result (i32.const 32) (i32.const 32))
             i32.const 0",
        ),
    );
    let data: [u8; 32] = U256::from(77).to_be_bytes();
    let outcome = chain.send(PROGRAM, &data);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(outcome.output().as_ref(), data);
    assert_eq!(chain.slot(PROGRAM, 0), U256::from(77));
}
