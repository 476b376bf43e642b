//! What the guard's programs ask of the Stylus VM, and how they lay out their storage.
//!
//! [`Host`] is the narrow waist: gate and logic are written against it, `Stylus` implements it on the VM's hooks (the only
//! unsafe code of the guard), and `mock::MockHost` implements it natively for unit tests.
#![no_std]

#[cfg(not(target_arch = "wasm32"))]
extern crate std;

pub mod abi;
pub mod layout;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;
pub mod quick;
#[cfg(target_arch = "wasm32")]
mod stylus;
mod vm;
mod words;

#[cfg(target_arch = "wasm32")]
pub use stylus::{revert, Stylus, Vm};
pub use vm::{CallKind, Host};
