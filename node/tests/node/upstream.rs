//! A fork of a chain whose endpoint is slow, fails, limits the rate or goes over to another chain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256, U256},
    providers::Provider,
};
use cordon_node::{ForkRequests, NodeConfig, spawn};
use cordon_testkit::{Fault, RpcProxy};
use serde_json::{Value, json};

use crate::support::*;

/// A fork by way of the proxy, that is impatient.
fn impatient(proxy: &RpcProxy) -> NodeConfig {
    NodeConfig {
        fork_url: Some(proxy.url().parse().unwrap()),
        fork_requests: ForkRequests {
            backoff: Duration::from_millis(20),
            timeout: Duration::from_millis(500),
            ..ForkRequests::default()
        },
        ..NodeConfig::default()
    }
}

async fn upstream() -> (Anvil, Address) {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    let somebody = Address::repeat_byte(0x77);
    raw(&anvil.provider(), "anvil_setBalance", json!([somebody, "0x7"])).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x3"])).await;
    (anvil, somebody)
}

#[tokio::test]
async fn every_third_answer_failing_is_not_noticed() {
    for fault in [
        Fault::Cut,
        Fault::Http(502),
        Fault::Http(429),
        Fault::RateLimit,
        Fault::Page,
        Fault::Slow(Duration::from_millis(50)),
    ] {
        let (anvil, somebody) = upstream().await;
        let met = fault.clone();
        let proxy = RpcProxy::start(
            &anvil.endpoint,
            move |number, _| {
                if number % 3 == 0 { met.clone() } else { Fault::None }
            },
        )
        .await
        .unwrap();
        let node = spawn(impatient(&proxy))
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let provider = plain(&node.http_endpoint());
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(7),
            "{fault:?}"
        );
        assert!(
            send(&provider, transfer(ALICE, somebody, 1)).await.status(),
            "{fault:?}"
        );
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(8),
            "{fault:?}"
        );
        assert!(proxy.requests() > 3);
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_a_clear_error_in_bounded_time() {
    for fault in [Fault::Hang, Fault::Http(503), Fault::RateLimit, Fault::Page] {
        let (anvil, somebody) = upstream().await;
        let healthy = Arc::new(AtomicBool::new(true));
        let (is_healthy, met) = (healthy.clone(), fault.clone());
        let proxy = RpcProxy::start(&anvil.endpoint, move |_, _| {
            if is_healthy.load(Ordering::SeqCst) {
                Fault::None
            } else {
                met.clone()
            }
        })
        .await
        .unwrap();
        let mut config = impatient(&proxy);
        config.fork_requests.retries = 2;
        config.fork_requests.timeout = Duration::from_millis(500);
        let node = spawn(config).await.unwrap();
        let provider = plain(&node.http_endpoint());
        healthy.store(false, Ordering::SeqCst);
        let begun = Instant::now();
        let error = provider.get_balance(somebody).await.unwrap_err().to_string();
        assert!(
            error.contains("the forked chain could not be read"),
            "{fault:?}: {error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}");
        // What does not need the endpoint works, and the value is not wrong once it is back.
        assert!(send(&provider, transfer(ALICE, BOB, 1)).await.status());
        healthy.store(true, Ordering::SeqCst);
        assert_eq!(
            provider.get_balance(somebody).await.unwrap(),
            U256::from(7),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn another_endpoint_answers_for_one_that_fails() {
    let (anvil, somebody) = upstream().await;
    let dead = RpcProxy::start(&anvil.endpoint, |_, _| Fault::Http(500)).await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = impatient(&dead);
    config.fork_requests.fallbacks = vec![
        anvil.endpoint.parse().unwrap(),
        format!("http://{nobody}").parse().unwrap(),
    ];
    config.fork_requests.retries = 3;
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));

    // One of another chain is not taken for the same one.
    let other = Anvil::start(&["--chain-id", "5"]).await;
    let mut config = anvil.fork_config();
    config.fork_requests.fallbacks = vec![other.endpoint.parse().unwrap()];
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("serves chain 5, not chain 42161"), "{error}");
}

#[tokio::test]
async fn an_upstream_reorganisation_is_an_error_and_not_another_state() {
    let (anvil, somebody) = upstream().await;
    let up = anvil.provider();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    raw(&up, "anvil_reorg", json!([1, []])).await;
    raw(&up, "anvil_setBalance", json!([somebody, "0x9"])).await;
    let answer = provider.get_balance(somebody).await;
    assert!(
        answer.as_ref().is_err() || answer.as_ref().unwrap() == &U256::from(7),
        "{answer:?}"
    );
}

