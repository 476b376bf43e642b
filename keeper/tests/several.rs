//! Several endpoints: what one refuses another is asked, none alone says what is, and each gets what is sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use alloy::primitives::{Address, hex};
use cordon_keeper::chain::{BlockSource, CallError, Canonical, Rpc, RpcError};
use serde_json::json;

use common::Anvil;
use cordon_testkit::{Fault, FaultyRpc, RpcProxy};

const TIMEOUT: Duration = Duration::from_millis(700);
const SENDER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

async fn behind_proxy() -> (Anvil, FaultyRpc, Rpc) {
    let anvil = Anvil::start(&[]).await;
    let proxy = FaultyRpc::start(&anvil.http()).await.unwrap();
    let rpc = Rpc::new(&[proxy.url()], anvil.chain_id(), TIMEOUT).unwrap();
    (anvil, proxy, rpc)
}

/// What one node refuses (it has no such state, or no such plan) another may answer; a revert is an answer.
#[tokio::test]
async fn a_call_that_one_endpoint_refuses_is_asked_of_another() {
    let (anvil, proxy, alone) = behind_proxy().await;
    let both = || Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let call = async |rpc: &Rpc| {
        let latest = alloy::eips::BlockId::latest();
        rpc.call(None, Address::repeat_byte(4), hex!("01").into(), None, latest)
            .await
    };
    proxy.fault("eth_call", Fault::Error(-32_000, "missing trie node"));
    let error = call(&alone).await.unwrap_err();
    assert!(matches!(error, CallError::Rpc(RpcError::Refused { .. })), "{error}");
    assert!(
        call(&both()).await.unwrap().is_empty(),
        "what an account without code answers"
    );
    proxy.fault("eth_call", Fault::Error(3, "execution reverted"));
    assert!(matches!(call(&both()).await.unwrap_err(), CallError::Reverted(_)));
}

/// A relayer took its nonce from one gateway, one of whose nodes was behind, or wrong.
#[tokio::test]
async fn no_endpoint_alone_says_what_the_next_nonce_is() {
    let (anvil, liar, _) = behind_proxy().await;
    let (behind, silent) = (
        FaultyRpc::start(&anvil.http()).await.unwrap(),
        FaultyRpc::start(&anvil.http()).await.unwrap(),
    );
    let sender: Address = SENDER.parse().unwrap();
    for _ in 0..3 {
        anvil.send(json!({ "from": sender, "to": sender })).await;
    }
    let counts = async |urls: &[String]| {
        let rpc = Rpc::new(urls, anvil.chain_id(), TIMEOUT).unwrap();
        rpc.counts(sender, 0)
            .await
            .map(|counts| (counts.agreed, counts.highest))
    };
    const METHOD: &str = "eth_getTransactionCount";
    liar.fault(METHOD, Fault::Answer(json!("0x384")));
    behind.fault(METHOD, Fault::Answer(json!("0x1")));
    silent.fault(METHOD, Fault::Hang);
    let (honest, liar, behind) = (anvil.http(), liar.url(), behind.url());
    assert_eq!(
        counts(std::slice::from_ref(&liar)).await.unwrap(),
        (900, 900),
        "there is nobody else"
    );
    assert_eq!(counts(&[liar.clone(), honest.clone()]).await.unwrap(), (3, 900));
    assert_eq!(
        counts(&[liar.clone(), behind.clone(), honest.clone()]).await.unwrap(),
        (3, 900)
    );
    let begun = Instant::now();
    assert_eq!(
        counts(&[silent.url(), honest, behind]).await.unwrap(),
        (1, 3),
        "of two the lower"
    );
    assert!(begun.elapsed() < TIMEOUT, "who hangs holds nothing up");
    assert!(counts(&[silent.url()]).await.is_err());
}

