//! A rulebook comes back as it went in, and nothing else is adopted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod layout;
mod sets;

use alloy_primitives::{Address, B256, U256};
use common::{address, rule};
use cordon_core::bounds::Actor;
use cordon_core::incident::Reading;
use cordon_core::rule::{Class, Int};
use cordon_core::rulebook::{
    Containment, ContainmentSet, Item, MAX_CALL_GAS, Order, Problem, Rule, Rulebook, Scope, ScopeKind, Stream, Undo,
    View, check, init_code, is_within, set_name,
};
use cordon_core::stream::Spec;
use cordon_core::{Action, ActionSet, Level};
use cordon_core::{anchor, baseline};
use proptest::prelude::*;

/// A scope that is called what it stands for.
fn scope(kind: ScopeKind) -> Scope {
    Scope::new(kind, &format!("{kind:?}"))
}

fn condition(source: &str) -> Vec<u8> {
    rule(source).program
}

/// A condition with so many reads, none of which is another one again.
fn reads(count: usize) -> String {
    let read = |amount| format!("vault.convertToAssets({amount}) >= 5");
    (1..=count).map(read).collect::<Vec<_>>().join(" && ")
}

fn state_rule(source: &str) -> Rule {
    Rule {
        scope: 1,
        class: Class::State,
        robust: true,
        shadow: false,
        level: Level::ReduceOnly,
        duration: 3600,
        check: ActionSet::EMPTY,
        params: 0,
        program: condition(source),
        entries: Vec::new(),
    }
}

fn hook_rule() -> Rule {
    let compiled = rule(
        "vault.totalSupply() == 0 || near(vault.convertToAssets(1e18), entry(vault.convertToAssets(1e18)), 50 bps)",
    );
    Rule {
        class: Class::Hook,
        robust: false,
        level: Level::Normal,
        duration: 0,
        check: [Action::Deposit, Action::Withdraw].into_iter().collect(),
        program: compiled.program,
        entries: compiled.entries,
        ..state_rule("vault.paused()")
    }
}

fn containment() -> Containment {
    Containment {
        scope: 1,
        level: Level::ReduceOnly,
        target: address("configurator"),
        calldata: vec![1, 2, 3, 4, 5],
        gas: 500_000,
        closes: ActionSet::EMPTY.with(Action::Increase),
        max_duration: 0,
        done: condition("!data.getReserveConfigurationData(usdc).borrowingEnabled"),
        undo: vec![Undo {
            target: address("configurator"),
            calldata: vec![5, 6, 7, 8],
            undone: condition("data.getReserveConfigurationData(usdc).borrowingEnabled"),
        }],
    }
}

fn book() -> Rulebook {
    Rulebook {
        scopes: vec![scope(ScopeKind::Protocol), scope(ScopeKind::Market)],
        callers: vec![address("vault"), address("pool")],
        rules: vec![state_rule("vault.totalAssets() >= vault.totalSupply()"), hook_rule()],
        containments: vec![containment()],
        streams: Vec::new(),
        sets: Vec::new(),
    }
}

fn refused(change: impl FnOnce(&mut Rulebook)) -> (Item, Problem) {
    let mut book = book();
    change(&mut book);
    let error = book.encode().expect_err("refused");
    (error.item, error.problem)
}

