//! Program frames: entering a program, running it between requests, and turning its end into a frame result.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U256};
use revm::Database;
use revm::context::{Block, Cfg, ContextTr, JournalTr, LocalContextTr, Transaction};
use revm::context_interface::context::ContextError;
use revm::handler::EthFrame;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::{CallInputs, FrameInput, Gas, InstructionResult, InterpreterResult};

use super::StylusContext;
use crate::activation::ProgramRecord;
use crate::arbos::State;
use crate::cache::CachedProgram;
use crate::code::{self, CodeError, CodeKind, Root};
use crate::hooks::{BlockInfo, CallInfo, Env, HostEvent, Response};
use crate::install;
use crate::pricing::{self, Params};
use crate::run::{Finished, Outcome, ProgramRun};

pub(super) type Frame = EthFrame<EthInterpreter>;

/// What waits for a nested frame's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A call whose own cost is `base` and which was given `gas`.
    Call { base: u64, gas: u64 },
    /// A creation out of `gas_left`, of which `kept` stayed with the creator.
    Create { gas_left: u64, kept: u64 },
}

/// A program that has been entered.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) run: Box<dyn ProgramRun>,
    /// Pages that were open before it was entered.
    pub(super) pages_before: u16,
    /// Parameters in force when it was entered.
    pub(super) params: Params,
    /// The nested frame it waits for.
    pub(super) awaited: Option<Awaited>,
    /// The answer to its last request, once there is one.
    pub(super) answer: Option<Response>,
}

/// A program could not be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) result: InstructionResult,
    /// For people, when the gas is not what is missing.
    pub(super) message: Option<String>,
}

/// Enters the program of a frame: looks its record up, charges for entering, opens its memory, and prepares its run.
/// The inner error consumes the frame's gas; the outer one ends the transaction.
pub(super) fn enter<DB: Database>(
    context: &mut StylusContext<DB>,
    frame: &mut Frame,
) -> Result<Result<Program, Refusal>, ContextError<DB::Error>> {
    let FrameInput::Call(inputs) = &frame.input else {
        return Ok(Err(Refusal {
            result: InstructionResult::OpcodeNotFound,
            message: None,
        }));
    };
    let code_hash = frame.interpreter.bytecode.get_or_calculate_hash();
    let now = context.block.timestamp.saturating_to::<u64>();
    let debug = context.chain.cache.is_debug_chain();
    let mut state = State(&mut context.journaled_state);
    let params = state.params(debug).map_err(ContextError::Db)?;
    let mut record = state.program(code_hash).map_err(ContextError::Db)?;
    let mut runs = record.check(&params, now).map_err(|reason| reason.to_string());
    if record.version == 0 && context.chain.cache.activates_on_call() {
        let code = frame.interpreter.bytecode.original_byte_slice();
        let activated = activate_unasked(context, &params, code_hash, code, now)?;
        runs = activated.map(|activated| record = activated);
    }
    if let Err(reason) = runs {
        let message = Some(format!("Stylus program {}: {reason}", inputs.bytecode_address));
        return Ok(Err(Refusal {
            result: InstructionResult::PrecompileError,
            message,
        }));
    }
    let chain = &mut context.chain;
    let recent = chain.block.recent.insert(code_hash, params.block_cache_size);
    let recent = recent && params.arbos_version >= pricing::ARBOS_FRAGMENTS;
    let pages = &chain.pages;
    let pages_before = pages.open();
    let cost = pricing::call_gas(&params, &record, recent, pages_before, pages.ever());
    if !frame.interpreter.gas.record_regular_cost(cost) {
        return Ok(Err(Refusal {
            result: InstructionResult::OutOfGas,
            message: None,
        }));
    }
    pages.add(record.footprint);
    let module = load(
        context,
        &params,
        code_hash,
        frame.interpreter.bytecode.original_byte_slice(),
    )?;
    let env = environment(context, inputs, params, frame.interpreter.gas.remaining());
    let run = context.chain.cache.start(&module, env);
    let run = run.map_err(|error| unusable::<DB>(code_hash, &error))?;
    Ok(Ok(Program {
        run,
        pages_before,
        params,
        awaited: None,
        answer: None,
    }))
}

fn environment<DB: Database>(context: &StylusContext<DB>, inputs: &CallInputs, params: Params, gas: u64) -> Env {
    let call = CallInfo {
        input: inputs.input.bytes(context),
        address: inputs.target_address,
        caller: inputs.caller,
        value: inputs.call_value(),
        is_static: inputs.is_static,
        reentrant: context.chain.is_reentrant(inputs.target_address),
    };
    let block = context.block();
    let block = BlockInfo {
        basefee: U256::from(block.basefee()),
        coinbase: block.beneficiary(),
        gas_limit: block.gas_limit(),
        number: block.number().saturating_to(),
        timestamp: block.timestamp().saturating_to(),
        chain_id: context.cfg().chain_id(),
        gas_price: U256::from(context.tx().effective_gas_price(u128::from(block.basefee()))),
        origin: context.tx().caller(),
    };
    Env::new(call, block, params, context.chain.pages.clone(), gas).traced_by(context.chain.trace.clone())
}

