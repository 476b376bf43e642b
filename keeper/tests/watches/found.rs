//! What each kind of watch finds.

use alloy::json_abi::Event;
use alloy::primitives::{Address, B256, hex};
use cordon_client::config::Standard;
use cordon_keeper::record::StoredSighting;
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::json;

use crate::boxes::{self, POISON, place, send};
use crate::common::Anvil;
use crate::{BOX, OTHER, STORED, USER, Watching};

#[tokio::test]
async fn events_are_found_by_signature_emitter_and_condition() {
    let watching = Watching::start(STORED).await;
    watching.put(BOX, 7, 90).await;
    watching.put(BOX, 1, 150).await;
    watching.put(OTHER, 1, 150).await;
    let found = watching.sightings("stored").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].text.ends_with("emitted Stored(key = 1, value = 150)"),
        "{}",
        found[0].text
    );
    assert_eq!((found[0].key.as_str(), found[0].state.as_str()), ("log:0", "told"));
    // The condition reads the contract as it is in the block.
    watching.put(BOX, 7, 1_000).await;
    watching.put(BOX, 1, 900).await;
    assert_eq!(
        watching.sightings("stored").await.len(),
        1,
        "1,000 is not above itself, 900 not above 1,000"
    );
    let found = watching.sightings("anywhere").await;
    assert_eq!(found.len(), 1);
    assert!(found[0].text.starts_with(&OTHER.to_string()));
    let notices = watching.notices().await;
    assert_eq!(notices.len(), 2);
    let facts: serde_json::Value = serde_json::from_str(notices[0].facts.as_ref().unwrap()).unwrap();
    assert_eq!(facts["found"]["args"]["value"], "150");
}

pub(crate) const OTHERS: &str = r#"
[[watch]]
id = "puts"
on = "call"
function = "function put(uint256 key, uint256 value) payable"
at = "box"
when = "value >= 500 && tx_value == 0"

[[watch]]
id = "failed-puts"
on = "call"
function = "function put(uint256 key, uint256 value) payable"
at = "box"
status = "failure"

[[watch]]
id = "payments"
on = "transaction"
to = ["other"]
when = "value >= 1000 && gas_used > 21000"

[[watch]]
id = "balance"
on = "balance"
at = ["other", "box"]
when = "balance >= 5000 && before < 5000"

[[watch]]
id = "slot"
on = "storage"
at = "box"
slot = "9"

[[watch]]
id = "code"
on = "code"
at = "0xa513E6E4b8f2a923D98304ec87F64353C4D5C853"

[[watch]]
id = "powers"
on = "changes"
at = "other"
standards = ["erc1967"]

[[watch]]
id = "own"
on = "invariants"
artifact = "box.json"
state = { "0" = "box" }
"#;

#[tokio::test]
async fn calls_and_transactions_are_told_by_how_they_ended() {
    let watching = Watching::start(OTHERS).await;
    watching.put(BOX, 1, 499).await;
    let good = watching.put(BOX, 1, 500).await;
    let bad = watching.put(BOX, 1, POISON).await;
    send(&watching.anvil, USER, OTHER, 999, "0x").await;
    let paid = send(&watching.anvil, USER, OTHER, 1_000, "0x").await;
    let keys = |found: Vec<StoredSighting>| -> Vec<String> { found.into_iter().map(|sighting| sighting.key).collect() };
    // A call that was reverted did not happen, and is not assumed to have.
    assert_eq!(keys(watching.sightings("puts").await), [format!("tx:{good}")]);
    assert_eq!(keys(watching.sightings("failed-puts").await), [format!("tx:{bad}")]);
    assert_eq!(keys(watching.sightings("payments").await), [format!("tx:{paid}")]);
}

