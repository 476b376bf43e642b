//! Foundry's tools against the node: `forge test --fork-url`, `forge script --broadcast`, `cast`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cordon_node::{NodeConfig, NodeHandle};
use serde_json::{Value, json};

/// Key and address of the first development account.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// Needs nothing but the compiler: the cheat codes are declared here.
const COUNTER: &str = r#"// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

contract Counter {
    error TooMuch(uint256 wanted, uint256 most);
    event Counted(uint256 count);
    uint256 public count;

    function add(uint256 amount) external returns (uint256) {
        if (amount > 10) revert TooMuch(amount, 10);
        count += amount;
        emit Counted(count);
        return count;
    }
}

interface Vm {
    function envAddress(string calldata name) external view returns (address);
    function startBroadcast() external;
    function stopBroadcast() external;
    function prank(address sender) external;
    function roll(uint256 number) external;
}
"#;

/// Reads what the node holds, changes it locally, and runs on Arbitrum's chain id.
const TEST: &str = r#"// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;
import {Counter, Vm} from "./Counter.sol";

contract ForkTest {
    Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Counter counter;

    function setUp() public {
        counter = Counter(vm.envAddress("COUNTER"));
    }

    function testStateOfTheNode() public view {
        require(counter.count() == 7, "the count of the node");
        require(block.chainid == 412346, "the chain id of the node");
        require(vm.envAddress("ALICE").balance > 9000 ether, "the balance of a development account");
    }

    function testLocalChanges() public {
        require(counter.add(3) == 10, "a local change");
        (bool done,) = address(counter).call(abi.encodeCall(Counter.add, (11)));
        require(!done, "the custom error");
    }

    function testFuzzAdd(uint8 amount) public {
        if (amount <= 10) require(counter.add(amount) == 7 + uint256(amount), "the sum");
    }
}
"#;

const SCRIPT: &str = r#"// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;
import {Counter, Vm} from "./Counter.sol";

contract Deploy {
    Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public constant IS_SCRIPT = true;

    function run() external returns (Counter counter) {
        vm.startBroadcast();
        counter = new Counter{salt: bytes32(uint256(1))}();
        counter.add(4);
        counter.add(3);
        vm.stopBroadcast();
    }
}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn tool(name: &str) -> PathBuf {
    let platforms = std::fs::read_dir(root().join("scripts/npm/node_modules/@foundry-rs"));
    let mut found = platforms
        .expect("run scripts/setup first")
        .flatten()
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.is_file());
    found.next().expect("run scripts/setup first")
}

/// A project of Foundry's with the contracts above.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[profile.default]\nsrc = \"src\"\ntest = \"src\"\nscript = \"src\"\nlibs = []\nsolc = \"{}\"\noffline = true\nevm_version = \"cancun\"\n[fuzz]\nruns = 32\n",
        root().join("scripts/solc").display()
    );
    std::fs::write(folder.path().join("foundry.toml"), config).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    for (name, text) in [("Counter.sol", COUNTER), ("Fork.t.sol", TEST), ("Deploy.s.sol", SCRIPT)] {
        std::fs::write(folder.path().join("src").join(name), text).unwrap();
    }
    folder
}

/// Runs a tool in a project; its output, which must be a success.
fn run(name: &str, folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let output: Output = Command::new(tool(name))
        .args(args)
        .current_dir(folder)
        .envs(variables.iter().copied())
        // Nothing is cached in the home of whoever runs the tests.
        .env("HOME", folder)
        .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} {args:?}: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

