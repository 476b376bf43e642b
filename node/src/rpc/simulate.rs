//! `eth_simulateV1`: blocks that are built on an existing one and thrown away.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, Log, LogData, TxKind, U256, address, b256},
    rpc::types::{
        BlockOverrides, TransactionRequest,
        simulate::{MAX_SIMULATE_BLOCKS, SimBlock, SimCallResult, SimulateError, SimulatePayload},
    },
    sol_types::SolValue,
};
use jsonrpsee::core::RegisterMethodError;
use revm::{
    Inspector,
    context::{ContextTr, JournalTr},
    context_interface::result::{ExecutionResult, InvalidTransaction},
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome},
};
use serde_json::Value;

use super::{Answer, Args, Module, RpcError, calls, method, render};
use crate::{
    chain::{Block, Tip},
    evm::{Env, ExecutionError, Session},
    node::{Node, Place},
    seal::{Executed, seal},
    state::Overlay,
    trace::Names,
    transaction::SignedTransaction,
};

/// Seconds between simulated blocks that name no time.
const BLOCK_SECONDS: u64 = 12;

/// The most gas that all calls of one request may use together.
const GAS_BUDGET: u64 = 500_000_000;

/// Codes of the errors that the method's specification names.
const NONCE_TOO_LOW: i32 = -38_010;
const NONCE_TOO_HIGH: i32 = -38_011;
const BASE_FEE_TOO_LOW: i32 = -38_012;
const INTRINSIC_GAS: i32 = -38_013;
const INSUFFICIENT_FUNDS: i32 = -38_014;
const BLOCK_GAS: i32 = -38_015;
const BLOCK_ORDER: i32 = -38_020;
const TIME_ORDER: i32 = -38_021;
const INIT_CODE_SIZE: i32 = -38_025;
const TOO_MANY_BLOCKS: i32 = -38_026;

/// Where the log of a transfer of ether seems to come from, and its topic, that of ERC-20.
const TRANSFER_EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
const TRANSFER_TOPIC: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_simulateV1"], simulate)
}

async fn simulate(node: Arc<Node>, args: Args) -> Answer {
    let payload: SimulatePayload = args.required(0, "payload")?;
    if payload.block_state_calls.is_empty() {
        return Err(RpcError::Params(
            "`blockStateCalls` is empty: nothing to simulate".to_owned(),
        ));
    }
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("eth_simulateV1", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut simulator = Simulator {
                    node,
                    overlay: Overlay::new(state),
                    tip,
                    validation: payload.validation,
                    trace_transfers: payload.trace_transfers,
                    full: payload.return_full_transactions,
                    gas_left: GAS_BUDGET,
                    blocks: Vec::new(),
                };
                for block in payload.block_state_calls {
                    simulator.block(block)?;
                }
                Ok(Value::Array(simulator.blocks))
            })
            .await
        }
    }
}

fn coded(code: i32, message: impl Into<String>) -> RpcError {
    RpcError::Coded {
        code,
        message: message.into(),
    }
}

struct Simulator<'n> {
    node: &'n Node,
    overlay: Overlay,
    /// The newest block, simulated or not.
    tip: Tip,
    validation: bool,
    trace_transfers: bool,
    full: bool,
    gas_left: u64,
    blocks: Vec<Value>,
}

