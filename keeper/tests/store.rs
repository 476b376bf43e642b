//! The record on a real SQLite file: a block is done as a whole or not at all, actions happen once, reorgs are taken back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_client::config::Severity;
use cordon_core::action::{Action, ActionSet};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{Act, Decision, Reading, RuleVerdict, ScopeReading};
use cordon_keeper::record::{
    AlarmKind, BlockCommit, BlockRecord, Confirmation, IncidentState, NamedContainment, Names, Outcome,
    SentTransaction, Store, StoreError, Witnessed,
};
use cordon_keeper::rules::{GuardEvent, GuardEventKind};

const GUARD: Address = Address::repeat_byte(0x11);

fn names() -> Names {
    Names {
        scopes: vec!["protocol".into(), "weth".into()],
        rules: vec!["price".into(), "solvent".into()],
        containments: vec![NamedContainment {
            id: "stop-borrowing".into(),
            closes: ActionSet::EMPTY.with(Action::Increase),
        }],
        hooked: true,
    }
}

fn block(number: u64, fork: u8) -> BlockRef {
    let hash = |n: u64| keccak256([&n.to_be_bytes()[..], &[if n < 100 { 0 } else { fork }]].concat());
    BlockRef {
        number,
        hash: hash(number),
        parent: hash(number - 1),
        timestamp: 1_000_000 + number / 4,
        base_fee: 0,
    }
}

fn verdict(rule: u16, verdict: Verdict) -> RuleVerdict {
    let reading = Reading {
        verdict,
        reason: 0,
        observed: Int::from(U256::from(90)),
        bound: Int::from(U256::from(100)),
    };
    RuleVerdict {
        rule,
        witness: vec![],
        reading,
    }
}

fn trip(rule: u16) -> Decision {
    Decision {
        rule,
        witness: vec![],
        act: Act::Trip,
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        reading: verdict(rule, Verdict::Breached).reading,
    }
}

fn event(log_index: u64, kind: GuardEventKind) -> GuardEvent {
    GuardEvent {
        tx: B256::repeat_byte(0xee),
        log_index,
        kind,
    }
}

fn raised(log_index: u64) -> GuardEvent {
    event(
        log_index,
        GuardEventKind::Raised {
            scope: 1,
            from: Level::Normal,
            to: Level::ReduceOnly,
            expires_at: 2_000_000,
            incident: 7,
            by: Address::repeat_byte(9),
        },
    )
}

struct Fixture {
    store: Store,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.db");
    let store = Store::open(&path, 42_161, GUARD).await.unwrap();
    Fixture { store, path, _dir: dir }
}

#[derive(Default)]
struct Block<'a> {
    verdicts: &'a [RuleVerdict],
    scopes: Option<&'a [ScopeReading]>,
    decisions: &'a [Decision],
    events: &'a [GuardEvent],
    witnessed: &'a [Witnessed],
}

impl Fixture {
    async fn commit(&self, block: &BlockRef, content: Block<'_>) -> Result<BlockCommit, StoreError> {
        let record = BlockRecord {
            block,
            version: B256::repeat_byte(5),
            verdicts: content.verdicts,
            scopes: content.scopes,
            decisions: content.decisions,
            events: content.events,
            witnessed: content.witnessed,
            witness_limit: 3,
            head_to_decision: Some(Duration::from_micros(1_500)),
            is_next: true,
        };
        self.store.commit_block(&record, &names()).await
    }

    /// As a crash leaves it: no clean shutdown, a new process opens the file.
    async fn reopen(&self) -> Store {
        Store::open(&self.path, 42_161, GUARD).await.unwrap()
    }
}

fn done(block: BlockRef, tx: B256) -> Confirmation {
    Confirmation {
        outcome: Outcome::Done,
        detail: "weth is ReduceOnly".into(),
        included: Some((tx, block, 400_000, 12_345)),
        decision_to_broadcast: Some(Duration::from_millis(4)),
        broadcast_to_contained: Some(Duration::from_millis(250)),
    }
}

fn sent(byte: u8) -> SentTransaction {
    SentTransaction {
        hash: B256::repeat_byte(byte),
        sender: Address::repeat_byte(0x44),
        nonce: 3,
        raw: Bytes::from(vec![1, 2, 3]),
        max_fee: 2_000_000_000,
        priority_fee: 1,
    }
}

#[tokio::test]
async fn a_block_survives_a_restart_with_its_verdicts_and_intents() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_block_that_fails_half_way_leaves_nothing() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_cancelled_commit_leaves_nothing() {
    let f = fixture().await;
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
        let intents = f.store.intents().await.unwrap().len();
        let is_done = f.store.is_done(b.hash).await.unwrap();
        assert_eq!(intents, if is_done { 2 } else { 0 }, "after {polls} polls");
        assert_eq!(f.store.incidents().await.unwrap().len(), usize::from(is_done));
        if finished || is_done {
            return;
        }
    }
}

#[tokio::test]
async fn the_same_decision_is_stored_once() {
    let f = fixture().await;
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

#[tokio::test]
async fn an_incident_goes_from_detection_to_close() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_release_is_told_from_an_expiry() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_reorg_takes_back_what_its_blocks_did_and_reopens_actions() {
    let f = fixture().await;
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

#[tokio::test]
async fn unknown_is_alarmed_once_and_cleared_when_known_again() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_breach_that_ends_by_itself_closes_its_incident() {
    let f = fixture().await;
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
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    f.store.finish(&commit.intents[0], &end).await.unwrap();
    assert!(
        f.store.past(&[0]).await.unwrap().rules.is_empty(),
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

#[tokio::test]
async fn the_past_tells_open_observed_and_decided_apart() {
    let f = fixture().await;
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

#[tokio::test]
async fn witnesses_are_bounded_and_looked_at_in_turn() {
    let f = fixture().await;
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

#[tokio::test]
async fn a_record_belongs_to_one_guard() {
    let f = fixture().await;
    let error = Store::open(&f.path, 1, GUARD).await.unwrap_err();
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
    let error = Store::open(&f.path, 42_161, Address::ZERO).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let error = Store::open("/nonexistent/cordon.db", 1, GUARD).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/cordon.db"), "{error}");
}

#[tokio::test]
async fn old_verdicts_are_dropped_but_not_those_of_incidents() {
    let f = fixture().await;
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
