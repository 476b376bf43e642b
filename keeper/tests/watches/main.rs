//! Watches on a real anvil: every kind finds what it looks for, once, whatever happens to the chain and to the keeper.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../common/boxes.rs"]
mod boxes;
#[path = "../common/mod.rs"]
mod common;
mod found;
mod rules;
mod sources;
mod told;

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, address};
use cordon_client::Config;
use cordon_keeper::record::{Notice, Store, StoredSighting};
use cordon_keeper::{Keeper, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use boxes::{place, put_data, send};
use common::Anvil;

const BOX: Address = address!("0x00000000000000000000000000000000b0000001");
const OTHER: Address = address!("0x00000000000000000000000000000000b0000002");
/// The first development account of anvil.
const USER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// A chain with two boxes, and a keeper that only watches.
struct Watching {
    anvil: Anvil,
    rpc: String,
    ws: String,
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
        let ws = anvil.ws();
        Self::through(anvil, rpc, ws, watches).await
    }

    /// On `anvil`, reading through `rpc` and `ws`.
    async fn through(anvil: Anvil, rpc: String, ws: String, watches: &str) -> Self {
        for at in [BOX, OTHER] {
            place(&anvil, at).await;
        }
        anvil.rpc("anvil_mine", json!(["0x1"])).await;
        let dir = tempfile::tempdir().unwrap();
        let artifact = boxes::invariant_artifact().to_string();
        std::fs::write(dir.path().join("box.json"), artifact).unwrap();
        // What solc makes of contracts/solidity/drill/BoxInvariants.sol.
        let compiled = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../out/BoxInvariants.sol/BoxInvariants.json"
        );
        std::fs::copy(compiled, dir.path().join("compiled.json")).expect("run forge build first");
        let (store, stop, task) = run(&anvil, (&rpc, &ws), dir.path(), watches).await;
        let watching = Self {
            anvil,
            rpc,
            ws,
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
        let endpoints = (self.rpc.as_str(), self.ws.as_str());
        let (store, stop, task) = run(&self.anvil, endpoints, self.dir.path(), &self.watches).await;
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
                begun.elapsed() < Duration::from_secs(60),
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

    /// Names of watches that are alarmed to be blind, in order, with the reasons.
    async fn blind(&self) -> Vec<(String, String)> {
        let alarms = self.store.alarms().await.unwrap().into_iter();
        let open = alarms.filter(|alarm| alarm.cleared_ms.is_none() && alarm.kind == "watch-unknown");
        let mut blind: Vec<(String, String)> = open.map(|alarm| (alarm.subject, alarm.text)).collect();
        blind.sort();
        blind
    }

    /// Waits until such an alarm, or none, is open; answers what it says.
    async fn until_blind(&self, subject: &str, wanted: bool) -> Option<String> {
        let begun = Instant::now();
        loop {
            let found = self.blind().await.into_iter().find(|(blind, _)| blind == subject);
            if found.is_some() == wanted {
                return found.map(|(_, text)| text);
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{subject}: {found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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
    (rpc, ws): (&str, &str),
    dir: &std::path::Path,
    watches: &str,
) -> (Store, CancellationToken, tokio::task::JoinHandle<()>) {
    let text = format!(
        r#"
[chain]
id = {}
rpc = ["{rpc}"]
ws = "{ws}"

[keeper]
store = "watch.db"

[contracts]
box = {{ address = "{BOX}", abi = ["function get(uint256 key) view returns (uint256)"] }}
other = {{ address = "{OTHER}" }}
{watches}"#,
        anvil.chain_id()
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
