//! `cordon node` as a process: anvil's flags, and what is left when it is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use serde_json::{Value, json};

const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NOBODY: &str = "0x0909090909090909090909090909090909090909";

fn node(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    command
        .arg("node")
        .args(arguments)
        .env_remove("CORDON_NODE_MNEMONIC")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/npm/node_modules/@foundry-rs");
    let platforms = std::fs::read_dir(&root).expect("run scripts/setup first");
    let binaries = platforms.flatten().map(|entry| entry.path().join("bin").join(name));
    binaries
        .into_iter()
        .find(|path| path.is_file())
        .expect("run scripts/setup first")
}

/// A running node, killed with the value.
struct Running {
    child: Child,
    endpoint: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = node(&["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned()));
        let endpoint = format!("http://{}", address.expect("the node ended before it listened"));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, endpoint }
    }

    fn provider(&self) -> DynProvider {
        ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(self.endpoint.parse().unwrap())
            .erased()
    }
}

async fn raw(provider: &DynProvider, method: &'static str, params: Value) -> Value {
    provider.raw_request(method.into(), params).await.unwrap()
}

async fn pay(provider: &DynProvider) {
    let transfer = json!([{ "from": ALICE, "to": NOBODY, "value": "0x1" }]);
    raw(provider, "eth_sendTransaction", transfer).await;
}

/// What stands for a folder in which nothing can be made, by nobody: a file.
const NOWHERE: &str = "NOWHERE";

/// Values with which each flag of anvil is tried; `None`: a switch.
fn sample(flag: &str) -> Option<Option<&'static str>> {
    let hash = "0x0101010101010101010101010101010101010101010101010101010101010101";
    Some(match flag {
        "accounts" => Some("2"),
        "block-time" => Some("0.5"),
        "balance" | "slots-in-an-epoch" | "transaction-block-keeper" | "number" | "prune-history" => Some("7"),
        "hardfork" => Some("cancun"),
        "derivation-path" => Some("m/44'/60'/1'/0/"),
        "ipc" => Some("NOWHERE/socket"),
        "threads" | "max-persisted-states" | "retries" | "mnemonic-seed-unsafe" => Some("2"),
        "mnemonic" => Some("test test test test test test test test test test test junk"),
        "mnemonic-random" => Some("12"),
        "max-transactions" | "timestamp" | "memory-limit" | "code-size-limit" | "gas-price" => Some("100000"),
        "block-base-fee-per-gas" | "compute-units-per-second" | "timeout" | "fork-retry-backoff" => Some("1000"),
        "gas-limit" => Some("40000000"),
        "order" => Some("fifo"),
        "port" => Some("0"),
        "host" => Some("127.0.0.1"),
        "allow-origin" => Some("http://localhost"),
        "cache-path" | "dump-state" | "state" => Some("NOWHERE/folder"),
        "init" | "load-state" => Some("NOWHERE/file"),
        "state-interval" => Some("60"),
        "color" => Some("never"),
        "fork-url" => Some("http://127.0.0.1:1"),
        "fork-block-number" => Some("-3"),
        "fork-chain-id" | "chain-id" => Some("42161"),
        "fork-header" => Some("X-Key: value"),
        "fork-transaction-hash" => Some(hash),
        "network" => Some("ethereum"),
        "no-mining"
        | "mixed-mining"
        | "preserve-historical-states"
        | "md"
        | "quiet"
        | "verbosity"
        | "no-cors"
        | "no-request-size-limit"
        | "no-rate-limit"
        | "no-storage-caching"
        | "disable-block-gas-limit"
        | "disable-code-size-limit"
        | "disable-min-priority-fee"
        | "enable-tx-gas-limit"
        | "auto-impersonate"
        | "disable-console-log"
        | "disable-default-create2-deployer"
        | "print-traces"
        | "steps-tracing"
        | "disable-pool-balance-checks"
        | "json"
        | "celo" => None,
        _ => return None,
    })
}

/// The long flags that anvil's help names.
fn flags_of_anvil() -> Vec<String> {
    let help = Command::new(tool("anvil")).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let named = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let long = match line.split_once(", --") {
            Some((short, long)) if short.len() == 2 && short.starts_with('-') => long,
            _ => line.strip_prefix("--")?,
        };
        Some(long.split([' ', '.', '[']).next()?.to_owned())
    });
    named
        .filter(|flag| !["help", "version", "config-out"].contains(&flag.as_str()))
        .collect()
}

