//! Several endpoints, one of which is wrong about what an action depends on: it is asked first, and believed by nobody.

use std::time::Duration;

use alloy::primitives::{U256, hex};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::record::{AlarmKind, Outcome};
use cordon_keeper::{Keeper, Options};
use cordon_node::NodeConfig;
use cordon_testkit::{Fault, RpcProxy};
use serde_json::{Value, json};

use crate::board::{GAUGE, STOPPED};
use crate::world::{GAUGE_RULE, KEEPER, World, until};

/// A breach is contained once by a keeper whose first endpoint answers requests that contain `part` with `lie`.
async fn contained_beside_a_liar(part: String, lie: impl AsyncFn(&World) -> Value) -> Outcome {
    let world = World::new(&GAUGE_RULE).await;
    let lie = lie(&world).await;
    let plan = move |_: usize, body: &str| match body.contains(&part) {
        true => Fault::Answer(lie.clone()),
        false => Fault::None,
    };
    let liar = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
    let options = Options {
        rpc: vec![liar.url(), world.node.http_endpoint()],
        ..world.options()
    };
    let store = world.store().await;
    let mut keeper = world
        .keeper_with(options, store.clone(), World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let height = world.height().await;
    keeper.done(height).await;
    world.set(GAUGE, 5_000).await;
    until("it is contained", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    assert_eq!(world.get(STOPPED).await, U256::ONE);
    until("its transaction is found", || async { world.nonce(KEEPER).await > 0 }).await;
    until("what was decided is ended", || async {
        store.open_intents().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    let outcome = store.intents().await.unwrap()[0].outcome.unwrap();
    keeper.stop().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_one_endpoint_invents_is_not_used() {
    let invented = contained_beside_a_liar("eth_getTransactionCount".to_owned(), async |_| json!("0x64"));
    assert_eq!(invented.await, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_one_endpoint_invents_does_not_keep_the_keeper_from_acting() {
    let selector = hex::encode(Guard::scopeStatusCall::SELECTOR);
    let held = contained_beside_a_liar(selector, async |_| {
        let status = Guard::ScopeStatus {
            level: Guard::Level::ReduceOnly,
            since: 1,
            expiresAt: u64::MAX,
            ceilingAt: u64::MAX,
            incident: 1,
            releaseAt: 0,
            applied: U256::ONE,
        };
        json!(hex::encode_prefixed(Guard::scopeStatusCall::abi_encode_returns(
            &status
        )))
    });
    assert_eq!(held.await, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_another_chain_is_named_and_does_not_stop_a_start() {
    let world = World::new(&GAUGE_RULE).await;
    let other = NodeConfig {
        silent: true,
        chain_id: Some(world.node.chain_id() + 1),
        ..NodeConfig::default()
    };
    let other = cordon_node::spawn(other).await.unwrap();
    let options = Options {
        rpc: vec![other.http_endpoint(), world.node.http_endpoint()],
        ..world.options()
    };
    let store = world.store().await;
    let checked = Keeper::new(options.clone(), &world.compiled, store.clone(), World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let problems = checked.preflight().await.problems;
    assert!(
        problems.len() == 1 && problems[0].contains(other.http_endpoint().trim_end_matches('/')),
        "a check names it: {problems:?}"
    );
    drop(checked);
    let mut keeper = world
        .keeper_with(options, store.clone(), World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    until("people hear of it", || async {
        let alarms = store.alarms().await.unwrap();
        let named = alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::Disagreement.name());
        named
            .into_iter()
            .any(|alarm| alarm.subject.contains(&port(&other.http_endpoint())))
    })
    .await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.nonce(KEEPER).await, 1);
    keeper.stop().await;
}

fn port(url: &str) -> String {
    url.trim_end_matches('/')
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned()
}
