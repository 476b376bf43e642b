//! Streams: what the guard observes by itself, and the rules that compare with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, Address, B256};
use alloy_sol_types::SolCall;
use common::{book, Abi, Names, World, ANYONE, GOVERNOR, GUARDIAN, HOUR, START, VAULT};
use cordon_core::{
    anchor::STALE,
    rule::{compile, Class, Unknown, Verdict},
    rulebook::{Rule, Rulebook, Stream},
    stream::Spec,
    Action, ActionSet, Level,
};
use cordon_logic::{hook, inspect};

const SCOPES: [u8; 3] = [2, 0, 0];
const PERIOD: u64 = 600;
/// The rule that reads the anchor.
const STEADY: u16 = 0;

/// A state rule over an anchor, hooked to Trade, in scope 2; its stream is of the scope `of`.
fn anchored(of: u8) -> Rulebook {
    let compiled = compile(
        "near(feed.value(), anchor(feed.value(), 10 min, 500, 5000), 5 %)",
        &[],
        &[],
        &Names,
    )
    .unwrap();
    let streams = compiled.streams.iter().map(|stream| Stream {
        scope: of,
        spec: stream.spec,
        program: stream.program.clone(),
    });
    Rulebook {
        streams: streams.collect(),
        sets: Vec::new(),
        rules: vec![Rule {
            scope: 2,
            class: Class::State,
            robust: false,
            shadow: false,
            level: Level::ReduceOnly,
            duration: 600,
            check: ActionSet::EMPTY.with(Action::Trade),
            params: 0,
            program: compiled.program,
            entries: Vec::new(),
        }],
        ..book()
    }
}

/// A world whose feed has stood at 1,000 for long enough for an anchor.
fn world(of: u8) -> World {
    let mut world = World::new();
    world.adopt(&anchored(of));
    world.price.set(Some(1_000));
    for wait in [PERIOD, PERIOD, PERIOD] {
        observe(&mut world);
        world.pass(wait);
    }
    observe(&mut world);
    world
}

fn observe(world: &mut World) {
    world.as_(ANYONE).observe(&[0]).unwrap();
    world.done();
}

fn stream(world: &mut World) -> Abi::Stream {
    let data = world.as_(ANYONE).stream(0).unwrap();
    Abi::streamCall::abi_decode_returns(&data).unwrap()
}

fn trade(world: &mut World) -> Result<(), cordon_logic::abi::Refusal> {
    let ticket = world
        .as_(VAULT)
        .enter(SCOPES, Action::Trade as u8, &VAULT, B256::ZERO)?;
    world.done();
    world.as_(VAULT).exit(ticket)?;
    world.done();
    Ok(())
}

#[test]
fn anyone_observes_and_everybody_reads_the_same() {
    let mut world = World::new();
    world.adopt(&anchored(0));
    world.price.set(Some(1_000));
    let unknown = world.as_(ANYONE).evaluate(STEADY, &[]).unwrap();
    assert_eq!(
        (unknown.verdict, unknown.reason),
        (Verdict::Unknown, Unknown::NotStored.code())
    );
    // What adds risk waits until the anchor is known.
    let attempt = trade(&mut world);
    let refused: Abi::RuleUnknown = world.refused(attempt);
    assert_eq!(refused.reason, Unknown::NotStored.code());
    world.pass(1);
    observe(&mut world);
    let observed: Vec<Abi::StreamObserved> = world.events();
    assert_eq!((observed[0].stream, observed[0].observed.to()), (0, 1_000));
    world.pass(2);
    let soon: Abi::StreamNotDue = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
    assert_eq!(soon.dueAt, world.guard.host.now + PERIOD - 2);
    world.pass(PERIOD - 2);
    observe(&mut world);
    world.pass(PERIOD);
    observe(&mut world);
    let now = world.guard.host.now;
    let of = stream(&mut world);
    assert!(of.known && of.scope == 0 && of.period == 600 && of.step == 1_000);
    assert_eq!(
        (of.anchor.to(), of.since, of.observedAt, of.dueAt),
        (1_000, now - PERIOD, now, now + PERIOD)
    );
    assert_eq!(of.id.0[..], anchored(0).streams[0].id()[..]);
    trade(&mut world).unwrap();
    world.pass(1);
    world.price.set(Some(1_060));
    let breached = world.as_(ANYONE).evaluate(STEADY, &[]).unwrap();
    assert_eq!(
        (
            breached.verdict,
            breached.observed.magnitude.to(),
            breached.bound.magnitude.to()
        ),
        (Verdict::Breached, 1_060, 1_000)
    );
    let attempt = trade(&mut world);
    world.refused::<Abi::RuleBreached, _>(attempt);
    assert_eq!(world.as_(ANYONE).trip(STEADY, vec![]).unwrap(), 0);
    world.pass(2);
    assert!(world.as_(ANYONE).trip(STEADY, vec![]).unwrap() > 0);
    world.done();
    assert_eq!(world.level(2), Level::ReduceOnly);
}

