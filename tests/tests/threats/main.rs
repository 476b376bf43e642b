//! The threats of `docs/threat-model.md`, one test each: the attack is made on the guard's real programs on the node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod abi;
mod anchors;
mod authority;
mod batch;
mod calls;
mod containment;
mod context;
mod hooks;
mod pool;
mod rules;
mod scopes;
mod sets;
mod statistics;
mod world;
