//! Endpoints of two chains that were one: anvils that fork one another, with the same chain id.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::time::{Duration, Instant};

use cordon_keeper::chain::{BlockSource, Canonical, ChainEvent, HeadSettings, Heads, Rpc, Standing};
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use common::Anvil;

const TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// A chain of 20 blocks, five more that all believe in, and as many that a fork of it has made up.
async fn diverged() -> (Anvil, Anvil) {
    let chain = Anvil::start(&[]).await;
    chain.rpc("anvil_mine", json!(["0x14"])).await;
    let fork = Anvil::start(&["--fork-url", &chain.http(), "--no-storage-caching"]).await;
    let account = "0x00000000000000000000000000000000000000aa";
    fork.rpc("anvil_setBalance", json!([account, "0x1"])).await;
    fork.rpc("anvil_mine", json!(["0x9"])).await;
    chain.rpc("anvil_mine", json!(["0x5"])).await;
    (chain, fork)
}

fn rpc(urls: &[String]) -> Rpc {
    Rpc::new(urls, 31_337, TIMEOUT).unwrap()
}

#[tokio::test]
async fn the_most_endpoints_are_followed_though_the_first_is_a_fork() {
    let (chain, fork) = diverged().await;
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[fork.http(), second.url(), chain.http()]);
    let window: Vec<_> = {
        let mut window = Vec::new();
        for number in 10..=29 {
            window.extend(rpc.by_number(number).await.unwrap());
        }
        window
    };
    let mut followed = Canonical::new(256, window);
    assert_eq!(
        followed.tip().unwrap().number,
        29,
        "the fork is asked first, and is ahead"
    );
    let comparison = rpc.compare(PAUSE).await.unwrap();
    let Standing::Outvoted(text) = comparison.standing else {
        panic!("{comparison:?}")
    };
    assert!(text.contains(&fork.http()) && !text.contains(&second.url()), "{text}");
    assert_eq!(rpc.split(), None);
    let head = rpc.latest().await.unwrap();
    assert_eq!(head.number, 25, "the chain of the most");
    // What was followed before is taken back, block by block.
    let ChainEvent::Reorged { old, new } = followed.advance(head, &rpc).await.unwrap().unwrap() else {
        panic!("no reorg")
    };
    assert_eq!((old.len(), new.len(), old[0].number), (9, 5, 21));
    // When the honest ones are down nothing is seen, which is better than what the fork says.
    drop(second);
    drop(chain);
    assert!(rpc.latest().await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn a_fork_that_is_behind_is_told_from_one_that_is_only_slow() {
    let (chain, fork) = diverged().await;
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let slow = Anvil::start(&["--fork-url", &chain.http(), "--no-storage-caching"]).await;
    chain.rpc("anvil_mine", json!(["0x1e"])).await;
    // Neither has come to the height at which the others are compared.
    let behind = rpc(&[fork.http(), second.url(), chain.http()]);
    let comparison = behind.compare(PAUSE).await.unwrap();
    assert_eq!(comparison.number, 53);
    let Standing::Outvoted(text) = comparison.standing else {
        panic!("{comparison:?}")
    };
    assert!(text.contains(&fork.http()), "{text}");
    assert_eq!(behind.latest().await.unwrap().number, 55);
    let behind = rpc(&[slow.http(), second.url(), chain.http()]);
    assert_eq!(behind.compare(PAUSE).await.unwrap().standing, Standing::Together);
    assert_eq!(behind.latest().await.unwrap().number, 25, "it is on the right chain");
}

#[tokio::test]
async fn one_that_was_outvoted_stays_so_until_it_has_the_same_blocks() {
    let (chain, fork) = diverged().await;
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[fork.http(), second.url(), chain.http()]);
    rpc.compare(PAUSE).await.unwrap();
    second.fault("eth_blockNumber", Fault::Http(502));
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert!(matches!(comparison.standing, Standing::Outvoted(_)), "{comparison:?}");
    assert_eq!(rpc.split(), None, "one against one, but one has lied before");
    assert_eq!(rpc.latest().await.unwrap().number, 25);
    // The fork comes back to the chain that it was forked from.
    second.heal();
    let reset = json!([{ "forking": { "jsonRpcUrl": chain.http() } }]);
    fork.rpc("anvil_reset", reset).await;
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert_eq!((comparison.standing, comparison.good.len()), (Standing::Together, 3));
}

