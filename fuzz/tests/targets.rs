//! The corpus of every target, and a few inputs more, hold; the runner tells of what does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use cordon_fuzz::run::{self, Source, Until};
use cordon_fuzz::{TARGETS, Target};

fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let report = run::run(target, 1, Until::Cases(25)).unwrap();
    if let Some(finding) = report.finding {
        panic!("{name}: {}: {} ({:02x?})", finding.source, finding.what, finding.input);
    }
    assert!(report.cases > 25, "its corpus was run too");
}

#[test]
fn module() {
    holds("module");
}

#[test]
fn engines() {
    holds("engines");
}

#[test]
fn hooks() {
    holds("hooks");
}

#[test]
fn precompiles() {
    holds("precompiles");
}

#[test]
fn code() {
    holds("code");
}

#[test]
fn rules() {
    holds("rules");
}

#[test]
fn rpc() {
    holds("rpc");
}

#[test]
fn a_finding_tells_its_input_and_where_it_comes_from() {
    fn picky(data: &[u8]) {
        assert!(data.len() < 100, "{} bytes are too many", data.len());
    }
    let target = Target {
        name: "rules",
        what: "nothing is long",
        run: picky,
    };
    let finding = run::run(&target, 7, Until::Cases(1_000)).unwrap().finding.unwrap();
    assert!(finding.what.contains("bytes are too many"), "{}", finding.what);
    assert!(finding.input.len() >= 100);
    match &finding.source {
        Source::File(path) => assert_eq!(std::fs::read(path).unwrap(), finding.input),
        Source::Case { seed, case } => panic!("the corpus has long inputs: case {case} of {seed}"),
    }
    assert!(run::one(&target, &finding.input).is_err() && run::one(&target, b"short").is_ok());
}

#[test]
fn time_ends_a_run() {
    let target = Target {
        name: "rules",
        what: "nothing at all",
        run: |_| (),
    };
    let report = run::run(&target, 7, Until::Elapsed(Duration::from_millis(200))).unwrap();
    assert!(report.finding.is_none() && report.cases > 100, "{report:?}");
}
