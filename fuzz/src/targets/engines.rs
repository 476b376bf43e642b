//! Random programs on both engines.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use cordon_stylus::hooks::Hook;

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

fn config() -> wasm_smith::Config {
    static CONFIG: OnceLock<wasm_smith::Config> = OnceLock::new();
    let shape = || {
        let hooks = Hook::ALL.iter().map(|hook| hook.signature());
        let imports = hooks.filter(|hook| hook.module == "vm_hooks").map(|hook| hook.import());
        cordon_testkit::random_programs(&imports.collect::<String>())
    };
    CONFIG.get_or_init(shape).clone()
}
