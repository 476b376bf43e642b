//! Where new heads come from: a WebSocket subscription for speed and an HTTP poll beside it that notices when the
//! subscription has silently stopped and takes over while there is none.
//!
//! Only the newest head is kept: what lies between is walked by parent hash, so that nothing is lost when several arrive at
//! once, when the connection breaks, or when the keeper is slow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::sources::{poll_loop, subscribe_loop};
use super::{BlockRef, Rpc};

/// How a head reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// `eth_subscribe` `newHeads`.
    Subscription,
    /// HTTP polling.
    Poll,
}

/// A head and when it was first seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The block.
    pub block: BlockRef,
    /// Monotonic time of arrival: where latencies begin.
    pub at: Instant,
    /// The way it came.
    pub via: Via,
}

/// Health of the two sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether the subscription is up, as far as its connection tells.
    pub subscribed: bool,
    /// Whether polls fail and nothing has come by the subscription for longer than blocks take: a connection whose other end is
    /// gone may look open for minutes.
    pub quiet: bool,
    /// Why there is no subscription, when there is none.
    pub subscription_error: Option<String>,
    /// Why the last poll failed, when it did.
    pub poll_error: Option<String>,
}

impl Link {
    /// Neither source works: the keeper sees nothing.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        (!self.subscribed || self.quiet) && self.poll_error.is_some()
    }
}

/// Timing of the head sources.
#[derive(Debug, Clone, Copy)]
pub struct HeadSettings {
    /// Poll interval while there is no subscription.
    pub poll: Duration,
    /// Poll interval that watches over a working subscription.
    pub watch: Duration,
    /// Longest wait between attempts to subscribe again.
    pub reconnect_max: Duration,
    /// How long the endpoints may take to have a head that the subscription has announced.
    pub known_within: Duration,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(200),
            watch: Duration::from_secs(2),
            reconnect_max: Duration::from_secs(5),
            known_within: Duration::from_secs(5),
        }
    }
}

/// Receiving side of the head sources.
#[derive(Debug, Clone)]
pub struct Heads {
    rpc: Rpc,
    heads: watch::Receiver<Option<Seen>>,
    arrivals: Arrivals,
    link: watch::Receiver<Link>,
}

/// When each of the latest heads arrived, the oldest first: latencies of a block that waits behind others begin there too.
type Arrivals = Arc<Mutex<VecDeque<(B256, Instant)>>>;

/// Heads whose arrival is remembered: a minute at four a second. A keeper further behind is catching up.
const REMEMBERED: usize = 256;

/// Arrivals whose gaps tell how fast blocks come.
const GAPS: usize = 16;

/// What the sources write to.
pub(super) struct Shared {
    heads: watch::Sender<Option<Seen>>,
    arrivals: Arrivals,
    link: watch::Sender<Link>,
    /// Height that the subscription has announced last.
    pub(super) announced: AtomicU64,
    /// Height that the last poll has found.
    pub(super) polled: AtomicU64,
    /// Counts announcements, so that a poll can tell that it was overtaken.
    pub(super) generation: AtomicU64,
    /// How many messages came, also of heads that nobody has.
    pub(super) heard: AtomicU64,
    /// A head was announced that nobody had: the poll finds what there is.
    pub(super) look: AtomicBool,
    pub(super) subscribed: AtomicBool,
    /// Tells the subscription that it is dead, or far behind, although nobody told it.
    pub(super) silent: Notify,
}

impl Heads {
    /// Starts both sources; they run until `stop` is cancelled. Without `ws` there is only polling.
    #[must_use]
    pub fn start(rpc: Rpc, ws: Option<String>, settings: HeadSettings, stop: CancellationToken) -> Self {
        let (heads, heads_rx) = watch::channel(None);
        let (link, link_rx) = watch::channel(Link::default());
        let arrivals = Arrivals::default();
        let shared = Arc::new(Shared {
            heads,
            arrivals: Arc::clone(&arrivals),
            link,
            announced: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            look: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            silent: Notify::new(),
        });
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(poll_loop(rpc.clone(), settings, Arc::clone(&shared))),
        );
        if let Some(url) = ws {
            tokio::spawn(stop.run_until_cancelled_owned(subscribe_loop(url, rpc.clone(), settings, shared)));
        }
        Self {
            rpc,
            heads: heads_rx,
            arrivals,
            link: link_rx,
        }
    }

    /// Waits for a head that was not handed out yet. `None` when the sources have stopped.
    pub async fn next(&mut self) -> Option<Seen> {
        loop {
            self.heads.changed().await.ok()?;
            let seen = *self.heads.borrow_and_update();
            if seen.is_some() {
                return seen;
            }
        }
    }

    /// The newest head so far, without marking it as handed out.
    #[must_use]
    pub fn newest(&self) -> Option<Seen> {
        *self.heads.borrow()
    }

    /// When the head with this hash arrived; `None` when it never did, or long ago.
    #[must_use]
    pub fn arrival(&self, hash: B256) -> Option<Instant> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().rev().find(|(held, _)| *held == hash).map(|(_, at)| *at)
    }

    /// Health of the sources now.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Why nobody can say which chain is the right one, see [`Rpc::split`].
    #[must_use]
    pub fn split(&self) -> Option<String> {
        self.rpc.split()
    }

    /// Whether the last poll was answered, and, at the last comparison, all endpoints had the same newest blocks.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.link.borrow().poll_error.is_none() && self.rpc.is_unanimous()
    }

    /// Whether there is one endpoint, and nobody to compare it with.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.rpc.endpoint_count() < 2
    }

    /// Waits until the health of the sources changes. `false` when they have stopped.
    pub async fn link_changed(&mut self) -> bool {
        self.link.changed().await.is_ok()
    }
}

