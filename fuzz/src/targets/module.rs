//! Validator and instrumenter.

use std::sync::{Arc, OnceLock};

use arbitrary::Unstructured;
use cordon_stylus::module::{self, Prepared};
use cordon_stylus::pricing::Params;
use cordon_stylus::run::WasmiEngine;
use wasmparser::{Validator, WasmFeatures};

/// Most bytes that a byte of a module may become: each operator may be a block of its own, with a dozen more around it.
const MAX_GROWTH: usize = 80;
const VERSIONS: [u64; 8] = [30, 31, 32, 40, 50, 51, 59, 60];

/// The first byte says which chain, and whether the rest is a module or the seed of one.
pub(super) fn run(data: &[u8]) {
    let Some((&selector, rest)) = data.split_first() else {
        return;
    };
    let params = Params {
        debug: selector & 8 != 0,
        ..Params::for_arbos(VERSIONS[usize::from(selector & 7)])
    };
    if selector & 16 == 0 {
        check(rest, &params);
    } else if let Ok(module) = wasm_smith::Module::new(wasm_smith::Config::default(), &mut Unstructured::new(rest)) {
        check(&module.to_bytes(), &params);
    }
}

fn check(wasm: &[u8], params: &Params) {
    let prepared = match (module::prepare(wasm, params, 0), module::prepare(wasm, params, 0)) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second, "the same bytes give another module");
            first
        }
        (Err(first), Err(second)) => {
            let (first, second) = (first.to_string(), second.to_string());
            assert_eq!(first, second, "the same bytes are refused for another reason");
            assert!(first.len() < 2_000, "a message of {} bytes", first.len());
            return;
        }
        (first, second) => panic!("accepted or refused: {first:?} {second:?}"),
    };
    accepted(wasm, params, &prepared);
}

fn accepted(wasm: &[u8], params: &Params, prepared: &Prepared) {
    assert_eq!(prepared.info.wasm_len, wasm.len() as u64);
    assert!(prepared.info.footprint <= params.page_limit);
    let most = wasm.len() * MAX_GROWTH + 4_096;
    assert!(
        prepared.wasm.len() <= most,
        "{} bytes became {}",
        wasm.len(),
        prepared.wasm.len()
    );
    let mut features = WasmFeatures::MVP
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::BULK_MEMORY;
    features.set(WasmFeatures::MULTI_VALUE, params.version < 3);
    if let Err(error) = Validator::new_with_features(features).validate_all(&prepared.wasm) {
        panic!("the instrumented module is invalid: {error}");
    }
    static ENGINE: OnceLock<Arc<WasmiEngine>> = OnceLock::new();
    // An engine keeps what it has compiled, so that one for all would grow for ever.
    let engine = if prepared.wasm.len() > 16 << 10 {
        Arc::default()
    } else {
        ENGINE.get_or_init(Arc::default).clone()
    };
    if let Err(error) = engine.compile(&prepared.wasm) {
        panic!("what was accepted cannot be run: {error}");
    }
    let again = module::prepare(&prepared.wasm, params, 0);
    assert!(again.is_err(), "the names of the instrumentation are reserved");
}
