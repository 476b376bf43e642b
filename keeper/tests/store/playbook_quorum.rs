//! Playbooks that contain the whole protocol: with a quorum, or when somebody has approved.

use alloy::primitives::B256;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::playbook::StepStatus;
use cordon_keeper::decide::{Decision, Quorum, Support};
use cordon_keeper::record::{AlarmKind, Answers, IntentKind, PlayPlan, Store};

use crate::fixture::{Block, Fixture, block, done, trip, verdict};
use crate::playbook::{incident, people, plan, states};

const HALT: &str = r#"{ id = "halt", do = "contain", scope = "protocol", level = "Halted", for = "5 minutes" }"#;

fn wants(steps: &str, quorum: Quorum) -> PlayPlan {
    PlayPlan { quorum, ..plan(steps) }
}

/// As if all steps had been begun an hour before.
const LONG_AGO: &str = "UPDATE playbook_steps SET began_ms = began_ms - 3600000";

const TWO_ENDPOINTS: Quorum = Quorum {
    rules: 1,
    endpoints: 2,
    keepers: 1,
};

/// What is planned when so many endpoints agree.
async fn planned(store: &Store, plan: &PlayPlan, endpoints: u32) -> Vec<(IntentKind, u8)> {
    let mut played = store.play(plan).await.unwrap();
    let answered = played.asked.iter().map(|step| {
        let support = Support {
            rules: 0,
            endpoints,
            against: 0,
            keepers: 1,
        };
        ((step.run, step.step.clone()), support)
    });
    let answers: Answers = answered.collect();
    played
        .intents
        .extend(store.play_with(plan, &answers).await.unwrap().intents);
    let kinds = played.intents.iter().map(|intent| (intent.kind, intent.scope));
    kinds.collect()
}

async fn short(store: &Store) -> Vec<String> {
    let open = store.open_alarms().await.unwrap();
    let short = open.into_iter().filter(|(kind, _)| *kind == AlarmKind::QuorumShort);
    short.map(|(_, subject)| subject).collect()
}