#[test]
fn a_stranger_begins_no_anchor_while_somebody_looks() {
    let mut world = World::new();
    world.adopt(&anchored(0));
    for lie in [499, 5_001, u64::MAX] {
        world.price.set(Some(lie));
        let unreadable: Abi::StreamUnreadable = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
        assert_eq!(unreadable.reason, Unknown::OutOfBounds.code());
    }
    for _ in 0..3 {
        for price in [5_000, 1_000] {
            world.price.set(Some(price));
            observe(&mut world);
            world.pass(2);
        }
        world.as_refused::<Abi::StreamNotDue, _>(ANYONE, |guard| guard.observe(&[0]));
        assert_eq!(stream(&mut world).fresh.to::<u64>(), 0);
        world.pass(PERIOD);
    }
    observe(&mut world);
    assert_eq!(stream(&mut world).fresh.to::<u64>(), 1_000);
    // What is stored stays within the bounds of the rule, and a lie beyond them takes nobody's turn.
    world.pass(PERIOD);
    world.price.set(Some(5_001));
    world.as_refused::<Abi::StreamUnreadable, _>(ANYONE, |guard| guard.observe(&[0]));
    world.price.set(Some(1_000));
    observe(&mut world);
    let of = stream(&mut world);
    assert!(of.known && of.anchor.to::<u64>() == 1_000);
}

#[test]
fn nothing_is_observed_too_soon_or_when_it_cannot_be_read() {
    let mut world = world(0);
    let due = world.guard.host.now + PERIOD;
    let soon: Abi::StreamNotDue = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
    assert_eq!((soon.stream, soon.dueAt), (0, due));
    world.pass(PERIOD);
    world.price.set(None);
    let unreadable: Abi::StreamUnreadable = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
    assert_eq!(unreadable.reason, Unknown::Reverted.code());
    world.price.set(Some(1_000));
    // Of a batch, what is due is observed; the second time the stream is not due any more.
    world.as_(ANYONE).observe(&[0, 0]).unwrap();
    world.done();
    let unknown: Abi::UnknownStream = world.as_refused(ANYONE, |guard| guard.observe(&[0, 1]));
    assert_eq!(unknown.stream, 1);
    world.as_refused::<Abi::UnknownStream, _>(ANYONE, |guard| guard.stream(1));
    world.pass(PERIOD);
    // Who chooses the gas chooses no observation.
    world.guard.host.gas = 100_000;
    world.as_refused::<Abi::OutOfGasFloor, _>(ANYONE, |guard| guard.observe(&[0]));
}

#[test]
fn who_names_no_stream_is_told_so() {
    let mut world = world(0);
    world.as_refused::<Abi::NoStreams, _>(ANYONE, |guard| guard.observe(&[]));
    world.as_refused::<Abi::UnknownStream, _>(ANYONE, |guard| guard.observe(&[1]));
}

#[test]
fn an_incident_freezes_the_stream_of_its_scope() {
    for (of, raised, frozen) in [(2, 2, true), (2, 0, true), (2, 1, false), (0, 1, true), (0, 0, true)] {
        let mut world = world(of);
        world
            .as_(GUARDIAN)
            .contain(raised, Level::Throttled as u8, 1_800, B256::ZERO)
            .unwrap();
        world.pass(PERIOD);
        if frozen {
            let by: Abi::StreamFrozen = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
            assert_eq!((by.stream, by.scope), (0, raised));
        } else {
            observe(&mut world);
        }
        // Grace is over when nobody has settled, too.
        world.pass(HOUR);
        observe(&mut world);
    }
}

