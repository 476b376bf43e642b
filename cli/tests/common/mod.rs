//! A node with a small protocol on it, and a configuration that guards it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use alloy::primitives::{Address, U256, address, bytes};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_node::{NodeConfig, NodeHandle};
use cordon_testkit::Inbox;

/// The protocol: `setPaused(bool)` for the account in slot 0 only, `paused()` for everyone.
pub const PROTOCOL: Address = address!("0x00000000000000000000000000000000000a0001");

/// Anvil's first account: deploys and governs.
pub const GOVERNOR: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// Anvil's second account.
pub const GUARDIAN: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
/// Anvil's third account, and its key, which everybody knows.
pub const KEEPER: Address = address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
pub const KEEPER_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
/// The key of anvil's fourth account.
pub const HEARTBEAT_KEY: &str = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";
/// Anvil's fourth account.
pub const HEARTBEAT: Address = address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906");

pub struct Chain {
    pub node: NodeHandle,
    pub provider: DynProvider,
    folder: tempfile::TempDir,
}

impl Chain {
    pub async fn start() -> Self {
        let node = cordon_node::spawn(NodeConfig::default()).await.unwrap();
        let provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        provider
            .client()
            .set_poll_interval(std::time::Duration::from_millis(20));
        // With calldata of 36 bytes: the caller must be the account in slot 0; its word goes to slot 1. Otherwise: slot 1.
        let code = bytes!("366024146010576001545f5260205ff35b335f5414601b575f5ffd5b60043560015500");
        provider.anvil_set_code(PROTOCOL, code).await.unwrap();
        Self {
            node,
            provider,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Gives the protocol's role to an account.
    pub async fn grant(&self, account: Address) {
        self.provider
            .anvil_set_storage_at(PROTOCOL, U256::ZERO, account.into_word())
            .await
            .unwrap();
    }

    /// Gives an account more ether than the rule of the configuration allows, in a block of its own.
    pub async fn endow(&self, account: Address) {
        self.provider
            .anvil_set_balance(account, U256::from(10).pow(U256::from(20)))
            .await
            .unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }

    pub async fn paused(&self) -> bool {
        !self
            .provider
            .get_storage_at(PROTOCOL, U256::ONE)
            .await
            .unwrap()
            .is_zero()
    }

    /// Writes the configuration and returns its path. `edit` may change its text.
    pub fn write_config(&self, edit: impl FnOnce(String) -> String) -> PathBuf {
        let path = self.folder.path().join("cordon.toml");
        std::fs::write(&path, edit(config(&self.node.http_endpoint(), self.node.chain_id()))).unwrap();
        path
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Deploys the guard of a configuration, which gets its address, and gives it the protocol's role.
    pub async fn deploy_guard(&self, config: &Path) -> Address {
        let output = deploy(config, &["--no-seal", "--write"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let guard = Config::load(config).unwrap().guard.address;
        let guard = guard.expect("the address was written");
        self.grant(guard).await;
        guard
    }
}

/// A process that dies with this value.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success(), "SIG{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cordon node`, with nothing of this environment that it reads.
pub fn node(arguments: &[&str]) -> Command {
    let mut command = cordon(&["node"]);
    command.args(arguments).env_remove("CORDON_NODE_MNEMONIC");
    command
}

/// Starts `cordon node` and waits until it listens; where it does.
pub fn listening(command: &mut Command) -> (Process, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned()));
    let address = address.expect("the node ended before it listened");
    std::thread::spawn(move || lines.for_each(drop));
    (Process(child), address)
}

/// People who are told, in a configuration; where they are is in the environment that [`pager`] makes.
pub const PAGER: &str = r#"
[[notify]]
id     = "pager"
via    = "webhook"
url    = { env = "CORDON_TEST_PAGER" }
secret = { env = "CORDON_TEST_PAGER_SECRET" }
"#;

/// What a command needs in its environment for people to be told at this inbox.
pub fn pager(inbox: &Inbox) -> [(&'static str, String); 2] {
    let secret = "a secret of sixteen bytes or more".to_owned();
    [("CORDON_TEST_PAGER", inbox.url()), ("CORDON_TEST_PAGER_SECRET", secret)]
}

/// A configuration for the small protocol.
pub fn config(endpoint: &str, chain_id: u64) -> String {
    format!(
        r#"[chain]
id = {chain_id}
rpc = ["{endpoint}"]

[guard]
scopes = ["protocol"]
governor = "{GOVERNOR}"
guardians = ["{GUARDIAN}"]
keepers = ["{KEEPER}"]
heartbeats = ["{HEARTBEAT}"]

[keeper]
store = "cordon.db"
key = {{ env = "CORDON_KEEPER_KEY" }}
heartbeat_key = {{ env = "CORDON_HEARTBEAT_KEY" }}

[contracts]
pool = {{ address = "{PROTOCOL}", abi = ["function paused() view returns (bool)", "function setPaused(bool on)"] }}

[[invariant]]
id = "little-ether"
scope = "protocol"
rule = "eth(pool) < 5e18"
robust = true
level = "Halted"

[[containment]]
id = "pause"
scope = "protocol"
level = "Halted"
call = "pool.setPaused(true)"
done = "pool.paused()"
closes = ["Deposit", "Withdraw"]
undo = [{{ call = "pool.setPaused(false)", undone = "!pool.paused()" }}]
"#
    )
}

/// The guard's programs. They are built by `scripts/build-contracts`, which `scripts/test` runs first.
pub fn artifacts() -> Artifacts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first")
}

/// The command, with nothing of this environment that it reads.
pub fn cordon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    command
        .args(arguments)
        .env_remove("CORDON_KEY")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    cordon(arguments).output().unwrap()
}

/// `cordon guard deploy` by the governor, with the programs of this tree.
pub fn deploy(config: &Path, more: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (config, root, governor) = (config.to_str().unwrap(), root.to_str().unwrap(), GOVERNOR.to_string());
    let arguments = [
        "guard",
        "deploy",
        "--config",
        config,
        "--root",
        root,
        "--unlocked",
        &governor,
    ];
    run(&[&arguments[..], more].concat())
}

/// `cordon keeper`, with its keys.
pub fn keeper(what: &str, config: &Path) -> Command {
    let mut command = cordon(&["keeper", what, "--config", config.to_str().unwrap()]);
    command
        .env("CORDON_KEEPER_KEY", KEEPER_KEY)
        .env("CORDON_HEARTBEAT_KEY", HEARTBEAT_KEY);
    command
}

/// Standard error of a command that fails with exit code 1.
pub fn failure(output: &Output) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        !message.contains('\x1b'),
        "no colour where there is no terminal: {message:?}"
    );
    message
}
