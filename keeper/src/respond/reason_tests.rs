//! Whether what is late is still called for, as endpoints see it that do not see the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, U256, hex};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::config::Severity;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_testkit::{Fault, RpcProxy};
use serde_json::json;

use super::account::Account;
use super::bench::{Bench, TARGET, hello, signer};
use super::queue::Job;
use super::reason::Reason;
use super::responder::{Responder, Step};
use crate::chain::{BlockRef, Rpc};
use crate::decide::{Act, Decision, Reading, Response, RulePolicy, RuleVerdict};
use crate::record::samples::{empty, trip};
use crate::record::{BlockRecord, Confirmation, Ground, Intent, IntentKind, Names, Outcome};
use crate::rules::Sightings;

/// Code of a guard whose one rule has the verdict that a transaction of 32 bytes has set.
const CODE: &str = "0x36602014601a5760205f5260016020525f546040526101005ff35b5f355f5500";

/// A rule on a chain, and a record of it.
struct Scene {
    bench: Bench,
}

impl Scene {
    /// The rule is breached from the newest block on.
    async fn new() -> Self {
        let bench = Bench::new(&[], true).await;
        bench.anvil.rpc("anvil_setCode", json!([TARGET, CODE])).await;
        bench.anvil.rpc("anvil_mine", json!(["0x14"])).await;
        let scene = Self { bench };
        scene.set(Guard::Verdict::Breached).await;
        scene
    }

    /// Makes the rule's verdict another one from the next block on.
    async fn set(&self, verdict: Guard::Verdict) {
        let provider = ProviderBuilder::new()
            .wallet(signer(true))
            .connect_http(self.bench.anvil.http().parse().unwrap());
        let word = B256::from(U256::from(verdict as u8));
        let tx = TransactionRequest::default().with_to(TARGET).with_input(word);
        let sent = provider.send_transaction(tx).await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
    }

    async fn mine(&self, blocks: u64) {
        self.bench
            .anvil
            .rpc("anvil_mine", json!([format!("{blocks:#x}")]))
            .await;
    }

    async fn newest(&self) -> BlockRef {
        let url = self.bench.anvil.http();
        let rpc = Rpc::new(&[url], self.bench.anvil.chain_id(), Duration::from_secs(2)).unwrap();
        rpc.latest().await.unwrap()
    }

    /// Records the newest block, and what is decided on it when the rule is breached there.
    async fn record(&self, verdict: Verdict, act: Option<Act>) -> Option<Intent> {
        let (block, none) = (self.newest().await, Sightings::default());
        let verdicts = [RuleVerdict {
            rule: 0,
            witness: vec![],
            reading: Reading {
                verdict,
                ..trip().reading
            },
        }];
        let decisions: Vec<Decision> = act.into_iter().map(|act| Decision { act, ..trip() }).collect();
        let record = BlockRecord {
            verdicts: &verdicts,
            decisions: &decisions,
            ..empty(&block, &none)
        };
        let commit = self.bench.store.commit_block(&record, &Names::default()).await;
        commit.unwrap().intents.pop()
    }

    /// A containment that is decided on now and was found to be needless three blocks later.
    async fn held(&self) -> Intent {
        let intent = self.record(Verdict::Breached, Some(Act::Contain)).await.unwrap();
        self.mine(3).await;
        self.set(Guard::Verdict::Holds).await;
        self.record(Verdict::Holds, None).await;
        let tip = self.newest().await;
        let ground = self.bench.store.ground(&intent).await.unwrap();
        assert!(
            matches!(ground, Ground::Held { tip: held } if held.hash == tip.hash),
            "{ground:?}"
        );
        intent
    }

    /// Lets the account, and what carries actions out with it, ask the chain, and another endpoint.
    fn asking(&mut self, other: &RpcProxy) -> Responder {
        let urls = [self.bench.anvil.http(), other.url()];
        let rpc = Rpc::new(&urls, self.bench.anvil.chain_id(), Duration::from_secs(2)).unwrap();
        self.bench.account = Account::new(signer(true), rpc);
        self.bench.responder(vec![self.bench.account.clone()])
    }

