//! The Stylus parameters of a chain and their packed form (word 0 of the parameter space in ArbOS state).

use alloy_primitives::U256;

/// First ArbOS version that charges a minimum for return data.
pub const ARBOS_RETURN_DATA_FLOOR: u64 = 31;
/// First ArbOS version with the charging fixes (activation pays for WASM bytes, at most 513 imports).
pub const ARBOS_CHARGING_FIXES: u64 = 32;
/// First ArbOS version where the maximum WASM size is a parameter.
pub const ARBOS_WASM_SIZE_PARAM: u64 = 40;
/// First ArbOS version that caps the depth of the WASM stack at 22,000 words.
const ARBOS_STACK_LIMIT: u64 = 50;
/// First ArbOS version with Stylus 3: no multi-value, hard page limit.
pub const ARBOS_STYLUS_V3: u64 = 59;
/// First ArbOS version with fragmented programs and the recent-programs cache.
pub const ARBOS_FRAGMENTS: u64 = 60;

/// Decompressed WASM size limit before it became a parameter, in bytes.
const LEGACY_MAX_WASM_SIZE: u32 = 128 * 1024;

/// Stylus parameters in force in one block.
///
/// `arbos_version` and `debug` are not part of the packed word: they come from ArbOS state and from the node's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// ArbOS version of the chain; switches rules that have no parameter of their own.
    pub arbos_version: u64,
    /// Whether the chain is a debug chain: `console` and `debug` imports and extra exports are accepted.
    pub debug: bool,
    /// Stylus version (1, 2 or 3) that programs must be activated for.
    pub version: u16,
    /// Ink per gas; 24 bits.
    pub ink_price: u32,
    /// Words of WASM stack that one program call may use.
    pub max_stack_depth: u32,
    /// Pages of memory that a transaction gets for free.
    pub free_pages: u16,
    /// Gas per page beyond the free ones.
    pub page_gas: u16,
    /// Page limit, per program and (since Stylus 3) for all open programs of a transaction.
    pub page_limit: u16,
    /// Minimum gas to start an uncached program, in units of 128 gas.
    pub min_init_gas: u8,
    /// Minimum gas to start a cached program, in units of 32 gas.
    pub min_cached_init_gas: u8,
    /// Scale of a program's own init cost, in units of 2 %.
    pub init_cost_scalar: u8,
    /// Scale of a program's own cached cost, in units of 2 %.
    pub cached_cost_scalar: u8,
    /// Days after which an activation expires.
    pub expiry_days: u16,
    /// Days an activation must be old before its life can be extended.
    pub keepalive_days: u16,
    /// Number of programs that a block's cache of recent programs holds.
    pub block_cache_size: u16,
    /// Maximum size of a decompressed program, in bytes.
    pub max_wasm_size: u32,
    /// Maximum number of fragments of a program; 0 = fragments are not available.
    pub max_fragments: u8,
}

impl Default for Params {
    fn default() -> Self {
        Self::for_arbos(ARBOS_FRAGMENTS)
    }
}

impl Params {
    /// Exponent base of the page price; a constant that is only reported (`pageRamp()`), the prices themselves are a table.
    pub const PAGE_RAMP: u64 = 620_674_314;

    /// The values that a new chain of this ArbOS version starts with.
    pub fn for_arbos(arbos_version: u64) -> Self {
        Self {
            arbos_version,
            debug: false,
            version: stylus_version(arbos_version),
            ink_price: 10_000,
            max_stack_depth: if arbos_version >= ARBOS_STACK_LIMIT {
                22_000
            } else {
                262_144
            },
            free_pages: 2,
            page_gas: 1_000,
            page_limit: 128,
            min_init_gas: if arbos_version >= ARBOS_RETURN_DATA_FLOOR {
                69
            } else {
                72
            },
            min_cached_init_gas: 11,
            init_cost_scalar: 50,
            cached_cost_scalar: 50,
            expiry_days: 365,
            keepalive_days: 31,
            block_cache_size: 32,
            max_wasm_size: if arbos_version >= ARBOS_FRAGMENTS {
                256 * 1024
            } else {
                LEGACY_MAX_WASM_SIZE
            },
            max_fragments: if arbos_version >= ARBOS_FRAGMENTS { 4 } else { 0 },
        }
    }

