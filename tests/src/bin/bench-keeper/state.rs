//! Rules on the state: a guard on `cordon node`, a thousand invariants over a hundred contracts, blocks of 250 ms that touch few
//! or all of them, and incidents.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256, U256, hex};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_node::{NodeConfig, NodeHandle};
use eyre::bail;
use serde_json::{Value, json};

use crate::child::Guarding;

const BLOCK_TIME: Duration = Duration::from_millis(250);
const CONTRACTS: u64 = 100;
/// Rules of each contract, of three reads each; the guard holds the first, the keeper alone the others.
const RULES: u64 = 10;
const READS: u64 = 3;
/// Blocks that touch ten rules, and blocks that touch all.
const FEW_BLOCKS: u64 = 200;
const ALL_BLOCKS: u64 = 100;
/// Most incidents; `CORDON_INCIDENTS` asks for fewer.
const INCIDENTS: u64 = 500;
/// Above what rules allow.
const TOO_MUCH: u64 = 5_000;

/// A node with the contracts and their guard.
struct World {
    node: NodeHandle,
    provider: DynProvider,
    dir: tempfile::TempDir,
    user: Address,
}

fn key(index: u32) -> eyre::Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(cordon_node::DEFAULT_MNEMONIC);
    Ok(builder.index(index)?.build()?)
}

fn contract(index: u64) -> Address {
    Address::left_padding_from(&(0xc0de_1000 + index).to_be_bytes())
}

/// `get(key)` answers a number; any longer calldata is pairs of keys and numbers that are stored.
fn code() -> Vec<u8> {
    // calldatasize == 36: get
    let mut code = vec![0x36, 0x60, 0x24, 0x14, 0x60, 0x00, 0x57];
    let get_at = 5;
    // o = 4; loop while o < calldatasize
    code.extend([0x60, 0x04]);
    let top = u8::try_from(code.len()).unwrap_or_default();
    code.extend([0x5b, 0x36, 0x81, 0x10, 0x15, 0x60, 0x00, 0x57]);
    let end_at = code.len().saturating_sub(2);
    // sstore(calldataload(o), calldataload(o + 32)); o += 64
    code.extend([
        0x80, 0x60, 0x20, 0x01, 0x35, 0x81, 0x35, 0x55, 0x60, 0x40, 0x01, 0x60, top, 0x56,
    ]);
    let end = u8::try_from(code.len()).unwrap_or_default();
    code.extend([0x5b, 0x00]);
    let get = u8::try_from(code.len()).unwrap_or_default();
    code.extend([
        0x5b, 0x60, 0x04, 0x35, 0x54, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3,
    ]);
    for (at, place) in [(get_at, get), (end_at, end)] {
        if let Some(byte) = code.get_mut(at) {
            *byte = place;
        }
    }
    code
}

/// Calldata that stores `value` under each of `keys`.
fn put(keys: impl Iterator<Item = u64>, value: u64) -> String {
    let pairs = keys.flat_map(|key| [B256::from(U256::from(key)), B256::from(U256::from(value))]);
    let words: Vec<u8> = pairs.flat_map(|word| word.0).collect();
    hex::encode_prefixed([&[0; 4][..], &words].concat())
}

impl World {
    async fn new(root: &Path) -> eyre::Result<Self> {
        let node = cordon_node::spawn(NodeConfig {
            silent: true,
            ..NodeConfig::default()
        })
        .await?;
        let mut wallet = EthereumWallet::from(key(0)?);
        wallet.register_signer(key(3)?);
        let provider = ProviderBuilder::new()
            .wallet(wallet)
            .connect_http(node.http_endpoint().parse()?)
            .erased();
        let world = Self {
            node,
            provider,
            dir: tempfile::tempdir()?,
            user: key(3)?.address(),
        };
        let code = hex::encode_prefixed(code());
        for index in 0..CONTRACTS {
            world.ask("anvil_setCode", json!([contract(index), code])).await?;
        }
        let path = world.config_path();
        let config = Config::parse(&world.config(None)?, &path)?;
        let artifacts = Artifacts::load(&Artifacts::directory(root))?;
        let compiled = config.compile()?;
        let from = key(0)?.address();
        let options = GuardOptions::default();
        let deployed = deploy_guard(&world.provider, from, &config, &compiled, &artifacts, options).await?;
        std::fs::write(&path, world.config(Some(deployed.guard))?)?;
        world.ask("evm_setAutomine", json!([false])).await?;
        Ok(world)
    }

