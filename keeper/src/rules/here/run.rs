//! Running a contract's code on what is known of the state, and finding out what its answer depends on.

use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256};
use cordon_core::rule::error::ReadError;
use cordon_stylus::hooks::{Hook, HostEvent, HostTrace};
use cordon_stylus::{BlockContext, ProgramCache, StylusContext, StylusEvm};
use revm::bytecode::opcode as op;
use revm::context::result::ExecutionResult;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{InputsTr, Jumps};
use revm::interpreter::{CallInputs, CallOutcome, Interpreter};
use revm::primitives::hardfork::SpecId;
use revm::{Database, Inspector};

use super::footprints::Word;
use super::values::{Values, View};
use crate::chain::{BlockRef, Key};

/// Addresses below this one are the chain's own contracts: Ethereum's are the same everywhere, others are not known here.
const OWN: u64 = 0x1_0000;
/// The last of Ethereum's.
const ETHEREUMS: u64 = 0x11;
/// What a transaction costs before its code runs, and its calldata: a read's gas is its own.
const INTRINSIC: u64 = 100_000;

/// What a run has found out.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// What the contract answers.
    pub(super) answer: Result<Bytes, ReadError>,
    /// Words that the answer depends on.
    pub(super) seen: Vec<Word>,
    /// Whether it depends on the time of the block.
    pub(super) clock: bool,
    /// Why the run cannot be made here, if it cannot.
    pub(super) foreign: Option<&'static str>,
    /// Something that it looked at is not known: the answer says nothing.
    pub(super) is_blind: bool,
}

/// Watches the instructions of a run.
#[derive(Debug, Default)]
struct Watcher {
    begun: bool,
    clock: bool,
    foreign: Option<&'static str>,
    balances: Vec<Address>,
    hashed: Vec<Address>,
}

impl<DB: Database> Inspector<StylusContext<DB>, EthInterpreter> for Watcher {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut StylusContext<DB>) {
        let top = |interpreter: &Interpreter<EthInterpreter>| {
            let word = interpreter.stack.peek(0).unwrap_or_default();
            Address::from_word(word.into())
        };
        match interpreter.bytecode.opcode() {
            op::TIMESTAMP => self.clock = true,
            op::BALANCE => self.balances.push(top(interpreter)),
            op::SELFBALANCE => self.balances.push(interpreter.input.target_address()),
            op::EXTCODEHASH => self.hashed.push(top(interpreter)),
            op::NUMBER | op::BLOCKHASH => self.foreign = Some("it asks for a block's number or hash"),
            op::COINBASE | op::DIFFICULTY | op::GASLIMIT | op::BASEFEE | op::BLOBBASEFEE => {
                self.foreign = Some("it asks for the block's fees, limit, producer or randomness");
            }
            op::ORIGIN | op::GASPRICE => self.foreign = Some("it asks for the transaction's sender or price"),
            _ => {}
        }
    }

    fn call(&mut self, _: &mut StylusContext<DB>, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if !std::mem::replace(&mut self.begun, true) {
            // As the guard asks.
            inputs.is_static = true;
        }
        let address = U256::from_be_bytes(inputs.bytecode_address.into_word().0);
        if address > U256::from(ETHEREUMS) && address < U256::from(OWN) {
            self.foreign = Some("it calls a contract of the chain itself");
        }
        None
    }
}

/// Runs contracts at one block, each read once.
pub(super) struct Machine<'v> {
    evm: StylusEvm<View<'v>, Watcher>,
    programs: HostTrace,
    caller: Address,
    chain_id: u64,
    known: HashMap<(Address, Vec<u8>, u64), Ran>,
}

impl<'v> Machine<'v> {
    pub(super) fn new(
        values: &'v mut Values,
        block: &BlockRef,
        (chain_id, caller): (u64, Address),
        cache: Arc<ProgramCache>,
    ) -> Self {
        let mut cfg = CfgEnv::new_with_spec(SpecId::default());
        cfg.chain_id = chain_id;
        cfg.disable_nonce_check = true;
        cfg.disable_balance_check = true;
        cfg.disable_base_fee = true;
        cfg.disable_fee_charge = true;
        cfg.disable_block_gas_limit = true;
        cfg.disable_eip3607 = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        let environment = BlockEnv {
            number: U256::from(block.number),
            timestamp: U256::from(block.timestamp),
            beneficiary: caller,
            ..BlockEnv::default()
        };
        let context = BlockContext::new(block.number);
        let evm = StylusEvm::new(View::of(values), cfg, environment, context, cache, Watcher::default());
        let mut machine = Self {
            evm,
            programs: HostTrace::default(),
            caller,
            chain_id,
            known: HashMap::new(),
        };
        machine.evm.trace_programs(machine.programs.clone());
        // The first transaction of a block looks for an upgrade of ArbOS, which the chain has made already.
        machine.run(caller, Bytes::new(), 0);
        machine.evm.db_mut().begin();
        machine
    }