    async fn proxy(&self, plan: impl Fn(usize, &str) -> Fault + Clone + Send + Sync + 'static) -> RpcProxy {
        RpcProxy::start(&self.bench.anvil.http(), plan).await.unwrap()
    }
}

fn over(reason: Reason) -> Confirmation {
    match reason {
        Reason::Gone(end) => *end,
        other => panic!("{other:?}"),
    }
}

/// Of two endpoints the lower one says what the newest block is, and this one has stood still, or is behind a little.
#[tokio::test]
async fn what_was_found_to_hold_is_over_whatever_was_the_case_where_an_endpoint_stands() {
    for behind in [2, 4, 5, 12] {
        let mut scene = Scene::new().await;
        let intent = scene.held().await;
        let tip = scene.newest().await;
        let laggard = scene.proxy(move |_, _| Fault::Stale(behind)).await;
        let end = over(scene.asking(&laggard).reason(&intent).await.unwrap());
        assert_eq!(
            (end.outcome, end.judged_at.map(|block| block.hash)),
            (Outcome::HoldsAgain, Some(tip.hash)),
            "{behind} blocks behind"
        );
    }
}

/// Nor can anybody say what is the case: the action, which is in the way of others, ends with the block that the record is at.
#[tokio::test]
async fn what_was_found_to_hold_is_over_when_nobody_can_say_more() {
    let mut scene = Scene::new().await;
    let intent = scene.held().await;
    let tip = scene.newest().await;
    scene.set(Guard::Verdict::Unknown).await;
    let other = scene.proxy(|_, _| Fault::None).await;
    let end = over(scene.asking(&other).reason(&intent).await.unwrap());
    assert_eq!(
        (end.outcome, end.judged_at.map(|block| block.hash)),
        (Outcome::HoldsAgain, Some(tip.hash))
    );
    assert!(end.detail.contains("was found to hold since"), "{}", end.detail);
}

/// It says so of a height that nobody else has come to.
#[tokio::test]
async fn a_height_that_one_endpoint_makes_up_leaves_no_other_out() {
    let mut scene = Scene::new().await;
    let intent = scene.held().await;
    let newest = scene.newest().await;
    let number = json!(format!("{:#x}", newest.number));
    let mut made_up = scene
        .bench
        .anvil
        .rpc("eth_getBlockByNumber", json!([number, false]))
        .await;
    made_up["number"] = json!("0xffffff");
    made_up["hash"] = json!(B256::repeat_byte(0xee));
    let liar = scene
        .proxy(move |_, body| match body.contains("eth_getBlockByNumber") {
            true => Fault::Answer(made_up.clone()),
            false => Fault::None,
        })
        .await;
    let end = over(scene.asking(&liar).reason(&intent).await.unwrap());
    assert_eq!(end.judged_at.map(|block| block.hash), Some(newest.hash));
}

/// The process ended between the decision and the rest of its block, and there is much to catch up with before the record comes there.
#[tokio::test]
async fn what_the_record_has_not_come_to_yet_goes_by_the_newest_block() {
    let mut scene = Scene::new().await;
    let (block, none) = (scene.newest().await, Sightings::default());
    let decisions = [Decision {
        act: Act::Contain,
        ..trip()
    }];
    let record = BlockRecord {
        decisions: &decisions,
        ..empty(&block, &none)
    };
    let stored = scene.bench.store.write_decisions(&record, &Names::default()).await;
    let intent = stored.unwrap().pop().expect("it is stored before its block");
    assert_eq!(scene.bench.store.ground(&intent).await.unwrap(), Ground::Unjudged);
    let other = scene.proxy(|_, _| Fault::None).await;
    let responder = scene.asking(&other);
    let reason = async || responder.reason(&intent).await.unwrap();
    assert!(matches!(reason().await, Reason::Unjudged(_)), "there is no later block");
    scene.mine(5).await;
    assert!(matches!(reason().await, Reason::Stands));
    scene.set(Guard::Verdict::Unknown).await;
    assert!(matches!(reason().await, Reason::Unjudged(_)));
    scene.set(Guard::Verdict::Holds).await;
    let newest = scene.newest().await;
    let end = over(reason().await);
    assert_eq!(
        (end.outcome, end.judged_at.map(|block| block.hash)),
        (Outcome::HoldsAgain, Some(newest.hash))
    );
    // By another rulebook it is another rule's number.
    let other = Responder {
        version: B256::repeat_byte(6),
        ..responder.clone()
    };
    assert!(matches!(other.reason(&intent).await.unwrap(), Reason::Unjudged(_)));
}

