//! Nonces against a real anvil: an action has one until the chain has used it, and nothing waits for one that never comes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use alloy::primitives::{B256, Bytes};
use serde_json::json;

use super::account::{Account, Draft};
use super::bench::{Bench, TARGET, hello, signer};
use super::deliver::{Call, DeliverError, Delivered};
use super::delivery::Delivery;
use super::signer::by_hand;
use crate::record::{AlarmKind, SentTransaction};

#[tokio::test]
async fn a_nonce_that_a_stranger_used_is_asked_for_again() {
    let bench = Bench::new(&[], true).await;
    bench.account.refresh().await.unwrap();
    bench.foreign().await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert_eq!(delivered.sent.nonce, 1);
    assert!(delivered.receipt.status());
}

/// What has used it may be what an earlier run has sent for the same, and did not live to write down.
#[tokio::test]
async fn what_has_used_the_nonce_of_an_earlier_run_is_looked_at_before_another_is_used() {
    let bench = Bench::new(&[], true).await;
    let call = hello();
    let again = async |sent: Vec<SentTransaction>| {
        let delivery = Delivery::unrecorded(&bench.account, &bench.settings, &call)
            .recorded(&bench.store, &bench.intent, sent)
            .in_a_hurry()
            .again();
        delivery.run(|_, _| {}).await
    };
    let is_overtaken = |ended: Result<Delivered, DeliverError>, of: u64| match ended {
        Err(DeliverError::Overtaken { nonce, .. }) => assert_eq!(nonce, of),
        other => panic!("{other:?}"),
    };
    // The restart has signed with the nonce that it was told just before.
    bench.account.refresh().await.unwrap();
    bench.foreign().await;
    is_overtaken(again(vec![]).await, 0);
    assert_eq!(bench.nonce().await, 1, "nothing else is sent");
    // Whoever looks now sees what it has done. Where that was nothing, the action goes on.
    let recorded = async || {
        let all = bench.recorded().await.into_iter();
        all.map(SentTransaction::from).collect::<Vec<_>>()
    };
    let delivered = again(recorded().await).await.unwrap();
    assert_eq!(delivered.sent.nonce, 1);

    // One more restart, which knows nothing of that.
    bench.account.note_reverted().await;
    let lost: Vec<_> = recorded().await.into_iter().filter(|sent| sent.nonce == 0).collect();
    is_overtaken(again(lost.clone()).await, 0);
    assert_eq!(bench.nonce().await, 2);
    assert_eq!(again(lost).await.unwrap().sent.nonce, 2);
}

/// Three nonces, of a key that somebody else uses too: it is seen at once what has become of all of them.
#[tokio::test]
async fn all_nonces_that_something_else_has_used_are_looked_at_together() {
    // Known before anything is sent, and found by sending.
    for is_known in [true, false] {
        all_are_looked_at_together(is_known).await;
    }
}

async fn all_are_looked_at_together(is_known: bool) {
    let bench = Bench::new(&[], true).await;
    let (call, armed) = (hello(), bench.account.refresh().await.unwrap());
    let mut sent = Vec::new();
    for nonce in 0..3 {
        let draft = Draft {
            to: call.to,
            data: call.data.clone(),
            gas: call.gas,
            nonce,
            max_fee: armed.max_fee(),
            priority_fee: armed.priority_fee,
        };
        sent.push(bench.account.sign(&draft).await.unwrap());
        bench.foreign().await;
    }
    if is_known {
        bench.account.refresh().await.unwrap();
    }
    let again = async |sent: &[SentTransaction]| {
        let delivery = Delivery::unrecorded(&bench.account, &bench.settings, &call)
            .recorded(&bench.store, &bench.intent, sent.to_vec())
            .again();
        delivery.run(|_, _| {}).await
    };
    let ended = again(&sent).await;
    assert!(
        matches!(ended, Err(DeliverError::Overtaken { nonce: 0, .. })),
        "{ended:?}"
    );
    assert_eq!(bench.nonce().await, 3, "nothing is sent before it is looked at");
    assert_eq!(again(&sent).await.unwrap().sent.nonce, 3);
}

