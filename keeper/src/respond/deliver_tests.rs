//! Delivery against a real anvil: lost, stuck, underpriced and dear transactions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use alloy::primitives::{B256, Bytes};
use cordon_testkit::Fault;
use serde_json::json;

use super::account::Draft;
use super::bench::{Bench, TARGET};
use super::deliver::{Call, DeliverError};
use super::delivery::Delivery;
use crate::record::SentTransaction;

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
async fn fees_that_were_driven_up_come_down_again() {
    let bench = Bench::new(&[], true).await;
    let address = bench.account.address();
    // A tenth of what the dear transaction might cost.
    bench
        .anvil
        .rpc("anvil_setBalance", json!([address, "0x2386f26fc10000"]))
        .await;
    let dear = SentTransaction {
        hash: B256::repeat_byte(9),
        sender: address,
        nonce: 0,
        raw: Bytes::from_static(b"no node has taken it"),
        max_fee: 1_000_000_000_000,
        priority_fee: 1,
    };
    let delivered = bench.deliver(vec![dear]).await.unwrap();
    assert_eq!(delivered.sent.nonce, 0);
    assert!(delivered.sent.max_fee < 10_000_000_000, "{}", delivered.sent.max_fee);
}

#[tokio::test]
async fn an_account_that_can_pay_what_is_asked_need_not_hold_twice_that() {
    let bench = Bench::new(&[], true).await;
    let armed = bench.account.refresh().await.unwrap();
    let address = bench.account.address();
    // Gas for the call at half as much again as the base fee.
    let held = armed.base_fee * 150_000;
    assert!(held < armed.max_fee() * 100_000);
    bench
        .anvil
        .rpc("anvil_setBalance", json!([address, format!("{held:#x}")]))
        .await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.receipt.status() && delivered.sent.max_fee >= armed.base_fee);
    // Too little for the base fee is too little.
    bench.anvil.rpc("anvil_setBalance", json!([address, "0x1"])).await;
    let error = bench.deliver(vec![]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Refused { .. }), "{error}");
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
        let delivery = Delivery::unrecorded(&account, &settings, &call).recorded(&store, &intent, vec![]);
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

/// Another key may get through while the first bytes are written down, and these may still be included.
#[tokio::test]
async fn what_was_sent_in_a_hurry_is_written_down_although_the_delivery_is_given_up() {
    let bench = Bench::new(&["--no-mining"], true).await;
    bench.account.refresh().await.unwrap();
    let held_up = bench.store.hold_up().await.unwrap();
    tokio::select! {
        ended = bench.deliver(vec![]) => panic!("nothing is mined: {ended:?}"),
        () = async {
            while bench.anvil.rpc("txpool_status", json!([])).await["pending"] != "0x1" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    drop(held_up);
    bench.sent().await;
    assert_eq!(bench.recorded().await[0].sender, bench.account.address());
}

/// It was asked for before that.
#[tokio::test]
async fn a_nonce_that_was_given_up_while_it_was_asked_for_stays_given_up() {
    let mut bench = Bench::new(&[], true).await;
    let slow = bench.behind_proxy(&[]).await;
    slow.fault("eth_getTransactionCount", Fault::Slow(Duration::from_millis(300)));
    let (refreshed, ()) = tokio::join!(bench.account.refresh(), async {
        while slow.count("eth_getTransactionCount") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.account.disarm().await;
    });
    assert_eq!(refreshed.unwrap().nonce, Some(0));
    assert_eq!(bench.account.next_nonce().await, None);
}
