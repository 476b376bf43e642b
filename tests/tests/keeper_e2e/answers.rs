//! Endpoints that give wrong answers, and what several have to agree on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy::primitives::{U256, hex};
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::record::{AlarmKind, IncidentState, Outcome, Store};
use cordon_keeper::{Options, Signers};
use cordon_testkit::{Fault, Postgres, RpcProxy};
use serde_json::json;

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, KEEPER, OTHER, Rules, Running, World, at_most, key, stop_board, until};

const AUTHORITY: Rules = Rules(concat!(
    at_most!(
        "gauge-low",
        "market",
        "get(0)",
        "severity = \"P1\"\nrespond = \"contain\""
    ),
    stop_board!()
));

pub(crate) const PROTOCOL: Rules = Rules(concat!(
    at_most!("gauge-low", "protocol", "get(0)"),
    at_most!("other-low", "protocol", "get(2)"),
    stop_board!("protocol", "set")
));

/// An endpoint that answers one view of the guard with whatever it is told to say, while it lies.
struct Liar {
    proxy: RpcProxy,
    lies: Arc<AtomicBool>,
}

impl Liar {
    /// Of the one rule.
    async fn start(world: &World, verdict: Guard::Verdict) -> Self {
        let told = Guard::Evaluation {
            verdict,
            reason: 0,
            observedNegative: false,
            observed: U256::from(5_000),
            boundNegative: false,
            bound: U256::from(100),
        };
        let answer = Guard::evaluateManyCall::abi_encode_returns(&vec![told]);
        Self::about(world, Guard::evaluateManyCall::SELECTOR, &answer).await
    }

    async fn about(world: &World, view: [u8; 4], answer: &[u8]) -> Self {
        let lies = Arc::new(AtomicBool::new(false));
        let (answer, selector) = (hex::encode_prefixed(answer), hex::encode(view));
        let switch = Arc::clone(&lies);
        let plan = move |_: usize, body: &str| match switch.load(Ordering::SeqCst) && body.contains(&selector) {
            true => Fault::Answer(json!(answer)),
            false => Fault::None,
        };
        let proxy = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
        Self { proxy, lies }
    }

    /// A keeper that asks the liar first, and an honest endpoint when it looks a second time.
    fn options(&self, world: &World) -> Options {
        Options {
            rpc: vec![self.proxy.url(), world.node.http_endpoint()],
            compare_every: Duration::from_millis(300),
            ..world.options()
        }
    }
}

async fn alarmed(store: &Store, kind: AlarmKind) -> bool {
    store
        .alarms()
        .await
        .unwrap()
        .iter()
        .any(|alarm| alarm.kind == kind.name())
}

async fn is_open(store: &Store, kind: AlarmKind) -> bool {
    let alarms = store.alarms().await.unwrap();
    alarms
        .iter()
        .any(|alarm| alarm.kind == kind.name() && alarm.cleared_ms.is_none())
}

