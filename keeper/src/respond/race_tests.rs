//! What several keys, and several keepers, send for one action.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use cordon_testkit::Fault;
use serde_json::json;

use super::account::{Account, Draft};
use super::bench::{Bench, hello};
use super::deliver::Call;
use super::queue::Job;
use crate::record::SentTransaction;

const SEND: &str = "eth_sendRawTransaction";

/// What another keeper has signed.
async fn signed_by(other: &Account) -> SentTransaction {
    let armed = other.refresh().await.unwrap();
    let call = hello();
    let draft = Draft {
        to: call.to,
        data: call.data,
        gas: call.gas,
        nonce: armed.nonce.unwrap(),
        max_fee: armed.max_fee(),
        priority_fee: armed.priority_fee,
    };
    other.sign(&draft).await.unwrap()
}

#[tokio::test]
async fn what_another_keeper_has_signed_is_not_waited_for_when_nobody_takes_it() {
    let mut bench = Bench::new(&[], true).await;
    bench.settings.bump_after = Duration::from_secs(60);
    let proxy = bench.behind_proxy(&[]).await;
    let theirs = [signed_by(&bench.another()).await];
    let responder = bench.responder(vec![bench.account.clone()]);
    proxy.fault(
        SEND,
        Fault::Error(-32_000, "insufficient funds for gas * price + value"),
    );
    let begun = Instant::now();
    assert!(responder.carry_on(&theirs).await.unwrap().is_none());
    assert!(begun.elapsed() < bench.settings.bump_after / 4, "{:?}", begun.elapsed());
    assert!(proxy.count(SEND) > 1, "what it waits for may arrive in a moment");
    // Something that it followed was on its way.
    let before = proxy.count(SEND);
    proxy.fault(SEND, Fault::Error(-32_000, "nonce too high"));
    let heal = async {
        while proxy.count(SEND) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.heal();
    };
    let (delivered, ()) = tokio::join!(responder.carry_on(&theirs), heal);
    assert_eq!(delivered.unwrap().unwrap().sent.hash, theirs[0].hash);
}

/// How many transactions two keys have sent.
async fn counts(bench: &Bench, both: &[Account]) -> [u64; 2] {
    let count = async |at: usize| {
        let said = bench.account.rpc().counts(both[at].address(), 0).await.unwrap();
        said.agreed
    };
    [count(0).await, count(1).await]
}

/// A block takes its time: the hedge counts from when the first key's transaction was taken, or the second would send in nearly every block.
#[tokio::test]
async fn the_second_key_sends_nothing_while_the_first_ones_transaction_lands_in_time() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    // However slow the machine is, nothing is replaced here.
    bench.settings.bump_after = Duration::from_secs(60);
    bench.settings.hedge = Duration::from_millis(700);
    let both = [bench.account.clone(), bench.another()];
    let responder = bench.responder(both.to_vec());
    let job = Job::now(bench.intent.clone(), None);
    for incident in 1..=3 {
        let mut events = responder.events.subscribe();
        let mine = async {
            events.recv().await.unwrap();
            // Longer than from the race's start on, and in time after the broadcast.
            tokio::time::sleep(bench.settings.hedge + Duration::from_millis(200)).await;
            bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
        };
        let call = Call {
            data: vec![incident].into(),
            ..hello()
        };
        let (delivered, ()) = tokio::join!(responder.race(&job, &call, &[]), mine);
        assert_eq!(delivered.unwrap().sent.sender, both[0].address());
        assert_eq!(counts(&bench, &both).await, [u64::from(incident), 0]);
    }
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    assert_eq!(counts(&bench, &both).await, [3, 0], "nor does anything wait");
    // One that does not land is helped.
    let mine = async {
        while bench.anvil.rpc("txpool_status", json!([])).await["pending"] != "0x2" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    };
    let call = hello();
    let (delivered, ()) = tokio::join!(responder.race(&job, &call, &[]), mine);
    assert!(delivered.unwrap().receipt.status());
    assert_eq!(counts(&bench, &both).await, [4, 1]);
}

#[tokio::test]
async fn the_next_key_sends_at_once_when_the_first_cannot() {
    let mut bench = Bench::new(&[], false).await;
    bench.settings.hedge = Duration::from_secs(60);
    let both = [bench.account.clone(), bench.another()];
    let responder = bench.responder(both.to_vec());
    let job = Job::now(bench.intent.clone(), None);
    let begun = Instant::now();
    let delivered = responder.race(&job, &hello(), &[]).await.unwrap();
    assert_eq!(delivered.sent.sender, both[1].address());
    assert!(begun.elapsed() < bench.settings.hedge / 2);
}