/// A window that ends with the block before that of the decision.
#[tokio::test]
async fn maintenance_that_was_over_when_it_was_decided_silences_nothing() {
    for act in [Act::Contain, Act::Trip] {
        let mut scene = Scene::new().await;
        let before = scene.newest().await;
        let at = before.timestamp + 100;
        scene.bench.anvil.rpc("evm_setNextBlockTimestamp", json!([at])).await;
        scene.mine(1).await;
        let intent = scene.record(Verdict::Breached, Some(act)).await.unwrap();
        let laggard = scene.proxy(|_, _| Fault::Stale(1)).await;
        let policy = RulePolicy {
            index: 0,
            id: "gauge-low".to_owned(),
            scope: 1,
            level: Level::ReduceOnly,
            duration: 3_600,
            severity: Severity::P1,
            robust: true,
            shadow: false,
            response: Response::Contain,
            cooldown: 0,
            maintenance: std::iter::once(0..at).collect(),
        };
        let responder = Responder {
            policies: Arc::new(vec![policy.clone()]),
            ..scene.asking(&laggard)
        };
        assert!(responder.unfounded(&intent).await.unwrap().is_none(), "{act:?}");
        let within = |from: u64, responder: &Responder| Responder {
            policies: Arc::new(vec![RulePolicy {
                maintenance: std::iter::once(from..u64::MAX).collect(),
                ..policy.clone()
            }]),
            ..responder.clone()
        };
        let is_silenced = async |responder: Responder| {
            let step = responder.unfounded(&intent).await.unwrap();
            matches!(&step, Some(Step::Finished(end)) if end.outcome == Outcome::Recorded)
        };
        // One that it is in by another configuration does, and one that has begun since.
        let alone = scene.proxy(|_, _| Fault::None).await;
        let here = scene.asking(&alone);
        assert!(is_silenced(within(at, &here)).await, "{act:?}");
        scene.bench.anvil.rpc("anvil_mine", json!(["0x3", "0x5"])).await;
        assert!(is_silenced(within(at + 1, &responder)).await, "{act:?}");
    }
}

/// The record was told that it holds, and an endpoint sees it breached.
#[tokio::test]
async fn what_is_sent_for_a_breach_that_one_endpoint_sees_is_sent_until_it_is_in_a_block() {
    let mut scene = Scene::new().await;
    let intent = scene.held().await;
    assert_eq!(intent.kind, IntentKind::Contain);
    let evaluation = Guard::Evaluation {
        verdict: Guard::Verdict::Breached,
        reason: 0,
        observedNegative: false,
        observed: U256::from(5_000),
        boundNegative: false,
        bound: U256::from(100),
    };
    let answer = hex::encode_prefixed(Guard::evaluateManyCall::abi_encode_returns(&vec![evaluation]));
    let selector = hex::encode(Guard::evaluateManyCall::SELECTOR);
    let other = scene
        .proxy(move |_, body| match body.contains(&selector) {
            true => Fault::Answer(json!(answer)),
            false => Fault::None,
        })
        .await;
    let responder = scene.asking(&other);
    assert!(matches!(responder.reason(&intent).await.unwrap(), Reason::Stands));
    scene.bench.anvil.rpc("evm_setAutomine", json!([false])).await;
    let (job, call) = (Job::now(intent.clone(), None), hello());
    let dearer = async {
        let begun = Instant::now();
        while scene.bench.store.transactions_of(intent.id).await.unwrap().len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it offers no more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The record goes on meanwhile.
        scene.mine(1).await;
        scene.record(Verdict::Holds, None).await;
    };
    let (delivered, ()) = tokio::join!(responder.race(&job, &call, &[]), dearer);
    assert!(delivered.unwrap().receipt.status());
}
