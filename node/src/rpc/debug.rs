//! Methods that trace as Geth does, and the tracer of Stylus programs.

use std::sync::Arc;

use alloy::{
    consensus::{Block as RlpBlock, TxEnvelope},
    eips::BlockId,
    primitives::{B256, Bytes},
    rlp::Decodable,
    rpc::types::{
        Bundle, StateContext, TransactionIndex, TransactionRequest,
        trace::geth::{
            GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingCallOptions, GethDebugTracingOptions,
            GethTrace,
        },
    },
};
use jsonrpsee::core::RegisterMethodError;
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde::Serialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use super::{Args, Module, RawAnswer, RpcError, calls::Simulation, long_method, owner, owner::Owner};
use crate::{
    chain::Block,
    evm::Session,
    fork::Past,
    handle::MAX_MESSAGE,
    node::{Node, Place},
    signature::signer,
    state::Overlay,
    trace::{self, FirstSteps, Replayed, StepLimit},
    transaction::{SignedTransaction, TransactionError},
};

/// The most blocks that one `debug_traceChain` covers.
const MAX_CHAIN: u64 = 1_000;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    long_method(module, "debug_traceTransaction", trace_transaction)?;
    long_method(module, "debug_traceCall", trace_call)?;
    long_method(module, "debug_traceCallMany", trace_call_many)?;
    long_method(module, "debug_traceBlock", trace_rlp_block)?;
    long_method(module, "debug_traceChain", trace_chain)?;
    long_method(module, "debug_traceBlockByNumber", |node, args| {
        trace_block(node, args, "debug_traceBlockByNumber")
    })?;
    long_method(module, "debug_traceBlockByHash", |node, args| {
        trace_block(node, args, "debug_traceBlockByHash")
    })
}

async fn trace_transaction(node: Arc<Node>, args: Args) -> RawAnswer {
    let hash: B256 = args.required(0, "hash")?;
    let options: GethDebugTracingOptions = args.optional(1, "options")?.unwrap_or_default();
    let (block, index) = match owner::mined(&node, hash).await? {
        Owner::Node(found) => found,
        Owner::Fork(past) => return upstream(&past, "debug_traceTransaction", args).await,
    };
    node.reading(move |node| {
        let traces = trace::replay(node, &block, Some(index), |replayed| trace(replayed, &options, &block))?;
        traces.into_iter().next().ok_or_else(|| owner::unknown(hash))
    })
    .await
}

/// Passes on a question about a transaction, or about the block that is the first parameter.
async fn upstream(past: &Past, name: &str, args: Args) -> RawAnswer {
    Ok(to_raw_value(&past.request_at(name, args.into_values(), 0).await?)?)
}

/// The trace of a transaction of a block.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfTransaction {
    tx_hash: B256,
    result: Box<RawValue>,
}

/// The traces of a block of a chain.
#[derive(Serialize)]
struct OfBlock {
    #[serde(with = "alloy::serde::quantity")]
    block: u64,
    hash: B256,
    traces: Vec<OfTransaction>,
}

async fn trace_block(node: Arc<Node>, args: Args, name: &'static str) -> RawAnswer {
    let id: BlockId = args.block(0)?;
    let options: GethDebugTracingOptions = args.optional(1, "options")?.unwrap_or_default();
    let block = match owner::block(&node, id).await? {
        Owner::Node(block) => block,
        Owner::Fork(past) => return upstream(&past, name, args).await,
    };
    node.reading(move |node| Ok(to_raw_value(&trace_all(node, &block, &options)?)?))
        .await
}

/// The traces of all transactions of a block, each with the transaction's hash.
fn trace_all(node: &Node, block: &Block, options: &GethDebugTracingOptions) -> Result<Vec<OfTransaction>, RpcError> {
    let mut bytes = 0usize;
    trace::replay(node, block, None, |replayed| {
        let tx_hash = replayed.hash;
        let result = trace(replayed, options, block)?;
        bytes = bytes.saturating_add(result.get().len());
        if bytes > usize::try_from(MAX_MESSAGE).unwrap_or(usize::MAX) {
            return Err(RpcError::Rejected(format!(
                "the traces of the block take more than {MAX_MESSAGE} bytes; trace its transactions one by one"
            )));
        }
        Ok(OfTransaction { tx_hash, result })
    })
}

