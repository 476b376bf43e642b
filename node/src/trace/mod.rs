//! What transactions did: running mined blocks again, the tree of their calls in the EVM and in programs, and its renderings.

mod console;
mod limit;
mod names;
mod print;
mod replay;
mod stylus;
mod tree;

use std::io::Write;

use cordon_stylus::hooks::HostTrace;
use revm::{context::TxEnv, context_interface::result::ResultAndState};

pub(crate) use console::CONSOLE;
pub(crate) use limit::{FirstSteps, StepLimit};
pub(crate) use names::Names;
pub(crate) use replay::{Replayed, local_block, replay, state_after, state_inside};
pub(crate) use stylus::steps;
use tree::{CallTree, Entry, Frame, FrameKind};

use crate::{
    evm::{ExecutionError, Session},
    state::Overlay,
};

/// What running a transaction gave, and the tree of its calls.
pub(crate) struct Traced {
    pub(crate) outcome: ResultAndState,
    /// The outermost call.
    pub(crate) root: Option<Frame>,
    /// Number of host calls that were too many to be kept.
    pub(crate) dropped: u64,
}

/// Runs a transaction and keeps the tree of its calls.
pub(crate) fn run(session: &mut Session<'_>, overlay: &mut Overlay, tx: TxEnv) -> Result<Traced, ExecutionError> {
    let programs = HostTrace::default();
    let mut tree = CallTree::new(programs.clone());
    session.trace_programs(Some(programs));
    let outcome = session.inspect(overlay, tx, &mut tree);
    session.trace_programs(None);
    let (root, dropped) = tree.finish();
    Ok(Traced {
        outcome: outcome?,
        root,
        dropped,
    })
}

/// The tree of calls as text.
pub(crate) fn text(traced: &Traced, names: &Names) -> String {
    let mut text = traced
        .root
        .as_ref()
        .map(|root| print::print(root, names))
        .unwrap_or_default();
    if traced.dropped > 0 {
        text.push_str(&format!("  … {} host calls are left out\n", traced.dropped));
    }
    text
}

/// Prints what a call to the console says.
pub(crate) fn print_logged(input: &[u8]) {
    if let Some(text) = console::text(input) {
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// Runs a transaction and prints the tree of its calls under `title`.
pub(crate) fn run_and_print(
    session: &mut Session<'_>,
    overlay: &mut Overlay,
    tx: TxEnv,
    title: &str,
    names: &Names,
) -> Result<ResultAndState, ExecutionError> {
    let traced = run(session, overlay, tx)?;
    let text = format!("Trace of {title}:\n{}\n", text(&traced, names));
    // Nobody may be reading.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(traced.outcome)
}
