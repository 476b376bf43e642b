//! The keeper against the real guard on the node: from the breach to the settled incident, and through what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod alarms;
mod answers;
mod board;
mod confirm;
mod console;
mod crash;
mod finality;
mod fleet;
mod forks;
mod incident;
mod instants;
mod keys;
mod kills;
mod ladder;
mod late;
mod openapi;
mod playbook;
mod process;
mod pruned;
mod record_lost;
mod replay;
mod responses;
mod rulebook;
mod sends;
mod start;
mod stopped;
mod streams;
mod told;
mod trouble;
mod world;
