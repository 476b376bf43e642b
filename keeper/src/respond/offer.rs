//! What a delivery offers: bytes that were signed before as long as they will do, then higher fees, or what can be paid.

use alloy::primitives::U256;

use super::account::{Armed, DEAR, Draft, MOST_TIP};
use super::deliver::{DeliverError, bumped};
use super::delivery::Delivery;
use super::fill::Filled;
use crate::record::SentTransaction;

/// Most nonces that are filled. A nonce that is further ahead is the word of an endpoint that lied: it is left.
const MOST_FILLED: u64 = 64;

impl Delivery<'_> {
    /// The call with a nonce, at what was offered before if that will do and is not dear.
    pub(super) fn draft(&self, nonce: u64, armed: &Armed) -> Draft {
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
    pub(super) async fn signed(&mut self, draft: &mut Draft) -> Result<SentTransaction, DeliverError> {
        let is_same = |sent: &&SentTransaction| sent.nonce == draft.nonce && sent.max_fee == draft.max_fee;
        if let Some(sent) = self.sent.iter().rev().find(is_same) {
            return Ok(sent.clone());
        }
        // What was refused once is not taken from what lies ready again.
        let ready = match self.refused {
            0 => self.account.take_ready(draft).await,
            _ => None,
        };
        let signed = match ready {
            Some(ready) => ready,
            None => self.account.sign(draft).await?,
        };
        (draft.max_fee, draft.priority_fee) = (signed.max_fee, signed.priority_fee);
        self.sent.push(signed.clone());
        Ok(signed)
    }

    /// The same transaction with higher fees: at least a quarter more, and at least what a new one would offer, as far as one endpoint's word
    /// goes. A node that does not answer now must not end the delivery.
    pub(super) async fn raised(&self, draft: Draft) -> Draft {
        let (agreed, highest) = match self.account.rpc().base_fees(self.account.newest()).await {
            Ok(said) => (u128::from(said.agreed), u128::from(said.highest)),
            Err(_) => (0, 0),
        };
        let base_fee = highest.min(agreed.max(draft.max_fee).saturating_mul(DEAR));
        let priority_fee = bumped(draft.priority_fee).min(MOST_TIP);
        let fresh = base_fee.saturating_mul(2).saturating_add(priority_fee);
        let max_fee = bumped(draft.max_fee).max(fresh).min(self.settings.fee_cap);
        Draft {
            max_fee,
            priority_fee: priority_fee.min(max_fee),
            ..draft
        }
    }

    /// The same transaction with what the account can pay, when that is less. What it offers at most is twice what it would pay, and may be what a
    /// wrong word of an endpoint made of it; whether it is enough the chain says.
    pub(super) async fn affordable(&self, draft: &Draft) -> Option<Draft> {
        let armed = self.account.refresh().await.ok()?;
        let held = self.account.look_at_balance().await.ok()?;
        let most = held.checked_div(U256::from(draft.gas))?;
        let most = u128::try_from(most).unwrap_or(u128::MAX);
        let max_fee = armed.max_fee().min(most).min(self.settings.fee_cap);
        (max_fee > 0 && max_fee < draft.max_fee).then(|| Draft {
            max_fee,
            priority_fee: armed.priority_fee.min(max_fee),
            ..draft.clone()
        })
    }

    /// Fills what is missing before the call's nonce: a delivery before it was given up, or a reorg took transactions of ours back. `false`
    /// when too much is.
    pub(super) async fn close_gap(&mut self, draft: &Draft) -> bool {
        // Those that are still missing were lost.
        self.fillers.clear();
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
        if missing > 0 && self.account.needs_hand() {
            let (missing, patience) = (&self.account.missing, self.settings.bump_after);
            missing.tell(self.account.address(), &gap, patience).await;
            return true;
        }
        for nonce in gap {
            if self.is_over() {
                break;
            }
            let Some(slot) = self.account.take_missing(nonce) else {
                break;
            };
            tracing::warn!(nonce, before = draft.nonce, "a nonce that nothing has is filled");
            match self.account.fill(nonce, draft.max_fee, self.settings.fee_cap).await {
                Filled::Sent => self.fillers.push(slot),
                Filled::Used => {}
                Filled::Not => break,
            }
        }
        true
    }
}
