//! Transactions that do nothing but use a nonce: where one is missing before an action, and in place of an action that has ended and must not
//! happen any more.

use alloy::primitives::Bytes;

use super::account::{Account, Draft};
use super::deliver::bumped;
use super::nonces::Again;
use super::verdict::{Verdict, judge_all};

/// Gas limit: what a transfer of nothing takes, with room for the calldata that Arbitrum charges for its parent chain.
const GAS: u64 = 1_000_000;
/// Raises by a quarter until something that waits with the nonce is replaced: fees a hundredfold.
const RAISES: u32 = 20;

impl Account {
    /// Uses a nonce for nothing, offering more than `fee` (wei per gas), and up to `cap` where that does not do. What becomes of it is seen by the
    /// chain's count.
    pub(super) async fn fill(&self, nonce: u64, fee: u128, cap: u128) {
        let mut draft = Draft {
            to: self.address(),
            data: Bytes::new(),
            gas: GAS,
            nonce,
            max_fee: bumped(fee).min(cap),
            priority_fee: bumped(self.priority_fee().await).min(cap),
        };
        for _ in 0..RAISES {
            if !self.may_send() {
                return;
            }
            let signed = match self.sign(&draft).await {
                Ok(signed) => signed,
                Err(error) => {
                    tracing::warn!(%error, nonce, "a nonce cannot be filled");
                    return;
                }
            };
            let Err(refused) = self.rpc().send_raw(&signed.raw).await else {
                return;
            };
            if !matches!(judge_all(&refused.refusals), Some((Verdict::Underpriced, _))) {
                tracing::info!(%refused, nonce, "a nonce was not filled");
                return;
            }
            draft.max_fee = bumped(draft.max_fee).min(cap);
            draft.priority_fee = bumped(draft.priority_fee).min(draft.max_fee);
        }
    }

    /// Makes sure that a transaction with this nonce, which offered `fee`, is not included later: its action has ended in another way. Nothing
    /// when the chain has used the nonce, or another delivery has it.
    pub(super) async fn withdraw(&self, nonce: u64, fee: u128, cap: u128) {
        let _turn = self.turn().await;
        let Ok((Again::Ours(_slot), _)) = self.take_again(nonce).await else {
            return;
        };
        tracing::warn!(nonce, "an action that has ended is taken out of the way of the chain");
        self.fill(nonce, fee, cap).await;
    }
}
