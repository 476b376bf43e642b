//! What several keys, and several keepers, send for one action.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use cordon_testkit::Fault;

use super::account::{Account, Draft};
use super::bench::{Bench, hello};
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