/// A lie is the first observation; an incident lasts for longer than a period; the same lie is there in the first block after it.
#[test]
fn what_a_stream_begins_with_is_contradicted_in_an_incident_too() {
    for (book, confirmed) in [(anchored(2), PERIOD), (usual(), 60)] {
        {
            let mut world = World::new();
            world.adopt(&book);
            world.price.set(Some(3_000));
            observe(&mut world);
            let began = stream(&mut world).observedAt;
            world
                .as_(GUARDIAN)
                .contain(2, Level::Throttled as u8, 1_800, B256::ZERO)
                .unwrap();
            world.pass(2);
            // It is still there: nobody takes it away, and nothing is learnt.
            let frozen: Abi::StreamFrozen = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
            assert_eq!((frozen.stream, frozen.scope), (0, 2));
            assert_eq!(stream(&mut world).observedAt, began);
            world.pass(confirmed);
            world.as_refused::<Abi::StreamFrozen, _>(ANYONE, |guard| guard.observe(&[0]));
            assert_eq!(stream(&mut world).observedAt, began);
            // It is not: whoever looks says so, with too little gas for the read nobody does.
            world.price.set(None);
            world.as_refused::<Abi::StreamFrozen, _>(ANYONE, |guard| guard.observe(&[0]));
            assert_eq!(
                stream(&mut world).observedAt,
                began,
                "a view that reverts contradicts nothing"
            );
            world.price.set(Some(1_000));
            let gas = std::mem::replace(&mut world.guard.host.gas, 50_000);
            world.as_refused::<Abi::OutOfGasFloor, _>(ANYONE, |guard| guard.observe(&[0]));
            world.guard.host.gas = gas;
            world.as_(ANYONE).observe(&[0]).unwrap();
            assert_eq!(world.events::<Abi::StreamBegunAnew>()[0].stream, 0);
            world.done();
            assert_eq!(stream(&mut world).observedAt, 0);
            // It begins with nothing as long as the incident lasts, and with no lie in the first block after it.
            world.price.set(Some(3_000));
            world.as_refused::<Abi::StreamFrozen, _>(ANYONE, |guard| guard.observe(&[0]));
            world.pass(3 * HOUR);
            observe(&mut world);
            let of = stream(&mut world);
            assert!(
                !of.known && of.observedAt == world.guard.host.now,
                "it waits for another one again"
            );
        }
    }
}

#[test]
fn nothing_is_observed_within_a_guarded_call_that_an_anchor_is_for() {
    let mut world = world(0);
    world.pass(PERIOD);
    world.price.set(Some(1_040));
    let ticket = world
        .as_(VAULT)
        .enter(SCOPES, Action::Trade as u8, &VAULT, B256::ZERO)
        .unwrap();
    world.done();
    world.as_refused::<Abi::GuardedCallRuns, _>(ANYONE, |guard| guard.observe(&[0]));
    world.as_(VAULT).exit(ticket).unwrap();
    observe(&mut world);
}

#[test]
fn an_anchor_that_nobody_renews_is_not_known_and_comes_back() {
    let mut world = world(0);
    world.pass(STALE * PERIOD);
    assert!(!stream(&mut world).known);
    let attempt = trade(&mut world);
    world.refused::<Abi::RuleUnknown, _>(attempt);
    world.pass(1);
    observe(&mut world);
    world.pass(PERIOD);
    observe(&mut world);
    trade(&mut world).unwrap();
}

/// What was stored belongs to the definition: another rulebook with the same stream goes on with it, one with another begins anew.
#[test]
fn a_new_rulebook_goes_on_with_the_same_streams() {
    let mut world = world(0);
    world.pass(PERIOD);
    observe(&mut world);
    let mut next = anchored(2);
    next.rules.push(next.rules[0].clone());
    world.adopt(&next);
    assert_eq!(stream(&mut world).anchor.to::<u64>(), 1_000);
    let mut other = anchored(0);
    let compiled = compile(
        "feed.value() <= anchor(feed.value(), 20 min, 500, 5000) * 2",
        &[],
        &[],
        &Names,
    )
    .unwrap();
    other.streams[0].spec = compiled.streams[0].spec;
    other.rules[0].program = compiled.program;
    world.adopt(&other);
    assert_eq!(stream(&mut world).observedAt, 0);
}

#[test]
fn a_rulebook_with_a_forged_name_of_a_stream_is_refused() {
    let mut world = World::unsealed();
    let mut code = anchored(0).encode().unwrap();
    let id = anchored(0).streams[0].id();
    let places: Vec<usize> = (0..code.len() - 16)
        .filter(|at| code[*at..*at + 16] == id[..])
        .collect();
    for place in places {
        code[place] ^= 1;
    }
    let forged = Address::repeat_byte(0x77);
    world.guard.host.data_account(forged, &code);
    let refused: Abi::BadRulebook = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(forged, keccak256(&code)));
    assert_eq!((refused.reason, refused.part), (22, 5));
}

#[test]
fn a_stream_is_observed_and_told_through_the_abi() {
    let mut world = world(0);
    world.pass(PERIOD);
    let input = Abi::observeCall { streams: vec![0] }.abi_encode();
    assert!(hook(world.as_(ANYONE), &input).unwrap().is_empty());
    world.done();
    let data = inspect(world.as_(ANYONE), &Abi::streamCall { index: 0 }.abi_encode()).unwrap();
    let of = Abi::streamCall::abi_decode_returns(&data).unwrap();
    assert!(of.known && of.observedAt > START);
}

