//! Methods that the explorer Otterscan asks (`ots_*`).

mod search;

use std::sync::Arc;

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256},
    rpc::types::trace::{
        otterscan::{InternalOperation, OperationType, TraceEntry},
        parity::{Action, CreationMethod, TraceOutput, TransactionTrace},
    },
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{
    Answer, Args, Module, RpcError,
    args::{data, quantity},
    method, owner,
    owner::Owner,
    parity, render,
};
use crate::{
    chain::Block,
    fork::Past,
    node::{Node, Place},
    trace,
};

/// Version of the interface, as anvil and Erigon tell it.
const API_LEVEL: u64 = 8;

/// Characters of a transaction's `input` that lists of a block's transactions have: `0x` and the selector.
const SHORT_INPUT: usize = 10;

/// The most transactions of one page.
const MAX_PAGE: usize = 1_000;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["ots_getApiLevel"], |_, _| async { Ok(json!(API_LEVEL)) })?;
    method(module, &["ots_hasCode"], has_code)?;
    method(module, &["ots_getInternalOperations"], |node, args| {
        of_transaction(node, args, "ots_getInternalOperations", internal_operations)
    })?;
    method(module, &["ots_traceTransaction"], |node, args| {
        of_transaction(node, args, "ots_traceTransaction", entries)
    })?;
    method(module, &["ots_getTransactionError"], |node, args| {
        of_transaction(node, args, "ots_getTransactionError", error)
    })?;
    method(module, &["ots_getBlockDetails"], |node, args| {
        of_block(node, args, "ots_getBlockDetails", |block, _| details(block))
    })?;
    method(module, &["ots_getBlockDetailsByHash"], |node, args| {
        of_block(node, args, "ots_getBlockDetailsByHash", |block, _| details(block))
    })?;
    method(module, &["ots_getBlockTransactions"], |node, args| {
        of_block(node, args, "ots_getBlockTransactions", transactions)
    })?;
    search::register(module)
}

async fn has_code(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Local { state, .. } => {
            node.reading(move |_| Ok(json!(!state.account(address)?.is_empty_code_hash())))
                .await
        }
        Place::Upstream(past) => {
            // Not every endpoint knows Otterscan's methods, but every one knows code.
            let block = quantity(past.number());
            let code = past.request("eth_getCode", vec![json!(address), block]).await?;
            Ok(json!(code.as_str().is_some_and(|code| code.len() > 2)))
        }
    }
}

/// Answers from a transaction of this node, or passes the question on.
async fn of_transaction(
    node: Arc<Node>,
    args: Args,
    name: &'static str,
    tell: impl Fn(&Node, &Block, usize) -> Answer + Send + 'static,
) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    match owner::mined(&node, hash).await? {
        Owner::Node((block, index)) => node.reading(move |node| tell(node, &block, index)).await,
        Owner::Fork(past) => past.request(name, args.into_values()).await,
    }
}

/// Answers from a block of this node, or passes the question on.
async fn of_block(
    node: Arc<Node>,
    args: Args,
    name: &'static str,
    tell: impl Fn(&Block, &Args) -> Answer + Send + 'static,
) -> Answer {
    let id: BlockId = args.block(0)?;
    match owner::block(&node, id).await? {
        Owner::Node(block) => node.reading(move |_| tell(&block, &args)).await,
        Owner::Fork(past) => past.request_at(name, args.into_values(), 0).await,
    }
}

/// The calls of one transaction.
fn traces(node: &Node, block: &Block, index: usize) -> Result<Vec<TransactionTrace>, RpcError> {
    let traces = parity::localized(node, block, Some(index))?;
    Ok(traces.into_iter().map(|localized| localized.trace).collect())
}

/// The account that a creation made.
fn created(trace: &TransactionTrace) -> Option<(Address, Bytes)> {
    match trace.result.as_ref()? {
        TraceOutput::Create(output) => Some((output.address, output.code.clone())),
        TraceOutput::Call(_) => None,
    }
}

/// Transfers of ether, creations and destructions.
fn internal_operations(node: &Node, block: &Block, index: usize) -> Answer {
    let traces = traces(node, block, index)?;
    let operation = |trace: &TransactionTrace| {
        let (r#type, from, to, value) = match &trace.action {
            Action::Call(call) if !call.value.is_zero() => (OperationType::OpTransfer, call.from, call.to, call.value),
            Action::Create(create) => {
                let kind = match create.creation_method {
                    CreationMethod::Create2 => OperationType::OpCreate2,
                    _ => OperationType::OpCreate,
                };
                let to = created(trace).map(|(address, _)| address).unwrap_or_default();
                (kind, create.from, to, create.value)
            }
            Action::Selfdestruct(end) => (
                OperationType::OpSelfDestruct,
                end.address,
                end.refund_address,
                end.balance,
            ),
            _ => return None,
        };
        Some(InternalOperation {
            r#type,
            from,
            to,
            value,
        })
    };
    Ok(json!(traces.iter().filter_map(operation).collect::<Vec<_>>()))
}

