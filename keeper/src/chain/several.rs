//! What is asked of every endpoint at once, because one of them may be behind, or lie.

use std::future::Future;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::TransactionReceipt;
use alloy::transports::TransportResult;
use futures::future::{try_join, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt};

use super::RpcError;
use super::rpc::Rpc;

/// How long the others are waited for when most have answered: a slow endpoint must not hold up what is urgent.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long most are waited for when one has answered: the fastest alone must not decide.
const MOST: Duration = Duration::from_millis(500);

/// What endpoints said to a transaction that none of them took.
#[derive(Debug)]
pub struct NotSent {
    /// The words of those that refused it.
    pub refusals: Vec<String>,
    /// Why another could not be asked, or did not answer: the transaction may have arrived there all the same.
    pub silent: Option<RpcError>,
}

/// A figure as several endpoints say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What most of them have reached; the lower of two. No single endpoint can put it too high as long as another answers.
    pub agreed: u64,
    /// The highest.
    pub highest: u64,
}

impl Said {
    /// `None` of no answers.
    fn of(answers: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut answers: Vec<u64> = answers.into_iter().collect();
        answers.sort_unstable();
        let middle = answers.len().checked_sub(1)? / 2;
        Some(Self {
            agreed: *answers.get(middle)?,
            highest: *answers.last()?,
        })
    }
}

/// What has become of a nonce that transactions of ours were sent with.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// One of them may be included yet, as far as can be told.
    Open,
    /// One of them is in a block, and the nonce is used as most endpoints say.
    Ours {
        /// Its receipt.
        receipt: Box<TransactionReceipt>,
        /// How many endpoints tell it so.
        told_by: usize,
    },
    /// Something else has used it: an endpoint says so, and as many do as say anything else. It wants this one next, the lowest of several.
    Lost(u64),
}

impl Fate {
    /// By transactions included and the receipt of one of ours, of each endpoint. What an endpoint says of one and the other is only taken
    /// together: one that is behind knows of no receipt, nor has it used the nonce.
    fn of(answers: Vec<(u64, Option<TransactionReceipt>)>, nonce: u64) -> Self {
        let is_used = Said::of(answers.iter().map(|(count, _)| *count)).is_some_and(|said| said.agreed > nonce);
        let asked = answers.len();
        let (known, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, receipt)| receipt.is_some());
        let known: Vec<TransactionReceipt> = known.into_iter().filter_map(|(_, receipt)| receipt).collect();
        if !known.is_empty() {
            // Sending the same bytes again costs nothing; believing a receipt that one endpoint made up may cost all.
            let told = most_told(known).filter(|_| is_used);
            return told.map_or(Self::Open, |(receipt, told_by)| Self::Ours {
                receipt: Box::new(receipt),
                told_by,
            });
        }
        let passed: Vec<u64> = lost
            .into_iter()
            .map(|(count, _)| count)
            .filter(|count| *count > nonce)
            .collect();
        match passed.iter().min() {
            Some(next) if passed.len().saturating_mul(2) >= asked => Self::Lost(*next),
            _ => Self::Open,
        }
    }
}

/// The receipt that more endpoints tell than any other, and how many do: by block, and by whether the transaction had an effect.
fn most_told(receipts: Vec<TransactionReceipt>) -> Option<(TransactionReceipt, usize)> {
    let same = |a: &TransactionReceipt, b: &TransactionReceipt| {
        (a.transaction_hash, a.block_hash, a.status()) == (b.transaction_hash, b.block_hash, b.status())
    };
    let told = |one: &TransactionReceipt| receipts.iter().filter(|other| same(one, other)).count();
    let best = receipts.iter().max_by_key(|receipt| told(receipt))?;
    let is_rivalled = receipts
        .iter()
        .any(|other| !same(best, other) && told(other) == told(best));
    (!is_rivalled).then(|| (best.clone(), told(best)))
}

/// An endpoint that is so many blocks behind does not say what is the case now: a second of Arbitrum.
const BEHIND: u64 = 4;

impl Rpc {
    /// Transactions of the account on the latest block: its next nonce. Who has not come near block `newest` yet is not listened to, unless
    /// nobody has.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers.
    pub async fn counts(&self, account: Address, newest: u64) -> Result<Said, RpcError> {
        let count = |provider: DynProvider| async move {
            try_join(async { provider.get_block_number().await }, async {
                provider.get_transaction_count(account).await
            })
            .await
        };
        let answers = near(newest, self.ask_all("eth_getTransactionCount", MOST, count).await?);
        Said::of(answers).ok_or(RpcError::NoEndpoint)
    }

