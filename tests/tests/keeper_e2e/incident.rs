//! From the breach to the settled incident.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard;
use cordon_core::level::Level;
use cordon_keeper::chain::Rpc;
use cordon_keeper::record::{IncidentState, IntentKind, Outcome, Store};
use cordon_keeper::rules::scope_at;
use cordon_keeper::{KeeperEvent, Signers};
use serde_json::json;

use crate::board::{Board, GAUGE, STOPPED};
use crate::world::{
    GAUGE_RULE, GUARDIAN, KEEPER, OTHER, Rules, USER, World, account_solvent, at_most, key, stop_board, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_contained_one_block_later_and_reported() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    let height = world.height().await;
    keeper.done(height).await;
    let bad = world.set(GAUGE, 5_000).await;
    let decided = keeper
        .event("decision", |event| matches!(event, KeeperEvent::Decided { .. }))
        .await;
    let KeeperEvent::Decided {
        rule,
        block,
        head_to_decision,
        ..
    } = decided
    else {
        unreachable!()
    };
    assert_eq!((rule.as_str(), block), ("gauge-low", bad));
    assert!(head_to_decision < Duration::from_millis(250), "{head_to_decision:?}");
    let (contained, _) = keeper.contained().await;
    assert!(contained <= bad + 1, "bad {bad}, contained {contained}");
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    assert_eq!(world.get(STOPPED).await, U256::from(1));

    keeper.done(contained).await;
    until("the chain's events are in the incident", || async {
        !keeper.incident().await.closures.is_empty()
    })
    .await;
    let incident = keeper.incident().await;
    assert_eq!(incident.state, IncidentState::Contained);
    assert_eq!(
        (incident.first_bad_block, incident.contained_block),
        (bad, Some(contained))
    );
    assert_eq!(incident.observed.unwrap().magnitude, U256::from(5_000));
    assert_eq!(incident.bound.unwrap().magnitude, U256::from(100));
    assert_eq!(incident.chain_incident, Some(1));
    assert!(
        incident.decision_to_broadcast.unwrap() < Duration::from_millis(250),
        "{incident:?}"
    );
    assert_eq!(incident.transactions.len(), 1);
    assert_eq!(incident.transactions[0].status, "succeeded");
    assert_eq!(incident.closures[0].cause, "stop-board");

    let path = world.dir.path().join("incidents/incident-0001.md");
    let parts = [
        "gauge-low",
        "| observed | 5000 |",
        "| bound | 100 |",
        "stop-board",
        "Increase",
        "still closed",
        "level raised",
    ];
    // It is written after the record.
    until("the report says it too", || async {
        let report = std::fs::read_to_string(&path).unwrap_or_default();
        parts.iter().all(|part| report.contains(part))
    })
    .await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_scopes_that_are_breached_in_one_block_are_contained_in_the_next() {
    let world = World::new(&Rules(concat!(
        at_most!("gauge-low", "market", "get(0)", ""),
        at_most!("books-low", "protocol", "get(5)", ""),
        stop_board!()
    )))
    .await;
    let keeper = world.keeper().await;
    world.reach(world.height().await + 2).await;
    world.rpc("evm_setIntervalMining", json!([0])).await;
    world.rpc("evm_setAutomine", json!([false])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pending = || async { world.rpc("txpool_status", json!([])).await["pending"].clone() };
    for (from, place) in [(USER, 0), (OTHER, 5)] {
        let data = Board::setCall {
            key: U256::from(place),
            value: U256::from(5_000),
        };
        let tx = TransactionRequest::default()
            .with_from(key(from).address())
            .with_to(world.board)
            .with_input(data.abi_encode());
        let _ = world.provider.send_transaction(tx).await.unwrap();
    }
    until("both in the pool", || async { pending().await == "0x2" }).await;
    world.rpc("evm_mine", json!([])).await;
    let bad = world.height().await;
    // Nothing is mined meanwhile: the second does not wait for the first.
    until("both trips in the pool", || async { pending().await == "0x2" }).await;
    world.rpc("evm_mine", json!([])).await;
    for scope in [0, 1] {
        assert_eq!(
            world.level(scope).await,
            ICordonGuard::Level::ReduceOnly,
            "scope {scope}"
        );
    }
    until("both are in the record", || async {
        let intents = keeper.store.intents().await.unwrap();
        intents.len() == 2 && intents.iter().all(|intent| intent.outcome == Some(Outcome::Done))
    })
    .await;
    assert_eq!((world.height().await, world.nonce(KEEPER).await), (bad + 1, 2));
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_breach_costs_one_transaction_and_a_second_keeper_none() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    let bad = world.set(GAUGE, 5_000).await;
    let (contained, _) = keeper.contained().await;
    assert!(contained > bad);
    world.reach(contained + 8).await;
    keeper.done(contained + 6).await;
    assert_eq!(world.nonce(KEEPER).await, 1, "one transaction");
    assert_eq!(keeper.store.intents().await.unwrap().len(), 1);

    let path = world.dir.path().join("other.db");
    let store = Store::open(path, world.node.chain_id(), world.guard).await.unwrap();
    let signers = Signers::local(key(OTHER), None);
    let mut other = world.keeper_with(world.options(), store, signers).await.unwrap();
    let height = world.height().await;
    other.done(height + 4).await;
    assert_eq!(
        world.nonce(OTHER).await,
        0,
        "a level that is held already is left alone"
    );
    other.stop().await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keepers_race_and_the_guard_is_tripped_once() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    let path = world.dir.path().join("other.db");
    let store = Store::open(path, world.node.chain_id(), world.guard).await.unwrap();
    let signers = Signers::local(key(OTHER), None);
    let mut other = world.keeper_with(world.options(), store, signers).await.unwrap();
    let height = world.height().await;
    keeper.done(height).await;
    other.done(height).await;
    world.set(GAUGE, 5_000).await;
    let ended = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Finished {
                kind: IntentKind::Trip,
                ..
            }
        )
    };
    let first = keeper.event("an end", ended).await;
    let second = other.event("an end", ended).await;
    let outcomes: Vec<Outcome> = [first, second]
        .into_iter()
        .map(|event| match event {
            KeeperEvent::Finished { outcome, .. } => outcome,
            _ => unreachable!(),
        })
        .collect();
    assert!(outcomes.contains(&Outcome::Done), "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .all(|o| matches!(o, Outcome::Done | Outcome::AlreadyHeld)),
        "{outcomes:?}"
    );
    let incident = ICordonGuard::new(world.guard, &world.provider)
        .scopeStatus(1)
        .call()
        .await
        .unwrap()
        .incident;
    assert_eq!(incident, 1);
    other.stop().await;
    keeper.stop().await;
}

