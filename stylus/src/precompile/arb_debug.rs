//! ArbDebug, on debug chains only: how a development chain gets its owner, contracts get other code, and clients try what a precompile's
//! events and errors look like.

use alloy_primitives::{B256, U256, b256};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::context::JournalTr;

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};
use crate::arbos::Space;

/// `Basic(bool flag, bytes32 indexed value)`.
const BASIC: B256 = b256!("93c1309077578d0b9ed1398956be51f0c6e1fcc0b91d899836148550215acfe2");
/// `Mixed(bool indexed flag, bool not, bytes32 indexed value, address conn, address indexed caller)`.
const MIXED: B256 = b256!("a6059246508753631072a6a59c1127af99d3f4cc0f8d6370d4fae122b1dd4eaf");
/// Selector of `Custom(uint64,string,bool)`.
const CUSTOM: [u8; 4] = [0x17, 0x53, 0x06, 0x7f];
/// What Arbitrum's own implementation says in that error.
const SPIDERS: &str = r"This spider family wards off bugs: /\oo/\ //\(oo)//\ /\oo/\";

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        // becomeChainOwner()
        0x0e5b_bc11 => entry(Purity::Write, 0, |call| on_debug_chains(call, become_owner)),
        // overwriteContractCode(address,bytes)
        0x1be2_50d6 => entry(Purity::Write, 0, |call| on_debug_chains(call, overwrite_code)),
        // customRevert(uint64)
        0x7ea8_9f8b => entry(Purity::Pure, 0, |call| on_debug_chains(call, custom_revert)),
        // events(bool,bytes32)
        0x7b99_63ef => entry(Purity::Payable, 0, |call| on_debug_chains(call, events)),
        _ => None,
    }
}

/// Rejects the call on chains that are for more than trying things out.
fn on_debug_chains<'a, DB: Database>(call: &mut Call<'a, DB>, run: fn(&mut Call<'a, DB>) -> Answer<DB>) -> Answer<DB> {
    if !call.context.chain.cache.is_debug_chain() {
        return Err(Fault::Rejected);
    }
    run(call)
}

/// Makes the caller an owner of the chain.
fn become_owner<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let caller = call.inputs.caller;
    call.state()
        .add_member(Space::ChainOwners, caller)
        .map_err(Fault::Database)?;
    Ok(Vec::new())
}

/// Gives an account other code and answers what it had.
fn overwrite_code<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let (account, code) = (call.address(0)?, call.bytes(1)?);
    let old = call.account(account, |info| {
        info.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default()
    })?;
    call.context.journaled_state.set_code(account, Bytecode::new_raw(code));
    Ok(abi::bytes(&old))
}

/// Reverts with the precompile's own error, which carries the number.
fn custom_revert<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let number = call.arg(0)?;
    if number > U256::from(u64::MAX) {
        return Err(Fault::Rejected);
    }
    let mut data = abi::error(CUSTOM, [number, U256::from(96), U256::ONE]);
    data.extend(abi::tail(SPIDERS.as_bytes()));
    Err(Fault::Revert(data))
}

/// Emits both events and answers who called and what was paid.
fn events<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let (flag, value) = (call.arg(0)?, call.word(1)?);
    if flag > U256::ONE {
        return Err(Fault::Rejected);
    }
    let not = U256::from(flag.is_zero());
    let (caller, precompile) = (call.inputs.caller, call.inputs.target_address);
    let paid = call.inputs.call_value();
    call.emit(vec![BASIC, value], abi::word(not))?;
    call.emit(
        vec![MIXED, flag.into(), value, caller.into_word()],
        abi::words([not, abi::address(precompile)]),
    )?;
    Ok(abi::words([abi::address(caller), paid]))
}
