//! Comparing the endpoints with each other. All of them must have the same block at the same height; where they differ, the most are
//! believed and the others are not asked any more, until they have the same blocks again. Where neither side has the most, nobody
//! can say which chain is the right one, and [`Rpc::split`] says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::providers::Provider;
use tokio::sync::watch;

use super::rpc::{Endpoint, Rpc};

/// Blocks below the newest that most have: endpoints are not equally fast, and the newest blocks of a chain may still change.
const DEPTH: u64 = 2;
/// An endpoint that is more blocks behind the others than this lags.
const LAG: u64 = 8;

/// What one endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// Scheme, host and port of the endpoint.
    pub endpoint: String,
    /// Height of its newest block; why it does not answer.
    pub height: Result<u64, String>,
    /// Hash of its block at the height that is compared; `None` when it has none.
    pub hash: Option<B256>,
    /// Whether most had another block than it at an earlier look.
    pub outvoted: bool,
}

/// What the endpoints say of each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// No two of them differ.
    #[default]
    Together,
    /// Most have the same block, some another: the sentence for people.
    Outvoted(String),
    /// They differ, and neither side has the most: the sentence for people.
    Split(String),
}

/// What a look at all endpoints has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Height that was compared.
    pub number: u64,
    /// Who differs.
    pub standing: Standing,
    /// The block that most have at that height.
    pub agreed: Option<B256>,
    /// Endpoints that do not answer, or lag behind, and why.
    pub poor: Vec<(String, String)>,
    /// Endpoints that keep up and agree with the most.
    pub good: Vec<String>,
}

/// The height to compare: a little below the one that more than half of those that answer have reached.
fn common_height(mut heights: Vec<u64>) -> Option<u64> {
    heights.sort_unstable_by(|one, other| other.cmp(one));
    let most = heights.get(heights.len() / 2).or(heights.last())?;
    Some(most.saturating_sub(DEPTH))
}

/// The hash that more than half have; `None` when none has.
fn majority(votes: &[B256]) -> Option<B256> {
    let mut counts: BTreeMap<B256, usize> = BTreeMap::new();
    for hash in votes {
        let count = counts.entry(*hash).or_default();
        *count = count.saturating_add(1);
    }
    let (hash, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > votes.len() / 2).then_some(hash)
}

/// Compares opinions on the block at `number`. Where no hash has the most, those who were outvoted before have no say.
#[must_use]
pub fn compare(number: u64, opinions: &[Opinion]) -> Comparison {
    let votes = |all: bool| -> Vec<B256> {
        let heard = opinions.iter().filter(|opinion| all || !opinion.outvoted);
        heard.filter_map(|opinion| opinion.hash).collect()
    };
    let agreed = majority(&votes(true)).or_else(|| majority(&votes(false)));
    let others = |own: B256| {
        let differ = opinions
            .iter()
            .filter(|opinion| opinion.hash.is_some_and(|hash| hash != own));
        let told = differ.filter_map(|opinion| Some(format!("{} has {}", opinion.endpoint, opinion.hash?)));
        told.collect::<Vec<_>>()
    };
    let standing = match agreed {
        Some(hash) => match others(hash).as_slice() {
            [] => Standing::Together,
            differ => Standing::Outvoted(format!(
                "most endpoints have {hash} at block {number}, but {}: what differs is not asked any more",
                differ.join(", ")
            )),
        },
        None => match others(B256::ZERO).as_slice() {
            [] => Standing::Together,
            all => Standing::Split(format!(
                "at block {number} {}, and neither side has the most",
                all.join(", ")
            )),
        },
    };
    let agrees = |opinion: &&Opinion| agreed.is_none() || opinion.hash.is_none() || opinion.hash == agreed;
    let newest = opinions
        .iter()
        .filter(agrees)
        .filter_map(|opinion| opinion.height.as_ref().ok())
        .max()
        .copied()
        .unwrap_or_default();
    let mut comparison = Comparison {
        number,
        standing,
        agreed,
        ..Comparison::default()
    };
    for opinion in opinions {
        let endpoint = opinion.endpoint.clone();
        match &opinion.height {
            Err(why) => comparison.poor.push((endpoint, why.clone())),
            Ok(height) if height.saturating_add(LAG) < newest => {
                let why = format!("its newest block is {height}, that of others {newest}");
                comparison.poor.push((endpoint, why));
            }
            Ok(_) if opinion.hash.is_some() && agrees(&opinion) => comparison.good.push(endpoint),
            Ok(_) => {}
        }
    }
    comparison
}

/// What is known of how the endpoints stand to each other. Shared by all handles.
#[derive(Debug)]
pub(super) struct Agreement {
    /// Why nobody can say which chain is the right one.
    split: Mutex<Option<String>>,
    /// A block of the chain that is followed.
    followed: watch::Sender<Option<(u64, B256)>>,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            split: Mutex::default(),
            followed: watch::Sender::new(None),
        }
    }
}

