//! What is remembered between blocks: the past of rules, unknown verdicts, witnesses.

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{AlarmKind, Confirmation, IncidentState, Outcome, Witnessed};

use crate::fixture::*;

async fn unknown_is_alarmed_once_and_cleared_when_known_again(f: Fixture) {
    let unknown = [verdict(0, Verdict::Unknown), verdict(1, Verdict::Holds)];
    let first = f
        .commit(
            &block(10, 0),
            Block {
                verdicts: &unknown,
                ..Block::default()
            },
        )
        .await
        .unwrap();
    let second = f
        .commit(
            &block(11, 0),
            Block {
                verdicts: &unknown,
                ..Block::default()
            },
        )
        .await
        .unwrap();
    assert_eq!((first.newly_unknown, second.newly_unknown), (vec![0], vec![]));
    let third = f
        .commit(
            &block(12, 0),
            Block {
                verdicts: &[verdict(0, Verdict::Holds)],
                ..Block::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(third.known_again, vec![0]);
    let alarms = f.store.alarms().await.unwrap();
    assert_eq!(alarms.len(), 1);
    assert_eq!(
        (alarms[0].kind.as_str(), alarms[0].subject.as_str()),
        (AlarmKind::RuleUnknown.name(), "price")
    );
    assert!(alarms[0].cleared_ms.is_some());
}

async fn the_past_tells_open_observed_and_decided_apart(f: Fixture) {
    let b = block(10, 0);
    let intent = f
        .commit(
            &b,
            Block {
                decisions: &[trip(0)],
                ..Block::default()
            },
        )
        .await
        .unwrap()
        .intents
        .remove(0);
    let past = f.store.past(&[0, 1]).await.unwrap();
    assert_eq!(past.rules.len(), 1);
    assert!(past.rules[&0].open);
    assert_eq!(past.rules[&0].decided_at, Some(b.timestamp));
    let observed = Confirmation {
        outcome: Outcome::Observed,
        ..done(block(14, 0), B256::repeat_byte(1))
    };
    f.store.finish(&intent, &observed).await.unwrap();
    let past = f.store.past(&[0]).await.unwrap();
    assert!(!past.rules[&0].open);
    assert_eq!(past.rules[&0].observed_at, Some(block(14, 0).timestamp));
    assert_eq!(
        f.store.incidents().await.unwrap()[0].state,
        IncidentState::Open,
        "an observation contains nothing"
    );
}

async fn witnesses_are_bounded_and_looked_at_in_turn(f: Fixture) {
    let words = |byte: u8| vec![B256::repeat_byte(byte)];
    for number in 1..=5 {
        let named = [Witnessed {
            rule: 1,
            words: words(number),
            named: true,
        }];
        f.commit(
            &block(u64::from(number) + 10, 0),
            Block {
                witnessed: &named,
                ..Block::default()
            },
        )
        .await
        .unwrap();
    }
    assert_eq!(f.store.witness_count(1).await.unwrap(), 3, "the fixture's bound");
    assert_eq!(f.store.witnesses_in_turn(1, 2).await.unwrap(), vec![words(3), words(4)]);
    let checked = [Witnessed {
        rule: 1,
        words: words(3),
        named: false,
    }];
    f.commit(
        &block(20, 0),
        Block {
            witnessed: &checked,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(f.store.witnesses_in_turn(1, 2).await.unwrap(), vec![words(4), words(5)]);
}

on_both! {
    unknown_is_alarmed_once_and_cleared_when_known_again
    the_past_tells_open_observed_and_decided_apart
    witnesses_are_bounded_and_looked_at_in_turn
}
