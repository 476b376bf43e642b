//! What a node can be told before it starts.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use alloy::primitives::B256;
pub use cordon_stylus::EngineChoice;
use revm::primitives::hardfork::SpecId;
use url::Url;

/// The mnemonic from which the development accounts are derived by default. It is public, as are the keys: never send value to
/// them on a real chain.
pub const DEFAULT_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Derivation path of the development accounts; the index of the account follows it.
pub const DEFAULT_DERIVATION_PATH: &str = "m/44'/60'/0'/0/";

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

/// Rules of the EVM. Stylus programs need Shanghai at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hardfork {
    /// The rules of March 2023.
    Shanghai,
    /// With transient storage and `MCOPY`.
    Cancun,
    /// With EIP-7702; what Arbitrum runs from ArbOS 40 on.
    #[default]
    Prague,
    /// With `CLZ` and the P-256 precompile.
    Osaka,
}

impl Hardfork {
    /// Name as clients know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shanghai => "Shanghai",
            Self::Cancun => "Cancun",
            Self::Prague => "Prague",
            Self::Osaka => "Osaka",
        }
    }

    pub(crate) fn spec(self) -> SpecId {
        match self {
            Self::Shanghai => SpecId::SHANGHAI,
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
            Self::Osaka => SpecId::OSAKA,
        }
    }
}

/// How the endpoints of the forked chain are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequests {
    /// Further endpoints of the same chain: requests go round over all, and one that fails is tried at the next.
    pub fallbacks: Vec<Url>,
    /// Headers of each HTTP request, as name and value.
    pub headers: Vec<(String, String)>,
    /// Attempts after the first when an endpoint is out of reach, busy or limits the rate.
    pub retries: u32,
    /// Wait before the endpoints are tried again; it doubles each time, up to ten seconds.
    pub backoff: Duration,
    /// Time that one request may take.
    pub timeout: Duration,
    /// Compute units per second that may be used, 20 a request. `None`: no limit of ours.
    pub units_per_second: Option<u32>,
}

impl Default for ForkRequests {
    fn default() -> Self {
        Self {
            fallbacks: Vec::new(),
            headers: Vec::new(),
            retries: 5,
            backoff: Duration::from_millis(250),
            timeout: Duration::from_secs(45),
            units_per_second: None,
        }
    }
}

/// Files that the state of the chain is read from and written to, in anvil's format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFiles {
    /// Read at the start; it must exist.
    pub load: Option<PathBuf>,
    /// Written when the node stops, and every `interval`. A folder means `state.json` in it.
    pub dump: Option<PathBuf>,
    /// Time between two writings of `dump` while the node runs.
    pub interval: Option<Duration>,
    /// Write the states of older blocks as well, each whole: as far as they can be read.
    pub historical: bool,
}

/// Where native code of Stylus programs is kept for the next node, which then needs not compile them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeptPrograms {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In `cordon/programs` of the user's cache directory; nowhere if that cannot be used.
    UserCache,
    /// In this directory, which is made for this user alone if it is missing.
    Directory(PathBuf),
}

