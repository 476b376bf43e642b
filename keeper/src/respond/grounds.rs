//! Whether there still is a reason for a call that is on its way.

use super::deliver::DeliverError;
use super::delivery::Delivery;
use super::reason::Reason;
use crate::record::{Ground, Intent};

impl Delivery<'_> {
    /// Whether what the call rests on is still so: a reorg may have taken it away, or the rule may hold again. Where an endpoint sees it
    /// breached all the same, it goes on.
    pub(super) async fn stands(&mut self) -> Result<(), DeliverError> {
        let Some((store, intent)) = self.ledger.filter(|(_, intent)| intent.rests_on_a_breach()) else {
            return Ok(());
        };
        match store.ground(intent).await {
            Ok(Ground::Held { tip }) if self.is_contradicted(intent, tip.number).await => Ok(()),
            Ok(Ground::Gone | Ground::Held { .. } | Ground::Replaced) => Err(DeliverError::Groundless),
            Ok(Ground::Stands | Ground::Unjudged) => Ok(()),
            // A record that cannot be read now is no reason to give up what is on its way.
            Err(error) => {
                tracing::warn!(%error, "whether a breach still stands could not be looked up");
                Ok(())
            }
        }
    }

    /// Whether the breach is seen, by an endpoint, at this block or a later one, at which the record takes it for over. Once for a block.
    async fn is_contradicted(&mut self, intent: &Intent, tip: u64) -> bool {
        let has_stood = self.stood_at.is_some_and(|stood| stood >= tip);
        let Some(judge) = self.judge.filter(|_| !has_stood) else {
            return has_stood;
        };
        match judge.reason(intent).await {
            Ok(Reason::Gone(_)) => return false,
            Ok(Reason::Stands | Reason::Unjudged(_)) => self.stood_at = Some(tip),
            // Nor is this.
            Err(error) => tracing::warn!(%error, "whether a breach still stands could not be looked into"),
        }
        true
    }
}
