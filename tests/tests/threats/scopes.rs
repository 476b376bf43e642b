//! T21: scopes are numbers. A rulebook with another order of them, adopted in an incident, would open what is contained.

use std::path::PathBuf;

use alloy::primitives::{Address, Bytes, keccak256};
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::guard::ICordonGuard::{self, Level};
use cordon_core::rulebook::init_code;

use crate::world::{ANYONE, DAY, GOVERNOR, GUARDIAN, HOUR, MARKET, OTHER, World, contain, create};

/// Puts a rulebook with these scopes on the chain and announces it. Returns the call that adopts it.
async fn announced(world: &World, scopes: &str) -> ICordonGuard::adoptRulebookCall {
    let text = world
        .basis
        .replace(r#"["protocol", "market", "other", "more"]"#, scopes);
    let compiled = Config::parse(&text, PathBuf::from("moved.toml"))
        .unwrap()
        .compile()
        .unwrap();
    let adopt = ICordonGuard::adoptRulebookCall {
        book: create(&world.provider, Bytes::from(init_code(&compiled.code))).await as Address,
        codeHash: compiled.code_hash(),
    };
    let announce = ICordonGuard::announceCall {
        actionHash: keccak256(adopt.abi_encode()),
    };
    world.ok(GOVERNOR, announce).await;
    adopt
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rulebook_that_moves_a_contained_scope_opens_nothing() {
    let world = World::sealed().await;
    let swapped = announced(&world, r#"["protocol", "other", "market", "more"]"#).await;
    let shorter = announced(&world, r#"["protocol", "market", "other"]"#).await;
    let longer = announced(&world, r#"["protocol", "market", "other", "more", "last"]"#).await;
    world.pass(HOUR).await;
    world.ok(GUARDIAN, contain(MARKET, Level::Halted, HOUR)).await;
    assert!(world.is_set(world.switch).await);
    for (adopt, scope) in [(&swapped, MARKET), (&shorter, 3)] {
        let moved: ICordonGuard::ScopeMoved = world.refused(GOVERNOR, adopt.clone()).await;
        assert_eq!(moved.scope, scope);
        assert!(!world.send(GOVERNOR, world.guard, adopt.abi_encode()).await.status());
    }
    // What stands at the end is nobody's number yet.
    world.ok(GOVERNOR, longer).await;
    world
        .send(
            ANYONE,
            world.guard,
            ICordonGuard::settleCall { scope: MARKET }.abi_encode(),
        )
        .await;
    assert_eq!(
        (world.level(MARKET).await, world.level(OTHER).await),
        (Level::Halted, Level::Normal)
    );
    assert!(
        world.is_set(world.switch).await,
        "the contained market is closed as before"
    );
    // After the incident the order is the governor's affair, and the announcement still good. The last scope stays.
    world.pass(DAY).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert!(!world.is_set(world.switch).await);
    world.ok(GOVERNOR, swapped).await;
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.node.stop().await.unwrap();
}