#[tokio::test]
async fn state_that_changes_is_told_when_it_does() {
    let watching = Watching::start(OTHERS).await;
    for _ in 0..3 {
        send(&watching.anvil, USER, OTHER, 4_000, "0x").await;
        // While anvil mines the next block it answers for the newest with what will be in the next.
        watching.caught_up().await;
    }
    let found = watching.sightings("balance").await;
    assert_eq!(found.len(), 1, "it crosses the bound once: {found:#?}");
    assert!(
        found[0].text.contains("went from 4000 to 8000 wei"),
        "{}",
        found[0].text
    );
    for (key, value) in [(9, 77), (9, 77), (8, 78)] {
        watching.put(BOX, key, value).await;
        watching.caught_up().await;
    }
    assert_eq!(watching.sightings("slot").await.len(), 1);
    // A proxy that changes its implementation without a word.
    let slot: B256 = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
        .parse()
        .unwrap();
    let data = boxes::put_words(slot, BOX.into_word());
    send(&watching.anvil, USER, OTHER, 0, &data).await;
    let found = watching.sightings("powers").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].text.contains("the implementation of the proxy"),
        "{}",
        found[0].text
    );
    // A contract appears where none was: the address that the watch names is that of the sender's seventh nonce.
    let tx = json!({ "from": USER, "data": "0x6001600081600b8239f300", "gas": "0x30d40" });
    watching.anvil.send(tx).await;
    let found = watching.sightings("code").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, format!("code:{}", USER.create(7)));
}

/// Where a contract is that logs its calldata, of which the first words are so many topics.
fn herald(topics: u8) -> Address {
    Address::with_last_byte(0xb0 + topics)
}

/// calldatacopy(0, topics, rest); log(0, rest, topics); stop
fn herald_code(topics: u8) -> String {
    let rest = [0x60, 32 * topics, 0x36, 0x03];
    let mut code = [&rest[..], &[0x60, 32 * topics, 0x5f, 0x37]].concat();
    for word in (0..topics).rev() {
        code.extend([0x60, 32 * word, 0x35]);
    }
    code.extend([&rest[..], &[0x5f, 0xa0 + topics, 0x00]].concat());
    hex::encode_prefixed(code)
}

#[tokio::test]
async fn every_change_of_power_that_the_standards_log_is_told() {
    let anvil = Anvil::start(&[]).await;
    for topics in 1..=4 {
        anvil
            .rpc("anvil_setCode", json!([herald(topics), herald_code(topics)]))
            .await;
    }
    let at: Vec<String> = (1..=4).map(|topics| format!("\"{}\"", herald(topics))).collect();
    let names: Vec<String> = Standard::ALL
        .map(|standard| format!("\"{}\"", standard.name()))
        .to_vec();
    let powers = format!(
        "[[watch]]\nid = \"powers\"\non = \"changes\"\nat = [{}]\nstandards = [{}]\n",
        at.join(", "),
        names.join(", ")
    );
    let rpc = anvil.http();
    let watching = Watching::on(anvil, rpc, &powers).await;
    let mut told = Vec::new();
    for text in Standard::ALL.iter().flat_map(|standard| standard.events()) {
        let event = Event::parse(text).unwrap();
        let words = event.inputs.iter().partition::<Vec<_>, _>(|input| input.indexed);
        let topics = u8::try_from(1 + words.0.len()).unwrap();
        let (first, others) = (event.selector(), vec![USER.into_word(); event.inputs.len()]);
        let data: Vec<u8> = std::iter::once(first).chain(others).flat_map(|word| word.0).collect();
        send(&watching.anvil, USER, herald(topics), 0, &hex::encode_prefixed(data)).await;
        told.push(format!("{} emitted {}(", herald(topics), event.name));
    }
    let found = watching.sightings("powers").await;
    // A keeper that is behind looks at the newest block first.
    let mut seen: Vec<&str> = found.iter().map(|s| &s.text[..=s.text.find('(').unwrap()]).collect();
    seen.sort_unstable();
    told.sort_unstable();
    assert_eq!(seen, told);
}

#[tokio::test]
async fn a_teams_own_invariants_are_run_against_every_block_without_being_deployed() {
    let watching = Watching::start(OTHERS).await;
    for value in [100, 101, 102, 5, 400] {
        watching.put(BOX, 1, value).await;
    }
    let found = watching.sightings("own").await;
    assert_eq!(found.len(), 2, "each time it begins to revert: {found:#?}");
    assert!(
        found
            .iter()
            .all(|sighting| sighting.text.starts_with("invariant_box() reverts"))
    );
}

