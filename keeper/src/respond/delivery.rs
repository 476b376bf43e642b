//! Getting a transaction into a block: the same bytes again and again, then the same nonce with higher fees, until one of
//! them has a receipt.
//!
//! Arbitrum's sequencer has no mempool: a transaction whose nonce is ahead is dropped after a second, one that was lost is
//! lost. So nonces are the chain's and those that follow what is on its way, transactions are sent in their order, and bytes are
//! sent until they are in. A call keeps its nonce until the chain has used it, over failures and restarts: so it has one effect at
//! most. What is missing before it is filled with transactions that do nothing.

use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use super::account::{Account, Armed, Draft};
use super::deliver::{Call, DeliverError, DeliverSettings, Delivered, bumped};
use super::nonces::{Again, Slot};
use super::verdict::{Verdict, judge_all};
use crate::chain::NotSent;
use crate::record::{Intent, SentTransaction, Store, StoreError};

/// Refusals of used nonces after which it must be somebody else who uses our key.
const RENEWALS: u32 = 2;
/// Most nonces that are filled. A nonce that is further ahead is the word of an endpoint that lied: it is left.
const MOST_FILLED: u64 = 64;
/// What was offered before is offered again if it is no more than this many times what a new transaction would offer: what a lying
/// endpoint, or a peak, has driven up comes down again.
const DEAR: u128 = 4;

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

/// What a delivery goes on with.
enum Next {
    /// It is in a block.
    In(Box<Delivered>),
    /// It is sent with this nonce.
    With(Slot, Draft),
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

