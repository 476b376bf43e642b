//! revm's view of [`StylusEvm`]: the traits that its frame loop drives.

use alloy_primitives::{Address, Log};
use revm::context::{ContextTr, FrameStack};
use revm::context_interface::context::{ContextError, take_error};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{EvmTr, FrameData, FrameInitOrResult, FrameResult, ItemOrResult};
use revm::inspector::handler::frame_end;
use revm::inspector::{InspectorEvmTr, inspect_instructions};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{FrameInput, InterpreterAction};
use revm::{Database, Inspector};

use super::chain::Call;
use super::program::{self, Frame};
use super::serve::{self, Served};
use super::{OpenFrame, StylusContext, StylusEvm, created};
use crate::arbos::State;
use crate::code;
use crate::hooks::Response;
use crate::precompile::ArbPrecompiles;
use crate::run::Step;

type Failure<DB> = ContextDbError<StylusContext<DB>>;

impl<DB: Database, INSP> EvmTr for StylusEvm<DB, INSP> {
    type Context = StylusContext<DB>;
    type Instructions = EthInstructions<EthInterpreter, StylusContext<DB>>;
    type Precompiles = ArbPrecompiles;
    type Frame = Frame;

    fn all(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Self::Frame>,
    ) {
        self.inner.all()
    }

    fn all_mut(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
    ) {
        self.inner.all_mut()
    }

    fn frame_init(&mut self, init: FrameInit) -> Result<FrameInitResult<'_, Self::Frame>, Failure<DB>> {
        if self.inner.frame_stack.index().is_none() {
            self.frames.clear();
            begin_transaction(&mut self.inner.ctx)?;
        }
        self.inner.ctx.chain.calls.push(Call::of(&init.frame_input));
        tell_listener(&self.inner.ctx, &init.frame_input);
        if let ItemOrResult::Result(result) = self.inner.frame_init(init)?.map_item(|_| ()) {
            // It ended at once, as a precompile or for want of code, funds or depth.
            self.inner.ctx.chain.calls.pop();
            return Ok(ItemOrResult::Result(result));
        }
        let frame = self.inner.frame_stack.get();
        if let (FrameData::Create(create), Some(call)) = (&frame.data, self.inner.ctx.chain.calls.last_mut()) {
            call.acting = create.created_address;
        }
        self.frames.push(OpenFrame {
            is_program: is_program(frame),
            program: None,
        });
        Ok(ItemOrResult::Item(frame))
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, Failure<DB>> {
        if self.frames.last().is_some_and(|open| open.is_program) {
            return self.run_program(|_, _, _| ());
        }
        let inner = &mut self.inner;
        let frame = inner.frame_stack.get();
        let action = frame.interpreter.run_plain(
            inner.instruction.instruction_table(),
            inner.instruction.gas_table(),
            &mut inner.ctx,
        );
        end_slice(&mut inner.ctx, frame, action)
    }

    fn frame_return_result(&mut self, result: FrameResult) -> Result<Option<FrameResult>, Failure<DB>> {
        let inner = &mut self.inner;
        if inner.frame_stack.get().is_finished() {
            inner.frame_stack.pop();
            self.frames.pop();
            inner.ctx.chain.calls.pop();
        }
        if inner.frame_stack.index().is_none() {
            return Ok(Some(result));
        }
        let frame = inner.frame_stack.get();
        let program = self.frames.last_mut().and_then(|open| open.program.as_mut());
        match program.and_then(|program| program.awaited.take().map(|awaited| (program, awaited))) {
            Some((program, awaited)) => {
                frame.interpreter.memory.free_child_context();
                take_error::<Failure<DB>, _>(inner.ctx.error())?;
                let (answer, refund) = serve::answer(awaited, result);
                frame.interpreter.gas.record_refund(refund);
                program.answer = Some(answer);
            }
            None => frame.return_result::<_, Failure<DB>>(&mut inner.ctx, result)?,
        }
        Ok(None)
    }
}

/// Lets who listens to an address hear of a call to it.
fn tell_listener<DB: Database>(context: &StylusContext<DB>, input: &FrameInput) {
    if let (Some((address, listener)), FrameInput::Call(call)) = (&context.chain.listener, input)
        && call.target_address == *address
    {
        listener(&call.input.bytes(context));
    }
}

/// Forgets the transaction before, and makes the upgrade of ArbOS that the block begins with, if there is one.
fn begin_transaction<DB: Database>(context: &mut StylusContext<DB>) -> Result<(), Failure<DB>> {
    context.chain.begin_transaction();
    if std::mem::replace(&mut context.chain.block.begun, true) {
        return Ok(());
    }
    let now = context.block.timestamp.saturating_to();
    State(&mut context.journaled_state)
        .begin_block(now)
        .map_err(ContextError::Db)
}

