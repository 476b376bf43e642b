//! Broadcasts that are not answered, or refused for a while: the action is carried out all the same, and once.

use std::time::Duration;

use alloy::primitives::U256;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::Options;
use cordon_keeper::record::Outcome;
use cordon_testkit::{Fault, FaultyRpc};

use crate::board::{GAUGE, STOPPED};
use crate::world::{GAUGE_RULE, KEEPER, World, until};

const SEND: &str = "eth_sendRawTransaction";

/// A breach while sending meets this fault, until it is met `times`; a keeper contains it with one transaction.
async fn contained_through(fault: Fault, times: usize) {
    let world = World::new(&GAUGE_RULE).await;
    let proxy = FaultyRpc::start(&world.node.http_endpoint()).await.unwrap();
    let options = Options {
        rpc: vec![proxy.url()],
        ..world.options()
    };
    let store = world.store().await;
    let keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
    proxy.fault(SEND, fault.clone());
    let before = proxy.count(SEND);
    world.set(GAUGE, 5_000).await;
    until("the fault is met", || async { proxy.count(SEND) >= before + times }).await;
    // What was sent and not answered may have arrived; it is found without being sent again.
    if fault != Fault::CutAfter {
        assert_eq!(world.nonce(KEEPER).await, 0, "nothing has arrived");
        proxy.heal();
    }
    until("it is contained", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    until("it is known to be done", || async {
        let intents = store.intents().await.unwrap();
        intents.len() == 1 && intents[0].outcome == Some(Outcome::Done)
    })
    .await;
    proxy.heal();
    assert_eq!(world.get(STOPPED).await, U256::from(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_that_arrives_and_is_never_answered_is_found_and_not_doubled() {
    contained_through(Fault::CutAfter, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_above_the_rate_limit_is_made_again_and_not_dropped() {
    contained_through(Fault::RateLimit, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_that_gets_429_is_made_again_and_not_dropped() {
    contained_through(Fault::Http(429), 3).await;
}
