//! The targets.

mod code;
mod engines;
mod hooks;
mod module;
mod precompiles;
mod rpc;
mod rules;
mod world;

/// A function that takes any bytes and panics when a property does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its folder in `corpus`.
    pub name: &'static str,
    /// What must hold.
    pub what: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "module",
        what: "validator and instrumenter: refused, or valid, bounded and compilable; the same every time",
        run: module::run,
    },
    Target {
        name: "engines",
        what: "random programs: both engines end alike, to the ink, the host call and the state",
        run: engines::run,
    },
    Target {
        name: "hooks",
        what: "host functions with hostile pointers and calldata, calls of calls: no error, both engines alike",
        run: hooks::run,
    },
    Target {
        name: "precompiles",
        what: "any call of Arbitrum's precompiles and of StylusDeployer: an end, and never more gas than given",
        run: precompiles::run,
    },
    Target {
        name: "code",
        what: "brotli, roots, fragments and the deploy prelude: bounded output, and what is deployed is what was given",
        run: code::run,
    },
    Target {
        name: "rules",
        what: "rules and rulebooks: refused, or evaluated within their bounds; what is decoded encodes to the same",
        run: rules::run,
    },
    Target {
        name: "rpc",
        what: "requests to a node: an answer that is JSON, and a node that goes on answering",
        run: rpc::run,
    },
];
