//! Both drills from end to end: real nodes, the real guard, the real keeper. Needs anvil and Aave's artifacts (scripts/setup), the
//! guard's programs (`cordon guard build`) and our Solidity (forge build).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use cordon_drill::{Detector, Options, Silent, Style, demo, table};

#[tokio::test(flavor = "multi_thread")]
async fn every_drill_keeps_its_promises() {
    let out = tempfile::tempdir().unwrap();
    let options = Options {
        out: Some(out.path().to_path_buf()),
        ..Options::default()
    };
    let outcomes = demo(&options, &Silent)
        .await
        .unwrap_or_else(|error| unreachable!("{error}"));
    eprintln!("{}", table(&outcomes, Style::Plain));
    let broken: Vec<String> = outcomes.iter().flat_map(|outcome| outcome.broken_promises()).collect();
    assert_eq!(broken, Vec::<String>::new());

    let [aave, vault] = outcomes.as_slice() else {
        unreachable!("two drills")
    };
    let delays = |runs: &[cordon_drill::Run]| runs.iter().map(|run| run.attacker_delay_blocks).collect::<Vec<_>>();
    assert_eq!(delays(&aave.runs), [0, 1, 1, 2, 4]);
    assert!(aave.runs.iter().all(|run| run.detected_by == Detector::Keeper));
    assert_ne!(aave.runs[1].order, aave.runs[2].order, "both orders of arrival");
    assert_eq!(delays(&vault.runs), [0, 1]);
    assert!(vault.runs.iter().all(|run| run.detected_by == Detector::Hook));

    for outcome in &outcomes {
        assert_eq!(outcome.reports.len(), outcome.runs.len(), "one report per guarded run");
        for report in &outcome.reports {
            let text = std::fs::read_to_string(report).unwrap();
            for heading in ["## Rule", "## Amounts", "## What was closed for users", "## Timeline"] {
                assert!(text.contains(heading), "{heading} is missing in {}", report.display());
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_drill_changes_nothing() {
    let out = tempfile::tempdir().unwrap();
    let options = Options {
        out: Some(out.path().join("results")),
        ..Options::default()
    };
    let error = cordon_drill::run("aave", &options, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("aave-oracle"), "{error}");
    assert!(!out.path().join("results").exists());
}
