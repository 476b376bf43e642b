//! Logs, and filters that are polled.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    eips::BlockNumberOrTag,
    rpc::types::{Filter, FilterBlockOption, Log},
};
use jsonrpsee::core::RegisterMethodError;
use serde::Serialize;
use serde_json::{Value, json, value::to_raw_value};
use tokio::sync::broadcast;

use super::{Answer, Args, Module, RawAnswer, RpcError, args::quantity, method, raw_method, render};
use crate::{
    chain::Block,
    node::{Event, Node},
};

/// The most filters at a time.
const MAX_FILTERS: usize = 10_000;

/// A filter that nobody polls for this long is removed.
const FILTER_LIFETIME: Duration = Duration::from_secs(300);

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    raw_method(module, "eth_getLogs", get_logs)?;
    method(module, &["eth_newFilter"], new_filter)?;
    method(module, &["eth_newBlockFilter"], |node, _| async move {
        install(&node, Kind::Blocks)
    })?;
    method(module, &["eth_newPendingTransactionFilter"], |node, _| async move {
        let events = node.events.subscribe();
        install(&node, Kind::Pending(events))
    })?;
    method(module, &["eth_getFilterChanges"], changes)?;
    method(module, &["eth_getFilterLogs"], filter_logs)?;
    method(module, &["eth_uninstallFilter"], uninstall)
}

/// The installed filters by their id.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    next: u64,
    installed: HashMap<u64, Installed>,
}

#[derive(Debug)]
struct Installed {
    kind: Kind,
    /// First block that was not told yet.
    next_block: u64,
    polled: Instant,
}

#[derive(Debug)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending(broadcast::Receiver<Event>),
}

/// A log of this node, or of the forked chain.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Local(Box<Log>),
    Upstream(Value),
}

async fn get_logs(node: Arc<Node>, args: Args) -> RawAnswer {
    let filter: Filter = args.optional(0, "filter")?.unwrap_or_default();
    Ok(to_raw_value(&logs(&node, filter).await?)?)
}

/// All logs that a filter lets through: of the forked chain up to the fork, of this node after it.
async fn logs(node: &Arc<Node>, filter: Filter) -> Result<Vec<Found>, RpcError> {
    let (from, to) = match &filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => return logs_of_block(node, *hash, &filter).await,
        FilterBlockOption::Range { from_block, to_block } => (
            node.number_of(from_block.unwrap_or(BlockNumberOrTag::Latest)),
            node.number_of(to_block.unwrap_or(BlockNumberOrTag::Latest)),
        ),
    };
    if from > to {
        return Err(RpcError::Params(format!("invalid block range: {from} is after {to}")));
    }
    let (first, head) = {
        let chain = node.chain.read();
        (chain.first(), chain.tip().number)
    };
    let mut found = Vec::new();
    if from < first && node.fork.is_some() {
        found = upstream_logs(node, &filter, from, to.min(first.saturating_sub(1))).await?;
    }
    let node = node.clone();
    let local = tokio::task::spawn_blocking(move || local_logs(&node, &filter, from.max(first), to.min(head)));
    found.extend(
        local
            .await
            .map_err(|error| RpcError::Internal(format!("the node failed: {error}")))?,
    );
    Ok(found)
}

fn local_logs(node: &Node, filter: &Filter, from: u64, to: u64) -> Vec<Found> {
    let mut found = Vec::new();
    for number in from..=to {
        let block = node.chain.read().by_number(number);
        let Some(block) = block else { break };
        render_logs(&block, filter, &mut found);
    }
    found
}

fn render_logs(block: &Block, filter: &Filter, found: &mut Vec<Found>) {
    let logs = render::logs(block, filter).into_iter();
    found.extend(logs.map(|log| Found::Local(Box::new(log))));
}

async fn logs_of_block(
    node: &Arc<Node>,
    hash: alloy::primitives::B256,
    filter: &Filter,
) -> Result<Vec<Found>, RpcError> {
    let block = node.chain.read().by_hash(&hash);
    match (block, &node.fork) {
        (Some(block), _) => {
            let mut found = Vec::new();
            render_logs(&block, filter, &mut found);
            Ok(found)
        }
        (None, Some(fork)) => list(fork.request("eth_getLogs", vec![serde_json::to_value(filter)?]).await?),
        (None, None) => Err(RpcError::NotFound(format!("block {hash} is not known"))),
    }
}

