//! Trips: who may raise what, on what proof.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{Address, B256};
use common::{calls, rules, Abi, Mood, World, ANYONE, GUARDIAN, HOUR, MARKET, START};
use cordon_core::{scope::CEILING, Level};
use cordon_host::{layout, CallKind};

#[test]
fn anyone_trips_a_breached_rule_and_the_market_is_closed() {
    let mut world = World::new();
    world.price.set(Some(101));
    assert_eq!(world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap(), 1);
    let tripped = &world.events::<Abi::RuleTripped>()[0];
    assert_eq!(
        (
            tripped.rule,
            tripped.incident,
            tripped.observed.to::<u64>(),
            tripped.bound.to::<u64>()
        ),
        (0, 1, 101, 100)
    );
    let raised = &world.events::<Abi::LevelRaised>()[0];
    assert_eq!((raised.scope, raised.expiresAt, raised.by), (1, START + HOUR, ANYONE));
    assert_eq!(world.events::<Abi::IncidentOpened>()[0].incident, 1);
    assert_eq!(world.events::<Abi::ContainmentApplied>()[0].call, calls::CLOSE);
    assert!(world.market.closed.get());
    world.done();
    assert_eq!(world.level(1), Level::ReduceOnly);
    assert_eq!(world.level(0), Level::Normal);
}

#[test]
fn the_level_is_stored_before_the_call_goes_out() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    assert!(world.market.raised_seen.get());
    let call = world
        .guard
        .host
        .calls
        .iter()
        .find(|call| call.kind == CallKind::Call)
        .unwrap();
    assert_eq!((call.target, call.gas), (MARKET, 200_000));
}

#[test]
fn a_second_trip_changes_and_spends_nothing() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.pass(1);
    let before = world.guard.host.storage.clone();
    assert_eq!(world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap(), 1);
    assert!(world.guard.host.logs.is_empty());
    assert!(world.guard.host.calls.is_empty());
    world.done();
    assert_eq!(world.guard.host.storage, before);
}

#[test]
fn renewal_needs_a_fresh_breach_and_half_of_the_time_gone() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.pass(HOUR / 2 + 1);
    world.price.set(Some(100));
    world.as_refused::<Abi::RuleHolds, _>(ANYONE, |guard| guard.trip(rules::PRICE, vec![]));
    world.price.set(Some(101));
    assert_eq!(world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap(), 1);
    let extended = &world.events::<Abi::LevelExtended>()[0];
    assert_eq!(extended.expiresAt, START + HOUR / 2 + 1 + HOUR);
    assert!(world.events::<Abi::IncidentOpened>().is_empty());
}

#[test]
fn a_rule_that_holds_or_is_unknown_raises_nothing() {
    let mut world = World::new();
    world.as_refused::<Abi::RuleHolds, _>(ANYONE, |guard| guard.trip(rules::PRICE, vec![]));
    world.price.set(None);
    let unknown: Abi::RuleUnknown = world.as_refused(ANYONE, |guard| guard.trip(rules::PRICE, vec![]));
    assert_eq!((unknown.rule, unknown.reason), (0, 3));
    assert_eq!(world.level(1), Level::Normal);
}

#[test]
fn a_trip_starved_of_gas_is_an_error_and_not_a_verdict() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.guard.host.gas = 100_000;
    world.as_refused::<Abi::OutOfGasFloor, _>(ANYONE, |guard| guard.trip(rules::PRICE, vec![]));
}

#[test]
fn a_spot_rule_needs_two_observations_two_seconds_apart() {
    let mut world = World::new();
    world.price.set(Some(101));
    assert_eq!(world.as_(ANYONE).trip(rules::SPOT, vec![]).unwrap(), 0);
    assert_eq!(world.events::<Abi::RuleObserved>()[0].rule, rules::SPOT);
    assert!(world.events::<Abi::LevelRaised>().is_empty());
    world.pass(1);
    let soon: Abi::ObservedTooSoon = world.as_refused(ANYONE, |guard| guard.trip(rules::SPOT, vec![]));
    assert_eq!(soon.until, START + 2);
    world.pass(1);
    assert_eq!(world.as_(ANYONE).trip(rules::SPOT, vec![]).unwrap(), 1);
    world.done();
    assert_eq!(world.level(1), Level::ReduceOnly);
}

#[test]
fn an_old_observation_does_not_count() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::SPOT, vec![]).unwrap();
    world.pass(HOUR + 1);
    assert_eq!(world.as_(ANYONE).trip(rules::SPOT, vec![]).unwrap(), 0);
    assert_eq!(world.events::<Abi::RuleObserved>().len(), 1);
}

#[test]
fn a_witness_is_counted_and_reported() {
    let mut world = World::new();
    world.price.set(Some(101));
    let wrong: Abi::WrongWitness = world.as_refused(ANYONE, |guard| guard.trip(rules::ACCOUNT, vec![]));
    assert_eq!((wrong.expected.to::<u64>(), wrong.given.to::<u64>()), (1, 0));
    let account = ANYONE.into_word();
    world.as_(ANYONE).trip(rules::ACCOUNT, vec![account]).unwrap();
    assert_eq!(world.events::<Abi::RuleTripped>()[0].witness, [account]);
    assert!(world.market.paused.get());
    assert!(world.market.closed.get(), "scope 0 runs the calls of all scopes");
    // A word that is no address is no witness.
    world.pass(3 * HOUR);
    world.as_refused::<Abi::RuleUnknown, _>(ANYONE, |guard| guard.trip(rules::ACCOUNT, vec![B256::repeat_byte(1)]));
}