/// The calls and creations of a transaction, in the order in which they began.
fn entries(node: &Node, block: &Block, index: usize) -> Answer {
    let traces = traces(node, block, index)?;
    let entry = |trace: &TransactionTrace| {
        if let Some(mut entry) = TraceEntry::from_transaction_trace(trace) {
            entry.r#type = entry.r#type.to_uppercase();
            return Some(entry);
        }
        let (r#type, from, to, value, input, output) = match &trace.action {
            Action::Create(create) => {
                let (to, code) = created(trace).unwrap_or_default();
                let kind = match create.creation_method {
                    CreationMethod::Create2 => "CREATE2",
                    _ => "CREATE",
                };
                (kind, create.from, to, create.value, create.init.clone(), code)
            }
            Action::Selfdestruct(end) => {
                let none = Bytes::new();
                (
                    "SELFDESTRUCT",
                    end.address,
                    end.refund_address,
                    end.balance,
                    none.clone(),
                    none,
                )
            }
            _ => return None,
        };
        Some(TraceEntry {
            r#type: r#type.to_owned(),
            depth: u32::try_from(trace.trace_address.len()).unwrap_or(u32::MAX),
            from,
            to,
            value: Some(value),
            input,
            output,
        })
    };
    Ok(json!(traces.iter().filter_map(entry).collect::<Vec<_>>()))
}

/// What a transaction reverted with; nothing where it did not.
fn error(node: &Node, block: &Block, index: usize) -> Answer {
    let outputs = trace::replay(node, block, Some(index), |replayed| {
        let outcome = replayed.session.execute(replayed.overlay, replayed.tx)?;
        let failed = !outcome.result.is_success();
        Ok(outcome.result.into_output().filter(|_| failed))
    })?;
    Ok(data(&outputs.into_iter().flatten().next().unwrap_or_default()))
}

/// A block without its transactions, their number, and what they paid.
fn details(block: &Block) -> Answer {
    let mut slim = render::block(block, false)?;
    if let Some(fields) = slim.as_object_mut() {
        fields.remove("transactions");
        fields.insert("transactionCount".to_owned(), json!(block.transactions.len()));
    }
    let fees = block.receipts.iter().fold(U256::ZERO, |sum, receipt| {
        let fee = U256::from(receipt.effective_gas_price).saturating_mul(U256::from(receipt.gas_used));
        sum.saturating_add(fee)
    });
    // Nothing is paid for a block itself.
    let issuance = json!({ "blockReward": "0x0", "uncleReward": "0x0", "issuance": "0x0" });
    Ok(json!({ "block": slim, "issuance": issuance, "totalFees": quantity(fees) }))
}

/// A page of a block's transactions: number of the page, from 0, and transactions of a page.
fn transactions(block: &Block, args: &Args) -> Answer {
    let (page, size) = (count(args, 1, "page")?, page_size(args, 2)?);
    let first = page.saturating_mul(size);
    let mut full = render::block(block, true)?;
    if let Some(fields) = full.as_object_mut() {
        fields.insert("transactionCount".to_owned(), json!(block.transactions.len()));
        let all = fields.get_mut("transactions").and_then(Value::as_array_mut);
        let all = all.map(std::mem::take).unwrap_or_default();
        let mut shown: Vec<Value> = all.into_iter().skip(first).take(size).collect();
        for transaction in &mut shown {
            if let Some(Value::String(input)) = transaction.get_mut("input") {
                input.truncate(SHORT_INPUT);
            }
        }
        fields.insert("transactions".to_owned(), Value::Array(shown));
    }
    let last = first.saturating_add(size).min(block.transactions.len());
    let receipts = (first..last).map(|index| {
        let mut receipt = timed_receipt(block, index)?;
        // The explorer reads logs elsewhere, and wants none here.
        for field in ["logs", "logsBloom"] {
            if let Some(field) = receipt.get_mut(field) {
                *field = Value::Null;
            }
        }
        Ok(receipt)
    });
    let receipts = receipts.collect::<Result<Vec<_>, RpcError>>()?;
    Ok(json!({ "fullblock": full, "receipts": receipts }))
}

/// A receipt with the time of its block.
fn timed_receipt(block: &Block, index: usize) -> Answer {
    let mut receipt = render::receipt(block, index)?;
    if let Some(fields) = receipt.as_object_mut() {
        fields.insert("timestamp".to_owned(), quantity(block.header.timestamp));
    }
    Ok(receipt)
}

fn count(args: &Args, index: usize, name: &str) -> Result<usize, RpcError> {
    Ok(usize::try_from(args.u64(index, name)?).unwrap_or(usize::MAX))
}

fn page_size(args: &Args, index: usize) -> Result<usize, RpcError> {
    let size = count(args, index, "page size")?;
    if (1..=MAX_PAGE).contains(&size) {
        return Ok(size);
    }
    Err(RpcError::Params(format!(
        "a page has 1 to {MAX_PAGE} transactions, not {size}"
    )))
}

/// What the forked chain has, as of the fork; `None` without one.
fn before_fork(node: &Node) -> Option<Past> {
    let fork = node.fork.as_ref()?;
    Some(Past::up_to(fork, fork.tip.number))
}
