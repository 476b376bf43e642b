//! Several scopes at once.

use alloy::primitives::B256;
use cordon_client::guard::ICordonGuard::{self, IncidentState, Level, Opener};

use crate::world::{ANYONE, BEATER, HOUR, KEEPER, MARKET, OTHER, PRICE, PRODUCT, World, events};

fn trip_many(rules: &[u16]) -> ICordonGuard::tripManyCall {
    ICordonGuard::tripManyCall {
        rules: rules.to_vec(),
        witnesses: vec![vec![]; rules.len()],
    }
}

fn contain_many(scopes: &[u8], seconds: u64) -> ICordonGuard::containManyCall {
    ICordonGuard::containManyCall {
        scopes: scopes.to_vec(),
        level: Level::ReduceOnly,
        duration: u32::try_from(seconds).unwrap(),
        evidence: B256::repeat_byte(1),
    }
}

/// The attacker sees a batch of trips coming and mends one of the breaches in front of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_not_stopped_by_whoever_mends_one_breach() {
    let world = World::sealed().await;
    world.set(world.price, 300).await;
    world.set(world.gauge, 300).await;
    // The breach of the market's price is gone when the batch arrives.
    world.set(world.price, 1).await;
    let receipt = world.ok(ANYONE, trip_many(&[PRICE, PRODUCT])).await;
    assert_eq!(events::<ICordonGuard::LevelRaised>(&receipt).len(), 1);
    assert_eq!(world.level(MARKET).await, Level::Normal);
    assert_eq!(world.level(OTHER).await, Level::ReduceOnly);
    world.set(world.price, 300).await;
    let receipt = world.ok(ANYONE, trip_many(&[PRODUCT, PRICE])).await;
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&receipt).len(), 1);
    assert!(world.is_set(world.switch).await);
    let incident = world
        .ask(ANYONE, ICordonGuard::incidentCall { number: 2 })
        .await
        .unwrap();
    assert_eq!(
        (incident.scope, incident.rule, incident.observed.to()),
        (MARKET, PRICE, 300)
    );
    assert_eq!(
        (incident.state, incident.openedBy),
        (IncidentState::Contained, Opener::Trip)
    );
    world.set(world.price, 1).await;
    world.set(world.gauge, 1).await;
    world.pass(HOUR).await;
    world
        .refused::<_, ICordonGuard::RuleHolds>(ANYONE, trip_many(&[PRICE, PRODUCT]))
        .await;
    world.node.stop().await.unwrap();
}

/// The keeper's key is stolen: a batch is charged for each scope, and is refused as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_buys_no_more_than_single_calls() {
    let world = World::sealed().await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world
        .refused::<_, ICordonGuard::BudgetSpent>(KEEPER, contain_many(&[MARKET, OTHER, 3], HOUR))
        .await;
    world
        .refused::<_, ICordonGuard::MissingRole>(ANYONE, contain_many(&[MARKET], 60))
        .await;
    world.ok(KEEPER, contain_many(&[MARKET, OTHER], HOUR)).await;
    let more = world
        .refused::<_, ICordonGuard::BudgetSpent>(KEEPER, contain_many(&[3], 60))
        .await;
    assert!(more.available < 60, "{} s are left", more.available);
    assert_eq!(world.level(3).await, Level::Normal);
    world.node.stop().await.unwrap();
}
