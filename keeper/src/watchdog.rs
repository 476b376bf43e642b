//! What watches over the keeper's own senses and turns their failures into alarms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alarm::Alarms;
use crate::chain::{Heads, Rpc, RpcError, Standing};
use crate::health::{Health, Progress};
use crate::record::{AlarmKind, Store};

/// What alarms about the record are about.
pub(crate) const RECORD: &str = "record";
/// What an alarm about some endpoints that differ from the most is about.
pub(crate) const ENDPOINTS: &str = "endpoints";
/// What an alarm about endpoints that have no majority is about.
pub(crate) const CHAIN: &str = "chain";
/// Pause before endpoints that differ are looked at again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Turns a chain that stands still, and a pipeline that does not keep up, into an alarm.
pub(crate) async fn watch_health(heads: Heads, progress: Progress, alarms: Alarms) {
    const PERIOD: Duration = Duration::from_secs(1);
    const SUBJECT: &str = "keeper";
    loop {
        tokio::time::sleep(PERIOD).await;
        match progress.health(&heads) {
            // That no source works has an alarm of its own, which says more.
            Health::Ill(why) | Health::Idle(why) if !heads.link().is_blind() => {
                let text = format!("the keeper does not follow the chain: {why}");
                alarms.raise(AlarmKind::Stale, SUBJECT, &text, None).await;
            }
            Health::Well => alarms.clear(AlarmKind::Stale, SUBJECT).await,
            Health::Ill(_) | Health::Idle(_) | Health::Starting => {}
        }
    }
}

/// Looks every moment whether a database that others share still answers: what is lost there is noticed at once, not when the next
/// block has waited for it.
pub(crate) async fn watch_record(store: Store, progress: Progress, alarms: Alarms) {
    const PERIOD: Duration = Duration::from_millis(500);
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut failures = 0_u32;
    while store.is_shared() {
        tokio::time::sleep(PERIOD).await;
        let result = match tokio::time::timeout(PATIENCE, store.lease_holder()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the database has not answered within {} s", PATIENCE.as_secs())),
        };
        progress.reached(result.clone());
        match result {
            Ok(()) if failures > 0 => {
                failures = 0;
                alarms.clear(AlarmKind::Record, RECORD).await;
            }
            Ok(()) => {}
            Err(why) => {
                failures = failures.saturating_add(1);
                // A connection that the server has closed is no lost record: the next look has another. Said again every half
                // minute: if nobody could be told, somebody may be by now.
                if failures % 60 == 2 {
                    alarms.cry(AlarmKind::Record, RECORD, &lost(&why));
                }
            }
        }
    }
}

/// What people are told when the record is lost.
pub(crate) fn lost(why: &str) -> String {
    format!("the record is lost for this keeper, and without it nothing is decided: {why}")
}

/// Turns the health of the head sources into alarms.
pub(crate) async fn watch_link(mut heads: Heads, alarms: Alarms) {
    // A subscription that is back within moments is nobody's business.
    const CALM: Duration = Duration::from_secs(3);
    // An earlier run, or another keeper, may have left the alarm open.
    let mut was_blind = true;
    loop {
        if !heads.link_changed().await {
            return;
        }
        tokio::time::sleep(if heads.link().is_blind() { Duration::ZERO } else { CALM }).await;
        let link = heads.link();
        if link.is_blind() {
            let why = link.poll_error.clone().unwrap_or_default();
            let text = format!("the keeper sees no blocks: {why}");
            was_blind = true;
            alarms.raise(AlarmKind::Blind, "heads", &text, None).await;
        } else if std::mem::take(&mut was_blind) {
            alarms.clear(AlarmKind::Blind, "heads").await;
        }
        match (&link.subscription_error, link.subscribed) {
            (Some(why), false) => {
                let text = format!("heads come by polling: {why}");
                alarms.raise(AlarmKind::Polling, "heads", &text, None).await;
            }
            _ => alarms.clear(AlarmKind::Polling, "heads").await,
        }
    }
}