async fn the_whole_protocol_waits_for_a_quorum(store: Fixture) {
    let plan = wants(HALT, TWO_ENDPOINTS);
    let id = incident(&store).await;
    let asked = store.store.play(&plan).await.unwrap();
    assert!(asked.intents.is_empty(), "nobody has agreed yet");
    assert_eq!(asked.asked[0].breach, Some((0, trip(0).witness)));
    assert_eq!(asked.asked[0].block.number, 10);
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    assert_eq!(short(&store.store).await, ["playbook play at incident 1"]);
    let runs = store.store.playbook_runs(id).await.unwrap();
    assert_eq!(runs[0].steps[0].status, StepStatus::Running);
    assert_eq!(
        runs[0].steps[0].detail,
        "waits until enough agree: 1 of 2 endpoints say so"
    );
    // What the rules say at the next block is nothing of the playbook's, nor is it told twice that it waits.
    let verdicts = [verdict(0, Verdict::Breached)];
    let content = Block {
        verdicts: &verdicts,
        ..Block::default()
    };
    store.commit(&block(11, 0), content).await.unwrap();
    let again = store.reopen().await;
    assert_eq!(planned(&again, &plan, 1).await, []);
    assert_eq!(short(&again).await, ["playbook play at incident 1"]);
    let lines = again.incident(id).await.unwrap().unwrap().timeline;
    assert_eq!(lines.iter().filter(|line| line.text.contains("waits until")).count(), 1);
    assert_eq!(planned(&again, &plan, 2).await, [(IntentKind::Contain, 0)]);
    assert!(short(&again).await.is_empty());
    let intent = again
        .open_intents()
        .await
        .unwrap()
        .into_iter()
        .find(|held| held.scope == 0);
    again
        .finish(&intent.unwrap(), &done(block(11, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    again.play(&plan).await.unwrap();
    let (steps, state) = states(&again, id).await;
    assert_eq!((steps[0].1, state.as_str()), (StepStatus::Done, "done"));
}

async fn a_set_with_the_whole_protocol_in_it_waits_too(store: Fixture) {
    let plan = wants(r#"{ do = "contain-set", set = "halt-all" }"#, TWO_ENDPOINTS);
    incident(&store).await;
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    assert_eq!(planned(&store.store, &plan, 2).await, [(IntentKind::ContainSet, 1)]);
}

async fn one_market_waits_for_nobody(store: Fixture) {
    let one = r#"{ do = "contain", level = "Halted", for = "5 minutes" }"#;
    incident(&store).await;
    let played = store.store.play(&wants(one, TWO_ENDPOINTS)).await.unwrap();
    assert_eq!((played.intents.len(), played.asked.len()), (1, 0));
}

async fn what_somebody_has_approved_waits_for_nobody(store: Fixture) {
    let ask = r#"{ id = "go", do = "approve", role = "commander", text = "Halt it?", within = "1 hour" }"#;
    let plan = wants(&format!("{ask}, {HALT}"), TWO_ENDPOINTS);
    let id = incident(&store).await;
    store.store.play(&plan).await.unwrap();
    store.store.approve(&people(), (id, "go"), "ada", true).await.unwrap();
    let played = store.store.play(&plan).await.unwrap();
    assert_eq!((played.intents.len(), played.asked.len()), (1, 0));
}

async fn rules_are_counted_that_are_breached_now(store: Fixture) {
    let quorum = Quorum {
        rules: 2,
        ..Quorum::default()
    };
    let plan = wants(HALT, quorum);
    incident(&store).await;
    assert_eq!(planned(&store.store, &plan, 1).await, [], "one rule of two");
    let commit = async |number, first, second| {
        let verdicts = [verdict(0, first), verdict(1, second)];
        let content = Block {
            verdicts: &verdicts,
            ..Block::default()
        };
        store.commit(&block(number, 0), content).await.unwrap();
    };
    commit(11, Verdict::Holds, Verdict::Breached).await;
    let asked = store.store.play(&plan).await.unwrap().asked;
    assert_eq!(asked[0].breach, None, "the incident's own breach is over");
    assert_eq!(planned(&store.store, &plan, 1).await, [], "the other one of two");
    commit(12, Verdict::Breached, Verdict::Breached).await;
    let mut telling = plan.clone();
    telling.policies[1].level = Level::Normal;
    assert_eq!(
        planned(&store.store, &telling, 1).await,
        [],
        "one of two raises nothing"
    );
    telling.policies[1].level = Level::Halted;
    telling.policies[0].level = Level::Normal;
    assert_eq!(
        planned(&store.store, &telling, 1).await,
        [(IntentKind::Contain, 0)],
        "the playbook is the answer to what only tells"
    );
}

/// A keeper that was down for as long as a step may wait: what came meanwhile counts.
async fn who_has_waited_long_enough_is_answered_once_more(store: Fixture) {
    let plan = wants(HALT, TWO_ENDPOINTS);
    let id = incident(&store).await;
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    store.tamper(LONG_AGO).await;
    let asked = store.store.play(&plan).await.unwrap().asked;
    assert_eq!(asked.len(), 1, "nothing has failed without a question");
    assert_eq!(planned(&store.store, &plan, 2).await, [(IntentKind::Contain, 0)]);
    assert_eq!(states(&store.store, id).await.1, "running");
}

async fn who_has_waited_in_vain_has_failed(store: Fixture) {
    let plan = wants(HALT, TWO_ENDPOINTS);
    let id = incident(&store).await;
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    store.tamper(LONG_AGO).await;
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    let (steps, state) = states(&store.store, id).await;
    assert_eq!((steps[0].1, state.as_str()), (StepStatus::Failed, "failed"));
    let run = store.store.playbook_runs(id).await.unwrap().pop().unwrap();
    assert_eq!(
        run.steps[0].detail,
        "too few have agreed in time: 1 of 2 endpoints say so"
    );
    assert!(short(&store.store).await.is_empty());
}

async fn each_incident_that_waits_is_told(store: Fixture) {
    let plan = wants(HALT, TWO_ENDPOINTS);
    let decisions = [0, 1].map(|scope| Decision {
        scope,
        ..trip(scope.into())
    });
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    store.commit(&block(10, 0), content).await.unwrap();
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    let told = ["playbook play at incident 1", "playbook play at incident 2"];
    assert_eq!(short(&store.store).await, told);
    store.tamper("UPDATE incidents SET state = 'closed' WHERE id = 1").await;
    assert_eq!(planned(&store.store, &plan, 1).await, []);
    assert_eq!(short(&store.store).await, told[1..]);
}

on_both! {
    the_whole_protocol_waits_for_a_quorum
    a_set_with_the_whole_protocol_in_it_waits_too
    one_market_waits_for_nobody
    what_somebody_has_approved_waits_for_nobody
    rules_are_counted_that_are_breached_now
    who_has_waited_long_enough_is_answered_once_more
    who_has_waited_in_vain_has_failed
    each_incident_that_waits_is_told
}
