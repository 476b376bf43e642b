//! ArbDebug, on debug chains only: how a development chain gets its owner, and contracts get other code.

use revm::Database;
use revm::bytecode::Bytecode;
use revm::context::JournalTr;

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};
use crate::arbos::Space;

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        // becomeChainOwner()
        0x0e5b_bc11 => entry(Purity::Write, 0, |call| {
            if !call.context.chain.cache.is_debug_chain() {
                return Err(Fault::Rejected);
            }
            let caller = call.inputs.caller;
            call.state()
                .add_member(Space::ChainOwners, caller)
                .map_err(Fault::Database)?;
            Ok(Vec::new())
        }),
        // overwriteContractCode(address,bytes)
        0x1be2_50d6 => entry(Purity::Write, 0, overwrite_code),
        _ => None,
    }
}

/// Gives an account other code and answers what it had.
fn overwrite_code<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    if !call.context.chain.cache.is_debug_chain() {
        return Err(Fault::Rejected);
    }
    let (account, code) = (call.address(0)?, call.bytes(1)?);
    let old = call.account(account, |info| {
        info.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default()
    })?;
    call.context.journaled_state.set_code(account, Bytecode::new_raw(code));
    Ok(abi::bytes(&old))
}
