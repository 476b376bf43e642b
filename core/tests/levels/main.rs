//! Levels and budgets: no sequence of transitions takes an actor beyond its bounds, and every level ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod cases;
mod exhaustive;
mod power;
mod sequences;

/// When the tests begin, Unix seconds.
const START: u64 = 1_700_000_000;
