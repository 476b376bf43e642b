//! The little of the ABI that the hot path needs without a decoder.

use alloy_primitives::{Address, B256};

/// Selectors that the gate itself understands.
pub mod selector {
    /// `enter(uint24,uint8,address,uint256,address)`
    pub const ENTER: [u8; 4] = [0xfb, 0x2c, 0xbc, 0x3e];
    /// `exit(uint256)`
    pub const EXIT: [u8; 4] = [0x7f, 0x86, 0x61, 0xa1];
    /// `isAllowed(uint24,uint8)`
    pub const IS_ALLOWED: [u8; 4] = [0x8e, 0x4e, 0x55, 0xb6];
    /// `levelOf(uint8)`
    pub const LEVEL_OF: [u8; 4] = [0x73, 0xe3, 0x5a, 0xf0];
    /// `lastHeartbeat()`
    pub const LAST_HEARTBEAT: [u8; 4] = [0x69, 0xc1, 0xa7, 0x12];
    /// `contain(uint8,uint8,uint32,bytes32)`
    pub const CONTAIN: [u8; 4] = [0x3a, 0xa6, 0xdd, 0x4a];
    /// `containMany(uint8[],uint8,uint32,bytes32)`
    pub const CONTAIN_MANY: [u8; 4] = [0x0e, 0x5c, 0x3b, 0xcd];
    /// `containSet(bytes32,bytes32)`
    pub const CONTAIN_SET: [u8; 4] = [0x98, 0x1e, 0xa7, 0xe1];
    /// `heartbeat()`
    pub const HEARTBEAT: [u8; 4] = [0x3d, 0xef, 0xb9, 0x62];
    /// `initialize(address[6],address,uint32)`
    pub const INITIALIZE: [u8; 4] = [0x41, 0x68, 0x68, 0x77];
    /// Error `NotRegistered(address)`
    pub const NOT_REGISTERED: [u8; 4] = [0xbf, 0xc6, 0xc3, 0x37];
    /// Error `NotInitialized()`
    pub const NOT_INITIALIZED: [u8; 4] = [0x87, 0x13, 0x8d, 0x5c];
    /// Error `NotAProgram(address)`
    pub const NOT_A_PROGRAM: [u8; 4] = [0x39, 0xf2, 0x7a, 0xb8];
}

/// The `index`-th argument word of `calldata` (selector included), when there is one.
#[must_use]
pub fn argument(calldata: &[u8], index: usize) -> Option<B256> {
    let (_, words) = calldata.split_first_chunk::<4>()?;
    let word = words.get(index.checked_mul(32)?..)?.first_chunk::<32>()?;
    Some(B256::new(*word))
}

/// The address in the low 20 bytes of a word; the high ones are not looked at.
#[must_use]
pub fn address(word: &B256) -> Address {
    let [_, _, _, _, _, _, _, _, _, _, _, _, low @ ..] = word.0;
    Address::new(low)
}

/// The word as a number below 2^32, when it is one.
#[must_use]
pub fn small(word: &B256) -> Option<u32> {
    let (high, low) = word.0.split_last_chunk::<4>()?;
    high.iter().all(|byte| *byte == 0).then(|| u32::from_be_bytes(*low))
}

/// Revert data of a custom error with one address.
#[must_use]
pub fn error_with_address(selector: [u8; 4], account: &Address) -> [u8; 36] {
    let mut data = [0; 36];
    let [a, b, c, d, _, _, _, _, _, _, _, _, _, _, _, _, low @ ..] = &mut data;
    [*a, *b, *c, *d] = selector;
    *low = account.into_array();
    data
}