    /// Sends the call and waits until it is in a block. `on_accepted` hears of the first acceptance.
    pub(super) async fn run(
        mut self,
        on_accepted: impl Fn(&SentTransaction, Instant),
    ) -> Result<Delivered, DeliverError> {
        let account = self.account;
        let begun = Instant::now();
        let (next, turn) = self.begin(begun).await?;
        let (mut slot, mut draft) = match next {
            Next::In(delivered) => return Ok(*delivered),
            Next::With(slot, draft) => (slot, draft),
        };
        let mut turn = Some(turn);
        let mut renewals = 0_u32;
        let mut bumped_at = begun;
        loop {
            let current = self.signed(&mut draft).await?;
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
                Err(refused) => match judge_all(&refused.refusals) {
                    // It may have arrived all the same: look for its receipt, send it again.
                    None => tracing::warn!(error = %refused, "a broadcast was not answered; it is sent again"),
                    // The same bytes are sent again: by then the one before may be in.
                    Some((Verdict::Known | Verdict::Ahead, _)) => {}
                    Some((Verdict::NonceUsed, _)) => {
                        if let Some(delivered) = self.settle_nonce().await? {
                            return Ok(delivered);
                        }
                        renewals = renewals.saturating_add(1);
                        if renewals > RENEWALS {
                            return Err(self.taken(draft.nonce));
                        }
                        if account.has_passed(slot.nonce).await? {
                            (slot, draft) = self.draft_anew(slot).await?;
                        } else {
                            tokio::time::sleep(self.settings.poll).await;
                        }
                        continue;
                    }
                    Some((Verdict::Underpriced, _)) => {
                        draft = self.raise(draft).await;
                        tokio::time::sleep(self.settings.poll).await;
                        if begun.elapsed() < self.settings.deadline {
                            continue;
                        }
                    }
                    Some((verdict @ (Verdict::Funds | Verdict::Other), reason)) => {
                        let cheaper = match verdict {
                            Verdict::Funds => self.affordable(&draft).await,
                            _ => None,
                        };
                        let Some(cheaper) = cheaper else {
                            return Err(self.refused(reason).await);
                        };
                        draft = cheaper;
                        continue;
                    }
                },
            }
            if let Some(delivered) = self.wait(self.settings.rebroadcast, begun).await? {
                return Ok(delivered);
            }
            if begun.elapsed() >= self.settings.deadline {
                return Err(self.late(begun, &draft).await);
            }
            if bumped_at.elapsed() >= self.settings.bump_after {
                bumped_at = Instant::now();
                draft = self.raise(draft).await;
            }
            if !self.close_gap(&draft).await {
                (slot, draft) = self.draft_anew(slot).await?;
            }
        }
    }

    /// Takes the turn and a nonce. While another delivery sends with the nonce that this call has, one of the two will be included, and it is
    /// not known which: so it waits.
    async fn begin(&self, begun: Instant) -> Result<(Next, MutexGuard<'a, ()>), DeliverError> {
        loop {
            let turn = self.account.turn().await;
            if let Some(delivered) = self.included().await? {
                return Ok((Next::In(Box::new(delivered)), turn));
            }
            if let Some(next) = self.next().await? {
                return Ok((next, turn));
            }
            drop(turn);
            if begun.elapsed() >= self.settings.deadline {
                return Err(DeliverError::Contended {
                    account: self.account.address(),
                    nonce: self.sent.last().map_or(0, |sent| sent.nonce),
                    seconds: begun.elapsed().as_secs(),
                });
            }
            tokio::time::sleep(self.settings.poll).await;
        }
    }

    /// The nonce that the call was sent with before, or the next when it has none, or a stranger used it. `None` while another has it.
    async fn next(&self) -> Result<Option<Next>, DeliverError> {
        if let Some(held) = self.sent.last().map(|sent| sent.nonce) {
            match self.account.take_again(held).await? {
                (Again::Ours(slot), armed) => {
                    let draft = self.draft_with(slot.nonce, &armed);
                    return Ok(Some(Next::With(slot, draft)));
                }
                (Again::Taken, _) => return Ok(None),
                (Again::Used, _) => {
                    if let Some(delivered) = self.settle_nonce().await? {
                        return Ok(Some(Next::In(Box::new(delivered))));
                    }
                }
            }
        }
        let (slot, armed) = self.account.take_nonce().await?;
        let draft = self.draft_with(slot.nonce, &armed);
        Ok(Some(Next::With(slot, draft)))
    }

    /// The same with another nonce: the first that the chain wants and nobody has.
    async fn draft_anew(&self, slot: Slot) -> Result<(Slot, Draft), DeliverError> {
        drop(slot);
        let (slot, armed) = self.account.take_nonce().await?;
        let draft = self.draft_with(slot.nonce, &armed);
        Ok((slot, draft))
    }

    fn draft_with(&self, nonce: u64, armed: &Armed) -> Draft {
        let fresh = armed.max_fee();
        // What is enough for now: it is raised in time when it is not.
        let enough = armed.base_fee.saturating_add(armed.base_fee / 4).min(fresh);
        let offered = enough..=fresh.saturating_mul(DEAR);
        let mut held = self.sent.iter().rev().filter(|sent| sent.nonce == nonce);
        let held = held.find(|sent| offered.contains(&sent.max_fee));
        Draft {
            to: self.call.to,
            data: self.call.data.clone(),
            gas: self.call.gas,
            nonce,
            max_fee: held.map_or(fresh, |sent| sent.max_fee).min(self.settings.fee_cap),
            priority_fee: held.map_or(armed.priority_fee, |sent| sent.priority_fee),
        }
    }

    /// The signed bytes of a draft: those that were sent before, or were signed ahead, or new ones.
    async fn signed(&mut self, draft: &mut Draft) -> Result<SentTransaction, DeliverError> {
        let is_same = |sent: &&SentTransaction| sent.nonce == draft.nonce && sent.max_fee == draft.max_fee;
        if let Some(sent) = self.sent.iter().rev().find(is_same) {
            return Ok(sent.clone());
        }
        let signed = match self.account.take_ready(draft).await {
            Some(ready) => ready,
            None => self.account.sign(draft).await?,
        };
        (draft.max_fee, draft.priority_fee) = (signed.max_fee, signed.priority_fee);
        self.sent.push(signed.clone());
        Ok(signed)
    }

    /// The same transaction with higher fees: at least a quarter more, and at least what a new one would offer. A node that
    /// does not answer now must not end the delivery.
    async fn raise(&self, draft: Draft) -> Draft {
        let latest = self.account.rpc().latest().await;
        let base_fee = latest.map_or(0, |block| u128::from(block.base_fee));
        let priority_fee = bumped(draft.priority_fee);
        let fresh = base_fee.saturating_mul(2).saturating_add(priority_fee);
        let max_fee = bumped(draft.max_fee).max(fresh).min(self.settings.fee_cap);
        Draft {
            max_fee,
            priority_fee: priority_fee.min(max_fee),
            ..draft
        }
    }

    /// The same transaction with what the account can pay, when that is less and the chain may take it. What it offers at most is twice what it
    /// would pay, and may be what a wrong word of an endpoint made of it.
    async fn affordable(&self, draft: &Draft) -> Option<Draft> {
        let armed = self.account.refresh().await.ok()?;
        let held = self.account.look_at_balance().await.ok()?;
        let most = held.checked_div(alloy::primitives::U256::from(draft.gas))?;
        let most = u128::try_from(most).unwrap_or(u128::MAX);
        let max_fee = armed.max_fee().min(most).min(self.settings.fee_cap);
        (max_fee >= armed.base_fee && max_fee < draft.max_fee).then(|| Draft {
            max_fee,
            priority_fee: armed.priority_fee.min(max_fee),
            ..draft.clone()
        })
    }

    /// Fills what is missing before the call's nonce: a delivery before it was given up, or a reorg took transactions of ours back. `false`
    /// when too much is.
    async fn close_gap(&self, draft: &Draft) -> bool {
        let gap = self.account.gap(draft.nonce).await;
        let missing = gap.end.saturating_sub(gap.start);
        if missing > MOST_FILLED {
            tracing::error!(
                nonce = draft.nonce,
                missing,
                "the nonce at hand is far ahead of the chain, as if an endpoint had lied; the chain's is used"
            );
            self.account.disarm().await;
            return false;
        }
        for nonce in gap {
            tracing::warn!(nonce, before = draft.nonce, "a nonce that nothing has is filled");
            self.account.fill(nonce, draft.max_fee, self.settings.fee_cap).await;
        }
        true
    }

    fn taken(&self, nonce: u64) -> DeliverError {
        DeliverError::NonceTaken {
            account: self.account.address(),
            nonce,
        }
    }

    async fn refused(&self, reason: &str) -> DeliverError {
        self.account.disarm().await;
        DeliverError::Refused {
            account: self.account.address(),
            reason: reason.to_owned(),
        }
    }

    async fn late(&self, begun: Instant, draft: &Draft) -> DeliverError {
        self.account.disarm().await;
        DeliverError::Late {
            account: self.account.address(),
            nonce: draft.nonce,
            seconds: begun.elapsed().as_secs(),
            max_fee: draft.max_fee,
        }
    }

    /// Sends the bytes and records them. Where others may take over at any time, the record's transaction says that it is still
    /// our turn before anything is sent.
    async fn send(&self, sent: &SentTransaction) -> Result<(Result<(), NotSent>, Instant), DeliverError> {
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
