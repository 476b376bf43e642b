//! Incidents: from detection to close.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::{Act, Decision, Past, ScopeReading};
use cordon_keeper::record::{Confirmation, IncidentState, NoticeKind, Outcome};
use cordon_keeper::rules::GuardEventKind;

use crate::fixture::*;

async fn an_incident_goes_from_detection_to_close(f: Fixture) {
    let b = block(10, 0);
    let commit = f
        .commit(
            &b,
            Block {
                decisions: &[trip(0)],
                verdicts: &[verdict(0, Verdict::Breached)],
                ..Block::default()
            },
        )
        .await
        .unwrap();
    let intent = commit.intents[0].clone();
    f.store.record_sent(&intent, &sent(0xaa)).await.unwrap();
    f.store.record_sent(&intent, &sent(0xaa)).await.unwrap();
    f.store
        .finish(&intent, &done(block(11, 0), B256::repeat_byte(0xaa)))
        .await
        .unwrap();
    let applied = event(2, GuardEventKind::Applied { call: 0, incident: 7 });
    let held = [ScopeReading {
        scope: 1,
        level: Level::ReduceOnly,
        expires_at: 2_000_000,
        applied: true,
        ..ScopeReading::default()
    }];
    let events = [raised(1), applied];
    f.commit(
        &block(11, 0),
        Block {
            events: &events,
            scopes: Some(&held),
            ..Block::default()
        },
    )
    .await
    .unwrap();
    // Looking at the block once more changes nothing.
    f.commit(
        &block(11, 0),
        Block {
            events: &events,
            scopes: Some(&held),
            ..Block::default()
        },
    )
    .await
    .unwrap();

    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.state, IncidentState::Contained);
    assert_eq!((incident.chain_incident, incident.contained_block), (Some(7), Some(11)));
    assert_eq!(incident.transactions.len(), 1);
    assert_eq!(incident.transactions[0].status, "succeeded");
    assert_eq!(incident.transactions[0].fee, Some(12_345));
    assert_eq!(incident.broadcast_to_contained, Some(Duration::from_millis(250)));
    assert_eq!(
        incident.timeline.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        [
            "detected",
            "decided",
            "broadcast",
            "contained",
            "level raised",
            "containment applied"
        ]
    );
    let causes: Vec<_> = incident
        .closures
        .iter()
        .map(|c| (c.cause.as_str(), c.from_block, c.to_block))
        .collect();
    assert_eq!(causes, [("level", 11, None), ("stop-borrowing", 11, None)]);

    let undone = [
        event(0, GuardEventKind::Undone { call: 0, incident: 7 }),
        event(
            1,
            GuardEventKind::Lowered {
                scope: 1,
                from: Level::ReduceOnly,
                to: Level::Grace,
                incident: 7,
                by: Address::ZERO,
            },
        ),
    ];
    f.commit(
        &block(50, 0),
        Block {
            events: &undone,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let incident = f.store.incident(incident.id).await.unwrap().unwrap();
    assert_eq!(
        (incident.state, incident.ended_block),
        (IncidentState::Settled, Some(50))
    );
    f.commit(
        &block(60, 0),
        Block {
            scopes: Some(&[]),
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let incident = f.store.incident(incident.id).await.unwrap().unwrap();
    assert_eq!(incident.state, IncidentState::Closed);
    assert!(
        incident.closures.iter().all(|c| c.to_block.is_some()),
        "{:?}",
        incident.closures
    );
    let ends: Vec<_> = incident
        .closures
        .iter()
        .filter(|c| c.cause == "stop-borrowing")
        .map(|c| c.to_block)
        .collect();
    assert_eq!(ends, [Some(50)]);
    // The next breach is another incident.
    f.commit(
        &block(70, 0),
        Block {
            decisions: &[trip(0)],
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(f.store.incidents().await.unwrap().len(), 2);
}

async fn a_release_is_told_from_an_expiry(f: Fixture) {
    f.commit(
        &block(10, 0),
        Block {
            events: &[raised(0)],
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let by = Address::repeat_byte(3);
    let queued = [event(
        0,
        GuardEventKind::ReleaseQueued {
            scope: 1,
            at: 1_000_900,
            by,
        },
    )];
    f.commit(
        &block(11, 0),
        Block {
            events: &queued,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let lowered = [event(
        0,
        GuardEventKind::Lowered {
            scope: 1,
            from: Level::ReduceOnly,
            to: Level::Grace,
            incident: 7,
            by,
        },
    )];
    f.commit(
        &block(12, 0),
        Block {
            events: &lowered,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.state, IncidentState::Released);
    assert_eq!(incident.rule, None, "somebody else raised it");
    let text = &incident.timeline[0].text;
    assert!(
        text.contains("weth went from Normal to ReduceOnly") && text.contains(&Address::repeat_byte(9).to_string()),
        "{text}"
    );
}

async fn a_breach_that_ends_by_itself_closes_its_incident(f: Fixture) {
    let breached = [verdict(0, Verdict::Breached)];
    let commit = f
        .commit(
            &block(10, 0),
            Block {
                verdicts: &breached,
                decisions: &[trip(0)],
                ..Block::default()
            },
        )
        .await
        .unwrap();
    let holds = [verdict(0, Verdict::Holds)];
    f.commit(
        &block(11, 0),
        Block {
            verdicts: &holds,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        f.store.incidents().await.unwrap()[0].state,
        IncidentState::Open,
        "its action is still open"
    );
    let end = Confirmation {
        outcome: Outcome::HoldsAgain,
        detail: "the rule holds again".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    f.store.finish(&commit.intents[0], &end).await.unwrap();
    assert!(
        f.store.past(&[0], VERSION).await.unwrap().rules.is_empty(),
        "a vanished reason delays nothing"
    );
    f.commit(
        &block(12, 0),
        Block {
            verdicts: &holds,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(f.store.incidents().await.unwrap()[0].state, IncidentState::Closed);
    // A block before it that is evaluated late does not open it again, and a worse past is noted on open ones only.
    f.commit(
        &block(9, 0),
        Block {
            verdicts: &breached,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(f.store.incidents().await.unwrap()[0].first_bad_block, 10);
}

async fn a_breach_that_raises_no_level_is_an_incident_until_it_holds(f: Fixture) {
    let tell = |rule| Decision {
        act: Act::Tell,
        level: Level::Normal,
        ..trip(rule)
    };
    let both = [verdict(0, Verdict::Breached), verdict(1, Verdict::Breached)];
    let told = |past: &Past, rule: u16| past.rules.get(&rule).is_some_and(|own| !own.recorded.is_empty());
    let decisions = [tell(0)];
    let first = Block {
        verdicts: &both[..1],
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    assert!(f.commit(&block(10, 0), first).await.unwrap().intents.is_empty());
    let decisions = [tell(1)];
    let second = Block {
        verdicts: &both,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&block(11, 0), second).await.unwrap();
    let past = f.store.past(&[0, 1], VERSION).await.unwrap();
    assert!(told(&past, 0) && told(&past, 1));
    let incident = f.store.incidents().await.unwrap().remove(0);
    let kinds: Vec<&str> = incident.timeline.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(
        (incident.state, kinds),
        (IncidentState::Open, vec!["detected", "breached"])
    );
    assert!(
        incident.timeline[0]
            .text
            .ends_with("it raises no level: people have to act")
    );
    let notices = f.store.notices(10).await.unwrap();
    let notices: Vec<NoticeKind> = notices.iter().rev().map(|notice| notice.kind).collect();
    assert_eq!(notices, [NoticeKind::Opened, NoticeKind::Called], "both were told");
    assert!(f.store.shadowed(10).await.unwrap().is_empty(), "that is no shadow");

    // The rule that opened it holds; the other stands, and is told again.
    let verdicts = [verdict(0, Verdict::Holds), verdict(1, Verdict::Breached)];
    let content = Block {
        verdicts: &verdicts,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&block(12, 0), content).await.unwrap();
    assert_eq!(f.store.incidents().await.unwrap()[0].state, IncidentState::Closed);
    let past = f.store.past(&[0, 1], VERSION).await.unwrap();
    assert!(!told(&past, 0) && !told(&past, 1));
}

async fn what_was_sent_for_containments_that_have_ended_is_found_again(f: Fixture) {
    let contain = Decision {
        act: Act::Contain,
        ..trip(1)
    };
    let decisions = [contain, trip(0)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    let commit = f.commit(&block(10, 0), content).await.unwrap();
    for (intent, hash) in commit.intents.iter().zip([0xaa, 0xbb]) {
        f.store.record_sent(intent, &sent(hash)).await.unwrap();
    }
    let hour = Duration::from_hours(1);
    let found = async || {
        let all = f.store.sent_for_ended_containments(hour).await.unwrap().into_iter();
        all.map(|tx| tx.hash).collect::<Vec<_>>()
    };
    assert!(found().await.is_empty(), "none has ended");
    let end = Confirmation {
        outcome: Outcome::HoldsAgain,
        included: None,
        ..done(block(11, 0), B256::ZERO)
    };
    for intent in &commit.intents {
        assert!(f.store.finish(intent, &end).await.unwrap());
    }
    assert_eq!(
        found().await,
        [B256::repeat_byte(0xaa)],
        "trips are judged by the guard"
    );
    let content = Block {
        decisions: &decisions[1..],
        ..Block::default()
    };
    let wanted = f.commit(&block(11, 0), content).await.unwrap().intents.remove(0);
    f.store.record_sent(&wanted, &sent(0xcc)).await.unwrap();
    assert!(found().await.is_empty(), "what is wanted has the same nonce");
    assert!(f.store.finish(&wanted, &end).await.unwrap());
    assert_eq!(found().await, [B256::repeat_byte(0xaa)]);
    f.tamper("UPDATE transactions SET sent_ms = sent_ms - 3700000").await;
    assert!(found().await.is_empty(), "too long ago");
}

/// Something else had raised the scope as far already, so that its level says nothing new of the incident.
async fn an_older_block_that_is_bad_is_the_first_whatever_its_level(f: Fixture) {
    let (verdicts, decisions) = ([verdict(0, Verdict::Breached)], [trip(0)]);
    let held = [ScopeReading {
        scope: 1,
        level: Level::ReduceOnly,
        expires_at: 2_000_000,
        ..ScopeReading::default()
    }];
    let bad = Block {
        verdicts: &verdicts,
        scopes: Some(&held),
        ..Block::default()
    };
    let newest = Block {
        decisions: &decisions,
        scopes: Some(&[]),
        ..bad
    };
    f.ahead_with(&block(20, 0), newest).await;
    let intent = f.store.open_intents().await.unwrap().remove(0);
    let end = done(block(21, 0), B256::repeat_byte(0xaa));
    assert!(f.store.finish(&intent, &end).await.unwrap());
    f.commit(&block(15, 0), bad).await.unwrap();
    let incidents = f.store.incidents().await.unwrap();
    assert_eq!((incidents.len(), incidents[0].state), (1, IncidentState::Contained));
    assert_eq!(incidents[0].first_bad_block, 15);
}

on_both! {
    an_older_block_that_is_bad_is_the_first_whatever_its_level
    what_was_sent_for_containments_that_have_ended_is_found_again
    a_breach_that_raises_no_level_is_an_incident_until_it_holds
    an_incident_goes_from_detection_to_close
    a_release_is_told_from_an_expiry
    a_breach_that_ends_by_itself_closes_its_incident
}
