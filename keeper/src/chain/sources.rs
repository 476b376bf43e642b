//! The two sources of heads, for as long as the keeper runs: the poll, and the subscription with its reconnects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use tokio::sync::{broadcast, watch};

use super::heads::{HeadSettings, Shared, Via};
use super::websocket::{CONNECT_TIMEOUT, until_elsewhere, until_known, until_unknown, without};
use super::{BlockRef, Rpc};

const FIRST_RECONNECT: Duration = Duration::from_millis(200);
/// A subscription that is more blocks than this behind the poll is of no use.
const LATE: u64 = 8;
/// How long one that is doubted may announce nothing: its connection may be dead.
const SILENCE: Duration = Duration::from_secs(60);

/// How the subscription does, poll by poll.
#[derive(Debug, Default)]
struct Pace {
    /// How many messages had come when it was first seen to lag behind the poll.
    lagging: Option<u64>,
    is_late: bool,
}

impl Pace {
    /// Notes by how many blocks it is behind a poll, and how many messages there were; whether it only looks alive: behind at two polls
    /// in a row, and not one message between them, or far behind whatever it announces.
    fn note(&mut self, behind: u64, heard: u64) -> bool {
        let lagging = self.lagging.replace(heard).filter(|_| behind > 0);
        self.lagging = self.lagging.filter(|_| behind > 0);
        let was_late = std::mem::replace(&mut self.is_late, behind > LATE);
        lagging == Some(heard) || (was_late && self.is_late)
    }
}

/// Polls, slowly while the subscription works, and tells one that has fallen silent.
pub(super) async fn poll_loop(rpc: Rpc, settings: HeadSettings, shared: Arc<Shared>) {
    let mut pace = Pace::default();
    let mut failures = 0_u32;
    // Whether it asks ahead of its time, for what was announced and not found.
    let mut is_early = false;
    loop {
        let before = shared.generation.load(Ordering::Acquire);
        match rpc.latest().await {
            Ok(block) => {
                failures = 0;
                shared.set_link(|link| {
                    link.poll_error = None;
                    link.quiet = false;
                });
                shared.polled.store(block.number, Ordering::Release);
                let now = shared.generation.load(Ordering::Acquire);
                let behind = block.number.saturating_sub(shared.announced.load(Ordering::Acquire));
                // An announcement that came meanwhile is newer than this answer, unless it is of an older block.
                if now == before || behind > 0 {
                    shared.publish(block, Via::Poll);
                }
                if shared.subscribed.load(Ordering::Acquire) {
                    if !is_early && pace.note(behind, shared.heard.load(Ordering::Acquire)) {
                        shared.silent.notify_one();
                    }
                } else {
                    pace = Pace::default();
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
        is_early = false;
        while healthy && !is_early && !wait.is_zero() && shared.subscribed.load(Ordering::Acquire) {
            let slice = wait.min(settings.poll);
            tokio::time::sleep(slice).await;
            wait = wait.saturating_sub(slice);
            is_early = !wait.is_zero() && shared.look.swap(false, Ordering::AcqRel);
        }
        if !healthy {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Subscribes, and again whenever the subscription has ended.
pub(super) async fn subscribe_loop(url: String, rpc: Rpc, settings: HeadSettings, shared: Arc<Shared>) {
    let mut backoff = FIRST_RECONNECT;
    // Whether it has announced what is not there.
    let mut is_doubted = false;
    loop {
        let started = Instant::now();
        let reason = subscribe_once(&url, &rpc, settings, &shared, &mut is_doubted).await;
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

/// Subscribes and forwards heads until the connection is of no more use; says why. One that is doubted is listened to, and its heads are not
/// followed before the endpoints have one of them.
async fn subscribe_once(
    url: &str,
    rpc: &Rpc,
    settings: HeadSettings,
    shared: &Shared,
    is_doubted: &mut bool,
) -> String {
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
    // What it claims to have come to is not what it is held to.
    let height = rpc.latest().await.map_or(height, |block| block.number.min(height));
    if !*is_doubted {
        shared.begin(height);
    }
    let (tell, told) = watch::channel(None);
    let elsewhere = until_elsewhere(&provider, rpc.followed());
    let known = until_known(rpc, told.clone(), settings.known_within);
    let unknown = until_unknown(rpc, told, settings.known_within);
    tokio::pin!(elsewhere, known, unknown);
    loop {
        let received = tokio::select! {
            received = subscription.recv() => received,
            // Nobody compares one that is doubted with the poll.
            () = tokio::time::sleep(SILENCE), if *is_doubted => break "the WebSocket endpoint has announced nothing for a minute".to_owned(),
            () = shared.silent.notified() => break "the subscription has fallen silent, or far behind, while the chain went on".to_owned(),
            () = &mut elsewhere => break "the WebSocket endpoint has other blocks than the endpoints in [chain] rpc".to_owned(),
            () = &mut known, if *is_doubted => {
                *is_doubted = false;
                shared.begin(shared.polled.load(Ordering::Acquire));
                continue;
            }
            () = &mut unknown, if !*is_doubted => {
                *is_doubted = true;
                break "the WebSocket endpoint announces blocks that the endpoints in [chain] rpc do not have".to_owned();
            }
        };
        match received {
            Ok(header) => {
                tell.send_replace(Some(BlockRef::from(&header)));
                shared.heard.fetch_add(1, Ordering::AcqRel);
                if *is_doubted {
                    continue;
                }
                match rpc.announced(&header).await {
                    Some(block) => shared.announce(block),
                    // It is no sign that the subscription is late: whether it tells the truth is found out beside.
                    None => {
                        shared.announced.store(header.number, Ordering::Release);
                        shared.look.store(true, Ordering::Release);
                    }
                }
            }
            // Only the newest head matters; the walk by parent hash fills what was dropped.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => break "the WebSocket connection was closed".to_owned(),
        }
    }
}

impl Shared {
    /// The subscription is up; the chain has come to this height.
    fn begin(&self, height: u64) {
        self.announced.store(height, Ordering::Release);
        self.subscribed.store(true, Ordering::Release);
        self.set_link(|link| {
            link.subscribed = true;
            link.subscription_error = None;
        });
    }

    /// The subscription has announced a head.
    fn announce(&self, block: BlockRef) {
        self.announced.store(block.number, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.set_link(|link| link.quiet = false);
        // Old ones must not stand in the way of what the poll has found.
        if block.number.saturating_add(LATE) >= self.polled.load(Ordering::Acquire) {
            self.publish(block, Via::Subscription);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_is_dead_or_far_behind_is_told_from_one_that_is_a_moment_late() {
        let noted = |polls: &[(u64, u64)]| -> Vec<bool> {
            let mut pace = Pace::default();
            polls.iter().map(|(behind, heard)| pace.note(*behind, *heard)).collect()
        };
        assert_eq!(noted(&[(1, 5), (1, 5), (1, 5)]), [false, true, true], "silent");
        assert_eq!(
            noted(&[(1, 5), (1, 6), (1, 7)]),
            [false; 3],
            "late each time, and alive"
        );
        assert_eq!(noted(&[(1, 5), (0, 5), (1, 5)]), [false; 3]);
        assert_eq!(noted(&[(9, 5), (9, 6), (8, 7)]), [false, true, false], "far behind");
        assert_eq!(noted(&[(9, 5), (0, 6), (9, 7)]), [false; 3]);
    }
}
