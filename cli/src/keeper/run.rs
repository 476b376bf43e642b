//! `cordon keeper run`: the keeper, with the configuration as it is, whenever it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordon_client::CompiledConfig;
use cordon_keeper::record::{AlarmKind, Store, StoreError};
use cordon_keeper::{KeeperEvent, one_line};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::start::{self, Failures};
use super::{Args, Prepared, keeper, prepare};
use crate::out::say;
use crate::signals::Interrupt;
use crate::style::Style;

/// Subject of the alarm about a changed configuration that is not taken.
const UNUSABLE: &str = "unusable cordon.toml";

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often one that cannot be used is tried again: an endpoint may be back by then, the rulebook adopted.
const AGAIN: Duration = Duration::from_secs(15);
/// The same while nothing is watched.
const REVIVE: Duration = Duration::from_secs(2);

pub(super) async fn follow(args: &Args) -> eyre::Result<()> {
    let mut prepared = prepare(args).await?;
    let mut interrupt = Interrupt::listen()?;
    let people = start::people(&prepared);
    let failures = Failures::of(&prepared, people.clone());
    let started = tokio::select! {
        started = start::begin(&prepared, &people) => started,
        () = interrupt.received() => return Ok(()),
    };
    let mut store = match started {
        Ok(store) => store,
        Err(error) => {
            failures.tell(&error).await;
            return Err(error);
        }
    };
    let mut changes = Changes::of(args, prepared.config.source.text())?;
    let mut before: Option<Prepared> = None;
    // Whether a keeper has run here: then there is something to go on with, and nobody ends the process but who started it.
    let mut is_changed = false;
    taken(&store).await;
    let mut settling = settle(&failures);
    loop {
        let stop = CancellationToken::new();
        let mut running = tokio::spawn(serve(
            prepared.clone(),
            store.clone(),
            stop.clone(),
            Arc::clone(&changes.adopted),
        ));
        let next = tokio::select! {
            ended = &mut running => {
                let Err(error) = ended? else { return Ok(()) };
                if !is_changed {
                    failures.tell(&error).await;
                    return Err(error);
                }
                let why = error.to_string();
                let opened = match before.take() {
                    Some(before) => before.open(Some(&store)).await.map(|store| (before, store)).map_err(Into::into),
                    None => Err(error),
                };
                match opened {
                    Ok(opened) => {
                        (prepared, store) = opened;
                        changes.refuse(&store, &why).await;
                    }
                    // Nor can the one before be used, as after an adoption: whichever can be again.
                    Err(error) => {
                        eprintln!("nothing is watched: neither the changed configuration can be used nor the one before: {error}");
                        failures.tell(&error).await;
                        (prepared, store) = tokio::select! {
                            revived = revive(args, &store) => revived,
                            () = interrupt.received() => return Ok(()),
                        };
                        taken(&store).await;
                        drop(std::mem::replace(&mut settling, settle(&failures)));
                    }
                }
                continue;
            }
            () = interrupt.received() => None,
            next = changes.next(args, &store) => Some(next),
        };
        stop.cancel();
        let ended = running.await?;
        let Some((next, opened)) = next else { return ended };
        if let Err(error) = ended {
            tracing::error!("the keeper with the configuration before has not ended well: {error}");
        }
        store = opened;
        taken(&store).await;
        before = Some(std::mem::replace(&mut prepared, next));
        is_changed = true;
    }
}

/// Takes back what was told of keepers that did not start once this one has run for a while.
fn settle(failures: &Failures) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(failures.clone().over_when_settled()))
}

/// Waits for ever until a keeper can be set up with the configuration as it is then.
async fn revive(args: &Args, before: &Store) -> (Prepared, Store) {
    loop {
        tokio::time::sleep(REVIVE).await;
        match usable(args, before).await {
            Ok(revived) => return revived,
            Err(error) => tracing::error!("nothing is watched: no configuration can be used: {error}"),
        }
    }
}

/// A configuration is in use: there is none any more that is not.
async fn taken(store: &Store) {
    if let Err(error) = store.clear_alarm(AlarmKind::ConfigChanged, UNUSABLE).await {
        tracing::error!(%error, "the alarm about the configuration could not be cleared");
    }
}

impl Prepared {
    /// Opens the record for a keeper that is to run on it. `before` is the one that it has run on, which may be the same file.
    pub(super) async fn open(&self, before: Option<&Store>) -> Result<Store, StoreError> {
        let (directory, options) = (self.config.source.directory(), &self.options);
        Store::alone(&self.store, directory, options.chain_id, options.guard, before).await
    }
}

/// Notices when the configuration is another one.
struct Changes {
    path: PathBuf,
    /// The text that was looked at last, whether it could be used or not.
    seen: String,
    /// Why it could not be used, when it could not, and when that was tried last.
    refused: Option<(String, Instant)>,
    /// Woken when the guard adopts another rulebook.
    adopted: Arc<Notify>,
    hangup: Signal,
}

