//! Arbitrum's precompiles and the deployer, with any calldata.

use std::sync::{Arc, OnceLock};

use alloy_primitives::Address;
use cordon_stylus::{CacheOptions, EngineChoice, ProgramCache, genesis, precompile};

use super::world::{World, call};

const VERSIONS: [u64; 3] = [32, 51, 60];
const GAS: u64 = 5_000_000;

/// Whom, on which chain, with which value; the rest is calldata.
pub(super) fn run(data: &[u8]) {
    let Some((&[whom, chain, value], calldata)) = data.split_first_chunk::<3>() else {
        return;
    };
    let targets = targets();
    let target = targets[usize::from(whom) % targets.len()];
    let worlds = worlds();
    let world = &worlds[usize::from(chain) % worlds.len()];
    let debug = chain & 0x80 != 0;
    let mut world = world.clone();
    let cache = cache(debug);
    let seen = world.transact(&cache, call(target, calldata, u64::from(value) << 56, GAS));
    let used = seen.done.result.tx_gas_used();
    assert!((21_000..=GAS).contains(&used), "{used} gas");
}

fn targets() -> Vec<Address> {
    precompile::ADDRESSES
        .into_iter()
        .chain([genesis::STYLUS_DEPLOYER, genesis::CREATE2_FACTORY])
        .collect()
}

fn worlds() -> &'static [World; 3] {
    static WORLDS: OnceLock<[World; 3]> = OnceLock::new();
    WORLDS.get_or_init(|| VERSIONS.map(World::new))
}

fn cache(debug_chain: bool) -> Arc<ProgramCache> {
    let options = CacheOptions {
        engine: EngineChoice::Wasmi,
        debug_chain,
        ..CacheOptions::default()
    };
    Arc::new(ProgramCache::with_options(options).expect("nothing is kept on disk"))
}
