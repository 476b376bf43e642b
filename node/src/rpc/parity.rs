//! Methods that trace as Parity did (`trace_*`).

use std::sync::Arc;

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, Bytes, map::HashSet},
    rpc::types::{
        TransactionInfo, TransactionRequest,
        trace::{
            filter::{TraceFilter, TraceFilterMatcher},
            parity::{LocalizedTransactionTrace, TraceResults, TraceResultsWithTransactionHash, TraceType},
        },
    },
};
use jsonrpsee::core::RegisterMethodError;
use revm::context::TxEnv;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::quantity, calls::Simulation, method, owner, owner::Owner};
use crate::{
    chain::Block,
    config::TRANSACTION_GAS_CAP,
    evm::Session,
    fork::Past,
    node::{Node, Place},
    state::Overlay,
    trace::{self, Replayed, StepLimit},
    transaction::SignedTransaction,
};

/// The most blocks of this node that one `trace_filter` runs again.
const MAX_FILTER_BLOCKS: u64 = 10_000;

type TraceTypes = HashSet<TraceType>;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["trace_transaction"], transaction)?;
    method(module, &["trace_get"], get)?;
    method(module, &["trace_block"], block)?;
    method(module, &["trace_filter"], filter)?;
    method(module, &["trace_call"], call)?;
    method(module, &["trace_callMany"], call_many)?;
    method(module, &["trace_rawTransaction"], raw_transaction)?;
    method(module, &["trace_replayTransaction"], replay_transaction)?;
    method(module, &["trace_replayBlockTransactions"], replay_block)
}

/// The calls of a block's transactions, or of one of them, in the order in which they began.
pub(super) fn localized(
    node: &Node,
    block: &Block,
    only: Option<usize>,
) -> Result<Vec<LocalizedTransactionTrace>, RpcError> {
    let traces = trace::replay(node, block, only, |replayed| {
        let mut inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
        let outcome = replayed
            .session
            .inspect(replayed.overlay, replayed.tx, &mut inspector)?;
        replayed.overlay.commit(outcome.state);
        let info = TransactionInfo {
            hash: Some(replayed.hash),
            index: u64::try_from(replayed.index).ok(),
            block_hash: Some(block.hash),
            block_number: Some(block.header.number),
            ..TransactionInfo::default()
        };
        Ok(inspector.into_parity_builder().into_localized_transaction_traces(info))
    })?;
    Ok(traces.into_iter().flatten().collect())
}

async fn transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    match owner::mined(&node, hash).await? {
        Owner::Node((block, index)) => {
            node.reading(move |node| Ok(serde_json::to_value(localized(node, &block, Some(index))?)?))
                .await
        }
        Owner::Fork(past) => past.request_at("trace_transaction", args.into_values(), 0).await,
    }
}

async fn get(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let positions: Vec<Value> = args.required(1, "indices")?;
    let position = match positions.as_slice() {
        [position] => super::number(position).and_then(|position| usize::try_from(position).ok()),
        _ => None,
    };
    let Some(position) = position else {
        return Err(RpcError::Params(
            "parameter 2 (`indices`) must hold one index, that of a call in the order of trace_transaction".to_owned(),
        ));
    };
    match owner::mined(&node, hash).await? {
        Owner::Node((block, index)) => {
            node.reading(move |node| {
                let traces = localized(node, &block, Some(index))?;
                Ok(json!(traces.get(position)))
            })
            .await
        }
        Owner::Fork(past) => past.request_at("trace_get", args.into_values(), 0).await,
    }
}

async fn block(node: Arc<Node>, args: Args) -> Answer {
    let id: BlockId = args.block(0)?;
    match owner::block(&node, id).await? {
        Owner::Node(block) => {
            node.reading(move |node| Ok(serde_json::to_value(localized(node, &block, None)?)?))
                .await
        }
        Owner::Fork(past) => past.request_at("trace_block", args.into_values(), 0).await,
    }
}