impl Changes {
    fn of(args: &Args, text: &str) -> eyre::Result<Self> {
        Ok(Self {
            path: args.config.clone(),
            seen: text.to_owned(),
            refused: None,
            adopted: Arc::default(),
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a configuration that is another one and can be used: after a change of the file, or when SIGHUP asks for it. One
    /// that cannot be used is alarmed, the keeper goes on with the one that it has, and it is tried again: what is wrong may be the chain, or
    /// a rulebook that the governor adopts later.
    async fn next(&mut self, args: &Args, store: &Store) -> (Prepared, Store) {
        loop {
            let (asked, adopted) = tokio::select! {
                _ = self.hangup.recv() => (true, false),
                () = self.adopted.notified() => (false, true),
                () = tokio::time::sleep(LOOK) => (false, false),
            };
            // An editor may be writing it: what cannot be read is looked at again.
            let Ok(text) = std::fs::read_to_string(&self.path) else {
                continue;
            };
            let is_new = text != self.seen || asked;
            let is_due = |(_, tried): &(String, Instant)| adopted || tried.elapsed() >= AGAIN;
            if !is_new && !self.refused.as_ref().is_some_and(is_due) {
                continue;
            }
            self.seen = text;
            if is_new {
                self.refused = None;
            }
            match usable(args, store).await {
                Ok(next) => {
                    self.refused = None;
                    return next;
                }
                Err(error) => self.refuse(store, &error.to_string()).await,
            }
        }
    }

    /// Says why a configuration cannot be used, unless it was said of it already.
    async fn refuse(&mut self, store: &Store, reason: &str) {
        let before = self.refused.replace((reason.to_owned(), Instant::now()));
        if before.is_some_and(|(said, _)| said == reason) {
            return;
        }
        let text = format!(
            "the changed {} cannot be used, the keeper goes on with the one before: {reason}",
            name(&self.path)
        );
        eprintln!("{text}");
        // Each mistake is news, also while the one before is still open.
        let raised = match store.clear_alarm(AlarmKind::ConfigChanged, UNUSABLE).await {
            Ok(_) => store.raise_alarm(AlarmKind::ConfigChanged, UNUSABLE, &text, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = raised {
            tracing::error!(%error, "the alarm about the configuration could not be stored");
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The configuration as it is now with its record, when a keeper could start with them.
async fn usable(args: &Args, before: &Store) -> eyre::Result<(Prepared, Store)> {
    let prepared = prepare(args).await?;
    prepared.verify(false).await?;
    let store = prepared.open(Some(before)).await?;
    Ok((prepared, store))
}

/// Serves with one configuration until `stop`.
async fn serve(prepared: Prepared, store: Store, stop: CancellationToken, adopted: Arc<Notify>) -> eyre::Result<()> {
    let Prepared {
        config,
        compiled,
        options,
        signers,
        channels,
        dead_man,
        console,
        approvers,
        ..
    } = prepared;
    let guard = options.guard;
    let only_watches = signers.is_none();
    let mut keeper = keeper(options, &compiled, store.clone(), signers)
        .await?
        .with_channels(channels)
        .with_approvers(approvers)
        .with_config(&config);
    if let Some(switch) = dead_man {
        keeper = keeper.with_dead_man(switch);
    }
    if let Some(address) = console {
        say!("console at http://{}", keeper.open_console(address).await?);
    }
    let chain = config.chain.id;
    if only_watches {
        say!("{} look at chain {chain}", super::looks(&config));
    } else {
        say!("keeper {} serves guard {guard} on chain {chain}", keeper.address());
    }
    let mut events = keeper.subscribe();
    let printer = tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(event) => {
                    if let KeeperEvent::Alarm {
                        kind: AlarmKind::RulebookChanged,
                        ..
                    } = &event
                    {
                        adopted.notify_one();
                    }
                    print(&event, &compiled);
                }
                Err(RecvError::Lagged(missed)) => say!("{missed} events were not shown"),
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

/// Prints what people want to know as it happens. Alarms and the ends of actions are in the log, on standard error.
fn print(event: &KeeperEvent, compiled: &CompiledConfig) {
    let name = |scope: u8| compiled.scope_name(scope).unwrap_or("?").to_owned();
    if let Some(line) = line(event, Style::of_stdout(), name) {
        say!("{line}");
    }
}

/// One line about an event, whatever a text from the chain holds.
fn line(event: &KeeperEvent, style: Style, name: impl Fn(u8) -> String) -> Option<String> {
    let line = match event {
        KeeperEvent::Decided {
            rule,
            scope,
            level,
            block,
            ..
        } => {
            let what = style.red(&format!("{rule} is breached"));
            format!(
                "block {block}: {what}: scope {} shall be {}",
                name(*scope),
                level.name()
            )
        }
        KeeperEvent::Broadcast { kind, tx, .. } => format!("{}: sent in {tx}", kind.name()),
        KeeperEvent::Contained {
            scope,
            level,
            tx,
            block,
            ..
        } => {
            let what = style.green(&format!("scope {} is {}", name(*scope), level.name()));
            format!("block {block}: {what}: transaction {tx}")
        }
        KeeperEvent::Sighted { watch, block, text, .. } => {
            format!("block {block}: {}: {}", style.red(watch), one_line(text))
        }
        KeeperEvent::BlockDone { .. }
        | KeeperEvent::Finished { .. }
        | KeeperEvent::Alarm { .. }
        | KeeperEvent::AlarmCleared { .. } => return None,
    };
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_the_chain_forges_no_line_and_no_colour() {
        let event = KeeperEvent::Sighted {
            watch: "memos".to_owned(),
            block: 7,
            text: "Memo(text = hello\nblock 8: scope weth is Normal\x1b[31m)".to_owned(),
            head_to_stored: Duration::ZERO,
        };
        let shown = line(&event, Style::of_stdout(), |_| "?".to_owned());
        // Under a test runner standard output may be a terminal, and the watch's own name in colour.
        let shown = shown.unwrap_or_default();
        assert!(
            shown.ends_with("Memo(text = hello block 8: scope weth is Normal [31m)"),
            "{shown}"
        );
        assert!(!shown.contains('\n'));
    }
}
