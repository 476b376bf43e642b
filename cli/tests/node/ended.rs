//! What is left of a node that was killed, or has ended.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::providers::Provider;
use serde_json::json;

use crate::{NOBODY, Running, node, pay, raw};

#[tokio::test]
async fn a_killed_node_loses_no_more_than_the_last_interval() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let path = file.to_str().unwrap();
    let arguments = ["--state", path, "--state-interval", "0.3"];
    let mut first = Running::start(&arguments);
    let provider = first.provider();
    for _ in 0..3 {
        pay(&provider).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    first.process.0.kill().unwrap();
    first.process.0.wait().unwrap();

    let second = Running::start(&arguments);
    let provider = second.provider();
    assert_eq!(provider.get_block_number().await.unwrap(), 3);
    let nobody = NOBODY.parse().unwrap();
    assert_eq!(provider.get_balance(nobody).await.unwrap(), U256::from(3));
    pay(&provider).await;
    assert_eq!(provider.get_balance(nobody).await.unwrap(), U256::from(4));
}

#[tokio::test]
async fn a_node_killed_while_it_writes_loses_no_more_than_the_last_interval() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let arguments = ["--state", file.to_str().unwrap(), "--state-interval", "0.1"];
    let unfinished = |running: &Running| {
        let name = format!("state.json.unfinished-{}", running.process.0.id());
        folder.path().join(name)
    };
    let (mut expected, mut torn) = (0, 0);
    for round in 0..4 {
        let mut running = Running::start(&arguments);
        let provider = running.provider();
        assert!(provider.get_block_number().await.unwrap() >= expected, "round {round}");
        if round == 0 {
            // So much that writing it takes a while.
            for account in 1..=200_u8 {
                let code = format!("0x{}", "5b".repeat(24_000));
                let address = format!("0x{}", format!("{account:02x}").repeat(20));
                raw(&provider, "anvil_setCode", json!([address, code])).await;
            }
        }
        // Every payment is a block. Each write is noted with the head before it ended: the next one begins later and has that head.
        let written = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
        let (mut head, mut ends, mut last) = (0, Vec::new(), written());
        let begun = Instant::now();
        while ends.len() < 3 || !unfinished(&running).exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{} writes were seen",
                ends.len()
            );
            pay(&provider).await;
            if written() != last {
                (last, ends) = (written(), [ends, vec![head]].concat());
            }
            head = provider.get_block_number().await.unwrap();
        }
        running.process.0.kill().unwrap();
        running.process.0.wait().unwrap();
        torn += u32::from(unfinished(&running).exists());
        expected = ends[ends.len() - 2];
    }
    assert!(torn > 0, "none was killed in the middle of a write");
    let last = Running::start(&arguments);
    assert!(last.provider().get_block_number().await.unwrap() >= expected);
    pay(&last.provider()).await;
    let begun = Instant::now();
    let names = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| *name != "state.json").collect::<Vec<_>>()
    };
    let own = unfinished(&last);
    while names().iter().any(|name| !own.ends_with(name)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {:?}", names());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_killed_node_leaves_nothing_on_disk() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::of(
        node(&["--port", "0", "--no-program-cache"])
            .envs(
                ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"]
                    .map(|name| (name, home.path())),
            )
            .current_dir(home.path()),
    );
    let provider = running.provider();
    for _ in 0..20 {
        pay(&provider).await;
    }
    // More states than the node keeps.
    raw(&provider, "anvil_mine", json!(["0x4e20"])).await;
    drop(running);
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_ended_node_has_written_all() {
    for name in ["TERM", "HUP", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        // What a node left that was killed while it wrote, and a file that only looks like it.
        std::fs::write(folder.path().join("state.json.unfinished-1234567"), "{").unwrap();
        std::fs::write(folder.path().join("state.json.old"), "{}").unwrap();
        let mut first = Running::start(&["--dump-state", folder.path().to_str().unwrap()]);
        pay(&first.provider()).await;
        first.process.signal(name);
        let begun = Instant::now();
        while first.process.0.try_wait().unwrap().is_none() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{name}: the node does not end"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let state = folder.path().join("state.json");
        let second = Running::start(&["--load-state", state.to_str().unwrap()]);
        assert_eq!(second.provider().get_block_number().await.unwrap(), 1, "{name}");
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["state.json", "state.json.old"], "{name}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_node_under_nohup_outlives_its_terminal() {
    let running = Running::of(
        Command::new("nohup")
            .arg(env!("CARGO_BIN_EXE_cordon"))
            .args(["node", "--port", "0", "--no-program-cache"])
            .env_remove("CORDON_NODE_MNEMONIC")
            .stdin(Stdio::null()),
    );
    running.process.signal("HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    pay(&running.provider()).await;
}
