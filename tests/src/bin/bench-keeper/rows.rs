//! The rows of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use cordon_keeper::record::Store;
use eyre::{OptionExt, bail};
use serde_json::{Value, json};

use crate::chain::{CONTRACTS, Chain, USER};
use crate::child::{Process, REPLAY};
use crate::hook::{Hook, Told};
use crate::proxy::Proxy;

const BLOCK_TIME: Duration = Duration::from_millis(250);
/// Events of a run.
const EVENTS: u64 = 105;
/// Blocks that are caught up on, and transactions in each.
const BLOCKS: u64 = 2_000;
const TRANSACTIONS: u64 = 20;
const STALL: Duration = Duration::from_secs(20);

type Arrivals = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Head to webhook with an event in every block.
pub(crate) async fn latency(anvil: &Path) -> eyre::Result<String> {
    let chain = Chain::start(anvil).await?;
    let hook = Hook::start().await?;
    let at = format!("127.0.0.1:{}", chain.port());
    let keeper = Process::start(&chain.config(&at, &hook)?)?;
    let store = record(&chain).await?;
    caught_up(&chain, &store).await?;
    let arrivals = Arrivals::default();
    let heads = tokio::spawn(follow(format!("ws://{at}"), Arc::clone(&arrivals)));
    let (from, _) = chain.head().await?;
    for event in 0..EVENTS {
        let begun = Instant::now();
        chain.log(event * 7 % CONTRACTS).await?;
        chain.mine().await?;
        tokio::time::sleep(BLOCK_TIME.saturating_sub(begun.elapsed())).await;
    }
    let score = Score::of(&chain, &hook, from + 1).await?;
    heads.abort();
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let mut latencies: Vec<Duration> = score
        .told
        .iter()
        .filter_map(|told| Some(told.at.saturating_duration_since(*arrivals.get(&told.what()?.0)?)))
        .collect();
    latencies.sort_unstable();
    let at = |share: usize| {
        let index = (latencies.len() * share).div_ceil(100).saturating_sub(1);
        latencies
            .get(index)
            .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    };
    Ok(format!(
        "| event latency: {CONTRACTS} event rules over {CONTRACTS} contracts, a block every {} ms, {EVENTS} events | head to webhook p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; {score}; {:.0} MiB |",
        BLOCK_TIME.as_millis(),
        at(50),
        at(99),
        at(100),
        keeper.peak_mib()?
    ))
}

/// Blocks that passed while the keeper was away.
pub(crate) async fn catch_up(anvil: &Path) -> eyre::Result<String> {
    let chain = Chain::start(anvil).await?;
    let hook = Hook::start().await?;
    let config = chain.config(format!("127.0.0.1:{}", chain.port()), &hook)?;
    let before = Process::start(&config)?;
    let store = record(&chain).await?;
    caught_up(&chain, &store).await?;
    drop(before);
    let (from, _) = chain.head().await?;
    for block in 0..BLOCKS {
        let logs = u64::from(block % (BLOCKS / EVENTS) == 0);
        if logs > 0 {
            chain.log(block % CONTRACTS).await?;
        }
        chain.noise(TRANSACTIONS - logs).await?;
        chain.mine().await?;
    }
    let begun = Instant::now();
    let keeper = Process::start(&config)?;
    caught_up(&chain, &store).await?;
    let taken = begun.elapsed().as_secs_f64();
    let score = Score::of(&chain, &hook, from + 1).await?;
    #[allow(clippy::cast_precision_loss)] // Far below 2^52.
    let speed = BLOCKS as f64 / taken;
    Ok(format!(
        "| catch-up: {BLOCKS} blocks of {TRANSACTIONS} transactions, {CONTRACTS} event rules | {speed:.0} blocks/s, start of the process included; {:.0} MiB at most; {score} |",
        keeper.peak_mib()?
    ))
}

/// An endpoint that stops answering for a while and keeps its connections.
pub(crate) async fn stall(anvil: &Path) -> eyre::Result<String> {
    let chain = Chain::start(anvil).await?;
    let hook = Hook::start().await?;
    let proxy = Proxy::start(chain.port()).await?;
    let _keeper = Process::start(&chain.config(proxy.address(), &hook)?)?;
    let store = record(&chain).await?;
    caught_up(&chain, &store).await?;
    let (from, _) = chain.head().await?;
    let begun = Instant::now();
    let mut event = 0;
    while begun.elapsed() < STALL + Duration::from_secs(4) {
        proxy.set_open(begun.elapsed() < Duration::from_secs(2) || begun.elapsed() > STALL + Duration::from_secs(2));
        chain.log(event % CONTRACTS).await?;
        chain.mine().await?;
        event += 1;
        tokio::time::sleep(BLOCK_TIME).await;
    }
    proxy.set_open(true);
    let score = Score::of(&chain, &hook, from + 1).await?;
    Ok(format!(
        "| stall of the RPC for {} s, {event} events | {score} |",
        STALL.as_secs()
    ))
}

