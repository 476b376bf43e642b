//! Transactions that wait in the public mempool, on chains that have one. They are in no block: each is told once, by its hash.

use alloy::primitives::B256;
use alloy::providers::Provider;
use serde_json::{Value, json};

use super::condition::{Judged, judge};
use super::{Sighting, Watches};
use crate::chain::{BlockRef, Rpc, Transaction};

/// A pending transaction that a watch found.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// What was found.
    pub sighting: Sighting,
    /// The newest block then.
    pub block: BlockRef,
}

/// What the watches find in one pending transaction. One that is gone already was included, or dropped.
pub async fn look_pending(rpc: &Rpc, watches: &Watches, block: &BlockRef, hash: B256) -> Vec<Sighting> {
    const METHOD: &str = "eth_getTransactionByHash";
    let answer: Result<Value, _> = rpc
        .ask(
            METHOD,
            |p| async move { p.raw_request(METHOD.into(), json!([hash])).await },
        )
        .await;
    let Some(tx) = answer.ok().as_ref().and_then(Transaction::from_json) else {
        return Vec::new();
    };
    let (questions, sightings): (Vec<_>, Vec<Sighting>) = watches
        .pending_watches()
        .iter()
        .filter_map(|watch| watch.question(&tx, None))
        .unzip();
    let Ok(judged) = judge(rpc, block, &questions).await else {
        return Vec::new();
    };
    sightings
        .into_iter()
        .zip(judged)
        // What cannot be judged is shown: somebody is trying something.
        .filter(|(_, judged)| *judged != Judged::False)
        .map(|(mut sighting, _)| {
            sighting.silent = sighting.silent || watches.is_quiet(&sighting.watch, block.timestamp);
            sighting
        })
        .collect()
}
