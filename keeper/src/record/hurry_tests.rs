//! What goes first into the record.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use alloy::primitives::Address;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;

use super::db::query_as;
use super::samples::{VERSION, block, empty, trip};
use super::{
    AlarmKind, BlockRecord, Confirmation, Intent, IntentKind, LadderRule, Names, NewIntent, Outcome, Step, Store,
};
use crate::chain::BlockRef;
use crate::decide::ladder::Rung;
use crate::rules::Sightings;
use crate::turns::Urgency;

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("cordon.db"), 1, Address::repeat_byte(0x11));
    let store = store.await.unwrap();
    (dir, store)
}

/// Something that a block decides on.
async fn tripped(store: &Store) -> Intent {
    let (block, sightings) = (block(10), Sightings::default());
    let record = BlockRecord {
        decisions: &[trip()],
        ..empty(&block, &sightings)
    };
    let commit = store.commit_block(&record, &Names::default()).await.unwrap();
    commit.intents[0].clone()
}

fn upkeep(kind: IntentKind, block: &BlockRef) -> NewIntent<'_> {
    NewIntent {
        kind,
        rule: None,
        scope: 1,
        level: Level::Normal,
        duration: 0,
        witness: &[],
        observed: Int::ZERO,
        bound: Int::ZERO,
        block,
        version: VERSION,
        incident: None,
    }
}

fn ended() -> Confirmation {
    Confirmation {
        outcome: Outcome::Done,
        detail: "done".to_owned(),
        included: None,
        judged_at: Some(block(10)),
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    }
}

async fn in_line(store: &Store, count: usize) {
    while store.pool.waiting() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether `work` writes before a `rival` that was there first, when both wait for the one that writes.
async fn goes_before(store: &Store, rival: Urgency, work: impl Future) -> bool {
    /// Whatever of this is written changes their number.
    const WRITTEN: &str =
        "SELECT (SELECT COUNT(*) FROM intents) + (SELECT COUNT(outcome) FROM intents) + (SELECT COUNT(*) FROM ladders)
        + (SELECT COUNT(*) FROM ladder_rungs) + (SELECT COUNT(*) FROM alarms) + (SELECT COUNT(cleared_ms) FROM alarms)";
    let (before,): (i64,) = query_as(WRITTEN).fetch_one(&store.pool).await.unwrap();
    let first = store.begin().await.unwrap();
    let rival = async {
        let mut tx = store.begin_for(rival).await.unwrap();
        let (now,): (i64,) = query_as(WRITTEN).fetch_one(&mut *tx).await.unwrap();
        tx.commit(Step::Note).await.unwrap();
        now != before
    };
    let work = async {
        in_line(store, 1).await;
        work.await;
    };
    let begin = async {
        in_line(store, 2).await;
        drop(first);
    };
    let (is_first, (), ()) = futures::join!(rival, work, begin);
    let (after,): (i64,) = query_as(WRITTEN).fetch_one(&store.pool).await.unwrap();
    assert_ne!(before, after, "it has written");
    is_first
}

#[tokio::test]
async fn how_something_ends_is_in_as_much_hurry_as_it_is() {
    let (_dir, store) = store().await;
    let trip = tripped(&store).await;
    let finish = async |intent: &Intent| assert!(store.finish(intent, &ended()).await.unwrap());
    assert!(goes_before(&store, Urgency::Sending, finish(&trip)).await);
    let settle = store.plan(&upkeep(IntentKind::Settle, &block(10))).await.unwrap();
    let settle = settle.unwrap();
    assert!(goes_before(&store, Urgency::Rest, finish(&settle)).await);
    let other = store.plan(&upkeep(IntentKind::Settle, &block(11))).await.unwrap();
    let other = other.unwrap();
    assert!(
        !goes_before(&store, Urgency::Sending, finish(&other)).await,
        "who comes first goes first"
    );
}

#[tokio::test]
async fn what_closes_is_planned_before_what_opens() {
    let (_dir, store) = store().await;
    let plan = async |kind, number| {
        let stored = store.plan(&upkeep(kind, &block(number))).await.unwrap();
        assert!(stored.is_some());
    };
    assert!(goes_before(&store, Urgency::Sending, plan(IntentKind::Retry, 10)).await);
    assert!(goes_before(&store, Urgency::Rest, plan(IntentKind::Settle, 11)).await);
    assert!(!goes_before(&store, Urgency::Sending, plan(IntentKind::Settle, 12)).await);
}

#[tokio::test]
async fn fallbacks_are_begun_before_anything_else_is_sent() {
    let (_dir, store) = store().await;
    tripped(&store).await;
    let rule = LadderRule {
        fallback: "council".to_owned(),
        scopes: vec![],
        deadline_ms: 0,
    };
    let mut ladders = Vec::new();
    let due = store.due_ladders(&[rule]).await.unwrap();
    let due = async { ladders = store.ladders(&due).await.unwrap() };
    assert!(goes_before(&store, Urgency::Sending, due).await);
    let rung = store.begin_rung(&ladders[0], Rung::Signed, "sent");
    assert!(goes_before(&store, Urgency::Sending, rung).await);
}

#[tokio::test]
async fn alarms_wait_for_nothing_that_can_wait() {
    let (_dir, store) = store().await;
    let raise = store.raise_alarm(AlarmKind::Behind, "blocks", "late", None);
    assert!(goes_before(&store, Urgency::Rest, raise).await);
    let clear = store.clear_alarm(AlarmKind::Behind, "blocks");
    assert!(goes_before(&store, Urgency::Rest, clear).await);
    let again = store.raise_alarm(AlarmKind::Behind, "blocks", "late", None);
    assert!(!goes_before(&store, Urgency::Sending, again).await);
}

#[tokio::test]
async fn what_is_forgotten_is_forgotten_piece_by_piece() {
    let (_dir, store) = store().await;
    assert!(
        store
            .raise_alarm(AlarmKind::Behind, "blocks", "late", None)
            .await
            .unwrap()
    );
    assert!(store.clear_alarm(AlarmKind::Behind, "blocks").await.unwrap());
    let first = store.begin().await.unwrap();
    let prune = async { while store.prune(-1_000).await.unwrap() {} };
    let breach = async {
        in_line(&store, 1).await;
        // Its turn now; and here comes a block, in the middle of it.
        drop(first);
        let mut tx = store.begin_for(Urgency::Breach).await.unwrap();
        let (alarms,): (i64,) = query_as("SELECT COUNT(*) FROM alarms")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        tx.commit(Step::Block).await.unwrap();
        alarms
    };
    let ((), alarms) = futures::join!(prune, breach);
    assert_eq!(alarms, 1, "the block does not wait for all of it");
    assert!(store.alarms().await.unwrap().is_empty());
}

#[tokio::test]
async fn many_blocks_are_not_forgotten_at_once() {
    let (_dir, store) = store().await;
    let blocks: Vec<BlockRef> = (1..=1_100).map(block).collect();
    let sightings = Sightings::default();
    let records: Vec<BlockRecord<'_>> = blocks.iter().map(|block| empty(block, &sightings)).collect();
    store.commit_blocks(&records, &Names::default()).await.unwrap();
    let mut parts = Vec::new();
    while let count @ 1.. = store.prune_blocks(40).await.unwrap() {
        parts.push(count);
    }
    assert_eq!(parts, [500, 500, 59]);
    assert_eq!(store.window(2_000).await.unwrap().len(), 41);
}
