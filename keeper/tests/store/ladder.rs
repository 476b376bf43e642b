//! Fallback ladders in the record: begun when they are due, each rung once, whatever crashes in between.

use alloy::primitives::B256;
use cordon_keeper::decide::ladder::{Rung, RungStatus};
use cordon_keeper::record::{AlarmKind, Confirmation, LadderRule, Outcome, Store};

use crate::fixture::{Block, Fixture, block, done, sent, trip};

fn rule(fallback: &str, scopes: &[u8], deadline_ms: i64) -> LadderRule {
    LadderRule {
        fallback: fallback.into(),
        scopes: scopes.to_vec(),
        deadline_ms,
    }
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
    assert!(
        f.store.ladders(&later).await.unwrap().is_empty(),
        "the keeper still has time"
    );
    let others = [rule("council", &[7], 0)];
    assert!(
        f.store.ladders(&others).await.unwrap().is_empty(),
        "it is for another scope"
    );
    let rules = [rule("council", &[1], 0)];
    let ladders = f.store.ladders(&rules).await.unwrap();
    assert_eq!((ladders.len(), ladders[0].held, ladders[0].rungs.len()), (1, false, 0));
    assert!(f.store.begin_rung(&ladders[0], Rung::Signed, "tried").await.unwrap());

    let again = f.reopen().await;
    let ladders = again.ladders(&rules).await.unwrap();
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
    again.end_ladder(&ladders[0], "weth", false).await.unwrap();
    let ladders = again.ladders(&rules).await.unwrap();
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
    let ladders = again.ladders(&rules).await.unwrap();
    assert!(ladders[0].held);
    again.end_ladder(&ladders[0], "weth", true).await.unwrap();
    assert_eq!(open_alarms(&again).await, 0);
    assert!(again.ladders(&rules).await.unwrap().is_empty());
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
    let ladders = f.store.ladders(&[rule("council", &[], 3_600_000)]).await.unwrap();
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
    assert!(f.store.ladders(&[rule("council", &[], 0)]).await.unwrap().is_empty());
}

on_both! {
    a_ladder_is_begun_when_it_is_due_and_each_rung_once
    what_the_guard_refuses_for_good_waits_for_no_deadline
    what_is_carried_out_needs_no_ladder
}