const WITNESS_RULE: Rules = Rules(concat!(account_solvent!(), stop_board!()));

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_an_event_named_is_remembered_and_is_the_witness() {
    let world = World::new(&WITNESS_RULE).await;
    let mut keeper = world.keeper().await;
    for index in 1..=40 {
        let account = Address::with_last_byte(index);
        world
            .send(USER, world.board, Board::touchCall { account }.abi_encode())
            .await;
    }
    until("all are remembered", || async {
        keeper.store.witness_count(0).await.unwrap() == 40
    })
    .await;
    // No event names it when it goes bad: it is found when its turn comes.
    let bad = world.set(U256::from(17), 101).await;
    let (contained, _) = keeper.contained().await;
    assert!(
        contained <= bad + 3,
        "bad {bad}, contained {contained}: 40 accounts are looked at in two blocks"
    );
    let incident = keeper.incident().await;
    assert_eq!(incident.witness, [Address::with_last_byte(17).into_word()]);
    keeper.stop().await;
}

const SPOT_RULE: Rules = Rules(concat!(
    r#"
[[invariant]]
id       = "gauge-spot"
scope    = "market"
rule     = "board.get(0) <= 100"
level    = "ReduceOnly"
severity = "P2"
"#,
    stop_board!()
));

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_rule_needs_two_observations_and_stops_at_reduce_only() {
    let world = World::new(&SPOT_RULE).await;
    let mut keeper = world.keeper().await;
    world.set(GAUGE, 5_000).await;
    let observed = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Finished {
                outcome: Outcome::Observed,
                ..
            }
        )
    };
    keeper.event("the first observation", observed).await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::Normal);
    keeper.contained().await;
    let incident = keeper.incident().await;
    let times: Vec<u64> = incident
        .timeline
        .iter()
        .filter(|e| e.kind == "observed" || e.kind == "contained")
        .filter_map(|e| e.block_time)
        .collect();
    assert!(times.len() == 2 && times[1] >= times[0] + 2, "{times:?}");
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    assert_eq!(world.nonce(KEEPER).await, 2);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_did_is_taken_back_after_expiry_and_the_incident_closes() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    world.set(GAUGE, 1).await;
    // ReduceOnly holds for an hour, then Throttled and Grace for an hour each.
    world.rpc("evm_increaseTime", json!([3_700])).await;
    keeper
        .event("settlement", |event| {
            matches!(
                event,
                KeeperEvent::Finished {
                    kind: IntentKind::Settle,
                    outcome: Outcome::Done,
                    ..
                }
            )
        })
        .await;
    assert_eq!(world.get(STOPPED).await, U256::ZERO);
    until("the closure has an end", || async {
        keeper.incident().await.closures.iter().all(|c| c.to_block.is_some())
    })
    .await;
    world.rpc("evm_increaseTime", json!([2 * 3_600])).await;
    until("the incident closes", || async {
        keeper.incident().await.state == IncidentState::Closed
    })
    .await;
    let incident = keeper.incident().await;
    assert!(incident.ended_block.is_some());
    let lasted = incident.closures[0].to_time.unwrap() - incident.closures[0].from_time;
    assert!((3_600..4_000).contains(&lasted), "{lasted} s");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guardian_does_is_in_the_record_too() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    let height = world.height().await;
    keeper.done(height).await;
    let call = ICordonGuard::containCall {
        scope: 1,
        level: ICordonGuard::Level::ReduceOnly,
        duration: 600,
        evidence: Default::default(),
    };
    let block = world
        .send(GUARDIAN, world.guard, call.abi_encode())
        .await
        .block_number
        .unwrap();
    keeper.done(block).await;
    let incident = keeper.incident().await;
    assert_eq!(
        (incident.state, incident.rule, incident.contained_block),
        (IncidentState::Contained, None, Some(block))
    );
    let raised = incident
        .timeline
        .iter()
        .find(|entry| entry.kind == "level raised")
        .unwrap();
    assert!(
        raised.text.contains(&key(GUARDIAN).address().to_string()),
        "{}",
        raised.text
    );
    // The guard's own word says when it steps down: each step is as long as what was paid for.
    let rpc = Rpc::new(&world.options().rpc, world.node.chain_id(), Duration::from_secs(3)).unwrap();
    let held = scope_at(&rpc, world.guard, block.into(), 1).await.unwrap();
    assert!(held.state.is_some(), "{held:?}");
    let ends = [Level::ReduceOnly, Level::Throttled, Level::Grace].map(|level| held.held_until(level));
    assert_eq!(ends, [0, 600, 1_200].map(|later| held.expires_at + later));
    assert_eq!(world.nonce(KEEPER).await, 0);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_does_not_fight_a_guardian_over_a_breach_that_was_judged() {
    let world = World::new(&WITNESS_RULE).await;
    let mut keeper = world.keeper().await;
    let touch = |byte| {
        Board::touchCall {
            account: Address::with_last_byte(byte),
        }
        .abi_encode()
    };
    world.set(U256::from(17), 5_000).await;
    world.send(USER, world.board, touch(17)).await;
    keeper.contained().await;
    // The bad debt stays; the guardian has seen it and opens again all the same.
    world
        .send(
            GUARDIAN,
            world.guard,
            ICordonGuard::queueReleaseCall { scope: 1 }.abi_encode(),
        )
        .await;
    world.rpc("evm_increaseTime", json!([16 * 60])).await;
    let height = world.height().await;
    world.reach(height + 2).await;
    let released = world
        .send(
            GUARDIAN,
            world.guard,
            ICordonGuard::releaseCall { scope: 1 }.abi_encode(),
        )
        .await;
    let released = released.block_number.unwrap();
    keeper.done(released + 8).await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::Grace, "left to the guardian");
    assert_eq!(world.get(STOPPED).await, U256::ZERO);
    assert_eq!(keeper.incident().await.state, IncidentState::Released);
    assert_eq!(world.nonce(KEEPER).await, 1);
    // Another account is another matter.
    world.set(U256::from(18), 5_000).await;
    world.send(USER, world.board, touch(18)).await;
    keeper.contained().await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    keeper.stop().await;
}
