//! Transactions that wait in the public mempool, on chains that have one. They are in no block: each is told once, by its hash.

use std::time::Duration;

use alloy::primitives::B256;
use alloy::providers::{DynProvider, Provider};
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

/// How long who has told of a transaction may take to show it, before others are asked.
const PATIENCE: Duration = Duration::from_secs(1);
const METHOD: &str = "eth_getTransactionByHash";

/// The transaction of this hash: whoever has told of it is asked first, because other nodes may not have heard of it. Null when it is gone,
/// included elsewhere or dropped.
async fn transaction(rpc: &Rpc, teller: &DynProvider, hash: B256) -> Result<Value, String> {
    let told = teller.raw_request::<_, Value>(METHOD.into(), json!([hash]));
    if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, told).await
        && !found.is_null()
    {
        return Ok(found);
    }
    rpc.ask(
        METHOD,
        |p| async move { p.raw_request(METHOD.into(), json!([hash])).await },
    )
    .await
    .map_err(|error| error.to_string())
}

/// What the watches find in one pending transaction, of which `teller` has told. One that is gone already was included, or dropped.
///
/// # Errors
/// Why it could not be looked at: nothing is known of it then.
pub async fn look_pending(
    rpc: &Rpc,
    teller: &DynProvider,
    watches: &Watches,
    block: &BlockRef,
    hash: B256,
) -> Result<Vec<Sighting>, String> {
    let answer = transaction(rpc, teller, hash).await?;
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
