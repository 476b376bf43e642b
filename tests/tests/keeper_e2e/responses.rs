//! What the other tests of incidents leave out, from the breach to its end through a keeper of its own process: a rule on what the guard has
//! learnt to be usual, and a containment set that a playbook uses.

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard::{self, Level, Verdict};
use cordon_keeper::record::{IncidentState, IntentKind, Outcome};
use cordon_testkit::Inbox;
use serde_json::json;

use crate::board::{GAUGE, STOPPED};
use crate::process::{Process, watching};
use crate::world::{HEARTBEAT, Rules, USER, World, at_most, stop_board, until};

/// People who are told, by what the test writes.
macro_rules! told {
    () => {
        r#"
[[notify]]
id     = "own"
via    = "webhook"
url    = { file = "hook-url" }
secret = { file = "hook-secret" }
"#
    };
}

/// Learns by an eighth of each observation, so that 25 of them warm it up.
const USUAL: Rules = Rules(concat!(
    r#"
[[invariant]]
id       = "usual"
scope    = "market"
rule     = "score(board.get(0), 10 min, 0, 20000, rate: 12.5 %, floor: 50, roof: 200) <= 6 sigma"
level    = "ReduceOnly"
severity = "P1"
"#,
    stop_board!(),
    told!()
));

const SET: Rules = Rules(concat!(
    at_most!(
        "gauge-low",
        "market",
        "get(0)",
        "duration = \"10 minutes\"\nseverity = \"P1\""
    ),
    r#"
[[containment_set]]
id       = "stand-still"
reviewed = "0x1111111111111111111111111111111111111111111111111111111111111111"
contain  = [
    { scope = "market", level = "ReduceOnly", for = "10 minutes" },
    { scope = "protocol", level = "ReduceOnly", for = "5 minutes" },
]

[[playbook]]
id    = "stop"
rules = ["gauge-low"]
step  = [
    { do = "contain-set", set = "stand-still" },
    { do = "note", text = "all of it stands still" },
]
"#,
    stop_board!(),
    told!()
));

/// A world whose people are told at an inbox.
async fn world_with_people(rules: &Rules) -> (World, Inbox) {
    let (world, inbox) = (World::new(rules).await, Inbox::start().await.unwrap());
    std::fs::write(world.dir.path().join("hook-url"), inbox.url()).unwrap();
    std::fs::write(
        world.dir.path().join("hook-secret"),
        "a secret of sixteen bytes or more",
    )
    .unwrap();
    (world, inbox)
}

/// Whether people were told this of an incident of the rule.
fn is_told(inbox: &Inbox, kind: &str, rule: &str) -> bool {
    let of =
        |message: &serde_json::Value| message["facts"]["kind"] == kind && message["facts"]["incident"]["rule"] == rule;
    inbox.messages().iter().any(of)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unusual_by_the_guards_own_statistics_is_tripped_and_told() {
    let (world, inbox) = world_with_people(&USUAL).await;
    let guard = ICordonGuard::new(world.guard, &world.provider);
    let verdict = async || guard.evaluate(0, Vec::new()).call().await.unwrap().verdict;
    assert_eq!(verdict().await, Verdict::Unknown, "nothing is usual yet");
    for _ in 0..=24 {
        world.rpc("evm_increaseTime", json!([601])).await;
        let call = ICordonGuard::observeCall { streams: vec![0] };
        world.send(USER, world.guard, call.abi_encode()).await;
    }
    assert_eq!(verdict().await, Verdict::Holds);

    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    // From here on the keeper goes on learning.
    let observed = async || guard.stream(0).call().await.unwrap().observedAt;
    let (before, beats) = (observed().await, world.nonce(HEARTBEAT).await);
    world.rpc("evm_increaseTime", json!([601])).await;
    until("the keeper observes", || async { observed().await > before }).await;
    assert!(world.nonce(HEARTBEAT).await > beats);
    assert!(store.incidents().await.unwrap().is_empty(), "the usual is no incident");

    let bad = world.set(GAUGE, 5_000).await;
    until("the containment", || async {
        world.level(1).await == Level::ReduceOnly && world.get(STOPPED).await == U256::from(1)
    })
    .await;
    until("people are told", || async {
        is_told(&inbox, "opened", "usual") && is_told(&inbox, "contained", "usual")
    })
    .await;
    let incidents = store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let incident = &incidents[0];
    assert_eq!(incident.first_bad_block, bad);
    assert_eq!(incident.bound.unwrap().magnitude, U256::from(6_000), "six deviations");
    assert!(incident.observed.unwrap().magnitude > U256::from(6_000));
    // A spot rule: the guard saw it twice.
    let kinds = store
        .intents()
        .await
        .unwrap()
        .into_iter()
        .map(|intent| (intent.kind, intent.outcome));
    let kinds: Vec<_> = kinds.filter(|(kind, _)| *kind == IntentKind::Trip).collect();
    assert_eq!(
        kinds,
        [
            (IntentKind::Trip, Some(Outcome::Observed)),
            (IntentKind::Trip, Some(Outcome::Done))
        ]
    );
    process.kill();
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_set_is_contained_by_the_keeper_and_undone_when_its_time_is_over() {
    let (world, inbox) = world_with_people(&SET).await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    world.set(GAUGE, 5_000).await;
    until("both scopes are contained", || async {
        world.level(0).await == Level::ReduceOnly && world.level(1).await == Level::ReduceOnly
    })
    .await;
    assert_eq!(world.get(STOPPED).await, U256::from(1));
    until("the playbook is done", || async {
        let runs = store.playbook_runs(1).await.unwrap();
        runs.iter().any(|run| run.playbook == "stop" && run.state == "done")
    })
    .await;
    let intents = store.intents().await.unwrap();
    let sets: Vec<_> = intents
        .iter()
        .filter(|intent| intent.kind == IntentKind::ContainSet)
        .collect();
    assert_eq!(sets.len(), 1, "once: {intents:#?}");
    assert_eq!(sets[0].outcome, Some(Outcome::Done));
    let incident = store.incident(1).await.unwrap().unwrap();
    assert!(
        incident
            .timeline
            .iter()
            .any(|entry| entry.text.contains("all of it stands still")),
        "{incident:#?}"
    );
    assert!(is_told(&inbox, "opened", "gauge-low"));

    // Each level runs out one step at a time, and what the guard did is undone by the keeper.
    world.set(GAUGE, 1).await;
    world.rpc("evm_increaseTime", json!([11 * 60])).await;
    until("the board goes on", || async { world.get(STOPPED).await == U256::ZERO }).await;
    world.rpc("evm_increaseTime", json!([40 * 60])).await;
    until("nothing is raised", || async {
        world.level(0).await == Level::Normal && world.level(1).await == Level::Normal
    })
    .await;
    until("all incidents are closed", || async {
        let incidents = store.incidents().await.unwrap();
        incidents.iter().all(|incident| incident.state == IncidentState::Closed)
    })
    .await;
    process.kill();
    world.node.stop().await.unwrap();
}
