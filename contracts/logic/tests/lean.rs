//! Rules over statistics in a program that has no code for them: it asks another one, and whoever chooses the gas does not choose what
//! comes back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{B256, U256};
use alloy_sol_types::{SolCall, SolError};
use common::{book, compiled, Abi, World, ANYONE, BOOK, FEED, GOVERNOR, GUARDIAN, INSPECT};
use cordon_core::{
    rule::{Class, Unknown},
    rulebook::{Rule, Rulebook, Stream},
    ActionSet, Level,
};
use cordon_host::{
    layout::Current,
    mock::{LeanHost, MockHost, Storage},
    Host,
};
use cordon_logic::{inspect, recover, respond, Guard};

/// The rule, the first of the rulebook: robust, ReduceOnly, in scope 2.
const SCORE: u16 = 0;
/// Gas in which a frame reads nothing.
const LITTLE: u64 = 100_000;

fn usual() -> Rulebook {
    let of = compiled("score(feed.value(), 10 min, 100, 5000, rate: 12.5 %, floor: 10) <= 4 sigma");
    let streams = of.streams.iter().map(|stream| Stream {
        scope: 2,
        spec: stream.spec,
        program: stream.program.clone(),
    });
    Rulebook {
        streams: streams.collect(),
        rules: vec![Rule {
            scope: 2,
            class: Class::State,
            robust: true,
            shadow: false,
            level: Level::ReduceOnly,
            duration: 600,
            check: ActionSet::EMPTY,
            params: 0,
            program: of.program,
            entries: Vec::new(),
        }],
        ..book()
    }
}

/// A guard that has learnt 1,000.
fn warm() -> World {
    let mut world = World::new();
    world.adopt(&usual());
    world.price.set(Some(1_000));
    for _ in 0..=24 {
        world.pass(600);
        world.as_(ANYONE).observe(&[0]).unwrap();
        world.done();
    }
    world
}

/// How the frame of the inspect program ends.
#[derive(Clone, Copy)]
enum Frame {
    /// With its answer, having so much gas.
    Has(u64),
    /// Without gas, in the midst of it: reverted, without a word.
    RunsDry,
    /// With an error that says what is wrong.
    Says(&'static [u8]),
}

fn feed<const STATISTICS: bool>(host: &mut cordon_host::mock::Mock<STATISTICS>, price: u64) {
    host.contract(FEED, &[1], move |_, _, _| {
        Ok(U256::from(price).to_be_bytes::<32>().to_vec())
    });
}

/// The same guard as a program without statistics sees it, while the feed tells this price.
fn lean(world: &World, price: u64, frame: Frame) -> Guard<LeanHost> {
    let (now, code) = (world.guard.host.now, usual().encode().unwrap());
    let current = Current::unpack(&world.guard.host.load(&cordon_host::layout::CURRENT));
    assert_ne!(current.book, BOOK);
    let mut host = LeanHost::at(now);
    host.storage = world.guard.host.storage.clone();
    host.data_account(current.book, &code);
    feed(&mut host, price);
    let script = move |storage: &mut Storage, input: &[u8], _: bool| {
        let gas = match frame {
            Frame::Has(gas) => gas,
            Frame::RunsDry => return Err(Vec::new()),
            Frame::Says(error) => return Err(error.to_vec()),
        };
        let mut other = MockHost::at(now);
        (other.storage, other.gas) = (storage.clone(), gas);
        other.data_account(current.book, &code);
        feed(&mut other, price);
        inspect(&mut Guard::new(other), input).map_err(|refusal| refusal.data().to_vec())
    };
    host.contract(INSPECT, &[1], script);
    let mut guard = Guard::new(host);
    guard.host.begin(ANYONE);
    guard
}

fn trip(guard: &mut Guard<LeanHost>) -> Result<u64, Vec<u8>> {
    let call = Abi::tripCall {
        rule: SCORE,
        witness: vec![],
    };
    let answer = respond(guard, &call.abi_encode()).map_err(|refusal| refusal.data().to_vec())?;
    Ok(Abi::tripCall::abi_decode_returns(&answer.unwrap()).unwrap())
}

fn refused<E: SolError, T: std::fmt::Debug>(outcome: Result<T, Vec<u8>>) -> E {
    let data = outcome.unwrap_err();
    E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data:x?}"))
}

#[test]
fn a_program_without_statistics_trips_by_what_another_one_finds() {
    let world = warm();
    let mut guard = lean(&world, 1_041, Frame::Has(30_000_000));
    assert_eq!(trip(&mut guard), Ok(1));
    assert_eq!(guard.level_of(2).unwrap(), Level::ReduceOnly);
    let asked = &guard.host.calls[0];
    assert!(asked.target == INSPECT && asked.input.starts_with(&Abi::evaluateCall::SELECTOR));
    let holds: Abi::RuleHolds = refused(trip(&mut lean(&world, 1_039, Frame::Has(30_000_000))));
    assert_eq!(holds.rule, SCORE);
    let mut fresh = World::new();
    fresh.adopt(&usual());
    let unknown: Abi::RuleUnknown = refused(trip(&mut lean(&fresh, 1_041, Frame::Has(30_000_000))));
    assert_eq!(unknown.reason, Unknown::NotStored.code());
}

