//! What a node is started with: accounts, a genesis, hosts, and what it prints.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::providers::{Provider, ProviderBuilder};
use serde_json::{Value, json};

use crate::{ALICE, NOBODY, Process, Running, node, tool};

#[tokio::test]
async fn seeds_and_paths_give_the_accounts_that_anvil_has() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours.json"), folder.path().join("theirs.json"));
    let flags = [
        "--mnemonic-seed-unsafe",
        "42",
        "--derivation-path",
        "m/44'/60'/3'/0/",
        "--accounts",
        "3",
    ];
    let _node = Running::start(&[&flags[..], &["--config-out", ours.to_str().unwrap()]].concat());
    let mut anvil = Command::new(tool("anvil"))
        .args(flags)
        .args(["--port", "0", "--max-persisted-states", "0", "--silent"])
        .args(["--config-out", theirs.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let read = |path: &Path| -> Option<Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let begun = Instant::now();
    let expected = loop {
        if let Some(found) = read(&theirs) {
            break found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "anvil wrote no configuration"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    anvil.kill().unwrap();
    anvil.wait().unwrap();
    let found = read(&ours).unwrap();
    for field in ["available_accounts", "private_keys"] {
        let lower = |value: &Value| value[field].to_string().to_lowercase();
        assert_eq!(lower(&found), lower(&expected), "{field}");
    }
    assert_eq!(found["wallet"]["mnemonic"], expected["wallet"]["mnemonic"]);
    for field in expected.as_object().unwrap().keys() {
        assert!(!found[field].is_null(), "{field} is missing");
    }
    assert_eq!(found["gas_limit"], json!("32000000"));
    assert_eq!(found["base_fee"], json!("100000000"));
    let time: u64 = found["genesis_timestamp"].as_str().unwrap().parse().unwrap();
    assert!(time.abs_diff(expected["genesis_timestamp"].as_str().unwrap().parse().unwrap()) < 60);
}

#[tokio::test]
async fn a_genesis_file_fills_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("genesis.json");
    let genesis = json!({
        "config": { "chainId": 4242 },
        "timestamp": "0x6553f100",
        "gasLimit": "0x2faf080",
        "difficulty": "0x0",
        "alloc": {
            NOBODY: {
                "balance": "0x5", "nonce": "0x2", "code": "0x6001600055",
                "storage": { "0x0000000000000000000000000000000000000000000000000000000000000001": "0x0000000000000000000000000000000000000000000000000000000000000007" },
            },
        },
    });
    std::fs::write(&file, genesis.to_string()).unwrap();
    let node = Running::start(&["--init", file.to_str().unwrap(), "--number", "100"]);
    let provider = node.provider();
    assert_eq!(provider.get_chain_id().await.unwrap(), 4_242);
    assert_eq!(provider.get_block_number().await.unwrap(), 100);
    let nobody = NOBODY.parse().unwrap();
    assert_eq!(provider.get_balance(nobody).await.unwrap(), U256::from(5));
    assert_eq!(provider.get_transaction_count(nobody).await.unwrap(), 2);
    assert_eq!(
        provider.get_storage_at(nobody, U256::from(1)).await.unwrap(),
        U256::from(7)
    );
    let block = provider.get_block_by_number(100.into()).await.unwrap().unwrap();
    assert_eq!(
        (block.header.timestamp, block.header.gas_limit),
        (0x6553_f100, 50_000_000)
    );
}

#[tokio::test]
async fn what_contracts_print_is_printed_unless_it_is_not_wanted() {
    // log(string) with "hello".
    let hello = "0x41304fac0000000000000000000000000000000000000000000000000000000000000020\
                 000000000000000000000000000000000000000000000000000000000000000568656c6c6f000000000000000000000000000000000000000000000000000000";
    let request = json!({ "from": ALICE, "to": "0x000000000000000000636F6e736F6c652e6c6f67", "data": hello });
    for (flags, expected) in [
        (&[][..], 2),
        (&["--disable-console-log"], 0),
        (&["--silent"], 0),
        (&["--print-traces"], 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let printed = folder.path().join("stdout");
        let config = folder.path().join("config.json");
        let child = node(&["--port", "0", "--config-out", config.to_str().unwrap()])
            .args(flags)
            .stdout(std::fs::File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let endpoint = loop {
            let text = std::fs::read(&config).unwrap_or_default();
            if let Ok(config) = serde_json::from_slice::<Value>(&text) {
                break config["endpoint"].as_str().unwrap().to_owned();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the node does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let process = Process(child);
        let running = Running { process, endpoint };
        let provider = running.provider();
        let _: Value = provider
            .raw_request("eth_call".into(), (request.clone(), "latest"))
            .await
            .unwrap();
        let _: Value = provider
            .raw_request("eth_sendTransaction".into(), (request.clone(),))
            .await
            .unwrap();
        drop(running);
        let lines = std::fs::read_to_string(&printed).unwrap();
        let found = lines.lines().filter(|line| *line == "hello").count();
        assert_eq!(found, expected, "{flags:?}: {lines}");
    }
}

#[tokio::test]
async fn it_listens_on_every_host_that_is_given() {
    let by_flags = Running::start(&["--host", "127.0.0.1", "--host", "127.0.0.2"]);
    let port = by_flags.endpoint.rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "127.0.0.2"] {
        let url = format!("http://{host}:{port}").parse().unwrap();
        let provider = ProviderBuilder::new().connect_http(url);
        assert_eq!(provider.get_chain_id().await.unwrap(), 31_337, "{host}");
    }
}
