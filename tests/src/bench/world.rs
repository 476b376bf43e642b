//! A node with a contract that measures what hooks cost it, and its guard.

use std::path::{Path, PathBuf};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use alloy::sol;
use alloy::sol_types::SolCall;
use cordon_client::build::{Artifacts, PROGRAMS};
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::precompiles::ARB_WASM;
use cordon_client::{CompiledConfig, Config};
use cordon_node::{NodeConfig, NodeHandle};
use eyre::{OptionExt, WrapErr, ensure};

sol! {
    #[allow(missing_docs)]
    interface HookProbe {
        event Measured(uint256 enterGas, uint256 exitGas);
        event Asked(uint256 gas);
        function ask(address whom, bytes calldata question) external;
        function gauge() external view returns (uint256);
        function setGauge(uint256 value) external;
        function probe(address guard, uint24 scopes, uint8 action) external;
    }

    #[allow(missing_docs)]
    interface SolidityGuard {
        function register(address caller, address target, bytes4 selector, uint32 most, uint16 checked, uint8 scopes) external;
    }

    #[allow(missing_docs)]
    interface EntryCost {
        function programInitGas(address program) external view returns (uint64 gas, uint64 gasWhenCached);
    }
}

/// Accounts: governor, guardian, keeper, user.
pub(super) const GOVERNOR: u32 = 0;
pub(super) const GUARDIAN: u32 = 1;
pub(super) const KEEPER: u32 = 2;
pub(super) const USER: u32 = 3;

/// A node with the probe and a guard that accepts its hooks.
#[derive(Debug)]
pub struct Bench {
    pub(super) node: NodeHandle,
    pub(super) provider: DynProvider,
    pub(super) probe: Address,
    pub(super) guard: Address,
    pub(super) programs: [Address; PROGRAMS.len()],
    pub(super) artifacts: Artifacts,
    pub(super) root: PathBuf,
}

pub(super) fn key(index: u32) -> eyre::Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(cordon_node::DEFAULT_MNEMONIC);
    Ok(builder.index(index)?.build()?)
}

/// Creation code of one of our Solidity contracts, as forge wrote it.
///
/// # Errors
/// When the contract was not built.
pub fn creation_code(root: &Path, contract: &str) -> eyre::Result<Bytes> {
    let path = root.join(format!("out/{contract}.sol/{contract}.json"));
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run forge build", path.display()))?;
    let artifact: serde_json::Value = serde_json::from_str(&text)?;
    let code = artifact.pointer("/bytecode/object").and_then(serde_json::Value::as_str);
    Ok(code.ok_or_eyre("the artifact has no code")?.parse()?)
}

impl Bench {
    /// Deploys both on a node with these settings. `root` is the project's, whose contracts have been built.
    ///
    /// # Errors
    /// When an artifact is missing, or the node, the deployment or a set-up transaction fails.
    pub async fn new(root: &Path, config: NodeConfig) -> eyre::Result<Self> {
        Self::with(root, config, "").await
    }

    /// The same with more in the guard's configuration.
    pub(super) async fn with(root: &Path, config: NodeConfig, more: &str) -> eyre::Result<Self> {
        let node = cordon_node::spawn(NodeConfig { silent: true, ..config }).await?;
        let mut wallet = EthereumWallet::from(key(GOVERNOR)?);
        for index in [GUARDIAN, KEEPER, USER] {
            wallet.register_signer(key(index)?);
        }
        let provider = ProviderBuilder::new()
            .wallet(wallet)
            .connect_http(node.http_endpoint().parse()?)
            .erased();
        let creation = TransactionRequest::default()
            .with_from(key(USER)?.address())
            .with_deploy_code(creation_code(root, "HookProbe")?);
        let receipt = provider.send_transaction(creation).await?.get_receipt().await?;
        let probe = receipt.contract_address.ok_or_eyre("the probe was not created")?;
        let config = Config::parse(&(configuration(&node, probe)? + more), Path::new("bench.toml"))?;
        let compiled: CompiledConfig = config.compile()?;
        let artifacts = Artifacts::load(&Artifacts::directory(root))?;
        let from = key(GOVERNOR)?.address();
        let deployed = deploy_guard(&provider, from, &config, &compiled, &artifacts, GuardOptions::default()).await?;
        Ok(Self {
            node,
            provider,
            probe,
            guard: deployed.guard,
            programs: deployed.programs,
            artifacts,
            root: root.to_owned(),
        })
    }

