//! Watches on a real anvil: every kind finds what it looks for, once, whatever happens to the chain and to the keeper.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, address};
use cordon_client::Config;
use cordon_keeper::record::{Notice, NoticeKind, Store, StoredSighting};
use cordon_keeper::{Keeper, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use boxes::{POISON, place, put_data, send};
use common::Anvil;
use cordon_testkit::{Fault, FaultyRpc};

const BOX: Address = address!("0x00000000000000000000000000000000b0000001");
const OTHER: Address = address!("0x00000000000000000000000000000000b0000002");
/// The first development account of anvil.
const USER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// A chain with two boxes, and a keeper that only watches.
struct Watching {
    anvil: Anvil,
    rpc: String,
    dir: tempfile::TempDir,
    watches: String,
    store: Store,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    async fn start(watches: &str) -> Self {
        let anvil = Anvil::start(&["--slots-in-an-epoch", "1"]).await;
        let rpc = anvil.http();
        Self::on(anvil, rpc, watches).await
    }

    /// On `anvil`, reading through `rpc`.
    async fn on(anvil: Anvil, rpc: String, watches: &str) -> Self {
        for at in [BOX, OTHER] {
            place(&anvil, at).await;
        }
        anvil.rpc("anvil_mine", json!(["0x1"])).await;
        let dir = tempfile::tempdir().unwrap();
        let artifact = boxes::invariant_artifact().to_string();
        std::fs::write(dir.path().join("box.json"), artifact).unwrap();
        let (store, stop, task) = run(&anvil, &rpc, dir.path(), watches).await;
        let watching = Self {
            anvil,
            rpc,
            dir,
            watches: watches.to_owned(),
            store,
            stop,
            task,
        };
        watching.caught_up().await;
        watching
    }

    /// Ends the keeper without giving it time for anything, and starts another one on the same record.
    async fn restart(&mut self) {
        self.task.abort();
        let (store, stop, task) = run(&self.anvil, &self.rpc, self.dir.path(), &self.watches).await;
        (self.store, self.stop, self.task) = (store, stop, task);
    }

    async fn put(&self, at: Address, key: u64, value: u64) -> B256 {
        send(&self.anvil, USER, at, 0, &put_data(key, value)).await
    }

    async fn head(&self) -> (u64, B256) {
        let block = self.anvil.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let number = u64::from_str_radix(block["number"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        (number, block["hash"].as_str().unwrap().parse().unwrap())
    }

    /// Waits until the newest block is done.
    async fn caught_up(&self) {
        let begun = Instant::now();
        loop {
            let (_, hash) = self.head().await;
            let window = self.store.window(1).await.unwrap();
            if window.last().is_some_and(|block| block.hash == hash) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the keeper does not catch up"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn sightings(&self, watch: &str) -> Vec<StoredSighting> {
        self.caught_up().await;
        let mut found = self.store.sightings(Some(watch), 1_000).await.unwrap();
        found.reverse();
        found
    }

    async fn notices(&self) -> Vec<Notice> {
        let mut notices = self.store.notices(1_000).await.unwrap();
        notices.retain(|notice| notice.topic.starts_with("watch:"));
        notices.reverse();
        notices
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

async fn run(
    anvil: &Anvil,
    rpc: &str,
    dir: &std::path::Path,
    watches: &str,
) -> (Store, CancellationToken, tokio::task::JoinHandle<()>) {
    let text = format!(
        r#"
[chain]
id = {}
rpc = ["{rpc}"]
ws = "{}"

[keeper]
store = "watch.db"

[contracts]
box = {{ address = "{BOX}", abi = ["function get(uint256 key) view returns (uint256)"] }}
other = {{ address = "{OTHER}" }}
{watches}"#,
        anvil.chain_id(),
        anvil.ws()
    );
    let config = Config::parse(&text, dir.join("cordon.toml")).unwrap_or_else(|error| panic!("{error}"));
    let options = Options::from_config(&config).unwrap();
    let store = Store::open(dir.join("watch.db"), options.chain_id, options.guard)
        .await
        .unwrap();
    let keeper = Keeper::watching(options, &config.compile().unwrap(), store.clone())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { keeper.run(stop).await.unwrap() }
    });
    (store, stop, task)
}

const STORED: &str = r#"
[[watch]]
id = "stored"
on = "event"
event = "event Stored(uint256 indexed key, uint256 value)"
at = "box"
when = "value > 100 && value > box.get(7)"
severity = "P2"

[[watch]]
id = "anywhere"
on = "event"
event = "event Stored(uint256 indexed key, uint256 value)"
when = "emitter == other"
"#;

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

#[tokio::test]
async fn nothing_is_missed_or_told_twice_over_restarts() {
    let mut watching = Watching::start(STORED).await;
    let mut sent = 0;
    for pause in [0, 5, 11, 23, 47] {
        for _ in 0..3 {
            watching.put(BOX, 1, 150 + sent).await;
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        watching.restart().await;
    }
    let found = watching.sightings("stored").await;
    assert_eq!(found.len(), usize::try_from(sent).unwrap());
    assert_eq!(watching.notices().await.len(), found.len(), "each is told once");
}

#[tokio::test]
async fn what_a_reorg_takes_back_is_told_and_its_replacement_is_seen() {
    let watching = Watching::start(STORED).await;
    for value in [201, 202, 203] {
        watching.put(BOX, 1, value).await;
    }
    assert_eq!(watching.sightings("stored").await.len(), 3);
    // The three blocks are replaced; the second of the new ones has another event.
    let data = put_data(1, 303);
    let replacement = json!({ "from": USER, "to": BOX, "data": data, "gas": "0x30d40" });
    watching.anvil.rpc("anvil_reorg", json!([3, [[replacement, 1]]])).await;
    let found = watching.sightings("stored").await;
    let states: Vec<(&str, bool)> = found.iter().map(|s| (s.state.as_str(), s.canonical)).collect();
    assert_eq!(
        states,
        [
            ("retracted", false),
            ("retracted", false),
            ("retracted", false),
            ("told", true)
        ],
        "{found:#?}"
    );
    assert!(found[3].text.contains("value = 303"));
    let kinds: Vec<NoticeKind> = watching.notices().await.iter().map(|notice| notice.kind).collect();
    use NoticeKind::{Retracted, Seen};
    assert_eq!(kinds, [Seen, Seen, Seen, Retracted, Retracted, Retracted, Seen]);
}

const OTHERS: &str = r#"
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
    boxes::submitted(&watching.anvil, tx).await;
    let found = watching.sightings("code").await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].key, format!("code:{}", USER.create(7)));
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

#[tokio::test]
async fn silence_is_kept_in_cooldown_shadow_and_maintenance_and_recorded() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let day = |seconds: u64| {
        let out = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{seconds}"), "+%FT%TZ"])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let event = "on = \"event\"\nevent = \"event Stored(uint256 indexed key, uint256 value)\"\nat = \"box\"\n";
    let watches = format!(
        "[[watch]]\nid = \"cooling\"\n{event}cooldown = \"1 hour\"\n[[watch]]\nid = \"shadow\"\n{event}shadow = true\n\
         [[watch]]\nid = \"repair\"\n{event}\n[[maintenance]]\nfrom = \"{}\"\nto = \"{}\"\nwatches = [\"repair\"]\nreason = \"upgrade\"\n",
        day(now - 86_400),
        day(now + 86_400)
    );
    let watching = Watching::start(&watches).await;
    for value in [1, 2, 3] {
        watching.put(BOX, 1, value).await;
    }
    let states =
        |found: Vec<StoredSighting>| -> Vec<String> { found.into_iter().map(|sighting| sighting.state).collect() };
    assert_eq!(states(watching.sightings("cooling").await), ["told", "quiet", "quiet"]);
    assert_eq!(states(watching.sightings("shadow").await), ["quiet", "quiet", "quiet"]);
    assert_eq!(states(watching.sightings("repair").await), ["quiet", "quiet", "quiet"]);
    assert_eq!(watching.notices().await.len(), 1);
    // Acknowledged, it is nobody's open matter any more.
    assert_eq!(
        watching.store.acknowledge("cooling", "ada").await.unwrap(),
        "watch:cooling"
    );
    assert!(
        watching
            .store
            .open_topics()
            .await
            .unwrap()
            .iter()
            .all(|topic| topic.topic != "watch:cooling")
    );
}

#[tokio::test]
async fn what_waits_for_finality_is_told_then_and_never_when_its_block_is_gone() {
    let watches = format!(
        "{}finality = \"finalized\"\n",
        STORED.split("\n\n").next().unwrap().to_owned() + "\n"
    );
    let watching = Watching::start(&watches).await;
    watching.put(BOX, 1, 111).await;
    watching.caught_up().await;
    watching.anvil.rpc("anvil_reorg", json!([1, []])).await;
    watching.put(BOX, 1, 222).await;
    let found = watching.sightings("stored").await;
    let states: Vec<(&str, bool)> = found.iter().map(|s| (s.state.as_str(), s.canonical)).collect();
    assert_eq!(states, [("waiting", false), ("waiting", true)], "{found:#?}");
    assert!(watching.notices().await.is_empty());
    // With one slot an epoch, anvil calls final what is two blocks deep.
    watching.anvil.rpc("anvil_mine", json!(["0x4"])).await;
    let begun = Instant::now();
    while watching.notices().await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let notices = watching.notices().await;
    assert_eq!(notices.len(), 1);
    assert!(notices[0].text.contains("value = 222"));
}

#[tokio::test]
async fn a_transaction_that_waits_in_the_mempool_is_told_once() {
    let watches = r#"
[[watch]]
id = "waiting"
on = "pending"
to = "box"
function = "function put(uint256 key, uint256 value) payable"
when = "value > 10"
"#;
    let watching = Watching::start(watches).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    watching.anvil.rpc("evm_setAutomine", json!([false])).await;
    boxes::submit(&watching.anvil, USER, BOX, 0, &put_data(1, 5)).await;
    let hash = boxes::submit(&watching.anvil, USER, BOX, 0, &put_data(1, 50)).await;
    let begun = Instant::now();
    while watching.store.sightings(Some("waiting"), 10).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watching.anvil.rpc("anvil_mine", json!(["0x2"])).await;
    let found = watching.sightings("waiting").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, format!("tx:{hash}"));
    assert!(
        found[0].text.ends_with("which waits to be included"),
        "{}",
        found[0].text
    );
}

#[tokio::test]
async fn a_watch_that_cannot_look_is_an_alarm_and_not_silence() {
    let anvil = Anvil::start(&[]).await;
    let proxy = FaultyRpc::start(&anvil.http()).await.unwrap();
    let url = proxy.url();
    let watching = Watching::on(anvil, url, OTHERS).await;
    proxy.fault(
        "eth_getBlockReceipts",
        Fault::Error(-32_601, "the method does not exist"),
    );
    watching.put(BOX, 1, 700).await;
    watching.caught_up().await;
    let open = |alarms: Vec<cordon_keeper::record::Alarm>| -> Vec<String> {
        let open = alarms
            .into_iter()
            .filter(|alarm| alarm.cleared_ms.is_none() && alarm.kind == "watch-unknown");
        open.map(|alarm| alarm.subject).collect()
    };
    let mut subjects = open(watching.store.alarms().await.unwrap());
    subjects.sort();
    assert_eq!(subjects, ["failed-puts", "payments", "puts"]);
    proxy.heal();
    watching.put(BOX, 1, 701).await;
    watching.caught_up().await;
    assert!(open(watching.store.alarms().await.unwrap()).is_empty());
    assert_eq!(
        watching.sightings("puts").await.len(),
        1,
        "what came while it was blind is what the alarm is about"
    );
}