#[tokio::test]
async fn headers_reach_the_endpoint_and_requests_are_paced() {
    let (anvil, _) = upstream().await;
    let proxy = RpcProxy::start(&anvil.endpoint, |_, _| Fault::None).await.unwrap();
    let mut config = impatient(&proxy);
    // 100 units a second are 5 requests a second.
    config.fork_requests.units_per_second = Some(100);
    config.accounts = 0;
    let begun = Instant::now();
    let node = spawn(config).await.unwrap();
    let requests = proxy.requests();
    assert!(
        begun.elapsed() >= Duration::from_millis(200) * u32::try_from(requests - 1).unwrap(),
        "{requests} requests in {:?}",
        begun.elapsed()
    );
    drop(node);
    let mut config = impatient(&proxy);
    config.fork_requests.headers = vec![("x-key".into(), "a\nb".into())];
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("x-key") && !error.contains("a\nb"), "{error}");
}

#[tokio::test]
async fn the_past_of_the_forked_chain_is_asked_for_once() {
    let (anvil, _) = upstream().await;
    let receipt = anvil.send(transfer(ALICE, BOB, 1)).await;
    let (hash, block) = (receipt.transaction_hash, receipt.block_hash.unwrap());
    let proxy = RpcProxy::start(&anvil.endpoint, |_, _| Fault::None).await.unwrap();
    let node = spawn(impatient(&proxy)).await.unwrap();
    let provider = plain(&node.http_endpoint());
    for (method, params, requests) in [
        ("eth_getTransactionReceipt", json!([hash]), 1),
        ("eth_getTransactionByHash", json!([hash]), 1),
        ("eth_getBlockByHash", json!([block, true]), 1),
        ("eth_getBlockByNumber", json!(["0x1", true]), 1),
        ("eth_getBlockReceipts", json!(["0x1"]), 1),
    ] {
        let before = proxy.requests();
        let first = raw(&provider, method, params.clone()).await;
        assert_ne!(first, Value::Null, "{method}");
        assert!(
            proxy.requests() - before <= requests,
            "{method}: {} requests",
            proxy.requests() - before
        );
        let asked = proxy.requests();
        for _ in 0..3 {
            assert_eq!(raw(&provider, method, params.clone()).await, first, "{method}");
        }
        assert_eq!(proxy.requests(), asked, "{method} is known by now");
    }
    // What does not exist may come to exist: it is asked for again.
    let nothing = json!([B256::repeat_byte(9)]);
    for _ in 0..2 {
        let before = proxy.requests();
        assert_eq!(
            raw(&provider, "eth_getTransactionReceipt", nothing.clone()).await,
            Value::Null
        );
        assert!(proxy.requests() > before);
    }
}

#[tokio::test]
async fn the_forked_chain_can_move_to_another_endpoint() {
    let (anvil, somebody) = upstream().await;
    let healthy = Arc::new(AtomicBool::new(true));
    let is_healthy = healthy.clone();
    let proxy = RpcProxy::start(&anvil.endpoint, move |_, _| {
        if is_healthy.load(Ordering::SeqCst) {
            Fault::None
        } else {
            Fault::Http(503)
        }
    })
    .await
    .unwrap();
    let mut config = impatient(&proxy);
    config.fork_requests.retries = 1;
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    healthy.store(false, Ordering::SeqCst);
    provider.get_balance(somebody).await.unwrap_err();
    // Another chain is refused, and so is a chain with other blocks.
    let other = Anvil::start(&["--chain-id", "5"]).await;
    let twin = Anvil::start(&["--chain-id", "42161", "--timestamp", "1700000000"]).await;
    raw(&twin.provider(), "anvil_mine", json!(["0x3"])).await;
    for (wrong, told) in [(&other, "serves chain 5"), (&twin, "where the forked chain has")] {
        let error = provider
            .raw_request::<_, Value>("anvil_setRpcUrl".into(), json!([wrong.endpoint]))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    raw(&provider, "anvil_setRpcUrl", json!([anvil.endpoint])).await;
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));
    let info = raw(&provider, "anvil_nodeInfo", json!([])).await;
    assert_eq!(info["forkConfig"]["forkUrl"], json!(anvil.endpoint));
    // A reset goes on with it.
    raw(&provider, "anvil_reset", json!([{ "forking": {} }])).await;
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));
    let fresh = fresh().await;
    let refused = plain(&fresh.http_endpoint())
        .raw_request::<_, Value>("anvil_setRpcUrl".into(), json!([anvil.endpoint]))
        .await;
    assert!(refused.unwrap_err().to_string().contains("forks no chain"));
}

