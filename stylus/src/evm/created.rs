//! Arbitrum's exceptions for code that starts with 0xEF.

use revm::Database;
use revm::context_interface::context::ContextError;
use revm::interpreter::instructions::host;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::{Host, InstructionContext, InstructionExecResult, InstructionResult, InterpreterResult};

use super::StylusContext;
use crate::arbos::State;
use crate::code;

/// First byte that EIP-3541 reserves.
const RESERVED: u8 = 0xef;

/// EIP-3541 for code that is about to be deployed, with the exception for Stylus code that the chain knows.
pub(super) fn check_code<DB: Database>(
    context: &mut StylusContext<DB>,
    result: &mut InterpreterResult,
) -> Result<(), ContextError<DB::Error>> {
    if !result.result.is_ok() || result.output.first() != Some(&RESERVED) {
        return Ok(());
    }
    let version = State(&mut context.journaled_state)
        .version()
        .map_err(ContextError::Db)?;
    if !code::kind(&result.output).is_some_and(|kind| kind.is_known(version)) {
        result.result = InstructionResult::CreateContractStartingWithEF;
    }
    Ok(())
}

/// SELFDESTRUCT, which reverts when the acting account is a Stylus program (it can get here by DELEGATECALL only).
pub(super) fn selfdestruct<DB: Database>(
    context: InstructionContext<'_, StylusContext<DB>, EthInterpreter>,
) -> InstructionExecResult {
    let acting = context.interpreter.input.target_address;
    let code = context
        .host
        .load_account_code(acting)
        .map(|load| load.data)
        .unwrap_or_default();
    if code::kind(&code).is_some() {
        return Err(InstructionResult::Revert);
    }
    host::selfdestruct(context)
}
