//! `cordon keeper export`, `verify` and `backup`: what leaves the record can be checked anywhere, and no change to it passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;
use std::process::{Command, Output};

use alloy::primitives::{Address, B256};
use cordon_client::config::Severity;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::ScopeReading;
use cordon_keeper::record::{BlockRecord, Names, Store};
use cordon_keeper::rules::Sightings;

const GUARD: Address = Address::repeat_byte(0x11);

fn cordon(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cordon"))
        .current_dir(directory)
        .args(args)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(bytes).unwrap()
}

/// A record with one incident, which was noted upon, and the configuration that names it.
async fn record(directory: &Path) {
    let text = format!(
        "[chain]\nid = 42161\nrpc = [\"http://127.0.0.1:1\"]\n\n[guard]\naddress = \"{GUARD}\"\nscopes = [\"protocol\"]\n\n[keeper]\nstore = \"cordon.db\"\nkey = {{ env = \"NONE\" }}\n\n[[watch]]\nid = \"code\"\non = \"code\"\nat = \"{GUARD}\"\n"
    );
    std::fs::write(directory.join("cordon.toml"), text).unwrap();
    let store = Store::open(directory.join("cordon.db"), 42_161, GUARD).await.unwrap();
    let block = BlockRef {
        number: 10,
        hash: B256::repeat_byte(1),
        parent: B256::ZERO,
        timestamp: 1_000,
        base_fee: 0,
    };
    let raised = [ScopeReading {
        level: cordon_core::level::Level::ReduceOnly,
        ..ScopeReading::default()
    }];
    let record = BlockRecord {
        block: &block,
        version: B256::repeat_byte(5),
        verdicts: &[],
        scopes: Some(&raised),
        decisions: &[],
        waiting: &[],
        events: &[],
        stopped: &[],
        sightings: &Sightings::default(),
        witnessed: &[],
        witness_limit: 1,
        head_to_decision: None,
        is_next: true,
    };
    store.commit_block(&record, &Names::default()).await.unwrap();
    let incident = store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.severity, Severity::P2);
    store
        .note(incident.id, "call", "the war room was opened")
        .await
        .unwrap();
    store
        .note(incident.id, "decision", "no release before the fix is reviewed")
        .await
        .unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_was_exported_is_verified_and_no_change_passes() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    record(directory).await;
    let exported = cordon(directory, &["keeper", "export", "1"]);
    assert!(exported.status.success(), "{}", said(&exported));
    let text = String::from_utf8(exported.stdout).unwrap();
    std::fs::write(directory.join("incident-1.json"), &text).unwrap();
    let verified = cordon(directory, &["keeper", "verify", "incident-1.json"]);
    assert!(verified.status.success(), "{}", said(&verified));
    assert!(
        said(&verified).contains("of incident 1 of guard"),
        "{}",
        said(&verified)
    );
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    let head = read["to"].as_str().unwrap().to_owned();
    // The whole record, and a link that was noted.
    let whole = cordon(directory, &["keeper", "verify", "--noted", &head]);
    assert!(whole.status.success(), "{}", said(&whole));
    assert!(said(&whole).contains(&format!("lead to {head}")), "{}", said(&whole));
    let other = format!("{}", B256::repeat_byte(9));
    for args in [
        &["keeper", "verify", "--noted", &other][..],
        &["keeper", "verify", "incident-1.json", "--noted", &other],
    ] {
        let refused = cordon(directory, args);
        assert!(!refused.status.success());
        assert!(
            said(&refused).contains("that was noted is not among them"),
            "{}",
            said(&refused)
        );
    }
    // Another word, a line left out, a line withheld, another guard.
    let changed = text.replace("no release before", "release before");
    assert_ne!(changed, text);
    let mut fewer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let links = fewer["links"].as_array_mut().unwrap();
    let whole = links.len();
    links.remove(whole - 2);
    let mut withheld = read.clone();
    withheld["links"][0]["line"] = serde_json::Value::Null;
    let mut guard = read;
    guard["guard"] = format!("{}", Address::repeat_byte(0x12)).into();
    for (name, text, why) in [
        ("withheld.json", withheld.to_string(), "what it says is withheld"),
        (
            "guard.json",
            guard.to_string(),
            "belong to another chain, guard or incident",
        ),
        ("changed.json", changed, "its digest differs"),
        ("fewer.json", fewer.to_string(), "left out"),
        ("none.json", "{}".to_owned(), "no exported evidence"),
    ] {
        std::fs::write(directory.join(name), text).unwrap();
        let refused = cordon(directory, &["keeper", "verify", name]);
        assert!(!refused.status.success(), "{name}");
        assert!(said(&refused).contains(why), "{name}: {}", said(&refused));
    }
    let missing = cordon(directory, &["keeper", "export", "7"]);
    assert!(!missing.status.success());
    assert!(
        said(&missing).contains("no evidence of an incident 7"),
        "{}",
        said(&missing)
    );
}

#[tokio::test]
async fn a_backup_is_a_record_to_go_on_with() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path();
    record(directory).await;
    let copied = cordon(directory, &["keeper", "backup", "copy.db"]);
    assert!(copied.status.success(), "{}", said(&copied));
    let text = said(&copied);
    assert!(
        text.contains("is copied to copy.db, and checked: ") && text.contains(" KiB in "),
        "{text}"
    );
    let again = cordon(directory, &["keeper", "backup", "copy.db"]);
    assert!(!again.status.success());
    assert!(said(&again).contains("copy.db is there already"), "{}", said(&again));
    // The record is lost, with its log, and put back.
    for file in ["cordon.db", "cordon.db-wal", "cordon.db-shm"] {
        let _ = std::fs::remove_file(directory.join(file));
    }
    std::fs::rename(directory.join("copy.db"), directory.join("cordon.db")).unwrap();
    let whole = cordon(directory, &["keeper", "verify"]);
    assert!(whole.status.success(), "{}", said(&whole));
    let exported = cordon(directory, &["keeper", "export", "1"]);
    assert!(
        said(&exported).contains("the war room was opened"),
        "{}",
        said(&exported)
    );
}
