//! `cordon limiter deploy`.

use std::path::PathBuf;

use alloy::primitives::{B256, keccak256};
use clap::Parser;
use cordon_client::build::Artifacts;
use cordon_client::config::{format_duration, parse_duration};
use cordon_client::limiter::deploy_limiter;
use cordon_client::program::Program;

use crate::guard::{ConfigArgs, deployed, root};
use crate::key::KeyArgs;
use crate::style::Style;

/// How to deploy.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// How long what exceeds a limit waits, at most 7 days, such as "1 day". It cannot be changed later.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: u32,
    /// Folder with limiter.bin; that of `cordon guard build` unless given.
    #[arg(long, value_name = "FOLDER")]
    artifacts: Option<PathBuf>,
    /// Cordon's sources; found from the current folder upwards unless given.
    #[arg(long, value_name = "FOLDER", conflicts_with = "artifacts")]
    root: Option<PathBuf>,
    /// 32 bytes in hex that make this limiter's address differ from another one's of the same guard and delay.
    #[arg(long, value_name = "HEX")]
    salt: Option<B256>,
}

pub(crate) fn duration(text: &str) -> Result<u32, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let config = args.config.load()?;
    let guard = deployed(&config)?;
    let folder = match &args.artifacts {
        Some(folder) => folder.clone(),
        None => Artifacts::directory(&root(args.root.as_deref())?),
    };
    let program = Program {
        name: "limiter".to_owned(),
        ..Program::load(&folder.join("limiter.bin"))?
    };
    let (provider, from) = args.key.connect(&config.chain).await?;
    let salt = args.salt.unwrap_or_else(|| keccak256("cordon limiter"));
    let done = deploy_limiter(&provider, from, guard, args.delay, &program, salt).await?;
    let style = Style::of_stdout();
    let how = if done.created { "deployed" } else { "found" };
    println!("limiter   {} ({how})", style.bold(&done.limiter.to_string()));
    println!("guard     {guard}");
    println!("delay     {}", format_duration(args.delay.into()));
    println!(
        "put it into [contracts] (limiter = {{ address = \"{}\" }}), then set its limits with `cordon limiter set`",
        done.limiter
    );
    Ok(())
}
