//! Endpoints of which one is a fork of the chain.

use std::time::Duration;

use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::record::{Alarm, AlarmKind, Store};
use cordon_keeper::{Keeper, KeeperEvent, Options};
use cordon_node::{NodeConfig, NodeHandle};
use cordon_testkit::{Fault, FaultyRpc, RpcProxy};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::board::GAUGE;
use crate::console::health;
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, Running, World, until};

/// A node that has forked the world's chain, at a block or at its newest one.
async fn forked(world: &World, at: Option<u64>, block_time: Option<Duration>) -> (NodeHandle, DynProvider) {
    let fork = cordon_node::spawn(NodeConfig {
        fork_url: Some(world.node.http_endpoint().parse().unwrap()),
        fork_block_number: at,
        block_time,
        silent: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = ProviderBuilder::new()
        .connect_http(fork.http_endpoint().parse().unwrap())
        .erased();
    is_another(&provider).await;
    (fork, provider)
}

/// Another state from now on, so that no block that comes is one of the chain that was.
pub(crate) async fn is_another(provider: &DynProvider) {
    let account = "0x00000000000000000000000000000000000000aa";
    let _: serde_json::Value = provider
        .raw_request("anvil_setBalance".into(), json!([account, "0x1"]))
        .await
        .unwrap();
}

/// One of the newest block, which goes on by itself.
async fn fork_of(world: &World) -> NodeHandle {
    let (fork, provider) = forked(world, None, Some(Duration::from_millis(250))).await;
    let height = provider.get_block_number().await.unwrap();
    until("the fork goes on", || async {
        provider.get_block_number().await.unwrap() > height + 8
    })
    .await;
    fork
}

fn options(world: &World, fork: &NodeHandle, rpc: Vec<String>) -> Options {
    Options {
        rpc,
        ws: Some(fork.ws_endpoint()),
        compare_every: Duration::from_millis(300),
        ..world.options()
    }
}

async fn disagreements(store: &Store) -> Vec<Alarm> {
    let alarms = store.alarms().await.unwrap();
    alarms
        .into_iter()
        .filter(|alarm| alarm.kind == AlarmKind::Disagreement.name())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_contained_though_the_first_of_three_endpoints_is_a_fork() {
    let world = World::new(&GAUGE_RULE).await;
    let fork = fork_of(&world).await;
    let second = RpcProxy::start(&world.node.http_endpoint(), |_, _| Fault::None)
        .await
        .unwrap();
    let rpc = vec![fork.http_endpoint(), second.url(), world.node.http_endpoint()];
    let mut keeper = world
        .keeper_with(options(&world, &fork, rpc), world.store().await, World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    assert_eq!(world.level(1).await, Guard::Level::ReduceOnly);
    let window = keeper.store.window(1).await.unwrap();
    let block = window[0];
    let held = world.provider.get_block(block.hash.into()).await.unwrap();
    assert!(held.is_some(), "{block:?} is of the chain");
    until("the fork is told of", || async {
        let alarms = disagreements(&keeper.store).await;
        alarms
            .iter()
            .any(|alarm| alarm.subject == "endpoints" && alarm.text.contains(&fork.http_endpoint()))
    })
    .await;
    keeper.stop().await;
}

/// Waits until the newest block is done.
async fn caught_up(world: &World, keeper: &Running) {
    until("the newest block is done", || async {
        let height = world.height().await;
        let window = keeper.store.window(1).await.unwrap();
        window.last().is_some_and(|block| block.number >= height)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_a_split_goes_on_with_the_chain_of_the_record() {
    let world = World::new(&GAUGE_RULE).await;
    let fork = fork_of(&world).await;
    let keeper = world.keeper().await;
    caught_up(&world, &keeper).await;
    keeper.stop().await;
    // The first of the endpoints now is of another chain, and ahead.
    let options = Options {
        ws: None,
        ..options(&world, &fork, vec![fork.http_endpoint(), world.node.http_endpoint()])
    };
    let keeper = world
        .keeper_with(options, world.store().await, World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let height = world.height().await + 8;
    until("some blocks are done", || async {
        let window = keeper.store.window(1).await.unwrap();
        window.last().is_some_and(|block| block.number >= height)
    })
    .await;
    let block = keeper.store.window(1).await.unwrap()[0];
    let held = world.provider.get_block(block.hash.into()).await.unwrap();
    assert!(held.is_some(), "{block:?} is of the chain that was followed before");
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_block_is_left_out_when_the_chain_replaces_more_than_is_held_in_memory() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    world.rpc("evm_setIntervalMining", json!([0])).await;
    caught_up(&world, &keeper).await;
    let snapshot = world.rpc("evm_snapshot", json!([])).await;
    let from = world.height().await + 1;
    world.rpc("evm_setIntervalMining", json!([0.25])).await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    world.rpc("anvil_mine", json!(["0x12c"])).await;
    caught_up(&world, &keeper).await;
    let replaced = keeper.store.window(1_000).await.unwrap();
    // The chain goes back to before the incident, and on with another one at its beginning.
    world.rpc("evm_setIntervalMining", json!([0])).await;
    world.rpc("evm_revert", json!([snapshot])).await;
    world.rpc("evm_setIntervalMining", json!([0.25])).await;
    world.set(GAUGE, 6_000).await;
    world.rpc("anvil_mine", json!(["0x140"])).await;
    until("the guard is tripped again", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    caught_up(&world, &keeper).await;
    for number in from..=world.height().await.min(from + 310) {
        let block = world
            .provider
            .get_block_by_number(number.into())
            .await
            .unwrap()
            .unwrap();
        assert!(keeper.store.is_done(block.header.hash).await.unwrap(), "block {number}");
    }
    for block in replaced.iter().filter(|block| block.number >= from) {
        assert!(!keeper.store.is_done(block.hash).await.unwrap(), "{block:?}");
    }
    assert_eq!(world.nonce(KEEPER).await, 1, "one trip on the chain that stays");
    let incident = keeper.incident().await;
    assert!(incident.timeline.iter().any(|entry| entry.kind == "reorganised"));
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_from_below_the_beginning_of_the_record_is_followed_from_there() {
    let world = World::new(&GAUGE_RULE).await;
    world.rpc("evm_setIntervalMining", json!([0])).await;
    let snapshot = world.rpc("evm_snapshot", json!([])).await;
    world.rpc("anvil_mine", json!(["0x5"])).await;
    let keeper = world
        .keeper_at_head(world.options(), world.store().await, World::signers())
        .await;
    world.rpc("anvil_mine", json!(["0x3"])).await;
    caught_up(&world, &keeper).await;
    let replaced = keeper.store.window(100).await.unwrap();
    let first = replaced[0].number;
    assert_eq!(first + 3, world.height().await, "nothing older is in the record");
    world.rpc("evm_revert", json!([snapshot])).await;
    is_another(&world.provider).await;
    world.rpc("anvil_mine", json!(["0xa"])).await;
    caught_up(&world, &keeper).await;
    for block in &replaced {
        assert!(!keeper.store.is_done(block.hash).await.unwrap(), "{block:?}");
    }
    for number in first..=world.height().await {
        let block = world.provider.get_block_by_number(number.into()).await.unwrap();
        let hash = block.unwrap().header.hash;
        assert!(keeper.store.is_done(hash).await.unwrap(), "block {number}");
    }
    keeper.stop().await;
}

/// A keeper with endpoints of one chain, which has more of it in its record than it holds in memory. The chain stands still.
struct Long {
    world: World,
    keeper: Running,
    endpoints: Vec<FaultyRpc>,
    /// The newest blocks of the record, of which the oldest is older than what is held in memory.
    held: Vec<BlockRef>,
}

impl Long {
    async fn new(count: usize) -> Self {
        // What is found out is found out on the way back from the fork.
        Self::compared(count, Duration::from_secs(3_600)).await
    }

    /// The same with endpoints that are compared so often.
    async fn compared(count: usize, compare_every: Duration) -> Self {
        let world = World::new(&GAUGE_RULE).await;
        let mut endpoints = Vec::new();
        for _ in 0..count {
            endpoints.push(FaultyRpc::start(&world.node.http_endpoint()).await.unwrap());
        }
        let options = Options {
            rpc: endpoints.iter().map(FaultyRpc::url).collect(),
            ws: None,
            compare_every,
            ..world.options()
        };
        let mut keeper = world
            .keeper_at_head(options, world.store().await, World::signers())
            .await;
        world.rpc("evm_setIntervalMining", json!([0])).await;
        world.rpc("anvil_mine", json!(["0x12c"])).await;
        caught_up(&world, &keeper).await;
        keeper.events = keeper.events.resubscribe();
        let held = keeper.store.window(290).await.unwrap();
        assert_eq!(held.len(), 290);
        Self {
            world,
            keeper,
            endpoints,
            held,
        }
    }

    /// The first endpoint is of another chain from now on, which has left this one beyond what is held in memory.
    async fn is_deceived(&self, blocks: u64) -> NodeHandle {
        let (fork, provider) = forked(&self.world, Some(self.held[0].number), None).await;
        let mine = json!([format!("{blocks:#x}")]);
        let _: serde_json::Value = provider.raw_request("anvil_mine".into(), mine).await.unwrap();
        self.endpoints[0].move_to(&fork.http_endpoint());
        fork
    }

    /// The keeper goes on with the chain, of which it has taken nothing back.
    async fn goes_on(mut self) {
        self.world.rpc("anvil_mine", json!(["0x2"])).await;
        caught_up(&self.world, &self.keeper).await;
        let newest = self.held.last().unwrap();
        while let Ok(event) = self.keeper.events.try_recv() {
            // That the last one is done may be told a moment after the record has it.
            if let KeeperEvent::BlockDone { number, .. } = event {
                assert!(number >= newest.number, "block {number} was evaluated anew");
            }
        }
        for block in &self.held {
            assert!(self.keeper.store.is_done(block.hash).await.unwrap(), "{block:?}");
        }
        self.keeper.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_alone_has_nothing_taken_back_that_is_held_in_memory_no_more() {
    let long = Long::new(2).await;
    let second = &long.endpoints[1];
    for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
        second.fault(method, Fault::Http(502));
    }
    let asked = second.count("eth_blockNumber");
    let _fork = long.is_deceived(320).await;
    until("the other endpoint is asked whether it says so too", || async {
        second.count("eth_blockNumber") >= asked + 4
    })
    .await;
    for block in &long.held {
        assert!(long.keeper.store.is_done(block.hash).await.unwrap(), "{block:?}");
    }
    second.heal();
    long.endpoints[0].move_to(&long.world.node.http_endpoint());
    long.goes_on().await;
}

/// The other one comes back while the fork still stands: nobody can say which is right, but the chain of the record is the one that both had.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_in_which_one_alone_was_followed_before_has_nothing_taken_back() {
    let long = Long::compared(2, Duration::from_millis(300)).await;
    let second = &long.endpoints[1];
    for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
        second.fault(method, Fault::Http(502));
    }
    let _fork = long.is_deceived(320).await;
    let asked = second.count("eth_blockNumber");
    until(
        "the fork alone is believed, and the record is not taken back for it",
        || async { second.count("eth_blockNumber") >= asked + 4 },
    )
    .await;
    second.heal();
    let is_told = || async {
        let alarms = disagreements(&long.keeper.store).await;
        let mut open = alarms.iter().filter(|alarm| alarm.cleared_ms.is_none());
        open.any(|alarm| alarm.subject == "chain")
    };
    until("people are told of the split", is_told).await;
    // The fork is further: with its blocks it would be caught up as well, and those of the record would not be done.
    long.goes_on().await;
}

/// It ends below the newest block of the record: what is above its end is not replaced by it.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_one_that_is_outvoted_has_nothing_taken_back() {
    let long = Long::new(3).await;
    let _fork = long.is_deceived(280).await;
    let asked = long.endpoints[1].count("eth_blockNumber");
    until("the endpoints are compared", || async {
        long.endpoints[1].count("eth_blockNumber") >= asked + 2
    })
    .await;
    long.goes_on().await;
}

/// Nothing of another chain is common with the record, so that all of it would be taken back: a gateway was set up anew, say.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_of_another_chain_now_has_nothing_taken_back() {
    let long = Long::new(1).await;
    let only = &long.endpoints[0];
    let other = cordon_node::spawn(NodeConfig {
        chain_id: Some(long.world.node.chain_id() + 1),
        silent: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = ProviderBuilder::new().connect_http(other.http_endpoint().parse().unwrap());
    let blocks = json!([format!("{:#x}", long.held.last().unwrap().number + 20)]);
    let _: serde_json::Value = provider.raw_request("anvil_mine".into(), blocks).await.unwrap();
    let asked = only.count("eth_chainId");
    only.move_to(&other.http_endpoint());
    until("it is asked which chain it is of", || async {
        only.count("eth_chainId") >= asked + 2
    })
    .await;
    for block in &long.held {
        assert!(long.keeper.store.is_done(block.hash).await.unwrap(), "{block:?}");
    }
    only.move_to(&long.world.node.http_endpoint());
    long.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_endpoint_against_one_the_keeper_is_ill_and_trips_all_the_same() {
    let world = World::new(&GAUGE_RULE).await;
    let fork = fork_of(&world).await;
    let store = world.store().await;
    let rpc = vec![fork.http_endpoint(), world.node.http_endpoint()];
    let options = options(&world, &fork, rpc);
    let mut keeper = Keeper::new(options, &world.compiled, store.clone(), World::signers())
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let at = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(stop.clone()));
    until("people are told", || async {
        let alarms = disagreements(&store).await;
        alarms
            .iter()
            .any(|alarm| alarm.subject == "chain" && alarm.cleared_ms.is_none())
    })
    .await;
    let (status, why) = health(at).await;
    assert_eq!(status, 503);
    assert!(why.contains("do not agree which chain"), "{why}");
    // The keeper follows the fork, on which nothing is wrong.
    world.set(GAUGE, 5_000).await;
    until("the guard is tripped", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    assert!(world.nonce(KEEPER).await > 0);
    assert_eq!(
        world.nonce(HEARTBEAT).await,
        0,
        "no heartbeat: nobody may take it for well"
    );
    assert_eq!(health(at).await.0, 503);
    stop.cancel();
    task.await.unwrap().unwrap();
}
