//! From the start of a keeper over the breach to the page.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use cordon_keeper::record::{IncidentState, Outcome, Step};
use cordon_node::NodeConfig;
use cordon_testkit::{Fault, Inbox, RpcProxy};
use serde_json::json;

use super::Stage;
use crate::board::{Board, GAUGE};
use crate::process::watching;
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, USER, World, key, until};

pub(super) const START: &[Step] = &[Step::Migrate, Step::Claim, Step::Config, Step::Orphans, Step::Block];
pub(super) const INCIDENT: &[Step] = &[Step::Decision, Step::Sent, Step::Finish];
pub(super) const PAGE: &[Step] = &[Step::FanOut, Step::Told];
pub(super) const REVERTED: &[Step] = &[Step::Reverted];

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_starts_begins_where_it_was() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    for step in START {
        stage.dies_around(*step).await;
    }
    // Another configuration: the alarm about it is not lost with the process that has noticed it.
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let text = text.replacen("[keeper]\n", "[keeper]\nretention = \"30 days\"\n", 1);
    assert!(text.contains("30 days"));
    std::fs::write(&stage.config, text).unwrap();
    stage.dies_around(Step::Config).await;
    stage.world.set(GAUGE, 5_000).await;
    stage.ends(START).await;
    let alarms = stage.store.newest_alarms(100).await.unwrap();
    let about = alarms.iter().filter(|alarm| alarm.kind == "config-changed");
    let open: Vec<bool> = about.map(|alarm| alarm.cleared_ms.is_none()).collect();
    assert_eq!(open, [true], "raised once, and nobody has looked at it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_contains_contains_once() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    let holds = Arc::new(AtomicBool::new(false));
    let _proxy = behind_proxy(&stage, Arc::clone(&holds)).await;
    stage.breaks_and_dies("before-decision").await;
    assert!(stage.store.intents().await.unwrap().is_empty());
    stage.dies("after-decision").await;
    assert_eq!(stage.store.open_intents().await.unwrap().len(), 1);
    // It is recorded while it is sent. Here it does not arrive before the keeper dies: nothing is left of it.
    holds.store(true, Ordering::SeqCst);
    stage.dies("before-sent").await;
    let height = stage.world.height().await;
    stage.world.reach(height + 2).await;
    assert_eq!(stage.world.nonce(KEEPER).await, 0, "it has not arrived");
    holds.store(false, Ordering::SeqCst);
    stage.dies("after-sent").await;
    stage.dies_around(Step::Finish).await;
    stage.ends(INCIDENT).await;
    assert_eq!(stage.world.nonce(KEEPER).await, 1, "one transaction");
}

