//! Nonces that a delivery waits for and nothing is on its way with. What was sent with such a nonce for an intent that still wants it is sent
//! again; any other is used up by a transaction to the account itself that does nothing: what was sent with it before is cancelled by that.
//! Whatever waits behind it keeps its own nonce.

use std::collections::BTreeMap;

use alloy::primitives::Bytes;

use super::account::{Account, AccountError, Draft};
use super::broadcast::{Verdict, bumped, judge_all};
use super::deliver::DeliverSettings;
use crate::record::SentTransaction;

/// Gas of a transaction that does nothing: what Arbitrum charges for its bytes on Ethereum is part of it.
const GAS: u64 = 500_000;

/// The gaps before one delivery.
#[derive(Debug)]
pub(super) struct Gaps<'a> {
    account: &'a Account,
    settings: &'a DeliverSettings,
    /// What was sent last with each nonce.
    sent: BTreeMap<u64, SentTransaction>,
}

impl<'a> Gaps<'a> {
    pub(super) fn new(account: &'a Account, settings: &'a DeliverSettings) -> Self {
        Self {
            account,
            settings,
            sent: BTreeMap::new(),
        }
    }

    /// Fills what is missing from `next`, which the chain wants, to `own`, in order: what was sent for an intent that goes on with it is sent
    /// again, the others are used up, each time with higher fees. Whatever fails is tried again the next time.
    pub(super) async fn fill(&mut self, next: u64, own: u64) {
        let gap = self.account.nonces().gap(next, own);
        for nonce in gap {
            let reserved = self.account.nonces().reserved(nonce);
            let answer = match reserved {
                Some(held) if !held.is_given_up => {
                    tracing::warn!(nonce, own, tx = %held.sent.hash, "what was sent with a nonce that is waited for is sent again");
                    self.send(&held.sent).await
                }
                held => self.use_up(nonce, held.map(|held| held.sent)).await,
            };
            if answer == Some(Verdict::NonceUsed) {
                // The chain has come further than was said.
                self.account.disarm().await;
                return;
            }
        }
    }

    /// Uses a nonce up by a transaction that does nothing, in the place of what was `sent` with it.
    pub(super) async fn use_up(&mut self, nonce: u64, sent: Option<SentTransaction>) -> Option<Verdict> {
        let filler = async {
            let draft = self.draft(nonce, sent).await?;
            self.account.sign(&draft).await
        };
        let filler = match filler.await {
            Ok(filler) => filler,
            Err(error) => {
                tracing::warn!(nonce, %error, "a nonce that is waited for cannot be used up");
                return None;
            }
        };
        tracing::warn!(nonce, tx = %filler.hash, "a nonce that nothing is on its way with is used up");
        self.sent.insert(nonce, filler.clone());
        self.send(&filler).await
    }

    async fn send(&self, sent: &SentTransaction) -> Option<Verdict> {
        if !self.account.may_send() {
            return None;
        }
        let errors = self.account.rpc().send_everywhere(&sent.raw).await.err()?;
        tracing::warn!(nonce = sent.nonce, ?errors, "it was not taken");
        judge_all(&errors).map(|(verdict, _)| verdict)
    }

    /// More than what was sent with it last.
    async fn draft(&self, nonce: u64, sent: Option<SentTransaction>) -> Result<Draft, AccountError> {
        let (_, armed) = self.account.armed().await?;
        let last = self.sent.get(&nonce).or(sent.as_ref());
        let max_fee = last.map_or(0, |last| last.max_fee).max(armed.max_fee());
        let priority_fee = last.map_or(0, |last| last.priority_fee).max(armed.priority_fee);
        let max_fee = bumped(max_fee).min(self.settings.fee_cap);
        Ok(Draft {
            to: self.account.address(),
            data: Bytes::new(),
            gas: GAS,
            nonce,
            max_fee,
            priority_fee: bumped(priority_fee).min(max_fee),
        })
    }
}
