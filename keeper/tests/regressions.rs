//! Bugs that other monitors and relayers had in reading the chain, each as a test. `docs/known-bugs.md` lists all of them, with the tests that keep
//! them out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256, hex};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::sol_types::SolError;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::chain::{BlockRef, Rpc, RpcError, Standing};
use cordon_keeper::rules::{Hooks, ReadError, Reader, STOPPED_CALLS, Watched, Watches, look_pending};
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

/// openzeppelin-monitor: receipts one by one, for every transaction and monitor. Here it is one request per block, none
/// where nobody calls the hooks, and a failed transaction of an unknown type is no error.
#[tokio::test]
async fn receipts_are_read_at_once_and_only_where_hooks_are_called() {
    let (_anvil, proxy, rpc) = behind_proxy().await;
    let block = rpc.latest().await.unwrap();
    Reader::new(rpc.clone(), GUARD, Watched::default())
        .read(&block, &[], &[])
        .await
        .unwrap();
    assert_eq!(proxy.count("eth_getBlockReceipts"), 0);
    proxy.fault(
        "eth_getBlockReceipts",
        Fault::Answer(json!([
            { "type": "0x6a", "status": "0x1", "transactionHash": block.hash, "from": GUARD, "to": GUARD },
            { "type": "0x2", "status": "0x0", "transactionHash": block.hash, "from": GUARD, "to": GUARD },
        ])),
    );
    let data = SolError::abi_encode(&ICordonGuard::RuleBreached {
        rule: 0,
        observedNegative: false,
        observed: U256::from(90),
        boundNegative: false,
        bound: U256::from(100),
    });
    let output = hex::encode_prefixed(&data);
    let trace = json!({ "to": Address::repeat_byte(0x77), "error": "reverted", "calls": [
        { "to": GUARD, "error": "execution reverted", "output": output }
    ] });
    proxy.fault("debug_traceTransaction", Fault::Answer(trace));
    let hooks = Hooks {
        callers: vec![Address::repeat_byte(0x77)],
        scopes: vec![1],
    };
    let reader = Reader::new(rpc, GUARD, Watched::default()).with_hooks(hooks);
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!((reading.stopped.len(), proxy.count("eth_getBlockReceipts")), (1, 1));
    assert_eq!((reading.stopped[0].rule, reading.stopped[0].scope), (0, 1));
    // A public endpoint without traces: the call is made again on the block before.
    proxy.fault("debug_traceTransaction", Fault::Error(-32_601, "method not found"));
    proxy.fault(
        "eth_getTransactionByHash",
        Fault::Answer(json!({ "input": "0x01", "value": "0x0", "gas": "0x5208" })),
    );
    proxy.fault("eth_call", Fault::Error(3, "execution reverted"));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(
        reading.stopped.is_empty(),
        "a revert without the guard's words proves nothing"
    );
    assert!(reading.sightings.unwatched.is_empty(), "but it was looked at");
    // And one that gives no receipts at all keeps no block waiting; that nobody has looked is said.
    for fault in [Fault::Http(500), Fault::Error(-32_601, "method not found")] {
        proxy.fault("eth_getBlockReceipts", fault);
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        assert!(reading.stopped.is_empty());
        let unwatched: Vec<&str> = reading.sightings.unwatched.iter().map(|u| u.watch.as_str()).collect();
        assert_eq!(unwatched, [STOPPED_CALLS]);
    }
}

/// openzeppelin-monitor: receipts were fetched one by one, for each monitor and transaction.
#[tokio::test]
async fn a_block_is_fetched_once_however_many_watches_look_at_it() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let call = |id: &str, selector: &str| {
        format!(
            "[[watch]]\nid = \"{id}\"\non = \"call\"\nfunction = \"function {selector}(uint256 a)\"\nstatus = \"any\"\n"
        )
    };
    let event = |id: &str, name: &str| {
        format!("[[watch]]\nid = \"{id}\"\non = \"event\"\nevent = \"event {name}(uint256 a)\"\n")
    };
    let text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n{}{}{}{}{}",
        anvil.http(),
        call("a", "f"),
        call("b", "g"),
        call("c", "h"),
        event("d", "E"),
        event("e", "F")
    );
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    let user = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    anvil.rpc("evm_setAutomine", json!([false])).await;
    for _ in 0..5 {
        let tx = json!({ "from": user, "to": user, "value": "0x1" });
        anvil.rpc("eth_sendTransaction", json!([tx])).await;
    }
    anvil.rpc("evm_mine", json!([])).await;
    let block = rpc.latest().await.unwrap();
    let reader = Reader::new(rpc, Address::ZERO, Watched::default()).with_watches(Watches::new(&config.watches, &[]));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(reading.sightings.found.is_empty() && reading.sightings.unwatched.is_empty());
    let asked = [
        "eth_getLogs",
        "eth_getBlockReceipts",
        "eth_getBlockByHash",
        "eth_getTransactionReceipt",
    ];
    assert_eq!(asked.map(|method| proxy.count(method)), [1, 1, 1, 0]);
}

