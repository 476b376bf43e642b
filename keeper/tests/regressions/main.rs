//! Bugs that other monitors and relayers had in reading the chain, each as a test. `docs/known-bugs.md` lists all of them, with the tests that keep
//! them out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../common/mod.rs"]
mod common;
mod contents;
mod proofs;

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use alloy::providers::{Provider, ProviderBuilder};
use cordon_keeper::chain::{Rpc, RpcError, Standing};
use cordon_keeper::rules::{ReadError, Reader, Watched, Watches, look_pending};
use serde_json::json;

use common::Anvil;
use cordon_testkit::{Fault, FaultyRpc};

const TIMEOUT: Duration = Duration::from_millis(700);
const PAUSE: Duration = Duration::from_millis(20);
const GUARD: Address = Address::repeat_byte(0x11);

async fn behind_proxy() -> (Anvil, FaultyRpc, Rpc) {
    let anvil = Anvil::start(&[]).await;
    let proxy = FaultyRpc::start(&anvil.http()).await.unwrap();
    let rpc = Rpc::new(&[proxy.url()], anvil.chain_id(), TIMEOUT).unwrap();
    (anvil, proxy, rpc)
}

/// openzeppelin-monitor: a failed `eth_getLogs` counted as "no matches", and the checkpoint advanced over it.
#[tokio::test]
async fn a_failed_read_of_logs_is_never_no_logs() {
    let (_anvil, proxy, rpc) = behind_proxy().await;
    let block = rpc.latest().await.unwrap();
    let reader = Reader::new(rpc, GUARD, Watched::default());
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(reading.logs_read && reading.events.is_empty());
    // A node that refuses: the block is read, and it is known that its events are not.
    proxy.fault("eth_getLogs", Fault::Error(-32_000, "missing trie node"));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(!reading.logs_read);
    // A node that does not answer, answers half, or is busy: the block waits.
    for fault in [
        Fault::Http(429),
        Fault::Http(502),
        Fault::Truncated,
        Fault::Slow(2 * TIMEOUT),
        Fault::Error(-32_005, "rate limit exceeded"),
    ] {
        proxy.fault("eth_getLogs", fault.clone());
        let error = reader.read(&block, &[], &[]).await.unwrap_err();
        assert!(matches!(error, ReadError::Unreachable(_)), "{fault:?}: {error}");
    }
}

/// onchain-mon: a block too large to be answered held the loop for ever.
#[tokio::test]
async fn what_a_node_will_never_answer_does_not_hold_the_block_for_ever() {
    let (_anvil, proxy, rpc) = behind_proxy().await;
    let block = rpc.latest().await.unwrap();
    proxy.fault(
        "eth_getLogs",
        Fault::Error(-32_005, "query returned more than 10000 results"),
    );
    let reading = Reader::new(rpc, GUARD, Watched::default())
        .read(&block, &[], &[])
        .await
        .unwrap();
    assert!(!reading.logs_read);
}

/// What one endpoint refuses, another gives: no fallback compares, but all are asked.
#[tokio::test]
async fn logs_that_one_endpoint_refuses_come_from_another() {
    let (anvil, proxy, _) = behind_proxy().await;
    let rpc = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let block = rpc.latest().await.unwrap();
    proxy.fault(
        "eth_getLogs",
        Fault::Error(-32_601, "the method is not available on your plan"),
    );
    let reading = Reader::new(rpc, GUARD, Watched::default())
        .read(&block, &[], &[])
        .await
        .unwrap();
    assert!(reading.logs_read);
}