async fn node() -> NodeHandle {
    cordon_node::spawn(NodeConfig {
        chain_id: Some(412_346),
        ..NodeConfig::default()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_broadcasts_and_a_test_runs_on_the_fork() {
    let node = node().await;
    let rpc = node.http_endpoint();
    let folder = project();
    let script = [
        "script",
        "src/Deploy.s.sol:Deploy",
        "--rpc-url",
        &rpc,
        "--private-key",
        KEY,
        "--broadcast",
    ];
    let text = run("forge", folder.path(), &script, &[]);
    assert!(text.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{text}");
    let record = folder.path().join("broadcast/Deploy.s.sol/412346/run-latest.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let receipts = record["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 3);
    assert!(receipts.iter().all(|receipt| receipt["status"] == json!("0x1")));
    let counter = record["transactions"][0]["contractAddress"].as_str().unwrap();

    let count = run(
        "cast",
        folder.path(),
        &["call", counter, "count()(uint256)", "--rpc-url", &rpc],
        &[],
    );
    assert_eq!(count.trim(), "7");
    let test = ["test", "--fork-url", &rpc, "-vv"];
    let text = run("forge", folder.path(), &test, &[("COUNTER", counter), ("ALICE", ALICE)]);
    assert!(text.contains("3 tests passed, 0 failed"), "{text}");
    let count = run(
        "cast",
        folder.path(),
        &["call", counter, "count()(uint256)", "--rpc-url", &rpc],
        &[],
    );
    assert_eq!(count.trim(), "7", "a test on a fork changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_sends_reads_receipts_and_runs_again() {
    let node = node().await;
    let rpc = node.http_endpoint();
    let folder = project();
    let cast = |args: &[&str]| run("cast", folder.path(), &[args, &["--rpc-url", &rpc]].concat(), &[]);
    let created = [
        "create",
        "src/Counter.sol:Counter",
        "--rpc-url",
        &rpc,
        "--private-key",
        KEY,
        "--broadcast",
        "--json",
    ];
    let created: Value = serde_json::from_str(&run("forge", folder.path(), &created, &[])).unwrap();
    let counter = created["deployedTo"].as_str().unwrap().to_owned();

    let sent = cast(&["send", &counter, "add(uint256)", "5", "--private-key", KEY, "--json"]);
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["status"], json!("0x1"));
    let hash = sent["transactionHash"].as_str().unwrap();
    let receipt: Value = serde_json::from_str(&cast(&["receipt", hash, "--json"])).unwrap();
    assert_eq!(
        receipt["logs"][0]["address"].as_str().unwrap().to_lowercase(),
        counter.to_lowercase()
    );
    assert_eq!(cast(&["storage", &counter, "0"]).trim(), format!("0x{:064x}", 5));
    let again = cast(&["run", hash, "--quick"]);
    assert!(again.contains("Transaction successfully executed"), "{again}");
    // From an account whose key the node holds.
    let unlocked = cast(&[
        "send",
        &counter,
        "add(uint256)",
        "1",
        "--from",
        ALICE,
        "--unlocked",
        "--json",
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&unlocked).unwrap()["status"],
        json!("0x1")
    );
    let gas: u64 = cast(&["estimate", &counter, "add(uint256)", "1"])
        .trim()
        .parse()
        .unwrap();
    assert!((25_000..60_000).contains(&gas), "{gas}");
    let logs: Value =
        serde_json::from_str(&cast(&["logs", "--address", &counter, "--from-block", "0", "--json"])).unwrap();
    assert_eq!(logs.as_array().unwrap().len(), 2);
}

/// Every block of Solidity in the guide is a file that compiles, with the remapping that the guide names.
#[test]
fn the_solidity_of_the_integration_guide_compiles() {
    let guide = std::fs::read_to_string(root().join("docs/integration.md")).unwrap();
    let blocks: Vec<_> = guide
        .split("```solidity\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect();
    assert!(!blocks.is_empty(), "the guide has no Solidity");
    let named = "CHECKOUT/contracts/solidity/src/";
    assert!(
        guide.contains(&format!("`cordon/={named}`")),
        "the guide names no remapping"
    );
    let folder = tempfile::tempdir().unwrap();
    let sources = root().join("contracts/solidity/src");
    let config = format!(
        "[profile.default]\nsrc = \"src\"\nlibs = []\nsolc = \"{}\"\noffline = true\nevm_version = \"cancun\"\n\
         remappings = [\"cordon/={}/\"]\nallow_paths = [\"{}\"]\n",
        root().join("scripts/solc").display(),
        sources.display(),
        sources.display()
    );
    std::fs::write(folder.path().join("foundry.toml"), config).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    for (place, block) in blocks.iter().enumerate() {
        let path = folder.path().join(format!("src/Guide{place}.sol"));
        std::fs::write(path, format!("// SPDX-License-Identifier: MIT\n{block}\n")).unwrap();
    }
    run("forge", folder.path(), &["build", "--color", "never"], &[]);
    for place in 0..blocks.len() {
        let out = folder.path().join(format!("out/Guide{place}.sol"));
        assert!(out.is_dir(), "block {place} made no contract");
    }
}
