//! ArbDebug, on debug chains only: how a development chain gets its owner.

use revm::Database;

use super::call::{Fault, Method, Purity, method as entry};
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
        _ => None,
    }
}
