//! T29 and T34 for what the guard learns (`score`, `drift`, `lowest`): drift under every threshold, and attempts to teach it that a theft
//! is usual.

use alloy::primitives::{Address, U256};
use alloy::sol_types::{SolCall, SolError};
use cordon_client::guard::ICordonGuard::{self, Action, Level, Verdict};

use crate::world::{ANYONE, GOVERNOR, GUARDIAN, HOUR, World, contain, events, step, trip};

/// The scope of the rules below.
const MORE: u8 = 3;
/// Compares with what is usual: hooked to Trade, and trippable.
const SCORE: u16 = 4;
/// Sums up small deviations: trippable.
const DRIFT: u16 = 5;
/// Compares with the least of a day.
const LOWEST: u16 = 6;
/// All three learn from one stream.
const STREAM: u8 = 0;

/// Learns by an eighth of each observation, so that 24 of them warm it up, one every ten minutes. The deviation is assumed to lie between
/// 50 and 200, the mean between 5,000 and 20,000.
const RULES: &str = r#"
[[invariant]]
id = "usual"
scope = "more"
rule = "score(gauge.value(), 10 min, 5000, 20000, rate: 12.5 %, floor: 50, roof: 200) <= 6 sigma"
check = ["Trade"]
in_call = "revert"
level = "ReduceOnly"
[[invariant]]
id = "steady"
scope = "more"
rule = "drift(gauge.value(), 10 min, 5000, 20000, rate: 12.5 %, floor: 50, roof: 200) <= 8 sigma"
level = "ReduceOnly"
[[invariant]]
id = "no-new-low"
scope = "more"
rule = "gauge.value() >= lowest(gauge.value(), 1 day, 5000, 20000, spacing: 10 min, rate: 12.5 %, floor: 50, roof: 200) * 90 %"
level = "ReduceOnly"
"#;

const HONEST: u64 = 10_000;
const SPACING: u64 = 600;

/// The first of these rules as one whose author asserts that no transaction moves it, which a trip needs no second observation for.
const ROBUST: &str = r#"
[[invariant]]
id = "usual"
scope = "more"
rule = "score(gauge.value(), 10 min, 5000, 20000, rate: 12.5 %, floor: 50, roof: 200) <= 6 sigma"
robust = true
level = "ReduceOnly"
"#;

/// A sealed guard that has learnt [`HONEST`], and not a spacing more than it has to.
async fn warm() -> World {
    warm_with(RULES, &[SCORE, DRIFT, LOWEST]).await
}

async fn warm_with(rules: &str, numbers: &[u16]) -> World {
    let world = World::with(rules).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set(world.gauge, HONEST).await;
    for _ in 0..=24 {
        assert_eq!(
            verdict(&world, SCORE).await,
            Verdict::Unknown,
            "nothing is known before the warm-up"
        );
        world.pass(SPACING).await;
        world.ok(ANYONE, observation()).await;
    }
    for rule in numbers {
        assert_eq!(verdict(&world, *rule).await, Verdict::Holds);
    }
    world
}

fn observation() -> ICordonGuard::observeCall {
    ICordonGuard::observeCall { streams: vec![STREAM] }
}

async fn stream(world: &World) -> ICordonGuard::Stream {
    let call = ICordonGuard::streamCall { index: STREAM };
    world.ask(ANYONE, call).await.unwrap()
}

async fn evaluated(world: &World, rule: u16) -> ICordonGuard::Evaluation {
    let witness = vec![];
    let call = ICordonGuard::evaluateCall { rule, witness };
    world.ask(ANYONE, call).await.unwrap()
}

async fn verdict(world: &World, rule: u16) -> Verdict {
    evaluated(world, rule).await.verdict
}

fn gauge(world: &World, value: u64) -> (Address, Vec<u8>) {
    World::setting(world.gauge, U256::from(value))
}

/// A flash loan's worth: the value is moved, observed and put back in one transaction.
fn lie(world: &World, value: u64) -> Vec<(Address, Vec<u8>)> {
    vec![gauge(world, value), step(world, &observation()), gauge(world, HONEST)]
}

/// What the gauge would score, by a call of the guarded contract that moves it.
async fn refused_at(world: &World, value: u64) -> ICordonGuard::RuleBreached {
    let exit = world.exit(MORE, Action::Trade).await;
    let steps = vec![world.enter(MORE, Action::Trade), gauge(world, value), exit];
    world.run_refused(steps).await
}

