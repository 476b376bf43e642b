//! `cordon keeper`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use clap::{Parser, Subcommand};
use cordon_client::config::StorePlace;
use cordon_client::{CompiledConfig, Config};
use cordon_keeper::decide::Act;
use cordon_keeper::notify::{self, Channel, DeadMan, Desk, Origin};
use cordon_keeper::record::Store;
use cordon_keeper::{Found, Keeper, KeeperError, KeeperEvent, Options, Side, Signers, What};
use serde_json::{Value, json};
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
    /// Send a test message through every channel of [[notify]], or through one. Pages that it opens are closed again.
    NotifyTest {
        #[command(flatten)]
        args: Args,
        /// Only the channel of this id.
        #[arg(long, value_name = "ID")]
        channel: Option<String>,
    },
    /// Evaluate blocks that have passed, as the keeper would have, and show what it would have decided. Nothing is sent or
    /// stored; the endpoint must have the blocks' states (an archive node for old ones).
    Replay(ReplayArgs),
    /// Acknowledge an incident or an alarm: it is escalated and repeated no more.
    Ack {
        #[command(flatten)]
        args: Args,
        /// Number of the incident, or kind of the alarm.
        topic: String,
        /// Who takes care of it.
        #[arg(long, value_name = "NAME")]
        by: String,
    },
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
        Command::NotifyTest { args, channel } => notify_test(args, channel.as_deref()).await,
        Command::Replay(wanted) => replay(wanted).await,
        Command::Ack { args, topic, by } => acknowledge(args, topic, by).await,
    }
}

async fn notify_test(args: &Args, only: Option<&str>) -> eyre::Result<()> {
    let config = Config::load(&args.config)?;
    let wanted: Vec<_> = config
        .notify
        .iter()
        .filter(|channel| only.is_none_or(|id| channel.id == id))
        .cloned()
        .collect();
    if wanted.is_empty() {
        let known: Vec<&str> = config.notify.iter().map(|channel| channel.id.as_str()).collect();
        eyre::bail!(
            "{} in {}: {}",
            only.map_or_else(|| "no [[notify]]".to_owned(), |id| format!("no channel `{id}`")),
            args.config.display(),
            if known.is_empty() {
                "nobody would be told anything".to_owned()
            } else {
                format!("channels: {}", known.join(", "))
            }
        );
    }
    let channels = notify::channels(&wanted, config.source.directory())?;
    let origin = Origin {
        chain_id: config.chain.id,
        guard: config.guard.address.unwrap_or_default(),
    };
    let style = Style::of_stdout();
    let mut failed = 0_usize;
    for (id, result) in Desk::test(&channels, &origin).await {
        match result {
            Ok(()) => println!("{id}: {}", style.green("taken")),
            Err(error) => {
                failed = failed.saturating_add(1);
                println!("{id}: {}", style.red(&error.to_string()));
            }
        }
    }
    eyre::ensure!(failed == 0, "{failed} of {} channels do not work", channels.len());
    Ok(())
}

/// How a replay is shown, and against what.
#[derive(Parser)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    args: Args,
    /// First block.
    #[arg(long, value_name = "BLOCK")]
    from: u64,
    /// Last block.
    #[arg(long, value_name = "BLOCK")]
    to: u64,
    /// Another configuration: shows the alerts that its rules and watches would add (+) and remove (-).
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// One JSON object per line instead of text; the last one is the summary.
    #[arg(long)]
    json: bool,
}

fn compiled(path: &Path) -> eyre::Result<(Options, CompiledConfig)> {
    let config = Config::load(path)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    Ok((Options::from_config(&config)?, compiled))
}