impl Rpc {
    /// How many endpoints there are.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.all_endpoints().count()
    }

    /// Why nobody can say which chain is the right one: endpoints differ, and neither side has the most. `None` while they agree, or
    /// most of them do.
    #[must_use]
    pub fn split(&self) -> Option<String> {
        let split = self.agreement().split.lock().unwrap_or_else(PoisonError::into_inner);
        split.clone()
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
        self.note(&looked);
        Some(looked.0)
    }

    /// What all endpoints say now, each asked by itself and at the same time.
    async fn look(&self) -> Looked {
        let endpoints: Vec<&Endpoint> = self.all_endpoints().collect();
        let asks = endpoints.iter().map(|endpoint| async {
            self.verify_endpoint(endpoint).await?;
            let provider = endpoint.provider();
            let request = async move { provider.get_block_number().await };
            self.bounded("eth_blockNumber", endpoint, request).await
        });
        let heights = futures::future::join_all(asks).await;
        let reached = heights.iter().filter_map(|height| height.as_ref().ok()).copied();
        let number = common_height(reached.collect()).unwrap_or_default();
        let asks = endpoints.iter().zip(heights).map(|(endpoint, height)| async move {
            let provider = endpoint.provider();
            let request = async move {
                let tag = BlockNumberOrTag::Number(number);
                provider.get_block_by_number(tag).hashes().await
            };
            let hash = match &height {
                Ok(height) if *height >= number => self
                    .bounded("eth_getBlockByNumber", endpoint, request)
                    .await
                    .map(|block| block.map(|block| block.header.hash)),
                Ok(_) => Ok(None),
                Err(error) => Err(error.clone()),
            };
            let height = height.and_then(|height| hash.as_ref().map(|_| height).map_err(Clone::clone));
            Opinion {
                endpoint: endpoint.name().to_owned(),
                height: height.map_err(|error| error.to_string()),
                hash: hash.ok().flatten(),
                outvoted: endpoint.is_outvoted(),
            }
        });
        let opinions = futures::future::join_all(asks).await;
        Looked(compare(number, &opinions), opinions)
    }

    /// Follows the most, and remembers whether there are any.
    fn note(&self, Looked(comparison, opinions): &Looked) {
        for (endpoint, opinion) in self.all_endpoints().zip(opinions) {
            // Who does not answer stays what it was.
            if let (Some(agreed), Some(hash)) = (comparison.agreed, opinion.hash) {
                endpoint.outvote(hash != agreed);
            }
        }
        let split = match &comparison.standing {
            Standing::Split(text) => Some(text.clone()),
            Standing::Together | Standing::Outvoted(_) => None,
        };
        let asked = self.asked_first().and_then(|at| opinions.get(at)?.hash);
        *self.agreement().split.lock().unwrap_or_else(PoisonError::into_inner) = split;
        if let Some(hash) = comparison.agreed.or(asked) {
            self.agreement().followed.send_replace(Some((comparison.number, hash)));
        }
    }
}

/// What was compared, and what came of it.
struct Looked(Comparison, Vec<Opinion>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn opinion(endpoint: &str, height: Result<u64, &str>, hash: Option<u8>) -> Opinion {
        Opinion {
            endpoint: endpoint.to_owned(),
            height: height.map_err(str::to_owned),
            hash: hash.map(B256::repeat_byte),
            outvoted: false,
        }
    }

    #[test]
    fn a_different_block_is_told_from_one_that_is_missing() {
        let agree = compare(7, &[opinion("a", Ok(9), Some(1)), opinion("b", Ok(9), Some(1))]);
        assert_eq!((agree.standing, agree.good.len()), (Standing::Together, 2));
        let differ = compare(
            90,
            &[
                opinion("a", Ok(99), Some(1)),
                opinion("b", Ok(99), Some(2)),
                opinion("c", Ok(3), None),
                opinion("d", Err("down"), None),
                opinion("e", Ok(92), Some(1)),
            ],
        );
        let Standing::Outvoted(text) = differ.standing else {
            panic!("{differ:?}")
        };
        assert!(text.contains("b has 0x0202") && !text.contains("a has"), "{text}");
        let poor: Vec<&str> = differ.poor.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
        assert_eq!(
            (poor, differ.good),
            (vec!["c", "d"], vec!["a".to_owned(), "e".to_owned()])
        );
    }

    #[test]
    fn one_against_one_is_no_majority_unless_one_was_outvoted_before() {
        let two = [opinion("a", Ok(9), Some(1)), opinion("b", Ok(9), Some(2))];
        let split = compare(7, &two);
        assert!(matches!(&split.standing, Standing::Split(text) if text.contains("a has") && text.contains("b has")));
        assert_eq!(split.agreed, None);
        let [mut liar, honest] = two;
        liar.outvoted = true;
        let comparison = compare(7, &[liar.clone(), honest.clone()]);
        assert_eq!(comparison.agreed, Some(B256::repeat_byte(2)));
        assert!(matches!(comparison.standing, Standing::Outvoted(_)));
        // When it says the same as the others it is one of them.
        liar.hash = honest.hash;
        assert_eq!(compare(7, &[liar, honest]).standing, Standing::Together);
    }

    #[test]
    fn a_height_is_compared_that_most_have_reached() {
        assert_eq!(common_height(vec![]), None);
        assert_eq!(common_height(vec![9]), Some(7));
        // Both of two; two of three, however far one is ahead or behind; three of four.
        assert_eq!(common_height(vec![1, 9]), Some(0));
        assert_eq!(common_height(vec![9_000_000, 50, 49]), Some(48));
        assert_eq!(common_height(vec![3, 50, 49]), Some(47));
        assert_eq!(common_height(vec![53, 52, 51, 50]), Some(49));
    }

    proptest! {
        #[test]
        fn only_more_than_half_is_a_majority(votes in prop::collection::vec(0_u8..4, 0..9)) {
            let hashes: Vec<B256> = votes.iter().copied().map(B256::repeat_byte).collect();
            let found = majority(&hashes);
            for hash in &hashes {
                let count = hashes.iter().filter(|other| *other == hash).count();
                prop_assert_eq!(found == Some(*hash), 2 * count > hashes.len());
            }
            prop_assert!(found.is_none_or(|hash| hashes.contains(&hash)));
        }
    }
}
