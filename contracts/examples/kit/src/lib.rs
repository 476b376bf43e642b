//! What contracts written with the Stylus SDK do, in one of them: storage of every type, calls and delegate calls, errors, events,
//! composition, a constructor, fallback and receive, sending ether. Not part of Cordon: the tests run it on the engine, and, with
//! the feature `large`, as a program in fragments.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code)] // what the SDK's macros generate, and its delegate calls

extern crate alloc;

use alloc::{string::String, vec, vec::Vec};

use alloy_sol_types::sol;
use stylus_sdk::alloy_primitives::{Address, B256, U128, U256, U64, U8};
use stylus_sdk::call::transfer::transfer_eth;
use stylus_sdk::prelude::*;

sol! {
    event Noted(address indexed who, uint256 indexed kind, uint256 value, string text);
    error NotOwner(address caller);
    error TooMuch(uint256 have, uint256 want);
}

sol_interface! {
    interface IKit {
        function number() external view returns (uint256);
        function setNumber(uint256 number) external;
        function deposit() external payable;
    }
}

#[derive(SolidityError)]
pub enum KitError {
    NotOwner(NotOwner),
    TooMuch(TooMuch),
}

sol_storage! {
    #[entrypoint]
    pub struct Kit {
        uint256 number;
        bool flag;
        uint64 small;
        address owner;
        mapping(address => uint256) balances;
        uint256[] list;
        string text;
        bytes blob;
        uint8[4] fixed;
        Pair pair;
        mapping(uint256 => mapping(address => bool)) nested;
        uint256 received;
        bytes32 fallback_hash;
    }

    pub struct Pair {
        uint128 low;
        uint128 high;
    }
}

#[public]
pub trait Owned {
    /// Who owns the contract.
    fn owner(&self) -> Address;
    /// Makes another account the owner.
    fn hand_over(&mut self, to: Address) -> Result<(), KitError>;
}

#[public]
impl Owned for Kit {
    fn owner(&self) -> Address {
        self.owner.get()
    }

    fn hand_over(&mut self, to: Address) -> Result<(), KitError> {
        let caller = self.vm().msg_sender();
        if caller != self.owner.get() {
            return Err(KitError::NotOwner(NotOwner { caller }));
        }
        self.owner.set(to);
        Ok(())
    }
}

#[public]
#[implements(Owned)]
impl Kit {
    #[constructor]
    #[payable]
    pub fn constructor(&mut self, owner: Address, number: U256) {
        self.owner.set(owner);
        self.number.set(number);
        let value = self.vm().msg_value();
        self.received.set(value);
    }

    pub fn number(&self) -> U256 {
        self.number.get()
    }

    pub fn set_number(&mut self, number: U256) {
        self.number.set(number);
    }

    /// Writes every kind of storage.
    pub fn store(&mut self, seed: U256, text: String, blob: Vec<u8>) {
        self.flag.set(true);
        self.small.set(U64::from(7));
        let sender = self.vm().msg_sender();
        self.balances.setter(sender).set(seed);
        self.list.push(seed);
        self.list.push(seed + U256::from(1));
        self.text.set_str(text);
        self.blob.set_bytes(blob);
        if let Some(mut third) = self.fixed.setter(2) {
            third.set(U8::from(9));
        }
        self.pair.low.set(U128::from(1));
        self.pair.high.set(U128::MAX);
        self.nested.setter(seed).setter(sender).set(true);
    }

    /// Reads it all back.
    pub fn load(&self, key: U256) -> (bool, u64, U256, U256, U256, String, Vec<u8>, u8, U256, bool) {
        let sender = self.vm().msg_sender();
        let length = self.list.len();
        (
            self.flag.get(),
            self.small.get().to(),
            self.balances.get(sender),
            U256::from(length),
            self.list.get(length.saturating_sub(1)).unwrap_or_default(),
            self.text.get_string(),
            self.blob.get_bytes(),
            self.fixed.get(2).unwrap_or_default().to(),
            U256::from(self.pair.high.get()) + U256::from(self.pair.low.get()),
            self.nested.getter(key).get(sender),
        )
    }

    /// Takes the last entry of the list away.
    pub fn shrink(&mut self) -> U256 {
        self.list.pop().unwrap_or_default()
    }

    /// Fails with an error of its own when more is wanted than there is.
    pub fn take(&mut self, want: U256) -> Result<U256, KitError> {
        let have = self.number.get();
        let rest = have
            .checked_sub(want)
            .ok_or(KitError::TooMuch(TooMuch { have, want }))?;
        self.number.set(rest);
        Ok(rest)
    }

    pub fn note(&self, kind: U256, text: String) {
        let who = self.vm().msg_sender();
        let value = self.number.get();
        self.vm().log(Noted { who, kind, value, text });
    }

    pub fn ask(&self, other: IKit) -> Result<U256, Vec<u8>> {
        Ok(other.number(self.vm(), Call::new())?)
    }

    pub fn tell(&mut self, other: IKit, number: U256) -> Result<(), Vec<u8>> {
        let context = Call::new_mutating(self);
        Ok(other.set_number(self.vm(), context, number)?)
    }

    /// Passes its value on.
    #[payable]
    pub fn pass(&mut self, other: IKit) -> Result<(), Vec<u8>> {
        let value = self.vm().msg_value();
        let context = Call::new_payable(self, value);
        Ok(other.deposit(self.vm(), context)?)
    }

    #[payable]
    pub fn deposit(&mut self) {
        let received = self.received.get() + self.vm().msg_value();
        self.received.set(received);
    }

    /// Runs another contract's code on this one's storage.
    pub fn delegate(&mut self, code: Address, data: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        let context = Call::new_mutating(self);
        // The tests delegate to this same program only.
        let answer = unsafe { delegate_call(self.vm(), context, code, &data) };
        Ok(answer?)
    }

    pub fn send(&mut self, to: Address, amount: U256) -> Result<(), Vec<u8>> {
        transfer_eth(self.vm(), to, amount)
    }

    pub fn received(&self) -> U256 {
        self.received.get()
    }

    pub fn fallback_hash(&self) -> B256 {
        self.fallback_hash.get()
    }

    /// Hash of the table that makes the program large; of nothing when it is not.
    pub fn table_hash(&self) -> B256 {
        self.vm().native_keccak256(table())
    }

    #[receive]
    #[payable]
    pub fn receive(&mut self) -> Result<(), Vec<u8>> {
        self.deposit();
        Ok(())
    }

    #[fallback]
    #[payable]
    pub fn fallback(&mut self, calldata: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let hash = self.vm().native_keccak256(calldata);
        self.fallback_hash.set(hash);
        Ok(calldata.to_vec())
    }
}

#[cfg(not(feature = "large"))]
fn table() -> &'static [u8] {
    &[]
}

/// 40 KiB from a xorshift generator, which no compressor shortens.
#[cfg(feature = "large")]
fn table() -> &'static [u8] {
    static TABLE: [u8; 40 << 10] = {
        let mut table = [0; 40 << 10];
        let (mut state, mut index) = (0x2545_f491_4f6c_dd1d_u64, 0);
        while index < table.len() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The highest byte.
            #[allow(clippy::indexing_slicing)]
            {
                table[index] = state.to_be_bytes()[0];
            }
            index += 1;
        }
        table
    };
    &TABLE
}
