//! The storms.

use std::time::Duration;

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{AlarmKind, IncidentState, Store};
use cordon_testkit::{Dice, RpcProxy, WsProxy};
use serde_json::json;

use crate::board::{Board, GAUGE, STOPPED};
use crate::weather::Weather;
use crate::world::{GAUGE_RULE, Running, World, until};

/// The deepest reorg.
const DEEPEST: u64 = 64;

/// A keeper behind two HTTP endpoints and a subscription, all of which suffer the same weather in their own ways.
struct Sea {
    world: World,
    weather: Weather,
    keeper: Running,
    store: Store,
    _proxies: (RpcProxy, RpcProxy, WsProxy),
}

impl Sea {
    async fn new(dice: &mut Dice) -> Self {
        let world = World::new(&GAUGE_RULE).await;
        // Deep enough that no reorg takes the guard away.
        world.rpc("anvil_mine", json!([DEEPEST + 8])).await;
        let weather = Weather::calm();
        let http = world.node.http_endpoint();
        let first = RpcProxy::start(&http, weather.endpoint(dice.roll())).await.unwrap();
        let second = RpcProxy::start(&http, weather.endpoint(dice.roll())).await.unwrap();
        let ws = WsProxy::start(&world.node.ws_endpoint(), weather.subscription(dice.roll()))
            .await
            .unwrap();
        let mut options = world.options();
        options.rpc = vec![first.url(), second.url()];
        options.ws = Some(ws.url());
        options.rpc_timeout = Duration::from_millis(700);
        let store = world.store().await;
        let mut keeper = world
            .keeper_with(options, store.clone(), World::signers())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let height = world.height().await;
        keeper.done(height).await;
        Self {
            world,
            weather,
            keeper,
            store,
            _proxies: (first, second, ws),
        }
    }

    /// Whether the rule is breached at a block, by the chain itself.
    async fn is_bad(&self, block: B256) -> bool {
        let call = TransactionRequest::default()
            .with_to(self.world.board)
            .with_input(Board::getCall { key: GAUGE }.abi_encode());
        let answer = self
            .world
            .provider
            .call(call)
            .block(BlockId::from(block))
            .await
            .unwrap();
        Board::getCall::abi_decode_returns(&answer).unwrap() > U256::from(100)
    }

    /// Every verdict in the record is true, and no block is missing between the first and the last.
    async fn record_is_true(&self) {
        let window = self.store.window(2_000).await.unwrap();
        assert!(window.len() > 4);
        for pair in window.windows(2) {
            assert_eq!(
                (pair[1].number, pair[1].parent),
                (pair[0].number + 1, pair[0].hash),
                "no block is missing"
            );
        }
        for block in &window {
            let verdicts = self.store.verdicts(block.hash).await.unwrap().unwrap();
            let truth = if self.is_bad(block.hash).await {
                Verdict::Breached
            } else {
                Verdict::Holds
            };
            for verdict in verdicts {
                let found = verdict.reading.verdict;
                assert!(
                    found == truth || found == Verdict::Unknown,
                    "block {}: {found:?} is stored, it is {truth:?}",
                    block.number
                );
            }
        }
    }

    /// Waits for containment in the storm, which may take a while.
    async fn contained(&self) {
        let begun = std::time::Instant::now();
        while self.world.level(1).await != ICordonGuard::Level::ReduceOnly {
            if begun.elapsed() > Duration::from_secs(60) {
                let (height, tip) = (self.world.height().await, self.store.window(1).await.unwrap());
                panic!(
                    "not contained within 60 s: height {height}, evaluated {tip:?}, {:#?}, {:#?}",
                    self.store.intents().await.unwrap(),
                    self.store.alarms().await.unwrap()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn open_alarms(&self, kind: AlarmKind) -> usize {
        let alarms = self.store.alarms().await.unwrap();
        let open = |alarm: &&cordon_keeper::record::Alarm| alarm.kind == kind.name() && alarm.cleared_ms.is_none();
        alarms.iter().filter(open).count()
    }

    /// Waits until a block of now is evaluated.
    async fn caught_up(&self) {
        let height = self.world.height().await;
        until("blocks are evaluated", || async {
            let window = self.store.window(1).await.unwrap();
            window.last().is_some_and(|block| block.number >= height)
        })
        .await;
    }
}

/// How many storms: few where every change is tested.
fn storms() -> u64 {
    std::env::var("CORDON_CHAOS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_incident_is_missed_or_invented_while_endpoints_fail_and_the_chain_is_reorganised() {
    let mut dice = Dice::from_environment("storms");
    for storm in 0..storms() {
        let sea = Sea::new(&mut dice).await;
        sea.weather.set_storm();
        let quiet = dice.between(4, 12);
        let height = sea.world.height().await;
        sea.world.reach(height + quiet).await;
        let invented = sea.store.incidents().await.unwrap();
        assert!(invented.is_empty(), "nothing has happened: {invented:#?}");

        sea.world.set(GAUGE, 5_000).await;
        let (before_reorg, depth) = (dice.between(0, 1_500), dice.between(1, DEEPEST));
        tokio::time::sleep(Duration::from_millis(before_reorg)).await;
        sea.world.rpc("anvil_reorg", json!([depth, []])).await;
        let survived = sea.world.get(GAUGE).await > U256::from(100);
        println!(
            "storm {storm}: {quiet} blocks, then a breach, {before_reorg} ms later a reorg of depth {depth}; survived: {survived}"
        );
        if !survived {
            let pause = dice.between(0, 1_500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            sea.world.set(GAUGE, 5_000).await;
        }
        sea.contained().await;
        sea.weather.set_calm();
        until("everything decided is ended", || async {
            sea.store.open_intents().await.unwrap().is_empty()
        })
        .await;
        sea.caught_up().await;
        assert_eq!(sea.world.get(STOPPED).await, U256::from(1));
        let incidents = sea.store.incidents().await.unwrap();
        let contained = incidents.iter().filter(|i| i.state == IncidentState::Contained).count();
        assert_eq!(contained, 1, "{incidents:#?}");
        // The breach stood on at most two forks, and was over in between.
        assert!(incidents.len() <= 2, "none is invented: {incidents:#?}");
        let unfinished =
            |i: &&cordon_keeper::record::Incident| !matches!(i.state, IncidentState::Contained | IncidentState::Closed);
        assert_eq!(incidents.iter().filter(unfinished).count(), 0, "{incidents:#?}");
        sea.record_is_true().await;
        until("nothing is alarmed any more", || async {
            sea.open_alarms(AlarmKind::Blind).await
                + sea.open_alarms(AlarmKind::Stale).await
                + sea.open_alarms(AlarmKind::RuleUnknown).await
                == 0
        })
        .await;
        sea.keeper.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_evaluated_is_alarmed_and_a_breach_meanwhile_is_found_afterwards() {
    let mut dice = Dice::from_environment("no state");
    let sea = Sea::new(&mut dice).await;
    sea.weather.set_no_state();
    until("it is alarmed that a rule cannot be evaluated", || async {
        sea.open_alarms(AlarmKind::RuleUnknown).await == 1
    })
    .await;
    sea.world.set(GAUGE, 5_000).await;
    let height = sea.world.height().await;
    sea.world.reach(height + 4).await;
    assert!(sea.store.incidents().await.unwrap().is_empty(), "Unknown is no breach");
    sea.weather.set_calm();
    until("it is contained", || async {
        sea.world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    until("the alarm is over", || async {
        sea.open_alarms(AlarmKind::RuleUnknown).await == 0
    })
    .await;
    sea.record_is_true().await;
    sea.keeper.stop().await;
}
