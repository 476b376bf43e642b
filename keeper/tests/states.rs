//! Blocks whose state a node refuses: one that has none any more is found out once per block, and one rule that the node refuses blinds no other.
//! Neither costs a pause per rule: a keeper that catches up must be faster than the chain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U256, address, hex};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::chain::{BlockRef, BlockSource, Inquiry, Key, Question, Refusal, Rpc};
use cordon_keeper::decide::RuleVerdict;
use cordon_keeper::rules::{READ_FAILED, Reader, Request, Watched};
use cordon_testkit::{Fault, RpcProxy};
use serde_json::{Value, json};

use common::Anvil;

const GUARD: Address = Address::repeat_byte(0x11);
const RULES: u16 = 64;
/// The first development account of anvil.
const USER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// What a node refuses about the guard's state.
#[derive(Default)]
struct Refused {
    /// Hashes of blocks whose state it does not have.
    states: BTreeSet<String>,
    /// Rules that it has something against.
    rules: BTreeSet<u16>,
    /// How often it was asked about states.
    asked: usize,
}

/// A node with a guard whose rules all hold.
struct Node {
    anvil: Anvil,
    proxy: RpcProxy,
    refused: Arc<Mutex<Refused>>,
}

impl Node {
    async fn start() -> Self {
        let anvil = Anvil::start(&[]).await;
        anvil.rpc("anvil_mine", json!(["0x28"])).await;
        let refused = Arc::<Mutex<Refused>>::default();
        let shared = Arc::clone(&refused);
        let plan = move |_: usize, body: &str| answer(&mut shared.lock().unwrap(), body);
        let proxy = RpcProxy::start(&anvil.http(), plan).await.unwrap();
        Self { proxy, anvil, refused }
    }

    fn reader(&self) -> (Rpc, Reader) {
        let rpc = Rpc::new(&[self.proxy.url()], self.anvil.chain_id(), Duration::from_secs(5)).unwrap();
        (rpc.clone(), Reader::new(rpc, GUARD, Watched::default()))
    }

    /// Reads the block; answers its verdicts by rule, how often states were asked about, and how long it took.
    async fn read(&self, reader: &Reader, block: &BlockRef) -> (Vec<RuleVerdict>, usize, Duration) {
        let requests: Vec<Request> = (0..RULES).map(Request::plain).collect();
        self.refused.lock().unwrap().asked = 0;
        let begun = Instant::now();
        let reading = reader.read(block, &requests, &[]).await.unwrap();
        assert!(reading.logs_read, "its logs are read all the same");
        let mut verdicts = reading.verdicts;
        verdicts.sort_by_key(|verdict| verdict.rule);
        (verdicts, self.refused.lock().unwrap().asked, begun.elapsed())
    }
}

/// What the node answers.
fn answer(refused: &mut Refused, body: &str) -> Fault {
    let request: Value = serde_json::from_str(body).unwrap();
    let one = request.as_array().map_or(&request, |batch| &batch[0]);
    if one["method"] != "eth_call" {
        return Fault::None;
    }
    refused.asked += 1;
    if refused.states.iter().any(|hash| body.contains(hash)) {
        return Fault::Error(-32_000, "missing trie node");
    }
    let data = one["params"][0]["input"]
        .as_str()
        .map(|data| hex::decode(data).unwrap())
        .unwrap_or_default();
    if let Ok(call) = Guard::evaluateManyCall::abi_decode(&data) {
        if call.rules.iter().any(|rule| refused.rules.contains(rule)) {
            return Fault::Error(-32_000, "gas required exceeds allowance");
        }
        let holds = Guard::Evaluation {
            verdict: Guard::Verdict::Holds,
            reason: 0,
            observedNegative: false,
            observed: U256::ZERO,
            boundNegative: false,
            bound: U256::ZERO,
        };
        let all = vec![holds; call.rules.len()];
        return Fault::Answer(json!(hex::encode_prefixed(
            Guard::evaluateManyCall::abi_encode_returns(&all)
        )));
    }
    if Guard::levelsCall::abi_decode(&data).is_ok() {
        return Fault::Answer(json!(hex::encode_prefixed([0; 64])));
    }
    Fault::None
}

fn of(verdict: Verdict, verdicts: &[RuleVerdict]) -> Vec<u16> {
    let of = verdicts.iter().filter(|held| held.reading.verdict == verdict);
    of.map(|held| held.rule).collect()
}

