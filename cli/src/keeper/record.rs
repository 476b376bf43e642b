//! `cordon keeper export`, `verify` and `ack`: what is done with the record without a keeper.

use std::path::Path;

use cordon_client::Config;
use cordon_client::config::StorePlace;
use cordon_keeper::record::{Evidence, Store};
use cordon_keeper::{KeeperError, Options};
use eyre::WrapErr;

use super::Args;

use crate::out::say;

pub(super) async fn export(args: &Args, incident: i64) -> eyre::Result<()> {
    let store = open(args).await?;
    let evidence = store.evidence(incident).await;
    store.close().await;
    let evidence = evidence?.ok_or_else(|| eyre::eyre!("the record has no evidence of an incident {incident}"))?;
    say!("{}", serde_json::to_string_pretty(&evidence)?);
    evidence
        .verify()
        .wrap_err("the record was changed after it was written")
}

pub(super) fn verify(file: &Path) -> eyre::Result<()> {
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    let evidence: Evidence =
        serde_json::from_str(&text).wrap_err_with(|| format!("{} holds no exported evidence", file.display()))?;
    evidence.verify()?;
    say!(
        "{} links of incident {} of guard {} on chain {} lead from {} to {}",
        evidence.links.len(),
        evidence.incident,
        evidence.guard,
        evidence.chain_id,
        evidence.from,
        evidence.to
    );
    Ok(())
}

pub(super) async fn acknowledge(args: &Args, topic: &str, by: &str) -> eyre::Result<()> {
    let store = open(args).await?;
    let result = store.acknowledge(topic, by).await;
    store.close().await;
    say!("{} is acknowledged by {by}", result?);
    Ok(())
}

/// The record that a configuration names, which must be there.
pub(super) async fn open(args: &Args) -> eyre::Result<Store> {
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
    let directory = config.source.directory();
    Ok(Store::at(&section.store, directory, config.chain.id, guard).await?)
}
