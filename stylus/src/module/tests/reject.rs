//! What is refused, with which words, and what is still accepted next to it: names, features, operators.

use super::*;

#[test]
fn imports() {
    accept(&extra(r#"(import "vm_hooks" "msg_value" (func (param i32)))"#));
    accept(&extra(
        r#"(import "vm_hooks" "msg_value" (func (param i32))) (import "vm_hooks" "msg_value" (func (param i32)))"#,
    ));
    refuse(
        &extra(r#"(import "vm_hooks" "nothing" (func))"#),
        "No such import: vm_hooks.nothing",
    );
    refuse(
        &extra(r#"(import "env" "msg_value" (func (param i32)))"#),
        "No such import: env.msg_value",
    );
    refuse(
        &extra(r#"(import "vm_hooks" "msg_value" (func (param i64)))"#),
        "wrong type for import vm_hooks.msg_value",
    );
    refuse(
        &extra(r#"(import "vm_hooks" "msg_value" (func (param i32) (result i32)))"#),
        "wrong type",
    );
    refuse(
        &extra(r#"(import "vm_hooks" "table" (table 1 funcref))"#),
        "unsupported import kind of vm_hooks.table",
    );
    refuse(
        &extra(r#"(import "vm_hooks" "global" (global i32))"#),
        "unsupported import kind",
    );
    refuse(
        r#"(module (import "vm_hooks" "m" (memory 1)))"#,
        "unsupported import kind",
    );
    let twice = r#"(type $a (func (param i32))) (type $b (func (param i32)))
        (import "vm_hooks" "msg_value" (func (type $a))) (import "vm_hooks" "msg_value" (func (type $b)))"#;
    refuse(&extra(twice), "inconsistent imports for vm_hooks.msg_value");
}

#[test]
fn console_is_for_debug_chains() {
    let wat = extra(r#"(import "console" "log_txt" (func (param i32 i32)))"#);
    refuse(&wat, "No such import: console.log_txt");
    prepare_wat(&wat, &debug()).unwrap();
}

#[test]
fn entrypoint_and_memory_must_be_exported() {
    let memory = r#"(memory (export "memory") 1 1)"#;
    let entry = r#"(func (export "user_entrypoint") (param i32) (result i32) i32.const 0)"#;
    accept(&format!("(module {memory} {entry})"));
    refuse(
        &format!("(module {memory})"),
        "missing export with name user_entrypoint",
    );
    refuse(&format!("(module {entry})"), "missing export with name memory");
    refuse(
        &format!("(module (memory 1 1) {entry})"),
        "missing export with name memory",
    );
    refuse(
        &format!(r#"(module (memory 1 1) (func (export "memory")) {entry})"#),
        "missing export with name memory",
    );
    refuse(
        &format!(r#"(module {memory} (func (export "user_entrypoint") (param i32)))"#),
        "(i32) -> i32",
    );
    refuse(
        &format!(r#"(module {memory} (global (export "user_entrypoint") i32 (i32.const 0)))"#),
        "user_entrypoint",
    );
    refuse(&format!("(module {memory} (memory 1 1) {entry})"), "failed to validate");
    refuse("(module)", "missing export");
}

#[test]
fn names_of_exports() {
    let import = r#"(import "vm_hooks" "msg_value" (func $m (param i32)))"#;
    refuse(
        &extra(&format!(r#"{import} (export "msg_value" (func $m))"#)),
        "exports an import with the same name",
    );
    refuse(
        &extra(&format!(r#"{import} (export "a__b__msg_value" (func $m))"#)),
        "exports an import",
    );
    accept(&extra(&format!(r#"{import} (export "msg_value__x" (func $m))"#)));
    refuse(&extra(r#"(func (export "stylus_x"))"#), "stylus_x is a reserved symbol");
    refuse(
        &extra(r#"(func (export "a__stylusx"))"#),
        "stylusx is a reserved symbol",
    );
    refuse(&extra(r#"(import "vm_hooks" "stylus_x" (func))"#), "reserved symbol");
}

#[test]
fn start_functions() {
    refuse(&extra("(func $s) (start $s)"), "start functions not allowed");
}

#[test]
fn growing_memory_must_be_paid_for() {
    let with = |memory: &str, import: &str| {
        format!(
            r#"(module {import} (memory (export "memory") {memory})
                (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#
        )
    };
    let hook = r#"(import "vm_hooks" "pay_for_memory_grow" (func (param i32)))"#;
    for memory in ["1", "1 2"] {
        refuse(&with(memory, ""), "pay_for_memory_grow");
        accept(&with(memory, hook));
    }
    accept(&with("1 1", ""));
    refuse(
        &with("1", r#"(import "vm_hooks" "pay_for_memory_grow" (func (param i64)))"#),
        "wrong type",
    );
    // an empty module in the eyes of the tool that looks for this word
    refuse(
        r#"(module (memory (export "memory") 17) (func $f))"#,
        "pay_for_memory_grow",
    );
}

#[test]
fn floating_point() {
    let words = "No implementation for floating point operation";
    for bad in [
        "f32.const 1 f32.const 2 f32.add drop",
        "f64.const 1 f64.sqrt drop",
        "f32.const 1 f32.const 2 f32.lt drop",
        "f32.const 1 i32.trunc_f32_s drop",
        "f64.const 1 i64.trunc_sat_f64_u drop",
        "i32.const 1 f64.convert_i32_u drop",
        "f32.const 1 f64.promote_f32 drop",
        "f64.const 1 f64.const 1 f64.copysign drop",
    ] {
        refuse(&body(&format!("{bad} i32.const 0")), words);
    }
    for good in [
        "(local f32 f64) f32.const 1 local.set 1",
        "i32.const 0 f32.load i32.reinterpret_f32 drop",
        "i32.const 0 f64.const 1 f64.store",
        "i64.const 1 f64.reinterpret_i64 drop",
    ] {
        accept(&body(&format!("{good} i32.const 0")));
    }
}

#[test]
fn features_that_are_off() {
    accept(&body("i32.const 0 i32.const 0 i32.const 0 memory.copy i32.const 0"));
    for (extra, code) in [
        ("(table 1 funcref)", "(table.set (i32.const 0) (ref.null func))"),
        (
            "(table 1 funcref)",
            "(table.copy (i32.const 0) (i32.const 0) (i32.const 0))",
        ),
        (
            r#"(table 1 funcref) (elem $e func)"#,
            "(table.init $e (i32.const 0) (i32.const 0) (i32.const 0))",
        ),
        (r#"(elem $e func)"#, "(elem.drop $e)"),
        (
            r#"(data $d "x")"#,
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))",
        ),
        (r#"(data $d "x")"#, "(data.drop $d)"),
        (
            "",
            "(drop (select (result i32) (i32.const 0) (i32.const 0) (i32.const 0)))",
        ),
        ("", "(drop (ref.is_null (ref.null func)))"),
        ("", "(return_call 0 (i32.const 0))"),
        ("(tag $t)", "(throw $t)"),
        ("", "(drop (i32.atomic.load (i32.const 0)))"),
        ("", "(drop (v128.const i64x2 0 0))"),
        (
            "",
            "(drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))) drop",
        ),
    ] {
        let wat = program(extra, &format!("{code} i32.const 0"));
        assert!(prepare_wat(&wat, &Params::default()).is_err(), "{wat}");
    }
    for module in [
        "(component)",
        r#"(module (memory (export "memory") i64 1 1))"#,
        "(module (rec (type (struct))))",
    ] {
        assert!(prepare_wat(module, &Params::default()).is_err(), "{module}");
    }
}

#[test]
fn a_data_count_section_is_unsupported() {
    let wat = program(r#"(data $d "x")"#, "(data.drop $d) i32.const 0");
    refuse(&wat, "unsupported section type DataCount");
}

#[test]
fn multi_value_ended_with_stylus_3() {
    for wat in [
        extra("(func (result i32 i32) i32.const 0 i32.const 0)"),
        body("block (result i32 i32) i32.const 0 i32.const 0 end drop"),
        body("i32.const 0 block (param i32) drop end i32.const 0"),
    ] {
        prepare_wat(&wat, &Params::for_arbos(51)).unwrap();
        refuse(&wat, "failed to validate");
    }
}

#[test]
fn table_indices_must_be_one_byte() {
    let wasm = wat::parse_str(program(
        "(table 1 funcref) (type $t (func))",
        "i32.const 0 call_indirect (type $t) i32.const 0",
    ))
    .unwrap();
    assert!(prepare(&wasm, &Params::default(), 0).is_ok());
    // call_indirect, type 0, table 0; then the last constant: the linker's long form needs a longer body and section
    let at = wasm.windows(3).position(|bytes| bytes == [0x11, 0, 0]).unwrap();
    let mut long = wasm.clone();
    long.splice(at + 2..at + 3, [0x80, 0x80, 0x80, 0x80, 0]);
    let code = wasm.iter().rposition(|byte| *byte == 10).unwrap();
    let grown = |long: &mut Vec<u8>, at: usize| long[at] += 4;
    grown(&mut long, code + 1); // section
    grown(&mut long, code + 3); // body
    let error = prepare(&long, &Params::default(), 0).unwrap_err().to_string();
    assert!(error.contains("zero byte expected"), "{error}");
}
