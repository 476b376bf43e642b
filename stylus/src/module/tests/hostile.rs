//! Modules made to hurt: whatever the bytes, an answer comes soon and without a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Instruction,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

use super::*;

/// Generous for a loaded machine; the work is bounded, and takes far less than this on an idle one.
const SOON: Duration = Duration::from_secs(20);

/// Stylus 2, which accepts multi-value and so has the more expensive types.
fn version_2() -> Params {
    Params {
        max_wasm_size: 256 * 1024,
        ..Params::for_arbos(51)
    }
}

/// A module of functions with raw bodies; type 0 is the entry point's, type 1 has `wide` parameters, type 2 (`wide` > 1 needs
/// multi-value) as many results too. Function 1 is the entry point, function 2 does nothing with its parameters.
fn module(wide: usize, bodies: &[Vec<u8>]) -> Vec<u8> {
    typed_module(wide, true, bodies)
}

fn typed_module(wide: usize, multi_value: bool, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function(vec![ValType::I32; wide], []);
    types.ty().function(
        vec![ValType::I32; wide],
        vec![ValType::I32; if multi_value { wide } else { 1 }],
    );
    let mut imports = ImportSection::new();
    types.ty().function([ValType::I32], []);
    imports.import("vm_hooks", "msg_value", EntityType::Function(3));
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    functions.function(0);
    code.function(
        Function::new([])
            .instruction(&Instruction::LocalGet(0))
            .instruction(&Instruction::End),
    );
    functions.function(1);
    code.function(Function::new([]).instruction(&Instruction::End));
    for body in bodies {
        functions.function(1);
        code.raw(body);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(1),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports
        .export(ENTRYPOINT, ExportKind::Func, 1)
        .export(MEMORY, ExportKind::Memory, 0);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// Result of preparing, which must come soon; what passes must compile soon as well.
fn soon(wasm: &[u8], params: &Params) -> Result<Prepared, ModuleError> {
    let start = Instant::now();
    let result = prepare(wasm, params, 0);
    if let Ok(prepared) = &result {
        wasmi::Module::new(&wasmi::Engine::default(), &prepared.wasm).unwrap();
    }
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    result
}

fn raw(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn huge_declarations_of_locals() {
    // four billion locals in six bytes, and a count of groups that is a lie
    let huge = raw(&[&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b]]);
    assert!(matches!(
        soon(&module(1, &[huge]), &Params::default()),
        Err(ModuleError::TooMany {
            what: "wasm locals",
            ..
        })
    ));
    let two = raw(&[&[
        2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b,
    ]]);
    assert!(soon(&module(1, &[two]), &Params::default()).is_err());
    let lie = raw(&[&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x0b]]);
    assert!(matches!(
        soon(&module(1, &[lie]), &Params::default()),
        Err(ModuleError::Invalid(_))
    ));
    // many groups of no locals at all are harmless
    let empty = raw(&[&[0xff, 0x7f], &[0, 0x7f].repeat(0x3fff), &[0x0b]]);
    assert!(soon(&module(1, &[empty]), &Params::default()).is_ok());
}

#[test]
fn deep_nesting() {
    // every level costs 1 operator to open and 13 to close
    let nested = |levels: usize| raw(&[&[0], &[0x02, 0x40].repeat(levels), &[0x0b].repeat(levels), &[0x0b]]);
    assert!(soon(&module(1, &[nested(4_600)]), &Params::default()).is_ok());
    assert!(soon(&module(1, &[nested(60_000)]), &Params::default()).is_err());
    // never closed
    let open = raw(&[&[0], &[0x02, 0x40].repeat(60_000), &[0x0b]]);
    assert!(soon(&module(1, &[open]), &Params::default()).is_err());
}

#[test]
fn large_branch_tables() {
    let count = [0x80, 0xf1, 0x04]; // 80,000 targets
    let table = raw(&[&[0, 0x41, 0, 0x0e], &count, &[0].repeat(80_000), &[0, 0x0b]]);
    let info = soon(&module(1, &[table]), &Params::default()).unwrap().info;
    assert!(info.wasm_len > 80_000);
    // each target of a loop that takes 1,000 values passes them: 80 million in all
    let wide = raw(&[
        &[0],
        &[0x41, 0].repeat(1_000),
        &[0x03, 2, 0x41, 0, 0x0e],
        &count,
        &[0].repeat(80_000),
        &[0, 0x0b, 0x00, 0x0b],
    ]);
    let error = soon(&module(1_000, &[wide]), &version_2()).unwrap_err();
    assert!(error.to_string().contains("values passed"), "{error}");
    // a count without its targets
    let lie = raw(&[&[0, 0x41, 0, 0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0b]]);
    assert!(matches!(
        soon(&module(1, &[lie]), &Params::default()),
        Err(ModuleError::Invalid(_))
    ));
}

#[test]
fn calls_with_many_values() {
    // after `unreachable`, arguments need not be pushed: two bytes per call of a function with 1,000 parameters
    let calls = raw(&[&[0, 0x00], &[0x10, 2].repeat(4_000), &[0x0b]]);
    let error = soon(&typed_module(1_000, false, &vec![calls; 25]), &Params::default()).unwrap_err();
    assert!(error.to_string().contains("values passed"), "{error}");
    // types of 1,000 results, entered and left again and again
    let blocks = raw(&[&[0, 0x00], &[0x02, 2, 0x0b].repeat(4_000), &[0x00, 0x0b]]);
    let error = soon(&module(1_000, &vec![blocks; 20]), &version_2()).unwrap_err();
    assert!(error.to_string().contains("values passed"), "{error}");
}

#[test]
fn as_many_operators_as_fit() {
    // the largest expansion: every byte a block of its own, in as many functions as are needed to stay below the limit
    let returns = raw(&[&[0], &[0x0f].repeat(3_800), &[0x0b]]);
    let wasm = module(1, &vec![returns; 65]);
    assert!(wasm.len() > 240_000);
    let prepared = soon(&wasm, &Params::default()).unwrap();
    assert!(prepared.wasm.len() < 16 << 20, "{}", prepared.wasm.len());
    // what the chain charges for that is more than a transaction may use
    assert!(activation::gas(&Params::default(), &prepared.info) > 32_000_000);
}

#[test]
fn many_exports_of_many_imports() {
    let imports = r#"(import "vm_hooks" "msg_value" (func (param i32)))"#.repeat(4_000);
    let exports = (0..20_000)
        .map(|i| format!(r#"(export "e{i}" (func 0))"#))
        .collect::<String>();
    let wasm = wat::parse_str(program(&format!("{imports}{exports}"), "i32.const 0")).unwrap();
    assert!(
        soon(
            &wasm,
            &Params {
                max_wasm_size: 1 << 20,
                ..Params::for_arbos(31)
            }
        )
        .is_ok()
    );
}

#[test]
fn messages_do_not_repeat_long_or_raw_names() {
    let name = format!("\\1b[2J{}", "x".repeat(90_000));
    let error = prepare_wat(
        &program(&format!(r#"(import "vm_hooks" "{name}" (func))"#), "i32.const 0"),
        &Params::default(),
    )
    .unwrap_err()
    .to_string();
    assert!(error.len() < 300 && !error.contains('\x1b'), "{error}");
}

#[test]
fn malformed_names_are_ignored() {
    let wasm = wat::parse_str(program("", "i32.const 0")).unwrap();
    for names in [
        &[0xff_u8; 8][..],
        &[0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[1, 2, 9, 9, 0, 1, 0],
        &[0; 64],
    ] {
        let mut named = wasm.clone();
        named.extend([0, u8::try_from(names.len() + 5).unwrap(), 4]);
        named.extend(b"name");
        named.extend(names);
        assert!(soon(&named, &Params::default()).is_ok(), "{names:?}");
    }
}

#[test]
fn sizes_that_lie() {
    let wasm = wat::parse_str(WRITE_ARGS).unwrap();
    // sections: id, size; make each size wrong in turn
    let mut at = 8;
    let mut sections = 0;
    while at < wasm.len() {
        for size in [0, wasm[at + 1].wrapping_sub(1), wasm[at + 1] + 1, 0x7f] {
            let mut lie = wasm.clone();
            lie[at + 1] = size;
            let custom = wasm[at] == 0;
            assert!(
                custom || soon(&lie, &Params::default()).is_err(),
                "section {} with size {size}",
                wasm[at]
            );
        }
        at += 2 + usize::from(wasm[at + 1]);
        sections += 1;
    }
    assert!(sections >= 6);
    for len in 0..wasm.len() {
        // cut anywhere: only the custom section of names may be missing
        if let Ok(prepared) = prepare(&wasm[..len], &Params::default(), 0) {
            assert!(prepared.info.operators == 60 && len > 100);
        }
    }
    // four gigabytes of code
    let mut code = vec![0, b'a', b's', b'm', 1, 0, 0, 0, 10];
    code.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0]);
    assert!(soon(&code, &Params::default()).is_err());
    let mut types = vec![0, b'a', b's', b'm', 1, 0, 0, 0, 1, 6];
    types.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0x60]);
    assert!(soon(&types, &Params::default()).is_err());
}

/// Parameters of all Stylus versions, with and without debug features.
fn any_params() -> impl Strategy<Value = Params> {
    (prop::sample::select(vec![30_u64, 31, 40, 51, 59, 60]), any::<bool>()).prop_map(|(arbos, debug)| Params {
        debug,
        ..Params::for_arbos(arbos)
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let table = program(
        r#"(table 2 funcref) (elem (i32.const 0) $f $f) (func $f (local i64)) (global (mut i32) (i32.const 3))
           (data (i32.const 3) "abc")"#,
        "block (result i32) i32.const 0 i32.const 1 br_if 0 loop br 0 end end i32.const 0 i32.const 1 local.get 0
         memory.fill drop local.get 0 call_indirect local.get 0",
    );
    [WRITE_ARGS, &table].map(|wat| wat::parse_str(wat).unwrap()).into()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), params in any_params()) {
        let _ = prepare(&bytes, &params, 0);
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend(&bytes);
        let _ = prepare(&module, &params, 0);
    }

    #[test]
    fn changed_modules_never_panic_and_what_passes_compiles(
        seed in prop::sample::select(seeds()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        params in any_params(),
    ) {
        let mut wasm = seed;
        for (index, byte) in changes {
            let at = index.index(wasm.len());
            wasm[at] = byte;
        }
        if let Ok(prepared) = prepare(&wasm, &params, 0) {
            let module = wasmi::Module::new(&wasmi::Engine::default(), &prepared.wasm);
            prop_assert!(module.is_ok(), "{:?}", module.err());
        }
    }
}
