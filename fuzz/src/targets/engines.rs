//! Random programs on both engines.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use cordon_stylus::hooks::{Hook, Kind};

use super::world::{PROGRAM, World, call};

/// Ink is bounded, so that endless programs end soon.
const GAS: u64 = 400_000;
/// Bytes at the end of the input that are calldata.
const CALLDATA: usize = 40;

pub(super) fn run(data: &[u8]) {
    let (seed, calldata) = data.split_at(data.len().saturating_sub(CALLDATA));
    let Ok(module) = wasm_smith::Module::new(config(), &mut Unstructured::new(seed)) else {
        return;
    };
    let mut world = world();
    // Some use what programs must not.
    if world.install(PROGRAM, &module.to_bytes()) {
        world.agree(&call(PROGRAM, calldata, 0, GAS));
    }
}

fn world() -> World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new(60)).clone()
}

/// Host functions as imports, one page of memory, an entry point.
fn shape() -> Vec<u8> {
    let name = |kind: &Kind| match kind {
        Kind::I32 => "i32",
        Kind::I64 => "i64",
        Kind::F32 => "f32",
        Kind::F64 => "f64",
    };
    let hooks = Hook::ALL.iter().map(|hook| hook.signature());
    let imports: String = hooks
        .filter(|hook| hook.module == "vm_hooks")
        .map(|hook| {
            let params: Vec<_> = hook.params.iter().map(name).collect();
            let result = hook
                .result
                .as_ref()
                .map_or(String::new(), |kind| format!("(result {})", name(kind)));
            format!(
                r#"(import "vm_hooks" "{}" (func (param {}) {result}))"#,
                hook.name,
                params.join(" ")
            )
        })
        .collect();
    let module = format!(
        r#"(module {imports} (memory (export "memory") 1)
            (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#
    );
    wat::parse_str(module).expect("it is valid")
}

fn config() -> wasm_smith::Config {
    static SHAPE: OnceLock<Vec<u8>> = OnceLock::new();
    wasm_smith::Config {
        module_shape: Some(SHAPE.get_or_init(shape).clone()),
        allow_floats: false,
        allow_start_export: false,
        bulk_memory_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        max_memory32_bytes: 8 << 16,
        max_table_elements: 64,
        memory_max_size_required: false,
        multi_value_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        max_funcs: 8,
        max_instructions: 200,
        max_type_size: 100_000,
        ..wasm_smith::Config::default()
    }
}
