//! Getting a transaction into a block: the same bytes again and again, then the same nonce with higher fees, until one of
//! them has a receipt.
//!
//! Arbitrum's sequencer has no mempool: a transaction whose nonce is ahead is dropped after a second, one that was lost is
//! lost. So nonces are the chain's and those that follow what is on its way, transactions are sent in their order, and bytes are
//! sent until they are in. An intent whose bytes may still land keeps their nonce, whatever becomes of its deliveries: only when the chain
//! has used that nonce for something else is it signed with another. What an ended delivery leaves open before others is used up by
//! a transaction that does nothing ([`Gaps`]).

use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::TransactionReceipt;

use super::account::{Account, AccountError, Armed, Draft};
use super::broadcast::{Verdict, bumped, judge};
use super::gaps::Gaps;
use super::nonces::Slot;
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

/// The delivery of one call.
pub(super) struct Delivery<'a> {
    pub(super) account: &'a Account,
    pub(super) settings: &'a DeliverSettings,
    /// Where sent bytes are kept, if they are.
    pub(super) ledger: Option<(&'a Store, &'a Intent)>,
    pub(super) call: &'a Call,
    /// What was sent so far, by an earlier run too.
    pub(super) sent: Vec<SentTransaction>,
    /// Whether what was sent, by an earlier run too, may have reached a node that keeps it.
    pub(super) loose: bool,
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
            loose: false,
            accepted_at: None,
        }
    }
}

/// A delivery under way.
struct Course {
    begun: Instant,
    bumped_at: Instant,
    /// How often another nonce was taken.
    renewals: u32,
    /// Since when a node says that the nonce is used, and others do not.
    disputed: Option<Instant>,
    slot: Slot,
    draft: Draft,
}