async fn upstream_logs(node: &Node, filter: &Filter, from: u64, to: u64) -> Result<Vec<Found>, RpcError> {
    let Some(fork) = &node.fork else { return Ok(Vec::new()) };
    let filter = filter.clone().from_block(from).to_block(to);
    list(fork.request("eth_getLogs", vec![serde_json::to_value(filter)?]).await?)
}

fn list(answer: Value) -> Result<Vec<Found>, RpcError> {
    match answer {
        Value::Array(logs) => Ok(logs.into_iter().map(Found::Upstream).collect()),
        other => Err(RpcError::Internal(format!(
            "the forked RPC answered eth_getLogs with no list: {other}"
        ))),
    }
}

async fn new_filter(node: Arc<Node>, args: Args) -> Answer {
    let filter: Filter = args.required(0, "filter")?;
    install(&node, Kind::Logs(Box::new(filter)))
}

fn install(node: &Node, kind: Kind) -> Answer {
    let next_block = node.tip().number.saturating_add(1);
    let mut filters = node.filters.lock();
    filters
        .installed
        .retain(|_, filter| filter.polled.elapsed() < FILTER_LIFETIME);
    if filters.installed.len() >= MAX_FILTERS {
        return Err(RpcError::Rejected(format!(
            "{MAX_FILTERS} filters are installed; remove some first"
        )));
    }
    let id = filters.next;
    filters.next = id.saturating_add(1);
    filters.installed.insert(
        id,
        Installed {
            kind,
            next_block,
            polled: Instant::now(),
        },
    );
    Ok(quantity(id))
}

fn unknown(id: u64) -> RpcError {
    RpcError::Rejected(format!("filter not found: there is none with id {id:#x}"))
}

async fn changes(node: Arc<Node>, args: Args) -> Answer {
    let id = args.u64(0, "filter id")?;
    let head = node.tip().number;
    let mut filters = node.filters.lock();
    let filter = filters.installed.get_mut(&id).ok_or_else(|| unknown(id))?;
    filter.polled = Instant::now();
    // After a revert the head is below what was told; what comes in its place is told again.
    let from = filter.next_block.min(head.saturating_add(1));
    filter.next_block = head.saturating_add(1);
    match &mut filter.kind {
        Kind::Blocks => {
            let chain = node.chain.read();
            Ok(json!(
                (from..=head)
                    .filter_map(|number| chain.tip_of(number))
                    .map(|tip| tip.hash)
                    .collect::<Vec<_>>()
            ))
        }
        Kind::Pending(events) => Ok(json!(drain(events))),
        Kind::Logs(filter) => {
            let filter = filter.clone();
            drop(filters);
            Ok(serde_json::to_value(local_logs(&node, &filter, from, head))?)
        }
    }
}

/// Hashes of the transactions that came since the last time.
fn drain(events: &mut broadcast::Receiver<Event>) -> Vec<alloy::primitives::B256> {
    let mut hashes = Vec::new();
    loop {
        match events.try_recv() {
            Ok(Event::Pending(transaction)) => hashes.push(transaction.hash()),
            Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => return hashes,
        }
    }
}

async fn filter_logs(node: Arc<Node>, args: Args) -> Answer {
    let id = args.u64(0, "filter id")?;
    let filter = {
        let mut filters = node.filters.lock();
        let installed = filters.installed.get_mut(&id).ok_or_else(|| unknown(id))?;
        installed.polled = Instant::now();
        match &installed.kind {
            Kind::Logs(filter) => filter.clone(),
            _ => return Err(RpcError::Rejected(format!("filter {id:#x} is no log filter"))),
        }
    };
    Ok(serde_json::to_value(logs(&node, *filter).await?)?)
}

async fn uninstall(node: Arc<Node>, args: Args) -> Answer {
    let id = args.u64(0, "filter id")?;
    Ok(json!(node.filters.lock().installed.remove(&id).is_some()))
}
