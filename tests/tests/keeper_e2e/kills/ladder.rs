//! Fallback ladders: a keeper that cannot pay, and dies at every rung.

use alloy::primitives::U256;
use cordon_keeper::record::Step;
use serde_json::json;

use super::Stage;
use crate::ladder::{OWNERS, safe, safe_nonce, signed_file};
use crate::world::{GAUGE_RULE, KEEPER, World, key, until};

pub(super) const STEPS: &[Step] = &[Step::Ladder, Step::Rung, Step::RungEnd, Step::Page, Step::LadderEnd];

/// A stage whose keeper cannot pay for anything, with a Safe whose owners have signed a containment for this nonce of it.
async fn broke(nonce: u64) -> (Stage, alloy::primitives::Address) {
    let world = World::new(&GAUGE_RULE).await;
    let safe = safe(&world).await;
    let file = signed_file(&world, safe, nonce, &OWNERS);
    std::fs::write(world.dir.path().join("signed.json"), file).unwrap();
    let fallback = format!(
        "[[fallback]]\nid = \"council\"\nscopes = [\"market\"]\nsafe = \"{safe}\"\ndeadline = \"5 seconds\"\nsigned = \"signed.json\"\n"
    );
    let stage = Stage::on(world, &fallback).await;
    pay(&stage, "0x1").await;
    (stage, safe)
}

async fn pay(stage: &Stage, balance: &str) {
    let account = key(KEEPER).address();
    stage.world.rpc("anvil_setBalance", json!([account, balance])).await;
}

/// What the timeline says of the ladder.
async fn story(stage: &Stage) -> Vec<String> {
    let incident = stage.store.incident(1).await.unwrap().unwrap();
    let lines = incident.timeline.into_iter().filter(|line| line.kind == "fallback");
    lines.map(|line| line.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_calls_people_calls_them_once() {
    // Nobody has signed for the nonce that the Safe has.
    let (mut stage, safe) = broke(7).await;
    stage.breaks_and_dies("before-ladder").await;
    stage.dies("after-ladder").await;
    for step in [Step::Rung, Step::RungEnd, Step::Page, Step::LadderEnd] {
        stage.dies_around(step).await;
    }
    assert_eq!(safe_nonce(&stage.world, safe).await, U256::ZERO);
    let called = |stage: &Stage| {
        let messages = stage.inbox.messages().into_iter();
        let calls = messages.filter(|m| m["event"] == "trigger" && m["facts"]["topic"] == "alarm:not-contained");
        calls.count()
    };
    let process = stage.start(None);
    until("people are called", || async { called(&stage) > 0 }).await;
    drop(process);
    pay(&stage, "0xde0b6b3a7640000").await;
    let process = stage.start(None);
    until("the ladder is at its end", || async {
        story(&stage)
            .await
            .iter()
            .any(|line| line.contains("no more is needed"))
    })
    .await;
    drop(process);
    stage.ends(STEPS).await;
    assert_eq!(called(&stage), 1);
    let told = story(&stage).await;
    let count = |part: &str| told.iter().filter(|line| line.contains(part)).count();
    for part in [
        "begun: the keeper's",
        "signed transaction: running",
        "signed transaction: failed",
        "page: done",
        "nothing is left",
        "no more is needed",
    ] {
        assert_eq!(count(part), 1, "{part}: {told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_sends_what_the_owners_have_signed_contains_once() {
    let (mut stage, safe) = broke(0).await;
    stage.breaks_and_dies("before-ladder").await;
    stage.dies("after-ladder").await;
    stage.dies_around(Step::Rung).await;
    // The Safe has acted by then: the next run finds the level held, and ends the ladder.
    stage.dies("before-rung-end").await;
    stage.dies_around(Step::LadderEnd).await;
    pay(&stage, "0xde0b6b3a7640000").await;
    stage.ends_well().await;
    assert_eq!(
        safe_nonce(&stage.world, safe).await,
        U256::ONE,
        "the Safe has acted once"
    );
    assert_eq!(stage.world.nonce(KEEPER).await, 0, "the keeper never could");
}
