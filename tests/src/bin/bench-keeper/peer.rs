//! The peer of a keeper's latencies: a plain reader of the same chain. Beside the keeper, in a process of its own, it follows the heads over
//! the same WebSocket, and at some of them makes once the reads that no keeper can do without: all rules by the guard in one call, and the
//! block's receipts, both by the block's hash and at the same time. It decides and stores nothing. What the machine, the node and the load
//! of the day cost both of them stands on both sides of the ratio, so that a bound on it holds anywhere, and on any day.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::B256;
use alloy::providers::{DynProvider, Provider, ProviderBuilder, WsConnect};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::guard::ICordonGuard as Guard;
use eyre::{OptionExt, WrapErr, bail, ensure};

/// First argument of a process that is a plain reader.
pub(crate) const WORD: &str = "plain-reader";

/// It reads at every so many heads: enough for a median, and hardly more work for the node.
const EVERY: u64 = 4;

/// A plain reader that runs; it dies with this value.
#[derive(Debug)]
pub(crate) struct PlainReader {
    process: Child,
    told: Arc<Mutex<Vec<f64>>>,
}

impl PlainReader {
    /// Starts one for the guard and the rules of this configuration. What it measures before `warm` is over does not count.
    pub(crate) fn start(config: &Path, warm: Duration) -> eyre::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .wrap_err("the plain reader could not be started")?;
        let output = process.stdout.take().ok_or_eyre("the plain reader has no output")?;
        let told = Arc::<Mutex<Vec<f64>>>::default();
        let (heard, begun) = (Arc::clone(&told), Instant::now());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let (true, Ok(took)) = (begun.elapsed() > warm, line.parse()) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                }
            }
        });
        Ok(Self { process, told })
    }

    /// How long it took from a head to all that it reads of its block, so far. An error when it runs no more.
    pub(crate) fn told(&mut self) -> eyre::Result<Latencies> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the plain reader ended with {status}");
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Latencies::of(told.clone()))
    }
}

impl Drop for PlainReader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Latencies in milliseconds, the shortest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    /// Of these measurements, in any order.
    pub(crate) fn of(mut all: Vec<f64>) -> Self {
        all.sort_unstable_by(f64::total_cmp);
        Self(all)
    }

    /// The latency that this share, in per cent, does not exceed; `None` of no measurements.
    pub(crate) fn share(&self, percent: usize) -> Option<f64> {
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(index).copied()
    }
}

/// A share of the latencies of both, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    keeper: f64,
    peer: f64,
}

impl Pair {
    fn ratio(self) -> f64 {
        self.keeper / self.peer
    }
}

/// How the keeper's latencies stand to the peer's, measured in the same run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beside {
    /// What half of them do not exceed.
    p50: Pair,
    /// What nine of ten do not exceed.
    p90: Pair,
}

impl Beside {
    /// A keeper whose median is more than so many times the peer's has become slow. What was measured is in docs/benchmarks-keeper.md: far
    /// less on an idle machine and on one with four times as much to do as it has cores.
    const MOST_P50: f64 = 4.0;
    /// The same of what nine of ten do not exceed, which varies more.
    const MOST_P90: f64 = 6.0;
    /// Nobody cares for the ratio of less than so many milliseconds.
    const FLOOR: f64 = 8.0;

    pub(crate) fn of(keeper: &Latencies, peer: &Latencies) -> eyre::Result<Self> {
        let pair = |percent| {
            let pair = keeper.share(percent).zip(peer.share(percent));
            let pair = pair.map(|(keeper, peer)| Pair { keeper, peer });
            pair.ok_or_eyre("too short: no block was measured, of the keeper or of the plain reader")
        };
        Ok(Self {
            p50: pair(50)?,
            p90: pair(90)?,
        })
    }

