//! ArbOwnerPublic: the chain's owners and settings, for everyone to read.

use alloy_primitives::U256;
use revm::Database;

use super::abi;
use super::call::{Call, Fault, Method, Purity, method as entry};
use crate::arbos::{ROOT_INFRA_FEE_ACCOUNT, ROOT_NETWORK_FEE_ACCOUNT, ROOT_UPGRADE_TIME, ROOT_UPGRADE_VERSION, Space};
use crate::pricing::ARBOS_FRAGMENTS;

/// Most owners that are listed.
const MAX_OWNERS: u64 = 256;

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x26ef_7f68 => entry(Purity::View, 0, |call| {
            let account = call.address(0)?;
            call.is_member(Space::ChainOwners, account)
                .map(|is| abi::word(U256::from(is)))
        }),
        0x516b_4e0f => entry(Purity::View, 0, |call| {
            let owners = call.members(Space::ChainOwners, MAX_OWNERS)?;
            Ok(abi::array(&owners.into_iter().map(abi::address).collect::<Vec<_>>()))
        }),
        0x2d91_25e9 => entry(Purity::View, 0, |call| root(call, ROOT_NETWORK_FEE_ACCOUNT)),
        0xee95_a824 => entry(Purity::View, 5, |call| root(call, ROOT_INFRA_FEE_ACCOUNT)),
        // Brotli level of batches.
        0x22d4_99c7 => entry(Purity::View, 20, |call| {
            call.burn_reads(1)?;
            Ok(abi::word(U256::ONE))
        }),
        // The scheduled upgrade, zeros once it is made.
        0x81ef_944c => entry(Purity::View, 20, |call| {
            let version = call.read(Space::Root.word(ROOT_UPGRADE_VERSION))?;
            let time = call.read(Space::Root.word(ROOT_UPGRADE_TIME))?;
            let is_made = version <= U256::from(call.arbos);
            Ok(abi::words(if is_made { [U256::ZERO; 2] } else { [version, time] }))
        }),
        // Calldata price increase, parent gas floor, native token management, collected tips: off.
        0x2aa9_551e | 0x49cc_daff | 0x3fec_bab0 | 0x8e34_a64d => entry(Purity::View, 40, |call| {
            call.burn_reads(1)?;
            Ok(abi::word(U256::ZERO))
        }),
        0xe5a7_f893 => entry(Purity::View, ARBOS_FRAGMENTS, |call| {
            call.params().map(|params| abi::word(U256::from(params.max_fragments)))
        }),
        _ => None,
    }
}

fn root<DB: Database>(call: &mut Call<'_, DB>, key: u64) -> Result<Vec<u8>, Fault<DB>> {
    call.read(Space::Root.word(key)).map(abi::word)
}
