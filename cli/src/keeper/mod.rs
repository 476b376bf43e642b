//! `cordon keeper`.

mod playbook;
mod record;
mod replay;
mod run;
mod start;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256};
use clap::{Parser, Subcommand};
use cordon_client::config::StorePlace;
use cordon_client::{CompiledConfig, Config};
use cordon_keeper::notify::{self, Channel, DeadMan, Desk, Origin};
use cordon_keeper::record::{Store, StoreError};
use cordon_keeper::rules::HereStatus;
use cordon_keeper::{Approvers, Keeper, KeeperError, Options, Preflight, Signers};

use crate::check::warn;
use crate::out::say;
use crate::style::Style;

/// What to do with the keeper.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run until Ctrl-C or SIGTERM. While no endpoint answers at the start, the keeper waits, and tells people after half a minute.
    Run(Args),
    /// Check everything that `run` needs: configuration, keys, chain, guard, roles, funds, the WebSocket endpoint, the folder of the
    /// reports, and whether fallbacks name a Safe and files that its owners have signed. Nothing is sent or stored.
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
    Replay(replay::ReplayArgs),
    /// Write the evidence of an incident to standard output as JSON: every line of its timeline, hash-chained when it was written.
    /// Fails when the chain of the record is broken.
    Export {
        #[command(flatten)]
        args: Args,
        /// Number of the incident.
        incident: i64,
    },
    /// Check that nothing was changed, left out or put in: in an exported file of evidence, or without one in the whole record. Who
    /// can write the record can make the whole chain anew: only a link that was noted elsewhere (--noted) shows that.
    Verify {
        #[command(flatten)]
        args: Args,
        /// The file.
        file: Option<PathBuf>,
        /// A link that was noted elsewhere before, such as the last one that this command or an export has named. It has to be part
        /// of the chain.
        #[arg(long, value_name = "HASH")]
        noted: Option<B256>,
    },
    /// Copy the record of a SQLite file to a new file that only its owner can read, also while a keeper runs: what stands in it at one
    /// instant, checked. A run that is broken off leaves nothing, or a file `cordon-backup-….part` that can be removed.
    Backup {
        #[command(flatten)]
        args: Args,
        /// The file to write; it must not be there yet.
        file: PathBuf,
    },
    /// Look at playbooks, and exchange them as OASIS CACAO 2.0 JSON.
    #[command(subcommand)]
    Playbook(playbook::Command),
    /// Approve a step of a playbook that waits for somebody of a role.
    Approve(AnswerArgs),
    /// Refuse a step of a playbook that waits for somebody of a role: it fails.
    Refuse(AnswerArgs),
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

/// What is answered, and by whom.
#[derive(Parser)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    args: Args,
    /// Number of the incident.
    incident: i64,
    /// Name of the step, or PLAYBOOK/STEP.
    step: String,
    /// Who answers; [roles] in the configuration says who may.
    #[arg(long, value_name = "NAME")]
    by: String,
}

/// Which keeper.
#[derive(Parser)]
pub(crate) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "cordon.toml")]
    config: PathBuf,
}

impl Args {
    fn config(&self) -> &Path {
        &self.config
    }
}

pub(crate) async fn run(command: &Command) -> eyre::Result<()> {
    match command {
        Command::Run(args) => run::follow(args).await,
        Command::Check(args) => check(args).await,
        Command::NotifyTest { args, channel } => notify_test(args, channel.as_deref()).await,
        Command::Replay(wanted) => replay::replay(wanted).await,
        Command::Export { args, incident } => record::export(args, *incident).await,
        Command::Verify { args, file, noted } => record::verify(args, file.as_deref(), *noted).await,
        Command::Backup { args, file } => record::backup(args, file).await,
        Command::Playbook(command) => playbook::run(command).await,
        Command::Approve(asked) => playbook::answer(&asked.args, (asked.incident, &asked.step), &asked.by, true).await,
        Command::Refuse(asked) => playbook::answer(&asked.args, (asked.incident, &asked.step), &asked.by, false).await,
        Command::Ack { args, topic, by } => record::acknowledge(args, topic, by).await,
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
        record: String::new(),
    };
    let style = Style::of_stdout();
    let mut failed = 0_usize;
    for (id, result) in Desk::test(&channels, &origin).await {
        match result {
            Ok(()) => say!("{id}: {}", style.green("taken")),
            Err(error) => {
                failed = failed.saturating_add(1);
                say!("{id}: {}", style.red(&error.to_string()));
            }
        }
    }
    eyre::ensure!(failed == 0, "{failed} of {} channels do not work", channels.len());
    Ok(())
}

/// A configuration with all that a keeper takes from it.
#[derive(Clone)]
struct Prepared {
    config: Config,
    compiled: CompiledConfig,
    options: Options,
    /// `None` for a keeper without a guard.
    signers: Option<Signers>,
    store: StorePlace,
    channels: Vec<Channel>,
    dead_man: Option<DeadMan>,
    console: Option<SocketAddr>,
    approvers: Approvers,
}