/// A filter whose bounds may be tags, as clients of other nodes send them.
fn parse_filter(node: &Node, mut value: Value) -> Result<TraceFilter, RpcError> {
    for bound in ["fromBlock", "toBlock"] {
        if let Some(bound) = value.get_mut(bound)
            && let Ok(tag) = serde_json::from_value::<BlockNumberOrTag>(bound.clone())
        {
            *bound = quantity(node.number_of(tag));
        }
    }
    serde_json::from_value(value).map_err(|error| RpcError::Params(format!("parameter 1 (`filter`): {error}")))
}

async fn filter(node: Arc<Node>, args: Args) -> Answer {
    let filter = parse_filter(&node, args.required(0, "filter")?)?;
    let (first, head) = {
        let chain = node.chain.read();
        (chain.first(), chain.tip().number)
    };
    let from = filter.from_block.unwrap_or(first);
    let to = filter.to_block.unwrap_or(head).min(head);
    if from > filter.to_block.unwrap_or(head) {
        return Err(RpcError::Params(format!("fromBlock {from} is after toBlock {to}")));
    }
    let local = from.max(first)..=to;
    if to.saturating_sub(from.max(first)) >= MAX_FILTER_BLOCKS {
        return Err(RpcError::Params(format!(
            "blocks {} to {to} are too many for one request; at most {MAX_FILTER_BLOCKS}",
            from.max(first)
        )));
    }
    let mut found = match from < first {
        true => before_fork(&node, &filter, from, to.min(first.saturating_sub(1))).await?,
        false => Vec::new(),
    };
    let matcher = filter.matcher();
    let ours = node
        .reading(move |node| {
            let mut ours = Vec::new();
            for number in local {
                let block = node.chain.read().by_number(number);
                if let Some(block) = block.filter(|block| !block.transactions.is_empty()) {
                    ours.extend(matching(node, &block, &matcher)?);
                }
            }
            Ok(ours)
        })
        .await?;
    found.extend(ours);
    let skipped = usize::try_from(filter.after.unwrap_or_default()).unwrap_or(usize::MAX);
    let count = filter
        .count
        .map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok(Value::Array(found.into_iter().skip(skipped).take(count).collect()))
}

fn matching(node: &Node, block: &Block, matcher: &TraceFilterMatcher) -> Result<Vec<Value>, RpcError> {
    let traces = localized(node, block, None)?.into_iter();
    traces
        .filter(|trace| matcher.matches(&trace.trace))
        .map(|trace| Ok(serde_json::to_value(trace)?))
        .collect()
}

/// What the forked chain finds in its blocks.
async fn before_fork(node: &Node, filter: &TraceFilter, from: u64, to: u64) -> Result<Vec<Value>, RpcError> {
    let past = node.fork.as_ref().map(|fork| Past::up_to(fork, to));
    let Some(past) = past.filter(|past| from <= past.number()) else {
        return Ok(Vec::new());
    };
    let mut filter = filter.clone().from_block(from).to_block(past.number());
    (filter.after, filter.count) = (None, None);
    let answer = past
        .request("trace_filter", vec![serde_json::to_value(filter)?])
        .await?;
    match answer {
        Value::Array(traces) => Ok(traces),
        other => Err(RpcError::Internal(format!(
            "the forked RPC answered trace_filter with something that is no list: {other}"
        ))),
    }
}

/// Runs a transaction and tells of it what `types` ask for; its changes stay in the overlay.
fn results(
    overlay: &mut Overlay,
    session: &mut Session<'_>,
    tx: TxEnv,
    types: &TraceTypes,
) -> Result<TraceResults, RpcError> {
    let mut inspector = TracingInspector::new(TracingInspectorConfig::from_parity_config(types));
    let outcome = if types.contains(&TraceType::VmTrace) {
        let mut limited = (StepLimit::new(false, false), &mut inspector);
        let outcome = session.inspect(overlay, tx, &mut limited)?;
        limited.0.check()?;
        outcome
    } else {
        session.inspect(overlay, tx, &mut inspector)?
    };
    let results = inspector
        .into_parity_builder()
        .into_trace_results_with_state(&outcome, types, &*overlay)?;
    overlay.commit(outcome.state);
    Ok(results)
}

