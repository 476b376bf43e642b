//! Configurations of other monitors: what is made of them, to the letter, and what is said of the rest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::{Path, PathBuf};

use cordon_client::Config;
use cordon_client::import::{ImportError, openzeppelin_monitor};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ozm")
}

#[test]
fn an_openzeppelin_monitor_becomes_watches_and_channels() {
    let imported = openzeppelin_monitor(&data()).unwrap();
    let [chain] = imported.as_slice() else {
        panic!("one EVM network is used")
    };
    assert_eq!(chain.network, "arbitrum_one");
    let config = Config::parse(&chain.toml, "cordon.toml").unwrap();
    assert_eq!((config.watches.len(), config.notify.len()), (5, 4));
    let text = format!("{}\n# notes\n{}", chain.toml, chain.notes.join("\n"));
    insta::assert_snapshot!("openzeppelin_monitor", text);
}

#[test]
fn a_secret_in_plain_text_goes_to_a_file_of_its_own_and_nowhere_else() {
    let chain = openzeppelin_monitor(&data()).unwrap().remove(0);
    let secrets: Vec<(&str, &str)> = chain
        .secrets
        .iter()
        .map(|(path, secret)| (path.to_str().unwrap(), secret.expose()))
        .collect();
    assert_eq!(
        secrets,
        [
            ("secrets/rpc-1", "https://arb-mainnet.first.example/v2/very-secret"),
            ("secrets/rpc-2", "https://second.example"),
            ("secrets/chat-url", "https://hooks.slack.example/T0/B0/very-secret"),
        ]
    );
    assert!(!format!("{chain:?}").contains("very-secret"));
}

#[test]
fn endpoints_are_used_as_they_were_wherever_their_urls_are_kept() {
    let config = |made: &cordon_client::import::Imported| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        for (path, secret) in &made.secrets {
            std::fs::write(dir.path().join(path), secret.expose()).unwrap();
        }
        let config = Config::parse(&made.toml, dir.path().join("cordon.toml")).unwrap_or_else(|e| panic!("{e}"));
        let urls = config
            .chain
            .rpc_urls_with(|_| Some("https://third.example".to_owned()))
            .unwrap();
        urls.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let chain = openzeppelin_monitor(&data()).unwrap().remove(0);
    assert_eq!(
        config(&chain),
        [
            "https://arb-mainnet.first.example/v2/very-secret",
            "https://second.example/",
            "https://third.example/"
        ]
    );
    let network = "networks/arbitrum_one.json";
    for (url, is_open) in [
        ("http://127.0.0.1:8545", true),
        ("http://localhost:8545/", true),
        ("http://[::1]:8545", true),
        ("http://127.0.0.1:8545/very-secret", false),
        ("http://user:very-secret@localhost:8545", false),
        ("http://localhost:8545?key=very-secret", false),
        ("http://very-secret.node.example", false),
        ("http://10.0.0.1:8545", false),
    ] {
        let made = changed(network, "https://second.example", url);
        assert_eq!(made.toml.contains(url), is_open, "{url}: {}", made.toml);
        assert_eq!(config(&made).len(), 3);
    }
    let made = changed(network, "https://second.example", "https://");
    let note = "is no HTTP endpoint: write its URL into `rpc`";
    assert!(made.notes.iter().any(|held| held.contains(note)), "{:#?}", made.notes);
}

#[test]
fn what_is_no_such_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = openzeppelin_monitor(dir.path()).unwrap_err();
    assert!(matches!(error, ImportError::Nothing { .. }), "{error}");
    std::fs::create_dir(dir.path().join("monitors")).unwrap();
    std::fs::write(dir.path().join("monitors/x.json"), "{ \"networks\": [] }").unwrap();
    let error = openzeppelin_monitor(dir.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("x.json is no monitor: missing field `name` at line 1 column 18"),
        "{error}"
    );
}

/// The example with one text replaced by another in one of its files.
fn changed(file: &str, from: &str, to: &str) -> cordon_client::import::Imported {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["networks", "monitors", "triggers"] {
        std::fs::create_dir(dir.path().join(kind)).unwrap();
        for entry in std::fs::read_dir(data().join(kind)).unwrap() {
            let name = format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap());
            let mut text = std::fs::read_to_string(data().join(&name)).unwrap();
            if name == file {
                assert!(text.contains(from), "{from}");
                text = text.replace(from, to);
            }
            std::fs::write(dir.path().join(&name), text).unwrap();
        }
    }
    openzeppelin_monitor(dir.path()).unwrap().remove(0)
}

#[test]
fn what_is_not_routed_as_before_is_said() {
    let large = "monitors/large.json";
    let triggers = r#""triggers": ["chat", "hook", "mail", "run"]"#;
    for (file, from, to, note) in [
        (
            large,
            triggers,
            r#""triggers": ["chat", "chatt"]"#,
            "its trigger `chatt` is in no file of triggers/",
        ),
        (
            large,
            triggers,
            r#""triggers": ["run"]"#,
            "none of its triggers could be carried over",
        ),
        (large, triggers, r#""triggers": []"#, "it has no triggers"),
        (
            large,
            r#""stellar"]"#,
            r#""stellar", "base"]"#,
            "the network `base` is in no file of networks/",
        ),
        (
            "triggers/all.json",
            r#""method": "POST","#,
            r#""method": "POST", "retry_policy": { "max_retries": 3 },"#,
            "`hook` had a retry policy of its own",
        ),
    ] {
        let made = changed(file, from, to);
        assert!(
            made.notes.iter().any(|held| held.contains(note)),
            "{note} is missing in {:#?}",
            made.notes
        );
    }
    let config = Config::parse(&changed(large, triggers, r#""triggers": ["chat"]"#).toml, "cordon.toml").unwrap();
    assert_eq!(config.watches[0].channels, ["chat"]);
}

#[test]
fn the_part_of_a_condition_that_can_be_said_is_kept() {
    let made = changed(
        "monitors/large.json",
        "to contains 'dead'",
        "value > 1000000 AND to contains 'dead'",
    );
    let config = Config::parse(&made.toml, "cordon.toml").unwrap();
    let watch = config
        .watches
        .iter()
        .find(|watch| watch.id.ends_with("-transfer-2"))
        .unwrap();
    assert_eq!(watch.when.as_ref().unwrap().text, "value > 1000000");
    assert!(
        made.notes
            .iter()
            .any(|note| note.contains("has kept `value > 1000000` of its condition")),
        "{:#?}",
        made.notes
    );
}