#[tokio::test]
async fn one_against_one_is_said_and_nobody_is_left_out() {
    let (chain, fork) = diverged().await;
    let rpc = rpc(&[fork.http(), chain.http()]);
    let comparison = rpc.compare(PAUSE).await.unwrap();
    let Standing::Split(text) = comparison.standing else {
        panic!("{comparison:?}")
    };
    assert!(text.contains(&fork.http()) && text.contains(&chain.http()), "{text}");
    assert_eq!(rpc.split(), Some(text));
    assert_eq!(rpc.latest().await.unwrap().number, 29, "the one that is asked first");
    let reset = json!([{ "forking": { "jsonRpcUrl": chain.http() } }]);
    fork.rpc("anvil_reset", reset).await;
    assert_eq!(rpc.compare(PAUSE).await.unwrap().standing, Standing::Together);
    assert_eq!(rpc.split(), None);
}

#[tokio::test]
async fn a_difference_counts_when_it_is_found_twice() {
    let (chain, fork) = diverged().await;
    let second = FaultyRpc::start(&fork.http()).await.unwrap();
    let rpc = rpc(&[chain.http(), second.url()]);
    let look = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.compare(Duration::from_secs(2)).await.unwrap() }
    });
    // It has answered the first look by then.
    let begun = Instant::now();
    while second.count("eth_getBlockByNumber") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    second.move_to(&chain.http());
    assert_eq!(look.await.unwrap().standing, Standing::Together, "a moment is no fork");
    assert_eq!(rpc.split(), None);
}

/// Whether a chain is idle, or one of the endpoints does not keep up, is told by whether all say the same.
#[tokio::test]
async fn only_who_hears_the_same_of_all_takes_a_chain_for_idle() {
    let (chain, _fork) = diverged().await;
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[chain.http(), second.url()]);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let heads = Heads::start(rpc.clone(), None, HeadSettings::default(), stop);
    let begun = Instant::now();
    while heads.newest().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "no head");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!heads.is_confirmed(), "nobody has looked");
    rpc.compare(PAUSE).await.unwrap();
    assert!(heads.is_confirmed() && !heads.is_alone());
    for method in ["eth_blockNumber", "eth_getBlockByNumber"] {
        second.fault(method, Fault::Http(502));
        rpc.compare(PAUSE).await.unwrap();
        assert!(!heads.is_confirmed(), "one of them may know more: {method}");
        second.heal();
        // An endpoint that has failed rests for a moment.
        let begun = Instant::now();
        while !heads.is_confirmed() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{method}");
            rpc.compare(PAUSE).await.unwrap();
        }
    }
}

#[tokio::test]
async fn in_a_split_a_slow_answer_changes_no_side_and_a_long_silence_does() {
    let (chain, fork) = diverged().await;
    let first = FaultyRpc::start(&fork.http()).await.unwrap();
    let rpc = rpc(&[first.url(), chain.http()]);
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert!(matches!(comparison.standing, Standing::Split(_)), "{comparison:?}");
    assert_eq!(rpc.latest().await.unwrap().number, 29, "the one that was asked first");
    first.fault("eth_getBlockByNumber", Fault::Slow(TIMEOUT * 2));
    assert!(rpc.latest().await.unwrap_err().is_unreachable(), "nobody else is asked");
    first.heal();
    assert_eq!(rpc.latest().await.unwrap().number, 29, "the same side");
    // Nor does a look in which only the other side answers.
    first.fault("eth_blockNumber", Fault::Cut);
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert!(matches!(comparison.standing, Standing::Split(_)), "{comparison:?}");
    assert_eq!(rpc.latest().await.unwrap().number, 29);
    first.fault("eth_getBlockByNumber", Fault::Hang);
    let begun = Instant::now();
    let other = loop {
        match rpc.latest().await {
            Ok(block) => break block,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "never another side"),
        }
    };
    assert_eq!(other.number, 25);
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    // There it stays, though the first is back.
    first.heal();
    rpc.compare(PAUSE).await.unwrap();
    assert_eq!(rpc.latest().await.unwrap().number, 25);
    // An endpoint of the chain that was left ends the matter.
    let reset = json!([{ "forking": { "jsonRpcUrl": chain.http() } }]);
    fork.rpc("anvil_reset", reset).await;
    assert_eq!(rpc.compare(PAUSE).await.unwrap().standing, Standing::Together);
    assert_eq!(rpc.split(), None);
}

