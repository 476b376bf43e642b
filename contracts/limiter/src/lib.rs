//! The limiter: how much of an asset may leave a protected contract within a time, and quarantine for what exceeds it.
//!
//! Limits ([`limits`]) are one word each and know nothing of each other: the trip of one asset never touches another. Items in
//! quarantine ([`items`]) carry all that their payment needs, and end (`cordon_core::quarantine`). The arithmetic is
//! `cordon_core::limiter`'s. Like the gate, the program has no router and no allocator, because protected contracts pay for its
//! size with each call. `docs/limiter.md` describes it.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(target_arch = "wasm32", allow(unreachable_code))] // a refusal ends the program, see `abi::Refusal`

pub mod abi;
mod assets;
mod authority;
mod dispatch;
#[cfg(target_arch = "wasm32")]
mod entry;
mod holds;
mod items;
mod keys;
mod limits;
mod purse;

pub use dispatch::dispatch;
pub use purse::Purse;
