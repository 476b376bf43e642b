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
    let [(path, secret)] = chain.secrets.as_slice() else {
        panic!("one secret stood in plain text")
    };
    assert_eq!(path, Path::new("secrets/chat-url"));
    assert_eq!(secret.expose(), "https://hooks.slack.example/T0/B0/very-secret");
    assert!(!format!("{chain:?}").contains("very-secret"));
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