impl Simulator<'_> {
    /// Simulates a block, after empty ones up to the number that it asks for.
    fn block(&mut self, block: SimBlock) -> Result<(), RpcError> {
        let overrides = block.block_overrides.unwrap_or_default();
        let following = self.tip.number.saturating_add(1);
        let number = match overrides.number {
            Some(number) => u64::try_from(number)
                .map_err(|_| RpcError::Params(format!("block number {number} does not fit 64 bits")))?,
            None => following,
        };
        if number < following {
            return Err(coded(
                BLOCK_ORDER,
                format!("block numbers must increase: {number} comes after {}", self.tip.number),
            ));
        }
        let simulated = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        if number.saturating_sub(following).saturating_add(simulated) >= MAX_SIMULATE_BLOCKS {
            return Err(coded(
                TOO_MANY_BLOCKS,
                format!("too many blocks: at most {MAX_SIMULATE_BLOCKS} can be simulated"),
            ));
        }
        while self.tip.number.saturating_add(1) < number {
            self.run(BlockOverrides::default(), Vec::new())?;
        }
        if let Some(state) = block.state_overrides {
            calls::apply_state_overrides(&mut self.overlay, state)?;
        }
        self.run(overrides, block.calls)
    }

    fn run(&mut self, overrides: BlockOverrides, requests: Vec<TransactionRequest>) -> Result<(), RpcError> {
        let next = self.next(&overrides)?;
        for (number, hash) in overrides.block_hash.into_iter().flatten() {
            self.overlay.set_block_hash(number, hash);
        }
        let mut env = self.node.env(&next);
        if let Some(random) = overrides.random {
            env.block.prevrandao = Some(random);
        }
        if !self.validation {
            env = env.for_call();
        }
        let mut session = Session::new(&env);
        let mut executed = Executed::default();
        let mut results = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            let result = self
                .call(&env, &mut session, &mut executed, request)
                .map_err(|error| match error {
                    RpcError::Coded { code, message } => {
                        coded(code, format!("call {index} of block {}: {message}", next.number))
                    }
                    other => other,
                })?;
            results.push(result);
        }
        self.seal(&next, executed, results)
    }

    /// The block after the newest, as far as it is known before its calls.
    fn next(&self, overrides: &BlockOverrides) -> Result<Tip, RpcError> {
        let number = self.tip.number.saturating_add(1);
        let timestamp = overrides
            .time
            .unwrap_or_else(|| self.tip.timestamp.saturating_add(BLOCK_SECONDS));
        if timestamp <= self.tip.timestamp {
            return Err(coded(
                TIME_ORDER,
                format!(
                    "block timestamps must increase: {timestamp} comes after {}",
                    self.tip.timestamp
                ),
            ));
        }
        // Without validation nobody has to pay.
        let base_fee = if self.validation {
            self.tip.next_base_fee(self.node.least_base_fee)
        } else {
            0
        };
        Ok(Tip {
            number,
            hash: B256::ZERO,
            timestamp,
            base_fee: overrides
                .base_fee
                .map_or(base_fee, |fee| u64::try_from(fee).unwrap_or(u64::MAX)),
            gas_used: 0,
            gas_limit: overrides.gas_limit.unwrap_or(self.tip.gas_limit),
            l1_number: self.node.chain.read().l1_number(number, timestamp),
            beneficiary: overrides.coinbase.unwrap_or(self.tip.beneficiary),
        })
    }

    fn call(
        &mut self,
        env: &Env,
        session: &mut Session<'_>,
        executed: &mut Executed,
        mut request: TransactionRequest,
    ) -> Result<SimCallResult, RpcError> {
        let room = env.block.gas_limit.saturating_sub(executed.gas_used);
        if request.gas.is_some_and(|gas| gas > room) {
            return Err(coded(
                BLOCK_GAS,
                format!(
                    "block gas limit reached: {} asked for, {room} left",
                    request.gas.unwrap_or_default()
                ),
            ));
        }
        if self.gas_left < 21_000 {
            return Err(coded(
                BLOCK_GAS,
                format!("the calls use more than {GAS_BUDGET} gas together"),
            ));
        }
        request.gas = Some(request.gas.unwrap_or(room).min(calls::CALL_GAS_CAP).min(self.gas_left));
        let tx = calls::call_transaction(&self.overlay, self.node.chain_id, request.clone())?;
        let transaction = Arc::new(unsigned(&tx, request, self.node.chain_id)?);
        let outcome = if self.trace_transfers {
            session.inspect(&mut self.overlay, tx, &mut Transfers::default())
        } else {
            session.execute(&mut self.overlay, tx)
        };
        let outcome = outcome.map_err(refusal)?;
        self.overlay.commit(outcome.state);
        let result = outcome.result;
        let gas = *result.gas();
        self.gas_left = self.gas_left.saturating_sub(gas.total_gas_spent());
        let answer = SimCallResult {
            return_data: result.output().cloned().unwrap_or_default(),
            logs: Vec::new(),
            gas_used: result.tx_gas_used(),
            max_used_gas: Some(gas.total_gas_spent()),
            status: result.is_success(),
            error: failure(&result, &self.node.names),
        };
        executed.add(transaction, result, env.block.basefee);
        Ok(answer)
    }

    /// Completes the block and makes it the newest.
    fn seal(&mut self, next: &Tip, executed: Executed, mut results: Vec<SimCallResult>) -> Result<(), RpcError> {
        let changes = self.overlay.clone().into_changes();
        let root = changes.root_after(self.node.store.read().root());
        let header = seal(&self.tip, next, &executed, root, Bytes::new());
        let block = Block {
            hash: header.hash_slow(),
            header,
            l1_number: next.l1_number,
            transactions: executed.transactions,
            receipts: executed.receipts,
        };
        for (index, result) in results.iter_mut().enumerate() {
            result.logs = render::transaction_logs(&block, index);
        }
        let mut value = render::block(&block, self.full)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("calls".to_owned(), serde_json::to_value(results)?);
        }
        self.overlay.set_block_hash(block.header.number, block.hash);
        self.tip = block.tip();
        self.blocks.push(value);
        Ok(())
    }
}

