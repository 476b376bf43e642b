//! The contracts that the rules of the parity tests read, as code on a chain and as the native evaluator sees them.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, U256, hex, keccak256};
use cordon_core::rule::{Context, ReadError, Reader};
use proptest::prelude::*;

/// EVM code that answers slot 0 and the sum of three arguments, or reverts when slot 1 is set. Two words of calldata, and nothing else, set
/// both.
pub(crate) const CODE: [u8; 56] = hex!(
    "36604014602a57 60015415601257 600080fd 5b 6004356024350160443501600054016000526020 6000f3 5b 600035600055602035600155 00"
);

/// Registers that hold values; one more, the last, holds an address.
pub(crate) const VALUES: usize = 4;
pub(crate) const ALL: usize = VALUES + 1;
/// An account that does not exist.
pub(crate) const NOBODY: Address = Address::repeat_byte(0x77);

/// Functions of a register, as the configuration has them.
pub(crate) const FUNCTIONS: [&str; 9] = [
    "function value() view returns (uint256)",
    "function signed() view returns (int256)",
    "function flag() view returns (bool)",
    "function small() view returns (uint8)",
    "function narrow() view returns (int32)",
    "function tag() view returns (bytes4)",
    "function peer() view returns (address)",
    "function plus(uint256 a) view returns (uint256)",
    "function mixed(uint8 a, address b, bytes4 c) view returns (uint256)",
];

pub(crate) fn addresses() -> Vec<Address> {
    (0xa0_u8..).take(ALL).map(Address::with_last_byte).collect()
}

/// What a register answers (`None`: it reverts), and its balance.
pub(crate) type Reading = (Option<U256>, U256);

/// What a word is: near the ends of the ranges as often as anywhere, and at times of a narrow type.
pub(crate) fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        Just(U256::ONE),
        Just(U256::MAX),
        Just(U256::ONE << 255),
        any::<u8>().prop_map(U256::from),
        any::<u64>().prop_map(U256::from),
        any::<[u64; 4]>().prop_map(U256::from_limbs),
        any::<i32>().prop_map(|small| U256::from_be_bytes(sign_extended(small))),
        (0..3_u32).prop_map(|tag| U256::from(tag) << 224),
    ]
}

fn sign_extended(small: i32) -> [u8; 32] {
    let mut word = [if small < 0 { 0xff } else { 0 }; 32];
    word[28..].copy_from_slice(&small.to_be_bytes());
    word
}

/// An address that is somebody's, nobody's, or none. Not one of a precompile's, which answers in its own way.
pub(crate) fn address() -> impl Strategy<Value = U256> {
    prop_oneof![
        6 => (0..ALL).prop_map(|place| addresses()[place].into_word().into()),
        1 => Just(NOBODY.into_word().into()),
        1 => Just(U256::MAX),
    ]
}

/// What all registers answer.
pub(crate) fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let reading = (prop::option::weighted(0.92, word()), word().prop_map(|wei| wei >> 1));
    let last = (prop::option::weighted(0.92, address()), word().prop_map(|wei| wei >> 1));
    (prop::collection::vec(reading, VALUES), last).prop_map(|(mut readings, last)| {
        readings.push(last);
        readings
    })
}

/// What guarded calls have brought in and taken out in a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) entered: HashMap<Address, U256>,
    pub(crate) left: HashMap<Address, U256>,
    pub(crate) depth: u64,
    pub(crate) round_trip: bool,
}

/// The chain as the native evaluator sees it.
pub(crate) struct Native<'a> {
    registers: HashMap<Address, Reading>,
    /// What a guard should have stored.
    stored: &'a HashMap<B256, U256>,
    now: u64,
    /// In a hook alone.
    transaction: Option<&'a Transaction>,
}

impl<'a> Native<'a> {
    pub(crate) fn new(readings: &[Reading], stored: &'a HashMap<B256, U256>, now: u64) -> Self {
        Self {
            registers: addresses().into_iter().zip(readings.iter().copied()).collect(),
            stored,
            now,
            transaction: None,
        }
    }

    pub(crate) fn within(self, transaction: &'a Transaction) -> Self {
        Self {
            transaction: Some(transaction),
            ..self
        }
    }
}

impl Reader for Native<'_> {
    fn call(&mut self, target: Address, calldata: &[u8], _: u64, word: u16) -> Result<B256, ReadError> {
        let Some((value, _)) = self.registers.get(&target) else {
            assert_eq!(target, NOBODY, "a rule reads an account that nobody gave it");
            return Err(ReadError::NoCode);
        };
        let value = value.ok_or(ReadError::Reverted)?;
        let arguments = calldata[4..].chunks(32).map(U256::from_be_slice);
        let answer = arguments.fold(value, U256::wrapping_add);
        if word == 0 {
            Ok(answer.into())
        } else {
            Err(ReadError::Short)
        }
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        Ok(self.registers.get(&account).map_or(U256::ZERO, |(_, wei)| *wei))
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        let exists = self.registers.contains_key(&account);
        Ok(if exists { keccak256(CODE) } else { B256::ZERO })
    }

    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        Ok(self.stored[key].into())
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn context(&self, what: Context) -> Result<U256, ReadError> {
        let transaction = self.transaction.ok_or(ReadError::Unavailable)?;
        let of = |flows: &HashMap<Address, U256>, asset| flows.get(&asset).copied().unwrap_or_default();
        Ok(match what {
            Context::Entered(asset) => of(&transaction.entered, asset),
            Context::Left(asset) => of(&transaction.left, asset),
            Context::Depth => U256::from(transaction.depth),
            Context::RoundTrip => U256::from(u8::from(transaction.round_trip)),
        })
    }
}
