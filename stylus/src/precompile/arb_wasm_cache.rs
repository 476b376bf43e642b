//! ArbWasmCache: which programs the chain keeps cached, so that entering them is cheap.

use alloy_primitives::{B256, U256, b256};
use revm::Database;

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};
use crate::activation::ProgramRecord;
use crate::arbos::Space;

const STYLUS: u64 = 30;
/// `cacheProgram(address)` came with Stylus 2.
const CACHE_PROGRAM: u64 = 31;
/// Most managers that are listed.
const MAX_MANAGERS: u64 = 256;
const UPDATE: B256 = b256!("1bfaa29b4618e78f5b398027d530826dbb266dc976a5067f67fdad15434ecfab");

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x85e2_de85 => entry(Purity::View, STYLUS, |call| {
            let account = call.address(0)?;
            call.is_member(Space::CacheManagers, account)
                .map(|is| abi::word(U256::from(is)))
        }),
        0x0ec1_d773 => entry(Purity::View, STYLUS, |call| {
            let managers = call.members(Space::CacheManagers, MAX_MANAGERS)?;
            Ok(abi::array(&managers.into_iter().map(abi::address).collect::<Vec<_>>()))
        }),
        0x4cea_c817 => entry(Purity::Write, STYLUS, |call| {
            let code_hash = call.word(0)?;
            set_cached(call, code_hash, true)
        }),
        0xe73a_c9f2 => entry(Purity::Write, CACHE_PROGRAM, |call| {
            let account = call.address(0)?;
            let code_hash = call.code_hash(account)?;
            set_cached(call, code_hash, true)
        }),
        0xce97_2013 => entry(Purity::Write, STYLUS, |call| {
            let code_hash = call.word(0)?;
            set_cached(call, code_hash, false)
        }),
        0xa72f_179b => entry(Purity::View, STYLUS, |call| {
            let code_hash = call.word(0)?;
            call.program(code_hash)
                .map(|record| abi::word(U256::from(record.cached)))
        }),
        _ => None,
    }
}

fn set_cached<DB: Database>(call: &mut Call<'_, DB>, code_hash: B256, cached: bool) -> Answer<DB> {
    let manager = call.inputs.caller;
    if !call.is_member(Space::CacheManagers, manager)? && !call.is_member(Space::ChainOwners, manager)? {
        return Err(Fault::Rejected);
    }
    // An expired program can still be evicted, but not cached.
    let record = if cached {
        call.active_program(code_hash)?.1
    } else {
        call.params()?;
        call.program(code_hash)?
    };
    if record.cached == cached {
        return Ok(Vec::new());
    }
    call.emit(
        vec![UPDATE, manager.into_word(), code_hash],
        abi::word(U256::from(cached)),
    )?;
    call.burn(record.init_cost.into())?;
    call.write(
        Space::Programs.slot(code_hash),
        ProgramRecord { cached, ..record }.pack(),
    )?;
    Ok(Vec::new())
}
