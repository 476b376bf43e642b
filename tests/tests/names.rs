//! What the node calls functions, events and errors of the guard without being given an ABI: the names of the interface that is deployed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::path::Path;

use alloy::json_abi::JsonAbi;

const BUILT_IN: &str = include_str!("../../node/src/trace/signatures.txt");

/// Functions with what they answer, events and errors.
fn items(abi: &JsonAbi) -> BTreeSet<String> {
    let functions = abi.functions().map(|function| function.signature_with_outputs());
    let events = abi.events().map(|event| format!("event {}", event.signature()));
    let errors = abi.errors().map(|error| format!("error {}", error.signature()));
    functions.chain(events).chain(errors).collect()
}

#[test]
fn the_node_knows_every_name_of_the_guard() {
    let lines = BUILT_IN.lines().map(str::trim);
    let built_in = JsonAbi::parse(lines.filter(|line| !line.is_empty() && !line.starts_with('#'))).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/ICordonGuard.sol/ICordonGuard.json");
    let artifact: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let guard: JsonAbi = serde_json::from_value(artifact["abi"].clone()).unwrap();
    let (known, wanted) = (items(&built_in), items(&guard));
    assert!(wanted.len() > 100, "{}", wanted.len());
    let missing: Vec<_> = wanted.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "node/src/trace/signatures.txt lacks or misstates {missing:#?}"
    );
}
