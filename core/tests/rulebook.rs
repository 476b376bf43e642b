//! A rulebook comes back as it went in, and nothing else is adopted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

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

#[test]
fn each_fault_is_named() {
    let rule0 = |problem| (Item::Rule(0), problem);
    let call0 = |problem| (Item::Containment(0), problem);
    assert_eq!(refused(|book| book.scopes.clear()), (Item::Book, Problem::BadScope));
    assert_eq!(
        refused(|book| book.scopes[1].kind = ScopeKind::Protocol),
        (Item::Scope(1), Problem::BadScope)
    );
    assert_eq!(
        refused(|book| book.scopes = vec![scope(ScopeKind::Market); 129]),
        (Item::Book, Problem::TooMany)
    );
    assert_eq!(
        refused(|book| book.callers[1] = address("vault")),
        (Item::Caller(1), Problem::BadCaller)
    );
    assert_eq!(
        refused(|book| book.callers[0] = Address::ZERO),
        (Item::Caller(0), Problem::BadCaller)
    );
    assert_eq!(refused(|book| book.rules[0].scope = 2), rule0(Problem::BadScope));
    assert_eq!(
        refused(|book| book.rules[0].class = Class::Keeper),
        rule0(Problem::BadClass)
    );
    assert_eq!(
        refused(|book| book.rules[0].level = Level::Grace),
        rule0(Problem::BadLevel)
    );
    assert_eq!(
        refused(|book| book.rules[0].duration = 3601),
        rule0(Problem::BadDuration)
    );
    assert_eq!(refused(|book| book.rules[0].duration = 0), rule0(Problem::BadDuration));
    assert_eq!(refused(|book| book.rules[0].params = 1), rule0(Problem::WrongInputs));
    assert_eq!(
        refused(|book| {
            book.rules[0].params = 1;
            book.rules[0].check = ActionSet::ALL
        }),
        rule0(Problem::WitnessInHook)
    );
    assert_eq!(
        refused(|book| {
            book.rules[0].robust = false;
            book.rules[0].level = Level::Halted
        }),
        rule0(Problem::SpotRuleTooStrict)
    );
    assert_eq!(
        refused(|book| book.rules[0].program = hook_rule().entries[0].clone()),
        rule0(Problem::NotBoolean)
    );
    assert!(matches!(
        refused(|book| book.rules[0].program.truncate(12)),
        (Item::Rule(0), Problem::Program(_))
    ));
    assert_eq!(
        refused(|book| book.rules[1].level = Level::ReduceOnly).1,
        Problem::BadLevel
    );
    assert_eq!(
        refused(|book| book.rules[1].check = ActionSet::EMPTY).1,
        Problem::NothingChecks
    );
    assert_eq!(refused(|book| book.rules[1].entries.clear()).1, Problem::WrongInputs);
    assert_eq!(
        refused(|book| book.rules[1].class = Class::State).1,
        Problem::WrongInputs
    );
    assert_eq!(
        refused(|book| book.containments[0].level = Level::Normal),
        call0(Problem::BadLevel)
    );
    assert_eq!(refused(|book| book.containments[0].gas = 0), call0(Problem::BadCall));
    assert_eq!(
        refused(|book| book.containments[0].calldata.truncate(3)),
        call0(Problem::BadCall)
    );
    assert_eq!(
        refused(|book| book.containments[0].undo[0].target = Address::ZERO),
        call0(Problem::BadCall)
    );
    assert_eq!(
        refused(|book| book.containments[0].max_duration = 604_801),
        call0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| book.containments[0].done = hook_rule().program),
        call0(Problem::WrongInputs)
    );
    assert_eq!(
        refused(|book| {
            let undo = book.containments[0].undo[0].clone();
            book.containments[0].undo = vec![undo; 9]
        }),
        call0(Problem::TooMany)
    );
    let repay = ActionSet::EMPTY.with(Action::Repay);
    assert_eq!(
        refused(|book| book.containments[0].closes = repay),
        call0(Problem::RepayClosedTooLong)
    );
    assert_eq!(
        refused(|book| {
            book.containments[0].closes = repay;
            book.containments[0].max_duration = 900
        }),
        call0(Problem::LiquidationWithoutRepay)
    );
    // Each call is within its bound, and all together are not: the last one counts as well, and undo calls by themselves.
    let together = |calls: usize, undo: usize| {
        refused(|book| {
            book.containments[0].gas = MAX_CALL_GAS;
            let item = book.containments[0].undo[0].clone();
            book.containments[0].undo = vec![item; undo];
            book.containments = vec![book.containments[0].clone(); calls];
        })
    };
    assert_eq!(together(5, 1), (Item::Book, Problem::TooMuchGas));
    assert_eq!(together(3, 2), (Item::Book, Problem::TooMuchGas));
    // What a call costs is more than its own gas: it is read back before and after, and so are its undo calls.
    assert_eq!(together(1, 3), call0(Problem::CallTooDear));
    assert_eq!(
        refused(|book| {
            book.containments[0].done = condition(&reads(25));
        }),
        call0(Problem::CallTooDear)
    );
    assert_eq!(
        refused(|book| book.rules = vec![state_rule("vault.totalAssets() >= 5"); 400]).1,
        Problem::TooLong
    );
    let error = {
        let mut book = book();
        book.rules[1].check = ActionSet::EMPTY;
        book.encode().unwrap_err()
    };
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (13, "rule 1: no hook checks this hook rule: name the actions in `check`")
    );
}

