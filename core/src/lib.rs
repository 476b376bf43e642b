//! The rules of the house, without a chain: actions and levels, scopes and their bounds, the rule language, the rulebook
//! and the incident record.
//!
//! Guard, keeper and drill share this code, so that a rule means the same wherever it is evaluated. Everything here is a
//! pure function of its arguments: no I/O, no clock, no chain SDK. The crate is `no_std` with `alloc`; the feature `std`
//! (on by default) adds the parser and the compiler of the rule language. `docs/rules.md` describes language and encoding.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod action;
pub mod anchor;
pub mod baseline;
pub mod bounds;
mod bytes;
pub mod incident;
pub mod ledger;
pub mod level;
pub mod limiter;
pub mod math;
pub mod matrix;
pub mod quarantine;
pub mod rule;
pub mod rulebook;
pub mod scope;
pub mod stream;

pub use action::{Action, ActionSet, Flow};
pub use level::{Level, Permission};
pub use matrix::Matrix;
