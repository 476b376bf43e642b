//! The turns of a keeper that shares its record with others: it waits for the lease, works while it has it, and stops when it
//! loses it or sees the chain no more.

use std::time::{Duration, Instant};

use cordon_core::rule::eval::Verdict;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::chain::Heads;
use crate::console;
use crate::keeper::Keeper;
use crate::pipeline::Hindrance;
use crate::record::{AlarmKind, Store};
use crate::rules::{ReadError, Reader};
use crate::watchdog::{RECORD, lost};

/// A keeper that sees nothing gives its turn to one that may see.
const BLIND: Duration = Duration::from_secs(3);
/// One that could not work leaves the turn to the others for so long.
const ABSTAIN: Duration = Duration::from_secs(10);

/// Takes its turns until `stop`.
pub(crate) async fn take_turns(keeper: &Keeper, stop: CancellationToken) {
    keeper.store().require_lease();
    while !stop.is_cancelled() {
        if stop.run_until_cancelled(stand_by(keeper)).await.is_none() {
            break;
        }
        tracing::info!(keeper = keeper.name(), "it is this keeper's turn");
        let turn = stop.child_token();
        // A task of its own: no work may delay it.
        let keeping = tokio::spawn(keep(
            keeper.store().clone(),
            keeper.alarms().clone(),
            keeper.term(),
            turn.clone(),
        ));
        let result = keeper.work(&turn).await;
        turn.cancel();
        let _ = keeping.await;
        let was_ours = keeper.store().may_act();
        if let Err(error) = keeper.store().resign().await {
            tracing::warn!(%error, "the turn could not be given back; it ends by itself");
        }
        if let Err(error) = &result {
            tracing::error!(%error, "this keeper cannot work");
        }
        if was_ours && !stop.is_cancelled() {
            tracing::warn!("this keeper has given its turn to the others");
            let _ = stop.run_until_cancelled(tokio::time::sleep(ABSTAIN)).await;
        }
    }
}

/// Waits until it is this keeper's turn, and says so on its console.
async fn stand_by(keeper: &Keeper) {
    let campaign = async {
        let (mut failures, mut unsure) = (0_u32, true);
        loop {
            match keeper.store().campaign(&keeper.name(), keeper.term()).await {
                Ok(Some(_)) => {
                    // An earlier turn may have ended because of it.
                    keeper.alarms().clear(AlarmKind::Record, RECORD).await;
                    return;
                }
                Ok(None) => {
                    failures = 0;
                    // An earlier turn may have ended because of it.
                    if std::mem::take(&mut unsure) {
                        keeper.alarms().clear(AlarmKind::Record, RECORD).await;
                    }
                }
                Err(error) => {
                    unsure = true;
                    if failures == 0 {
                        tracing::error!(%error, "the record of the fleet cannot be reached; this keeper does nothing until it can");
                    }
                    // Said again now and then: if nobody could be told, somebody may be by now.
                    if failures % 60 == 0 {
                        keeper
                            .alarms()
                            .cry(AlarmKind::Record, RECORD, &lost(&error.to_string()));
                    }
                    failures = failures.saturating_add(1);
                }
            }
            tokio::time::sleep(keeper.term() / 8).await;
        }
    };
    let campaign = async {
        tokio::select! {
            () = campaign => {}
            () = bear_witness(keeper) => {}
        }
    };
    match keeper.listener() {
        Some(listener) => {
            tokio::select! {
                () = campaign => {}
                () = console::stand_by(listener, keeper.store().clone()) => {}
            }
        }
        None => campaign.await,
    }
}

/// Looks, while it waits, at the breaches that the keeper with the turn has found, through its own endpoints at its own newest
/// block, and says what it finds: for what several keepers have to agree on. Never ends.
async fn bear_witness(keeper: &Keeper) {
    const PERIOD: Duration = Duration::from_millis(250);
    if !keeper.wants_witnesses() {
        std::future::pending::<()>().await;
    }
    let (name, reader) = (keeper.name(), keeper.asked());
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = look(keeper, &name, &reader).await {
            tracing::warn!(%error, "this keeper cannot say what it finds of a breach");
        }
    }
}

async fn look(keeper: &Keeper, name: &str, reader: &Reader) -> Result<(), Hindrance> {
    let version = keeper.version();
    let asked = keeper.store().asked_by_others(name, version).await?;
    if asked.is_empty() {
        return Ok(());
    }
    let block = keeper.rpc().latest().await.map_err(ReadError::Unreachable)?;
    for verdict in reader.verdicts(&block, &asked).await? {
        let breached = match verdict.reading.verdict {
            Verdict::Breached => true,
            Verdict::Holds => false,
            Verdict::Unknown => continue,
        };
        keeper
            .store()
            .vote(name, (version, verdict.rule), &verdict.witness, &block, breached)
            .await?;
    }
    Ok(())
}

/// Renews the lease until `turn` ends, and ends it when the lease is lost, or may be.
async fn keep(store: Store, alarms: Alarms, term: Duration, turn: CancellationToken) {
    let renewals = async {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep((term / 5).min(Duration::from_secs(1))).await;
            match tokio::time::timeout(term / 2, store.renew_lease(term)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => {
                    tracing::error!("another keeper has taken over");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the turn could not be renewed"),
                Err(_) => tracing::warn!("the record does not answer"),
            }
            if !store.may_act() {
                let ago = renewed.elapsed().as_secs();
                tracing::error!(ago, "the turn has run out: this keeper stops");
                let why = format!("the turn could not be renewed for {ago} s, and has run out");
                alarms.cry(AlarmKind::Record, RECORD, &lost(&why));
                return;
            }
        }
    };
    let _ = turn.run_until_cancelled(renewals).await;
    turn.cancel();
}

/// Ends the work when no source of heads has worked for a while.
pub(crate) async fn step_down_when_blind(heads: Heads, stop: CancellationToken) {
    const PERIOD: Duration = Duration::from_millis(250);
    let mut since = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        if !heads.link().is_blind() {
            since = None;
            continue;
        }
        if since.get_or_insert_with(Instant::now).elapsed() >= BLIND {
            tracing::error!("this keeper sees no blocks: another one may");
            stop.cancel();
        }
    }
}