    /// Fails when the keeper takes much longer than a reader that has to ask the same.
    pub(crate) fn check(&self) -> eyre::Result<()> {
        for (what, pair, most) in [("p50", self.p50, Self::MOST_P50), ("p90", self.p90, Self::MOST_P90)] {
            ensure!(
                pair.keeper <= Self::FLOOR || pair.ratio() <= most,
                "the keeper has become slow: from head to done it takes {:.1} ms ({what}), {:.1} times as long as a plain reader beside it ({:.1} ms); {most} times is the most",
                pair.keeper,
                pair.ratio(),
                pair.peer,
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} times a plain reader's {:.1} ms (p50), {:.2} times its {:.1} ms (p90)",
            self.p50.ratio(),
            self.p50.peer,
            self.p90.ratio(),
            self.p90.peer
        )
    }
}

/// Reads until the process is killed, and says how long each block took.
pub(crate) async fn read(path: String) -> eyre::Result<()> {
    let config = Config::load(path)?;
    let guard = config.guard.address.ok_or_eyre("the configuration names no guard")?;
    let rules = u16::try_from(config.compile()?.rulebook.rules.len())?;
    let url = config.chain.rpc_urls()?.into_iter().next().ok_or_eyre("no endpoint")?;
    let reads = ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_http(url)
        .erased();
    let ws = ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_ws(WsConnect::new(String::from(config.chain.ws_url()?)))
        .await?;
    let call = Guard::evaluateManyCall {
        rules: (0..rules).collect(),
        witnesses: (0..rules).map(|_| Vec::new()).collect(),
    };
    let request = TransactionRequest::default()
        .with_to(guard)
        .with_input(call.abi_encode());
    let mut heads = ws.subscribe_blocks().await?;
    loop {
        let head = heads.recv().await.ok().ok_or_eyre("the heads ended")?;
        let arrived = Instant::now();
        if head.number % EVERY == 0 {
            let verdicts = read_once(&reads, &request, head.hash).await?;
            ensure!(verdicts == usize::from(rules), "{verdicts} verdicts for {rules} rules");
            println!("{}", arrived.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// All rules and the receipts of this block; how many verdicts came.
async fn read_once(reads: &DynProvider, request: &TransactionRequest, hash: B256) -> eyre::Result<usize> {
    let at = BlockId::from(hash);
    let verdicts = async { reads.call(request.clone()).block(at).await };
    let receipts = async { reads.get_block_receipts(at).await };
    let (verdicts, receipts) = tokio::try_join!(verdicts, receipts)?;
    receipts.ok_or_eyre("the node has no receipts of its newest block")?;
    Ok(Guard::evaluateManyCall::abi_decode_returns(&verdicts)?.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn beside(keeper: &[f64], peer: &[f64]) -> eyre::Result<Beside> {
        Beside::of(&Latencies::of(keeper.to_vec()), &Latencies::of(peer.to_vec()))
    }

    #[test]
    fn a_keeper_that_is_many_times_slower_than_a_plain_reader_fails() {
        let peer = [4.0, 3.0, 5.0, 4.0];
        let checked = |keeper: &[f64]| beside(keeper, &peer).and_then(|beside| beside.check());
        assert!(checked(&[15.0, 16.0, 16.0]).is_ok());
        let error = checked(&[16.0, 40.0, 41.0, 39.0]).unwrap_err().to_string();
        assert!(error.contains("39.0 ms (p50), 9.8 times as long"), "{error}");
        // One block in five is enough.
        let error = checked(&[5.0, 5.0, 5.0, 5.0, 50.0]).unwrap_err().to_string();
        assert!(error.contains("50.0 ms (p90), 10.0 times as long"), "{error}");
        assert!(
            beside(&[7.9], &[0.5]).is_ok_and(|beside| beside.check().is_ok()),
            "too little to matter"
        );
        assert!(
            beside(&[], &peer).is_err() && beside(&peer, &[]).is_err(),
            "nothing was measured"
        );
    }

    #[test]
    fn a_share_is_the_smallest_that_so_many_do_not_exceed() {
        let latencies = Latencies::of(vec![4.0, 1.0, 3.0, 2.0]);
        let shares = [1, 25, 26, 50, 90, 100].map(|percent| latencies.share(percent));
        assert_eq!(shares, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0].map(Some));
    }
}
