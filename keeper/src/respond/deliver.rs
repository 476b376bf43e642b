//! Getting a transaction into a block: the same bytes again and again, then the same nonce with higher fees, until one of
//! them has a receipt.
//!
//! Arbitrum's sequencer has no mempool: a transaction whose nonce is ahead is dropped after a second, one that was lost is
//! lost. So nonces are the chain's and those that follow what is on its way, transactions are sent in their order, and bytes are
//! sent until they are in. What a delivery that failed leaves open is taken by the lowest of those behind it.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::TransactionReceipt;

use super::account::{Account, AccountError, Armed, Draft, Slot};
use crate::chain::RpcError;
use crate::record::{Intent, SentTransaction, Store, StoreError};

/// Timing and limits of delivery.
#[derive(Debug, Clone, Copy)]
pub struct DeliverSettings {
    /// How often receipts are looked for in the first two seconds; a tenth as often later.
    pub poll: Duration,
    /// How often the same bytes are sent again.
    pub rebroadcast: Duration,
    /// How long a transaction may wait before it is replaced by one with higher fees.
    pub bump_after: Duration,
    /// How long to try in all.
    pub deadline: Duration,
    /// With several keys, how long each waits for the one before it to get through: a block of Arbitrum.
    pub hedge: Duration,
    /// Most wei per gas ever offered.
    pub fee_cap: u128,
}

impl Default for DeliverSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(20),
            rebroadcast: Duration::from_secs(1),
            bump_after: Duration::from_secs(3),
            deadline: Duration::from_secs(60),
            hedge: Duration::from_millis(250),
            fee_cap: 1_000_000_000_000,
        }
    }
}

/// A contract call to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Contract.
    pub to: Address,
    /// Calldata.
    pub data: Bytes,
    /// Gas limit.
    pub gas: u64,
}

/// A transaction that is in a block.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The one of the sent transactions that made it.
    pub sent: SentTransaction,
    /// Its receipt; the transaction may have reverted.
    pub receipt: TransactionReceipt,
    /// When a node first accepted it; `None` when it was sent by an earlier run.
    pub accepted_at: Option<Instant>,
}

/// Why a transaction did not get into a block. Trying again from the start is safe.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The account cannot sign, or the chain cannot be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another keeper of the fleet may have the turn.
    #[error("nothing is sent: another keeper of the fleet may have taken over")]
    NotOurTurn,
    /// A node refused it.
    #[error("the node does not take the transaction of {account}: {reason}")]
    Refused {
        /// Sender.
        account: Address,
        /// The node's words.
        reason: String,
    },
    /// Another transaction of the account took its nonce.
    #[error(
        "nonce {nonce} of {account} was used by a transaction that the keeper did not send: use a key that nothing else uses"
    )]
    NonceTaken {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
    },
    /// It was not included in time.
    #[error(
        "the transaction of {account} with nonce {nonce} was not included within {seconds} s at up to {max_fee} wei per gas"
    )]
    Late {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
        /// How long was waited.
        seconds: u64,
        /// What was offered in the end.
        max_fee: u128,
    },
}

impl From<RpcError> for DeliverError {
    fn from(error: RpcError) -> Self {
        Self::Account(error.into())
    }
}

/// What a refused broadcast means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The node has it already.
    Known,
    /// The nonce is used.
    NonceUsed,
    /// One before it has not arrived, or not yet: it may wait, or be lost.
    Ahead,
    /// It offers too little, absolutely or to replace another.
    Underpriced,
    /// Anything else.
    Other,
}

fn judge(message: &str) -> Verdict {
    let message = message.to_ascii_lowercase();
    let has = |part: &str| message.contains(part);
    if has("already known") || has("already imported") || has("already in") || has("known transaction") {
        Verdict::Known
    } else if has("nonce too low") || has("nonce is too low") || has("old nonce") {
        Verdict::NonceUsed
    } else if has("nonce too high") || has("nonce is too high") || has("nonce gap") {
        Verdict::Ahead
    } else if has("underpriced") || has("less than block base fee") || has("max fee per gas less") || has("fee too low")
    {
        Verdict::Underpriced
    } else {
        Verdict::Other
    }
}

/// A fee a quarter higher: more than the eighth that nodes demand of a replacement.
fn bumped(fee: u128) -> u128 {
    fee.saturating_add(fee / 4).saturating_add(1)
}

/// The delivery of one call.
pub(super) struct Delivery<'a> {
    pub(super) account: &'a Account,
    pub(super) settings: &'a DeliverSettings,
    /// Where sent bytes are kept, if they are.
    pub(super) ledger: Option<(&'a Store, &'a Intent)>,
    pub(super) call: &'a Call,
    /// What was sent so far, by an earlier run too.
    pub(super) sent: Vec<SentTransaction>,
    /// Whether an earlier run sent something.
    pub(super) resumed: bool,
    pub(super) accepted_at: Option<Instant>,
}

