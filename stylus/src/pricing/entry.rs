//! Gas to enter a program and the minimum charge for what it returns.

use super::{ARBOS_RETURN_DATA_FLOOR, Params, memory_cost};
use crate::activation::ProgramRecord;

/// Gas per unit of `min_init_gas`.
const MIN_INIT_UNIT: u64 = 128;
/// Gas per unit of `min_cached_init_gas`.
const MIN_CACHED_UNIT: u64 = 32;
/// Per cent per unit of the two cost scalars.
const SCALAR_PERCENT: u64 = 2;

/// Gas to initialise a program whose own init cost is `init_cost`, cached cost excluded (Stylus 1: included in `init_cost`).
pub fn init_gas(params: &Params, init_cost: u16) -> u64 {
    let own = u64::from(init_cost) * u64::from(params.init_cost_scalar) * SCALAR_PERCENT;
    u64::from(params.min_init_gas) * MIN_INIT_UNIT + own.div_ceil(100)
}

/// Gas to enter a program that is cached, whose own cached cost is `cached_cost`.
pub fn cached_gas(params: &Params, cached_cost: u16) -> u64 {
    let own = u64::from(cached_cost) * u64::from(params.cached_cost_scalar) * SCALAR_PERCENT;
    u64::from(params.min_cached_init_gas) * MIN_CACHED_UNIT + own.div_ceil(100)
}

/// Gas that a call pays before a program runs: memory for its footprint, and initialisation.
///
/// `recent` says that the program is in the block's cache of recent programs; `open` and `ever` are the transaction's page counters.
/// `u64::MAX` = unaffordable.
pub fn call_gas(params: &Params, record: &ProgramRecord, recent: bool, open: u16, ever: u16) -> u64 {
    let cached = record.cached || recent;
    let mut gas = memory_cost(params, open, ever, record.footprint);
    if !cached {
        gas = gas.saturating_add(init_gas(params, record.init_cost));
    }
    if cached || record.version >= 2 {
        gas = gas.saturating_add(cached_gas(params, record.cached_cost));
    }
    gas
}

/// Minimum gas that a frame must have spent to return `len` bytes: what the EVM would charge for that much memory.
///
/// If the frame started with less, it ends out of gas; otherwise at most (start - this) gas is returned. 0 for no data, and before
/// ArbOS 31.
pub fn return_data_gas(params: &Params, len: usize) -> u64 {
    if params.arbos_version < ARBOS_RETURN_DATA_FLOOR {
        return 0;
    }
    let words = u64::try_from(len).unwrap_or(u64::MAX).div_ceil(32);
    words
        .saturating_mul(3)
        .saturating_add(words.saturating_mul(words) / 512)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn record(init_cost: u16, cached_cost: u16, footprint: u16) -> ProgramRecord {
        ProgramRecord {
            version: 3,
            init_cost,
            cached_cost,
            footprint,
            ..ProgramRecord::default()
        }
    }

    #[test]
    fn minimum_costs_are_the_published_ones() {
        let params = Params::default();
        assert_eq!((init_gas(&params, 0), cached_gas(&params, 0)), (8_832, 352));
        // the write-args program
        assert_eq!((init_gas(&params, 34), cached_gas(&params, 11)), (8_866, 363));
        assert_eq!(call_gas(&params, &record(34, 11, 1), false, 0, 0), 8_866 + 363);
        assert_eq!(call_gas(&params, &record(34, 11, 1), true, 0, 0), 363);
    }

    #[test]
    fn scalars_round_up() {
        let params = Params {
            init_cost_scalar: 1,
            cached_cost_scalar: 3,
            ..Params::default()
        };
        assert_eq!(init_gas(&params, 1), 8_832 + 1);
        assert_eq!(cached_gas(&params, 17), 352 + 2);
    }

    #[test]
    fn version_1_pays_the_cached_cost_only_when_cached() {
        let params = Params::for_arbos(30);
        let old = ProgramRecord {
            version: 1,
            ..record(45, 11, 1)
        };
        assert_eq!(call_gas(&params, &old, false, 0, 0), 72 * 128 + 45);
        assert_eq!(
            call_gas(&params, &ProgramRecord { cached: true, ..old }, false, 0, 0),
            363
        );
    }

    #[test]
    fn entry_pays_for_memory_and_may_be_unaffordable() {
        let params = Params::default();
        assert_eq!(call_gas(&params, &record(0, 0, 3), true, 0, 0), 352 + 1_000);
        assert_eq!(call_gas(&params, &record(0, 0, 3), true, 2, 2), 352 + 3_000);
        assert_eq!(call_gas(&params, &record(0, 0, 2), false, 127, 127), u64::MAX);
    }

    #[test]
    fn returned_data_costs_what_evm_memory_costs() {
        let params = Params::default();
        assert_eq!(return_data_gas(&params, 0), 0);
        assert_eq!(return_data_gas(&params, 1), 3);
        assert_eq!(return_data_gas(&params, 1 << 20), 3 * 32_768 + 32_768 * 32_768 / 512);
        assert_eq!(return_data_gas(&Params::for_arbos(30), 1 << 20), 0);
        assert!(return_data_gas(&params, usize::MAX) > u64::MAX / 1024);
    }
}