    /// These parameters after the chain's upgrade to a later ArbOS version: what the versions on the way set is set, and what
    /// the owner chose stays where they do not.
    pub fn upgraded(self, arbos_version: u64) -> Self {
        let fresh = Self::for_arbos(arbos_version);
        let passes = |version| self.arbos_version < version && version <= arbos_version;
        let mut params = Self {
            arbos_version,
            version: self.version.max(fresh.version),
            ..self
        };
        if passes(ARBOS_RETURN_DATA_FLOOR) {
            params.min_init_gas = fresh.min_init_gas;
        }
        if passes(ARBOS_WASM_SIZE_PARAM) {
            params.max_wasm_size = LEGACY_MAX_WASM_SIZE;
        }
        if passes(ARBOS_STACK_LIMIT) {
            params.max_stack_depth = params.max_stack_depth.min(fresh.max_stack_depth);
        }
        if passes(ARBOS_FRAGMENTS) {
            params.max_wasm_size = fresh.max_wasm_size;
            params.max_fragments = fresh.max_fragments;
        }
        params
    }

    /// Packs the parameters into word 0 (big endian, left to right, zero padded).
    ///
    /// Fields that the ArbOS version does not store yet are left zero. `ink_price` keeps its low 24 bits.
    pub fn pack(&self) -> U256 {
        let mut word = Packer::default();
        word.put(self.version, 16);
        word.put(self.ink_price & 0x00ff_ffff, 24);
        word.put(self.max_stack_depth, 32);
        word.put(self.free_pages, 16);
        word.put(self.page_gas, 16);
        word.put(self.page_limit, 16);
        word.put(self.min_init_gas, 8);
        word.put(self.min_cached_init_gas, 8);
        word.put(self.init_cost_scalar, 8);
        word.put(self.cached_cost_scalar, 8);
        word.put(self.expiry_days, 16);
        word.put(self.keepalive_days, 16);
        word.put(self.block_cache_size, 16);
        word.put(
            if self.arbos_version >= ARBOS_WASM_SIZE_PARAM {
                self.max_wasm_size
            } else {
                0
            },
            32,
        );
        word.put(
            if self.arbos_version >= ARBOS_FRAGMENTS {
                self.max_fragments
            } else {
                0
            },
            8,
        );
        word.finish()
    }

    /// Reads the parameters of a chain from word 0 of its parameter space. `debug` is off.
    pub fn unpack(word: U256, arbos_version: u64) -> Self {
        let mut word = Unpacker::new(word);
        let mut params = Self {
            arbos_version,
            debug: false,
            version: word.u16(),
            ink_price: word.u24(),
            max_stack_depth: word.u32(),
            free_pages: word.u16(),
            page_gas: word.u16(),
            page_limit: word.u16(),
            min_init_gas: word.u8(),
            min_cached_init_gas: word.u8(),
            init_cost_scalar: word.u8(),
            cached_cost_scalar: word.u8(),
            expiry_days: word.u16(),
            keepalive_days: word.u16(),
            block_cache_size: word.u16(),
            max_wasm_size: word.u32(),
            max_fragments: word.u8(),
        };
        if arbos_version < ARBOS_WASM_SIZE_PARAM {
            params.max_wasm_size = LEGACY_MAX_WASM_SIZE;
        }
        if arbos_version < ARBOS_FRAGMENTS {
            params.max_fragments = 0;
        }
        params
    }

    /// Lifetime of an activation in seconds.
    pub fn expiry_seconds(&self) -> u64 {
        u64::from(self.expiry_days) * 86_400
    }

    /// Age in seconds from which an activation's life can be extended.
    pub fn keepalive_seconds(&self) -> u64 {
        u64::from(self.keepalive_days) * 86_400
    }
}

/// Stylus version that an ArbOS version brings (0 = none).
fn stylus_version(arbos_version: u64) -> u16 {
    match arbos_version {
        0..=29 => 0,
        30 => 1,
        31..=58 => 2,
        _ => 3,
    }
}

/// Writes fields into a 256-bit word from the most significant end.
#[derive(Default)]
pub(crate) struct Packer {
    word: U256,
    used: usize,
}