/// Traces a block that comes as RLP: one of this node, or one that could follow a block of it.
async fn trace_rlp_block(node: Arc<Node>, args: Args) -> RawAnswer {
    let rlp: Bytes = args.required(0, "block")?;
    let options: GethDebugTracingOptions = args.optional(1, "options")?.unwrap_or_default();
    let decoded = RlpBlock::<TxEnvelope>::decode(&mut rlp.as_ref())
        .map_err(|error| RpcError::Params(format!("parameter 1 (`block`) is no block in RLP: {error}")))?;
    node.reading(move |node| {
        let header = decoded.header;
        let parent = header
            .number
            .checked_sub(1)
            .and_then(|number| node.chain.read().tip_of(number));
        if parent.is_none_or(|parent| parent.hash != header.parent_hash) {
            return Err(RpcError::NotFound(format!(
                "the parent {} of the block is not a block of this node",
                header.parent_hash
            )));
        }
        let recovered = decoded.body.transactions.into_iter().map(|envelope| {
            let hash = *envelope.tx_hash();
            // Transactions of impersonated accounts have no signature that would tell the sender.
            if let Some((block, index)) = node.chain.read().transaction(&hash)
                && let Some(known) = block.transactions.get(index)
            {
                return Ok(known.clone());
            }
            let sender = signer(&envelope)
                .ok_or_else(|| RpcError::Params(format!("transaction {hash}: {}", TransactionError::Signature)))?;
            Ok(Arc::new(SignedTransaction { envelope, sender }))
        });
        let transactions = recovered.collect::<Result<Vec<_>, RpcError>>()?;
        let block = Block {
            hash: header.hash_slow(),
            l1_number: node.chain.read().l1_number(header.number, header.timestamp),
            header,
            transactions,
            receipts: Vec::new(),
        };
        Ok(to_raw_value(&trace_all(node, &block, &options)?)?)
    })
    .await
}

/// Traces the blocks after `start` up to `end`.
async fn trace_chain(node: Arc<Node>, args: Args) -> RawAnswer {
    let start = args.tag(0, "start")?;
    let end = args.tag(1, "end")?;
    let options: GethDebugTracingOptions = args.optional(2, "options")?.unwrap_or_default();
    let (start, end) = (node.number_of(start), node.number_of(end));
    if end.saturating_sub(start) > MAX_CHAIN {
        return Err(RpcError::Params(format!(
            "{} blocks are too many for one request; at most {MAX_CHAIN}",
            end.saturating_sub(start)
        )));
    }
    node.reading(move |node| {
        let mut blocks = Vec::new();
        for number in start.saturating_add(1)..=end {
            let block = node.chain.read().by_number(number).ok_or_else(|| {
                RpcError::NotFound(format!("block {number} is not one of this node, which alone it traces"))
            })?;
            blocks.push(OfBlock {
                block: number,
                hash: block.hash,
                traces: trace_all(node, &block, &options)?,
            });
        }
        Ok(to_raw_value(&blocks)?)
    })
    .await
}

fn trace(replayed: Replayed<'_, '_>, options: &GethDebugTracingOptions, block: &Block) -> RawAnswer {
    let context = TransactionContext {
        block_hash: Some(block.hash),
        tx_index: Some(replayed.index),
        tx_hash: Some(replayed.hash),
    };
    run(replayed, options, Some(context))
}

/// Runs and traces a transaction; its changes stay in its overlay.
fn run(
    replayed: Replayed<'_, '_>,
    options: &GethDebugTracingOptions,
    context: Option<TransactionContext>,
) -> RawAnswer {
    if let Some(GethDebugTracerType::JsTracer(code)) = &options.tracer {
        return if is_stylus_tracer(code) {
            trace_programs(replayed)
        } else {
            Err(RpcError::Params(
                "JavaScript tracers are not run here; use callTracer, flatCallTracer, prestateTracer, 4byteTracer, muxTracer, \
                 erc7562Tracer, noopTracer, stylusTracer or the struct logs"
                    .to_owned(),
            ))
        };
    }
    let Replayed {
        overlay,
        env,
        session,
        tx,
        ..
    } = replayed;
    let inspector = DebugInspector::new(options.clone()).map_err(|error| RpcError::Params(error.to_string()))?;
    let outcome;
    let mut inspector = match step_limit(options) {
        Some(limit) => {
            // Zero means all.
            let first = options.config.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
            let mut limited = FirstSteps::new(first, (limit, inspector));
            outcome = session.inspect(overlay, tx.clone(), &mut limited)?;
            let (limit, inspector) = limited.into_inner();
            limit.check()?;
            inspector
        }
        None => {
            let mut inspector = inspector;
            outcome = session.inspect(overlay, tx.clone(), &mut inspector)?;
            inspector
        }
    };
    let mut trace = inspector
        .get_result(context, &tx, &env.block, &outcome, overlay)
        .map_err(|error| RpcError::Internal(error.to_string()))?;
    if let GethTrace::FlatCallTracer(traces) = &mut trace {
        // The inspector takes what NUMBER answers.
        for trace in traces.iter_mut() {
            trace.block_number = Some(env.l2_number);
        }
    }
    overlay.commit(outcome.state);
    Ok(to_raw_value(&trace)?)
}

