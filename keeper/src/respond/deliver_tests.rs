//! Delivery against a real anvil: lost, stuck, underpriced and foreign transactions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use cordon_client::config::Severity;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use serde_json::json;

use super::account::{Account, Draft};
use super::deliver::{Call, DeliverError, DeliverSettings, Delivered, Delivery};
use crate::chain::{BlockRef, Rpc};
use crate::decide::{Act, Decision, Reading};
use crate::record::{BlockRecord, Intent, Names, SentTransaction, Store, TransactionRecord};
use crate::respond::common::Anvil;
use crate::rules::Sightings;

const TARGET: Address = Address::repeat_byte(0x77);

/// The first account of anvil's default mnemonic, and another that owns nothing.
fn signer(funded: bool) -> PrivateKeySigner {
    if funded {
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
            .parse()
            .unwrap()
    } else {
        PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap()
    }
}

struct Bench {
    anvil: Anvil,
    account: Account,
    store: Store,
    intent: Intent,
    settings: DeliverSettings,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(args: &[&str], funded: bool) -> Self {
        let anvil = Anvil::start(args).await;
        let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), Duration::from_secs(2)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cordon.db"), anvil.chain_id(), TARGET)
            .await
            .unwrap();
        let intent = intent(&store).await;
        let settings = DeliverSettings {
            poll: Duration::from_millis(10),
            rebroadcast: Duration::from_millis(150),
            bump_after: Duration::from_millis(400),
            deadline: Duration::from_secs(10),
            ..DeliverSettings::default()
        };
        Self {
            anvil,
            account: Account::new(signer(funded), rpc),
            store,
            intent,
            settings,
            _dir: dir,
        }
    }

    async fn deliver(&self, sent: Vec<SentTransaction>) -> Result<Delivered, DeliverError> {
        let call = Call {
            to: TARGET,
            data: Bytes::from_static(b"hello"),
            gas: 100_000,
        };
        let delivery = Delivery {
            account: &self.account,
            settings: &self.settings,
            ledger: Some((&self.store, &self.intent)),
            call: &call,
            resumed: !sent.is_empty(),
            sent,
            accepted_at: None,
        };
        delivery.run(|_, _| {}).await
    }

    /// The same on a node that makes a block now and then from a second on.
    async fn deliver_mined(&self) -> Delivered {
        let mine = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            loop {
                self.anvil.rpc("anvil_mine", json!(["0x1"])).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            delivered = self.deliver(vec![]) => delivered.unwrap(),
            () = mine => unreachable!("it mines for ever"),
        }
    }

    /// Waits until something of ours is recorded and waits in the pool of a node that does not mine.
    async fn sent(&self) {
        let begun = Instant::now();
        while self.anvil.rpc("txpool_status", json!([])).await["pending"] != "0x1" || self.recorded().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is sent");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn recorded(&self) -> Vec<TransactionRecord> {
        self.store.transactions_of(self.intent.id).await.unwrap()
    }

    /// Sends something else from the same key, as a stranger with a copy of it would.
    async fn foreign(&self) {
        let provider = ProviderBuilder::new()
            .wallet(signer(true))
            .connect_http(self.anvil.http().parse().unwrap());
        let tx = TransactionRequest::default()
            .with_to(Address::repeat_byte(1))
            .with_value(U256::from(1));
        provider
            .send_transaction(tx)
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
    }

    async fn nonce(&self) -> u64 {
        self.account.rpc().nonce(self.account.address()).await.unwrap()
    }
}

/// An intent to hang transactions on.
async fn intent(store: &Store) -> Intent {
    let block = BlockRef {
        number: 1,
        hash: B256::repeat_byte(1),
        parent: B256::ZERO,
        timestamp: 1,
        base_fee: 0,
    };
    let decision = Decision {
        rule: 0,
        witness: vec![],
        act: Act::Trip,
        scope: 0,
        level: Level::ReduceOnly,
        duration: 60,
        severity: Severity::P1,
        reading: Reading {
            verdict: Verdict::Breached,
            reason: 0,
            observed: Int::ZERO,
            bound: Int::ZERO,
        },
    };
    let record = BlockRecord {
        block: &block,
        version: B256::ZERO,
        verdicts: &[],
        scopes: None,
        decisions: &[decision],
        waiting: &[],
        events: &[],
        stopped: &[],
        sightings: &Sightings::default(),
        witnessed: &[],
        witness_limit: 1,
        head_to_decision: None,
        is_next: true,
    };
    store
        .commit_block(&record, &Names::default())
        .await
        .unwrap()
        .intents
        .remove(0)
}