/// Answers the first question about a state in its own way.
async fn first_state(endpoint: &str, method: &'static str, fault: Fault) -> RpcProxy {
    let met = Arc::new(AtomicBool::new(false));
    RpcProxy::start(endpoint, move |_, request| {
        if request.contains(method) && !met.swap(true, Ordering::SeqCst) {
            fault.clone()
        } else {
            Fault::None
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_error_that_passes_does_not_change_how_the_state_is_asked_for() {
    let (anvil, somebody) = upstream().await;
    let up = anvil.provider();
    let trouble = Fault::Error(-32_000, "internal error, try again");
    let proxy = first_state(&anvil.endpoint, "eth_getBalance", trouble).await;
    let node = spawn(impatient(&proxy)).await.unwrap();
    let provider = plain(&node.http_endpoint());
    raw(&up, "anvil_reorg", json!([1, []])).await;
    raw(&up, "anvil_setBalance", json!([somebody, "0x9"])).await;
    let answer = provider.get_balance(somebody).await;
    assert!(
        answer.as_ref().is_err() || answer.as_ref().unwrap() == &U256::from(7),
        "{answer:?}"
    );

    // One that does not know the form is asked by number.
    let proxy = RpcProxy::start(&anvil.endpoint, |_, request| {
        if request.contains("blockHash") {
            Fault::Error(-32_602, "cannot unmarshal object into Go value of type string")
        } else {
            Fault::None
        }
    })
    .await
    .unwrap();
    let node = spawn(impatient(&proxy)).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(9));

    // One that never knows the state is no endpoint to fork from.
    let proxy = RpcProxy::start(&anvil.endpoint, |_, request| {
        if request.contains("eth_getBalance") {
            Fault::Error(-32_000, "missing trie node")
        } else {
            Fault::None
        }
    })
    .await
    .unwrap();
    let mut config = impatient(&proxy);
    config.fork_requests.retries = 1;
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("missing trie node"), "{error}");
}

#[tokio::test]
async fn endpoints_with_other_blocks_are_refused_together() {
    let (anvil, _) = upstream().await;
    let twin = Anvil::start(&["--chain-id", "42161", "--timestamp", "1700000000"]).await;
    raw(&twin.provider(), "anvil_mine", json!(["0x8"])).await;
    let mut config = anvil.fork_config();
    config.fork_block_number = Some(3);
    config.fork_requests.fallbacks = vec![twin.endpoint.parse().unwrap()];
    let error = spawn(config).await.unwrap_err().to_string();
    assert!(error.contains("do not serve the same chain"), "{error}");
    for endpoint in [&anvil.endpoint, &twin.endpoint] {
        assert!(error.contains(endpoint.as_str()), "{error}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_no_zero() {
    let (anvil, somebody) = upstream().await;
    raw(
        &anvil.provider(),
        "anvil_setStorageAt",
        json!([somebody, B256::ZERO, B256::with_last_byte(5)]),
    )
    .await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x1"])).await;
    let empty = Arc::new(AtomicBool::new(false));
    let is_empty = empty.clone();
    let proxy = RpcProxy::start(&anvil.endpoint, move |_, _| {
        if is_empty.load(Ordering::SeqCst) {
            Fault::Answer(json!("0x"))
        } else {
            Fault::None
        }
    })
    .await
    .unwrap();
    let mut config = impatient(&proxy);
    config.fork_requests.retries = 1;
    let node = spawn(config.clone()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    empty.store(true, Ordering::SeqCst);
    provider.get_balance(somebody).await.unwrap_err();
    let error = provider
        .get_storage_at(somebody, U256::ZERO)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("could not be read"), "{error}");
    empty.store(false, Ordering::SeqCst);
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));
    assert_eq!(
        provider.get_storage_at(somebody, U256::ZERO).await.unwrap(),
        U256::from(5)
    );

    // Another endpoint answers instead.
    config.fork_requests.fallbacks = vec![anvil.endpoint.parse().unwrap()];
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    empty.store(true, Ordering::SeqCst);
    assert_eq!(provider.get_balance(somebody).await.unwrap(), U256::from(7));
    assert_eq!(
        provider.get_storage_at(somebody, U256::ZERO).await.unwrap(),
        U256::from(5)
    );
}
