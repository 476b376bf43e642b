//! Flags of `cordon node`. They are named as anvil's, so that scripts carry over.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::B256;
use clap::{Parser, ValueEnum};
use cordon_node::{
    DEFAULT_DERIVATION_PATH, EngineChoice, ForkRequests, Hardfork as Rules, KeptPrograms, NodeConfig, StateFiles,
    TransactionOrder,
};
use eyre::{bail, eyre};
use url::Url;

use super::wallet::Wallet;

/// Socket of `--ipc` without a path.
const DEFAULT_IPC: &str = "/tmp/anvil.ipc";

/// Flags are named as anvil's. `docs/node.md` lists those that have no effect here.
#[derive(Parser)]
pub(crate) struct Args {
    /// Port for HTTP and WebSocket; 0 takes a free one.
    #[arg(short, long, value_name = "NUM", default_value_t = 8545)]
    port: u16,
    /// Address to listen on.
    #[arg(long, value_name = "IP_ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Listen on a Unix socket as well [default path: /tmp/anvil.ipc].
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = DEFAULT_IPC, visible_alias = "ipcpath")]
    ipc: Option<PathBuf>,
    /// Origin that pages in a browser may ask from.
    #[arg(long, value_name = "ORIGIN", default_value = "*")]
    allow_origin: String,
    /// Let no page in a browser ask.
    #[arg(long)]
    no_cors: bool,

    /// Endpoint of the chain to fork (http, https, ws, wss), `URL@BLOCK` for one of its blocks. Given several times, requests go
    /// round, and what fails at one is asked of the next.
    #[arg(short, long, value_name = "URL", visible_alias = "rpc-url", help_heading = "Fork")]
    fork_url: Vec<String>,
    /// Block of that chain to start from; negative: so many behind the newest. The newest unless given.
    #[arg(
        long,
        value_name = "BLOCK",
        requires = "fork_url",
        allow_negative_numbers = true,
        help_heading = "Fork"
    )]
    fork_block_number: Option<i64>,
    /// Start on the state right after this transaction, in the middle of its block.
    #[arg(
        long,
        value_name = "HASH",
        requires = "fork_url",
        conflicts_with = "fork_block_number",
        help_heading = "Fork"
    )]
    fork_transaction_hash: Option<B256>,
    /// Chain id that the endpoint must serve; as `--chain-id` on a fork.
    #[arg(long, value_name = "ID", requires = "fork_url", help_heading = "Fork")]
    fork_chain_id: Option<u64>,
    /// Header of each request to the endpoint, as `Name: value`.
    #[arg(
        long = "fork-header",
        value_name = "HEADER",
        requires = "fork_url",
        help_heading = "Fork"
    )]
    fork_headers: Vec<String>,
    /// Attempts after the first when an endpoint fails, is busy or limits the rate.
    #[arg(long, value_name = "NUM", default_value_t = 5, help_heading = "Fork")]
    retries: u32,
    /// Milliseconds before the second round of attempts; the wait doubles with each.
    #[arg(long, value_name = "MS", default_value_t = 250, help_heading = "Fork")]
    fork_retry_backoff: u64,
    /// Milliseconds that one request to the endpoint may take.
    #[arg(long, value_name = "MS", default_value_t = 45_000, help_heading = "Fork")]
    timeout: u64,
    /// Compute units per second that the endpoint allows, 20 a request; without it requests are not slowed down.
    #[arg(long, value_name = "CUPS", help_heading = "Fork")]
    compute_units_per_second: Option<u32>,
    /// Do not slow requests down, whatever `--compute-units-per-second` says.
    #[arg(long, visible_alias = "no-rpc-rate-limit", help_heading = "Fork")]
    no_rate_limit: bool,

    /// Chain id; on a fork it must be the forked chain's.
    #[arg(long, value_name = "ID", help_heading = "Chain")]
    chain_id: Option<u64>,
    /// Unix time of the first block of a fresh chain.
    #[arg(long, value_name = "NUM", help_heading = "Chain")]
    timestamp: Option<u64>,
    /// Number of the first block of a fresh chain.
    #[arg(long, value_name = "NUM", help_heading = "Chain")]
    number: Option<u64>,
    /// Genesis file (`genesis.json` as geth has it) of a fresh chain.
    #[arg(long, value_name = "PATH", conflicts_with = "fork_url", help_heading = "Chain")]
    init: Option<PathBuf>,
    /// Rules of the EVM.
    #[arg(long, value_enum, default_value_t = Hardfork::Prague, ignore_case = true, help_heading = "Chain")]
    hardfork: Hardfork,
    /// ArbOS version of the state that is put in where the forked chain has none.
    #[arg(long, value_name = "VERSION", help_heading = "Chain")]
    arbos_version: Option<u64>,
    /// Engine that runs Stylus programs: auto (interpreted at first, native code for hot programs), wasmi or wasmtime.
    #[arg(long, value_name = "ENGINE", default_value = "auto", help_heading = "Chain")]
    wasm_engine: EngineChoice,
    /// Keep native code of Stylus programs for the next start in this directory instead of the user's cache directory.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "no_program_cache",
        help_heading = "Chain"
    )]
    program_cache: Option<PathBuf>,
    /// Keep no native code of Stylus programs on disk.
    #[arg(long, help_heading = "Chain")]
    no_program_cache: bool,
    /// Accept programs that import `console`, as debug chains do.
    #[arg(long, help_heading = "Chain")]
    stylus_console: bool,
    /// Activate a Stylus program free of charge when it is called, directly or by another contract, and never was activated.
    #[arg(long, help_heading = "Chain")]
    activate_on_first_call: bool,
    /// Gas limit of a block.
    #[arg(
        long,
        value_name = "GAS",
        conflicts_with = "disable_block_gas_limit",
        help_heading = "Chain"
    )]
    gas_limit: Option<u64>,
    /// Accept transactions whose gas limit is above the block's.
    #[arg(long, help_heading = "Chain")]
    disable_block_gas_limit: bool,
    /// Base fee of the first block in wei per gas.
    #[arg(long, value_name = "WEI", visible_alias = "base-fee", help_heading = "Chain")]
    block_base_fee_per_gas: Option<u64>,
    /// Wei per gas that `eth_gasPrice` answers.
    #[arg(long, value_name = "WEI", help_heading = "Chain")]
    gas_price: Option<u128>,
    /// The most bytes of a contract's code.
    #[arg(
        long,
        value_name = "BYTES",
        conflicts_with = "disable_code_size_limit",
        help_heading = "Chain"
    )]
    code_size_limit: Option<usize>,
    /// Let contracts be of any size.
    #[arg(long, help_heading = "Chain")]
    disable_code_size_limit: bool,
    /// Leave out the CREATE2 factory of a fresh chain.
    #[arg(long, visible_alias = "no-create2", help_heading = "Chain")]
    disable_default_create2_deployer: bool,
    /// Blocks of an epoch: `safe` is one and `finalized` two behind the head.
    #[arg(long, value_name = "NUM", default_value_t = 32, help_heading = "Chain")]
    slots_in_an_epoch: u64,

    /// Seconds between blocks, fractions allowed; without it every transaction is mined at once.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "no_mining", alias = "blockTime", help_heading = "Mining")]
    block_time: Option<Duration>,
    /// With `--block-time`: mine every transaction at once, and a block whenever the time has come.
    #[arg(long, requires = "block_time", help_heading = "Mining")]
    mixed_mining: bool,
    /// Mine on request only (`evm_mine`, `anvil_mine`).
    #[arg(long, visible_alias = "no-mine", help_heading = "Mining")]
    no_mining: bool,
    /// Order of the transactions in a block.
    #[arg(long, value_enum, default_value_t = Order::Fees, help_heading = "Mining")]
    order: Order,
    /// Most transactions that wait in the pool.
    #[arg(long, value_name = "NUM", help_heading = "Mining")]
    max_transactions: Option<usize>,

    /// Number of funded development accounts.
    #[arg(short, long, value_name = "NUM", default_value_t = 10, help_heading = "Accounts")]
    accounts: u32,
    /// Balance of each development account, in ether.
    #[arg(long, value_name = "NUM", default_value_t = 10_000, help_heading = "Accounts")]
    pub(super) balance: u64,
    /// BIP-39 mnemonic of the development accounts.
    #[arg(
        short,
        long,
        value_name = "PHRASE",
        env = "CORDON_NODE_MNEMONIC",
        hide_env_values = true,
        conflicts_with_all = ["mnemonic_random", "mnemonic_seed_unsafe"],
        help_heading = "Accounts"
    )]
    mnemonic: Option<String>,
    /// Make up a mnemonic of so many words [default: 12].
    #[arg(long, value_name = "WORDS", num_args = 0..=1, default_missing_value = "12", conflicts_with = "mnemonic_seed_unsafe", help_heading = "Accounts")]
    mnemonic_random: Option<usize>,
    /// Derive the mnemonic from a number, always the same one. Never use its keys in production.
    #[arg(long, value_name = "SEED", help_heading = "Accounts")]
    mnemonic_seed_unsafe: Option<u64>,
    /// Derivation path, to which the index of the account is added.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_DERIVATION_PATH, help_heading = "Accounts")]
    derivation_path: String,
    /// Accept transactions from every account, as if each was impersonated.
    #[arg(long, visible_alias = "auto-unlock", help_heading = "Accounts")]
    auto_impersonate: bool,

    /// Read the state from this file if it exists, and write it there at the end.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["load_state", "dump_state"], help_heading = "State")]
    state: Option<PathBuf>,
    /// Read the state from this file; anvil's dumps are understood.
    #[arg(long, value_name = "PATH", help_heading = "State")]
    load_state: Option<PathBuf>,
    /// Write the state to this file at the end, as anvil does; in a folder to `state.json`.
    #[arg(long, value_name = "PATH", help_heading = "State")]
    dump_state: Option<PathBuf>,
    /// Seconds after which the state is written each time.
    #[arg(short = 's', long, value_name = "SECONDS", value_parser = seconds, help_heading = "State")]
    state_interval: Option<Duration>,
    /// Number of past blocks whose state can be read.
    #[arg(
        long,
        value_name = "BLOCKS",
        conflicts_with = "prune_history",
        help_heading = "State"
    )]
    history: Option<u64>,
    /// Keep the states of at most so many past blocks [default: 1].
    #[arg(long, value_name = "BLOCKS", num_args = 0..=1, default_missing_value = "1", help_heading = "State")]
    prune_history: Option<u64>,
    /// Keep the transactions of at most so many blocks.
    #[arg(long, value_name = "BLOCKS", help_heading = "State")]
    transaction_block_keeper: Option<u64>,

    /// Print the tree of calls of every transaction that is mined and every eth_call.
    #[arg(long, visible_alias = "enable-trace-printing", help_heading = "Output")]
    print_traces: bool,
    /// ABI or artifact, or a directory of such, that names functions, events and errors in traces and messages (repeatable).
    #[arg(long = "abi", value_name = "PATH", help_heading = "Output")]
    abis: Vec<PathBuf>,
    /// Print nothing but errors.
    #[arg(short = 'q', long, visible_alias = "quiet", help_heading = "Output")]
    pub(super) silent: bool,
    /// Write accounts, keys and settings as JSON to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) config_out: Option<PathBuf>,

    #[command(flatten)]
    unused: Unused,
    #[command(flatten)]
    refused: Refused,
}

