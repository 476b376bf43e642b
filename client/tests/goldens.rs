//! Every complaint has its golden: those that the other tests leave out, and a walk through the sources that finds a complaint which
//! no test has seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use common::relative;
use cordon_client::Config;
use cordon_client::config::{Credential, Problem, SecretError};
use cordon_client::playbook::cacao;
use serde_json::{Value, json};

const AROUND: &str = r#"[chain]
id = 42161
rpc = ["http://127.0.0.1:8545"]
[guard]
scopes = ["protocol", "vault"]
callers = ["vault"]
[keeper]
store = "cordon.db"
[contracts]
vault = { address = "0x00000000000000000000000000000000000000a9", abi = "erc4626" }
[roles]
commander = ["ada"]
[[notify]]
id = "chat"
via = "stdout"
"#;

const HASH: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";

/// What is said of a file that begins like the others: errors, or warnings when there are none.
fn said(directory: &Path, more: &str) -> String {
    let path = directory.join("cordon.toml");
    // So little that one rule uses more.
    let around = match more.contains("\ncheck = [\"Withdraw\"]") {
        true => AROUND.replace("[guard]", "[guard]\nhook_gas = 1000"),
        false => AROUND.to_owned(),
    };
    let config = match Config::parse(&format!("{around}{more}"), &path) {
        Ok(config) => config,
        Err(error) => return shortened(&error.to_string()),
    };
    match config.compile() {
        Err(error) => shortened(&error.to_string()),
        Ok(compiled) => {
            assert!(!compiled.warnings.is_empty(), "nothing is said of {more}");
            let line = |warning: &Problem| {
                let help = warning.help.as_deref().unwrap_or("-");
                format!("warning, line {}: {}\n    = {help}\n", warning.line, warning.message)
            };
            compiled.warnings.iter().map(line).collect()
        }
    }
}

/// The text without where the tests are, and without lines that fill a screen.
fn shortened(text: &str) -> String {
    let text = relative(text);
    let cut = |line: &str| match line.char_indices().nth(240) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn rule(more: &str) -> String {
    format!("[[invariant]]\nid = \"backed\"\nscope = \"vault\"\n{more}\n")
}

fn told(cases: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, text) in cases {
        writeln!(out, "## {name}\n\n{}\n", said(&data(), text)).unwrap();
    }
    out
}

#[test]
fn rules() {
    let plain = "rule = \"vault.totalAssets() >= 1\"";
    let streams: String = (1..=33)
        .map(|least| {
            format!(
                "[[invariant]]\nid = \"r{least}\"\nscope = \"vault\"\nlevel = \"ReduceOnly\"\nrule = \"vault.totalAssets() >= anchor(vault.totalAssets(), 10 min, {least}, 1e30)\"\n"
            )
        })
        .collect();
    let containment = |done: &str| {
        format!(
            "[[containment]]\nid = \"hold\"\nscope = \"vault\"\nlevel = \"ReduceOnly\"\ncall = \"vault.withdraw(0, vault, vault)\"\ndone = \"{done}\"\n"
        )
    };
    let anchored = "vault.totalAssets() >= anchor(vault.totalAssets(), 10 min, 1, 1e30)";
    let cases = [
        ("too_many_streams", streams),
        (
            "held_by_the_keeper_without_level",
            rule(&format!("{plain}\nheld_by = \"keeper\"")),
        ),
        ("condition_on_what_is_stored", containment(anchored)),
        (
            "throttled_by_hooks_alone",
            rule(&format!("{plain}\nlevel = \"Throttled\"")),
        ),
        (
            "repayment_is_not_refused",
            rule(&format!("{plain}\ncheck = [\"Repay\"]")),
        ),
        (
            "settlement_can_be_kept_back",
            rule(&format!("{plain}\ncheck = [\"Settle\"]")),
        ),
        (
            "more_than_a_hook_has",
            rule(&format!("{plain}\ncheck = [\"Withdraw\"]")),
        ),
        (
            "longer_than_a_duration_can_be",
            rule(&format!("{plain}\nlevel = \"ReduceOnly\"\nduration = \"9999 weeks\"")),
        ),
    ];
    insta::assert_snapshot!("rules", told(&cases));
}

fn set(id: &str, document: &str) -> String {
    let order = "{ scope = \"vault\", level = \"ReduceOnly\", for = \"1 hour\" }";
    format!("[[containment_set]]\nid = \"{id}\"\n{document}reviewed = \"{HASH}\"\ncontain = [{order}]\n")
}

