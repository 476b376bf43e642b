//! A keeper with a guard for a long time: does its memory stay flat, and its latency where it was?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder, WsConnect};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, KeeperEvent, Options, Signers};
use cordon_node::{NodeConfig, NodeHandle};
use eyre::{OptionExt, WrapErr, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::child::resident_mib;
use crate::drift::Drift;
use crate::peer::{Beside, Latencies, PlainReader, Timed, heard};

/// First argument of a process that is a keeper with a guard.
pub(crate) const WORD: &str = "guarding-keeper";

const BLOCK_TIME: Duration = Duration::from_millis(250);
const RULES: u64 = 200;
const CONTRACTS: u64 = 100;
/// How often the keeper says how it does.
const SAMPLE: Duration = Duration::from_secs(5);
/// Left out of the comparison: caches fill, pages are touched for the first time.
const WARM: Duration = Duration::from_secs(10);
/// Transactions that change what rules read, per second.
const TOUCHES: u64 = 8;

/// A call with two words stores the second at the first; any other answers the word at its argument.
const CODE: &str = "0x366044146013576004355460005260206000f35b6024356004355500";

type Arrivals = Arc<Mutex<BTreeMap<B256, Instant>>>;

fn key(index: u32) -> eyre::Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(cordon_node::DEFAULT_MNEMONIC);
    Ok(builder.index(index)?.build()?)
}

fn contract(index: u64) -> Address {
    Address::left_padding_from(&(0xc0de_0000 + index).to_be_bytes())
}

/// A node with contracts, a guard with [`RULES`] rules over them, and the keeper's configuration.
struct World {
    /// It ends with this value.
    _node: NodeHandle,
    provider: DynProvider,
    config: PathBuf,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> eyre::Result<Self> {
        let node = cordon_node::spawn(NodeConfig {
            block_time: Some(BLOCK_TIME),
            silent: true,
            ..NodeConfig::default()
        })
        .await?;
        let mut wallet = EthereumWallet::from(key(0)?);
        wallet.register_signer(key(4)?);
        let provider = ProviderBuilder::new()
            .wallet(wallet)
            .connect_http(node.http_endpoint().parse()?)
            .erased();
        for index in 0..CONTRACTS {
            let _: Value = provider
                .raw_request("anvil_setCode".into(), json!([contract(index), CODE]))
                .await?;
        }
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("cordon.toml");
        let before = Config::parse(&text(&node, None)?, &path)?;
        let compiled = before.compile()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or_eyre("no workspace")?;
        let artifacts =
            Artifacts::load(&root.join("contracts/target/cordon")).wrap_err("run scripts/build-contracts")?;
        let from = key(0)?.address();
        let deployed = deploy_guard(&provider, from, &before, &compiled, &artifacts, GuardOptions::default()).await?;
        std::fs::write(&path, text(&node, Some(deployed.guard))?)?;
        Ok(Self {
            _node: node,
            provider,
            config: path,
            _dir: dir,
        })
    }

    /// Changes what some rules read, far below their bounds.
    async fn touch(&self, turn: u64) -> eyre::Result<()> {
        let mut data = vec![0x11; 4];
        data.extend(B256::from(U256::from(turn % RULES)).0);
        data.extend(B256::from(U256::from(turn % 400)).0);
        let tx = TransactionRequest::default()
            .with_from(key(4)?.address())
            .with_to(contract(turn * 7 % CONTRACTS))
            .with_input(data)
            .with_gas_limit(100_000);
        // Whether it is included is seen by the next one's nonce.
        let _pending = self.provider.send_transaction(tx).await?;
        Ok(())
    }
}

