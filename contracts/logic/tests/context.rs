//! The context of a transaction: what guarded calls tell, and the rules that ask for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, Address, B256, U256};
use common::{book, Abi, Names, World, ANYONE, FEED, GOVERNOR, MARKET, VAULT};
use cordon_core::{
    rule::{compile, Class},
    rulebook::{Rule, Rulebook},
    Action, ActionSet, Level,
};

const SCOPES: [u8; 3] = [2, 0, 0];

fn rule(source: &str, check: &[Action]) -> Rule {
    let compiled = compile(source, &[], &[], &Names).unwrap();
    assert_eq!(compiled.class, Class::Hook);
    Rule {
        scope: 0,
        class: Class::Hook,
        robust: true,
        shadow: false,
        level: Level::Normal,
        duration: 0,
        check: check.iter().copied().collect::<ActionSet>(),
        params: 0,
        program: compiled.program,
        entries: compiled.entries,
    }
}

/// The rules of the study: no round trip, and at most 15 % of the pool (what the feed says) out.
fn pair() -> Rulebook {
    let out = [Action::Withdraw, Action::Increase];
    Rulebook {
        rules: vec![
            rule("!round_trip", &[Action::Deposit, Action::Withdraw]),
            rule("left(market) * 100 <= feed.value() * 15", &out),
            rule("depth <= 2", &[Action::Trade]),
            rule("entered(market) >= left(market)", &[Action::Settle]),
        ],
        ..book()
    }
}

fn world() -> World {
    let mut world = World::new();
    world.price.set(Some(1000));
    world.adopt(&pair());
    world
}

fn enter(world: &mut World, action: Action, asset: Address, amount: u64) -> B256 {
    let amount = U256::from(amount).into();
    let ticket = world.as_(VAULT).enter(SCOPES, action as u8, &asset, amount).unwrap();
    world.done();
    ticket
}

/// Enters and exits.
fn run(world: &mut World, action: Action, amount: u64) -> Result<(), cordon_logic::abi::Refusal> {
    let ticket = enter(world, action, MARKET, amount);
    world.as_(VAULT).exit(ticket)
}

#[test]
fn value_that_comes_in_does_not_go_out_in_the_same_transaction() {
    let mut world = world();
    run(&mut world, Action::Deposit, 500).unwrap();
    let attempt = run(&mut world, Action::Withdraw, 10);
    let breached: Abi::RuleBreached = world.refused(attempt);
    assert_eq!(breached.rule, 0);
    world.pass(1);
    run(&mut world, Action::Withdraw, 10).unwrap();
    // The other way round too.
    let attempt = run(&mut world, Action::Deposit, 10);
    world.refused::<Abi::RuleBreached, _>(attempt);
    world.pass(1);
    run(&mut world, Action::Deposit, 10).unwrap();
}

/// Split into small parts, and over classes of calls, the outflow is the same.
#[test]
fn the_outflow_of_a_transaction_is_one_sum() {
    let mut world = world();
    for _ in 0..2 {
        run(&mut world, Action::Withdraw, 50).unwrap();
    }
    run(&mut world, Action::Increase, 50).unwrap();
    let attempt = run(&mut world, Action::Withdraw, 1);
    let breached: Abi::RuleBreached = world.refused(attempt);
    assert_eq!(
        (breached.rule, breached.observed.to(), breached.bound.to()),
        (1, 15_100, 15_000)
    );
    world.pass(1);
    // Another asset has a sum of its own.
    let ticket = enter(&mut world, Action::Withdraw, FEED, 500);
    world.as_(VAULT).exit(ticket).unwrap();
    // Amounts that would wrap around do not.
    let all = B256::repeat_byte(0xff);
    for _ in 0..2 {
        world
            .as_(VAULT)
            .enter(SCOPES, Action::Withdraw as u8, &MARKET, all)
            .unwrap();
        world.done();
    }
    let attempt = run(&mut world, Action::Withdraw, 1);
    world.refused::<Abi::RuleUnknown, _>(attempt);
}

#[test]
fn depth_counts_guarded_calls_that_have_not_come_to_their_end() {
    let mut world = world();
    let outer = enter(&mut world, Action::Sync, MARKET, 0);
    let middle = enter(&mut world, Action::Trade, MARKET, 0);
    let inner = enter(&mut world, Action::Trade, MARKET, 0);
    let attempt = world.as_(VAULT).exit(inner);
    let breached: Abi::RuleBreached = world.refused(attempt);
    assert_eq!((breached.rule, breached.observed.to()), (2, 3));
    world.pass(1);
    let fresh = enter(&mut world, Action::Trade, MARKET, 0);
    world.as_(VAULT).exit(fresh).unwrap();
    world.done();
    // The others were another transaction's.
    for ticket in [outer, middle] {
        world.as_refused::<Abi::BadTicket, _>(VAULT, |guard| guard.exit(ticket));
    }
}