/// Compares the endpoints with each other every `period`, and follows the most of them: one that lies, or follows another fork, must
/// not go unnoticed, nor one that is dead while nobody needs it.
pub(crate) async fn watch_endpoints(rpc: Rpc, alarms: Alarms, period: Duration) {
    /// Looks in a row at which an endpoint must be poor before people hear of it.
    const PATIENCE: u32 = 3;
    let mut poor: BTreeMap<String, u32> = BTreeMap::new();
    // Those of which no alarm is open: an earlier run may have left one.
    let mut good: BTreeSet<String> = BTreeSet::new();
    while let Some(comparison) = rpc.compare(period.min(LOOK_AGAIN)).await {
        let number = Some(comparison.number);
        match &comparison.standing {
            Standing::Together => {
                alarms.clear(AlarmKind::Disagreement, ENDPOINTS).await;
                alarms.clear(AlarmKind::Disagreement, CHAIN).await;
            }
            Standing::Outvoted(text) => {
                alarms.clear(AlarmKind::Disagreement, CHAIN).await;
                let text = format!("the endpoints do not agree: {text}; find out why before you trust it again");
                alarms.raise(AlarmKind::Disagreement, ENDPOINTS, &text, number).await;
            }
            Standing::Split(text) => {
                let text = format!(
                    "nobody can say which chain is the right one: {text}. The keeper stays with the one that it was on; until they agree it trips, but does nothing by its own authority, takes nothing back and sends no heartbeat: add an endpoint that you trust"
                );
                alarms.raise(AlarmKind::Disagreement, CHAIN, &text, number).await;
            }
        }
        for endpoint in comparison.good {
            poor.remove(&endpoint);
            if good.insert(endpoint.clone()) {
                alarms.clear(AlarmKind::Endpoint, &endpoint).await;
            }
        }
        for (endpoint, why) in comparison.poor {
            let looks = poor.entry(endpoint.clone()).or_default();
            *looks = looks.saturating_add(1);
            if *looks == PATIENCE {
                good.remove(&endpoint);
                alarms.raise(AlarmKind::Endpoint, &endpoint, &why, number).await;
            }
        }
        tokio::time::sleep(period).await;
    }
}

/// Looks now and then whether every endpoint is still of this chain: one whose gateway was changed behind the keeper's back answers well, and
/// for somebody else.
pub(crate) async fn watch_chains(rpc: Rpc, alarms: Alarms, period: Duration) {
    // Those of which an alarm may be open: an earlier run, or the configuration before, may have left one of any.
    let mut foreign: BTreeSet<String> = rpc.endpoint_names().into_iter().collect();
    loop {
        let found: BTreeMap<String, String> = rpc
            .check_chains()
            .await
            .into_iter()
            .filter_map(|error| match &error {
                RpcError::WrongChain { endpoint, .. } => Some((endpoint.clone(), error.to_string())),
                _ => None,
            })
            .collect();
        for (endpoint, why) in &found {
            let text = format!("an endpoint is not used any more: {why}");
            alarms.raise(AlarmKind::Disagreement, endpoint, &text, None).await;
            foreign.insert(endpoint.clone());
        }
        let back: Vec<String> = foreign
            .iter()
            .filter(|endpoint| !found.contains_key(*endpoint) && rpc.is_verified(endpoint))
            .cloned()
            .collect();
        for endpoint in back {
            alarms.clear(AlarmKind::Disagreement, &endpoint).await;
            foreign.remove(&endpoint);
        }
        tokio::time::sleep(period).await;
    }
}

/// Compares the endpoints before the first of them is followed.
pub(crate) async fn first_look(rpc: &Rpc) {
    /// One that does not answer must not hold the others up.
    const PATIENCE: Duration = Duration::from_millis(1_500);
    if tokio::time::timeout(PATIENCE, rpc.compare(Duration::from_millis(200)))
        .await
        .is_err()
    {
        tracing::warn!("the endpoints could not be compared before the first block: one of them does not answer");
    }
}
