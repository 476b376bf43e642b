//! Comparing the endpoints with each other: all of them must have the same block at the same height.

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::providers::Provider;

use super::rpc::Rpc;
use super::{BlockRef, BlockSource, RpcError};

/// What one endpoint says of a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// Scheme, host and port of the endpoint.
    pub endpoint: String,
    /// Hash of its block there; `None` when it has none; an error when it does not answer.
    pub hash: Result<Option<B256>, String>,
}

/// What is wrong with some endpoints. Empty when they agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// They have different blocks: the sentence for people.
    pub disagreement: Option<String>,
    /// Endpoints that do not answer, or lag behind, and why.
    pub poor: Vec<(String, String)>,
    /// Endpoints that agree with the most.
    pub good: Vec<String>,
}

/// Compares opinions on the block at `number`, of which the keeper has evaluated `own`.
#[must_use]
pub fn compare(number: u64, own: B256, opinions: &[Opinion]) -> Comparison {
    let mut comparison = Comparison::default();
    for opinion in opinions {
        let endpoint = opinion.endpoint.clone();
        match &opinion.hash {
            Ok(Some(hash)) if *hash == own => comparison.good.push(endpoint),
            Ok(Some(hash)) => {
                let text = format!("{endpoint} has {hash} at block {number}, the keeper evaluated {own}");
                let told = comparison
                    .disagreement
                    .take()
                    .map_or(text.clone(), |held| format!("{held}; {text}"));
                comparison.disagreement = Some(told);
            }
            Ok(None) => comparison
                .poor
                .push((endpoint, format!("it does not have block {number} yet"))),
            Err(why) => comparison.poor.push((endpoint, why.clone())),
        }
    }
    comparison
}

impl Rpc {
    /// How many endpoints there are.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.endpoints().count()
    }

    /// Asks every endpoint, at the same time, for its block at a height.
    pub async fn opinions(&self, number: u64) -> Vec<Opinion> {
        let tag = BlockNumberOrTag::Number(number);
        let asks = self.endpoints().map(|endpoint| async move {
            let provider = endpoint.provider();
            let asked = async {
                self.verify_endpoint(endpoint).await?;
                let request = async move { provider.get_block_by_number(tag).hashes().await };
                self.bounded("eth_getBlockByNumber", endpoint, request).await
            };
            let hash: Result<_, RpcError> = asked.await;
            Opinion {
                endpoint: endpoint.name().to_owned(),
                hash: hash
                    .map(|block| block.map(|block| block.header.hash))
                    .map_err(|error| error.to_string()),
            }
        });
        futures::future::join_all(asks).await
    }

    /// Compares the endpoints on a block that the keeper has evaluated some time ago. A difference counts only when the
    /// chain, asked again, still has that block: a reorg in between is none.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn compare(&self, block: &BlockRef) -> Result<Comparison, RpcError> {
        let comparison = compare(block.number, block.hash, &self.opinions(block.number).await);
        if comparison.disagreement.is_none() {
            return Ok(comparison);
        }
        let now = self.by_number(block.number).await?;
        let still = now.is_some_and(|now| now.hash == block.hash) || comparison.good.is_empty();
        Ok(Comparison {
            disagreement: comparison.disagreement.filter(|_| still),
            ..comparison
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn opinion(endpoint: &str, hash: Result<Option<u8>, &str>) -> Opinion {
        Opinion {
            endpoint: endpoint.to_owned(),
            hash: hash.map(|byte| byte.map(B256::repeat_byte)).map_err(str::to_owned),
        }
    }

    #[test]
    fn a_different_block_is_told_from_one_that_is_missing() {
        let own = B256::repeat_byte(1);
        let agree = compare(7, own, &[opinion("a", Ok(Some(1))), opinion("b", Ok(Some(1)))]);
        assert_eq!((agree.disagreement, agree.good.len()), (None, 2));
        let differ = compare(
            7,
            own,
            &[
                opinion("a", Ok(Some(1))),
                opinion("b", Ok(Some(2))),
                opinion("c", Ok(None)),
                opinion("d", Err("down")),
            ],
        );
        assert!(differ.disagreement.unwrap().contains("b has 0x0202"));
        let poor: Vec<&str> = differ.poor.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
        assert_eq!(poor, ["c", "d"]);
    }
}