/// A transaction went to the first endpoint only, or to those that were quick.
#[tokio::test]
async fn every_endpoint_gets_the_bytes_and_the_most_hopeful_word_counts() {
    let (anvil, slow, _) = behind_proxy().await;
    let refusing = FaultyRpc::start(&anvil.http()).await.unwrap();
    const METHOD: &str = "eth_sendRawTransaction";
    slow.fault(METHOD, Fault::Slow(Duration::from_millis(200)));
    refusing.fault(METHOD, Fault::Error(-32_000, "nonce too low"));
    let rpc = Rpc::new(&[slow.url(), refusing.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    rpc.verify().await.unwrap();
    let raw = anvil.rpc("eth_signTransaction", json!([{
        "from": SENDER, "to": SENDER, "nonce": "0x0", "gas": "0x186a0",
        "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x1", "chainId": format!("{:#x}", anvil.chain_id()),
    }])).await;
    let raw: alloy::primitives::Bytes = raw.as_str().unwrap().parse().unwrap();
    let begun = Instant::now();
    rpc.send_raw(&raw).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "the first that accepts it decides"
    );
    while slow.count(METHOD) == 0 || refusing.count(METHOD) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "not all of them got it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is in a block by now.
    let again = rpc.send_raw(&raw).await.unwrap_err();
    assert!(!again.refusals.is_empty(), "{again:?}");
    slow.fault(METHOD, Fault::Hang);
    let hung = Instant::now();
    let again = rpc.send_raw(&raw).await.unwrap_err();
    assert!(
        again.silent.is_some() && hung.elapsed() < TIMEOUT,
        "a refusal does not wait for who hangs: {again:?}"
    );
}

#[tokio::test]
async fn a_block_that_was_not_asked_for_is_no_answer() {
    let (anvil, liar, alone) = behind_proxy().await;
    anvil.rpc("anvil_mine", json!(["0x2"])).await;
    let other = anvil.rpc("eth_getBlockByNumber", json!(["0x1", false])).await;
    for method in ["eth_getBlockByNumber", "eth_getBlockByHash"] {
        liar.fault(method, Fault::Answer(other.clone()));
    }
    let both = Rpc::new(&[liar.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let second = both.by_number(2).await.unwrap().unwrap();
    assert_eq!(second.number, 2);
    assert_eq!(alone.by_number(1).await.unwrap().unwrap().hash, second.parent);
    for error in [
        alone.by_number(2).await.unwrap_err(),
        alone.by_hash(second.hash).await.unwrap_err(),
    ] {
        assert!(
            error.is_unreachable() && error.to_string().contains("another block"),
            "{error}"
        );
    }
}

/// Behind a load balancer the next answer may be that of a node that is a block behind: its chain ends earlier, and is no other.
#[tokio::test]
async fn an_endpoint_that_is_only_behind_takes_no_block_back() {
    let (anvil, good, _) = behind_proxy().await;
    let behind = RpcProxy::start(&anvil.http(), |_, _| Fault::Stale(3)).await.unwrap();
    anvil.rpc("anvil_mine", json!(["0xa"])).await;
    let rpc = Rpc::new(&[good.url(), behind.url()], anvil.chain_id(), TIMEOUT).unwrap();
    let mut followed = Canonical::new(256, []);
    for number in 0..=10 {
        let block = rpc.by_number(number).await.unwrap().unwrap();
        followed.advance(block, &rpc).await.unwrap();
    }
    // One bad moment of the first, and the other is asked from then on.
    good.fault("eth_getBlockByNumber", Fault::Http(502));
    let late = rpc.latest().await.unwrap();
    good.heal();
    assert_eq!((late.number, rpc.by_number(10).await.unwrap()), (7, None));
    assert_eq!(followed.advance(late, &rpc).await.unwrap(), None);
    assert_eq!(followed.tip().unwrap().number, 10);
    // The chain goes on, and the laggard comes to where the keeper is.
    anvil.rpc("anvil_mine", json!(["0x4"])).await;
    let event = followed
        .advance(rpc.latest().await.unwrap(), &rpc)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((event.reverted().len(), event.committed().len()), (0, 1));
    // What it has in the place of blocks takes them back, also when its chain ends earlier than theirs.
    let newest = anvil.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    let newest = newest["hash"].as_str().unwrap().parse().unwrap();
    let ahead = Rpc::new(&[anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let newest = ahead.by_hash(newest).await.unwrap().unwrap();
    followed.advance(newest, &ahead).await.unwrap();
    assert_eq!(followed.tip().unwrap().number, 14);
    anvil.rpc("anvil_reorg", json!([6, []])).await;
    let event = followed
        .advance(rpc.latest().await.unwrap(), &rpc)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((event.reverted().len(), event.committed().len()), (6, 3));
}