fn order(scope: u8, level: Level, duration: u32) -> Order {
    Order { scope, level, duration }
}

/// The book with a set.
fn registered() -> Rulebook {
    Rulebook {
        sets: vec![ContainmentSet {
            name: set_name("stop-all").unwrap(),
            reviewed: B256::repeat_byte(7),
            orders: vec![order(1, Level::ReduceOnly, 3600), order(0, Level::Halted, 900)],
        }],
        ..book()
    }
}

#[test]
fn a_set_is_found_by_its_name_and_each_fault_in_it_is_named() {
    let code = registered().encode().unwrap();
    assert_eq!((code[3], Rulebook::decode(&code).unwrap()), (11, registered()));
    let view = View::open(&code).unwrap();
    let set = view.set_named(&set_name("stop-all").unwrap()).unwrap();
    assert_eq!(
        (set.reviewed, set.orders().collect::<Vec<_>>()),
        (B256::repeat_byte(7), registered().sets[0].orders.clone())
    );
    for other in ["stop", "stop-all-of", "STOP-ALL"] {
        assert_eq!(view.set_named(&set_name(other).unwrap()), None, "{other}");
    }
    assert!(view.set(1).is_err());
    let refused = |change: fn(&mut Rulebook)| {
        let mut book = registered();
        change(&mut book);
        let error = book.encode().expect_err("refused");
        (error.item, error.problem)
    };
    let set0 = |problem| (Item::Set(0), problem);
    let bad = set0(Problem::BadSet);
    assert_eq!(refused(|book| book.sets[0].name = B256::ZERO), bad);
    assert_eq!(refused(|book| book.sets[0].name = B256::with_last_byte(b'x')), bad);
    assert_eq!(refused(|book| book.sets[0].name.0[0] = b' '), bad);
    assert_eq!(refused(|book| book.sets[0].reviewed = B256::ZERO), bad);
    assert_eq!(refused(|book| book.sets[0].orders.clear()), bad);
    assert_eq!(refused(|book| book.sets[0].orders[1].scope = 1), bad);
    assert_eq!(
        refused(|book| book.sets.push(book.sets[0].clone())),
        (Item::Set(1), Problem::BadSet)
    );
    assert_eq!(
        refused(|book| book.sets[0].orders[0].scope = 2),
        set0(Problem::BadScope)
    );
    for level in [Level::Normal, Level::Grace] {
        let mut book = registered();
        book.sets[0].orders[0].level = level;
        assert_eq!(book.encode().unwrap_err().problem, Problem::BadLevel);
    }
    assert_eq!(
        refused(|book| book.sets[0].orders[0].duration = 0),
        set0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| book.sets[0].orders[0].duration = 28 * 86_400 + 1),
        set0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| {
            book.callers.clear();
            book.sets[0].orders[0].level = Level::Throttled
        }),
        set0(Problem::LevelHasNoEffect)
    );
    assert_eq!(
        refused(|book| book.sets = vec![book.sets[0].clone(); 33]),
        (Item::Book, Problem::TooMany)
    );
    // A level that means nothing, and half an order.
    let mut strange = code.clone();
    let at = strange.len() - 5;
    strange[at] = 9;
    assert_eq!(check(&strange).unwrap_err().problem, Problem::BadLevel);
    assert_eq!(check(&code[..code.len() - 1]).unwrap_err().problem, Problem::Truncated);
    // A rulebook without sets is not of the version with sets.
    let mut none = book().encode().unwrap();
    none[3] = 11;
    none.insert(10, 0);
    assert_eq!(check(&none).unwrap_err().problem, Problem::NotARulebook);
}

