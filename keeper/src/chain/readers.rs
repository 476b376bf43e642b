//! Instructions that are put in the place of contracts for the time of an `eth_call`, and hand back the state around them.

use alloy::primitives::U256;

/// Answers the digest of the words of its storage at `slots`, and the words after it unless the calldata is that digest.
pub(super) fn storage_code(slots: impl Iterator<Item = U256>) -> Vec<u8> {
    /// Length of the instructions; behind them stand the places of the words.
    const PLACES: u8 = 63;
    // push1 PLACES, dup1, codesize, sub; dup1, swap2, push1 32, codecopy(32, PLACES, their length)
    let mut code = vec![0x60, PLACES, 0x80, 0x38, 0x03, 0x80, 0x91, 0x60, 0x20, 0x39];
    // push1 32, add: the end; push1 32: the position
    code.extend([0x60, 0x20, 0x01, 0x60, 0x20]);
    // jumpdest (15); dup2, dup2, lt, iszero, push1 34, jumpi
    code.extend([0x5b, 0x81, 0x81, 0x10, 0x15, 0x60, 34, 0x57]);
    // dup1, mload, sload, dup2, mstore: the word in the place of its place
    code.extend([0x80, 0x51, 0x54, 0x81, 0x52]);
    // push1 32, add, push1 15, jump
    code.extend([0x60, 0x20, 0x01, 0x60, 15, 0x56]);
    // jumpdest (34); pop; push1 32, dup2, sub, push1 32, keccak256
    code.extend([0x5b, 0x50, 0x60, 0x20, 0x81, 0x03, 0x60, 0x20, 0x20]);
    // dup1, push1 0, mstore; push1 0, calldataload, eq, push1 57, jumpi
    code.extend([0x80, 0x60, 0x00, 0x52, 0x60, 0x00, 0x35, 0x14, 0x60, 57, 0x57]);
    // return(0, end)
    code.extend([0x60, 0x00, 0xf3]);
    // jumpdest (57); return(0, 32)
    code.extend([0x5b, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    code.extend(slots.flat_map(|slot| slot.to_be_bytes::<32>()));
    code
}

/// Answers code hash and balance of the accounts that the calldata names.
pub(super) fn account_code() -> Vec<u8> {
    // push1 0: the position; jumpdest (2); calldatasize, dup2, lt, iszero, push1 34, jumpi
    let mut code = vec![0x60, 0x00, 0x5b, 0x36, 0x81, 0x10, 0x15, 0x60, 34, 0x57];
    // dup1, calldataload; dup1, extcodehash, dup3, push1 1, shl, mstore: the hash at twice the position
    code.extend([0x80, 0x35, 0x80, 0x3f, 0x82, 0x60, 0x01, 0x1b, 0x52]);
    // balance, dup2, push1 1, shl, push1 32, add, mstore: the balance after it
    code.extend([0x31, 0x81, 0x60, 0x01, 0x1b, 0x60, 0x20, 0x01, 0x52]);
    // push1 32, add, push1 2, jump
    code.extend([0x60, 0x20, 0x01, 0x60, 0x02, 0x56]);
    // jumpdest (34); return(0, 2 * position)
    code.extend([0x5b, 0x60, 0x01, 0x1b, 0x60, 0x00, 0xf3]);
    code
}