#[test]
fn parts_are_found_in_place() {
    let code = book().encode().unwrap();
    assert_eq!(code[0], 0, "the account cannot be called to any effect");
    assert_eq!(Rulebook::decode(&code).unwrap(), book());
    let view = View::open(&code).unwrap();
    assert_eq!(view.callers().collect::<Vec<_>>(), [address("vault"), address("pool")]);
    assert_eq!(
        (view.scope(0), view.scope(1), view.scope(2)),
        (Some(scope(ScopeKind::Protocol)), Some(scope(ScopeKind::Market)), None)
    );
    let header = view.header();
    let record = view.rule(1).unwrap();
    assert_eq!(header.rule_range(1).unwrap().len(), 16);
    assert_eq!((header.rule_range(2), header.containment_range(1)), (None, None));
    let body = view.rule_body(&record).unwrap();
    assert_eq!(body.program().bytes(), hook_rule().program);
    assert_eq!(
        (record.entries, body.entry(0).bytes()),
        (1, &hook_rule().entries[0][..])
    );
    assert!(body.entry(1).bytes().is_empty());
    let call = view.containment(0).unwrap();
    let call = view.containment_body(&call).unwrap();
    assert_eq!(
        (call.target, call.calldata, call.undo().count()),
        (address("configurator"), &[1, 2, 3, 4, 5][..], 1)
    );
    assert!(view.rule(2).is_err() && view.containment(1).is_err());
}

#[test]
fn creation_code_returns_the_book() {
    let code = book().encode().unwrap();
    let init = init_code(&code);
    let length = u16::from_be_bytes([init[1], init[2]]);
    assert_eq!(
        (init[0], usize::from(length), usize::from(init[5])),
        (0x61, code.len(), init.len() - code.len())
    );
    assert_eq!(init[10..], code);
}

/// Ten rules of thirty honest reads each close an action for good, whatever gas its callers send.
#[test]
fn rules_hooked_to_an_action_are_bounded_together() {
    let costly = |action: Action| Rule {
        check: ActionSet::EMPTY.with(action),
        ..state_rule(&reads(30))
    };
    let rules = |count: usize, action: Action| {
        let mut book = book();
        book.rules = vec![costly(action); count];
        book
    };
    let one = u64::from(rule(&reads(30)).gas_bound);
    for action in [Action::Repay, Action::Withdraw] {
        assert!(rules(1, action).encode().is_ok());
        let error = rules(2, action).encode().unwrap_err();
        let gas = 2 * one;
        assert_eq!(
            (error.item, error.problem),
            (Item::Book, Problem::HookTooDear { action, gas })
        );
        assert_eq!(error.code(), 25);
        let told = error.to_string();
        assert!(
            told.contains(action.name()) && told.contains(&gas.to_string()) && told.contains("16000000"),
            "{told}"
        );
    }
    // Each has its own sum, and what is read before the call counts by itself.
    let mut book = book();
    book.rules = vec![costly(Action::Repay), costly(Action::Withdraw)];
    assert!(book.encode().is_ok());
    book.rules = vec![costly(Action::Withdraw), hook_rule()];
    assert!(book.encode().is_ok());
    // What is read before it alone is too much.
    let entry = Rule {
        program: rule("entry(vault.totalAssets()) >= 5").program,
        entries: vec![rule(&reads(30)).program],
        ..hook_rule()
    };
    book.rules = vec![entry; 2];
    let problem = book.encode().unwrap_err().problem;
    let action = Action::Deposit;
    assert_eq!(problem, Problem::HookTooDear { action, gas: 2 * one });
}

#[test]
fn a_level_needs_something_that_it_changes() {
    let no_effect = |item| (item, Problem::LevelHasNoEffect);
    // Without callers only containment calls serve a level.
    assert_eq!(
        refused(|book| {
            book.callers.clear();
            book.containments.clear()
        }),
        no_effect(Item::Rule(0))
    );
    assert_eq!(
        refused(|book| {
            book.callers.clear();
            book.containments[0].level = Level::Halted
        }),
        no_effect(Item::Rule(0))
    );
    assert_eq!(
        refused(|book| {
            book.callers.clear();
            book.containments[0].scope = 0
        }),
        no_effect(Item::Rule(0))
    );
    // Scope 0 runs the calls of every scope.
    let mut book = book();
    book.callers.clear();
    book.rules[0].scope = 0;
    let code = book.encode().unwrap();
    let view = View::open(&code).unwrap();
    assert!(view.level_has_effect(0, Level::Halted) && !view.level_has_effect(0, Level::Throttled));
}
