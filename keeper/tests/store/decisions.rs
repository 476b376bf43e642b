//! What is sent on a block is stored before the rest of it, and the record is the same in the end.

use alloy::primitives::{Address, B256};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{Act, Decision};
use cordon_keeper::record::{BlockRecord, Ground, Incident, Intent, IntentKind};
use cordon_keeper::rules::{GuardEvent, GuardEventKind, Sightings};

use crate::fixture::*;

/// The guard has raised the whole protocol.
fn elsewhere() -> GuardEvent {
    let kind = GuardEventKind::Raised {
        scope: 0,
        from: Level::Normal,
        to: Level::ReduceOnly,
        expires_at: 2_000_000,
        incident: 7,
        by: Address::repeat_byte(9),
    };
    event(3, kind)
}

fn contain(scope: u8, rule: u16) -> Decision {
    Decision {
        act: Act::Contain,
        scope,
        ..trip(rule)
    }
}

impl Fixture {
    /// The record goes by a rulebook, and block 100 is done.
    async fn begun(&self) {
        self.commit(&block(100, 1), Block::default()).await.unwrap();
    }

    async fn first(&self, block: &BlockRef, content: Block<'_>) -> Vec<Intent> {
        self.first_under(VERSION, block, content).await
    }

    async fn first_under(&self, version: B256, block: &BlockRef, content: Block<'_>) -> Vec<Intent> {
        let none = Sightings::default();
        let record = BlockRecord {
            version,
            ..record(block, content, &none)
        };
        self.store.write_decisions(&record, &names()).await.unwrap()
    }

    /// What the record tells of its incidents, but for numbers and for when it was written.
    async fn told(&self) -> Vec<Incident> {
        let mut all = self.store.incidents().await.unwrap();
        all.sort_by_key(|incident| incident.scope);
        for incident in &mut all {
            (incident.id, incident.opened_ms) = (0, 0);
            incident.timeline.iter_mut().for_each(|line| line.at_ms = 0);
        }
        all
    }
}

async fn is_stored_before_its_block(fixture: Fixture) {
    fixture.begun().await;
    let (verdicts, decisions, events) = ([verdict(0, Verdict::Breached)], [trip(0)], [elsewhere()]);
    let content = Block {
        verdicts: &verdicts,
        decisions: &decisions,
        events: &events,
        ..Block::default()
    };
    let at = block(101, 1);
    let first = fixture.first(&at, content).await;
    assert_eq!(first.len(), 1);
    assert!(first[0].incident.is_some());
    assert_eq!(fixture.store.open_intents().await.unwrap(), first);
    assert!(
        !fixture.store.is_done(at.hash).await.unwrap(),
        "the rest of it is missing"
    );
    assert_eq!(fixture.store.window(8).await.unwrap().last(), Some(&block(100, 1)));
    assert!(fixture.first(&at, content).await.is_empty(), "once");

    let commit = fixture.commit(&at, content).await.unwrap();
    assert!(commit.intents.is_empty(), "they are being carried out");
    assert!(fixture.store.is_done(at.hash).await.unwrap());
    assert_eq!(fixture.store.open_intents().await.unwrap(), first);

    let at_once = Fixture::sqlite().await;
    at_once.begun().await;
    at_once.commit(&at, content).await.unwrap();
    assert_eq!(fixture.told().await, at_once.told().await);
}

