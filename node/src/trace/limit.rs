//! Ends what is traced step by step before it fills the memory.

use revm::{
    Inspector,
    handler::FrameResult,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, Interpreter, interpreter_types::MemoryTr,
    },
    primitives::{Address, Log, U256},
};

use crate::{handle::MAX_MESSAGE, rpc::RpcError};

/// The least that a step takes in an answer, in bytes.
const STEP_BYTES: usize = 60;

/// What a word of the stack takes besides its digits: quotes, `0x` and a comma.
const WORD_BYTES: usize = 5;

/// Adds up what the steps of a run take in the answer, and lets the run go out of gas once that is more than an answer may have:
/// nothing is lost by it. An endless loop has millions of steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepLimit {
    stack: bool,
    memory: bool,
    bytes: usize,
}

impl StepLimit {
    /// For steps that are told with the stack, or with the memory.
    pub(crate) const fn new(stack: bool, memory: bool) -> Self {
        Self {
            stack,
            memory,
            bytes: 0,
        }
    }

    fn exceeded(&self) -> bool {
        self.bytes > usize::try_from(MAX_MESSAGE).unwrap_or(usize::MAX)
    }

    /// The error for a run that had too many steps.
    pub(crate) fn check(&self) -> Result<(), RpcError> {
        if self.exceeded() {
            return Err(RpcError::Rejected(format!(
                "the steps take more than {MAX_MESSAGE} bytes: ask for the first ones (`limit`), leave out stack and memory, give less \
                 gas, or use callTracer, which tells calls only"
            )));
        }
        Ok(())
    }
}

impl<CTX> Inspector<CTX> for StepLimit {
    fn step(&mut self, interpreter: &mut Interpreter, _: &mut CTX) {
        let mut bytes = STEP_BYTES;
        if self.stack {
            let words = interpreter.stack.data().iter();
            let words = words.map(|word| word.byte_len().saturating_mul(2).saturating_add(WORD_BYTES));
            bytes = bytes.saturating_add(words.sum());
        }
        if self.memory {
            bytes = bytes.saturating_add(interpreter.memory.size().saturating_mul(2));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.exceeded() {
            interpreter.halt_oog();
        }
    }
}

/// Shows an inspector the first steps of a run only, and all else of it.
#[derive(Clone, Debug)]
pub(crate) struct FirstSteps<I> {
    left: u64,
    /// The step in progress is shown.
    shown: bool,
    inner: I,
}

impl<I> FirstSteps<I> {
    /// Shows that many steps.
    pub(crate) const fn new(steps: u64, inner: I) -> Self {
        Self {
            left: steps,
            shown: false,
            inner,
        }
    }

    /// What has been shown the steps.
    pub(crate) fn into_inner(self) -> I {
        self.inner
    }
}

impl<CTX, I: Inspector<CTX>> Inspector<CTX> for FirstSteps<I> {
    fn initialize_interp(&mut self, interpreter: &mut Interpreter, context: &mut CTX) {
        self.inner.initialize_interp(interpreter, context);
    }

    fn step(&mut self, interpreter: &mut Interpreter, context: &mut CTX) {
        self.shown = self.left > 0;
        if self.shown {
            self.left = self.left.saturating_sub(1);
            self.inner.step(interpreter, context);
        }
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, context: &mut CTX) {
        if self.shown {
            self.inner.step_end(interpreter, context);
        }
    }

    fn log(&mut self, context: &mut CTX, log: Log) {
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interpreter: &mut Interpreter, context: &mut CTX, log: Log) {
        self.inner.log_full(interpreter, context, log);
    }

    fn frame_start(&mut self, context: &mut CTX, input: &mut FrameInput) -> Option<FrameResult> {
        self.inner.frame_start(context, input)
    }

    fn frame_end(&mut self, context: &mut CTX, input: &FrameInput, result: &mut FrameResult) {
        self.inner.frame_end(context, input, result);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.inner.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut CTX, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.inner.selfdestruct(contract, target, value);
    }
}
