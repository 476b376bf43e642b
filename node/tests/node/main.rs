//! The node from outside: alloy, `cast` and raw requests against nodes on loopback ports, forks of a real anvil.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod calls;
mod cheats;
mod drop_in;
mod errors;
mod fees;
mod fork;
mod history;
#[cfg(unix)]
mod ipc;
mod like_anvil;
mod limits;
mod long;
mod methods;
mod mining;
mod parity;
mod past;
mod pending;
mod print;
mod programs;
mod proof;
mod pubsub;
mod reorg;
mod reset;
mod sdk;
mod simulate;
mod state_files;
mod stylus;
mod stylus_trace;
mod support;
mod tools;
mod tracing;
mod transactions;
mod upstream;
mod wire;
