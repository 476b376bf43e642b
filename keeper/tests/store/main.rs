//! The record in a real SQLite file and in a real PostgreSQL: a block is done as a whole or not at all, actions happen once, reorgs are taken back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[macro_use]
mod fixture;

mod backlog;
mod backup;
mod blocks;
mod decisions;
mod evidence;
mod fleet;
mod incidents;
mod ladder;
mod open;
mod outbox;
mod past;
mod playbook;
mod playbook_quorum;
mod quorum;
mod reorgs;
mod route;
mod rulebook;
mod sightings;
mod stopped;
