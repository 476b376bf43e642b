//! What the command refuses: a clear error, and nothing is sent, nothing is left behind.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use alloy::primitives::Address;
use alloy::providers::Provider;
use common::{Chain, GOVERNOR, GUARDIAN, deploy, failure, keeper, run};

/// Transactions of everybody who could have sent one.
async fn sent(chain: &Chain) -> u64 {
    let mut sent = 0;
    for account in [GOVERNOR, GUARDIAN] {
        sent += chain.provider.get_transaction_count(account).await.unwrap();
    }
    sent
}

fn with_guard(text: &str, guard: Address) -> String {
    text.replace("[guard]", &format!("[guard]\naddress = \"{guard}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_guard_gets_no_transaction() {
    let chain = Chain::start().await;
    let guardian = GUARDIAN.to_string();
    for (guard, reason) in [
        (Address::repeat_byte(0xaa), "no code"),
        (common::PROTOCOL, "reading the guard's rulebook"),
    ] {
        let path = chain.write_config(|text| with_guard(&text, guard));
        let hash = alloy::primitives::B256::repeat_byte(1).to_string();
        let commands: [&[&str]; 8] = [
            &["trip", "little-ether"],
            &["contain", "protocol", "halted", "--for", "15 minutes"],
            &["retry", "protocol"],
            &["release", "protocol"],
            &["release", "protocol", "--cancel"],
            &["settle", "protocol"],
            &["cancel", &hash],
            &["heartbeat"],
        ];
        for command in commands {
            let rest = ["--config", path.to_str().unwrap(), "--unlocked", &guardian];
            let message = failure(&run(&[&["guard"], command, &rest].concat()));
            assert!(message.contains(reason), "{command:?}: {message}");
        }
    }
    assert_eq!(sent(&chain).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_the_guard_will_lack_is_found_before_the_first_transaction() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text);
    let message = failure(&deploy(&path, &[]));
    assert!(
        message.contains("cannot carry out every containment call") && message.contains("pool.setPaused(true)"),
        "{message}"
    );
    assert_eq!(sent(&chain).await, 0);

    // The address in the error is the one that the guard will have: a protocol may give the role beforehand.
    let guard: Address = message.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    chain.grant(guard).await;
    let output = deploy(&path, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains(&guard.to_string()) && text.contains("\nsealed\n"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_cannot_start_begins_no_record() {
    let chain = Chain::start().await;
    let record = chain.folder().join("cordon.db");
    let run_keeper = |path: &Path| failure(&keeper("run", path).output().unwrap());
    let nobody = Address::repeat_byte(0xaa);
    let other_chain = chain.write_config(|text| {
        let right = format!("id = {}", chain.node.chain_id());
        with_guard(&text, nobody).replace(&right, "id = 10")
    });
    let message = run_keeper(&other_chain);
    assert!(message.contains("chain 10"), "{message}");
    assert!(!record.exists());
    let no_code = chain.write_config(|text| with_guard(&text, nobody));
    let message = run_keeper(&no_code);
    assert!(message.contains("has no code"), "{message}");
    assert!(!record.exists());
    let down =
        chain.write_config(|text| with_guard(&text, nobody).replace(&chain.node.http_endpoint(), "http://127.0.0.1:1"));
    // It waits for its chain, for ever, and begins nothing meanwhile.
    let mut waiting = keeper("run", &down).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let waits = told
        .map_while(Result::ok)
        .any(|line| line.contains("waits for the chain"));
    let still_there = waiting.try_wait().unwrap().is_none();
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert!(waits && still_there && !record.exists());
}