/// A state rule over a score, hooked to Trade, in scope 2. Warm after 24 observations, one a minute.
fn usual() -> Rulebook {
    let source = "score(feed.value(), 1 min, 100, 5000, rate: 12.5 %, floor: 10) <= 4 sigma";
    let compiled = compile(source, &[], &[], &Names).unwrap();
    let mut book = anchored(2);
    book.streams[0].spec = compiled.streams[0].spec;
    book.rules[0].program = compiled.program;
    book
}

#[test]
fn statistics_are_learnt_and_known_once_they_are_warm() {
    let mut world = World::new();
    world.adopt(&usual());
    world.price.set(Some(1_000));
    for count in 0..=24 {
        let attempt = trade(&mut world);
        let refused: Abi::RuleUnknown = world.refused(attempt);
        assert_eq!(refused.reason, Unknown::NotStored.code(), "{count}");
        assert!(!stream(&mut world).known);
        world.pass(60);
        observe(&mut world);
    }
    trade(&mut world).unwrap();
    let now = world.guard.host.now;
    let of = stream(&mut world);
    assert!(of.known && of.scope == 2 && of.period == 60 && of.step == 0 && of.since == 0);
    assert_eq!(
        (of.anchor.to(), of.fresh.to(), of.observedAt, of.dueAt),
        (1_000, 1_000, now, now + 60)
    );
    // It is judged by what was learnt before.
    world.price.set(Some(1_041));
    let breached = world.as_(ANYONE).evaluate(STEADY, &[]).unwrap();
    assert_eq!(
        (
            breached.verdict,
            breached.observed.magnitude.to(),
            breached.bound.magnitude.to()
        ),
        (Verdict::Breached, 4_100, 4_000)
    );
    let attempt = trade(&mut world);
    world.refused::<Abi::RuleBreached, _>(attempt);
    world
        .as_(GUARDIAN)
        .contain(2, Level::Throttled as u8, 1_800, B256::ZERO)
        .unwrap();
    world.done();
    // Nothing is learnt while people look at it.
    world.pass(60);
    let frozen: Abi::StreamFrozen = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
    assert_eq!((frozen.stream, frozen.scope), (0, 2));
}

#[test]
fn statistics_learn_once_a_spacing_and_not_within_a_guarded_call() {
    let mut world = World::new();
    world.adopt(&usual());
    world.price.set(Some(1_000));
    for _ in 0..=24 {
        world.pass(60);
        observe(&mut world);
    }
    let due = world.guard.host.now + 60;
    let soon: Abi::StreamNotDue = world.as_refused(ANYONE, |guard| guard.observe(&[0]));
    assert_eq!((soon.stream, soon.dueAt), (0, due));
    world.pass(60);
    let ticket = world
        .as_(VAULT)
        .enter(SCOPES, Action::Trade as u8, &VAULT, B256::ZERO)
        .unwrap();
    world.done();
    world.as_refused::<Abi::GuardedCallRuns, _>(ANYONE, |guard| guard.observe(&[0]));
    world.as_(VAULT).exit(ticket).unwrap();
    world.done();
    // An observation that is wild counts as four deviations, an eighth of which the mean moves.
    world.price.set(Some(5_000));
    world.as_(ANYONE).observe(&[0]).unwrap();
    world.done();
    let events: Vec<Abi::StreamObserved> = world.events();
    let last = events.last().unwrap();
    assert_eq!((last.observed.to(), last.fresh.to()), (5_000, 1_040));
    assert_eq!(stream(&mut world).anchor.to::<u64>(), 1_005);
    // When nobody observes for long enough it is not known, and once it is observed again it is.
    world.price.set(Some(1_000));
    world.pass(STALE * 60 + 1);
    let attempt = trade(&mut world);
    world.refused::<Abi::RuleUnknown, _>(attempt);
    world.pass(1);
    observe(&mut world);
    trade(&mut world).unwrap();
}

#[test]
fn a_rulebook_whose_rule_judges_by_other_numbers_than_its_stream_is_refused() {
    let mut world = World::unsealed();
    let mut code = usual().encode().unwrap();
    let Spec::Baseline(spec) = usual().streams[0].spec else {
        panic!("statistics")
    };
    let bytes = spec.to_bytes();
    let of_rule = code.windows(bytes.len()).position(|part| part == bytes).unwrap();
    // The last byte of `roof`.
    code[of_rule + 24] ^= 1;
    let forged = Address::repeat_byte(0x77);
    world.guard.host.data_account(forged, &code);
    let refused: Abi::BadRulebook = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(forged, keccak256(&code)));
    assert_eq!((refused.reason, refused.part), (22, 3));
}
