//! What an action is sent with: the keeper's keys one after the other, after what another keeper of the fleet has signed for it.

use std::time::Instant;

use alloy::primitives::Address;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;

use super::account::Account;
use super::answer::effects;
use super::deliver::{Call, DeliverError, Delivered};
use super::delivery::Delivery;
use super::queue::Job;
use super::responder::{FIRST_RETRY, Responder};
use super::verdict::{Verdict, judge_all};
use crate::event::KeeperEvent;
use crate::record::{Intent, SentTransaction};

/// How often what another keeper has signed is sent while all endpoints refuse it: what it waits for may arrive in a moment.
const TRIES: u32 = 3;

impl Responder {
    /// Of several of our transactions that are in blocks, the one that raised the level: the others found it raised.
    pub(super) async fn effective(&self, intent: &Intent, delivered: Delivered) -> Result<Delivered, DeliverError> {
        let raised = |held: &Delivered| effects(&held.receipt, self.guard, intent.scope).raised;
        if self.accounts.len() < 2 || raised(&delivered) {
            return Ok(delivered);
        }
        for tx in self.store.transactions_of(intent.id).await? {
            if let Some(other) = self.included(&[tx.into()]).await?
                && raised(&other)
            {
                return Ok(other);
            }
        }
        Ok(delivered)
    }

    /// Lets the keys send the call one after the other until one has got through. The next begins when the one before has failed, or no endpoint
    /// has taken it within a block, or it is not in one two blocks after that: one to be included in, one to be told. The others stop.
    pub(super) async fn race(
        &self,
        job: &Job,
        call: &Call,
        sent: &[SentTransaction],
    ) -> Result<Delivered, DeliverError> {
        let taken = Notify::new();
        let on_accepted = |sent: &SentTransaction, at: Instant| {
            taken.notify_one();
            let event = KeeperEvent::Broadcast {
                intent: job.intent.id,
                kind: job.intent.kind,
                tx: sent.hash,
                decision_to_broadcast: job.decided_at.map(|decided| at.saturating_duration_since(decided)),
            };
            let _ = self.events.send(event);
        };
        let hedge = self.settings.hedge;
        let mut waiting = self.accounts.iter();
        let mut begun: Vec<&Account> = waiting.next().into_iter().collect();
        let mut runs: FuturesUnordered<_> = begun
            .iter()
            .copied()
            // The others are given up as soon as one is through: they are in no hurry.
            .map(|account| self.send_with(account, (job, call, sent), true, &on_accepted))
            .collect();
        let mut due = Instant::now() + hedge;
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                Some((winner, result)) = runs.next() => {
                    let is_through = matches!(&result, Ok(delivered) if delivered.receipt.status());
                    // No other key is to send what may be needless.
                    let is_doubtful = matches!(
                        &result,
                        Err(DeliverError::Groundless | DeliverError::Overtaken { .. })
                    );
                    last = Some(match (last, result) {
                        // That one key cannot send matters less than what became of another's transaction.
                        (Some(held @ Ok(_)), Err(_)) => held,
                        (_, result) => result,
                    });
                    if is_through || is_doubtful {
                        drop(runs);
                        for account in begun.into_iter().filter(|account| account.address() != winner) {
                            // What it has sent may still take its nonce.
                            account.disarm().await;
                        }
                        break;
                    }
                    due = Instant::now();
                }
                () = taken.notified(), if waiting.len() > 0 => due = Instant::now() + hedge.saturating_mul(2),
                () = tokio::time::sleep_until(due.into()), if waiting.len() > 0 => {
                    if let Some(account) = waiting.next() {
                        begun.push(account);
                        runs.push(self.send_with(account, (job, call, sent), false, &on_accepted));
                    }
                    due = Instant::now() + hedge;
                }
                else => break,
            }
        }
        last.unwrap_or(Err(DeliverError::NotOurTurn))
    }

    /// Sends the call with one key until it is in a block; answers whose it is, too.
    async fn send_with(
        &self,
        account: &Account,
        (job, call, sent): (&Job, &Call, &[SentTransaction]),
        hurries: bool,
        on_accepted: impl Fn(&SentTransaction, Instant),
    ) -> (Address, Result<Delivered, DeliverError>) {
        let own = sent.iter().filter(|tx| tx.sender == account.address());
        let mut delivery = Delivery::unrecorded(account, &self.settings, call).recorded(
            &self.store,
            &job.intent,
            own.cloned().collect(),
        );
        delivery = delivery.judged_by(self);
        if hurries {
            delivery = delivery.in_a_hurry();
        }
        if !job.is_fresh() {
            delivery = delivery.again();
        }
        (account.address(), delivery.run(on_accepted).await)
    }

    /// The one of these that is in a block.
    pub(super) async fn included(&self, sent: &[SentTransaction]) -> Result<Option<Delivered>, DeliverError> {
        for tx in sent {
            let receipt = self.rpc.receipt(tx.hash).await?;
            if let (Some(receipt), Some(account)) = (receipt, self.first())
                && receipt.block_hash.is_some()
                && account.told_by(tx, &receipt).await > 0
            {
                return Ok(Some(Delivered {
                    sent: tx.clone(),
                    receipt,
                    accepted_at: None,
                }));
            }
        }
        Ok(None)
    }

    /// Sends what another keeper has signed for the intent once more and gives it as long as a transaction gets before it is
    /// replaced: the same bytes have one effect, whoever sends them. What no endpoint takes is tried a few times, and not waited for.
    pub(super) async fn carry_on(&self, others: &[SentTransaction]) -> Result<Option<Delivered>, DeliverError> {
        let over = Instant::now() + self.settings.bump_after;
        let (mut pause, mut refused) = (FIRST_RETRY, 0_u32);
        while !others.is_empty() && refused < TRIES && Instant::now() < over {
            if !self.first().is_some_and(Account::may_send) {
                return Err(DeliverError::NotOurTurn);
            }
            let until = match self.resend(others).await {
                Resent::Taken => over,
                Resent::Unknown => over.min(Instant::now() + self.settings.rebroadcast),
                Resent::Refused => {
                    refused = refused.saturating_add(1);
                    let until = over.min(Instant::now() + pause);
                    pause = pause.saturating_mul(2);
                    until
                }
            };
            while Instant::now() < until {
                if let Some(delivered) = self.included(others).await? {
                    return Ok(Some(delivered));
                }
                tokio::time::sleep(self.settings.poll).await;
            }
        }
        Ok(None)
    }

    /// The best that came of sending these once more.
    async fn resend(&self, others: &[SentTransaction]) -> Resent {
        let mut best = Resent::Refused;
        for tx in others {
            let come = match self.rpc.send_raw(&tx.raw).await {
                Ok(_) => Resent::Taken,
                Err(error) => {
                    tracing::info!(tx = %tx.hash, %error, "a transaction of another keeper is not taken again");
                    match judge_all(&error.refusals) {
                        Some((Verdict::Known, _)) => Resent::Taken,
                        _ if error.silent.is_some() => Resent::Unknown,
                        _ => Resent::Refused,
                    }
                }
            };
            best = best.max(come);
        }
        best
    }
}

/// What came of sending what another keeper has signed, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Resent {
    /// No endpoint takes it now.
    Refused,
    /// It may have arrived where nobody has answered.
    Unknown,
    /// An endpoint has it.
    Taken,
}
