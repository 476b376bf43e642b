//! Comparing the endpoints with each other, and following the most: those that differ are not asked any more, until they have the same blocks
//! again. Where neither side has the most the keeper stays on its own, and [`Rpc::split`] says why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::providers::Provider;
use tokio::sync::watch;

use super::RpcError;
use super::endpoint::Endpoint;
use super::opinions::{Comparison, DEPTH, Opinion, Standing, believed, common_height, compare, is_common, side_from};
use super::rpc::Rpc;

/// How long no endpoint of the side of a split that is followed may answer before the other side is.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known of how the endpoints stand to each other. Shared by all handles.
#[derive(Debug)]
pub(super) struct Agreement {
    /// Why nobody can say which chain is the right one.
    split: Mutex<Option<String>>,
    /// A block of the chain that is followed.
    followed: watch::Sender<Option<(u64, B256)>>,
    /// The newest block that more than half of all endpoints had when they were compared: what one alone is followed to while the others are
    /// silent is no part of it.
    common: Mutex<Option<(u64, B256)>>,
    /// Whether nobody differs, lags, or is silent.
    unanimous: AtomicBool,
    /// What each endpoint had at the height that was compared last, when it had anything.
    seen: Mutex<Vec<Option<B256>>>,
    /// Since when no endpoint of the side that is followed has answered.
    silent: Mutex<Option<Instant>>,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            split: Mutex::default(),
            followed: watch::Sender::new(None),
            common: Mutex::default(),
            unanimous: AtomicBool::new(false),
            seen: Mutex::default(),
            silent: Mutex::default(),
        }
    }
}

