//! What a block contains besides its logs: its transactions with how they ended, fetched once for all who look at them.
//! Answers are taken apart as JSON: chains have transaction types that no library knows.

use std::borrow::Cow;
use std::collections::HashMap;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use serde_json::{Value, json};

use super::batch::refused;
use super::rpc::Rpc;
use super::{Receipts, RpcError};

/// A transaction as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its hash.
    pub hash: B256,
    /// Its sender.
    pub from: Address,
    /// Its receiver; `None` for a creation.
    pub to: Option<Address>,
    /// Wei that it carries.
    pub value: U256,
    /// Its calldata.
    pub input: Bytes,
    /// Most wei per gas that it pays, or what it paid when it is in a block.
    pub gas_price: U256,
    /// Most gas that it may use.
    pub gas_limit: U256,
    /// Its number among those of its sender.
    pub nonce: U256,
}

impl Transaction {
    /// From the answer of a node; `None` when a field is missing that every transaction has.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |field: &str| parsed::<U256>(value, field).unwrap_or_default();
        Some(Self {
            hash: parsed(value, "hash")?,
            from: parsed(value, "from")?,
            to: parsed(value, "to"),
            value: number("value"),
            input: parsed(value, "input").unwrap_or_default(),
            gas_price: parsed(value, "gasPrice").unwrap_or_else(|| number("maxFeePerGas")),
            gas_limit: number("gas"),
            nonce: number("nonce"),
        })
    }
}

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockTransaction {
    /// The transaction.
    pub tx: Transaction,
    /// Whether it took effect.
    pub succeeded: bool,
    /// Gas that it used.
    pub gas_used: U256,
}

fn parsed<T: std::str::FromStr>(value: &Value, field: &str) -> Option<T> {
    value.get(field)?.as_str()?.parse().ok()
}

impl Rpc {
    /// All transactions of a block with how they ended: two requests, whatever their number, one when the receipts are there already. What one
    /// endpoint refuses, or leaves out, is asked of the others.
    ///
    /// # Errors
    /// See [`Rpc::receipts`]; [`RpcError::Refused`] when nobody has the transactions of these receipts: one that is missing must not pass for
    /// one that was not there.
    pub async fn transactions(
        &self,
        block: B256,
        receipts: Option<&Receipts>,
    ) -> Result<Vec<BlockTransaction>, RpcError> {
        let listed = self.listed(block, |_| true);
        let asked = async {
            Ok(match receipts {
                Some(receipts) => Cow::Borrowed(receipts),
                None => Cow::Owned(self.receipts(block).await?),
            })
        };
        let (listed, receipts) = futures::future::try_join(listed, asked).await?;
        if let Some(transactions) = joined(&listed, receipts.all()) {
            return Ok(transactions);
        }
        let are_all = |listed: &[Value]| joined(listed, receipts.all()).is_some();
        let listed = self.listed(block, are_all).await?;
        joined(&listed, receipts.all()).ok_or(RpcError::Untrue { block })
    }

    /// The transactions of a block that one endpoint lists.
    async fn listed(&self, block: B256, are_all: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, RpcError> {
        const BLOCK: &str = "eth_getBlockByHash";
        // Whoever has the header may still refuse its transactions: that is no silence.
        let are_all = &are_all;
        self.ask_past_refusals("eth_getBlockByHash with transactions", |p| async move {
            let mut full: Value = p.raw_request(BLOCK.into(), json!([block, true])).await?;
            match full.get_mut("transactions").map(Value::take) {
                Some(Value::Array(listed)) if are_all(&listed) => Ok(listed),
                Some(Value::Array(_)) => Err(refused(&format!(
                    "block {block}: transactions and receipts do not match"
                ))),
                _ => Err(refused(&format!("the node does not know block {block}"))),
            }
        })
        .await
    }
}

/// `None` when there are more or others of the one than of the other.
fn joined(listed: &[Value], receipts: &[Value]) -> Option<Vec<BlockTransaction>> {
    if listed.len() != receipts.len() {
        return None;
    }
    let ends: HashMap<B256, &Value> = receipts
        .iter()
        .filter_map(|receipt| Some((parsed(receipt, "transactionHash")?, receipt)))
        .collect();
    listed
        .iter()
        .map(|value| {
            let tx = Transaction::from_json(value)?;
            let receipt = ends.get(&tx.hash)?;
            Some(BlockTransaction {
                // Before Byzantium receipts had no status; no chain with such blocks at its tip exists.
                succeeded: receipt.get("status")?.as_str()? == "0x1",
                gas_used: parsed(receipt, "gasUsed").unwrap_or_default(),
                tx,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_transaction_without_its_receipt_is_no_success() {
        let tx = |byte: u8, kind: &str| json!({ "hash": B256::repeat_byte(byte), "from": Address::repeat_byte(1), "type": kind, "input": "0x" });
        let receipt = |byte: u8, status: &str| json!({ "transactionHash": B256::repeat_byte(byte), "status": status, "gasUsed": "0x5208" });
        // 0x6a is Arbitrum's internal transaction.
        let listed = [tx(1, "0x6a"), tx(2, "0x2")];
        let found = joined(&listed, &[receipt(2, "0x0"), receipt(1, "0x1")]).unwrap();
        assert_eq!((found[0].succeeded, found[1].succeeded), (true, false));
        assert_eq!(found[1].gas_used, U256::from(21_000));
        assert_eq!(joined(&listed, &[receipt(1, "0x1")]), None);
        assert_eq!(joined(&listed, &[]), None);
        // Nor is one that was left out of the block.
        assert_eq!(joined(&listed[..1], &[receipt(1, "0x1"), receipt(2, "0x0")]), None);
    }
}
