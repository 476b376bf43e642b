//! The receipts of a block, believed when they are those that its header speaks of: what a transaction logged and how it ended are taken
//! from nowhere else where it matters that nothing is left out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::consensus::proofs::ordered_trie_root_encoded;
use alloy::consensus::{EMPTY_ROOT_HASH, Eip658Value, Receipt, RlpEncodableReceipt};
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Log;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

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

/// What came of asking the endpoints in turn, besides receipts that are proven.
#[derive(Debug, Default)]
struct Heard {
    /// Somebody answered receipts that are not those of the block.
    lies: bool,
    likely: Option<Receipts>,
    /// What is said when there is nothing else: that somebody refuses rather than that somebody does not answer.
    failure: Option<RpcError>,
}

impl Heard {
    fn note(&mut self, error: RpcError) {
        if !matches!(self.failure, Some(RpcError::Refused { .. })) {
            self.failure = Some(error);
        }
    }
}

fn late(longest: Duration) -> RpcError {
    RpcError::Unreachable {
        method: RECEIPTS,
        reason: format!("they did not come within {} ms", longest.as_millis()),
    }
}

/// How long receipts are waited for by whom nothing hurries.
const LONGEST: Duration = Duration::from_secs(4);
/// How long each endpoint is waited for that is to count a block's transactions.
const SHORT: Duration = Duration::from_millis(500);
/// What asks for [`Receipts`].
const RECEIPTS: &str = "eth_getBlockReceipts";
const COUNT: &str = "eth_getBlockTransactionCountByHash";

/// What is to be thought of an answer.
#[derive(Debug)]
enum Trust {
    /// The header's root of receipts is theirs: they are what it speaks of, to the last byte.
    Proven(Receipts),
    /// They have no gap and go with the header's filter, as far as there is one, and nobody can compute the root from them: they are all of
    /// them if they are as many as the transactions, and if nobody has better ones.
    Likely(Receipts),
    /// They are not what the header speaks of.
    Untrue,
}

impl Rpc {
    /// All receipts of a block, from the first endpoint whose receipts are those that the header speaks of: in one request, unless that one
    /// does not answer soon. Where nothing proves that, they are the first that have no gap and are as many as the transactions.
    ///
    /// # Errors
    /// [`RpcError::Untrue`] when those that were answered are not; otherwise see [`RpcError`]; a node that does not know the block is
    /// [`RpcError::Refused`].
    pub async fn receipts(&self, block: B256) -> Result<Receipts, RpcError> {
        self.receipts_within(block, LONGEST).await
    }

    /// The same, waiting so long at most. Whoever has not answered after a quarter of it is not waited for alone.
    ///
    /// # Errors
    /// See [`Self::receipts`]; [`RpcError::Unreachable`] when the time is up.
    pub(crate) async fn receipts_within(&self, block: B256, longest: Duration) -> Result<Receipts, RpcError> {
        let until = Instant::now() + longest;
        let seal = timeout_at(until, self.seal_of(block)).await;
        let seal = seal.unwrap_or_else(|_| Err(late(longest)))?;
        let is_provable = seal.as_ref().is_some_and(|seal| seal.names_root(&[Value::Null]));
        let ask = |(at, rpc): (usize, Self)| async move { (at, rpc.receipts_of_one(block).await) };
        let mut rest = self.for_receipts().into_iter();
        let mut asked: FuturesUnordered<_> = rest.next().map(ask).into_iter().collect();
        let mut heard = Heard::default();
        loop {
            let soon = until.min(Instant::now() + longest / 4);
            match timeout_at(soon, asked.next()).await {
                Ok(Some((at, Ok(all)))) => match Receipts::judge(all, seal.as_ref()) {
                    Trust::Proven(receipts) => {
                        self.has_receipts.store(at, Ordering::Relaxed);
                        let contested = heard.lies;
                        return Ok(Receipts { contested, ..receipts });
                    }
                    Trust::Likely(receipts) => {
                        heard.likely.get_or_insert(receipts);
                        if !is_provable {
                            break;
                        }
                    }
                    Trust::Untrue => heard.lies = true,
                },
                Ok(Some((_, Err(error)))) => heard.note(error),
                Ok(None) => break,
                Err(_) if Instant::now() >= until => {
                    heard.note(late(longest));
                    break;
                }
                Err(_) => {}
            }
            asked.extend(rest.next().map(ask));
        }
        self.unproven(block, heard).await
    }

