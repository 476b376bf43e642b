//! A breach that is reorganised out, with what the keeper has done about it by its own authority: nothing is contained on a branch that has
//! no breach.

use alloy::primitives::U256;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::record::Outcome;
use serde_json::json;

use crate::answers::AUTHORITY;
use crate::board::{GAUGE, STOPPED};
use crate::world::{HEARTBEAT, KEEPER, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_contained_by_authority_is_not_contained_again_where_there_is_no_breach() {
    let world = World::new(&AUTHORITY).await;
    let mut keeper = world.keeper().await;
    // The guard wants a heartbeat before it lets the keeper contain.
    until("the heartbeat is in", || async { world.nonce(HEARTBEAT).await > 0 }).await;
    let height = world.height().await;
    keeper.done(height).await;
    let snapshot = world.rpc("evm_snapshot", json!([])).await;
    let bad = world.set(GAUGE, 5_000).await;
    let (contained, _) = keeper.contained().await;
    assert!(contained > bad);
    assert_eq!(world.nonce(KEEPER).await, 1);
    // The breach and the containment have never been.
    world.rpc("evm_revert", json!([snapshot])).await;
    world.reach(contained + 4).await;
    until("it is looked at again, and ended", || async {
        let intents = keeper.store.intents().await.unwrap();
        intents.len() == 1 && intents[0].outcome == Some(Outcome::HoldsAgain)
    })
    .await;
    let height = world.height().await;
    world.reach(height + 4).await;
    assert_eq!(world.level(1).await, Guard::Level::Normal);
    assert_eq!(world.get(STOPPED).await, U256::ZERO);
    assert_eq!(world.nonce(KEEPER).await, 0, "nothing was sent on this branch");
    // A breach here is contained like any other.
    world.set(GAUGE, 5_000).await;
    until("it is contained", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    keeper.stop().await;
}
