//! The receipts of a block, believed when they are those that its header speaks of: what a transaction logged and how it ended are taken
//! from nowhere else where it matters that nothing is left out.

use std::sync::atomic::{AtomicBool, Ordering};

use alloy::consensus::proofs::ordered_trie_root_encoded;
use alloy::consensus::{EMPTY_ROOT_HASH, Eip658Value, Receipt, RlpEncodableReceipt};
use alloy::primitives::{Address, B256, Bloom, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Log;
use serde::Deserialize;
use serde_json::{Value, json};

use super::batch::refused;
use super::bloom::{Seal, bloom_of};
use super::rpc::Rpc;
use super::{BlockSource, RpcError};

/// A transaction that was included and failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTransaction {
    /// Its hash.
    pub hash: B256,
    /// Its sender.
    pub from: Address,
    /// The contract that it called; `None` for a creation.
    pub to: Option<Address>,
}

/// How the transactions of a block ended: all of them.
#[derive(Debug, Clone)]
pub struct Receipts {
    all: Vec<Value>,
    logs: Vec<Log>,
    /// Whether another endpoint, which was asked before, answered others.
    contested: bool,
}

/// What asks for [`Receipts`].
const RECEIPTS: &str = "eth_getBlockReceipts";
const COUNT: &str = "eth_getBlockTransactionCountByHash";

/// What is to be thought of an answer.
#[derive(Debug)]
enum Trust {
    /// The header's root of receipts is theirs: they are what it speaks of, to the last byte.
    Proven(Receipts),
    /// They go with the header's filter and have no gap, and nobody can compute the root: they are all of them if they are as many as the
    /// transactions.
    Likely(Receipts),
    /// They are not what the header speaks of.
    Untrue,
}

impl Rpc {
    /// All receipts of a block, in one request, from the first endpoint whose receipts are those that the header speaks of.
    ///
    /// # Errors
    /// [`RpcError::Untrue`] when those that were answered are not; otherwise see [`RpcError`]; a node that does not know the block is
    /// [`RpcError::Refused`].
    pub async fn receipts(&self, block: B256) -> Result<Receipts, RpcError> {
        let seal = self.seal_of(block).await?;
        let untrue = AtomicBool::new(false);
        let told = &untrue;
        let asked = self.ask_past_refusals(RECEIPTS, |p| async move {
            let by_hash = json!([{ "blockHash": block }]);
            let all: Option<Vec<Value>> = p.raw_request(RECEIPTS.into(), by_hash).await?;
            let all = all.ok_or_else(|| refused(&format!("the node does not know block {block}")))?;
            match Receipts::judge(all, &seal) {
                Trust::Proven(receipts) => Ok((receipts, true)),
                Trust::Likely(receipts) => Ok((receipts, false)),
                Trust::Untrue => {
                    told.store(true, Ordering::Relaxed);
                    Err(refused("they are not those of the block"))
                }
            }
        });
        let asked = asked.await;
        let contested = untrue.load(Ordering::Relaxed);
        match asked {
            Ok((receipts, is_proven)) => {
                if is_proven || self.count_of(block).await? == Some(U256::from(receipts.all.len())) {
                    return Ok(Receipts { contested, ..receipts });
                }
                Err(RpcError::Untrue { block })
            }
            Err(error) if !contested => Err(error),
            Err(_) => Err(RpcError::Untrue { block }),
        }
    }

    /// What the header says, which is asked for when it has not come by lately.
    async fn seal_of(&self, block: B256) -> Result<Seal, RpcError> {
        if let Some(seal) = self.seal(block) {
            return Ok(seal);
        }
        self.by_hash(block).await?;
        self.seal(block).ok_or_else(|| RpcError::Refused {
            method: "eth_getBlockByHash",
            code: 0,
            message: format!("the node does not know block {block}"),
        })
    }

    async fn count_of(&self, block: B256) -> Result<Option<U256>, RpcError> {
        self.ask_past_refusals(
            COUNT,
            |p| async move { p.raw_request(COUNT.into(), json!([block])).await },
        )
        .await
    }
}

impl Receipts {
    /// All logs of the block, in their order.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The transactions that failed, in their order.
    #[must_use]
    pub fn failed(&self) -> Vec<FailedTransaction> {
        self.all.iter().filter_map(failed).collect()
    }

    /// Whether another endpoint answered others, which are not those of the block.
    #[must_use]
    pub fn are_contested(&self) -> bool {
        self.contested
    }

    /// They themselves.
    pub(super) fn all(&self) -> &[Value] {
        &self.all
    }

    fn judge(all: Vec<Value>, seal: &Seal) -> Trust {
        let Some(by_receipt) = all.iter().map(logs_of).collect::<Option<Vec<Vec<Log>>>>() else {
            return Trust::Untrue;
        };
        let root = root_of(&all, &by_receipt);
        let mut logs: Vec<Log> = by_receipt.into_iter().flatten().collect();
        let contested = false;
        match root {
            Some(root) if seal.names_root(&all) => {
                if root != seal.receipts {
                    return Trust::Untrue;
                }
                // The root fixes their order, and with it their numbers.
                for (at, log) in (0..).zip(&mut logs) {
                    log.log_index = Some(at);
                }
                Trust::Proven(Self { all, logs, contested })
            }
            _ if is_whole(&all, &logs, &seal.bloom) => Trust::Likely(Self { all, logs, contested }),
            _ => Trust::Untrue,
        }
    }
}