impl Shared {
    pub(super) fn publish(&self, block: BlockRef, via: Via) {
        let at = Instant::now();
        self.heads.send_if_modified(|held| {
            // Somebody may have announced it with another number.
            let place = |block: &BlockRef| (block.hash, block.number, block.parent);
            if held.is_some_and(|seen| place(&seen.block) == place(&block)) {
                return false;
            }
            let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            if arrivals.len() >= REMEMBERED {
                arrivals.pop_front();
            }
            arrivals.push_back((block.hash, at));
            *held = Some(Seen { block, at, via });
            true
        });
    }

    /// Whether the newest head came longer ago than heads do.
    pub(super) fn is_quiet(&self) -> bool {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let times: Vec<Instant> = arrivals.iter().rev().take(GAPS).map(|(_, at)| *at).collect();
        times.first().is_none_or(|newest| newest.elapsed() > patience(&times))
    }

    pub(super) fn set_link(&self, change: impl FnOnce(&mut Link)) {
        self.link.send_if_modified(|link| {
            let before = link.clone();
            change(link);
            *link != before
        });
    }
}

/// How long no head may come before the source of heads is doubted: three times the longest of the latest gaps between arrivals,
/// from 2 to 60 seconds. `times` are the latest arrivals, the newest first.
fn patience(times: &[Instant]) -> Duration {
    let gaps = times.iter().zip(times.iter().skip(1));
    let longest = gaps
        .map(|(later, earlier)| later.saturating_duration_since(*earlier))
        .max();
    let longest = longest.unwrap_or(Duration::from_secs(20));
    longest
        .saturating_mul(3)
        .clamp(Duration::from_secs(2), Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_arrival_of_each_of_the_latest_heads_is_remembered() {
        let (heads, heads_rx) = watch::channel(None);
        let (link, link_rx) = watch::channel(Link::default());
        let arrivals = Arrivals::default();
        let held = Heads {
            rpc: Rpc::new(&["http://127.0.0.1:1"], 1, Duration::from_secs(1)).unwrap(),
            heads: heads_rx,
            arrivals: Arc::clone(&arrivals),
            link: link_rx,
        };
        let shared = Shared {
            heads,
            arrivals,
            link,
            announced: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            look: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            silent: Notify::new(),
        };
        let hash = |number: u64| B256::left_padding_from(&number.to_be_bytes());
        let last = u64::try_from(REMEMBERED).unwrap() + 1;
        for number in 1..=last {
            let block = BlockRef {
                number,
                hash: hash(number),
                parent: hash(number - 1),
                timestamp: 1_700_000_000,
                base_fee: 0,
            };
            shared.publish(block, Via::Subscription);
            // The poll beside the subscription announces it once more: it has arrived already.
            shared.publish(block, Via::Poll);
        }
        assert_eq!(held.arrival(hash(1)), None, "forgotten");
        assert_eq!(held.arrival(hash(last + 1)), None, "not there yet");
        assert_eq!(held.arrival(hash(last)), Some(held.newest().unwrap().at));
        assert!(held.arrival(hash(2)).unwrap() <= held.arrival(hash(last)).unwrap());
    }

    #[test]
    fn a_chain_is_given_as_long_as_its_blocks_take() {
        let now = Instant::now();
        let every = |gap: u64| (0..4).map(|n| now - Duration::from_millis(gap * n)).collect::<Vec<_>>();
        assert_eq!(patience(&every(250)), Duration::from_secs(2));
        assert_eq!(patience(&every(12_000)), Duration::from_secs(36));
        assert_eq!(patience(&[now]), Duration::from_secs(60));
        let link = Link {
            subscribed: true,
            quiet: true,
            poll_error: Some("no answer".to_owned()),
            ..Link::default()
        };
        assert!(link.is_blind(), "a connection that is open and dead");
        assert!(
            !Link {
                quiet: false,
                ..link.clone()
            }
            .is_blind(),
            "heads come by the subscription"
        );
        assert!(
            !Link {
                poll_error: None,
                ..link
            }
            .is_blind(),
            "heads come by the poll"
        );
    }
}
