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
///
/// # Errors
/// Why it could not be looked at: nothing is known of it then.
pub async fn look_pending(rpc: &Rpc, watches: &Watches, block: &BlockRef, hash: B256) -> Result<Vec<Sighting>, String> {
    const METHOD: &str = "eth_getTransactionByHash";
    let answer: Value = rpc
        .ask(
            METHOD,
            |p| async move { p.raw_request(METHOD.into(), json!([hash])).await },
        )
        .await
        .map_err(|error| error.to_string())?;
    if answer.is_null() {
        return Ok(Vec::new());
    }
    let tx = Transaction::from_json(&answer).ok_or_else(|| format!("{METHOD}: the answer is no transaction"))?;
    let (questions, sightings): (Vec<_>, Vec<Sighting>) = watches
        .pending_watches()
        .iter()
        .filter_map(|watch| watch.question(&tx, None))
        .unzip();
    let judged = judge(rpc, block, &questions).await.map_err(|error| error.to_string())?;
    Ok(sightings
        .into_iter()
        .zip(judged)
        // What cannot be judged is shown: somebody is trying something.
        .filter(|(_, judged)| *judged != Judged::False)
        .map(|(mut sighting, _)| {
            sighting.silent = sighting.silent || watches.is_quiet(&sighting.watch, block.timestamp);
            sighting
        })
        .collect())
}
