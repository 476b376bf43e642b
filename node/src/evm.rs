//! The only place that runs the EVM.

use std::sync::Arc;

use alloy::primitives::{B256, U256};
use cordon_stylus::{BlockContext, ProgramCache, Signatures, StylusContext, StylusEvm, hooks::HostTrace};
use revm::{
    Inspector,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::result::{EVMError, InvalidTransaction, ResultAndState},
    inspector::NoOpInspector,
};

use crate::{
    chain::Tip,
    config::NodeConfig,
    payment::{Receivers, without_tip},
    state::{Overlay, StateError},
    trace::{CONSOLE, print_logged},
};

/// Settings and block in which transactions run.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pub(crate) cfg: CfgEnv,
    pub(crate) block: BlockEnv,
    /// Height of the chain, which NUMBER does not tell on Arbitrum.
    pub(crate) l2_number: u64,
    programs: Arc<ProgramCache>,
    /// Signatures that are impersonated.
    signatures: Arc<Signatures>,
}

impl Env {
    /// The rules of the chain in the block described by `tip`.
    pub(crate) fn new(chain_id: u64, tip: &Tip, config: &NodeConfig, programs: Arc<ProgramCache>) -> Self {
        let mut cfg = CfgEnv::new_with_spec(config.hardfork.spec());
        cfg.chain_id = chain_id;
        cfg.limit_contract_code_size = config.code_size_limit;
        cfg.disable_block_gas_limit = config.disable_block_gas_limit;
        // Accounts with code may be impersonated.
        cfg.disable_eip3607 = true;
        let block = BlockEnv {
            number: U256::from(tip.l1_number),
            timestamp: U256::from(tip.timestamp),
            gas_limit: tip.gas_limit,
            basefee: tip.base_fee,
            beneficiary: tip.beneficiary,
            difficulty: U256::ONE,
            prevrandao: Some(B256::with_last_byte(1)),
            ..BlockEnv::default()
        };
        Self {
            cfg,
            block,
            l2_number: tip.number,
            programs,
            signatures: Arc::default(),
        }
    }

    /// Lets the precompile for signatures answer these accounts.
    pub(crate) fn with_signatures(mut self, signatures: Arc<Signatures>) -> Self {
        self.signatures = signatures;
        self
    }

    /// Relaxes what only transactions in blocks must meet: nonce, and a fee when none is offered.
    pub(crate) fn for_call(mut self) -> Self {
        self.cfg.disable_nonce_check = true;
        self.cfg.disable_base_fee = true;
        self.cfg.disable_block_gas_limit = true;
        self
    }
}

/// A transaction could not be run at all; its failure inside the EVM is a result, not this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecutionError {
    /// The transaction cannot be part of a block.
    #[error("{0}")]
    Invalid(InvalidTransaction),
    /// The state could not be read.
    #[error("{0}")]
    State(StateError),
    /// The EVM failed.
    #[error("the EVM failed: {0}")]
    Failed(String),
}

impl From<EVMError<StateError>> for ExecutionError {
    fn from(error: EVMError<StateError>) -> Self {
        match error {
            EVMError::Transaction(reason) => Self::Invalid(reason),
            EVMError::Database(error) => Self::State(error),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Runs the transactions of one block one after the other: a program that ran before is cheaper to enter.
pub(crate) struct Session<'e> {
    env: &'e Env,
    block: BlockContext,
    /// Who hears of what programs do, if anybody does.
    programs: Option<HostTrace>,
    /// Whether what contracts print by calling the console goes to standard output.
    console: bool,
}

impl<'e> Session<'e> {
    pub(crate) fn new(env: &'e Env) -> Self {
        Self {
            env,
            block: BlockContext::new(env.l2_number),
            programs: None,
            console: false,
        }
    }

    /// Prints what contracts print by calling the console, if `wanted`.
    pub(crate) fn with_console(self, wanted: bool) -> Self {
        Self {
            console: wanted,
            ..self
        }
    }

    /// Lets `trace` hear of what programs do from now on; `None` ends that.
    pub(crate) fn trace_programs(&mut self, trace: Option<HostTrace>) {
        self.programs = trace;
    }

    /// Runs a transaction and answers what it would change.
    pub(crate) fn execute(&mut self, database: &mut Overlay, tx: TxEnv) -> Result<ResultAndState, ExecutionError> {
        let (tx, receivers) = self.paying(database, tx)?;
        let mut evm = self.evm(database, NoOpInspector);
        let outcome = evm.transact(tx);
        self.block = evm.into_block_context();
        let mut outcome = outcome?;
        receivers.credit(&mut outcome);
        Ok(outcome)
    }

    /// As [`execute`](Self::execute), watched by `inspector`.
    pub(crate) fn inspect<'a, I>(
        &mut self,
        database: &'a mut Overlay,
        tx: TxEnv,
        inspector: &mut I,
    ) -> Result<ResultAndState, ExecutionError>
    where
        I: Inspector<StylusContext<&'a mut Overlay>>,
    {
        let (tx, receivers) = self.paying(database, tx)?;
        let mut evm = self.evm(database, inspector);
        let outcome = evm.inspect(tx);
        self.block = evm.into_block_context();
        let mut outcome = outcome?;
        receivers.credit(&mut outcome);
        Ok(outcome)
    }

    /// The transaction with the price that it pays, and who is paid.
    fn paying(&self, database: &Overlay, tx: TxEnv) -> Result<(TxEnv, Receivers), ExecutionError> {
        let Env { cfg, block, .. } = self.env;
        let receivers = Receivers::of(database, &tx, block).map_err(ExecutionError::State)?;
        Ok((without_tip(tx, block, cfg.chain_id), receivers))
    }

    fn evm<'a, I>(&mut self, database: &'a mut Overlay, inspector: I) -> StylusEvm<&'a mut Overlay, I> {
        let Env {
            cfg,
            block,
            programs,
            signatures,
            ..
        } = self.env;
        let arb = std::mem::take(&mut self.block);
        let mut evm = StylusEvm::new(database, cfg.clone(), block.clone(), arb, programs.clone(), inspector);
        if !signatures.is_empty() {
            evm.accept_signatures(signatures.clone());
        }
        if let Some(trace) = &self.programs {
            evm.trace_programs(trace.clone());
        }
        if self.console {
            evm.listen_to(CONSOLE, print_logged);
        }
        evm
    }
}
