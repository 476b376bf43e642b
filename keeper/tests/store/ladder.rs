//! Fallback ladders in the record: begun when they are due, each rung once, whatever crashes in between.

use alloy::primitives::B256;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::Decision;
use cordon_keeper::decide::ladder::{Rung, RungStatus};
use cordon_keeper::record::{AlarmKind, Confirmation, Intent, Ladder, LadderRule, NoticeKind, Outcome, Store};

use crate::fixture::{Block, Fixture, block, done, sent, trip, verdict};

fn rule(fallback: &str, scopes: &[u8], deadline_ms: i64) -> LadderRule {
    LadderRule {
        fallback: fallback.into(),
        scopes: scopes.to_vec(),
        deadline_ms,
    }
}

/// Begins what is due, and answers what is climbed.
async fn begun(store: &Store, rules: &[LadderRule]) -> Vec<Ladder> {
    let due = store.due_ladders(rules).await.unwrap();
    store.ladders(&due).await.unwrap()
}

async fn decided(f: &Fixture) {
    let decisions = [trip(0)];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
}

async fn open_alarms(store: &Store) -> usize {
    let alarms = store.alarms().await.unwrap();
    let open = alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::NotContained.name() && alarm.cleared_ms.is_none());
    open.count()
}

async fn a_ladder_is_begun_when_it_is_due_and_each_rung_once(f: Fixture) {
    decided(&f).await;
    let later = [rule("council", &[], 3_600_000)];
    assert!(begun(&f.store, &later).await.is_empty(), "the keeper still has time");
    let others = [rule("council", &[7], 0)];
    assert!(begun(&f.store, &others).await.is_empty(), "it is for another scope");
    let rules = [rule("council", &[1], 0)];
    let ladders = begun(&f.store, &rules).await;
    assert_eq!((ladders.len(), ladders[0].held, ladders[0].rungs.len()), (1, false, 0));
    assert!(f.store.begin_rung(&ladders[0], Rung::Signed, "tried").await.unwrap());

    let again = f.reopen().await;
    let ladders = begun(&again, &rules).await;
    assert_eq!(ladders.len(), 1, "one for the incident");
    assert_eq!(ladders[0].rungs[0].status, RungStatus::Running);
    assert!(
        !again.begin_rung(&ladders[0], Rung::Signed, "tried").await.unwrap(),
        "it is carried on"
    );
    again
        .end_rung(&ladders[0], Rung::Signed, RungStatus::Failed, "stale")
        .await
        .unwrap();
    again
        .end_rung(&ladders[0], Rung::Signed, RungStatus::Done, "too late")
        .await
        .unwrap();
    for _ in 0..2 {
        again.call_people(&ladders[0], "weth", "act now").await.unwrap();
    }
    assert_eq!(open_alarms(&again).await, 1);
    again.end_ladder(&ladders[0], "weth", false, &[]).await.unwrap();
    let ladders = begun(&again, &rules).await;
    let states: Vec<_> = ladders[0].rungs.iter().map(|rung| (rung.rung, rung.status)).collect();
    assert_eq!(
        states,
        [(Rung::Signed, RungStatus::Failed), (Rung::Page, RungStatus::Done)]
    );

    // It is contained at last.
    let intent = again.open_intents().await.unwrap().remove(0);
    again.record_sent(&intent, &sent(7)).await.unwrap();
    again
        .finish(&intent, &done(block(11, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    let ladders = begun(&again, &rules).await;
    assert!(ladders[0].held);
    again.end_ladder(&ladders[0], "weth", true, &[]).await.unwrap();
    assert_eq!(open_alarms(&again).await, 0);
    assert!(begun(&again, &rules).await.is_empty());
    let lines = again.incidents().await.unwrap().remove(0).timeline;
    let lines: Vec<String> = lines
        .into_iter()
        .filter(|line| line.kind == "fallback")
        .map(|line| line.text)
        .collect();
    assert_eq!(
        lines[1..],
        [
            "fallback council: signed transaction: running: tried",
            "fallback council: signed transaction: failed: stale",
            "fallback council: page: done: act now",
            "fallback council: nothing is left to try: people have to act",
            "fallback council: no more is needed: the incident is contained, or over",
        ]
    );
}

async fn what_the_guard_refuses_for_good_waits_for_no_deadline(f: Fixture) {
    decided(&f).await;
    let intent = f.store.open_intents().await.unwrap().remove(0);
    let refused = Confirmation {
        outcome: Outcome::Refused,
        detail: "the role is missing".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    f.store.finish(&intent, &refused).await.unwrap();
    let ladders = begun(&f.store, &[rule("council", &[], 3_600_000)]).await;
    assert_eq!(ladders.len(), 1);
    let timeline = f.store.incidents().await.unwrap().remove(0).timeline;
    assert!(
        timeline
            .iter()
            .any(|line| line.text.contains("is refused: the role is missing"))
    );
}

async fn what_is_carried_out_needs_no_ladder(f: Fixture) {
    decided(&f).await;
    let intent = f.store.open_intents().await.unwrap().remove(0);
    f.store.record_sent(&intent, &sent(7)).await.unwrap();
    f.store
        .finish(&intent, &done(block(11, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    assert!(begun(&f.store, &[rule("council", &[], 0)]).await.is_empty());
}

/// A breach of two rules of one scope in one block, of which the first is to be halted.
async fn both_decided(f: &Fixture) -> [Intent; 2] {
    let (halt, verdicts) = (Level::Halted, [0, 1].map(|rule| verdict(rule, Verdict::Breached)));
    let decisions = [Decision { level: halt, ..trip(0) }, trip(1)];
    let content = Block {
        decisions: &decisions,
        verdicts: &verdicts,
        ..Block::default()
    };
    let commit = f.commit(&block(10, 0), content).await.unwrap();
    commit.intents.try_into().unwrap()
}

fn ended(outcome: Outcome) -> Confirmation {
    Confirmation {
        outcome,
        detail: "it is so".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    }
}

async fn a_lesser_action_that_is_carried_out_does_not_hide_a_stricter_one(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    assert!(halt.id < lesser.id);
    f.store.record_sent(&lesser, &sent(7)).await.unwrap();
    let end = done(block(11, 0), B256::repeat_byte(7));
    f.store.finish(&lesser, &end).await.unwrap();
    let rules = [rule("council", &[], 0)];
    let climbed = begun(&f.store, &rules).await;
    assert_eq!((climbed.len(), climbed[0].held), (1, false));
    assert_eq!(
        (climbed[0].intent.id, climbed[0].intent.level),
        (halt.id, Level::Halted)
    );
}

async fn of_several_that_are_late_the_strictest_is_what_is_wanted(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    let rules = [rule("council", &[], 0)];
    let climbed = begun(&f.store, &rules).await;
    assert_eq!((climbed.len(), climbed[0].intent.id), (1, halt.id));
    f.store.record_sent(&lesser, &sent(7)).await.unwrap();
    let end = done(block(11, 0), B256::repeat_byte(7));
    f.store.finish(&lesser, &end).await.unwrap();
    assert!(!begun(&f.store, &rules).await[0].held, "it is to be halted");
    f.store.finish(&halt, &ended(Outcome::HoldsAgain)).await.unwrap();
    assert!(begun(&f.store, &rules).await[0].held, "not any more");
}

async fn what_is_stricter_begins_a_ladder_anew(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    let due = [("council".to_owned(), lesser.clone())];
    let climbed = f.store.ladders(&due).await.unwrap();
    assert_eq!(climbed[0].intent.id, lesser.id);
    f.store.begin_rung(&climbed[0], Rung::Proposal, "tried").await.unwrap();
    let rules = [rule("council", &[], 0)];
    for _ in 0..2 {
        let climbed = begun(&f.store, &rules).await;
        assert_eq!((climbed.len(), climbed[0].intent.id), (1, halt.id));
        assert!(climbed[0].rungs.is_empty());
    }
}

async fn what_was_refused_calls_for_a_fallback_while_it_is_wanted_and_once(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    for intent in [&halt, &lesser] {
        f.store.finish(intent, &ended(Outcome::Refused)).await.unwrap();
    }
    let never = [rule("council", &[], 3_600_000)];
    let climbed = begun(&f.store, &never).await;
    assert_eq!((climbed.len(), climbed[0].intent.id), (1, halt.id));
    f.store.end_ladder(&climbed[0], "weth", true, &[]).await.unwrap();
    let climbed = begun(&f.store, &never).await;
    assert_eq!(
        (climbed.len(), climbed[0].intent.id),
        (1, lesser.id),
        "the other's turn"
    );
    f.store.end_ladder(&climbed[0], "weth", true, &[]).await.unwrap();
    assert!(begun(&f.store, &never).await.is_empty());

    // Tried again, it is a new failure, and what was refused before is history.
    let decisions = [Decision {
        level: Level::Halted,
        ..trip(0)
    }];
    let verdicts = [0, 1].map(|rule| verdict(rule, Verdict::Breached));
    let content = Block {
        decisions: &decisions,
        verdicts: &verdicts,
        ..Block::default()
    };
    let again = f.commit(&block(11, 0), content).await.unwrap().intents.remove(0);
    assert!(begun(&f.store, &never).await.is_empty());
    f.store.finish(&again, &ended(Outcome::Refused)).await.unwrap();
    let climbed = begun(&f.store, &never).await;
    assert_eq!((climbed.len(), climbed[0].intent.id), (1, again.id));
}

async fn nobody_is_asked_for_what_holds_again(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    f.store.finish(&halt, &ended(Outcome::Refused)).await.unwrap();
    let rules = [rule("council", &[], 0)];
    let at = async |number, verdicts: [Verdict; 2]| {
        let verdicts = [0, 1].map(|rule| verdict(rule, verdicts[usize::from(rule)]));
        let content = Block {
            verdicts: &verdicts,
            scopes: Some(&[]),
            ..Block::default()
        };
        f.commit(&block(number, 0), content).await.unwrap();
        let due = f.store.due_ladders(&rules).await.unwrap();
        due.iter().map(|(_, intent)| intent.id).collect::<Vec<_>>()
    };
    let (breached, holds, unknown) = (Verdict::Breached, Verdict::Holds, Verdict::Unknown);
    assert_eq!(at(11, [unknown, breached]).await, [halt.id, lesser.id]);
    assert_eq!(at(12, [holds, breached]).await, [lesser.id]);
    assert_eq!(at(13, [unknown, unknown]).await, [lesser.id]);
    assert!(at(14, [unknown, holds]).await.is_empty());
}

async fn stored(store: &Store, id: i64) -> Intent {
    let mut all = store.intents().await.unwrap().into_iter();
    all.find(|intent| intent.id == id).unwrap()
}

/// Text of the alarm that is open, how many there were, and how many messages told of them.
async fn called(store: &Store) -> (Option<String>, usize, Vec<NoticeKind>) {
    let alarms = store.alarms().await.unwrap().into_iter();
    let alarms: Vec<_> = alarms
        .filter(|alarm| alarm.kind == AlarmKind::NotContained.name())
        .collect();
    let open = alarms.iter().find(|alarm| alarm.cleared_ms.is_none());
    let told = store.notices(100).await.unwrap().into_iter().map(|notice| notice.kind);
    let told = told.filter(|kind| matches!(kind, NoticeKind::Alarm | NoticeKind::Cleared));
    (open.map(|alarm| alarm.text.clone()), alarms.len(), told.collect())
}

async fn what_is_wanted_besides_is_not_over_with_the_stricter(f: Fixture) {
    let [halt, lesser] = both_decided(&f).await;
    let rules = [rule("council", &[], 0)];
    f.store.finish(&lesser, &ended(Outcome::Refused)).await.unwrap();
    let due = [("council".to_owned(), lesser.clone())];
    let climbed = f.store.ladders(&due).await.unwrap();
    f.store.call_people(&climbed[0], "weth", "reduce").await.unwrap();

    // More is wanted than people were told.
    let climbed = begun(&f.store, &rules).await;
    assert_eq!((climbed.len(), climbed[0].intent.id), (1, halt.id));
    assert!(f.store.call_people(&climbed[0], "weth", "halt").await.unwrap());
    let twice = vec![NoticeKind::Alarm; 2];
    assert_eq!(called(&f.store).await, (Some("halt".to_owned()), 2, twice.clone()));

    // That is over, and the rest is not.
    f.store.finish(&halt, &ended(Outcome::HoldsAgain)).await.unwrap();
    let climbed = begun(&f.store, &rules).await;
    assert!(climbed[0].held && climbed[0].intent.id == halt.id);
    let besides = f.store.due_besides(&rules, &climbed[0]).await.unwrap();
    assert_eq!(besides, [("council".to_owned(), stored(&f.store, lesser.id).await)]);
    f.store.end_ladder(&climbed[0], "weth", true, &besides).await.unwrap();
    assert_eq!(called(&f.store).await.0.as_deref(), Some("halt"));
    let climbed = begun(&f.store, &rules).await;
    assert_eq!((climbed.len(), climbed[0].intent.id), (1, lesser.id));
    assert!(!climbed[0].held && climbed[0].rungs.is_empty());
    assert!(f.store.call_people(&climbed[0], "weth", "reduce").await.unwrap());
    assert_eq!(called(&f.store).await.2, twice, "people know of more");
    assert!(f.store.due_besides(&rules, &climbed[0]).await.unwrap().is_empty());
    f.store.end_ladder(&climbed[0], "weth", true, &[]).await.unwrap();
    assert_eq!(called(&f.store).await.0, None);
    assert!(begun(&f.store, &rules).await.is_empty(), "it was called for");
    let lines = f.store.incidents().await.unwrap().remove(0).timeline;
    let ends: Vec<_> = lines
        .iter()
        .filter(|line| line.text.contains("is held, or wanted no more"))
        .collect();
    assert_eq!(ends.len(), 1, "{lines:#?}");
}

async fn the_alarm_of_a_scope_lasts_as_long_as_a_ladder_for_it(f: Fixture) {
    both_decided(&f).await;
    let rules = [rule("council", &[], 0), rule("treasury", &[1], 0)];
    let climbed = begun(&f.store, &rules).await;
    assert_eq!(climbed.len(), 2);
    f.store.call_people(&climbed[0], "weth", "halt").await.unwrap();
    f.store.end_ladder(&climbed[0], "weth", true, &[]).await.unwrap();
    assert_eq!(open_alarms(&f.store).await, 1);
    f.store.end_ladder(&climbed[1], "weth", true, &[]).await.unwrap();
    assert_eq!(open_alarms(&f.store).await, 0);
}

on_both! {
    what_is_wanted_besides_is_not_over_with_the_stricter
    the_alarm_of_a_scope_lasts_as_long_as_a_ladder_for_it
    a_lesser_action_that_is_carried_out_does_not_hide_a_stricter_one
    of_several_that_are_late_the_strictest_is_what_is_wanted
    what_is_stricter_begins_a_ladder_anew
    what_was_refused_calls_for_a_fallback_while_it_is_wanted_and_once
    nobody_is_asked_for_what_holds_again
    a_ladder_is_begun_when_it_is_due_and_each_rung_once
    what_the_guard_refuses_for_good_waits_for_no_deadline
    what_is_carried_out_needs_no_ladder
}
