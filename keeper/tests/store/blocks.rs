//! Blocks: done as a whole or not at all, taken back by reorgs, dropped when they are old.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use cordon_client::config::SecretText;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{RuleVerdict, ScopeReading};
use cordon_keeper::record::{IncidentState, Store, StoreError};
use cordon_keeper::rules::GuardEventKind;

use crate::fixture::*;

async fn a_block_survives_a_restart_with_its_verdicts_and_intents(f: Fixture) {
    let verdicts = [verdict(0, Verdict::Breached), verdict(1, Verdict::Holds)];
    let scopes = [ScopeReading {
        scope: 1,
        level: Level::Throttled,
        expires_at: 9,
        applied: true,
        ..ScopeReading::default()
    }];
    let b = block(10, 0);
    let commit = f
        .commit(
            &b,
            Block {
                verdicts: &verdicts,
                scopes: Some(&scopes),
                decisions: &[trip(0)],
                ..Block::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(commit.intents.len(), 1);
    let again = f.reopen().await;
    assert!(again.is_done(b.hash).await.unwrap());
    assert_eq!(
        again
            .window(10)
            .await
            .unwrap()
            .iter()
            .map(|b| b.hash)
            .collect::<Vec<_>>(),
        vec![b.hash]
    );
    assert_eq!(again.verdicts(b.hash).await.unwrap().unwrap(), verdicts);
    assert_eq!(again.scopes(b.hash).await.unwrap().unwrap(), scopes);
    assert_eq!(again.open_intents().await.unwrap(), commit.intents);
    let incident = again.incidents().await.unwrap().remove(0);
    assert_eq!(
        (incident.state, incident.scope_name.as_str()),
        (IncidentState::Open, "weth")
    );
    assert_eq!(incident.rule_name.as_deref(), Some("price"));
    assert_eq!(incident.head_to_decision, Some(Duration::from_micros(1_500)));
    assert_eq!(
        incident.timeline.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        ["detected", "decided"]
    );
}

async fn a_block_that_fails_half_way_leaves_nothing(f: Fixture) {
    // The second decision cannot be stored (its scope's time does not fit), after the first was written.
    let unstorable = BlockRef {
        timestamp: 5,
        ..block(11, 0)
    };
    let events = [event(
        0,
        GuardEventKind::Raised {
            scope: 1,
            from: Level::Normal,
            to: Level::ReduceOnly,
            expires_at: 1,
            incident: u64::MAX,
            by: Address::ZERO,
        },
    )];
    let error = f
        .commit(
            &unstorable,
            Block {
                verdicts: &[verdict(0, Verdict::Breached)],
                decisions: &[trip(0)],
                events: &events,
                ..Block::default()
            },
        )
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Range {
                what: "incident number",
                ..
            }
        ),
        "{error}"
    );
    assert!(!f.store.is_done(unstorable.hash).await.unwrap());
    assert!(f.store.window(10).await.unwrap().is_empty());
    assert!(f.store.intents().await.unwrap().is_empty());
    assert!(f.store.incidents().await.unwrap().is_empty());
}

async fn a_cancelled_commit_leaves_nothing(f: Fixture) {
    let b = block(12, 0);
    let decisions = [trip(0), trip(1)];
    for polls in 1..40 {
        let content = Block {
            verdicts: &[verdict(0, Verdict::Breached)],
            decisions: &decisions,
            ..Block::default()
        };
        let mut commit = Box::pin(f.commit(&b, content));
        let mut finished = false;
        for _ in 0..polls {
            if tokio::time::timeout(Duration::from_micros(1), &mut commit)
                .await
                .is_ok()
            {
                finished = true;
                break;
            }
        }
        drop(commit);
        // A commit that was under way is ended by the database's thread.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let intents = f.store.intents().await.unwrap().len();
        let is_done = f.store.is_done(b.hash).await.unwrap();
        assert_eq!(intents, if is_done { 2 } else { 0 }, "after {polls} polls");
        assert_eq!(f.store.incidents().await.unwrap().len(), usize::from(is_done));
        if finished || is_done {
            return;
        }
    }
}

