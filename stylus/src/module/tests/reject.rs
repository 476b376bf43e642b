//! One case per rule: what is refused, with which words, and what is still accepted next to it.

use super::*;

fn refuse(wat: &str, words: &str) {
    refuse_on(wat, &Params::default(), words);
}

fn refuse_on(wat: &str, params: &Params, words: &str) {
    let head = wat.chars().take(300).collect::<String>();
    let error = prepare_wat(wat, params).expect_err(&head).to_string();
    assert!(error.contains(words), "expected {words:?} in {error:?} for {head}");
}

fn body(body: &str) -> String {
    program("", body)
}

fn extra(extra: &str) -> String {
    program(extra, "i32.const 0")
}

fn debug() -> Params {
    Params {
        debug: true,
        ..Params::default()
    }
}

fn repeat(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

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
fn the_number_of_imports_is_limited_since_the_charging_fixes() {
    let imports = |count| {
        extra(&repeat(count, |_| {
            r#"(import "vm_hooks" "msg_value" (func (param i32)))"#.to_owned()
        }))
    };
    accept(&imports(513));
    refuse(&imports(514), "too many wasm imports: 514 > 513");
    prepare_wat(&imports(514), &Params::for_arbos(31)).unwrap();
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
fn limits_on_exports_are_for_debug_chains() {
    let long = extra(&format!(r#"(func (export "{}"))"#, "x".repeat(513)));
    accept(&long);
    refuse_on(&long, &debug(), "too many bytes in the name of an export: 513 > 512");
    let many = |count| {
        extra(&format!(
            "(func $f) {}",
            repeat(count, |i| format!(r#"(export "f{i}" (func $f))"#))
        ))
    };
    accept(&many(2_000));
    prepare_wat(&many(1_022), &debug()).unwrap();
    refuse_on(&many(1_023), &debug(), "too many wasm exports: 1025 > 1024");
}

#[test]
fn the_name_of_the_module_is_limited() {
    let named = |len| WRITE_ARGS.replacen("(module", &format!("(module ${}", "m".repeat(len)), 1);
    accept(&named(512));
    refuse(&named(513), "too many bytes in the module's name: 513 > 512");
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
fn memory_is_limited() {
    let pages = |pages: u32| WRITE_ARGS.replace("1 1)", &format!("{pages} {pages})"));
    accept(&pages(0));
    accept(&pages(128));
    refuse(&pages(129), "memory exceeds limit: 129 > 128 pages");
    refuse(&WRITE_ARGS.replace("1 1)", "2 1)"), "failed to validate");
    let wasm = wat::parse_str(pages(100)).unwrap();
    assert!(prepare(&wasm, &Params::default(), 28).is_ok());
    assert!(matches!(
        prepare(&wasm, &Params::default(), 29),
        Err(ModuleError::Memory { pages: 100, limit: 99 })
    ));
    assert!(matches!(
        prepare(&wasm, &Params::default(), u16::MAX),
        Err(ModuleError::Memory { limit: 0, .. })
    ));
    // a larger parameter does not lift the hard bound
    refuse_on(
        &pages(129),
        &Params {
            page_limit: 1_000,
            ..Params::default()
        },
        "129 > 128",
    );
    refuse_on(
        &pages(65),
        &Params {
            page_limit: 64,
            ..Params::default()
        },
        "65 > 64",
    );
}

#[test]
fn tables_and_elements_are_limited() {
    accept(&extra("(table 4096 funcref)"));
    refuse(
        &extra("(table 4097 funcref)"),
        "too many wasm table entries: 4097 > 4096",
    );
    refuse(&extra("(table 1 funcref) (table 1 funcref)"), "failed to validate");
    let segments = |count| {
        extra(&format!(
            "(table 4 funcref) (func $f) {}",
            "(elem (i32.const 0) $f)".repeat(count)
        ))
    };
    accept(&segments(128));
    refuse(&segments(129), "too many wasm elements: 129 > 128");
    let entries = |count| {
        extra(&format!(
            "(table 4096 funcref) (func $f) (elem (i32.const 0) {})",
            "$f ".repeat(count)
        ))
    };
    // header of 6 bytes: flags, offset, end, count of two bytes
    accept(&entries(4_090));
    refuse(&entries(4_091), "too many wasm element entries: 4097 > 4096");
    refuse(
        &extra("(table 1 funcref) (func $f) (elem (i32.const 1) $f)"),
        "element segment 0 is out of bounds",
    );
    refuse(&extra("(table 1 externref)"), "failed to validate");
}

#[test]
fn data_is_limited() {
    let segments = |count| extra(&r#"(data (i32.const 0) "x")"#.repeat(count));
    accept(&segments(128));
    refuse(&segments(129), "too many wasm datas: 129 > 128");
    accept(&extra(r#"(data (i32.const 65535) "x")"#));
    refuse(
        &extra(r#"(data (i32.const 65536) "x")"#),
        "data segment 0 is out of bounds",
    );
    refuse(
        &extra(r#"(data (i32.const -1) "x")"#),
        "data segment 0 is out of bounds",
    );
}

#[test]
fn functions_and_locals_are_limited() {
    let functions = |count| extra(&"(func)".repeat(count));
    accept(&functions(4_095));
    refuse(&functions(4_096), "too many wasm functions: 4097 > 4096");
    let locals = |count| body(&format!("(local {}) i32.const 0", "i32 ".repeat(count)));
    accept(&locals(348));
    refuse(&locals(349), "too many wasm locals: 349 > 348");
}

#[test]
fn globals_are_limited_and_constant() {
    let globals = |count| extra(&"(global i32 (i32.const 0))".repeat(count));
    accept(&globals(32_764));
    refuse(&globals(32_765), "too many wasm globals: 32769 > 32768");
    accept(&extra("(global f64 (f64.const 1.5)) (global (mut i64) (i64.const -1))"));
    refuse(
        &extra("(global i32 (i32.add (i32.const 0) (i32.const 0)))"),
        "failed to validate",
    );
    refuse(
        &extra("(global i32 (i32.const 0)) (global i32 (global.get 0))"),
        "global",
    );
}

#[test]
fn operators_are_limited_after_instrumentation() {
    // `nop`s in one block: 12 for the block, 17 for the frame, constant and end
    let nops = |count| body(&format!("{} i32.const 0", "nop ".repeat(count)));
    let most = 65_536 - 12 - 17 - 2;
    assert_eq!(accept(&nops(most)).info.operators, 65_536);
    refuse(&nops(most + 1), "too many opcodes in func body: 65537 > 65536");
    refuse(
        &body(&format!("{} i32.const 0", "block end ".repeat(5_000))),
        "too many opcodes in func body",
    );
    refuse(
        &body(&format!("{} i32.const 0", "block ".repeat(70_000))),
        "too many opcodes in func body",
    );
}

#[test]
fn frames_are_limited() {
    let deep = |count: usize| {
        body(&format!(
            "{} {}",
            "i32.const 0 ".repeat(count),
            "drop ".repeat(count - 1)
        ))
    };
    // two more for the metering of the last block are below the top of the constants
    accept(&deep(4_096));
    refuse(
        &deep(4_097),
        "too many values on a function's stack at once: 4097 > 4096",
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

#[test]
fn size_is_limited() {
    let wasm = wat::parse_str(WRITE_ARGS).unwrap();
    let params = Params {
        max_wasm_size: 186,
        ..Params::default()
    };
    assert!(matches!(
        prepare(&wasm, &params, 0),
        Err(ModuleError::TooLarge { len: 187, max: 186 })
    ));
}