#[tokio::test]
async fn a_transaction_is_delivered_and_recorded_with_its_bytes() {
    let bench = Bench::new(&[], true).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.receipt.status() && delivered.accepted_at.is_some());
    let recorded = bench.recorded().await;
    assert_eq!(recorded.len(), 1);
    assert_eq!(
        (recorded[0].hash, &recorded[0].raw),
        (delivered.sent.hash, &delivered.sent.raw)
    );
    let second = bench.deliver(vec![]).await.unwrap();
    assert_eq!(second.sent.nonce, delivered.sent.nonce + 1, "the next nonce is at hand");
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_under_the_same_nonce() {
    let bench = Bench::new(&["--no-mining"], true).await;
    // Not by the clock: on a busy machine a second may pass before the first replacement.
    let mine = async {
        loop {
            let recorded = bench.recorded().await;
            if let Some(replacement) = recorded.get(2)
                && !bench
                    .anvil
                    .rpc("eth_getTransactionByHash", json!([replacement.hash]))
                    .await
                    .is_null()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    };
    let (delivered, ()) = tokio::join!(bench.deliver(vec![]), mine);
    let delivered = delivered.unwrap();
    let recorded = bench.recorded().await;
    assert!(recorded.iter().all(|tx| tx.nonce == 0));
    assert!(
        recorded
            .windows(2)
            .all(|pair| pair[1].max_fee * 8 >= pair[0].max_fee * 9),
        "each bump is enough to replace"
    );
    assert!(
        recorded[2..].iter().any(|tx| tx.hash == delivered.sent.hash),
        "a replacement got through"
    );
    assert_eq!(bench.nonce().await, 1, "one transaction in all");
}

#[tokio::test]
async fn a_nonce_that_a_stranger_used_is_asked_for_again() {
    let bench = Bench::new(&[], true).await;
    bench.account.refresh().await.unwrap();
    bench.foreign().await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert_eq!(delivered.sent.nonce, 1);
    assert!(delivered.receipt.status());
}

#[tokio::test]
async fn a_nonce_that_a_rollback_has_left_ahead_of_the_chain_is_asked_for_again() {
    let bench = Bench::new(&[], true).await;
    let snapshot = bench.anvil.rpc("evm_snapshot", json!([])).await;
    bench.deliver(vec![]).await.unwrap();
    bench.anvil.rpc("evm_revert", json!([snapshot])).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.receipt.status());
    let nonces: Vec<u64> = bench.recorded().await.iter().map(|tx| tx.nonce).collect();
    assert!(nonces.contains(&1), "tried with the nonce at hand: {nonces:?}");
    assert!(
        bench.nonce().await >= 1,
        "and with the chain's, or it would wait for ever"
    );
}

#[tokio::test]
async fn two_calls_are_on_their_way_at_once_and_land_in_one_block() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let mine = async {
        while bench.anvil.rpc("txpool_status", json!([])).await["pending"] != "0x2" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    };
    let (first, second, ()) = tokio::join!(bench.deliver(vec![]), bench.deliver(vec![]), mine);
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.sent.nonce, second.sent.nonce), (0, 1));
    assert_eq!(first.receipt.block_number, second.receipt.block_number);
    assert_eq!(bench.deliver_mined().await.sent.nonce, 2, "and the next follows both");
}

#[tokio::test]
async fn what_was_given_up_does_not_hold_up_what_follows_it() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let (given_up, next) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(600), bench.deliver(vec![])),
        async {
            bench.sent().await;
            // The node loses the first, whose delivery is given up a moment later.
            let first = bench.recorded().await.remove(0);
            let second = bench.deliver_mined();
            let lose = async {
                tokio::time::sleep(Duration::from_millis(650)).await;
                for tx in bench.recorded().await.iter().filter(|tx| tx.nonce == first.nonce) {
                    bench.anvil.rpc("anvil_dropTransaction", json!([tx.hash])).await;
                }
            };
            tokio::join!(second, lose).0
        }
    );
    assert!(given_up.is_err(), "nothing was mined in time");
    assert!(next.receipt.status());
    assert!(bench.nonce().await >= 1);
}

#[tokio::test]
async fn a_rising_base_fee_is_followed() {
    let bench = Bench::new(&[], true).await;
    bench.account.refresh().await.unwrap();
    bench
        .anvil
        .rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be400"]))
        .await;
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.sent.max_fee > 8_000_000_000, "{}", delivered.sent.max_fee);
}