impl<'a> Delivery<'a> {
    /// The delivery of a call that the record has no intent for.
    pub(super) fn unrecorded(account: &'a Account, settings: &'a DeliverSettings, call: &'a Call) -> Self {
        Self {
            account,
            settings,
            ledger: None,
            call,
            sent: Vec::new(),
            resumed: false,
            accepted_at: None,
        }
    }
}

impl Delivery<'_> {
    /// Sends the call and waits until it is in a block. `on_accepted` hears of the first acceptance.
    pub(super) async fn run(
        mut self,
        on_accepted: impl Fn(&SentTransaction, Instant),
    ) -> Result<Delivered, DeliverError> {
        let account = self.account;
        let mut turn = Some(account.turn().await);
        if let Some(delivered) = self.included().await? {
            return Ok(delivered);
        }
        let begun = Instant::now();
        let (mut slot, mut draft) = self.draft().await?;
        let mut renewals = 0_u32;
        let mut bumped_at = begun;
        loop {
            let current = match self.sent.last() {
                Some(last) if last.nonce == draft.nonce && last.max_fee >= draft.max_fee => last.clone(),
                _ => {
                    let signed = match self.account.take_ready(&draft).await {
                        Some(ready) => ready,
                        None => self.account.sign(&draft).await?,
                    };
                    (draft.max_fee, draft.priority_fee) = (signed.max_fee, signed.priority_fee);
                    self.sent.push(signed.clone());
                    signed
                }
            };
            let (answer, answered_at) = self.send(&current).await?;
            // Who comes after it may send now.
            drop(turn.take());
            match answer {
                Ok(()) => {
                    if self.accepted_at.is_none() {
                        self.accepted_at = Some(answered_at);
                        on_accepted(&current, answered_at);
                    }
                }
                Err(RpcError::Refused { message, .. }) => match judge(&message) {
                    // The same bytes are sent again: by then the one before may be in.
                    Verdict::Known | Verdict::Ahead => {}
                    Verdict::NonceUsed => {
                        if let Some(delivered) = self.settle_nonce().await? {
                            return Ok(delivered);
                        }
                        // Not ours: once more with the chain's nonce, then it is somebody who uses our key.
                        renewals = renewals.saturating_add(1);
                        if renewals > 2 {
                            return Err(DeliverError::NonceTaken {
                                account: self.account.address(),
                                nonce: draft.nonce,
                            });
                        }
                        self.sent.clear();
                        self.account.disarm().await;
                        (slot, draft) = self.draft_anew(slot).await?;
                        continue;
                    }
                    Verdict::Underpriced => {
                        draft = self.raise(draft).await;
                        tokio::time::sleep(self.settings.poll).await;
                        if begun.elapsed() < self.settings.deadline {
                            continue;
                        }
                    }
                    Verdict::Other => {
                        self.account.disarm().await;
                        return Err(DeliverError::Refused {
                            account: self.account.address(),
                            reason: message,
                        });
                    }
                },
                // It may have arrived all the same: look for its receipt, send it again.
                Err(error) => tracing::warn!(%error, "a broadcast was not answered; it is sent again"),
            }
            if let Some(delivered) = self.wait(self.settings.rebroadcast, begun).await? {
                return Ok(delivered);
            }
            if begun.elapsed() >= self.settings.deadline {
                self.account.disarm().await;
                return Err(DeliverError::Late {
                    account: self.account.address(),
                    nonce: draft.nonce,
                    seconds: begun.elapsed().as_secs(),
                    max_fee: draft.max_fee,
                });
            }
            if account.is_ahead(slot.nonce).await {
                // A reorg took transactions of ours back, or one before it was given up: with this nonce it would wait for ever.
                tracing::warn!(
                    nonce = slot.nonce,
                    "the nonce at hand is ahead of the chain; the chain's is used"
                );
                self.account.disarm().await;
                (slot, draft) = self.draft_anew(slot).await?;
                continue;
            }
            if bumped_at.elapsed() >= self.settings.bump_after {
                bumped_at = Instant::now();
                draft = self.raise(draft).await;
            }
        }
    }

    /// Takes a nonce. What an earlier run sent keeps its own as long as the chain has not used it.
    async fn draft(&self) -> Result<(Slot, Draft), DeliverError> {
        let wanted = self.sent.last().map(|sent| sent.nonce);
        let (slot, armed) = self.account.take_nonce(wanted).await?;
        let draft = self.draft_with(slot.nonce, &armed);
        Ok((slot, draft))
    }

    /// The same with another nonce: the first that the chain wants and nobody has.
    async fn draft_anew(&self, slot: Slot) -> Result<(Slot, Draft), DeliverError> {
        drop(slot);
        let (slot, armed) = self.account.take_nonce(None).await?;
        let draft = self.draft_with(slot.nonce, &armed);
        Ok((slot, draft))
    }

    fn draft_with(&self, nonce: u64, armed: &Armed) -> Draft {
        let held = self.sent.last().filter(|sent| sent.nonce == nonce);
        Draft {
            to: self.call.to,
            data: self.call.data.clone(),
            gas: self.call.gas,
            nonce,
            max_fee: held
                .map_or(armed.max_fee(), |sent| sent.max_fee)
                .min(self.settings.fee_cap),
            priority_fee: held.map_or(armed.priority_fee, |sent| sent.priority_fee),
        }
    }

    /// The same transaction with higher fees: at least a quarter more, and at least what a new one would offer. A node that
    /// does not answer now must not end the delivery.
    async fn raise(&self, draft: Draft) -> Draft {
        let base_fee = self
            .account
            .rpc()
            .latest()
            .await
            .map_or(0, |block| u128::from(block.base_fee));
        let priority_fee = bumped(draft.priority_fee);
        let fresh = base_fee.saturating_mul(2).saturating_add(priority_fee);
        let max_fee = bumped(draft.max_fee).max(fresh).min(self.settings.fee_cap);
        Draft {
            max_fee,
            priority_fee: priority_fee.min(max_fee),
            ..draft
        }
    }

    /// Sends the bytes and records them. Where others may take over at any time, the record's transaction says that it is still
    /// our turn before anything is sent.
    async fn send(&self, sent: &SentTransaction) -> Result<(Result<(), RpcError>, Instant), DeliverError> {
        let send = async { (self.account.rpc().send_raw(&sent.raw).await, Instant::now()) };
        if self.ledger.is_none_or(|(store, _)| !store.is_shared()) {
            if !self.account.may_send() {
                return Err(DeliverError::NotOurTurn);
            }
            let (answer, recorded) = futures::future::join(send, self.record(sent)).await;
            recorded?;
            return Ok(answer);
        }
        self.record(sent).await?;
        if !self.account.may_send() {
            return Err(DeliverError::NotOurTurn);
        }
        Ok(send.await)
    }

    async fn record(&self, sent: &SentTransaction) -> Result<(), StoreError> {
        match self.ledger {
            Some((store, intent)) => store.record_sent(intent, sent).await,
            None => Ok(()),
        }
    }

    /// Looks for a receipt for as long as `period`.
    async fn wait(&self, period: Duration, begun: Instant) -> Result<Option<Delivered>, DeliverError> {
        let until = Instant::now() + period;
        loop {
            if let Some(delivered) = self.included().await? {
                return Ok(Some(delivered));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            let slow = if begun.elapsed() > Duration::from_secs(2) {
                10
            } else {
                1
            };
            tokio::time::sleep(self.settings.poll.saturating_mul(slow)).await;
        }
    }

    /// The nonce is used: by one of ours, whose receipt may take a moment to be served, or by a stranger.
    async fn settle_nonce(&self) -> Result<Option<Delivered>, DeliverError> {
        let looks = if self.resumed || self.accepted_at.is_some() {
            10
        } else {
            1
        };
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(self.settings.poll).await;
            }
            if let Some(delivered) = self.included().await? {
                return Ok(Some(delivered));
            }
        }
        Ok(None)
    }

    /// The one of the sent transactions that has a receipt.
    async fn included(&self) -> Result<Option<Delivered>, DeliverError> {
        for sent in self.sent.iter().rev() {
            match self.account.rpc().receipt(sent.hash).await {
                Ok(Some(receipt)) if receipt.block_hash.is_some() => {
                    self.account.used(sent.nonce).await;
                    return Ok(Some(Delivered {
                        sent: sent.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_several_nodes_are_understood() {
        for (message, verdict) in [
            ("already known", Verdict::Known),
            ("transaction already imported", Verdict::Known),
            ("nonce too low: address 0xf39F, tx: 1 state: 3", Verdict::NonceUsed),
            ("Nonce is too low", Verdict::NonceUsed),
            ("nonce too high: address 0xf39F, tx: 7 state: 3", Verdict::Ahead),
            ("replacement transaction underpriced", Verdict::Underpriced),
            ("max fee per gas less than block base fee", Verdict::Underpriced),
            ("insufficient funds for gas * price + value", Verdict::Other),
        ] {
            assert_eq!(judge(message), verdict, "{message}");
        }
    }

    #[test]
    fn a_bump_is_more_than_an_eighth() {
        for fee in [0, 1, 7, 100, 2_000_000_000] {
            assert!(bumped(fee) > fee && bumped(fee) * 8 >= fee * 9, "{fee}");
        }
    }
}