async fn prepare(args: &Args) -> eyre::Result<Prepared> {
    let config = Config::load(&args.config)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    let options = Options::from_config(&config)?;
    let signers = match options.guard {
        Address::ZERO => None,
        _ => Some(Signers::from_config(&config).await?),
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
    if let Some(why) = dead_man.as_ref().and_then(DeadMan::mistake) {
        eyre::bail!("[keeper] heartbeat_url: {why}");
    }
    let console = config.keeper.as_ref().and_then(|keeper| keeper.console);
    let approvers = Approvers::new(&config.people, directory)?;
    Ok(Prepared {
        config,
        compiled,
        options,
        signers,
        store,
        channels,
        dead_man,
        console,
        approvers,
    })
}

async fn check(args: &Args) -> eyre::Result<()> {
    let prepared = prepare(args).await?;
    let Verified {
        address,
        digest,
        rules,
        preflight,
    } = prepared.verify(true).await?;
    let chain = prepared.config.chain.id;
    match prepared.signers {
        Some(_) => {
            say!(
                "keeper {address} can serve guard {} on chain {chain}",
                prepared.options.guard
            );
            say!("{}", evaluation(rules.as_ref(), "by the guard"));
        }
        None => {
            say!("{} can look at chain {chain}", looks(&prepared.config));
            if let Some(status) = &rules {
                say!("there is no guard: breaches are told, and nothing is raised");
                say!("{}", evaluation(Some(status), "on the node's answers"));
            }
        }
    }
    if let Some(digest) = digest {
        say!("digest of the configuration, as `/api/configurations` numbers it: {digest}");
    }
    if prepared.dead_man.is_some() {
        say!("heartbeat_url can be read; it is not asked: whoever waits there would believe that a keeper runs");
    }
    let keys = match &prepared.signers {
        Some(signers) => check_keys(signers, chain).await,
        None => Ok(()),
    };
    let style = Style::of_stderr();
    for warning in &preflight.warnings {
        eprintln!("{}: {warning}", style.yellow("warning"));
    }
    for problem in &preflight.problems {
        eprintln!("{}: {problem}", style.red("error"));
    }
    let found = preflight.problems.len();
    eyre::ensure!(
        found == 0,
        "{found} of the things that a keeper may need would not work"
    );
    keys
}

/// Tells of each key whether it can sign now.
async fn check_keys(signers: &Signers, chain: u64) -> eyre::Result<()> {
    let style = Style::of_stdout();
    let mut failed = 0_usize;
    for (name, signer) in signers.all() {
        let result = match signer.probe(chain).await {
            Ok(()) if signer.needs_hand() => style.yellow("answers; each signature waits for somebody at the device"),
            Ok(()) => style.green("signs"),
            Err(why) => {
                failed = failed.saturating_add(1);
                style.red(&format!("cannot sign: {why}"))
            }
        };
        say!("{name} of {signer}: {result}");
    }
    eyre::ensure!(failed == 0, "{failed} of {} keys cannot sign", signers.all().count());
    Ok(())
}

/// Who evaluates the rules without parameters; `others` says how those are that the keeper does not evaluate by itself.
fn evaluation(status: Option<&HereStatus>, others: &str) -> String {
    match status {
        None => format!("rules without parameters are evaluated {others} at every block"),
        Some(HereStatus { off: Some(why), .. }) => {
            format!("rules without parameters are evaluated {others} at every block: {why}")
        }
        Some(HereStatus { keeper, guard, .. }) => format!(
            "rules without parameters: {keeper} are evaluated by the keeper when something that they read has changed, {guard} {others} at every block"
        ),
    }
}

/// What a keeper without a guard looks with.
fn looks(config: &Config) -> String {
    let (rules, watches) = (config.invariants.len(), config.watches.len());
    match (rules, watches) {
        (0, _) => format!("{watches} watches"),
        (_, 0) => format!("{rules} invariants"),
        _ => format!("{rules} invariants and {watches} watches"),
    }
}

/// A keeper of the guard, or one that only watches and tells when there is none.
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

/// What was found of a keeper that can start.
struct Verified {
    address: Address,
    digest: Option<B256>,
    /// Who evaluates the rules; nothing unless it was looked into.
    rules: Option<HereStatus>,
    /// What else would not work; nothing unless it was looked into.
    preflight: Preflight,
}

impl Prepared {
    /// Makes sure that the record, if there is one, is this guard's. Nothing is made, and nothing is changed.
    async fn peek(&self) -> Result<(), StoreError> {
        let (directory, options) = (self.config.source.directory(), &self.options);
        Store::peek(&self.store, directory, options.chain_id, options.guard).await
    }

    /// Makes sure that a keeper can start. A record that exists must be this guard's; none is made or changed. With `fully` the rules are
    /// evaluated once, and it is looked for what else would not work.
    async fn verify(&self, fully: bool) -> eyre::Result<Verified> {
        self.peek().await?;
        // A keeper is set up beside the record: the one that may be at work on it must not notice.
        let folder = tempfile::tempdir()?;
        let options = self.options.clone();
        let store = Store::open(folder.path().join("check.db"), options.chain_id, options.guard).await?;
        let keeper = keeper(options, &self.compiled, store.clone(), self.signers.clone()).await;
        store.close().await;
        let keeper = keeper?.with_config(&self.config);
        let (rules, preflight) = match fully {
            true => (keeper.rehearse().await?, keeper.preflight().await),
            false => Default::default(),
        };
        Ok(Verified {
            address: keeper.address(),
            digest: keeper.config_digest(),
            rules,
            preflight,
        })
    }
}