/// Puts a proxy before the node that lets no transaction through while `holds`.
async fn behind_proxy(stage: &Stage, holds: Arc<AtomicBool>) -> RpcProxy {
    let node = stage.world.node.http_endpoint();
    let plan = move |_: usize, body: &str| match holds.load(Ordering::SeqCst) && body.contains("eth_sendRawTransaction")
    {
        true => Fault::Hang,
        false => Fault::None,
    };
    let proxy = RpcProxy::start(&node, plan).await.unwrap();
    let text = std::fs::read_to_string(&stage.config).unwrap();
    assert!(text.contains(&node));
    std::fs::write(&stage.config, text.replace(&node, &proxy.url())).unwrap();
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_pages_makes_one_page() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    stage.breaks_and_dies("before-fan-out").await;
    stage.dies("after-fan-out").await;
    assert_eq!(stage.inbox.received().len(), 0, "nobody was told yet");
    // The service has the page, and the record does not say so: it is sent again, as the same one.
    stage.dies_around(Step::Told).await;
    let received = stage.inbox.received();
    assert!(
        received.len() >= 2 && received[0]["id"] == received[1]["id"],
        "{received:#?}"
    );
    stage.ends(PAGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_the_kill_is_the_same_page_for_pagerduty_and_opsgenie() {
    let services = Inbox::start().await.unwrap();
    let channel = |via: &str| {
        format!(
            "[[notify]]\nid = \"{via}\"\nvia = \"{via}\"\nkey = {{ env = \"CORDON_TEST_PAGER_SECRET\" }}\nserver = \"{}\"\nseverity = \"P1\"\n",
            services.url()
        )
    };
    let channels = channel("pagerduty") + &channel("opsgenie");
    let mut stage = Stage::new(&GAUGE_RULE, &channels).await;
    stage.breaks_and_dies("before-told").await;
    // Each of the three channels has its turn to have sent what the record does not know.
    for _ in 0..3 {
        stage.dies("before-told").await;
    }
    stage.ends_well().await;
    for (field, opens) in [("dedup_key", "payload"), ("alias", "message")] {
        let pages: Vec<_> = services
            .received()
            .into_iter()
            .filter(|sent| sent[field].is_string() && !sent[opens].is_null())
            .collect();
        assert!(pages.len() >= 2, "{field}: sent again after the kill: {pages:#?}");
        let of_incident = pages
            .iter()
            .filter(|sent| sent[field].as_str().unwrap().contains("incident"));
        let keys: BTreeSet<String> = of_incident.map(|sent| sent[field].to_string()).collect();
        assert_eq!(keys.len(), 1, "one page: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_over_a_transaction_that_was_reverted_goes_on() {
    let node = NodeConfig {
        silent: true,
        ..NodeConfig::default()
    };
    let mut stage = Stage::on(World::with(&GAUGE_RULE, node).await, "").await;
    let process = stage.start(None);
    watching(&stage.world, &stage.store).await;
    until("the heartbeat is out of the way", || async {
        stage.world.nonce(HEARTBEAT).await == 1
    })
    .await;
    drop(process);
    stage.world.rpc("evm_setAutomine", json!([false])).await;
    set(&stage.world, 5_000, 1).await;
    stage.world.rpc("evm_mine", json!([])).await;
    let mut process = stage.start(Some("before-reverted"));
    until("the trip waits", || async { waiting(&stage.world).await == 1 }).await;
    // What comes before it in the block takes its reason away.
    set(&stage.world, 1, 500).await;
    stage.world.rpc("evm_mine", json!([])).await;
    stage.death(&mut process, "before-reverted").await;
    stage.dies("after-reverted").await;
    let process = stage.start(None);
    until("nothing is left to do", || async {
        stage.world.rpc("evm_mine", json!([])).await;
        let intents = stage.store.intents().await.unwrap();
        intents.iter().all(|intent| intent.outcome == Some(Outcome::HoldsAgain))
    })
    .await;
    assert_eq!((stage.raised().await, stage.world.nonce(KEEPER).await), (0, 1));
    drop(process);
    // The next breach is another matter, and is contained.
    stage.world.rpc("evm_setAutomine", json!([true])).await;
    set(&stage.world, 5_000, 1).await;
    let _process = stage.start(None);
    until("it is contained", || async {
        stage.world.rpc("evm_mine", json!([])).await;
        let incidents = stage.store.incidents().await.unwrap();
        incidents
            .iter()
            .any(|incident| incident.state == IncidentState::Contained)
    })
    .await;
    assert_eq!((stage.raised().await, stage.world.nonce(KEEPER).await), (1, 2));
    stage.nothing_told_as_two();
    stage.has_died_around(REVERTED);
}

/// Sends, without waiting for its block, a new value of the gauge; `tip` in gwei.
async fn set(world: &World, value: u64, tip: u64) {
    let data = Board::setCall {
        key: GAUGE,
        value: U256::from(value),
    };
    let fee = format!("{:#x}", u128::from(tip) * 1_000_000_000);
    let tx = json!({
        "from": key(USER).address(), "to": world.board, "data": alloy::primitives::hex::encode_prefixed(data.abi_encode()),
        "maxPriorityFeePerGas": fee, "maxFeePerGas": format!("{:#x}", 900_000_000_000_u128), "gas": "0x30d40",
    });
    world.rpc("eth_sendTransaction", json!([tx])).await;
}

/// Transactions of the keeper's account in the pool.
async fn waiting(world: &World) -> usize {
    let content = world.rpc("txpool_content", json!([])).await;
    let of = |sender: &str| {
        let own = format!("{:?}", key(KEEPER).address()).to_lowercase();
        sender.to_lowercase() == own
    };
    let pending = content["pending"].as_object().unwrap();
    let held = pending.iter().filter(|(sender, _)| of(sender));
    held.map(|(_, transactions)| transactions.as_object().unwrap().len())
        .sum()
}
