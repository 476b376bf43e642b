//! Endpoints that answer well and wrongly: one that hides what is breached, now and then, and one that becomes another chain.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{B256, U256, hex};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::Options;
use cordon_keeper::record::{AlarmKind, IncidentState, Store};
use cordon_node::NodeConfig;
use cordon_testkit::{Dice, Fault, MessageFault, RpcProxy, WsProxy};
use serde_json::{Value, json};

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, World, until};

/// What the gauge shows when it is breached, and what the liar says that it shows.
const BAD: u64 = 5_000;
const LIE: u64 = 50;

fn word(value: u64) -> String {
    hex::encode(U256::from(value).abi_encode())
}

/// The guard's whole answer first: verdict, reason and what was observed. Then the number wherever else it is read.
fn lie() -> Fault {
    let evaluation = |verdict: u64, observed: u64| [verdict, 0, 0, observed].map(word).concat();
    Fault::Changed(vec![(evaluation(1, BAD), evaluation(0, LIE)), (word(BAD), word(LIE))])
}

/// The block that a call is made on.
fn block_of(call: &Value) -> Option<B256> {
    let at = call.pointer("/params/1")?;
    let hash = at.get("blockHash").unwrap_or(at);
    hash.as_str()?.parse().ok()
}

async fn raised(world: &World) -> usize {
    let filter = Filter::new()
        .address(world.guard)
        .event_signature(Guard::LevelRaised::SIGNATURE_HASH)
        .from_block(0);
    world.provider.get_logs(&filter).await.unwrap().len()
}

/// Verdicts of the record that are not true; whether it has any block that is not of the chain.
async fn wrong(world: &World, store: &Store) -> Vec<(B256, Verdict)> {
    let mut wrong = Vec::new();
    for block in store.window(2_000).await.unwrap() {
        let held = world.provider.get_block(block.hash.into()).await.unwrap();
        assert!(held.is_some(), "{block:?} is not of the chain");
        let data = crate::board::Board::getCall { key: GAUGE }.abi_encode();
        let tx = json!({ "to": world.board, "data": hex::encode_prefixed(data) });
        let answer = world.rpc("eth_call", json!([tx, { "blockHash": block.hash }])).await;
        let value: U256 = answer.as_str().unwrap().parse().unwrap();
        let truth = if value > U256::from(100) {
            Verdict::Breached
        } else {
            Verdict::Holds
        };
        for verdict in store.verdicts(block.hash).await.unwrap().unwrap() {
            let found = verdict.reading.verdict;
            if found != Verdict::Unknown && found != truth {
                wrong.push((block.hash, found));
            }
        }
    }
    wrong
}

