//! Who is believed about what a block contains: receipts that prove themselves, then those that two endpoints answer alike, and nobody for ever.

use std::time::{Duration, Instant};

use cordon_keeper::chain::Rpc;
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::{Value, json};

use crate::behind_proxy;
use crate::common::Anvil;
use crate::contents::{five_logs, found};

const TIMEOUT: Duration = Duration::from_secs(10);

async fn several(anvil: &Anvil, proxies: &[&FaultyRpc]) -> Rpc {
    let urls: Vec<String> = proxies.iter().map(|proxy| proxy.url()).collect();
    let rpc = Rpc::new(&urls, anvil.chain_id(), TIMEOUT).unwrap();
    rpc.latest().await.unwrap();
    rpc
}

/// A type that nobody knows makes the root one that nobody can compute: whoever says so is not asked alone.
#[tokio::test]
async fn receipts_that_cannot_be_proven_give_way_to_those_that_can() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let other = FaultyRpc::start(&anvil.http()).await.unwrap();
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let mut odd = anvil
        .rpc("eth_getBlockReceipts", json!([{ "blockHash": block.hash }]))
        .await;
    odd[0]["type"] = json!("0x7e");
    let mut fewer = odd.clone();
    fewer[0]["logs"].as_array_mut().unwrap().truncate(2);
    proxy.fault("eth_getBlockReceipts", Fault::Answer(fewer));
    let both = several(&anvil, &[&proxy, &other]).await;
    assert_eq!(found(&both, &watches, &block).await, (5, None));
    // Where all say so, and as many transactions as there are receipts.
    for proxy in [&proxy, &other] {
        proxy.fault("eth_getBlockReceipts", Fault::Answer(odd.clone()));
    }
    assert_eq!(found(&both, &watches, &block).await, (5, None));
    other.fault("eth_getBlockTransactionCountByHash", Fault::Answer(json!("0x2")));
    let (count, doubt) = found(&both, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("nobody can tell"));
}

/// One that makes up more than there is has the most, and not the last word.
#[tokio::test]
async fn without_receipts_two_that_agree_are_believed_against_one_that_has_more() {
    let (anvil, liar, rpc) = behind_proxy().await;
    let (one, two) = (
        FaultyRpc::start(&anvil.http()).await.unwrap(),
        FaultyRpc::start(&anvil.http()).await.unwrap(),
    );
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let all = several(&anvil, &[&liar, &one, &two]).await;
    for proxy in [&liar, &one, &two] {
        proxy.fault("eth_getBlockReceipts", Fault::Error(-32_601, "no such method"));
    }
    let logs = anvil.rpc("eth_getLogs", json!([{ "blockHash": block.hash }])).await;
    let mut more = logs.clone();
    let mut sixth = logs[4].clone();
    (sixth["logIndex"], sixth["data"]) = (json!("0x5"), json!(format!("0x{}", "77".repeat(32))));
    more.as_array_mut().unwrap().push(sixth);
    liar.fault("eth_getLogs", Fault::Answer(more));
    for slow in [&one, &two] {
        slow.fault("eth_getLogs", Fault::Slow(Duration::from_millis(50)));
    }
    let (count, doubt) = found(&all, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("those that two answered"));
    // As many, and another word in one of them.
    let mut other: Value = logs;
    other[2]["data"] = json!(format!("0x{}", "77".repeat(32)));
    liar.fault("eth_getLogs", Fault::Answer(other));
    let (count, doubt) = found(&all, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("not the same ones"));
}

/// One that answers everything but receipts costs one block a moment, and no block its proof.
#[tokio::test]
async fn receipts_that_one_endpoint_never_gives_come_from_another() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let other = FaultyRpc::start(&anvil.http()).await.unwrap();
    let both = several(&anvil, &[&proxy, &other]).await;
    proxy.fault("eth_getBlockReceipts", Fault::Hang);
    proxy.fault("eth_getLogs", Fault::Shorter);
    let reader = crate::contents::reader(&both, &watches);
    for longest in [1_200, 300, 300].map(Duration::from_millis) {
        let begun = Instant::now();
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        let took = begun.elapsed();
        assert!(took < longest, "{took:?}");
        assert_eq!((reading.sightings.found.len(), reading.logs_doubted), (5, None));
    }
    // Without any of them: the header says that some are missing, and the one that has them is waited for.
    other.fault("eth_getBlockReceipts", Fault::Hang);
    other.fault("eth_getLogs", Fault::Slow(Duration::from_millis(600)));
    proxy.fault("eth_getLogs", Fault::Answer(json!([])));
    let (count, doubt) = found(&both, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("the most were taken"));
}

/// An endpoint may answer everything but this, or never.
#[tokio::test]
async fn receipts_that_never_come_hold_no_block_up_for_long() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let other = FaultyRpc::start(&anvil.http()).await.unwrap();
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let both = several(&anvil, &[&proxy, &other]).await;
    for proxy in [&proxy, &other] {
        proxy.fault("eth_getBlockReceipts", Fault::Hang);
    }
    other.fault("eth_getLogs", Fault::Hang);
    let reader = crate::contents::reader(&both, &watches);
    for longest in [Duration::from_secs(4), Duration::from_secs(1), Duration::from_secs(1)] {
        let begun = Instant::now();
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        let took = begun.elapsed();
        assert!(took < longest, "{took:?}");
        assert_eq!(reading.sightings.found.len(), 5);
    }
}
