//! Several keys of one keeper: the first to get through counts.

use std::time::Duration;

use alloy::primitives::U256;
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::Outcome;
use cordon_keeper::respond::{KeySigner, RemoteSigner};
use cordon_keeper::{Options, Signers};

use crate::board::{GAUGE, STOPPED};
use crate::world::{GAUGE_RULE, KEEPER, OTHER, World, key, until};

/// Breaches the rule under a keeper with these keys and says how many transactions each of two accounts has sent.
async fn contained_with(signers: Signers, hedge: Duration) -> (u64, u64) {
    let world = World::new(&GAUGE_RULE).await;
    let mut options: Options = world.options();
    options.deliver.hedge = hedge;
    let mut keeper = world.keeper_at_head(options, world.store().await, signers).await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    until("everything is ended", || async {
        keeper.store.open_intents().await.unwrap().is_empty()
    })
    .await;
    let height = world.height().await;
    world.reach(height + 6).await;
    assert_eq!(world.get(STOPPED).await, U256::from(1));
    let filter = Filter::new()
        .address(world.guard)
        .event_signature(ICordonGuard::LevelRaised::SIGNATURE_HASH)
        .from_block(0);
    assert_eq!(world.provider.get_logs(&filter).await.unwrap().len(), 1, "raised once");
    let outcomes: Vec<_> = keeper
        .store
        .intents()
        .await
        .unwrap()
        .iter()
        .map(|i| i.outcome)
        .collect();
    assert_eq!(outcomes, [Some(Outcome::Done)]);
    assert_eq!(keeper.incident().await.id, 1);
    keeper.stop().await;
    (world.nonce(KEEPER).await, world.nonce(OTHER).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_sign_is_overtaken_by_the_next() {
    // Its service is down.
    let dead = RemoteSigner::new(SecretText::new("http://127.0.0.1:1/"), key(OTHER).address()).unwrap();
    let signers = Signers {
        keeper: KeySigner::Remote(dead),
        more: vec![key(KEEPER).into()],
        heartbeat: None,
    };
    assert_eq!(contained_with(signers, Duration::from_millis(250)).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_gets_through_keeps_the_others_from_sending() {
    let both = Signers {
        more: vec![key(OTHER).into()],
        ..Signers::local(key(KEEPER), None)
    };
    assert_eq!(contained_with(both, Duration::from_secs(20)).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_that_send_at_the_same_time_raise_once_and_are_both_of_use_afterwards() {
    let both = Signers {
        more: vec![key(OTHER).into()],
        ..Signers::local(key(KEEPER), None)
    };
    let (first, second) = contained_with(both, Duration::ZERO).await;
    // Both may be in a block: the second then finds the level held, and reverts or changes nothing.
    assert!(first <= 1 && second <= 1 && first + second >= 1, "{first} and {second}");
}