    pub(super) async fn send(&self, from: u32, to: Address, call: Vec<u8>) -> eyre::Result<TransactionReceipt> {
        let tx = TransactionRequest::default()
            .with_from(key(from)?.address())
            .with_to(to)
            .with_input(call);
        let receipt = self.provider.send_transaction(tx).await?.get_receipt().await?;
        ensure!(receipt.status(), "a transaction of the benchmark reverted");
        Ok(receipt)
    }

    /// Ends the node and waits until its port is free.
    ///
    /// # Errors
    /// When the node does not end in order.
    pub async fn stop(self) -> eyre::Result<()> {
        Ok(self.node.stop().await?)
    }

    /// A feed of incidents.
    pub(super) async fn feed(&self) -> eyre::Result<Address> {
        let creation = TransactionRequest::default()
            .with_from(key(USER)?.address())
            .with_deploy_code(creation_code(&self.root, "IncidentFeed")?);
        let receipt = self.provider.send_transaction(creation).await?.get_receipt().await?;
        receipt.contract_address.ok_or_eyre("the feed was not created")
    }

    /// What entering a program costs.
    pub(super) async fn entry(&self, program: Address) -> eyre::Result<EntryCost::programInitGasReturn> {
        let call = EntryCost::programInitGasCall { program }.abi_encode();
        let request = TransactionRequest::default().with_to(ARB_WASM).with_input(call);
        let answer = self.provider.call(request).await?;
        Ok(EntryCost::programInitGasCall::abi_decode_returns(&answer)?)
    }
}

/// One scope for rules and hooks, others for containment by hand.
fn configuration(node: &NodeHandle, probe: Address) -> eyre::Result<String> {
    let [governor, guardian, keeper] = [key(GOVERNOR)?, key(GUARDIAN)?, key(KEEPER)?].map(|key| key.address());
    let stops = [
        ("stop", "market", "ReduceOnly", "setStopped", "stopped"),
        ("stop-other", "other", "ReduceOnly", "setShut", "shut"),
        ("stop-third", "third", "Halted", "setClosed", "closed"),
    ]
    .map(|(id, scope, level, set, is_set)| {
        format!(
            r#"[[containment]]
id = "{id}"
scope = "{scope}"
level = "{level}"
call = "probe.{set}(true)"
done = "probe.{is_set}()"
undo = [{{ call = "probe.{set}(false)", undone = "!probe.{is_set}()" }}]
"#
        )
    })
    .concat();
    Ok(format!(
        r#"
[[containment_set]]
id = "both"
reviewed = "0x0101010101010101010101010101010101010101010101010101010101010101"
contain = [
    {{ scope = "fourth", level = "ReduceOnly", for = "10 minutes" }},
    {{ scope = "fifth", level = "Halted", for = "10 minutes" }},
]
[chain]
id  = {}
rpc = ["{}"]
[guard]
scopes    = ["protocol", "market", "other", "third", "fourth", "fifth"]
callers   = ["probe"]
governor  = "{governor}"
guardians = ["{guardian}"]
keepers   = ["{keeper}"]
[contracts]
probe = {{ address = "{probe}", abi = ["function gauge() view returns (uint256)", "function scaled(uint256 factor) view returns (uint256)", "function stopped() view returns (bool)", "function setStopped(bool value)", "function shut() view returns (bool)", "function setShut(bool value)", "function closed() view returns (bool)", "function setClosed(bool value)"] }}
[[invariant]]
id = "gauge-low"
scope = "market"
rule = "probe.gauge() + probe.scaled(1) + probe.scaled(2) + probe.scaled(3) <= 700"
robust = true
level = "ReduceOnly"
[[invariant]]
id = "gauge-below"
scope = "market"
rule = "probe.gauge() <= 100"
check = ["Trade"]
in_call = "revert"
[[invariant]]
id = "gauge-sum-low"
scope = "market"
rule = "probe.gauge() + 1 <= 101"
check = ["Withdraw"]
in_call = "revert"
[[invariant]]
id = "gauge-steady"
scope = "market"
rule = "probe.gauge() <= entry(probe.gauge())"
check = ["Increase"]
in_call = "revert"
{stops}"#,
        node.chain_id(),
        node.http_endpoint(),
    ))
}
