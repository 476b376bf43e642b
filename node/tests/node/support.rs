//! Nodes, anvil, and a small contract.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256, bytes},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
};
use cordon_node::{NodeConfig, NodeHandle, spawn};
use serde_json::Value;

/// Key of the first development account.
pub(crate) const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// The first two development accounts.
pub(crate) const ALICE: Address = alloy::primitives::address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
pub(crate) const BOB: Address = alloy::primitives::address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

/// Without calldata it counts up in slot 0 and logs the count under topic 42. With a zero word it answers the count. With
/// anything else it reverts with its calldata.
const COUNTER_INIT: Bytes = bytes!(
    "603680600b6000396000f33660195760005460010180600055600052602a60206000a1005b600035602b5760005460005260206000f35b366000600037366000fd"
);

pub(crate) async fn fresh() -> NodeHandle {
    spawn(NodeConfig::default()).await.unwrap()
}

/// A provider that signs as the first development account.
pub(crate) fn wallet(node: &NodeHandle) -> DynProvider {
    let key: PrivateKeySigner = KEY.parse().unwrap();
    ProviderBuilder::new()
        .wallet(EthereumWallet::from(key))
        .with_cached_nonce_management()
        .connect_http(node.http_endpoint().parse().unwrap())
        .erased()
}

/// A provider that leaves signing to the node.
pub(crate) fn plain(endpoint: &str) -> DynProvider {
    ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_http(endpoint.parse().unwrap())
        .erased()
}

pub(crate) async fn raw(provider: &DynProvider, method: &'static str, params: Value) -> Value {
    provider.raw_request(method.into(), params).await.unwrap()
}

/// Sends from an account of the node and takes the receipt, which must be there: of our node, not of anvil ([`Anvil::send`]).
pub(crate) async fn send(provider: &DynProvider, request: TransactionRequest) -> TransactionReceipt {
    let hash: B256 = provider
        .raw_request("eth_sendTransaction".into(), (request,))
        .await
        .unwrap();
    provider
        .get_transaction_receipt(hash)
        .await
        .unwrap()
        .expect("a receipt is there when the send returns")
}

pub(crate) fn transfer(from: Address, to: Address, wei: u64) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(from)
        .with_to(to)
        .with_value(U256::from(wei))
}

pub(crate) fn counter_creation() -> TransactionRequest {
    TransactionRequest::default()
        .with_from(ALICE)
        .with_deploy_code(COUNTER_INIT)
}

/// Deploys the counter.
pub(crate) async fn deploy_counter(provider: &DynProvider) -> Address {
    let receipt = send(provider, counter_creation()).await;
    assert!(receipt.status());
    receipt.contract_address.unwrap()
}

pub(crate) fn count_up(counter: Address) -> TransactionRequest {
    TransactionRequest::default().with_from(ALICE).with_to(counter)
}

pub(crate) fn read_count(counter: Address) -> TransactionRequest {
    TransactionRequest::default()
        .with_to(counter)
        .with_input(Bytes::from(vec![0; 32]))
}

pub(crate) fn word(number: u64) -> Bytes {
    Bytes::from(U256::from(number).to_be_bytes::<32>())
}

/// Waits for something that must come soon.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen within 20 seconds");
}

/// A stock anvil, ended with the value.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) endpoint: String,
}

impl Anvil {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(tool("anvil"))
            .args(["--port", &port.to_string(), "--max-persisted-states", "0", "--silent"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let anvil = Self { child, endpoint };
        let provider = anvil.provider();
        eventually("anvil's start", async || provider.get_chain_id().await.ok()).await;
        anvil
    }

    pub(crate) fn provider(&self) -> DynProvider {
        plain(&self.endpoint)
    }

    /// Sends from an account of anvil and waits for the receipt: anvil mines after it has answered.
    pub(crate) async fn send(&self, request: TransactionRequest) -> TransactionReceipt {
        let provider = self.provider();
        let hash: B256 = provider
            .raw_request("eth_sendTransaction".into(), (request,))
            .await
            .unwrap();
        eventually("a receipt of anvil", async || {
            provider.get_transaction_receipt(hash).await.unwrap()
        })
        .await
    }

    pub(crate) fn fork_config(&self) -> NodeConfig {
        NodeConfig {
            fork_url: Some(self.endpoint.parse().unwrap()),
            ..NodeConfig::default()
        }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A binary of Foundry, where `scripts/setup` puts it.
pub(crate) fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/npm/node_modules/@foundry-rs");
    let platforms =
        std::fs::read_dir(&root).unwrap_or_else(|_| panic!("run scripts/setup first: no {}", root.display()));
    let candidates = platforms
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    let mut binaries = candidates
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.exists());
    binaries
        .next()
        .unwrap_or_else(|| panic!("run scripts/setup first: no {name} under {}", root.display()))
}
