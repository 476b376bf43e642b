//! What the watches need besides the blocks: the heights that the chain calls safe and final, and its mempool.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use cordon_client::config::Finality;
use futures::StreamExt;

use crate::alarm::Alarms;
use crate::chain::{Heads, Rpc};
use crate::record::{AlarmKind, MEMPOOL, Store};
use crate::rules::{Pending, Watches, look_pending};
use crate::watchdog::RECORD;

/// How often the chain is asked what is final while something waits for it.
const PERIOD: Duration = Duration::from_secs(1);
/// Wait before another attempt to follow the mempool.
const RETRY: Duration = Duration::from_secs(5);

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

    /// Watches the mempool. Ends at once when no watch is about it.
    pub(crate) async fn pending(self) {
        if self.watches.pending_watches().is_empty() {
            return;
        }
        let Some(url) = self.ws.clone() else {
            let text = "pending transactions are watched, but there is no WebSocket endpoint: set `ws` in [chain]";
            self.alarms.raise(AlarmKind::WatchUnknown, MEMPOOL, text, None).await;
            return;
        };
        loop {
            let reason = self.follow_mempool(&url).await;
            let text = format!("the mempool is not seen: {reason}");
            self.alarms.raise(AlarmKind::WatchUnknown, MEMPOOL, &text, None).await;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Follows the mempool until the connection is of no more use; says why.
    async fn follow_mempool(&self, url: &str) -> String {
        let connect = WsConnect::new(url).with_max_retries(1);
        let provider = match ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_ws(connect)
            .await
        {
            Ok(provider) => provider,
            Err(error) => return crate::chain::without(url, &error.to_string()),
        };
        let subscription = match provider.subscribe_pending_transactions().await {
            Ok(subscription) => subscription,
            Err(error) => return format!("the endpoint tells no pending transactions: {error}"),
        };
        self.alarms.clear(AlarmKind::WatchUnknown, MEMPOOL).await;
        let mut hashes = subscription.into_stream();
        while let Some(hash) = hashes.next().await {
            let Some(seen) = self.heads.newest() else { continue };
            let block = seen.block;
            for sighting in look_pending(&self.rpc, &self.watches, &block, hash).await {
                if let Err(error) = self.store.note_pending(&Pending { sighting, block }).await {
                    self.alarms
                        .raise(AlarmKind::Record, RECORD, &error.to_string(), Some(block.number))
                        .await;
                }
            }
        }
        "the subscription to pending transactions ended".to_owned()
    }
}
