//! Logs, and filters that are polled.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    eips::BlockNumberOrTag,
    primitives::B256,
    rpc::types::{Filter, FilterBlockOption},
};
use jsonrpsee::core::RegisterMethodError;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::{
    Answer, Args, Module, RpcError,
    args::quantity,
    detour::Long,
    logs::{self, Logs},
    long_method, method,
};
use crate::{
    chain::Block,
    fork::Past,
    node::{Event, Node},
};

/// The most filters at a time.
const MAX_FILTERS: usize = 10_000;

/// The most blocks that a filter keeps to take their logs back.
const MAX_REMOVED: usize = 10_000;

/// A filter that nobody polls for this long is removed.
const FILTER_LIFETIME: Duration = Duration::from_secs(300);

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    long_method(module, "eth_getLogs", get_logs)?;
    method(module, &["eth_newFilter"], new_filter)?;
    method(module, &["eth_newBlockFilter"], |node, _| async move {
        install(&node, Kind::Blocks)
    })?;
    method(module, &["eth_newPendingTransactionFilter"], |node, _| async move {
        let events = node.events.subscribe();
        install(&node, Kind::Pending(events))
    })?;
    long_method(module, "eth_getFilterChanges", changes)?;
    long_method(module, "eth_getFilterLogs", filter_logs)?;
    method(module, &["eth_uninstallFilter"], uninstall)
}

/// The installed filters by their id.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    next: u64,
    installed: HashMap<u64, Installed>,
}

impl Filters {
    /// Goes on behind `head`, the newest block of a chain that has taken the place of the one that was watched.
    pub(crate) fn restart(&mut self, head: u64) {
        for filter in self.installed.values_mut() {
            filter.next_block = head.saturating_add(1);
        }
    }

    /// Blocks, oldest first, are no longer part of the chain: what was told of their logs is taken back, and what comes in their place
    /// will be told.
    pub(crate) fn take_back(&mut self, blocks: &[Arc<Block>]) {
        let Some(first) = blocks.first().map(|block| block.header.number) else {
            return;
        };
        for filter in self.installed.values_mut() {
            let next = filter.next_block;
            if let Kind::Logs { filter, removed } = &mut filter.kind {
                let told = blocks.iter().rev().filter(|block| block.header.number < next);
                let with_logs = told.filter(|block| logs::matching(block, filter).next().is_some());
                let room = MAX_REMOVED.saturating_sub(removed.len());
                removed.extend(with_logs.take(room).cloned());
            }
            filter.next_block = next.min(first);
        }
    }
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
    Logs {
        filter: Box<Filter>,
        /// Blocks that were told of and taken back since.
        removed: Vec<Arc<Block>>,
    },
    Blocks,
    Pending(broadcast::Receiver<Event>),
}

async fn get_logs(node: Arc<Node>, args: Args) -> Result<Logs, RpcError> {
    let filter: Filter = args.optional(0, "filter")?.unwrap_or_default();
    logs(&node, Box::new(filter)).await
}

/// All logs that a filter lets through: of the forked chain up to the fork, of this node after it.
async fn logs(node: &Node, filter: Box<Filter>) -> Result<Logs, RpcError> {
    let (from, to) = match &filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => return logs_of_block(node, *hash, filter).await,
        FilterBlockOption::Range { from_block, to_block } => (
            node.number_of(from_block.unwrap_or(BlockNumberOrTag::Latest)),
            node.number_of(to_block.unwrap_or(BlockNumberOrTag::Latest)),
        ),
    };
    if from > to {
        return Err(RpcError::Params(format!("invalid block range: {from} is after {to}")));
    }
    let past = node.fork.as_ref().map(|fork| Past::up_to(fork, to));
    let upstream = match past.filter(|past| from <= past.number()) {
        Some(past) => {
            let before = filter.clone().from_block(from).to_block(past.number());
            list(past.request("eth_getLogs", vec![serde_json::to_value(before)?]).await?)?
        }
        None => Vec::new(),
    };
    let blocks = node.chain.read().range(from, to).to_vec();
    Ok(Logs {
        filter,
        upstream,
        blocks,
        ..Logs::default()
    })
}