/// Three blocks that are replaced.
pub(crate) async fn reorg(anvil: &Path) -> eyre::Result<String> {
    let chain = Chain::start(anvil).await?;
    let hook = Hook::start().await?;
    let _keeper = Process::start(&chain.config(format!("127.0.0.1:{}", chain.port()), &hook)?)?;
    let store = record(&chain).await?;
    caught_up(&chain, &store).await?;
    let (from, _) = chain.head().await?;
    for index in 0..3 {
        chain.log(index).await?;
        chain.mine().await?;
        caught_up(&chain, &store).await?;
    }
    let gone = chain.logged(from + 1).await?;
    let tx = json!({ "from": USER, "to": format!("{:#042x}", 0xc0de_0007_u64), "data": "0x01", "gas": "0x186a0" });
    chain.ask("anvil_reorg", json!([3, [[tx, 1]]])).await?;
    let score = Score::of(&chain, &hook, from + 1).await?;
    let taken_back: BTreeSet<(String, String)> = hook
        .told()
        .iter()
        .filter(|told| told.kind() == "retracted")
        .filter_map(Told::what)
        .collect();
    let told = if taken_back == gone { "all" } else { "NOT all" };
    Ok(format!(
        "| reorg of depth 3 | {told} {} removals told; the replacement: {score} |",
        gone.len()
    ))
}

/// Rules over blocks that have passed.
pub(crate) async fn replay(anvil: &Path) -> eyre::Result<String> {
    // Anvil keeps the states of some hundreds of blocks in memory; beyond them its disk would be measured.
    let short = replayed(Chain::start(anvil).await?, "stock anvil", 400).await?;
    let whole = replayed(Chain::ours().await?, "`cordon node`", 2_000).await?;
    Ok(format!("{short}\n{whole}"))
}

async fn replayed(chain: Chain, node: &str, blocks: u64) -> eyre::Result<String> {
    const RULES: u64 = 200;
    const PER_BLOCK: u64 = 100;
    let config = chain.rules(RULES).await?;
    let (from, _) = chain.head().await?;
    for _ in 0..blocks {
        chain.noise(PER_BLOCK).await?;
        chain.mine().await?;
    }
    let range = [(from + 1).to_string(), (from + blocks).to_string()];
    let output = Command::new(std::env::current_exe()?)
        .arg(REPLAY)
        .arg(config)
        .args(range)
        .stderr(Stdio::inherit())
        .output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| answer.get(name).and_then(Value::as_f64).ok_or_eyre("the replay failed");
    Ok(format!(
        "| replay on {node}: {blocks} blocks of {PER_BLOCK} transactions, {RULES} rules of two reads | {:.0} blocks/s; {:.0} MiB at most; {} verdicts, {} unknown |",
        number("blocks")? / number("seconds")?,
        number("mib")?,
        number("verdicts")?,
        number("unknown")?
    ))
}

/// What was told of what was logged.
struct Score {
    wanted: usize,
    missed: usize,
    twice: usize,
    told: Vec<Told>,
}

impl Score {
    /// Waits until everything is told that is to be, at most half a minute, and a little longer for what is told twice.
    async fn of(chain: &Chain, hook: &Hook, from: u64) -> eyre::Result<Self> {
        let wanted = chain.logged(from).await?;
        let begun = Instant::now();
        loop {
            let told: Vec<Told> = hook.told().into_iter().filter(|told| told.kind() == "seen").collect();
            let found: BTreeSet<(String, String)> = told.iter().filter_map(Told::what).collect();
            let missed = wanted.difference(&found).count();
            if missed == 0 || begun.elapsed() > Duration::from_secs(60) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let told: Vec<Told> = hook.told().into_iter().filter(|told| told.kind() == "seen").collect();
                return Ok(Self {
                    wanted: wanted.len(),
                    missed,
                    twice: told.len().saturating_sub(found.len()),
                    told,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} events missed, {} told twice",
            self.missed, self.wanted, self.twice
        )
    }
}

async fn record(chain: &Chain) -> eyre::Result<Store> {
    let begun = Instant::now();
    while !chain.record().exists() {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("the keeper has made no record");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(Store::open(chain.record(), 31_337, Address::ZERO).await?)
}

/// Waits until the newest block is in the record.
async fn caught_up(chain: &Chain, store: &Store) -> eyre::Result<()> {
    let begun = Instant::now();
    let (_, head): (u64, B256) = chain.head().await?;
    while store.window(1).await?.last().map(|block| block.hash) != Some(head) {
        if begun.elapsed() > Duration::from_secs(300) {
            bail!("the keeper does not catch up");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Notes when each head arrives here.
async fn follow(url: String, arrivals: Arrivals) -> eyre::Result<()> {
    let provider = ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_ws(WsConnect::new(url))
        .await?;
    let mut heads = provider.subscribe_blocks().await?;
    loop {
        let head = heads.recv().await.ok().ok_or_eyre("the heads ended")?;
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.insert(head.hash.to_string(), Instant::now());
    }
}
