//! The page that says which test proves what.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// All Rust sources below a directory, one after the other.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_tests_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    for directory in ["stylus/src", "stylus/tests", "node/tests", "tests/tests"] {
        sources(&root.join(directory), &mut text);
    }
    let page = fs::read_to_string(root.join("docs/stylus-conformance.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit("| ").next());
    let names: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let names = names.into_iter().filter(|name| !name.contains('/'));
    let (there, missing): (Vec<_>, Vec<_>) = names.partition(|name| text.contains(&format!("fn {name}(")));
    assert_eq!(missing, [] as [&str; 0]);
    assert!(there.len() > 80, "{} tests are named", there.len());
}
