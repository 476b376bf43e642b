//! Invariants without a guard: evaluated like any other, on one block's state, and told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use cordon_keeper::record::{Incident, IncidentState, IntentKind, Notice, NoticeKind};
use cordon_testkit::{Fault, RpcProxy};
use serde_json::json;

use crate::boxes::put_data;
use crate::common::Anvil;
use crate::{BOX, USER, Watching};

/// One rule on one number, and one on every box that is written.
const RULES: &str = r#"
[[invariant]]
id = "low"
rule = "box.get(1) <= 50"
severity = "P1"

[[invariant]]
id = "each-low"
scope = "boxes"
param = "key: uint256"
witness = { contract = "box", event = "event Stored(uint256 indexed key, uint256 value)", field = "key" }
rule = "box.get(key) <= 500"
severity = "P2"
"#;

impl Watching {
    async fn incidents(&self) -> Vec<Incident> {
        self.caught_up().await;
        self.store.incidents().await.unwrap()
    }

    /// What people were told of incidents, in order.
    async fn calls(&self) -> Vec<Notice> {
        let mut notices = self.store.notices(1_000).await.unwrap();
        notices.retain(|notice| notice.topic.starts_with("incident:"));
        notices.reverse();
        notices
    }

    async fn is_unknown(&self, rule: &str) -> bool {
        self.caught_up().await;
        let alarms = self.store.alarms().await.unwrap();
        alarms
            .iter()
            .any(|alarm| alarm.kind == "rule-unknown" && alarm.subject == rule && alarm.cleared_ms.is_none())
    }
}

fn kinds(notices: &[Notice]) -> Vec<NoticeKind> {
    notices.iter().map(|notice| notice.kind).collect()
}

#[tokio::test]
async fn a_breach_is_told_once_over_restarts_and_ends_when_the_rule_holds() {
    let mut watching = Watching::start(RULES).await;
    watching.put(BOX, 1, 60).await;
    let incidents = watching.incidents().await;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let incident = &incidents[0];
    assert_eq!(
        (incident.state, incident.rule_name.as_deref()),
        (IncidentState::Open, Some("low"))
    );
    assert_eq!(incident.scope_name, "protocol");
    assert!(incident.guard.is_zero());
    watching.restart().await;
    watching.put(BOX, 1, 70).await;
    assert_eq!(watching.incidents().await.len(), 1, "the same breach");
    assert_eq!(kinds(&watching.calls().await), [NoticeKind::Opened]);
    watching.put(BOX, 1, 50).await;
    let incidents = watching.incidents().await;
    assert_eq!(incidents[0].state, IncidentState::Closed);
    assert_eq!(kinds(&watching.calls().await), [NoticeKind::Opened, NoticeKind::Closed]);
    // It is news again afterwards, when the pause between two decisions on a rule is over; and nothing was ever to be sent.
    watching.anvil.rpc("evm_increaseTime", json!([11])).await;
    watching.put(BOX, 1, 51).await;
    assert_eq!(watching.incidents().await.len(), 2);
    let intents = watching.store.intents().await.unwrap();
    assert!(
        intents
            .iter()
            .all(|intent| intent.kind == IntentKind::Shadow && intent.outcome.is_some()),
        "{intents:#?}"
    );
    assert!(watching.store.open_intents().await.unwrap().is_empty());
}

