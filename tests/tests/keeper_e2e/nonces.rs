//! Two actions on their way at once, of which the chain loses the first while the keeper is killed: the second takes effect once, whatever
//! becomes of the nonce before it.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{U256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_keeper::record::{Outcome, Store, TransactionRecord};
use cordon_node::NodeConfig;
use cordon_testkit::{Inbox, Postgres};
use serde_json::{Value, json};

use crate::board::{Board, GAUGE};
use crate::process::{Process, config_with_pager, pager, watching};
use crate::world::{KEEPER, Rules, USER, World, key, stop_board, until};

const DATABASE: &str = "CORDON_TEST_DATABASE";
/// What the rule of the whole protocol reads.
const OTHER_GAUGE: U256 = U256::from_limbs([2, 0, 0, 0]);

const TWO_RULES: Rules = Rules(concat!(
    r#"
[[invariant]]
id       = "gauge-low"
scope    = "market"
rule     = "board.get(0) <= 100"
robust   = true
level    = "ReduceOnly"
severity = "P1"

[[invariant]]
id       = "other-low"
scope    = "protocol"
rule     = "board.get(2) <= 100"
robust   = true
level    = "ReduceOnly"
severity = "P2"
"#,
    stop_board!()
));

/// A node that makes blocks when it is told to.
async fn still() -> World {
    let node = NodeConfig {
        silent: true,
        ..NodeConfig::default()
    };
    let world = World::with(&TWO_RULES, node).await;
    world.rpc("evm_setAutomine", json!([false])).await;
    world
}

async fn mine(world: &World) {
    world.rpc("evm_mine", json!([])).await;
}

/// Sets a number in the next block, which is made at once.
async fn set(world: &World, values: &[(U256, u64)]) {
    let from = key(USER).address();
    for (at, (key, value)) in (0..).zip(values) {
        let nonce = world.provider.get_transaction_count(from).await.unwrap() + at;
        let data = Board::setCall {
            key: *key,
            value: U256::from(*value),
        };
        let tx = TransactionRequest::default()
            .with_from(from)
            .with_nonce(nonce)
            .with_to(world.board)
            .with_gas_limit(200_000)
            .with_input(data.abi_encode());
        let _ = world.provider.send_transaction(tx).await.unwrap();
    }
    mine(world).await;
}

/// Transactions of the keeper on the chain that trip the rule.
async fn trips(world: &World, rule: u16) -> usize {
    let data = hex::encode_prefixed(Guard::tripCall { rule, witness: vec![] }.abi_encode());
    let sender = format!("{:#x}", key(KEEPER).address());
    let mut found = 0;
    for number in 0..=world.height().await {
        let number = format!("{number:#x}");
        let block = world.rpc("eth_getBlockByNumber", json!([number, true])).await;
        let transactions = block["transactions"].as_array().unwrap();
        let of_ours = |tx: &&Value| tx["from"] == sender.as_str() && tx["input"] == data.as_str();
        found += transactions.iter().filter(of_ours).count();
    }
    found
}

/// The transaction that was sent for a rule, once it is known to the node.
async fn sent(store: &Store, rule: u16) -> Option<TransactionRecord> {
    let intents = store.intents().await.unwrap();
    let intent = intents.iter().find(|intent| intent.rule == Some(rule))?.id;
    store.transactions_of(intent).await.unwrap().pop()
}

async fn what_is_behind_a_lost_nonce_is_done_once(world: World, store: Store, place: &str, database: &str) {
    let inbox = Inbox::start().await.unwrap();
    let config = config_with_pager(&world, place);
    let [address, secret] = pager(&inbox);
    let variables = [
        (address.0, address.1.as_str()),
        (secret.0, secret.1.as_str()),
        (DATABASE, database),
    ];
    let mut process = Process::with(&config, KEEPER, &variables);
    watching(&world, &store).await;
    set(&world, &[(GAUGE, 5_000), (OTHER_GAUGE, 5_000)]).await;
    until("both are on their way", || async {
        sent(&store, 0).await.is_some() && sent(&store, 1).await.is_some()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    process.kill();
    let both = [sent(&store, 0).await.unwrap(), sent(&store, 1).await.unwrap()];
    let lost: u16 = if both[0].nonce == 0 { 0 } else { 1 };
    let kept = 1 - lost;
    assert_eq!(both[usize::from(kept)].nonce, 1, "the other one is behind it");
    for tx in store.transactions_of(both[usize::from(lost)].intent).await.unwrap() {
        world.rpc("anvil_dropTransaction", json!([tx.hash])).await;
    }
    // The lost one is not needed any more: nobody will send it again.
    set(&world, &[(if lost == 0 { GAUGE } else { OTHER_GAUGE }, 1)]).await;
    assert_eq!(world.nonce(KEEPER).await, 0, "nothing has landed");
    let _process = Process::with(&config, KEEPER, &variables);
    let ends = async {
        until("both are ended", || async {
            let intents = store.intents().await.unwrap();
            intents.len() >= 2 && intents.iter().all(|intent| intent.outcome.is_some())
        })
        .await;
        // What is still somewhere has the time to land.
        tokio::time::sleep(Duration::from_secs(6)).await;
    };
    let mines = async {
        loop {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            mine(&world).await;
        }
    };
    tokio::select! {
        () = ends => {}
        () = mines => unreachable!("it mines for ever"),
    }
    assert_eq!((trips(&world, lost).await, trips(&world, kept).await), (0, 1), "once");
    let intents = store.intents().await.unwrap();
    let done = intents.iter().filter(|intent| intent.outcome == Some(Outcome::Done));
    assert_eq!(
        done.map(|intent| intent.rule).collect::<Vec<_>>(),
        [Some(kept)],
        "{intents:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_lost_nonce_is_done_once_after_a_kill() {
    let world = still().await;
    let store = world.store().await;
    what_is_behind_a_lost_nonce_is_done_once(world, store, "\"cordon.db\"", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_lost_nonce_is_done_once_after_a_kill_on_postgresql() {
    let world = still().await;
    let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    let url = SecretText::new(database.url());
    let store = Store::connect(&url, world.node.chain_id(), world.guard)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let place = format!("{{ postgres = {{ env = \"{DATABASE}\" }} }}");
    what_is_behind_a_lost_nonce_is_done_once(world, store, &place, &database.url()).await;
}
