//! What is to be sent late: what it was decided for may be over by then.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use alloy::primitives::U256;
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use cordon_client::config::Maintenance;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::Options;
use cordon_keeper::record::{IncidentState, IntentKind, Outcome, Store};
use serde_json::json;

use crate::board::GAUGE;
use crate::process::{Process, watching};
use crate::world::{HEARTBEAT, KEEPER, Rules, Running, World, at_most, key, outcomes, stop_board, until};

const CONTAINED: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)", r#"respond = "contain""#),
    stop_board!()
));

async fn has_heartbeat(world: &World) {
    until("the heartbeat is there", || async {
        let guard = ICordonGuard::new(world.guard, &world.provider);
        guard.lastHeartbeat().call().await.unwrap() > 0
    })
    .await;
}

async fn fund(world: &World, balance: U256) {
    let params = json!([key(KEEPER).address(), balance]);
    world.rpc("anvil_setBalance", params).await;
}

/// A keeper that cannot pay, and what it has decided.
async fn broke(world: &World) -> Running {
    let mut options = world.options();
    options.deliver.deadline = Duration::from_secs(2);
    let keeper = world
        .keeper_at_head(options, world.store().await, World::signers())
        .await;
    has_heartbeat(world).await;
    fund(world, U256::ZERO).await;
    world.set(GAUGE, 5_000).await;
    until("it is decided", || async { decided(&keeper.store).await == 1 }).await;
    until("it is tried in vain", || async {
        let alarms = keeper.store.alarms().await.unwrap();
        alarms.iter().any(|alarm| alarm.kind == "action-delayed")
    })
    .await;
    keeper
}

/// How often the guard has raised a level.
async fn raised(world: &World) -> usize {
    let filter = Filter::new()
        .address(world.guard)
        .event_signature(ICordonGuard::LevelRaised::SIGNATURE_HASH)
        .from_block(0);
    world.provider.get_logs(&filter).await.unwrap().len()
}

/// Actions that are open.
async fn decided(store: &Store) -> usize {
    store.open_intents().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_that_could_not_be_sent_is_given_up_when_its_rule_holds_again() {
    let world = World::new(&CONTAINED).await;
    let mut keeper = broke(&world).await;
    world.set(GAUGE, 1).await;
    until("it is over", || async { decided(&keeper.store).await == 0 }).await;
    let intent = keeper.store.intents().await.unwrap().remove(0);
    assert_eq!(
        (intent.kind, intent.outcome),
        (IntentKind::Contain, Some(Outcome::HoldsAgain))
    );
    until("the incident is closed", || async {
        keeper.incident().await.state == IncidentState::Closed
    })
    .await;
    fund(&world, U256::from(10).pow(U256::from(18))).await;
    let height = world.height().await;
    world.reach(height + 4).await;
    assert_eq!(raised(&world).await, 0);

    // A breach that comes back is another one, at once.
    world.set(GAUGE, 6_000).await;
    keeper.contained().await;
    let ended = outcomes(&keeper.store).await;
    assert_eq!(ended, [Some(Outcome::HoldsAgain), Some(Outcome::Done)]);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_that_could_not_be_sent_is_sent_when_it_can_be_while_its_breach_lasts() {
    let world = World::new(&CONTAINED).await;
    let mut keeper = broke(&world).await;
    fund(&world, U256::from(10).pow(U256::from(18))).await;
    keeper.contained().await;
    assert_eq!(outcomes(&keeper.store).await, [Some(Outcome::Done)]);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_of_an_earlier_run_is_given_up_when_its_rule_holds_again() {
    let world = World::new(&CONTAINED).await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[("CORDON_FAIL_POINT", "after-decision")]);
    watching(&world, &store).await;
    until("the heartbeat is there", || async { world.nonce(HEARTBEAT).await == 1 }).await;
    world.set(GAUGE, 5_000).await;
    until("it is decided", || async { decided(&store).await == 1 }).await;
    assert_eq!(process.kill().signal(), Some(9), "SIGKILL");
    // Long enough for the newest block to be looked at first.
    let height = world.height().await;
    world.reach(height + 20).await;
    world.set(GAUGE, 1).await;
    let mut process = Process::start(&world, &[]);
    until("it is over", || async { decided(&store).await == 0 }).await;
    until("the incident is closed", || async {
        store.incidents().await.unwrap()[0].state == IncidentState::Closed
    })
    .await;
    assert_eq!((raised(&world).await, world.nonce(KEEPER).await), (0, 0));
    // In the blocks that are caught up with it is breached, and decided on.
    let ended = outcomes(&store).await;
    assert!(ended.iter().all(|end| *end == Some(Outcome::HoldsAgain)), "{ended:?}");
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_late_for_a_rule_that_is_in_maintenance_by_then() {
    let world = World::new(&CONTAINED).await;
    let keeper = broke(&world).await;
    keeper.stop().await;
    fund(&world, U256::from(10).pow(U256::from(18))).await;
    let options = Options {
        maintenance: vec![Maintenance {
            from: 0,
            to: u64::MAX,
            watches: Vec::new(),
            invariants: vec!["gauge-low".to_owned()],
            reason: "the gauge is exchanged".to_owned(),
        }],
        ..world.options()
    };
    let keeper = world
        .keeper_at_head(options, world.store().await, World::signers())
        .await;
    until("it is over", || async { decided(&keeper.store).await == 0 }).await;
    let incident = keeper.incident().await;
    let last = incident.timeline.last().unwrap();
    assert!(
        last.text.contains("gauge-low is in maintenance"),
        "{:#?}",
        incident.timeline
    );
    until("the breach is recorded", || async {
        outcomes(&keeper.store).await == [Some(Outcome::Recorded); 2]
    })
    .await;
    assert_eq!(raised(&world).await, 0);
    keeper.stop().await;
}
