//! Turns of a fleet on a real PostgreSQL: one keeper at a time, and none that has lost its turn writes anything.

use std::time::{Duration, Instant};

use cordon_keeper::record::{Store, StoreError};

use crate::fixture::{Block, Fixture, block, trip};

/// Long enough for a busy database to answer in the half of it.
const TERM: Duration = Duration::from_secs(2);

/// Two keepers of one record, each of which needs its turn.
async fn two() -> (Fixture, Store) {
    let f = Fixture::postgres().await;
    let other = f.reopen().await;
    f.store.require_lease();
    other.require_lease();
    (f, other)
}

fn is_fenced<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Fenced { .. }))
}

#[tokio::test]
async fn one_keeper_at_a_time_has_the_turn_and_a_dead_one_is_replaced() {
    let (f, other) = two().await;
    let first = f.store.campaign("a", TERM).await.unwrap().unwrap();
    assert!(f.store.may_act());
    assert_eq!(other.campaign("b", TERM).await.unwrap(), None);
    assert!(!other.may_act());
    for _ in 0..4 {
        tokio::time::sleep(TERM / 2).await;
        assert!(f.store.renew_lease(TERM).await.unwrap());
        assert_eq!(
            other.campaign("b", TERM).await.unwrap(),
            None,
            "it is kept as long as it is renewed"
        );
    }
    assert_eq!(other.lease_holder().await.unwrap().unwrap().holder, "a");
    // Dead: it renews no more.
    let died = Instant::now();
    let second = loop {
        if let Some(lease) = other.campaign("b", TERM).await.unwrap() {
            break lease;
        }
        assert!(!other.may_act());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(second.token > first.token);
    assert!(
        !f.store.may_act(),
        "by its own clock the first has stopped before the second may begin"
    );
    assert!(died.elapsed() < TERM * 4, "{:?}", died.elapsed());
    assert!(!f.store.renew_lease(TERM).await.unwrap(), "what is lost is not renewed");
}

#[tokio::test]
async fn a_turn_that_is_given_back_can_be_taken_at_once() {
    let (f, other) = two().await;
    f.store.campaign("a", Duration::from_secs(60)).await.unwrap().unwrap();
    f.store.resign().await.unwrap();
    assert!(!f.store.may_act());
    assert!(other.campaign("b", Duration::from_secs(60)).await.unwrap().is_some());
    f.store.resign().await.unwrap();
    assert!(other.may_act(), "nobody gives back what is another's");
    assert_eq!(f.store.lease_holder().await.unwrap().unwrap().holder, "b");
}

#[tokio::test]
async fn who_has_lost_the_turn_writes_nothing_though_it_does_not_know() {
    let (f, other) = two().await;
    assert!(
        is_fenced(f.commit(&block(10, 0), Block::default()).await),
        "nobody has had a turn yet"
    );
    f.store.campaign("a", TERM).await.unwrap().unwrap();
    let content = Block {
        decisions: &[trip(0)],
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
    let intent = f.store.open_intents().await.unwrap().remove(0);
    // Paused for longer than its turn.
    tokio::time::sleep(TERM + Duration::from_millis(200)).await;
    other.campaign("b", TERM).await.unwrap().unwrap();

    assert!(is_fenced(f.commit(&block(11, 0), Block::default()).await));
    assert!(is_fenced(f.store.record_sent(&intent, &crate::fixture::sent(1)).await));
    let end = crate::fixture::done(block(11, 0), alloy::primitives::B256::repeat_byte(1));
    assert!(is_fenced(f.store.finish(&intent, &end).await));
    assert!(is_fenced(f.store.advance(&block(10, 0)).await));
    assert!(is_fenced(f.store.revert_blocks(&[block(10, 0)]).await));
    assert!(is_fenced(f.store.fan_out(&[]).await));
    assert!(is_fenced(f.store.told("pager", &[(1, None)]).await));
    assert!(is_fenced(f.store.prune_blocks(0).await));
    assert!(is_fenced(f.store.note(1, "remark", "too late").await));
    let kind = cordon_keeper::record::AlarmKind::Blind;
    assert!(is_fenced(f.store.raise_alarm(kind, "heads", "too late", None).await));

    assert_eq!(
        other.open_intents().await.unwrap(),
        vec![intent.clone()],
        "what was decided is there to be done"
    );
    assert!(other.transactions_of(intent.id).await.unwrap().is_empty());
    other.finish(&intent, &end).await.unwrap();
    assert!(!other.is_done(block(11, 0).hash).await.unwrap());
    // People are no keepers: their acknowledgement needs no turn.
    f.reopen().await.acknowledge("1", "ada").await.unwrap();
}

#[tokio::test]
async fn a_file_of_one_keeper_has_no_turns() {
    let f = Fixture::sqlite().await;
    assert!(!f.store.is_shared() && f.store.may_act());
    assert_eq!(f.store.lease_holder().await.unwrap(), None);
}
