//! What the council says of a breach that only the record holds, with endpoints that say what they are told to say.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use alloy::hex;
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::json;

use crate::record::samples;
use crate::rules::Watched;

const GUARD: Address = Address::repeat_byte(0x11);
const VERSION: B256 = samples::VERSION;

/// An endpoint that answers evaluations of one rule with this verdict, or with the fault.
pub(crate) async fn endpoint(says: Result<Guard::Verdict, Fault>) -> FaultyRpc {
    // Nothing is behind it.
    let endpoint = FaultyRpc::start("http://127.0.0.1:9").await.unwrap();
    let answer = |verdict| {
        let told = Guard::Evaluation {
            verdict,
            reason: 0,
            observedNegative: false,
            observed: U256::from(5_000),
            boundNegative: false,
            bound: U256::from(100),
        };
        let bytes = Guard::evaluateManyCall::abi_encode_returns(&vec![told]);
        Fault::Answer(json!(hex::encode_prefixed(bytes)))
    };
    endpoint.fault("eth_chainId", Fault::Answer(json!("0x1")));
    endpoint.fault("eth_call", says.map_or_else(|fault| fault, answer));
    endpoint
}

/// A keeper `own` that asks these endpoints, of which two have to agree, as have two keepers.
pub(crate) fn council(store: &Store, endpoints: &[FaultyRpc]) -> Council {
    let urls: Vec<String> = endpoints.iter().map(FaultyRpc::url).collect();
    let rpc = Rpc::new(&urls, 1, Duration::from_secs(5)).unwrap();
    let reader = Reader::new(rpc.clone(), GUARD, Watched::default());
    Council {
        rpc,
        reader: reader.clone(),
        asked: reader,
        store: store.clone(),
        alarms: Alarms::new(store.clone(), tokio::sync::broadcast::channel(16).0),
        names: Names::default(),
        quorum: Quorum {
            rules: 1,
            endpoints: 2,
            keepers: 2,
        },
        name: "own".to_owned(),
        version: VERSION,
    }
}

pub(crate) async fn record(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().join("cordon.db"), 1, GUARD).await.unwrap()
}

/// What is said of the first rule's breach, of which the record has the vote of another keeper; and how many have voted then.
async fn said(store: &Store, says: [Result<Guard::Verdict, Fault>; 2]) -> (Support, u32) {
    let endpoints = futures::future::join_all(says.into_iter().map(endpoint)).await;
    let block = samples::block(10);
    store.vote("other", (VERSION, 0), &[], &block, true).await.unwrap();
    let asked = AskedStep {
        run: 1,
        step: "halt".to_owned(),
        breach: Some((0, vec![])),
        block,
    };
    let answers = council(store, &endpoints).answers(&[asked]).await.unwrap();
    let support = *answers.get(&(1, "halt".to_owned())).unwrap();
    (support, store.voters((VERSION, 0), &[]).await.unwrap())
}

fn support(endpoints: u32, against: u32, keepers: u32) -> Support {
    Support {
        rules: 0,
        endpoints,
        against,
        keepers,
    }
}

#[tokio::test]
async fn a_playbook_has_no_voice_of_endpoints_that_do_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = record(&dir).await;
    let nobody = [Err(Fault::Hang), Err(Fault::Error(3, "execution reverted"))];
    assert_eq!(said(&store, nobody).await, (support(0, 0, 1), 1), "nor does it vote");
}

#[tokio::test]
async fn who_says_that_the_rule_holds_now_is_no_liar() {
    let dir = tempfile::tempdir().unwrap();
    let store = record(&dir).await;
    let holds = [Ok(Guard::Verdict::Holds), Ok(Guard::Verdict::Holds)];
    assert_eq!(said(&store, holds).await, (support(0, 2, 1), 1));
    assert_eq!(store.open_alarms().await.unwrap(), []);
}

#[tokio::test]
async fn a_keeper_votes_for_what_an_endpoint_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = record(&dir).await;
    let one = [Ok(Guard::Verdict::Breached), Ok(Guard::Verdict::Holds)];
    assert_eq!(said(&store, one).await, (support(1, 1, 2), 2));
}
