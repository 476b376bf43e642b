//! Finding the transactions that an account had part in, and the one that created it.

use std::{collections::BTreeSet, sync::Arc};

use alloy::{
    consensus::Transaction as _,
    primitives::Address,
    rpc::types::trace::parity::{Action, TransactionTrace},
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{before_fork, created, page_size, timed_receipt};
use crate::{
    chain::Block,
    node::Node,
    rpc::{Answer, Args, Module, RpcError, method, parity, render},
};

/// The most blocks that one request looks through.
const MAX_BLOCKS: u64 = 10_000;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["ots_searchTransactionsBefore"], |node, args| {
        search(node, args, Direction::Back)
    })?;
    method(module, &["ots_searchTransactionsAfter"], |node, args| {
        search(node, args, Direction::Forth)
    })?;
    method(module, &["ots_getTransactionBySenderAndNonce"], by_sender_and_nonce)?;
    method(module, &["ots_getContractCreator"], contract_creator)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Back,
    Forth,
}

/// A page of transactions, newest first, from the blocks before or after one; only whole blocks, so that a page may have more
/// transactions than asked for.
async fn search(node: Arc<Node>, args: Args, direction: Direction) -> Answer {
    let address: Address = args.required(0, "address")?;
    let block = args.u64(1, "block")?;
    let size = page_size(&args, 2)?;
    node.reading(move |node| {
        let (first, head) = {
            let chain = node.chain.read();
            (chain.first(), chain.tip().number)
        };
        // Block 0 stands for the end at which the search begins.
        let begins = block == 0;
        let (from, to) = match direction {
            Direction::Back if begins => (first, head),
            Direction::Back => (first, block.saturating_sub(1).min(head)),
            Direction::Forth if begins => (first, head),
            Direction::Forth => (block.saturating_add(1).max(first), head),
        };
        let mut found: Vec<(Arc<Block>, usize)> = Vec::new();
        let mut looked_at = 0u64;
        let mut ended = true;
        let mut numbers: Box<dyn Iterator<Item = u64>> = match direction {
            Direction::Back => Box::new((from..=to).rev()),
            Direction::Forth => Box::new(from..=to),
        };
        while let Some(number) = numbers.next() {
            looked_at = looked_at.saturating_add(1);
            if looked_at > MAX_BLOCKS {
                return Err(RpcError::Rejected(format!(
                    "{MAX_BLOCKS} blocks were looked through and a page is not full: ask from block {number} on, or for less"
                )));
            }
            let Some(block) = node.chain.read().by_number(number) else {
                continue;
            };
            let indices = involved(node, &block, address)?;
            match direction {
                Direction::Back => found.extend(indices.into_iter().rev().map(|index| (block.clone(), index))),
                Direction::Forth => found.extend(indices.into_iter().map(|index| (block.clone(), index))),
            }
            if found.len() >= size {
                ended = numbers.next().is_none();
                break;
            }
        }
        if direction == Direction::Forth {
            found.reverse();
        }
        let (newest, oldest) = match direction {
            Direction::Back => (begins, ended),
            Direction::Forth => (ended, begins),
        };
        page(&found, newest, oldest)
    })
    .await
}

fn page(found: &[(Arc<Block>, usize)], newest: bool, oldest: bool) -> Answer {
    let mut transactions = Vec::new();
    let mut receipts = Vec::new();
    for (block, index) in found {
        if let Some(transaction) = block.transactions.get(*index) {
            transactions.push(serde_json::to_value(render::mined(block, *index, transaction))?);
            receipts.push(timed_receipt(block, *index)?);
        }
    }
    Ok(json!({ "txs": transactions, "receipts": receipts, "firstPage": newest, "lastPage": oldest }))
}

