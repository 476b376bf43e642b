//! Trips, observations, and what outlasts an exploit.

use alloy::primitives::U256;
use cordon_client::guard::ICordonGuard::{self, Action, Level};

use crate::world::{ANYONE, GUARDIAN, HOUR, MARKET, PRICE, SPOT, World, contain, events, step, trip};

/// T9, T29 as far as the guard is concerned: a flash loan moves the price, trips the market and gives all back.
#[tokio::test(flavor = "multi_thread")]
async fn a_flash_loan_cannot_trip_a_spot_rule() {
    let world = World::sealed().await;
    let price = |value: u64| World::setting(world.price, U256::from(value));
    let attack = vec![price(300), step(&world, &trip(SPOT)), price(0)];
    let receipt = world.run(attack).await;
    assert!(receipt.status());
    assert_eq!(events::<ICordonGuard::RuleObserved>(&receipt).len(), 1, "only observed");
    assert_eq!(world.level(MARKET).await, Level::Normal);
    // A second observation in the same transaction is too soon.
    let twice = vec![price(300), step(&world, &trip(SPOT)), step(&world, &trip(SPOT))];
    world.run_refused::<ICordonGuard::ObservedTooSoon>(twice).await;
    // And when the price is honest again there is nothing to prove.
    world.pass(10).await;
    world.refused::<_, ICordonGuard::RuleHolds>(ANYONE, trip(SPOT)).await;
    world.node.stop().await.unwrap();
}

/// T23: value moves past every hook. Whoever sees it trips; nobody has to be asked.
#[tokio::test(flavor = "multi_thread")]
async fn t23_a_move_past_all_hooks_is_tripped_by_anyone() {
    let world = World::sealed().await;
    world.set(world.price, 101).await;
    world.ok(ANYONE, trip(PRICE)).await;
    assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
    assert!(world.is_set(world.switch).await);
    world.node.stop().await.unwrap();
}

/// T30: a trip that is made again and again neither extends nor costs anybody anything while the level holds.
#[tokio::test(flavor = "multi_thread")]
async fn t30_tripping_again_refreshes_nothing() {
    let world = World::sealed().await;
    world.set(world.price, 101).await;
    world.ok(ANYONE, trip(PRICE)).await;
    let before = world.status(MARKET).await;
    for _ in 0..3 {
        world.pass(60).await;
        assert!(world.ok(ANYONE, trip(PRICE)).await.inner.logs().is_empty());
    }
    let after = world.status(MARKET).await;
    assert_eq!((after.expiresAt, after.incident), (before.expiresAt, before.incident));
    // Once the breach is over, nothing renews it.
    world.set(world.price, 0).await;
    world.pass(HOUR).await;
    world.refused::<_, ICordonGuard::RuleHolds>(ANYONE, trip(PRICE)).await;
    world.node.stop().await.unwrap();
}

/// T31: an observation of an hour ago proves nothing about now.
#[tokio::test(flavor = "multi_thread")]
async fn t31_old_observations_do_not_count() {
    let world = World::sealed().await;
    world.set(world.price, 300).await;
    world.ok(ANYONE, trip(SPOT)).await;
    world.pass(HOUR + 60).await;
    let again = world.ok(ANYONE, trip(SPOT)).await;
    assert_eq!(
        events::<ICordonGuard::RuleObserved>(&again).len(),
        1,
        "a first observation again"
    );
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.pass(3).await;
    world.ok(ANYONE, trip(SPOT)).await;
    assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
    world.node.stop().await.unwrap();
}

/// T37, expiry during a live exploit: while the breach stands, anyone renews it and no guardian releases it; the market's own switch
/// is not opened by a settlement in between.
#[tokio::test(flavor = "multi_thread")]
async fn t37_a_live_exploit_outlasts_no_expiry() {
    let world = World::sealed().await;
    world.set(world.price, 101).await;
    world.ok(ANYONE, trip(PRICE)).await;
    world
        .ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(901).await;
    world
        .refused::<_, ICordonGuard::RuleBreached>(GUARDIAN, ICordonGuard::releaseCall { scope: MARKET })
        .await;
    for _ in 0..3 {
        // Half of the hour has gone by, then the level itself: it steps down, and is up again with one trip.
        world.pass(HOUR).await;
        assert!(!world.passes(MARKET, Action::Increase).await);
        world.ok(ANYONE, trip(PRICE)).await;
        assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
        assert!(world.is_set(world.switch).await);
        world
            .refused::<_, ICordonGuard::NotExpired>(ANYONE, ICordonGuard::settleCall { scope: MARKET })
            .await;
    }
    world.node.stop().await.unwrap();
}

/// Raising a level never shortens what was closed already: a thief with a lesser key cannot open by closing.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_halt_does_not_shorten_a_long_reduce_only() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, 12 * HOUR)).await;
    world.ok(GUARDIAN, contain(MARKET, Level::Halted, 60)).await;
    world.pass(6 * HOUR).await;
    assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
    assert!(!world.passes(MARKET, Action::Increase).await);
    world.node.stop().await.unwrap();
}
