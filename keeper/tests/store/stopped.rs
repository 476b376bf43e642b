//! Calls that a hook stopped are incidents of their own, over as soon as they began.

use alloy::primitives::{Address, B256};
use cordon_client::config::Severity;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;
use cordon_keeper::decide::ScopeReading;
use cordon_keeper::record::{IncidentState, NoticeKind};
use cordon_keeper::rules::StoppedCall;

use crate::fixture::{Block, Fixture, block};

fn stopped(byte: u8, rule: u16) -> StoppedCall {
    StoppedCall {
        tx: B256::repeat_byte(byte),
        from: Address::repeat_byte(byte),
        to: Some(Address::repeat_byte(0x77)),
        rule,
        scope: 1,
        observed: Int::from(90),
        bound: Int::from(100),
    }
}

async fn many_attempts_on_a_rule_are_one_incident_that_closed_nothing(f: Fixture) {
    for number in 10..90 {
        let calls = [stopped(u8::try_from(number).unwrap(), 0)];
        let content = Block {
            stopped: &calls,
            ..Block::default()
        };
        f.commit(&block(number, 0), content).await.unwrap();
    }
    let incidents = f.store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1);
    let incident = &incidents[0];
    assert_eq!(
        (incident.severity, incident.state),
        (Severity::P3, IncidentState::Closed)
    );
    assert_eq!(
        (incident.opened_block, incident.ended_block, incident.contained_block),
        (10, Some(10), None)
    );
    assert!(incident.closures.is_empty() && f.store.open_intents().await.unwrap().is_empty());
    let lines = incident.timeline.iter().filter(|entry| entry.kind == "stopped").count();
    assert_eq!(lines, 50, "bounded: an attempt costs its author cents");
    let notices = f.store.notices(10).await.unwrap();
    assert_eq!(notices.len(), 1, "people are told once: {notices:?}");
    assert_eq!(notices[0].kind, NoticeKind::Stopped);
}

async fn an_attempt_counts_once_however_often_its_block_is_seen_and_another_rule_is_another_matter(f: Fixture) {
    for fork in [0, 1] {
        let calls = [stopped(1, 0), stopped(2, 1)];
        let content = Block {
            stopped: &calls,
            ..Block::default()
        };
        let b = block(100, fork);
        f.commit(&b, content).await.unwrap();
        let again = f.commit(&b, content).await.unwrap();
        assert!(again.changed.is_empty(), "the same block says nothing new");
        f.store.revert_blocks(&[b]).await.unwrap();
    }
    let incidents = f.store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 2);
    assert!(
        incidents.iter().all(|incident| incident.state == IncidentState::Closed),
        "a reorg opens none of them: {incidents:#?}"
    );
    assert_eq!(f.store.notices(10).await.unwrap().len(), 2, "nor tells of them again");
}

async fn an_attempt_does_not_hide_the_incident_of_a_breach(f: Fixture) {
    let calls = [stopped(1, 0)];
    let content = Block {
        stopped: &calls,
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
    assert!(f.store.watched().await.unwrap().is_empty(), "nothing is to be watched");
    let decisions = [crate::fixture::trip(0)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    f.commit(&block(11, 0), content).await.unwrap();
    let incidents = f.store.incidents().await.unwrap();
    assert_eq!((incidents.len(), incidents[1].severity), (2, Severity::P1));
}

async fn an_attempt_that_was_stopped_hides_no_level_that_is_raised(f: Fixture) {
    let held = [ScopeReading {
        scope: 1,
        level: Level::ReduceOnly,
        expires_at: 2_000_000,
        ..ScopeReading::default()
    }];
    let calls = [stopped(1, 0)];
    let content = Block {
        stopped: &calls,
        scopes: Some(&held),
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
    let incidents = f.store.incidents().await.unwrap();
    let contained = incidents.iter().filter(|i| i.state == IncidentState::Contained).count();
    assert_eq!((incidents.len(), contained), (2, 1), "{incidents:#?}");
}

on_both! {
    an_attempt_that_was_stopped_hides_no_level_that_is_raised
    many_attempts_on_a_rule_are_one_incident_that_closed_nothing
    an_attempt_counts_once_however_often_its_block_is_seen_and_another_rule_is_another_matter
    an_attempt_does_not_hide_the_incident_of_a_breach
}
