//! Deliveries through endpoints that lie about nonces and receipts, in front of a real anvil: none of them stops a delivery for longer than
//! seconds, and nothing takes effect twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy::primitives::B256;
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::{Value, json};

use super::account::Account;
use super::deliver::{DeliverError, Delivered};
use super::deliver_tests::{Bench, signer};
use crate::chain::{BlockRef, Rpc};
use crate::record::SentTransaction;

const COUNT: &str = "eth_getTransactionCount";
const SEND: &str = "eth_sendRawTransaction";
const RECEIPT: &str = "eth_getTransactionReceipt";
/// Longer than one endpoint is waited for.
const SLOW: Duration = Duration::from_millis(700);

impl Bench {
    /// An endpoint that lies when it is told to.
    async fn liar(&self) -> FaultyRpc {
        FaultyRpc::start(&self.anvil.http()).await.unwrap()
    }

    /// The keeper begins anew with these endpoints.
    fn begin_with(&mut self, endpoints: &[String]) {
        let rpc = Rpc::new(endpoints, self.anvil.chain_id(), Duration::from_secs(2)).unwrap();
        self.account = Account::new(signer(true), rpc);
    }

    /// Tries until it is delivered, as actions are tried: each time with what was sent before.
    async fn persist(&self) -> Delivered {
        let begun = Instant::now();
        loop {
            let sent: Vec<SentTransaction> = self.recorded().await.into_iter().map(Into::into).collect();
            match self.deliver(sent).await {
                Ok(delivered) => return delivered,
                Err(error) => {
                    assert!(begun.elapsed() < Duration::from_secs(8), "{error}");
                    assert!(!matches!(error, DeliverError::Late { .. }), "{error}");
                }
            }
        }
    }

    /// The chain has used the first nonces for what another has sent.
    async fn used(&self, count: u64) {
        for _ in 0..count {
            self.foreign().await;
        }
    }
}

#[tokio::test]
async fn one_endpoint_that_says_a_nonce_too_high_once() {
    let mut bench = Bench::new(&[], true).await;
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url()]);
    liar.fault(COUNT, Fault::Answer(json!("0xf4240")));
    bench.account.refresh().await.unwrap();
    liar.heal();
    assert_eq!(bench.persist().await.sent.nonce, 0);
    assert_eq!(
        (bench.effects(b"hello").await, bench.nonce().await),
        (1, 1),
        "nothing is filled"
    );
}

#[tokio::test]
async fn one_endpoint_that_says_a_nonce_too_low_once() {
    let mut bench = Bench::new(&[], true).await;
    bench.used(2).await;
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url()]);
    liar.fault(COUNT, Fault::Answer(json!("0x0")));
    bench.account.refresh().await.unwrap();
    liar.heal();
    assert_eq!(bench.persist().await.sent.nonce, 2);
    assert_eq!(bench.effects(b"hello").await, 1);
}

#[tokio::test]
async fn one_of_two_that_says_a_nonce_too_low_for_ever() {
    let mut bench = Bench::new(&[], true).await;
    bench.used(40).await;
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url(), bench.anvil.http()]);
    liar.fault(COUNT, Fault::Answer(json!("0x0")));
    assert_eq!(bench.persist().await.sent.nonce, 40);
    assert_eq!(bench.effects(b"hello").await, 1);
}

/// It takes everything, keeps it for itself, and knows of no receipt.
#[tokio::test]
async fn one_of_two_that_says_a_nonce_too_low_and_swallows_what_is_sent() {
    let mut bench = Bench::new(&[], true).await;
    bench.used(2).await;
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url(), bench.anvil.http()]);
    liar.fault(COUNT, Fault::Answer(json!("0x0")));
    liar.fault(SEND, Fault::Answer(json!(B256::repeat_byte(9))));
    let delivered = bench.persist().await;
    assert_eq!(delivered.sent.nonce, 2);
    assert_eq!(bench.effects(b"hello").await, 1);
}

