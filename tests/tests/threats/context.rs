//! What is tried within one transaction against the pair of rules that stopped most in a study of hacks.

use alloy::primitives::Address;
use cordon_client::guard::ICordonGuard::{self, Action};

use crate::world::{OTHER, World};

/// No round trip, and at most 15 % of the pool out (the pool is what the gauge says).
const PAIR: &str = r#"
[[invariant]]
id = "no-round-trip"
scope = "other"
rule = "!round_trip"
check = ["Deposit", "Withdraw"]
in_call = "revert"
[[invariant]]
id = "outflow-share"
scope = "other"
rule = "left(gauge) <= gauge.value() * 15 %"
check = ["Withdraw", "Increase"]
in_call = "revert"
"#;

/// Steps of guarded calls, each with its `exit`.
async fn guarded(world: &World, calls: &[(Action, u64)]) -> Vec<(Address, Vec<u8>)> {
    let mut steps = Vec::new();
    for (action, amount) in calls {
        steps.push(world.enter_with(OTHER, *action, world.gauge, *amount));
        steps.push(world.exit(OTHER, *action).await);
    }
    steps
}

/// A flash loan goes in, the price is moved, and more comes out: in one transaction it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_in_one_transaction_is_refused() {
    let world = World::with(PAIR).await;
    world.set(world.gauge, 90).await;
    let attack = guarded(&world, &[(Action::Deposit, 50), (Action::Withdraw, 5)]).await;
    let breached: ICordonGuard::RuleBreached = world.run_refused(attack).await;
    assert_eq!(breached.rule, 4);
    // The same in two transactions is what users do.
    for call in [(Action::Deposit, 50), (Action::Withdraw, 5)] {
        let steps = guarded(&world, &[call]).await;
        assert!(world.run(steps).await.status());
    }
    world.node.stop().await.unwrap();
}

/// T16: many small withdrawals and loans in one transaction are one outflow; other assets and other transactions are not in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_outflow_split_within_a_transaction_is_one_sum() {
    let world = World::with(PAIR).await;
    world.set(world.gauge, 100).await;
    let honest = guarded(&world, &[(Action::Withdraw, 8), (Action::Increase, 7)]).await;
    assert!(world.run(honest.clone()).await.status());
    assert!(world.run(honest).await.status(), "every transaction begins at zero");
    let split = guarded(&world, &[(Action::Withdraw, 6); 3]).await;
    let breached: ICordonGuard::RuleBreached = world.run_refused(split).await;
    assert_eq!(
        (breached.rule, breached.observed.to(), breached.bound.to()),
        (5, 18, 15)
    );
    let mixed = guarded(&world, &[(Action::Withdraw, 8), (Action::Increase, 8)]).await;
    world.run_refused::<ICordonGuard::RuleBreached>(mixed).await;
    world.node.stop().await.unwrap();
}