/// Runs a node with one flag up to the point where it has started, and lets it fail there: at `nowhere`.
fn started_with(flag: &str, value: Option<&str>, nowhere: &Path) -> Output {
    let nowhere = nowhere.to_str().unwrap();
    let mut command = node(&["--config-out", &format!("{nowhere}/config.json")]);
    if flag != "port" {
        command.args(["--port", "0"]);
    }
    match flag {
        "fork-url" => drop(command.args(["--retries", "0"])),
        "retries" | "timeout" | "no-rate-limit" => drop(command.args(["--fork-url", "http://127.0.0.1:1"])),
        "mixed-mining" => drop(command.args(["--block-time", "1"])),
        "state-interval" => drop(command.args(["--dump-state", &format!("{nowhere}/folder")])),
        _ if flag.starts_with("fork-") || flag == "compute-units-per-second" => {
            command.args(["--fork-url", "http://127.0.0.1:1", "--retries", "0"]);
        }
        _ => {}
    }
    command.arg(format!("--{flag}"));
    command.args(value.map(|value| value.replace(NOWHERE, nowhere)));
    command.output().unwrap()
}

#[test]
fn every_flag_of_anvil_is_taken_or_refused_by_name() {
    let flags = flags_of_anvil();
    assert!(flags.len() > 60, "anvil's help was not understood: {flags:?}");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("file");
    std::fs::write(&nowhere, "").unwrap();
    let shown = nowhere.to_str().unwrap();
    let mut refused = Vec::new();
    for flag in &flags {
        let value = sample(flag).unwrap_or_else(|| panic!("anvil has a flag that nobody thought of: --{flag}"));
        let output = started_with(flag, value, &nowhere);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        // 2: the command was written wrongly. 1: it ran into the end prepared for it, or refuses the flag.
        assert_eq!(output.status.code(), Some(1), "--{flag}: {message}");
        if message.contains(&format!("--{flag}")) {
            refused.push(flag.as_str());
        } else {
            let expected = ["--config-out", "does not answer", shown];
            assert!(
                expected.iter().any(|part| message.contains(part)),
                "--{flag}: {message}"
            );
        }
    }
    assert_eq!(refused, ["json", "disable-pool-balance-checks", "celo"]);
    for network in ["optimism", "tempo"] {
        let output = started_with("network", Some(network), &nowhere);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("--network"),
            "{network}"
        );
    }
}

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
    first.child.kill().unwrap();
    first.child.wait().unwrap();

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
        let name = format!("state.json.unfinished-{}", running.child.id());
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
        running.child.kill().unwrap();
        running.child.wait().unwrap();
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
    let mut child = node(&["--port", "0", "--no-program-cache"])
        .envs(["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].map(|name| (name, home.path())))
        .current_dir(home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned()));
    let running = Running {
        child,
        endpoint: format!("http://{}", address.unwrap()),
    };
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

/// Sends a signal to the node.
fn signal(running: &Running, name: &str) {
    let id = running.child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test]
async fn an_ended_node_has_written_all() {
    for name in ["-TERM", "-HUP", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        // What a node left that was killed while it wrote, and a file that only looks like it.
        std::fs::write(folder.path().join("state.json.unfinished-1234567"), "{").unwrap();
        std::fs::write(folder.path().join("state.json.old"), "{}").unwrap();
        let mut first = Running::start(&["--dump-state", folder.path().to_str().unwrap()]);
        pay(&first.provider()).await;
        signal(&first, name);
        let begun = Instant::now();
        while first.child.try_wait().unwrap().is_none() {
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
    let mut child = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_cordon"))
        .args(["node", "--port", "0", "--no-program-cache"])
        .env_remove("CORDON_NODE_MNEMONIC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned()));
    let running = Running {
        child,
        endpoint: format!("http://{}", address.unwrap()),
    };
    signal(&running, "-HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    pay(&running.provider()).await;
}

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
        let running = Running { endpoint, child };
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