async fn replay(wanted: &ReplayArgs) -> eyre::Result<()> {
    let (from, to) = (wanted.from, wanted.to);
    eyre::ensure!(from <= to, "--from {from} is after --to {to}");
    let (options, rules) = compiled(&wanted.args.config)?;
    let other = wanted.against.as_deref().map(compiled).transpose()?;
    if let Some((other, _)) = &other {
        eyre::ensure!(
            other.chain_id == options.chain_id,
            "the two configurations are for different chains: {} and {}",
            options.chain_id,
            other.chain_id
        );
    }
    let style = Style::of_stdout();
    let begun = std::time::Instant::now();
    let against = other.as_ref().map(|(options, rules)| (options, rules));
    let replayed = cordon_keeper::replay((&options, &rules), against, (from, to), |found| {
        let sentence = sentence(found, &rules);
        if wanted.json {
            println!("{}", found_json(found, &sentence));
            return;
        }
        let line = format!("block {}: {sentence}", found.block.number);
        match found.side {
            Side::Both if against.is_some() => println!("  {line}"),
            Side::Both => println!("{line}"),
            Side::Added => println!("{}", style.green(&format!("+ {line}"))),
            Side::Removed => println!("{}", style.red(&format!("- {line}"))),
        }
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    if wanted.json {
        let summary = json!({
            "summary": true, "blocks": replayed.blocks, "verdicts": replayed.verdicts, "unknown": replayed.unknown,
            "decisions": replayed.decisions, "sightings": replayed.sightings, "added": replayed.added,
            "removed": replayed.removed, "seconds": seconds,
        });
        println!("{summary}");
        return Ok(());
    }
    println!(
        "{} blocks, {} verdicts ({} unknown), {} decisions, {} sightings in {seconds:.1} s",
        replayed.blocks, replayed.verdicts, replayed.unknown, replayed.decisions, replayed.sightings,
    );
    if let Some(other) = &wanted.against {
        println!(
            "{} adds {} alerts and removes {}",
            other.display(),
            replayed.added,
            replayed.removed
        );
    }
    Ok(())
}

/// What was found, for people.
fn sentence(found: &Found, compiled: &CompiledConfig) -> String {
    let id = &found.id;
    match &found.what {
        What::Decided(decision) => {
            let name = compiled.scope_name(decision.scope).unwrap_or("?");
            let act = match decision.act {
                Act::Trip => "trip",
                Act::Contain => "contain",
                Act::Shadow => "only record (shadow)",
            };
            format!("{id} is breached: {act}, scope {name} to {}", decision.level.name())
        }
        What::Unknown => format!("{id} could not be evaluated"),
        What::Sighted(sighting) => format!("{id}: {}", sighting.text),
    }
}

fn found_json(found: &Found, sentence: &str) -> Value {
    let (kind, facts) = match &found.what {
        What::Decided(decision) => (
            "decided",
            json!({
                "level": decision.level.name(), "scope": decision.scope, "severity": decision.severity.name(),
                "witness": decision.witness, "shadow": decision.act == Act::Shadow,
            }),
        ),
        What::Unknown => ("unknown", Value::Null),
        What::Sighted(sighting) => ("sighted", sighting.facts.clone()),
    };
    let side = match found.side {
        Side::Both => "both",
        Side::Added => "added",
        Side::Removed => "removed",
    };
    json!({
        "block": found.block.number, "hash": found.block.hash, "id": found.id, "kind": kind, "side": side,
        "text": sentence, "facts": facts,
    })
}

async fn acknowledge(args: &Args, topic: &str, by: &str) -> eyre::Result<()> {
    let config = Config::load(&args.config)?;
    let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
    let guard = Options::from_config(&config)?.guard;
    if let StorePlace::File(path) = &section.store {
        eyre::ensure!(
            path.exists(),
            "there is no record at {}: has the keeper run?",
            path.display()
        );
    }
    let store = Store::at(&section.store, config.source.directory(), config.chain.id, guard).await?;
    let result = store.acknowledge(topic, by).await;
    store.close().await;
    println!("{} is acknowledged by {by}", result?);
    Ok(())
}

/// A configuration with all that a keeper takes from it.
struct Prepared {
    config: Config,
    compiled: CompiledConfig,
    options: Options,
    /// `None` for a keeper that only watches.
    signers: Option<Signers>,
    store: StorePlace,
    channels: Vec<Channel>,
    dead_man: Option<DeadMan>,
    console: Option<SocketAddr>,
}

fn prepare(args: &Args) -> eyre::Result<Prepared> {
    let config = Config::load(&args.config)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    let options = Options::from_config(&config)?;
    let signers = match options.guard {
        Address::ZERO => None,
        _ => Some(Signers::from_config(&config)?),
    };
    let store = config
        .keeper
        .as_ref()
        .map(|keeper| keeper.store.clone())
        .ok_or(KeeperError::NoSection)?;
    let directory = config.source.directory();
    let channels = notify::channels(&config.notify, directory)?;
    let url = config.keeper.as_ref().and_then(|keeper| keeper.heartbeat_url.as_ref());
    let dead_man = url.map(|url| url.read(directory)).transpose()?.map(DeadMan::new);
    let console = config.keeper.as_ref().and_then(|keeper| keeper.console);
    Ok(Prepared {
        config,
        compiled,
        options,
        signers,
        store,
        channels,
        dead_man,
        console,
    })
}

async fn check(args: &Args) -> eyre::Result<()> {
    let prepared = prepare(args)?;
    let address = prepared.verify().await?;
    let chain = prepared.config.chain.id;
    match prepared.signers {
        Some(_) => println!(
            "keeper {address} can serve guard {} on chain {chain}",
            prepared.options.guard
        ),
        None => println!("{} watches can look at chain {chain}", prepared.config.watches.len()),
    }
    Ok(())
}

/// A keeper of the guard, or one that only watches when there is none.
async fn keeper(
    options: Options,
    compiled: &CompiledConfig,
    store: Store,
    signers: Option<Signers>,
) -> Result<Keeper, KeeperError> {
    match signers {
        Some(signers) => Keeper::new(options, compiled, store, signers).await,
        None => Keeper::watching(options, compiled, store).await,
    }
}

impl Prepared {
    /// Makes sure that a keeper can start. A record that exists must be this guard's; none is made. Answers the keeper's address.
    async fn verify(&self) -> eyre::Result<Address> {
        let folder = tempfile::tempdir()?;
        let place = match &self.store {
            StorePlace::File(path) if !path.exists() => StorePlace::File(folder.path().join("check.db")),
            held => held.clone(),
        };
        let options = self.options.clone();
        let store = Store::at(&place, self.config.source.directory(), options.chain_id, options.guard).await?;
        let keeper = keeper(options, &self.compiled, store.clone(), self.signers.clone()).await;
        store.close().await;
        Ok(keeper?.address())
    }
}

async fn follow(args: &Args) -> eyre::Result<()> {
    let prepared = prepare(args)?;
    if !matches!(&prepared.store, StorePlace::File(path) if path.exists()) {
        // A record names its chain and guard for good: none is begun for a configuration that cannot work.
        prepared.verify().await?;
    }
    let Prepared {
        config,
        compiled,
        options,
        signers,
        store,
        channels,
        dead_man,
        console,
    } = prepared;
    let store = Store::at(&store, config.source.directory(), options.chain_id, options.guard).await?;
    let guard = options.guard;
    let only_watches = signers.is_none();
    let mut keeper = keeper(options, &compiled, store.clone(), signers)
        .await?
        .with_channels(channels)
        .with_config_text(config.source.text());
    if let Some(switch) = dead_man {
        keeper = keeper.with_dead_man(switch);
    }
    if let Some(address) = console {
        println!("console at http://{}", keeper.open_console(address).await?);
    }
    let stop = CancellationToken::new();
    let mut interrupt = Interrupt::listen()?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            interrupt.received().await;
            stop.cancel();
        }
    });
    let chain = config.chain.id;
    if only_watches {
        println!("{} watches look at chain {chain}", config.watches.len());
    } else {
        println!("keeper {} serves guard {guard} on chain {chain}", keeper.address());
    }
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
        KeeperEvent::Sighted { watch, block, text, .. } => println!("block {block}: {}: {text}", style.red(watch)),
        KeeperEvent::BlockDone { .. }
        | KeeperEvent::Finished { .. }
        | KeeperEvent::Alarm { .. }
        | KeeperEvent::AlarmCleared { .. } => {}
    }
}
