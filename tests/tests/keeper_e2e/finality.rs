//! Rules that are evaluated on the newest block that the chain calls safe or final, on a chain whose tags lag.

use std::time::Duration;

use alloy::primitives::U256;
use cordon_client::guard::ICordonGuard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::Options;
use cordon_keeper::record::{IncidentState, Store};
use cordon_node::NodeConfig;
use serde_json::json;

use crate::board::GAUGE;
use crate::world::{HEARTBEAT, KEEPER, Rules, Running, World, at_most, stop_board, until};

/// How far `safe` lags behind the head; `finalized` lags twice as far.
const LAG: u64 = 8;

/// One rule on what is safe, in one scope, and one on what is final, in another.
const SETTLED: Rules = Rules(concat!(
    at_most!(
        "gauge-safe",
        "market",
        "get(0)",
        "severity = \"P1\"\nfinality = \"safe\""
    ),
    at_most!(
        "other-final",
        "protocol",
        "get(2)",
        "severity = \"P1\"\nfinality = \"finalized\""
    ),
    stop_board!()
));

const OTHER_KEY: U256 = U256::from_limbs([2, 0, 0, 0]);

/// A chain that is mined by hand and whose final block has the guard.
async fn lagging() -> World {
    let node = NodeConfig {
        silent: true,
        slots_in_an_epoch: LAG,
        ..NodeConfig::default()
    };
    let world = World::with(&SETTLED, node).await;
    mine(&world, 3 * LAG).await;
    world
}

async fn mine(world: &World, blocks: u64) {
    for _ in 0..blocks {
        world.rpc("evm_mine", json!([])).await;
    }
}

/// A keeper whose first heartbeat is in a block: from then on for minutes nobody makes blocks but the test.
async fn keeper(world: &World) -> Running {
    let keeper = world.keeper().await;
    until("the heartbeat is there", || async {
        let guard = ICordonGuard::new(world.guard, &world.provider);
        guard.lastHeartbeat().call().await.unwrap() != 0
    })
    .await;
    let height = world.height().await;
    followed(&keeper.store, height).await;
    keeper
}

/// Replaces the newest blocks by empty ones; what was in them is gone for good.
async fn reorg(world: &World, depth: u64) {
    world.rpc("evm_setAutomine", json!([false])).await;
    world.rpc("anvil_reorg", json!([depth, []])).await;
    world.rpc("anvil_dropAllTransactions", json!([])).await;
    world.rpc("evm_setAutomine", json!([true])).await;
}

/// Waits until the keeper has walked to this height.
async fn followed(store: &Store, height: u64) {
    until("the block is evaluated in its turn", || async {
        let window = store.window(1).await.unwrap();
        window.last().is_some_and(|block| block.number >= height)
    })
    .await;
}

