#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Published vectors here; running instrumented modules in `run`, one case per rule in `reject` and `bounds`,
//! hostile modules in `hostile`.

mod bounds;
mod hostile;
mod reject;
mod run;

use super::*;
use crate::{activation, code};

/// Copies its arguments to its result: the published example of 187 bytes.
pub(super) const WRITE_ARGS: &str = r#"(module
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (memory (export "memory") 1 1)
    (func $main (export "user_entrypoint") (param $args_len i32) (result i32)
        (call $read_args (i32.const 0))
        (call $write_result (i32.const 0) (local.get $args_len))
        i32.const 0))"#;

/// A program with a fixed page of memory, a body and whatever else.
pub(super) fn program(extra: &str, body: &str) -> String {
    format!(
        r#"(module {extra} (memory (export "memory") 1 1)
            (func (export "user_entrypoint") (param i32) (result i32) {body}))"#
    )
}

pub(super) fn prepare_wat(wat: &str, params: &Params) -> Result<Prepared, ModuleError> {
    prepare(&wat::parse_str(wat).unwrap(), params, 0)
}

pub(super) fn accept(wat: &str) -> Prepared {
    prepare_wat(wat, &Params::default()).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

pub(super) fn refuse(wat: &str, words: &str) {
    refuse_on(wat, &Params::default(), words);
}

pub(super) fn refuse_on(wat: &str, params: &Params, words: &str) {
    let head = wat.chars().take(300).collect::<String>();
    let error = prepare_wat(wat, params).expect_err(&head).to_string();
    assert!(error.contains(words), "expected {words:?} in {error:?} for {head}");
}

pub(super) fn body(body: &str) -> String {
    program("", body)
}

pub(super) fn extra(extra: &str) -> String {
    program(extra, "i32.const 0")
}

pub(super) fn debug() -> Params {
    Params {
        debug: true,
        ..Params::default()
    }
}

pub(super) fn repeat(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn the_published_example_has_the_published_sizes_and_costs() {
    let wasm = wat::parse_str(WRITE_ARGS).unwrap();
    assert_eq!(wasm.len(), 187);
    assert_eq!(code::compress(&wasm).unwrap().len(), 135);

    let info = prepare(&wasm, &Params::default(), 0).unwrap().info;
    assert_eq!((info.init_cost, info.cached_cost, info.asm_estimate), (34, 11, 514_189));
    assert_eq!(
        (info.functions, info.type_len, info.wasm_len, info.globals),
        (1, 2, 187, 4)
    );
    assert_eq!((info.footprint, info.data_len, info.element_len), (1, 0, 0));
    // 7 operators in 3 blocks, 12 more per block, 17 for the frame
    assert_eq!(info.operators, 7 + 3 * 12 + 17);
}

#[test]
fn version_1_counts_the_cached_cost_twice() {
    let info = prepare_wat(WRITE_ARGS, &Params::for_arbos(30)).unwrap().info;
    assert_eq!((info.init_cost, info.cached_cost), (45, 11));
}

#[test]
fn activation_gas_floors_every_item() {
    let info = prepare_wat(WRITE_ARGS, &Params::default()).unwrap().info;
    // 187 bytes: 59 us; one function: 0; one page: 2217; 60 operators: 32
    assert_eq!(activation::gas(&Params::default(), &info), (59 + 2_217 + 32) * 28);
    assert_eq!(activation::gas(&Params::for_arbos(31), &info), (2_217 + 32) * 28);
}

#[test]
fn segments_are_counted_with_their_headers() {
    let extra = r#"(table 2 funcref) (elem (i32.const 0) $f $f) (func $f)
        (data (i32.const 8) "abcdef") (data (i32.const 65526) "0123456789")"#;
    let info = accept(&program(extra, "i32.const 0")).info;
    assert_eq!(info.data_bytes, 16);
    // flags, i32.const n, end, length, bytes; the offset 65526 takes three bytes
    assert_eq!(info.data_len, (1 + 2 + 1 + 1 + 6) + (1 + 4 + 1 + 1 + 10));
    // flags, i32.const 0, end, count, two functions
    assert_eq!(info.element_len, 1 + 2 + 1 + 1 + 2);
    assert_eq!(
        info.cached_cost,
        11 + u16::try_from((28 + 7) * 75_244 / 100_000).unwrap()
    );
    let gas = activation::gas(&Params::default(), &info);
    let us = info.wasm_len * 31_733 / 100_000 + 2 + 2_217 + 1 + info.operators * 535 / 1_000;
    // two functions cost less than a microsecond
    assert_eq!(gas, us * 28);
}

#[test]
fn preparation_is_deterministic() {
    assert_eq!(accept(WRITE_ARGS), accept(WRITE_ARGS));
}

#[test]
fn only_what_the_host_needs_is_exported() {
    let wat = program(
        r#"(func (export "other")) (global (export "g") i32 (i32.const 0))"#,
        "i32.const 0",
    );
    let exports = |wasm: &[u8]| -> Vec<String> {
        let engine = wasmi::Engine::default();
        let module = wasmi::Module::new(&engine, wasm).unwrap();
        module.exports().map(|export| export.name().to_owned()).collect()
    };
    let own = ["stylus_ink_left", "stylus_ink_status", "stylus_stack_left"];
    let expected = ["memory", "user_entrypoint"].into_iter().chain(own).collect::<Vec<_>>();
    let mut found = exports(&accept(&wat).wasm);
    found.sort();
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    assert_eq!(found, sorted);

    let debug = Params {
        debug: true,
        ..Params::default()
    };
    let found = exports(&prepare_wat(&wat, &debug).unwrap().wasm);
    assert!(found.contains(&"other".to_owned()) && found.len() == 7, "{found:?}");
}
