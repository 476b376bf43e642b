//! `cordon node`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::hex;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use clap::{Parser, ValueEnum};
use cordon_node::{DEFAULT_MNEMONIC, NodeConfig, NodeHandle, TransactionOrder};
use url::Url;

use crate::signals::Interrupt;
use crate::style::Style;

/// Flags are named as anvil's.
#[derive(Parser)]
pub(crate) struct Args {
    /// Port for HTTP and WebSocket; 0 takes a free one.
    #[arg(short, long, default_value_t = 8545)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Endpoint of the chain to fork (http, https, ws, wss).
    #[arg(short, long, value_name = "URL", visible_alias = "rpc-url")]
    fork_url: Option<Url>,
    /// Block of that chain to start from; the newest unless given.
    #[arg(long, value_name = "BLOCK", requires = "fork_url")]
    fork_block_number: Option<u64>,
    /// Chain id; on a fork it must be the forked chain's.
    #[arg(long, value_name = "ID")]
    chain_id: Option<u64>,
    /// Seconds between blocks, fractions allowed; without it every transaction is mined at once.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "no_mining")]
    block_time: Option<Duration>,
    /// Mine on request only (`evm_mine`, `anvil_mine`).
    #[arg(long, visible_alias = "no-mine")]
    no_mining: bool,
    /// Number of funded development accounts.
    #[arg(short, long, value_name = "NUMBER", default_value_t = 10)]
    accounts: u32,
    /// Balance of each development account, in ether.
    #[arg(long, value_name = "ETHER", default_value_t = 10_000)]
    balance: u64,
    /// BIP-39 mnemonic of the development accounts.
    #[arg(
        short,
        long,
        value_name = "PHRASE",
        env = "CORDON_NODE_MNEMONIC",
        hide_env_values = true
    )]
    mnemonic: Option<String>,
    /// Order of the transactions in a block.
    #[arg(long, value_enum, default_value_t = Order::Fees)]
    order: Order,
    /// Unix time of the genesis block of a fresh chain.
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Gas limit of a block.
    #[arg(long, value_name = "GAS")]
    gas_limit: Option<u64>,
    /// Base fee of the first block in wei per gas.
    #[arg(long, value_name = "WEI", visible_alias = "base-fee")]
    block_base_fee_per_gas: Option<u64>,
    /// Accept transactions from every account, as if each was impersonated.
    #[arg(long, visible_alias = "auto-unlock")]
    auto_impersonate: bool,
    /// Number of past blocks whose state can be read.
    #[arg(long, value_name = "BLOCKS")]
    history: Option<u64>,
    /// Most transactions that wait in the pool.
    #[arg(long, value_name = "NUMBER")]
    max_transactions: Option<usize>,
    /// ArbOS version of the state that is put in where the forked chain has none.
    #[arg(long, value_name = "VERSION")]
    arbos_version: Option<u64>,
    /// Accept programs that import `console`, as debug chains do.
    #[arg(long)]
    stylus_console: bool,
    /// Print the tree of calls of every transaction that is mined and every eth_call.
    #[arg(long)]
    print_traces: bool,
    /// ABI or artifact, or a directory of such, that names functions, events and errors in traces and messages (repeatable).
    #[arg(long = "abi", value_name = "PATH")]
    abis: Vec<PathBuf>,
    /// Print nothing but errors.
    #[arg(short, long, visible_alias = "quiet")]
    silent: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// Higher fees first.
    Fees,
    /// As they come.
    Fifo,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "more than 0 seconds are needed".to_owned())
}

impl Args {
    fn config(&self) -> NodeConfig {
        let default = NodeConfig::default();
        NodeConfig {
            fork_url: self.fork_url.clone(),
            fork_block_number: self.fork_block_number,
            host: self.host,
            port: self.port,
            block_time: self.block_time,
            chain_id: self.chain_id,
            accounts: self.accounts,
            mnemonic: self.mnemonic.clone().unwrap_or(default.mnemonic),
            balance: self.balance,
            no_mining: self.no_mining,
            order: match self.order {
                Order::Fees => TransactionOrder::Fees,
                Order::Fifo => TransactionOrder::Arrival,
            },
            timestamp: self.timestamp,
            gas_limit: self.gas_limit,
            base_fee: self.block_base_fee_per_gas,
            auto_impersonate: self.auto_impersonate,
            silent: self.silent,
            history: self.history.unwrap_or(default.history),
            max_transactions: self.max_transactions.unwrap_or(default.max_transactions),
            arbos_version: self.arbos_version.unwrap_or(default.arbos_version),
            stylus_console: self.stylus_console,
            print_traces: self.print_traces,
            abis: self.abis.clone(),
        }
    }
}

/// Runs a node until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: Args) -> eyre::Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let node = tokio::select! {
        node = cordon_node::spawn(args.config()) => node?,
        () = interrupt.received() => return Ok(()),
    };
    if !args.silent {
        announce(&args, &node);
    }
    tokio::select! {
        () = node.stopped() => {}
        () = interrupt.received() => {}
    }
    Ok(node.stop().await?)
}

/// Prints accounts and endpoint as anvil does.
fn announce(args: &Args, node: &NodeHandle) {
    let style = Style::of_stdout();
    println!("{}", style.bold("Available Accounts"));
    println!("==================");
    for (index, account) in node.accounts().iter().enumerate() {
        println!("({index}) {account} ({} ETH)", args.balance);
    }
    match &args.mnemonic {
        // These keys are public anyway.
        None => {
            println!("\n{}\n==================", style.bold("Private Keys"));
            for (index, signer) in signers(args.accounts).enumerate() {
                println!("({index}) {}", hex::encode_prefixed(signer.to_bytes()));
            }
            println!(
                "\n{}\n==================\nMnemonic: {DEFAULT_MNEMONIC}",
                style.bold("Wallet")
            );
            println!("Derivation path: m/44'/60'/0'/0/");
        }
        Some(_) => println!("\nPrivate keys follow from the given mnemonic, path m/44'/60'/0'/0/ and are not shown."),
    }
    println!("\n{}\n==================\n{}", style.bold("Chain ID"), node.chain_id());
    println!("\nListening on {}", node.address());
}

fn signers(count: u32) -> impl Iterator<Item = PrivateKeySigner> {
    (0..count).map_while(|index| {
        MnemonicBuilder::from_phrase(DEFAULT_MNEMONIC)
            .index(index)
            .ok()
            .and_then(|b| b.build().ok())
    })
}