impl Packer {
    /// Appends the low `bits` of `value`. Callers never pass a value that needs more, nor more than 256 bits in total.
    pub(crate) fn put(&mut self, value: impl Into<u64>, bits: usize) {
        self.word = (self.word << bits) | U256::from(value.into());
        self.used += bits;
    }

    pub(crate) fn finish(self) -> U256 {
        self.word << 256_usize.saturating_sub(self.used)
    }
}

/// Reads fields of a 256-bit word from the most significant end; beyond its end, zeros.
pub(crate) struct Unpacker {
    rest: U256,
}

impl Unpacker {
    pub(crate) fn new(word: U256) -> Self {
        Self { rest: word }
    }

    /// The next four bytes without consuming them.
    fn head(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.rest.to_be_bytes::<32>();
        [a, b, c, d]
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [a, ..] = self.head();
        self.rest <<= 8;
        a
    }

    pub(crate) fn u16(&mut self) -> u16 {
        let [a, b, ..] = self.head();
        self.rest <<= 16;
        u16::from_be_bytes([a, b])
    }

    pub(crate) fn u24(&mut self) -> u32 {
        let [a, b, c, _] = self.head();
        self.rest <<= 24;
        u32::from_be_bytes([0, a, b, c])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        let head = self.head();
        self.rest <<= 32;
        u32::from_be_bytes(head)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn default_word_has_the_documented_layout() {
        let word = Params::default().pack().to_be_bytes::<32>();
        let expected: [u8; 32] = [
            0, 3, // version
            0x00, 0x27, 0x10, // ink price 10000
            0, 0, 0x55, 0xf0, // stack depth 22000
            0, 2, // free pages
            0x03, 0xe8, // page gas
            0, 128, // page limit
            69, 11, 50, 50, // minimum costs and scalars
            0x01, 0x6d, // 365 days
            0, 31, // keepalive
            0, 32, // block cache
            0, 4, 0, 0, // 262144 bytes
            4, // fragments
            0, 0,
        ];
        assert_eq!(word, expected);
    }

    #[test]
    fn old_versions_have_their_own_defaults() {
        let first = Params::for_arbos(30);
        assert_eq!(
            (
                first.version,
                first.min_init_gas,
                first.max_stack_depth,
                first.max_wasm_size
            ),
            (1, 72, 262_144, 131_072)
        );
        let v51 = Params::for_arbos(51);
        assert_eq!(
            (v51.version, v51.min_init_gas, v51.max_stack_depth, v51.max_fragments),
            (2, 69, 22_000, 0)
        );
        assert_eq!(Params::for_arbos(59).version, 3);
        assert_eq!(Params::for_arbos(29).version, 0);
    }

    #[test]
    fn upgrades_set_what_they_bring_and_keep_what_was_chosen() {
        for from in [30, 31, 32, 40, 50, 51, 59, 60] {
            assert_eq!(
                Params::for_arbos(from).upgraded(60),
                Params::for_arbos(60),
                "from {from}"
            );
        }
        let chosen = Params {
            ink_price: 20_000,
            max_stack_depth: 10_000,
            expiry_days: 7,
            ..Params::for_arbos(32)
        };
        let upgraded = chosen.upgraded(51);
        assert_eq!(
            (upgraded.ink_price, upgraded.max_stack_depth, upgraded.expiry_days),
            (20_000, 10_000, 7)
        );
        assert_eq!((upgraded.version, upgraded.max_fragments), (2, 0));
    }

    #[test]
    fn unpacking_ignores_fields_the_version_does_not_have() {
        let word = Params::default().pack();
        let old = Params::unpack(word, 32);
        assert_eq!((old.max_wasm_size, old.max_fragments), (131_072, 0));
        let v50 = Params::unpack(word, 50);
        assert_eq!((v50.max_wasm_size, v50.max_fragments), (262_144, 0));
    }

    proptest! {
        #[test]
        fn any_word_survives_a_round_trip(bytes in any::<[u8; 30]>()) {
            let mut word = [0_u8; 32];
            word[..30].copy_from_slice(&bytes);
            let word = U256::from_be_bytes(word);
            prop_assert_eq!(Params::unpack(word, 60).pack(), word);
        }
    }
}
