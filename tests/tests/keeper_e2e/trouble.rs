//! Reads that fail, calls that fail, chains that change their mind.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::{U256, hex};
use alloy::sol_types::SolCall;
use cordon_client::config::Respond;
use cordon_client::guard::ICordonGuard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{Alarm, AlarmKind, IncidentState, IntentKind, Outcome};
use cordon_keeper::{KeeperEvent, Options};
use cordon_node::NodeConfig;
use serde_json::json;

use crate::board::{Board, GAUGE, MOOD, STOPPED};
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, Rules, USER, World, at_most, key, stop_board, until};

const TWO_RULES: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)"),
    at_most!("shy-low", "market", "shy(3)", r#"severity = "P2""#),
    stop_board!("market", "stubborn")
));

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_read_is_unknown_and_alarmed_and_blinds_no_other() {
    let world = World::new(&TWO_RULES).await;
    let mut keeper = world.keeper().await;
    let block = world.set(MOOD, 1).await;
    let unknown = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Alarm {
                kind: AlarmKind::RuleUnknown,
                ..
            }
        )
    };
    let KeeperEvent::Alarm { subject, .. } = keeper.event("an alarm", unknown).await else {
        unreachable!()
    };
    assert_eq!(subject, "shy-low");
    keeper.done(block + 2).await;
    let tip = keeper.store.window(1).await.unwrap().remove(0);
    let verdicts = keeper.store.verdicts(tip.hash).await.unwrap().unwrap();
    let of = |rule: u16| verdicts.iter().find(|v| v.rule == rule).unwrap().reading.verdict;
    assert_eq!((of(0), of(1)), (Verdict::Holds, Verdict::Unknown));
    assert_eq!(
        world.level(1).await,
        ICordonGuard::Level::Normal,
        "Unknown raises nothing"
    );

    world.set(MOOD, 0).await;
    let known = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::AlarmCleared {
                kind: AlarmKind::RuleUnknown,
                ..
            }
        )
    };
    keeper.event("the end of the alarm", known).await;
    let alarms = keeper.store.alarms().await.unwrap();
    assert_eq!(
        alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::RuleUnknown.name())
            .count(),
        1,
        "{alarms:?}"
    );
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_call_that_failed_is_run_again() {
    let world = World::new(&TWO_RULES).await;
    let mut keeper = world.keeper().await;
    world.set(MOOD, 1).await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    until("the failure is known", || async {
        keeper
            .store
            .alarms()
            .await
            .unwrap()
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::ContainmentFailed.name())
    })
    .await;
    assert_eq!(world.get(STOPPED).await, U256::ZERO);
    world.set(MOOD, 0).await;
    let again = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Finished {
                kind: IntentKind::Retry,
                outcome: Outcome::Done,
                ..
            }
        )
    };
    keeper.event("another attempt", again).await;
    until("it took effect", || async { world.get(STOPPED).await == U256::from(1) }).await;
    until("the alarm is cleared", || async {
        let alarms = keeper.store.alarms().await.unwrap();
        alarms
            .iter()
            .filter(|a| a.kind == AlarmKind::ContainmentFailed.name())
            .all(|a| a.cleared_ms.is_some())
    })
    .await;
    let incident = keeper.incident().await;
    let kinds: BTreeSet<&str> = incident.timeline.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(
        kinds.contains("containment failed") && kinds.contains("containment applied"),
        "{kinds:?}"
    );
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_that_is_reorganised_away_is_made_again() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    // The clock stands still around the snapshot, or the trip would be in it now and then.
    world.rpc("evm_setIntervalMining", json!([0])).await;
    let data = Board::setCall {
        key: GAUGE,
        value: U256::from(5_000),
    };
    let tx = json!({ "from": key(USER).address(), "to": world.board, "data": hex::encode_prefixed(data.abi_encode()) });
    world.rpc("eth_sendTransaction", json!([tx])).await;
    world.rpc("evm_mine", json!([])).await;
    let snapshot = world.rpc("evm_snapshot", json!([])).await;
    world.rpc("evm_setIntervalMining", json!([0.25])).await;
    let (first, _) = keeper.contained().await;
    keeper.done(first + 1).await;
    // The chain goes back to before the trip, and on without it.
    world.rpc("evm_revert", json!([snapshot])).await;
    keeper.contained().await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    assert_eq!(world.get(STOPPED).await, U256::from(1));
    let incident = keeper.incident().await;
    assert_eq!(incident.state, IncidentState::Contained);
    assert!(
        incident.timeline.iter().any(|entry| entry.kind == "reorganised"),
        "{:#?}",
        incident.timeline
    );
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_be_answered_by_authority_once_the_heartbeat_is_fresh() {
    let world = World::new(&Rules(concat!(
        at_most!("gauge-low", "market", "get(0)", r#"respond = "contain""#),
        stop_board!()
    )))
    .await;
    let mut keeper = world.keeper().await;
    until("the heartbeat is there", || async {
        ICordonGuard::new(world.guard, &world.provider)
            .lastHeartbeat()
            .call()
            .await
            .unwrap()
            > 0
    })
    .await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    let intents = keeper.store.intents().await.unwrap();
    assert_eq!(intents[0].kind, IntentKind::Contain);
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    assert_eq!(world.nonce(KEEPER).await, 1);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_chain_that_makes_blocks_only_when_asked_heartbeats_go_on() {
    let node = NodeConfig {
        silent: true,
        ..NodeConfig::default()
    };
    let world = World::with(&GAUGE_RULE, node).await;
    let options = Options {
        stale_head: Duration::from_secs(2),
        heartbeat: Duration::from_secs(4),
        ..world.options()
    };
    let keeper = world
        .keeper_with(options, world.store().await, World::signers())
        .await
        .unwrap();
    let begun = world.height().await;
    until("three heartbeats", || async { world.nonce(HEARTBEAT).await >= 3 }).await;
    assert!(world.height().await >= begun + 3, "each makes a block");
    // That no block comes is said all the same: a chain that stands still looks like that too.
    until("people are told", || async {
        let alarms = keeper.store.alarms().await.unwrap();
        alarms.iter().any(|alarm| alarm.kind == AlarmKind::Stale.name())
    })
    .await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_goes_on_by_polling_when_its_websocket_is_wrong() {
    let world = World::new(&GAUGE_RULE).await;
    let options = Options {
        ws: Some("ws://127.0.0.1:1".to_owned()),
        ..world.options()
    };
    let mut keeper = world
        .keeper_with(options, world.store().await, World::signers())
        .await
        .unwrap();
    let polling = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Alarm {
                kind: AlarmKind::Polling,
                ..
            }
        )
    };
    keeper.event("the alarm", polling).await;
    let bad = world.set(GAUGE, 5_000).await;
    let (contained, _) = keeper.contained().await;
    assert!(contained <= bad + 3, "bad {bad}, contained {contained}");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_refuses_for_good_is_one_page_and_is_tried_less_and_less_often() {
    let mut world = World::new(&GAUGE_RULE).await;
    // The guard takes nothing from a keeper that is over within a minute.
    world.compiled.rules[0].respond = Respond::Contain;
    world.compiled.rules[0].duration = 1;
    let options = Options {
        cooldown: 1,
        ..world.options()
    };
    let mut keeper = world
        .keeper_at_head(options, world.store().await, World::signers())
        .await;
    world.set(GAUGE, 5_000).await;
    let refused = |event: &KeeperEvent| matches!(event, KeeperEvent::Alarm { kind: AlarmKind::ActionRefused, subject, .. } if subject == "gauge-low");
    keeper.event("the page", refused).await;
    let bad = world.height().await;
    keeper.done(bad + 32).await;
    // Nobody else is configured to do it: people hear that too, once.
    let open = keeper.store.open_alarms().await.unwrap();
    assert!(
        open.contains(&(AlarmKind::NotContained, "market".to_owned())),
        "{open:?}"
    );
    let count = |alarms: &[Alarm]| {
        let of = alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::ActionRefused.name());
        (
            of.clone().count(),
            of.filter(|alarm| alarm.cleared_ms.is_none()).count(),
        )
    };
    assert_eq!(count(&keeper.store.alarms().await.unwrap()), (1, 1));
    let tried = keeper.store.intents().await.unwrap();
    assert!((2..=5).contains(&tried.len()), "after 1, 2, 4 seconds: {tried:#?}");
    assert!(tried.iter().all(|intent| intent.outcome != Some(Outcome::Done)));
    let lines = keeper.incident().await.timeline;
    assert_eq!(
        lines.iter().filter(|line| line.kind == "refused").count(),
        1,
        "{lines:#?}"
    );

    world.set(GAUGE, 1).await;
    until("nothing is left of it", || async {
        // That the action would fail if it were needed is another matter, and stays so.
        let open = keeper.store.open_alarms().await.unwrap();
        open.iter().all(|(kind, _)| *kind == AlarmKind::NotReady)
            && count(&keeper.store.alarms().await.unwrap()) == (1, 0)
            && keeper.incident().await.state == IncidentState::Closed
    })
    .await;
    keeper.stop().await;
}
