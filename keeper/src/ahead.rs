//! Blocks that are announced before the endpoints have them: by a subscription that is quicker, or by somebody who makes them up. What the
//! endpoints have themselves does not wait for them.

use std::time::Instant;

use crate::chain::{BlockRef, BlockSource, Canonical, FollowError, Heads, Seen, Via};
use crate::pipeline::{Hindrance, PROBE_LAG, Pipeline, WINDOW};
use crate::rules::ReadError;

impl Hindrance {
    /// Whether the block that was announced, or the way to it, is one that the endpoints do not have, or not yet.
    pub(crate) fn is_ahead(&self) -> bool {
        let is_absurd = self.is_absurd();
        is_absurd
            || matches!(
                self,
                Self::Follow(FollowError::MissingParent { .. }) | Self::Read(ReadError::Gone { .. })
            )
    }

    /// Whether it is something that cannot be, whoever said it.
    fn is_absurd(&self) -> bool {
        matches!(
            self,
            Self::Follow(
                FollowError::Unknown { .. } | FollowError::WrongHeight { .. } | FollowError::WrongBlock { .. }
            )
        )
    }
}

impl Pipeline {
    /// Follows the chain as far as the endpoints have it, without the head that they have not.
    pub(crate) async fn follow_without(
        &self,
        hindrance: &Hindrance,
        chain: &mut Canonical,
        head: Seen,
        heads: &Heads,
    ) -> Result<(), Hindrance> {
        let is_wrong = matches!(hindrance, Hindrance::Follow(FollowError::WrongBlock { .. }));
        if is_wrong || (hindrance.is_absurd() && head.via == Via::Poll) {
            self.rpc.pass_over();
        }
        // What was not finished is begun again.
        *chain = Canonical::new(WINDOW as usize, self.store.window(WINDOW).await?);
        let latest = self.rpc.latest().await.map_err(FollowError::Rpc)?;
        if latest == head.block {
            return Ok(());
        }
        let latest = Seen {
            block: latest,
            at: Instant::now(),
            via: Via::Poll,
        };
        self.follow_to(chain, latest, heads).await
    }

    /// Evaluates the newest block that the endpoints have, when it is much newer than `next`, whose turn it is. What hinders that hinders no
    /// other block.
    pub(crate) async fn probe(&self, newest: Seen, next: &BlockRef) {
        let block = match self.headers.by_hash(newest.block.hash).await {
            Ok(Some(block)) => Ok(block),
            _ => self.rpc.latest().await,
        };
        let result = match block {
            Ok(block) if block.number.saturating_sub(next.number) <= PROBE_LAG => return,
            Ok(block) => self.process(&block, newest.at, false).await.map(|()| block.number),
            Err(error) => Err(FollowError::Rpc(error).into()),
        };
        match result {
            Ok(number) => self.progress.done(number),
            Err(hindrance) => tracing::warn!("the newest block could not be evaluated ahead of its turn: {hindrance}"),
        }
    }
}
