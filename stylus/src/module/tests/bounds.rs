//! Every limit: the last value that is accepted, and the first that is refused.

use super::*;

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
