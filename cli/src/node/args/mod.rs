//! Flags of `cordon node`. They are named as anvil's, so that scripts carry over.

mod anvil;
mod config;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::B256;
use clap::{Parser, ValueEnum};
use cordon_node::{DEFAULT_DERIVATION_PATH, EngineChoice};

use self::anvil::{Refused, Unused};

/// Socket of `--ipc` without a path.
const DEFAULT_IPC: &str = "/tmp/anvil.ipc";

/// Flags are named as anvil's. `docs/node.md` lists those that have no effect here.
#[derive(Parser)]
pub(crate) struct Args {
    /// Port for HTTP and WebSocket; 0 takes a free one.
    #[arg(short, long, value_name = "NUM", default_value_t = 8545)]
    port: u16,
    /// Addresses to listen on.
    #[arg(
        long,
        value_name = "IP_ADDR",
        env = "ANVIL_IP_ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1"
    )]
    host: Vec<IpAddr>,
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
    /// Chain id that the endpoint must serve.
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

    /// Chain id [default: the forked chain's, or 31337].
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
    /// Base fee of the first block in wei per gas. It falls below 0.1 gwei only where the chain starts lower.
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
    /// Write the states of older blocks as well, each whole, as far as they can be read.
    #[arg(long, help_heading = "State")]
    preserve_historical_states: bool,
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
    /// Do not print what contracts print with console.log.
    #[arg(long, visible_alias = "no-console-log", help_heading = "Output")]
    disable_console_log: bool,
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