async fn waits_for_what_bears_on_it(fixture: Fixture) {
    let decisions = [trip(0)];
    let alone = Block {
        decisions: &decisions,
        ..Block::default()
    };
    let none: Vec<Intent> = Vec::new();
    assert_eq!(
        fixture.first(&block(100, 1), alone).await,
        none,
        "no rulebook is known yet"
    );
    fixture.begun().await;
    let at = block(101, 1);
    let events = [raised(0)];
    let raised = Block {
        events: &events,
        ..alone
    };
    assert_eq!(fixture.first(&at, raised).await, none, "the guard raised its scope");
    let code_hash = B256::repeat_byte(6);
    let events = [event(0, GuardEventKind::RulebookAdopted { code_hash })];
    let adopted = Block {
        events: &events,
        ..alone
    };
    assert_eq!(
        fixture.first(&at, adopted).await,
        none,
        "the guard has another rulebook"
    );
    assert_eq!(
        fixture.first_under(code_hash, &at, alone).await,
        none,
        "so has the keeper"
    );
    for act in [Act::Shadow, Act::Tell] {
        let decisions = [Decision { act, ..trip(0) }];
        let unsent = Block {
            decisions: &decisions,
            ..alone
        };
        assert_eq!(fixture.first(&at, unsent).await, none, "nothing is sent");
    }
    assert!(fixture.store.intents().await.unwrap().is_empty());
    assert!(fixture.store.incidents().await.unwrap().is_empty());

    fixture.commit(&at, alone).await.unwrap();
    let next = block(102, 1);
    assert_eq!(fixture.first(&next, alone).await, none, "its incident is open");
}

async fn waits_for_what_was_replaced_at_its_height(fixture: Fixture) {
    fixture.begun().await;
    let decisions = [trip(0)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    let intent = fixture.first(&block(101, 1), content).await.remove(0);
    fixture.commit(&block(101, 1), content).await.unwrap();
    let end = done(block(102, 1), B256::repeat_byte(0xaa));
    assert!(fixture.store.finish(&intent, &end).await.unwrap());
    // The block that it ended in was never walked.
    let decisions = [contain(0, 1)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    assert!(fixture.first(&block(102, 2), content).await.is_empty());
    let commit = fixture.commit(&block(102, 2), content).await.unwrap();
    assert_eq!((commit.reopened.len(), commit.intents.len()), (1, 1));
}

async fn leaves_no_ground_behind(fixture: Fixture) {
    fixture.begun().await;
    let (verdicts, decisions) = ([verdict(0, Verdict::Breached)], [contain(1, 0)]);
    let content = Block {
        verdicts: &verdicts,
        decisions: &decisions,
        ..Block::default()
    };
    let intent = fixture.first(&block(101, 1), content).await.remove(0);
    assert_eq!(intent.kind, IntentKind::Contain);
    let ground = async || fixture.store.ground(&intent).await.unwrap();
    assert_eq!(
        ground().await,
        Ground::Unjudged,
        "the block may vanish before it is done"
    );
    let holds = [verdict(0, Verdict::Holds)];
    let other = Block {
        verdicts: &holds,
        ..Block::default()
    };
    fixture.commit(&block(101, 2), other).await.unwrap();
    assert_eq!(ground().await, Ground::Gone, "it has vanished");

    fixture.store.revert_blocks(&[block(101, 2)]).await.unwrap();
    fixture.commit(&block(101, 1), content).await.unwrap();
    assert_eq!(ground().await, Ground::Stands, "it is back");
}

async fn stores_one_per_scope(fixture: Fixture) {
    fixture.begun().await;
    let decisions = [trip(0), contain(1, 1), contain(0, 1)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    let at = block(101, 1);
    let first = fixture.first(&at, content).await;
    let of: Vec<(u8, Option<u16>)> = first.iter().map(|intent| (intent.scope, intent.rule)).collect();
    assert_eq!(
        of,
        [(1, Some(0)), (0, Some(1))],
        "the incident of the other is open by then"
    );
    let commit = fixture.commit(&at, content).await.unwrap();
    assert_eq!(commit.intents.len(), 1);
    assert_eq!(commit.intents[0].incident, first[0].incident);
    assert_eq!(fixture.store.incidents().await.unwrap().len(), 2);
}

on_both! {
    is_stored_before_its_block
    waits_for_what_bears_on_it
    waits_for_what_was_replaced_at_its_height
    leaves_no_ground_behind
    stores_one_per_scope
}
