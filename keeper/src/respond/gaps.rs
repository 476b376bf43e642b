//! Nonces that a delivery waits for and nothing is on its way with: each is used up by a transaction to the account itself that does
//! nothing. What was sent with such a nonce before is cancelled by that, and whatever waits behind it keeps its own nonce.

use std::collections::BTreeMap;

use alloy::primitives::Bytes;

use super::account::{Account, Draft};
use super::broadcast::{Verdict, bumped, judge};
use super::deliver::{DeliverError, DeliverSettings};
use crate::chain::RpcError;
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

    /// Fills what is missing before `own`, in order, each time with higher fees. A node that refuses or does not answer is asked again the
    /// next time.
    ///
    /// # Errors
    /// When the key does not sign, or another keeper may have the turn.
    pub(super) async fn fill(&mut self, own: u64) -> Result<(), DeliverError> {
        for nonce in self.account.gap_before(own).await {
            let draft = self.draft(nonce).await?;
            let filler = self.account.sign(&draft).await?;
            if !self.account.may_send() {
                return Err(DeliverError::NotOurTurn);
            }
            tracing::warn!(nonce, own, tx = %filler.hash, "nothing is on its way with a nonce that is waited for; it is used up");
            let answer = self.account.rpc().send_raw(&filler.raw).await;
            self.sent.insert(nonce, filler);
            match answer {
                Err(RpcError::Refused { message, .. }) if judge(&message) == Verdict::NonceUsed => {
                    // The chain has come further than was said.
                    self.account.disarm().await;
                    return Ok(());
                }
                Err(error) => tracing::warn!(nonce, %error, "it was not taken"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn draft(&self, nonce: u64) -> Result<Draft, DeliverError> {
        let (max_fee, priority_fee) = match self.sent.get(&nonce) {
            Some(last) => (last.max_fee, last.priority_fee),
            None => {
                let (_, armed) = self.account.armed().await?;
                (armed.max_fee(), armed.priority_fee)
            }
        };
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
