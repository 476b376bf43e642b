//! openzeppelin-monitor (format of version 1.6): networks, monitors and triggers in JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::{Host, Url};

use super::channels::{Channels, Trigger, plain};
use super::files::{Monitor, Network, RpcUrl, all};
use super::watches::Maker;
use super::{ImportError, Imported, id, quoted};
use crate::config::{Config, SecretText};

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
    let mut secrets = Vec::new();
    let head = head(network, &mut secrets, &mut notes);
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
    secrets.extend(channels.secrets);
    let toml = format!("{head}{watches}{}{}", channels.toml, channels.templates);
    Config::parse(&toml, directory.join("cordon.toml")).map_err(|error| ImportError::Result {
        network: network.slug.clone(),
        reason: error.to_string(),
    })?;
    Ok(Imported {
        network: id(&network.slug, &[]),
        toml,
        secrets,
        notes,
    })
}

/// An endpoint as `rpc` takes it, but for where it is written.
enum Endpoint {
    /// In the file itself: one of this machine, that no key opens.
    Open(String),
    /// In a file of its own. Which part of a URL is a key, providers agree on as little as on whether there is one.
    Kept(String),
    /// In this variable.
    Variable(String),
}

fn endpoint(url: &Value) -> Option<Endpoint> {
    if let Some(text) = plain(Some(url)) {
        let url = Url::parse(&text).ok().filter(|url| url.scheme().starts_with("http"))?;
        let is_here = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let bare = url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
        return Some(match is_here && bare {
            true => Endpoint::Open(text),
            false => Endpoint::Kept(text),
        });
    }
    let kind = url.get("type")?.as_str()?;
    let name = url.get("value")?.as_str()?;
    kind.eq_ignore_ascii_case("environment")
        .then(|| Endpoint::Variable(name.to_owned()))
}

/// `[chain]` and `[keeper]`. What belongs into files of its own is added to `secrets`.
fn head(network: &Network, secrets: &mut Vec<(PathBuf, SecretText)>, notes: &mut Vec<String>) -> String {
    let mut urls: Vec<&RpcUrl> = network.rpc_urls.iter().filter(|url| url.weight > 0).collect();
    // There, the weight is the order.
    urls.sort_by_key(|url| std::cmp::Reverse(url.weight));
    let mut rpc: Vec<String> = Vec::new();
    for endpoint in urls.iter().filter_map(|url| endpoint(&url.url)) {
        rpc.push(match endpoint {
            Endpoint::Open(url) => quoted(&url),
            Endpoint::Variable(name) => format!("{{ env = {} }}", quoted(&name)),
            // Named twice, it would be refused as one that agrees with itself.
            Endpoint::Kept(url) if secrets.iter().any(|(_, held)| held.expose() == url) => continue,
            Endpoint::Kept(url) => {
                let path = PathBuf::from("secrets").join(format!("rpc-{}", secrets.len().saturating_add(1)));
                let named = format!("{{ file = {} }}", quoted(&path.to_string_lossy()));
                secrets.push((path, SecretText::new(url)));
                named
            }
        });
    }
    if !secrets.is_empty() {
        notes.push("the URLs of endpoints are in secrets/, since they may carry a key".to_owned());
    }
    if rpc.is_empty() || urls.iter().any(|url| endpoint(&url.url).is_none()) {
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