fn text(node: &NodeHandle, guard: Option<Address>) -> eyre::Result<String> {
    let account = |index| key(index).map(|key| key.address());
    let address = guard.map_or_else(String::new, |guard| format!("address = \"{guard}\"\n"));
    let mut text = format!(
        "[chain]\nid = {}\nrpc = [\"{}\"]\nws = \"{}\"\n\n[guard]\n{address}scopes = [\"protocol\", \"market\"]\ncallers = [\"c0\"]\n\
         governor = \"{}\"\nguardians = [\"{}\"]\nkeepers = [\"{}\"]\nheartbeats = [\"{}\"]\n\n[keeper]\nstore = \"soak.db\"\n\
         key = {{ env = \"CORDON_KEEPER_KEY\" }}\nheartbeat_key = {{ env = \"CORDON_HEARTBEAT_KEY\" }}\n\n[contracts]\n",
        node.chain_id(),
        node.http_endpoint(),
        node.ws_endpoint(),
        account(0)?,
        account(1)?,
        account(2)?,
        account(3)?,
    );
    for index in 0..CONTRACTS {
        writeln!(
            text,
            "c{index} = {{ address = \"{}\", abi = [\"function get(uint256 key) view returns (uint256)\"] }}",
            contract(index)
        )?;
    }
    for rule in 0..RULES {
        let (left, right) = (rule % CONTRACTS, (rule * 7 + 1) % CONTRACTS);
        write!(
            text,
            "\n[[invariant]]\nid = \"rule-{rule}\"\nscope = \"market\"\nrule = \"c{left}.get({rule}) + c{right}.get({}) <= 1000\"\nrobust = true\nlevel = \"ReduceOnly\"\n",
            rule + 1
        )?;
    }
    Ok(text)
}

/// How the keeper did for [`SAMPLE`].
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    p50: f64,
    p99: f64,
    mib: f64,
}

/// What the keeper says at the end.
#[derive(Debug, Default)]
struct Course {
    samples: Vec<Sample>,
    /// Every latency after [`WARM`].
    latencies: Vec<Timed>,
    blocks: u64,
    missed: u64,
}

/// The row: a soak of so many seconds. `checks` makes growth an error, and a keeper that is much slower than a plain reader, or becomes so.
pub(crate) async fn soak(seconds: u64, checks: bool) -> eyre::Result<String> {
    let world = World::new().await?;
    let mut keeper = Guarding::start(&world.config)?;
    let output = keeper.0.stdout.take().ok_or_eyre("no output")?;
    let begun = Instant::now();
    let reader = std::thread::spawn(move || read(BufReader::new(output), begun));
    let mut peer = PlainReader::start(&world.config, WARM)?;
    let mut turn = 0_u64;
    while begun.elapsed() < Duration::from_secs(seconds) {
        if let Some(status) = keeper.0.try_wait()? {
            bail!("the keeper ended with {status}");
        }
        world.touch(turn).await?;
        turn += 1;
        tokio::time::sleep(Duration::from_secs(1) / u32::try_from(TOUCHES)?).await;
    }
    let plain = peer.told()?;
    drop(keeper);
    let mut course = reader
        .join()
        .map_err(|_| eyre::eyre!("what the keeper says could not be read"))?;
    let (first, last) = course.ends()?;
    let measured = std::mem::take(&mut course.latencies);
    let beside = Beside::of(&Latencies::of_all(&measured), &Latencies::of_all(&plain))?;
    let drift = Drift::of(&measured, &plain, WARM);
    let most = course.samples.iter().map(|sample| sample.mib).fold(0.0, f64::max);
    if checks {
        ensure!(course.missed == 0, "{} blocks were not evaluated", course.missed);
        ensure!(
            last.mib <= first.mib * 1.2 + 4.0,
            "memory grew from {:.1} to {:.1} MiB",
            first.mib,
            last.mib
        );
        beside.check()?;
        drift.as_ref().map_err(|error| eyre::eyre!("{error}"))?.check()?;
    }
    let drift = drift.map_or_else(|error| error.to_string(), |drift| drift.to_string());
    Ok(format!(
        "| soak: {RULES} rules over {CONTRACTS} contracts, a block every {} ms, {seconds} s | head to done p50 {:.1} -> {:.1} ms, p99 {:.1} -> {:.1} ms, {beside}; {drift}; memory {:.1} -> {:.1} MiB, {most:.1} at most; {} of {} blocks missed |",
        BLOCK_TIME.as_millis(),
        first.p50,
        last.p50,
        first.p99,
        last.p99,
        first.mib,
        last.mib,
        course.missed,
        course.blocks
    ))
}

impl Course {
    /// Means over the first and the last sixth of what comes after the beginning.
    fn ends(&self) -> eyre::Result<(Sample, Sample)> {
        let warm: Vec<Sample> = self.samples.iter().filter(|sample| sample.at > WARM).copied().collect();
        let part = warm.len().div_ceil(6);
        ensure!(part > 0, "too short: nothing was measured after the first {WARM:?}");
        let first = warm.get(..part).unwrap_or_default();
        let last = warm.get(warm.len().saturating_sub(part)..).unwrap_or_default();
        Ok((mean(first), mean(last)))
    }
}