/// T29: the price goes up by a quarter of what one call may deviate, again and again; nobody else observes. No score shows it, their sum does.
#[tokio::test(flavor = "multi_thread")]
async fn t29_small_deviations_that_no_score_shows_add_up_to_a_drift() {
    let world = warm().await;
    let (mut value, mut steps) = (HONEST, 0);
    loop {
        value += 75;
        world.set(world.gauge, value).await;
        assert_eq!(verdict(&world, SCORE).await, Verdict::Holds, "at {value}");
        steps += 1;
        if verdict(&world, DRIFT).await == Verdict::Breached {
            break;
        }
        assert!(steps < 12, "the drift was not seen at {value}");
        world.pass(SPACING).await;
        world.ok(ANYONE, observation()).await;
    }
    assert!((3..=8).contains(&steps), "{steps} steps");
    assert!(value < HONEST * 107 / 100);
    // Observing does not switch the alarm off; it can be tripped twice, and stands.
    world.ok(ANYONE, trip(DRIFT)).await;
    world.pass(SPACING).await;
    world.ok(ANYONE, observation()).await;
    assert_eq!(verdict(&world, DRIFT).await, Verdict::Breached);
    world.ok(ANYONE, trip(DRIFT)).await;
    assert_eq!(world.level(MORE).await, Level::ReduceOnly);
    // Over when the value is back: what was added up is no lasting debt.
    world.set(world.gauge, HONEST).await;
    assert_eq!(verdict(&world, DRIFT).await, Verdict::Holds);
    world.node.stop().await.unwrap();
}

/// T34: by flash loan, an extreme value in the one observation of each spacing that honest people leave to the thief, and as many more as
/// he likes.
#[tokio::test(flavor = "multi_thread")]
async fn t34_extreme_values_observed_now_and_then_teach_nothing() {
    let world = warm().await;
    let (mut taken, mut refused) = (0, 0);
    for turn in 0..24 {
        world.pass(SPACING / 2).await;
        let due = stream(&world).await.dueAt <= now(&world).await;
        // In every other spacing honest people are faster.
        if due && turn % 4 == 3 {
            world.ok(ANYONE, observation()).await;
        }
        let values = match turn % 8 {
            0..4 => [1_000_000_000, 1],
            _ => [1, 1_000_000_000],
        };
        for value in values {
            let receipt = world.run(lie(&world, value)).await;
            if receipt.status() {
                let seen = events::<ICordonGuard::StreamObserved>(&receipt);
                // Counts as four deviations.
                let (counted, of) = (seen[0].fresh.to::<u64>(), stream(&world).await);
                assert!(seen.len() == 1 && counted.abs_diff(HONEST) <= 1_200, "{counted}");
                assert_eq!(of.fresh, seen[0].fresh);
                taken += 1;
            } else {
                refused += 1;
            }
        }
        for rule in [SCORE, DRIFT, LOWEST] {
            assert_eq!(verdict(&world, rule).await, Verdict::Holds, "turn {turn}, rule {rule}");
        }
    }
    assert!(
        (5..=8).contains(&taken) && refused >= 40,
        "{taken} taken, {refused} refused"
    );
    // Half of all observations were lies; a theft is still none of what is usual.
    let breached = refused_at(&world, HONEST * 13 / 10).await;
    assert_eq!((breached.rule, breached.bound), (SCORE, U256::from(6_000)));
    // No two in a row were lies: the least of the day is an honest value.
    let least = evaluated(&world, LOWEST).await.bound;
    assert!(least >= U256::from(HONEST * 85 / 100), "{least}");
    world.node.stop().await.unwrap();
}

/// T34: whoever makes every observation gets as far as the text of the rule lets him, after as many spacings as the rate asks for. That
/// is the worst case.
#[tokio::test(flavor = "multi_thread")]
async fn t34_who_makes_every_observation_meets_the_bounds_of_the_text() {
    let world = warm().await;
    let mut mean = HONEST;
    for spacing in 1..=100_u32 {
        world.pass(SPACING).await;
        assert!(world.run(lie(&world, 1_000_000_000)).await.status());
        let next: u64 = stream(&world).await.anchor.to();
        // An eighth of four deviations, each at most 200.
        assert!(next <= mean + 101, "{mean}, then {next} after {spacing}");
        mean = next;
    }
    assert!(mean <= 20_000, "{mean}");
    // Even then a deviation is 200 at most: what lies outside is refused.
    let breached = refused_at(&world, 22_000).await;
    assert_eq!(breached.rule, SCORE);
    assert!(breached.observed >= U256::from((22_000 - mean) * 1_000 / 200 - 10));
    world.node.stop().await.unwrap();
}

