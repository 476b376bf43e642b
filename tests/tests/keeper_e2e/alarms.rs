//! Alarms that the other tests do not raise: each is open while its cause lasts, says what it is, and ends with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use alloy::primitives::{U256, hex};
use alloy::sol_types::SolCall;
use cordon_client::config::Evaluate;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::Options;
use cordon_keeper::record::{AlarmKind, Store};
use cordon_testkit::{Fault, FaultyRpc, RpcProxy};
use serde_json::json;

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, GUARDIAN, Running, World, until};

/// An endpoint that fails in one way at a time, when it is told to.
struct Ill {
    proxy: RpcProxy,
    fault: Arc<AtomicU8>,
}

/// It refuses logs.
const NO_LOGS: u8 = 1;
/// It leaves all logs out.
const EMPTY_LOGS: u8 = 2;
/// It takes no transaction.
const NO_TRANSACTIONS: u8 = 3;
/// It says that the rule is breached.
const LIES: u8 = 4;
/// It answers neither logs nor receipts.
const EMPTY_BLOCKS: u8 = 5;

impl Ill {
    async fn start(world: &World) -> Self {
        let fault = Arc::new(AtomicU8::new(0));
        let told = Guard::Evaluation {
            verdict: Guard::Verdict::Breached,
            reason: 0,
            observedNegative: false,
            observed: U256::from(5_000),
            boundNegative: false,
            bound: U256::from(100),
        };
        let lie = hex::encode_prefixed(Guard::evaluateManyCall::abi_encode_returns(&vec![told]));
        let evaluates = hex::encode(Guard::evaluateManyCall::SELECTOR);
        let now = Arc::clone(&fault);
        let plan = move |_: usize, body: &str| match now.load(Ordering::SeqCst) {
            NO_LOGS if body.contains("eth_getLogs") => Fault::Error(-32_000, "logs are pruned"),
            EMPTY_LOGS | EMPTY_BLOCKS if body.contains("eth_getLogs") => Fault::Answer(json!([])),
            EMPTY_BLOCKS if body.contains("eth_getBlockReceipts") => Fault::Answer(json!([])),
            NO_TRANSACTIONS if body.contains("eth_sendRawTransaction") => Fault::Error(-32_000, "the pool is closed"),
            LIES if body.contains(&evaluates) => Fault::Answer(json!(lie)),
            _ => Fault::None,
        };
        let proxy = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
        Self { proxy, fault }
    }

    fn fails(&self, fault: u8) {
        self.fault.store(fault, Ordering::SeqCst);
    }

    fn options(&self, world: &World) -> Options {
        Options {
            rpc: vec![self.proxy.url()],
            ..world.options()
        }
    }
}

async fn started(world: &World, options: Options) -> (Running, Store) {
    let store = world.store().await;
    let mut keeper = world
        .keeper_with(options, store.clone(), World::signers())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let height = world.height().await;
    keeper.done(height).await;
    (keeper, store)
}

/// What open alarms of the kind say.
async fn open(store: &Store, kind: AlarmKind) -> Vec<String> {
    let alarms = store.alarms().await.unwrap().into_iter();
    let open = alarms.filter(|alarm| alarm.kind == kind.name() && alarm.cleared_ms.is_none());
    open.map(|alarm| alarm.text).collect()
}

/// Waits until such an alarm says `part`.
async fn raised(store: &Store, kind: AlarmKind, part: &str) {
    until(kind.name(), || async {
        open(store, kind).await.iter().any(|text| text.contains(part))
    })
    .await;
}

