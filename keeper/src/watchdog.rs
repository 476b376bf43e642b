//! What watches over the keeper's own senses and turns their failures into alarms.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alarm::Alarms;
use crate::chain::{BlockRef, Heads, Rpc};
use crate::health::{Health, Progress};
use crate::record::{AlarmKind, Store};

/// Turns a chain that stands still, and a pipeline that does not keep up, into an alarm.
pub(crate) async fn watch_health(heads: Heads, progress: Progress, alarms: Alarms) {
    const PERIOD: Duration = Duration::from_secs(1);
    const SUBJECT: &str = "keeper";
    loop {
        tokio::time::sleep(PERIOD).await;
        match progress.health(&heads) {
            // That no source works has an alarm of its own, which says more.
            Health::Ill(why) if !heads.link().is_blind() => {
                let text = format!("the keeper does not follow the chain: {why}");
                alarms.raise(AlarmKind::Stale, SUBJECT, &text, None).await;
            }
            Health::Well => alarms.clear(AlarmKind::Stale, SUBJECT).await,
            Health::Ill(_) | Health::Starting => {}
        }
    }
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

/// Compares the endpoints with each other every `period`: one that lies, or follows another fork, must not go unnoticed, nor
/// one that is dead while nobody needs it.
pub(crate) async fn watch_endpoints(rpc: Rpc, store: Store, alarms: Alarms, period: Duration) {
    /// Blocks below the newest: endpoints are not equally fast.
    const DEPTH: u32 = 8;
    /// Looks in a row at which an endpoint must be poor before people hear of it.
    const PATIENCE: u32 = 3;
    const SUBJECT: &str = "endpoints";
    if rpc.endpoint_count() < 2 {
        return;
    }
    let mut poor: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        tokio::time::sleep(period).await;
        let Ok(window) = store.window(DEPTH).await else {
            continue;
        };
        let Some(block) = window.first().copied() else { continue };
        let Ok(comparison) = rpc.compare(&block).await else {
            continue;
        };
        match comparison.disagreement {
            Some(text) if differ_still(&rpc, &store, period).await => {
                let text = format!("the endpoints do not agree: {text}; do not trust them before you know why");
                alarms
                    .raise(AlarmKind::Disagreement, SUBJECT, &text, Some(block.number))
                    .await;
            }
            Some(_) => {}
            None => alarms.clear(AlarmKind::Disagreement, SUBJECT).await,
        }
        for endpoint in comparison.good {
            if poor.remove(&endpoint).is_some() {
                alarms.clear(AlarmKind::Endpoint, &endpoint).await;
            }
        }
        for (endpoint, why) in comparison.poor {
            let looks = poor.entry(endpoint.clone()).or_default();
            *looks = looks.saturating_add(1);
            if *looks == PATIENCE {
                alarms
                    .raise(AlarmKind::Endpoint, &endpoint, &why, Some(block.number))
                    .await;
            }
        }
    }
}

/// Whether the endpoints differ at a later block too: what a reorg has left behind at one of them passes.
async fn differ_still(rpc: &Rpc, store: &Store, period: Duration) -> bool {
    tokio::time::sleep(period.min(Duration::from_secs(2))).await;
    let Ok(window) = store.window(1).await else { return true };
    let Some(block): Option<&BlockRef> = window.last() else {
        return true;
    };
    rpc.compare(block)
        .await
        .map_or(true, |comparison| comparison.disagreement.is_some())
}
