//! The little of Solidity's ABI that the precompiles need.

use alloy_primitives::{Address, U256};

/// Encodes static values one after the other.
pub(super) fn words<const N: usize>(values: [U256; N]) -> Vec<u8> {
    values.iter().flat_map(U256::to_be_bytes::<32>).collect()
}

/// Encodes one static value.
pub(super) fn word(value: impl Into<U256>) -> Vec<u8> {
    words([value.into()])
}

/// An address as a word.
pub(super) fn address(address: Address) -> U256 {
    address.into_word().into()
}

/// Encodes one dynamic array of words.
pub(super) fn array(values: &[U256]) -> Vec<u8> {
    let mut out = words([U256::from(32), U256::from(values.len())]);
    out.extend(values.iter().flat_map(U256::to_be_bytes::<32>));
    out
}

/// Encodes one `bytes` value.
pub(super) fn bytes(data: &[u8]) -> Vec<u8> {
    let mut out = words([U256::from(32)]);
    out.extend(tail(data));
    out
}

/// Length and padded content of a `bytes` value.
pub(super) fn tail(data: &[u8]) -> Vec<u8> {
    let mut out = word(U256::from(data.len()));
    out.extend_from_slice(data);
    out.resize(32 + data.len().next_multiple_of(32), 0);
    out
}

/// Encodes an error: its selector and its values.
pub(super) fn error<const N: usize>(selector: [u8; 4], values: [U256; N]) -> Vec<u8> {
    let mut out = selector.to_vec();
    out.extend(words(values));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_values_are_padded() {
        let encoded = bytes(&[1; 33]);
        assert_eq!(encoded.len(), 32 + 32 + 64);
        assert_eq!(encoded.get(63), Some(&33));
        assert_eq!(bytes(&[]).len(), 64);
        assert_eq!(array(&[U256::ONE]).len(), 96);
    }
}
