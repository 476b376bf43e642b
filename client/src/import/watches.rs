//! Watches made of the conditions of a monitor.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use alloy::json_abi::{Event, Function, JsonAbi};

use super::channels::{Channels, Trigger};
use super::expression::{conjuncts, translate};
use super::files::{Monitor, OnTransaction, Signed};
use super::{id, quoted};
use crate::config::Config;

/// Makes the watches of one monitor.
pub(super) struct Maker<'a> {
    pub(super) monitor: &'a Monitor,
    pub(super) head: &'a str,
    pub(super) channels: &'a Channels,
    pub(super) triggers: &'a [BTreeMap<String, Trigger>],
    pub(super) directory: &'a Path,
    pub(super) ids: &'a mut Vec<String>,
    pub(super) notes: &'a mut Vec<String>,
}

impl Maker<'_> {
    fn note(&mut self, text: &str) {
        self.notes.push(format!("monitor `{}`: {text}", self.monitor.name));
    }

    /// The watches of the monitor in TOML.
    pub(super) fn watches(&mut self) -> String {
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