impl Rpc {
    /// How many endpoints there are.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.all_endpoints().count()
    }

    /// Names of all endpoints, as alarms call them.
    #[must_use]
    pub(crate) fn endpoint_names(&self) -> Vec<String> {
        self.all_endpoints()
            .map(|endpoint| endpoint.name().to_owned())
            .collect()
    }

    /// Why nobody can say which chain is the right one: endpoints differ, and neither side has the most. `None` while they agree, or
    /// most of them do.
    #[must_use]
    pub fn split(&self) -> Option<String> {
        let split = self.agreement().split.lock().unwrap_or_else(PoisonError::into_inner);
        split.clone()
    }

    /// Whether every endpoint has answered at the last comparison, and had the same newest blocks; with one endpoint there is nobody else.
    pub(super) fn is_unanimous(&self) -> bool {
        self.endpoint_count() < 2 || self.agreement().unanimous.load(Ordering::Relaxed)
    }

    /// A block of the chain that is followed, whenever the endpoints were compared: what else is listened to must have it.
    pub(super) fn followed(&self) -> watch::Receiver<Option<(u64, B256)>> {
        self.agreement().followed.subscribe()
    }

    /// Compares all endpoints, and follows the most of them from then on. A difference counts when it is found twice, `pause`
    /// apart: what a reorg has left behind at one of them passes. `None` with a single endpoint.
    pub async fn compare(&self, pause: Duration) -> Option<Comparison> {
        if self.endpoint_count() < 2 {
            return None;
        }
        let mut looked = self.look().await;
        if looked.0.standing != Standing::Together {
            tokio::time::sleep(pause).await;
            looked = self.look().await;
        }
        let is_news = matches!(looked.0.standing, Standing::Split(_)) && self.split().is_none();
        let side = if is_news {
            self.side_of_before(&looked.1).await
        } else {
            None
        };
        self.note(&looked, side);
        Some(looked.0)
    }

    /// The side of a split, by what it has at the height that is compared, that goes on with what was before it. That is the block that most
    /// endpoints have had: one that was followed alone, while the others were silent, may have left that chain. Where both sides have it,
    /// or none, it is the one that the keeper is on, whoever has answered it in the meantime.
    async fn side_of_before(&self, opinions: &[Opinion]) -> Option<B256> {
        let common = *self.agreement().common.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = *self.agreement().followed.borrow();
        for (number, block) in common.into_iter().chain(followed) {
            let asks = self.all_endpoints().map(|endpoint| self.hash_at(endpoint, number));
            let held = futures::future::join_all(asks).await.into_iter();
            let held: Vec<Option<B256>> = held.map(|held| held.ok().flatten()).collect();
            let side = side_from(block, opinions, &held);
            if side.is_some() {
                return side;
            }
        }
        None
    }

    /// What all endpoints say now, each asked by itself and at the same time.
    async fn look(&self) -> Looked {
        let asks = self.all_endpoints().map(|endpoint| async {
            self.verify_endpoint(endpoint).await?;
            let provider = endpoint.provider();
            let request = async move { provider.get_block_number().await };
            self.bounded("eth_blockNumber", endpoint, request).await
        });
        let heights = futures::future::join_all(asks).await;
        let reached = heights.iter().filter_map(|height| height.as_ref().ok()).copied();
        let number = common_height(reached.collect()).unwrap_or_default();
        let asks = self.all_endpoints().zip(heights).map(|(endpoint, height)| async move {
            let hash = match &height {
                Ok(height) if *height >= number => self.hash_at(endpoint, number).await,
                Ok(_) => Ok(None),
                Err(error) => Err(error.clone()),
            };
            let height = height.and_then(|height| hash.as_ref().map(|_| height).map_err(Clone::clone));
            Opinion {
                endpoint: endpoint.name().to_owned(),
                height: height.map_err(|error| error.to_string()),
                hash: hash.ok().flatten(),
                follows: None,
                outvoted: endpoint.is_outvoted(),
            }
        });
        let mut opinions = futures::future::join_all(asks).await;
        let before = self.split();
        if let Some(agreed) = believed(&opinions, before.is_some()) {
            self.look_behind(&mut opinions, number, agreed).await;
        }
        Looked(compare(number, &opinions, before.as_deref()), opinions)
    }

    async fn hash_at(&self, endpoint: &Endpoint, number: u64) -> Result<Option<B256>, RpcError> {
        let provider = endpoint.provider();
        let request = async move {
            let tag = BlockNumberOrTag::Number(number);
            provider.get_block_by_number(tag).hashes().await
        };
        let block = self.bounded("eth_getBlockByNumber", endpoint, request).await?;
        Ok(block.map(|block| block.header.hash))
    }

    /// Those that have not come so far, a little below their own newest block, beside one that is believed: a fork is seldom as fast as the
    /// chain, and who lies may choose to be slow.
    async fn look_behind(&self, opinions: &mut [Opinion], number: u64, agreed: B256) {
        let believed = self.all_endpoints().zip(&*opinions);
        let Some(right) = believed
            .filter(|(_, opinion)| opinion.hash == Some(agreed))
            .map(|(endpoint, _)| endpoint)
            .next()
        else {
            return;
        };
        let asks = self
            .all_endpoints()
            .zip(&*opinions)
            .map(|(endpoint, opinion)| async move {
                let height = *opinion.height.as_ref().ok()?;
                if height >= number {
                    return None;
                }
                let at = height.saturating_sub(DEPTH);
                let (own, known) = futures::join!(self.hash_at(endpoint, at), self.hash_at(right, at));
                Some(own.ok()?? == known.ok()??)
            });
        let follows = futures::future::join_all(asks).await;
        for (opinion, follows) in opinions.iter_mut().zip(follows) {
            opinion.follows = follows;
        }
    }

    /// Follows the most, and remembers whether there are any. `side` is what those have at that height whose side a split that is news
    /// begins on, when that is known.
    fn note(&self, Looked(comparison, opinions): &Looked, side: Option<B256>) {
        for (endpoint, opinion) in self.all_endpoints().zip(opinions) {
            // Who does not answer stays what it was.
            if let Some(differs) = comparison.agreed.and_then(|agreed| opinion.differs(agreed)) {
                endpoint.outvote(differs);
            }
        }
        let split = match &comparison.standing {
            Standing::Split(text) => Some(text.clone()),
            Standing::Together | Standing::Outvoted(_) => None,
        };
        self.take_sides(opinions, split.is_some(), side);
        let unanimous = comparison.standing == Standing::Together && comparison.good.len() == opinions.len();
        self.agreement().unanimous.store(unanimous, Ordering::Relaxed);
        if let Some(common) = comparison.agreed.filter(|agreed| is_common(opinions, *agreed)) {
            let common = Some((comparison.number, common));
            *self.agreement().common.lock().unwrap_or_else(PoisonError::into_inner) = common;
        }
        let asked = self.asked_first().and_then(|at| opinions.get(at)?.hash);
        *self.agreement().split.lock().unwrap_or_else(PoisonError::into_inner) = split;
        if let Some(hash) = comparison.agreed.or(asked) {
            self.agreement().followed.send_replace(Some((comparison.number, hash)));
        }
    }

    /// Sets those aside that are on another side of a split than the one that is followed.
    fn take_sides(&self, opinions: &[Opinion], is_split: bool, side: Option<B256>) {
        let was_split = self.split().is_some();
        let hash_of = |at: usize| opinions.get(at).and_then(|opinion| opinion.hash);
        let side = side.or_else(|| self.in_turn().find_map(hash_of));
        for (endpoint, opinion) in self.all_endpoints().zip(opinions) {
            match (is_split, opinion.hash) {
                (false, _) => endpoint.set_aside(false),
                (true, Some(hash)) if side.is_some() => endpoint.set_aside(Some(hash) != side),
                // Who does not say stays where it was, and is believed by nobody before it has said.
                (true, _) => endpoint.set_aside(endpoint.is_aside() || !was_split),
            }
        }
        if is_split {
            let mut seen = self.agreement().seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.resize(opinions.len(), None);
            for (held, opinion) in seen.iter_mut().zip(opinions) {
                *held = opinion.hash.or(*held);
            }
        }
    }

    /// Follows the side of the endpoint at this position, when endpoints are split.
    pub(super) fn change_side(&self, to: usize) {
        if self.split().is_none() {
            return;
        }
        let seen = self.agreement().seen.lock().unwrap_or_else(PoisonError::into_inner);
        let side = seen.get(to).copied().flatten();
        for (at, endpoint) in self.all_endpoints().enumerate() {
            let hash = seen.get(at).copied().flatten();
            endpoint.set_aside(at != to && (hash.is_none() || hash != side));
        }
    }

    /// An endpoint of the side that is followed has answered.
    pub(super) fn note_answer(&self) {
        *self.agreement().silent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// No endpoint of the side that is followed has answered. In a split the other side is followed when that lasts: a keeper that sees
    /// nothing protects nothing.
    pub(super) fn note_silence(&self) {
        let since = {
            let mut silent = self.agreement().silent.lock().unwrap_or_else(PoisonError::into_inner);
            *silent.get_or_insert_with(Instant::now)
        };
        if since.elapsed() < SILENCE || self.split().is_none() {
            return;
        }
        let other = self
            .all_endpoints()
            .enumerate()
            .find(|(_, endpoint)| endpoint.is_aside() && !endpoint.is_outvoted());
        if let Some((at, endpoint)) = other {
            tracing::error!(
                endpoint = endpoint.name(),
                "nobody of the side that was followed has answered for {} s: the other one is followed",
                SILENCE.as_secs()
            );
            self.change_side(at);
            self.note_answer();
        }
    }
}

/// What was compared, and what came of it.
struct Looked(Comparison, Vec<Opinion>);

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