async fn the_same_decision_is_stored_once(f: Fixture) {
    let content = || Block {
        verdicts: &[],
        decisions: std::slice::from_ref(Box::leak(Box::new(trip(0)))),
        ..Block::default()
    };
    assert_eq!(f.commit(&block(10, 0), content()).await.unwrap().intents.len(), 1);
    assert_eq!(f.commit(&block(10, 0), content()).await.unwrap().intents.len(), 0);
    assert_eq!(f.commit(&block(11, 0), content()).await.unwrap().intents.len(), 1);
    assert_eq!(f.store.intents().await.unwrap().len(), 2);
    assert_eq!(f.store.incidents().await.unwrap().len(), 1, "one incident per scope");
}

async fn a_reorg_takes_back_what_its_blocks_did_and_reopens_actions(f: Fixture) {
    let commit = f
        .commit(
            &block(99, 0),
            Block {
                decisions: &[trip(0)],
                ..Block::default()
            },
        )
        .await
        .unwrap();
    let intent = commit.intents[0].clone();
    f.store.record_sent(&intent, &sent(0xaa)).await.unwrap();
    f.store
        .finish(&intent, &done(block(100, 1), B256::repeat_byte(0xaa)))
        .await
        .unwrap();
    f.commit(
        &block(100, 1),
        Block {
            events: &[raised(1)],
            ..Block::default()
        },
    )
    .await
    .unwrap();
    f.commit(&block(101, 1), Block::default()).await.unwrap();

    let reopened = f.store.revert_blocks(&[block(100, 1), block(101, 1)]).await.unwrap();
    assert_eq!(reopened.iter().map(|i| i.id).collect::<Vec<_>>(), vec![intent.id]);
    assert_eq!(f.store.open_intents().await.unwrap().len(), 1);
    assert!(!f.store.is_done(block(100, 1).hash).await.unwrap());
    assert_eq!(f.store.window(10).await.unwrap().last().map(|b| b.number), Some(99));
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!((incident.state, incident.contained_block), (IncidentState::Open, None));
    assert!(incident.closures.is_empty());
    assert_eq!(incident.transactions[0].status, "orphaned");

    // The transaction lands again on the other branch.
    f.store
        .finish(&intent, &done(block(100, 2), B256::repeat_byte(0xaa)))
        .await
        .unwrap();
    f.commit(
        &block(100, 2),
        Block {
            events: &[raised(0)],
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(
        (incident.state, incident.contained_block),
        (IncidentState::Contained, Some(100))
    );
    assert_eq!(
        f.store.window(10).await.unwrap().last().map(|b| b.hash),
        Some(block(100, 2).hash)
    );
}

async fn a_reorg_of_all_that_is_known_leaves_the_place_to_go_on_from(f: Fixture) {
    for number in [100, 101] {
        f.commit(&block(number, 1), Block::default()).await.unwrap();
    }
    f.store.revert_blocks(&[block(100, 1), block(101, 1)]).await.unwrap();
    // Interrupted here, a keeper without it would begin at the head and leave out what lies between.
    let window = f.reopen().await.window(10).await.unwrap();
    assert_eq!(
        window.iter().map(|b| (b.number, b.hash)).collect::<Vec<_>>(),
        [(99, block(100, 1).parent)]
    );
    f.commit(&block(100, 2), Block::default()).await.unwrap();
    let window = f.store.window(10).await.unwrap();
    assert_eq!(window.iter().map(|b| b.hash).collect::<Vec<_>>(), [block(100, 2).hash]);
}

async fn a_fork_deeper_than_any_window_is_taken_back_in_parts(f: Fixture) {
    // From block 100 on the chain has others.
    let blocks: Vec<_> = (90..300).map(|number| block(number, 1)).collect();
    f.commit_all(&blocks).await.unwrap();
    f.ahead(&block(310, 1)).await;
    assert_eq!(f.store.canonical_at(89).await.unwrap(), None);
    assert_eq!(f.store.canonical_at(99).await.unwrap(), Some(block(99, 1)));
    assert_eq!(
        f.store.canonical_at(u64::from(u32::MAX)).await.unwrap(),
        Some(block(299, 1))
    );
    let page = f.store.evaluated_from(100, 128).await.unwrap();
    assert_eq!(page, (172..300).map(|number| block(number, 1)).collect::<Vec<_>>());
    f.store.revert_blocks(&page).await.unwrap();
    // Killed here, it finds the rest of the fork.
    let again = f.reopen().await;
    assert_eq!(again.window(1).await.unwrap(), [block(171, 1)]);
    let page = again.evaluated_from(100, 128).await.unwrap();
    assert_eq!((page.len(), page[0].number), (72, 100));
    again.revert_blocks(&page).await.unwrap();
    again.go_on_with(&block(100, 2)).await.unwrap();
    assert_eq!(again.window(2).await.unwrap(), [block(98, 2), block(99, 2)]);
    assert!(again.evaluated_from(100, 128).await.unwrap().is_empty());
    assert!(again.is_done(block(99, 2).hash).await.unwrap());
    assert!(!again.is_done(block(100, 1).hash).await.unwrap());
}

async fn a_chain_that_shares_nothing_with_the_record_is_begun_where_the_record_begins(f: Fixture) {
    f.commit_all(&[block(100, 1), block(101, 1)]).await.unwrap();
    let first = BlockRef {
        parent: B256::repeat_byte(7),
        ..block(100, 2)
    };
    for _ in 0..2 {
        // Interrupted in between, it is done once more.
        let page = f.store.evaluated_from(100, 64).await.unwrap();
        f.store.revert_blocks(&page).await.unwrap();
        f.store.go_on_with(&first).await.unwrap();
        let window = f.store.window(10).await.unwrap();
        let window: Vec<_> = window.iter().map(|b| (b.number, b.hash)).collect();
        assert_eq!(window, [(99, first.parent)]);
    }
    f.commit(&first, Block::default()).await.unwrap();
    let window = f.store.window(10).await.unwrap();
    assert_eq!(window.iter().map(|b| b.hash).collect::<Vec<_>>(), [first.hash]);
}

async fn what_was_evaluated_ahead_on_a_fork_that_was_given_up_is_taken_back(f: Fixture) {
    f.commit(&block(100, 1), Block::default()).await.unwrap();
    // The head of a fork, evaluated before the walk came there; then the chain went elsewhere.
    f.ahead(&block(102, 1)).await;
    assert_eq!(f.store.rivals(&block(102, 1)).await.unwrap(), []);
    assert_eq!(f.store.rivals(&block(101, 1)).await.unwrap(), []);
    let rivals = f.store.rivals(&block(102, 2)).await.unwrap();
    assert_eq!(rivals.iter().map(|b| b.hash).collect::<Vec<_>>(), [block(102, 1).hash]);
    f.store.revert_blocks(&rivals).await.unwrap();
    assert!(!f.store.is_done(block(102, 1).hash).await.unwrap());
    let tip = f.store.window(10).await.unwrap().pop().unwrap();
    assert_eq!(tip.hash, block(100, 1).hash, "the checkpoint stays where it was");
}

async fn a_record_belongs_to_one_guard(f: Fixture) {
    let error = f.open(1, GUARD).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Foreign {
                held_chain: 42_161,
                wanted_chain: 1,
                ..
            }
        ),
        "{error}"
    );
    let error = f.open(42_161, Address::ZERO).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("missing").join("cordon.db");
    let error = Store::open(&nowhere, 1, GUARD).await.unwrap_err();
    assert!(error.to_string().contains(nowhere.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let url = |text: &str| SecretText::new(text);
    let error = Store::connect(&url("postgres://u:hunter2@127.0.0.1:1/db"), 1, GUARD)
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("hunter2"), "{text}");
    let error = Store::connect(&url("hunter2 is no URL"), 1, GUARD).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Url) && !error.to_string().contains("hunter2"),
        "{error}"
    );
}

