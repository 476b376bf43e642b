//! Names that are written in one place and stand for something in another: those that the node knows without an ABI, and those of the tests
//! that documents name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alloy::json_abi::JsonAbi;
use cordon_drill::Scenario;
use cordon_keeper::record::AlarmKind;

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The texts of all files below `folder` with this ending, builds aside.
fn sources(folder: &Path, ending: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "node_modules", "out", "cache"].contains(&name) && !name.starts_with('.') {
                sources(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The identifier that follows `keyword` in a line.
fn named<'t>(line: &'t str, keyword: &str) -> Option<&'t str> {
    let rest = line.split_once(keyword)?.1;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(rest.split_at(end?).0)
}

/// Functions of a Rust file that an attribute makes tests.
fn rust_tests(text: &str) -> Vec<&str> {
    let mut tests = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else if let Some(name) = named(line, "fn ") {
            // What takes a fixture of the record is run on both databases.
            if is_test || line.contains(": Fixture)") {
                tests.push(name);
            }
            is_test = false;
        }
    }
    tests
}

/// All tests of the tree, in Rust and in Solidity.
fn all_tests() -> BTreeSet<String> {
    let (mut rust, mut solidity) = (Vec::new(), Vec::new());
    sources(&root(), ".rs", &mut rust);
    sources(&root().join("contracts/solidity/test"), ".t.sol", &mut solidity);
    let rust = rust.iter().flat_map(|text| rust_tests(text));
    let solidity = solidity.iter().flat_map(|text| text.lines());
    let solidity = solidity
        .filter_map(|line| named(line, "function "))
        .filter(|name| name.starts_with("test"));
    rust.chain(solidity).map(str::to_owned).collect()
}

/// Rows of the threat model's tables of threats: the first cell, and the names in the last one.
fn threats(model: &str) -> Vec<(&str, Vec<&str>)> {
    let tables = model.split_once("\n## Threats\n").unwrap().1;
    let rows = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.rsplit_once(" | ").unwrap());
    let rows = rows.map(|(rest, tests)| (rest.split(" | ").next().unwrap(), tests));
    rows.filter(|(first, tests)| *first != "---" && *tests != "test")
        .map(|(first, tests)| (first, tests.split('`').skip(1).step_by(2).collect()))
        .collect()
}

/// Every threat has a test or a drill, each of them is there, and no test of `tests/threats` is of a threat that the model keeps to itself.
#[test]
fn the_threat_model_names_tests_that_exist() {
    let model = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let (rows, tests) = (threats(&model), all_tests());
    assert!(
        rows.len() > 60 && tests.len() > 800,
        "{} rows, {} tests",
        rows.len(),
        tests.len()
    );
    let numbered = rows.iter().flat_map(|(first, _)| first.split(", "));
    let numbered: Vec<_> = numbered
        .filter_map(|name| name.strip_prefix('T')?.parse::<u32>().ok())
        .collect();
    assert_eq!(numbered, (1..=37).collect::<Vec<_>>());
    let without: Vec<_> = rows
        .iter()
        .filter(|(_, names)| names.is_empty())
        .map(|(first, _)| *first)
        .collect();
    assert_eq!(without, ["T32"], "the one that does not apply");
    let known = |name: &str| tests.contains(name) || Scenario::ALL.iter().any(|scenario| scenario.name() == name);
    let named: BTreeSet<_> = rows.iter().flat_map(|(_, names)| names).copied().collect();
    let missing: Vec<_> = named.iter().filter(|name| !known(name)).collect();
    assert!(
        missing.is_empty(),
        "docs/threat-model.md names what is not there: {missing:#?}"
    );
    let mut made = Vec::new();
    sources(&root().join("tests/tests/threats"), ".rs", &mut made);
    let made = made.iter().flat_map(|text| rust_tests(text));
    let untold: Vec<_> = made.filter(|name| !named.contains(name)).collect();
    assert!(untold.is_empty(), "docs/threat-model.md does not name {untold:#?}");
}

#[test]
fn every_known_bug_has_a_test_that_exists() {
    let table = include_str!("../../docs/known-bugs.md");
    let tests = all_tests();
    let mut count = 0;
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| | "));
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        // What stands in backticks and looks like the name of a test, not a command or a family of names.
        let named: Vec<&str> = last
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_') && !name.contains([' ', '/', '…']))
            .collect();
        assert!(!named.is_empty(), "no test is named: {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test `{name}`: {row}");
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn what_is_released_is_optimised() {
    let manifest = include_str!("../../Cargo.toml");
    let release = manifest.split("[profile.release]").nth(1).unwrap();
    let release = release.split("\n[").next().unwrap();
    let level = release.lines().find_map(|line| line.strip_prefix("opt-level = "));
    assert!(level.is_none_or(|level| level == "3"), "{level:?}");
}

/// Who is called at night looks there: every alarm says what it means, and what to do.
#[test]
fn every_alarm_has_a_row_that_says_what_it_means_and_what_to_do() {
    let page = std::fs::read_to_string(root().join("docs/keeper.md")).unwrap();
    let table = page.split_once("\n## Alarms\n").unwrap().1;
    let table = table.split_once("\n## ").map_or(table, |(table, _)| table);
    let mut rows: Vec<&str> = Vec::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [name, means, todo] = cells.as_slice() else {
            panic!("not three cells: {line}")
        };
        assert!(means.len() > 15 && todo.len() > 10, "{name} says nothing");
        rows.push(name.trim_end_matches('`'));
    }
    let known: BTreeSet<&str> = AlarmKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(known.len(), AlarmKind::ALL.len(), "names are different");
    assert_eq!(rows.len(), known.len(), "each has one row");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), known);
    assert!(
        AlarmKind::ALL
            .iter()
            .all(|kind| AlarmKind::from_name(kind.name()) == Some(*kind))
    );
}
