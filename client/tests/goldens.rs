//! Every complaint has its golden: those that the other tests leave out, and a walk through the sources that finds one
//! without.
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
use cordon_client::config::{Credential, Problem, Secret, SecretError};

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
            "param_without_witness",
            rule("param = \"account: address\"\nlevel = \"ReduceOnly\"\nrule = \"vault.balanceOf(account) >= 1\""),
        ),
        (
            "param_without_witness_of_the_keeper",
            rule("param = \"account: address\"\nrule = \"vault.balanceOf(account) >= 1\"\nheld_by = \"keeper\""),
        ),
        ("no_scope", rule(plain).replace("scope = \"vault\"\n", "")),
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
    std::fs::write(folder.path().join("review.md"), "# Oracle failure\n").unwrap();
    let order = "{ scope = \"vault\", level = \"ReduceOnly\", for = \"1 hour\" }".to_owned();
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
        ("no_hash", set("a", "").replace(HASH, "0x01")),
        (
            "no_hash_beside_its_document",
            set("a", "document = \"review.md\"\n").replace(HASH, "todo"),
        ),
        ("another_document", set("a", "document = \"review.md\"\n")),
        ("nothing_to_contain", set("a", "").replace(&order, "")),
        (
            "unknown_scope",
            set("a", "").replace("\"vault\", level", "\"vaults\", level"),
        ),
        ("no_level", set("a", "").replace("ReduceOnly", "Normal")),
        ("too_long", set("a", "").replace("1 hour", "29 days")),
        ("too_short", set("a", "").replace("1 hour", "59 seconds")),
        (
            "scope_twice",
            set("a", "").replace(&order, &format!("{order}, {order}")),
        ),
        ("id_twice", set("a", "") + &set("a", "")),
        ("id_of_two_words", set("two words", "")),
        (
            "unknown_set",
            set("a", "") + "[[playbook]]\nid = \"first\"\nstep = [{ do = \"contain-set\", set = \"b\" }]\n",
        ),
        (
            "no_set",
            set("a", "") + "[[playbook]]\nid = \"first\"\nstep = [{ do = \"contain-set\" }]\n",
        ),
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
    std::fs::write(folder.path().join("long"), "x".repeat(1 << 20)).unwrap();
    for file in ["missing", "empty", "long"] {
        let error: SecretError = Credential::File(file.into()).read(folder.path()).unwrap_err();
        writeln!(out, "## credential_{file}\n\n{}\n", hidden(error.to_string())).unwrap();
    }
    let missing = Config::load(folder.path().join("cordon.toml")).unwrap_err().to_string();
    writeln!(out, "## configuration_missing\n\n{}\n", hidden(missing)).unwrap();
    insta::assert_snapshot!("endpoints_and_credentials", out);
}

#[test]
fn keys() {
    let env = |name: &str| match name {
        "SHORT" => Some("0x1234".to_owned()),
        "PASSWORD" => Some("testpasswort".to_owned()),
        _ => None,
    };
    let mut out = String::new();
    let keystore = |password_env: &str| Secret::Keystore {
        path: "keeper.json".into(),
        password_env: password_env.to_owned(),
    };
    let ledger = Secret::Ledger {
        path: "m/44'/60'/0'/0/0".to_owned(),
        address: None,
    };
    for (name, secret) in [
        ("not_set", Secret::Env("UNSET".into())),
        ("no_key", Secret::Env("SHORT".into())),
        ("password_not_set", keystore("UNSET")),
        ("another_password", keystore("PASSWORD")),
        ("held_by_others", ledger),
    ] {
        let error = secret.signer_with(&data(), env).unwrap_err().to_string();
        assert!(!error.contains("1234") && !error.contains("testpasswort"), "{error}");
        writeln!(out, "## {name}\n\n{}\n", relative(&error)).unwrap();
    }
    let version = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
    for (name, key) in [
        (
            "port_of_a_gcp_kms",
            format!("gcp_kms = \"{version}\", endpoint = \"https://kms.example:8443\""),
        ),
        (
            "endpoint_in_the_clear",
            format!("gcp_kms = \"{version}\", endpoint = \"http://kms.example\""),
        ),
        (
            "endpoint_is_no_url",
            format!("gcp_kms = \"{version}\", endpoint = \"kms\""),
        ),
    ] {
        let text = AROUND.replace("store =", &format!("key = {{ {key} }}\nstore ="));
        let error = Config::parse(&text, data().join("cordon.toml"))
            .unwrap_err()
            .to_string();
        writeln!(out, "## {name}\n\n{}\n", shortened(&error)).unwrap();
    }
    insta::assert_snapshot!("keys", out);
}

/// What a complaint begins with in the sources.
const MARKS: [&str; 17] = [
    "self.error(",
    "checker.error(",
    "self.warn(",
    "self.say(",
    "let message =",
    ".problem(",
    "say(",
    "found.push(",
    "#[error(",
    "Err(format!(",
    "Err(\"",
    ".ok_or(\"",
    "ok_or_else(||",
    "custom(",
    "other(format!(",
    "refuse(format!(",
    ", || {",
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
            // A mark may end with the quote that the text begins with.
            let after = if mark.ends_with('"') {
                &source[at + mark.len() - 1..]
            } else {
                after
            };
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
    assert!(missing.is_empty(), "these have no golden:\n{}", missing.join("\n"));
}

#[test]
fn the_walk_finds_complaints_as_they_are_written() {
    let source = "self.error(\n    span,\n    format!(\"`{name}` is no \\\n     scope of {x:?} at all\"),\n    help,\n);\nlet n = \"other\";\n";
    let found = complaints(source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(fixed(&found[0].1), "` is no scope of");
    assert!(complaints("self.error(span, message, None);\nlet n = \"other\";\n").is_empty());
}