    /// What is left when no receipts are proven.
    async fn unproven(&self, block: B256, heard: Heard) -> Result<Receipts, RpcError> {
        let contested = heard.lies;
        match heard.likely {
            Some(likely) if self.are_all(block, likely.all.len()).await => Ok(Receipts { contested, ..likely }),
            None if !contested => Err(heard.failure.unwrap_or(RpcError::NoEndpoint)),
            _ => Err(RpcError::Untrue { block }),
        }
    }

    /// Those that are asked, each by itself, with their positions: first the one that had receipts last. One may answer everything but them.
    fn for_receipts(&self) -> Vec<(usize, Self)> {
        let had = self.has_receipts.load(Ordering::Relaxed);
        let mut order: Vec<usize> = self.in_turn().collect();
        order.sort_by_key(|at| *at != had);
        let of = |at: usize| Some((at, self.alone_at(at)?));
        order.into_iter().filter_map(of).collect()
    }

    async fn receipts_of_one(&self, block: B256) -> Result<Vec<Value>, RpcError> {
        self.ask_past_refusals(RECEIPTS, |p| async move {
            let by_hash = json!([{ "blockHash": block }]);
            let all: Option<Vec<Value>> = p.raw_request(RECEIPTS.into(), by_hash).await?;
            all.ok_or_else(|| refused(&format!("the node does not know block {block}")))
        })
        .await
    }

    /// What the header says, which is asked for when it has not come by lately; `None` when it does not hash to its name.
    ///
    /// # Errors
    /// See [`RpcError`]; [`RpcError::Refused`] when nobody knows the block.
    pub(crate) async fn seal_of(&self, block: B256) -> Result<Option<Seal>, RpcError> {
        if let Some(seal) = self.seal(block) {
            return Ok(Some(seal));
        }
        match self.by_hash(block).await? {
            Some(_) => Ok(self.seal(block)),
            None => Err(RpcError::Refused {
                method: "eth_getBlockByHash",
                code: 0,
                message: format!("the node does not know block {block}"),
            }),
        }
    }

    /// Whether somebody says, and nobody denies, that the block has so many transactions.
    async fn are_all(&self, block: B256, count: usize) -> bool {
        let asks = self.apart().into_iter().map(|rpc| async move {
            let asked = rpc.ask_past_refusals(COUNT, |p| async move {
                p.raw_request::<_, Option<U256>>(COUNT.into(), json!([block])).await
            });
            tokio::time::timeout(SHORT, asked).await.ok()?.ok()?
        });
        let told: Vec<U256> = join_all(asks).await.into_iter().flatten().collect();
        !told.is_empty() && told.iter().all(|told| *told == U256::from(count))
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

    fn judge(all: Vec<Value>, seal: Option<&Seal>) -> Trust {
        let by_receipt = all.iter().map(|receipt| has_names(receipt).then(|| logs_of(receipt))?);
        let Some(by_receipt) = by_receipt.collect::<Option<Vec<Vec<Log>>>>() else {
            return Trust::Untrue;
        };
        let root = root_of(&all, &by_receipt);
        let mut logs: Vec<Log> = by_receipt.into_iter().flatten().collect();
        let contested = false;
        if seal.is_some_and(|seal| seal.bloom != bloom_of(&logs)) {
            return Trust::Untrue;
        }
        match (root, seal) {
            (Some(root), Some(seal)) if seal.names_root(&all) => {
                if root != seal.receipts {
                    return Trust::Untrue;
                }
                // The root fixes their order, and with it their numbers.
                for (at, log) in (0..).zip(&mut logs) {
                    log.log_index = Some(at);
                }
                Trust::Proven(Self { all, logs, contested })
            }
            _ if is_whole(&all, &logs) => Trust::Likely(Self { all, logs, contested }),
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

/// Whether there is no gap in the numbers of the logs, or in those of the transactions. Only what comes last could be left out unseen, when the
/// header's filter is the same without it.
fn is_whole(receipts: &[Value], logs: &[Log]) -> bool {
    let is_in_turn = |(at, receipt): (u64, &Value)| parsed::<U256>(receipt, "transactionIndex") == Some(U256::from(at));
    (0..).zip(receipts).all(is_in_turn) && (0..).zip(logs).all(|(at, log): (u64, &Log)| log.log_index == Some(at))
}

/// Whether it says whose it is: no root covers that, and a failed transaction without it would be none.
fn has_names(receipt: &Value) -> bool {
    parsed::<B256>(receipt, "transactionHash").is_some() && parsed::<Address>(receipt, "from").is_some()
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
#[path = "receipts_tests.rs"]
mod tests;