async fn old_verdicts_are_dropped_but_not_those_of_incidents(f: Fixture) {
    f.commit(
        &block(10, 0),
        Block {
            decisions: &[trip(0)],
            ..Block::default()
        },
    )
    .await
    .unwrap();
    for number in 11..=30 {
        f.commit(&block(number, 0), Block::default()).await.unwrap();
    }
    assert_eq!(f.store.prune_blocks(5).await.unwrap(), 14);
    assert!(f.store.is_done(block(10, 0).hash).await.unwrap());
    assert!(!f.store.is_done(block(24, 0).hash).await.unwrap());
    assert_eq!(f.store.window(100).await.unwrap().len(), 7);
}

async fn what_does_not_change_is_stored_once(f: Fixture) {
    let all = |other: Option<u16>| -> Vec<RuleVerdict> {
        let of = |rule| match other == Some(rule) {
            true => verdict(rule, Verdict::Unknown),
            false => verdict(rule, Verdict::Holds),
        };
        (0..100).map(of).collect()
    };
    let witnessed = RuleVerdict {
        witness: vec![B256::repeat_byte(7)],
        ..verdict(3, Verdict::Breached)
    };
    let mut expected = Vec::new();
    for number in 10..=40 {
        let mut verdicts = all((number % 3 == 0).then_some(u16::try_from(number).unwrap()));
        if number % 4 == 0 {
            verdicts.push(witnessed.clone());
        }
        let content = Block {
            verdicts: &verdicts,
            ..Block::default()
        };
        f.commit(&block(number, 0), content).await.unwrap();
        expected.push((block(number, 0), verdicts));
    }
    // One that is stored again, when a branch comes back, has its verdicts of then.
    let (again, _) = expected[5];
    let other = all(Some(99));
    let content = Block {
        verdicts: &other,
        ..Block::default()
    };
    f.commit(&again, content).await.unwrap();
    expected[5].1 = other;
    let reopened = f.reopen().await;
    for (block, verdicts) in &expected {
        assert_eq!(
            reopened.verdicts(block.hash).await.unwrap().as_ref(),
            Some(verdicts),
            "{}",
            block.number
        );
    }
    // Frames stay as long as a block needs them.
    f.commit(&block(41, 0), Block::default()).await.unwrap();
    assert_eq!(reopened.prune_blocks(3).await.unwrap(), 28);
    let (newest, verdicts) = expected.last().unwrap();
    assert_eq!(reopened.verdicts(newest.hash).await.unwrap().as_ref(), Some(verdicts));
}

