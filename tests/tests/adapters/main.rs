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

mod world;

use alloy::primitives::{Address, U256};
use alloy::providers::ext::AnvilApi;
use cordon_client::guard::ICordonGuard::{self, Level, Rehearsal};

use self::world::{GUARDIAN, HOUR, IManager, IPausable, OWNER, PAUSER, World, contain, count};

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
    world.node.stop().await.unwrap();
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
    world.node.stop().await.unwrap();
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
    world.node.stop().await.unwrap();
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
    world.node.stop().await.unwrap();
}
