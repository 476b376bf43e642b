//! What must not be believed of one endpoint while there are others: each is asked by itself, at the same time.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::TransactionReceipt;
use futures::future::{join, join_all};
use futures::stream::{FuturesUnordered, StreamExt};

use super::rpc::Rpc;
use super::{BlockRef, BlockSource, RpcError};
use crate::clock::now_ms;

/// How long one endpoint's word is waited for: one that is down must not hold back what the others say.
const PATIENCE: Duration = Duration::from_millis(500);

/// Blocks that an endpoint may be behind without being asked about it: endpoints are not equally fast.
const LAG: u64 = 8;
/// Seconds after which a newest block says nothing of what has come since.
const STALE: i64 = 30;

/// The value in the middle of what was said, the lower one of two: neither one of three nor one of two can talk it up. `None` when nobody
/// said anything.
pub(crate) fn lower_middle<T: Ord>(mut said: Vec<T>) -> Option<T> {
    said.sort_unstable();
    let middle = said.len().saturating_sub(1) / 2;
    said.into_iter().nth(middle)
}

/// The upper one of two in the middle; as [`lower_middle`] of any other number.
fn upper_middle<T: Ord>(mut said: Vec<T>) -> Option<T> {
    said.sort_unstable();
    let middle = said.len() / 2;
    said.into_iter().nth(middle)
}

/// The next nonce of an account, as the endpoints say. With three voices both values are the one in the middle, with two they differ when the
/// voices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// See [`lower_middle`].
    pub(crate) lower: u64,
    /// Of two the higher one.
    pub(crate) upper: u64,
    /// Whether there are several endpoints and only one has said it.
    pub(crate) is_alone: bool,
    /// Whether at least two have said it.
    pub(crate) is_shared: bool,
}

/// Whether an endpoint has a block at its height; `None` when it does not say, or may only be a little, or long, behind.
async fn has_block(rpc: &Rpc, number: u64, hash: B256) -> Option<bool> {
    match rpc.by_number(number).await.ok()? {
        Some(held) => Some(held.hash == hash),
        None => {
            let newest = rpc.latest().await.ok()?;
            let age = now_ms() / 1_000 - i64::try_from(newest.timestamp).unwrap_or_default();
            // One whose chain has come to a halt knows nothing of newer blocks.
            (age < STALE && number > newest.number.saturating_add(LAG)).then_some(false)
        }
    }
}

