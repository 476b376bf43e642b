//! Delivery over endpoints that are behind, silent, or lie: each is a real node behind a proxy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use serde_json::json;

use super::bench::{Bench, TARGET, block, commit, hello};
use super::deliver::DeliverError;
use super::delivery::Delivery;
use crate::record::{Intent, IntentKind, SentTransaction};
use cordon_testkit::Fault;

const COUNT: &str = "eth_getTransactionCount";
const SEND: &str = "eth_sendRawTransaction";
const RECEIPT: &str = "eth_getTransactionReceipt";

/// Behind a gateway one of whose nodes has not heard of the newest block.
#[tokio::test]
async fn what_was_seen_included_is_not_forgotten_for_an_endpoint_that_is_behind() {
    let mut bench = Bench::new(&[], true).await;
    let behind = bench.behind_proxy(&[]).await;
    bench.deliver(vec![]).await.unwrap();
    behind.fault("eth_getTransactionCount", Fault::Answer(json!("0x0")));
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(1));
    // Unless blocks were taken back.
    bench.account.note_reverted().await;
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(0));
}

#[tokio::test]
async fn an_endpoint_that_is_behind_does_not_keep_a_used_nonce_in_use() {
    let mut bench = Bench::new(&[], true).await;
    let behind = bench.behind_proxy(&[bench.anvil.http()]).await;
    bench.foreign().await;
    behind.fault("eth_getTransactionCount", Fault::Answer(json!("0x0")));
    assert_eq!(
        bench.account.refresh().await.unwrap().nonce,
        Some(0),
        "of two the lower"
    );
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert_eq!(delivered.sent.nonce, 1);
}

#[tokio::test]
async fn no_node_has_the_account_pay_what_tip_it_likes() {
    let mut bench = Bench::new(&[], true).await;
    let liar = bench.behind_proxy(&[]).await;
    liar.fault("eth_maxPriorityFeePerGas", Fault::Answer(json!("0xe8d4a51000")));
    let armed = bench.account.refresh().await.unwrap();
    assert!(armed.priority_fee <= 2_000_000_000, "{armed:?}");
}

/// It has the block, and its index of receipts is behind: what is in a block must not be sent with another nonce.
#[tokio::test]
async fn what_one_endpoint_has_in_a_block_is_not_sent_anew_for_another_that_has_no_receipt() {
    let mut bench = Bench::new(&[], true).await;
    let hides = bench.behind_proxy(&[bench.anvil.http()]).await;
    hides.fault(RECEIPT, Fault::Answer(json!(null)));
    let delivered = bench.deliver(vec![]).await.unwrap();
    let sent: Vec<SentTransaction> = bench.recorded().await.into_iter().map(Into::into).collect();
    assert_eq!((delivered.sent.hash, sent.len()), (sent[0].hash, 1));
    // Nor by the next run.
    let again = bench.deliver(sent).await.unwrap();
    assert_eq!(again.sent.hash, delivered.sent.hash);
    assert_eq!(bench.nonce().await, 1);
}

#[tokio::test]
async fn one_nodes_refusal_ends_nothing_while_another_has_not_answered() {
    let mut bench = Bench::new(&[], true).await;
    let slow = bench.behind_proxy(&[]).await;
    let refuses = bench.behind_proxy(&[slow.url()]).await;
    bench.account.refresh().await.unwrap();
    slow.fault(SEND, Fault::Slow(Duration::from_millis(500)));
    for words in [
        "insufficient funds for gas * price + value",
        "nonce too low",
        "not today",
    ] {
        refuses.fault(SEND, Fault::Error(-32_000, words));
        let delivered = bench.deliver(vec![]).await.unwrap();
        assert!(delivered.receipt.status(), "{words}");
    }
    assert_eq!(bench.nonce().await, 3, "one transaction each");
}

/// Behind one URL there may be several nodes: the count is of one, the receipt of another that is a moment behind.
#[tokio::test]
async fn a_receipt_that_is_served_late_is_waited_for() {
    let mut bench = Bench::new(&[], true).await;
    let gateway = bench.behind_proxy(&[]).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    let sent = bench.recorded().await.into_iter().map(Into::into).collect();
    gateway.fault(RECEIPT, Fault::Answer(json!(null)));
    let before = gateway.count(RECEIPT);
    let serve = async {
        // Once before anything, and once together with the count.
        while gateway.count(RECEIPT) < before + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(bench.settings.rebroadcast / 3).await;
        gateway.heal();
    };
    let (again, ()) = tokio::join!(bench.deliver(sent), serve);
    assert_eq!(again.unwrap().sent.hash, delivered.sent.hash);
    assert_eq!(bench.nonce().await, 1);
}

