//! Ends of an item: early, held, given back, redirected, and when its recipient cannot be paid.

use crate::world::{
    ALICE, ANYONE, BOB, DAY, GOVERNOR, GUARDIAN, IAssetCircuitBreaker, ICordonLimiter, LIMIT, NATIVE, Recipient, Token,
    World, events,
};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolValue};
use cordon_client::guard::ICordonGuard::{self, Level};
use cordon_core::quarantine::{HOLD, MAX_HOLD, STALE};
use cordon_core::scope::RELEASE_DELAY;

const fn early(item: U256) -> ICordonLimiter::releaseEarlyCall {
    ICordonLimiter::releaseEarlyCall { item }
}

const fn hold(item: U256) -> ICordonLimiter::holdCall {
    ICordonLimiter::holdCall { item }
}

const fn give_back(item: U256) -> ICordonLimiter::giveBackCall {
    ICordonLimiter::giveBackCall { item }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_pays_early_but_not_during_an_incident() {
    let world = World::new().await;
    let item = world.pay(world.token, ALICE, 3 * LIMIT).await.expect("an item").item;
    let refused: ICordonLimiter::NotGuardian = world.refused(ANYONE, early(item)).await;
    assert_eq!(refused.caller, ANYONE);
    world
        .refused::<_, ICordonLimiter::TooEarly>(GUARDIAN, early(item))
        .await;
    world.pass(RELEASE_DELAY.into()).await;
    world.contain(Level::ReduceOnly, 3600).await;
    let contained: ICordonLimiter::ScopeContained = world.refused(GUARDIAN, early(item)).await;
    assert_eq!(contained.scope, 1);
    // An hour, and an hour on each of two steps down.
    world.pass(3 * 3600 + 1).await;
    world.ok(GUARDIAN, world.limiter, early(item)).await;
    assert!(world.balance(world.token, ALICE).await >= 3 * LIMIT);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loot_goes_back_while_the_incident_is_open_and_only_then() {
    let world = World::new().await;
    let loot = world.pay(world.token, ALICE, 50 * LIMIT).await.expect("an item");
    world
        .refused::<_, ICordonLimiter::ScopeNotContained>(GOVERNOR, give_back(loot.item))
        .await;
    world
        .refused::<_, ICordonLimiter::ScopeNotContained>(GUARDIAN, hold(loot.item))
        .await;
    world.contain(Level::Halted, 86_400).await;
    world
        .refused::<_, ICordonLimiter::NotGovernor>(GUARDIAN, give_back(loot.item))
        .await;
    let before = world.balance(world.token, world.treasury).await;
    world.ok(GOVERNOR, world.limiter, give_back(loot.item)).await;
    assert_eq!(
        U256::from(world.balance(world.token, world.treasury).await - before),
        loot.amount
    );
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_come_to_an_end_without_anybodys_help() {
    let world = World::new().await;
    let item = world.pay(world.token, ALICE, 3 * LIMIT).await.expect("an item");
    let end = item.releaseAt + u64::from(MAX_HOLD);
    let release = ICordonLimiter::releaseCall { item: item.item };
    let mut held = 0;
    for _ in 0..20 {
        // A guardian contains as often as its budget allows, and holds whenever it can.
        world.contain_if_allowed(Level::ReduceOnly, 86_400).await;
        if world.send(GUARDIAN, world.limiter, hold(item.item)).await.status() {
            held += 1;
        }
        world.pass(u64::from(HOLD) / 2).await;
    }
    assert!(held > 0, "the item was held");
    let now = world.now().await;
    assert!(now >= end, "the test went on for long enough");
    world.ok(ANYONE, world.limiter, release).await;
    assert!(world.balance(world.token, ALICE).await >= 3 * LIMIT);
    world.node.stop().await.unwrap();
}

async fn awkward(world: &World) -> Address {
    let arguments = (world.treasury, world.limiter).abi_encode_params();
    world.ours("LimitedTreasury", "AwkwardRecipient", &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_takes_nothing_names_another_or_loses_it_to_the_protocol() {
    let world = World::new().await;
    let awkward = awkward(&world).await;
    world.pay(NATIVE, ALICE, LIMIT).await;
    let first = world.pay(NATIVE, awkward, 2 * LIMIT).await.expect("an item");
    let second = world.pay(NATIVE, awkward, LIMIT).await.expect("an item");
    world.pass(DAY).await;
    let release = |item| ICordonLimiter::releaseCall { item };
    world
        .refused::<_, ICordonLimiter::PaymentFailed>(ANYONE, release(first.item))
        .await;
    let elsewhere = ICordonLimiter::redirectCall {
        item: first.item,
        recipient: BOB,
    };
    world
        .refused::<_, ICordonLimiter::NotRecipient>(ANYONE, elsewhere)
        .await;
    let redirect = Recipient::redirectCall {
        item: first.item,
        to: BOB,
    };
    world.ok(ANYONE, awkward, redirect).await;
    assert_eq!(world.release(first.item).await.to, BOB);

    world.pass(STALE.into()).await;
    let starved = world
        .send_with_gas(ANYONE, world.limiter, release(second.item), 300_000)
        .await;
    assert!(!starved.status(), "too little gas decides nothing");
    assert_eq!(world.release(second.item).await.to, world.treasury);
    assert_eq!(world.balance(NATIVE, world.limiter).await, 0);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_being_paid_is_not_paid_twice() {
    let world = World::new().await;
    let awkward = awkward(&world).await;
    world.pay(NATIVE, ALICE, LIMIT).await;
    let first = world.pay(NATIVE, awkward, LIMIT).await.expect("an item");
    let second = world.pay(NATIVE, awkward, LIMIT).await.expect("an item");
    world.pass(DAY).await;
    for again in [first.item, second.item] {
        let set = Recipient::setCall {
            refuses: false,
            item: again,
        };
        world.ok(ANYONE, awkward, set).await;
        let snapshot = world.balance(NATIVE, awkward).await;
        let paid = world
            .ask(ANYONE, world.limiter, ICordonLimiter::releaseCall { item: first.item })
            .await;
        assert!(paid.is_ok() && snapshot == 0);
    }
    world.release(first.item).await;
    assert!(
        !world.ask(ANYONE, awkward, Recipient::reenteredCall {}).await.unwrap(),
        "the limiter is locked while it pays"
    );
    assert_eq!(
        world.balance(NATIVE, awkward).await,
        u64::try_from(first.amount).unwrap()
    );
    world.release(second.item).await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_recipient_keeps_nobody_else_waiting() {
    let world = World::new().await;
    let picky = world.odd("PickyToken", false).await;
    let hers = world.pay(picky, ALICE, 3 * LIMIT).await.expect("an item");
    let his = world.pay(picky, BOB, LIMIT).await.expect("an item");
    let block = Token::block_Call {
        account: ALICE,
        yes: true,
    };
    world.ok(ANYONE, picky, block).await;
    world.pass(DAY).await;
    world
        .refused::<_, ICordonLimiter::PaymentFailed>(ANYONE, ICordonLimiter::releaseCall { item: hers.item })
        .await;
    assert_eq!(world.release(his.item).await.amount, his.amount);
    world.pass(STALE.into()).await;
    assert_eq!(world.release(hers.item).await.to, world.treasury);
    assert_eq!(world.balance(picky, world.limiter).await, 0);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_of_the_whole_protocol_counts_for_every_scope() {
    let world = World::new().await;
    let loot = world.pay(world.token, ALICE, 50 * LIMIT).await.expect("an item");
    let contain = ICordonGuard::containCall {
        scope: 0,
        level: Level::Halted,
        duration: 86_400,
        evidence: B256::ZERO,
    };
    world.ok(GUARDIAN, world.guard, contain).await;
    world.pass(RELEASE_DELAY.into()).await;
    // A stolen guardian's key does not pay the thief, the item is held, and the loot goes back.
    let refused: ICordonLimiter::ScopeContained = world.refused(GUARDIAN, early(loot.item)).await;
    assert_eq!(refused.scope, 1);
    world.ok(GUARDIAN, world.limiter, hold(loot.item)).await;
    world.ok(GOVERNOR, world.limiter, give_back(loot.item)).await;
    assert_eq!(world.balance(world.token, world.limiter).await, 0);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_recipient_nor_protocol_takes_gets_out() {
    let world = World::new().await;
    // A protocol that holds value and takes none that is just sent, and a recipient like it.
    let vault = awkward(&world).await;
    let ether = U256::from(10).pow(U256::from(18));
    world.provider.anvil_set_balance(vault, ether).await.unwrap();
    let limit = ICordonLimiter::setLimitCall {
        protocol: vault,
        ..world.limit_call(NATIVE, |_| {})
    };
    world.ok(GOVERNOR, world.limiter, limit).await;
    let outflow = IAssetCircuitBreaker::onNativeAssetOutflowCall { recipient: vault };
    let wei = 5 * LIMIT;
    let request = TransactionRequest::default()
        .with_from(vault)
        .with_to(world.limiter)
        .with_value(U256::from(wei))
        .with_gas_limit(10_000_000)
        .with_input(outflow.abi_encode());
    let set = |refuses| Recipient::setCall {
        refuses,
        item: U256::ZERO,
    };
    world.ok(ANYONE, vault, set(false)).await;
    let sent = world.provider.send_transaction(request).await.unwrap();
    let item = events::<ICordonLimiter::Quarantined>(&sent.get_receipt().await.unwrap())
        .pop()
        .expect("an item");
    world.ok(ANYONE, vault, set(true)).await;
    world.pass(DAY + u64::from(STALE)).await;
    let before = world.provider.get_balance(vault).await.unwrap();
    assert_eq!(world.release(item.item).await.to, vault);
    assert_eq!(world.provider.get_balance(vault).await.unwrap() - before, item.amount);
    assert_eq!(world.balance(NATIVE, world.limiter).await, 0);

    // A token that refuses both.
    let picky = world.odd("PickyToken", false).await;
    let item = world.pay(picky, ALICE, 3 * LIMIT).await.expect("an item");
    for account in [ALICE, world.treasury] {
        world.ok(ANYONE, picky, Token::block_Call { account, yes: true }).await;
    }
    let instead = || ICordonLimiter::payInsteadCall {
        item: item.item,
        to: BOB,
    };
    world.pass(DAY).await;
    world.refused::<_, ICordonLimiter::TooEarly>(GOVERNOR, instead()).await;
    world.pass(STALE.into()).await;
    world
        .refused::<_, ICordonLimiter::PaymentFailed>(ANYONE, ICordonLimiter::releaseCall { item: item.item })
        .await;
    world
        .refused::<_, ICordonLimiter::NotGovernor>(GUARDIAN, instead())
        .await;
    world.ok(GOVERNOR, world.limiter, instead()).await;
    assert_eq!(U256::from(world.balance(picky, BOB).await), item.amount);
    world.node.stop().await.unwrap();
}
