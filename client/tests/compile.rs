//! From the configuration to the rulebook: the full example, encoded calls, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy::primitives::{U256, address};
use alloy::sol_types::SolCall;
use cordon_client::{CompiledConfig, Config};
use cordon_core::incident::Reading;
use cordon_core::rule::{Class, Int};
use cordon_core::rulebook::Rulebook;
use cordon_core::stream::Spec;
use cordon_core::{Action, Level};

const FULL: &str = include_str!("data/full.toml");

fn compile(text: &str) -> Result<CompiledConfig, String> {
    let config = Config::parse(text, common::path()).map_err(|error| format!("not compiled: {error}"))?;
    config.compile().map_err(common::relative)
}

fn complaint(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "the example has no {from}");
    match compile(&FULL.replacen(from, to, 1)) {
        Err(message) => message,
        Ok(_) => panic!("nothing wrong with {to}"),
    }
}

#[test]
fn the_full_example_is_compiled() {
    let compiled = compile(FULL).unwrap();
    assert_eq!(compiled.code[0], 0, "the account's code begins with STOP");
    assert_eq!(Rulebook::decode(&compiled.code).unwrap(), compiled.rulebook);

    let summary: Vec<_> = compiled
        .rules
        .iter()
        .map(|rule| {
            (
                rule.id.as_str(),
                rule.index,
                rule.class,
                rule.level,
                rule.class_reason.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        summary,
        [
            ("weth-price-near-reference", 0, Class::State, Level::ReduceOnly, None),
            ("account-solvent", 1, Class::State, Level::ReduceOnly, None),
            ("share-price-steady", 2, Class::Hook, Level::Normal, Some("entry")),
            ("vault-backed", 3, Class::State, Level::ReduceOnly, None),
        ]
    );
    assert_eq!(compiled.rulebook.rules[0].duration, 1800);
    assert_eq!(compiled.rulebook.rules[1].params, 1);
    assert_eq!(compiled.rulebook.rules[2].entries.len(), 1);
    assert!(compiled.rulebook.rules[3].shadow);
    assert_eq!(
        compiled.rulebook.callers,
        [address!("0x00000000000000000000000000000000000000a9")]
    );

    let pause = &compiled.rulebook.containments[2];
    assert_eq!((pause.max_duration, pause.undo.len()), (900, 2));
    assert!(pause.closes.contains(Action::Repay));
    assert_eq!(
        compiled.containments[1].call,
        "configurator.setReserveBorrowing(usdc, false)"
    );
}

alloy::sol! {
    function setAssetSources(address[] assets, address[] sources);
    function setReserveBorrowing(address asset, bool enabled);
    function setCaps(uint256 supply, uint8[] kinds, int64 shift, bytes32 tag);
}

#[test]
fn calls_are_encoded_as_the_abi_says() {
    let (weth, usdc) = (
        address!("0x00000000000000000000000000000000000000a1"),
        address!("0x00000000000000000000000000000000000000a2"),
    );
    let feed = address!("0x00000000000000000000000000000000000000a3");
    let compiled = compile(FULL).unwrap();
    let calldata = |index: usize| compiled.rulebook.containments[index].calldata.clone();
    assert_eq!(
        calldata(0),
        setAssetSourcesCall {
            assets: vec![weth],
            sources: vec![feed]
        }
        .abi_encode()
    );
    assert_eq!(
        calldata(1),
        setReserveBorrowingCall {
            asset: usdc,
            enabled: false
        }
        .abi_encode()
    );
    assert_eq!(
        compiled.rulebook.containments[0].target,
        address!("0x00000000000000000000000000000000000000a5")
    );

    let two = compile(&FULL.replace(
        "([weth], [weth_feed])",
        "([weth, usdc], [weth_feed, 0x00000000000000000000000000000000000000a4])",
    ))
    .unwrap();
    let sources = vec![feed, address!("0x00000000000000000000000000000000000000a4")];
    assert_eq!(
        two.rulebook.containments[0].calldata,
        setAssetSourcesCall {
            assets: vec![weth, usdc],
            sources
        }
        .abi_encode()
    );
}

#[test]
fn numbers_in_calls_have_units_and_signs() {
    let text = FULL
        .replace(
            "    \"function setPoolPause(bool paused)\",",
            "    \"function setPoolPause(bool paused)\",\n    \"function setCaps(uint256 supply, uint8[] kinds, int64 shift, bytes32 tag)\",",
        )
        .replace(
            "configurator.setReserveBorrowing(usdc, false)",
            "configurator.setCaps(15e17, [1, 2, 255], -7, 0x0101010101010101010101010101010101010101010101010101010101010101)",
        );
    let compiled = compile(&text).unwrap();
    let wanted = setCapsCall {
        supply: "1500000000000000000".parse().unwrap(),
        kinds: vec![1, 2, 255],
        shift: -7,
        tag: [1; 32].into(),
    };
    assert_eq!(compiled.rulebook.containments[1].calldata, wanted.abi_encode());
}

/// Each case: name, what is replaced in the example, by what.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "unknown_contract",
        "near(oracle.getAssetPrice",
        "near(orcale.getAssetPrice",
    ),
    (
        "unknown_function",
        "weth_ref.latestAnswer()",
        "weth_ref.lastestAnswer()",
    ),
    ("arguments", "oracle.getAssetPrice(weth)", "oracle.getAssetPrice()"),
    (
        "missing_parenthesis",
        "weth_ref.latestAnswer(), 15 %)",
        "weth_ref.latestAnswer(), 15 %",
    ),
    ("unknown_field", "(account).totalDebtBase", "(account).totalDebtBas"),
    (
        "in_a_let",
        "(account).totalCollateralBase\"",
        "(acount).totalCollateralBase\"",
    ),
    ("kinds", "collateral * 95 % >= debt", "collateral * 95 % && debt"),
    (
        "not_a_view",
        "oracle.getSourceOfAsset(weth) == weth_feed",
        "configurator.setPoolPause(true)",
    ),
    ("hook_rule_with_level", "in_call = \"revert\"", "level = \"ReduceOnly\""),
    (
        "hook_rule_without_check",
        "check = [\"Deposit\", \"Withdraw\"]\nin_call = \"revert\"\n",
        "",
    ),
    (
        "parameters_in_a_hook",
        "param = \"account: address\"",
        "check = [\"Increase\"]\nparam = \"account: address\"",
    ),
    ("level_without_effect", "callers = [\"vault\"]", "callers = []"),
    (
        "rule_without_effect",
        "level = \"ReduceOnly\"\nduration = \"30 minutes\"\n",
        "",
    ),
    (
        "unknown_target",
        "call = \"configurator.setPoolPause(true)\"",
        "call = \"configuratr.setPoolPause(true)\"",
    ),
    (
        "unknown_call",
        "configurator.setPoolPause(true)",
        "configurator.setPoolPaus(true)",
    ),
    (
        "call_argument",
        "setReserveBorrowing(usdc, false)",
        "setReserveBorrowing(usdc, 7)",
    ),
    ("call_array", "([weth], [weth_feed])", "([weth], weth_feed)"),
    ("call_arguments", "setPoolPause(true)", "setPoolPause(true, true)"),
    (
        "unknown_name_in_a_call",
        "([weth], [weth_feed])",
        "([weth], [weth_fed])",
    ),
    (
        "entry_in_a_condition",
        "done = \"oracle.getSourceOfAsset(weth) == weth_feed\"",
        "done = \"oracle.getAssetPrice(weth) > entry(oracle.getAssetPrice(weth))\"",
    ),
    (
        "closes_repay_not_liquidation",
        "\"Repay\", \"Liquidate\"]",
        "\"Repay\"]",
    ),
];