#[test]
fn only_state_rules_with_a_level_can_be_tripped() {
    let mut world = World::new();
    world.as_refused::<Abi::RuleNotTrippable, _>(ANYONE, |guard| guard.trip(rules::STEADY, vec![]));
    world.as_refused::<Abi::RuleNotTrippable, _>(ANYONE, |guard| guard.trip(rules::SHADOW, vec![]));
    world.as_refused::<Abi::UnknownRule, _>(ANYONE, |guard| guard.trip(99, vec![]));
}

#[test]
fn a_call_that_pretends_or_reverts_is_reported_and_can_be_retried() {
    for mood in [Mood::Pretends, Mood::Reverts] {
        let mut world = World::new();
        world.price.set(Some(101));
        world.market.mood.set(mood);
        world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
        let failed = &world.events::<Abi::ContainmentFailed>()[0];
        assert_eq!(
            failed.reason.as_ref(),
            if mood == Mood::Reverts { &b"no"[..] } else { b"" }
        );
        world.done();
        assert_eq!(world.level(1), Level::ReduceOnly, "the level holds all the same");
        world.market.mood.set(Mood::Obeys);
        world.as_(ANYONE).retry_containment(1).unwrap();
        assert_eq!(world.events::<Abi::ContainmentApplied>().len(), 1);
        assert!(world.market.closed.get());
    }
}

#[test]
fn what_was_closed_before_is_not_needed_and_never_undone() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.market.closed.set(true);
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    assert_eq!(world.events::<Abi::ContainmentNotNeeded>()[0].call, calls::CLOSE);
    world.pass(4 * HOUR);
    world.as_(ANYONE).settle(1).unwrap();
    assert!(world.events::<Abi::ContainmentUndone>().is_empty());
    assert!(world.market.closed.get());
}

#[test]
fn trips_end_at_the_ceiling() {
    let mut world = World::new();
    world.price.set(Some(101));
    let mut last = START;
    loop {
        match world.as_(ANYONE).trip(rules::PRICE, vec![]) {
            Ok(_) => last = world.guard.host.now,
            Err(refusal) => {
                let reached: Abi::CeilingReached = world.refused(Err::<(), _>(refusal));
                assert_eq!((reached.scope, reached.ceilingAt), (1, START + u64::from(CEILING)));
                break;
            }
        }
        world.pass(HOUR / 2 + 1);
    }
    assert!(last < START + u64::from(CEILING));
    // Back at Normal by then. The hook does not shut the exits on a standing breach, it only counts; new risk it refuses still.
    world.pass(START + u64::from(CEILING) - world.guard.host.now);
    assert_eq!(world.level(1), Level::Normal);
    let [withdraw, increase] = [1, 3].map(|action| {
        let ticket = world
            .as_(common::VAULT)
            .enter([1, 0, 0], action, &Address::ZERO, Default::default());
        ticket.unwrap()
    });
    world.as_(common::VAULT).exit(withdraw).unwrap();
    assert_eq!(world.events::<Abi::ShadowBreach>()[0].rule, rules::PRICE);
    world.as_refused::<Abi::RuleBreached, _>(common::VAULT, |guard| guard.exit(increase));
}

#[test]
fn while_the_guard_calls_out_nobody_changes_its_state() {
    let mut world = World::new();
    world.price.set(Some(101));
    world
        .guard
        .host
        .transient
        .insert(layout::lock(), B256::with_last_byte(1));
    world.as_refused::<Abi::Locked, _>(ANYONE, |guard| guard.trip(rules::PRICE, vec![]));
    world.as_refused::<Abi::Locked, _>(GUARDIAN, |guard| guard.contain(0, 3, 60, B256::ZERO));
    world.as_refused::<Abi::Locked, _>(ANYONE, |guard| guard.settle(0));
    world.as_refused::<Abi::Locked, _>(GUARDIAN, |guard| guard.release(0));
    // Views and hooks answer.
    assert!(world.as_(ANYONE).is_allowed([0, 0, 0], 3).unwrap());
    world
        .as_(common::VAULT)
        .enter([0, 0, 0], 5, &Address::ZERO, Default::default())
        .unwrap();
    world.as_(ANYONE).evaluate(rules::PRICE, &[]).unwrap();
}

#[test]
fn a_rehearsal_tells_how_a_call_would_go_and_leaves_nothing() {
    let mut world = World::new();
    let rehearse = |world: &mut World, call| {
        let told: Abi::Rehearsed = world.as_refused(ANYONE, |guard| guard.rehearse(call));
        assert_eq!(told.call, call);
        told.outcome as u8
    };
    assert_eq!(rehearse(&mut world, calls::CLOSE), Abi::Rehearsal::Works as u8);
    assert!(!world.market.closed.get(), "undone again");
    world.market.mood.set(Mood::Pretends);
    assert_eq!(rehearse(&mut world, calls::CLOSE), Abi::Rehearsal::Fails as u8);
    world.market.mood.set(Mood::Reverts);
    assert_eq!(rehearse(&mut world, calls::PAUSE), Abi::Rehearsal::Fails as u8);
    world.market.closed.set(true);
    assert_eq!(rehearse(&mut world, calls::CLOSE), Abi::Rehearsal::InForce as u8);
    world.as_refused::<Abi::UnknownCall, _>(ANYONE, |guard| guard.rehearse(2));
}
