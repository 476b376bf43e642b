//! "Contained" is said when receipt, event and read-back agree, and not before: an endpoint that gets one of the three wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bloom, hex};
use alloy::providers::Provider;
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::record::{AlarmKind, Outcome, Store};
use cordon_keeper::{KeeperEvent, Options};
use cordon_testkit::{Fault, FaultyRpc, RpcProxy};
use serde_json::{Value, json};

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, KEEPER, Running, World, key, outcomes, until};

/// A keeper whose only endpoint does this to a request while it lies, from the breach on.
struct Doubted {
    world: World,
    keeper: Running,
    store: Store,
    lies: Arc<AtomicBool>,
    _proxy: RpcProxy,
}

impl Doubted {
    async fn new<F: Fn(&str) -> Fault + Clone + Send + Sync + 'static>(lie: impl AsyncFnOnce(&World) -> F) -> Self {
        let world = World::new(&GAUGE_RULE).await;
        let (lies, lie) = (Arc::new(AtomicBool::new(false)), lie(&world).await);
        let now = Arc::clone(&lies);
        let plan = move |_: usize, body: &str| match now.load(Ordering::SeqCst) {
            true => lie(body),
            false => Fault::None,
        };
        let proxy = RpcProxy::start(&world.node.http_endpoint(), plan).await.unwrap();
        let options = Options {
            rpc: vec![proxy.url()],
            ..world.options()
        };
        let store = world.store().await;
        let keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
        Self {
            world,
            keeper,
            store,
            lies,
            _proxy: proxy,
        }
    }

    async fn breaks(&self) {
        self.lies.store(true, Ordering::SeqCst);
        self.world.set(GAUGE, 5_000).await;
        until("the guard has raised the level", || async {
            self.world.level(1).await == Guard::Level::ReduceOnly
        })
        .await;
    }

    /// People hear why nothing is said; then the endpoint is right again, and it is said, of the one transaction that was sent.
    async fn says_so_only_then(mut self, why: &str) {
        self.breaks().await;
        until("people hear why", || async {
            let alarms = self.store.alarms().await.unwrap();
            let of = |alarm: &&cordon_keeper::record::Alarm| alarm.kind == AlarmKind::ActionDelayed.name();
            alarms.iter().filter(of).any(|alarm| alarm.text.contains(why))
        })
        .await;
        assert_eq!(outcomes(&self.store).await, [None]);
        while let Ok(event) = self.keeper.events.try_recv() {
            assert!(!matches!(event, KeeperEvent::Contained { .. }), "{event:?}");
        }
        self.lies.store(false, Ordering::SeqCst);
        self.keeper.contained().await;
        let intents = self.store.intents().await.unwrap();
        assert_eq!((intents.len(), intents[0].outcome), (1, Some(Outcome::Done)));
        assert_eq!(self.world.nonce(KEEPER).await, 1, "once");
        self.keeper.stop().await;
    }
}