    fn config_path(&self) -> std::path::PathBuf {
        self.dir.path().join("cordon.toml")
    }

    fn config(&self, guard: Option<Address>) -> eyre::Result<String> {
        let scopes: Vec<String> = (0..CONTRACTS).map(|index| format!("\"s{index}\"")).collect();
        let (governor, guardian, keeper) = (key(0)?.address(), key(1)?.address(), key(2)?.address());
        let address = guard.map_or_else(String::new, |guard| format!("address = \"{guard}\"\n"));
        let mut text = format!(
            "[chain]\nid = {}\nrpc = [\"{}\"]\n\n[guard]\n{address}scopes = [\"protocol\", {}]\ncallers = [\"c0\"]\ngovernor = \"{governor}\"\n\
             guardians = [\"{guardian}\"]\nkeepers = [\"{keeper}\"]\n\n[keeper]\nstore = \"state.db\"\nkey = {{ env = \"CORDON_BENCH_KEY\" }}\n\
             heartbeat_key = {{ env = \"CORDON_BENCH_HEARTBEAT\" }}\n\n[contracts]\n",
            self.node.chain_id(),
            self.node.http_endpoint(),
            scopes.join(", "),
        );
        for index in 0..CONTRACTS {
            writeln!(
                text,
                "c{index} = {{ address = \"{}\", abi = [\"function get(uint256 key) view returns (uint256)\"] }}",
                contract(index)
            )?;
        }
        for rule in 0..RULES {
            let keys = rule * READS;
            let held_by = if rule == 0 { "guard" } else { "keeper" };
            for index in 0..CONTRACTS {
                write!(
                    text,
                    "\n[[invariant]]\nid = \"r{rule}-{index}\"\nscope = \"s{index}\"\nheld_by = \"{held_by}\"\nrobust = true\nlevel = \"ReduceOnly\"\n\
                     rule = \"c{index}.get({keys}) + c{index}.get({}) + c{index}.get({}) <= 1000\"\n",
                    keys + 1,
                    keys + 2
                )?;
            }
        }
        // The guard wants heartbeats from another account than the keeper's.
        let heartbeats = format!("keepers = [\"{keeper}\"]\nheartbeats = [\"{}\"]\n", key(4)?.address());
        Ok(text.replacen(&format!("keepers = [\"{keeper}\"]\n"), &heartbeats, 1))
    }

    async fn ask(&self, method: &'static str, params: Value) -> eyre::Result<Value> {
        Ok(self.provider.raw_request(method.into(), params).await?)
    }

    async fn send(&self, index: u64, data: String) -> eyre::Result<()> {
        let tx = json!({ "from": self.user, "to": contract(index), "data": data, "gas": "0xf4240" });
        self.ask("eth_sendTransaction", json!([tx])).await.map(drop)
    }

    /// Makes a block and answers its number.
    async fn mine(&self) -> eyre::Result<u64> {
        self.ask("evm_mine", json!([])).await?;
        Ok(self.provider.get_block_number().await?)
    }
}

/// Blocks come when a node would make them, whatever the transactions before them took.
struct Ticks(Instant);

impl Ticks {
    async fn next(&mut self) {
        self.0 += BLOCK_TIME;
        tokio::time::sleep_until(self.0.into()).await;
    }
}

