//! What ran in a block, and the header that binds it.

use std::sync::Arc;

use alloy::{
    consensus::{
        EMPTY_OMMER_ROOT_HASH, Header, ReceiptEnvelope, Transaction as _, TxEnvelope,
        constants::EMPTY_WITHDRAWALS,
        proofs::{calculate_receipt_root, calculate_transaction_root},
    },
    eips::eip7685::EMPTY_REQUESTS_HASH,
    primitives::{B256, Bloom, Bytes, U256},
};
use revm::context_interface::result::ExecutionResult;

use crate::{
    chain::{Block, Receipt, Tip},
    transaction::SignedTransaction,
};

/// What running the transactions of a block gave.
#[derive(Default)]
pub(crate) struct Executed {
    pub(crate) transactions: Vec<Arc<SignedTransaction>>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) gas_used: u64,
    logs: u64,
    /// Transactions that can never be mined as they are, with the reason.
    pub(crate) invalid: Vec<(B256, String)>,
    /// The first failure to read the state, if any.
    pub(crate) failure: Option<String>,
}

impl Executed {
    /// Adds a transaction that ran.
    pub(crate) fn add(&mut self, transaction: Arc<SignedTransaction>, result: ExecutionResult, base_fee: u64) {
        let gas_used = result.tx_gas_used();
        self.gas_used = self.gas_used.saturating_add(gas_used);
        let status = result.is_success();
        let created = transaction
            .envelope
            .kind()
            .is_create()
            .then(|| transaction.sender.create(transaction.nonce()));
        // Logs of a failed transaction are undone with it.
        let logs = if status { result.into_logs() } else { Vec::new() };
        let count = u64::try_from(logs.len()).unwrap_or(u64::MAX);
        let receipt = alloy::consensus::Receipt {
            status: status.into(),
            cumulative_gas_used: self.gas_used,
            logs,
        };
        self.receipts.push(Receipt {
            envelope: ReceiptEnvelope::from_typed(transaction.envelope.tx_type(), receipt),
            gas_used,
            // Tips are not taken.
            effective_gas_price: u128::from(base_fee),
            created,
            first_log: self.logs,
        });
        self.logs = self.logs.saturating_add(count);
        self.transactions.push(transaction);
    }
}

/// The header of the block `next` on top of `parent`, in which `executed` ran.
pub(crate) fn seal(parent: &Tip, next: &Tip, executed: &Executed, root: B256, extra_data: Bytes) -> Header {
    let envelopes: Vec<TxEnvelope> = executed.transactions.iter().map(|tx| tx.envelope.clone()).collect();
    let receipts: Vec<ReceiptEnvelope> = executed
        .receipts
        .iter()
        .map(|receipt| receipt.envelope.clone())
        .collect();
    let bloom = receipts
        .iter()
        .fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
    Header {
        parent_hash: parent.hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: next.beneficiary,
        state_root: root,
        transactions_root: calculate_transaction_root(&envelopes),
        receipts_root: calculate_receipt_root(&receipts),
        logs_bloom: bloom,
        difficulty: U256::ZERO,
        number: next.number,
        gas_limit: next.gas_limit,
        gas_used: executed.gas_used,
        timestamp: next.timestamp,
        extra_data,
        mix_hash: B256::with_last_byte(1),
        base_fee_per_gas: Some(next.base_fee),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// The first block of a fresh chain, of which the state is `root`.
pub(crate) fn genesis(tip: &Tip, root: B256) -> Block {
    let parent = Tip {
        hash: B256::ZERO,
        ..tip.clone()
    };
    let header = seal(&parent, tip, &Executed::default(), root, Bytes::new());
    Block {
        hash: header.hash_slow(),
        header,
        l1_number: tip.l1_number,
        transactions: Vec::new(),
        receipts: Vec::new(),
    }
}