#[tokio::test]
async fn one_of_two_that_says_a_nonce_too_high_for_ever_while_the_other_is_slow_once() {
    let mut bench = Bench::new(&[], true).await;
    let (liar, slow) = (bench.liar().await, bench.liar().await);
    bench.begin_with(&[liar.url(), slow.url()]);
    liar.fault(COUNT, Fault::Answer(json!("0xf4240")));
    slow.fault(COUNT, Fault::Slow(SLOW));
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(1_000_000));
    slow.heal();
    bench.persist().await;
    assert_eq!(bench.effects(b"hello").await, 1);
    let used = bench.anvil.rpc(COUNT, json!([signer(true).address(), "latest"])).await;
    assert!(
        ["0x1", "0x2"].contains(&used.as_str().unwrap()),
        "nothing is filled: {used}"
    );
}

/// What one endpoint has is not signed with another nonce because the other says that the nonce is used.
#[tokio::test]
async fn one_of_two_that_refuses_a_nonce_which_the_other_has_taken() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url(), bench.anvil.http()]);
    liar.fault(SEND, Fault::Error(-32_000, "nonce too low"));
    let mine = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        loop {
            bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        delivered = bench.deliver(vec![]) => assert_eq!(delivered.unwrap().sent.nonce, 0),
        () = mine => unreachable!("it mines for ever"),
    }
    assert!(bench.recorded().await.iter().all(|tx| tx.nonce == 0));
    assert_eq!((bench.effects(b"hello").await, bench.nonce().await), (1, 1));
}

/// The receipt of another transaction, and one in a block that is nowhere, keep nothing from being sent.
#[tokio::test]
async fn forged_receipts_are_passed_over() {
    let mut bench = Bench::new(&[], true).await;
    let first = bench.deliver(vec![]).await.unwrap();
    let real = bench.anvil.rpc(RECEIPT, json!([first.sent.hash])).await;
    let nowhere = |tx: B256| {
        let mut forged = real.clone();
        forged["transactionHash"] = json!(tx);
        forged["blockHash"] = json!(B256::repeat_byte(7));
        forged
    };
    let honest = bench.anvil.http();
    let liar = bench.liar().await;
    bench.begin_with(&[liar.url(), honest]);
    let mut effects = 1;
    for forged in [real.clone(), nowhere(first.sent.hash)] {
        liar.fault(RECEIPT, Fault::Answer(forged));
        bench.deliver(vec![]).await.unwrap();
        effects += 1;
        assert_eq!(bench.effects(b"hello").await, effects, "it is sent all the same");
    }
    // For what was really sent, in the true block: one against one is no receipt.
    let lie = |status: &str| -> Value {
        let mut forged = real.clone();
        forged["status"] = json!(status);
        forged
    };
    liar.fault(RECEIPT, Fault::Answer(lie("0x0")));
    let rpc = bench.account.rpc();
    assert!(
        rpc.receipt_anywhere(first.sent.hash, false).await.unwrap().is_none(),
        "nobody agrees"
    );
    liar.fault(RECEIPT, Fault::Answer(lie("0x1")));
    let (receipt, block) = rpc.receipt_anywhere(first.sent.hash, true).await.unwrap().unwrap();
    assert_eq!(Some(block.hash), receipt.block_hash);
}

#[tokio::test]
async fn a_block_that_one_invents_far_ahead_is_denied_by_the_other() {
    let bench = Bench::new(&[], true).await;
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    let liar = bench.liar().await;
    let mut invented = bench.anvil.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    let hash: B256 = serde_json::from_value(invented["hash"].clone()).unwrap();
    invented["number"] = json!("0xf4240");
    liar.fault("eth_getBlockByNumber", Fault::Answer(invented));
    let rpc = Rpc::new(
        &[liar.url(), bench.anvil.http()],
        bench.anvil.chain_id(),
        Duration::from_secs(2),
    )
    .unwrap();
    let at = |number| BlockRef {
        number,
        hash,
        parent: B256::ZERO,
        timestamp: 0,
        base_fee: 0,
    };
    let has = |said: Vec<(String, Rpc, bool)>| said.into_iter().map(|(_, _, has)| has).collect::<Vec<_>>();
    assert_eq!(has(rpc.each_at(&at(1_000_000)).await), [true, false]);
    assert_eq!(
        has(rpc.each_at(&at(3)).await),
        [true],
        "one that is a little behind says nothing"
    );
}
