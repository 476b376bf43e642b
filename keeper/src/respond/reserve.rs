//! Which nonce of an account a delivery has, and what has become of one that was sent with.

use std::ops::Range;
use std::time::Instant;

use alloy::primitives::B256;
use alloy::rpc::types::TransactionReceipt;

use super::account::{Account, Armed};
use super::nonces::{Again, Slot};
use crate::chain::{Fate, RpcError};
use crate::record::SentTransaction;

impl Account {
    /// The next nonce from `floor` on that nobody has, for one delivery.
    pub(super) async fn take_nonce(&self, floor: u64) -> Result<(Slot, Armed), RpcError> {
        let (next, armed) = self.armed().await?;
        Ok((self.nonces.take(next.max(floor)), armed))
    }

    /// A nonce that was sent with before. That the chain has used it is only said when the chain has just been asked.
    pub(super) async fn take_again(&self, nonce: u64) -> Result<(Again, Armed), RpcError> {
        let (next, armed) = self.armed().await?;
        match self.nonces.take_again(nonce, next) {
            Again::Used => {
                let armed = self.refresh().await?;
                Ok((self.nonces.take_again(nonce, armed.nonce.unwrap_or_default()), armed))
            }
            again => Ok((again, armed)),
        }
    }

    /// What the chain waits for before it can take `nonce`, and nobody brings. A node that does not answer says nothing.
    pub(super) async fn gap(&self, nonce: u64) -> Range<u64> {
        match self.rpc().counts(self.address(), self.newest()).await {
            Ok(counts) => {
                let next = self.nonces.at_least(counts.agreed, Instant::now());
                // What filled a gap has used nonces that nobody waits for.
                let mut armed = self.armed.lock().await;
                armed.nonce = armed.nonce.map(|held| held.max(next));
                drop(armed);
                if next >= nonce {
                    self.missing.clear(self.address()).await;
                }
                self.nonces.gap(next, nonce)
            }
            Err(_) => nonce..nonce,
        }
    }

    /// A nonce of a gap, to be filled; `None` when a delivery has it.
    pub(super) fn take_missing(&self, nonce: u64) -> Option<Slot> {
        match self.nonces.take_again(nonce, nonce) {
            Again::Ours(slot) => Some(slot),
            Again::Taken | Again::Used => None,
        }
    }

    /// What has become of a nonce that transactions of these hashes were sent with.
    pub(super) async fn fate(&self, nonce: u64, hashes: &[B256]) -> Result<Fate, RpcError> {
        self.rpc().fate(self.address(), nonce, hashes, self.newest()).await
    }

    /// How many endpoints tell a receipt so; of several, one may make it up.
    pub(super) async fn told_by(&self, sent: &SentTransaction, receipt: &TransactionReceipt) -> usize {
        if self.rpc().endpoint_count() < 2 {
            return usize::MAX;
        }
        // It may be another keeper's.
        let (hashes, newest) = ([sent.hash], self.newest());
        let is_same =
            |told: &TransactionReceipt| (told.block_hash, told.status()) == (receipt.block_hash, receipt.status());
        match self.rpc().fate(sent.sender, sent.nonce, &hashes, newest).await {
            Ok(Fate::Ours { receipt: told, told_by }) if is_same(&told) => told_by,
            _ => 0,
        }
    }
}