#[tokio::test]
async fn a_refusal_is_believed_in_the_end_when_the_others_never_answer() {
    let mut bench = Bench::new(&[], true).await;
    let hangs = bench.behind_proxy(&[]).await;
    let refuses = bench.behind_proxy(&[hangs.url()]).await;
    hangs.fault(SEND, Fault::Hang);
    refuses.fault(SEND, Fault::Error(-32_000, "not today"));
    let begun = Instant::now();
    let error = bench.deliver(vec![]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Refused { .. }), "{error}");
    assert!(begun.elapsed() < bench.settings.deadline / 2);
}

#[tokio::test]
async fn an_endpoint_that_takes_everything_and_has_seen_nothing_holds_no_action_for_long() {
    let mut bench = Bench::new(&[], true).await;
    let stuck = bench.behind_proxy(&[bench.anvil.http()]).await;
    bench.foreign().await;
    stuck.fault(COUNT, Fault::Answer(json!("0x0")));
    stuck.fault(SEND, Fault::Answer(json!(format!("0x{}", "11".repeat(32)))));
    let begun = Instant::now();
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert_eq!(delivered.sent.nonce, 1);
    assert!(delivered.receipt.status());
    assert!(begun.elapsed() < bench.settings.deadline / 2);
}

/// It answers before everyone else.
#[tokio::test]
async fn the_fastest_endpoint_alone_says_nothing() {
    let mut bench = Bench::new(&[], true).await;
    let slow = bench.behind_proxy(&[]).await;
    let liar = bench.behind_proxy(&[slow.url()]).await;
    liar.fault(COUNT, Fault::Answer(json!("0x384")));
    slow.fault(COUNT, Fault::Slow(Duration::from_millis(200)));
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(0));
}

/// Upon a revert it would be sent with another nonce, again and again.
#[tokio::test]
async fn a_revert_that_one_endpoint_invents_is_none() {
    let mut bench = Bench::new(&[], true).await;
    let honest = bench.behind_proxy(&[]).await;
    let liar = bench.behind_proxy(&[bench.anvil.http(), honest.url()]).await;
    let lie = vec![(r#""status":"0x1""#.to_owned(), r#""status":"0x0""#.to_owned())];
    liar.fault(RECEIPT, Fault::Changed(lie));
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.receipt.status());
    assert_eq!((bench.recorded().await.len(), bench.nonce().await), (1, 1));
}

/// Or an action that was reverted would wait for as long as an endpoint is down.
#[tokio::test]
async fn a_revert_that_nobody_contradicts_is_believed_after_a_while() {
    let mut bench = Bench::new(&[], true).await;
    let silent = bench.behind_proxy(&[]).await;
    let _first = bench.behind_proxy(&[silent.url()]).await;
    bench.anvil.rpc("anvil_setCode", json!([TARGET, "0x60006000fd"])).await;
    let begun = Instant::now();
    assert!(!bench.deliver(vec![]).await.unwrap().receipt.status());
    assert!(begun.elapsed() < bench.settings.bump_after, "both tell it");
    silent.fault(RECEIPT, Fault::Hang);
    let begun = Instant::now();
    assert!(!bench.deliver(vec![]).await.unwrap().receipt.status());
    assert!(begun.elapsed() >= bench.settings.bump_after);
    assert!(begun.elapsed() < bench.settings.deadline / 2);
}

/// With one that has stopped the lower of two would be its count for ever.
#[tokio::test]
async fn an_endpoint_that_has_stopped_at_an_old_block_is_not_asked_for_the_nonce() {
    let mut bench = Bench::new(&[], true).await;
    let stopped = bench.behind_proxy(&[bench.anvil.http()]).await;
    for _ in 0..6 {
        bench.foreign().await;
    }
    stopped.fault(COUNT, Fault::Answer(json!("0x0")));
    stopped.fault("eth_blockNumber", Fault::Answer(json!("0x0")));
    assert_eq!(
        bench.account.refresh().await.unwrap().nonce,
        Some(0),
        "nothing is known of blocks"
    );
    bench
        .account
        .note_head(&bench.account.rpc().latest().await.unwrap())
        .await;
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(6));
}

#[tokio::test]
async fn a_base_fee_that_one_endpoint_invents_is_not_offered() {
    let mut bench = Bench::new(&[], true).await;
    let truth = bench.account.refresh().await.unwrap().base_fee;
    let liar = bench.behind_proxy(&[bench.anvil.http()]).await;
    let lie = Fault::Changed(vec![(format!("{truth:#x}"), "0xe8d4a51000".to_owned())]);
    liar.fault("eth_getBlockByNumber", lie);
    let armed = bench.account.refresh().await.unwrap();
    assert_eq!(armed.base_fee, truth);
}

