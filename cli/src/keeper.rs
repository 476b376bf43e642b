//! `cordon keeper`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use cordon_client::{CompiledConfig, Config};
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, KeeperEvent, Options, Signers};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::check::warn;
use crate::signals::Interrupt;
use crate::style::Style;

/// What to do with the keeper.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run until Ctrl-C or SIGTERM.
    Run(Args),
    /// Check everything that `run` needs: configuration, keys, chain, guard, roles, funds. Nothing is sent or stored.
    Check(Args),
}

/// Which keeper.
#[derive(Parser)]
pub(crate) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "cordon.toml")]
    config: PathBuf,
}

pub(crate) async fn run(command: &Command) -> eyre::Result<()> {
    match command {
        Command::Run(args) => follow(args).await,
        Command::Check(args) => check(args).await,
    }
}

/// A configuration with all that a keeper takes from it.
struct Prepared {
    config: Config,
    compiled: CompiledConfig,
    options: Options,
    signers: Signers,
    store: PathBuf,
}

fn prepare(args: &Args) -> eyre::Result<Prepared> {
    let config = Config::load(&args.config)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    let options = Options::from_config(&config)?;
    let signers = Signers::from_config(&config)?;
    let store = config
        .keeper
        .as_ref()
        .map(|keeper| keeper.store.clone())
        .ok_or(KeeperError::NoSection)?;
    Ok(Prepared {
        config,
        compiled,
        options,
        signers,
        store,
    })
}

async fn check(args: &Args) -> eyre::Result<()> {
    let Prepared {
        config,
        compiled,
        options,
        signers,
        store,
    } = prepare(args)?;
    // A record that exists must be this guard's; none is made for a check.
    let folder = tempfile::tempdir()?;
    let path = if store.exists() {
        store
    } else {
        folder.path().join("check.db")
    };
    let store = Store::open(&path, options.chain_id, options.guard).await?;
    let guard = options.guard;
    let keeper = Keeper::new(options, &compiled, store.clone(), signers).await?;
    println!(
        "keeper {} can serve guard {guard} on chain {}",
        keeper.address(),
        config.chain.id
    );
    store.close().await;
    Ok(())
}

async fn follow(args: &Args) -> eyre::Result<()> {
    let Prepared {
        config,
        compiled,
        options,
        signers,
        store,
    } = prepare(args)?;
    let store = Store::open(&store, options.chain_id, options.guard).await?;
    let guard = options.guard;
    let keeper = Keeper::new(options, &compiled, store.clone(), signers).await?;
    let stop = CancellationToken::new();
    let mut interrupt = Interrupt::listen()?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            interrupt.received().await;
            stop.cancel();
        }
    });
    println!(
        "keeper {} serves guard {guard} on chain {}",
        keeper.address(),
        config.chain.id
    );
    let mut events = keeper.subscribe();
    let printer = tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(event) => print(&event, &compiled),
                Err(RecvError::Lagged(missed)) => println!("{missed} events were not shown"),
                Err(RecvError::Closed) => return,
            }
        }
    });
    let result = keeper.run(stop).await;
    // Ends with the last sender, which `run` has dropped.
    printer.await?;
    store.close().await;
    Ok(result?)
}

/// One line for what people want to know as it happens. Alarms and the ends of actions are in the log, on standard error.
fn print(event: &KeeperEvent, compiled: &CompiledConfig) {
    let style = Style::of_stdout();
    let name = |scope: u8| compiled.scope_name(scope).unwrap_or("?").to_owned();
    match event {
        KeeperEvent::Decided {
            rule,
            scope,
            level,
            block,
            ..
        } => {
            let what = style.red(&format!("{rule} is breached"));
            println!(
                "block {block}: {what}: scope {} shall be {}",
                name(*scope),
                level.name()
            );
        }
        KeeperEvent::Broadcast { kind, tx, .. } => println!("{}: sent in {tx}", kind.name()),
        KeeperEvent::Contained {
            scope,
            level,
            tx,
            block,
            ..
        } => {
            let what = style.green(&format!("scope {} is {}", name(*scope), level.name()));
            println!("block {block}: {what}: transaction {tx}");
        }
        KeeperEvent::BlockDone { .. }
        | KeeperEvent::Finished { .. }
        | KeeperEvent::Alarm { .. }
        | KeeperEvent::AlarmCleared { .. } => {}
    }
}
