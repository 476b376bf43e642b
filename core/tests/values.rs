//! Words and integers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alloy_primitives::{B256, U256};
use cordon_core::rule::{Int, Kind, Type, Value, WordType};
use proptest::prelude::*;

fn int() -> impl Strategy<Value = Int> {
    let magnitude = prop_oneof![
        any::<u8>().prop_map(U256::from),
        any::<[u64; 4]>().prop_map(U256::from_limbs),
        (0usize..256).prop_map(|bit| U256::from(1) << bit),
        (0usize..256).prop_map(|bit| (U256::from(1) << bit) - U256::from(1)),
    ];
    (any::<bool>(), magnitude).prop_map(|(negative, magnitude)| Int::new(negative, magnitude))
}

fn word_types() -> Vec<WordType> {
    (0..=255).filter_map(WordType::from_u8).collect()
}

proptest! {
    #[test]
    fn a_word_is_read_and_written_the_same(bytes: [u8; 32], zeros in 0usize..33, tail: bool, which in any::<prop::sample::Index>()) {
        let mut word = B256::new(bytes);
        let fill = if word[31] & 1 == 1 { 0xff } else { 0 };
        for byte in word.iter_mut().take(zeros) {
            *byte = fill;
        }
        if tail {
            word.reverse();
        }
        let types = word_types();
        let ty = types[which.index(types.len())];
        if let Some(value) = ty.read(word) {
            prop_assert_eq!(value.kind(), ty.kind());
            prop_assert_eq!(ty.write(&value), Some(word));
        }
    }

    #[test]
    fn an_integer_that_fits_comes_back(value in int(), which in any::<prop::sample::Index>()) {
        let types: Vec<WordType> = word_types().into_iter().filter(|ty| ty.kind() == Kind::Int).collect();
        let ty = types[which.index(types.len())];
        let bits = 8 * u32::from(ty.code() & 0x3f);
        let signed = ty.code() & 0x80 != 0;
        let power = |exponent: u32| U256::from(1).checked_shl(exponent as usize).unwrap_or(U256::ZERO);
        let fits = match (signed, value.negative) {
            (false, negative) => !negative && (bits == 256 || value.magnitude < power(bits)),
            (true, false) => value.magnitude < power(bits - 1),
            (true, true) => value.magnitude <= power(bits - 1),
        };
        let written = ty.write(&Value::Int(value));
        prop_assert_eq!(written.is_some(), fits);
        if let Some(word) = written {
            prop_assert_eq!(ty.read(word), Some(Value::Int(value)));
        }
    }

    #[test]
    fn arithmetic_undoes_itself(a in int(), b in int(), c in int()) {
        if let Some(sum) = a.checked_add(b) {
            prop_assert_eq!(sum.checked_sub(b), Some(a));
            prop_assert_eq!(sum.cmp(&a), b.cmp(&Int::ZERO));
        }
        if let Some(product) = a.checked_mul(b) {
            prop_assert_eq!(product.mul_div(c, c), (c != Int::ZERO).then_some(product));
            prop_assert_eq!(product.mul_div(Int::from(1), b), (b != Int::ZERO).then_some(a));
        }
        prop_assert_eq!(a.mul_div(b, c), b.mul_div(a, c));
        prop_assert_eq!(a.near(b, 77), b.near(a, 77));
        prop_assert!(a.near(a, 0));
        prop_assert_eq!(a.negated().negated(), a);
        prop_assert_eq!(a.mul_div(b, Int::ZERO), None);
    }
}

#[test]
fn types_are_written_as_in_solidity() {
    for name in [
        "uint256",
        "uint8",
        "int24",
        "bool",
        "address",
        "bytes32",
        "bytes1",
        "address[]",
        "uint128[]",
    ] {
        assert_eq!(Type::parse(name).to_string(), name);
        assert!(!matches!(Type::parse(name), Type::Other { .. }), "{name}");
    }
    assert_eq!(Type::parse("uint").to_string(), "uint256");
    for name in [
        "uint7",
        "uint264",
        "bytes33",
        "bytes",
        "string",
        "(uint256,bool)",
        "string[]",
        "function",
    ] {
        assert!(matches!(Type::parse(name), Type::Other { .. }), "{name}");
        assert_eq!(Type::parse(name).word_type(), None);
    }
}

#[test]
fn codes_of_word_types_are_those_of_the_encoding() {
    assert_eq!(word_types().len(), 2 + 3 * 32);
    let cases = [
        (WordType::BOOL, 0),
        (WordType::ADDRESS, 1),
        (WordType::UINT256, 0x60),
        (WordType::INT256, 0xa0),
        (WordType::BYTES32, 0xe0),
        (WordType::integer(false, 1).unwrap(), 0x41),
        (WordType::bytes(4).unwrap(), 0xc4),
    ];
    for (ty, code) in cases {
        assert_eq!(ty.code(), code);
    }
    assert_eq!((WordType::integer(true, 0), WordType::bytes(33)), (None, None));
}
