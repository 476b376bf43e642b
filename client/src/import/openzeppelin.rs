//! openzeppelin-monitor (format of version 1.6): networks, monitors and triggers in JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use alloy::json_abi::{Event, Function, JsonAbi};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::channels::{Channels, Trigger, plain};
use super::expression::{conjuncts, translate};
use super::{ImportError, Imported, id, quoted, read};
use crate::config::Config;

#[derive(Deserialize)]
struct Network {
    network_type: String,
    slug: String,
    #[serde(default)]
    rpc_urls: Vec<RpcUrl>,
    chain_id: Option<u64>,
    #[serde(default)]
    confirmation_blocks: u64,
}

#[derive(Deserialize)]
struct RpcUrl {
    url: Value,
    #[serde(default)]
    weight: u64,
}

#[derive(Deserialize)]
struct Monitor {
    name: String,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    addresses: Vec<Monitored>,
    #[serde(default)]
    match_conditions: Conditions,
    #[serde(default)]
    trigger_conditions: Vec<Value>,
    #[serde(default)]
    triggers: Vec<String>,
}

#[derive(Deserialize)]
struct Monitored {
    address: String,
    /// `abi` before version 0.2.
    #[serde(alias = "abi")]
    contract_spec: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    functions: Vec<Signed>,
    #[serde(default)]
    events: Vec<Signed>,
    #[serde(default)]
    transactions: Vec<OnTransaction>,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
    expression: Option<String>,
}

#[derive(Deserialize)]
struct OnTransaction {
    status: String,
    expression: Option<String>,
}

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

/// All files of a directory, in the order of their names. One that is missing holds none.
fn all<T: DeserializeOwned>(directory: &Path, what: &'static str) -> Result<Vec<T>, ImportError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(ImportError::Read {
                path: directory.to_owned(),
                error,
            });
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            serde_json::from_str(&read(&path)?).map_err(|error| ImportError::Malformed {
                path: path.clone(),
                what,
                reason: error.to_string(),
            })
        })
        .collect()
}

