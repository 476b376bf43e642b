//! One call of an Arbitrum precompile: its rules, its gas, its view of the state.

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256};
use revm::Database;
use revm::context::{Block, ContextTr, JournalTr, LocalContextTr};
use revm::interpreter::{CallInputs, Gas, InstructionResult, InterpreterResult};

use super::{abi, arb_owner};
use crate::activation::{ProgramRecord, ProgramState};
use crate::arbos::{Space, State};
use crate::evm::StylusContext;
use crate::pricing::Params;

const WORD_GAS: u64 = 3;
/// Opening ArbOS state, which every method does that is not pure; also one read of it.
const READ_GAS: u64 = 800;
const WRITE_GAS: u64 = 20_000;
const WRITE_ZERO_GAS: u64 = 5_000;
const CODE_HASH_GAS: u64 = 2_600;
const PARAMS_GAS: u64 = 100;
const LOG_GAS: u64 = 375;
const LOG_BYTE_GAS: u64 = 8;

/// What a method may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purity {
    Pure,
    View,
    Write,
    Payable,
}

/// How a method ends when it does not answer.
#[derive(Debug)]
pub(super) enum Fault<DB: Database> {
    /// Not enough gas.
    OutOfGas,
    /// A revert without data that takes all gas: the call itself was wrong.
    Rejected,
    /// A revert with data (may be empty) that keeps the rest of the gas.
    Revert(Vec<u8>),
    /// An error that is no revert and takes all gas; the text is for people.
    Halt(String),
    /// The database failed.
    Database(DB::Error),
}

pub(super) type Answer<DB> = Result<Vec<u8>, Fault<DB>>;

/// A method of a precompile.
pub(super) struct Method<DB: Database> {
    pub(super) purity: Purity,
    /// First ArbOS version that has it.
    pub(super) since: u64,
    pub(super) run: fn(&mut Call<'_, DB>) -> Answer<DB>,
}

/// Finds a precompile's method by selector.
pub(super) type Lookup<DB> = fn(u32) -> Option<Method<DB>>;

pub(super) const fn method<DB: Database>(
    purity: Purity,
    since: u64,
    run: fn(&mut Call<'_, DB>) -> Answer<DB>,
) -> Option<Method<DB>> {
    Some(Method { purity, since, run })
}

/// A call in progress.
pub(super) struct Call<'a, DB: Database> {
    pub(super) context: &'a mut StylusContext<DB>,
    pub(super) inputs: &'a CallInputs,
    pub(super) arbos: u64,
    args: Bytes,
    gas: Gas,
}

/// Runs a call; `None` when the chain has no ArbOS, so that the address is an ordinary account.
pub(super) fn execute<DB: Database>(
    context: &mut StylusContext<DB>,
    inputs: &CallInputs,
    lookup: Lookup<DB>,
) -> Result<Option<InterpreterResult>, String> {
    let arbos = State(&mut context.journaled_state)
        .version()
        .map_err(|error| error.to_string())?;
    if arbos == 0 {
        return Ok(None);
    }
    let gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit, inputs.reservoir);
    let input = inputs.input.bytes(context);
    let mut call = Call {
        context,
        inputs,
        arbos,
        args: Bytes::new(),
        gas,
    };
    let by_owner = inputs.bytecode_address == super::ARB_OWNER;
    let answer = if by_owner {
        call.dispatch_owner(&input, lookup)
    } else {
        call.dispatch(&input, lookup)
    };
    let mut gas = call.gas;
    let (result, output) = match answer {
        Ok(output) => (InstructionResult::Return, output),
        Err(Fault::Revert(data)) => (InstructionResult::Revert, data),
        Err(fault) => {
            gas.spend_all();
            match fault {
                Fault::OutOfGas => (InstructionResult::PrecompileOOG, Vec::new()),
                Fault::Halt(message) => {
                    context.local.set_precompile_error_context(message);
                    (InstructionResult::PrecompileError, Vec::new())
                }
                Fault::Database(error) => return Err(error.to_string()),
                Fault::Rejected | Fault::Revert(_) => (InstructionResult::Revert, Vec::new()),
            }
        }
    };
    Ok(Some(InterpreterResult {
        result,
        output: output.into(),
        gas,
    }))
}

