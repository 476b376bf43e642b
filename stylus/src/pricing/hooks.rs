//! Ink of the host functions: base costs, and what copying, hashing and big exponents add.

/// Any host call.
pub const HOSTIO: u64 = 8_400;
/// One pointer argument.
pub const PTR: u64 = 5_040;
/// Going through the EVM's state.
pub const EVM_API: u64 = 59_673;
/// 256-bit division.
pub const DIV: u64 = 20_000;
/// 256-bit modular addition.
pub const ADD_MOD: u64 = 21_000;
/// 256-bit modular multiplication.
pub const MUL_MOD: u64 = 24_100;

/// `read_args`, and every getter without an out-pointer.
pub const GETTER: u64 = HOSTIO;
/// Getters that write to one out-pointer (addresses, words).
pub const POINTER_GETTER: u64 = HOSTIO + PTR;
/// `storage_load_bytes32` and `storage_cache_bytes32`.
pub const STORAGE_CACHE: u64 = HOSTIO + 2 * PTR;
/// `storage_flush_cache`, `read_return_data`, `emit_log`, `account_code`, `account_code_size`.
pub const EVM_CALL: u64 = HOSTIO + EVM_API;
/// `transient_*`, `account_balance`, `account_codehash`.
pub const EVM_CALL_TWO_POINTERS: u64 = HOSTIO + 2 * PTR + EVM_API;
/// `call_contract`, `delegate_call_contract`, `static_call_contract`, `create1`.
pub const CONTRACT_CALL: u64 = HOSTIO + 3 * PTR + EVM_API;
/// `create2`.
pub const CREATE2: u64 = HOSTIO + 4 * PTR + EVM_API;
/// `math_div`, `math_mod`.
pub const MATH_DIV: u64 = HOSTIO + 3 * PTR + DIV;
/// `math_pow`, to which [`pow_ink`] is added.
pub const MATH_POW: u64 = HOSTIO + 3 * PTR;
/// `math_add_mod`.
pub const MATH_ADD_MOD: u64 = HOSTIO + 4 * PTR + ADD_MOD;
/// `math_mul_mod`.
pub const MATH_MUL_MOD: u64 = HOSTIO + 4 * PTR + MUL_MOD;
/// `pay_for_memory_grow` when its argument is zero; otherwise only the pages are paid.
pub const NO_GROWTH: u64 = HOSTIO;

/// Gas a load must have at hand before it starts (EIP-2929 cold load + 15).
pub const STORAGE_LOAD_REQUIRED_GAS: u64 = 2_115;
/// Gas a cached store must have at hand.
pub const STORAGE_CACHE_REQUIRED_GAS: u64 = 2_310;
/// Gas a flush must have at hand (EIP-2200 sentry).
pub const STORAGE_FLUSH_REQUIRED_GAS: u64 = 2_300;
/// Gas an account read must have at hand.
pub const ACCOUNT_REQUIRED_GAS: u64 = 2_600;

/// Ink to copy `bytes` from the host into guest memory (W in the specification).
pub fn write_ink(bytes: u64) -> u64 {
    bytes.saturating_sub(32).saturating_mul(30).saturating_add(5_040)
}

/// Ink to copy `bytes` from guest memory to the host (R in the specification).
pub fn read_ink(bytes: u64) -> u64 {
    bytes.saturating_sub(32).saturating_mul(55).saturating_add(16_381)
}

/// Ink of `native_keccak256` over `bytes`.
pub fn keccak_ink(bytes: u64) -> u64 {
    bytes
        .div_ceil(32)
        .saturating_sub(2)
        .saturating_mul(21_000)
        .saturating_add(121_800)
}

/// Ink that `math_pow` pays for its 32-byte big-endian exponent, on top of [`MATH_POW`].
pub fn pow_ink(exponent: &[u8; 32]) -> u64 {
    let bytes = exponent
        .iter()
        .skip_while(|byte| **byte == 0)
        .map(|_| 1_u64)
        .sum::<u64>();
    3_000 + 17_500 * (1 + bytes)
}

/// Gas of the storage cache for the `n`-th load of a program instance (counted from 1), before the load itself.
pub fn storage_load_cache_gas(n: u64) -> u64 {
    match n {
        0..=32 => 0,
        33..=128 => 2,
        _ => 10,
    }
}

/// Gas of the storage cache for the `n`-th store of a program instance (counted from 1).
pub fn storage_store_cache_gas(n: u64) -> u64 {
    match n {
        0..=8 => 0,
        9..=64 => 7,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn base_costs_are_the_published_ones() {
        assert_eq!(POINTER_GETTER, 13_440);
        assert_eq!(STORAGE_CACHE, 18_480);
        assert_eq!(EVM_CALL, 68_073);
        assert_eq!(EVM_CALL_TWO_POINTERS, 78_153);
        assert_eq!(CONTRACT_CALL, 83_193);
        assert_eq!(CREATE2, 88_233);
        assert_eq!(MATH_DIV, 43_520);
        assert_eq!(MATH_POW, 23_520);
        assert_eq!(MATH_ADD_MOD, 49_560);
        assert_eq!(MATH_MUL_MOD, 52_660);
    }

    #[test]
    fn keccak_matches_the_published_ink() {
        assert_eq!(
            (keccak_ink(10), keccak_ink(100), keccak_ink(1000)),
            (121_800, 163_800, 751_800)
        );
    }

    #[test]
    fn copies_match_the_worked_example() {
        // read_args of 4 bytes and write_result of 4 bytes
        assert_eq!(GETTER + write_ink(4), 13_440);
        assert_eq!(GETTER + 2 * read_ink(4), 41_162);
        assert_eq!(write_ink(33), 5_070);
        assert_eq!(read_ink(34), 16_381 + 110);
        assert_eq!(write_ink(u64::MAX), u64::MAX);
    }

    #[test]
    fn exponents_pay_per_significant_byte() {
        let mut exponent = [0_u8; 32];
        assert_eq!(pow_ink(&exponent), 3_000 + 17_500);
        exponent[31] = 1;
        assert_eq!(pow_ink(&exponent), 3_000 + 2 * 17_500);
        exponent[0] = 1;
        assert_eq!(pow_ink(&exponent), 3_000 + 33 * 17_500);
    }

    #[test]
    fn storage_cache_tiers() {
        assert_eq!([1, 32, 33, 128, 129].map(storage_load_cache_gas), [0, 0, 2, 2, 10]);
        assert_eq!([1, 8, 9, 64, 65].map(storage_store_cache_gas), [0, 0, 7, 7, 10]);
    }
}