/// A program that does not run any more takes all gas and says nothing, whatever it is given: that is not want of gas.
#[test]
fn a_program_that_has_expired_is_named() {
    let world = warm();
    let mut guard = lean(&world, 1_041, Frame::RunsDry);
    let silent: Abi::NoAnswer = refused(trip(&mut guard));
    assert_eq!(silent.program, INSPECT);
}

/// Neither a rule that holds nor one that is breached becomes anything else for want of gas, and what was wanting is said.
#[test]
fn a_starved_statistic_is_no_verdict_in_a_trip() {
    let world = warm();
    for price in [1_000, 1_041] {
        for frame in [Frame::Has(LITTLE), Frame::RunsDry] {
            let mut guard = lean(&world, price, frame);
            guard.host.gas = LITTLE;
            let starved: Abi::OutOfGasFloor = refused(trip(&mut guard));
            assert!(
                starved.needed > 1_300_000 && starved.left == LITTLE,
                "{}",
                starved.needed
            );
            guard.host.begin(ANYONE);
            assert_eq!(guard.level_of(2).unwrap(), Level::Normal);
        }
    }
    const WHY: &[u8] = b"said";
    assert_eq!(trip(&mut lean(&world, 1_041, Frame::Says(WHY))), Err(WHY.to_vec()));
}

/// A robust statistic that is breached holds a release up, whatever gas it is sent with.
#[test]
fn a_starved_statistic_does_not_let_a_release_pass() {
    for sender in [GUARDIAN, GOVERNOR] {
        let mut world = warm();
        world.as_(GUARDIAN).contain(2, 2, 7_200, B256::ZERO).unwrap();
        world.as_(GUARDIAN).queue_release(2).unwrap();
        world.pass(900);
        let call = Abi::releaseCall { scope: 2 }.abi_encode();
        let release = |price: u64, frame: Frame| {
            let mut guard = lean(&world, price, frame);
            if !matches!(frame, Frame::Has(30_000_000)) {
                guard.host.gas = LITTLE;
            }
            guard.host.begin(sender);
            let outcome = recover(&mut guard, &call).map_err(|refusal| refusal.data().to_vec());
            outcome.map(|_| guard.level_of(2).unwrap())
        };
        refused::<Abi::RuleBreached, _>(release(1_041, Frame::Has(30_000_000)));
        for frame in [Frame::Has(LITTLE), Frame::RunsDry] {
            refused::<Abi::OutOfGasFloor, _>(release(1_041, frame));
        }
        assert_eq!(release(1_000, Frame::Has(30_000_000)), Ok(Level::Grace));
    }
}

/// A long containment freezes what the rule compares with, until that is too old: nothing is known then, and by the guard's own doing. A
/// guardian waits for the level to end all the same, or a thief with his key would wait until a breach cannot be shown; the governor is
/// held up only when the rule has part in the incident.
#[test]
fn a_statistic_that_went_stale_in_a_containment_lets_the_governor_release_and_no_guardian() {
    for (tripped, sender) in [(false, GUARDIAN), (false, GOVERNOR), (true, GUARDIAN), (true, GOVERNOR)] {
        let mut world = warm();
        if tripped {
            world.price.set(Some(1_041));
            world.as_(ANYONE).trip(SCORE, Vec::new()).unwrap();
            world.price.set(Some(1_000));
        }
        world.as_(GUARDIAN).contain(2, 2, 86_400, B256::ZERO).unwrap();
        world.pass(20 * 3600);
        world.as_(GUARDIAN).queue_release(2).unwrap();
        world.pass(900);
        world.done();
        // It is not read at all, whatever the price is.
        world.price.set(Some(5_000));
        let level = if tripped || sender == GUARDIAN {
            let unknown: Abi::RuleUnknown = world.as_refused(sender, |guard| guard.release(2));
            assert_eq!((unknown.rule, unknown.reason), (SCORE, Unknown::NotStored.code()));
            Level::ReduceOnly
        } else {
            world.as_(sender).release(2).unwrap();
            Level::Grace
        };
        assert_eq!(world.level(2), level);
        // Released or not, the level ends; what is observed then is judged anew.
        world.pass(12 * 3600);
        world.as_(ANYONE).settle(2).unwrap();
        world.done();
        assert_eq!(world.level(2), Level::Normal);
        world.as_(ANYONE).observe(&[0]).unwrap();
    }
}