#[test]
fn names_of_sets_are_short_visible_words() {
    assert!(set_name(&"x".repeat(32)).is_some());
    for bad in ["", "two words", "tab\t", "ö", &"x".repeat(33)] {
        assert_eq!(set_name(bad), None, "{bad}");
    }
}

#[test]
fn a_set_is_within_a_role_when_each_level_and_all_together_are() {
    let hour = |level| order(1, level, 3600);
    let within =
        |orders: &[Order]| [Actor::Keeper, Actor::Guardian, Actor::Governor].map(|actor| is_within(orders, actor));
    assert_eq!(
        within(&[hour(Level::ReduceOnly), hour(Level::Throttled)]),
        [true, true, true]
    );
    assert_eq!(within(&[hour(Level::ReduceOnly); 3]), [false, true, true]);
    assert_eq!(within(&[hour(Level::Halted)]), [false, true, true]);
    assert_eq!(within(&[order(1, Level::Halted, 86_400); 4]), [false, false, true]);
    assert_eq!(within(&[order(1, Level::Halted, 86_401)]), [false, false, true]);
}

#[test]
fn layout_is_strict() {
    let code = book().encode().unwrap();
    let problem = |bytes: &[u8]| check(bytes).unwrap_err().problem;
    let mut longer = code.clone();
    longer.push(0);
    assert_eq!(problem(&longer), Problem::BadLayout);
    assert_eq!(problem(&code[1..]), Problem::NotARulebook);
    assert_eq!(problem(&[]), Problem::NotARulebook);
    // Versions 1 to 8 had scopes of one byte: read as if they had five, they would say something else. Above 16 is nothing yet.
    for version in (0..=u8::MAX).filter(|version| !(9..=16).contains(version)) {
        let mut other = code.clone();
        other[3] = version;
        assert_eq!(problem(&other), Problem::NotARulebook, "version {version}");
    }
    assert_eq!(problem(&[0; 24_577]), Problem::TooLong);
    // A gap before the last body: everything else still fits.
    let record = View::open(&code).unwrap().header().containment_range(0).unwrap();
    let body = usize::from(u16::from_be_bytes([code[record.end - 4], code[record.end - 3]]));
    let mut gap = code.clone();
    gap.insert(body, 0);
    gap[record.end - 4..record.end - 2].copy_from_slice(&u16::try_from(body + 1).unwrap().to_be_bytes());
    assert_eq!(problem(&gap), Problem::BadLayout);
    for end in 4..code.len() {
        assert!(check(&code[..end]).is_err(), "{end}");
    }
}

