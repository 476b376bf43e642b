//! Adapters between the guard's real programs and published protocols, run from their published bytecode on the node.
//!
//! What each adapter refuses is tested with Foundry (`contracts/solidity/test/adapters`); here the guard itself uses them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod compound;
mod live;
mod proxies;
mod world;

use alloy::primitives::{Address, U256};
use alloy::providers::ext::AnvilApi;
use cordon_client::guard::ICordonGuard::{self, Level, Rehearsal};

use self::world::{GUARDIAN, HOUR, IFeed, IManager, IPausable, OWNER, PAUSER, World, contain, count};

const SCOPES: [u8; 4] = [1, 2, 3, 4];

/// The four calls contain, each is read back, and all that the guard did is undone when the level has run out.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_contains_through_every_adapter_and_undoes_it() {
    let world = World::new().await;
    assert_eq!(world.closed().await, [false; 4]);
    let contained = world.send(GUARDIAN, world.guard, contain(0, Level::Halted, HOUR)).await;
    assert_eq!(count::<ICordonGuard::ContainmentApplied>(&contained), 4);
    assert_eq!(count::<ICordonGuard::ContainmentFailed>(&contained), 0);
    assert_eq!(world.closed().await, [true; 4]);
    // The freeze closes repayment: it ends after a quarter of an hour, whatever the level.
    world.pass(15 * 60).await;
    world
        .send(GUARDIAN, world.guard, ICordonGuard::settleCall { scope: 0 })
        .await;
    assert_eq!(world.closed().await, [true, true, true, false]);
    world.pass(6 * HOUR).await;
    let settled = world
        .send(GUARDIAN, world.guard, ICordonGuard::settleCall { scope: 0 })
        .await;
    assert_eq!(count::<ICordonGuard::ContainmentUndone>(&settled), 3);
    assert_eq!(world.closed().await, [false; 4]);
    world.stop().await;
}

/// What the owners had closed themselves is neither closed again nor opened.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_owners_had_closed_stays_closed() {
    let world = World::new().await;
    let (target, closed) = (world.market, true);
    world
        .send(OWNER, world.manager, IManager::setTargetClosedCall { target, closed })
        .await;
    world.send(OWNER, world.token, IPausable::pauseCall {}).await;
    for scope in SCOPES {
        world
            .send(GUARDIAN, world.guard, contain(scope, Level::ReduceOnly, HOUR))
            .await;
    }
    world.pass(6 * HOUR).await;
    for scope in SCOPES {
        world
            .send(GUARDIAN, world.guard, ICordonGuard::settleCall { scope })
            .await;
    }
    assert_eq!(world.closed().await, [true, true, false, false]);
    world.stop().await;
}

/// A role that was taken back is seen by the rehearsal, long before the incident.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_taken_back_is_seen_before_the_incident() {
    let world = World::new().await;
    let health = ICordonGuard::healthCall {};
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::ZERO);
    let revoke = IManager::revokeRoleCall {
        role: 0,
        account: world.switch,
    };
    world.send(OWNER, world.manager, revoke).await;
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::from(0b0001));
    let revoke = IPausable::revokeRoleCall {
        role: PAUSER,
        account: world.guard,
    };
    world.send(OWNER, world.token, revoke).await;
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::from(0b0011));
    world.disable_module().await;
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::from(0b0111));
    world.hand_back().await;
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::from(0b1111));
    let told = world
        .refused(world.guard, &ICordonGuard::rehearseCall { call: 0 })
        .await;
    let told = <ICordonGuard::Rehearsed as alloy::sol_types::SolError>::abi_decode(&told).unwrap();
    assert_eq!(told.outcome, Rehearsal::Fails);
    world.stop().await;
}

/// Whoever holds any key but the guard's moves no adapter.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_through_an_adapter() {
    let world = World::new().await;
    let stranger = Address::repeat_byte(0xbd);
    world
        .provider
        .anvil_set_balance(stranger, U256::MAX >> 8)
        .await
        .unwrap();
    for from in [stranger, OWNER, GUARDIAN] {
        for (adapter, call) in world.adapter_calls() {
            let refusal = world.refused_from(from, adapter, call).await;
            assert_eq!(&refusal[..4], world::NOT_GUARD, "{from} at {adapter}");
        }
    }
    assert_eq!(world.closed().await, [false; 4]);
    world.stop().await;
}

/// Other protocols see a level, an incident and a silent keeper of the real guard, at a price that a borrow can bear.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_incidents_tells_what_the_guard_says() {
    let world = World::new().await;
    let feed = world.feed().await;
    let (guard, scope) = (world.guard, 2);
    let (account, max_heartbeat_age) = (world.token, 900);
    world
        .send(OWNER, feed, IFeed::coverCall { guard, account, scope })
        .await;
    let status = IFeed::statusOfContractCall {
        guard,
        account,
        maxHeartbeatAge: max_heartbeat_age,
    };
    // No keeper has shown that it lives.
    let told = world.ask(feed, &status).await;
    assert_eq!(told.notice, IFeed::Notice::Stale);
    assert_eq!(told.heartbeatAge, u64::MAX);
    world.send(OWNER, world.guard, ICordonGuard::heartbeatCall {}).await;
    let told = world.ask(feed, &status).await;
    assert_eq!(told.notice, IFeed::Notice::Calm);
    assert_eq!(told.level, Level::Normal as u8);
    let calm = IFeed::requireCalmCall {
        guard,
        scope,
        maxHeartbeatAge: max_heartbeat_age,
    };
    let quiet = world.gas(feed, &calm).await;
    let level = world.gas(feed, &IFeed::levelOfCall { guard, scope }).await;
    eprintln!("requireCalm costs {quiet} gas, levelOf {level}, base cost of a transaction included");
    assert!(quiet < 120_000 && level < 110_000, "{quiet}, {level} gas");
    world
        .send(GUARDIAN, guard, contain(scope, Level::ReduceOnly, HOUR))
        .await;
    let told = world.ask(feed, &status).await;
    let level = world.ask(feed, &IFeed::levelOfCall { guard, scope }).await;
    assert_eq!(level, Level::ReduceOnly as u8);
    let stored = world.ask(guard, &ICordonGuard::scopeStatusCall { scope }).await;
    assert_eq!(told.notice, IFeed::Notice::Contained);
    assert_eq!((told.level, told.incident), (Level::ReduceOnly as u8, 1));
    assert_eq!((told.since, told.expiresAt), (stored.since, stored.expiresAt));
    assert_eq!(&world.refused(feed, &calm).await[..4], world::NOT_CALM);
    // The whole protocol's level counts in every scope.
    world.send(GUARDIAN, guard, contain(0, Level::Halted, HOUR)).await;
    assert_eq!(world.ask(feed, &status).await.level, Level::Halted as u8);
    let level = world.ask(feed, &IFeed::levelOfCall { guard, scope }).await;
    assert_eq!(level, Level::Halted as u8);
    // Code that is no guard, and a guard whose program cannot run, are silent.
    world
        .provider
        .anvil_set_code(guard, vec![0xef, 0xf0, 0, 0, 1].into())
        .await
        .unwrap();
    assert_eq!(world.ask(feed, &status).await.notice, IFeed::Notice::Silent);
    world.stop().await;
}
