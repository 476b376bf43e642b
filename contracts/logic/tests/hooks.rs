//! What `enter` and `exit` do when the gate asks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, Address, B256};
use alloy_sol_types::SolCall;
use common::{rules, Abi, World, ANYONE, GOVERNOR, GUARDIAN, VAULT};
use cordon_core::{level::Permission, Action, Level, Matrix};
use cordon_host::mock::MockHost;
use cordon_logic::Guard;

const DEPOSIT: u8 = 0;
const TRADE: u8 = 2;
const WITHDRAW: u8 = 1;
const INCREASE: u8 = 3;
const REPAY: u8 = 5;
const LOOSEN: u8 = 10;

#[test]
fn only_registered_contracts_are_answered() {
    let mut world = World::new();
    let refused: Abi::NotRegistered = world.as_refused(ANYONE, |guard| {
        guard.enter([0, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
    });
    assert_eq!(refused.caller, ANYONE);
    world.as_refused::<Abi::NotRegistered, _>(ANYONE, |guard| guard.exit(B256::with_last_byte(1)));
    world.as_refused::<Abi::BadAction, _>(VAULT, |guard| guard.enter([0, 0, 0], 11, &Address::ZERO, B256::ZERO));
    world.as_refused::<Abi::BadScope, _>(VAULT, |guard| {
        guard.enter([1, 3, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
    });
    world.as_refused::<Abi::BadTicket, _>(VAULT, |guard| guard.exit(B256::with_last_byte(1)));
}

#[test]
fn the_strictest_scope_holds_for_every_level_and_action() {
    let stricter = Matrix::DEFAULT
        .closing(Level::Throttled, Action::Liquidate)
        .and_then(|matrix| matrix.closing(Level::Throttled, Action::Increase))
        .unwrap();
    let both = [Matrix::DEFAULT, stricter];
    for (raised, matrix) in [Level::Throttled, Level::ReduceOnly, Level::Halted]
        .into_iter()
        .flat_map(|raised| both.map(|matrix| (raised, matrix)))
    {
        let mut world = World::new();
        world.as_(GOVERNOR).set_matrix(matrix.bits()).unwrap();
        world.as_(GUARDIAN).contain(1, raised as u8, 3600, B256::ZERO).unwrap();
        for action in Action::ALL {
            let granted = matrix.permission(raised, action);
            let entered = world
                .as_(VAULT)
                .enter([2, 1, 0], action as u8, &Address::ZERO, B256::ZERO);
            assert_eq!(entered.is_ok(), granted.passes(), "{raised:?} {action:?}");
            assert_eq!(
                world.as_(VAULT).is_allowed([2, 1, 0], action as u8).unwrap(),
                granted.passes()
            );
            if granted > Permission::Announced {
                let closed: Abi::ActionClosed = world.refused(entered);
                assert_eq!((closed.scope, closed.action), (1, action as u8));
            }
            // Another scope is not concerned.
            world
                .as_(VAULT)
                .enter([2, 0, 0], action as u8, &Address::ZERO, B256::ZERO)
                .unwrap();
        }
    }
}

/// After containment the matrix's row of Grace holds, and on a quiet day none.
#[test]
fn grace_has_a_row_of_its_own_and_normal_has_none() {
    let mut world = World::new();
    let matrix = Matrix::DEFAULT.closing(Level::Grace, Action::Deposit).unwrap();
    world.as_(GOVERNOR).set_matrix(matrix.bits()).unwrap();
    let allowed = |world: &mut World| world.as_(ANYONE).is_allowed([1, 0, 0], DEPOSIT).unwrap();
    assert!(allowed(&mut world));
    world
        .as_(GUARDIAN)
        .contain(1, Level::Throttled as u8, 3600, B256::ZERO)
        .unwrap();
    assert!(allowed(&mut world));
    world.pass(3600);
    assert_eq!(world.level(1), Level::Grace);
    assert!(!allowed(&mut world));
    world.pass(3600);
    assert!(allowed(&mut world));
}

#[test]
fn a_loosening_call_under_containment_needs_an_announcement_and_uses_it_up() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(1, 2, 24 * 3600, B256::ZERO).unwrap();
    let hash = B256::repeat_byte(9);
    let missing: Abi::NotAnnounced =
        world.as_refused(VAULT, |guard| guard.enter([1, 0, 0], LOOSEN, &Address::ZERO, hash));
    let announced = keccak256([VAULT.into_word(), hash].concat());
    assert_eq!(missing.actionHash, announced, "who acts is part of what is announced");
    world.as_(GOVERNOR).announce(announced).unwrap();
    world.pass(3599);
    world
        .as_refused::<Abi::AnnouncementPending, _>(VAULT, |guard| guard.enter([1, 0, 0], LOOSEN, &Address::ZERO, hash));
    world.pass(1);
    world.as_(VAULT).enter([1, 0, 0], LOOSEN, &Address::ZERO, hash).unwrap();
    world.as_refused::<Abi::NotAnnounced, _>(VAULT, |guard| guard.enter([1, 0, 0], LOOSEN, &Address::ZERO, hash));
}

/// A registered contract in bad hands names hashes that were announced for others.
#[test]
fn no_caller_uses_up_what_was_announced_for_another_or_for_the_guard() {
    let mut world = World::new();
    let other = Address::repeat_byte(0x51);
    let mut book = common::book();
    book.callers.push(other);
    world.adopt(&book);
    world.as_(GUARDIAN).contain(1, 2, 24 * 3600, B256::ZERO).unwrap();
    let role = Abi::setRoleCall {
        role: Abi::Role::Keeper,
        account: ANYONE,
        granted: true,
    };
    let (of_guard, action) = (keccak256(role.abi_encode()), B256::repeat_byte(9));
    let of_vault = keccak256([VAULT.into_word(), action].concat());
    for hash in [of_guard, of_vault] {
        world.as_(GOVERNOR).announce(hash).unwrap();
    }
    world.pass(3600);
    for hash in [of_guard, of_vault, action] {
        world.as_refused::<Abi::NotAnnounced, _>(other, |guard| guard.enter([1, 0, 0], LOOSEN, &Address::ZERO, hash));
    }
    world
        .as_(VAULT)
        .enter([1, 0, 0], LOOSEN, &Address::ZERO, action)
        .unwrap();
    world.as_(GOVERNOR).set_role(1, ANYONE, true).unwrap();
}

#[test]
fn a_breached_state_rule_reverts_until_its_level_governs() {
    let mut world = World::new();
    let ticket = world
        .as_(VAULT)
        .enter([1, 0, 0], INCREASE, &Address::ZERO, B256::ZERO)
        .unwrap();
    assert_ne!(ticket, B256::ZERO);
    world.as_(VAULT).exit(ticket).unwrap();
    world.price.set(Some(101));
    let breached: Abi::RuleBreached = world.as_refused(VAULT, |guard| guard.exit(ticket));
    assert_eq!(
        (breached.rule, breached.observed.to::<u64>(), breached.bound.to::<u64>()),
        (rules::PRICE, 101, 100)
    );
    // Hooks of other scopes do not check it.
    let other = world
        .as_(VAULT)
        .enter([2, 0, 0], INCREASE, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.as_(VAULT).exit(other).unwrap();
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.as_refused::<Abi::ActionClosed, _>(VAULT, |guard| {
        guard.enter([1, 0, 0], INCREASE, &Address::ZERO, B256::ZERO)
    });
    // A standing breach does not shut the exits, but what had begun to add risk is refused still.
    world.as_refused::<Abi::RuleBreached, _>(VAULT, |guard| guard.exit(ticket));
    let leaving = world
        .as_(VAULT)
        .enter([1, 0, 0], WITHDRAW, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.as_(VAULT).exit(leaving).unwrap();
    assert_eq!(world.events::<Abi::ShadowBreach>()[0].rule, rules::PRICE);
    assert_eq!(world.guard.shadow_breaches(rules::PRICE), Ok(1));
    assert_eq!(world.guard.shadow_breaches(rules::SHADOW), Ok(0));
}

/// Somebody keeps a state rule breached by a donation, so that borrowers cannot repay and are liquidated.
#[test]
fn a_state_that_stays_bad_does_not_shut_repayment() {
    let mut world = World::new();
    world.price.set(Some(101));
    let repaying = world
        .as_(VAULT)
        .enter([1, 0, 0], REPAY, &Address::ZERO, B256::ZERO)
        .unwrap();
    assert_ne!(repaying, B256::ZERO, "the rule is checked");
    world.as_(VAULT).exit(repaying).unwrap();
    assert_eq!(world.guard.shadow_breaches(rules::PRICE), Ok(1), "and counted");
}

/// One `entry()` makes a rule a hook rule, also when all else that it says is about a state that somebody keeps bad.
#[test]
fn a_hook_rule_on_a_bad_state_does_not_shut_repayment() {
    let mut world = World::new();
    let mut book = common::book();
    book.rules[usize::from(rules::STEADY)].program =
        common::compiled("entry(feed.value()) >= 0 && feed.value() <= 100").program;
    world.adopt(&book);
    for (price, expected) in [(101, 1), (110, 2)] {
        // Bad before the call, and bad by the call's own doing.
        world.price.set(Some(price.min(101)));
        let repaying = world
            .as_(VAULT)
            .enter([2, 0, 0], REPAY, &Address::ZERO, B256::ZERO)
            .unwrap();
        world.price.set(Some(price));
        world.as_(VAULT).exit(repaying).unwrap();
        assert_eq!(world.events::<Abi::ShadowBreach>()[0].rule, rules::STEADY);
        assert_eq!(world.guard.shadow_breaches(rules::STEADY), Ok(expected), "counted");
        world.pass(1);
    }
    // The others are refused, as before.
    let ticket = world
        .as_(VAULT)
        .enter([2, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.as_refused::<Abi::RuleBreached, _>(VAULT, |guard| guard.exit(ticket));
}

#[test]
fn entry_values_are_those_of_the_outermost_call() {
    let mut world = World::new();
    let outer = world
        .as_(VAULT)
        .enter([2, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.price.set(Some(102));
    let inner = world
        .as_(VAULT)
        .enter([2, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
        .unwrap();
    let breached: Abi::RuleBreached = world.as_refused(VAULT, |guard| guard.exit(inner));
    assert_eq!(
        (breached.rule, breached.observed.to::<u64>(), breached.bound.to::<u64>()),
        (rules::STEADY, 102, 100)
    );
    world.price.set(Some(101));
    world.as_(VAULT).exit(inner).unwrap();
    world.as_(VAULT).exit(outer).unwrap();
    // The next call of the same transaction starts afresh.
    world.price.set(Some(200));
    let next = world
        .as_(VAULT)
        .enter([2, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.as_(VAULT).exit(next).unwrap();
    world.as_refused::<Abi::BadTicket, _>(VAULT, |guard| guard.exit(next));
}

#[test]
fn unknown_refuses_what_adds_risk_and_lets_repayment_pass() {
    let mut world = World::new();
    for (action, passes) in [(DEPOSIT, false), (REPAY, true)] {
        world.price.set(Some(100));
        let ticket = world
            .as_(VAULT)
            .enter([2, 0, 0], action, &Address::ZERO, B256::ZERO)
            .unwrap();
        world.price.set(None);
        let exited = world.as_(VAULT).exit(ticket);
        assert_eq!(exited.is_ok(), passes);
        world.pass(1);
    }
    // The value before the call could not be read: the rule cannot hold afterwards.
    let ticket = world
        .as_(VAULT)
        .enter([2, 0, 0], DEPOSIT, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.price.set(Some(100));
    let unknown: Abi::RuleUnknown = world.as_refused(VAULT, |guard| guard.exit(ticket));
    assert_eq!((unknown.rule, unknown.reason), (rules::STEADY, 3));
}

#[test]
fn a_starved_hook_reverts_but_for_repayment() {
    let mut world = World::new();
    let enter = |guard: &mut Guard<MockHost>, action| guard.enter([2, 0, 0], action, &Address::ZERO, B256::ZERO);
    let tickets = [REPAY, DEPOSIT].map(|action| {
        let ticket = enter(world.as_(VAULT), action).unwrap();
        world.done();
        ticket
    });
    world.guard.host.gas = 50_000;
    let [repay, deposit] = tickets;
    world.as_refused::<Abi::OutOfGasFloor, _>(VAULT, |guard| guard.exit(deposit));
    world.as_(VAULT).exit(repay).unwrap();
    world.pass(1);
    world.as_refused::<Abi::OutOfGasFloor, _>(VAULT, |guard| enter(guard, DEPOSIT));
    enter(world.as_(VAULT), REPAY).unwrap();
}

#[test]
fn a_shadow_rule_is_counted_and_nothing_else() {
    let mut world = World::new();
    world.price.set(Some(101));
    let ticket = world
        .as_(VAULT)
        .enter([2, 0, 0], TRADE, &Address::ZERO, B256::ZERO)
        .unwrap();
    world.as_(VAULT).exit(ticket).unwrap();
    let shadow = &world.events::<Abi::ShadowBreach>()[0];
    assert_eq!((shadow.rule, shadow.caller), (rules::SHADOW, VAULT));
    world.price.set(None);
    world.as_(VAULT).exit(ticket).unwrap();
}

#[test]
fn hooks_write_nothing_to_storage_while_rules_hold() {
    let mut world = World::new();
    world.done();
    let before = world.guard.host.storage.clone();
    for action in [DEPOSIT, TRADE, INCREASE, REPAY] {
        let ticket = world
            .as_(VAULT)
            .enter([2, 1, 0], action, &Address::ZERO, B256::ZERO)
            .unwrap();
        world.as_(VAULT).exit(ticket).unwrap();
    }
    world.done();
    assert_eq!(world.guard.host.storage, before);
}
