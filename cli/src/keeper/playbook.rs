//! `cordon keeper playbook`, `approve` and `refuse`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use cordon_client::Config;
use cordon_client::playbook::{cacao, to_toml};
use cordon_keeper::clock::{now_ms, rfc3339, utc_ms};
use eyre::WrapErr;

use super::Args;
use super::record::open;
use crate::out::say;

/// What to do with playbooks.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the playbooks of the configuration, and the steps that wait for an approval.
    List(Args),
    /// Write a playbook to standard output as OASIS CACAO 2.0 JSON.
    Export {
        #[command(flatten)]
        args: Args,
        /// Name of the playbook.
        id: String,
    },
    /// Read a CACAO 2.0 playbook and write it to standard output as a [[playbook]] of cordon.toml. What the keeper cannot carry
    /// out is an error that names it.
    Import {
        /// The file.
        file: PathBuf,
    },
}

pub(crate) async fn run(command: &Command) -> eyre::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Export { args, id } => export(args, id),
        Command::Import { file } => import(file),
    }
}

async fn list(args: &Args) -> eyre::Result<()> {
    let config = Config::load(args.config())?;
    for playbook in &config.playbooks {
        let severity = playbook
            .severity
            .map_or_else(|| "any".to_owned(), |severity| severity.to_string());
        let rules = if playbook.rules.is_empty() {
            "all invariants".to_owned()
        } else {
            playbook.rules.join(", ")
        };
        let steps = playbook.all_steps().len();
        say!("{}: {steps} steps, from severity {severity}, {rules}", playbook.id);
    }
    let store = open(args).await?;
    let approvals = store.open_approvals().await;
    store.close().await;
    for asked in approvals? {
        say!(
            "incident {}: {}/{} waits for {} until {}: {}",
            asked.incident,
            asked.playbook,
            asked.step,
            asked.role,
            utc_ms(asked.until_ms),
            asked.text
        );
    }
    Ok(())
}

fn export(args: &Args, id: &str) -> eyre::Result<()> {
    let config = Config::load(args.config())?;
    let Some(playbook) = config.playbooks.iter().find(|playbook| playbook.id == id) else {
        let known: Vec<&str> = config.playbooks.iter().map(|playbook| playbook.id.as_str()).collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            known.join(", ")
        };
        eyre::bail!("no playbook `{id}` in {}: {known}", args.config().display());
    };
    let object = cacao::export(playbook, &rfc3339(now_ms()));
    say!("{}", serde_json::to_string_pretty(&object)?);
    Ok(())
}

fn import(file: &Path) -> eyre::Result<()> {
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    let imported = cacao::import(&text).wrap_err_with(|| format!("cannot import {}", file.display()))?;
    for note in &imported.notes {
        eprintln!("note: {note}");
    }
    say!("{}", to_toml(&imported.playbook).trim_end());
    Ok(())
}

/// Answers a step of a playbook that waits for somebody.
pub(super) async fn answer(args: &Args, asked: (i64, &str), who: &str, granted: bool) -> eyre::Result<()> {
    let config = Config::load(args.config())?;
    let store = open(args).await?;
    let result = store.approve(&config.people, asked, who, granted).await;
    store.close().await;
    let approved = result?;
    let answer = if granted { "approved" } else { "refused" };
    say!(
        "{}/{} of incident {} is {answer} by {who}",
        approved.playbook,
        approved.step,
        asked.0
    );
    Ok(())
}