    /// What has become of `nonce`, with which transactions of these hashes were sent, as those say that answer not long after the first.
    /// `newest` as in [`Rpc::counts`].
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers.
    pub async fn fate(&self, account: Address, nonce: u64, hashes: &[B256], newest: u64) -> Result<Fate, RpcError> {
        let look = |provider: DynProvider| async move {
            let head = provider.get_block_number().await?;
            let count = provider.get_transaction_count(account).await?;
            // After the count: what is in a block by then has a receipt now.
            let receipts = hashes
                .iter()
                .map(|hash| async { provider.get_transaction_receipt(*hash).await });
            let mut receipts = try_join_all(receipts).await?.into_iter().flatten();
            Ok((head, (count, receipts.find(|receipt| receipt.block_hash.is_some()))))
        };
        Ok(Fate::of(
            near(newest, self.ask_all("eth_getTransactionReceipt", MOST, look).await?),
            nonce,
        ))
    }

    /// Whether an endpoint that is asked alone has not come near block `newest` yet. One that does not answer has not.
    pub(crate) async fn is_behind(&self, newest: u64) -> bool {
        let asked = self.ask("eth_blockNumber", |p| async move { p.get_block_number().await });
        asked.await.map_or(true, |head| !is_near(newest, head))
    }

    /// Base fee of the latest block, in wei per gas. `newest` as in [`Rpc::counts`].
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers.
    pub async fn base_fees(&self, newest: u64) -> Result<Said, RpcError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let latest = |provider: DynProvider| async move {
            let block = provider.get_block_by_number(BlockNumberOrTag::Latest).hashes().await?;
            let header = block.map(|block| block.header);
            Ok(header.map(|header| (header.number, header.base_fee_per_gas.unwrap_or_default())))
        };
        let fees = self.ask_all(METHOD, MOST, latest).await?.into_iter().flatten();
        let fees = near(newest, fees.collect());
        Said::of(fees).ok_or(RpcError::Unreachable {
            method: METHOD,
            reason: "the node has no latest block".into(),
        })
    }

    /// Asks those that [`Rpc::ask`] would ask in turn, all at once: who answers not long after most have, which are waited for as long as `most`
    /// from the first answer on. One answer at least, or the last failure.
    async fn ask_all<T, F, R>(&self, method: &'static str, most: Duration, request: R) -> Result<Vec<T>, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        let mut asked: FuturesUnordered<_> = self
            .in_turn()
            .filter_map(|at| self.all_endpoints().nth(at))
            .filter(|endpoint| endpoint.busy_for().is_none())
            .map(|endpoint| {
                let request = request(endpoint.provider());
                async move {
                    self.verify_endpoint(endpoint).await?;
                    self.bounded(method, endpoint, request).await
                }
            })
            .collect();
        let asked_of = asked.len();
        let mut answers = Vec::new();
        let mut last = RpcError::NoEndpoint;
        let mut until: Option<tokio::time::Instant> = None;
        loop {
            let next = match until {
                None => asked.next().await,
                Some(until) => tokio::time::timeout_at(until, asked.next()).await.ok().flatten(),
            };
            match next {
                Some(Ok(answer)) => {
                    answers.push(answer);
                    let now = tokio::time::Instant::now();
                    let last_of_all = *until.get_or_insert(now + most);
                    if answers.len().saturating_mul(2) > asked_of {
                        until = Some(last_of_all.min(now + PATIENCE.min(most)));
                    }
                }
                Some(Err(error)) => last = error,
                None if answers.is_empty() => return Err(last),
                None => return Ok(answers),
            }
        }
    }

    /// Sends signed bytes to every endpoint that is believed at once; the first that accepts them decides. The others get them all the same,
    /// also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// [`NotSent`] when none accepts: the transaction may have arrived all the same where one is silent.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<(), NotSent> {
        const METHOD: &str = "eth_sendRawTransaction";
        let mut sends: FuturesUnordered<_> = (0_usize..)
            .zip(self.all_endpoints())
            .filter(|(_, endpoint)| !endpoint.is_outvoted())
            .map(|(at, _)| {
                let (rpc, raw) = (self.clone(), raw.clone());
                // A task of its own: it ends by itself at the deadline.
                tokio::spawn(async move {
                    let Some(endpoint) = rpc.all_endpoints().nth(at) else {
                        return Err(RpcError::NoEndpoint);
                    };
                    rpc.verify_endpoint(endpoint).await?;
                    let provider = endpoint.provider();
                    let send = async move { provider.send_raw_transaction(&raw).await.map(drop) };
                    rpc.bounded(METHOD, endpoint, send).await
                })
            })
            .collect();
        let mut failure = NotSent {
            refusals: Vec::new(),
            silent: None,
        };
        let mut until = None;
        loop {
            let next = match until {
                None => sends.next().await,
                Some(until) => match tokio::time::timeout_at(until, sends.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        failure.silent.get_or_insert_with(|| RpcError::Unreachable {
                            method: METHOD,
                            reason: "an endpoint has not answered yet".to_owned(),
                        });
                        return Err(failure);
                    }
                },
            };
            match next {
                Some(Ok(Ok(()))) => return Ok(()),
                Some(Ok(Err(RpcError::Refused { message, .. }))) => {
                    failure.refusals.push(message);
                    until.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                }
                Some(Ok(Err(error))) => failure.silent = Some(error),
                // A task that has died says nothing.
                Some(Err(_)) => {}
                None => return Err(failure),
            }
        }
    }
}

