//! One endpoint, and what is known of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::providers::DynProvider;

/// How long an endpoint that takes no more requests is left alone when it does not say; doubled each time in a row, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How long it is left alone at most when it says: a keeper that is blind for longer protects nothing.
const MOST: Duration = Duration::from_secs(15);

/// What a rate is of.
const SECOND: Duration = Duration::from_secs(1);

/// A comparison of the chain id counts for so long at least.
const DOUBTED_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Endpoint {
    /// Scheme, host and port: what may be shown in logs.
    name: String,
    provider: DynProvider,
    /// When the chain id was compared, while that counts.
    verified: Mutex<Option<Instant>>,
    /// Whether most of the others have other blocks.
    outvoted: AtomicBool,
    /// Whether it is on the side of a split that is not followed.
    aside: AtomicBool,
    limit: Mutex<Limit>,
    /// Who waits for room, in the order in which they came. One that is given up leaves no trace.
    waiting: tokio::sync::Mutex<()>,
}

/// How an endpoint limits its requests.
#[derive(Debug, Default)]
struct Limit {
    /// Until when it takes none.
    until: Option<Instant>,
    /// How often in a row it has refused one.
    refused: u32,
    /// Most requests that it is asked in any second; `None` when only itself says when there are too many.
    rate: Option<usize>,
    /// When it was asked what it was asked within the last second.
    asked: VecDeque<Instant>,
    /// Room that was taken for requests that are about to be made.
    taken: usize,
}

impl Limit {
    /// How long it is until it may be asked by its rate; `None` when there is room now.
    fn full_for(&mut self, now: Instant) -> Option<Duration> {
        let rate = self.rate?;
        let gone = |at: &Instant| now.saturating_duration_since(*at) >= SECOND;
        while self.asked.front().is_some_and(gone) {
            self.asked.pop_front();
        }
        let next = self.asked.len().checked_sub(rate)?;
        let oldest = self.asked.get(next)?;
        let left = SECOND.saturating_sub(now.saturating_duration_since(*oldest));
        Some(left.max(Duration::from_millis(1)))
    }
}

impl Endpoint {
    pub(super) fn new(name: String, provider: DynProvider) -> Self {
        Self {
            name,
            provider,
            verified: Mutex::default(),
            outvoted: AtomicBool::new(false),
            aside: AtomicBool::new(false),
            limit: Mutex::default(),
            waiting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What one request is made with, which counts towards the rate; whether there is room for it is the caller's to ask.
    pub(super) fn provider(&self) -> DynProvider {
        self.with(|limit| match limit.taken.checked_sub(1) {
            Some(taken) => limit.taken = taken,
            None if limit.rate.is_some() => limit.asked.push_back(Instant::now()),
            None => {}
        });
        self.provider.clone()
    }

    pub(super) fn is_verified(&self) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn set_verified(&self, verified: bool) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = verified.then(Instant::now);
    }

    /// It did not answer: whoever answers there next may be somebody else. One that fails all the time is not asked twice as much for it.
    pub(super) fn doubt(&self) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        *verified = verified.filter(|at| at.elapsed() < DOUBTED_AFTER);
    }

    pub(super) fn is_outvoted(&self) -> bool {
        self.outvoted.load(Ordering::Relaxed)
    }

    pub(super) fn outvote(&self, outvoted: bool) {
        if self.outvoted.swap(outvoted, Ordering::Relaxed) != outvoted {
            let name = &self.name;
            if outvoted {
                tracing::error!(endpoint = %name, "most endpoints have other blocks: this one is not asked any more");
            } else {
                tracing::warn!(endpoint = %name, "the endpoint has the same blocks as the others again");
            }
        }
    }

    pub(super) fn is_aside(&self) -> bool {
        self.aside.load(Ordering::Relaxed)
    }