/// Rate limits come as HTTP 429 or as an error of JSON-RPC; both are no answer, and the next endpoint is asked.
#[tokio::test]
async fn a_busy_endpoint_is_left_for_another() {
    let (anvil, proxy, _) = behind_proxy().await;
    for fault in [
        Fault::Http(429),
        Fault::Error(-32_005, "daily request count exceeded, request rate limited"),
        Fault::Error(429, "Your app has exceeded its compute units per second capacity"),
    ] {
        proxy.fault("eth_getBlockByNumber", fault.clone());
        let rpc = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
        assert_eq!(rpc.latest().await.unwrap().number, 0, "{fault:?}");
        let alone = Rpc::new(&[proxy.url()], anvil.chain_id(), TIMEOUT).unwrap();
        assert!(alone.latest().await.unwrap_err().is_unreachable(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_busy_endpoint_is_asked_nothing_for_as_long_as_it_says() {
    let (anvil, proxy, _) = behind_proxy().await;
    let rpc = Rpc::new(&[proxy.url()], anvil.chain_id(), TIMEOUT).unwrap();
    rpc.latest().await.unwrap();
    proxy.fault("eth_getBlockByNumber", Fault::RetryAfter(2));
    let refused = Instant::now();
    assert!(rpc.latest().await.unwrap_err().is_unreachable());
    proxy.heal();
    let asked = proxy.count("eth_getBlockByNumber");
    let error = rpc.latest().await.unwrap_err();
    assert!(error.to_string().contains("takes no more requests"), "{error}");
    assert_eq!(proxy.count("eth_getBlockByNumber"), asked, "nothing is asked meanwhile");
    while rpc.latest().await.is_err() {
        assert!(refused.elapsed() < Duration::from_secs(10), "never again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        refused.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        refused.elapsed()
    );
    // Who says nothing is asked again soon.
    proxy.fault("eth_getBlockByNumber", Fault::Http(429));
    assert!(rpc.latest().await.is_err());
    proxy.heal();
    tokio::time::sleep(Duration::from_millis(150)).await;
    rpc.latest().await.unwrap();
}

/// A gateway whose configuration was changed answers well, and for another chain.
#[tokio::test]
async fn an_endpoint_that_becomes_another_chains_is_not_used_any_more() {
    let (anvil, proxy, _) = behind_proxy().await;
    let other = Anvil::start(&["--chain-id", "10"]).await;
    other.rpc("anvil_mine", json!(["0x7"])).await;
    let rpc = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    assert_eq!(rpc.latest().await.unwrap().number, 0);
    assert!(rpc.check_chains().await.is_empty());
    proxy.move_to(&other.http());
    assert_eq!(rpc.latest().await.unwrap().number, 7, "nobody has looked yet");
    let found = rpc.check_chains().await;
    assert!(
        matches!(
            found.as_slice(),
            [RpcError::WrongChain {
                actual: 10,
                expected: 31_337,
                ..
            }]
        ),
        "{found:?}"
    );
    assert_eq!(rpc.latest().await.unwrap().number, 0, "the other endpoint's");
    // After a connection that broke it is looked at without being told to.
    proxy.move_to(&anvil.http());
    let alone = Rpc::new(&[proxy.url()], anvil.chain_id(), TIMEOUT).unwrap();
    alone.latest().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.fault("eth_getBlockByNumber", Fault::Cut);
    alone.latest().await.unwrap_err();
    proxy.heal();
    proxy.move_to(&other.http());
    let error = alone.latest().await.unwrap_err();
    assert!(matches!(error, RpcError::WrongChain { actual: 10, .. }), "{error}");
    proxy.move_to(&anvil.http());
    assert_eq!(
        alone.latest().await.unwrap().number,
        0,
        "as soon as it is of this chain again"
    );
}

/// alloy's fallback layer does not compare answers: here a difference is told, and a node that only lags is not one.
#[tokio::test]
async fn endpoints_that_differ_are_told_from_those_that_lag() {
    let first = Anvil::start(&[]).await;
    let second = Anvil::start(&["--fork-url", &first.http(), "--no-storage-caching"]).await;
    first.rpc("anvil_mine", json!(["0x14"])).await;
    let rpc = Rpc::new(&[first.http(), second.http()], first.chain_id(), TIMEOUT).unwrap();
    let lagging = rpc.compare(PAUSE).await.unwrap();
    assert_eq!(
        (lagging.standing, lagging.poor.len(), lagging.good.len()),
        (Standing::Together, 1, 1)
    );
    // Another history at the same heights.
    second
        .rpc("evm_setNextBlockTimestamp", json!([4_000_000_000_u64]))
        .await;
    second.rpc("anvil_mine", json!(["0x14"])).await;
    let differ = rpc.compare(PAUSE).await.unwrap();
    assert!(matches!(differ.standing, Standing::Split(_)), "{differ:?}");
    assert!(differ.poor.is_empty(), "{differ:?}");
}

/// openzeppelin-monitor: clients of an endpoint that was used for the first time by several at once raced each other. Here all of them get
/// their answer, and not one gets it from an endpoint of another chain, whoever finds out first.
#[tokio::test]
async fn an_endpoint_that_many_use_for_the_first_time_at_once_answers_all_of_them() {
    let anvil = Anvil::start(&[]).await;
    anvil.rpc("anvil_mine", json!(["0x3"])).await;
    for _ in 0..8 {
        let wrong = FaultyRpc::start(&anvil.http()).await.unwrap();
        wrong.fault("eth_chainId", Fault::Answer(json!("0x1")));
        let right = FaultyRpc::start(&anvil.http()).await.unwrap();
        right.fault("eth_chainId", Fault::Slow(Duration::from_millis(50)));
        let rpc = Rpc::new(&[wrong.url(), right.url()], anvil.chain_id(), 4 * TIMEOUT).unwrap();
        let asked = (0..32).map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.latest().await })
        });
        for answer in all_of(asked).await {
            // Whether the wrong one is an error or passed over: it is never an answer.
            match answer {
                Ok(block) => assert_eq!(block.number, 3),
                Err(error) => assert!(matches!(error, RpcError::WrongChain { .. }), "{error}"),
            }
        }
        assert_eq!(wrong.count("eth_getBlockByNumber"), 0);
        let rpc = Rpc::new(&[right.url()], anvil.chain_id(), 4 * TIMEOUT).unwrap();
        let asked = (0..32).map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.latest().await })
        });
        for answer in all_of(asked).await {
            assert_eq!(answer.unwrap().number, 3);
        }
    }
}

