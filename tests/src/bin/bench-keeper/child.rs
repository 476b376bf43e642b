//! The keeper as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use cordon_client::Config;
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, Options, Replayed, notify};
use eyre::{OptionExt, WrapErr};
use tokio_util::sync::CancellationToken;

/// First argument of a process that is a keeper.
pub(crate) const WORD: &str = "keeper";

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
