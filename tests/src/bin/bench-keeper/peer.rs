//! The peer of a keeper's latencies: a plain reader of the same chain. Beside the keeper, in a process of its own, it follows the heads over
//! the same WebSocket, and at some of them makes once the reads that no keeper can do without: all rules by the guard in one call, and the
//! block's receipts, both by the block's hash and at the same time. Then it writes as much as the commit of a block to a file beside the
//! keeper's record, and waits until the disk has it: the keeper is done with a block no sooner. It decides nothing. What the machine, its
//! disk, the node and the load of the day cost both of them stands on both sides of the ratio, so that a bound on it holds anywhere, and on
//! any day.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
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
use cordon_client::config::StorePlace;
use cordon_client::guard::ICordonGuard as Guard;
use eyre::{OptionExt, WrapErr, bail, ensure};
use tokio::sync::broadcast::error::RecvError;

/// First argument of a process that is a plain reader.
pub(crate) const WORD: &str = "plain-reader";

/// It reads at every so many heads: enough for a median, and hardly more work for the node.
const EVERY: u64 = 4;

/// What a block's commit writes to the log of the keeper's record: some ten pages.
const COMMIT: usize = 40 * 1_024;
/// Commits after which the log of a record is written from its beginning again.
const LOG: usize = 128;

/// A latency in milliseconds, and when it was told, from the beginning on.
pub(crate) type Timed = (Duration, f64);

/// A plain reader that runs; it dies with this value.
#[derive(Debug)]
pub(crate) struct PlainReader {
    process: Child,
    told: Arc<Mutex<Vec<Timed>>>,
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
        let told = Arc::<Mutex<Vec<Timed>>>::default();
        let (heard, begun) = (Arc::clone(&told), Instant::now());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = begun.elapsed();
                if let (true, Ok(took)) = (at > warm, line.parse()) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push((at, took));
                }
            }
        });
        Ok(Self { process, told })
    }

    /// How long it took from a head to all that it reads of its block, and to what it writes then, so far. An error when it runs no more.
    pub(crate) fn told(&mut self) -> eyre::Result<Vec<Timed>> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the plain reader ended with {status}");
        }
        Ok(self.told.lock().unwrap_or_else(PoisonError::into_inner).clone())
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

    /// Of these, whenever they were told.
    pub(crate) fn of_all(all: &[Timed]) -> Self {
        Self::of(all.iter().map(|(_, took)| *took).collect())
    }

    /// The latency that this share, in per cent, does not exceed; `None` of no measurements.
    pub(crate) fn share(&self, percent: usize) -> Option<f64> {
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(index).copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// A share of the latencies of both, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) keeper: f64,
    pub(crate) peer: f64,
}

