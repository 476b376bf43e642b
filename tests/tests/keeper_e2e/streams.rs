//! The keeper has the guard store what rules compare with, and sees a drift by it.

use std::time::Duration;

use alloy::primitives::U256;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::AlarmKind;
use serde_json::json;

use crate::world::{HEARTBEAT, KEEPER, Rules, USER, World, stop_board, until};

const DRIFT: Rules = Rules(concat!(
    r#"
[[invariant]]
id       = "gauge-steady"
scope    = "market"
rule     = "near(board.get(0), anchor(board.get(0), 1 min, 1000, 100000), 10 %)"
level    = "ReduceOnly"
severity = "P1"
"#,
    stop_board!()
));

async fn stream(world: &World) -> ICordonGuard::Stream {
    let guard = ICordonGuard::new(world.guard, &world.provider);
    guard.stream(0).call().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_observes_streams_and_trips_on_a_drift() {
    let world = World::new(&DRIFT).await;
    world.set(U256::ZERO, 10_000).await;
    let beats = world.nonce(HEARTBEAT).await;
    let keeper = world.keeper().await;
    until("an observation", || async { stream(&world).await.observedAt > 0 }).await;
    // A stranger lies for a transaction, and the keeper takes that back without being asked to.
    world.set(U256::ZERO, 90_000).await;
    let begun = stream(&world).await.observedAt;
    until("the lie", || async { stream(&world).await.observedAt > begun }).await;
    world.set(U256::ZERO, 10_000).await;
    let lied = stream(&world).await.observedAt;
    until("the truth", || async { stream(&world).await.observedAt > lied }).await;
    world.rpc("evm_increaseTime", json!([61])).await;
    until("two observations that agree", || async {
        stream(&world).await.fresh == U256::from(10_000)
    })
    .await;
    // By the account of the heartbeat: the one that pauses has nothing in flight.
    assert!(world.nonce(HEARTBEAT).await >= beats + 4);
    let sent = world.nonce(KEEPER).await;
    world.rpc("evm_increaseTime", json!([61])).await;
    until("an anchor", || async { stream(&world).await.known }).await;
    assert_eq!(world.nonce(KEEPER).await, sent);
    // Each step is small; the anchor remembers.
    for value in (10_100..=11_300).step_by(100) {
        world.set(U256::ZERO, value).await;
    }
    until("the containment", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly && world.get(U256::from(1)).await == U256::from(1)
    })
    .await;
    assert!(world.nonce(USER).await > 12);
    // Frozen as long as the level holds, which is no reason for an alarm.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alarms = keeper.store.alarms().await.unwrap();
    assert!(
        alarms.iter().all(|alarm| alarm.kind != AlarmKind::Streams.name()),
        "{alarms:?}"
    );
    keeper.stop().await;
    world.node.stop().await.unwrap();
}
