//! The keeper as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::signers::local::PrivateKeySigner;
use cordon_client::Config;
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, KeeperEvent, Options, Replayed, Signers, notify};
use eyre::{OptionExt, WrapErr};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// First argument of a process that is a keeper.
pub(crate) const WORD: &str = "keeper";

/// First argument of a process that is a guard's keeper.
pub(crate) const GUARD: &str = "guard";

/// First argument of a process that replays.
pub(crate) const REPLAY: &str = "replay";

/// Replays the blocks of a configuration's chain and prints what it comes to: `CONFIG FROM TO`.
pub(crate) async fn replay(args: &[String]) -> eyre::Result<()> {
    let [path, from, to] = args else {
        eyre::bail!("a replay needs a configuration and two blocks");
    };
    let config = Config::load(path)?;
    let (options, compiled) = (Options::from_config(&config)?, config.compile()?);
    let range = (from.parse()?, to.parse()?);
    let begun = Instant::now();
    let replayed = cordon_keeper::replay((&options, &compiled), None, range, |_| {}).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = peak_mib(std::process::id())?;
    let Replayed {
        blocks,
        verdicts,
        unknown,
        ..
    } = replayed;
    println!(
        "{{\"blocks\":{blocks},\"verdicts\":{verdicts},\"unknown\":{unknown},\"seconds\":{seconds},\"mib\":{peak}}}"
    );
    Ok(())
}

/// Runs a keeper that only watches until the process is killed.
pub(crate) async fn run(path: String) -> eyre::Result<()> {
    let config = Config::load(path)?;
    let options = Options::from_config(&config)?;
    let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
    let directory = config.source.directory();
    let store = Store::at(&section.store, directory, options.chain_id, options.guard).await?;
    let channels = notify::channels(&config.notify, directory)?;
    let keeper = Keeper::watching(options, &config.compile()?, store).await?;
    keeper.with_channels(channels).run(CancellationToken::new()).await?;
    Ok(())
}

/// Runs a guard's keeper until the process is killed, and tells what it does, a line of JSON each.
pub(crate) async fn guard(path: String) -> eyre::Result<()> {
    let config = Config::load(path)?;
    let options = Options::from_config(&config)?;
    let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
    let directory = config.source.directory();
    let store = Store::at(&section.store, directory, options.chain_id, options.guard).await?;
    let keeper = Keeper::new(options, &config.compile()?, store, Signers::from_config(&config).await?).await?;
    let mut events = keeper.subscribe();
    let rules = keeper.rehearse().await?.unwrap_or_default();
    println!(
        "{}",
        json!({ "event": "rules", "keeper": rules.keeper, "guard": rules.guard })
    );
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let Some(line) = line(&event) {
                println!("{line}");
            }
        }
    });
    keeper.run(CancellationToken::new()).await?;
    Ok(())
}

fn line(event: &KeeperEvent) -> Option<Value> {
    let us = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Some(match event {
        KeeperEvent::BlockDone {
            number,
            head_to_decision,
            ..
        } => json!({ "event": "block", "block": number, "us": head_to_decision.as_ref().map(us) }),
        KeeperEvent::Decided {
            intent,
            block,
            head_to_decision,
            ..
        } => json!({ "event": "decided", "intent": intent, "block": block, "us": us(head_to_decision) }),
        KeeperEvent::Broadcast {
            intent,
            decision_to_broadcast,
            ..
        } => json!({ "event": "broadcast", "intent": intent, "us": decision_to_broadcast.as_ref().map(us) }),
        KeeperEvent::Contained { intent, block, .. } => {
            json!({ "event": "contained", "intent": intent, "block": block })
        }
        KeeperEvent::Alarm { text, .. } => json!({ "event": "alarm", "text": text }),
        _ => return None,
    })
}

/// A guard's keeper that runs; it dies with this value.
pub(crate) struct Guarding {
    process: Process,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Guarding {
    /// Starts it with the keys of the keeper and of its heartbeat.
    pub(crate) fn start(config: &Path, [key, heartbeat]: [PrivateKeySigner; 2]) -> eyre::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(GUARD)
            .arg(config)
            .env("CORDON_BENCH_KEY", key.to_bytes().to_string())
            .env("CORDON_BENCH_HEARTBEAT", heartbeat.to_bytes().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .wrap_err("the keeper could not be started")?;
        let lines = child.stdout.take().ok_or_eyre("the keeper has no output")?;
        let told: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(Self {
            process: Process(child),
            told,
        })
    }

    /// What it has told so far.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most memory that it has had, in MiB.
    pub(crate) fn peak_mib(&self) -> eyre::Result<f64> {
        self.process.peak_mib()
    }
}

/// A running keeper; it dies with this value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(config: &Path) -> eyre::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .wrap_err("the keeper could not be started")?;
        Ok(Self(child))
    }

    /// The most memory that it has had, in MiB.
    pub(crate) fn peak_mib(&self) -> eyre::Result<f64> {
        peak_mib(self.0.id())
    }
}

fn peak_mib(process: u32) -> eyre::Result<f64> {
    memory_mib(process, "VmHWM:")
}

/// The memory that a process has now, in MiB.
pub(crate) fn resident_mib(process: u32) -> eyre::Result<f64> {
    memory_mib(process, "VmRSS:")
}

fn memory_mib(process: u32, what: &str) -> eyre::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .ok_or_eyre("the system does not tell the keeper's memory")?;
    Ok(kib / 1_024.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