async fn over(store: &Store, kind: AlarmKind) {
    until(kind.name(), || async { open(store, kind).await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_refused_or_left_out_are_alarmed() {
    let world = World::new(&GAUGE_RULE).await;
    let ill = Ill::start(&world).await;
    let (keeper, store) = started(&world, ill.options(&world)).await;
    ill.fails(NO_LOGS);
    raised(&store, AlarmKind::EventsUnread, "the node refuses the logs of block").await;
    ill.fails(0);
    over(&store, AlarmKind::EventsUnread).await;
    // The header of the block speaks of the guard's event all the same, and its receipts have it.
    ill.fails(EMPTY_LOGS);
    let contain = |level| Guard::containCall {
        scope: 1,
        level,
        duration: 600,
        evidence: Default::default(),
    };
    let raise = contain(Guard::Level::ReduceOnly).abi_encode();
    world.send(GUARDIAN, world.guard, raise).await;
    until("the record has the event", || async {
        let incidents = store.incidents().await.unwrap();
        let mut entries = incidents.iter().flat_map(|incident| &incident.timeline);
        entries.any(|entry| entry.kind == "level raised")
    })
    .await;
    assert!(open(&store, AlarmKind::LogsIncomplete).await.is_empty());
    // Where they lack it too, nobody knows.
    ill.fails(EMPTY_BLOCKS);
    let raise = contain(Guard::Level::Halted).abi_encode();
    world.send(GUARDIAN, world.guard, raise).await;
    let part = "nobody can tell whether these are all logs";
    raised(&store, AlarmKind::LogsIncomplete, part).await;
    ill.fails(0);
    over(&store, AlarmKind::LogsIncomplete).await;
    keeper.stop().await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_delayed_and_told_and_carried_out_later() {
    let world = World::new(&GAUGE_RULE).await;
    let ill = Ill::start(&world).await;
    let mut options = Options {
        heartbeat: Duration::from_secs(1),
        ..ill.options(&world)
    };
    options.deliver.deadline = Duration::from_secs(2);
    let (mut keeper, store) = started(&world, options).await;
    ill.fails(NO_TRANSACTIONS);
    raised(&store, AlarmKind::Heartbeat, "").await;
    world.set(GAUGE, 5_000).await;
    raised(&store, AlarmKind::ActionDelayed, "is delayed: ").await;
    assert_eq!(world.level(1).await, Guard::Level::Normal);
    ill.fails(0);
    keeper.contained().await;
    over(&store, AlarmKind::ActionDelayed).await;
    over(&store, AlarmKind::Heartbeat).await;
    keeper.stop().await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_evaluation_that_is_not_the_guards_is_alarmed_and_made_no_more() {
    let world = World::new(&GAUGE_RULE).await;
    let ill = Ill::start(&world).await;
    let options = Options {
        evaluate: Evaluate::Keeper,
        ..ill.options(&world)
    };
    let (keeper, store) = started(&world, options).await;
    // By now it was compared once, and counts.
    world.reach(world.height().await + 4).await;
    ill.fails(LIES);
    let part = "from now on the guard evaluates every rule at every block";
    raised(&store, AlarmKind::Evaluation, part).await;
    ill.fails(0);
    assert_eq!(
        world.level(1).await,
        Guard::Level::Normal,
        "the guard proves a breach itself"
    );
    keeper.stop().await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_come_faster_than_they_are_done_are_alarmed_until_they_are_caught_up_with() {
    let world = World::new(&GAUGE_RULE).await;
    let endpoint = FaultyRpc::start(&world.node.http_endpoint()).await.unwrap();
    let options = Options {
        rpc: vec![endpoint.url()],
        behind_after: Duration::from_secs(1),
        ..world.options()
    };
    let (keeper, store) = started(&world, options).await;
    assert!(open(&store, AlarmKind::Behind).await.is_empty());
    // Eight are read at a time: after a second there are still many.
    endpoint.fault("eth_call", Fault::Slow(Duration::from_millis(500)));
    world.rpc("anvil_mine", json!(["0x12c"])).await;
    raised(&store, AlarmKind::Behind, "blocks are waiting to be evaluated").await;
    endpoint.heal();
    over(&store, AlarmKind::Behind).await;
    // What waited was not left out.
    let window = store.window(200).await.unwrap();
    assert!(window.windows(2).all(|pair| pair[1].number == pair[0].number + 1));
    keeper.stop().await;
    world.node.stop().await.unwrap();
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// A new kind needs a test that raises it.
#[test]
fn every_kind_of_alarm_is_in_a_test() {
    /// One is raised with a key that a person confirms: tried where nonces are, in the keeper's `respond`. The other takes five failures of what
    /// is asked every five seconds: tried where it is asked faster, in the keeper's `notify`.
    const ELSEWHERE: [AlarmKind; 2] = [AlarmKind::NonceMissing, AlarmKind::HeartbeatUrl];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in ["tests/tests", "cli/tests", "keeper/tests"] {
        sources(&root.join(folder), &mut found);
    }
    // These go through all kinds, and raise none.
    found.retain(|path| !path.ends_with("keeper_e2e/start.rs") && !path.ends_with("keeper_e2e/openapi.rs"));
    let texts: Vec<String> = found
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let missing: Vec<AlarmKind> = AlarmKind::ALL
        .into_iter()
        .filter(|kind| !ELSEWHERE.contains(kind))
        .filter(|kind| {
            let name = kind.name();
            // By variant, by name, or as people read it.
            let known = [
                format!("AlarmKind::{kind:?}"),
                format!("\"{name}\""),
                format!("keeper alarm {name}"),
            ];
            !texts.iter().any(|text| known.iter().any(|part| text.contains(part)))
        })
        .collect();
    assert!(missing.is_empty(), "no test knows of these alarms: {missing:?}");
}
