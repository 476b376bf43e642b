//! Runs fuzz targets. `scripts/fuzz` builds and calls this.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use cordon_fuzz::run::{self, Report, Until};
use cordon_fuzz::{TARGETS, Target};
use eyre::{OptionExt, Result, WrapErr, bail};

/// Gives fuzz targets inputs made from a seed until the time is over. Without a target it lists them.
#[derive(Debug, Parser)]
#[command(name = "fuzz", version)]
struct Args {
    /// Name of a target, or `all`.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 10, env = "CORDON_FUZZ_SECONDS")]
    seconds: u64,
    /// The seed; a fresh one every time, and printed, unless it is given.
    #[arg(long, env = "CORDON_FUZZ_SEED")]
    seed: Option<u64>,
    /// Run this input only.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let Some(name) = &args.target else {
        for target in TARGETS {
            println!("{:12} {}", target.name, target.what);
        }
        return Ok(());
    };
    if let Some(path) = &args.replay {
        let bytes = std::fs::read(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
        return match run::one(find(name)?, &bytes) {
            Ok(()) => {
                println!("{name}: holds");
                Ok(())
            }
            Err(what) => bail!("{name}: {what}"),
        };
    }
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?,
    };
    let until = Until::Elapsed(Duration::from_secs(args.seconds));
    if name != "all" {
        return report(find(name)?, seed, until);
    }
    for target in TARGETS {
        report(target, seed, until)?;
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Target> {
    let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .ok_or_eyre(format!("no target {name:?}: there are {names}, and all"))
}

fn report(target: &Target, seed: u64, until: Until) -> Result<()> {
    let Report { cases, finding } =
        run::run(target, seed, until).wrap_err_with(|| format!("the corpus of {} cannot be read", target.name))?;
    let Some(finding) = finding else {
        println!("{}: {cases} inputs, seed {seed}", target.name);
        return Ok(());
    };
    let path = finding.save(target).wrap_err("the input cannot be saved")?;
    eprintln!(
        "{}: {}\n  input: {}, after {cases} that held\n  again: scripts/fuzz {} --replay {}",
        target.name,
        finding.what,
        finding.source,
        target.name,
        path.display()
    );
    // A thread may still run what has no end.
    std::process::exit(1);
}
