//! openzeppelin-monitor (format of version 1.6): networks, monitors and triggers in JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::channels::{Channels, Trigger, plain};
use super::files::{Monitor, Network, RpcUrl, all};
use super::watches::Maker;
use super::{ImportError, Imported, id, quoted};
use crate::config::Config;

/// Reads the directory that holds `networks/`, `monitors/` and `triggers/` and makes a configuration for each EVM network
/// that a monitor names. What has no counterpart is in the notes.
///
/// # Errors
/// See [`ImportError`].
pub fn openzeppelin_monitor(directory: &Path) -> Result<Vec<Imported>, ImportError> {
    let networks: Vec<Network> = all(&directory.join("networks"), "network")?;
    let monitors: Vec<Monitor> = all(&directory.join("monitors"), "monitor")?;
    let triggers: Vec<BTreeMap<String, Trigger>> = all(&directory.join("triggers"), "map of triggers")?;
    let unknown: Vec<String> = unknown_networks(&networks, &monitors);
    let mut imported = Vec::new();
    for network in networks {
        let own: Vec<&Monitor> = monitors
            .iter()
            .filter(|monitor| monitor.networks.contains(&network.slug))
            .collect();
        if network.network_type.eq_ignore_ascii_case("evm") && !own.is_empty() {
            let mut made = chain(&network, &own, &triggers, directory)?;
            made.notes.extend(unknown.iter().cloned());
            imported.push(made);
        }
    }
    if imported.is_empty() {
        return Err(ImportError::Nothing {
            path: directory.to_owned(),
        });
    }
    Ok(imported)
}

/// A note for each network that a monitor names and no file describes.
fn unknown_networks(networks: &[Network], monitors: &[Monitor]) -> Vec<String> {
    let mut notes = Vec::new();
    for monitor in monitors {
        for slug in &monitor.networks {
            if !networks.iter().any(|network| network.slug == *slug) {
                notes.push(format!(
                    "monitor `{}`: the network `{slug}` is in no file of networks/: it is not watched there",
                    monitor.name
                ));
            }
        }
    }
    notes
}

fn chain(
    network: &Network,
    monitors: &[&Monitor],
    triggers: &[BTreeMap<String, Trigger>],
    directory: &Path,
) -> Result<Imported, ImportError> {
    let mut notes = vec![
        "every block is looked at as it comes: cron schedules, block windows and recovery jobs have no counterpart, and need none".to_owned(),
    ];
    if network.confirmation_blocks > 1 {
        notes.push(format!(
            "{} confirmations were waited for; a watch is told at once and taken back when a reorg takes its block: set `finality` where that is too early",
            network.confirmation_blocks
        ));
    }
    let head = head(network, &mut notes);
    let mut channels = Channels::default();
    let used: Vec<&String> = monitors.iter().flat_map(|monitor| &monitor.triggers).collect();
    for (key, trigger) in triggers.iter().flatten().filter(|(key, _)| used.contains(key)) {
        channels.add(key, trigger);
    }
    let mut ids = Vec::new();
    let mut watches = String::new();
    for monitor in monitors {
        let mut maker = Maker {
            monitor,
            head: &head,
            channels: &channels,
            triggers,
            directory,
            ids: &mut ids,
            notes: &mut notes,
        };
        watches.push_str(&maker.watches());
    }
    notes.extend(channels.notes);
    let toml = format!("{head}{watches}{}{}", channels.toml, channels.templates);
    Config::parse(&toml, directory.join("cordon.toml")).map_err(|error| ImportError::Result {
        network: network.slug.clone(),
        reason: error.to_string(),
    })?;
    Ok(Imported {
        network: id(&network.slug, &[]),
        toml,
        secrets: channels.secrets,
        notes,
    })
}

/// An endpoint as `rpc` takes it: its URL, or the variable that holds it.
fn endpoint(url: &Value) -> Option<String> {
    if let Some(url) = plain(Some(url)) {
        return url.starts_with("http").then(|| quoted(&url));
    }
    let kind = url.get("type")?.as_str()?;
    let name = url.get("value")?.as_str()?;
    kind.eq_ignore_ascii_case("environment")
        .then(|| format!("{{ env = {} }}", quoted(name)))
}

fn head(network: &Network, notes: &mut Vec<String>) -> String {
    let mut urls: Vec<&RpcUrl> = network.rpc_urls.iter().filter(|url| url.weight > 0).collect();
    // There, the weight is the order.
    urls.sort_by_key(|url| std::cmp::Reverse(url.weight));
    let mut rpc: Vec<String> = urls.iter().filter_map(|url| endpoint(&url.url)).collect();
    if rpc.is_empty() || rpc.len() < urls.len() {
        notes.push("an endpoint came from a vault, or is no HTTP endpoint: write its URL into `rpc`".to_owned());
    }
    if rpc.is_empty() {
        rpc.push(quoted("http://127.0.0.1:8545"));
    }
    let chain_id = network.chain_id.unwrap_or_else(|| {
        notes.push("the network names no chain id: write it into `id`".to_owned());
        1
    });
    format!(
        "# Made from openzeppelin-monitor, network {}.\n[chain]\nid = {chain_id}\nrpc = [{}]\n\n[keeper]\nstore = \"cordon.db\"\n",
        network.slug.replace(['\n', '\r'], " "),
        rpc.join(", ")
    )
}
