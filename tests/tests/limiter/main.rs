//! The limiter's real program on the node: limits, quarantine and its ends, odd tokens, authority, gas.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod abi;
mod authority;
mod gas;
mod quarantine;
mod tokens;
mod world;

use alloy::primitives::U256;
use world::{ALICE, ANYONE, BOB, DAY, ICordonLimiter, LIMIT, NATIVE, Treasury, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_the_limit_waits_and_then_comes() {
    let world = World::new().await;
    assert!(world.pay(world.token, ALICE, LIMIT / 4).await.is_none());
    assert_eq!(world.balance(world.token, ALICE).await, LIMIT / 4);
    // In many parts or in one, the same number of units passes.
    for _ in 0..5 {
        world.pay(world.token, BOB, LIMIT / 5).await;
    }
    let passed = world.balance(world.token, BOB).await;
    assert!(
        (LIMIT * 3 / 4..=LIMIT * 3 / 4 + LIMIT / 1_000).contains(&passed),
        "{passed}: some seconds refill a little"
    );
    let stuck = world.pay(world.token, ALICE, 7 * LIMIT).await.expect("an item");
    assert_eq!(
        (stuck.recipient, stuck.protocol, stuck.asset),
        (ALICE, world.treasury, world.token)
    );
    let early: ICordonLimiter::TooEarly = world
        .refused(ANYONE, ICordonLimiter::releaseCall { item: stuck.item })
        .await;
    assert_eq!(early.until, stuck.releaseAt);

    world.pass(DAY).await;
    let before = world.balance(world.token, ALICE).await;
    let released = world.release(stuck.item).await;
    assert_eq!((released.to, released.amount), (ALICE, stuck.amount));
    assert_eq!(
        U256::from(world.balance(world.token, ALICE).await - before),
        stuck.amount
    );
    world
        .refused::<_, ICordonLimiter::NoSuchItem>(ANYONE, ICordonLimiter::releaseCall { item: stuck.item })
        .await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trip_of_one_asset_locks_no_other() {
    let world = World::new().await;
    assert!(world.pay(world.token, ALICE, 100 * LIMIT).await.is_some());
    assert!(world.available(world.token).await < LIMIT / 1_000);
    assert_eq!(world.available(NATIVE).await, LIMIT);
    assert!(world.pay(NATIVE, ALICE, LIMIT / 2).await.is_none());
    assert_eq!(world.balance(NATIVE, ALICE).await, LIMIT / 2);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_loan_neither_closes_the_exit_nor_opens_it() {
    let world = World::new().await;
    let round = |amount_in: u64, amount_out: u64| Treasury::roundTripCall {
        asset: world.token,
        account: ALICE,
        amountIn: U256::from(amount_in),
        amountOut: U256::from(amount_out),
    };
    for _ in 0..3 {
        world.ok(ANYONE, world.treasury, round(50 * LIMIT, 50 * LIMIT)).await;
    }
    assert_eq!(world.balance(world.token, ALICE).await, 150 * LIMIT);
    assert_eq!(
        world.available(world.token).await,
        LIMIT,
        "nothing of the limit is used"
    );
    // With something stolen on top: the limit and not a unit more.
    world.ok(ANYONE, world.treasury, round(50 * LIMIT, 70 * LIMIT)).await;
    assert_eq!(world.balance(world.token, ALICE).await, 201 * LIMIT);
    // Credit ends with the transaction, and is its account's alone.
    let paid_in = Treasury::paidInCall {
        asset: world.token,
        class: 0,
        account: BOB,
        amount: U256::from(LIMIT),
    };
    world.ok(ANYONE, world.treasury, paid_in).await;
    let item = world.pay(world.token, BOB, LIMIT).await.expect("an item");
    assert!(item.amount > U256::from(LIMIT * 9 / 10));
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn elastic_credit_lasts_and_is_its_accounts_alone() {
    let world = World::new().await;
    world.limit(world.token, |limit| limit.elastic = true).await;
    let paid_in = Treasury::paidInCall {
        asset: world.token,
        class: 0,
        account: BOB,
        amount: U256::from(30 * LIMIT),
    };
    world.ok(ANYONE, world.treasury, paid_in).await;
    assert!(
        world.pay(world.token, ALICE, 30 * LIMIT).await.is_some(),
        "a thief meets the limit"
    );
    assert!(
        world.pay(world.token, BOB, 30 * LIMIT).await.is_none(),
        "who brought it may take it"
    );
    assert!(world.pay(world.token, BOB, LIMIT).await.is_some(), "once");
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_pool_holds_and_a_flash_loan_does_not_raise_it() {
    let world = World::new().await;
    // 0.01 % of 1e9 is a tenth of the units.
    world.limit(world.token, |limit| limit.share = 1).await;
    assert_eq!(world.available(world.token).await, LIMIT / 10);
    let round = Treasury::roundTripCall {
        asset: world.token,
        account: ALICE,
        amountIn: U256::from(500 * LIMIT),
        amountOut: U256::from(500 * LIMIT + LIMIT),
    };
    // The treasury only believes that so much came in: what is left without it is half of the pool.
    world.ok(ANYONE, world.treasury, round).await;
    assert_eq!(world.balance(world.token, ALICE).await, 500 * LIMIT + LIMIT / 20);
    world.node.stop().await.unwrap();
}
