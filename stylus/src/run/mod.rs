//! Running one program call.
//!
//! A run is a coroutine: it goes on until the program ends or asks for something that only the EVM can do. The host's
//! stack stays flat however deep programs and contracts call each other, because a nested call is a frame of the EVM's
//! own loop and this run waits, suspended, on the heap.

mod wasmi;

use alloy_primitives::Bytes;

use crate::hooks::{Env, Request, Response};

pub use self::wasmi::{EngineError, Module, WasmiEngine, WasmiRun};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned 0.
    Success,
    /// It returned something else: revert with its data.
    Revert,
    /// It trapped or misused a host function: revert without data, gas is kept.
    Failure,
    /// It ran out of ink: everything is consumed.
    OutOfInk,
    /// It ran out of WASM stack: everything is consumed.
    OutOfStack,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// Return or revert data; empty unless the outcome is success or revert.
    pub output: Bytes,
    /// Ink left; zero when everything is consumed.
    pub ink: u64,
    /// Why a program failed, for people.
    pub reason: Option<String>,
}

/// Where a run stands.
#[derive(Debug)]
pub enum Step {
    /// The EVM has to answer before the run can go on.
    Request(Request),
    /// The run is over.
    Finished(Finished),
}

/// A program call in progress.
pub trait ProgramRun {
    /// Goes on: from the start with `None`, else with the answer to the last request. After [`Step::Finished`] the run
    /// fails again whatever it is given.
    fn resume(&mut self, response: Option<Response>) -> Step;

    /// The state of the call, as its host functions see it.
    fn env(&self) -> &Env;
}
