//! Transactions that do nothing but use a nonce: where one is missing before an action, and in place of an action that has ended and must not
//! happen any more.

use alloy::primitives::Bytes;

use super::account::{Account, Draft, MOST_TIP};
use super::deliver::bumped;
use super::nonces::Again;
use super::verdict::{Verdict, judge_all};

/// Gas limit: what a transfer of nothing takes, with room for the calldata that Arbitrum charges for its parent chain.
const GAS: u64 = 1_000_000;
/// Raises by a quarter until something that waits with the nonce is replaced: fees a hundredfold.
const RAISES: u32 = 20;

/// What has come of filling a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// A node has taken it; what becomes of it is seen by the chain's count.
    Sent,
    /// It was used already.
    Used,
    /// No node takes it now.
    Not,
}

impl Account {
    /// Uses a nonce for nothing, offering more than `fee` (wei per gas), and up to `cap` where that does not do. Nobody is
    /// asked to confirm it by hand.
    pub(super) async fn fill(&self, nonce: u64, fee: u128, cap: u128) -> Filled {
        if self.needs_hand() {
            return Filled::Not;
        }
        let mut draft = Draft {
            to: self.address(),
            data: Bytes::new(),
            gas: GAS,
            nonce,
            max_fee: bumped(fee).max(self.max_fee().await).min(cap),
            priority_fee: bumped(self.priority_fee().await).min(cap).min(MOST_TIP),
        };
        for _ in 0..RAISES {
            if !self.may_send() {
                return Filled::Not;
            }
            let signed = match self.sign(&draft).await {
                Ok(signed) => signed,
                Err(error) => {
                    tracing::warn!(%error, nonce, "a nonce cannot be filled");
                    return Filled::Not;
                }
            };
            let Err(refused) = self.rpc().send_raw(&signed.raw).await else {
                return Filled::Sent;
            };
            match judge_all(&refused.refusals) {
                Some((Verdict::Known, _)) => return Filled::Sent,
                Some((Verdict::NonceUsed, _)) => return Filled::Used,
                Some((Verdict::Underpriced, _)) => {}
                _ => {
                    tracing::info!(%refused, nonce, "a nonce was not filled");
                    return Filled::Not;
                }
            }
            draft.max_fee = bumped(draft.max_fee).min(cap);
            draft.priority_fee = bumped(draft.priority_fee).min(draft.max_fee).min(MOST_TIP);
        }
        Filled::Not
    }

    /// Makes sure that a transaction with this nonce, which offered `fee`, is not included later: its action has ended in another way. Whether
    /// that is sure, since the chain has used the nonce. Nothing while another delivery has it.
    pub(super) async fn withdraw(&self, nonce: u64, fee: u128, cap: u128) -> bool {
        if self.nonces.is_over(nonce) {
            return true;
        }
        match self.take_again(nonce).await {
            Ok((Again::Ours(_slot), _)) => {
                // Told when it is so: one that cannot be is tried every few seconds.
                if self.fill(nonce, fee, cap).await == Filled::Sent {
                    tracing::warn!(nonce, "an action that has ended is taken out of the way of the chain");
                }
                false
            }
            Ok((Again::Used, _)) => {
                self.nonces.note_over(nonce);
                true
            }
            Ok((Again::Taken, _)) | Err(_) => false,
        }
    }
}