    /// What is not known, but was looked at: words, and accounts whose code is wanted.
    pub(super) fn wanted(&mut self) -> (Vec<Word>, Vec<(Address, B256)>) {
        let view = self.evm.db_mut();
        (std::mem::take(&mut view.missing), std::mem::take(&mut view.codeless))
    }

    /// A word of the state: its number, and its value when it is known.
    pub(super) fn look(&mut self, key: Key) -> (Word, Option<U256>) {
        let view = self.evm.db_mut();
        view.look(key);
        let word = view.values.number(key);
        (word, view.values.get(word))
    }

    /// Calls a contract with at most `gas` for its own code; the same call is made once.
    pub(super) fn call(&mut self, target: Address, data: &[u8], gas: u64) -> Ran {
        let call = (target, data.to_vec(), gas);
        if let Some(ran) = self.known.get(&call) {
            return ran.clone();
        }
        let ran = self.run(target, Bytes::copy_from_slice(data), gas);
        self.known.insert(call, ran.clone());
        ran
    }

    fn run(&mut self, target: Address, data: Bytes, gas: u64) -> Ran {
        let view = self.evm.db_mut();
        view.seen.clear();
        let before = view.unknown();
        *self.evm.inspector_mut() = Watcher::default();
        let result = self.evm.inspect(TxEnv {
            caller: self.caller,
            gas_limit: gas.saturating_add(INTRINSIC),
            kind: TxKind::Call(target),
            data,
            chain_id: Some(self.chain_id),
            ..TxEnv::default()
        });
        let answer = match result.map(|outcome| outcome.result) {
            Ok(ExecutionResult::Success { output, .. }) => Ok(output.into_data()),
            Ok(ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. }) => Err(ReadError::Reverted),
            Err(_) => Err(ReadError::Unavailable),
        };
        let mut watcher = std::mem::take(self.evm.inspector_mut());
        watcher.hear(&self.programs);
        if answer == Err(ReadError::Unavailable) {
            watcher.foreign = Some("it cannot be run here");
        }
        let view = self.evm.db_mut();
        for account in watcher.balances {
            view.look(Key::Balance(account));
        }
        for account in watcher.hashed {
            if view.code_hash(account) == KECCAK256_EMPTY {
                watcher.foreign = Some("it asks whether an account without code exists");
            }
        }
        Ran {
            answer,
            seen: std::mem::take(&mut view.seen),
            clock: watcher.clock,
            foreign: watcher.foreign,
            is_blind: view.unknown() > before,
        }
    }
}

impl Watcher {
    /// Takes what Stylus programs did in the run. Whether one may run at all depends on the time: it expires.
    fn hear(&mut self, programs: &HostTrace) {
        for event in programs.take() {
            match event {
                HostEvent::Entered { .. } | HostEvent::Refused(_) => self.clock = true,
                HostEvent::Called(call) => match call.hook {
                    Hook::AccountBalance => {
                        let account = call.args.get(..20).map(Address::from_slice);
                        self.balances.extend(account);
                    }
                    Hook::AccountCodeHash => {
                        let account = call.args.get(..20).map(Address::from_slice);
                        self.hashed.extend(account);
                    }
                    Hook::BlockNumber => self.foreign = Some("it asks for a block's number or hash"),
                    Hook::BaseFee | Hook::Coinbase | Hook::GasLimit => {
                        self.foreign = Some("it asks for the block's fees, limit, producer or randomness");
                    }
                    Hook::Origin | Hook::GasPrice => {
                        self.foreign = Some("it asks for the transaction's sender or price")
                    }
                    _ => {}
                },
                HostEvent::Left { .. } => {}
            }
        }
        if programs.dropped() > 0 {
            self.foreign = Some("it calls too many host functions to be followed");
        }
    }
}
