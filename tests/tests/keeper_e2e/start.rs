//! What keeps a keeper from starting, and what it says then.

use std::time::Duration;

use alloy::primitives::Address;
use cordon_client::config::Respond;
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, Options, Signers};

use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, USER, World, key};

async fn refused(world: &World, options: Options, signers: Signers) -> KeeperError {
    let path = world.dir.path().join("refused.db");
    let _ = std::fs::remove_file(&path);
    let store = Store::open(path, options.chain_id, options.guard).await.unwrap();
    match Keeper::new(options, &world.compiled, store, signers).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_own_clear_error() {
    let world = World::new(&GAUGE_RULE).await;
    let signers = World::signers;

    let down = Options {
        rpc: vec!["http://127.0.0.1:1".into()],
        rpc_timeout: Duration::from_millis(500),
        ..world.options()
    };
    let error = refused(&world, down, signers()).await.to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("cordon.toml"),
        "{error}"
    );

    let error = refused(
        &world,
        Options {
            chain_id: 1,
            ..world.options()
        },
        signers(),
    )
    .await
    .to_string();
    assert!(
        error.contains("serves chain 31337") && error.contains("chain 1"),
        "{error}"
    );

    let nowhere = Options {
        guard: Address::repeat_byte(9),
        ..world.options()
    };
    let error = refused(&world, nowhere, signers()).await;
    assert!(matches!(error, KeeperError::NoCode { .. }), "{error}");

    let not_a_guard = Options {
        guard: world.board,
        ..world.options()
    };
    let error = refused(&world, not_a_guard, signers()).await;
    assert!(matches!(error, KeeperError::NotAGuard { .. }), "{error}");

    let roleless = Signers::local(key(KEEPER), Some(key(USER)));
    let error = refused(&world, world.options(), roleless).await;
    assert!(
        matches!(&error, KeeperError::MissingRole { role: "Heartbeat", .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&key(USER).address().to_string()), "{error}");

    // By its own authority a keeper acts only with the role, and with a heartbeat.
    let mut by_authority = world.compiled.clone();
    by_authority.rules[0].respond = Respond::Contain;
    let signers_of = |keeper, heartbeat| Signers::local(key(keeper), heartbeat);
    let store = world.store().await;
    let roleless = signers_of(USER, Some(key(HEARTBEAT)));
    let error = Keeper::new(world.options(), &by_authority, store, roleless)
        .await
        .unwrap_err();
    assert!(
        matches!(error, KeeperError::MissingRole { role: "Keeper", .. }),
        "{error}"
    );
    let store = world.store().await;
    let error = Keeper::new(world.options(), &by_authority, store, signers_of(KEEPER, None))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("`gauge-low`") && error.to_string().contains("heartbeat_key"),
        "{error}"
    );

    let poor = Signers::local(alloy::signers::local::PrivateKeySigner::random(), None);
    let error = refused(&world, world.options(), poor).await;
    assert!(matches!(error, KeeperError::NoFunds { .. }), "{error}");

    let mut compiled = world.compiled.clone();
    compiled.code = vec![0, 1, 2].into();
    let store = world.store().await;
    let error = Keeper::new(world.options(), &compiled, store, signers())
        .await
        .unwrap_err();
    assert!(matches!(error, KeeperError::OtherRulebook { .. }), "{error}");

    let foreign = Store::open(world.dir.path().join("foreign.db"), 31_337, world.board)
        .await
        .unwrap();
    let error = Keeper::new(world.options(), &world.compiled, foreign, signers())
        .await
        .unwrap_err();
    assert!(matches!(error, KeeperError::OtherRecord { .. }), "{error}");
}