/// The call as a transaction that nobody signed.
fn unsigned(
    tx: &revm::context::TxEnv,
    request: TransactionRequest,
    chain_id: u64,
) -> Result<SignedTransaction, RpcError> {
    let mut request = TransactionRequest {
        from: Some(tx.caller),
        nonce: Some(tx.nonce),
        gas: Some(tx.gas_limit),
        to: Some(request.to.unwrap_or(TxKind::Create)),
        value: Some(tx.value),
        chain_id: Some(chain_id),
        transaction_type: None,
        ..request
    };
    request.normalize_input();
    if request.gas_price.is_none() {
        request.max_fee_per_gas.get_or_insert(0);
        request.max_priority_fee_per_gas.get_or_insert(0);
    }
    Ok(SignedTransaction::from_request(request, tx.caller, None)?)
}

/// Why a call of a block failed, in the words of the specification.
fn failure(result: &ExecutionResult, names: &Names) -> Option<SimulateError> {
    match result {
        ExecutionResult::Success { .. } => None,
        ExecutionResult::Revert { output, .. } => Some(SimulateError {
            code: SimulateError::EXECUTION_REVERTED_CODE,
            message: names.revert_message(output),
            data: Some(output.clone()),
        }),
        ExecutionResult::Halt { .. } => Some(SimulateError {
            code: SimulateError::VM_EXECUTION_ERROR_CODE,
            message: calls::output(result.clone())
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default(),
            data: None,
        }),
    }
}

/// The call cannot be part of a block: the whole request fails.
fn refusal(error: ExecutionError) -> RpcError {
    let ExecutionError::Invalid(reason) = &error else {
        return error.into();
    };
    let code = match reason {
        InvalidTransaction::NonceTooLow { .. } => NONCE_TOO_LOW,
        InvalidTransaction::NonceTooHigh { .. } => NONCE_TOO_HIGH,
        InvalidTransaction::GasPriceLessThanBasefee => BASE_FEE_TOO_LOW,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => INTRINSIC_GAS,
        InvalidTransaction::LackOfFundForMaxFee { .. } => INSUFFICIENT_FUNDS,
        InvalidTransaction::CallerGasLimitMoreThanBlock => BLOCK_GAS,
        InvalidTransaction::CreateInitCodeSizeLimit => INIT_CODE_SIZE,
        _ => return error.into(),
    };
    coded(code, RpcError::from(error).to_string())
}

/// Adds a log for every transfer of ether, as if ether were an ERC-20 token; a frame that fails takes its logs back.
#[derive(Debug, Default)]
struct Transfers {
    /// Number of logs before each open frame.
    logs: Vec<usize>,
}

impl Transfers {
    fn begin<CTX: ContextTr>(&mut self, context: &mut CTX, from: Address, to: Address, value: U256) {
        let journal = context.journal_mut();
        self.logs.push(journal.logs().len());
        if value.is_zero() {
            return;
        }
        let topics = vec![TRANSFER_TOPIC, from.into_word(), to.into_word()];
        journal.log(Log {
            address: TRANSFER_EMITTER,
            data: LogData::new_unchecked(topics, value.abi_encode().into()),
        });
    }

    /// The log was there before the frame's own checkpoint, so that reverting the frame leaves it.
    fn end<CTX: ContextTr>(&mut self, context: &mut CTX, success: bool) {
        let Some(before) = self.logs.pop().filter(|_| !success) else {
            return;
        };
        let journal = context.journal_mut();
        if journal.logs().len() > before {
            let mut logs = journal.take_logs();
            logs.truncate(before);
            logs.into_iter().for_each(|log| journal.log(log));
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for Transfers {
    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let value = inputs.transfer_value().unwrap_or_default();
        self.begin(context, inputs.transfer_from(), inputs.transfer_to(), value);
        None
    }

    fn call_end(&mut self, context: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.end(context, outcome.result.result.is_ok());
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        // The caller was loaded before it could create anything.
        let caller = context.journal_mut().load_account(inputs.caller());
        let nonce = caller.map(|account| account.data.info.nonce).unwrap_or_default();
        let created = inputs.created_address(nonce);
        self.begin(context, inputs.caller(), created, inputs.value());
        None
    }

    fn create_end(&mut self, context: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(context, outcome.result.result.is_ok());
    }
}
