//! Running one program call.
//!
//! A run is a coroutine: it goes on until the program ends or asks for something that only the EVM can do. The host's
//! stack stays flat however deep programs and contracts call each other, because a nested call is a frame of the EVM's
//! own loop and this run waits, suspended, on the heap or on a stack of its own.
//!
//! Two engines run the same instrumented module: [`wasmi`](WasmiRun) interprets it at once, wasmtime runs it as native
//! code, which has to be compiled first. Ink, stack and memory are metered by the module itself, so that both give the
//! same results; where native code runs out of host stack before the module's own limit decides, the interpreter
//! [takes over](NativeRun).

mod native;
mod replay;
#[cfg(test)]
pub(crate) mod tests;
mod wasmi;

use std::fmt;

use alloy_primitives::Bytes;
use thiserror::Error;

use crate::hooks::{Env, Request, Response, Stop};

pub use self::native::{NativeEngine, NativeModule};
pub use self::replay::NativeRun;
pub use self::wasmi::{Module, WasmiEngine, WasmiRun};

/// A program cannot be compiled or started although it was validated.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The engine cannot be set up on this machine.
    #[error("the native WASM engine cannot be set up: {0}; choose the engine wasmi")]
    Setup(String),
    /// The engine refuses the module.
    #[error("the WASM engine refuses the instrumented program: {0}")]
    Compile(String),
    /// The module cannot be instantiated.
    #[error("the program cannot be instantiated: {0}")]
    Instantiate(String),
    /// Instrumentation's exports or the entry point are missing.
    #[error("the instrumented program does not export `{0}` as expected")]
    MissingExport(&'static str),
}

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
    /// Why a program failed, for people. Engines word it differently.
    pub reason: Option<String>,
}

impl Finished {
    /// The program returned `status` with this result, by `exit_early` or from its entry point.
    fn exited(status: u32, output: Bytes, ink: u64) -> Self {
        let outcome = if status == 0 { Outcome::Success } else { Outcome::Revert };
        Self {
            outcome,
            output,
            ink,
            reason: None,
        }
    }

    /// A host function ended the program.
    fn stopped(stop: Stop, env: &mut Env) -> Self {
        match stop {
            Stop::Exit(status) => Self::exited(status, std::mem::take(&mut env.result), env.meter.ink()),
            Stop::OutOfInk => Self::exhausted(Outcome::OutOfInk),
            Stop::Failure(reason) => Self::failed(reason.to_owned(), env.meter.ink()),
        }
    }

    fn failed(reason: String, ink: u64) -> Self {
        Self {
            outcome: Outcome::Failure,
            output: Bytes::new(),
            ink,
            reason: Some(reason),
        }
    }

    fn exhausted(outcome: Outcome) -> Self {
        Self {
            outcome,
            output: Bytes::new(),
            ink: 0,
            reason: None,
        }
    }
}

/// What the instrumentation's globals say after a trap.
#[derive(Clone, Copy, Debug)]
struct Counters {
    ink: u64,
    /// Words; 0 when the program used up its stack.
    stack: u64,
    /// Not 0 when it ran out of ink.
    status: u64,
}

impl Counters {
    /// The end of a program that trapped. The stack is asked first, as on the chain.
    fn trapped(self, reason: impl FnOnce() -> String) -> Finished {
        if self.stack == 0 {
            Finished::exhausted(Outcome::OutOfStack)
        } else if self.status != 0 {
            Finished::exhausted(Outcome::OutOfInk)
        } else {
            Finished::failed(reason(), self.ink)
        }
    }
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
pub trait ProgramRun: fmt::Debug {
    /// Goes on: from the start with `None`, else with the answer to the last request. After [`Step::Finished`] the run
    /// fails again whatever it is given.
    fn resume(&mut self, response: Option<Response>) -> Step;

    /// The state of the call, as its host functions see it.
    fn env(&self) -> &Env;
}

/// The reason of a run that was given an answer without a question, or none with one.
const OUT_OF_ORDER: Stop = Stop::Failure("the run was resumed out of order");
