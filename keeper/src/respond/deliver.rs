//! Getting a transaction into a block: the same bytes again and again, then the same nonce with higher fees, until one of
//! them has a receipt.
//!
//! Arbitrum's sequencer has no mempool: a transaction whose nonce is ahead is dropped after a second, one that was lost is
//! lost. So nonces are the chain's and those that follow what is on its way, transactions are sent in their order, and bytes are
//! sent until they are in. An intent whose bytes may still land keeps their nonce, whatever becomes of its deliveries: it is signed with
//! another only when the chain has used that nonce for something else, or nobody has taken what was sent with it. When endpoints differ in
//! that for seconds, the delivery ends and the guard is asked again whether anything is to be done; then another nonce is taken, and the one
//! before is used up where it is not used. What is left open before others is sent again, or used up by a transaction that does nothing
//! ([`Gaps`]).

use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::TransactionReceipt;

use super::account::{Account, AccountError, Armed, Draft};
use super::broadcast::{Verdict, bumped, judge_all};
use super::gaps::Gaps;
use super::nonces::{FAR, Slot};
use crate::chain::{BlockRef, RpcError};
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
    /// Its block.
    pub block: BlockRef,
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
    /// The endpoints do not let it be known whether the nonce is used.
    #[error(
        "nonce {nonce} of {account} seems to be used or far ahead of the chain, and no receipt says so: the guard is asked again, then another nonce is taken"
    )]
    Doubtful {
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
    /// Since when the nonce may be used by something else, or one that the chain will not come to.
    doubted: Option<Instant>,
    /// Whether the nodes have said last that it is used.
    is_refused: bool,
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
        self.wait_for_nonce().await?;
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
            doubted: None,
            is_refused: false,
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
            if let Some(delivered) = self.included_anywhere(0).await? {
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
            match self.look_at_nonce(&mut course, &mut gaps).await? {
                Next::Delivered(delivered) => return Ok(*delivered),
                Next::Again => continue,
                Next::Wait => {}
            }
            if course.bumped_at.elapsed() >= self.settings.bump_after {
                course.bumped_at = Instant::now();
                course.draft = self.raise(course.draft).await;
            }
        }
    }

    /// Waits for the end of another delivery under way with the nonce that is held: one of the two takes effect, and the other goes on.
    async fn wait_for_nonce(&self) -> Result<(), DeliverError> {
        let begun = Instant::now();
        while let Some(nonce) = self.held().filter(|nonce| self.account.nonces().is_flying(*nonce)) {
            if begun.elapsed() >= self.settings.bump_after {
                return Err(self.give_up(nonce, true).await);
            }
            tokio::time::sleep(self.settings.poll).await;
        }
        Ok(())
    }

    /// The transaction that the draft asks for: the one that was sent last when it offers enough, or one that is signed now.
    async fn current(&mut self, draft: &mut Draft) -> Result<SentTransaction, DeliverError> {
        if let Some(last) = self.last_with(draft.nonce)
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

    /// What was sent last with a nonce.
    fn last_with(&self, nonce: u64) -> Option<&SentTransaction> {
        self.sent.iter().rfind(|sent| sent.nonce == nonce)
    }

    /// What to do next after the nodes' answer.
    async fn heed(&mut self, answer: Result<(), Vec<RpcError>>, course: &mut Course) -> Result<Next, DeliverError> {
        let errors = answer.err().unwrap_or_default();
        let verdict = judge_all(&errors);
        for error in errors.iter().filter(|error| error.is_unreachable()) {
            // It may have arrived all the same: look for its receipt, send it again.
            tracing::warn!(%error, "a broadcast was not answered; it is sent again");
        }
        let is_refused_by_all = !errors.is_empty() && !errors.iter().any(RpcError::is_unreachable);
        match verdict {
            Some((Verdict::Underpriced | Verdict::NonceUsed | Verdict::Other, _)) if is_refused_by_all => {
                if !self.loose && self.ledger.is_some() {
                    self.account.nonces().refused(course.draft.nonce);
                }
            }
            _ => self.loose = true,
        }
        course.is_refused = matches!(verdict, Some((Verdict::NonceUsed, _)));
        match verdict {
            // The same bytes are sent again: by then the one before may be in.
            None | Some((Verdict::Known | Verdict::Ahead, _)) => Ok(Next::Wait),
            Some((Verdict::NonceUsed, _)) => {
                if let Some(delivered) = self.included_anywhere(0).await? {
                    return Ok(Next::Delivered(Box::new(delivered)));
                }
                // Nobody has taken anything that was sent: there is nothing that could land beside it.
                let is_renewed = !self.loose && self.renew(course).await?;
                Ok(if is_renewed { Next::Again } else { Next::Wait })
            }
            Some((Verdict::Underpriced, _)) => {
                if let Some(delivered) = self.included().await? {
                    return Ok(Next::Delivered(Box::new(delivered)));
                }
                let raised = self.raise(course.draft.clone()).await;
                let is_most = raised.max_fee <= course.draft.max_fee;
                course.draft = raised;
                tokio::time::sleep(self.settings.poll).await;
                let is_early = course.begun.elapsed() < self.settings.deadline;
                Ok(if is_early && !is_most { Next::Again } else { Next::Wait })
            }
            Some((Verdict::Other, reason)) => {
                let reason = reason.to_owned();
                self.account.disarm().await;
                Err(DeliverError::Refused {
                    account: self.account.address(),
                    reason,
                })
            }
        }
    }

    /// Whether the call is signed with another nonce now: the nonce is used by something that no receipt is found of, as the nodes and the chain
    /// say.
    async fn renew(&mut self, course: &mut Course) -> Result<bool, DeliverError> {
        let nonce = course.draft.nonce;
        let Ok(counts) = self.account.counts().await else {
            return Ok(false);
        };
        // What is too high can be filled, what is too low cannot be mended.
        let next = if counts.lower > nonce {
            counts.lower
        } else {
            counts.upper
        };
        if next <= nonce {
            return Ok(false);
        }
        // Not ours: once more with the chain's nonce, then it is somebody who uses our key.
        course.renewals = course.renewals.saturating_add(1);
        if course.renewals > 2 {
            return Err(DeliverError::NonceTaken {
                account: self.account.address(),
                nonce,
            });
        }
        tracing::warn!(nonce, next, "the nonce is used by something else: another is taken");
        self.account.nonces().give_up(nonce);
        (self.loose, self.accepted_at) = (false, None);
        (course.doubted, course.is_refused) = (None, false);
        self.account.disarm().await;
        course.slot = self.account.take_from(next);
        course.draft.nonce = course.slot.nonce;
        Ok(true)
    }

    /// Looks at what keeps the nonce from being used: those before it are sent again or filled, and one that may be used, or that the chain will
    /// not come to, is given up after a while.
    async fn look_at_nonce(&mut self, course: &mut Course, gaps: &mut Gaps<'_>) -> Result<Next, DeliverError> {
        let Ok(counts) = self.account.counts().await else {
            return Ok(Next::Wait);
        };
        let own = course.slot.nonce;
        if counts.lower > own
            && let Some(delivered) = self.included_anywhere(counts.lower).await?
        {
            return Ok(Next::Delivered(Box::new(delivered)));
        }
        // A reorg took transactions of ours back, or one before it was given up: it would wait for ever.
        gaps.fill(counts.lower, own).await;
        let is_used = counts.upper > own || course.is_refused;
        if !is_used && own.saturating_sub(counts.lower) < FAR {
            course.doubted = None;
            return Ok(Next::Wait);
        }
        let since = *course.doubted.get_or_insert_with(Instant::now);
        if since.elapsed() < self.settings.bump_after {
            return Ok(Next::Wait);
        }
        if counts.lower > own {
            let is_renewed = self.renew(course).await?;
            return Ok(if is_renewed { Next::Again } else { Next::Wait });
        }
        Err(self.give_up(own, is_used).await)
    }

    /// Gives a nonce up that nobody can say of whether it is used: whoever delivers the call next takes another, believing the other endpoint.
    async fn give_up(&self, nonce: u64, is_used: bool) -> DeliverError {
        self.account.nonces().give_up(nonce);
        self.account.nonces().doubt(is_used);
        self.account.disarm().await;
        DeliverError::Doubtful {
            account: self.account.address(),
            nonce,
        }
    }

    /// The nonce that bytes were sent with before.
    fn held(&self) -> Option<u64> {
        self.account.nonces().held(self.sent.iter().map(|sent| sent.nonce))
    }

    /// Takes a nonce: the one that bytes were sent with before, or else the first that the chain wants and nobody has.
    async fn draft(&self) -> Result<(Slot, Draft), DeliverError> {
        let (slot, armed) = self.account.take_nonce(self.held()).await?;
        let draft = self.draft_with(slot.nonce, &armed);
        Ok((slot, draft))
    }

    fn draft_with(&self, nonce: u64, armed: &Armed) -> Draft {
        let held = self.last_with(nonce);
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
    async fn send(&self, sent: &SentTransaction) -> Result<(Result<(), Vec<RpcError>>, Instant), DeliverError> {
        if let Some((_, intent)) = self.ledger {
            // Before they are sent: whatever becomes of this delivery, they may land.
            self.account.nonces().reserve(intent.id, sent);
        }
        let send = async { (self.account.rpc().send_everywhere(&sent.raw).await, Instant::now()) };
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

    async fn delivered(&self, sent: &SentTransaction, receipt: TransactionReceipt, block: BlockRef) -> Delivered {
        self.account.used(sent.nonce).await;
        Delivered {
            sent: sent.clone(),
            receipt,
            block,
            accepted_at: self.accepted_at,
        }
    }

    /// The one of the sent transactions that has a receipt, as the endpoint says that is asked first.
    async fn included(&self) -> Result<Option<Delivered>, DeliverError> {
        let rpc = self.account.rpc();
        for sent in self.sent.iter().rev() {
            match rpc.receipt(sent.hash).await {
                Ok(Some(receipt)) => {
                    if let Some(block) = rpc.block_of(sent.hash, &receipt, false).await {
                        return Ok(Some(self.delivered(sent, receipt, block).await));
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_unreachable() => tracing::warn!(%error, "a receipt could not be asked for"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The same, as any endpoint says. Nonces below `used` are used, as agreed.
    async fn included_anywhere(&self, used: u64) -> Result<Option<Delivered>, DeliverError> {
        for sent in self.sent.iter().rev() {
            match self.account.rpc().receipt_anywhere(sent.hash, sent.nonce < used).await {
                Ok(Some((receipt, block))) => return Ok(Some(self.delivered(sent, receipt, block).await)),
                Ok(None) => {}
                Err(error) if error.is_unreachable() => tracing::warn!(%error, "a receipt could not be asked for"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