fn chain(
    network: &Network,
    monitors: &[&Monitor],
    triggers: &[BTreeMap<String, Trigger>],
    directory: &Path,
) -> Result<Imported, ImportError> {
    let mut notes = vec![
        "every block is looked at as it comes: cron schedules, block windows and recovery jobs have no counterpart, and need none".to_owned(),
        "message templates are not carried over: messages name the watch, what was found, block and transaction".to_owned(),
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
    let toml = format!("{head}{watches}{}", channels.toml);
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

fn head(network: &Network, notes: &mut Vec<String>) -> String {
    let mut urls: Vec<&RpcUrl> = network.rpc_urls.iter().filter(|url| url.weight > 0).collect();
    // There, the weight is the order.
    urls.sort_by_key(|url| std::cmp::Reverse(url.weight));
    let mut rpc: Vec<String> = urls
        .iter()
        .filter_map(|url| plain(Some(&url.url)))
        .filter(|url| url.starts_with("http"))
        .map(|url| quoted(&url))
        .collect();
    if rpc.is_empty() || rpc.len() < urls.len() {
        notes.push("an endpoint came from a secret, or is no HTTP endpoint: write its URL into `rpc`".to_owned());
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

/// Makes the watches of one monitor.
struct Maker<'a> {
    monitor: &'a Monitor,
    head: &'a str,
    channels: &'a Channels,
    triggers: &'a [BTreeMap<String, Trigger>],
    directory: &'a Path,
    ids: &'a mut Vec<String>,
    notes: &'a mut Vec<String>,
}

impl Maker<'_> {
    fn note(&mut self, text: &str) {
        self.notes.push(format!("monitor `{}`: {text}", self.monitor.name));
    }

    fn watches(&mut self) -> String {
        let conditions = &self.monitor.match_conditions;
        self.note_routing();
        if !self.monitor.trigger_conditions.is_empty() {
            self.note("its filter scripts are not run: what they suppressed is told now; say it in `when`");
        }
        let mut out = String::new();
        for event in &conditions.events {
            out.push_str(&self.event(event));
        }
        for function in &conditions.functions {
            out.push_str(&self.call(function));
        }
        if conditions.events.is_empty() && conditions.functions.is_empty() {
            let every = [OnTransaction {
                status: "Any".to_owned(),
                expression: None,
            }];
            let meant = if conditions.transactions.is_empty() {
                self.note("it has no conditions, which there means every transaction of the chain");
                &every[..]
            } else {
                &conditions.transactions
            };
            for transaction in meant {
                out.push_str(&self.transaction(transaction));
            }
        } else if !conditions.events.is_empty()
            && conditions
                .transactions
                .iter()
                .any(|on| on.expression.is_some() || on.status.eq_ignore_ascii_case("failure"))
        {
            self.note(
                "events were told only of transactions that met a condition as well: the events are told of all now",
            );
        }
        out
    }

    /// Says what of the monitor's triggers is not carried over.
    fn note_routing(&mut self) {
        let monitor = self.monitor;
        for key in &monitor.triggers {
            if !self.triggers.iter().any(|file| file.contains_key(key)) {
                self.note(&format!(
                    "its trigger `{key}` is in no file of triggers/: nobody is told by it"
                ));
            }
        }
        if monitor.triggers.is_empty() {
            self.note("it has no triggers: what it finds is recorded and told to nobody, as there (`shadow`)");
        } else if self.route().is_empty() {
            self.note("none of its triggers could be carried over: every channel that wants its severity is told");
        }
    }

    /// Channels that were made of the monitor's triggers.
    fn route(&self) -> Vec<String> {
        let triggers = self.monitor.triggers.iter();
        triggers.filter_map(|key| self.channels.of(key)).map(quoted).collect()
    }

    fn addresses(&self) -> Vec<String> {
        let addresses = self.monitor.addresses.iter();
        addresses.map(|monitored| monitored.address.to_lowercase()).collect()
    }

    fn specs(&self) -> impl Iterator<Item = JsonAbi> {
        let specs = self
            .monitor
            .addresses
            .iter()
            .filter_map(|held| held.contract_spec.clone());
        specs.filter_map(|spec| serde_json::from_value(spec).ok())
    }

    fn event(&mut self, wanted: &Signed) -> String {
        let signature: String = wanted.signature.split_whitespace().collect();
        let known = self
            .specs()
            .find_map(|abi| abi.events().find(|event| event.signature() == signature).cloned());
        let Some(event) = known else {
            self.note(&format!(
                "the event {signature} is not in `contract_spec`, and which of its arguments are indexed is not known: it was left out"
            ));
            return String::new();
        };
        let names: Vec<String> = event.inputs.iter().map(|input| input.name.clone()).collect();
        let rename = |name: &str| names.iter().find(|held| *held == name).cloned();
        let keys = format!("event = {}\n", quoted(&written_event(&event)));
        self.watch(
            "event",
            &event.name.clone(),
            &keys,
            wanted.expression.as_deref(),
            rename,
        )
    }

    fn call(&mut self, wanted: &Signed) -> String {
        let signature: String = wanted.signature.split_whitespace().collect();
        let known = self.specs().find_map(|abi| {
            abi.functions()
                .find(|function| function.signature() == signature)
                .cloned()
        });
        let Some(function) = known.or_else(|| Function::parse(&signature).ok()) else {
            self.note(&format!("`{signature}` is no function: it was left out"));
            return String::new();
        };
        let names: Vec<String> = function.inputs.iter().map(|input| input.name.clone()).collect();
        let rename = |name: &str| names.iter().find(|held| *held == name).cloned();
        let inputs: Vec<String> = function
            .inputs
            .iter()
            .map(|input| format!("{} {}", input.selector_type(), input.name))
            .collect();
        let written = format!("function {}({})", function.name, inputs.join(", "));
        let (status, of_transaction) = self.condition_of_call();
        let keys = format!("function = {}\nstatus = {}\n", quoted(&written), quoted(status));
        let own = wanted.expression.clone();
        let expression = match (own, of_transaction) {
            (Some(own), Some(other)) => Some(format!("({own}) AND ({other})")),
            (own, other) => own.or(other),
        };
        let with_tx = |name: &str| {
            rename(name).or_else(|| match name {
                "value" => Some("tx_value".to_owned()),
                "from" => Some("tx_from".to_owned()),
                "to" => Some("tx_to".to_owned()),
                _ => None,
            })
        };
        self.watch("call", &function.name.clone(), &keys, expression.as_deref(), with_tx)
    }

    /// Status and expression that the monitor asks of the transaction as well.
    fn condition_of_call(&mut self) -> (&'static str, Option<String>) {
        let transactions = &self.monitor.match_conditions.transactions;
        match transactions.as_slice() {
            [] => ("any", None),
            [one] => (status(&one.status), one.expression.clone()),
            several => {
                let statuses: Vec<&str> = several.iter().map(|one| status(&one.status)).collect();
                let status = match statuses.first() {
                    Some(first) if statuses.iter().all(|other| other == first) => *first,
                    _ => "any",
                };
                let parts: Option<Vec<String>> = several
                    .iter()
                    .map(|one| one.expression.as_ref().map(|text| format!("({text})")))
                    .collect();
                (status, parts.map(|parts| parts.join(" OR ")))
            }
        }
    }

    fn transaction(&mut self, wanted: &OnTransaction) -> String {
        let keys = format!("status = {}\n", quoted(status(&wanted.status)));
        let rename = |name: &str| {
            let known = ["from", "to", "value", "gas_price", "gas_limit", "gas_used", "nonce"];
            known.contains(&name).then(|| name.to_owned())
        };
        let mut made = String::new();
        self.watch_at(
            &mut made,
            "transaction",
            "transaction",
            &keys,
            wanted.expression.as_deref(),
            rename,
            false,
        );
        made
    }

    fn watch(
        &mut self,
        on: &str,
        what: &str,
        keys: &str,
        expression: Option<&str>,
        rename: impl Fn(&str) -> Option<String>,
    ) -> String {
        let mut made = String::new();
        self.watch_at(&mut made, on, what, keys, expression, rename, true);
        made
    }

    #[allow(clippy::too_many_arguments)] // The parts of one table.
    fn watch_at(
        &mut self,
        out: &mut String,
        on: &str,
        what: &str,
        keys: &str,
        expression: Option<&str>,
        rename: impl Fn(&str) -> Option<String>,
        at: bool,
    ) {
        let id = id(&format!("{} {what}", self.monitor.name), self.ids);
        let mut table = format!("\n[[watch]]\nid = {}\non = {}\n{keys}", quoted(&id), quoted(on));
        let addresses = self.addresses();
        if at && !addresses.is_empty() {
            let list: Vec<String> = addresses.iter().map(|address| quoted(address)).collect();
            let _ = writeln!(table, "at = [{}]", list.join(", "));
        }
        if self.monitor.paused || self.monitor.triggers.is_empty() {
            // It was not run, or nobody was told: it is recorded and told to nobody.
            table.push_str("shadow = true\n");
        }
        let route = self.route();
        if !route.is_empty() {
            let _ = writeln!(table, "channels = [{}]", route.join(", "));
        }
        let (kept, lost) = self.condition(&table, expression, rename);
        if let (Some(text), Some(lost)) = (expression, lost) {
            let what = match &kept {
                None => format!("`{id}` has lost its condition `{text}` and tells more than before: {lost}"),
                Some(kept) => {
                    format!("`{id}` has kept `{kept}` of its condition `{text}` and tells more than before: {lost}")
                }
            };
            self.note(&what);
        }
        let when = kept.map(|kept| format!("when = {}\n", quoted(&kept)));
        table.push_str(&when.unwrap_or_default());
        if let Some(reason) = self.refusal(&table) {
            self.note(&format!("`{id}` could not be made: {reason}"));
            return;
        }
        self.ids.push(id);
        out.push_str(&table);
    }

    /// What of an expression can be said here, and why the rest cannot. What a whole is made of by AND is tried part by part: with
    /// fewer parts more is told, never less.
    fn condition(
        &self,
        table: &str,
        expression: Option<&str>,
        rename: impl Fn(&str) -> Option<String>,
    ) -> (Option<String>, Option<String>) {
        let Some(text) = expression else { return (None, None) };
        let mut kept: Vec<String> = Vec::new();
        let mut lost: Vec<String> = Vec::new();
        for part in conjuncts(text) {
            let ours = translate(part, &rename).map_err(|error| error.to_string());
            let fits = ours.and_then(
                |ours| match self.refusal(&format!("{table}when = {}\n", quoted(&ours))) {
                    None => Ok(ours),
                    Some(reason) => Err(reason),
                },
            );
            match fits {
                Ok(ours) => kept.push(ours),
                Err(reason) => lost.push(reason),
            }
        }
        let join = |parts: Vec<String>, by: &str| (!parts.is_empty()).then(|| parts.join(by));
        (join(kept, " && "), join(lost, "; "))
    }

    /// Why a table cannot stand in a configuration: the first line of the complaint.
    fn refusal(&self, table: &str) -> Option<String> {
        let text = format!("{}{table}{}", self.head, self.channels.toml);
        let error = Config::parse(&text, self.directory.join("cordon.toml")).err()?;
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        Some(line.splitn(4, ':').last().unwrap_or(line).trim().to_owned())
    }
}

fn status(theirs: &str) -> &'static str {
    match theirs.to_ascii_lowercase().as_str() {
        "success" => "success",
        "failure" => "failure",
        _ => "any",
    }
}

/// An event as Solidity writes it.
fn written_event(event: &Event) -> String {
    let inputs: Vec<String> = event
        .inputs
        .iter()
        .map(|input| {
            let indexed = if input.indexed { " indexed" } else { "" };
            format!("{}{indexed} {}", input.selector_type(), input.name)
        })
        .collect();
    format!("event {}({})", event.name, inputs.join(", "))
}