#[test]
fn every_refusal_says_what_and_where() {
    let refusals: Vec<String> = WRONG
        .iter()
        .map(|(name, from, to)| format!("## {name}\n\n{}\n", complaint(from, to)))
        .collect();
    insta::assert_snapshot!("refusals", refusals.join("\n"));
}

#[test]
fn several_malformed_rules_are_reported_at_once() {
    let text = FULL
        .replace("near(oracle.", "near(orcale.")
        .replace("setPoolPause(true)", "setPoolPaus(true)");
    let message = compile(&text).unwrap_err();
    assert_eq!(message.matches("cordon.toml:").count(), 2, "{message}");
}

#[test]
fn known_traps_are_warnings() {
    let text = FULL.replace(
        "weth.balanceOf(vault) >= vault.totalAssets()",
        "weth.balanceOf(vault) == vault.totalAssets()",
    );
    let warnings = compile(&text).unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.line == 77 && w.message.contains("balance")),
        "{warnings:?}"
    );
}

/// It is no mistake, for who asks for the level is told, and less than most expect.
#[test]
fn throttled_that_no_call_serves_is_told_to_close_nothing() {
    let told = |text: &str| {
        let warnings = compile(text).unwrap().warnings.into_iter();
        warnings.filter(|held| held.message.contains("close nothing")).count()
    };
    assert_eq!(told(FULL), 0, "ReduceOnly closes actions by itself");
    let text = FULL.replacen("level = \"ReduceOnly\"", "level = \"Throttled\"", 1);
    assert_eq!(told(&text), 1);
    // Without callers nothing would be left of it, which is refused.
    let alone = text.replacen("callers = [\"vault\"]", "callers = []", 1);
    let error = compile(&alone).unwrap_err();
    assert!(error.contains("the level Throttled would have no effect"), "{error}");
}