/// The nonce at hand is what an endpoint said that was alone.
#[tokio::test]
async fn a_nonce_that_is_far_ahead_of_the_chain_is_left() {
    let mut bench = Bench::new(&[], true).await;
    let liar = bench.behind_proxy(&[]).await;
    liar.fault(COUNT, Fault::Answer(json!("0x384")));
    assert_eq!(bench.account.refresh().await.unwrap().nonce, Some(900));
    liar.heal();
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert_eq!(
        (delivered.sent.nonce, bench.nonce().await),
        (0, 1),
        "and nothing is filled"
    );
    // What was sent with the other stays written down, and is no reason to wait for it.
    let sent = bench.recorded().await.into_iter().map(Into::into).collect();
    assert_eq!(bench.deliver(sent).await.unwrap().sent.hash, delivered.sent.hash);
}

/// What was signed ahead when fees were high, or said to be, costs more than the account has: it must not be taken again and again.
#[tokio::test]
async fn what_lies_ready_and_cannot_be_paid_is_signed_anew_for_less() {
    let bench = Bench::new(&[], true).await;
    let armed = bench.account.refresh().await.unwrap();
    assert!(bench.account.prepare(&hello()).await.unwrap());
    let held = armed.max_fee() * 110_000;
    bench
        .anvil
        .rpc(
            "anvil_setBalance",
            json!([bench.account.address(), format!("{held:#x}")]),
        )
        .await;
    let ended = tokio::time::timeout(Duration::from_secs(5), bench.deliver(vec![])).await;
    let delivered = ended.expect("it ends").unwrap();
    assert!(delivered.sent.max_fee <= armed.max_fee());
    assert_eq!(
        bench.recorded().await.len(),
        2,
        "the dear one and the one that could be paid"
    );
}

/// Fees are said to be a hundred times what they are when it is signed.
#[tokio::test]
async fn what_was_signed_ahead_at_much_higher_fees_is_not_used() {
    let bench = Bench::new(&[], true).await;
    let mut head = bench.account.rpc().latest().await.unwrap();
    let truth = head.base_fee;
    bench.account.refresh().await.unwrap();
    head.base_fee = truth * 100;
    bench.account.note_head(&head).await;
    assert!(bench.account.prepare(&hello()).await.unwrap());
    head.base_fee = truth;
    bench.account.note_head(&head).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(
        delivered.sent.max_fee < u128::from(truth) * 10,
        "{}",
        delivered.sent.max_fee
    );
}

/// The keeper alone has judged its breach: the guard would contain without one.
#[tokio::test]
async fn a_containment_is_sent_no_more_when_a_reorg_has_taken_its_breach_away() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let contains = Intent {
        kind: IntentKind::Contain,
        ..bench.intent.clone()
    };
    let call = hello();
    let delivery = Delivery::unrecorded(&bench.account, &bench.settings, &call);
    let delivery = delivery.recorded(&bench.store, &contains, vec![]);
    let (ended, ()) = tokio::join!(delivery.run(|_, _| {}), async {
        bench.sent().await;
        bench.store.revert_blocks(&[block(1)]).await.unwrap();
        commit(&bench.store, &block(2), &[]).await;
    });
    assert!(matches!(ended, Err(DeliverError::Groundless)), "{ended:?}");
}

/// It may be given up at any moment, when another key has got through, and nobody looks for what is not written down.
#[tokio::test]
async fn what_is_in_no_hurry_is_written_down_before_it_is_sent() {
    let bench = Bench::new(&["--no-mining"], true).await;
    bench.account.refresh().await.unwrap();
    bench.store.close().await;
    let call = hello();
    let delivery =
        || Delivery::unrecorded(&bench.account, &bench.settings, &call).recorded(&bench.store, &bench.intent, vec![]);
    let pending = async || bench.anvil.rpc("txpool_status", json!([])).await["pending"].clone();
    let ended = delivery().run(|_, _| {}).await;
    assert!(matches!(ended, Err(DeliverError::Store(_))), "{ended:?}");
    assert_eq!(pending().await, "0x0");
    let ended = delivery().in_a_hurry().run(|_, _| {}).await;
    assert!(matches!(ended, Err(DeliverError::Store(_))), "{ended:?}");
    assert_eq!(pending().await, "0x1", "what contains does not wait for the record");
}

/// An account that cannot pay for the base fee does not try for a minute.
#[tokio::test]
async fn what_cannot_be_paid_at_any_fee_is_given_up_soon() {
    let bench = Bench::new(&[], true).await;
    let armed = bench.account.refresh().await.unwrap();
    let held = armed.base_fee * 30_000;
    bench
        .anvil
        .rpc(
            "anvil_setBalance",
            json!([bench.account.address(), format!("{held:#x}")]),
        )
        .await;
    let begun = Instant::now();
    let error = bench.deliver(vec![]).await.unwrap_err();
    assert!(matches!(error, DeliverError::Refused { .. }), "{error}");
    assert!(begun.elapsed() < bench.settings.deadline / 2);
}
