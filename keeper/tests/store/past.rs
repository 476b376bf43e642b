//! What is remembered between blocks: the past of rules, unknown verdicts, witnesses.

use alloy::primitives::B256;
use cordon_client::config::Severity;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::{Act, BlockFacts, Decision, Response, RulePolicy, RuleVerdict, decide};
use cordon_keeper::record::{AlarmKind, Confirmation, IncidentState, Outcome, Witnessed};

use crate::fixture::*;

/// What the guard said for good.
fn refused() -> Confirmation {
    Confirmation {
        outcome: Outcome::Refused,
        detail: "the role is missing".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    }
}

async fn open_refusals(f: &Fixture) -> usize {
    let alarms = f.store.alarms().await.unwrap();
    let refusals = alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::ActionRefused.name());
    refusals.filter(|alarm| alarm.cleared_ms.is_none()).count()
}

async fn what_is_refused_again_and_again_is_told_once_and_takes_no_room(f: Fixture) {
    let breached = [verdict(0, Verdict::Breached)];
    let decisions = [trip(0)];
    let decided = Block {
        verdicts: &breached,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    for number in 10..30 {
        let intent = f.commit(&block(number, 0), decided).await.unwrap().intents.remove(0);
        assert_eq!(intent.subject(&names()), "price");
        let text = format!("refused at {number}");
        let raised = f
            .store
            .raise_alarm(AlarmKind::ActionRefused, &intent.subject(&names()), &text, Some(number))
            .await
            .unwrap();
        assert_eq!(raised, number == 10, "one page, at {number}");
        assert!(f.store.finish(&intent, &refused()).await.unwrap());
        // Somebody has seen it: that ends neither the breach nor the refusal.
        f.store.acknowledge("action-refused", "ada").await.unwrap();
    }
    let past = f.store.past(&[0], VERSION).await.unwrap();
    let at_last = past.rules[&0].refused[&vec![]];
    assert_eq!((at_last.times, at_last.level), (20, Some(Level::Normal)));
    assert_eq!(open_refusals(&f).await, 1, "it stays open while it is so");
    let incident = f.store.incidents().await.unwrap().remove(0);
    let kinds: Vec<&str> = incident.timeline.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["detected", "decided", "refused"]);

    // What is old is forgotten while the incident lasts, but for the newest.
    while f.store.prune(-60_000).await.unwrap() {}
    assert_eq!(f.store.intents().await.unwrap().len(), 1);
    assert_eq!(
        f.store.past(&[0], VERSION).await.unwrap().rules[&0].refused[&vec![]].times,
        1
    );

    let holds = [verdict(0, Verdict::Holds)];
    let over = Block {
        verdicts: &holds,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&block(30, 0), over).await.unwrap();
    assert_eq!(open_refusals(&f).await, 0, "cleared by itself");
    assert_eq!(f.store.incidents().await.unwrap()[0].state, IncidentState::Closed);
}

