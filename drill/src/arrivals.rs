//! When blocks arrived, as an observer beside the keeper saw it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use tokio_util::task::AbortOnDropHandle;

use crate::error::DrillError;

/// Listens to the heads of a fork. Dropping it ends the subscription.
#[derive(Debug)]
pub(crate) struct Arrivals {
    seen: Arc<Mutex<BTreeMap<u64, Instant>>>,
    _task: AbortOnDropHandle<()>,
}

impl Arrivals {
    /// From now on, at this WebSocket endpoint.
    pub(crate) async fn listen(endpoint: &str) -> Result<Self, DrillError> {
        let failed = || DrillError::rpc("listening to the fork's heads");
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_ws(WsConnect::new(endpoint))
            .await
            .map_err(failed())?;
        let mut heads = provider.subscribe_blocks().await.map_err(failed())?;
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                // The subscription lives as long as its connection.
                let _provider = provider;
                while let Ok(head) = heads.recv().await {
                    let now = Instant::now();
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.entry(head.number).or_insert(now);
                }
            }
        });
        Ok(Self {
            seen,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Time from the arrival of block `from` to that of block `to`; `None` when one of them was not seen.
    pub(crate) fn between(&self, from: u64, to: u64) -> Option<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(seen.get(&to)?.saturating_duration_since(*seen.get(&from)?))
    }
}
