//! Following a real anvil: heads by subscription and by polling, gaps, reorgs, rollbacks, a node that dies and comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use cordon_keeper::chain::{BlockRef, BlockSource, Canonical, ChainEvent, HeadSettings, Heads, Rpc, RpcError, Via};
use cordon_testkit::{Fault, FaultyRpc, MessageFault, WsProxy};
use tokio_util::sync::CancellationToken;

use common::Anvil;

const TIMEOUT: Duration = Duration::from_secs(2);

struct Follower {
    rpc: Rpc,
    heads: Heads,
    chain: Canonical,
    /// The canonical chain as the events tell it.
    model: Vec<BlockRef>,
    reorged: usize,
    reverted: usize,
    via: Vec<Via>,
    _stop: tokio_util::sync::DropGuard,
}

fn settings() -> HeadSettings {
    HeadSettings {
        poll: Duration::from_millis(50),
        watch: Duration::from_millis(200),
        reconnect_max: Duration::from_millis(400),
        ..HeadSettings::default()
    }
}

impl Follower {
    fn start(anvil: &Anvil, ws: bool) -> Self {
        Self::through(anvil, ws.then(|| anvil.ws()))
    }

    fn through(anvil: &Anvil, ws: Option<String>) -> Self {
        let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
        let stop = CancellationToken::new();
        let heads = Heads::start(rpc.clone(), ws, settings(), stop.clone());
        Self {
            rpc,
            heads,
            chain: Canonical::new(256, []),
            model: Vec::new(),
            reorged: 0,
            reverted: 0,
            via: Vec::new(),
            _stop: stop.drop_guard(),
        }
    }

    fn apply(&mut self, event: &ChainEvent) {
        match event {
            ChainEvent::Committed { .. } => {}
            ChainEvent::Reorged { .. } => self.reorged += 1,
            ChainEvent::Reverted { .. } => self.reverted += 1,
        }
        for old in event.reverted().iter().rev() {
            assert_eq!(self.model.pop().as_ref(), Some(old));
        }
        for new in event.committed() {
            if let Some(last) = self.model.last() {
                assert_eq!(new.parent, last.hash, "a gap before block {}", new.number);
            }
            self.model.push(*new);
        }
    }

    /// Follows until the model's tip is `hash`.
    async fn until(&mut self, hash: B256) {
        let begun = Instant::now();
        while self.model.last().map(|b| b.hash) != Some(hash) {
            assert!(
                begun.elapsed() < Duration::from_secs(15),
                "the head {hash} was not reached; link {:?}",
                self.heads.link()
            );
            let Ok(Some(seen)) = tokio::time::timeout(Duration::from_secs(5), self.heads.next()).await else {
                continue;
            };
            self.via.push(seen.via);
            while let Ok(Some(event)) = self.chain.advance(seen.block, &self.rpc).await {
                self.apply(&event);
            }
        }
    }

    async fn head(&self) -> B256 {
        self.rpc.latest().await.unwrap().hash
    }