fn books() -> impl Strategy<Value = Rulebook> {
    let sources = [
        "vault.totalAssets() >= vault.totalSupply()",
        "oracle.getSourceOfAsset(weth) == weth_feed",
        "usdc.balanceOf(vault) * 3 / 7 < 5 || now > 9 days",
    ];
    let programs = prop::sample::select(sources.map(condition).to_vec());
    let raised = prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]);
    let rules = (
        any::<prop::sample::Index>(),
        any::<bool>(),
        raised.clone(),
        1u32..=3600,
        0u16..2048,
        programs.clone(),
        any::<bool>(),
    )
        .prop_map(|(scope, shadow, level, duration, check, program, hook)| {
            let base = if hook {
                hook_rule()
            } else {
                Rule {
                    level,
                    duration,
                    program,
                    ..state_rule("vault.paused()")
                }
            };
            let check = if hook { check | 1 } else { check };
            Rule {
                scope: u8::try_from(scope.index(3)).unwrap(),
                shadow,
                check: ActionSet::from_bits(check).unwrap(),
                ..base
            }
        });
    let call = (any::<[u8; 20]>(), prop::collection::vec(any::<u8>(), 4..80));
    let undo = (call.clone(), programs.clone())
        .prop_filter("a target", |((target, _), _)| *target != [0; 20])
        .prop_map(|((target, calldata), undone)| Undo {
            target: target.into(),
            calldata,
            undone,
        });
    let containments = (
        any::<prop::sample::Index>(),
        raised,
        call,
        1u32..1_300_000,
        0u32..604_800,
        programs,
        prop::collection::vec(undo, 0..4),
    )
        .prop_map(
            |(scope, level, (target, calldata), gas, max_duration, done, undo)| Containment {
                scope: u8::try_from(scope.index(3)).unwrap(),
                level,
                target: Address::new(target),
                calldata,
                gas,
                closes: ActionSet::EMPTY.with(Action::Increase),
                max_duration,
                done,
                undo,
            },
        );
    (
        prop::collection::vec(rules, 0..8),
        prop::collection::vec(containments, 0..6),
        prop::collection::btree_map(60_u32..10_000, (1_u16..=10_000, 0_u8..3), 0..4),
        prop::collection::btree_map("[!-~]{1,32}", sets(), 0..4),
    )
        .prop_map(|(rules, containments, streams, sets)| Rulebook {
            scopes: vec![
                scope(ScopeKind::Protocol),
                scope(ScopeKind::Asset),
                scope(ScopeKind::Function),
            ],
            callers: vec![address("vault")],
            rules,
            containments,
            streams: streams
                .into_iter()
                .map(|(period, (step, scope))| Stream {
                    scope,
                    spec: spec(period, step),
                    program: rule("anchor(vault.totalAssets(), 1 h, 0, 9) > 1").streams[0]
                        .program
                        .clone(),
                })
                .collect(),
            sets: sets
                .into_iter()
                .map(|(name, (reviewed, orders))| ContainmentSet {
                    name: set_name(&name).unwrap(),
                    reviewed: B256::repeat_byte(reviewed),
                    orders,
                })
                .collect(),
        })
}

/// Anchors, and statistics now and then.
fn spec(period: u32, step: u16) -> Spec {
    if !step.is_multiple_of(3) {
        let bound = |value: u32| Reading::new(&Int::from(U256::from(value) << (period % 200) as usize));
        return Spec::Anchor(anchor::Spec {
            period,
            step,
            low: bound(period),
            high: bound(period + u32::from(step)),
        });
    }
    Spec::Baseline(baseline::Spec {
        shift: (step % 193) as u8,
        low: 0,
        high: u64::from(step),
        floor: 1,
        roof: u64::from(step),
        rate: 64 + step % 8_000,
        clip: 1_000 + step,
        slack: step % 1_000,
        cap: step,
        spacing: 60 + step,
        window: 20_000 + period,
    })
}

/// The hash's byte and what a set raises.
fn sets() -> impl Strategy<Value = (u8, Vec<Order>)> {
    let raised = prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]);
    let orders = prop::collection::btree_map(0_u8..3, (raised, 1_u32..=2_419_200), 1..4);
    (1_u8.., orders).prop_map(|(reviewed, orders)| {
        let orders = orders
            .into_iter()
            .map(|(scope, (level, duration))| Order { scope, level, duration });
        (reviewed, orders.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn decode_undoes_encode(book in books()) {
        let code = book.encode().unwrap();
        prop_assert_eq!(Rulebook::decode(&code).unwrap(), book);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), counts: [u8; 4]) {
        let _ = Rulebook::decode(&bytes);
        let mut code = vec![0, b'C', b'R', 1, counts[0], counts[1] % 4, 0, counts[2] % 8, 0, counts[3] % 8];
        code.extend(bytes);
        let _ = Rulebook::decode(&code);
    }

    #[test]
    fn what_is_adopted_has_one_encoding(book in books(), at in any::<prop::sample::Index>(), to: u8) {
        let mut code = book.encode().unwrap();
        let at = at.index(code.len());
        code[at] = to;
        if let Ok(decoded) = Rulebook::decode(&code) {
            prop_assert_eq!(&decoded.encode().unwrap(), &code);
        }
        if let Ok(view) = View::open(&code) {
            for index in 0..view.header().containments.min(8) {
                let record = view.containment(index);
                let _ = record.and_then(|record| view.containment_body(&record).map(|body| body.undo().count()));
            }
        }
    }
}