impl<DB: Database> Call<'_, DB> {
    /// A call of ArbOwner, which is free for an owner and for nobody else.
    fn dispatch_owner(&mut self, input: &Bytes, lookup: Lookup<DB>) -> Answer<DB> {
        arb_owner::authorize(self)?;
        let gas = std::mem::replace(&mut self.gas, Gas::new(u64::MAX));
        let answer = self.dispatch(input, lookup);
        let told = match &answer {
            Ok(_) if !self.inputs.is_static => arb_owner::acted(self, input),
            _ => Ok(()),
        };
        self.gas = gas;
        told.and(answer)
    }

    fn dispatch(&mut self, input: &Bytes, lookup: Lookup<DB>) -> Answer<DB> {
        let (selector, args) = input.split_first_chunk::<4>().ok_or(Fault::Rejected)?;
        let method = lookup(u32::from_be_bytes(*selector)).ok_or(Fault::Rejected)?;
        let delegated = self.inputs.scheme.is_delegate_call() || self.inputs.scheme.is_call_code();
        let forbidden = self.arbos < method.since
            || (!self.inputs.call_value().is_zero() && method.purity != Purity::Payable)
            || (delegated && method.purity >= Purity::View)
            || (self.inputs.is_static && method.purity >= Purity::Write);
        if forbidden {
            return Err(Fault::Rejected);
        }
        self.args = input.slice_ref(args);
        self.burn_words(args.len())?;
        if method.purity != Purity::Pure {
            self.burn(READ_GAS)?;
        }
        let output = (method.run)(self)?;
        self.burn_words(output.len())?;
        Ok(output)
    }

    fn burn_words(&mut self, len: usize) -> Result<(), Fault<DB>> {
        self.burn(WORD_GAS.saturating_mul(u64::try_from(len.div_ceil(32)).unwrap_or(u64::MAX)))
    }

    /// Charges gas.
    pub(super) fn burn(&mut self, gas: u64) -> Result<(), Fault<DB>> {
        if self.gas.record_regular_cost(gas) {
            Ok(())
        } else {
            Err(Fault::OutOfGas)
        }
    }

    /// Charges for so many words of ArbOS state, whose values are the same on every chain made here.
    pub(super) fn burn_reads(&mut self, count: u64) -> Result<(), Fault<DB>> {
        self.burn(READ_GAS.saturating_mul(count))
    }

    /// Gas left.
    pub(super) fn gas_left(&self) -> u64 {
        self.gas.remaining()
    }

    /// The argument at `index`; a call with too short calldata is rejected.
    pub(super) fn arg(&self, index: usize) -> Result<U256, Fault<DB>> {
        let start = index.saturating_mul(32);
        self.args
            .get(start..start.saturating_add(32))
            .map(U256::from_be_slice)
            .ok_or(Fault::Rejected)
    }

    /// The argument at `index` as a 32-byte word.
    pub(super) fn word(&self, index: usize) -> Result<B256, Fault<DB>> {
        self.arg(index).map(Into::into)
    }

    /// The argument at `index` as an address; its upper bytes must be zero.
    pub(super) fn address(&self, index: usize) -> Result<Address, Fault<DB>> {
        let word = self.word(index)?;
        match word.0.split_first_chunk::<12>() {
            Some((upper, address)) if *upper == [0; 12] => Ok(Address::from_slice(address)),
            _ => Err(Fault::Rejected),
        }
    }

    /// The argument at `index` as `bytes`.
    pub(super) fn bytes(&self, index: usize) -> Result<Bytes, Fault<DB>> {
        let offset: usize = self.arg(index)?.try_into().map_err(|_| Fault::Rejected)?;
        let tail = self.args.get(offset..).ok_or(Fault::Rejected)?;
        let (len, data) = tail.split_first_chunk::<32>().ok_or(Fault::Rejected)?;
        let len: usize = U256::from_be_bytes(*len).try_into().map_err(|_| Fault::Rejected)?;
        data.get(..len).map(Bytes::copy_from_slice).ok_or(Fault::Rejected)
    }

    /// Unix time of the block.
    pub(super) fn now(&self) -> u64 {
        self.context.block.timestamp.saturating_to()
    }

    /// Base fee of the block in wei.
    pub(super) fn basefee(&self) -> u64 {
        self.context.block().basefee()
    }

    pub(super) fn state(&mut self) -> State<'_, <StylusContext<DB> as ContextTr>::Journal> {
        State(&mut self.context.journaled_state)
    }

    /// Reads a word of ArbOS state.
    pub(super) fn read(&mut self, slot: U256) -> Result<U256, Fault<DB>> {
        self.burn(READ_GAS)?;
        self.state().get(slot).map_err(Fault::Database)
    }

    /// Writes a word of ArbOS state.
    pub(super) fn write(&mut self, slot: U256, value: U256) -> Result<(), Fault<DB>> {
        self.burn(if value.is_zero() { WRITE_ZERO_GAS } else { WRITE_GAS })?;
        self.state().set(slot, value).map_err(Fault::Database)
    }

    /// The Stylus parameters.
    pub(super) fn params(&mut self) -> Result<Params, Fault<DB>> {
        self.burn(PARAMS_GAS)?;
        let debug = self.context.chain.cache.is_debug_chain();
        self.state().params(debug).map_err(Fault::Database)
    }

    /// The record of the programs with this code.
    pub(super) fn program(&mut self, code_hash: B256) -> Result<ProgramRecord, Fault<DB>> {
        self.burn(READ_GAS)?;
        self.state().program(code_hash).map_err(Fault::Database)
    }

    /// The record of a program that can run; reverts with the reason otherwise.
    pub(super) fn active_program(&mut self, code_hash: B256) -> Result<(Params, ProgramRecord), Fault<DB>> {
        let params = self.params()?;
        let record = self.program(code_hash)?;
        record
            .check(&params, self.now())
            .map_err(|state| Fault::Revert(state_error(state)))?;
        Ok((params, record))
    }

    /// Hash of an account's code.
    pub(super) fn code_hash(&mut self, account: Address) -> Result<B256, Fault<DB>> {
        self.burn(CODE_HASH_GAS)?;
        self.account(account, |info| info.code_hash())
    }

    /// Something of an account, without charge.
    pub(super) fn account<T>(
        &mut self,
        account: Address,
        read: impl FnOnce(&revm::state::AccountInfo) -> T,
    ) -> Result<T, Fault<DB>> {
        let account = self
            .context
            .journaled_state
            .load_account_with_code(account)
            .map_err(Fault::Database)?;
        Ok(read(&account.info))
    }

    /// Whether an account was destroyed in this transaction.
    pub(super) fn is_selfdestructed(&mut self, account: Address) -> Result<bool, Fault<DB>> {
        let account = self
            .context
            .journaled_state
            .load_account(account)
            .map_err(Fault::Database)?;
        Ok(account.is_selfdestructed())
    }

    /// Members of a set of addresses.
    pub(super) fn members(&mut self, set: Space, limit: u64) -> Result<Vec<Address>, Fault<DB>> {
        let members = self.state().members(set, limit).map_err(Fault::Database)?;
        self.burn_reads(u64::try_from(members.len()).unwrap_or(u64::MAX).saturating_add(1))?;
        Ok(members)
    }

    /// Whether `account` is in a set of addresses.
    pub(super) fn is_member(&mut self, set: Space, account: Address) -> Result<bool, Fault<DB>> {
        self.read(set.member(account)).map(|position| !position.is_zero())
    }

    /// Emits a log of the precompile.
    pub(super) fn emit(&mut self, topics: Vec<B256>, data: Vec<u8>) -> Result<(), Fault<DB>> {
        let count = u64::try_from(topics.len()).unwrap_or(u64::MAX);
        let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.burn(
            LOG_GAS
                .saturating_mul(count.saturating_add(1))
                .saturating_add(LOG_BYTE_GAS.saturating_mul(bytes)),
        )?;
        let data = LogData::new_unchecked(topics, data.into());
        self.context.journaled_state.log(Log {
            address: self.inputs.target_address,
            data,
        });
        Ok(())
    }

    /// Moves wei from the precompile, which has received the call's value.
    pub(super) fn pay(&mut self, to: Address, amount: U256) -> Result<(), Fault<DB>> {
        let from = self.inputs.target_address;
        match self
            .context
            .journaled_state
            .transfer(from, to, amount)
            .map_err(Fault::Database)?
        {
            None => Ok(()),
            Some(_) => Err(Fault::Revert(Vec::new())),
        }
    }
}

fn state_error(state: ProgramState) -> Vec<u8> {
    match state {
        ProgramState::NotActivated => abi::error([0x6f, 0x80, 0x9c, 0x4e], []),
        ProgramState::NeedsUpgrade { version, required } => {
            abi::error([0x63, 0x7d, 0x96, 0x8f], [U256::from(version), U256::from(required)])
        }
        ProgramState::Expired { age } => abi::error([0xc9, 0xb1, 0x2e, 0x52], [U256::from(age)]),
    }
}
