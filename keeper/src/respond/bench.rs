//! An account on a real anvil with a record, for tests of delivery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy::network::{Ethereum, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{PendingTransactionBuilder, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use cordon_testkit::FaultyRpc;
use serde_json::json;
use tokio::sync::broadcast;

use super::account::Account;
use super::deliver::{Call, DeliverError, DeliverSettings, Delivered};
use super::delivery::Delivery;
use super::queue::Queue;
use super::responder::{GasPlan, Responder};
use crate::alarm::Alarms;
use crate::chain::{BlockRef, Rpc};
use crate::decide::Decision;
use crate::record::samples::{self, empty, trip};
use crate::record::{BlockRecord, Intent, Names, SentTransaction, Store, TransactionRecord};
use crate::report::{Reports, RuleTexts};
use crate::respond::common::Anvil;
use crate::rules::{Reader, Rulebook, Sightings, Watched};

pub(super) const TARGET: Address = Address::repeat_byte(0x77);

/// The first account of anvil's default mnemonic, and another that owns nothing.
pub(super) fn signer(funded: bool) -> PrivateKeySigner {
    if funded {
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
            .parse()
            .unwrap()
    } else {
        PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap()
    }
}

pub(super) struct Bench {
    pub(super) anvil: Anvil,
    pub(super) account: Account,
    pub(super) store: Store,
    pub(super) intent: Intent,
    pub(super) settings: DeliverSettings,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(super) async fn new(args: &[&str], funded: bool) -> Self {
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

    /// A second key that owns something.
    pub(super) fn another(&self) -> Account {
        let key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
        Account::new(key.parse::<PrivateKeySigner>().unwrap(), self.account.rpc().clone())
    }

    /// What carries actions out with these accounts.
    pub(super) fn responder(&self, accounts: Vec<Account>) -> Responder {
        Responder {
            settings: self.settings,
            ..responder(self.account.rpc().clone(), TARGET, accounts, self.store.clone())
        }
    }

    /// Lets the account ask through a proxy first, and these endpoints behind it.
    pub(super) async fn behind_proxy(&mut self, others: &[String]) -> FaultyRpc {
        let proxy = FaultyRpc::start(&self.anvil.http()).await.unwrap();
        let urls: Vec<String> = std::iter::once(proxy.url()).chain(others.iter().cloned()).collect();
        let rpc = Rpc::new(&urls, self.anvil.chain_id(), Duration::from_secs(2)).unwrap();
        self.account = Account::new(signer(true), rpc);
        proxy
    }

    pub(super) async fn deliver(&self, sent: Vec<SentTransaction>) -> Result<Delivered, DeliverError> {
        let call = hello();
        let delivery = Delivery::unrecorded(&self.account, &self.settings, &call)
            .recorded(&self.store, &self.intent, sent)
            .in_a_hurry();
        delivery.run(|_, _| {}).await
    }

    /// The same on a node that makes a block now and then from a second on.
    pub(super) async fn deliver_mined(&self) -> Delivered {
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
    pub(super) async fn sent(&self) {
        let begun = Instant::now();
        while self.anvil.rpc("txpool_status", json!([])).await["pending"] != "0x1" || self.recorded().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is sent");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The same of something whose nonce is ahead of the chain's.
    pub(super) async fn queued(&self) {
        let begun = Instant::now();
        while self.anvil.rpc("txpool_status", json!([])).await["queued"] != "0x1" || self.recorded().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is sent");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn recorded(&self) -> Vec<TransactionRecord> {
        self.store.transactions_of(self.intent.id).await.unwrap()
    }

    /// Sends something else from the same key, as a stranger with a copy of it would; it waits until it is in a block.
    pub(super) async fn foreign(&self) {
        self.send_foreign().await.get_receipt().await.unwrap();
    }

    /// The same, with the next nonce of the chain, without waiting.
    pub(super) async fn send_foreign(&self) -> PendingTransactionBuilder<Ethereum> {
        let provider = ProviderBuilder::new()
            .wallet(signer(true))
            .connect_http(self.anvil.http().parse().unwrap());
        let nonce = provider.get_transaction_count(signer(true).address()).await.unwrap();
        let tx = TransactionRequest::default()
            .with_to(Address::repeat_byte(1))
            .with_value(U256::from(1))
            .with_nonce(nonce);
        provider.send_transaction(tx).await.unwrap()
    }

    pub(super) async fn nonce(&self) -> u64 {
        self.account
            .rpc()
            .counts(self.account.address(), 0)
            .await
            .unwrap()
            .agreed
    }
}

/// A responder with a record that tells nobody.
pub(super) fn responder(rpc: Rpc, guard: Address, accounts: Vec<Account>, store: Store) -> Responder {
    let events = broadcast::channel(16).0;
    Responder {
        reader: Reader::new(rpc.clone(), guard, Watched::default()),
        rpc,
        guard,
        accounts,
        settings: DeliverSettings::default(),
        gas: GasPlan::default(),
        names: Names::default(),
        store: store.clone(),
        queue: Queue::default(),
        ended: std::sync::Arc::default(),
        alarms: Alarms::new(store, events.clone()),
        events,
        reports: Reports::new(None, RuleTexts::default()),
        version: samples::VERSION,
        rulebook: Rulebook::default(),
        policies: std::sync::Arc::default(),
    }
}

/// The call that is delivered.
pub(super) fn hello() -> Call {
    Call {
        to: TARGET,
        data: Bytes::from_static(b"hello"),
        gas: 100_000,
    }
}

/// The first block, on a branch of the chain.
pub(super) fn block(branch: u8) -> BlockRef {
    BlockRef {
        hash: B256::repeat_byte(branch),
        ..samples::block(1)
    }
}

/// Records a block with what was decided on it.
pub(super) async fn commit(store: &Store, block: &BlockRef, decisions: &[Decision]) -> Vec<Intent> {
    let sightings = Sightings::default();
    let record = BlockRecord {
        decisions,
        ..empty(block, &sightings)
    };
    store.commit_block(&record, &Names::default()).await.unwrap().intents
}

/// An intent to hang transactions on.
pub(super) async fn intent(store: &Store) -> Intent {
    let decision = Decision { scope: 0, ..trip() };
    commit(store, &block(1), &[decision]).await.remove(0)
}
