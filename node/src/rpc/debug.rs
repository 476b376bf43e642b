//! Methods that trace.

use std::sync::Arc;

use alloy::{
    eips::BlockId,
    primitives::B256,
    rpc::types::{
        TransactionRequest,
        trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions},
    },
};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use revm::context::TxEnv;
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde_json::{Value, json};

use super::{Answer, Args, RpcError, calls, calls::Simulation, method};
use crate::{
    chain::Block,
    config::TRANSACTION_GAS_CAP,
    evm::{Env, Session},
    node::{Node, Place},
    state::Overlay,
};

pub(super) fn register(module: &mut RpcModule<Node>) -> Result<(), RegisterMethodError> {
    method(module, &["debug_traceTransaction"], trace_transaction)?;
    method(module, &["debug_traceCall"], trace_call)?;
    method(module, &["debug_traceBlockByNumber"], |node, args| {
        trace_block(node, args, "debug_traceBlockByNumber")
    })?;
    method(module, &["debug_traceBlockByHash"], |node, args| {
        trace_block(node, args, "debug_traceBlockByHash")
    })
}

async fn trace_transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let options: GethDebugTracingOptions = args.optional(1, "options")?.unwrap_or_default();
    let found = node.chain.read().transaction(&hash);
    let Some((block, index)) = found else {
        if node.pool.lock().get(&hash).is_some() {
            return Err(RpcError::NotFound(format!("transaction {hash} is not mined yet")));
        }
        return calls::upstream(&node, "debug_traceTransaction", args)
            .await
            .map_err(|error| if node.fork.is_some() { error } else { unknown(hash) });
    };
    node.reading(move |node| {
        let traces = replay(node, &block, &options, Some(index))?;
        traces.into_iter().next().ok_or_else(|| unknown(hash))
    })
    .await
}

fn unknown(hash: B256) -> RpcError {
    RpcError::NotFound(format!("transaction {hash} is not known"))
}

async fn trace_block(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let id: BlockId = args.required(0, "block")?;
    let options: GethDebugTracingOptions = args.optional(1, "options")?.unwrap_or_default();
    let block = {
        let number = match id {
            BlockId::Number(tag) => Some(node.number_of(tag)),
            BlockId::Hash(hash) => node.chain.read().number_of(&hash.block_hash),
        };
        number.and_then(|number| node.chain.read().by_number(number))
    };
    let Some(block) = block else {
        return calls::upstream(&node, name, args).await;
    };
    node.reading(move |node| {
        let traces = replay(node, &block, &options, None)?;
        let hashes = block.transactions.iter().map(|transaction| transaction.hash());
        let pairs = hashes
            .zip(traces)
            .map(|(hash, trace)| json!({ "txHash": hash, "result": trace }));
        Ok(Value::Array(pairs.collect()))
    })
    .await
}

/// Runs a block again from its parent's state and traces one of its transactions, or all.
fn replay(
    node: &Node,
    block: &Block,
    options: &GethDebugTracingOptions,
    only: Option<usize>,
) -> Result<Vec<Value>, RpcError> {
    let parent = block.header.number.saturating_sub(1);
    let version = node.store.read().version_of_block(parent).ok_or_else(|| {
        RpcError::Rejected(format!(
            "the state before block {} is no longer held",
            block.header.number
        ))
    })?;
    let mut overlay = Overlay::new(node.view(version));
    let env = node.env(&block.tip());
    let mut session = Session::new(&env);
    let mut traces = Vec::new();
    for (index, transaction) in block.transactions.iter().enumerate() {
        let tx = transaction.to_env(TRANSACTION_GAS_CAP);
        if only.is_some_and(|only| only != index) {
            let outcome = session.execute(&mut overlay, tx)?;
            overlay.commit(outcome.state);
            continue;
        }
        let context = TransactionContext {
            block_hash: Some(block.hash),
            tx_index: Some(index),
            tx_hash: Some(transaction.hash()),
        };
        traces.push(trace(
            &mut overlay,
            (&env, &mut session),
            tx,
            options.clone(),
            Some(context),
        )?);
        if only.is_some() {
            break;
        }
    }
    Ok(traces)
}

/// Runs and traces a transaction; its changes stay in `overlay`.
fn trace(
    overlay: &mut Overlay,
    (env, session): (&Env, &mut Session<'_>),
    tx: TxEnv,
    options: GethDebugTracingOptions,
    context: Option<TransactionContext>,
) -> Result<Value, RpcError> {
    let mut inspector = DebugInspector::new(options).map_err(|error| RpcError::Params(error.to_string()))?;
    let outcome = session.inspect(overlay, tx.clone(), &mut inspector)?;
    let trace = inspector
        .get_result(context, &tx, &env.block, &outcome, overlay)
        .map_err(|error| RpcError::Internal(error.to_string()))?;
    overlay.commit(outcome.state);
    Ok(serde_json::to_value(trace)?)
}

async fn trace_call(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let block: Option<BlockId> = args.optional(1, "block")?;
    let options: GethDebugTracingCallOptions = args.optional(2, "options")?.unwrap_or_default();
    match node.place(block)? {
        Place::Upstream => calls::upstream(&node, "debug_traceCall", args).await,
        Place::Local { tip, version } => {
            node.reading(move |node| {
                let GethDebugTracingCallOptions {
                    tracing_options,
                    state_overrides,
                    block_overrides,
                    ..
                } = options;
                let place = (tip, version);
                let Simulation { env, mut overlay, tx } =
                    Simulation::new(node, place, request, state_overrides, block_overrides)?;
                trace(&mut overlay, (&env, &mut Session::new(&env)), tx, tracing_options, None)
            })
            .await
        }
    }
}
