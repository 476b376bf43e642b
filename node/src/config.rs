//! What a node can be told before it starts.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use url::Url;

/// The mnemonic from which the development accounts are derived by default. It is public, as are the keys: never send value to
/// them on a real chain.
pub const DEFAULT_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Chain id of a fresh chain when none is asked for.
pub const DEFAULT_CHAIN_ID: u64 = 31_337;

/// The most gas that one transaction can use, as on Arbitrum since ArbOS 50. A higher gas limit is accepted; what lies above is
/// never burnt.
pub const TRANSACTION_GAS_CAP: u64 = 32_000_000;

/// In which order transactions that wait in the pool enter a block. Transactions of one account always keep the order of their
/// nonces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransactionOrder {
    /// The higher `maxFeePerGas` (or gas price) goes first; equal ones in the order of arrival.
    #[default]
    Fees,
    /// In the order of arrival.
    Arrival,
}

/// Settings of a node; [`Default`] is a fresh chain on a free loopback port that mines every transaction at once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Endpoint of the chain to fork (`http`, `https`, `ws`, `wss`). `None`: a fresh chain.
    pub fork_url: Option<Url>,
    /// Block of the upstream chain whose state the fork starts from. `None`: the newest. Needs `fork_url`.
    pub fork_block_number: Option<u64>,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port for HTTP and WebSocket alike; 0 takes a free one, which the handle tells.
    pub port: u16,
    /// Time between blocks, at least one millisecond. `None`: a block for every transaction as it comes (automine).
    pub block_time: Option<Duration>,
    /// Chain id. On a fork it must be the upstream's, or the node refuses to start; `None` takes the upstream's, or
    /// [`DEFAULT_CHAIN_ID`] on a fresh chain.
    pub chain_id: Option<u64>,
    /// Number of unlocked development accounts, at most 1,000.
    pub accounts: u32,
    /// BIP-39 mnemonic of the development accounts (path `m/44'/60'/0'/0/i`).
    pub mnemonic: String,
    /// Balance of each development account in whole ether.
    pub balance: u64,
    /// Mine only when `evm_mine` or `anvil_mine` asks for it. Excludes `block_time`.
    pub no_mining: bool,
    /// Order of the transactions in a block.
    pub order: TransactionOrder,
    /// Unix time in seconds of the genesis block of a fresh chain; the clock of the chain then runs from there. `None`: now.
    pub timestamp: Option<u64>,
    /// Gas limit of a block. `None`: the forked block's, but at least [`TRANSACTION_GAS_CAP`].
    pub gas_limit: Option<u64>,
    /// Base fee of the first block in wei per gas. `None`: what EIP-1559 gives after the forked block, 0.1 gwei on a fresh chain.
    pub base_fee: Option<u64>,
    /// Accept `eth_sendTransaction` from every account, as if each was impersonated.
    pub auto_impersonate: bool,
    /// Do not log what is mined.
    pub silent: bool,
    /// Number of blocks behind the head whose state can still be read. Older ones answer with an error that says so.
    pub history: u64,
    /// The most transactions that can wait in the pool; further ones are refused.
    pub max_transactions: usize,
    /// ArbOS version of the state that is put in where the chain brings none.
    pub arbos_version: u64,
    /// Accept programs that import `console`, as debug chains do; other chains refuse to activate them.
    pub stylus_console: bool,
    /// Print the call tree of each transaction that is mined, and of each `eth_call`, to the standard output.
    pub print_traces: bool,
    /// Where to find names of functions, events and errors for traces and revert messages: ABIs or compilers' artifacts
    /// (`.json`), or directories of such.
    pub abis: Vec<PathBuf>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            fork_url: None,
            fork_block_number: None,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            block_time: None,
            chain_id: None,
            accounts: 10,
            mnemonic: DEFAULT_MNEMONIC.to_owned(),
            balance: 10_000,
            no_mining: false,
            order: TransactionOrder::default(),
            timestamp: None,
            gas_limit: None,
            base_fee: None,
            auto_impersonate: false,
            silent: true,
            history: 10_000,
            max_transactions: 10_000,
            arbos_version: 60,
            stylus_console: false,
            print_traces: false,
            abis: Vec::new(),
        }
    }
}