/// Whether a frame runs a program's code. Init code never does: it is EVM code by definition.
fn is_program(frame: &Frame) -> bool {
    let code = frame.interpreter.bytecode.original_byte_slice();
    matches!(frame.data, FrameData::Call(_)) && code::kind(code).is_some_and(code::CodeKind::is_executable)
}

/// What follows from an interpreter's action: a nested frame, or the end of this one.
fn end_slice<DB: Database>(
    context: &mut StylusContext<DB>,
    frame: &mut Frame,
    mut action: InterpreterAction,
) -> Result<FrameInitOrResult<Frame>, Failure<DB>> {
    if let (FrameData::Create(_), InterpreterAction::Return(result)) = (&frame.data, &mut action) {
        created::check_code(context, result)?;
    }
    let next = frame.process_next_action::<_, Failure<DB>>(context, action)?;
    if next.is_result() {
        frame.set_finished(true);
    }
    Ok(next)
}

impl<DB: Database, INSP> StylusEvm<DB, INSP> {
    /// Runs the top frame's program until it ends or needs a nested frame. `logged` hears of every log at once.
    fn run_program(
        &mut self,
        mut logged: impl FnMut(&mut INSP, &mut StylusContext<DB>, Log),
    ) -> Result<FrameInitOrResult<Frame>, Failure<DB>> {
        let context = &mut self.inner.ctx;
        let frame = self.inner.frame_stack.get();
        let Some(open) = self.frames.last_mut() else {
            return Err(Failure::<DB>::Custom("a program runs without a frame".to_owned()));
        };
        let program = match &mut open.program {
            Some(program) => program,
            empty => match program::enter(context, frame)? {
                Ok(program) => {
                    program::entered(context, &program);
                    empty.insert(program)
                }
                Err(refusal) => {
                    let result = program::refused(context, frame.interpreter.gas, refusal);
                    return end_slice(context, frame, InterpreterAction::Return(result));
                }
            },
        };
        let mut answer = program.answer.take();
        loop {
            match program.run.resume(answer.take()) {
                Step::Request(request) => match serve::serve(context, frame, request)? {
                    Served::Answer(response) => answer = Some(response),
                    Served::Logged(log) => {
                        logged(&mut self.inner.inspector, context, log);
                        answer = Some(Response::Charged(0));
                    }
                    Served::Frame(input, awaited) => {
                        program.awaited = Some(awaited);
                        frame.interpreter.gas.set_remaining(program.run.env().meter.gas());
                        return end_slice(context, frame, InterpreterAction::NewFrame(input));
                    }
                },
                Step::Finished(finished) => {
                    program::left(context, &finished);
                    context.chain.pages.restore(program.pages_before);
                    let result = program::settle(&program.params, frame.interpreter.gas, finished);
                    return end_slice(context, frame, InterpreterAction::Return(result));
                }
            }
        }
    }
}

impl<DB: Database, INSP: Inspector<StylusContext<DB>, EthInterpreter>> InspectorEvmTr for StylusEvm<DB, INSP> {
    type Inspector = INSP;

    fn all_inspector(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Self::Frame>,
        &Self::Inspector,
    ) {
        self.inner.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
        &mut Self::Inspector,
    ) {
        self.inner.all_mut_inspector()
    }

    fn inspect_frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, Failure<DB>> {
        let mut next = if self.frames.last().is_some_and(|open| open.is_program) {
            self.run_program(|inspector, context, log| inspector.log(context, log))?
        } else {
            let inner = &mut self.inner;
            let frame = inner.frame_stack.get();
            let (table, gas) = (inner.instruction.instruction_table(), inner.instruction.gas_table());
            let action = inspect_instructions(&mut inner.ctx, &mut frame.interpreter, &mut inner.inspector, table, gas);
            end_slice(&mut inner.ctx, frame, action)?
        };
        if let ItemOrResult::Result(result) = &mut next {
            let frame = self.inner.frame_stack.get();
            frame_end(&mut self.inner.ctx, &mut self.inner.inspector, &frame.input, result);
        }
        Ok(next)
    }
}

impl Call {
    /// The call that `input` starts; a creation's address is known only once its frame exists.
    fn of(input: &FrameInput) -> Self {
        match input {
            FrameInput::Call(inputs) => Self {
                acting: inputs.target_address,
                caller: inputs.caller,
                counted: !(inputs.scheme.is_delegate_call() || inputs.scheme.is_call_code()),
            },
            FrameInput::Create(inputs) => Self {
                acting: Address::ZERO,
                caller: inputs.caller(),
                counted: true,
            },
            FrameInput::Empty => Self::default(),
        }
    }
}
