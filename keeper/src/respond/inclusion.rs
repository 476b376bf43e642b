//! What has become of what was sent: in a block, or lost to something else that has used its nonce.

use std::time::{Duration, Instant};

use alloy::primitives::B256;
use alloy::rpc::types::TransactionReceipt;

use super::deliver::{DeliverError, Delivered};
use super::delivery::Delivery;
use crate::chain::Fate;
use crate::record::SentTransaction;

/// How long a doubtful receipt is left alone.
const DOUBT: Duration = Duration::from_millis(250);

/// Who has used a nonce.
pub(super) enum Whose {
    Nobody,
    Ours(Box<Delivered>),
    /// Something else; the chain wants this one next.
    Another(u64),
}

impl Delivery<'_> {
    /// Who has used a nonce. That it was another is only said when it has still been after a while: behind one URL there may be several nodes.
    pub(super) async fn whose(&mut self, nonce: u64) -> Result<Whose, DeliverError> {
        let mut is_second = !self.may_be_in || self.has_waited;
        loop {
            let hashes: Vec<B256> = self
                .sent
                .iter()
                .filter(|sent| sent.nonce == nonce)
                .map(|sent| sent.hash)
                .collect();
            match self.account.fate(nonce, &hashes).await {
                Ok(Fate::Open) => return Ok(Whose::Nobody),
                Ok(Fate::Lost(wanted)) if is_second => return Ok(Whose::Another(wanted)),
                Ok(Fate::Lost(_)) => {}
                Ok(Fate::Ours { receipt, .. }) => {
                    let hash = receipt.transaction_hash;
                    let ours = self.sent.iter().find(|sent| sent.hash == hash);
                    let Some(sent) = ours.cloned() else {
                        return Ok(Whose::Nobody);
                    };
                    self.account.used(nonce).await;
                    return Ok(Whose::Ours(Box::new(Delivered {
                        sent,
                        receipt: *receipt,
                        accepted_at: self.accepted_at,
                    })));
                }
                Err(error) if error.is_unreachable() => return Ok(Whose::Nobody),
                Err(error) => return Err(error.into()),
            }
            if let Some(delivered) = self.wait(self.settings.rebroadcast).await? {
                return Ok(Whose::Ours(Box::new(delivered)));
            }
            is_second = true;
            self.has_waited = true;
        }
    }

    /// Whether a receipt is believed. The first word of a success is, whoever says it: what it has brought about is read back from others before
    /// the action ends. A revert is, when two endpoints tell it, or nobody has contradicted the one for a while; and so is a success once an
    /// action is tried again: the word may have been a lie the first time. That is looked into a few times a second.
    async fn believes(&mut self, sent: &SentTransaction, receipt: &TransactionReceipt) -> bool {
        if receipt.status() && !self.is_again {
            return true;
        }
        let now = Instant::now();
        let (since, looked) = self.doubted.unwrap_or((now, now));
        if self.doubted.is_some() && now.saturating_duration_since(looked) < DOUBT {
            return false;
        }
        self.doubted = Some((since, now));
        let told_by = self.account.told_by(sent, receipt).await;
        told_by > 1 || (told_by > 0 && (receipt.status() || since.elapsed() >= self.settings.bump_after))
    }

    /// Looks for a receipt for as long as `period`.
    pub(super) async fn wait(&mut self, period: Duration) -> Result<Option<Delivered>, DeliverError> {
        let until = Instant::now() + period;
        loop {
            if let Some(delivered) = self.included().await? {
                return Ok(Some(delivered));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            let slow = if self.begun.elapsed() > Duration::from_secs(2) {
                10
            } else {
                1
            };
            let pause = self.settings.poll.saturating_mul(slow);
            tokio::time::sleep(pause.min(period)).await;
        }
    }

    /// The one of the sent transactions that has a receipt.
    pub(super) async fn included(&mut self) -> Result<Option<Delivered>, DeliverError> {
        for at in (0..self.sent.len()).rev() {
            let Some(sent) = self.sent.get(at).cloned() else {
                continue;
            };
            match self.account.rpc().receipt(sent.hash).await {
                Ok(Some(receipt)) if receipt.block_hash.is_some() => {
                    if !self.believes(&sent, &receipt).await {
                        continue;
                    }
                    self.account.used(sent.nonce).await;
                    return Ok(Some(Delivered {
                        sent,
                        receipt,
                        accepted_at: self.accepted_at,
                    }));
                }
                Ok(_) => {}
                Err(error) if error.is_unreachable() => tracing::warn!(%error, "a receipt could not be asked for"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
