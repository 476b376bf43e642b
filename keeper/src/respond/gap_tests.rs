//! Several deliveries of one account at once on a real anvil that loses some of them: whatever becomes of the others, nothing that is
//! delivered takes effect twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy::primitives::Bytes;
use serde_json::json;

use super::account::Account;
use super::deliver::{Call, DeliverError, Delivered, Delivery};
use super::deliver_tests::{Bench, TARGET, signer};
use crate::record::{Intent, SentTransaction, TransactionRecord};

impl Bench {
    async fn deliver_as(
        &self,
        account: &Account,
        intent: &Intent,
        data: &'static [u8],
    ) -> Result<Delivered, DeliverError> {
        let call = Call {
            to: TARGET,
            data: Bytes::from_static(data),
            gas: 100_000,
        };
        let sent: Vec<SentTransaction> = self.sent_for(intent).await.into_iter().map(Into::into).collect();
        let delivery = Delivery {
            account,
            settings: &self.settings,
            ledger: Some((&self.store, intent)),
            call: &call,
            loose: !sent.is_empty(),
            sent,
            accepted_at: None,
        };
        delivery.run(|_, _| {}).await
    }

    async fn sent_for(&self, intent: &Intent) -> Vec<TransactionRecord> {
        self.store.transactions_of(intent.id).await.unwrap()
    }

    /// Waits until so many transactions are in the pool of a node that does not mine.
    async fn pooled(&self, count: &str) {
        let begun = Instant::now();
        while self.anvil.rpc("txpool_status", json!([])).await["pending"] != count {
            assert!(begun.elapsed() < Duration::from_secs(60), "not {count} in the pool");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The node loses what was sent with these bytes.
    async fn lose(&self, intent: &Intent) {
        for tx in self.sent_for(intent).await {
            self.anvil.rpc("anvil_dropTransaction", json!([tx.hash])).await;
        }
    }

    /// Waits until a transaction of the intent is recorded, and so many are in the pool.
    async fn on_its_way(&self, intent: &Intent, count: &str) {
        self.pooled(count).await;
        while self.sent_for(intent).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes blocks for ever.
    async fn mine(&self) {
        loop {
            self.anvil.rpc("anvil_mine", json!(["0x1"])).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many transactions to the target are on the chain with this data.
    pub(super) async fn effects(&self, data: &'static [u8]) -> usize {
        let height = self.anvil.rpc("eth_blockNumber", json!([])).await;
        let height = u64::from_str_radix(height.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let mut effects = 0;
        for number in 0..=height {
            let block = self
                .anvil
                .rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), true]))
                .await;
            let of_ours = |tx: &&serde_json::Value| tx["input"] == json!(Bytes::from_static(data));
            effects += block["transactions"].as_array().unwrap().iter().filter(of_ours).count();
        }
        effects
    }
}

/// The intents of the tests are made in one record each: what is recorded of an intent has to be there.
async fn another(bench: &Bench) -> Intent {
    let new = crate::record::NewIntent {
        kind: crate::record::IntentKind::Retry,
        rule: None,
        scope: 1,
        level: cordon_core::level::Level::Normal,
        duration: 0,
        witness: &[],
        observed: cordon_core::rule::value::Int::ZERO,
        bound: cordon_core::rule::value::Int::ZERO,
        block: &crate::chain::BlockRef {
            number: 2,
            hash: alloy::primitives::B256::repeat_byte(2),
            parent: alloy::primitives::B256::ZERO,
            timestamp: 2,
            base_fee: 0,
        },
        version: alloy::primitives::B256::ZERO,
        incident: None,
    };
    bench.store.plan(&new).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_waits_behind_a_lost_nonce_takes_effect_once() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let other = another(&bench).await;
    let mut lost = Box::pin(bench.deliver_as(&bench.account, &bench.intent, b"lost"));
    let mut kept = Box::pin(bench.deliver_as(&bench.account, &other, b"kept"));
    tokio::select! {
        _ = &mut lost => panic!("nothing mines"),
        () = bench.on_its_way(&bench.intent, "0x1") => {}
    }
    tokio::select! {
        _ = &mut lost => panic!("nothing mines"),
        _ = &mut kept => panic!("nothing mines"),
        () = bench.on_its_way(&other, "0x2") => {}
    }
    // The first is given up, and the node loses it. The other one stays in the pool: it may land at any time.
    drop(lost);
    bench.lose(&bench.intent).await;
    let mine = async {
        bench.pooled("0x2").await;
        bench.mine().await;
    };
    let delivered = tokio::select! {
        delivered = &mut kept => delivered.unwrap(),
        () = mine => unreachable!("it mines for ever"),
    };
    assert!(delivered.receipt.status());
    let nonces: Vec<u64> = bench.sent_for(&other).await.iter().map(|tx| tx.nonce).collect();
    assert!(nonces.iter().all(|nonce| *nonce == 1), "one nonce: {nonces:?}");
    // What was lost is sent again by whoever waits for its nonce, because its intent is open; it is not sent with another.
    let again = tokio::select! {
        again = bench.deliver_as(&bench.account, &bench.intent, b"lost") => again.unwrap(),
        () = bench.mine() => unreachable!("it mines for ever"),
    };
    assert_eq!(again.sent.nonce, 0);
    assert_eq!(
        (bench.effects(b"kept").await, bench.effects(b"lost").await),
        (1, 1),
        "once each"
    );
}

/// The process is killed between sending and confirmation; the next one begins with an action that is new.
#[tokio::test]
async fn a_new_action_leaves_the_nonce_alone_that_an_open_one_was_sent_with() {
    let bench = Bench::new(&["--no-mining"], true).await;
    tokio::select! {
        _ = bench.deliver_as(&bench.account, &bench.intent, b"old") => panic!("nothing mines"),
        () = bench.on_its_way(&bench.intent, "0x1") => {}
    }
    let account = Account::new(signer(true), bench.account.rpc().clone());
    for tx in bench.sent_for(&bench.intent).await {
        account.nonces().reserve(bench.intent.id, &tx.into());
    }
    account.refresh().await.unwrap();
    let other = another(&bench).await;
    let mut new = Box::pin(bench.deliver_as(&account, &other, b"new"));
    tokio::select! {
        _ = &mut new => panic!("nothing mines"),
        () = bench.on_its_way(&other, "0x2") => {}
    }
    let both = async { tokio::join!(new, bench.deliver_as(&account, &bench.intent, b"old")) };
    let (new, old) = tokio::select! {
        both = both => both,
        () = bench.mine() => unreachable!("it mines for ever"),
    };
    assert_eq!((old.unwrap().sent.nonce, new.unwrap().sent.nonce), (0, 1));
    assert_eq!((bench.effects(b"old").await, bench.effects(b"new").await), (1, 1));
}
