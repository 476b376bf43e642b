//! A team that has no guard yet: `cordon` checks, runs and replays invariants that are told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use common::{Chain, GOVERNOR, PAGER, PROTOCOL, Process, cordon, pager};
use cordon_testkit::Inbox;
use serde_json::Value;

/// Standard output of a command that works.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn write(chain: &Chain) -> PathBuf {
    chain.write_config(|_| {
        format!(
            r#"[chain]
id = {}
rpc = ["{}"]

[keeper]
store = "cordon.db"

[contracts]
pool = {{ address = "{PROTOCOL}", abi = ["function paused() view returns (uint256)"] }}

[[invariant]]
id = "open-for-users"
scope = "pool"
rule = "pool.paused() == 0"
severity = "P1"

{PAGER}
[[playbook]]
id = "first"
step = [{{ do = "note", text = "the war room is open" }}]
"#,
            chain.node.chain_id(),
            chain.node.http_endpoint(),
        )
    })
}

alloy::sol! {
    function setPaused(bool on);
}

/// Pauses the protocol, or lets it go on; answers the block.
async fn pause(chain: &Chain, on: bool) -> u64 {
    let transaction = TransactionRequest::default()
        .with_from(GOVERNOR)
        .with_to(PROTOCOL)
        .with_input(setPausedCall { on }.abi_encode());
    let sent = chain.provider.send_transaction(transaction).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt.block_number.unwrap()
}

async fn until(inbox: &Inbox, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        if let Some(found) = inbox.messages().into_iter().find(&matches) {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: {:#?}",
            inbox.messages()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariants_without_a_guard_are_checked_watched_told_and_replayed() {
    let chain = Chain::start().await;
    chain.grant(GOVERNOR).await;
    let inbox = Inbox::start().await.unwrap();
    let config = write(&chain);
    let path = config.to_str().unwrap();
    let pager = pager(&inbox);
    let command = |args: &[&str]| {
        let mut command = cordon(args);
        command.envs(pager.clone());
        command
    };
    let said = run(&mut cordon(&["check", "--config", path]));
    assert!(said.contains("open-for-users [pool] P1: keeper; is told"), "{said}");
    let said = run(&mut command(&["keeper", "check", "--config", path]));
    assert!(said.contains("1 invariants can look at chain"), "{said}");
    assert!(
        said.contains("there is no guard: breaches are told, and nothing is raised"),
        "{said}"
    );

    let keeper = command(&["keeper", "run", "--config", path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut keeper = Process(keeper);
    let record = chain.folder().join("cordon.db");
    let begun = Instant::now();
    while !record.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bad = pause(&chain, true).await;
    let told = until(&inbox, "the breach", |message| message["event"] == "trigger").await;
    assert_eq!(told["severity"], "P1", "{told:#}");
    assert_eq!(told["facts"]["incident"]["rule"], "open-for-users");
    assert_eq!(told["facts"]["incident"]["scope"], "pool");
    assert_eq!(told["facts"]["incident"]["first_bad_block"], bad);
    assert!(told["text"].as_str().unwrap().contains("no guard"), "{told:#}");
    // The report, with what the playbook added.
    let folder = chain.folder().join("incidents");
    let begun = Instant::now();
    let report = loop {
        let files = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let texts: Vec<String> = files
            .map(|file| std::fs::read_to_string(file.path()).unwrap())
            .collect();
        if let Some(text) = texts.into_iter().find(|text| text.contains("the war room is open")) {
            break text;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no playbook was carried out");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let good = pause(&chain, false).await;
    until(&inbox, "its end", |message| message["event"] == "resolve").await;
    assert!(report.contains("| Guard | none |"), "{report}");
    assert!(keeper.0.try_wait().unwrap().is_none(), "it goes on");
    drop(keeper);

    let (from, to) = (bad.to_string(), good.to_string());
    let said = run(&mut command(&[
        "keeper", "replay", "--config", path, "--from", &from, "--to", &to,
    ]));
    assert!(
        said.contains(&format!(
            "block {bad}: open-for-users is breached: tell people (no level)"
        )),
        "{said}"
    );
    assert_eq!(said.matches("is breached").count(), 1, "{said}");
}