    pub(super) fn set_aside(&self, aside: bool) {
        self.aside.store(aside, Ordering::Relaxed);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Limit) -> T) -> T {
        change(&mut self.limit.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much longer it takes no requests; `None` when it may be asked.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let until = self.with(|limit| limit.until)?;
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// It has refused a request because there were too many, and wants to be left alone for `hint` if it says.
    pub(super) fn note_busy(&self, hint: Option<Duration>) {
        let now = Instant::now();
        self.with(|limit| {
            // Those that were on their way together are one.
            if limit.until.is_none_or(|until| until <= now) {
                limit.refused = limit.refused.saturating_add(1);
            }
            let doubled = SHORTEST.saturating_mul(2_u32.saturating_pow(limit.refused.saturating_sub(1).min(16)));
            let wait = hint.map_or(doubled.min(LONGEST), |hint| hint.clamp(SHORTEST, MOST));
            limit.until = limit.until.max(now.checked_add(wait));
        });
    }

    /// Most requests that it is asked in any second.
    pub(super) fn set_rate(&self, rate: Option<u32>) {
        self.with(|limit| limit.rate = rate.map(|rate| usize::try_from(rate).unwrap_or(usize::MAX).max(1)));
    }

    /// How long it is until there is room for a request by its rate; `None` when there is now.
    pub(super) fn full_for(&self) -> Option<Duration> {
        self.with(|limit| limit.full_for(Instant::now()))
    }

    /// Takes the room for a request that is about to be made. How long it is until there is some when there is none.
    pub(super) fn take_room(&self) -> Result<(), Duration> {
        self.with(|limit| {
            if limit.rate.is_none() {
                return Ok(());
            }
            let now = Instant::now();
            if let Some(left) = limit.full_for(now) {
                return Err(left);
            }
            limit.asked.push_back(now);
            limit.taken = limit.taken.saturating_add(1);
            Ok(())
        })
    }

    /// Waits for room and takes it: first come, first served.
    pub(super) async fn wait_for_room(&self) {
        let _turn = self.waiting.lock().await;
        while let Err(left) = self.take_room() {
            tokio::time::sleep(left).await;
        }
    }

    /// It has answered: it takes requests.
    pub(super) fn note_answer(&self) {
        self.with(|limit| limit.refused = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::providers::{Provider, ProviderBuilder};

    fn endpoint() -> Endpoint {
        let url = alloy::transports::http::reqwest::Url::parse("http://127.0.0.1:1");
        let provider = ProviderBuilder::new().connect_http(url.unwrap_or_else(|error| unreachable!("{error}")));
        Endpoint::new("one".to_owned(), provider.erased())
    }

    #[test]
    fn who_takes_no_more_requests_is_left_alone_for_as_long_as_it_says_within_bounds() {
        let asked = endpoint();
        assert_eq!(asked.busy_for(), None);
        asked.note_busy(Some(Duration::from_secs(3)));
        let left = asked.busy_for().unwrap_or_default();
        assert!(
            left > Duration::from_secs(2) && left <= Duration::from_secs(3),
            "{left:?}"
        );
        // A day is too long, whoever says so; a shorter word does not shorten a longer one.
        let greedy = endpoint();
        greedy.note_busy(Some(Duration::from_secs(86_400)));
        greedy.note_busy(Some(Duration::ZERO));
        let left = greedy.busy_for().unwrap_or_default();
        assert!(left > Duration::from_secs(14) && left <= MOST, "{left:?}");
    }

    #[test]
    fn no_second_has_more_requests_than_the_rate() {
        let asked = endpoint();
        assert!((0..1_000).all(|_| asked.take_room().is_ok()), "no rate, no limit");
        asked.set_rate(Some(3));
        for _ in 0..3 {
            assert_eq!(asked.take_room(), Ok(()));
            // The request that the room was taken for.
            drop(asked.provider());
        }
        let left = asked.take_room().err().unwrap_or_default();
        assert!(left > SECOND / 2 && left <= SECOND, "{left:?}");
        assert_eq!(asked.with(|limit| (limit.asked.len(), limit.taken)), (3, 0));
        // A request that did not ask for room counts as well, and is owed.
        drop(asked.provider());
        let (begun, full) = (Instant::now(), |limit: &mut Limit, at| limit.full_for(at));
        assert!(asked.with(|limit| full(limit, begun + SECOND / 2)).is_some());
        // A second after the first three there is the fourth, and room for two.
        let third = asked.with(|limit| limit.asked.get(2).copied());
        let then = third.map_or(begun, |third| third + SECOND);
        assert_eq!(asked.with(|limit| (full(limit, then), limit.asked.len())), (None, 1));
    }

    #[test]
    fn who_says_nothing_is_left_alone_longer_each_time_in_a_row() {
        let asked = endpoint();
        for refused in 1..=10 {
            asked.with(|limit| limit.until = None);
            asked.note_busy(None);
            // At the same time: no second refusal.
            asked.note_busy(None);
            assert_eq!(asked.with(|limit| limit.refused), refused);
        }
        let left = asked.busy_for().unwrap_or_default();
        assert!(left > LONGEST / 2 && left <= LONGEST, "{left:?}");
        asked.note_answer();
        asked.with(|limit| limit.until = None);
        asked.note_busy(None);
        assert!(asked.busy_for().unwrap_or_default() <= SHORTEST);
    }
}
