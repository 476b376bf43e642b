//! Serving what programs ask of the EVM.

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::context::{Cfg, CreateScheme, JournalTr};
use revm::context_interface::context::ContextError;
use revm::handler::FrameResult;
use revm::interpreter::{
    CallInput, CallInputs, CallScheme, CallValue, CreateInputs, FrameInput, Gas, InstructionResult,
};

use super::StylusContext;
use super::program::{Awaited, Frame};
use crate::hooks::{CallKind, Request, Response};

/// EVM gas: warm and cold account access, new account, value transfer, stipend, creation, a word of CREATE2 code.
const WARM_ACCOUNT: u64 = 100;
const COLD_ACCOUNT: u64 = 2_600;
const NEW_ACCOUNT: u64 = 25_000;
const VALUE_TRANSFER: u64 = 9_000;
const STIPEND: u64 = 2_300;
const CREATE: u64 = 32_000;
const CREATE2_WORD: u64 = 6;
/// Warm and cold slot reads.
const WARM_SLOT: u64 = 100;
const COLD_SLOT: u64 = 2_100;
/// Gas of a transient read or write.
const TRANSIENT: u64 = 100;
/// Gas that loading code costs per [`CODE_UNIT`] bytes of the largest possible code, plus the account.
const CODE_LOAD: u64 = 700;
const CODE_UNIT: usize = 24_576;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Served {
    /// It is answered.
    Answer(Response),
    /// A log was emitted; that costs nothing more.
    Logged(Log),
    /// A nested frame has to run first.
    Frame(FrameInput, Awaited),
}

type Failure<DB> = ContextError<<DB as Database>::Error>;

fn access(is_cold: bool) -> u64 {
    if is_cold { COLD_ACCOUNT } else { WARM_ACCOUNT }
}

fn word(value: U256, cost: u64) -> Served {
    Served::Answer(Response::Word {
        word: value.into(),
        cost,
    })
}

/// Serves `request` of the program in `frame`.
pub(super) fn serve<DB: Database>(
    context: &mut StylusContext<DB>,
    frame: &mut Frame,
    request: Request,
) -> Result<Served, Failure<DB>> {
    let acting = frame.interpreter.input.target_address;
    let journal = &mut context.journaled_state;
    Ok(match request {
        Request::StorageLoad(key) => {
            let slot = journal.sload(acting, key).map_err(ContextError::Db)?;
            word(slot.data, if slot.is_cold { COLD_SLOT } else { WARM_SLOT })
        }
        Request::StorageFlush { writes, gas } => {
            Served::Answer(flush(context, &mut frame.interpreter.gas, acting, writes, gas)?)
        }
        Request::TransientLoad(key) => word(journal.tload(acting, key), TRANSIENT),
        Request::TransientStore(key, value) => {
            journal.tstore(acting, key, value);
            Served::Answer(Response::Charged(TRANSIENT))
        }
        Request::Log { topics, data } => {
            let log = Log {
                address: acting,
                data: LogData::new_unchecked(topics, data),
            };
            journal.log(log.clone());
            Served::Logged(log)
        }
        Request::Balance(account) => {
            let account = journal.load_account(account).map_err(ContextError::Db)?;
            word(account.info.balance, access(account.is_cold))
        }
        Request::CodeHash(account) => {
            let account = journal.load_account(account).map_err(ContextError::Db)?;
            let hash = if account.is_empty() {
                B256::ZERO
            } else {
                account.info.code_hash
            };
            Served::Answer(Response::Word {
                word: hash,
                cost: access(account.is_cold),
            })
        }
        Request::Code(account) => {
            let units = u64::try_from(context.cfg.max_code_size() / CODE_UNIT).unwrap_or(u64::MAX);
            let account = journal.load_account_with_code(account).map_err(ContextError::Db)?;
            let cost = CODE_LOAD.saturating_mul(units).saturating_add(access(account.is_cold));
            let code = account
                .info
                .code
                .as_ref()
                .map(Bytecode::original_bytes)
                .unwrap_or_default();
            Served::Answer(Response::Code { code, cost })
        }
        Request::Call {
            kind,
            target,
            value,
            input,
            gas_left,
            gas_wanted,
        } => call(
            context,
            frame,
            Callee {
                kind,
                target,
                value,
                input,
            },
            gas_left,
            gas_wanted,
        )?,
        Request::Create {
            code,
            value,
            salt,
            gas_left,
        } => create(acting, code, value, salt, gas_left),
    })
}

/// Writes slots like SSTORE, as long as the gas lasts; when it does not, the frame will be reverted.
fn flush<DB: Database>(
    context: &mut StylusContext<DB>,
    frame_gas: &mut Gas,
    acting: Address,
    writes: Vec<(U256, U256)>,
    gas: u64,
) -> Result<Response, Failure<DB>> {
    let mut cost = 0_u64;
    for (key, value) in writes {
        let stored = context
            .journaled_state
            .sstore(acting, key, value)
            .map_err(ContextError::Db)?;
        let params = context.cfg.gas_params();
        let dynamic = params.sstore_dynamic_gas(true, &stored.data, stored.is_cold);
        cost = cost.saturating_add(params.sstore_static_gas()).saturating_add(dynamic);
        if cost > gas {
            return Ok(Response::OutOfGas);
        }
        frame_gas.record_refund(params.sstore_refund(true, &stored.data));
    }
    Ok(Response::Charged(cost))
}

