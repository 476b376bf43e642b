//! A downtime that is longer than the node keeps states: what has passed can be evaluated no more, and is caught up with all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::Options;
use cordon_keeper::record::{AlarmKind, Store};
use cordon_keeper::rules::READ_FAILED;
use cordon_node::NodeConfig;
use cordon_testkit::{Fault, RpcProxy};
use serde_json::json;

use crate::board::{Board, GAUGE};
use crate::world::{Rules, USER, World, account_solvent, at_most, stop_board, until};

const RULES: usize = 64;
/// Blocks that pass while the keeper is down, and those of them whose state the node keeps.
const PASSED: u64 = 96;
const KEPT: u64 = 32;

/// What a node without the block's state says, in the words of geth.
const MISSING: &str = "missing trie node";

/// A full node: it refuses what is asked of the states of some blocks, and counts how often each of them is asked about.
#[derive(Clone, Default)]
struct Pruned(Arc<Mutex<BTreeMap<String, usize>>>);

impl Pruned {
    async fn start(&self, world: &World) -> RpcProxy {
        let states = [
            "eth_call",
            "eth_getStorageAt",
            "eth_getBalance",
            "eth_getCode",
            "debug_traceTransaction",
        ];
        let hashes = self.clone();
        let plan = move |_: usize, body: &str| {
            let is_asked = |method: &&str| body.contains(&format!("\"{method}\""));
            let mut hashes = hashes.0.lock().unwrap();
            let asked = hashes.iter_mut().find(|(hash, _)| body.contains(*hash));
            match asked {
                Some((_, count)) if states.iter().any(is_asked) => {
                    *count += 1;
                    Fault::Error(-32_000, MISSING)
                }
                _ => Fault::None,
            }
        };
        RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap()
    }

    /// Forgets the states of these blocks.
    async fn forget(&self, world: &World, heights: std::ops::Range<u64>) {
        for height in heights {
            let block = world
                .rpc("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
                .await;
            let hash = block["hash"].as_str().unwrap().to_owned();
            self.0.lock().unwrap().insert(hash, 0);
        }
    }
}

/// As many rules as make the keeper evaluate by itself, and one on accounts, so that blocks are taken one by one.
fn rules() -> Rules {
    let mut text = concat!(
        at_most!("gauge-low", "market", "get(0)"),
        account_solvent!(),
        stop_board!()
    )
    .to_owned();
    for at in 2..RULES {
        text += &format!(
            "\n[[invariant]]\nid = \"rule-{at}\"\nscope = \"market\"\nrule = \"board.get({at}) <= 100\"\nrobust = true\nlevel = \"ReduceOnly\"\n"
        );
    }
    text += "\n[[watch]]\nid = \"touched\"\non = \"event\"\nevent = \"event Touched(address indexed account)\"\nat = \"board\"\n";
    Rules(text.leak())
}

async fn open(store: &Store, kind: AlarmKind) -> usize {
    let alarms = store.alarms().await.unwrap();
    let open = alarms
        .iter()
        .filter(|alarm| alarm.kind == kind.name() && alarm.cleared_ms.is_none());
    open.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passed_without_leaving_its_state_is_caught_up_with_faster_than_the_chain_goes_on() {
    let by_hand = NodeConfig {
        silent: true,
        ..NodeConfig::default()
    };
    let world = World::with(&rules(), by_hand).await;
    let pruned = Pruned::default();
    let proxy = pruned.start(&world).await;
    let options = Options {
        rpc: vec![proxy.url()],
        ..world.options()
    };
    let store = world.store().await;
    let keeper = world
        .keeper_at_head(options.clone(), store.clone(), World::signers())
        .await;
    keeper.stop().await;
    let from = world.height().await + 1;
    world.rpc("anvil_mine", json!(["0x14"])).await;
    let touch = Board::touchCall {
        account: Address::repeat_byte(0x77),
    };
    let touched = world
        .send(USER, world.board, touch.abi_encode())
        .await
        .block_number
        .unwrap();
    world
        .rpc("anvil_mine", json!([format!("{:#x}", from + PASSED - 1 - touched)]))
        .await;
    let head = world.height().await;
    assert_eq!(head, from + PASSED - 1);
    pruned.forget(&world, from..from + PASSED - KEPT).await;

    let begun = Instant::now();
    let keeper = world
        .keeper_with(options, store.clone(), World::signers())
        .await
        .unwrap();
    until("all blocks are done", || async {
        store
            .window(1)
            .await
            .unwrap()
            .last()
            .is_some_and(|block| block.number >= head)
    })
    .await;
    let took = begun.elapsed();
    let asked: Vec<usize> = pruned.0.lock().unwrap().values().copied().collect();
    eprintln!("{took:?}; questions about states that are gone: {asked:?}");
    assert!(asked.iter().sum::<usize>() <= 4 * asked.len(), "{asked:?}");
    assert!(asked.iter().all(|count| *count <= 16), "{asked:?}");

    // Nothing of it counts as well, and what events say was heard.
    let old = store.window(u32::try_from(PASSED).unwrap()).await.unwrap();
    let block = old.iter().find(|block| block.number == touched).unwrap();
    let verdicts = store.verdicts(block.hash).await.unwrap().unwrap();
    assert_eq!(verdicts.len(), RULES, "the account that the event named among them");
    for verdict in &verdicts {
        let reading = (verdict.reading.verdict, verdict.reading.reason);
        assert_eq!(reading, (Verdict::Unknown, READ_FAILED), "rule {}", verdict.rule);
    }
    let sightings = store.sightings(Some("touched"), 10).await.unwrap();
    assert_eq!(
        sightings.iter().map(|held| held.block_number).collect::<Vec<_>>(),
        [touched]
    );
    // Each rule was told once that it could not be evaluated, and can be evaluated again.
    let alarms = store.alarms().await.unwrap();
    let unknown = alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::RuleUnknown.name());
    assert_eq!(unknown.count(), RULES);
    assert_eq!(open(&store, AlarmKind::RuleUnknown).await, 0);
    // And it protects.
    world.set(GAUGE, 5_000).await;
    until("it is contained", || async {
        store
            .intents()
            .await
            .unwrap()
            .iter()
            .any(|intent| intent.outcome.is_some())
    })
    .await;
    keeper.stop().await;
}
