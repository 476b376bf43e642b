//! Coming back from a fork that is deeper than what is held in memory: the record says which of its blocks the chain still has, and
//! everything above them is taken back and evaluated anew. Nothing of the chain that is right stays unevaluated, nothing of the other one
//! stays in force.

use crate::chain::{BlockRef, BlockSource, Canonical, FollowError, Standing};
use crate::pipeline::{Hindrance, Pipeline, WINDOW};
use crate::watchdog::LOOK_AGAIN;

/// Blocks that are taken back in one transaction: a shared database must not keep its lease locked for long.
const PAGE: u32 = 64;

impl Pipeline {
    /// Finds where the chain of `head` leaves that of the record, takes back what lies above, in parts, and answers the window to go on
    /// with. Each part is one transaction of the record and moves the checkpoint: a keeper that is killed between two of them finds the
    /// rest of the fork again, and goes on here.
    pub(crate) async fn rejoin(&self, chain: &Canonical, head: &BlockRef) -> Result<Canonical, Hindrance> {
        let Some(tip) = chain.tip().copied() else {
            return Ok(Canonical::new(WINDOW as usize, self.store.window(WINDOW).await?));
        };
        let top = tip.number.min(head.number);
        // Of another chain nothing is common; which endpoints are is looked at first.
        if let Some(error) = self.rpc.check_chains().await.into_iter().next() {
            tracing::error!(%error, "an endpoint is of another chain");
        }
        // A record that has only just begun has little to take back, and shallow forks may go beyond its beginning.
        if chain.blocks().count() >= WINDOW as usize {
            self.believe(top, head).await?;
        }
        let first = self.first_replaced(top).await?;
        if first > top {
            return Err(unsure(first, "the endpoint's chain ends before anything was replaced"));
        }
        let next = self.headers.by_number(first).await.map_err(FollowError::Rpc)?;
        let Some(next) = next else {
            return Err(unsure(first, "the endpoint does not have the block that replaces it"));
        };
        tracing::error!(
            from = first,
            to = tip.number,
            "the endpoints have other blocks than those that were evaluated: all of them are evaluated anew"
        );
        loop {
            let page = self.store.evaluated_from(first, PAGE).await?;
            if page.is_empty() {
                break;
            }
            self.revert(&page).await?;
        }
        self.store.go_on_with(&next).await?;
        self.progress.done(first.saturating_sub(1));
        Ok(Canonical::new(WINDOW as usize, self.store.window(WINDOW).await?))
    }

    /// Makes sure that the head is one of the chain that is followed: an endpoint that is wrong, or lies, must not have hours of the
    /// record taken back.
    async fn believe(&self, below: u64, head: &BlockRef) -> Result<(), Hindrance> {
        let Some(comparison) = self.rpc.compare(LOOK_AGAIN).await else {
            // There is one endpoint: what it has is the chain.
            return Ok(());
        };
        // In a split only the side that is followed is asked, and people know.
        let is_split = matches!(comparison.standing, Standing::Split(_));
        if !is_split && comparison.good.len() < 2 {
            return Err(unsure(
                below,
                "only one of the endpoints says so and no other one answers",
            ));
        }
        let now = self.headers.by_number(head.number).await.map_err(FollowError::Rpc)?;
        if now.is_none_or(|now| now.hash != head.hash) {
            return Err(unsure(below, "the head is none of the chain that is followed"));
        }
        Ok(())
    }

    /// Height of the oldest block at or below `top` that the chain has replaced; more than `top` when it has replaced none. By bisection:
    /// what two chains have in common lies below what they have not.
    async fn first_replaced(&self, top: u64) -> Result<u64, Hindrance> {
        let (mut first, mut low, mut high) = (0, 0_u64, top);
        while low <= high {
            let middle = low.midpoint(high);
            let Some(held) = self.store.canonical_at(middle).await? else {
                // The record begins above.
                low = middle.saturating_add(1);
                first = first.max(low);
                continue;
            };
            let now = self.headers.by_number(held.number).await.map_err(FollowError::Rpc)?;
            if now.is_some_and(|now| now.hash == held.hash) {
                first = held.number.saturating_add(1);
                low = middle.saturating_add(1);
            } else if let Some(below) = held.number.checked_sub(1) {
                high = below;
            } else {
                break;
            }
        }
        Ok(first)
    }
}

fn unsure(below: u64, why: &str) -> Hindrance {
    Hindrance::Follow(FollowError::Unsure {
        below,
        why: why.to_owned(),
    })
}