#[test]
fn rules_that_only_the_keeper_has_are_numbered_after_the_guards() {
    let text = FULL.replacen(
        "id = \"account-solvent\"\n",
        "id = \"account-solvent\"\nheld_by = \"keeper\"\n",
        1,
    );
    let (whole, compiled) = (compile(FULL).unwrap(), compile(&text).unwrap());
    let summary: Vec<_> = compiled
        .rules
        .iter()
        .map(|rule| (rule.id.as_str(), rule.index))
        .collect();
    assert_eq!(
        summary,
        [
            ("weth-price-near-reference", 0),
            ("share-price-steady", 1),
            ("vault-backed", 2),
            ("account-solvent", 3)
        ]
    );
    let solvent = compiled.rule("account-solvent").unwrap();
    assert_eq!(
        (solvent.class, solvent.respond),
        (Class::Keeper, cordon_client::config::Respond::Contain)
    );
    assert_eq!(compiled.rulebook.rules.len(), 3);
    assert_eq!(compiled.outside, [whole.rulebook.rules[1].program.clone()]);
}

#[test]
fn what_a_keeper_alone_cannot_do_with_a_rule_is_refused() {
    let checked = complaint(
        "id = \"share-price-steady\"\n",
        "id = \"share-price-steady\"\nheld_by = \"keeper\"\n",
    );
    assert!(
        checked.contains("a hook cannot check a rule that the guard does not have"),
        "{checked}"
    );
    let hook = complaint(
        "id = \"share-price-steady\"\nscope = \"vault\"\ncheck = [\"Deposit\", \"Withdraw\"]\nin_call = \"revert\"\n",
        "id = \"share-price-steady\"\nscope = \"vault\"\nheld_by = \"keeper\"\n",
    );
    assert!(
        hook.contains("`entry` makes this a hook rule, which a keeper cannot evaluate"),
        "{hook}"
    );
    let trip = complaint(
        "id = \"account-solvent\"\n",
        "id = \"account-solvent\"\nheld_by = \"keeper\"\nrespond = \"trip\"\n",
    );
    assert!(
        trip.contains("a rule that the guard does not have cannot be tripped"),
        "{trip}"
    );
    assert!(trip.contains("respond = \"contain\""), "{trip}");
}

/// A value that a guard stores: one for all rules that say the same, of the scope that they have in common.
#[test]
fn anchors_become_streams_that_rules_share() {
    const BASE: &str = r#"
[chain]
id = 1
rpc = ["http://127.0.0.1:1"]
[guard]
scopes = ["protocol", "market", "other"]
callers = ["vault"]
[contracts]
vault = { address = "0x00000000000000000000000000000000000000a9", abi = "erc4626" }
"#;
    let rule = |id: &str, scope: &str, rule: &str| {
        format!("[[invariant]]\nid = \"{id}\"\nscope = \"{scope}\"\nrule = \"{rule}\"\nlevel = \"ReduceOnly\"\n")
    };
    let hour = "vault.totalAssets() <= anchor(vault.totalAssets(), 1 hour, 1e6, 1e30) * 2";
    let day = "vault.totalAssets() <= anchor(vault.totalAssets(), 1 day, 1e6, 1e30, step: 20 %) * 4";
    let rules = [
        rule("a", "market", hour),
        rule("b", "market", day),
        rule("c", "other", day),
    ];
    let bound = |digits: usize| Reading::new(&Int::from(U256::from(10).pow(U256::from(digits))));
    let anchor = |period, step| {
        Spec::Anchor(cordon_core::anchor::Spec {
            period,
            step,
            low: bound(6),
            high: bound(30),
        })
    };
    let compiled = compile(&(BASE.to_owned() + &rules.concat())).unwrap();
    let [first, second] = compiled.streams.as_slice() else {
        panic!("{:?}", compiled.streams)
    };
    assert_eq!((first.index, first.scope, first.spec), (0, 1, anchor(3_600, 1_000)));
    assert_eq!(
        (first.reads.as_slice(), first.rules.as_slice()),
        (&["vault.totalAssets".to_owned()][..], &["a".to_owned()][..])
    );
    // Rules of two scopes: an incident in any freezes it.
    assert_eq!((second.index, second.scope, second.spec), (1, 0, anchor(86_400, 2_000)));
    assert_eq!(second.rules, ["b", "c"]);
    assert_eq!(Rulebook::decode(&compiled.code).unwrap(), compiled.rulebook);
    assert_eq!(compiled.rulebook.streams[1].id(), second.id);

    let many: String = (0..33)
        .map(|at| {
            rule(
                &format!("r{at}"),
                "market",
                &hour.replace("1 hour", &format!("{} min", at + 1)),
            )
        })
        .collect();
    let message = compile(&(BASE.to_owned() + &many)).unwrap_err();
    assert!(message.contains("more than 32 different streams"), "{message}");
}
