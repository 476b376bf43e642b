//! Ends what is traced step by step before it fills the memory.

use revm::{
    Inspector,
    interpreter::{Interpreter, interpreter_types::MemoryTr},
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
                "the steps take more than {MAX_MESSAGE} bytes: leave out stack and memory, give less gas, or use callTracer, which \
                 tells calls only"
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
