//! Random WASM modules that a Stylus chain could accept.

/// How `wasm-smith` makes modules with one page of memory, Stylus' entry point and these imports (in WASM's text format). What the
/// chain's validator refuses is left out, so that most of them get through: floats, a start function, whatever came after the first
/// version of WASM.
///
/// # Panics
/// The imports are not valid.
#[expect(clippy::expect_used, reason = "a test is wrong then")]
pub fn random_programs(imports: &str) -> wasm_smith::Config {
    let shape = format!(
        r#"(module {imports} (memory (export "memory") 1)
            (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#
    );
    wasm_smith::Config {
        module_shape: Some(wat::parse_str(shape).expect("the imports are valid")),
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
