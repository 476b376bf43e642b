//! T29 and T34: drift that stays under every bound per step, and attempts to teach the guard another past.

use alloy::primitives::{B256, U256};
use alloy::rpc::types::TransactionReceipt;
use cordon_client::guard::ICordonGuard::{self, Action, Level, Verdict};
use cordon_core::rule::Unknown;

use crate::world::{ANYONE, DAY, GUARDIAN, HOUR, World, contain, events, step, trip};

/// The scope of the rules below.
const MORE: u8 = 3;
/// Bounds what one call may move: hooked to Deposit and Trade.
const PER_STEP: u16 = 4;
/// Compares with an hour ago: hooked to Trade, and trippable.
const DRIFT: u16 = 5;

const RULES: &str = r#"
[[invariant]]
id = "per-step"
scope = "more"
rule = "near(gauge.value(), entry(gauge.value()), 3 %)"
check = ["Deposit", "Trade"]
in_call = "revert"
[[invariant]]
id = "drift"
scope = "more"
rule = "near(gauge.value(), anchor(gauge.value(), 1 hour, 1000, 1e8, step: 2 %), 10 %)"
check = ["Trade"]
in_call = "revert"
level = "ReduceOnly"
"#;

const HONEST: u64 = 10_000;

/// A sealed guard whose anchor of the gauge is known: [`HONEST`].
async fn anchored() -> World {
    let world = World::with(RULES).await;
    world.ok(crate::world::GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set(world.gauge, HONEST).await;
    for wait in [HOUR, HOUR] {
        world.ok(ANYONE, observation()).await;
        world.pass(wait).await;
    }
    world.ok(ANYONE, observation()).await;
    assert!(stream(&world).await.known);
    world
}

fn observation() -> ICordonGuard::observeCall {
    ICordonGuard::observeCall { streams: vec![0] }
}

async fn stream(world: &World) -> ICordonGuard::Stream {
    world.ask(ANYONE, ICordonGuard::streamCall { index: 0 }).await.unwrap()
}

async fn verdict(world: &World, rule: u16) -> Verdict {
    let witness = vec![];
    let call = ICordonGuard::evaluateCall { rule, witness };
    world.ask(ANYONE, call).await.unwrap().verdict
}

fn gauge(world: &World, value: u64) -> (alloy::primitives::Address, Vec<u8>) {
    World::setting(world.gauge, U256::from(value))
}

/// One guarded call that moves the gauge.
async fn moved(world: &World, action: Action, value: u64) -> TransactionReceipt {
    let exit = world.exit(MORE, action).await;
    world
        .run(vec![world.enter(MORE, action), gauge(world, value), exit])
        .await
}

/// T29: each call moves the price by 2 %, below the 3 % that a call may. The thief observes the stream himself whenever he can.
#[tokio::test(flavor = "multi_thread")]
async fn t29_slow_drift_under_a_per_step_bound_is_stopped_by_the_anchor() {
    let world = anchored().await;
    let (mut value, mut steps) = (HONEST, 0);
    loop {
        let next = value + value / 50;
        let receipt = moved(&world, Action::Trade, next).await;
        if !receipt.status() {
            break;
        }
        (value, steps) = (next, steps + 1);
        assert!(steps < 20, "the drift was not stopped at {value}");
        world.pass(300).await;
        world
            .send(
                ANYONE,
                world.guard,
                alloy::sol_types::SolCall::abi_encode(&observation()),
            )
            .await;
    }
    assert!((4..=6).contains(&steps), "{steps} steps");
    assert!(value < HONEST * 112 / 100);
    // It was the anchor that stopped it: the call alone is within its bound.
    let exit = world.exit(MORE, Action::Trade).await;
    let breached: ICordonGuard::RuleBreached = world
        .run_refused(vec![
            world.enter(MORE, Action::Trade),
            gauge(&world, value + value / 50),
            exit,
        ])
        .await;
    assert_eq!((breached.rule, breached.bound), (DRIFT, U256::from(HONEST)));

    // By calls that only the bound per step looks at he goes on; whoever sees it trips.
    for _ in 0..8 {
        value += value / 50;
        assert!(moved(&world, Action::Deposit, value).await.status());
    }
    assert_eq!(
        verdict(&world, PER_STEP).await,
        Verdict::Unknown,
        "only hooks know the entry"
    );
    assert_eq!(verdict(&world, DRIFT).await, Verdict::Breached);
    world.ok(ANYONE, trip(DRIFT)).await;
    world.pass(2).await;
    world.ok(ANYONE, trip(DRIFT)).await;
    assert_eq!(world.level(MORE).await, Level::ReduceOnly);
    world.node.stop().await.unwrap();
}

/// A day's anchor of a value that is 100, in the only rule that reads it.
const DAILY: &str = r#"
[[invariant]]
id = "daily"
scope = "more"
rule = "near(gauge.value(), anchor(gauge.value(), 1 day, 50, 200, step: 10 %), 20 %)"
check = ["Trade"]
in_call = "revert"
level = "ReduceOnly"
"#;

/// The number of that rule.
const STEADY: u16 = 4;

async fn beginning() -> World {
    let world = World::with(DAILY).await;
    world.ok(crate::world::GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set(world.gauge, 100).await;
    world
}

/// Moves the gauge, observes, and moves it back: what a flash loan does to a spot price.
fn lie(world: &World, value: u64) -> Vec<(alloy::primitives::Address, Vec<u8>)> {
    vec![gauge(world, value), step(world, &observation()), gauge(world, 100)]
}

/// T34: two transactions of a stranger once made an anchor begin at 100,000 while the value was 100. Now the bounds refuse such a value; one
/// within them begins nothing in two seconds; and a day later somebody honest has contradicted it.
#[tokio::test(flavor = "multi_thread")]
async fn t34_a_stranger_does_not_choose_where_an_anchor_begins() {
    let world = beginning().await;
    for _ in 0..2 {
        let refused: ICordonGuard::StreamUnreadable = world.run_refused(lie(&world, 100_000)).await;
        assert_eq!(Unknown::from_code(refused.reason), Some(Unknown::OutOfBounds));
        assert!(!world.run(lie(&world, 100_000)).await.status());
        world.pass(2).await;
    }
    assert_eq!(stream(&world).await.observedAt, 0);
    // He is first every day, with a value that the bounds admit. Who is honest looks two seconds later, and takes its place.
    for _ in 0..3 {
        assert!(world.run(lie(&world, 200)).await.status());
        world.pass(2).await;
        let again: ICordonGuard::StreamNotDue = world.run_refused(lie(&world, 200)).await;
        assert!(again.dueAt > now(&world).await + DAY - 60);
        world.ok(ANYONE, observation()).await;
        let of = stream(&world).await;
        assert!(!of.known && of.fresh == U256::ZERO);
        world.pass(DAY).await;
    }
    assert_eq!(
        verdict(&world, STEADY).await,
        Verdict::Unknown,
        "no level is raised meanwhile"
    );
    // Once he is late by a block it begins with what is true.
    world.ok(ANYONE, observation()).await;
    assert_eq!(stream(&world).await.fresh, U256::from(100));
    world.pass(DAY).await;
    assert!(world.run(lie(&world, 200)).await.status());
    let of = stream(&world).await;
    assert!(of.known && of.anchor == U256::from(100));
    assert_eq!(verdict(&world, STEADY).await, Verdict::Holds);
    world.node.stop().await.unwrap();
}

/// T34: nothing is learnt in an incident, so that once nobody could contradict what a stream was to begin with: a lie just before one, the
/// incident, the same lie in the first block after it.
#[tokio::test(flavor = "multi_thread")]
async fn t34_a_lie_that_waits_does_not_survive_an_incident() {
    let world = beginning().await;
    assert!(world.run(lie(&world, 200)).await.status());
    world.ok(GUARDIAN, contain(MORE, Level::ReduceOnly, DAY)).await;
    world.pass(HOUR).await;
    // He says so again, to no avail; who is honest contradicts him, and nothing else is stored.
    let frozen: ICordonGuard::StreamFrozen = world.run_refused(lie(&world, 200)).await;
    assert_eq!((frozen.stream, frozen.scope), (0, MORE));
    let receipt = world.ok(ANYONE, observation()).await;
    assert_eq!(events::<ICordonGuard::StreamBegunAnew>(&receipt).len(), 1);
    world
        .refused::<_, ICordonGuard::StreamFrozen>(ANYONE, observation())
        .await;
    assert_eq!(stream(&world).await.observedAt, 0);
    world.pass(DAY + 3 * HOUR).await;
    assert_eq!(world.level(MORE).await, Level::Normal);
    // The first block after it: his lie begins to wait, and is contradicted as ever.
    assert!(world.run(lie(&world, 200)).await.status());
    assert_eq!(stream(&world).await.fresh, U256::ZERO);
    world.pass(2).await;
    world.ok(ANYONE, observation()).await;
    world.pass(DAY).await;
    world.ok(ANYONE, observation()).await;
    assert_eq!(stream(&world).await.fresh, U256::from(100));
    world.node.stop().await.unwrap();
}

/// T34: with nobody else looking for two days he begins it where he wants to, within the bounds: the worst case. Who then observes once a
/// day has it back in a few days, not in the 66 that it took from 100,000.
#[tokio::test(flavor = "multi_thread")]
async fn t34_what_a_stranger_begins_alone_is_within_the_bounds() {
    let world = beginning().await;
    for _ in 0..3 {
        assert!(world.run(lie(&world, 200)).await.status());
        world.pass(DAY).await;
    }
    let of = stream(&world).await;
    assert!(of.known && of.anchor == U256::from(200));
    assert_eq!(verdict(&world, STEADY).await, Verdict::Breached);
    let mut days = 0;
    while verdict(&world, STEADY).await == Verdict::Breached {
        world.ok(ANYONE, observation()).await;
        world.pass(DAY).await;
        days += 1;
        assert!(days <= 8, "{days} days of honest observations");
    }
    assert!(days >= 5, "a step is 10 % a day");
    assert_eq!(verdict(&world, STEADY).await, Verdict::Holds);
    world.node.stop().await.unwrap();
}

/// T34: lies within one transaction, by flash loan: the stream takes one observation per period, and one alone moves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn t34_observing_often_and_lying_now_and_then_teaches_nothing() {
    let world = anchored().await;
    let lie = |world: &World| {
        let observe = step(world, &observation());
        vec![gauge(world, 3 * HONEST), observe, gauge(world, HONEST)]
    };
    let (mut taken, mut refused) = (0, 0);
    for minute in 0..6 * 60 / 5 {
        world.pass(300).await;
        // In every other hour honest people are faster.
        if minute / 12 % 2 == 1 && stream(&world).await.dueAt <= now(&world).await {
            world.ok(ANYONE, observation()).await;
        }
        let receipt = world.run(lie(&world)).await;
        if receipt.status() {
            assert_eq!(events::<ICordonGuard::StreamObserved>(&receipt).len(), 1);
            taken += 1;
        } else {
            refused += 1;
        }
        let of = stream(&world).await;
        assert!(of.known);
        assert_eq!((of.anchor, of.fresh), (U256::from(HONEST), U256::from(HONEST)));
        assert_eq!(verdict(&world, DRIFT).await, Verdict::Holds);
    }
    assert!(
        (2..=4).contains(&taken) && refused > 60,
        "{taken} taken, {refused} refused"
    );
    world.node.stop().await.unwrap();
}

/// T34: whoever makes every observation, each a lie, moves the past by its step an hour and no more. That is the worst case.
#[tokio::test(flavor = "multi_thread")]
async fn t34_who_makes_every_observation_moves_the_anchor_by_its_step_only() {
    let world = anchored().await;
    for hour in 1..=8_u32 {
        world.pass(HOUR).await;
        let observe = step(&world, &observation());
        let lie = vec![gauge(&world, 1_000 * HONEST), observe, gauge(&world, HONEST)];
        assert!(world.run(lie).await.status());
        let most = f64::from(u32::try_from(HONEST).unwrap()) * 1.02_f64.powi(i32::try_from(hour).unwrap());
        let fresh: u64 = stream(&world).await.fresh.to();
        assert!(fresh as f64 <= most + 1.0, "{fresh} after {hour} hours");
        if hour <= 5 {
            assert_eq!(verdict(&world, DRIFT).await, Verdict::Holds);
        }
    }
    world.node.stop().await.unwrap();
}

/// T34: not within a guarded call, which may put back what it moved; and not while people look at an incident.
#[tokio::test(flavor = "multi_thread")]
async fn t34_nothing_is_learnt_within_a_guarded_call_or_during_an_incident() {
    let world = anchored().await;
    world.pass(HOUR).await;
    let exit = world.exit(MORE, Action::Trade).await;
    let within = vec![
        world.enter(MORE, Action::Trade),
        gauge(&world, HONEST + 200),
        step(&world, &observation()),
        gauge(&world, HONEST),
        exit,
    ];
    world.run_refused::<ICordonGuard::GuardedCallRuns>(within).await;
    world.ok(GUARDIAN, contain(MORE, Level::Throttled, 2 * HOUR)).await;
    let frozen: ICordonGuard::StreamFrozen = world.refused(ANYONE, observation()).await;
    assert_eq!((frozen.stream, frozen.scope), (0, MORE));
    world.pass(4 * HOUR).await;
    world.ok(ANYONE, observation()).await;
    let of = stream(&world).await;
    assert!(of.known && of.id != B256::ZERO[..16] && of.anchor == U256::from(HONEST));
    world.node.stop().await.unwrap();
}

async fn now(world: &World) -> u64 {
    use alloy::providers::Provider;
    let head = world
        .provider
        .get_block(alloy::eips::BlockId::latest())
        .await
        .unwrap()
        .unwrap();
    head.header.timestamp
}
