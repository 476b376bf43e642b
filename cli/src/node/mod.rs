//! `cordon node`.

mod args;
mod wallet;

use std::path::Path;

use cordon_node::NodeHandle;
use eyre::WrapErr;
use serde_json::json;

pub(crate) use self::args::Args;
use self::wallet::Wallet;
use crate::signals::Interrupt;
use crate::style::Style;

/// Runs a node until Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn run(args: Args) -> eyre::Result<()> {
    let mut interrupt = Interrupt::listen_with_hangup()?;
    let wallet = args.wallet()?;
    let config = args.config(&wallet)?;
    let node = tokio::select! {
        node = cordon_node::spawn(config) => node?,
        () = interrupt.received() => return Ok(()),
    };
    if let Some(path) = &args.config_out {
        write_config(path, &wallet, &node)?;
    }
    if !args.silent {
        announce(&args, &wallet, &node);
    }
    tokio::select! {
        () = node.stopped() => {}
        () = interrupt.received() => {}
    }
    Ok(node.stop().await?)
}

/// Prints accounts and endpoint as anvil does.
fn announce(args: &Args, wallet: &Wallet, node: &NodeHandle) {
    let style = Style::of_stdout();
    println!("{}", style.bold("Available Accounts"));
    println!("==================");
    for (index, account) in node.accounts().iter().enumerate() {
        println!("({index}) {account} ({} ETH)", args.balance);
    }
    if wallet.is_secret() {
        println!(
            "\nPrivate keys follow from the given mnemonic, path {}, and are not shown.",
            wallet.path()
        );
    } else {
        println!("\n{}\n==================", style.bold("Private Keys"));
        for (index, key) in wallet.keys().iter().enumerate() {
            println!("({index}) {key}");
        }
        println!(
            "\n{}\n==================\nMnemonic: {}",
            style.bold("Wallet"),
            wallet.phrase()
        );
        println!("Derivation path: {}", wallet.path());
    }
    let start = node.start();
    for (title, value) in [
        ("Chain ID", node.chain_id()),
        ("Base Fee", start.base_fee),
        ("Gas Limit", start.gas_limit),
        ("Genesis Timestamp", start.timestamp),
        ("Genesis Number", start.number),
    ] {
        println!("\n{}\n==================\n{value}", style.bold(title));
    }
    println!("\nListening on {}", node.address());
}

/// Writes what anvil's `--config-out` has, without phrase and keys when the phrase was given.
fn write_config(path: &Path, wallet: &Wallet, node: &NodeHandle) -> eyre::Result<()> {
    let start = node.start();
    let mut config = json!({
        "available_accounts": node.accounts(),
        "chain_id": node.chain_id(),
        "endpoint": node.http_endpoint(),
        "wallet": { "derivation_path": wallet.path() },
        // Text, as anvil writes them.
        "base_fee": start.base_fee.to_string(),
        "gas_price": start.gas_price.to_string(),
        "gas_limit": start.gas_limit.to_string(),
        "genesis_timestamp": start.timestamp.to_string(),
    });
    if let Some(fields) = config.as_object_mut().filter(|_| !wallet.is_secret()) {
        fields.insert("private_keys".to_owned(), json!(wallet.keys()));
        fields.insert(
            "wallet".to_owned(),
            json!({ "derivation_path": wallet.path(), "mnemonic": wallet.phrase() }),
        );
    }
    let text = serde_json::to_vec_pretty(&config)?;
    std::fs::write(path, text).wrap_err_with(|| format!("--config-out {}", path.display()))
}
