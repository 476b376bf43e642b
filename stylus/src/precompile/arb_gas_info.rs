//! ArbGasInfo: prices. Data is not posted to an L1 here, so that everything about L1 is zero.

use alloy_primitives::U256;
use revm::Database;

use super::abi;
use super::call::{Call, Fault, Method, Purity, method as entry};

/// Gas of writing a slot, by which storage is priced.
const STORAGE_GAS: u64 = 20_000;
/// Lowest base fee in wei.
const MIN_BASE_FEE: u64 = 100_000_000;
const SPEED_LIMIT: u64 = 7_000_000;
const GAS_LIMIT: u64 = 32_000_000;

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x41b2_47a8 | 0xba9c_916e => entry(Purity::View, 0, prices_in_wei),
        0x0219_9f34 | 0x7a1e_a732 => entry(Purity::View, 0, |call| {
            // The price of L1 data.
            call.burn_reads(1)?;
            Ok(abi::words([U256::ZERO, U256::ZERO, U256::from(STORAGE_GAS)]))
        }),
        0x612a_f178 => entry(Purity::View, 0, |call| {
            // The speed limit, and the limit of a block.
            call.burn_reads(2)?;
            Ok(abi::words([SPEED_LIMIT, GAS_LIMIT, GAS_LIMIT].map(U256::from)))
        }),
        0xaae1_cd4c | 0x0371_fdb4 => setting::<DB, GAS_LIMIT>(50),
        0xf918_379a => setting::<DB, MIN_BASE_FEE>(0),
        // L1 price by two names, backlog, fees available, reward recipient.
        0xf5d6_ded7 | 0x055f_362f | 0x1d5b_5c20 | 0x5b39_d23c | 0x9e6d_7e31 => setting::<DB, 0>(0),
        // The surplus: fees available, less what is due for rewards and to posters.
        0x520a_cdd7 => entry(Purity::View, 0, |call| {
            call.burn_reads(3)?;
            Ok(abi::word(U256::ZERO))
        }),
        // What the transaction pays for L1 is no setting.
        0xc6f7_de0e => entry(Purity::View, 0, |_| Ok(abi::word(U256::ZERO))),
        0x29eb_31ee | 0x2575_4f91 | 0x8a5b_1d28 => setting::<DB, 10>(0),
        0x3dfb_45b9 => setting::<DB, 102>(0),
        0x6ecc_a45a => setting::<DB, 210_000>(0),
        // Lists of constraints: their length.
        0x2320_27d1 | 0xbbfc_0a72 | 0xc0e1_0bbb => entry(Purity::View, 50, |call| {
            call.burn_reads(1)?;
            Ok(abi::array(&[]))
        }),
        _ => None,
    }
}

/// A word of the chain's state that is the same on every chain made here.
fn setting<DB: Database, const VALUE: u64>(since: u64) -> Option<Method<DB>> {
    entry(Purity::View, since, |call| {
        call.burn_reads(1)?;
        Ok(abi::word(U256::from(VALUE)))
    })
}

fn prices_in_wei<DB: Database>(call: &mut Call<'_, DB>) -> Result<Vec<u8>, Fault<DB>> {
    // The price of L1 data, and the least base fee.
    call.burn_reads(2)?;
    let total = call.basefee();
    let base = total.min(MIN_BASE_FEE);
    let congestion = total.saturating_sub(base);
    let storage = total.saturating_mul(STORAGE_GAS);
    Ok(abi::words([0, 0, storage, base, congestion, total].map(U256::from)))
}