/// The bound of a tracer that keeps every step.
fn step_limit(options: &GethDebugTracingOptions) -> Option<StepLimit> {
    match &options.tracer {
        None => Some(StepLimit::new(
            options.config.is_stack_enabled(),
            options.config.is_memory_enabled(),
        )),
        Some(GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::Erc7562Tracer)) => {
            Some(StepLimit::new(true, true))
        }
        Some(_) => None,
    }
}

/// Whether a tracer asks for the host calls of Stylus programs: by name, or as the script that `cargo stylus` sends, which is
/// the only one with a member `hostio`.
fn is_stylus_tracer(code: &str) -> bool {
    code == "stylusTracer"
        || code
            .split("hostio")
            .skip(1)
            .any(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
}

fn trace_programs(replayed: Replayed<'_, '_>) -> RawAnswer {
    let traced = trace::run(replayed.session, replayed.overlay, replayed.tx)?;
    replayed.overlay.commit(traced.outcome.state);
    if traced.dropped > 0 {
        return Err(RpcError::Rejected(format!(
            "the trace is too long: {} host calls do not fit",
            traced.dropped
        )));
    }
    Ok(to_raw_value(
        &traced.root.as_ref().map_or_else(|| json!([]), trace::steps),
    )?)
}

async fn trace_call(node: Arc<Node>, args: Args) -> RawAnswer {
    let request: TransactionRequest = args.required(0, "call")?;
    let id: Option<BlockId> = args.optional_block(1)?;
    let options: GethDebugTracingCallOptions = args.optional(2, "options")?.unwrap_or_default();
    match node.place(id).await? {
        Place::Upstream(past) => Ok(to_raw_value(
            &past.request_at("debug_traceCall", args.into_values(), 1).await?,
        )?),
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let index = options
                    .tx_index
                    .map(|index| usize::try_from(index).unwrap_or(usize::MAX));
                let overlay = match index {
                    Some(index) => trace::state_inside(node, id, index)?,
                    None => Overlay::new(state),
                };
                let (state, block) = (options.state_overrides, options.block_overrides);
                let mut simulation = Simulation::on(node, &tip, overlay, request, state, block)?;
                let mut session = Session::new(&simulation.env);
                run(
                    simulated(&mut simulation.overlay, &simulation.env, &mut session, simulation.tx),
                    &options.tracing_options,
                    None,
                )
            })
            .await
        }
    }
}

fn simulated<'r, 's>(
    overlay: &'r mut Overlay,
    env: &'r crate::evm::Env,
    session: &'r mut Session<'s>,
    tx: revm::context::TxEnv,
) -> Replayed<'r, 's> {
    Replayed {
        overlay,
        env,
        session,
        tx,
        hash: B256::ZERO,
        index: 0,
    }
}

async fn trace_call_many(node: Arc<Node>, args: Args) -> RawAnswer {
    let bundles: Vec<Bundle> = args.required(0, "bundles")?;
    let context: StateContext = args.optional(1, "state context")?.unwrap_or_default();
    let options: GethDebugTracingCallOptions = args.optional(2, "options")?.unwrap_or_default();
    let id = context.block_number;
    match node.place(id).await? {
        Place::Upstream(past) => Ok(to_raw_value(
            &past.request_at("debug_traceCallMany", args.into_values(), 1).await?,
        )?),
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut overlay = match context.transaction_index {
                    Some(TransactionIndex::Index(index)) => trace::state_inside(node, id, index)?,
                    Some(TransactionIndex::All) | None => Overlay::new(state),
                };
                if let Some(state) = options.state_overrides {
                    overlay.apply(state)?;
                }
                let mut all = Vec::new();
                for bundle in bundles {
                    let mut traces = Vec::new();
                    for request in bundle.transactions {
                        let block = bundle
                            .block_override
                            .clone()
                            .or_else(|| options.block_overrides.clone());
                        let mut simulation = Simulation::on(node, &tip, overlay, request, None, block)?;
                        let mut session = Session::new(&simulation.env);
                        let call = simulated(&mut simulation.overlay, &simulation.env, &mut session, simulation.tx);
                        traces.push(run(call, &options.tracing_options, None)?);
                        overlay = simulation.overlay;
                    }
                    all.push(traces);
                }
                Ok(to_raw_value(&all)?)
            })
            .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_cargo_stylus_is_recognised_and_others_are_not() {
        for code in [
            "stylusTracer",
            "{\n \"hostio\": function(info) {} }",
            "{hostio : function(i) {}}",
        ] {
            assert!(is_stylus_tracer(code), "{code}");
        }
        for code in [
            "{step: function(log, db) {}, result: function() { return 'hostio' }}",
            "{}",
            "hostio",
        ] {
            assert!(!is_stylus_tracer(code), "{code}");
        }
    }
}