#[test]
fn strangers_tell_nothing_and_who_does_not_ask_pays_nothing() {
    let mut world = world();
    world.as_refused::<Abi::NotRegistered, _>(ANYONE, |guard| {
        guard.enter(SCOPES, Action::Deposit as u8, &MARKET, B256::ZERO)
    });
    run(&mut world, Action::Settle, 0).unwrap();
    world.pass(1);
    run(&mut world, Action::Repay, 30).unwrap();
    run(&mut world, Action::Settle, 30).unwrap();
    let attempt = run(&mut world, Action::Settle, 1);
    world.refused::<Abi::RuleBreached, _>(attempt);
    // Without such a rule nothing is told.
    let mut world = World::new();
    enter(&mut world, Action::Withdraw, MARKET, 5);
    assert!(world.guard.host.transient.is_empty());
}

/// Whoever trips a rule chooses the transaction: a rule that could be tripped must not ask for it.
#[test]
fn a_rule_that_could_be_tripped_must_not_use_the_context() {
    let mut world = World::unsealed();
    let mut hostile = pair();
    hostile.rules[0].class = Class::State;
    let code = hostile.encode();
    assert!(code.is_err(), "the encoder checks");
    let mut bytes = pair().encode().unwrap();
    // The class of the first rule, behind header, three scopes of five bytes and one caller.
    let class = 10 + 3 * 5 + 20 + 1;
    assert_eq!(bytes[class], Class::Hook as u8);
    bytes[class] = Class::State as u8;
    let book = Address::repeat_byte(0x77);
    world.guard.host.data_account(book, &bytes);
    let refused: Abi::BadRulebook = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(book, keccak256(&bytes)));
    assert_eq!(refused.reason, 15, "WrongInputs");
    assert_eq!((refused.part, refused.number), (3, 0), "the rule is named");
}

/// What counterparties ask in the middle of somebody else's call: how deep it is, and whether the guard can know.
#[test]
fn a_guarded_call_in_progress_is_told_and_what_is_not_counted_too() {
    let calls = |world: &mut World| world.as_(ANYONE).guarded_calls().unwrap();
    let mut world = World::new();
    // Of the usual rulebook only Deposit and Repay are counted: that there is no call is not known.
    assert_eq!(calls(&mut world), (0, false, false));
    let increase = enter(&mut world, Action::Increase, MARKET, 1);
    assert_eq!(calls(&mut world), (0, false, false), "Increase is not counted");
    let deposit = enter(&mut world, Action::Deposit, MARKET, 1);
    assert_eq!(calls(&mut world), (1, false, false));
    world.as_(VAULT).exit(deposit).unwrap();
    world.as_(VAULT).exit(increase).unwrap();
    assert_eq!(calls(&mut world), (0, false, false));
    // With a rule that looks at the transaction every call is.
    world.pass(1);
    let other = Address::repeat_byte(0x51);
    let mut book = pair();
    book.callers.push(other);
    world.adopt(&book);
    world.price.set(Some(1000));
    assert_eq!(calls(&mut world), (0, true, false));
    let outer = enter(&mut world, Action::Sync, MARKET, 1);
    let inner = world
        .as_(other)
        .enter(SCOPES, Action::Sync as u8, &MARKET, B256::ZERO)
        .unwrap();
    assert_eq!(calls(&mut world), (2, true, false), "of all registered contracts");
    world.as_(other).exit(inner).unwrap();
    assert_eq!(calls(&mut world), (1, true, false));
    world.as_(VAULT).exit(outer).unwrap();
    assert_eq!(calls(&mut world), (0, true, false));
    // A call whose end is not reached is over with its transaction.
    enter(&mut world, Action::Sync, MARKET, 1);
    world.pass(1);
    assert_eq!(calls(&mut world), (0, true, false));
}

/// Whom the guard calls out to learns that it does.
#[test]
fn a_guard_that_calls_out_says_so() {
    use cordon_host::{layout, Host};
    let mut world = World::new();
    let key = layout::lock();
    world.guard.host.store_transient(&key, &B256::with_last_byte(1));
    assert!(world.guard.guarded_calls().unwrap().2);
    let fresh = cordon_logic::Guard::new(cordon_host::mock::MockHost::at(common::START));
    assert_eq!(fresh.guarded_calls().unwrap(), (0, true, false), "nobody is registered");
}
