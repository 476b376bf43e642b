//! Tokens as they really are, by both interfaces: everything that went in comes out, and nobody pays for anybody else.

use crate::world::{
    ALICE, ANYONE, BOB, DAY, GOVERNOR, GUARDIAN, ICordonLimiter, LIMIT, NATIVE, Token, Treasury, World, events,
};
use alloy::primitives::{Address, U256};
use alloy::sol_types::{SolCall, SolError};

/// Pays through ERC-7265's functions; answers the item in quarantine.
async fn pay_7265(world: &World, asset: Address, to: Address, amount: u64) -> Option<ICordonLimiter::Quarantined> {
    let call = Treasury::payOut7265Call {
        asset,
        to,
        amount: U256::from(amount),
    };
    let receipt = world.ok(ANYONE, world.treasury, call).await;
    events(&receipt).pop()
}

/// The same of a token that needs its arrival measured.
async fn pay_measured(world: &World, asset: Address, to: Address, amount: u64) -> Option<ICordonLimiter::Quarantined> {
    let call = Treasury::payOutMeasuredCall {
        asset,
        to,
        amount: U256::from(amount),
    };
    let receipt = world.ok(ANYONE, world.treasury, call).await;
    events(&receipt).pop()
}

/// The error that paying through ERC-7265's functions is refused with.
async fn refused_7265<E: SolError>(world: &World, asset: Address, to: Address, amount: u64) -> E {
    let call = Treasury::payOut7265Call {
        asset,
        to,
        amount: U256::from(amount),
    };
    let data = world.ask(ANYONE, world.treasury, call).await.err().expect("refused");
    E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data:x?}"))
}

