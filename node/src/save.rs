//! Keeps the state of the chain in a file.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use crate::{
    config::NodeConfig,
    dump::file,
    node::{Node, Slot},
    replace,
    rpc::RpcError,
};

/// Writes the state to the file of the settings, if there is one.
pub(crate) async fn now(node: &Arc<Node>) -> Result<(), RpcError> {
    let Some(path) = node.config.state.dump.clone() else {
        return Ok(());
    };
    // Only taking the state keeps others from changing it; writing does not.
    let dump = node.exclusively(|node| node.dump(node.config.state.historical)).await?;
    let written = tokio::task::spawn_blocking(move || dump.write(&path)).await;
    written.map_err(|error| RpcError::Internal(error.to_string()))??;
    Ok(())
}

/// Removes what nodes left beside the file of the settings when they were killed while they wrote it.
pub(crate) async fn clear(config: &NodeConfig) {
    let Some(path) = config.state.dump.clone() else {
        return;
    };
    let cleared = tokio::task::spawn_blocking(move || replace::clear(&file(&path))).await;
    if let Ok(Err(error)) = cleared {
        tracing::warn!(%error, "unfinished state files could not be removed");
    }
}

/// Writes the state at the interval of the settings, if there is one and something changed.
pub(crate) async fn regularly(slot: Arc<Slot>) {
    let Some(interval) = slot.current().config.state.interval else {
        return;
    };
    let mut ticks = tokio::time::interval(interval.max(std::time::Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = None;
    loop {
        ticks.tick().await;
        let node = slot.current();
        let state = (node.instance, node.store.read().head());
        if saved == Some(state) {
            continue;
        }
        match now(&node).await {
            Ok(()) => saved = Some(state),
            Err(error) => {
                let path = node.config.state.dump.as_deref().map(file).unwrap_or_default();
                tracing::error!(%error, path = %path.display(), "the state could not be saved");
            }
        }
    }
}
