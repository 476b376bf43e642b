//! The two sources of heads, for as long as the keeper runs: the poll, and the subscription with its reconnects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use tokio::sync::broadcast;

use super::Rpc;
use super::heads::{HeadSettings, Shared, Via};
use super::websocket::{CONNECT_TIMEOUT, until_elsewhere, without};

const FIRST_RECONNECT: Duration = Duration::from_millis(200);

/// Polls, slowly while the subscription works, and tells one that has fallen silent.
pub(super) async fn poll_loop(rpc: Rpc, settings: HeadSettings, shared: Arc<Shared>) {
    // The generation at which the subscription was first seen to lag behind the poll.
    let mut lagging: Option<u64> = None;
    let mut failures = 0_u32;
    loop {
        let before = shared.generation.load(Ordering::Acquire);
        match rpc.latest().await {
            Ok(block) => {
                failures = 0;
                shared.set_link(|link| {
                    link.poll_error = None;
                    link.quiet = false;
                });
                // An announcement that came meanwhile is newer than this answer.
                if shared.generation.load(Ordering::Acquire) == before {
                    shared.publish(block, Via::Poll);
                }
                if shared.subscribed.load(Ordering::Acquire) {
                    // Behind at two polls and not one announcement between them: it only looks alive.
                    let now = shared.generation.load(Ordering::Acquire);
                    let lags = block.number > shared.announced.load(Ordering::Acquire);
                    if lags && lagging == Some(now) {
                        shared.silent.notify_one();
                    }
                    lagging = lags.then_some(now);
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let quiet = shared.is_quiet();
                shared.set_link(|link| {
                    link.poll_error = Some(error.to_string());
                    link.quiet = quiet;
                });
            }
        }
        let healthy = shared.subscribed.load(Ordering::Acquire);
        // An endpoint that is overloaded is not helped by being asked as fast as one that is not.
        let slower = settings
            .poll
            .saturating_mul(2_u32.saturating_pow(failures.min(8)))
            .min(settings.watch);
        let mut wait = if healthy { settings.watch } else { slower };
        // A subscription that ends while we wait must not leave us asleep for the long interval.
        while healthy && !wait.is_zero() && shared.subscribed.load(Ordering::Acquire) {
            let slice = wait.min(settings.poll);
            tokio::time::sleep(slice).await;
            wait = wait.saturating_sub(slice);
        }
        if !healthy {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Subscribes, and again whenever the subscription has ended.
pub(super) async fn subscribe_loop(url: String, rpc: Rpc, settings: HeadSettings, shared: Arc<Shared>) {
    let mut backoff = FIRST_RECONNECT;
    loop {
        let started = Instant::now();
        let reason = subscribe_once(&url, &rpc, &shared).await;
        if shared.subscribed.swap(false, Ordering::AcqRel) {
            tracing::warn!(%reason, "the head subscription ended; polling until it is back");
        }
        shared.set_link(|link| {
            link.subscribed = false;
            link.subscription_error = Some(reason);
        });
        if started.elapsed() > settings.reconnect_max {
            backoff = FIRST_RECONNECT;
        }
        tokio::time::sleep(backoff).await;
        backoff = backoff.saturating_mul(2).min(settings.reconnect_max);
    }
}

/// Subscribes and forwards heads until the connection is of no more use; says why.
async fn subscribe_once(url: &str, rpc: &Rpc, shared: &Shared) -> String {
    // One attempt per connection: alloy's own reconnect would hide the gap from us.
    let connect = WsConnect::new(url).with_max_retries(1);
    let chain_id = rpc.chain_id();
    let setup = async {
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_ws(connect)
            .await?;
        let actual = provider.get_chain_id().await?;
        let height = provider.get_block_number().await?;
        let subscription = provider.subscribe_blocks().await?;
        Ok::<_, alloy::transports::TransportError>((provider, actual, height, subscription))
    };
    let (provider, height, mut subscription) = match tokio::time::timeout(CONNECT_TIMEOUT, setup).await {
        Err(_) => return format!("no WebSocket connection within {} s", CONNECT_TIMEOUT.as_secs()),
        Ok(Err(error)) => return format!("no WebSocket subscription: {}", without(url, &error.to_string())),
        Ok(Ok((_, actual, _, _))) if actual != chain_id => {
            return format!(
                "the WebSocket endpoint serves chain {actual}, not {chain_id}: correct [chain] ws in cordon.toml"
            );
        }
        Ok(Ok((provider, _, height, subscription))) => (provider, height, subscription),
    };
    shared.announced.store(height, Ordering::Release);
    shared.subscribed.store(true, Ordering::Release);
    shared.set_link(|link| {
        link.subscribed = true;
        link.subscription_error = None;
    });
    let elsewhere = until_elsewhere(&provider, rpc.followed());
    tokio::pin!(elsewhere);
    loop {
        let received = tokio::select! {
            received = subscription.recv() => received,
            () = shared.silent.notified() => break "the subscription has fallen silent while the chain went on".to_owned(),
            () = &mut elsewhere => break "the WebSocket endpoint has other blocks than the endpoints in [chain] rpc".to_owned(),
        };
        match received {
            Ok(header) => {
                let block = rpc.block(&header);
                shared.announced.store(block.number, Ordering::Release);
                shared.generation.fetch_add(1, Ordering::AcqRel);
                shared.set_link(|link| link.quiet = false);
                shared.publish(block, Via::Subscription);
            }
            // Only the newest head matters; the walk by parent hash fills what was dropped.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => break "the WebSocket connection was closed".to_owned(),
        }
    }
}