/// What is asked at every start, by every look at health and metrics, must not grow with the record: at four blocks a second it is
/// long within an hour.
async fn a_long_record_is_asked_as_fast_as_a_short_one(f: Fixture) {
    let some = |from: u64, to: u64| (from..to).map(|number| block(number, 0)).collect::<Vec<_>>();
    let time = async || {
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            f.store.window(256).await.unwrap();
        }
        begun.elapsed()
    };
    f.commit_all(&some(1, 301)).await.unwrap();
    let short = time().await;
    for from in (301..4_301).step_by(1_000) {
        f.commit_all(&some(from, from + 1_000)).await.unwrap();
    }
    let long = time().await;
    assert_eq!(f.store.window(1).await.unwrap()[0].number, 4_300);
    // A query that walks the whole record took 80 times as long here.
    assert!(
        long < short * 10 + Duration::from_millis(200),
        "{short:?}, then {long:?}"
    );
}

/// Two records of one guard count from one both: what they tell must not be taken for each other's.
async fn each_record_has_a_name_of_its_own(f: Fixture) {
    let name = f.store.name().unwrap().to_owned();
    assert_eq!(name.len(), 16);
    assert_eq!(f.reopen().await.name(), Some(name.as_str()));
    let other = Fixture::sqlite().await;
    assert_ne!(other.store.name(), Some(name.as_str()));
}

on_both! {
    a_long_record_is_asked_as_fast_as_a_short_one
    each_record_has_a_name_of_its_own
    what_does_not_change_is_stored_once
    a_block_survives_a_restart_with_its_verdicts_and_intents
    a_block_that_fails_half_way_leaves_nothing
    a_cancelled_commit_leaves_nothing
    the_same_decision_is_stored_once
    a_reorg_takes_back_what_its_blocks_did_and_reopens_actions
    a_reorg_of_all_that_is_known_leaves_the_place_to_go_on_from
    a_fork_deeper_than_any_window_is_taken_back_in_parts
    a_chain_that_shares_nothing_with_the_record_is_begun_where_the_record_begins
    what_was_evaluated_ahead_on_a_fork_that_was_given_up_is_taken_back
    a_record_belongs_to_one_guard
    old_verdicts_are_dropped_but_not_those_of_incidents
}
