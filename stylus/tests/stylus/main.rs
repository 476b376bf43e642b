//! Programs, contracts and precompiles on a chain in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod activation;
mod common;
mod debug;
mod deploy;
mod docs;
mod frames;
mod hooks;
mod ink;
mod inspector;
mod mistakes;
mod outcomes;
mod owner;
mod precompiles;
mod trace;
mod unasked;
mod versions;
