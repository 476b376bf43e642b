//! What must not be believed of one endpoint while there are others: each is asked by itself, at the same time.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::TransactionReceipt;
use futures::future::{join, join_all};

use super::rpc::Rpc;
use super::{BlockRef, BlockSource, RpcError};

/// How long one endpoint's word is waited for: one that is down must not hold back what the others say.
const PATIENCE: Duration = Duration::from_millis(500);

/// The value in the middle of what was said, the lower one of two: neither one of three nor one of two can talk it up. `None` when nobody
/// said anything.
pub(crate) fn lower_middle<T: Ord>(mut said: Vec<T>) -> Option<T> {
    said.sort_unstable();
    let middle = said.len().saturating_sub(1) / 2;
    said.into_iter().nth(middle)
}

impl Rpc {
    /// The next nonce of an account as most endpoints say, see [`lower_middle`]. Those that do not have the block `known`, which the keeper has
    /// seen, are behind the chain and have no say.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub(crate) async fn agreed_nonce(&self, account: Address, known: Option<B256>) -> Result<u64, RpcError> {
        let endpoints = self.each_followed();
        if endpoints.len() < 2 {
            return self.nonce(account).await;
        }
        let asks = endpoints.iter().map(|(name, rpc)| async move {
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
        let Some(agreed) = lower_middle(said.iter().map(|(_, nonce)| *nonce).collect()) else {
            return self.nonce(account).await;
        };
        if said.iter().any(|(_, nonce)| *nonce != agreed) {
            tracing::warn!(%account, ?said, agreed, "the endpoints differ in the next nonce");
        }
        Ok(agreed)
    }

    /// The receipt of an included transaction from whichever endpoint has it; `None` when none has.
    ///
    /// # Errors
    /// See [`RpcError`]: when nobody answers.
    pub(crate) async fn receipt_anywhere(&self, hash: B256) -> Result<Option<TransactionReceipt>, RpcError> {
        let endpoints = self.each_followed();
        if endpoints.len() < 2 {
            return Ok(self.receipt(hash).await?.filter(|held| held.block_hash.is_some()));
        }
        let asks = endpoints.iter().map(|(_, rpc)| async move {
            match tokio::time::timeout(PATIENCE, rpc.receipt(hash)).await {
                Ok(answer) => answer,
                Err(_) => Err(RpcError::Unreachable {
                    method: "eth_getTransactionReceipt",
                    reason: format!("no answer within {} ms", PATIENCE.as_millis()),
                }),
            }
        });
        let mut failure = None;
        let mut is_answered = false;
        for answer in join_all(asks).await {
            match answer {
                Ok(Some(receipt)) if receipt.block_hash.is_some() => return Ok(Some(receipt)),
                Ok(_) => is_answered = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !is_answered => Err(error),
            _ => Ok(None),
        }
    }

    /// Every endpoint of the side that is followed that has come to the height of `block`, by itself, and whether it has that block there.
    pub(crate) async fn each_at(&self, block: &BlockRef) -> Vec<(String, Self, bool)> {
        let asks = self.each_followed().into_iter().map(|(name, rpc)| async move {
            let held = tokio::time::timeout(PATIENCE, rpc.by_number(block.number)).await;
            let held = held.ok()?.ok()??;
            Some((name, rpc, held.hash == block.hash))
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
    }
}
