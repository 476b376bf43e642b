//! `cordon limiter …`.

mod change;
mod deploy;
mod status;

use alloy::primitives::Address;
use clap::Subcommand;
use cordon_client::Config;
use cordon_client::config::suggest;
use cordon_client::limiter::NATIVE;

use crate::guard::ConfigArgs;

/// What to do with a limiter.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Deploy, activate and set up a limiter for the guard, in one transaction. Can be repeated: what is there is found.
    Deploy(deploy::Args),
    /// Show a limiter: its limits, who holds them, and what waits in quarantine.
    Status(status::Args),
    /// Set a limit, as the guard's governor.
    Set(change::SetArgs),
    /// Take a limit away, as the guard's governor: everything leaves.
    Remove(change::RemoveArgs),
    /// Hold a limit more tightly, as guardian (for 24 hours) or governor, or end one's hold.
    Hold(change::HoldArgs),
    /// Take an announcement back, as governor or guardian.
    Cancel(change::CancelArgs),
    /// Pay an item that is due. Open to anyone.
    Release(change::ReleaseArgs),
}

pub(crate) async fn run(command: Command) -> eyre::Result<()> {
    match command {
        Command::Deploy(args) => deploy::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Set(args) => change::set(&args).await,
        Command::Remove(args) => change::remove(&args).await,
        Command::Hold(args) => change::hold(&args).await,
        Command::Cancel(args) => change::cancel(&args).await,
        Command::Release(args) => change::release(&args).await,
    }
}

/// The limiter that a command is about.
#[derive(clap::Args)]
pub(crate) struct Which {
    #[command(flatten)]
    config: ConfigArgs,
    /// The limiter: an address, or its name in [contracts].
    limiter: String,
}

/// An account by its address, its name in `[contracts]`, or `native`.
fn account(config: &Config, text: &str) -> eyre::Result<Address> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(contract) = config.contracts.get(text) {
        return Ok(contract.address);
    }
    if text == "native" {
        return Ok(NATIVE);
    }
    let help = suggest(text, config.contracts.names());
    Err(eyre::eyre!(
        "`{text}` is neither an address nor a name in [contracts]{}",
        help.map(|help| format!("; {help}")).unwrap_or_default()
    ))
}

/// An account as people know it.
fn name(config: &Config, account: Address) -> String {
    match config.contracts.name_of(account) {
        Some(name) => name.to_owned(),
        None if account == NATIVE => "native".to_owned(),
        None => account.to_string(),
    }
}
