//! The gate: the part of the guard that is called by every guarded transaction, holds the protocol's roles and is never
//! replaced. It answers `enter`, `exit` and `isAllowed` itself while everything is Normal and no rule has to look first; all
//! else runs in the logic program, by DELEGATECALL in the gate's storage, with answers and errors passed through.
//!
//! The program is small because its size is paid for twice by each guarded call. It has no router and no allocator.
#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(target_arch = "wasm32")]
mod entry;
mod gate;

pub use gate::{run, Outcome, Refusal};