/// The transactions of a block that an account sent, received, was created by, or was called in.
fn involved(node: &Node, block: &Block, address: Address) -> Result<BTreeSet<usize>, RpcError> {
    let mut involved = BTreeSet::new();
    for (index, (transaction, receipt)) in block.transactions.iter().zip(&block.receipts).enumerate() {
        let named = [Some(transaction.sender), transaction.envelope.to(), receipt.created];
        if named.contains(&Some(address)) {
            involved.insert(index);
        }
    }
    // Only what ran may have called others.
    if involved.len() < block.transactions.len() {
        let traces = parity::localized(node, block, None)?;
        let called = traces.iter().filter(|trace| takes_part(&trace.trace, address));
        let indices = called.filter_map(|trace| usize::try_from(trace.transaction_position?).ok());
        involved.extend(indices);
    }
    Ok(involved)
}

fn takes_part(trace: &TransactionTrace, address: Address) -> bool {
    match &trace.action {
        Action::Call(call) => call.from == address || call.to == address,
        Action::Create(create) => {
            create.from == address || created(trace).is_some_and(|(created, _)| created == address)
        }
        Action::Selfdestruct(end) => end.address == address || end.refund_address == address,
        Action::Reward(_) => false,
    }
}

async fn by_sender_and_nonce(node: Arc<Node>, args: Args) -> Answer {
    let sender: Address = args.required(0, "sender")?;
    let nonce = args.u64(1, "nonce")?;
    node.reading(move |node| {
        let chain = node.chain.read();
        let mut newest_first = chain.blocks().iter().rev().flat_map(|block| &block.transactions);
        let found = newest_first.find(|transaction| transaction.sender == sender && transaction.nonce() == nonce);
        Ok(json!(found.map(|transaction| transaction.hash())))
    })
    .await
}

/// The transaction that created a contract, and who did it in there.
async fn contract_creator(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let found = node
        .reading(move |node| {
            if node.head_view().account(address)?.is_empty_code_hash() {
                return Ok(Some(Value::Null));
            }
            let Some(number) = first_with_code(node, address)? else {
                return Ok(None);
            };
            let Some(block) = node.chain.read().by_number(number) else {
                return Ok(None);
            };
            let traces = parity::localized(node, &block, None)?;
            let creation = traces.into_iter().find_map(|localized| {
                let Action::Create(create) = &localized.trace.action else {
                    return None;
                };
                let (made, _) = created(&localized.trace)?;
                (made == address).then(|| json!({ "hash": localized.transaction_hash, "creator": create.from }))
            });
            Ok(Some(creation.unwrap_or_default()))
        })
        .await?;
    match (found, before_fork(&node)) {
        (Some(found), _) => Ok(found),
        (None, Some(past)) => past.request("ots_getContractCreator", args.into_values()).await,
        (None, None) => Ok(Value::Null),
    }
}

/// The block of this node in which an account that has code got it; `None` if it had it before.
fn first_with_code(node: &Node, address: Address) -> Result<Option<u64>, RpcError> {
    let (first, head) = {
        let chain = node.chain.read();
        (chain.first(), chain.tip().number)
    };
    let oldest = node.store.read().oldest_block().unwrap_or(head);
    let has_code = |number: u64| -> Result<bool, RpcError> {
        let version = node.store.read().version_of_block(number);
        match version {
            Some(version) => Ok(!node.view(version).account(address)?.is_empty_code_hash()),
            None => Ok(false),
        }
    };
    if has_code(oldest)? {
        // Older states are gone, but a creation by a transaction itself is in its receipt.
        let chain = node.chain.read();
        let by_receipt = chain.blocks().iter().rev().find(|block| {
            let mut receipts = block.receipts.iter();
            receipts.any(|receipt| receipt.created == Some(address))
        });
        let number = by_receipt.map(|block| block.header.number);
        if number.is_none() && oldest > first {
            return Err(RpcError::Rejected(format!(
                "the contract was created before block {oldest}, the oldest whose state is held: see the `history` setting"
            )));
        }
        return Ok(number);
    }
    // It has code at `with`, and none at `without`.
    let (mut without, mut with) = (oldest, head);
    while with.saturating_sub(without) > 1 {
        let middle = without.midpoint(with);
        if has_code(middle)? {
            with = middle;
        } else {
            without = middle;
        }
    }
    Ok(Some(with))
}