async fn assert_empty(world: &World, asset: Address, at_most: u64) {
    let left = world.balance(asset, world.limiter).await;
    assert!(left <= at_most, "{left} units are left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_silent_and_native_assets_pass_to_the_unit() {
    let world = World::new().await;
    let silent = world.odd("SilentToken", false).await;
    for asset in [world.token, silent, NATIVE] {
        let first = world.pay(asset, ALICE, 3 * LIMIT).await.expect("an item");
        let second = pay_7265(&world, asset, BOB, 2 * LIMIT).await.expect("an item");
        assert_eq!(first.amount, U256::from(2 * LIMIT));
        world.pass(DAY).await;
        for item in [&second, &first] {
            assert_eq!(world.release(item.item).await.amount, item.amount);
        }
        assert_eq!(world.balance(asset, ALICE).await, 3 * LIMIT);
        assert_eq!(world.balance(asset, BOB).await, 2 * LIMIT);
        assert_empty(&world, asset, 0).await;
    }
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_on_transfer_is_paid_by_who_transfers() {
    let world = World::new().await;
    let fee = world.odd("FeeToken", false).await;
    let hers = world.pay(fee, ALICE, 3 * LIMIT).await.expect("an item");
    // 2 of the 3 go through quarantine and lose 2 % on the way in.
    assert_eq!(hers.amount, U256::from(2 * LIMIT * 98 / 100));
    let short: ICordonLimiter::ShortArrival = refused_7265(&world, fee, BOB, LIMIT).await;
    assert_eq!(short.arrived, U256::from(LIMIT * 98 / 100));
    let his = pay_measured(&world, fee, BOB, LIMIT).await.expect("an item");
    assert!(his.amount >= U256::from(LIMIT * 97 / 100) && his.amount <= U256::from(LIMIT * 98 / 100));
    world.pass(DAY).await;
    assert_eq!(world.release(hers.item).await.amount, hers.amount);
    assert_eq!(world.release(his.item).await.amount, his.amount);
    assert_empty(&world, fee, 0).await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn gains_and_losses_of_a_rebasing_token_are_shared() {
    let world = World::new().await;
    let rebasing = world.odd("RebasingToken", true).await;
    let one = world.pay(rebasing, ALICE, 5 * LIMIT).await.expect("an item");
    let rebase = |percent: u64| Token::rebaseCall {
        newIndex: U256::from(percent) * U256::from(10).pow(U256::from(16)),
    };
    world.ok(ANYONE, rebasing, rebase(50)).await;
    refused_7265::<ICordonLimiter::NotMeasured>(&world, rebasing, BOB, 2 * LIMIT).await;
    let two = pay_measured(&world, rebasing, BOB, 2 * LIMIT).await.expect("an item");
    world.ok(ANYONE, rebasing, rebase(75)).await;
    world.pass(DAY).await;
    let close = |got: U256, wanted: u64| {
        assert!(
            got.abs_diff(U256::from(wanted)) <= U256::from(20),
            "{got}, not {wanted}"
        )
    };
    // Four millions halved and grown by half; nearly two millions grown by half. The second one out gets its own too.
    close(world.release(one.item).await.amount, 3 * LIMIT);
    close(
        world.release(two.item).await.amount,
        u64::try_from(two.amount).unwrap() * 3 / 2,
    );
    assert_empty(&world, rebasing, 20).await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_to_the_limiter_harms_nobody() {
    let world = World::new().await;
    // Whoever sends tokens ahead of somebody's item cannot take a part of it.
    let gift = Token::mintCall {
        to: ANYONE,
        amount: U256::from(LIMIT),
    };
    world.ok(ANYONE, world.token, gift).await;
    let transfer = Token::transferCall {
        to: world.limiter,
        amount: U256::from(LIMIT),
    };
    world.ok(ANYONE, world.token, transfer).await;
    let item = world.pay(world.token, ALICE, 2 * LIMIT).await.expect("an item");
    world.pass(DAY).await;
    let released = world.release(item.item).await;
    assert!(
        released.amount + U256::from(1) >= item.amount,
        "{} of {}",
        released.amount,
        item.amount
    );
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_without_a_limit_passes_by_erc_7265_and_a_stranger_does_not() {
    let world = World::new().await;
    let free = world.ours("OddTokens", "SilentToken", &[]).await;
    world.mint(free).await;
    assert!(pay_7265(&world, free, ALICE, 500 * LIMIT).await.is_none());
    assert_eq!(world.balance(free, ALICE).await, 500 * LIMIT);
    let inflow = Treasury::paidIn7265Call {
        asset: NATIVE,
        amount: U256::from(5),
    };
    world.ok(ANYONE, world.treasury, inflow).await;
    let stranger = crate::world::IAssetCircuitBreaker::onTokenInflowCall {
        token: free,
        amount: U256::from(1),
    };
    let refused: ICordonLimiter::NotLimited = world.refused(ANYONE, stranger).await;
    assert_eq!(refused.protocol, ANYONE);
    let outflow = ICordonLimiter::outflowCall {
        asset: free,
        class: 0,
        account: ALICE,
        amount: U256::from(1),
    };
    let data = world.ask(world.treasury, world.limiter, outflow).await.err().unwrap();
    assert_eq!(
        data[..4],
        <ICordonLimiter::NotLimited as alloy::sol_types::SolError>::SELECTOR
    );
    assert!(
        world
            .ask(
                ANYONE,
                world.limiter,
                Treasury::paidInCall::new((free, 0, ALICE, U256::ZERO))
            )
            .await
            .is_err()
    );
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_contract_takes_nothing_that_it_has_not_brought() {
    let world = World::new().await;
    let rebasing = world.odd("RebasingToken", true).await;
    for asset in [world.token, rebasing] {
        let item = world.pay(asset, ALICE, 50 * LIMIT).await.expect("an item");
        let call = ICordonLimiter::setLimitCall {
            protocol: GUARDIAN,
            ..world.limit_call(asset, |limit| limit.rebasing = asset == rebasing)
        };
        world.ok(GOVERNOR, world.limiter, call).await;
        let claim = ICordonLimiter::quarantineCall {
            asset,
            class: 0,
            amount: item.amount,
            recipient: GUARDIAN,
        };
        assert!(!world.send(GUARDIAN, world.limiter, claim).await.status());
        world.pass(DAY).await;
        assert_eq!(world.release(item.item).await.amount, item.amount);
    }
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_has_lost_is_not_taken_from_who_comes_next() {
    let world = World::new().await;
    // Not marked as rebasing, by mistake.
    let token = world.odd("RebasingToken", false).await;
    let hers = world.pay(token, ALICE, 41 * LIMIT).await.expect("an item");
    let rebase = Token::rebaseCall {
        newIndex: U256::from(8) * U256::from(10).pow(U256::from(17)),
    };
    world.ok(ANYONE, token, rebase).await;
    let before = world.balance(token, BOB).await;
    let his = world.pay(token, BOB, 9 * LIMIT).await.expect("an item");
    let passed = world.balance(token, BOB).await - before;
    world.pass(DAY).await;
    let (his, hers) = (
        world.release(his.item).await.amount,
        world.release(hers.item).await.amount,
    );
    let close = |got: U256, wanted: u64| assert!(got.abs_diff(U256::from(wanted)) <= U256::from(20), "{got}");
    close(his, 9 * LIMIT - passed);
    close(hers, 32 * LIMIT);
    world.node.stop().await.unwrap();
}
