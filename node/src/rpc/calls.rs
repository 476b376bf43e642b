//! Methods that run a transaction without sending it.

use std::sync::Arc;

use alloy::{
    eips::BlockId,
    primitives::{Address, TxKind, U256},
    rpc::types::{BlockOverrides, TransactionRequest, state::StateOverride},
};
use jsonrpsee::core::RegisterMethodError;
use revm::{
    context::TxEnv,
    context_interface::result::{ExecutionResult, HaltReason, OutOfGasError},
};

use super::{
    Answer, Args, Module, RpcError,
    args::{data, quantity},
    method, node_interface,
};
use crate::{
    chain::Tip,
    config::{Print, TRANSACTION_GAS_CAP},
    evm::{Env, Session},
    node::{Node, Place},
    state::{Overlay, StateView},
    trace::{self, Names},
};

/// Gas that a call has when it asks for none, and the most that it can have; Arbitrum's nodes have the same bound.
pub(super) const CALL_GAS_CAP: u64 = 50_000_000;

/// An estimate may be this many parts of a thousand above what is needed; finding it exactly costs many runs.
const ESTIMATE_TOLERANCE: u64 = 15;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_call"], call)?;
    method(module, &["eth_estimateGas"], estimate_gas)
}

/// A call to be run in the context of a block.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    pub(crate) env: Env,
    pub(crate) overlay: Overlay,
    pub(crate) tx: TxEnv,
}

impl Simulation {
    /// Prepares `request` on top of the block described by `tip`.
    pub(crate) fn new(
        node: &Node,
        (tip, state): (Tip, StateView),
        request: TransactionRequest,
        overrides: Option<StateOverride>,
        block: Option<BlockOverrides>,
    ) -> Result<Self, RpcError> {
        Self::on(node, &tip, Overlay::new(state), request, overrides, block)
    }

    /// Prepares `request` on top of `overlay` in the block described by `tip`.
    pub(crate) fn on(
        node: &Node,
        tip: &Tip,
        mut overlay: Overlay,
        request: TransactionRequest,
        state: Option<StateOverride>,
        block: Option<BlockOverrides>,
    ) -> Result<Self, RpcError> {
        let mut env = node.env(tip).for_call();
        if let Some(overrides) = block {
            apply_block_overrides(&mut env, &mut overlay, overrides);
        }
        if let Some(overrides) = state {
            apply_state_overrides(&mut overlay, overrides)?;
        }
        let tx = call_transaction(&overlay, node.chain_id, request)?;
        Ok(Self { env, overlay, tx })
    }

    /// Runs the call as it is and prints what is to be printed of it.
    fn run_and_print(self, print: Print, names: &Names) -> Result<ExecutionResult, RpcError> {
        let Self { env, mut overlay, tx } = self;
        let mut session = Session::new(&env).with_console(print == Print::Console);
        let outcome = if print == Print::Tree {
            let title = format!("call from {}", tx.caller);
            trace::run_and_print(&mut session, &mut overlay, tx, &title, names)?
        } else {
            session.execute(&mut overlay, tx)?
        };
        Ok(outcome.result)
    }

    /// The call without ether and without a price.
    fn for_free(&self) -> Self {
        let tx = TxEnv {
            value: U256::ZERO,
            gas_price: 0,
            gas_priority_fee: None,
            ..self.tx.clone()
        };
        Self { tx, ..self.clone() }
    }

    /// Runs the call with `gas`, leaving this as it was.
    fn run(&self, gas: u64) -> Result<ExecutionResult, RpcError> {
        let mut overlay = self.overlay.clone();
        let tx = TxEnv {
            gas_limit: gas,
            ..self.tx.clone()
        };
        Ok(Session::new(&self.env).execute(&mut overlay, tx)?.result)
    }
}

/// Changes the state as a caller wants it.
pub(super) fn apply_state_overrides(overlay: &mut Overlay, overrides: StateOverride) -> Result<(), RpcError> {
    if let Some((address, _)) = overrides
        .iter()
        .find(|(_, account)| account.move_precompile_to.is_some())
    {
        return Err(RpcError::Unsupported(format!(
            "movePrecompileToAddress of {address}: precompiles cannot be moved here"
        )));
    }
    if let Some((address, _)) = overrides
        .iter()
        .find(|(_, account)| account.state.is_some() && account.state_diff.is_some())
    {
        return Err(RpcError::Params(format!(
            "state override of {address}: `state` is all of its storage and `stateDiff` a part, so only one of them can be given"
        )));
    }
    Ok(overlay.apply(overrides)?)
}

