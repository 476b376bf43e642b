//! Who may change what, and what a stolen key buys.

use crate::world::{ALICE, ANYONE, DAY, GOVERNOR, GUARDIAN, Holds, ICordonLimiter, LIMIT, World, guard_config};
use alloy::primitives::{Address, U256, keccak256};
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::deploy::ensure_rulebook;
use cordon_client::guard::ICordonGuard;

fn set_hold(world: &World, hold: u8) -> Holds::setHoldCall {
    Holds::setHoldCall {
        protocol: world.treasury,
        asset: world.token,
        class: 0,
        hold,
    }
}

fn hold_for(world: &World, scope: u8, hold: u8) -> Holds::holdForCall {
    Holds::holdForCall {
        scope,
        protocol: world.treasury,
        asset: world.token,
        class: 0,
        hold,
    }
}

fn let_go(world: &World, scope: u8, hold: u8) -> Holds::letGoCall {
    Holds::letGoCall {
        scope,
        protocol: world.treasury,
        asset: world.token,
        class: 0,
        hold,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_loosens_only_his_own_hold() {
    let world = World::new().await;
    world
        .refused::<_, ICordonLimiter::NotGovernor>(ANYONE, set_hold(&world, 2))
        .await;
    world
        .refused::<_, ICordonLimiter::BadHold>(GUARDIAN, set_hold(&world, 3))
        .await;
    for by in [ANYONE, GUARDIAN, GOVERNOR] {
        world
            .refused::<_, ICordonLimiter::NotGuard>(by, hold_for(&world, 1, 2))
            .await;
    }
    world.ok(GUARDIAN, world.limiter, set_hold(&world, 2)).await;
    // The guard's containment calls and their undoing come from the guard's account. Neither touches what a guardian holds.
    world.ok(world.guard, world.limiter, hold_for(&world, 1, 1)).await;
    assert_eq!(world.available(world.token).await, 0);
    world.ok(world.guard, world.limiter, let_go(&world, 1, 0)).await;
    assert_eq!(world.available(world.token).await, 0);
    let item = world.pay(world.token, ALICE, 10).await.expect("everything waits");
    // What was caught comes by itself, and so does the end of a guardian's hold.
    world.pass(DAY).await;
    assert_eq!(world.release(item.item).await.to, ALICE);
    assert_eq!(world.available(world.token).await, LIMIT);
    // A mistake is taken back within a quarter of an hour.
    world.ok(GUARDIAN, world.limiter, set_hold(&world, 1)).await;
    let looser: ICordonLimiter::NotTighter = world.refused(GUARDIAN, set_hold(&world, 1)).await;
    assert_eq!((looser.current, looser.wanted), (1, 1));
    world.ok(GUARDIAN, world.limiter, set_hold(&world, 0)).await;
    assert_eq!(world.available(world.token).await, LIMIT / 4);
    world.pass(900).await;
    assert_eq!(world.available(world.token).await, LIMIT);
    // The whole protocol's containment outlasts a market's, and neither is loosened by being asked for less.
    world.ok(world.guard, world.limiter, hold_for(&world, 0, 2)).await;
    world.ok(world.guard, world.limiter, hold_for(&world, 1, 1)).await;
    world.ok(world.guard, world.limiter, hold_for(&world, 0, 1)).await;
    world.ok(world.guard, world.limiter, let_go(&world, 1, 0)).await;
    assert_eq!(world.available(world.token).await, 0);
    world.ok(world.guard, world.limiter, let_go(&world, 0, 0)).await;
    assert_eq!(world.available(world.token).await, LIMIT);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_end_and_are_cancelled() {
    let world = World::new().await;
    world.ok(GOVERNOR, world.guard, ICordonGuard::sealCall {}).await;
    let wider = || world.limit_call(world.token, |limit| limit.units = 1_000_000_000);
    let hash = keccak256(wider().abi_encode());
    let announce = ICordonLimiter::announceCall { actionHash: hash };
    let cancel = || ICordonLimiter::cancelAnnouncementCall { actionHash: hash };
    world.ok(GOVERNOR, world.limiter, announce.clone()).await;
    world.pass(300 * DAY).await;
    world
        .refused::<_, ICordonLimiter::NotAnnounced>(GOVERNOR, wider())
        .await;
    world.ok(GOVERNOR, world.limiter, announce).await;
    world.refused::<_, ICordonLimiter::NotGovernor>(ANYONE, cancel()).await;
    world.ok(GUARDIAN, world.limiter, cancel()).await;
    world.pass(3600).await;
    world
        .refused::<_, ICordonLimiter::NotAnnounced>(GOVERNOR, wider())
        .await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loosening_is_announced_and_tightening_is_not() {
    let world = World::new().await;
    world.ok(GOVERNOR, world.guard, ICordonGuard::sealCall {}).await;
    let wider = || world.limit_call(world.token, |limit| limit.units = 2 * u128::from(LIMIT));
    world.refused::<_, ICordonLimiter::NotGovernor>(ANYONE, wider()).await;
    let unannounced: ICordonLimiter::NotAnnounced = world.refused(GOVERNOR, wider()).await;
    assert_eq!(unannounced.actionHash, keccak256(wider().abi_encode()));
    let announce = |hash| ICordonLimiter::announceCall { actionHash: hash };
    world
        .refused::<_, ICordonLimiter::NotGovernor>(GUARDIAN, announce(unannounced.actionHash))
        .await;
    world
        .ok(GOVERNOR, world.limiter, announce(unannounced.actionHash))
        .await;
    world
        .refused::<_, ICordonLimiter::AnnouncementPending>(GOVERNOR, wider())
        .await;
    world.pass(3600).await;
    world.ok(GOVERNOR, world.limiter, wider()).await;
    assert_eq!(world.available(world.token).await, 2 * LIMIT);
    world
        .refused::<_, ICordonLimiter::NotAnnounced>(
            GOVERNOR,
            world.limit_call(world.token, |limit| limit.units = 3 * u128::from(LIMIT)),
        )
        .await;

    // A stolen governor's key does not undo a hold at once either.
    world.ok(GOVERNOR, world.limiter, set_hold(&world, 1)).await;
    let looser: ICordonLimiter::NotAnnounced = world.refused(GOVERNOR, set_hold(&world, 0)).await;
    world.ok(GOVERNOR, world.limiter, announce(looser.actionHash)).await;
    world.pass(3600).await;
    world.ok(GOVERNOR, world.limiter, set_hold(&world, 0)).await;

    // What has left counts under the new numbers at once.
    assert!(world.pay(world.token, ALICE, LIMIT).await.is_none());
    world.limit(world.token, |limit| limit.units = u128::from(LIMIT)).await;
    assert!(world.available(world.token).await < LIMIT / 100);
    // A longer period, a share: tighter. A mark is a change like any other.
    world.limit(world.token, |limit| limit.share = 100).await;
    let marked = world.limit_call(world.token, |limit| (limit.share, limit.rebasing) = (100, true));
    world.refused::<_, ICordonLimiter::NotAnnounced>(GOVERNOR, marked).await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_range_is_refused_by_name() {
    let world = World::new().await;
    let bad = |change: fn(&mut ICordonLimiter::Limit)| world.limit_call(world.token, change);
    for call in [
        bad(|limit| limit.units = 0),
        bad(|limit| limit.units = 1 << 104),
        bad(|limit| limit.period = 0),
        bad(|limit| limit.share = 10_001),
        bad(|limit| limit.scope = 128),
    ] {
        world.refused::<_, ICordonLimiter::BadLimit>(GOVERNOR, call).await;
    }
    let again = ICordonLimiter::initializeCall {
        guard: world.guard,
        delay: 5,
    };
    world
        .refused::<_, ICordonLimiter::AlreadyInitialized>(GOVERNOR, again)
        .await;
    let again = ICordonLimiter::initializeCall {
        guard: world.guard,
        delay: 5,
    };
    let bare = world.bare_limiter().await;
    let stranger: ICordonLimiter::NotDeployer = world.refused_by(bare, ANYONE, again).await;
    assert_eq!(stranger.caller, ANYONE);
    let outflow = |amount| ICordonLimiter::outflowCall {
        asset: world.token,
        class: 0,
        account: ALICE,
        amount,
    };
    world
        .refused::<_, ICordonLimiter::BadAmount>(world.treasury, outflow(U256::MAX))
        .await;
    world
        .refused::<_, ICordonLimiter::NotLimited>(ANYONE, outflow(U256::from(1)))
        .await;
    let nobody = ICordonLimiter::quarantineCall {
        asset: world.token,
        class: 0,
        amount: U256::from(1),
        recipient: Address::ZERO,
    };
    world
        .refused::<_, ICordonLimiter::BadRecipient>(world.treasury, nobody)
        .await;
    let nothing = ICordonLimiter::quarantineCall {
        asset: world.token,
        class: 0,
        amount: U256::from(LIMIT),
        recipient: ALICE,
    };
    let short: ICordonLimiter::ShortArrival = world.refused(world.treasury, nothing).await;
    assert_eq!(
        (short.asset, short.amount, short.arrived),
        (world.token, U256::from(LIMIT), U256::ZERO)
    );
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containment_of_the_guard_throttles_the_limit_and_its_end_lets_go() {
    let world = World::new().await;
    let (limiter, treasury) = (world.limiter, world.treasury);
    let text = format!(
        r#"{base}
[contracts.limiter]
address = "{limiter}"
abi = ["function holdFor(uint8 scope, address protocol, address asset, uint8 class, uint8 hold)", "function letGo(uint8 scope, address protocol, address asset, uint8 class, uint8 hold)", "function heldFor(uint8 scope, address protocol, address asset, uint8 class) view returns (uint8)"]
[contracts.treasury]
address = "{treasury}"
abi = "erc20"
[[containment]]
id = "throttle"
scope = "market"
level = "ReduceOnly"
call = "limiter.holdFor(1, treasury, token, 0, 1)"
done = "limiter.heldFor(1, treasury, token, 0) >= 1"
undo = [{{ call = "limiter.letGo(1, treasury, token, 0, 0)", undone = "limiter.heldFor(1, treasury, token, 0) == 0" }}]
"#,
        base = guard_config(&world.node.http_endpoint(), world.token),
    );
    let compiled = Config::parse(&text, "limiter.toml").unwrap().compile().unwrap();
    ensure_rulebook(&world.provider, GOVERNOR, world.guard, &compiled)
        .await
        .unwrap();
    // Before it a guardian has held it by hand, which the guard does not loosen.
    world.ok(GUARDIAN, world.limiter, set_hold(&world, 2)).await;
    world.contain(ICordonGuard::Level::ReduceOnly, 3600).await;
    assert_eq!(world.available(world.token).await, 0);
    world.ok(GUARDIAN, world.limiter, set_hold(&world, 0)).await;
    world.pass(900).await;
    assert_eq!(world.available(world.token).await, LIMIT / 4);
    // An hour, an hour on each of two steps down, and whoever comes by.
    world.pass(3 * 3600 + 1).await;
    world
        .ok(ANYONE, world.guard, ICordonGuard::settleCall { scope: 1 })
        .await;
    assert_eq!(world.available(world.token).await, LIMIT);
    world.node.stop().await.unwrap();
}