/// A contract that solc has compiled, with arguments for its constructor, immutable values, and errors of its own.
const COMPILED: &str = r#"
[[watch]]
id = "compiled"
on = "invariants"
artifact = "compiled.json"
args = ["box", "100"]
severity = "P1"
"#;

#[tokio::test]
async fn a_compiled_invariant_contract_says_why_in_its_own_words() {
    let watching = Watching::start(COMPILED).await;
    for (key, value) in [(1, 100), (1, 101), (2, 300), (1, 5)] {
        watching.put(BOX, key, value).await;
    }
    let found = watching.sightings("compiled").await;
    let told: Vec<(&str, &str)> = found.iter().map(|s| (s.key.as_str(), s.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "invariant:invariant_first",
                "invariant_first() reverts: TooMuch(1, 101, 100)"
            ),
            (
                "invariant:invariant_second",
                "invariant_second() reverts: the second box is too full"
            ),
        ]
    );
}

#[tokio::test]
async fn what_was_broken_before_anybody_looked_is_told_once() {
    let anvil = Anvil::start(&[]).await;
    place(&anvil, BOX).await;
    send(&anvil, USER, BOX, 0, &boxes::put_data(1, 500)).await;
    let rpc = anvil.http();
    let mut watching = Watching::on(anvil, rpc, COMPILED).await;
    for _ in 0..3 {
        watching.put(BOX, 3, 1).await;
        watching.caught_up().await;
        watching.restart().await;
    }
    watching.put(BOX, 3, 2).await;
    let found = watching.sightings("compiled").await;
    assert_eq!(found.len(), 1, "over blocks and restarts: {found:#?}");
    assert_eq!(found[0].text, "invariant_first() reverts: TooMuch(1, 500, 100)");
    assert_eq!(watching.notices().await.len(), 1);
    // A reload adds a watch of what is broken already.
    watching.watches += &COMPILED.replace("\"compiled\"\non", "\"added\"\non");
    watching.restart().await;
    for value in [3, 4] {
        watching.put(BOX, 3, value).await;
    }
    assert_eq!(watching.sightings("added").await.len(), 1);
    assert_eq!(watching.sightings("compiled").await.len(), 1);
    // In order again, and broken again: that is new.
    for value in [1, 600] {
        watching.put(BOX, 1, value).await;
        watching.caught_up().await;
    }
    assert_eq!(watching.sightings("compiled").await.len(), 2);
}

#[tokio::test]
async fn a_constructor_that_fails_is_run_again_when_it_may_not() {
    let anvil = Anvil::start(&[]).await;
    place(&anvil, BOX).await;
    send(&anvil, USER, BOX, 0, &boxes::put_data(9, 1)).await;
    let rpc = anvil.http();
    let watching = Watching::on(anvil, rpc, COMPILED).await;
    let why = watching.until_blind("compiled", true).await.unwrap();
    assert!(
        why.ends_with("its constructor reverts: the boxes are being moved"),
        "{why}"
    );
    watching.put(BOX, 1, 500).await;
    assert!(watching.sightings("compiled").await.is_empty());
    // The constructor is run on the block before.
    watching.put(BOX, 9, 0).await;
    watching.put(BOX, 3, 1).await;
    watching.until_blind("compiled", false).await;
    let found = watching.sightings("compiled").await;
    assert_eq!(found.len(), 1, "what broke meanwhile is told: {found:#?}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_the_constructor_once_is_asked_again() {
    let anvil = Anvil::start(&[]).await;
    let proxy = FaultyRpc::start(&anvil.http()).await.unwrap();
    let url = proxy.url();
    proxy.fault("eth_call", Fault::Error(-32_000, "missing trie node"));
    let watching = Watching::on(anvil, url, COMPILED).await;
    watching.until_blind("compiled", true).await;
    proxy.heal();
    watching.put(BOX, 1, 101).await;
    watching.until_blind("compiled", false).await;
    assert_eq!(watching.sightings("compiled").await.len(), 1);
}