async fn open(store: &Store, kind: AlarmKind) -> bool {
    let alarms = store.alarms().await.unwrap();
    alarms
        .iter()
        .any(|alarm| alarm.kind == kind.name() && alarm.cleared_ms.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_hides_now_and_then_is_contained_once_and_found_out() {
    let mut dice = Dice::from_environment("lies");
    let world = World::new(&GAUGE_RULE).await;
    let (lying, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let about: Arc<Mutex<BTreeSet<B256>>> = Arc::default();
    let chance = Arc::new(Mutex::new(Dice::new(dice.roll())));
    let plan = {
        let (lying, told, about) = (Arc::clone(&lying), Arc::clone(&told), Arc::clone(&about));
        move |_: usize, body: &str| {
            let request: Value = serde_json::from_str(body).unwrap_or_default();
            let calls = match &request {
                Value::Array(batch) => batch.clone(),
                one => vec![one.clone()],
            };
            let is_call = calls.iter().any(|call| call["method"] == "eth_call");
            if !lying.load(Ordering::SeqCst) || !is_call || !chance.lock().unwrap().chance(60) {
                return Fault::None;
            }
            told.fetch_add(1, Ordering::SeqCst);
            about.lock().unwrap().extend(calls.iter().filter_map(block_of));
            lie()
        }
    };
    let liar = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
    let options = Options {
        rpc: vec![liar.url(), world.node.http_endpoint()],
        compare_every: Duration::from_millis(300),
        ..world.options()
    };
    let store = world.store().await;
    let keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
    lying.store(true, Ordering::SeqCst);
    world.set(GAUGE, BAD).await;
    until("it is contained", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    until("the liar is found out", || async {
        open(&store, AlarmKind::WrongAnswer).await || open(&store, AlarmKind::SecondOpinion).await
    })
    .await;
    lying.store(false, Ordering::SeqCst);
    println!(
        "{} lies about {} blocks",
        told.load(Ordering::SeqCst),
        about.lock().unwrap().len()
    );
    assert!(told.load(Ordering::SeqCst) > 0);
    until("all agree again, and nothing is left to do", || async {
        !open(&store, AlarmKind::WrongAnswer).await
            && !open(&store, AlarmKind::SecondOpinion).await
            && store.open_intents().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(raised(&world).await, 1, "raised once");
    let about = about.lock().unwrap().clone();
    for (block, verdict) in wrong(&world, &store).await {
        assert_eq!(verdict, Verdict::Holds, "nobody claimed a breach");
        assert!(about.contains(&block), "{block}: nobody lied about it");
    }
    let incidents = store.incidents().await.unwrap();
    let contained = incidents.iter().filter(|i| i.state == IncidentState::Contained).count();
    assert_eq!(contained, 1, "{incidents:#?}");
    keeper.stop().await;
}

/// Another chain, with blocks as often and about as many of them.
async fn another_chain(world: &World, id: u64) -> cordon_node::NodeHandle {
    let other = cordon_node::spawn(NodeConfig {
        chain_id: Some(id),
        block_time: Some(Duration::from_millis(250)),
        silent: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = ProviderBuilder::new().connect_http(other.http_endpoint().parse().unwrap());
    let _: Value = provider
        .raw_request("anvil_mine".into(), json!([world.height().await + 4]))
        .await
        .unwrap();
    other
}

/// The first of three endpoints and the subscription become another chain while an incident happens, and are themselves again later.
async fn becomes_another_chain(id: impl Fn(&World) -> u64) {
    let world = World::new(&GAUGE_RULE).await;
    let other = another_chain(&world, id(&world)).await;
    let away = Arc::new(AtomicBool::new(false));
    let (http, ws) = (other.http_endpoint(), other.ws_endpoint());
    let lost = Arc::new(AtomicUsize::new(0));
    let plan = {
        let (away, lost) = (Arc::clone(&away), Arc::clone(&lost));
        move |_: usize, _: &str| match away.load(Ordering::SeqCst) {
            true => {
                lost.fetch_add(1, Ordering::SeqCst);
                Fault::Elsewhere(http.clone())
            }
            false => Fault::None,
        }
    };
    let first = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
    let second = RpcProxy::start(&world.node.http_endpoint(), |_, _| Fault::None)
        .await
        .unwrap();
    // A connection that exists is cut when the endpoint becomes another: whoever comes back finds the other chain.
    let (mine, towards) = (world.node.ws_endpoint(), Arc::clone(&away));
    let (turned, seen) = (Arc::clone(&away), Arc::new(AtomicBool::new(false)));
    let proxy = WsProxy::moving(
        move || {
            if towards.load(Ordering::SeqCst) {
                ws.clone()
            } else {
                mine.clone()
            }
        },
        move || {
            let now = turned.load(Ordering::SeqCst);
            match seen.swap(now, Ordering::SeqCst) == now {
                true => MessageFault::None,
                false => MessageFault::Cut,
            }
        },
    )
    .await
    .unwrap();
    let options = Options {
        rpc: vec![first.url(), second.url(), world.node.http_endpoint()],
        ws: Some(proxy.url()),
        compare_every: Duration::from_millis(300),
        ..world.options()
    };
    let store = world.store().await;
    let mut keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;

    away.store(true, Ordering::SeqCst);
    world.set(GAUGE, BAD).await;
    until("it is contained", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    until("people are told of the endpoint", || async {
        let alarms = store.alarms().await.unwrap();
        alarms.iter().any(|alarm| {
            [AlarmKind::Disagreement, AlarmKind::Endpoint]
                .iter()
                .any(|kind| alarm.kind == kind.name())
                && alarm.text.contains(&first.url())
        })
    })
    .await;
    let height = world.height().await;
    world.reach(height + 4).await;
    assert!(
        lost.load(Ordering::SeqCst) > 0,
        "it was asked while it was another chain"
    );
    away.store(false, Ordering::SeqCst);
    until("all endpoints are of one chain again", || async {
        !open(&store, AlarmKind::Disagreement).await && !open(&store, AlarmKind::Endpoint).await
    })
    .await;
    let height = world.height().await;
    keeper.done(height).await;
    until("everything decided is ended", || async {
        store.open_intents().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(raised(&world).await, 1, "raised once");
    let window = store.window(2_000).await.unwrap();
    for pair in window.windows(2) {
        let (number, parent) = (pair[1].number, pair[1].parent);
        assert_eq!(
            (number, parent),
            (pair[0].number + 1, pair[0].hash),
            "no block is missing"
        );
    }
    assert_eq!(
        wrong(&world, &store).await,
        [],
        "every block is of the chain, every verdict true"
    );
    let incidents = store.incidents().await.unwrap();
    let contained = incidents.iter().filter(|i| i.state == IncidentState::Contained).count();
    assert_eq!(contained, 1, "{incidents:#?}");
    keeper.stop().await;
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_becomes_one_of_another_chain_is_left_and_nothing_is_missed() {
    becomes_another_chain(|_| 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_becomes_another_chain_with_the_same_id_is_left_and_nothing_is_missed() {
    becomes_another_chain(|world| world.node.chain_id()).await;
}