async fn started(world: &World, options: Options, store: Store, signers: Signers) -> Running {
    world.keeper_at_head(options, store, signers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_one_endpoint_hides_is_found_through_another() {
    let world = World::new(&GAUGE_RULE).await;
    let liar = Liar::start(&world, Guard::Verdict::Holds).await;
    let store = world.store().await;
    let mut keeper = started(&world, liar.options(&world), store.clone(), World::signers()).await;
    assert!(!alarmed(&store, AlarmKind::WrongAnswer).await);
    liar.lies.store(true, Ordering::SeqCst);
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    assert!(
        alarmed(&store, AlarmKind::WrongAnswer).await,
        "somebody has to look at it"
    );
    assert!(
        alarmed(&store, AlarmKind::SecondOpinion).await,
        "and the values read said otherwise"
    );
    liar.lies.store(false, Ordering::SeqCst);
    until("all agree again", || async {
        !is_open(&store, AlarmKind::WrongAnswer).await && !is_open(&store, AlarmKind::SecondOpinion).await
    })
    .await;
    keeper.stop().await;
}

/// What is held already is not done once more; that it is held must not be the invention of one endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_one_endpoint_invents_does_not_keep_the_keeper_from_containing() {
    let world = World::new(&GAUGE_RULE).await;
    let invented = Guard::ScopeStatus {
        level: Guard::Level::Halted,
        expiresAt: u64::MAX,
        ..world.status(1).await
    };
    let answer = Guard::scopeStatusCall::abi_encode_returns(&invented);
    let liar = Liar::about(&world, Guard::scopeStatusCall::SELECTOR, &answer).await;
    let store = world.store().await;
    let keeper = started(&world, liar.options(&world), store.clone(), World::signers()).await;
    liar.lies.store(true, Ordering::SeqCst);
    world.set(GAUGE, 5_000).await;
    until("the guard has contained", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    assert_eq!(world.nonce(KEEPER).await, 1);
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_contained_by_authority_on_the_word_of_one_endpoint() {
    let world = World::new(&AUTHORITY).await;
    let liar = Liar::start(&world, Guard::Verdict::Breached).await;
    let store = world.store().await;
    let keeper = started(&world, liar.options(&world), store.clone(), World::signers()).await;
    liar.lies.store(true, Ordering::SeqCst);
    until("the lie is looked into", || async {
        let intents = store.intents().await.unwrap();
        intents.iter().any(|intent| intent.outcome == Some(Outcome::HoldsAgain))
    })
    .await;
    assert!(alarmed(&store, AlarmKind::WrongAnswer).await);
    let height = world.height().await;
    world.reach(height + 4).await;
    assert_eq!(world.level(1).await, Guard::Level::Normal);
    assert_eq!(world.nonce(KEEPER).await, 0, "no transaction was sent");
    keeper.stop().await;
}

/// What the one incident, which is open, waits for.
async fn waiting(keeper: &Running) -> Vec<String> {
    let incident = keeper.incident().await;
    assert_eq!(incident.state, IncidentState::Open, "people are told at once");
    let lines = incident.timeline.into_iter().filter(|line| line.kind == "waiting");
    lines.map(|line| line.text).collect()
}

/// Now as many agree as have to.
async fn enough_agree(world: &World, store: &Store, mut keeper: Running) {
    keeper.contained().await;
    assert_eq!(world.level(0).await, Guard::Level::ReduceOnly);
    until("nothing waits any more", || async {
        !is_open(store, AlarmKind::QuorumShort).await
    })
    .await;
    assert_eq!(keeper.incident().await.state, IncidentState::Contained, "one incident");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_protocol_waits_for_as_many_rules_as_have_to_agree() {
    let world = World::new(&PROTOCOL).await;
    let store = world.store().await;
    let mut options = world.options();
    options.quorum.rules = 2;
    let mut keeper = started(&world, options, store.clone(), World::signers()).await;
    let bad = world.set(GAUGE, 5_000).await;
    keeper.done(bad + 4).await;
    assert_eq!(world.level(0).await, Guard::Level::Normal);
    assert_eq!(
        waiting(&keeper).await,
        ["rule gauge-low is breached; protocol is not raised to ReduceOnly yet: 1 of 2 rules are breached"]
    );
    assert!(is_open(&store, AlarmKind::QuorumShort).await);
    world.set(U256::from(2), 5_000).await;
    enough_agree(&world, &store, keeper).await;
}

const ONE_RULE: Rules = Rules(concat!(
    at_most!("gauge-low", "protocol", "get(0)"),
    stop_board!("protocol", "set")
));

/// Two endpoints have to agree, of which one says something else than the other.
async fn one_of_two_says_so(told: Guard::Verdict, endpoints: impl Fn(&World, &Liar) -> Vec<String>, gauge: u64) {
    let world = World::new(&ONE_RULE).await;
    let liar = Liar::start(&world, told).await;
    let mut options = world.options();
    options.rpc = endpoints(&world, &liar);
    options.quorum.endpoints = 2;
    let store = world.store().await;
    let mut keeper = started(&world, options, store.clone(), World::signers()).await;
    liar.lies.store(true, Ordering::SeqCst);
    let bad = world.set(GAUGE, gauge).await;
    until("it waits for the other endpoint", || {
        is_open(&store, AlarmKind::QuorumShort)
    })
    .await;
    keeper.done(bad + 4).await;
    assert_eq!(
        waiting(&keeper).await,
        ["rule gauge-low is breached; protocol is not raised to ReduceOnly yet: 1 of 2 endpoints say so"]
    );
    assert!(alarmed(&store, AlarmKind::WrongAnswer).await, "one of them is wrong");
    assert_eq!(world.level(0).await, Guard::Level::Normal);
    assert_eq!(world.nonce(KEEPER).await, 0, "no transaction was sent");
    // The truth is that it is breached, and both say so.
    world.set(GAUGE, 5_000).await;
    liar.lies.store(false, Ordering::SeqCst);
    enough_agree(&world, &store, keeper).await;
}

/// The guard would let itself be tripped: it is the other endpoint alone that is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_protocol_waits_for_an_endpoint_that_denies_the_breach() {
    let endpoints = |world: &World, liar: &Liar| vec![world.node.http_endpoint(), liar.proxy.url()];
    one_of_two_says_so(Guard::Verdict::Holds, endpoints, 5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_protocol_waits_for_an_endpoint_that_does_not_know_an_invented_breach() {
    let endpoints = |world: &World, liar: &Liar| vec![liar.proxy.url(), world.node.http_endpoint()];
    one_of_two_says_so(Guard::Verdict::Breached, endpoints, 1).await;
}

/// What starts by itself at the incident of a market waits as a rule of the protocol would.
#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_contains_the_whole_protocol_when_the_other_endpoint_says_so_too() {
    const ALL: &str = r#"
[[playbook]]
id = "all"
rules = ["gauge-low"]
step = [{ do = "contain", scope = "protocol", level = "ReduceOnly", for = "10 minutes" }]
"#;
    let mut world = World::new(&GAUGE_RULE).await;
    let path = world.dir.path().join("cordon.toml");
    let text = std::fs::read_to_string(&path).unwrap() + ALL;
    std::fs::write(&path, text).unwrap();
    world.config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let liar = Liar::start(&world, Guard::Verdict::Holds).await;
    let mut options = world.options();
    options.rpc = vec![world.node.http_endpoint(), liar.proxy.url()];
    options.quorum.endpoints = 2;
    let store = world.store().await;
    let keeper = started(&world, options, store.clone(), World::signers()).await;
    liar.lies.store(true, Ordering::SeqCst);
    world.set(GAUGE, 5_000).await;
    until("it waits for the other endpoint", || {
        is_open(&store, AlarmKind::QuorumShort)
    })
    .await;
    until("the market waits for nobody", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    assert_eq!(world.level(0).await, Guard::Level::Normal);
    liar.lies.store(false, Ordering::SeqCst);
    until("both say so", || async {
        world.level(0).await == Guard::Level::ReduceOnly
    })
    .await;
    until("nothing waits any more", || async {
        !is_open(&store, AlarmKind::QuorumShort).await
    })
    .await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_protocol_waits_for_another_keeper_that_finds_it_too() {
    let world = World::new(&PROTOCOL).await;
    let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    let connect = || async {
        Store::connect(&SecretText::new(database.url()), world.node.chain_id(), world.guard)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    };
    let mut options = world.options();
    options.quorum.keepers = 2;
    let mut first = started(&world, options.clone(), connect().await, World::signers()).await;
    let bad = world.set(GAUGE, 5_000).await;
    first.done(bad + 4).await;
    assert_eq!(world.level(0).await, Guard::Level::Normal);
    assert!(is_open(&first.store, AlarmKind::QuorumShort).await);
    // The second one waits for its turn, and looks meanwhile.
    let second = world
        .keeper_with(options, connect().await, Signers::local(key(OTHER), None))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    first.contained().await;
    assert_eq!(world.level(0).await, Guard::Level::ReduceOnly);
    assert_eq!(world.nonce(OTHER).await, 0, "the first one acts");
    second.stop().await;
    first.stop().await;
}