impl Seal {
    /// Whether its root is one at all: some chains have a constant in its place.
    fn names_root(&self, receipts: &[Value]) -> bool {
        !self.receipts.is_zero() && (self.receipts != EMPTY_ROOT_HASH || receipts.is_empty())
    }
}

/// Whether these are logs that the filter speaks of, without a gap in their numbers or in the transactions'. Only what comes last could be left out
/// unseen, when it equals other logs in emitter and topics, or has none.
fn is_whole(receipts: &[Value], logs: &[Log], bloom: &Bloom) -> bool {
    let is_in_turn = |(at, receipt): (u64, &Value)| parsed::<U256>(receipt, "transactionIndex") == Some(U256::from(at));
    bloom_of(logs) == *bloom
        && (0..).zip(receipts).all(is_in_turn)
        && (0..).zip(logs).all(|(at, log): (u64, &Log)| log.log_index == Some(at))
}

/// The root of the tree over receipts, as Ethereum and Arbitrum encode them; `None` when one is of a type whose encoding is not known, or
/// lacks something.
fn root_of(receipts: &[Value], logs: &[Vec<Log>]) -> Option<B256> {
    let encoded = receipts.iter().zip(logs).map(|(receipt, logs)| encoded(receipt, logs));
    let encoded: Vec<Vec<u8>> = encoded.collect::<Option<_>>()?;
    Some(ordered_trie_root_encoded(&encoded))
}

fn encoded(receipt: &Value, logs: &[Log]) -> Option<Vec<u8>> {
    let kind = match receipt.get("type") {
        Some(_) => u8::try_from(parsed::<U256>(receipt, "type")?).ok()?,
        None => 0,
    };
    // Those of Ethereum, and of Arbitrum.
    if !matches!(kind, 0..=4 | 0x64..=0x6a | 0x78) {
        return None;
    }
    let status = match receipt.get("status")?.as_str()? {
        "0x1" => true,
        "0x0" => false,
        _ => return None,
    };
    let plain = Receipt {
        status: Eip658Value::Eip658(status),
        cumulative_gas_used: parsed::<U256>(receipt, "cumulativeGasUsed")?.try_into().ok()?,
        logs: logs.iter().map(|log| log.inner.clone()).collect(),
    };
    let mut out = Vec::new();
    if kind != 0 {
        out.push(kind);
    }
    plain.rlp_encode_with_bloom(&bloom_of(logs), &mut out);
    Some(out)
}

/// The logs of a receipt; `None` when one of them is none.
fn logs_of(receipt: &Value) -> Option<Vec<Log>> {
    let logs = receipt.get("logs")?.as_array()?;
    logs.iter().map(|log| Log::deserialize(log).ok()).collect()
}

fn failed(receipt: &Value) -> Option<FailedTransaction> {
    if receipt.get("status")?.as_str()? != "0x0" {
        return None;
    }
    Some(FailedTransaction {
        hash: parsed(receipt, "transactionHash")?,
        from: parsed(receipt, "from")?,
        to: parsed(receipt, "to"),
    })
}

