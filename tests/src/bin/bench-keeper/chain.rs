//! A stock anvil, or our own node, with a hundred contracts that log when they are called, and what they should have logged.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, hex, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use cordon_node::{NodeConfig, NodeHandle};
use eyre::{OptionExt, WrapErr, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hook::Hook;

/// Contracts, each with a watch of its own.
pub(crate) const CONTRACTS: u64 = 100;
/// First development account of anvil.
pub(crate) const USER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// Who makes the blocks.
enum Node {
    /// A process of its own; it dies with this value.
    Anvil(Child),
    /// Our own, in this process.
    Ours { _handle: NodeHandle },
}

/// A node with contracts that log.
pub(crate) struct Chain {
    _node: Node,
    port: u16,
    provider: DynProvider,
    dir: TempDir,
}

impl Chain {
    pub(crate) async fn start(anvil: &Path) -> eyre::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = tempfile::tempdir()?;
        let child = Command::new(anvil)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--silent",
                "--no-mining",
            ])
            .args([
                "--max-transactions",
                "1000000",
                "--max-persisted-states",
                "0",
                "--order",
                "fifo",
            ])
            .env("HOME", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .wrap_err("anvil does not start")?;
        Self::on(Node::Anvil(child), port, dir).await
    }

    /// On our own node, which keeps the states of all its blocks.
    pub(crate) async fn ours() -> eyre::Result<Self> {
        let config = NodeConfig {
            silent: true,
            no_mining: true,
            ..NodeConfig::default()
        };
        let handle = cordon_node::spawn(config).await?;
        let port = handle
            .http_endpoint()
            .rsplit_once(':')
            .ok_or_eyre("no port")?
            .1
            .parse()?;
        Self::on(Node::Ours { _handle: handle }, port, tempfile::tempdir()?).await
    }

    async fn on(node: Node, port: u16, dir: TempDir) -> eyre::Result<Self> {
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(format!("http://127.0.0.1:{port}").parse()?)
            .erased();
        let chain = Self {
            _node: node,
            port,
            provider,
            dir,
        };
        let begun = Instant::now();
        while chain.ask("eth_chainId", json!([])).await.is_err() {
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("the node does not answer");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for index in 0..CONTRACTS {
            let code = hex::encode_prefixed(code());
            chain.ask("anvil_setCode", json!([contract(index), code])).await?;
        }
        chain.mine().await?;
        Ok(chain)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn ask(&self, method: &'static str, params: Value) -> eyre::Result<Value> {
        Ok(self.provider.raw_request(method.into(), params).await?)
    }

    pub(crate) async fn mine(&self) -> eyre::Result<()> {
        self.ask("evm_mine", json!([])).await.map(drop)
    }

    /// Lets a contract log.
    pub(crate) async fn log(&self, index: u64) -> eyre::Result<()> {
        let tx = json!({ "from": USER, "to": contract(index), "data": "0x01", "gas": "0x186a0" });
        self.ask("eth_sendTransaction", json!([tx])).await.map(drop)
    }

    /// Sends transactions that log nothing.
    pub(crate) async fn noise(&self, count: u64) -> eyre::Result<()> {
        let tx = json!({ "from": USER, "to": Address::repeat_byte(0x77), "value": "0x1", "gas": "0x5208" });
        let sends = (0..count).map(|_| self.ask("eth_sendTransaction", json!([tx])));
        futures_all(sends).await
    }

    /// Number and hash of the newest block.
    pub(crate) async fn head(&self) -> eyre::Result<(u64, B256)> {
        let block = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        let number = block
            .get("number")
            .and_then(Value::as_str)
            .ok_or_eyre("a block without a number")?;
        let hash = block
            .get("hash")
            .and_then(Value::as_str)
            .ok_or_eyre("a block without a hash")?;
        Ok((u64::from_str_radix(number.trim_start_matches("0x"), 16)?, hash.parse()?))
    }

    /// What the watches have to tell of the canonical blocks from `from` on: block hash, and watch with log.
    pub(crate) async fn logged(&self, from: u64) -> eyre::Result<BTreeSet<(String, String)>> {
        let logs = self
            .provider
            .get_logs(&Filter::new().from_block(from).event_signature(topic()))
            .await?;
        logs.iter()
            .map(|log| {
                let hash = log.block_hash.ok_or_eyre("a log without a block")?;
                let index = log.log_index.ok_or_eyre("a log without an index")?;
                let watch = (0..CONTRACTS)
                    .find(|index| contract(*index) == log.address())
                    .ok_or_eyre("a log of nobody")?;
                Ok((hash.to_string(), format!("watch-{watch} log:{index}")))
            })
            .collect()
    }

    /// Writes a configuration with one watch per contract that reads through `at` and tells `hook`.
    pub(crate) fn config(&self, at: impl std::fmt::Display, hook: &Hook) -> eyre::Result<PathBuf> {
        let mut text = format!(
            "[chain]\nid = 31337\nrpc = [\"http://{at}\"]\nws = \"ws://{at}\"\n\n[keeper]\nstore = \"watch.db\"\n\n\
             [[notify]]\nid = \"hook\"\nvia = \"webhook\"\nurl = {{ file = \"hook-url\" }}\nsecret = {{ file = \"hook-secret\" }}\nper_minute = 600\n"
        );
        for index in 0..CONTRACTS {
            write!(
                text,
                "\n[[watch]]\nid = \"watch-{index}\"\non = \"event\"\nevent = \"event Called(uint256 value)\"\nat = \"{}\"\nwhen = \"value >= 1\"\n",
                contract(index)
            )?;
        }
        std::fs::write(self.dir.path().join("hook-url"), hook.url())?;
        std::fs::write(self.dir.path().join("hook-secret"), "shared")?;
        let path = self.dir.path().join("cordon.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes a configuration with `rules` rules, each over two of the contracts that answer, and a guard that holds no level.
    pub(crate) async fn rules(&self, rules: u64) -> eyre::Result<PathBuf> {
        let guard = contract(CONTRACTS);
        // Two words of nothing, whatever is asked.
        self.ask("anvil_setCode", json!([guard, "0x60406000f3"])).await?;
        let mut text = format!(
            "[chain]\nid = 31337\nrpc = [\"http://127.0.0.1:{}\"]\n\n[guard]\naddress = \"{guard}\"\nscopes = [\"protocol\"]\ncallers = [\"c0\"]\n\n[keeper]\nstore = \"rules.db\"\nkey = {{ env = \"NONE\" }}\n\n[contracts]\n",
            self.port
        );
        for index in 0..CONTRACTS {
            let at = contract(1_000 + index);
            // push1 0, sload, push1 0, mstore, push1 32, push1 0, return
            self.ask("anvil_setCode", json!([at, "0x60005460005260206000f3"]))
                .await?;
            writeln!(
                text,
                "c{index} = {{ address = \"{at}\", abi = [\"function get(uint256 key) view returns (uint256)\"] }}"
            )?;
        }
        for rule in 0..rules {
            let (left, right) = (rule % CONTRACTS, (rule * 7 + 1) % CONTRACTS);
            write!(
                text,
                "\n[[invariant]]\nid = \"rule-{rule}\"\nscope = \"protocol\"\nrule = \"c{left}.get({rule}) + c{right}.get({}) <= 1000\"\nlevel = \"ReduceOnly\"\n",
                rule + 1
            )?;
        }
        let path = self.dir.path().join("rules.toml");
        std::fs::write(&path, text)?;
        self.mine().await?;
        Ok(path)
    }

    /// The keeper's record.
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.path().join("watch.db")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Self::Anvil(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = eyre::Result<T>>>) -> eyre::Result<()> {
    // One after the other: anvil gives nonces in the order of arrival, and a race would leave gaps.
    for one in all {
        one.await?;
    }
    Ok(())
}

fn contract(index: u64) -> Address {
    Address::left_padding_from(&(0xc0de_0000 + index).to_be_bytes())
}

fn topic() -> B256 {
    keccak256("Called(uint256)")
}

/// mstore(0, number); log1(0, 32, topic)
fn code() -> Vec<u8> {
    let mut code = vec![0x43, 0x5f, 0x52, 0x7f];
    code.extend(topic());
    code.extend([0x60, 0x20, 0x5f, 0xa1, 0x00]);
    code
}