/// T34: not within a guarded call, which may put back what it moved; and not while people look at an incident.
#[tokio::test(flavor = "multi_thread")]
async fn t34_nothing_is_learnt_within_a_guarded_call_or_during_an_incident() {
    let world = warm().await;
    world.pass(SPACING).await;
    let exit = world.exit(MORE, Action::Trade).await;
    let mut within = lie(&world, 3 * HONEST);
    within.insert(0, world.enter(MORE, Action::Trade));
    within.push(exit);
    world.run_refused::<ICordonGuard::GuardedCallRuns>(within).await;
    world.ok(GUARDIAN, contain(MORE, Level::Throttled, HOUR)).await;
    let frozen: ICordonGuard::StreamFrozen = world.refused(ANYONE, observation()).await;
    assert_eq!((frozen.stream, frozen.scope), (STREAM, MORE));
    let before = stream(&world).await;
    world.pass(3 * HOUR).await;
    // Too old to be compared with after so long; the first observation brings it back, without a warm-up.
    assert_eq!(verdict(&world, SCORE).await, Verdict::Unknown);
    world.ok(ANYONE, observation()).await;
    let after = stream(&world).await;
    assert!(after.known && after.anchor == before.anchor);
    assert_eq!(verdict(&world, SCORE).await, Verdict::Holds);
    world.node.stop().await.unwrap();
}

/// T34: one lie seeds nothing, whoever is first.
#[tokio::test(flavor = "multi_thread")]
async fn t34_the_first_observation_alone_seeds_nothing() {
    let world = World::with(RULES).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set(world.gauge, HONEST).await;
    assert!(world.run(lie(&world, 1_000_000_000)).await.status());
    world.pass(2).await;
    world.ok(ANYONE, observation()).await;
    assert_eq!(stream(&world).await.anchor, U256::ZERO);
    world.pass(2).await;
    world.ok(ANYONE, observation()).await;
    assert_eq!(stream(&world).await.anchor, U256::from(HONEST));
    world.node.stop().await.unwrap();
}

/// How a call ended that was sent with less and less gas.
#[derive(Debug, Default)]
struct Swept {
    /// It passed.
    passed: u32,
    /// It was refused with the error looked for.
    refused: u32,
    /// It was refused because the gas does not suffice.
    starved: u32,
}

/// Sends a call with all sorts of gas, each time to the same state. Without a word it may end too: then the program that was called first had
/// no gas itself.
async fn sweep<E: SolError>(world: &World, from: Address, input: Vec<u8>) -> Swept {
    let mut swept = Swept::default();
    for gas in (60_000..1_500_000u64).step_by(15_000) {
        match world.call_with(from, world.guard, input.clone(), gas).await {
            Ok(_) => swept.passed += 1,
            Err(data) if E::abi_decode(&data).is_ok() => swept.refused += 1,
            Err(data) if ICordonGuard::OutOfGasFloor::abi_decode(&data).is_ok() => swept.starved += 1,
            Err(data) => assert!(data.is_empty(), "with {gas} gas another error: {data}"),
        }
    }
    swept
}

/// T24: the rule is evaluated by another program than the one that trips: whatever gas reaches that, a rule that is breached does not hold,
/// one that holds raises no level, and neither is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn t24_a_starved_statistic_is_no_verdict_in_a_trip() {
    let world = warm_with(ROBUST, &[SCORE]).await;
    for (value, breached) in [(HONEST, false), (HONEST * 13 / 10, true)] {
        world.set(world.gauge, value).await;
        let swept = sweep::<ICordonGuard::RuleHolds>(&world, ANYONE, trip(SCORE).abi_encode()).await;
        assert_eq!(
            (swept.passed > 0, swept.refused > 0),
            (breached, !breached),
            "{swept:?}"
        );
        assert!(swept.starved > 0, "{swept:?}");
    }
    world.node.stop().await.unwrap();
}

/// T24: a robust rule over a statistic that is breached holds a release up, whatever gas it is sent with, also for the governor.
#[tokio::test(flavor = "multi_thread")]
async fn t24_a_starved_statistic_lets_no_release_pass() {
    let world = warm_with(ROBUST, &[SCORE]).await;
    world.ok(GUARDIAN, contain(MORE, Level::ReduceOnly, HOUR)).await;
    world.ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MORE }).await;
    world.pass(900).await;
    world.set(world.gauge, HONEST * 13 / 10).await;
    let release = ICordonGuard::releaseCall { scope: MORE };
    for from in [GUARDIAN, GOVERNOR] {
        let swept = sweep::<ICordonGuard::RuleBreached>(&world, from, release.abi_encode()).await;
        assert!(
            swept.passed == 0 && swept.refused > 0 && swept.starved > 0,
            "{from}: {swept:?}"
        );
    }
    world.set(world.gauge, HONEST).await;
    world.ok(GUARDIAN, release).await;
    assert_eq!(world.level(MORE).await, Level::Grace);
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