    async fn subscribed(&mut self) {
        let begun = Instant::now();
        while !self.heads.link().subscribed {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", self.heads.link());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn every_block_is_seen_once_by_subscription() {
    let anvil = Anvil::start(&[]).await;
    let mut follower = Follower::start(&anvil, true);
    follower.subscribed().await;
    follower.until(follower.head().await).await;
    for _ in 0..20 {
        anvil.rpc("anvil_mine", serde_json::json!(["0x5"])).await;
        follower.until(follower.head().await).await;
    }
    assert_eq!(follower.model.last().unwrap().number, 100);
    assert!(follower.via.contains(&Via::Subscription));
    assert_eq!((follower.reorged, follower.reverted), (0, 0));
    let numbers: Vec<u64> = follower.model.iter().map(|b| b.number).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
}

#[tokio::test]
async fn polling_alone_misses_nothing() {
    let anvil = Anvil::start(&[]).await;
    let mut follower = Follower::start(&anvil, false);
    follower.until(follower.head().await).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x12c"])).await;
    follower.until(follower.head().await).await;
    assert_eq!(follower.model.len(), 301);
    assert!(follower.via.iter().all(|via| *via == Via::Poll));
}

#[tokio::test]
async fn reorgs_and_rollbacks_come_as_events() {
    let anvil = Anvil::start(&[]).await;
    let mut follower = Follower::start(&anvil, true);
    follower.subscribed().await;
    // What is taken back below lies above the first block that it has seen.
    follower.until(follower.head().await).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0xa"])).await;
    follower.until(follower.head().await).await;
    anvil.rpc("anvil_reorg", serde_json::json!([4, []])).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x1"])).await;
    follower.until(follower.head().await).await;
    assert_eq!(follower.reorged, 1);
    let canonical = follower.rpc.by_number(8).await.unwrap().unwrap();
    assert_eq!(follower.model.iter().find(|b| b.number == 8), Some(&canonical));

    // A chain that was rolled back shows by the first block that it has instead.
    let snapshot = anvil.rpc("evm_snapshot", serde_json::json!([])).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x3"])).await;
    follower.until(follower.head().await).await;
    anvil.rpc("evm_revert", serde_json::json!([snapshot])).await;
    let far = serde_json::json!([4_000_000_000_u64]);
    anvil.rpc("evm_setNextBlockTimestamp", far).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x1"])).await;
    follower.until(follower.head().await).await;
    assert_eq!((follower.reorged, follower.reverted), (2, 0));
    assert_eq!(follower.model.last().unwrap().number, 12);
}

#[tokio::test]
async fn a_node_that_dies_and_comes_back_is_followed_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.json");
    let state = state.to_str().unwrap();
    let mut anvil = Anvil::start(&["--state", state]).await;
    let mut follower = Follower::start(&anvil, true);
    follower.subscribed().await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x5"])).await;
    follower.until(follower.head().await).await;

    anvil.terminate();
    let begun = Instant::now();
    while !follower.heads.link().is_blind() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "blindness is noticed: {:?}",
            follower.heads.link()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = follower.rpc.latest().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    anvil.restart(&["--state", state]).await;
    anvil.rpc("anvil_mine", serde_json::json!(["0x7"])).await;
    follower.until(follower.head().await).await;
    follower.subscribed().await;
    assert_eq!(follower.model.last().unwrap().number, 12);
    // A poll may overtake an announcement now and then, but not ten times.
    follower.via.clear();
    for _ in 0..10 {
        anvil.rpc("anvil_mine", serde_json::json!(["0x1"])).await;
        follower.until(follower.head().await).await;
    }
    assert!(
        follower.via.contains(&Via::Subscription),
        "subscribed again: {:?}",
        follower.via
    );
}

#[tokio::test]
async fn endpoints_fail_over_and_another_chain_is_refused() {
    let anvil = Anvil::start(&[]).await;
    let dead = "http://127.0.0.1:1".to_owned();
    let rpc = Rpc::new(&[dead.clone(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    rpc.verify().await.unwrap();
    assert_eq!(rpc.latest().await.unwrap().number, 0);

    let rpc = Rpc::new(std::slice::from_ref(&dead), anvil.chain_id(), TIMEOUT).unwrap();
    let error = rpc.verify().await.unwrap_err();
    assert!(
        error.is_unreachable() && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );

    let rpc = Rpc::new(&[anvil.http()], 1, TIMEOUT).unwrap();
    let error = rpc.verify().await.unwrap_err();
    assert!(
        matches!(
            error,
            RpcError::WrongChain {
                expected: 1,
                actual: 31_337,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        matches!(rpc.latest().await.unwrap_err(), RpcError::WrongChain { .. }),
        "never used, even without verify"
    );

    // One of another chain beside one of this: it is not used, and known by name. Beside one that is silent, that one is waited for.
    let other = Anvil::start(&["--chain-id", "10"]).await;
    let rpc = Rpc::new(&[other.http(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    rpc.verify().await.unwrap();
    assert_eq!(rpc.latest().await.unwrap().number, 0);
    let foreign = rpc.check_chains().await;
    assert!(
        matches!(&foreign[..], [RpcError::WrongChain { actual: 10, endpoint, .. }] if *endpoint == other.http()),
        "{foreign:?}"
    );
    let rpc = Rpc::new(&[other.http(), dead.clone()], anvil.chain_id(), TIMEOUT).unwrap();
    assert!(rpc.verify().await.unwrap_err().is_unreachable());

    let error = Rpc::new(&["ftp://user:secret@host/key"], 1, TIMEOUT).unwrap_err();
    assert!(
        matches!(error, RpcError::BadUrl { position: 0, .. }) && !error.to_string().contains("secret"),
        "{error}"
    );
}

/// A plan of a few requests a second.
#[tokio::test]
async fn an_endpoint_with_a_rate_is_passed_over_and_waited_for_only_when_nobody_else_answers() {
    const HEAD: &str = "eth_getBlockByNumber";
    let anvil = Anvil::start(&[]).await;
    let small = FaultyRpc::start(&anvil.http()).await.unwrap();
    let large = FaultyRpc::start(&anvil.http()).await.unwrap();
    let rpc = Rpc::new(&[small.url(), large.url()], anvil.chain_id(), TIMEOUT)
        .unwrap()
        .with_rates(&[Some(5)]);
    rpc.verify().await.unwrap();
    let begun = Instant::now();
    for _ in 0..40 {
        rpc.latest().await.unwrap();
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let (asked, most) = (small.count(HEAD), 5 * (1 + seconds));
    assert!((4..=most).contains(&asked), "{asked} within {:?}", begun.elapsed());
    assert_eq!(asked + large.count(HEAD), 40, "nobody is asked twice");
    // It is the first all the same, as soon as there is room.
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    rpc.latest().await.unwrap();
    assert_eq!(small.count(HEAD), asked + 1);
    // When the other one does not answer, it is waited for, and by all of them together no more is asked of it.
    large.fault(HEAD, Fault::Http(502));
    let begun = Instant::now();
    let all = futures::future::join_all((0..11).map(|_| rpc.latest())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(1_500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(small.count(HEAD), asked + 12);
    // A transaction waits for nobody.
    while rpc.latest().await.is_ok() && small.count(HEAD) < asked + 16 {}
    let begun = Instant::now();
    assert!(rpc.send_raw(&vec![1, 2, 3].into()).await.is_err());
    assert_eq!(small.count("eth_sendRawTransaction"), 1);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_never_answers_costs_only_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-key", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let anvil = Anvil::start(&[]).await;
    let rpc = Rpc::new(&[url, anvil.http()], anvil.chain_id(), Duration::from_millis(300)).unwrap();
    let begun = Instant::now();
    assert_eq!(rpc.latest().await.unwrap().number, 0);
    assert!(begun.elapsed() < Duration::from_secs(2));
    silent.abort();
}

/// Kalatori: one frame that is no JSON ends the subscription without a word, and a block is lost at every seventh reconnect.
#[tokio::test]
async fn a_bad_frame_on_the_subscription_costs_no_block() {
    let anvil = Anvil::start(&[]).await;
    let (messages, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let plan = {
        let (messages, bad) = (Arc::clone(&messages), Arc::clone(&bad));
        // Between what sets a connection up, and in the middle of what it is for.
        move || match messages.fetch_add(1, Ordering::SeqCst) % 7 {
            6 => {
                bad.fetch_add(1, Ordering::SeqCst);
                MessageFault::Garbage
            }
            _ => MessageFault::None,
        }
    };
    let proxy = WsProxy::start(&anvil.ws(), plan).await.unwrap();
    let mut follower = Follower::through(&anvil, Some(proxy.url()));
    follower.subscribed().await;
    follower.until(follower.head().await).await;
    let begun = Instant::now();
    while bad.load(Ordering::SeqCst) < 7 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{bad:?} bad frames");
        anvil.rpc("anvil_mine", serde_json::json!(["0x2"])).await;
        follower.until(follower.head().await).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let numbers: Vec<u64> = follower.model.iter().map(|b| b.number).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
    assert!(follower.via.contains(&Via::Subscription), "it was subscribed again");
    assert_eq!((follower.reorged, follower.reverted), (0, 0));
}

/// artemis: a collector whose channel is closed spins, or panics.
#[tokio::test]
async fn who_listens_to_heads_that_have_ended_is_told_and_does_not_spin() {
    let anvil = Anvil::start(&[]).await;
    let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    let stop = CancellationToken::new();
    let mut heads = Heads::start(rpc, Some(anvil.ws()), settings(), stop.clone());
    let mut other = heads.clone();
    assert!(heads.next().await.is_some());
    stop.cancel();
    let ended = async {
        // What was announced before may still be taken.
        while heads.next().await.is_some() {}
        while other.link_changed().await {}
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("both end");
    assert!(heads.next().await.is_none(), "and stay so");
}
