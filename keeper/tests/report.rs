//! The report says all that the record knows, and nothing from the chain can break out of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use cordon_client::config::Severity;
use cordon_core::action::{Action, ActionSet};
use cordon_core::level::Level;
use cordon_core::rule::value::Int;
use cordon_keeper::record::{Closure, Incident, IncidentState, IntentKind, TimelineEntry, TransactionRecord};
use cordon_keeper::report::{Amount, RuleTexts, markdown, write};

fn incident() -> Incident {
    let entry = |at_ms, kind: &str, text: &str, tx| TimelineEntry {
        at_ms,
        block_number: Some(101),
        block_time: Some(1_700_000_000),
        kind: kind.into(),
        text: text.into(),
        tx,
    };
    let tx = B256::repeat_byte(0xaa);
    Incident {
        id: 7,
        chain_id: 42_161,
        guard: Address::repeat_byte(0x11),
        scope: 1,
        scope_name: "weth".into(),
        severity: Severity::P1,
        state: IncidentState::Settled,
        chain_incident: Some(3),
        rule: Some(0),
        rule_name: Some("price-near-reference".into()),
        witness: vec![B256::left_padding_from(&[0xcc])],
        observed: Some(Int::new(true, U256::from(5))),
        bound: Some(Int::from(U256::from(100))),
        opened_ms: 1_700_000_000_123,
        opened_block: 100,
        opened_time: 1_700_000_000,
        first_bad_block: 100,
        first_bad_time: 1_700_000_000,
        level: Level::ReduceOnly,
        contained_block: Some(101),
        contained_time: Some(1_700_000_000),
        ended_block: Some(20_000),
        ended_time: Some(1_700_003_600),
        head_to_decision: Some(Duration::from_micros(3_250)),
        decision_to_broadcast: Some(Duration::from_micros(4_010)),
        broadcast_to_contained: Some(Duration::from_millis(251)),
        configuration: Some(4),
        timeline: vec![
            entry(1_700_000_000_123, "detected", "observed -5, bound 100", None),
            entry(1_700_000_000_400, "note", "a | b\n<script>alert(1)</script>", Some(tx)),
        ],
        transactions: vec![TransactionRecord {
            hash: tx,
            intent: 1,
            kind: IntentKind::Trip,
            sender: Address::repeat_byte(0x44),
            nonce: 9,
            raw: Bytes::new(),
            max_fee: 1,
            priority_fee: 0,
            sent_ms: 1_700_000_000_200,
            status: "succeeded".into(),
            block_number: Some(101),
            block_hash: Some(tx),
            gas_used: Some(432_100),
            fee: Some(43_210_000),
        }],
        closures: vec![
            Closure {
                cause: "pause-pool".into(),
                actions: ActionSet::EMPTY.with(Action::Repay).with(Action::Withdraw),
                from_block: 101,
                from_time: 1_700_000_000,
                to_block: Some(1_000),
                to_time: Some(1_700_000_900),
            },
            Closure {
                cause: "level".into(),
                actions: ActionSet::EMPTY.with(Action::Deposit),
                from_block: 101,
                from_time: 1_700_000_000,
                to_block: None,
                to_time: None,
            },
        ],
    }
}

#[test]
fn everything_known_is_told() {
    let amounts = [Amount {
        what: "lost".into(),
        asset: "USDC".into(),
        amount: "1,250.00".into(),
        source: "balances at block 102".into(),
    }];
    let report = markdown(&incident(), &amounts, &RuleTexts::default());
    for line in [
        "# Incident 7: price-near-reference on weth",
        "| Severity | P1 |",
        "| State | settled |",
        "| First bad block | 100 (2023-11-14 22:13:20 UTC) |",
        "| Contained | 101 (2023-11-14 22:13:20 UTC), 1 block(s) after the first bad one |",
        "| Level by now | ReduceOnly |",
        "| Head to decision | 3.250 ms |",
        "| Broadcast to contained | 251.000 ms |",
        "| observed | -5 |",
        "| bound | 100 |",
        "| lost | USDC | 1,250.00 | balances at block 102 |",
        "| `pause-pool` | Withdraw, Repay | 101 (2023-11-14 22:13:20 UTC) | 1000 (2023-11-14 22:28:20 UTC) | 15 min |",
        "| the guard's hooks | Deposit | 101 (2023-11-14 22:13:20 UTC) | still closed | - |",
        "| 2023-11-14 22:13:20.123 UTC | 101 (2023-11-14 22:13:20 UTC) | **detected**: observed -5, bound 100 |  |",
    ] {
        assert!(report.lines().any(|held| held == line), "missing: {line}\n{report}");
    }
    assert!(report.contains("**Repayment was closed meanwhile**"));
    assert!(report.contains("432100 | 43210000 |"));
}

#[test]
fn text_from_outside_stays_in_its_cell() {
    let report = markdown(&incident(), &[], &RuleTexts::default());
    let line = report.lines().find(|line| line.contains("**note**")).unwrap();
    assert!(line.contains("a \\| b &lt;script>") && line.ends_with(" |"), "{line}");
    assert!(!report.contains("<script"));
    assert!(!report.contains("## Amounts"));
}

#[test]
fn an_incident_without_a_rule_says_so() {
    let by_hand = Incident {
        rule: None,
        rule_name: None,
        observed: None,
        bound: None,
        closures: vec![],
        ..incident()
    };
    let report = markdown(&by_hand, &[], &RuleTexts::default());
    assert!(report.contains("# Incident 7: raised on the chain on weth"));
    assert!(report.contains("## What was closed for users\n\nNothing."));
}

#[tokio::test]
async fn reports_are_written_whole_and_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("incidents");
    let file = write(&folder, &incident(), &[], &RuleTexts::default()).await.unwrap();
    assert_eq!(file, folder.join("incident-0007.md"));
    let closed = Incident {
        state: IncidentState::Closed,
        ..incident()
    };
    write(&folder, &closed, &[], &RuleTexts::default()).await.unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains("| State | closed |"));
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}
