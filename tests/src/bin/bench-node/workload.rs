//! What is measured on both nodes alike.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, hex};
use alloy::sol;
use alloy::sol_types::SolCall;
use eyre::{OptionExt, WrapErr, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Client, request};
use crate::peer::{Kind, Node, Programs};
use crate::stylus;
use crate::target::Target;
use crate::token::Token;
use crate::transfers::transfers;

sol! {
    #[allow(missing_docs)]
    interface IPool {
        function getUserAccountData(address user) external view returns (uint256, uint256, uint256, uint256, uint256, uint256);
    }
}

/// So many may wait in anvil's pool: with its default of 1,000 it stops for good when more do.
const POOL: [&str; 2] = ["--max-transactions", "100000"];

/// Blocks at an interval. With 30 million gas they would take about 900 transfers, whatever the node can do.
const INTERVAL: [&str; 6] = [
    "--block-time",
    "0.25",
    "--max-transactions",
    "100000",
    "--gas-limit",
    "1000000000",
];

/// Queries of logs that are timed.
const LOG_QUERIES: u64 = 100;

/// The chain that is forked.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) endpoint: String,
    pub(crate) pool: Address,
    pub(crate) borrower: Address,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Automine,
    Interval,
    SendAndWait,
    Call,
    Logs,
    ForkStart,
    Snapshots,
    MineOneByOne,
    MineAtOnce,
    MineMany,
    Memory,
    Enter,
    FirstCall,
}

impl Workload {
    pub(crate) const ALL: [Self; 13] = [
        Self::Automine,
        Self::Interval,
        Self::SendAndWait,
        Self::Call,
        Self::Logs,
        Self::ForkStart,
        Self::Snapshots,
        Self::MineOneByOne,
        Self::MineAtOnce,
        Self::MineMany,
        Self::Memory,
        Self::Enter,
        Self::FirstCall,
    ];

    /// Name for the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Automine => "automine",
            Self::Interval => "interval",
            Self::SendAndWait => "send-and-wait",
            Self::Call => "call",
            Self::Logs => "logs",
            Self::ForkStart => "fork-start",
            Self::Snapshots => "snapshots",
            Self::MineOneByOne => "mine-1",
            Self::MineAtOnce => "mine-2000",
            Self::MineMany => "mine-20000",
            Self::Memory => "memory",
            Self::Enter => "enter",
            Self::FirstCall => "first-call",
        }
    }

    /// What the table says.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Automine => "ERC-20 transfers mined, signed, 16 connections, automine",
            Self::Interval => "ERC-20 transfers mined, signed, 16 connections, blocks of 250 ms and 1,000,000,000 gas",
            Self::SendAndWait => "ERC-20 transfers sent and waited for by 16 clients, automine",
            Self::Call => "`eth_call` of Aave's `getUserAccountData` on a fork, 4 connections",
            Self::Logs => "`eth_getLogs` over 1,000 blocks, one log each",
            Self::ForkStart => "start of the process on a fork to the first answer",
            Self::Snapshots => "cycles of snapshot, 20 transfers, revert",
            Self::MineOneByOne => "2,000 times `anvil_mine(1)`",
            Self::MineAtOnce => "`anvil_mine(2000)`",
            Self::MineMany => "`anvil_mine(20000)` (anvil is not asked: it does not finish in 75 s)",
            Self::Memory => "memory after 10,000 transfers, each its own block",
            Self::Enter => "guard's `enter` with a rule by `eth_call`, Stylus, 8 connections",
            Self::FirstCall => "first `enter` after a start with native code on disk",
        }
    }

    /// Unit of the figures.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::ForkStart | Self::FirstCall => "ms",
            Self::MineOneByOne | Self::MineAtOnce | Self::MineMany => "s",
            Self::Memory => "MiB",
            _ => "per s",
        }
    }

    /// Whether more is better.
    pub(crate) fn is_rate(self) -> bool {
        self.unit() == "per s"
    }

    /// Whether both nodes are measured: anvil does not finish the one and cannot run Stylus programs.
    pub(crate) fn has_peer(self) -> bool {
        !matches!(self, Self::MineMany | Self::Enter | Self::FirstCall)
    }

    /// What must be reached.
    pub(crate) fn target(self) -> Target {
        match self {
            Self::MineMany => Target::Below {
                figure: 2.0,
                short: 10.0,
            },
            Self::Enter => Target::AtLeast {
                figure: 3_000.0,
                short: 500.0,
            },
            Self::FirstCall => Target::Below {
                figure: 20.0,
                short: 100.0,
            },
            _ => Target::Peer,
        }
    }

    /// Whether the short form has it. It measures development builds, too: where much is computed in a request they are no match for
    /// an optimised anvil, so that their ratio says nothing.
    pub(crate) fn is_short(self) -> bool {
        !matches!(self, Self::Interval | Self::Call | Self::Logs | Self::Snapshots)
    }

    /// Measures once, on a node of its own.
    pub(crate) async fn measure(
        self,
        programs: &Programs,
        kind: Kind,
        (root, upstream): (&Path, &Upstream),
    ) -> eyre::Result<f64> {
        match self {
            Self::Enter => return stylus::enters(programs, root).await,
            Self::FirstCall => return stylus::first_call(programs, root).await,
            _ => {}
        }
        let fork = ["--fork-url", &upstream.endpoint, "--no-storage-caching"];
        let args: &[&str] = match self {
            Self::Interval => &INTERVAL,
            Self::Call | Self::ForkStart => &fork,
            _ => &POOL,
        };
        let node = programs.start(kind, args).await?;
        let figure = self.figure(&node, root, upstream).await;
        node.stop().await?;
        figure.wrap_err_with(|| format!("{} on {kind:?}", self.id()))
    }

    async fn figure(self, node: &Node, root: &Path, upstream: &Upstream) -> eyre::Result<f64> {
        let client = &node.client;
        match self {
            Self::Automine => transfers(client, root, 200).await,
            // So many that the wait for the last block does not count.
            Self::Interval => transfers(client, root, 1_000).await,
            Self::SendAndWait => send_and_wait(client, root, 50).await,
            Self::Call => calls(client, upstream, 4, 500).await,
            Self::Logs => logs(client, root).await,
            Self::ForkStart => Ok(node.start.as_secs_f64() * 1_000.0),
            Self::Snapshots => snapshots(client, root, 20).await,
            Self::MineOneByOne => mine(client, 2_000, 1).await,
            Self::MineAtOnce => mine(client, 1, 2_000).await,
            Self::MineMany => mine(client, 1, 20_000).await,
            Self::Memory => {
                transfers(client, root, 625).await?;
                node.resident_mib()
            }
            Self::Enter | Self::FirstCall => bail!("{} starts its own nodes", self.id()),
        }
    }
}