fn apply_block_overrides(env: &mut Env, overlay: &mut Overlay, overrides: BlockOverrides) {
    let block = &mut env.block;
    for (number, hash) in overrides.block_hash.into_iter().flatten() {
        overlay.set_block_hash(number, hash);
    }
    if let Some(number) = overrides.number {
        block.number = number;
    }
    if let Some(time) = overrides.time {
        block.timestamp = U256::from(time);
    }
    if let Some(gas_limit) = overrides.gas_limit {
        block.gas_limit = gas_limit;
    }
    if let Some(coinbase) = overrides.coinbase {
        block.beneficiary = coinbase;
    }
    if let Some(random) = overrides.random {
        block.prevrandao = Some(random);
    }
    if let Some(base_fee) = overrides.base_fee {
        block.basefee = u64::try_from(base_fee).unwrap_or(u64::MAX);
    }
}

pub(super) fn call_transaction(
    overlay: &Overlay,
    chain_id: u64,
    request: TransactionRequest,
) -> Result<TxEnv, RpcError> {
    let caller = request.from.unwrap_or(Address::ZERO);
    let nonce = match request.nonce {
        Some(nonce) => nonce,
        None => overlay.account(caller)?.nonce,
    };
    let input = request.input.try_into_unique_input();
    let mut tx = TxEnv {
        caller,
        nonce,
        gas_limit: request.gas.unwrap_or(CALL_GAS_CAP).min(CALL_GAS_CAP),
        gas_price: request.max_fee_per_gas.or(request.gas_price).unwrap_or_default(),
        gas_priority_fee: request.max_priority_fee_per_gas,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: input
            .map_err(|error| RpcError::Params(error.to_string()))?
            .unwrap_or_default(),
        chain_id: Some(request.chain_id.unwrap_or(chain_id)),
        access_list: request.access_list.unwrap_or_default(),
        ..TxEnv::default()
    };
    if let Some(list) = request.authorization_list {
        tx.set_signed_authorization(list);
    }
    tx.derive_tx_type()
        .map_err(|error| RpcError::Params(format!("the call is no valid transaction: {error:?}")))?;
    Ok(tx)
}

/// The output of a call, or why it has none.
pub(crate) fn output(result: ExecutionResult) -> Result<alloy::primitives::Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::Revert(output)),
        ExecutionResult::Halt { reason, gas, .. } => Err(halt(&reason, gas.tx_gas_used())),
    }
}

fn halt(reason: &HaltReason, gas_used: u64) -> RpcError {
    RpcError::Rejected(match reason {
        HaltReason::OutOfGas(OutOfGasError::Basic) => format!("out of gas: {gas_used} gas were used"),
        HaltReason::PrecompileErrorWithContext(message) => message.clone(),
        other => format!("execution failed after {gas_used} gas: {other}"),
    })
}

async fn call(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let block: Option<BlockId> = args.optional_block(1)?;
    let accounts: Option<StateOverride> = args.optional(2, "state overrides")?;
    let overrides: Option<BlockOverrides> = args.optional(3, "block overrides")?;
    match node.place(block).await? {
        Place::Upstream(past) => past.request_at("eth_call", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                if let Some(answer) = node_interface::answer(node, &tip, &request) {
                    return Ok(data(&answer?));
                }
                let simulation = Simulation::new(node, (tip, state), request, accounts, overrides)?;
                let result = simulation.run_and_print(node.config.print(), &node.names)?;
                Ok(data(&output(result)?))
            })
            .await
        }
    }
}

async fn estimate_gas(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let block: Option<BlockId> = args.optional_block(1)?;
    let accounts: Option<StateOverride> = args.optional(2, "state overrides")?;
    let overrides: Option<BlockOverrides> = args.optional(3, "block overrides")?;
    let place = match block {
        Some(_) => node.place(block).await?,
        // In the next block, but without what waits for it: sending many transactions would run all of them each time.
        None => node.next_place(),
    };
    match place {
        Place::Upstream(past) => past.request_at("eth_estimateGas", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let simulation = Simulation::new(node, (tip, state), request, accounts, overrides)?;
                Ok(quantity(estimate(&simulation)?))
            })
            .await
        }
    }
}

/// Gas needed for a request on top of the newest state.
pub(super) fn estimate_next(node: &Node, request: TransactionRequest) -> Result<u64, RpcError> {
    let simulation = Simulation::new(node, (node.next_tip(), node.head_view()), request, None, None)?;
    estimate(&simulation)
}