async fn logs_of_block(node: &Node, hash: B256, filter: Box<Filter>) -> Result<Logs, RpcError> {
    let block = node.chain.read().by_hash(&hash);
    if let Some(block) = block {
        return Ok(Logs {
            filter,
            blocks: vec![block],
            ..Logs::default()
        });
    }
    let past = node.past_block(hash.into()).await?;
    let past = past.ok_or_else(|| RpcError::NotFound(format!("block {hash} is not known")))?;
    let found = past
        .request("eth_getLogs", vec![serde_json::to_value(&filter)?])
        .await?;
    Ok(Logs {
        upstream: list(found)?,
        ..Logs::default()
    })
}

fn list(answer: Value) -> Result<Vec<Value>, RpcError> {
    match answer {
        Value::Array(logs) => Ok(logs),
        other => Err(RpcError::Internal(format!(
            "the forked RPC answered eth_getLogs with no list: {other}"
        ))),
    }
}

async fn new_filter(node: Arc<Node>, args: Args) -> Answer {
    let filter: Filter = args.required(0, "filter")?;
    let (filter, removed) = (Box::new(filter), Vec::new());
    install(&node, Kind::Logs { filter, removed })
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

/// What came since the last time.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Changes {
    /// Of blocks or transactions.
    Hashes(Vec<B256>),
    Logs(Logs),
}

impl Long for Changes {
    fn into_text(self, limit: usize) -> Option<Vec<u8>> {
        match self {
            // One for each block or transaction: far below the limit.
            Self::Hashes(hashes) => serde_json::to_vec(&hashes).ok().filter(|text| text.len() <= limit),
            Self::Logs(logs) => logs.into_text(limit),
        }
    }
}

async fn changes(node: Arc<Node>, args: Args) -> Result<Changes, RpcError> {
    let id = args.u64(0, "filter id")?;
    let head = node.tip().number;
    let mut filters = node.filters.lock();
    let filter = filters.installed.get_mut(&id).ok_or_else(|| unknown(id))?;
    filter.polled = Instant::now();
    let from = filter.next_block.min(head.saturating_add(1));
    filter.next_block = head.saturating_add(1);
    let chain = node.chain.read();
    let new = chain.range(from, head);
    Ok(match &mut filter.kind {
        Kind::Blocks => Changes::Hashes(new.iter().map(|block| block.hash).collect()),
        Kind::Pending(events) => Changes::Hashes(drain(events)),
        Kind::Logs { filter, removed } => Changes::Logs(Logs {
            filter: filter.clone(),
            removed: std::mem::take(removed),
            blocks: new.to_vec(),
            ..Logs::default()
        }),
    })
}

/// Hashes of the transactions that came since the last time.
fn drain(events: &mut broadcast::Receiver<Event>) -> Vec<B256> {
    let mut hashes = Vec::new();
    loop {
        match events.try_recv() {
            Ok(Event::Pending(transaction)) => hashes.push(transaction.hash()),
            Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => return hashes,
        }
    }
}

async fn filter_logs(node: Arc<Node>, args: Args) -> Result<Logs, RpcError> {
    let id = args.u64(0, "filter id")?;
    let filter = {
        let mut filters = node.filters.lock();
        let installed = filters.installed.get_mut(&id).ok_or_else(|| unknown(id))?;
        installed.polled = Instant::now();
        match &installed.kind {
            Kind::Logs { filter, .. } => filter.clone(),
            _ => return Err(RpcError::Rejected(format!("filter {id:#x} is no log filter"))),
        }
    };
    logs(&node, filter).await
}

async fn uninstall(node: Arc<Node>, args: Args) -> Answer {
    let id = args.u64(0, "filter id")?;
    Ok(json!(node.filters.lock().installed.remove(&id).is_some()))
}
