//! Playbooks in cordon.toml: what is read, and what is wrong with it in the exact words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;

use cordon_client::Config;
use cordon_client::config::Severity;
use cordon_client::playbook::{Does, Playbook, cacao, to_toml};

const AROUND: &str = r#"
[chain]
id = 42161
rpc = ["http://127.0.0.1:8545"]
[guard]
scopes = ["protocol", "vault"]
[keeper]
store = "cordon.db"
[contracts]
vault = { address = "0x00000000000000000000000000000000000000a9", abi = "erc4626" }
[[invariant]]
id = "vault-backed"
scope = "vault"
rule = "vault.totalAssets() >= 1"
level = "ReduceOnly"
[[containment]]
id = "hold"
scope = "vault"
level = "ReduceOnly"
call = "vault.hold()"
done = "vault.totalAssets() >= 1"
[[notify]]
id = "chat"
via = "stdout"
[[notify]]
id = "chief"
via = "stdout"
audience = "management"
severity = "none"
[roles]
commander = ["ada", "grace"]
"#;

const FULL: &str = r#"
[[playbook]]
id = "emergency"
description = "What is done when the vault is not backed"
severity = "P2"
rules = ["vault-backed"]
step = [
  { do = "page", channels = ["chat"], text = "The vault is not backed." },
  { if = "level < ReduceOnly and age > 10 seconds", then = [
    { do = "retry", on_failure = "go-on" },
    { id = "raise", do = "contain", scope = "vault", level = "ReduceOnly", for = "30 minutes" },
  ], else = [ { do = "note", text = "It is held already." } ] },
  { parallel = [
    [ { do = "notify", audience = "management", text = "We look into it." } ],
    [ { id = "halt", do = "approve", role = "commander", text = "Halt the vault?", within = "10 minutes",
        on_failure = [ { do = "escalate", severity = "P1" } ] } ],
  ] },
  { while = "not acknowledged", most = 5, steps = [ { do = "wait", for = "5 minutes" }, { do = "page", text = "Still nobody." } ] },
  { do = "wait", until = "state = settled or state = released", within = "1 day" },
  { do = "close" },
]
"#;

fn parse(text: &str) -> Result<Config, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cordon.toml");
    let prefix = format!("{}/tests/data/", env!("CARGO_MANIFEST_DIR"));
    Config::parse(&format!("{AROUND}{text}"), path).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn one(text: &str) -> Playbook {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    config.playbooks.into_iter().next().unwrap()
}

#[test]
fn a_playbook_is_read_whole() {
    let playbook = one(FULL);
    assert_eq!(playbook.id, "emergency");
    assert_eq!(playbook.severity, Some(Severity::P2));
    assert!(playbook.starts_at(Severity::P1, Some("vault-backed")));
    assert!(!playbook.starts_at(Severity::P3, Some("vault-backed")));
    assert!(!playbook.starts_at(Severity::P1, Some("another")));
    assert!(!playbook.starts_at(Severity::P1, None));
    assert!(playbook.contains());
    let ids: Vec<&str> = playbook.all_steps().iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "step-1",
            "step-2",
            "step-2-then-1",
            "raise",
            "step-2-else-1",
            "step-3",
            "step-3-branch-1-1",
            "halt",
            "halt-failed-1",
            "step-4",
            "step-4-steps-1",
            "step-4-steps-2",
            "step-5",
            "step-6"
        ]
    );
    let Does::If { condition, .. } = &playbook.steps[1].does else {
        panic!("a branch")
    };
    assert_eq!(condition.to_string(), "level < ReduceOnly and age > 10 seconds");
}

/// The complaint about the full playbook with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "the example has no {from}");
    match parse(&FULL.replacen(from, to, 1)) {
        Err(message) => message,
        Ok(_) => panic!("nothing wrong with {to}"),
    }
}

