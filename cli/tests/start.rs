//! What `cordon keeper run` does before it can work, and whom it tells when it cannot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{PAGER, Process, pager};
use cordon_testkit::Inbox;
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
    inbox: Inbox,
}

impl Place {
    async fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            inbox: Inbox::start().await.unwrap(),
        }
    }

    /// A keeper that only watches, on this record.
    fn write(&self, rpc: &str, chain: u64, store: &str) {
        let text = format!(
            r#"[chain]
id = {chain}
rpc = ["{rpc}"]

[keeper]
store = {store}

{PAGER}
[[watch]]
id = "code"
on = "code"
at = "0x00000000000000000000000000000000000000a1"
"#
        );
        std::fs::write(self.dir.path().join("cordon.toml"), text).unwrap();
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
        command
            .args(["keeper", what, "--config"])
            .arg(self.dir.path().join("cordon.toml"))
            .envs(pager(&self.inbox))
            .env("CORDON_TEST_DATABASE", "postgres://nobody@127.0.0.1:1/nothing")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Process {
        Process(self.command("run").stderr(Stdio::null()).spawn().unwrap())
    }

    /// What a keeper says that does not start.
    async fn refused(&self) -> String {
        let mut command = self.command("run");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn record(&self) -> std::path::PathBuf {
        self.dir.path().join("watch.db")
    }

    /// The messages so far that a keeper sends which cannot begin: what it finds when it has begun is not of interest.
    fn told(&self) -> Vec<String> {
        let messages = self.inbox.messages();
        let texts = messages.iter().map(Value::to_string);
        texts
            .filter(|text| text.contains("keeper alarm blind") || text.contains("keeper alarm record"))
            .collect()
    }

    async fn until_told(&self, part: &str, most: Duration) -> Duration {
        let begun = Instant::now();
        while !self.told().iter().any(|text| text.contains(part)) {
            assert!(begun.elapsed() < most, "nobody was told {part:?}: {:#?}", self.told());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    }
}

async fn node() -> cordon_node::NodeHandle {
    cordon_node::spawn(cordon_node::NodeConfig::default()).await.unwrap()
}

/// Longer than a keeper waits before it tells, and before it has started.
const LONG: Duration = Duration::from_secs(55);

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_chain_or_the_record_tells_people_after_half_a_minute() {
    let node = node().await;
    let (blind, lost) = (Place::new().await, Place::new().await);
    blind.write("http://127.0.0.1:1", node.chain_id(), "\"watch.db\"");
    lost.write(
        &node.http_endpoint(),
        node.chain_id(),
        "{ postgres = { env = \"CORDON_TEST_DATABASE\" } }",
    );
    let _processes = (blind.start(), lost.start());
    let (first, second) = tokio::join!(
        blind.until_told("has started and sees no blocks", LONG),
        lost.until_told("cannot reach its record", LONG)
    );
    for waited in [first, second] {
        assert!(waited > Duration::from_secs(20), "{waited:?}");
    }
    assert_eq!((blind.told().len(), lost.told().len()), (1, 1));
    assert!(!blind.record().exists(), "nothing is begun meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_keeper_does_not_start_is_told_once_per_cause_and_its_end_when_it_has() {
    let node = node().await;
    let place = Place::new().await;
    place.write(&node.http_endpoint(), 10, "\"watch.db\"");
    for _ in 0..3 {
        // As systemd does.
        let why = place.refused().await;
        assert!(why.contains("chain 10"), "{why}");
    }
    assert_eq!(place.told().len(), 1, "{:#?}", place.told());
    assert!(place.told()[0].contains("does not start") && place.told()[0].contains("chain 10"));
    place.write(&node.http_endpoint(), 11, "\"watch.db\"");
    place.refused().await;
    assert_eq!(place.told().len(), 2, "another cause");
    assert!(!place.record().exists());
    place.write(&node.http_endpoint(), node.chain_id(), "\"watch.db\"");
    let _keeper = place.start();
    place.until_told("is gone", LONG).await;
    assert_eq!(place.told().len(), 3, "{:#?}", place.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_keeper_and_a_check_leave_the_record_as_it_is() {
    let node = node().await;
    let place = Place::new().await;
    place.write(&node.http_endpoint(), node.chain_id(), "\"watch.db\"");
    // A file without tables that another keeper runs on, as far as anybody can tell.
    std::fs::write(place.record(), "").unwrap();
    let lock = File::create(place.dir.path().join("watch.db-lock")).unwrap();
    lock.lock().unwrap();
    let why = place.refused().await;
    assert!(why.contains("another keeper runs on the record"), "{why}");
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(length(&place.record()), 0, "no table was made");
    let mut check = place.command("check");
    let output = tokio::task::spawn_blocking(move || check.output().unwrap())
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(length(&place.record()), 0, "nothing is stored");
}
