//! Flags of anvil that have no effect here, or are refused.

use std::path::PathBuf;

use clap::Parser;
use eyre::bail;

/// Flags of anvil whose wish is met anyway, or that steer what this node does not have. They are accepted for scripts.
#[derive(Parser)]
#[command(next_help_heading = "Accepted for anvil's sake, without effect")]
pub(super) struct Unused {
    /// States are held in memory, and nothing is cached on disk.
    #[arg(long, hide = true)]
    no_storage_caching: bool,
    #[arg(long, value_name = "PATH", hide = true)]
    cache_path: Option<PathBuf>,
    #[arg(long, value_name = "NUM", hide = true)]
    max_persisted_states: Option<usize>,
    #[arg(short = 'j', long, value_name = "NUM", alias = "jobs", hide = true)]
    threads: Option<usize>,
    /// Requests may have 64 MiB.
    #[arg(long, hide = true)]
    no_request_size_limit: bool,
    #[arg(long, value_name = "BYTES", hide = true)]
    memory_limit: Option<u64>,
    /// Struct logs are always there.
    #[arg(long, alias = "tracing", hide = true)]
    steps_tracing: bool,
    /// No tip is asked for.
    #[arg(long, alias = "no-priority-fee", hide = true)]
    disable_min_priority_fee: bool,
    /// The limit of 32,000,000 gas is always there.
    #[arg(long, alias = "tx-gas-limit", hide = true)]
    enable_tx_gas_limit: bool,
    #[arg(long, value_name = "COLOR", hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    md: bool,
    #[arg(short = 'v', long, action = clap::ArgAction::Count, hide = true)]
    verbosity: u8,
    #[arg(long, hide = true)]
    disable_pool_balance_checks: bool,
    #[arg(long, hide = true)]
    json: bool,
}

impl Unused {
    /// What to know about flags whose wish is not met, though nothing goes wrong without.
    pub(super) fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.disable_pool_balance_checks {
            warnings.push(
                "--disable-pool-balance-checks has no effect: a transaction that its sender cannot pay for is never mined here; give \
                 the sender a balance with anvil_setBalance",
            );
        }
        if self.json {
            warnings.push("--json has no effect: --config-out FILE writes accounts and settings as JSON");
        }
        warnings
    }
}

/// Flags of anvil that cannot be met. Ignoring them would give wrong results, so they are refused by name.
#[derive(Parser)]
pub(super) struct Refused {
    #[arg(long, hide = true)]
    celo: bool,
    #[arg(short = 'n', long, value_name = "NETWORK", hide = true)]
    network: Option<String>,
}

impl Refused {
    pub(super) fn check(&self) -> eyre::Result<()> {
        if self.celo || self.network.as_deref().is_some_and(|network| network != "ethereum") {
            bail!("--celo and --network: this node follows the rules of Arbitrum; use anvil for another network");
        }
        Ok(())
    }
}