/// Flags of anvil whose wish is met anyway, or that steer what this node does not have. They are accepted for scripts.
#[derive(Parser)]
#[command(next_help_heading = "Accepted for anvil's sake, without effect")]
struct Unused {
    /// States are held in memory, and nothing is cached on disk.
    #[arg(long, hide = true)]
    no_storage_caching: bool,
    #[arg(long, value_name = "PATH", hide = true)]
    cache_path: Option<PathBuf>,
    #[arg(long, value_name = "NUM", hide = true)]
    max_persisted_states: Option<usize>,
    #[arg(long, hide = true)]
    preserve_historical_states: bool,
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
    #[arg(long, alias = "no-console-log", hide = true)]
    disable_console_log: bool,
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
}

/// Flags of anvil that cannot be met. Ignoring them would give wrong results, so they are refused by name.
#[derive(Parser)]
struct Refused {
    #[arg(long, hide = true)]
    celo: bool,
    #[arg(short = 'n', long, value_name = "NETWORK", hide = true)]
    network: Option<String>,
    #[arg(long, hide = true)]
    disable_pool_balance_checks: bool,
    #[arg(long, hide = true)]
    json: bool,
}

impl Refused {
    fn check(&self) -> eyre::Result<()> {
        if self.celo || self.network.as_deref().is_some_and(|network| network != "ethereum") {
            bail!("--celo and --network: this node follows the rules of Arbitrum; use anvil for another network");
        }
        if self.disable_pool_balance_checks {
            bail!(
                "--disable-pool-balance-checks: a transaction that its sender cannot pay for is never mined here; give the \
                 sender a balance with anvil_setBalance"
            );
        }
        if self.json {
            bail!("--json: use --config-out FILE for accounts and settings as JSON");
        }
        Ok(())
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// Higher fees first.
    Fees,
    /// As they come.
    Fifo,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hardfork {
    Shanghai,
    Cancun,
    #[value(alias = "latest")]
    Prague,
    Osaka,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "more than 0 seconds are needed".to_owned())
}

/// A URL, with the block that may follow it after an `@`.
fn endpoint(text: &str) -> eyre::Result<(Url, Option<u64>)> {
    if let Some((url, block)) = text.rsplit_once('@')
        && let Ok(block) = block.parse()
    {
        return Ok((parse_url(url)?, Some(block)));
    }
    Ok((parse_url(text)?, None))
}

/// The URL may hold a key and is not repeated.
fn parse_url(text: &str) -> eyre::Result<Url> {
    Url::parse(text).map_err(|error| eyre!("--fork-url is no URL: {error}"))
}

fn header(text: &str) -> eyre::Result<(String, String)> {
    let parts = text.split_once(':');
    let (name, value) = parts.ok_or_else(|| eyre!("--fork-header must be `Name: value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    /// Where the development accounts come from.
    pub(super) fn wallet(&self) -> eyre::Result<Wallet> {
        Wallet::new(
            self.mnemonic.clone(),
            self.mnemonic_random,
            self.mnemonic_seed_unsafe,
            (&self.derivation_path, self.accounts),
        )
    }

    pub(super) fn config(&self, wallet: &Wallet) -> eyre::Result<NodeConfig> {
        self.refused.check()?;
        let default = NodeConfig::default();
        let endpoints = self.fork_url.iter().map(|text| endpoint(text));
        let endpoints: Vec<_> = endpoints.collect::<eyre::Result<_>>()?;
        let (mut urls, blocks): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        let fork_url = (!urls.is_empty()).then(|| urls.remove(0));
        let in_url = blocks.into_iter().flatten().next();
        let (ahead, back) = match self.fork_block_number {
            Some(number) if number < 0 => (None, Some(number.unsigned_abs())),
            number => (number.map(i64::unsigned_abs), None),
        };
        if in_url.is_some() && (self.fork_block_number.is_some() || self.fork_transaction_hash.is_some()) {
            bail!("the block to fork is given twice, in --fork-url and by another flag");
        }
        if let (Some(one), Some(other)) = (self.chain_id, self.fork_chain_id)
            && one != other
        {
            bail!("--chain-id is {one} and --fork-chain-id {other}: a fork keeps the id of its chain");
        }
        let code_size_limit = self.code_size_limit;
        Ok(NodeConfig {
            fork_url,
            fork_block_number: ahead.or(in_url),
            fork_blocks_back: back,
            fork_transaction_hash: self.fork_transaction_hash,
            fork_requests: ForkRequests {
                fallbacks: urls,
                headers: self
                    .fork_headers
                    .iter()
                    .map(|text| header(text))
                    .collect::<eyre::Result<_>>()?,
                retries: self.retries,
                backoff: Duration::from_millis(self.fork_retry_backoff),
                timeout: Duration::from_millis(self.timeout),
                units_per_second: self.compute_units_per_second.filter(|_| !self.no_rate_limit),
            },
            host: self.host,
            port: self.port,
            ipc: self.ipc.clone(),
            allow_origin: (!self.no_cors).then(|| self.allow_origin.clone()),
            block_time: self.block_time,
            mixed_mining: self.mixed_mining,
            no_mining: self.no_mining,
            chain_id: self.chain_id.or(self.fork_chain_id),
            genesis: self.init.clone(),
            genesis_number: self.number.unwrap_or_default(),
            state: self.state_files(),
            accounts: self.accounts,
            mnemonic: wallet.phrase().to_owned(),
            derivation_path: self.derivation_path.clone(),
            balance: self.balance,
            order: match self.order {
                Order::Fees => TransactionOrder::Fees,
                Order::Fifo => TransactionOrder::Arrival,
            },
            timestamp: self.timestamp,
            gas_limit: self.gas_limit,
            disable_block_gas_limit: self.disable_block_gas_limit,
            base_fee: self.block_base_fee_per_gas,
            gas_price: self.gas_price,
            code_size_limit: if self.disable_code_size_limit {
                Some(usize::MAX)
            } else {
                code_size_limit
            },
            hardfork: match self.hardfork {
                Hardfork::Shanghai => Rules::Shanghai,
                Hardfork::Cancun => Rules::Cancun,
                Hardfork::Prague => Rules::Prague,
                Hardfork::Osaka => Rules::Osaka,
            },
            disable_create2_factory: self.disable_default_create2_deployer,
            slots_in_an_epoch: self.slots_in_an_epoch,
            auto_impersonate: self.auto_impersonate,
            silent: self.silent,
            history: self
                .history
                .or(self.prune_history.map(|kept| kept.max(1)))
                .unwrap_or(default.history),
            transaction_blocks: self.transaction_block_keeper.map(|kept| kept.max(1)),
            max_transactions: self.max_transactions.unwrap_or(default.max_transactions),
            arbos_version: self.arbos_version.unwrap_or(default.arbos_version),
            activate_on_first_call: self.activate_on_first_call,
            wasm_engine: self.wasm_engine,
            program_cache: match &self.program_cache {
                Some(directory) => KeptPrograms::Directory(directory.clone()),
                None if self.no_program_cache => KeptPrograms::Nowhere,
                None => KeptPrograms::UserCache,
            },
            stylus_console: self.stylus_console,
            print_traces: self.print_traces,
            abis: self.abis.clone(),
        })
    }

    fn state_files(&self) -> StateFiles {
        let exists = |path: &&PathBuf| {
            let path: &Path = path;
            if path.is_dir() {
                path.join("state.json").is_file()
            } else {
                path.is_file()
            }
        };
        let load = self.load_state.as_ref().or(self.state.as_ref().filter(exists));
        StateFiles {
            load: load.cloned(),
            dump: self.dump_state.clone().or(self.state.clone()),
            interval: self.state_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_block_may_follow_the_url() {
        assert_eq!(endpoint("http://localhost:8545@1400000").unwrap().1, Some(1_400_000));
        let (url, block) = endpoint("https://user:pass@host/key").unwrap();
        assert_eq!((url.host_str(), block), (Some("host"), None));
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        assert!(!endpoint("secret").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(header("User-Agent: a:b").unwrap(), ("User-Agent".into(), "a:b".into()));
        assert!(header("none").is_err());
    }
}