async fn all_of<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    // All of them run before the first is waited for.
    let tasks: Vec<_> = tasks.collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

/// The HTTP library is built without TLS unless it is asked for, and then refuses every public endpoint.
#[tokio::test]
async fn an_endpoint_behind_tls_is_greeted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let greeting = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap()
    });
    let rpc = Rpc::new(&[url], 1, Duration::from_secs(5)).unwrap();
    let error = rpc.latest().await.unwrap_err();
    assert_eq!(
        greeting.await.unwrap(),
        0x16,
        "the first byte of a TLS handshake: {error}"
    );
}

/// Whoever tells of a pending transaction may be another node than the one that is asked, and the only one that has heard of it.
#[tokio::test]
async fn a_transaction_of_the_mempool_that_cannot_be_looked_at_is_told() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let user = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n[[watch]]\nid = \"waiting\"\non = \"pending\"\nto = \"{user}\"\n",
        anvil.http()
    );
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    let watches = Watches::new(&config.watches, &[]);
    let block = rpc.latest().await.unwrap();
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let sent = anvil.rpc(
        "eth_sendTransaction",
        json!([{ "from": user, "to": user, "value": "0x1" }]),
    );
    let hash = sent.await.as_str().unwrap().parse().unwrap();
    let teller = |url: &str| ProviderBuilder::new().connect_http(url.parse().unwrap()).erased();
    let (gone, there) = (teller("http://127.0.0.1:1"), teller(&anvil.http()));
    for fault in [
        Fault::Http(502),
        Fault::Error(-32_601, "the method does not exist"),
        Fault::Answer(json!({ "hash": "0x01" })),
    ] {
        proxy.fault("eth_getTransactionByHash", fault);
        assert!(look_pending(&rpc, &gone, &watches, &block, hash).await.is_err());
        assert_eq!(
            look_pending(&rpc, &there, &watches, &block, hash).await.unwrap().len(),
            1
        );
        proxy.heal();
    }
    // The endpoint that failed is asked again when its rest is over.
    let begun = Instant::now();
    while look_pending(&rpc, &gone, &watches, &block, hash).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(PAUSE).await;
    }
}