/// Gas for a request that is to be sent: what it needs on top of the newest state, or all that a block has where it fails whatever it
/// gets. Whoever sends it without a limit wants it mined, and finds the failure in the receipt.
pub(super) fn gas_to_send(node: &Node, request: TransactionRequest) -> Result<u64, RpcError> {
    let next = node.next_tip();
    let gas_limit = next.gas_limit;
    let simulation = Simulation::new(node, (next, node.head_view()), request, None, None)?;
    match attempt(&simulation)? {
        Attempt::Succeeds(gas) => Ok(gas),
        Attempt::Fails(_) => Ok(gas_limit.min(TRANSACTION_GAS_CAP)),
    }
}

/// The least gas with which the call succeeds.
pub(super) fn estimate(simulation: &Simulation) -> Result<u64, RpcError> {
    match attempt(simulation)? {
        Attempt::Succeeds(gas) => Ok(gas),
        Attempt::Fails(error) => Err(error),
    }
}

/// How a call ends.
enum Attempt {
    /// The least gas with which it succeeds.
    Succeeds(u64),
    /// It fails with all the gas there can be.
    Fails(RpcError),
}

/// Looks for the least gas with which the call succeeds.
///
/// The first run has all the gas there can be: when that fails, its failure is the answer. Activation of a program burns
/// everything when it fails, so searching below would only hide the reason.
fn attempt(simulation: &Simulation) -> Result<Attempt, RpcError> {
    if is_transfer(simulation)? {
        return attempt(&simulation.for_free());
    }
    let affordable = affordable(simulation)?;
    let cap = affordable.min(TRANSACTION_GAS_CAP).min(simulation.tx.gas_limit);
    let first = match simulation.run(cap) {
        // Too little even to begin with.
        Err(RpcError::Rejected(_)) if cap == affordable => return Err(exceeds_allowance(simulation, cap)),
        outcome => outcome?,
    };
    if cap == affordable
        && matches!(
            first,
            ExecutionResult::Halt {
                reason: HaltReason::OutOfGas(_),
                ..
            }
        )
    {
        return Err(exceeds_allowance(simulation, cap));
    }
    let (spent, used) = (first.gas().total_gas_spent(), first.tx_gas_used());
    if let Err(error) = output(first) {
        return Ok(Attempt::Fails(error));
    }
    let (mut low, mut high) = (used.saturating_sub(1), cap);
    // Refunds count only at the end, and each call keeps back a 64th.
    let likely = spent.saturating_add(2_300).saturating_mul(64) / 63;
    for guess in [used, likely] {
        if guess > low && guess < high {
            if succeeds(simulation, guess)? {
                high = guess;
            } else {
                low = guess;
            }
        }
    }
    while high.saturating_sub(low) > (high / 1_000).saturating_mul(ESTIMATE_TOLERANCE).max(1) {
        let middle = low.midpoint(high);
        if succeeds(simulation, middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Attempt::Succeeds(high))
}

/// Whether nothing but ether is sent, to an account without code. What that costs does not depend on what the sender has.
fn is_transfer(simulation: &Simulation) -> Result<bool, RpcError> {
    let tx = &simulation.tx;
    let TxKind::Call(to) = tx.kind else { return Ok(false) };
    let plain = tx.data.is_empty() && tx.access_list.0.is_empty() && tx.authorization_list.is_empty();
    let pays = !tx.value.is_zero() || tx.gas_price > 0;
    Ok(plain && pays && simulation.overlay.account(to)?.is_empty_code_hash())
}

/// The sender's ether pays for no more than `gas`, which is too little.
fn exceeds_allowance(simulation: &Simulation, gas: u64) -> RpcError {
    let tx = &simulation.tx;
    insufficient(format!(
        "gas required exceeds allowance: {gas} gas are all that the ether of {} pays for at {} wei per gas",
        tx.caller, tx.gas_price
    ))
}

/// An account has too little ether; the code is anvil's.
fn insufficient(message: String) -> RpcError {
    RpcError::Coded { code: -32_003, message }
}

fn succeeds(simulation: &Simulation, gas: u64) -> Result<bool, RpcError> {
    match simulation.run(gas) {
        Ok(result) => Ok(result.is_success()),
        // Too little even to begin with.
        Err(RpcError::Rejected(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gas that the sender can pay for at the price offered.
fn affordable(simulation: &Simulation) -> Result<u64, RpcError> {
    let tx = &simulation.tx;
    if tx.gas_price == 0 {
        return Ok(u64::MAX);
    }
    let balance = simulation.overlay.account(tx.caller)?.balance;
    let Some(rest) = balance.checked_sub(tx.value) else {
        return Err(insufficient(format!(
            "insufficient funds for transfer: address {} has {balance}, want {}",
            tx.caller, tx.value
        )));
    };
    let gas = rest.checked_div(U256::from(tx.gas_price)).unwrap_or_default();
    Ok(u64::try_from(gas).unwrap_or(u64::MAX))
}
