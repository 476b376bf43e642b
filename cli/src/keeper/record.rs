//! `cordon keeper export`, `verify`, `backup` and `ack`: what is done with the record without a keeper.

use std::path::Path;
use std::time::Instant;

use alloy::primitives::B256;
use cordon_client::Config;
use cordon_client::config::StorePlace;
use cordon_keeper::record::{Evidence, Proof, Store};
use cordon_keeper::{KeeperError, Options};
use eyre::WrapErr;

use super::Args;

use crate::out::say;

pub(super) async fn export(args: &Args, incident: i64) -> eyre::Result<()> {
    let store = open(args).await?;
    let evidence = store.evidence(incident).await;
    let whole = store.verify_evidence(None).await;
    store.close().await;
    let evidence = evidence?.ok_or_else(|| eyre::eyre!("the record has no evidence of an incident {incident}"))?;
    say!("{}", serde_json::to_string_pretty(&evidence)?);
    let changed = "the record was changed after it was written";
    evidence.verify(None).wrap_err(changed)?;
    whole?.wrap_err(changed)?;
    Ok(())
}

/// Checks an exported file, or the whole record without one.
pub(super) async fn verify(args: &Args, file: Option<&Path>, noted: Option<B256>) -> eyre::Result<()> {
    let proof = match file {
        Some(file) => verify_file(file, noted)?,
        None => {
            let store = open(args).await?;
            let (chain, guard) = (store.chain_id(), store.guard());
            let proof = store.verify_evidence(noted).await;
            store.close().await;
            let proof = proof?.wrap_err("the record was changed after it was written")?;
            say!(
                "{} links of the record of guard {guard} on chain {chain} lead to {}",
                proof.links,
                proof.head
            );
            proof
        }
    };
    if proof.loose > 0 {
        say!(
            "{} of them were written in the first form, which binds neither chain, guard nor incident: there, a line that is withheld would not show",
            proof.loose
        );
    }
    if let Some(noted) = noted {
        say!("{noted} is one of them");
    }
    Ok(())
}

fn verify_file(file: &Path, noted: Option<B256>) -> eyre::Result<Proof> {
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    let evidence: Evidence =
        serde_json::from_str(&text).wrap_err_with(|| format!("{} holds no exported evidence", file.display()))?;
    let proof = evidence.verify(noted)?;
    say!(
        "{} links of incident {} of guard {} on chain {} lead from {} to {}",
        proof.links,
        evidence.incident,
        evidence.guard,
        evidence.chain_id,
        evidence.from,
        evidence.to
    );
    Ok(proof)
}

pub(super) async fn backup(args: &Args, file: &Path) -> eyre::Result<()> {
    let config = Config::load(&args.config)?;
    let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
    let (chain, guard) = (config.chain.id, Options::guard_of(&config)?);
    let begun = Instant::now();
    let size = Store::backup(&section.store, config.source.directory(), (chain, guard), file).await?;
    say!(
        "the record of guard {guard} on chain {chain} is copied to {}, and checked: {} in {:.1} s",
        file.display(),
        size_text(size),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// In mebibytes with a digit behind the point, in kibibytes below one of them.
fn size_text(bytes: u64) -> String {
    const KIB: u64 = 1024;
    let (mebi, rest) = (bytes / (KIB * KIB), bytes % (KIB * KIB));
    match mebi {
        0 => format!("{} KiB", rest.div_ceil(KIB)),
        _ => format!("{mebi}.{} MiB", rest * 10 / (KIB * KIB)),
    }
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
    let guard = Options::guard_of(&config)?;
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
