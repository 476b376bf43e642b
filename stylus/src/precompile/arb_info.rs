//! ArbInfo: what EXTCODECOPY and BALANCE also tell.

use alloy_primitives::U256;
use revm::Database;
use revm::bytecode::Bytecode;

use super::abi;
use super::call::{Method, Purity, method as entry};

/// Gas of a balance read, and of loading code before its length is charged.
const BALANCE_GAS: u64 = 700;
const COLD_SLOT_GAS: u64 = 2_100;
const WORD_GAS: u64 = 3;

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0xf8b2_cb4f => entry(Purity::View, 0, |call| {
            call.burn(BALANCE_GAS)?;
            let account = call.address(0)?;
            call.account(account, |info| info.balance)
                .map(|balance| abi::word(U256::from(balance)))
        }),
        0x7e10_5ce2 => entry(Purity::View, 0, |call| {
            call.burn(COLD_SLOT_GAS)?;
            let account = call.address(0)?;
            let code = call.account(account, |info| {
                info.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default()
            })?;
            let words = u64::try_from(code.len().div_ceil(32)).unwrap_or(u64::MAX);
            call.burn(words.saturating_mul(WORD_GAS))?;
            Ok(abi::bytes(&code))
        }),
        _ => None,
    }
}
