//! What the watches need besides the blocks: the heights that the chain calls safe and final, and (in `mempool`) what waits to be in one.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use cordon_client::config::Finality;

use crate::alarm::Alarms;
use crate::chain::{Heads, Rpc};
use crate::record::Store;
use crate::rules::Watches;

/// How often the chain is asked what is final while something waits for it.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks beyond the newest block.
#[derive(Debug, Clone)]
pub(crate) struct Lookout {
    pub(crate) rpc: Rpc,
    pub(crate) ws: Option<String>,
    pub(crate) store: Store,
    pub(crate) watches: Watches,
    pub(crate) alarms: Alarms,
    pub(crate) heads: Heads,
}

impl Lookout {
    /// Tells what was seen in blocks that have become safe or final. Ends at once when no watch waits for that.
    pub(crate) async fn release(self) {
        while !self.watches.finalities().is_empty() {
            tokio::time::sleep(PERIOD).await;
            for finality in self.watches.finalities() {
                if let Err(reason) = self.release_one(*finality).await {
                    tracing::warn!(
                        finality = finality.name(),
                        reason,
                        "what waits for finality could not be told yet"
                    );
                }
            }
        }
    }

    async fn release_one(&self, finality: Finality) -> Result<(), String> {
        let tag = match finality {
            Finality::Latest => return Ok(()),
            Finality::Safe => BlockNumberOrTag::Safe,
            Finality::Finalized => BlockNumberOrTag::Finalized,
        };
        if !self.store.awaits(finality).await.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let block = self.rpc.tagged(tag).await.map_err(|error| error.to_string())?;
        let Some(block) = block else { return Ok(()) };
        let released = self.store.release_sightings(finality, block.number).await;
        released.map(drop).map_err(|error| error.to_string())
    }
}
