//! What is sent on a block is stored before the rest of it, and the record is the same in the end.

use std::collections::HashSet;

use alloy::primitives::{Address, B256};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{Act, Decision};
use cordon_keeper::record::{
    BlockRecord, Confirmation, Ground, Incident, IncidentState, Intent, IntentKind, NoticeKind, Outcome,
};
use cordon_keeper::rules::{GuardEvent, GuardEventKind, Sightings};

use crate::fixture::*;
use crate::playbook::plan;

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

/// A block in which nothing else is.
fn deciding(decisions: &[Decision]) -> Block<'_> {
    Block {
        decisions,
        ..Block::default()
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

    /// Nobody has changed the evidence, or linked it wrongly.
    async fn is_sound(&self) -> bool {
        self.store.verify_evidence(None).await.unwrap().is_ok()
    }

    /// Kinds and texts of all notices.
    async fn notices(&self) -> HashSet<(NoticeKind, String)> {
        let notices = self.store.notices(100).await.unwrap().into_iter();
        notices.map(|notice| (notice.kind, notice.text)).collect()
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

#[tokio::test]
async fn is_stored_before_its_block() {
    let fixture = Fixture::sqlite().await;
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
    assert_eq!(fixture.notices().await, at_once.notices().await);
    assert!(fixture.is_sound().await);
}

#[tokio::test]
async fn waits_for_what_bears_on_it() {
    let fixture = Fixture::sqlite().await;
    let decisions = [trip(0)];
    let alone = deciding(&decisions);
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

#[tokio::test]
async fn waits_for_what_was_replaced_at_its_height() {
    let fixture = Fixture::sqlite().await;
    fixture.begun().await;
    let decisions = [trip(0)];
    let content = deciding(&decisions);
    let intent = fixture.first(&block(101, 1), content).await.remove(0);
    fixture.commit(&block(101, 1), content).await.unwrap();
    let end = done(block(102, 1), B256::repeat_byte(0xaa));
    assert!(fixture.store.finish(&intent, &end).await.unwrap());
    // The block that it ended in was never walked.
    let decisions = [contain(0, 1)];
    let content = deciding(&decisions);
    assert!(fixture.first(&block(102, 2), content).await.is_empty());
    let commit = fixture.commit(&block(102, 2), content).await.unwrap();
    assert_eq!((commit.reopened.len(), commit.intents.len()), (1, 1));
}

#[tokio::test]
async fn leaves_no_ground_behind() {
    let fixture = Fixture::sqlite().await;
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

/// The block is evaluated by another rulebook after the restart.
#[tokio::test]
async fn keeps_the_rulebook_that_it_was_decided_by() {
    const NEXT: B256 = B256::repeat_byte(6);
    let fixture = Fixture::sqlite().await;
    fixture.begun().await;
    let (verdicts, decisions) = ([verdict(0, Verdict::Breached)], [trip(0)]);
    let content = Block {
        verdicts: &verdicts,
        decisions: &decisions,
        ..Block::default()
    };
    let at = block(101, 1);
    let intent = fixture.first(&at, content).await.remove(0);
    let rule = async || fixture.store.watched().await.unwrap()[0].rule;
    assert_eq!(rule().await, Some(0));
    fixture.store.adopt(NEXT).await.unwrap();
    let other = Block {
        decisions: &[],
        scopes: Some(&[]),
        ..content
    };
    fixture.commit_under(NEXT, &at, other).await.unwrap();
    assert_eq!(rule().await, None, "its number is another rule's");
    let end = Confirmation {
        outcome: Outcome::HoldsAgain,
        included: None,
        ..done(at, B256::ZERO)
    };
    assert!(fixture.store.finish(&intent, &end).await.unwrap());
    fixture.commit_under(NEXT, &block(102, 1), other).await.unwrap();
    let incident = fixture.store.incidents().await.unwrap().remove(0);
    let last = incident.timeline.last().unwrap();
    assert!(last.text.starts_with("another rulebook was adopted"), "{}", last.text);
}

// Before the block is done, a rule that it finds breached looks like one that holds.
#[tokio::test]
async fn starts_no_playbook_yet() {
    let fixture = Fixture::sqlite().await;
    let plan = plan(r#"    { id = "say", do = "note", text = "seen" }"#);
    let kinds = async || {
        let incidents = fixture.store.incidents().await.unwrap();
        let lines = incidents.iter().flat_map(|incident| &incident.timeline);
        lines.filter(|line| line.kind == "note").count()
    };
    fixture.begun().await;
    let decisions = [trip(0)];
    let content = deciding(&decisions);
    let at = block(101, 1);
    assert_eq!(fixture.first(&at, content).await.len(), 1);
    fixture.store.play(&plan).await.unwrap();
    assert_eq!(kinds().await, 0);
    fixture.commit(&at, content).await.unwrap();
    fixture.store.play(&plan).await.unwrap();
    assert_eq!(kinds().await, 1);

    // One whose block vanishes before it is done starts them when what has replaced it is.
    let decisions = [contain(0, 1)];
    let content = deciding(&decisions);
    assert_eq!(fixture.first(&block(102, 1), content).await.len(), 1);
    fixture.store.play(&plan).await.unwrap();
    assert_eq!(kinds().await, 1);
    fixture.commit(&block(102, 2), Block::default()).await.unwrap();
    fixture.store.play(&plan).await.unwrap();
    assert_eq!(kinds().await, 2);
}

#[tokio::test]
async fn stores_one_per_scope() {
    let fixture = Fixture::sqlite().await;
    fixture.begun().await;
    let decisions = [trip(0), contain(1, 1), contain(0, 1)];
    let content = deciding(&decisions);
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
    assert!(fixture.is_sound().await);
}

#[tokio::test]
async fn is_stored_once_also_when_its_incident_is_over() {
    let fixture = Fixture::sqlite().await;
    fixture.begun().await;
    let decisions = [trip(0)];
    let content = deciding(&decisions);
    let at = block(101, 1);
    let intent = fixture.first(&at, content).await.remove(0);
    fixture.tamper("UPDATE incidents SET state = 'closed'").await;
    assert!(fixture.first(&at, content).await.is_empty());
    assert_eq!(
        fixture.store.incidents().await.unwrap().len(),
        1,
        "nor is another incident opened"
    );
    assert_eq!(fixture.store.intents().await.unwrap(), [intent]);
}

/// The action may have ended by the time that the rest of its block is stored.
#[tokio::test]
async fn may_have_ended_before_its_block_is_done() {
    let fixture = Fixture::sqlite().await;
    fixture.begun().await;
    let (verdicts, decisions) = ([verdict(0, Verdict::Breached)], [trip(0)]);
    let content = Block {
        verdicts: &verdicts,
        decisions: &decisions,
        ..Block::default()
    };
    let at = block(101, 1);
    let intent = fixture.first(&at, content).await.remove(0);
    let elsewhere = Confirmation {
        outcome: Outcome::AlreadyHeld,
        included: None,
        judged_at: Some(block(101, 2)),
        ..done(at, B256::repeat_byte(0xaa))
    };
    assert!(
        !fixture.store.finish(&intent, &elsewhere).await.unwrap(),
        "on another block at that height"
    );
    let end = done(block(102, 1), B256::repeat_byte(0xaa));
    assert!(fixture.store.finish(&intent, &end).await.unwrap());
    // The second time the record is asked what was decided before, and nothing is decided.
    let content = Block {
        decisions: &[],
        ..content
    };
    assert!(fixture.commit(&at, content).await.unwrap().intents.is_empty());
    let incidents = fixture.told().await;
    assert_eq!((incidents.len(), incidents[0].state), (1, IncidentState::Contained));
    assert!(fixture.is_sound().await);
}

// A keeper that ends now might be at that block long after. What several share is sent when it is stored once more, after the block.
#[tokio::test]
async fn is_not_stored_first_out_of_turn_nor_where_nothing_is_gained() {
    let (file, server) = (Fixture::sqlite().await, Fixture::postgres().await);
    let decisions = [trip(0)];
    let content = deciding(&decisions);
    let (at, none) = (block(101, 1), Sightings::default());
    for (fixture, is_next, stored) in [(&file, false, 0), (&file, true, 1), (&server, true, 0)] {
        fixture.begun().await;
        let record = BlockRecord {
            is_next,
            ..record(&at, content, &none)
        };
        let first = fixture.store.write_decisions(&record, &names()).await.unwrap();
        assert_eq!(first.len(), stored, "in its turn: {is_next}");
    }
}

// At which level the guard has refused is known from the block's scopes.
#[tokio::test]
async fn is_refused_at_a_level_that_is_not_known_before_its_block_is_done() {
    let fixture = Fixture::sqlite().await;
    let verdicts = [verdict(0, Verdict::Breached)];
    let standing = Block {
        verdicts: &verdicts,
        ..Block::default()
    };
    fixture.commit(&block(100, 1), standing).await.unwrap();
    let (at, decisions) = (block(101, 1), [trip(0)]);
    let intent = fixture.first(&at, deciding(&decisions)).await.remove(0);
    let end = Confirmation {
        outcome: Outcome::Refused,
        included: None,
        judged_at: Some(at),
        ..done(at, B256::ZERO)
    };
    assert!(fixture.store.finish(&intent, &end).await.unwrap());
    let level = async || {
        let past = fixture.store.past(&[0], VERSION).await.unwrap();
        past.rules[&0]
            .refused
            .values()
            .map(|refused| refused.level)
            .collect::<Vec<_>>()
    };
    assert_eq!(level().await, [None]);
    let content = Block {
        scopes: Some(&[]),
        ..standing
    };
    fixture.commit(&at, content).await.unwrap();
    assert_eq!(level().await, [Some(Level::Normal)]);
}
