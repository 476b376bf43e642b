//! A keeper whose endpoints fail in every way that endpoints fail, on a chain that is reorganised to depth 64 while an incident
//! happens: no incident is missed, none is invented, and what cannot be known is alarmed.
//!
//! Chance comes from one seed, which each test prints: `CORDON_SEED=… scripts/test chaos` repeats it. `CORDON_CHAOS` says how
//! many storms there are to be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../keeper_e2e/board.rs"]
#[allow(dead_code)]
mod board;
#[path = "../keeper_e2e/world.rs"]
#[allow(dead_code)]
mod world;

mod lies;
mod storm;
mod weather;