struct Callee {
    kind: CallKind,
    target: Address,
    value: U256,
    input: Bytes,
}

fn call<DB: Database>(
    context: &mut StylusContext<DB>,
    frame: &Frame,
    callee: Callee,
    gas_left: u64,
    gas_wanted: u64,
) -> Result<Served, Failure<DB>> {
    let Callee {
        kind,
        target,
        value,
        input,
    } = callee;
    let journal = &mut context.journaled_state;
    let account = journal.load_account_with_code(target).map_err(ContextError::Db)?;
    let (is_cold, is_empty) = (account.is_cold, account.is_empty());
    let mut code = (account.info.code_hash, account.info.code.clone().unwrap_or_default());
    if let Some(delegate) = code.1.eip7702_address() {
        let account = journal.load_account_with_code(delegate).map_err(ContextError::Db)?;
        code = (account.info.code_hash, account.info.code.clone().unwrap_or_default());
    }
    let mut base = access(is_cold);
    if !value.is_zero() {
        base = base
            .saturating_add(VALUE_TRANSFER)
            .saturating_add(if is_empty { NEW_ACCOUNT } else { 0 });
    }
    if base > gas_left {
        let response = Response::Called {
            success: false,
            output: Bytes::new(),
            cost: gas_left,
        };
        return Ok(Served::Answer(response));
    }
    let available = gas_left.saturating_sub(base);
    let passed = available.saturating_sub(available.div_ceil(64)).min(gas_wanted);
    let gas = passed.saturating_add(if value.is_zero() { 0 } else { STIPEND });
    let own = &frame.interpreter.input;
    let is_static = frame.interpreter.runtime_flag.is_static;
    let (target_address, caller, value, scheme, is_static) = match kind {
        CallKind::Call => (
            target,
            own.target_address,
            CallValue::Transfer(value),
            CallScheme::Call,
            is_static,
        ),
        CallKind::Static => (
            target,
            own.target_address,
            CallValue::Transfer(U256::ZERO),
            CallScheme::StaticCall,
            true,
        ),
        CallKind::Delegate => (
            own.target_address,
            own.caller_address,
            CallValue::Apparent(own.call_value),
            CallScheme::DelegateCall,
            is_static,
        ),
    };
    let inputs = CallInputs {
        input: CallInput::Bytes(input),
        return_memory_offset: 0..0,
        gas_limit: gas,
        reservoir: 0,
        bytecode_address: target,
        known_bytecode: code,
        target_address,
        caller,
        value,
        scheme,
        is_static,
        charged_new_account_state_gas: false,
    };
    Ok(Served::Frame(
        FrameInput::Call(Box::new(inputs)),
        Awaited::Call { base, gas },
    ))
}

fn create(acting: Address, code: Bytes, value: U256, salt: Option<U256>, gas_left: u64) -> Served {
    let words = u64::try_from(code.len().div_ceil(32)).unwrap_or(u64::MAX);
    let hashing = if salt.is_some() {
        words.saturating_mul(CREATE2_WORD)
    } else {
        0
    };
    let Some(gas) = gas_left.checked_sub(CREATE.saturating_add(hashing)) else {
        return Served::Answer(Response::Refused("not enough gas to create a contract"));
    };
    let kept = gas / 64;
    let scheme = salt.map_or(CreateScheme::Create, |salt| CreateScheme::Create2 { salt });
    let inputs = CreateInputs::new(acting, scheme, value, code, gas.saturating_sub(kept), 0);
    Served::Frame(FrameInput::Create(Box::new(inputs)), Awaited::Create { gas_left, kept })
}

/// The answer to a program whose nested frame has ended, and the refund that the frame earned.
pub(super) fn answer(awaited: Awaited, result: FrameResult) -> (Response, i64) {
    let end = result.interpreter_result();
    let success = end.result.is_ok();
    let returned = if end.result.is_ok_or_revert() {
        end.gas.remaining()
    } else {
        0
    };
    let refund = if success { end.gas.refunded() } else { 0 };
    let response = match (awaited, result) {
        (Awaited::Call { base, gas }, result) => {
            let cost = base.saturating_add(gas.saturating_sub(returned));
            Response::Called {
                success,
                output: result.into_interpreter_result().output,
                cost,
            }
        }
        (Awaited::Create { gas_left, kept }, FrameResult::Create(outcome)) => {
            let cost = gas_left.saturating_sub(returned).saturating_sub(kept);
            let address = outcome.address.filter(|_| success).unwrap_or_default();
            let reverted = outcome.result.result == InstructionResult::Revert;
            let output = if reverted { outcome.result.output } else { Bytes::new() };
            Response::Created { address, output, cost }
        }
        (Awaited::Create { .. }, FrameResult::Call(_)) => Response::Refused("a creation ended as a call"),
    };
    (response, refund)
}
