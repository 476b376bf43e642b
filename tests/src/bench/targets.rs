//! What the calls of a guard may cost, and which of the present figures miss it.

use std::fmt;

use super::{Hooks, ResponseGas};

/// `enter` and `exit` from Solidity with the one-word rule, the gate cached, without the rule's own read.
pub const HOOKS: u64 = 9_000;
/// `enter` and `exit` embedded in a Stylus protocol.
pub const EMBEDDED_HOOKS: u64 = 6_000;
/// `outflow` embedded: as much as the best Solidity buffer, itself embedded.
pub const EMBEDDED_OUTFLOW: u64 = 7_400;
/// A call of the limiter, a contract of its own, by its Solidity caller.
pub const LIMITER: u64 = 10_000;
/// `contain`, without the targets' own code and the transaction's own price, programs cached.
pub const CONTAIN_CACHED: u64 = 60_000;
/// The same, nothing cached. Missed: `docs/benchmarks.md` says by how much and what was tried. It does not get worse.
pub const CONTAIN: u64 = 80_000;
/// `trip` with four reads and one containment call, in the same way, cached or not.
pub const TRIP: u64 = 90_000;

/// The names of the responses' targets, as the table of `docs/benchmarks.md` has them.
pub const CONTAIN_CACHED_ROW: &str = "`contain`, programs cached";
/// See [`CONTAIN_CACHED_ROW`].
pub const CONTAIN_ROW: &str = "`contain`, not cached";
/// See [`CONTAIN_CACHED_ROW`].
pub const TRIP_CACHED_ROW: &str = "`trip`, 4 reads, programs cached";
/// See [`CONTAIN_CACHED_ROW`].
pub const TRIP_ROW: &str = "`trip`, 4 reads, not cached";

/// A figure above its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What costs too much.
    pub what: &'static str,
    /// Its gas.
    pub gas: u64,
    /// What it may cost.
    pub target: u64,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, gas, target } = self;
        write!(
            f,
            "{what} costs {gas} gas, {} above its target of {target}",
            gas.saturating_sub(*target)
        )
    }
}

/// Every figure that has a target which is met: one above it is a step back.
pub(super) fn missed(hooks: &Hooks, responses: &ResponseGas, embedded: &(u64, u64)) -> Vec<Miss> {
    let figures = [
        (
            "enter + exit with the one-word rule, without its read",
            hooks.own(),
            HOOKS,
        ),
        ("enter + exit embedded", embedded.0, EMBEDDED_HOOKS),
        ("limit::outflow embedded", embedded.1, EMBEDDED_OUTFLOW),
        (CONTAIN_CACHED_ROW, responses.contain_cached, CONTAIN_CACHED),
        (TRIP_CACHED_ROW, responses.trip_cached, TRIP),
        (TRIP_ROW, responses.trip, TRIP),
    ];
    let above = figures.into_iter().filter(|(_, gas, target)| gas > target);
    above.map(|(what, gas, target)| Miss { what, gas, target }).collect()
}