/// What those say that have come near block `newest`, of answers with the block that they have come to; all when none has.
pub(crate) fn near<T>(newest: u64, answers: Vec<(u64, T)>) -> Vec<T> {
    let any = answers.iter().any(|(head, _)| is_near(newest, *head));
    let kept = answers.into_iter().filter(|(head, _)| !any || is_near(newest, *head));
    kept.map(|(_, answer)| answer).collect()
}

fn is_near(newest: u64, head: u64) -> bool {
    head.saturating_add(BEHIND) >= newest
}

impl std::fmt::Display for NotSent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.refusals.first(), &self.silent) {
            (Some(words), _) => f.write_str(words),
            (None, Some(error)) => error.fmt(f),
            (None, None) => RpcError::NoEndpoint.fmt(f),
        }
    }
}

impl std::error::Error for NotSent {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_single_endpoint_puts_a_figure_too_high() {
        let said = |answers: &[u64]| Said::of(answers.to_vec()).map(|said| (said.agreed, said.highest));
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[7]), Some((7, 7)));
        assert_eq!(said(&[900, 7]), Some((7, 900)), "of two the lower");
        assert_eq!(said(&[900, 7, 8]), Some((8, 900)));
        assert_eq!(
            said(&[0, 8, 8]),
            Some((8, 8)),
            "nor does one that is behind hold it down"
        );
        assert_eq!(said(&[900, 7, 8, 8]), Some((8, 900)));
    }

    #[test]
    fn who_is_far_behind_is_not_listened_to_unless_all_are() {
        assert_eq!(
            near(100, vec![(96, "near"), (101, "ahead"), (95, "behind")]),
            ["near", "ahead"]
        );
        assert_eq!(near(100, vec![(0, "all"), (95, "behind")]), ["all", "behind"]);
        assert_eq!(near(0, vec![(0, "at the start")]), ["at the start"]);
    }

    #[test]
    fn a_nonce_is_given_up_only_for_one_that_has_used_it_without_us() {
        let receipt: TransactionReceipt = serde_json::from_value(serde_json::json!({
            "transactionHash": B256::ZERO, "transactionIndex": "0x0", "blockHash": B256::ZERO, "blockNumber": "0x1",
            "from": Address::ZERO, "to": Address::ZERO, "cumulativeGasUsed": "0x1", "gasUsed": "0x1",
            "effectiveGasPrice": "0x1", "contractAddress": null, "logs": [], "status": "0x1", "type": "0x2",
            "logsBloom": format!("0x{}", "00".repeat(256)),
        }))
        .unwrap();
        let (ours, none) = (|| Some(receipt.clone()), || None);
        let fate = |answers| Fate::of(answers, 7);
        let told = |told_by| Fate::Ours {
            receipt: Box::new(receipt.clone()),
            told_by,
        };
        assert_eq!(fate(vec![]), Fate::Open);
        assert_eq!(fate(vec![(7, none())]), Fate::Open);
        assert_eq!(fate(vec![(8, ours())]), told(1));
        assert_eq!(fate(vec![(9, none())]), Fate::Lost(9));
        assert_eq!(
            fate(vec![(8, none()), (8, ours())]),
            told(1),
            "one serves receipts late"
        );
        assert_eq!(
            fate(vec![(7, none()), (8, ours())]),
            Fate::Open,
            "one is behind, or one lies"
        );
        assert_eq!(
            fate(vec![(7, none()), (9, none())]),
            Fate::Lost(9),
            "one is stuck, or one lies"
        );
        assert_eq!(
            fate(vec![(7, none()), (7, none()), (900, none())]),
            Fate::Open,
            "one lies"
        );
        assert_eq!(fate(vec![(7, none()), (8, none()), (900, none())]), Fate::Lost(8));
        assert_eq!(
            fate(vec![(7, none()), (7, none()), (8, ours())]),
            Fate::Open,
            "one lies"
        );
    }
}