fn parsed<T: std::str::FromStr>(value: &Value, field: &str) -> Option<T> {
    value.get(field)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use alloy::consensus::{ReceiptEnvelope, ReceiptWithBloom, proofs::calculate_receipt_root};
    use alloy::primitives::LogData;

    fn log(at: u64) -> Log {
        let data = LogData::new_unchecked(vec![B256::repeat_byte(2)], vec![7; 3].into());
        Log {
            inner: alloy::primitives::Log {
                address: Address::repeat_byte(1),
                data,
            },
            log_index: Some(at),
            ..Log::default()
        }
    }

    /// A receipt as nodes answer it, and as Ethereum knows it.
    fn receipt(kind: u8, at: u64, is_success: bool, logs: &[u64]) -> (Value, ReceiptEnvelope) {
        let logs: Vec<Log> = logs.iter().copied().map(log).collect();
        let gas = 21_000 * (at + 1);
        let value = json!({ "type": format!("{kind:#x}"), "status": if is_success { "0x1" } else { "0x0" },
            "cumulativeGasUsed": format!("{gas:#x}"), "transactionIndex": format!("{at:#x}"), "logs": logs });
        let plain = Receipt {
            status: Eip658Value::Eip658(is_success),
            cumulative_gas_used: gas,
            logs: logs.into_iter().map(|log| log.inner).collect(),
        };
        let with_bloom = ReceiptWithBloom::from(plain);
        let envelope = match kind {
            0 => ReceiptEnvelope::Legacy(with_bloom),
            1 => ReceiptEnvelope::Eip2930(with_bloom),
            4 => ReceiptEnvelope::Eip7702(with_bloom),
            _ => ReceiptEnvelope::Eip1559(with_bloom),
        };
        (value, envelope)
    }

    fn seal(receipts: B256, of: &[Value]) -> Seal {
        let logs: Vec<Log> = of.iter().flat_map(|receipt| logs_of(receipt).unwrap()).collect();
        Seal {
            bloom: bloom_of(&logs),
            receipts,
        }
    }

    #[test]
    fn receipts_of_which_anything_is_not_so_are_not_those_of_the_header() {
        let (all, known): (Vec<Value>, Vec<ReceiptEnvelope>) = [
            receipt(2, 0, true, &[0]),
            receipt(0, 1, false, &[]),
            receipt(1, 2, true, &[]),
            receipt(4, 3, true, &[1, 2]),
        ]
        .into_iter()
        .unzip();
        let seal = seal(calculate_receipt_root(&known), &all);
        let judge = |all: &[Value]| Receipts::judge(all.to_vec(), &seal);
        let Trust::Proven(proven) = judge(&all) else {
            panic!("they are those of the header")
        };
        assert_eq!((proven.logs().len(), proven.all().len()), (3, 4));
        let changed = |change: &dyn Fn(&mut Vec<Value>)| {
            let mut all = all.clone();
            change(&mut all);
            all
        };
        for lie in [
            changed(&|all| all.clear()),
            changed(&|all| all.truncate(2)),
            changed(&|all| drop(all.remove(1))),
            // The last log equals another one.
            changed(&|all| drop(all[3]["logs"].as_array_mut().unwrap().pop())),
            changed(&|all| all[1]["status"] = json!("0x1")),
            changed(&|all| all[3]["logs"][1]["data"] = json!("0x08")),
            changed(&|all| all[2] = json!({})),
            changed(&|all| all[2]["logs"] = json!([{ "address": "0x" }])),
        ] {
            assert!(matches!(judge(&lie), Trust::Untrue), "{lie:#?}");
        }
        // Their numbers follow from their order, whatever the node says.
        let renumbered = changed(&|all| all[0]["logs"][0]["logIndex"] = json!("0x9"));
        assert!(matches!(judge(&renumbered), Trust::Proven(told) if told.logs()[0].log_index == Some(0)));
    }

    #[test]
    fn where_no_root_can_be_computed_numbers_and_filter_have_to_fit() {
        let odd = |at: u64, logs: &[u64]| receipt(0x7e, at, true, logs).0;
        let all = vec![odd(0, &[0]), odd(1, &[]), odd(2, &[1, 2])];
        // Whichever of them is left out, the filter is the same.
        let given = seal(B256::repeat_byte(1), &all);
        assert!(matches!(Receipts::judge(all.clone(), &given), Trust::Likely(told) if told.logs().len() == 3));
        let none = seal(B256::repeat_byte(1), &[]);
        assert!(matches!(Receipts::judge(all, &none), Trust::Untrue));
        for cut in [
            vec![odd(0, &[0]), odd(2, &[1, 2])],
            vec![odd(0, &[0]), odd(1, &[]), odd(2, &[2])],
            vec![odd(0, &[]), odd(1, &[]), odd(2, &[1, 2])],
        ] {
            assert!(matches!(Receipts::judge(cut, &given), Trust::Untrue));
        }
        // A chain with a constant in the root's place.
        for constant in [B256::ZERO, EMPTY_ROOT_HASH] {
            let plain = vec![receipt(0, 0, true, &[0]).0];
            let header = seal(constant, &plain);
            assert!(matches!(Receipts::judge(plain, &header), Trust::Likely(_)));
        }
    }

    #[test]
    fn the_types_of_arbitrum_are_encoded_as_those_of_ethereum() {
        for kind in [0x64, 0x65, 0x66, 0x68, 0x69, 0x6a, 0x78] {
            let (value, envelope) = receipt(kind, 0, true, &[0]);
            let mut typed = alloy::eips::Encodable2718::encoded_2718(&envelope);
            // That of a type which Ethereum has.
            assert_eq!(typed[0], 2);
            typed[0] = kind;
            let logs = logs_of(&value).unwrap();
            assert_eq!(encoded(&value, &logs), Some(typed));
        }
    }

    #[test]
    fn only_failed_transactions_are_taken_whatever_their_type() {
        let receipt = |status: &str, kind: &str| {
            json!({ "status": status, "type": kind, "transactionHash": B256::repeat_byte(1), "from": Address::repeat_byte(2),
                "to": Address::repeat_byte(3) })
        };
        // 0x6a is Arbitrum's internal transaction, of which there is one in every block.
        assert_eq!(failed(&receipt("0x1", "0x6a")), None);
        let found = failed(&receipt("0x0", "0x6a")).unwrap();
        assert_eq!(
            (found.from, found.to),
            (Address::repeat_byte(2), Some(Address::repeat_byte(3)))
        );
        assert_eq!(failed(&json!({ "status": "0x0" })), None);
    }
}
