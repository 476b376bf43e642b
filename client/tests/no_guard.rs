//! A configuration without `[guard]`: invariants that are watched and told, and what needs a guard after all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{parse, relative};
use cordon_client::CompiledConfig;
use cordon_core::Level;
use cordon_core::rule::Class;

const TOLD: &str = r#"[chain]
id = 1
rpc = ["http://127.0.0.1:8545"]

[keeper]
store = "cordon.db"

[contracts]
usdc = { address = "0x00000000000000000000000000000000000000a2", abi = "erc20" }
vault = { address = "0x00000000000000000000000000000000000000a9", abi = "erc4626" }

[[invariant]]
id = "backed"
rule = "usdc.balanceOf(vault) >= vault.totalAssets()"
severity = "P1"

[[invariant]]
id = "solvent"
scope = "accounts"
param = "account: address"
witness = { contract = "usdc", event = "event Transfer(address indexed from, address indexed to, uint256 value)", field = "to" }
rule = "vault.maxWithdraw(account) <= usdc.balanceOf(vault)"
"#;

fn compiled(text: &str) -> CompiledConfig {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    config.compile().unwrap_or_else(|error| panic!("{error}"))
}

/// What is said of the text, when it is read or when it is compiled.
fn refused(text: &str) -> String {
    match parse(text) {
        Err(error) => error,
        Ok(config) => relative(config.compile().expect_err("nothing is wrong with it")),
    }
}

#[test]
fn invariants_without_a_guard_are_the_keepers_own_and_raise_nothing() {
    let compiled = compiled(TOLD);
    assert!(compiled.rulebook.rules.is_empty(), "no guard holds them");
    assert_eq!(compiled.outside.len(), 2);
    assert_eq!(compiled.scopes, ["protocol", "accounts"], "scopes are labels");
    let rules: Vec<_> = compiled
        .rules
        .iter()
        .map(|rule| (rule.id.as_str(), rule.index, rule.class, rule.level, rule.scope))
        .collect();
    assert_eq!(
        rules,
        [
            ("backed", 0, Class::Keeper, Level::Normal, 0),
            ("solvent", 1, Class::Keeper, Level::Normal, 1),
        ]
    );
    assert!(!parse(TOLD).unwrap().guard.is_declared);
}

#[test]
fn a_rule_of_the_same_number_that_is_another_makes_another_version() {
    let held = compiled(TOLD).version();
    let same = TOLD.replace("severity = \"P1\"", "severity = \"P2\" # a comment");
    assert_eq!(compiled(&same).version(), held, "how it is told makes no other rule");
    for (from, to) in [
        ("id = \"backed\"", "id = \"funded\""),
        (">= vault.totalAssets()", "> vault.totalAssets()"),
        ("scope = \"accounts\"", "scope = \"users\""),
    ] {
        assert_ne!(compiled(&TOLD.replace(from, to)).version(), held, "{to}");
    }
}

/// What is put after the first rule, or after everything.
const WRONG: [(&str, &str); 13] = [
    ("level", "severity = \"P1\"\nlevel = \"ReduceOnly\""),
    ("duration", "severity = \"P1\"\nduration = \"10 minutes\""),
    ("respond", "severity = \"P1\"\nrespond = \"contain\""),
    ("check", "severity = \"P1\"\ncheck = [\"Withdraw\"]"),
    ("in_call", "severity = \"P1\"\nin_call = \"shadow\""),
    ("held_by", "severity = \"P1\"\nheld_by = \"guard\""),
    ("label", "severity = \"P1\"\nscope = \"all of it\""),
    ("finality", "severity = \"P1\"\nfinality = \"pending\""),
    (
        "entry",
        "severity = \"P1\"\n\n[[invariant]]\nid = \"steady\"\nrule = \"vault.totalAssets() >= entry(vault.totalAssets())\"",
    ),
    (
        "anchor",
        "severity = \"P1\"\n\n[[invariant]]\nid = \"steady\"\nrule = \"near(vault.totalAssets(), anchor(vault.totalAssets(), 10 min, 1, 1e30), 10 %)\"",
    ),
    (
        "containment",
        "severity = \"P1\"\n\n[[containment]]\nid = \"pause\"\nscope = \"protocol\"\nlevel = \"Halted\"\ncall = \"vault.pause()\"\ndone = \"vault.paused()\"",
    ),
    (
        "fallback",
        "severity = \"P1\"\n\n[[fallback]]\nid = \"safe\"\nsafe = \"0x00000000000000000000000000000000000000b1\"\nsigned = \"pause.json\"",
    ),
    (
        "playbook",
        "severity = \"P1\"\n\n[[playbook]]\nid = \"first\"\nstep = [{ do = \"contain\", level = \"ReduceOnly\", for = \"1 hour\" }, { do = \"retry\" }, { do = \"note\", text = \"seen\" }]",
    ),
];

#[test]
fn what_needs_a_guard_says_so() {
    let told: Vec<String> = WRONG
        .iter()
        .map(|(name, to)| format!("## {name}\n\n{}\n", refused(&TOLD.replacen("severity = \"P1\"", to, 1))))
        .collect();
    insta::assert_snapshot!("needs_a_guard", told.join("\n"));
}

#[test]
fn with_a_guard_an_invariant_names_its_scope() {
    let full = include_str!("data/full.toml");
    let scope = "scope = \"vault\"\n";
    let text = full.replacen(scope, "", 1);
    assert_ne!(text, full, "the example has {scope}");
    let error = refused(&text);
    assert!(error.contains("the key `scope` is missing"), "{error}");
}