fn replayed(replayed: Replayed<'_, '_>, types: &TraceTypes) -> Result<TraceResults, RpcError> {
    results(replayed.overlay, replayed.session, replayed.tx, types)
}

async fn replay_transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let types: TraceTypes = args.required(1, "trace types")?;
    match owner::mined(&node, hash).await? {
        Owner::Node((block, index)) => {
            node.reading(move |node| {
                let results = trace::replay(node, &block, Some(index), |transaction| replayed(transaction, &types))?;
                let result = results.into_iter().next().ok_or_else(|| owner::unknown(hash))?;
                Ok(serde_json::to_value(result)?)
            })
            .await
        }
        Owner::Fork(past) => past.request_at("trace_replayTransaction", args.into_values(), 0).await,
    }
}

async fn replay_block(node: Arc<Node>, args: Args) -> Answer {
    let id: BlockId = args.block(0)?;
    let types: TraceTypes = args.required(1, "trace types")?;
    match owner::block(&node, id).await? {
        Owner::Node(block) => {
            node.reading(move |node| {
                let results = trace::replay(node, &block, None, |transaction| {
                    let transaction_hash = transaction.hash;
                    Ok(TraceResultsWithTransactionHash {
                        full_trace: replayed(transaction, &types)?,
                        transaction_hash,
                    })
                })?;
                Ok(serde_json::to_value(results)?)
            })
            .await
        }
        Owner::Fork(past) => {
            past.request_at("trace_replayBlockTransactions", args.into_values(), 0)
                .await
        }
    }
}

async fn call(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let types: TraceTypes = args.required(1, "trace types")?;
    match node.place(args.optional_block(2)?).await? {
        Place::Upstream(past) => past.request_at("trace_call", args.into_values(), 2).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut simulation = Simulation::new(node, (tip, state), request, None, None)?;
                let mut session = Session::new(&simulation.env);
                let results = results(&mut simulation.overlay, &mut session, simulation.tx, &types)?;
                Ok(serde_json::to_value(results)?)
            })
            .await
        }
    }
}

async fn call_many(node: Arc<Node>, args: Args) -> Answer {
    let requests: Vec<(TransactionRequest, TraceTypes)> = args.required(0, "calls")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("trace_callMany", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut overlay = Overlay::new(state);
                let mut all = Vec::new();
                for (request, types) in requests {
                    let mut simulation = Simulation::on(node, &tip, overlay, request, None, None)?;
                    let mut session = Session::new(&simulation.env);
                    all.push(results(&mut simulation.overlay, &mut session, simulation.tx, &types)?);
                    overlay = simulation.overlay;
                }
                Ok(serde_json::to_value(all)?)
            })
            .await
        }
    }
}

async fn raw_transaction(node: Arc<Node>, args: Args) -> Answer {
    // As text, or as a list of numbers, which is what alloy sends.
    let raw: Vec<u8> = match args.required(0, "raw transaction")? {
        list @ Value::Array(_) => serde_json::from_value(list)
            .map_err(|error| RpcError::Params(format!("parameter 1 (`raw transaction`): {error}")))?,
        _ => args.required::<Bytes>(0, "raw transaction")?.into(),
    };
    let types: TraceTypes = args.required(1, "trace types")?;
    let transaction = SignedTransaction::decode(&raw)?;
    match node.place(args.optional_block(2)?).await? {
        Place::Upstream(past) => past.request_at("trace_rawTransaction", args.into_values(), 2).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let env = node.env(&tip);
                let mut overlay = Overlay::new(state);
                let tx = transaction.to_env(TRANSACTION_GAS_CAP);
                let results = results(&mut overlay, &mut Session::new(&env), tx, &types)?;
                Ok(serde_json::to_value(results)?)
            })
            .await
        }
    }
}