/// The row.
pub(crate) async fn state(root: &Path) -> eyre::Result<String> {
    let world = World::new(root).await?;
    let keeper = Guarding::start(&world.config_path(), [key(2)?, key(4)?])?;
    ready(&world, &keeper).await?;
    let mut ticks = Ticks(Instant::now());
    let mut few = Vec::new();
    for block in 0..FEW_BLOCKS {
        for at in 0..10 {
            let index = (block * 10 + at) % CONTRACTS;
            world.send(index, put([READS].into_iter(), block % 100 + 1)).await?;
        }
        ticks.next().await;
        few.push(world.mine().await?);
    }
    let mut all = Vec::new();
    for block in 0..ALL_BLOCKS {
        for index in 0..CONTRACTS {
            let keys = (0..RULES).map(|rule| rule * READS);
            world.send(index, put(keys, block % 100 + 1)).await?;
        }
        if ticks.0 + BLOCK_TIME < Instant::now() {
            // To send so many transactions takes its time; blocks must not come closer together for it.
            ticks.0 = Instant::now();
        }
        ticks.next().await;
        all.push(world.mine().await?);
    }
    let wanted = std::env::var("CORDON_INCIDENTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let incidents = wanted.unwrap_or(INCIDENTS).min(INCIDENTS);
    ticks.0 = Instant::now();
    for incident in 0..incidents {
        let index = incident % CONTRACTS;
        if incident > 0 && index == 0 {
            // What was raised a round ago runs out.
            world.ask("evm_increaseTime", json!([86_400])).await?;
            ticks.next().await;
            world.mine().await?;
        }
        world.send(index, put([0].into_iter(), TOO_MUCH)).await?;
        ticks.next().await;
        world.mine().await?;
        // The block that is to contain it.
        ticks.next().await;
        world.mine().await?;
        world.send(index, put([0].into_iter(), 1)).await?;
    }
    ticks.next().await;
    world.mine().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = keeper.told();
    let peak = keeper.peak_mib()?;
    let latencies = |blocks: &[u64]| {
        let of = |event: &&Value| number(event, "block").is_some_and(|block| blocks.contains(&block));
        sorted(told.iter().filter(|event| is(event, "block")).filter(of), "us")
    };
    let (few, all) = (latencies(&few), latencies(&all));
    let of_kind = |kind: &'static str| told.iter().filter(move |event| is(event, kind));
    let decided: BTreeMap<u64, u64> = of_kind("decided").filter_map(intent_and_block).collect();
    let contained: BTreeMap<u64, u64> = of_kind("contained").filter_map(intent_and_block).collect();
    let next = decided
        .iter()
        .filter(|(intent, block)| contained.get(intent) == Some(&block.saturating_add(1)))
        .count();
    // What is taken back after an incident is in no hurry.
    let contains = |event: &&Value| number(event, "intent").is_some_and(|intent| decided.contains_key(&intent));
    let decisions = sorted(of_kind("decided"), "us");
    let broadcasts = sorted(of_kind("broadcast").filter(contains), "us");
    let rules = of_kind("rules").next().cloned().unwrap_or_default();
    Ok(format!(
        "| state rules: {} invariants over {CONTRACTS} contracts, {} distinct reads, a block every {} ms on `cordon node`; {} rules evaluated by the keeper, {} by the guard at every block | \
         {} blocks that touch 10: head to decision {}; {} blocks that touch all: {}; {} incidents ({} decided, {} contained): head to decision {}, decision to broadcast {}, contained in the next block {next} of {incidents}; {peak:.0} MiB |",
        CONTRACTS * RULES,
        CONTRACTS * RULES * READS,
        BLOCK_TIME.as_millis(),
        number(&rules, "keeper").unwrap_or_default(),
        number(&rules, "guard").unwrap_or_default(),
        few.len(),
        shares(&few),
        all.len(),
        shares(&all),
        incidents,
        decided.len(),
        contained.len(),
        shares(&decisions),
        shares(&broadcasts),
    ))
}

fn number(event: &Value, field: &str) -> Option<u64> {
    event.get(field).and_then(Value::as_u64)
}

fn is(event: &Value, kind: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(kind)
}

fn intent_and_block(event: &Value) -> Option<(u64, u64)> {
    Some((number(event, "intent")?, number(event, "block")?))
}

fn sorted<'a>(events: impl Iterator<Item = &'a Value>, field: &str) -> Vec<u64> {
    let mut times: Vec<u64> = events.filter_map(|event| number(event, field)).collect();
    times.sort_unstable();
    times
}

fn shares(times: &[u64]) -> String {
    let at = |share: usize| {
        let index = (times.len() * share).div_ceil(100).saturating_sub(1);
        times
            .get(index)
            .map_or(f64::NAN, |us| Duration::from_micros(*us).as_secs_f64() * 1e3)
    };
    format!("p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", at(50), at(99), at(100))
}

/// Waits until the keeper evaluates the rules itself.
async fn ready(world: &World, keeper: &Guarding) -> eyre::Result<()> {
    let begun = Instant::now();
    loop {
        let number = world.mine().await?;
        tokio::time::sleep(BLOCK_TIME).await;
        let told = keeper.told();
        let is_done = told
            .iter()
            .any(|event| is(event, "block") && self::number(event, "block") >= Some(number));
        let rules = told.iter().rev().find(|event| is(event, "rules"));
        let all = rules.and_then(|event| self::number(event, "keeper"));
        if is_done && all == Some(CONTRACTS * RULES) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(90) {
            bail!("the keeper does not begin: {:?}", told.last());
        }
    }
}