/// Activates a program that nobody has activated, or says why that is impossible. What is stored is undone with the frame.
fn activate_unasked<DB: Database>(
    context: &mut StylusContext<DB>,
    params: &Params,
    code_hash: B256,
    code: &[u8],
    now: u64,
) -> Result<Result<ProgramRecord, String>, ContextError<DB::Error>> {
    let failed = |error: &dyn std::error::Error| Ok(Err(format!("it cannot be activated: {error}")));
    let wasm = match decompress(context, params, code)? {
        Ok(wasm) => wasm,
        Err(error) => return failed(&error),
    };
    let (record, slots) = match install::activation(code_hash, &wasm, params, now, false) {
        Ok(activated) => activated,
        Err(error) => return failed(&error),
    };
    let mut state = State(&mut context.journaled_state);
    for (slot, value) in slots {
        state.set(slot, value).map_err(ContextError::Db)?;
    }
    Ok(Ok(record))
}

/// The compiled module of an activated program.
fn load<DB: Database>(
    context: &mut StylusContext<DB>,
    params: &Params,
    code_hash: B256,
    code: &[u8],
) -> Result<Arc<CachedProgram>, ContextError<DB::Error>> {
    if let Some(module) = context.chain.cache.get(code_hash, params.version) {
        return Ok(module);
    }
    let wasm = decompress(context, params, code)?.map_err(|error| unusable::<DB>(code_hash, &error))?;
    context
        .chain
        .cache
        .prepare(code_hash, params, &wasm)
        .map_err(|error| unusable::<DB>(code_hash, &error))
}

/// The module of the program with this code. The inner error is the code's, the outer one the database's.
fn decompress<DB: Database>(
    context: &mut StylusContext<DB>,
    params: &Params,
    code: &[u8],
) -> Result<Result<Vec<u8>, CodeError>, ContextError<DB::Error>> {
    let limit = usize::try_from(params.max_wasm_size).unwrap_or(usize::MAX);
    if code::kind(code) != Some(CodeKind::Root) {
        return Ok(code::decompress(code, limit));
    }
    let root = match Root::parse(code, params) {
        Ok(root) => root,
        Err(error) => return Ok(Err(error)),
    };
    // Read past the journal: running a program does not warm its fragments.
    let db = context.journaled_state.db_mut();
    let mut fragments = Vec::new();
    for address in &root.fragments {
        let account = db.basic(*address).map_err(ContextError::Db)?.unwrap_or_default();
        let fragment = match account.code {
            Some(code) => code,
            None => db.code_by_hash(account.code_hash).map_err(ContextError::Db)?,
        };
        fragments.push(fragment.original_bytes());
    }
    Ok(root.decompress(&fragments))
}

/// The state says that a program is active but this engine cannot run it: better no result than a wrong one.
fn unusable<DB: Database>(code_hash: B256, error: &dyn std::error::Error) -> ContextError<DB::Error> {
    ContextError::Custom(format!(
        "the activated Stylus program with code hash {code_hash} cannot be run here: {error}"
    ))
}

/// The frame's result for a program that could not be entered.
pub(super) fn refused<DB: Database>(
    context: &mut StylusContext<DB>,
    mut gas: Gas,
    refusal: Refusal,
) -> InterpreterResult {
    if let Some(trace) = &context.chain.trace {
        trace.push(HostEvent::Refused(refusal.message.clone()));
    }
    if let Some(message) = refusal.message {
        context.local.set_precompile_error_context(message);
    }
    gas.spend_all();
    InterpreterResult {
        result: refusal.result,
        output: Bytes::new(),
        gas,
    }
}

/// Tells a tracer that a program was entered.
pub(super) fn entered<DB: Database>(context: &StylusContext<DB>, program: &Program) {
    if let Some(trace) = &context.chain.trace {
        let env = program.run.env();
        trace.push(HostEvent::Entered {
            calldata: env.call.input.len(),
            ink: env.meter.ink(),
        });
    }
}

/// Tells a tracer that a program ended.
pub(super) fn left<DB: Database>(context: &StylusContext<DB>, finished: &Finished) {
    if let Some(trace) = &context.chain.trace {
        let status = match finished.outcome {
            Outcome::Success => Some(0),
            Outcome::Revert => Some(1),
            Outcome::Failure | Outcome::OutOfInk | Outcome::OutOfStack => None,
        };
        let reason = match finished.outcome {
            Outcome::OutOfInk => Some("out of ink".to_owned()),
            Outcome::OutOfStack => Some("out of stack".to_owned()),
            _ => finished.reason.clone(),
        };
        trace.push(HostEvent::Left {
            status,
            ink: finished.ink,
            reason,
        });
    }
}

/// The frame's result for a program that ended. `gas` is the frame's, with its refunds.
pub(super) fn settle(params: &Params, mut gas: Gas, finished: Finished) -> InterpreterResult {
    if let Some(reason) = &finished.reason {
        tracing::debug!(target: "stylus", %reason, "program failed");
    }
    let floor = pricing::return_data_gas(params, finished.output.len());
    let left = finished
        .ink
        .checked_div(u64::from(params.ink_price.max(1)))
        .unwrap_or_default();
    let (result, output) = match finished.outcome {
        Outcome::OutOfInk => (InstructionResult::OutOfGas, None),
        Outcome::OutOfStack => (InstructionResult::StackOverflow, None),
        _ if gas.limit() < floor => (InstructionResult::OutOfGas, None),
        Outcome::Success => (InstructionResult::Return, Some(finished.output)),
        Outcome::Revert => (InstructionResult::Revert, Some(finished.output)),
        Outcome::Failure => (InstructionResult::Revert, Some(Bytes::new())),
    };
    match output {
        Some(output) => {
            gas.set_remaining(left.min(gas.limit().saturating_sub(floor)));
            InterpreterResult { result, output, gas }
        }
        None => {
            gas.spend_all();
            InterpreterResult {
                result,
                output: Bytes::new(),
                gas,
            }
        }
    }
}
