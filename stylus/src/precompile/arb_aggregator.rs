//! ArbAggregator: who posts batches to L1. Nobody does here; the answers are those of a new chain.

use alloy_primitives::{Address, U256, address};
use revm::Database;

use super::abi;
use super::call::{Method, Purity, method as entry};

/// The one batch poster that every chain starts with.
const BATCH_POSTER: Address = address!("A4B000000000000000000073657175656e636572");

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        // getPreferredAggregator(address): the poster, and that it is the default.
        0x52f1_0740 => entry(Purity::View, 0, |call| {
            call.address(0)?;
            Ok(abi::words([abi::address(BATCH_POSTER), U256::ONE]))
        }),
        // getDefaultAggregator()
        0x8758_83f2 => entry(Purity::View, 0, |_| Ok(abi::word(abi::address(BATCH_POSTER)))),
        _ => None,
    }
}
