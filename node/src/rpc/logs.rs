//! Logs of blocks: which a filter lets through, and their text.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes},
    rpc::types::Filter,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

use crate::chain::Block;

/// A log of a block, borrowed from it: answers may hold many thousands.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MinedLog<'b> {
    address: &'b Address,
    topics: &'b [B256],
    data: &'b Bytes,
    block_hash: B256,
    #[serde(with = "alloy::serde::quantity")]
    block_number: u64,
    #[serde(with = "alloy::serde::quantity")]
    block_timestamp: u64,
    transaction_hash: B256,
    #[serde(with = "alloy::serde::quantity")]
    transaction_index: u64,
    #[serde(with = "alloy::serde::quantity")]
    log_index: u64,
    /// Its block was taken back.
    pub(crate) removed: bool,
}

/// The logs of a block that `filter` lets through.
pub(crate) fn matching<'b>(block: &'b Block, filter: &'b Filter) -> impl Iterator<Item = MinedLog<'b>> {
    let receipts = block.transactions.iter().zip(&block.receipts).zip(0u64..);
    let receipts = filter.matches_bloom(block.header.logs_bloom).then_some(receipts);
    receipts
        .into_iter()
        .flatten()
        .flat_map(move |((transaction, receipt), transaction_index)| {
            let transaction_hash = transaction.hash();
            let logs = receipt.envelope.logs().iter().zip(receipt.first_log..);
            logs.filter(|(log, _)| filter.matches_address(log.address) && filter.matches_topics(log.topics()))
                .map(move |(log, log_index)| MinedLog {
                    address: &log.address,
                    topics: log.topics(),
                    data: &log.data.data,
                    block_hash: block.hash,
                    block_number: block.header.number,
                    block_timestamp: block.header.timestamp,
                    transaction_hash,
                    transaction_index,
                    log_index,
                    removed: false,
                })
        })
}

/// An answer: logs of the forked chain, then those of blocks of this node. They are looked for while the answer is written, which
/// ends where an answer becomes too long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    pub(crate) filter: Box<Filter>,
    pub(crate) upstream: Vec<Value>,
    pub(crate) blocks: Vec<Arc<Block>>,
}

impl Serialize for Logs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for log in &self.upstream {
            list.serialize_element(log)?;
        }
        for log in self.blocks.iter().flat_map(|block| matching(block, &self.filter)) {
            list.serialize_element(&log)?;
        }
        list.end()
    }
}
