//! The guard's `enter` by `eth_call`: how many a second, and how long the first takes after a start with native code on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes, U256, aliases::U24, hex};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard::{self, Action};
use eyre::{OptionExt, WrapErr, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, request};
use crate::peer::{Kind, Node, Programs};
use crate::token::signer;
use crate::workload::{all, rate};

/// Connections that call.
const CONNECTIONS: u64 = 8;
/// Calls of each connection.
const CALLS: u64 = 1_500;
/// Longest wait for native code of the programs.
const COMPILING: Duration = Duration::from_secs(60);
/// Native code has been written when no file has come for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// A guard with one rule of one read, and the contract whose hooks it answers.
struct Guarded {
    guard: Address,
    probe: Address,
}

/// Calls of `enter` per second, once the programs are native code.
pub(crate) async fn enters(programs: &Programs, root: &Path) -> eyre::Result<f64> {
    let kept = tempfile::tempdir()?;
    let node = start(programs, kept.path()).await?;
    let figure = async {
        let guarded = Guarded::deploy(&node, root).await?;
        guarded.heat(&node.client, kept.path()).await?;
        guarded.call(&node.client, CALLS).await
    };
    let figure = figure.await;
    node.stop().await?;
    figure
}

/// Milliseconds that the first call takes in a process that finds native code on disk. State and connection are there.
pub(crate) async fn first_call(programs: &Programs, root: &Path) -> eyre::Result<f64> {
    let kept = tempfile::tempdir()?;
    let node = start(programs, kept.path()).await?;
    let prepared = async {
        let guarded = Guarded::deploy(&node, root).await?;
        guarded.heat(&node.client, kept.path()).await?;
        eyre::Ok((guarded, node.client.call("anvil_dumpState", json!([])).await?))
    };
    let prepared = prepared.await;
    node.stop().await?;
    let (guarded, state) = prepared?;
    let node = start(programs, kept.path()).await?;
    let figure = async {
        let loaded = node.client.call("anvil_loadState", json!([state])).await?;
        ensure!(loaded == json!(true), "the state was not taken: {loaded}");
        let body = guarded.body();
        let begun = Instant::now();
        let answer = node.client.post(body).await?;
        let time = begun.elapsed();
        ensure!(answer.contains("\"result\""), "enter fails: {answer}");
        Ok(time.as_secs_f64() * 1_000.0)
    };
    let figure = figure.await;
    node.stop().await?;
    figure
}

async fn start(programs: &Programs, kept: &Path) -> eyre::Result<Node> {
    let kept = kept.to_str().ok_or_eyre("the temporary folder has no name")?;
    programs.start(Kind::Cordon, &["--program-cache", kept]).await
}

impl Guarded {
    async fn deploy(node: &Node, root: &Path) -> eyre::Result<Self> {
        let governor = signer(0)?;
        let from = governor.address();
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(governor))
            .connect_http(node.client.url().parse()?)
            .erased();
        let probe = create_probe(&provider, from, root).await?;
        let chain_id = provider.get_chain_id().await?;
        let text = configuration(chain_id, node.client.url(), from, probe);
        let config = Config::parse(&text, Path::new("bench.toml"))?;
        let compiled = config.compile()?;
        let artifacts = Artifacts::load(&Artifacts::directory(root))?;
        let deployed = deploy_guard(&provider, from, &config, &compiled, &artifacts, GuardOptions::default()).await?;
        Ok(Self {
            guard: deployed.guard,
            probe,
        })
    }

    /// A request for `enter`, called by the guarded contract for an action that the rule checks.
    fn body(&self) -> String {
        let call = ICordonGuard::enterCall {
            scopes: U24::from(1),
            action: Action::Trade as u8,
            asset: Address::ZERO,
            amount: U256::from(1),
            account: Address::ZERO,
        };
        let call = json!([{ "from": self.probe, "to": self.guard, "data": hex::encode_prefixed(call.abi_encode()) }, "latest"]);
        request("eth_call", &call)
    }

    /// Calls per second on all connections.
    async fn call(&self, client: &Client, each: u64) -> eyre::Result<f64> {
        let begun = Instant::now();
        let mut calling = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (client, body) = (client.another()?, self.body());
            calling.spawn(async move {
                for _ in 0..each {
                    let answer = client.post(body.clone()).await?;
                    ensure!(answer.contains("\"result\""), "enter fails: {answer}");
                }
                Ok(())
            });
        }
        all(calling).await?;
        Ok(rate(CONNECTIONS.saturating_mul(each), begun.elapsed()))
    }

    /// Calls until the compiler has written native code of all that is called.
    async fn heat(&self, client: &Client, kept: &Path) -> eyre::Result<()> {
        let begun = Instant::now();
        let (mut seen, mut since) = (0, Instant::now());
        while seen == 0 || since.elapsed() < SETTLED {
            ensure!(
                begun.elapsed() < COMPILING,
                "no native code was kept within {COMPILING:?}"
            );
            self.call(client, 20).await?;
            let files = std::fs::read_dir(kept)?.count();
            if files != seen {
                (seen, since) = (files, Instant::now());
            }
        }
        Ok(())
    }
}

async fn create_probe(provider: &DynProvider, from: Address, root: &Path) -> eyre::Result<Address> {
    let path = root.join("out/HookProbe.sol/HookProbe.json");
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run forge build", path.display()))?;
    let artifact: Value = serde_json::from_str(&text)?;
    let code = artifact.pointer("/bytecode/object").and_then(Value::as_str);
    let code: Bytes = code.ok_or_eyre("the artifact has no code")?.parse()?;
    let creation = TransactionRequest::default().with_from(from).with_deploy_code(code);
    let receipt = provider.send_transaction(creation).await?.get_receipt().await?;
    receipt.contract_address.ok_or_eyre("the probe was not created")
}

/// One scope and one hook rule.
fn configuration(chain_id: u64, url: &str, governor: Address, probe: Address) -> String {
    format!(
        r#"
[chain]
id  = {chain_id}
rpc = ["{url}"]
[guard]
scopes   = ["protocol", "market"]
callers  = ["probe"]
governor = "{governor}"
[contracts]
probe = {{ address = "{probe}", abi = ["function gauge() view returns (uint256)"] }}
[[invariant]]
id = "gauge-below"
scope = "market"
rule = "probe.gauge() <= 100"
check = ["Trade"]
in_call = "revert"
robust = true
level = "ReduceOnly"
"#
    )
}