#[test]
fn sets() {
    let folder = tempfile::tempdir().unwrap();
    let long = std::fs::File::create(folder.path().join("long.md")).unwrap();
    long.set_len((16 << 20) + 1).unwrap();
    let many: String = (0..33).map(|number| set(&format!("set-{number}"), "")).collect();
    let week = set("week", "").replace("1 hour", "5 days");
    let mut out = String::new();
    for (name, text) in [
        ("too_many_sets", many),
        ("name_too_long", set(&"x".repeat(33), "")),
        ("no_document", set("a", "document = \"missing.md\"\n")),
        ("document_too_long", set("a", "document = \"long.md\"\n")),
        (
            "beyond_a_keeper",
            week.clone() + "[[playbook]]\nid = \"first\"\nstep = [{ do = \"contain-set\", set = \"week\" }]\n",
        ),
        ("beyond_a_guardian", week),
    ] {
        let said = said(folder.path(), &text).replace(&folder.path().display().to_string(), "");
        writeln!(out, "## {name}\n\n{said}\n").unwrap();
    }
    insta::assert_snapshot!("sets", out);
}

#[test]
fn playbooks_and_templates() {
    let condition = |text: &str| {
        format!("[[playbook]]\nid = \"first\"\nstep = [{{ do = \"wait\", until = \"{text}\", within = \"1 hour\" }}]\n")
    };
    let deep = format!("{}level >= Halted{}", "(".repeat(18), ")".repeat(18));
    let wide = vec!["level >= Halted"; 33].join(" and ");
    let page = "[[playbook]]\nid = \"first\"\nstep = [{ do = \"page\", audience = \"management\", text = \"look\" }]\n";
    let templates = "[[template]]\nchannels = [\"chat\"]\ntext = \"look\"\n".repeat(65);
    let cases = [
        ("condition_too_deep", condition(&deep)),
        ("condition_too_wide", condition(&wide)),
        ("nobody_of_that_audience", page.to_owned()),
        ("too_many_templates", templates),
    ];
    let mut out = told(&cases);
    // Folders of playbooks.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("many")).unwrap();
    for number in 0..201 {
        std::fs::write(folder.path().join(format!("many/{number}.toml")), "").unwrap();
    }
    for name in ["missing", "many"] {
        let text = AROUND.replace("store =", &format!("playbooks = \"{name}\"\nstore ="));
        let error = Config::parse(&text, folder.path().join("cordon.toml")).unwrap_err();
        let error = error.to_string().replace(&folder.path().display().to_string(), "");
        writeln!(out, "## folder_{name}\n\n{error}\n").unwrap();
    }
    insta::assert_snapshot!("playbooks_and_templates", out);
}

#[test]
fn endpoints_and_credentials() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let hidden = |text: String| text.replace(&folder.path().display().to_string(), "");
    let mut out = String::new();
    for (name, endpoints) in [
        ("endpoint_is_not_set", "{ env = \"UNSET\" }"),
        ("endpoint_is_no_url", "{ env = \"WORDS\" }"),
        ("endpoint_twice", "\"http://one.example/\", { env = \"ONE\" }"),
    ] {
        let text = AROUND.replace("\"http://127.0.0.1:8545\"", endpoints);
        let config = Config::parse(&text, folder.path().join("cordon.toml")).unwrap_or_else(|error| panic!("{error}"));
        let env = |name: &str| match name {
            "WORDS" => Some("a secret that is no endpoint".to_owned()),
            "ONE" => Some("http://one.example/".to_owned()),
            _ => None,
        };
        let error = config.chain.rpc_urls_with(env).unwrap_err().to_string();
        assert!(!error.contains("a secret"), "{error}");
        writeln!(out, "## {name}\n\n{error}\n").unwrap();
    }
    for file in ["missing", "empty"] {
        let error: SecretError = Credential::File(file.into()).read(folder.path()).unwrap_err();
        writeln!(out, "## credential_{file}\n\n{}\n", hidden(error.to_string())).unwrap();
    }
    insta::assert_snapshot!("endpoints_and_credentials", out);
}

const START: &str = "start--07bea005-4a36-4a77-bd1f-79a6e4682a13";
const FIRST: &str = "action--1488a0ba-55ef-4c0d-9c4b-a5f7e4b40b4a";
const END: &str = "end--6b23c237-ade8-4d00-9aa1-75999738d557";
const IF: &str = "if-condition--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";

/// Its name, and what is done to the playbook.
type Case<'a> = (&'a str, &'a dyn Fn(&mut Value));

/// A playbook of another tool with one step.
fn foreign() -> Value {
    json!({
        "type": "playbook", "spec_version": "cacao-2.0",
        "id": "playbook--a0777575-5c4c-4710-9f01-15776103837f",
        "name": "Call", "created_by": "identity--c0a3d9f2-18b7-4e55-8f64-7d2e90b1a5c3",
        "created": "2026-01-01T08:00:00.000Z", "modified": "2026-02-01T08:00:00.000Z",
        "workflow_start": START,
        "workflow": {
            START: { "type": "start", "on_completion": FIRST },
            FIRST: {
                "type": "action", "name": "Call", "commands": [{ "type": "manual", "command": "Call" }],
                "agent": "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a", "on_success": END },
            END: { "type": "end" }
        },
        "agent_definitions": { "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a": { "type": "group", "name": "Signers" } }
    })
}