#[tokio::test]
async fn what_has_no_state_any_more_is_found_out_once_per_block() {
    let node = Node::start().await;
    let (rpc, reader) = node.reader();
    let newest = rpc.latest().await.unwrap();
    let (verdicts, asked, _) = node.read(&reader, &newest).await;
    assert_eq!(
        (of(Verdict::Holds, &verdicts).len(), asked),
        (64, 2),
        "rules and levels"
    );
    let mut blocks = Vec::new();
    for number in 5..=20 {
        blocks.push(rpc.by_number(number).await.unwrap().unwrap());
    }
    let hashes = blocks.iter().map(|block| block.hash.to_string());
    node.refused.lock().unwrap().states.extend(hashes);
    for (at, block) in blocks.iter().enumerate() {
        let (verdicts, asked, took) = node.read(&reader, block).await;
        // Each by itself, so that none is left out.
        assert_eq!(of(Verdict::Unknown, &verdicts), (0..RULES).collect::<Vec<_>>());
        assert!(verdicts.iter().all(|verdict| verdict.reading.reason == READ_FAILED));
        // The first one was not expected to have none: what was asked before that was found out was refused.
        let most = if at == 0 { 3 } else { 1 };
        assert!(asked <= most, "block {}: {asked} questions", block.number);
        assert!(took < Duration::from_secs(1), "block {}: {took:?}", block.number);
    }
    // Where states begin, they are seen at once.
    let next = rpc.by_number(21).await.unwrap().unwrap();
    let (verdicts, asked, _) = node.read(&reader, &next).await;
    assert_eq!((of(Verdict::Holds, &verdicts).len(), asked), (64, 3));
    let (_, asked, _) = node.read(&reader, &rpc.by_number(22).await.unwrap().unwrap()).await;
    assert_eq!(asked, 2, "and are no longer looked for");
}

#[tokio::test]
async fn the_newest_state_is_waited_for_once_and_not_per_rule() {
    let node = Node::start().await;
    let (rpc, reader) = node.reader();
    let newest = rpc.latest().await.unwrap();
    let hash = newest.hash.to_string();
    node.refused.lock().unwrap().states.insert(hash.clone());
    let (verdicts, asked, took) = node.read(&reader, &newest).await;
    assert_eq!(of(Verdict::Unknown, &verdicts).len(), 64);
    assert!(asked <= 12, "{asked} questions");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // A node that is a moment behind: the block is not given up.
    let (_, reader) = node.reader();
    let refused = Arc::clone(&node.refused);
    let arrives = async {
        while refused.lock().unwrap().asked < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        refused.lock().unwrap().states.clear();
    };
    let ((verdicts, ..), ()) = tokio::join!(node.read(&reader, &newest), arrives);
    assert_eq!(of(Verdict::Holds, &verdicts).len(), 64);
}

#[tokio::test]
async fn a_rule_that_the_node_refuses_blinds_no_other_and_costs_no_pause_of_its_own() {
    let node = Node::start().await;
    let (rpc, reader) = node.reader();
    let newest = rpc.latest().await.unwrap();
    node.refused.lock().unwrap().rules.extend([3, 4, 40]);
    let (verdicts, asked, took) = node.read(&reader, &newest).await;
    assert_eq!(of(Verdict::Unknown, &verdicts), [3, 4, 40]);
    assert_eq!(of(Verdict::Holds, &verdicts).len(), 61);
    assert!(asked <= 40, "{asked} questions");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // All of them, as after a call that the node has learnt to forbid.
    node.refused.lock().unwrap().rules.extend(0..RULES);
    let (verdicts, _, took) = node.read(&reader, &newest).await;
    assert_eq!(of(Verdict::Unknown, &verdicts).len(), 64);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn what_one_endpoint_has_no_more_the_next_is_asked_for() {
    let node = Node::start().await;
    let (rpc, _) = node.reader();
    let old = rpc.by_number(5).await.unwrap().unwrap();
    let pruned = pruned(&node.anvil, &old).await;
    let urls = [pruned.url(), node.anvil.http()];
    let rpc = || Rpc::new(&urls, node.anvil.chain_id(), Duration::from_secs(5)).unwrap();
    let hash = old.hash;
    let questions = [
        Question::Balance(USER),
        Question::CodeHash(USER),
        Question::Storage(GUARD, B256::ZERO),
        asked(USER),
        asked(GUARD),
    ];
    for question in &questions {
        let told = rpc().ask_many(hash, std::slice::from_ref(question)).await.unwrap();
        assert!(told[0].is_ok(), "{question:?}: {told:?}");
    }
    let told = rpc().ask_many(hash, &questions).await.unwrap();
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    let inquiry = Inquiry::of(&[Key::Balance(USER), Key::Slot(GUARD, U256::ZERO)]).unwrap();
    assert!(rpc().words(hash, &inquiry).await.unwrap().is_ok());
    assert!(rpc().codes(hash, &[USER]).await.unwrap().is_ok());
    assert!(rpc().receipts(hash).await.is_ok());
    // What both refuse is refused, and what one of a batch refuses takes nothing from the others.
    let alone = Rpc::new(&[pruned.url()], node.anvil.chain_id(), Duration::from_secs(5)).unwrap();
    let told = alone.ask_many(hash, &questions).await.unwrap();
    assert!(
        told.iter().all(|told| matches!(told, Err(Refusal::Node(_)))),
        "{told:?}"
    );
    assert_eq!(
        alone.words(hash, &inquiry).await.unwrap().unwrap_err(),
        "missing trie node"
    );
}

/// An endpoint without the state of a block, and without its receipts.
async fn pruned(anvil: &Anvil, block: &BlockRef) -> RpcProxy {
    let hash = block.hash.to_string();
    let plan = move |_: usize, body: &str| match body.contains(&hash) {
        true => Fault::Error(-32_000, "missing trie node"),
        false => Fault::None,
    };
    RpcProxy::start(&anvil.http(), plan).await.unwrap()
}

fn asked(to: Address) -> Question {
    Question::Call {
        to,
        data: Bytes::new(),
        gas: Some(100_000),
        code: None,
    }
}