#[tokio::test]
async fn a_transaction_lost_with_its_node_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.json").to_str().unwrap().to_owned();
    let mut bench = Bench::new(&["--no-mining", "--state", &state], true).await;
    let settings = bench.settings;
    let (account, store, intent) = (bench.account.clone(), bench.store.clone(), bench.intent.clone());
    let delivery = tokio::spawn(async move {
        let call = Call {
            to: TARGET,
            data: Bytes::from_static(b"hello"),
            gas: 100_000,
        };
        let delivery = Delivery {
            account: &account,
            settings: &settings,
            ledger: Some((&store, &intent)),
            call: &call,
            sent: vec![],
            resumed: false,
            accepted_at: None,
        };
        delivery.run(|_, _| {}).await
    });
    bench.sent().await;
    bench.anvil.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // It comes back with an empty pool, and mines.
    bench.anvil.restart(&["--state", &state]).await;
    let delivered = delivery.await.unwrap().unwrap();
    assert!(delivered.receipt.status());
    assert_eq!(bench.nonce().await, 1);
}

#[tokio::test]
async fn an_earlier_runs_bytes_are_used_again_and_not_doubled() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    // However slow the machine is, nothing is replaced here.
    bench.settings.bump_after = Duration::from_secs(60);
    tokio::select! {
        ended = bench.deliver(vec![]) => panic!("nothing mines: {ended:?}"),
        // The process is killed here.
        () = bench.sent() => {}
    }
    let earlier = bench.recorded().await.remove(0);
    let sent = SentTransaction {
        hash: earlier.hash,
        sender: earlier.sender,
        nonce: earlier.nonce,
        raw: earlier.raw.clone(),
        max_fee: earlier.max_fee,
        priority_fee: earlier.priority_fee,
    };
    let mine = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
        }
    };
    let delivered = tokio::select! {
        delivered = bench.deliver(vec![sent.clone()]) => delivered,
        () = mine => unreachable!("it mines for ever"),
    };
    assert_eq!(delivered.unwrap().sent.hash, earlier.hash);
    // And once it is in a block, a third run finds it there without sending anything.
    let again = bench.deliver(vec![sent]).await.unwrap();
    assert_eq!((again.sent.hash, again.accepted_at), (earlier.hash, None));
    assert_eq!(bench.recorded().await.len(), 1);
    assert_eq!(bench.nonce().await, 1);
}

#[tokio::test]
async fn an_account_without_funds_is_named() {
    let bench = Bench::new(&[], false).await;
    let error = bench.deliver(vec![]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains(&bench.account.address().to_string()),
        "{error}"
    );
}

/// What was signed ahead is what is sent, and is signed anew when its nonce is used.
#[tokio::test]
async fn what_was_prepared_is_what_gets_sent() {
    let bench = Bench::new(&[], true).await;
    let account = &bench.account;
    account.refresh().await.unwrap();
    let call = |data: &'static [u8]| Call {
        to: TARGET,
        data: Bytes::from_static(data),
        gas: 100_000,
    };
    let ready = |data: &'static [u8]| async move {
        let (nonce, armed) = account.armed().await.unwrap();
        let draft = Draft {
            to: TARGET,
            data: Bytes::from_static(data),
            gas: 100_000,
            nonce,
            max_fee: armed.max_fee(),
            priority_fee: armed.priority_fee,
        };
        account.take_ready(&draft).await
    };
    for data in [&b"hello"[..], b"another"] {
        assert!(account.prepare(&call(data)).await.unwrap());
    }
    let (hello, another) = (ready(b"hello").await.unwrap(), ready(b"another").await.unwrap());
    assert_eq!((hello.nonce, another.nonce), (0, 0));
    let turn = account.turn().await;
    assert!(
        !account.prepare(&call(b"third")).await.unwrap(),
        "not while one is on its way"
    );
    drop(turn);

    let delivered = bench.deliver(Vec::new()).await.unwrap();
    assert_eq!(delivered.sent.hash, hello.hash, "the very bytes");
    assert!(delivered.receipt.status());
    assert_eq!(account.next_nonce().await, Some(1));
    assert_eq!(ready(b"another").await, None, "its nonce is used");
    assert!(account.prepare(&call(b"another")).await.unwrap());
    assert_eq!(ready(b"another").await.unwrap().nonce, 1);
}