#[test]
fn playbooks_of_other_tools() {
    let branch = |value: &mut Value, then: &str, timeout: Option<u32>| {
        value["workflow"][START]["on_completion"] = json!(IF);
        value["workflow"][IF] = json!({ "type": "if-condition", "condition": "[x-cordon-incident:level >= 2]",
            "on_true": then, "on_false": FIRST });
        if let Some(timeout) = timeout {
            value["workflow"][IF]["timeout"] = json!(timeout);
        }
    };
    let cases: [Case<'_>; 9] = [
        ("condition_on_a_rule_without_a_name", &|value| {
            branch(value, FIRST, None);
            value["workflow"][IF]["condition"] = json!("[x-cordon-incident:verdict.'' = 'Breached']");
        }),
        ("target_with_an_unknown_variable", &|value| {
            value["target_definitions"] =
                json!({ "group--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a": { "type": "group", "name": "__whom__:value" } });
        }),
        ("no_action", &|value| {
            value["workflow"][START]["on_completion"] = json!(END)
        }),
        ("unknown_extension", &|value| {
            value["playbook_extensions"] = json!({ "extension-definition--11111111-ade8-4d00-9aa1-75999738d557": {} });
        }),
        ("number_for_a_text", &|value| value["name"] = json!(7)),
        ("text_for_a_truth", &|value| {
            value["playbook_variables"] = json!({ "__a__": { "type": "string", "external": "no" } });
        }),
        ("limit_of_a_branch", &|value| branch(value, FIRST, Some(1_000))),
        ("no_identifier", &|value| {
            value["workflow"]["first"] = json!({ "type": "end" })
        }),
        ("empty_branch", &|value| branch(value, END, None)),
    ];
    let mut out = String::new();
    for (name, change) in cases {
        let mut value = foreign();
        change(&mut value);
        let error = cacao::import(&value.to_string()).expect_err(name);
        writeln!(out, "## {name}\n\n{error}\n").unwrap();
    }
    insta::assert_snapshot!("playbooks_of_other_tools", out);
}

/// What a complaint begins with in the sources.
const MARKS: [&str; 9] = [
    "self.error(",
    "checker.error(",
    "self.warn(",
    "self.say(",
    "let message =",
    ".problem(",
    "say(",
    "found.push(",
    "#[error(",
];

/// The first text after a mark, before the statement ends; `None` when it is made elsewhere.
fn literal(after: &str) -> Option<String> {
    let statement = after.split_once(";\n").map_or(after, |(statement, _)| statement);
    let statement: String = statement.chars().take(600).collect();
    let (_, rest) = statement.split_once('"')?;
    let mut text = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                'n' | '\n' => text.push(' '),
                letter => text.push(letter),
            },
            letter => text.push(letter),
        }
    }
}

/// The longest part of a message that is always the same, with single spaces.
fn fixed(message: &str) -> String {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for letter in message.chars() {
        match letter {
            '{' => {
                depth += 1;
                parts.push(String::new());
            }
            '}' => depth = depth.saturating_sub(1),
            letter if depth == 0 => parts.last_mut().unwrap().push(letter),
            _ => {}
        }
    }
    let longest = parts.into_iter().max_by_key(String::len).unwrap_or_default();
    spaced(&longest)
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|held| held == ending) {
            found.push(path);
        }
    }
}

/// The complaints of a source, each with its line.
fn complaints(source: &str) -> Vec<(usize, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for mark in MARKS {
        for (at, _) in source.match_indices(mark) {
            let (before, after) = source.split_at(at + mark.len());
            found.extend(literal(after).map(|text| (before.lines().count(), text)));
        }
    }
    found
}

#[test]
fn no_complaint_is_without_a_golden() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut seen) = (Vec::new(), Vec::new());
    for folder in ["src/config", "src/compile", "src/playbook"] {
        files(&root.join(folder), "rs", &mut sources);
    }
    files(&root.join("tests"), "snap", &mut seen);
    files(&root.join("tests"), "rs", &mut seen);
    let seen: String = seen.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let seen = spaced(&seen.replace("\\\"", "\""));
    let (mut walked, mut missing) = (0, Vec::new());
    for path in sources {
        for (line, message) in complaints(&std::fs::read_to_string(&path).unwrap()) {
            let part = fixed(&message);
            // Of less nobody could tell what it is part of.
            if part.len() < 8 {
                continue;
            }
            walked += 1;
            if !seen.contains(&part) {
                missing.push(format!(
                    "{}:{line}: {message}",
                    path.strip_prefix(root).unwrap().display()
                ));
            }
        }
    }
    assert!(
        walked > 200,
        "only {walked} complaints were found: the marks are not what they were"
    );
    assert!(
        missing.is_empty(),
        "no golden and no test has seen these:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_walk_finds_complaints_as_they_are_written() {
    let source = "self.error(\n    span,\n    format!(\"`{name}` is no \\\n     scope of {x:?} at all\"),\n    help,\n);\nlet n = \"other\";\n";
    let found = complaints(source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(fixed(&found[0].1), "` is no scope of");
    assert!(complaints("self.error(span, message, None);\nlet n = \"other\";\n").is_empty());
}
