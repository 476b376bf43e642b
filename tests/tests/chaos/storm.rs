//! The storms.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::guard::ICordonGuard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{AlarmKind, IncidentState, Store};
use cordon_testkit::{Dice, RpcProxy, WsProxy};
use serde_json::json;

use crate::board::{Board, GAUGE, STOPPED};
use crate::weather::Weather;
use crate::world::{Rules, Running, USER, World, account_solvent, at_most, key, stop_board, until};

/// The deepest reorg.
const DEEPEST: u64 = 64;
/// Events of one block.
const TOGETHER: u64 = 4;
/// Percent of the verdicts that may be `Unknown` after a storm: one in which nobody could evaluate anything has shown nothing.
const MOST_UNKNOWN: usize = 25;
/// Reorgs of one incident: the first is the deepest, the others are as chance wants them.
const REORGS: u64 = 3;

/// A rule on the gauge, one on every account that an event names, and a watch of the same event: blocks whose logs come empty or in
/// half would leave something out.
const RULES: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)"),
    account_solvent!(),
    r#"
[[watch]]
id    = "touched"
on    = "event"
event = "event Touched(address indexed account)"
at    = "board"
"#,
    stop_board!()
));

/// Index of `gauge-low`, and of `account-solvent`.
const GAUGE_LOW: u16 = 0;
const SOLVENT: u16 = 1;

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
        let world = World::new(&RULES).await;
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
        let keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
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

    /// Every verdict in the record is true, and no block is missing between the first and the last. Answers how many of a hundred verdicts are
    /// `Unknown`.
    async fn record_is_true(&self) -> usize {
        let (mut all, mut unknown) = (0, 0);
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
                all += 1;
                unknown += usize::from(found == Verdict::Unknown);
                // No account of the board ever has a debt.
                let truth = if verdict.rule == GAUGE_LOW {
                    truth
                } else {
                    Verdict::Holds
                };
                assert!(
                    found == truth || found == Verdict::Unknown,
                    "block {}: {found:?} is stored, it is {truth:?}",
                    block.number
                );
            }
        }
        unknown * 100 / all
    }

    /// Has the board name accounts that it never named before, of which a block has several.
    async fn touch(&self, touched: &mut u64) {
        self.included().await;
        let nonce = self.world.nonce(USER).await;
        for at in nonce..nonce + TOGETHER {
            *touched += 1;
            // Apart from the numbers that the other tests set.
            let account = Address::left_padding_from(&(0x1_0000 + *touched).to_be_bytes());
            let tx = TransactionRequest::default()
                .with_from(key(USER).address())
                .with_to(self.world.board)
                .with_input(Board::touchCall { account }.abi_encode())
                .with_nonce(at);
            let _ = self.world.provider.send_transaction(tx).await.unwrap();
        }
        self.included().await;
    }

    /// Waits until what a reorg has put back among the waiting transactions is in a block again.
    async fn included(&self) {
        let user = key(USER).address();
        until("nothing waits to be included", || async {
            let waiting = self.world.provider.get_transaction_count(user).pending().await.unwrap();
            self.world.nonce(USER).await == waiting
        })
        .await;
    }

    /// Lets some blocks pass, in which accounts are named.
    async fn pass(&self, blocks: u64, touched: &mut u64) {
        let end = self.world.height().await + blocks;
        while self.world.height().await < end {
            self.touch(touched).await;
        }
    }

    /// Every event that the chain has was seen once, in its block, and its account was looked at; none was seen that it has not.
    async fn no_event_is_missed_or_invented(&self) {
        let filter = Filter::new()
            .address(self.world.board)
            .event_signature(Board::Touched::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.world.provider.get_logs(&filter).await.unwrap();
        assert!(logs.len() > 8, "{} events", logs.len());
        let held: BTreeSet<(u64, String)> = logs
            .iter()
            .map(|log| (log.block_number.unwrap(), format!("log:{}", log.log_index.unwrap())))
            .collect();
        let mut seen = self.store.sightings(Some("touched"), 10_000).await.unwrap();
        seen.retain(|sighting| sighting.canonical);
        let found: BTreeSet<(u64, String)> = seen.iter().map(|s| (s.block_number, s.key.clone())).collect();
        assert_eq!(found.len(), seen.len(), "each is seen once");
        assert_eq!(found, held);
        for log in &logs {
            let verdicts = self.store.verdicts(log.block_hash.unwrap()).await.unwrap().unwrap();
            let account = log.topics()[1];
            let looked = verdicts
                .iter()
                .any(|v| v.rule == SOLVENT && (v.witness == [account] || v.reading.verdict == Verdict::Unknown));
            assert!(looked, "{account} of block {:?} was not looked at", log.block_number);
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
        let (quiet, mut touched) = (dice.between(8, 12), 0);
        sea.pass(quiet, &mut touched).await;
        let invented = sea.store.incidents().await.unwrap();
        assert!(invented.is_empty(), "nothing has happened: {invented:#?}");

        let mut breaches = 1;
        sea.world.set(GAUGE, 5_000).await;
        for reorg in 0..REORGS {
            let pause = dice.between(0, 1_500);
            let depth = if reorg == 0 { DEEPEST } else { dice.between(1, DEEPEST) };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            sea.world.rpc("anvil_reorg", json!([depth, []])).await;
            let survived = sea.world.get(GAUGE).await > U256::from(100);
            println!("storm {storm}: {pause} ms later a reorg of depth {depth}; the breach survived: {survived}");
            sea.pass(dice.between(1, 4), &mut touched).await;
            if !survived {
                sea.included().await;
                sea.world.set(GAUGE, 5_000).await;
                breaches += 1;
            }
        }
        sea.contained().await;
        let begun = std::time::Instant::now();
        while !sea.weather.owed().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", sea.weather.owed());
            // Receipts are asked for where something was logged.
            sea.pass(1, &mut touched).await;
        }
        println!("storm {storm}: {:?}", sea.weather.met());
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
        // The breach stood on so many forks, and was over in between.
        assert!(incidents.len() <= breaches, "none is invented: {incidents:#?}");
        let unfinished =
            |i: &&cordon_keeper::record::Incident| !matches!(i.state, IncidentState::Contained | IncidentState::Closed);
        assert_eq!(incidents.iter().filter(unfinished).count(), 0, "{incidents:#?}");
        let unknown = sea.record_is_true().await;
        println!("storm {storm}: {unknown} % of the verdicts are unknown");
        assert!(unknown <= MOST_UNKNOWN);
        sea.no_event_is_missed_or_invented().await;
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
