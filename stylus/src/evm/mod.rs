//! The EVM that also runs Stylus programs.

mod block;
mod chain;
mod created;
mod handler;
mod program;
mod serve;

use std::sync::Arc;

use alloy_primitives::Address;
use revm::bytecode::opcode::SELFDESTRUCT;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, Context, ContextSetters, Evm, FrameStack, Journal, JournalTr, TxEnv};
use revm::context_interface::cfg::GasId;
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, Handler, MainnetHandler};
use revm::inspector::InspectorHandler;
use revm::interpreter::Instruction;
use revm::interpreter::interpreter::EthInterpreter;
use revm::{Database, Inspector};

pub use block::{BlockContext, RecentPrograms};
pub use chain::{ArbChain, Listener};

use crate::cache::ProgramCache;
use crate::hooks::HostTrace;
use crate::precompile::{ArbPrecompiles, Signatures};

/// The context that frames, precompiles and inspectors see.
pub type StylusContext<DB> = Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>, ArbChain>;

type Inner<DB, INSP> = Evm<
    StylusContext<DB>,
    INSP,
    EthInstructions<EthInterpreter, StylusContext<DB>>,
    ArbPrecompiles,
    EthFrame<EthInterpreter>,
>;

type MainHandler<DB, INSP> =
    MainnetHandler<StylusEvm<DB, INSP>, EVMError<<DB as Database>::Error>, EthFrame<EthInterpreter>>;

/// A revm that runs Stylus programs and Arbitrum's precompiles. Works on any database, also a borrowed one.
pub struct StylusEvm<DB: Database, INSP> {
    inner: Inner<DB, INSP>,
    /// One per frame of the frame stack.
    frames: Vec<OpenFrame>,
}

/// What a frame has beyond revm's part of it.
#[derive(Debug)]
struct OpenFrame {
    is_program: bool,
    program: Option<program::Program>,
}

impl<DB: Database, INSP> std::fmt::Debug for StylusEvm<DB, INSP> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StylusEvm")
            .field("chain", &self.inner.ctx.chain)
            .finish_non_exhaustive()
    }
}

impl<DB: Database, INSP> StylusEvm<DB, INSP> {
    /// An EVM over `db` at one block. `block.number` is what the NUMBER opcode answers (on Arbitrum the L1 estimate);
    /// the L2 height is in `arb`. EIP-3541 is replaced by Arbitrum's rule and the calldata floor of EIP-7623 is off.
    pub fn new(
        db: DB,
        mut cfg: CfgEnv,
        block: BlockEnv,
        arb: BlockContext,
        cache: Arc<ProgramCache>,
        inspector: INSP,
    ) -> Self {
        cfg.disable_eip3541 = true;
        cfg.gas_params.override_gas([(GasId::tx_floor_cost_per_token(), 0)]);
        let spec = cfg.spec;
        let context = Context::<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>, ()>::new(db, spec)
            .with_cfg(cfg)
            .with_block(block)
            .with_chain(ArbChain::new(arb, cache));
        let mut instruction = EthInstructions::new_mainnet_with_spec(spec);
        let selfdestruct_gas = instruction.gas_table().last().copied().unwrap_or_default();
        instruction.insert_instruction(
            SELFDESTRUCT,
            Instruction::new(created::selfdestruct::<DB>),
            selfdestruct_gas,
        );
        let inner = Evm {
            ctx: context,
            inspector,
            instruction,
            precompiles: ArbPrecompiles::new(spec),
            frame_stack: FrameStack::new_prealloc(8),
        };
        Self {
            inner,
            frames: Vec::new(),
        }
    }

    /// Runs a transaction without calling the inspector.
    ///
    /// # Errors
    /// The transaction is invalid, or the database failed. Reverts and halts are results, not errors.
    pub fn transact(&mut self, tx: TxEnv) -> Result<ResultAndState, EVMError<DB::Error>> {
        self.inner.ctx.set_tx(tx);
        let result = MainHandler::<DB, INSP>::default().run(self);
        self.finish(result)
    }

    /// Lets `trace` hear of what programs do in the transactions from now on.
    pub fn trace_programs(&mut self, trace: HostTrace) {
        self.inner.ctx.chain.trace = Some(trace);
    }

    /// Lets the precompile that recovers signers (0x1) answer these accounts for these signatures, whatever was signed, as test
    /// nodes offer it.
    pub fn accept_signatures(&mut self, signatures: Arc<Signatures>) {
        self.inner.ctx.chain.signatures = Some(signatures);
    }

    /// Lets `listener` hear the input of each call to `address` in the transactions from now on, whether it succeeds or not: how contracts
    /// print, without the price of an inspector.
    pub fn listen_to(&mut self, address: Address, listener: Listener) {
        self.inner.ctx.chain.listener = Some((address, listener));
    }

    /// The inspector.
    pub const fn inspector(&self) -> &INSP {
        &self.inner.inspector
    }

    /// The inspector, to be changed between transactions.
    pub const fn inspector_mut(&mut self) -> &mut INSP {
        &mut self.inner.inspector
    }

    /// The database.
    pub fn db_mut(&mut self) -> &mut DB {
        self.inner.ctx.journaled_state.db_mut()
    }

    /// Gives back the block's data, with the programs that ran remembered.
    pub fn into_block_context(self) -> BlockContext {
        self.inner.ctx.chain.block
    }

    /// Gives back the block's data and the inspector.
    pub fn into_parts(self) -> (BlockContext, INSP) {
        (self.inner.ctx.chain.block, self.inner.inspector)
    }

    fn finish(
        &mut self,
        result: Result<ExecutionResult<HaltReason>, EVMError<DB::Error>>,
    ) -> Result<ResultAndState, EVMError<DB::Error>> {
        // Finalising also clears the journal after an error.
        let state = self.inner.ctx.journaled_state.finalize();
        Ok(ResultAndState::new(result?, state))
    }
}

impl<DB: Database, INSP: Inspector<StylusContext<DB>, EthInterpreter>> StylusEvm<DB, INSP> {
    /// Runs a transaction and reports it to the inspector.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub fn inspect(&mut self, tx: TxEnv) -> Result<ResultAndState, EVMError<DB::Error>> {
        self.inner.ctx.set_tx(tx);
        let result = MainHandler::<DB, INSP>::default().inspect_run(self);
        self.finish(result)
    }
}