fn mean(samples: &[Sample]) -> Sample {
    #[allow(clippy::cast_precision_loss)] // Some hundreds.
    let count = samples.len().max(1) as f64;
    let of = |value: fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
    Sample {
        at: samples.first().map_or(Duration::ZERO, |sample| sample.at),
        p50: of(|sample| sample.p50),
        p99: of(|sample| sample.p99),
        mib: of(|sample| sample.mib),
    }
}

/// Reads what the keeper says until it ends; each minute goes to standard error, so that a long run can be looked at.
fn read(lines: impl BufRead, begun: Instant) -> Course {
    let mut course = Course::default();
    for line in lines.lines().map_while(Result::ok) {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let number = |name: &str| said.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let count = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
        course.blocks = count("blocks");
        course.missed = count("missed");
        let sample = Sample {
            at: begun.elapsed(),
            p50: number("p50"),
            p99: number("p99"),
            mib: number("mib"),
        };
        if sample.at > WARM {
            let all = said.get("ms").and_then(Value::as_array);
            let all = all.into_iter().flatten().filter_map(Value::as_f64);
            course.latencies.extend(all.map(|took| (sample.at, took)));
        }
        if course.samples.len().is_multiple_of(12) {
            eprintln!(
                "{:>5} s: p50 {:.1} ms, p99 {:.1} ms, {:.1} MiB",
                sample.at.as_secs(),
                sample.p50,
                sample.p99,
                sample.mib
            );
        }
        course.samples.push(sample);
    }
    course
}

/// A running keeper; it dies with this value.
struct Guarding(Child);

impl Guarding {
    fn start(config: &Path) -> eyre::Result<Self> {
        let secret = |index| key(index).map(|key| key.to_bytes().to_string());
        let child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(config)
            .env("CORDON_KEEPER_KEY", secret(2)?)
            .env("CORDON_HEARTBEAT_KEY", secret(3)?)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .wrap_err("the keeper could not be started")?;
        Ok(Self(child))
    }
}

impl Drop for Guarding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a keeper with a guard until the process is killed, and says every [`SAMPLE`] how it does.
pub(crate) async fn keep(path: String) -> eyre::Result<()> {
    let config = Config::load(path)?;
    let options = Options::from_config(&config)?;
    let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
    let directory = config.source.directory();
    let store = Store::at(&section.store, directory, options.chain_id, options.guard).await?;
    let ws = String::from(config.chain.ws_url()?);
    let keeper = Keeper::new(options, &config.compile()?, store, Signers::from_config(&config).await?).await?;
    let mut events = keeper.subscribe();
    let arrivals = Arrivals::default();
    tokio::spawn(follow(ws, Arc::clone(&arrivals)));
    tokio::spawn(keeper.run(CancellationToken::new()));
    let mut tick = tokio::time::interval(SAMPLE);
    tick.tick().await;
    let mut done = BTreeSet::new();
    let mut latencies: Vec<f64> = Vec::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                println!("{}", say(std::mem::take(&mut latencies), &done)?);
            }
            event = events.recv() => match event {
                Ok(KeeperEvent::BlockDone { number, hash, .. }) => {
                    done.insert(number);
                    let arrived = arrivals.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
                    latencies.extend(arrived.map(|at| at.elapsed().as_secs_f64() * 1e3));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => bail!("{lost} events were lost"),
                Err(RecvError::Closed) => bail!("the keeper ended"),
            }
        }
    }
}

fn say(all: Vec<f64>, done: &BTreeSet<u64>) -> eyre::Result<Value> {
    let latencies = Latencies::of(all.clone());
    let span = match (done.first(), done.last()) {
        (Some(first), Some(last)) => last - first + 1,
        _ => 0,
    };
    let blocks = u64::try_from(done.len())?;
    Ok(json!({
        "p50": latencies.share(50),
        "p99": latencies.share(99),
        "ms": all,
        "mib": resident_mib(std::process::id())?,
        "blocks": span,
        "missed": span - blocks,
    }))
}

/// Notes when each head arrives here.
async fn follow(url: String, arrivals: Arrivals) -> eyre::Result<()> {
    let provider = ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_ws(WsConnect::new(url))
        .await?;
    let mut heads = provider.subscribe_blocks().await?;
    loop {
        let Some(head) = heard(heads.recv().await)? else {
            continue;
        };
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.insert(head.hash, Instant::now());
    }
}
