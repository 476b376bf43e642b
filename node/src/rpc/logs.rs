//! Logs of blocks: which a filter lets through, and their text.

use std::{io::Write, sync::Arc};

use alloy::{
    primitives::{Address, B256, Bytes, hex},
    rpc::types::Filter,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

use super::detour::Long;
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

impl MinedLog<'_> {
    /// Appends the log as [`Serialize`] would write it. Answers hold many thousands: this takes a fifth of the time.
    fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(br#"{"address":""#);
        write_hex(text, self.address.as_slice());
        text.extend_from_slice(br#"","topics":["#);
        for (index, topic) in self.topics.iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            write_hex(text, topic.as_slice());
            text.push(b'"');
        }
        text.extend_from_slice(br#"],"data":""#);
        write_hex(text, self.data);
        text.extend_from_slice(br#"","blockHash":""#);
        write_hex(text, self.block_hash.as_slice());
        text.extend_from_slice(br#"","blockNumber":""#);
        write_quantity(text, self.block_number);
        text.extend_from_slice(br#"","blockTimestamp":""#);
        write_quantity(text, self.block_timestamp);
        text.extend_from_slice(br#"","transactionHash":""#);
        write_hex(text, self.transaction_hash.as_slice());
        text.extend_from_slice(br#"","transactionIndex":""#);
        write_quantity(text, self.transaction_index);
        text.extend_from_slice(br#"","logIndex":""#);
        write_quantity(text, self.log_index);
        text.extend_from_slice(if self.removed {
            br#"","removed":true}"#
        } else {
            br#"","removed":false}"#
        });
    }
}

fn write_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(b"0x");
    let start = text.len();
    text.resize(start.saturating_add(bytes.len().saturating_mul(2)), b'0');
    let digits = text.get_mut(start..).unwrap_or_default();
    // There are two digits for each byte.
    let _ = hex::encode_to_slice(bytes, digits);
}

fn write_quantity(text: &mut Vec<u8>, quantity: u64) {
    // Writing into memory does not fail.
    let _ = write!(text, "{quantity:#x}");
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

/// An answer: logs that are taken back, then logs of the forked chain, then those of blocks of this node. They are looked for while the answer is written, which
/// ends where an answer becomes too long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    pub(crate) filter: Box<Filter>,
    /// Blocks that are no longer part of the chain, in the order in which they were taken back.
    pub(crate) removed: Vec<Arc<Block>>,
    pub(crate) upstream: Vec<Value>,
    pub(crate) blocks: Vec<Arc<Block>>,
}

impl Logs {
    fn taken_back(&self) -> impl Iterator<Item = MinedLog<'_>> {
        let removed = self.removed.iter().flat_map(|block| matching(block, &self.filter));
        removed.map(|log| MinedLog { removed: true, ..log })
    }

    fn mined(&self) -> impl Iterator<Item = MinedLog<'_>> {
        self.blocks.iter().flat_map(|block| matching(block, &self.filter))
    }
}

impl Serialize for Logs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for log in self.taken_back() {
            list.serialize_element(&log)?;
        }
        for log in &self.upstream {
            list.serialize_element(log)?;
        }
        for log in self.mined() {
            list.serialize_element(&log)?;
        }
        list.end()
    }
}

impl Long for Logs {
    fn into_text(self, limit: usize) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(self.blocks.len().saturating_mul(640).min(limit));
        text.push(b'[');
        for log in self.taken_back() {
            log.write(&mut text);
            text.push(b',');
            if text.len() > limit {
                return None;
            }
        }
        for log in &self.upstream {
            serde_json::to_writer(&mut text, log).ok()?;
            text.push(b',');
            if text.len() > limit {
                return None;
            }
        }
        for log in self.mined() {
            log.write(&mut text);
            text.push(b',');
            if text.len() > limit {
                return None;
            }
        }
        // The bracket takes the place of the last comma.
        if text.len() > 1 {
            text.pop();
        }
        text.push(b']');
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_log_is_written_as_it_is_serialised() {
        let address = Address::repeat_byte(0xa1);
        let data = Bytes::from((0..=255).collect::<Vec<u8>>());
        for count in 0..=4 {
            for (data, removed) in [(Bytes::new(), false), (data.clone(), true)] {
                let topics = vec![B256::repeat_byte(0x0f); count];
                let log = MinedLog {
                    address: &address,
                    topics: &topics,
                    data: &data,
                    block_hash: B256::repeat_byte(0x20),
                    block_number: u64::MAX,
                    block_timestamp: 1_700_000_000,
                    transaction_hash: B256::repeat_byte(0x03),
                    transaction_index: 0,
                    log_index: 16,
                    removed,
                };
                let mut text = Vec::new();
                log.write(&mut text);
                assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(&log).unwrap());
            }
        }
    }
}