/// What follows from a node's answer.
enum Next {
    /// It is in a block.
    Delivered(Box<Delivered>),
    /// Look for it, then send it again.
    Wait,
    /// Sign and send anew at once.
    Again,
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
        let (slot, draft) = self.draft().await?;
        let mut gaps = Gaps::new(account, self.settings);
        let mut course = Course {
            begun,
            bumped_at: begun,
            renewals: 0,
            disputed: None,
            slot,
            draft,
        };
        loop {
            let current = self.current(&mut course.draft).await?;
            let (answer, answered_at) = self.send(&current).await?;
            // Who comes after it may send now.
            drop(turn.take());
            if answer.is_ok() && self.accepted_at.is_none() {
                self.accepted_at = Some(answered_at);
                on_accepted(&current, answered_at);
            }
            match self.heed(answer, &mut course).await? {
                Next::Delivered(delivered) => return Ok(*delivered),
                Next::Again => continue,
                Next::Wait => {}
            }
            if let Some(delivered) = self.wait(self.settings.rebroadcast, begun).await? {
                return Ok(delivered);
            }
            if begun.elapsed() >= self.settings.deadline {
                account.disarm().await;
                return Err(DeliverError::Late {
                    account: account.address(),
                    nonce: course.draft.nonce,
                    seconds: begun.elapsed().as_secs(),
                    max_fee: course.draft.max_fee,
                });
            }
            // A reorg took transactions of ours back, or one before it was given up: it would wait for ever.
            gaps.fill(course.slot.nonce).await?;
            if course.bumped_at.elapsed() >= self.settings.bump_after {
                course.bumped_at = Instant::now();
                course.draft = self.raise(course.draft).await;
            }
        }
    }

    /// The transaction that the draft asks for: the one that was sent last when it offers enough, or one that is signed now.
    async fn current(&mut self, draft: &mut Draft) -> Result<SentTransaction, DeliverError> {
        if let Some(last) = self.sent.last()
            && last.nonce == draft.nonce
            && last.max_fee >= draft.max_fee
        {
            return Ok(last.clone());
        }
        let signed = match self.account.take_ready(draft).await {
            Some(ready) => ready,
            None => self.account.sign(draft).await?,
        };
        (draft.max_fee, draft.priority_fee) = (signed.max_fee, signed.priority_fee);
        self.sent.push(signed.clone());
        Ok(signed)
    }

    /// What to do next after a node's answer.
    async fn heed(&mut self, answer: Result<(), RpcError>, course: &mut Course) -> Result<Next, DeliverError> {
        let verdict = match &answer {
            Ok(()) => None,
            Err(RpcError::Refused { message, .. }) => Some((judge(message), message)),
            // It may have arrived all the same: look for its receipt, send it again.
            Err(error) => {
                tracing::warn!(%error, "a broadcast was not answered; it is sent again");
                None
            }
        };
        match verdict {
            // The same bytes are sent again: by then the one before may be in.
            None | Some((Verdict::Known | Verdict::Ahead, _)) => {
                self.may_land(course.draft.nonce);
                Ok(Next::Wait)
            }
            Some((Verdict::NonceUsed, _)) => self.renew(course).await,
            Some((Verdict::Underpriced, _)) => {
                course.draft = self.raise(course.draft.clone()).await;
                tokio::time::sleep(self.settings.poll).await;
                let is_early = course.begun.elapsed() < self.settings.deadline;
                Ok(if is_early { Next::Again } else { Next::Wait })
            }
            Some((Verdict::Other, reason)) => {
                self.account.disarm().await;
                Err(DeliverError::Refused {
                    account: self.account.address(),
                    reason: reason.clone(),
                })
            }
        }
    }

    /// Bytes with this nonce may land from now on: nobody else takes it before the intent has ended.
    fn may_land(&mut self, nonce: u64) {
        self.loose = true;
        if let Some((_, intent)) = self.ledger {
            self.account.nonces().reserve(nonce, intent.id);
        }
    }

    /// A node says that the nonce is used: by one of ours, or by another transaction. Only in that case, and when the chain says so too, is
    /// the call signed with another: what was sent before cannot land any more.
    async fn renew(&mut self, course: &mut Course) -> Result<Next, DeliverError> {
        if let Some(delivered) = self.settle_nonce().await? {
            return Ok(Next::Delivered(Box::new(delivered)));
        }
        let nonce = course.draft.nonce;
        let is_spent = self.account.wanted_by_chain().await.is_ok_and(|next| next > nonce);
        let disputed = *course.disputed.get_or_insert_with(Instant::now);
        if !is_spent && disputed.elapsed() < self.settings.bump_after {
            tracing::warn!(
                nonce,
                "a node says that the nonce is used, the chain does not: it is kept"
            );
            return Ok(Next::Wait);
        }
        // Not ours: once more with the chain's nonce, then it is somebody who uses our key.
        course.renewals = course.renewals.saturating_add(1);
        if course.renewals > 2 {
            return Err(DeliverError::NonceTaken {
                account: self.account.address(),
                nonce,
            });
        }
        if let Some((_, intent)) = self.ledger {
            self.account.nonces().release(intent.id);
        }
        (self.loose, self.accepted_at, course.disputed) = (false, None, None);
        self.sent.clear();
        self.account.disarm().await;
        let (slot, armed) = self.account.take_nonce(None).await?;
        course.draft = self.draft_with(slot.nonce, &armed);
        course.slot = slot;
        Ok(Next::Again)
    }

    /// Takes a nonce: the one that bytes were sent with before, or else the first that the chain wants and nobody has.
    async fn draft(&self) -> Result<(Slot, Draft), DeliverError> {
        let held = self.sent.last().map(|sent| sent.nonce);
        let (slot, armed) = self.account.take_nonce(held).await?;
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

    /// The nonce is used: by one of ours, whose receipt may take a while to be served, or by another transaction. Any endpoint may have it.
    async fn settle_nonce(&self) -> Result<Option<Delivered>, DeliverError> {
        let begun = Instant::now();
        loop {
            for sent in self.sent.iter().rev() {
                match self.account.rpc().receipt_anywhere(sent.hash).await {
                    Ok(Some(receipt)) => return Ok(Some(self.delivered(sent, receipt).await)),
                    Ok(None) => {}
                    Err(error) if error.is_unreachable() => tracing::warn!(%error, "a receipt could not be asked for"),
                    Err(error) => return Err(error.into()),
                }
            }
            if !self.loose || begun.elapsed() >= self.settings.bump_after {
                return Ok(None);
            }
            tokio::time::sleep(self.settings.poll).await;
        }
    }

    async fn delivered(&self, sent: &SentTransaction, receipt: TransactionReceipt) -> Delivered {
        self.account.used(sent.nonce).await;
        Delivered {
            sent: sent.clone(),
            receipt,
            accepted_at: self.accepted_at,
        }
    }

    /// The one of the sent transactions that has a receipt.
    async fn included(&self) -> Result<Option<Delivered>, DeliverError> {
        for sent in self.sent.iter().rev() {
            match self.account.rpc().receipt(sent.hash).await {
                Ok(Some(receipt)) if receipt.block_hash.is_some() => {
                    return Ok(Some(self.delivered(sent, receipt).await));
                }
                Ok(_) => {}
                Err(error) if error.is_unreachable() => tracing::warn!(%error, "a receipt could not be asked for"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