/// Whether a request reads how the market's scope stands, by itself: what is read of each block is read together.
fn reads_back(body: &str) -> bool {
    let input = hex::encode_prefixed(Guard::scopeStatusCall { scope: 1 }.abi_encode());
    let request: Value = serde_json::from_str(body).unwrap_or_default();
    let call = &request["params"][0];
    request["method"] == "eth_call" && [&call["input"], &call["data"]].contains(&&json!(input))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_does_not_read_back_is_not_called_contained() {
    let doubted = Doubted::new(async |world: &World| {
        let guard = Guard::new(world.guard, &world.provider);
        let before = guard.scopeStatus(1).call().await.unwrap();
        assert_eq!(before.level, Guard::Level::Normal);
        let before = hex::encode_prefixed(Guard::scopeStatusCall::abi_encode_returns(&before));
        move |body: &str| match reads_back(body) {
            true => Fault::Answer(json!(before)),
            false => Fault::None,
        }
    })
    .await;
    doubted.says_so_only_then("has the event of a raised level, but").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_cannot_be_read_back_is_not_called_contained() {
    let doubted = Doubted::new(async |_: &World| {
        let rest = Arc::new(AtomicBool::new(false));
        move |body: &str| {
            // Once it is sent: before, it is read whether the level is held already.
            if body.contains("eth_sendRawTransaction") {
                rest.store(true, Ordering::SeqCst);
            }
            match rest.load(Ordering::SeqCst) && reads_back(body) {
                true => Fault::Error(-32_000, "missing trie node"),
                false => Fault::None,
            }
        }
    })
    .await;
    doubted.says_so_only_then("the level could not be read back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_without_the_guards_event_has_not_contained() {
    let doubted = Doubted::new(async |_: &World| {
        let (raised, other) = (Guard::LevelRaised::SIGNATURE_HASH, B256::repeat_byte(7));
        let changed = vec![(hex::encode(raised), hex::encode(other))];
        move |body: &str| match body.contains("eth_getTransactionReceipt") {
            true => Fault::Changed(changed.clone()),
            false => Fault::None,
        }
    })
    .await;
    doubted.breaks().await;
    until("the action has ended", || async {
        let intents = doubted.store.intents().await.unwrap();
        intents.iter().any(|intent| intent.outcome.is_some())
    })
    .await;
    let intents = doubted.store.intents().await.unwrap();
    assert_eq!(intents[0].outcome, Some(Outcome::AlreadyHeld), "somebody has raised it");
    doubted.keeper.stop().await;
}

const SEND: &str = "eth_sendRawTransaction";

/// The answer to a request for a receipt: the transaction has raised the market's level in a block that there is.
fn made_up(body: &str, guard: Address, block: (u64, B256)) -> Fault {
    let request: Value = serde_json::from_str(body).unwrap_or_default();
    let (number, hash, tx) = (format!("{:#x}", block.0), block.1, &request["params"][0]);
    let raised = Guard::LevelRaised {
        scope: 1,
        incident: 1,
        by: key(KEEPER).address(),
        from: Guard::Level::Normal,
        to: Guard::Level::ReduceOnly,
        expiresAt: u64::MAX,
    };
    let data = raised.encode_log_data();
    Fault::Answer(json!({
        "transactionHash": tx, "transactionIndex": "0x0", "blockHash": hash, "blockNumber": number,
        "from": key(KEEPER).address(), "to": guard, "cumulativeGasUsed": "0x1", "gasUsed": "0x1",
        "effectiveGasPrice": "0x1", "contractAddress": null, "status": "0x1", "type": "0x2",
        "logsBloom": Bloom::ZERO,
        "logs": [{
            "address": guard, "topics": data.topics(), "data": data.data, "blockHash": hash, "blockNumber": number,
            "transactionHash": tx, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
        }],
    }))
}

/// The endpoint that is asked first takes the transaction, passes it on to nobody, and makes up all that is to be seen of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_containment_that_one_endpoint_makes_up_is_none_where_another_is_asked() {
    let world = World::new(&GAUGE_RULE).await;
    let held = Guard::ScopeStatus {
        level: Guard::Level::ReduceOnly,
        expiresAt: u64::MAX,
        ..world.status(1).await
    };
    let held = json!(hex::encode_prefixed(Guard::scopeStatusCall::abi_encode_returns(&held)));
    let block = world.provider.get_block(BlockId::latest()).await.unwrap().unwrap();
    let (guard, block) = (world.guard, (block.header.number, block.header.hash));
    let lies = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&lies);
    let lie = move |_: usize, body: &str| match now.load(Ordering::SeqCst) {
        true if body.contains(SEND) => Fault::Answer(json!(B256::repeat_byte(7))),
        true if body.contains("eth_getTransactionReceipt") => made_up(body, guard, block),
        true if reads_back(body) => Fault::Answer(held.clone()),
        _ => Fault::None,
    };
    let liar = RpcProxy::start(&world.node.http_endpoint(), lie).await.unwrap();
    let honest = FaultyRpc::start(&world.node.http_endpoint()).await.unwrap();
    let options = Options {
        rpc: vec![liar.url(), honest.url()],
        ..world.options()
    };
    let store = world.store().await;
    let mut keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
    lies.store(true, Ordering::SeqCst);
    // For now what it is sent does not arrive there either.
    honest.fault(SEND, Fault::Cut);
    world.set(GAUGE, 5_000).await;
    until("it is tried again, or thought to be done", || async {
        honest.count(SEND) > 3 || outcomes(&store).await.iter().any(Option::is_some)
    })
    .await;
    assert_eq!(outcomes(&store).await, [None], "nothing was contained");
    assert_eq!(world.nonce(KEEPER).await, 0);
    honest.heal();
    until("the guard has raised the level", || async {
        world.level(1).await == Guard::Level::ReduceOnly
    })
    .await;
    lies.store(false, Ordering::SeqCst);
    keeper.contained().await;
    assert_eq!(outcomes(&store).await, [Some(Outcome::Done)]);
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    keeper.stop().await;
}

/// An endpoint that follows the chain and knows of no receipts: pruned, without an index, or late with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_containment_is_confirmed_where_another_endpoint_has_no_receipts() {
    let world = World::new(&GAUGE_RULE).await;
    let bare = move |_: usize, body: &str| match body.contains("eth_getTransactionReceipt") {
        true => Fault::Answer(Value::Null),
        false => Fault::None,
    };
    let bare = RpcProxy::start(&world.node.http_endpoint(), bare).await.unwrap();
    let options = Options {
        rpc: vec![world.node.http_endpoint(), bare.url()],
        ..world.options()
    };
    let store = world.store().await;
    let mut keeper = world.keeper_at_head(options, store.clone(), World::signers()).await;
    world.set(GAUGE, 5_000).await;
    keeper.contained().await;
    assert_eq!(outcomes(&store).await, [Some(Outcome::Done)]);
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    keeper.stop().await;
}