async fn what_was_refused_in_an_earlier_breach_or_of_another_witness_delays_nothing(f: Fixture) {
    let (breached, holds) = ([verdict(0, Verdict::Breached)], [verdict(0, Verdict::Holds)]);
    let decisions = [trip(0)];
    let decided = Block {
        verdicts: &breached,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    for number in 10..18 {
        let intent = f.commit(&block(number, 0), decided).await.unwrap().intents.remove(0);
        f.store.finish(&intent, &refused()).await.unwrap();
    }
    let past = f.store.past(&[0], VERSION).await.unwrap();
    assert_eq!(past.rules[&0].refused[&vec![]].times, 8);
    assert_eq!(past.rules[&0].decided_at, None, "that of no other witness waits for it");
    let other = f.store.past(&[0], B256::repeat_byte(6)).await.unwrap();
    assert!(other.rules.is_empty(), "another rulebook's rule of that number");

    let over = Block {
        verdicts: &holds,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&block(18, 0), over).await.unwrap();
    assert!(
        f.store.past(&[0], VERSION).await.unwrap().rules.is_empty(),
        "decided at once"
    );
    let intent = f.commit(&block(19, 0), decided).await.unwrap().intents.remove(0);
    f.store.finish(&intent, &refused()).await.unwrap();
    let past = f.store.past(&[0], VERSION).await.unwrap();
    assert_eq!(past.rules[&0].refused[&vec![]].times, 1, "counted anew");
}

async fn refusals_are_counted_for_each_witness_and_anew_after_a_long_pause(f: Fixture) {
    let named = |byte: u8| vec![B256::repeat_byte(byte)];
    let breached = [1, 2].map(|byte| RuleVerdict {
        witness: named(byte),
        ..verdict(0, Verdict::Breached)
    });
    let refuse = async |number: u64, byte: u8| {
        let decisions = [Decision {
            witness: named(byte),
            ..trip(0)
        }];
        let decided = Block {
            verdicts: &breached,
            decisions: &decisions,
            scopes: Some(&[]),
            ..Block::default()
        };
        let intent = f.commit(&block(number, 0), decided).await.unwrap().intents.remove(0);
        f.store.finish(&intent, &refused()).await.unwrap();
    };
    let times = async || {
        let past = f.store.past(&[0], VERSION).await.unwrap();
        [1, 2].map(|byte| past.rules[&0].refused.get(&named(byte)).map(|refused| refused.times))
    };
    for number in [10, 11, 12] {
        refuse(number, 1).await;
    }
    assert_eq!(times().await, [Some(3), None]);
    refuse(13, 2).await;
    assert_eq!(times().await, [Some(3), Some(1)]);
    // An observation on the way is no refusal, and no end of them.
    let decisions = [Decision {
        witness: named(1),
        ..trip(0)
    }];
    let decided = Block {
        verdicts: &breached,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    let intent = f.commit(&block(14, 0), decided).await.unwrap().intents.remove(0);
    let observed = Confirmation {
        outcome: Outcome::Observed,
        ..done(block(14, 0), B256::repeat_byte(1))
    };
    f.store.finish(&intent, &observed).await.unwrap();
    refuse(15, 1).await;
    assert_eq!(times().await, [Some(4), Some(1)]);
    // Forty minutes without an attempt, four blocks a second: somebody may have mended what was wrong.
    refuse(12 + 4 * 2_400, 1).await;
    assert_eq!(times().await, [Some(5), Some(1)]);
    refuse(12 + 4 * 4_801, 1).await;
    assert_eq!(times().await, [Some(1), Some(1)]);
}

async fn an_attempt_that_is_not_refused_ends_the_alarm_and_the_streak(f: Fixture) {
    let breached = [verdict(0, Verdict::Breached)];
    let decisions = [trip(0)];
    let decided = Block {
        verdicts: &breached,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    let stands = Block {
        decisions: &[],
        ..decided
    };
    let intent = f.commit(&block(10, 0), decided).await.unwrap().intents.remove(0);
    let raise = || f.store.raise_alarm(AlarmKind::ActionRefused, "price", "refused", None);
    raise().await.unwrap();
    f.commit(&block(11, 0), stands).await.unwrap();
    assert_eq!(open_refusals(&f).await, 1, "told before it is stored");
    f.store.finish(&intent, &refused()).await.unwrap();
    let intent = f.commit(&block(12, 0), decided).await.unwrap().intents.remove(0);
    assert_eq!(open_refusals(&f).await, 1, "while it is tried again");
    f.store.record_sent(&intent, &sent(1)).await.unwrap();
    f.store
        .finish(&intent, &done(block(13, 0), B256::repeat_byte(1)))
        .await
        .unwrap();
    f.commit(&block(14, 0), stands).await.unwrap();
    assert_eq!(open_refusals(&f).await, 0);
    assert!(f.store.past(&[0], VERSION).await.unwrap().rules[&0].refused.is_empty());
    // An alarm of an older version named the intent.
    f.store
        .raise_alarm(AlarmKind::ActionRefused, "intent 1", "refused", None)
        .await
        .unwrap();
    f.commit(&block(15, 0), stands).await.unwrap();
    assert_eq!(open_refusals(&f).await, 0, "nobody else would ever close it");
}

async fn a_breach_in_shadow_is_recorded_once_until_it_has_held(f: Fixture) {
    let (breached, holds) = ([verdict(0, Verdict::Breached)], [verdict(0, Verdict::Holds)]);
    let decisions = [Decision {
        act: Act::Shadow,
        ..trip(0)
    }];
    let recorded = |past: &cordon_keeper::decide::Past| past.rules.get(&0).map_or(0, |own| own.recorded.len());
    assert_eq!(recorded(&f.store.past(&[0], VERSION).await.unwrap()), 0);
    let shadowed = Block {
        verdicts: &breached,
        decisions: &decisions,
        ..Block::default()
    };
    let commit = f.commit(&block(110, 1), shadowed).await.unwrap();
    assert!(commit.intents.is_empty(), "nothing to carry out");
    assert_eq!(recorded(&f.store.past(&[0], VERSION).await.unwrap()), 1);
    assert_eq!(
        recorded(&f.reopen().await.past(&[0], VERSION).await.unwrap()),
        1,
        "after a restart too"
    );
    // On another branch it is another breach.
    f.store.revert_blocks(&[block(110, 1)]).await.unwrap();
    assert_eq!(recorded(&f.store.past(&[0], VERSION).await.unwrap()), 0);
    f.commit(&block(110, 2), shadowed).await.unwrap();
    let over = Block {
        verdicts: &holds,
        ..Block::default()
    };
    f.commit(&block(111, 2), over).await.unwrap();
    assert_eq!(recorded(&f.store.past(&[0], VERSION).await.unwrap()), 0);
    assert_eq!(f.store.intents().await.unwrap().len(), 2);
    while f.store.prune(-60_000).await.unwrap() {}
    assert_eq!(
        f.store.intents().await.unwrap().len(),
        1,
        "the retention is for these too"
    );
}

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
    let past = f.store.past(&[0, 1], VERSION).await.unwrap();
    assert_eq!(past.rules.len(), 1);
    assert!(past.rules[&0].open);
    assert_eq!(past.rules[&0].decided_at, Some(b.timestamp));
    let observed = Confirmation {
        outcome: Outcome::Observed,
        ..done(block(14, 0), B256::repeat_byte(1))
    };
    f.store.finish(&intent, &observed).await.unwrap();
    let past = f.store.past(&[0], VERSION).await.unwrap();
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

/// What is decided on a breach of a block that the keeper catches up with, by the record.
async fn caught_up(f: &Fixture, number: u64) -> usize {
    let policy = RulePolicy {
        index: 0,
        id: "price".to_owned(),
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        robust: true,
        shadow: false,
        response: Response::Contain,
        cooldown: 60,
        maintenance: vec![],
    };
    let (at, breached) = (block(number, 1), [verdict(0, Verdict::Breached)]);
    let past = f.store.past(&[0], VERSION).await.unwrap();
    let facts = BlockFacts {
        block: &at,
        verdicts: &breached,
        scopes: &[],
    };
    let decisions = decide(&[policy], &facts, &past);
    let content = Block {
        verdicts: &breached,
        decisions: &decisions,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&at, content).await.unwrap().intents.len()
}

async fn a_long_breach_of_the_past_that_is_over_now_is_one_action(f: Fixture) {
    let newest = block(160, 2);
    assert_eq!(caught_up(&f, 100).await, 1);
    let intent = f.store.open_intents().await.unwrap().remove(0);
    let over = Confirmation {
        outcome: Outcome::HoldsAgain,
        judged_at: Some(newest),
        ..refused()
    };
    assert!(f.store.finish(&intent, &over).await.unwrap());
    for number in 101..160 {
        assert_eq!(caught_up(&f, number).await, 0, "block {number}");
    }
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.timeline.len(), 3, "{:#?}", incident.timeline);
    // The block that it was seen in to be over is none of the chain: it may last.
    let at = block(160, 1);
    let none = Block {
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit(&at, none).await.unwrap();
    let reopened = f.store.open_intents().await.unwrap();
    assert_eq!(reopened.len(), 1);
    let past = f.store.past(&[0], VERSION).await.unwrap();
    assert!(past.rules[&0].open && past.rules[&0].over.is_empty());
    // And what was seen to be over here says nothing of the blocks after it.
    let here = Confirmation {
        judged_at: Some(at),
        ..over
    };
    assert!(f.store.finish(&reopened[0], &here).await.unwrap());
    assert_eq!(caught_up(&f, 161).await, 1, "a new breach");
}

on_both! {
    a_long_breach_of_the_past_that_is_over_now_is_one_action
    what_is_refused_again_and_again_is_told_once_and_takes_no_room
    what_was_refused_in_an_earlier_breach_or_of_another_witness_delays_nothing
    refusals_are_counted_for_each_witness_and_anew_after_a_long_pause
    an_attempt_that_is_not_refused_ends_the_alarm_and_the_streak
    a_breach_in_shadow_is_recorded_once_until_it_has_held
    unknown_is_alarmed_once_and_cleared_when_known_again
    the_past_tells_open_observed_and_decided_apart
    witnesses_are_bounded_and_looked_at_in_turn
}
