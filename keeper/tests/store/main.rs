//! The record on a real SQLite file: a block is done as a whole or not at all, actions happen once, reorgs are taken back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod blocks;
mod fixture;
mod incidents;
mod past;
mod stopped;
