//! Fuzz targets: functions that take any bytes and panic when a property does not hold.
//!
//! They need nothing but stable Rust. `scripts/fuzz` runs them with inputs made from a seed, for seconds in CI or for hours, or
//! under libFuzzer, guided by coverage.
//!
//! What holds for each: no panic, an end within [`run::PATIENCE`], bounded memory; and what the target says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target tells of a broken property by panicking"
)]

pub mod input;
pub mod run;
pub mod targets;

pub use targets::{TARGETS, Target};

/// Runs the target of this name, for other runners than [`run`].
///
/// # Panics
/// A property does not hold, or there is no such target.
pub fn run_by_name(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