impl Pair {
    pub(crate) fn ratio(self) -> f64 {
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
    /// How many blocks the plain reader has measured.
    read: usize,
    /// How many it should have, by what the keeper has.
    due: usize,
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
            pair.ok_or_else(|| {
                let (keeper, peer) = (keeper.count(), peer.count());
                eyre::eyre!(
                    "too little to compare: {keeper} blocks were measured of the keeper, {peer} of the plain reader"
                )
            })
        };
        Ok(Self {
            p50: pair(50)?,
            p90: pair(90)?,
            read: peer.count(),
            due: keeper.count() / usize::try_from(EVERY)?,
        })
    }

    /// Fails when the keeper takes much longer than a reader that has to ask the same, or when that has read too little to tell: a stall, or a
    /// read that fails, costs it some blocks, but not half of them.
    pub(crate) fn check(&self) -> eyre::Result<()> {
        ensure!(
            self.read * 2 >= self.due,
            "the plain reader has measured only {} of some {} blocks that it should have read: too few to compare the keeper with",
            self.read,
            self.due
        );
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
    let mut log = Log::beside(&config)?;
    let mut heads = ws.subscribe_blocks().await?;
    loop {
        let Some(head) = heard(heads.recv().await)? else {
            continue;
        };
        let arrived = Instant::now();
        if head.number % EVERY == 0 && is_read(head.number, read_once(&reads, &request, head.hash).await, rules)? {
            log = tokio::task::spawn_blocking(move || log.commit().map(|()| log)).await??;
            println!("{}", arrived.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// A head, or that some are lost; an error when no more come. Who stands still for some seconds loses a few: those were not measured, and the
/// others are.
pub(crate) fn heard<H>(head: Result<H, RecvError>) -> eyre::Result<Option<H>> {
    match head {
        Ok(head) => Ok(Some(head)),
        Err(RecvError::Lagged(_)) => Ok(None),
        Err(RecvError::Closed) => bail!("the heads ended"),
    }
}

/// Whether this block was read, with so many verdicts. A read that fails is said and left out; an answer to something else is an error.
fn is_read(number: u64, verdicts: eyre::Result<usize>, rules: u16) -> eyre::Result<bool> {
    match verdicts {
        Ok(verdicts) => {
            ensure!(verdicts == usize::from(rules), "{verdicts} verdicts for {rules} rules");
            Ok(true)
        }
        Err(error) => {
            eprintln!("the plain reader could not read block {number}: {error:#}");
            Ok(false)
        }
    }
}

/// What stands for the log of a record: as long, beside it, and on the same disk.
#[derive(Debug)]
struct Log {
    file: File,
    commits: usize,
}

impl Log {
    /// In the folder of this configuration's record.
    fn beside(config: &Config) -> eyre::Result<Self> {
        let section = config.keeper.as_ref().ok_or_eyre("the configuration has no keeper")?;
        let StorePlace::File(record) = &section.store else {
            bail!("the record is no file");
        };
        let file = File::create(record.with_extension("plain-reader"))?;
        Ok(Self { file, commits: 0 })
    }

    /// Writes as much as a block's commit, and waits until the disk has it.
    fn commit(&mut self) -> std::io::Result<()> {
        if self.commits.is_multiple_of(LOG) {
            self.file.rewind()?;
        }
        self.commits = self.commits.wrapping_add(1);
        // Other bytes than the last time: a file system may leave out what is there already.
        let pages = self.commits.to_le_bytes().repeat(COMMIT / size_of::<usize>());
        self.file.write_all(&pages)?;
        self.file.sync_data()
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
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

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
    fn a_reader_that_has_missed_half_of_its_blocks_is_no_measure() {
        let checked = |read| beside(&[4.0; 401], &vec![4.0; read]).and_then(|beside| beside.check());
        assert!(checked(100).is_ok() && checked(50).is_ok());
        let error = checked(49).unwrap_err().to_string();
        assert!(error.contains("only 49 of some 100 blocks"), "{error}");
        let error = checked(0).unwrap_err().to_string();
        assert!(
            error.contains("401 blocks were measured of the keeper, 0 of the plain reader"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_stall_costs_the_reader_some_heads_and_no_more() {
        let (sender, mut heads) = tokio::sync::broadcast::channel(2);
        for number in 1..=5 {
            sender.send(number).unwrap();
        }
        let mut all = Vec::new();
        while all.last() != Some(&5) {
            all.extend(heard(heads.recv().await).unwrap());
        }
        assert_eq!(all, [4, 5]);
        drop(sender);
        let error = heard(heads.recv().await).unwrap_err();
        assert!(error.to_string().contains("the heads ended"), "{error}");
    }

    #[test]
    fn a_failed_read_is_left_out_and_a_wrong_answer_is_not() {
        assert!(is_read(4, Ok(200), 200).unwrap());
        assert!(!is_read(4, Err(eyre::eyre!("connection reset")), 200).unwrap());
        let error = is_read(4, Ok(3), 200).unwrap_err().to_string();
        assert!(error.contains("3 verdicts for 200 rules"), "{error}");
    }

    #[test]
    fn a_log_grows_by_each_commit_until_it_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log {
            file: File::create(&path).unwrap(),
            commits: 0,
        };
        let written = |log: &mut Log| {
            log.commit().unwrap();
            std::fs::read(&path).unwrap()
        };
        assert_eq!(written(&mut log).len(), COMMIT);
        let two = written(&mut log);
        assert_eq!(two.len(), 2 * COMMIT);
        log.commits = LOG;
        let again = written(&mut log);
        assert_eq!(again.len(), 2 * COMMIT);
        assert!(two[..COMMIT] != again[..COMMIT] && two[COMMIT..] == again[COMMIT..]);
    }

    #[test]
    fn a_share_is_the_smallest_that_so_many_do_not_exceed() {
        let latencies = Latencies::of(vec![4.0, 1.0, 3.0, 2.0]);
        let shares = [1, 25, 26, 50, 90, 100].map(|percent| latencies.share(percent));
        assert_eq!(shares, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0].map(Some));
    }
}
