//! An endpoint takes everything and passes nothing on: what the others refuse is heard all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use cordon_testkit::{Fault, FaultyRpc};
use serde_json::json;

use super::bench::{Bench, hello};
use super::delivery::Delivery;
use super::fill::Filled;

const SEND: &str = "eth_sendRawTransaction";

/// An account that sends through one that only says that it takes what it gets, and through an honest endpoint. One of the two answers first.
/// What was taken is not looked into by the clock here.
async fn beside_a_mute(bench: &mut Bench, mute_is_first: bool) -> (FaultyRpc, FaultyRpc) {
    bench.settings.bump_after = Duration::from_secs(60);
    let honest = bench.behind_proxy(&[]).await;
    let mute = bench.behind_proxy(&[honest.url()]).await;
    bench.account.refresh().await.unwrap();
    mute.fault(SEND, Fault::Answer(json!(format!("0x{}", "11".repeat(32)))));
    if mute_is_first {
        honest.fault(SEND, Fault::Slow(Duration::from_millis(50)));
    }
    (mute, honest)
}

#[tokio::test]
async fn that_a_nonce_is_used_is_heard_from_another_than_the_one_that_takes_everything() {
    for mute_is_first in [true, false] {
        let mut bench = Bench::new(&[], true).await;
        let _endpoints = beside_a_mute(&mut bench, mute_is_first).await;
        bench.foreign().await;
        let delivered = bench.deliver(vec![]).await.unwrap();
        assert!(delivered.receipt.status());
        assert_eq!(delivered.sent.nonce, 1);
    }
}

#[tokio::test]
async fn that_more_is_to_be_offered_is_heard_from_another_than_the_one_that_takes_everything() {
    let mut bench = Bench::new(&[], true).await;
    let _endpoints = beside_a_mute(&mut bench, true).await;
    bench
        .anvil
        .rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be400"]))
        .await;
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    let delivered = bench.deliver(vec![]).await.unwrap();
    assert!(delivered.sent.max_fee > 8_000_000_000, "{}", delivered.sent.max_fee);
}

/// It may be the honest one that takes it, and the other that lies.
#[tokio::test]
async fn who_calls_everything_too_cheap_does_not_drive_the_fees_up_all_the_time() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    let (liar, honest) = beside_a_mute(&mut bench, false).await;
    honest.heal();
    liar.fault(SEND, Fault::Error(-32_000, "replacement transaction underpriced"));
    let call = hello();
    let delivery = Delivery::unrecorded(&bench.account, &bench.settings, &call);
    let delivery = delivery.recorded(&bench.store, &bench.intent, vec![]);
    let periods = 6;
    let time = bench.settings.rebroadcast * periods;
    let ended = tokio::time::timeout(time, delivery.run(|_, _| {})).await;
    assert!(ended.is_err(), "nothing is mined");
    let offers = u32::try_from(bench.recorded().await.len()).unwrap();
    assert!(offers > 1 && offers <= periods + 1, "{offers} in {periods} periods");
}

#[tokio::test]
async fn what_has_to_be_outbid_is_outbid_beside_one_that_takes_everything() {
    let mut bench = Bench::new(&["--no-mining"], true).await;
    let (mute, _honest) = beside_a_mute(&mut bench, true).await;
    mute.heal();
    tokio::select! {
        ended = bench.deliver(vec![]) => panic!("nothing mines: {ended:?}"),
        () = bench.sent() => {}
    }
    let waiting = bench.recorded().await.remove(0);
    mute.fault(SEND, Fault::Answer(json!(format!("0x{}", "11".repeat(32)))));
    // So little that the node asks for more.
    let fee = waiting.max_fee / 2;
    let filled = bench.account.fill(waiting.nonce, fee, bench.settings.fee_cap).await;
    assert_eq!(filled, Filled::Sent);
    bench.anvil.rpc("anvil_mine", json!(["0x1"])).await;
    assert_eq!(bench.nonce().await, 1);
    let receipt = bench.account.rpc().receipt(waiting.hash).await.unwrap();
    assert!(receipt.is_none(), "something else has used its nonce");
}