/// A count over a time, per second.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Waits for all; the first failure is the error.
pub(crate) async fn all(mut tasks: JoinSet<eyre::Result<()>>) -> eyre::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Each of 16 clients sends `each` transfers from an account of the node and waits for the receipt of one before the next.
async fn send_and_wait(client: &Client, root: &Path, each: u64) -> eyre::Result<f64> {
    let token = Token::deploy(client, root).await?;
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for sender in &token.senders {
        let (client, from, to) = (client.another()?, sender.address(), token.address);
        sending.spawn(async move {
            let transfer = Token::transfer();
            for _ in 0..each {
                let sent = client.send(from, to, &transfer).await?;
                client.receipt(sent).await?;
            }
            Ok(())
        });
    }
    all(sending).await?;
    let count = u64::try_from(token.senders.len())?.saturating_mul(each);
    Ok(rate(count, begun.elapsed()))
}

async fn calls(client: &Client, upstream: &Upstream, connections: u64, each: u64) -> eyre::Result<f64> {
    let call = IPool::getUserAccountDataCall {
        user: upstream.borrower,
    };
    let call = json!([{ "to": upstream.pool, "data": hex::encode_prefixed(call.abi_encode()) }, "latest"]);
    let body = request("eth_call", &call);
    // The first run fetches the state.
    let answer = client.post(body.clone()).await?;
    ensure!(answer.len() > 400, "Aave does not answer: {answer}");
    let begun = Instant::now();
    let mut calling = JoinSet::new();
    for _ in 0..connections {
        let (client, body, expected) = (client.another()?, body.clone(), answer.clone());
        calling.spawn(async move {
            for _ in 0..each {
                ensure!(
                    client.post(body.clone()).await? == expected,
                    "two equal calls have two answers"
                );
            }
            Ok(())
        });
    }
    all(calling).await?;
    Ok(rate(connections.saturating_mul(each), begun.elapsed()))
}

/// A thousand blocks with one transfer each, then all their logs at once, over and over.
async fn logs(client: &Client, root: &Path) -> eyre::Result<f64> {
    let token = Token::deploy(client, root).await?;
    client.call("evm_setAutomine", json!([false])).await?;
    let first = client.number("eth_blockNumber", json!([])).await?.saturating_add(1);
    for request in token.signed(client, 0, 1_000).await? {
        client.post(request).await?;
        client.call("evm_mine", json!([])).await?;
    }
    let last = client.number("eth_blockNumber", json!([])).await?;
    let filter =
        json!([{ "fromBlock": format!("{first:#x}"), "toBlock": format!("{last:#x}"), "address": token.address }]);
    let found = client.call("eth_getLogs", filter.clone()).await?;
    ensure!(
        found.as_array().map(Vec::len) == Some(1_000),
        "not a thousand logs: {found:.100}"
    );
    let body = request("eth_getLogs", &filter);
    let whole = client.weigh(body.clone()).await?;
    let begun = Instant::now();
    for _ in 0..LOG_QUERIES {
        ensure!(
            client.weigh(body.clone()).await? == whole,
            "two equal queries have two answers"
        );
    }
    Ok(rate(LOG_QUERIES, begun.elapsed()))
}

async fn snapshots(client: &Client, root: &Path, cycles: u64) -> eyre::Result<f64> {
    let token = Token::deploy(client, root).await?;
    let from = token.senders.first().ok_or_eyre("there are no senders")?.address();
    let transfer = Token::transfer();
    let begun = Instant::now();
    for _ in 0..cycles {
        let id = client.call("evm_snapshot", json!([])).await?;
        for _ in 0..20 {
            let sent = client.send(from, token.address, &transfer).await?;
            client.receipt(sent).await?;
        }
        let reverted = client.call("evm_revert", json!([id])).await?;
        ensure!(reverted == json!(true), "the snapshot is gone");
    }
    Ok(rate(cycles, begun.elapsed()))
}

/// Seconds that `times` requests for `blocks` blocks take.
async fn mine(client: &Client, times: u64, blocks: u64) -> eyre::Result<f64> {
    let body = request("anvil_mine", &json!([format!("{blocks:#x}")]));
    let begun = Instant::now();
    for _ in 0..times {
        client.post(body.clone()).await?;
    }
    let time = begun.elapsed();
    let head = client.number("eth_blockNumber", json!([])).await?;
    ensure!(head == times.saturating_mul(blocks), "the head is {head}");
    Ok(time.as_secs_f64())
}
