//! The drills from end to end: real nodes, the real guard, the real keeper. Needs anvil and published contracts (scripts/setup), the
//! guard's programs (`cordon guard build`) and our Solidity (forge build).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use cordon_drill::{Detector, Options, Outcome, Run, Scenario, Silent, Style, run, table};

/// Carries out a drill, and makes sure that the attack takes at least `least_bps` of what is at stake without the guard, that the drill
/// kept all its promises, and that it wrote a report per guarded run.
async fn kept(scenario: Scenario, least_bps: u64) -> Outcome {
    let out = tempfile::tempdir().unwrap();
    let options = Options {
        out: Some(out.path().to_path_buf()),
        ..Options::default()
    };
    let outcome = run(scenario.name(), &options, &Silent).await;
    let outcome = outcome.unwrap_or_else(|error| unreachable!("{error}"));
    eprintln!("{}", table(std::slice::from_ref(&outcome), Style::Plain));
    assert_eq!(outcome.broken_promises(), Vec::<String>::new());
    let hurts = |run: &Run| run.loss_unguarded.share_bps() >= least_bps;
    assert!(
        outcome.runs.iter().all(hurts),
        "the attack takes less than {least_bps} bps"
    );
    assert_eq!(outcome.reports.len(), outcome.runs.len(), "one report per guarded run");
    for report in &outcome.reports {
        let text = std::fs::read_to_string(report).unwrap();
        // An adapter refuses by itself, without any rule.
        let cause = if text.contains("## Cause") {
            "## Cause"
        } else {
            "## Rule"
        };
        for heading in [cause, "## Amounts", "## What was closed for users", "## Timeline"] {
            assert!(text.contains(heading), "{heading} is missing in {}", report.display());
        }
    }
    outcome
}

fn delays(outcome: &Outcome) -> Vec<u64> {
    outcome.runs.iter().map(|run| run.attacker_delay_blocks).collect()
}

fn detected_by(outcome: &Outcome, detector: Detector) -> bool {
    outcome.runs.iter().all(|run| run.detected_by == detector)
}

#[tokio::test(flavor = "multi_thread")]
async fn aave_oracle_keeps_its_promises() {
    let aave = kept(Scenario::AaveOracle, 2_000).await;
    assert_eq!(delays(&aave), [0, 1, 1, 2, 4]);
    assert!(detected_by(&aave, Detector::Keeper));
    assert_ne!(aave.runs[1].order, aave.runs[2].order, "both orders of arrival");
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_inflation_keeps_its_promises() {
    let vault = kept(Scenario::VaultInflation, 10_000).await;
    assert_eq!(delays(&vault), [0, 1]);
    assert!(detected_by(&vault, Detector::Hook));
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_master_copy_keeps_its_promises() {
    let safe = kept(Scenario::SafeMasterCopy, 10_000).await;
    assert_eq!(delays(&safe), [0, 1]);
    assert!(detected_by(&safe, Detector::Hook));
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_patient_thief_keeps_its_promises() {
    let safe = kept(Scenario::SafePatientThief, 10_000).await;
    assert_eq!(delays(&safe), [2]);
    assert!(detected_by(&safe, Detector::Keeper));
}

#[tokio::test(flavor = "multi_thread")]
async fn timelock_takeover_keeps_its_promises() {
    let timelock = kept(Scenario::TimelockTakeover, 10_000).await;
    assert_eq!(delays(&timelock), [2]);
    assert!(detected_by(&timelock, Detector::Keeper));
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_market_keeps_its_promises() {
    assert!(detected_by(&kept(Scenario::EmptyMarket, 9_000).await, Detector::Hook));
}

#[tokio::test(flavor = "multi_thread")]
async fn double_exercise_keeps_its_promises() {
    assert!(detected_by(
        &kept(Scenario::DoubleExercise, 5_000).await,
        Detector::Hook
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn reentrancy_keeps_its_promises() {
    assert!(detected_by(&kept(Scenario::Reentrancy, 8_000).await, Detector::Hook));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_message_keeps_its_promises() {
    let forged = kept(Scenario::ForgedMessage, 9_000).await;
    assert_eq!(delays(&forged), [0, 1]);
    assert!(detected_by(&forged, Detector::Hook));
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