async fn verdict(store: &Store, number: u64, rule: u16) -> Verdict {
    let window = store.window(1_000).await.unwrap();
    let block = window.iter().find(|block| block.number == number).unwrap();
    let verdicts = store.verdicts(block.hash).await.unwrap().unwrap();
    verdicts
        .iter()
        .find(|verdict| verdict.rule == rule)
        .unwrap()
        .reading
        .verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_decided_on_when_its_block_is_safe_or_final_and_not_before() {
    let world = lagging().await;
    let mut keeper = keeper(&world).await;
    let bad = world.set(GAUGE, 5_000).await;
    mine(&world, LAG - 1).await;
    followed(&keeper.store, bad + LAG - 1).await;
    assert_eq!(verdict(&keeper.store, bad + LAG - 1, 0).await, Verdict::Holds);
    assert!(keeper.store.incidents().await.unwrap().is_empty(), "not yet");
    mine(&world, 1).await;
    keeper.contained().await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    let incident = keeper.incident().await;
    assert!(incident.opened_block >= bad + LAG, "{} of {bad}", incident.opened_block);

    let bad = world.set(OTHER_KEY, 5_000).await;
    mine(&world, 2 * LAG - 1).await;
    followed(&keeper.store, bad + 2 * LAG - 1).await;
    assert_eq!(world.level(0).await, ICordonGuard::Level::Normal);
    mine(&world, 1).await;
    until("the protocol is contained", || async {
        world.level(0).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reorg_above_the_tag_takes_back_was_never_a_breach() {
    let world = lagging().await;
    let keeper = keeper(&world).await;
    let bad = world.set(GAUGE, 5_000).await;
    mine(&world, 2).await;
    followed(&keeper.store, bad + 2).await;
    reorg(&world, 3).await;
    assert_eq!(world.get(GAUGE).await, U256::ZERO, "it is gone");
    mine(&world, 2 * LAG).await;
    followed(&keeper.store, bad + 2 + 2 * LAG).await;
    for number in bad..=bad + 2 + 2 * LAG {
        assert_eq!(verdict(&keeper.store, number, 0).await, Verdict::Holds, "{number}");
    }
    assert!(keeper.store.incidents().await.unwrap().is_empty());
    assert!(
        keeper
            .store
            .notices(100)
            .await
            .unwrap()
            .iter()
            .all(|notice| notice.incident.is_none())
    );
    assert_eq!(world.nonce(KEEPER).await, 0);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_below_the_tag_is_seen_and_the_keeper_goes_on() {
    let world = lagging().await;
    let mut keeper = keeper(&world).await;
    let bad = world.set(GAUGE, 5_000).await;
    mine(&world, LAG).await;
    keeper.contained().await;
    let height = world.height().await;
    // The chain takes back what it had called safe, with all that followed of it.
    reorg(&world, height - bad + 1).await;
    mine(&world, LAG).await;
    let height = world.height().await;
    followed(&keeper.store, height).await;
    assert_eq!(verdict(&keeper.store, height, 0).await, Verdict::Holds);
    until("nothing is left to do", || async {
        mine(&world, 1).await;
        let incidents = keeper.store.incidents().await.unwrap();
        let over = incidents.iter().all(|incident| incident.state == IncidentState::Closed);
        over && keeper.store.open_intents().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::Normal);
    world.set(GAUGE, 6_000).await;
    mine(&world, LAG).await;
    until("the next breach is contained", || async {
        mine(&world, 1).await;
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_become_safe_during_a_downtime_is_evaluated_block_by_block() {
    let world = lagging().await;
    let keeper = world.keeper().await;
    let height = world.height().await;
    followed(&keeper.store, height).await;
    let store = keeper.store.clone();
    keeper.stop().await;
    // One block that was bad, long safe when the keeper comes back.
    let bad = world.set(GAUGE, 5_000).await;
    world.set(GAUGE, 1).await;
    mine(&world, 3 * LAG).await;
    let keeper = world.keeper().await;
    let height = world.height().await;
    followed(&keeper.store, height).await;
    assert_eq!(verdict(&store, bad, 0).await, Verdict::Breached);
    assert_eq!(verdict(&store, bad + 1, 0).await, Verdict::Holds);
    let incidents = store.incidents().await.unwrap();
    assert_eq!((incidents.len(), incidents[0].opened_block), (1, bad));
    keeper.stop().await;
}

/// The heartbeat's account hears of reorgs too: its next transaction would wait for one that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_a_reorg_has_taken_back_is_followed_by_one_with_its_nonce() {
    let world = lagging().await;
    let options = Options {
        heartbeat: Duration::from_secs(6),
        ..world.options()
    };
    let keeper = world.keeper_with(options, world.store().await, World::signers()).await;
    let keeper = keeper.unwrap();
    until("the first heartbeat", || async { world.nonce(HEARTBEAT).await == 1 }).await;
    followed(&keeper.store, world.height().await).await;
    reorg(&world, 1).await;
    mine(&world, 1).await;
    assert_eq!(world.nonce(HEARTBEAT).await, 0, "it is gone");
    let guard = ICordonGuard::new(world.guard, &world.provider);
    until("the next heartbeat", || async {
        guard.lastHeartbeat().call().await.unwrap() != 0
    })
    .await;
    assert_eq!(world.nonce(HEARTBEAT).await, 1, "nothing was missing before it");
    keeper.stop().await;
}