/// The newest block has two logs of the emitter that the configuration watches.
async fn two_logs(anvil: &Anvil, rpc: &Rpc) -> (BlockRef, cordon_client::Config) {
    let emitter = Address::repeat_byte(0x55);
    // log1(0, 0, topic) with topic = keccak256("E(uint256)"), twice, so that half of an answer can be left out.
    let topic = alloy::primitives::keccak256("E(uint256)");
    let mut code = Vec::new();
    for _ in 0..2 {
        code.push(0x7f);
        code.extend(topic);
        code.extend([0x60, 0x20, 0x5f, 0xa1]);
    }
    anvil
        .rpc("anvil_setCode", json!([emitter, hex::encode_prefixed(&code)]))
        .await;
    let tx = json!({ "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "to": emitter });
    anvil.send(tx).await;
    let text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n[[watch]]\nid = \"e\"\non = \"event\"\nevent = \"event E(uint256 a)\"\nat = \"{emitter}\"\n",
        anvil.http()
    );
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    (rpc.latest().await.unwrap(), config)
}

/// Who has to know which calls failed asks for all receipts, and these have the logs.
#[tokio::test]
async fn logs_are_taken_from_receipts_that_are_asked_for_anyway() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, config) = two_logs(&anvil, &rpc).await;
    let hooks = Hooks {
        callers: vec![Address::repeat_byte(1)],
        scopes: vec![0],
    };
    let reader = Reader::new(rpc, Address::ZERO, Watched::default())
        .with_hooks(hooks)
        .with_watches(Watches::new(&config.watches, &[]));
    let asked = || ["eth_getLogs", "eth_getBlockReceipts"].map(|method| proxy.count(method));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!((reading.sightings.found.len(), reading.logs_doubted), (2, None));
    assert_eq!(asked(), [0, 1]);
    // Receipts that lack what the header speaks of are not believed, and neither is an endpoint that has none.
    for fault in [Fault::Answer(json!([])), Fault::Error(-32_601, "no such method")] {
        proxy.heal();
        proxy.fault("eth_getBlockReceipts", fault);
        let before = asked()[0];
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        assert_eq!((reading.sightings.found.len(), asked()[0]), (2, before + 1));
    }
}

/// An answer without logs is no failure, and looks like a block in which nothing happened. The header knows better.
#[tokio::test]
async fn logs_that_an_endpoint_leaves_out_are_taken_from_receipts() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, config) = two_logs(&anvil, &rpc).await;
    let reader =
        Reader::new(rpc.clone(), Address::ZERO, Watched::default()).with_watches(Watches::new(&config.watches, &[]));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!((reading.sightings.found.len(), reading.logs_doubted), (2, None));
    assert_eq!(
        proxy.count("eth_getBlockReceipts"),
        0,
        "an answer that fits costs nothing"
    );
    proxy.fault("eth_getLogs", Fault::Answer(json!([])));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!(reading.sightings.found.len(), 2);
    assert!(reading.logs_doubted.unwrap().contains("answered 0 of the 2 logs"));
    // Receipts that lack them too prove nothing, and it is told.
    proxy.fault("eth_getBlockReceipts", Fault::Answer(json!([])));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(reading.logs_doubted.unwrap().contains("in any endpoint's receipts"));
    // Another endpoint has them.
    let both = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let block = both.latest().await.unwrap();
    let reading = Reader::new(both, Address::ZERO, Watched::default())
        .with_watches(Watches::new(&config.watches, &[]))
        .read(&block, &[], &[])
        .await
        .unwrap();
    assert_eq!(reading.sightings.found.len(), 2);
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