#[tokio::test]
async fn accounts_that_events_name_are_looked_at_and_have_incidents_of_their_own_scope() {
    let watching = Watching::start(RULES).await;
    watching.put(BOX, 9, 501).await;
    let incidents = watching.incidents().await;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(incidents[0].rule_name.as_deref(), Some("each-low"));
    assert_eq!(incidents[0].scope_name, "boxes");
    assert_eq!(incidents[0].witness, [B256::with_last_byte(9)]);
    watching.put(BOX, 9, 500).await;
    assert_eq!(watching.incidents().await[0].state, IncidentState::Closed);
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_neither_breached_nor_well() {
    let watching = Watching::start("[[invariant]]\nid = \"ratio\"\nrule = \"box.get(1) / box.get(2) <= 3\"\n").await;
    assert!(watching.is_unknown("ratio").await, "nothing divides by zero");
    watching.put(BOX, 2, 10).await;
    assert!(!watching.is_unknown("ratio").await);
    assert!(watching.incidents().await.is_empty());
    watching.put(BOX, 1, 40).await;
    assert_eq!(watching.incidents().await.len(), 1);
    // Unknown again: that ends no incident.
    watching.put(BOX, 2, 0).await;
    assert!(watching.is_unknown("ratio").await);
    assert_eq!(watching.incidents().await[0].state, IncidentState::Open);
}

#[tokio::test]
async fn a_breach_that_a_reorg_takes_back_is_over() {
    let watching = Watching::start(RULES).await;
    watching.put(BOX, 1, 60).await;
    assert_eq!(watching.incidents().await[0].state, IncidentState::Open);
    let data = put_data(1, 40);
    let replacement = json!({ "from": USER, "to": BOX, "data": data, "gas": "0x30d40" });
    watching.anvil.rpc("anvil_reorg", json!([1, [[replacement, 0]]])).await;
    watching.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    let incidents = watching.incidents().await;
    assert!(
        incidents.iter().all(|incident| incident.state == IncidentState::Closed),
        "{incidents:#?}"
    );
}

/// Rules of which one reads where another read says, and more numbers than a rule can read one after the other.
fn many() -> String {
    let sum: Vec<String> = (20..44).map(|key| format!("box.get({key})")).collect();
    let sum = sum.join(" + ");
    format!(
        r#"
[[invariant]]
id = "nested"
rule = "box.get(box.get(box.get(2))) <= 50"

[[invariant]]
id = "sum"
rule = "{sum} <= 100"

[[invariant]]
id = "sum-beside"
scope = "boxes"
param = "key: uint256"
witness = {{ contract = "box", event = "event Stored(uint256 indexed key, uint256 value)", field = "key" }}
rule = "{sum} <= 100 + box.get(key)"
"#
    )
}

#[tokio::test]
async fn all_rules_of_a_block_are_read_at_its_hash_in_one_round_trip() {
    let anvil = Anvil::start(&[]).await;
    let asked: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let proxy = RpcProxy::start(&anvil.http(), move |_, body: &str| {
        if let Some((_, rest)) = body
            .split_once("\"blockHash\":\"")
            .filter(|_| body.contains("eth_call"))
        {
            *heard.lock().unwrap().entry(rest[..66].to_owned()).or_default() += 1;
        }
        Fault::None
    })
    .await
    .unwrap();
    let rules = many()
        .split("[[invariant]]")
        .take(3)
        .collect::<Vec<_>>()
        .join("[[invariant]]");
    let watching = Watching::on(anvil, proxy.url(), &rules).await;
    // Once a rule was evaluated, what it reads is known.
    watching.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    watching.caught_up().await;
    let mut counts = Vec::new();
    for _ in 0..5 {
        watching.anvil.rpc("anvil_mine", json!(["0x1"])).await;
        watching.caught_up().await;
        let (_, hash) = watching.head().await;
        counts.push(asked.lock().unwrap().get(&hash.to_string()).copied());
    }
    // The second look, every five seconds, may have come across one of them.
    let once = counts.iter().filter(|count| **count == Some(1)).count();
    assert!(once >= 4, "{counts:?}");
    watching.put(BOX, 21, 101).await;
    let incidents = watching.incidents().await;
    assert_eq!(incidents[0].rule_name.as_deref(), Some("sum"));
}

#[tokio::test]
async fn a_node_that_takes_no_state_overrides_is_asked_in_a_batch() {
    let anvil = Anvil::start(&[]).await;
    let proxy = RpcProxy::start(&anvil.http(), |_, body: &str| match body.contains("\"code\":\"0x") {
        true => Fault::Error(-32602, "too many arguments, want at most 2"),
        false => Fault::None,
    })
    .await
    .unwrap();
    let watching = Watching::on(anvil, proxy.url(), &many()).await;
    watching.put(BOX, 21, 101).await;
    let mut names: Vec<_> = watching.calls().await;
    let begun = Instant::now();
    while names.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is told");
        watching.caught_up().await;
        names = watching.calls().await;
    }
    assert!(names[0].text.contains("sum"), "{names:#?}");
    // More reads than there are rounds: all of them are asked for at once.
    for rule in ["nested", "sum", "sum-beside"] {
        assert!(!watching.is_unknown(rule).await, "{rule}");
    }
    // With the key of the box in it, the other sum holds.
    assert_eq!(watching.incidents().await.len(), 1);
}