/// Settings of a node; [`Default`] is a fresh chain on a free loopback port that mines every transaction at once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Endpoint of the chain to fork (`http`, `https`, `ws`, `wss`). `None`: a fresh chain.
    pub fork_url: Option<Url>,
    /// Block of the upstream chain whose state the fork starts from. `None`: the newest. Needs `fork_url`.
    pub fork_block_number: Option<u64>,
    /// Fork so many blocks behind the newest one. Excludes `fork_block_number`.
    pub fork_blocks_back: Option<u64>,
    /// Start in the middle of a block: on the state right after this transaction. Excludes the other ways to say where.
    pub fork_transaction_hash: Option<B256>,
    /// How the upstream endpoints are asked.
    pub fork_requests: ForkRequests,
    /// Address to listen on.
    pub host: IpAddr,
    /// Further addresses to listen on, at the same port.
    pub more_hosts: Vec<IpAddr>,
    /// Port for HTTP and WebSocket alike; 0 takes a free one, which the handle tells.
    pub port: u16,
    /// Time between blocks, at least one millisecond. `None`: a block for every transaction as it comes (automine).
    pub block_time: Option<Duration>,
    /// Chain id; the forked chain's, or 31337, unless given. With another one than its chain's, a fork accepts nothing that is signed for that
    /// chain, and cannot start in the middle of one of its blocks.
    pub chain_id: Option<u64>,
    /// Chain id that the endpoint to fork must serve; any unless given.
    pub fork_chain_id: Option<u64>,
    /// A genesis file as geth has it: accounts, chain id, time, gas limit and base fee of a fresh chain.
    pub genesis: Option<PathBuf>,
    /// Number of the first block of a fresh chain.
    pub genesis_number: u64,
    /// State that is read and written.
    pub state: StateFiles,
    /// Socket on which the node listens as well, with one JSON value per request and answer.
    pub ipc: Option<PathBuf>,
    /// With `block_time`: mine a transaction at once, and a block whenever the time has come.
    pub mixed_mining: bool,
    /// Number of unlocked development accounts, at most 1,000.
    pub accounts: u32,
    /// BIP-39 mnemonic of the development accounts.
    pub mnemonic: String,
    /// Derivation path of the development accounts, to which the index is added.
    pub derivation_path: String,
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
    /// Wei per gas that `eth_gasPrice` answers. `None`: the next base fee and a quarter.
    pub gas_price: Option<u128>,
    /// Accept transactions whose gas limit is above that of a block.
    pub disable_block_gas_limit: bool,
    /// The most bytes of a contract's code. `None`: 24,576, or on Arbitrum what its state says for programs.
    pub code_size_limit: Option<usize>,
    /// Rules of the EVM.
    pub hardfork: Hardfork,
    /// Leave out the CREATE2 factory of a fresh chain.
    pub disable_create2_factory: bool,
    /// Blocks of an epoch: `safe` is one and `finalized` two behind the head.
    pub slots_in_an_epoch: u64,
    /// Origin that browsers may ask from (`*`: any). `None`: none is allowed.
    pub allow_origin: Option<String>,
    /// Accept `eth_sendTransaction` from every account, as if each was impersonated.
    pub auto_impersonate: bool,
    /// Do not log what is mined.
    pub silent: bool,
    /// Number of blocks behind the head whose state can still be read. Older ones answer with an error that says so.
    pub history: u64,
    /// Number of blocks behind the head whose transactions, receipts and logs are kept. `None`: all.
    pub transaction_blocks: Option<u64>,
    /// The most transactions that can wait in the pool; further ones are refused.
    pub max_transactions: usize,
    /// ArbOS version of the state that is put in where the chain brings none.
    pub arbos_version: u64,
    /// Accept programs that import `console`, as debug chains do; other chains refuse to activate them.
    pub stylus_console: bool,
    /// Print the call tree of each transaction that is mined, and of each `eth_call`, to the standard output.
    pub print_traces: bool,
    /// Print what contracts print by calling the console (`console.log` of Foundry and Hardhat) in transactions that are mined and in
    /// each `eth_call` to the standard output, unless the node is silent. The call tree shows it anyway.
    pub console_log: bool,
    /// Where to find names of functions, events and errors for traces and revert messages: ABIs or compilers' artifacts
    /// (`.json`), or directories of such.
    pub abis: Vec<PathBuf>,
    /// Activate a Stylus program that was never activated when it is called, directly or by another contract, free of charge.
    pub activate_on_first_call: bool,
    /// Which engine runs Stylus programs. Results are the same.
    pub wasm_engine: EngineChoice,
    /// Where native code of Stylus programs is kept for the next node.
    pub program_cache: KeptPrograms,
}

/// What of a transaction goes to the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Print {
    Nothing,
    /// What contracts print by calling the console.
    Console,
    /// The tree of its calls.
    Tree,
}

impl NodeConfig {
    /// What of transactions that are mined, and of calls, goes to the standard output.
    pub(crate) fn print(&self) -> Print {
        if self.print_traces {
            Print::Tree
        } else if self.console_log && !self.silent {
            Print::Console
        } else {
            Print::Nothing
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            fork_url: None,
            fork_block_number: None,
            fork_blocks_back: None,
            fork_transaction_hash: None,
            fork_requests: ForkRequests::default(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            more_hosts: Vec::new(),
            port: 0,
            block_time: None,
            chain_id: None,
            fork_chain_id: None,
            genesis: None,
            genesis_number: 0,
            state: StateFiles::default(),
            ipc: None,
            mixed_mining: false,
            accounts: 10,
            mnemonic: DEFAULT_MNEMONIC.to_owned(),
            derivation_path: DEFAULT_DERIVATION_PATH.to_owned(),
            balance: 10_000,
            no_mining: false,
            order: TransactionOrder::default(),
            timestamp: None,
            gas_limit: None,
            base_fee: None,
            gas_price: None,
            disable_block_gas_limit: false,
            code_size_limit: None,
            hardfork: Hardfork::default(),
            disable_create2_factory: false,
            slots_in_an_epoch: 32,
            allow_origin: Some("*".to_owned()),
            auto_impersonate: false,
            silent: true,
            history: 10_000,
            transaction_blocks: None,
            max_transactions: 10_000,
            arbos_version: 60,
            stylus_console: false,
            print_traces: false,
            console_log: true,
            abis: Vec::new(),
            activate_on_first_call: false,
            wasm_engine: EngineChoice::default(),
            program_cache: KeptPrograms::default(),
        }
    }
}