#[tokio::test]
async fn a_split_begins_on_the_side_that_was_followed_whoever_was_asked_last() {
    let (chain, fork) = diverged().await;
    let first = FaultyRpc::start(&chain.http()).await.unwrap();
    // At first the second endpoint is of the same chain; then it is of another.
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[first.url(), second.url()]);
    assert_eq!(rpc.compare(PAUSE).await.unwrap().standing, Standing::Together);
    // At height 23 the two have agreed. One bad moment, and the second is asked first.
    first.fault("eth_getBlockByNumber", Fault::Cut);
    assert_eq!(rpc.latest().await.unwrap().number, 25);
    first.heal();
    second.move_to(&fork.http());
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert!(matches!(comparison.standing, Standing::Split(_)), "{comparison:?}");
    assert_eq!(
        rpc.latest().await.unwrap().number,
        25,
        "the chain that both had at block 23"
    );
}

/// While one of two is silent the other is followed, wherever it goes: a chain may reorganise. But when the first comes back and differs, its
/// word is not the younger one: at height 23 both had its block.
#[tokio::test]
async fn a_split_begins_with_what_both_had_though_one_alone_was_followed_since() {
    let (chain, fork) = diverged().await;
    let first = FaultyRpc::start(&chain.http()).await.unwrap();
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[first.url(), second.url()]);
    assert_eq!(rpc.compare(PAUSE).await.unwrap().standing, Standing::Together);
    for method in ["eth_blockNumber", "eth_getBlockByNumber", "eth_chainId"] {
        first.fault(method, Fault::Http(502));
    }
    second.move_to(&fork.http());
    let comparison = rpc.compare(PAUSE).await.unwrap();
    assert_eq!((comparison.standing, comparison.good.len()), (Standing::Together, 1));
    assert_eq!(rpc.latest().await.unwrap().number, 29, "the only one that answers");
    first.heal();
    // One that has failed rests for a moment.
    let begun = Instant::now();
    while rpc.split().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "no split");
        rpc.compare(PAUSE).await.unwrap();
    }
    assert_eq!(rpc.latest().await.unwrap().number, 25, "the chain that both had");
    // There it stays.
    rpc.compare(PAUSE).await.unwrap();
    assert_eq!(rpc.latest().await.unwrap().number, 25);
    // What has changed for both is no split: the chain was reorganised.
    first.move_to(&fork.http());
    assert_eq!(rpc.compare(PAUSE).await.unwrap().standing, Standing::Together);
    assert_eq!((rpc.split(), rpc.latest().await.unwrap().number), (None, 29));
}

#[tokio::test]
async fn a_subscription_to_a_chain_that_is_not_followed_is_left_for_polling() {
    let (chain, fork) = diverged().await;
    let second = FaultyRpc::start(&chain.http()).await.unwrap();
    let rpc = rpc(&[fork.http(), second.url(), chain.http()]);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let settings = HeadSettings {
        poll: Duration::from_millis(50),
        watch: Duration::from_millis(200),
        reconnect_max: Duration::from_millis(400),
        ..HeadSettings::default()
    };
    let heads = Heads::start(rpc.clone(), Some(fork.ws()), settings, stop);
    let begun = Instant::now();
    let until = async |what: &str, check: &dyn Fn() -> bool| {
        while !check() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("the fork is followed", &|| {
        heads.link().subscribed && heads.newest().is_some_and(|seen| seen.block.number == 29)
    })
    .await;
    rpc.compare(PAUSE).await.unwrap();
    until("the chain of the most is followed", &|| {
        heads.newest().is_some_and(|seen| seen.block.number == 25) && !heads.link().subscribed
    })
    .await;
    let why = heads.link().subscription_error.unwrap();
    assert!(why.contains("other blocks"), "{why}");
}