#[tokio::test]
async fn a_nonce_that_a_rollback_has_left_ahead_of_the_chain_jams_nothing() {
    let bench = Bench::new(&[], true).await;
    let snapshot = bench.anvil.rpc("evm_snapshot", json!([])).await;
    bench.deliver(vec![]).await.unwrap();
    bench.anvil.rpc("evm_revert", json!([snapshot])).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.receipt.status());
    let nonces: Vec<u64> = bench.recorded().await.iter().map(|tx| tx.nonce).collect();
    assert!(nonces.contains(&1), "tried with the nonce at hand: {nonces:?}");
    assert_eq!(
        (delivered.sent.nonce, bench.nonce().await),
        (1, 2),
        "and what was missing before it is filled, or it would wait for ever"
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

/// Two transactions of one action, with nonces of their own, may both be included: a scope is contained twice.
#[tokio::test]
async fn what_is_missing_before_an_action_is_filled_and_the_action_keeps_its_nonce() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let lost = bench.account.take_nonce(0).await.unwrap().0;
    let another = Call {
        to: TARGET,
        data: Bytes::from_static(b"another"),
        gas: 100_000,
    };
    let delivery =
        Delivery::unrecorded(&bench.account, &bench.settings, &another).recorded(&bench.store, &bench.intent, vec![]);
    let fill = async {
        bench.queued().await;
        assert_eq!(bench.recorded().await[0].nonce, 1);
        drop(lost);
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
        }
    };
    let delivered = tokio::select! {
        delivered = delivery.run(|_, _| {}) => delivered.unwrap(),
        () = fill => unreachable!("it mines for ever"),
    };
    assert_eq!(delivered.sent.nonce, 1);
    assert!(
        bench.recorded().await.iter().all(|tx| tx.nonce == 1),
        "under no other nonce"
    );
    assert_eq!(bench.nonce().await, 2, "the filler and the action");
    assert_eq!(bench.deliver_mined().await.sent.nonce, 2);
}

#[tokio::test]
async fn an_action_waits_while_another_is_sent_with_its_nonce() {
    let bench = Bench::new(&["--no-mining"], true).await;
    let held = bench.account.take_nonce(0).await.unwrap().0;
    let earlier = SentTransaction {
        hash: B256::repeat_byte(9),
        sender: bench.account.address(),
        nonce: held.nonce,
        raw: Bytes::new(),
        max_fee: 1,
        priority_fee: 1,
    };
    let (ended, ()) = tokio::join!(bench.deliver(vec![earlier]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(
            bench.recorded().await.is_empty(),
            "nobody knows which of the two will be included"
        );
        bench
            .anvil
            .rpc("anvil_setNonce", json!([bench.account.address(), "0x1"]))
            .await;
        bench.account.note_reverted().await;
        bench.sent().await;
        drop(held);
        bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    });
    assert_eq!(ended.unwrap().sent.nonce, 1, "the other one was");
}

/// An action that has ended must not happen hours later, when fees have fallen.
#[tokio::test]
async fn what_was_sent_for_an_action_that_has_ended_is_taken_out_of_the_way() {
    let bench = Bench::new(&["--no-mining"], true).await;
    tokio::select! {
        ended = bench.deliver(vec![]) => panic!("nothing mines: {ended:?}"),
        () = bench.sent() => {}
    }
    let waiting = bench.recorded().await.pop().unwrap();
    let withdraw = async || {
        bench
            .account
            .withdraw(waiting.nonce, waiting.max_fee, bench.settings.fee_cap)
            .await
    };
    assert!(!withdraw().await, "the chain has to take it yet");
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    assert_eq!(bench.nonce().await, 1, "something else has used its nonce");
    for tx in bench.recorded().await {
        assert!(bench.account.rpc().receipt(tx.hash).await.unwrap().is_none());
    }
    // What is over cannot be taken back, and nobody else's nonce is used for it.
    bench.account.refresh().await.unwrap();
    assert!(withdraw().await);
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    assert_eq!(bench.nonce().await, 1);
}

/// The keeper asks nobody to confirm a transaction that does nothing; all that the account sends waits for it.
#[tokio::test]
async fn people_hear_of_a_missing_nonce_that_a_person_has_to_fill() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    let responder = bench.responder(vec![]);
    let account = Account::new(by_hand(signer(true)).await, bench.account.rpc().clone());
    bench.account = account.telling(responder.alarms.clone());
    let open = async || bench.store.open_alarms().await.unwrap();
    let lost = bench.account.take_nonce(0).await.unwrap().0;
    let fill = async {
        bench.queued().await;
        assert_eq!(open().await, [], "it is on its way");
        drop(lost);
        while open().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let subject = bench.account.address().to_string();
        assert_eq!(open().await, [(AlarmKind::NonceMissing, subject)]);
        let _ = bench.send_foreign().await;
        loop {
            bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let delivered = tokio::select! {
        delivered = bench.deliver(vec![]) => delivered.unwrap(),
        () = fill => unreachable!("it mines for ever"),
    };
    assert_eq!(delivered.sent.nonce, 1);
    assert_eq!(open().await, [], "nothing is missing any more");
}
