//! A counter as the Stylus SDK's users write it. Not part of Cordon: `scripts/test-cargo-stylus` deploys it to show that the
//! node takes what the published tool makes of an ordinary contract.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs)] // what the SDK's macros generate

extern crate alloc;

use alloc::{vec, vec::Vec};
use stylus_sdk::{alloy_primitives::U256, prelude::*};

sol_storage! {
    /// The number that is counted.
    #[entrypoint]
    pub struct Counter {
        uint256 number;
    }
}

#[public]
impl Counter {
    /// The number now.
    pub fn number(&self) -> U256 {
        self.number.get()
    }

    /// Sets the number.
    pub fn set_number(&mut self, number: U256) {
        self.number.set(number);
    }

    /// Adds one; the number stays where it is at the largest.
    pub fn increment(&mut self) {
        self.number.set(self.number.get().saturating_add(U256::from(1)));
    }
}
