//! Sixteen connections that send as fast as they can for ten seconds and wait for nothing.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use eyre::{OptionExt, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, hash, number};
use crate::peer::{Kind, Node, Programs};
use crate::target::verdict;
use crate::token::Token;
use crate::workload::rate;

/// How long is sent.
const SENDING: Duration = Duration::from_secs(10);
/// How long the backlog may take.
const DRAINING: Duration = Duration::from_secs(60);
/// Transfers that each connection has ready when it sends signed ones; more than it can send.
const SIGNED: u64 = 4_000;

/// The most memory that a node may take meanwhile, in MiB.
const MEMORY: f64 = 512.0;

/// What stock anvil with a larger pool has mined per second, of transfers from unlocked accounts and of signed ones, on two cores
/// that did nothing else.
const UNLOCKED: f64 = 705.0;
const SIGNED_RATE: f64 = 1_582.0;

/// Loads both nodes, prints what came of it, and answers how many targets are missed.
pub(crate) async fn loads(programs: &Programs, root: &Path) -> usize {
    println!("Sixteen connections that send ERC-20 transfers for 10 s and wait for nothing, automine:\n");
    println!(
        "| node | transfers | accepted | refused | lost | mined twice | mined per s | drained after, s | most memory, MiB | |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let mut missed = 0usize;
    for signed in [false, true] {
        let transfers = if signed { "signed" } else { "from unlocked accounts" };
        let peer = run(programs, Kind::Anvil, root, signed).await;
        let ours = run(programs, Kind::Cordon, root, signed).await;
        let fast = if signed { SIGNED_RATE } else { UNLOCKED };
        let least = peer.as_ref().map_or(fast, |peer| peer.rate.max(fast));
        let met = ours.as_ref().is_ok_and(|load| load.holds(least));
        if !met {
            missed = missed.saturating_add(1);
        }
        for (name, load, verdict) in [
            ("cordon node, default settings", ours, verdict(met)),
            ("anvil, `--max-transactions 1000000`", peer, "-"),
        ] {
            match load {
                Ok(load) => println!("| {name} | {transfers} | {} | {verdict} |", load.cells()),
                Err(error) => println!("| {name} | {transfers} | failed: {error:#} | | | | | | | {verdict} |"),
            }
        }
    }
    println!(
        "\nTarget: nothing refused, lost or mined twice, below {MEMORY} MiB, and faster than anvil, here and on a free machine.\n"
    );
    missed
}

impl Load {
    /// Whether nothing went wrong and more than `least` were mined per second.
    fn holds(&self, least: f64) -> bool {
        self.accepted > 0
            && self.refused == 0
            && self.lost == 0
            && self.twice == 0
            && self.peak_mib < MEMORY
            && self.rate > least
    }

    fn cells(&self) -> String {
        format!(
            "{} | {} | {} | {} | {:.0} | {:.1} | {:.0}",
            self.accepted,
            self.refused,
            self.lost,
            self.twice,
            self.rate,
            self.drained.as_secs_f64(),
            self.peak_mib
        )
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
struct Load {
    accepted: u64,
    refused: u64,
    /// Accepted, and not in a block in the end.
    lost: u64,
    /// In more than one block.
    twice: u64,
    /// Mined from the first send to the last block, per second.
    rate: f64,
    /// Time from the last send to an empty pool.
    drained: Duration,
    /// The most memory that was seen, in MiB.
    peak_mib: f64,
}

/// Loads a node; `signed` with transactions that the clients have signed beforehand.
async fn run(programs: &Programs, kind: Kind, root: &Path, signed: bool) -> eyre::Result<Load> {
    let args: &[&str] = match kind {
        Kind::Cordon => &[],
        // With its default it stops for good.
        Kind::Anvil => &["--max-transactions", "1000000"],
    };
    let node = programs.start(kind, args).await?;
    let load = load(&node, root, signed).await;
    node.stop().await?;
    load
}

async fn load(node: &Node, root: &Path, signed: bool) -> eyre::Result<Load> {
    let client = &node.client;
    let token = Token::deploy(client, root).await?;
    let first = client.number("eth_blockNumber", json!([])).await?.saturating_add(1);
    let mut ready = Vec::new();
    for sender in 0..token.senders.len() {
        ready.push(if signed {
            token.signed(client, sender, SIGNED).await?
        } else {
            Vec::new()
        });
    }
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for (sender, requests) in token.senders.iter().zip(ready) {
        let client = client.another()?;
        let (from, to) = (sender.address(), token.address);
        sending.spawn(async move {
            if signed {
                return send_signed(&client, requests, begun).await;
            }
            let (mut accepted, mut refused) = (Vec::new(), 0u64);
            let transfer = Token::transfer();
            while begun.elapsed() < SENDING {
                match client.send(from, to, &transfer).await {
                    Ok(sent) => accepted.push(sent),
                    Err(_) => refused = refused.saturating_add(1),
                }
            }
            Ok((accepted, refused))
        });
    }
    let mut peak_mib = node.resident_mib()?;
    let (mut accepted, mut refused) = (Vec::new(), 0u64);
    loop {
        tokio::select! {
            ended = sending.join_next() => {
                let Some(ended) = ended else { break };
                let (more, refusals): (Vec<B256>, u64) = ended??;
                accepted.extend(more);
                refused = refused.saturating_add(refusals);
            }
            () = tokio::time::sleep(Duration::from_millis(250)) => peak_mib = peak_mib.max(node.resident_mib()?),
        }
    }
    let sent = Instant::now();
    drain(client, sent).await?;
    let (drained, time) = (sent.elapsed(), begun.elapsed());
    peak_mib = peak_mib.max(node.resident_mib()?);
    let mined = blocks_of(client, first).await?;
    let lost = accepted.iter().filter(|hash| !mined.contains_key(*hash)).count();
    let twice = mined.values().filter(|count| **count > 1).count();
    Ok(Load {
        accepted: u64::try_from(accepted.len())?,
        refused,
        lost: u64::try_from(lost)?,
        twice: u64::try_from(twice)?,
        rate: rate(u64::try_from(mined.len())?, time),
        drained,
        peak_mib,
    })
}

async fn send_signed(client: &Client, requests: Vec<String>, begun: Instant) -> eyre::Result<(Vec<B256>, u64)> {
    let (mut accepted, mut refused) = (Vec::new(), 0u64);
    for request in requests {
        if begun.elapsed() >= SENDING {
            break;
        }
        let answer: Value = serde_json::from_str(&client.post(request).await?)?;
        match answer.get("result") {
            Some(sent) => accepted.push(hash(sent)?),
            None => refused = refused.saturating_add(1),
        }
    }
    Ok((accepted, refused))
}

/// Waits until the pool is empty.
async fn drain(client: &Client, since: Instant) -> eyre::Result<()> {
    loop {
        let status = client.call("txpool_status", json!([])).await?;
        let waiting = |name: &str| number(status.get(name).unwrap_or(&Value::Null));
        if waiting("pending")? == 0 && waiting("queued")? == 0 {
            return Ok(());
        }
        ensure!(since.elapsed() < DRAINING, "the pool does not drain: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// In how many blocks each transaction is.
async fn blocks_of(client: &Client, first: u64) -> eyre::Result<HashMap<B256, u32>> {
    let last = client.number("eth_blockNumber", json!([])).await?;
    let mut mined: HashMap<B256, u32> = HashMap::new();
    for block in first..=last {
        let block = client
            .call("eth_getBlockByNumber", json!([format!("{block:#x}"), false]))
            .await?;
        let transactions = block.get("transactions").and_then(Value::as_array);
        for transaction in transactions.ok_or_eyre("a block has no transactions")? {
            let count = mined.entry(hash(transaction)?).or_default();
            *count = count.saturating_add(1);
        }
    }
    Ok(mined)
}
