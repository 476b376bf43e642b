//! Blocks, transactions, receipts and logs as JSON-RPC writes them, with the fields that Arbitrum adds.

use alloy::{
    consensus::{BlockBody, Transaction as _, TxEnvelope, transaction::Recovered},
    primitives::{B256, U256},
    rpc::types::{self as rpc, BlockTransactions},
};
use serde_json::Value;

use super::{RpcError, args::quantity};
use crate::{chain::Block, transaction::SignedTransaction};

/// The block; `full` with whole transactions instead of their hashes.
pub(crate) fn block(block: &Block, full: bool) -> Result<Value, RpcError> {
    let transactions = if full {
        let all = block
            .transactions
            .iter()
            .enumerate()
            .map(|(index, transaction)| mined(block, index, transaction));
        BlockTransactions::Full(all.collect())
    } else {
        BlockTransactions::Hashes(
            block
                .transactions
                .iter()
                .map(|transaction| transaction.hash())
                .collect(),
        )
    };
    let rendered = rpc::Block::<rpc::Transaction> {
        header: rpc_header(block),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Vec::<alloy::eips::eip4895::Withdrawal>::new().into()),
    };
    let mut value = serde_json::to_value(rendered)?;
    add_l1_number(&mut value, block);
    Ok(value)
}

/// The header alone, as `newHeads` sends it.
pub(crate) fn header(block: &Block) -> Result<Value, RpcError> {
    let mut value = serde_json::to_value(rpc_header(block))?;
    add_l1_number(&mut value, block);
    Ok(value)
}

fn rpc_header(block: &Block) -> rpc::Header {
    rpc::Header {
        hash: block.hash,
        inner: block.header.clone(),
        total_difficulty: Some(U256::ZERO),
        size: Some(U256::from(size(block))),
    }
}

/// Length of the block's RLP encoding in bytes.
fn size(block: &Block) -> usize {
    let body = BlockBody::<TxEnvelope> {
        transactions: block
            .transactions
            .iter()
            .map(|transaction| transaction.envelope.clone())
            .collect(),
        ommers: Vec::new(),
        withdrawals: Some(Vec::<alloy::eips::eip4895::Withdrawal>::new().into()),
    };
    alloy::rlp::Encodable::length(&body.into_block(block.header.clone()))
}

fn add_l1_number(value: &mut Value, block: &Block) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("l1BlockNumber".to_owned(), quantity(block.l1_number));
    }
}

/// A transaction of a block.
pub(crate) fn mined(block: &Block, index: usize, transaction: &SignedTransaction) -> rpc::Transaction {
    rpc::Transaction {
        inner: Recovered::new_unchecked(transaction.envelope.clone(), transaction.sender),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: u64::try_from(index).ok(),
        effective_gas_price: block.receipts.get(index).map(|receipt| receipt.effective_gas_price),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// A transaction that waits in the pool.
pub(crate) fn pending(transaction: &SignedTransaction) -> rpc::Transaction {
    rpc::Transaction {
        inner: Recovered::new_unchecked(transaction.envelope.clone(), transaction.sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
    }
}

/// The receipt of a block's transaction, if there is one at `index`.
pub(crate) fn receipt(block: &Block, index: usize) -> Result<Value, RpcError> {
    let (Some(transaction), Some(receipt)) = (block.transactions.get(index), block.receipts.get(index)) else {
        return Ok(Value::Null);
    };
    let mut log_index = receipt.first_log;
    let envelope = receipt.envelope.clone().map_logs(|log| {
        let rendered = rpc_log(block, index, transaction, log, log_index);
        log_index = log_index.saturating_add(1);
        rendered
    });
    let rendered = rpc::TransactionReceipt {
        inner: envelope,
        transaction_hash: transaction.hash(),
        transaction_index: u64::try_from(index).ok(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: receipt.gas_used,
        effective_gas_price: receipt.effective_gas_price,
        blob_gas_used: None,
        // There are no blobs, as on Arbitrum.
        blob_gas_price: Some(0),
        from: transaction.sender,
        to: transaction.envelope.to(),
        contract_address: receipt.created,
    };
    let mut value = serde_json::to_value(rendered)?;
    if let Some(fields) = value.as_object_mut() {
        // The layer below is not simulated, so nothing is paid for it.
        fields.insert("gasUsedForL1".to_owned(), quantity(0u64));
        fields.insert("l1BlockNumber".to_owned(), quantity(block.l1_number));
        // Anvil writes it as a number and not as a quantity.
        fields.insert("blockTimestamp".to_owned(), Value::from(block.header.timestamp));
    }
    Ok(value)
}

fn rpc_log(
    block: &Block,
    index: usize,
    transaction: &SignedTransaction,
    log: alloy::primitives::Log,
    log_index: u64,
) -> rpc::Log {
    rpc::Log {
        inner: log,
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(transaction.hash()),
        transaction_index: u64::try_from(index).ok(),
        log_index: Some(log_index),
        removed: false,
    }
}

/// The logs of a block's transaction, none if there is none at `index`.
pub(crate) fn transaction_logs(block: &Block, index: usize) -> Vec<rpc::Log> {
    let (Some(transaction), Some(receipt)) = (block.transactions.get(index), block.receipts.get(index)) else {
        return Vec::new();
    };
    let logs = receipt.envelope.logs().iter().zip(receipt.first_log..);
    logs.map(|(log, log_index)| rpc_log(block, index, transaction, log.clone(), log_index))
        .collect()
}

/// The hash as JSON.
pub(crate) fn hash(hash: B256) -> Value {
    Value::String(hash.to_string())
}
