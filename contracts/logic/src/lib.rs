//! The logic: everything of the guard that is not on the hot path. It runs by DELEGATECALL in the gate's storage and can be
//! replaced by the governor, which the gate cannot.
//!
//! [`Guard`] holds the behaviour, written against `cordon_host::Host` so that it is tested natively. Six Stylus programs are
//! made of it, because one account cannot hold it, and because entering a program costs by its size: `respond` (trips), `contain`,
//! `hooks`, `recover` (release, settlement), `admin` (set-up, governance) and `inspect` (views, evaluation, rehearsals). The rules themselves
//! (levels, bounds, language, rulebook) are `cordon_core`'s.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(target_arch = "wasm32", allow(unreachable_code, irrefutable_let_patterns))] // a refusal ends the program, see `abi::Refusal`

extern crate alloc;

pub mod abi;
mod admin;
mod calls;
mod containment;
mod context;
mod dispatch;
pub mod guard;
mod halts;
mod health;
mod hooks;
mod incidents;
mod program;
pub mod quick;
mod reader;
mod release;
mod streams;
pub mod views;

pub use dispatch::{administer, contain, hook, inspect, recover, respond, respond_or_hand_on, SELECTORS};
pub use guard::Guard;
#[cfg(target_arch = "wasm32")]
pub use program::serve;