impl Rpc {
    /// The next nonce of an account as the endpoints say. Those that do not have the block `known`, which the keeper has seen, are behind the
    /// chain and have no say.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub(crate) async fn nonce_counts(&self, account: Address, known: Option<B256>) -> Result<Counts, RpcError> {
        let endpoints = self.each_followed();
        let is_one = endpoints.len() < 2;
        let asks = endpoints.iter().filter(|_| !is_one).map(|(name, rpc)| async move {
            let is_there = async {
                match known {
                    Some(hash) => matches!(rpc.by_hash(hash).await, Ok(Some(_))),
                    None => true,
                }
            };
            let (nonce, is_there) = tokio::time::timeout(PATIENCE, join(rpc.nonce(account), is_there))
                .await
                .ok()?;
            Some((name, nonce.ok().filter(|_| is_there)?))
        });
        let said: Vec<(&String, u64)> = join_all(asks).await.into_iter().flatten().collect();
        let counts: Vec<u64> = said.iter().map(|(_, nonce)| *nonce).collect();
        let (Some(lower), Some(upper)) = (lower_middle(counts.clone()), upper_middle(counts)) else {
            let nonce = self.nonce(account).await?;
            return Ok(Counts {
                lower: nonce,
                upper: nonce,
                is_alone: !is_one,
                is_shared: false,
            });
        };
        if said.iter().any(|(_, nonce)| *nonce != lower) {
            tracing::warn!(%account, ?said, lower, upper, "the endpoints differ in the next nonce");
        }
        Ok(Counts {
            lower,
            upper,
            is_alone: said.len() < 2,
            is_shared: said.len() > 1,
        })
    }

    /// The receipt of an included transaction from whichever endpoint has it, with its block; `None` when none has one that is believed, see
    /// [`Rpc::block_of`].
    ///
    /// # Errors
    /// See [`RpcError`]: when nobody answers.
    pub(crate) async fn receipt_anywhere(
        &self,
        hash: B256,
        is_used: bool,
    ) -> Result<Option<(TransactionReceipt, BlockRef)>, RpcError> {
        let mut asks: FuturesUnordered<_> = self
            .each_followed()
            .into_iter()
            .map(|(_, rpc)| async move { rpc.receipt(hash).await })
            .collect();
        let mut failure = None;
        let mut is_answered = false;
        // Those that have not answered when the others have said their word are waited for no longer than this.
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            let answer = tokio::select! {
                biased;
                answer = asks.next() => answer,
                () = &mut patience, if is_answered => None,
            };
            match answer {
                Some(Ok(Some(receipt))) => {
                    is_answered = true;
                    if let Some(block) = self.block_of(hash, &receipt, is_used).await {
                        return Ok(Some((receipt, block)));
                    }
                }
                Some(Ok(None)) => is_answered = true,
                Some(Err(error)) => failure = Some(error),
                None => break,
            }
        }
        match failure {
            Some(error) if !is_answered => Err(error),
            _ => Ok(None),
        }
    }

    /// The block of a transaction's receipt, when more endpoints have the same receipt in it than have come so far and have not; `None` otherwise: one that
    /// forges a receipt, or serves that of a block that was replaced, must not have an action taken for sent. Where as many have it as have not,
    /// that it succeeded is believed when the transaction's nonce `is_used`, as agreed: something has used it.
    pub(crate) async fn block_of(&self, tx: B256, receipt: &TransactionReceipt, is_used: bool) -> Option<BlockRef> {
        if receipt.transaction_hash != tx {
            return None;
        }
        let (number, hash) = (receipt.block_number?, receipt.block_hash?);
        let endpoints = self.each_followed();
        if endpoints.len() < 2 {
            let held = self.by_number(number).await.ok()??;
            return (held.hash == hash).then_some(held);
        }
        let votes = endpoints.into_iter().map(|(_, rpc)| async move {
            let look = async {
                if !has_block(&rpc, number, hash).await? {
                    return Some(None);
                }
                let (own, block) = join(rpc.receipt(tx), rpc.by_hash(hash)).await;
                let is_same = |own: &TransactionReceipt| {
                    own.transaction_hash == tx
                        && own.block_hash == Some(hash)
                        && own.status() == receipt.status()
                        && own.logs() == receipt.logs()
                };
                Some(own.ok()?.filter(is_same).and(block.ok()?))
            };
            tokio::time::timeout(PATIENCE, look).await.ok()?
        });
        let votes: Vec<Option<BlockRef>> = join_all(votes).await.into_iter().flatten().collect();
        let has: Vec<BlockRef> = votes.iter().flatten().copied().collect();
        let others = votes.len().saturating_sub(has.len());
        let is_believed = has.len() > others || (has.len() == others && is_used && receipt.status());
        let block = has.first().copied().filter(|_| is_believed);
        if block.is_none() {
            tracing::warn!(%tx, number, %hash, "a receipt is not believed: as many endpoints do not have it");
        }
        block
    }

    /// Every endpoint of the side that is followed that says whether it has this block, by itself, and what it says.
    pub(crate) async fn each_at(&self, block: &BlockRef) -> Vec<(String, Self, bool)> {
        let asks = self.each_followed().into_iter().map(|(name, rpc)| async move {
            let has = tokio::time::timeout(PATIENCE, has_block(&rpc, block.number, block.hash)).await;
            Some((name, rpc, has.ok()??))
        });
        join_all(asks).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_talks_nothing_up() {
        assert_eq!(lower_middle(Vec::<u64>::new()), None);
        assert_eq!(lower_middle(vec![7]), Some(7));
        assert_eq!(lower_middle(vec![900, 7]), Some(7));
        assert_eq!(lower_middle(vec![7, 900, 8]), Some(8));
        assert_eq!(lower_middle(vec![7, 0, 8]), Some(7), "nor down, when there are three");
        assert_eq!(lower_middle(vec![9, 7, 8, 900]), Some(8));
        assert_eq!(upper_middle(vec![7]), Some(7));
        assert_eq!(upper_middle(vec![900, 7]), Some(900), "one of two may be right");
        assert_eq!(upper_middle(vec![7, 900, 8]), Some(8), "one of three is not");
    }
}