#[test]
fn complaints() {
    let messages: Vec<String> = [
        (r#"severity = "P2""#, r#"severity = "P9""#),
        (r#"rules = ["vault-backed"]"#, r#"rules = ["vault-baked"]"#),
        (r#"do = "retry""#, r#"do = "rety""#),
        (r#"do = "close""#, r#"when = "now""#),
        (r#"do = "close""#, r#"text = "x""#),
        (r#"do = "close""#, r#"do = "close", text = "x""#),
        (r#"scope = "vault", level"#, r#"scope = "vualt", level"#),
        (
            r#"level = "ReduceOnly", for = "30 minutes""#,
            r#"level = "Halted", for = "30 minutes""#,
        ),
        (r#"level = "ReduceOnly", for = "30 minutes""#, r#"level = "ReduceOnly""#),
        (r#"channels = ["chat"]"#, r#"channels = ["chatt"]"#),
        (r#"role = "commander""#, r#"role = "comander""#),
        (r#"within = "10 minutes""#, r#"within = "10 minuts""#),
        (r#"within = "10 minutes""#, r#"within = "0 minutes""#),
        (r#"level < ReduceOnly and"#, r#"level < ReducOnly and"#),
        (r#"level < ReduceOnly and"#, r#"levle < ReduceOnly and"#),
        (r#"state = settled or"#, r#"state > settled or"#),
        (
            r#"state = settled or state = released"#,
            r#"verdict(vault-baked) = Holds"#,
        ),
        (r#", most = 5"#, r#""#),
        (r#", most = 5"#, r#", most = 500"#),
        (r#"id = "halt""#, r#"id = "raise""#),
        (r#"on_failure = "go-on""#, r#"on_failure = "retry""#),
        (
            r#"for = "5 minutes" }"#,
            r#"for = "5 minutes", until = "acknowledged" }"#,
        ),
        (
            r#"else = [ { do = "note", text = "It is held already." } ]"#,
            r#"otherwise = []"#,
        ),
    ]
    .into_iter()
    .map(|(from, to)| complaint(from, to))
    .collect();
    insta::assert_snapshot!("playbook_complaints", messages.join("\n\n---\n\n"));
}

#[test]
fn routes_and_roles_are_checked() {
    let more = |text: &str| parse(text).err().unwrap_or_else(|| "nothing is wrong".to_owned());
    let watch = |rest: &str| format!("[[watch]]\nid = \"w\"\non = \"transaction\"\n{rest}\n");
    let messages = [
        more(&watch(r#"channels = ["chat", "chif"]"#)),
        more(&watch(r#"audience = "managers""#)),
        // The only channel for management is told nothing that does not name it.
        more(&watch(r#"audience = "management""#)),
        more("[people]\nadah = { token = { env = \"ADA\" } }"),
        more("[people]\nada = { token = \"s3cret\" }"),
    ];
    insta::assert_snapshot!("route_complaints", messages.join("\n\n---\n\n"));

    let config = parse(&watch(r#"channels = "chief""#)).unwrap();
    assert_eq!(config.watches[0].channels, ["chief"]);
    let config = parse(&watch(r#"audience = "technical""#)).unwrap();
    assert_eq!(config.watches[0].channels, ["chat"]);
    assert!(config.invariants[0].channels.is_empty());
    assert!(config.people.has("ada", "commander") && !config.people.has("eve", "commander"));
}

#[test]
fn playbooks_of_a_folder_are_read_and_their_problems_name_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(folder.path().join("plays")).unwrap();
        std::fs::write(folder.path().join("plays").join(name), text).unwrap();
    };
    let load = || {
        let text = AROUND.replace("store = \"cordon.db\"", "store = \"cordon.db\"\nplaybooks = \"plays\"");
        let path = folder.path().join("cordon.toml");
        let prefix = format!("{}/", folder.path().display());
        Config::parse(&text, path).map_err(|error| error.to_string().replace(&prefix, ""))
    };
    assert!(load().unwrap_err().contains("the folder cannot be read"));
    write("a.toml", "id = \"a\"\nstep = [{ do = \"close\" }]\n");
    write(
        "b.json",
        &cacao::export(&one(FULL), "2026-11-21T08:00:00.000Z").to_string(),
    );
    write("readme.md", "not a playbook");
    let ids: Vec<String> = load()
        .unwrap()
        .playbooks
        .into_iter()
        .map(|playbook| playbook.id)
        .collect();
    assert_eq!(ids, ["a", "emergency"]);

    write("a.toml", "id = \"a\"\nstep = [{ do = \"clse\" }]\n");
    write("c.json", r#"{ "type": "playbook" }"#);
    let message = load().unwrap_err();
    assert!(
        message.contains("plays/a.toml:2:16: unknown thing to do `clse`"),
        "{message}"
    );
    assert!(
        message.contains("plays/c.json: workflow_start: the property is missing"),
        "{message}"
    );
}

const FALLBACK: &str = r#"
[[fallback]]
id = "council"
scopes = ["vault"]
safe = "0x00000000000000000000000000000000000000a9"
deadline = "20 seconds"
signed = ["halt.json"]
service = "https://api.safe.global/tx-service/arb1"
service_key = { env = "SAFE_KEY" }
for = "2 hours"
"#;

#[test]
fn fallbacks_are_read_and_checked() {
    let config = parse(FALLBACK).unwrap();
    let fallback = &config.fallbacks[0];
    assert_eq!(
        (fallback.deadline, fallback.patience, fallback.scopes.as_slice()),
        (20, 120, &[1_u8][..])
    );
    assert!(fallback.serves(1) && !fallback.serves(0));
    assert!(fallback.signed[0].ends_with("tests/data/halt.json"));
    assert_eq!(fallback.proposal.as_ref().unwrap().duration, 7_200);
    let messages: Vec<String> = [
        ("scopes = [\"vault\"]", "scopes = [\"valt\"]"),
        ("00a9\"", "00\""),
        ("deadline = \"20 seconds\"", "deadline = \"1 second\""),
        ("\"https://api.safe.global/tx-service/arb1\"", "\"safe.global\""),
        ("for = \"2 hours\"", "for = \"3 days\""),
        ("service = \"https://api.safe.global/tx-service/arb1\"\n", ""),
        ("service_key = { env = \"SAFE_KEY\" }", "service_key = \"s3cret\""),
        (
            "signed = [\"halt.json\"]\nservice = \"https://api.safe.global/tx-service/arb1\"\nservice_key = { env = \"SAFE_KEY\" }\nfor = \"2 hours\"\n",
            "",
        ),
    ]
    .into_iter()
    .map(|(from, to)| {
        assert!(FALLBACK.contains(from), "{from}");
        parse(&FALLBACK.replacen(from, to, 1)).err().unwrap_or_else(|| panic!("nothing wrong with {to}"))
    })
    .collect();
    insta::assert_snapshot!("fallback_complaints", messages.join("\n\n---\n\n"));
}

#[test]
fn what_is_written_as_toml_is_read_as_the_same_playbook() {
    let playbook = one(FULL);
    assert_eq!(one(&to_toml(&playbook)), playbook);
    let mut odd = playbook;
    odd.description = Some("two\nlines \"quoted\" and a \\".into());
    assert_eq!(one(&to_toml(&odd)), odd);
    insta::assert_snapshot!("playbook_toml", to_toml(&odd));
}

#[test]
fn templates_are_checked() {
    let more = |text: &str| parse(text).err().unwrap_or_else(|| "nothing is wrong".to_owned());
    let template = |rest: &str| more(&format!("[[template]]\n{rest}\n"));
    let messages = [
        template(
            r#"audience = "management"
text = "{severity} {subjct}""#,
        ),
        template(
            r#"audience = "management"
title = "{severity""#,
        ),
        template(
            r#"channels = ["chief", "chif"]
text = "x""#,
        ),
        template(
            r#"audience = "managers"
text = "x""#,
        ),
        template(r#"text = "x""#),
        template(
            r#"audience = "management"
channels = "chief"
text = "x""#,
        ),
        template(r#"audience = "management""#),
        template(
            r#"audience = "management"
text = " ""#,
        ),
        template(
            r#"audience = "management"
on = ["opened", "contaned"]
text = "x""#,
        ),
        template(
            r#"audience = "management"
body = "x""#,
        ),
        template(&format!("audience = \"management\"\ntext = \"{}\"", "x".repeat(4_001)))
            .replace(&"x".repeat(4_001), "x…x")
            .replace(&"^".repeat(4_003), "^…^"),
    ];
    insta::assert_snapshot!("template_complaints", messages.join("\n\n---\n\n"));
}
