//! `cordon.toml` as it is written: every value with its place. Checked and resolved in `check`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::Evaluate;
use super::credential::Credential;
use super::endpoint::RawEndpoint;
pub(super) use super::schema_list::{OneOrMany, RawAbi};
use super::schema_playbook::RawPlaybook;
use super::secret::Secret;

pub(super) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) chain: RawChain,
    pub(super) guard: Option<RawGuard>,
    pub(super) keeper: Option<RawKeeper>,
    #[serde(default)]
    pub(super) contracts: BTreeMap<Text, RawContract>,
    #[serde(default)]
    pub(super) invariant: Vec<RawInvariant>,
    #[serde(default)]
    pub(super) containment: Vec<RawContainment>,
    #[serde(default)]
    pub(super) containment_set: Vec<RawContainmentSet>,
    #[serde(default)]
    pub(super) notify: Vec<RawNotify>,
    #[serde(default)]
    pub(super) template: Vec<RawTemplate>,
    #[serde(default)]
    pub(super) watch: Vec<RawWatch>,
    #[serde(default)]
    pub(super) maintenance: Vec<RawMaintenance>,
    #[serde(default)]
    pub(super) fallback: Vec<RawFallback>,
    #[serde(default)]
    pub(super) playbook: Vec<RawPlaybook>,
    #[serde(default)]
    pub(super) roles: BTreeMap<Text, OneOrMany>,
    #[serde(default)]
    pub(super) people: BTreeMap<Text, RawPerson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChain {
    pub(super) id: u64,
    pub(super) rpc: Spanned<Vec<Spanned<RawEndpoint>>>,
    pub(super) ws: Option<Spanned<RawEndpoint>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuard {
    pub(super) address: Option<Text>,
    pub(super) scopes: Spanned<Vec<Text>>,
    #[serde(default)]
    pub(super) callers: Vec<Text>,
    pub(super) governor: Option<Text>,
    #[serde(default)]
    pub(super) guardians: Vec<Text>,
    #[serde(default)]
    pub(super) keepers: Vec<Text>,
    #[serde(default)]
    pub(super) heartbeats: Vec<Text>,
    #[serde(default)]
    pub(super) seals: Vec<Text>,
    pub(super) governor_delay: Option<Text>,
    #[serde(default)]
    pub(super) stricter: BTreeMap<Text, Vec<Text>>,
    pub(super) hook_gas: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeeper {
    pub(super) store: RawStore,
    pub(super) key: Option<Secret>,
    #[serde(default)]
    pub(super) more_keys: Vec<Spanned<Secret>>,
    pub(super) heartbeat_key: Option<Spanned<Secret>>,
    pub(super) reports: Option<PathBuf>,
    pub(super) heartbeat_url: Option<Credential>,
    pub(super) console: Option<RawConsole>,
    #[serde(default)]
    pub(super) evaluate: Evaluate,
    pub(super) playbooks: Option<Text>,
    pub(super) quorum: Option<RawQuorum>,
    pub(super) retention: Option<Text>,
    pub(super) stale_head: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFallback {
    pub(super) id: Text,
    pub(super) scopes: Option<OneOrMany>,
    pub(super) safe: Text,
    pub(super) deadline: Option<Text>,
    pub(super) patience: Option<Text>,
    pub(super) signed: Option<OneOrMany>,
    pub(super) service: Option<Text>,
    pub(super) service_key: Option<Spanned<Credential>>,
    #[serde(rename = "for")]
    pub(super) duration: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPerson {
    pub(super) token: Credential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuorum {
    pub(super) rules: Option<Spanned<u32>>,
    pub(super) endpoints: Option<Spanned<u32>>,
    pub(super) keepers: Option<Spanned<u32>>,
}

/// `store`: the path of a SQLite file, or `{ postgres = { env = "NAME" } }`.
pub(super) enum RawStore {
    File(PathBuf),
    Postgres(Credential),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatabase {
    postgres: Credential,
}

/// Message for a URL where its place is wanted. The text itself is never repeated: it holds a password.
pub(super) const PLAIN_URL: &str = "the URL of a database holds a password and is never written in the configuration: use { postgres = { env = \"NAME\" } } or { postgres = { file = \"FILE\" } }";

struct StoreVisitor;

impl<'de> Visitor<'de> for StoreVisitor {
    type Value = RawStore;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path of a SQLite file, or { postgres = { env = \"NAME\" } } with the URL of a database")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawStore, E> {
        if value.contains("://") {
            return Err(E::custom(PLAIN_URL));
        }
        Ok(RawStore::File(value.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawStore, A::Error> {
        let database = RawDatabase::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(RawStore::Postgres(database.postgres))
    }
}

impl<'de> Deserialize<'de> for RawStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StoreVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConsole {
    pub(super) listen: Option<Text>,
    pub(super) remote: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContract {
    pub(super) address: Text,
    pub(super) abi: Option<Spanned<RawAbi>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInvariant {
    pub(super) id: Text,
    pub(super) scope: Option<Text>,
    pub(super) rule: Text,
    #[serde(rename = "let", default)]
    pub(super) lets: BTreeMap<Text, Text>,
    pub(super) param: Option<OneOrMany>,
    pub(super) witness: Option<RawWitness>,
    #[serde(default)]
    pub(super) check: Vec<Text>,
    pub(super) in_call: Option<Text>,
    #[serde(default)]
    pub(super) robust: bool,
    pub(super) level: Option<Text>,
    pub(super) duration: Option<Text>,
    pub(super) severity: Option<Text>,
    pub(super) respond: Option<Text>,
    pub(super) channels: Option<OneOrMany>,
    pub(super) audience: Option<Text>,
    pub(super) held_by: Option<Text>,
    pub(super) finality: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWitness {
    pub(super) contract: Text,
    pub(super) event: Text,
    pub(super) field: OneOrMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContainment {
    pub(super) id: Text,
    pub(super) scope: Text,
    pub(super) level: Text,
    pub(super) call: Text,
    pub(super) done: Text,
    #[serde(default)]
    pub(super) closes: Vec<Text>,
    #[serde(default)]
    pub(super) accepts: Vec<Text>,
    pub(super) max_duration: Option<Text>,
    pub(super) gas: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) undo: Vec<RawUndo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUndo {
    pub(super) call: Text,
    pub(super) undone: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContainmentSet {
    pub(super) id: Text,
    pub(super) reviewed: Text,
    pub(super) document: Option<Text>,
    #[serde(default)]
    pub(super) contain: Vec<RawOrder>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOrder {
    pub(super) scope: Text,
    pub(super) level: Text,
    #[serde(rename = "for")]
    pub(super) duration: Text,
}

/// All services share one table; which keys belong to which is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    pub(super) id: Text,
    pub(super) via: Text,
    pub(super) audience: Option<Text>,
    pub(super) severity: Option<Text>,
    pub(super) after: Option<Text>,
    pub(super) repeat: Option<Text>,
    pub(super) per_minute: Option<Spanned<u32>>,
    pub(super) url: Option<Spanned<Credential>>,
    pub(super) token: Option<Spanned<Credential>>,
    pub(super) chat: Option<Text>,
    pub(super) key: Option<Spanned<Credential>>,
    pub(super) secret: Option<Spanned<Credential>>,
    pub(super) server: Option<Text>,
    pub(super) host: Option<Text>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) security: Option<Text>,
    pub(super) username: Option<Text>,
    pub(super) password: Option<Spanned<Credential>>,
    pub(super) sender: Option<Text>,
    pub(super) recipients: Option<Spanned<Vec<Text>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplate {
    pub(super) audience: Option<Text>,
    pub(super) channels: Option<OneOrMany>,
    pub(super) on: Option<OneOrMany>,
    pub(super) title: Option<Text>,
    pub(super) text: Option<Text>,
}

impl RawTemplate {
    /// A place in it.
    pub(super) fn at(&self) -> Range<usize> {
        let names = self.channels.as_ref().and_then(|names| names.0.first());
        let texts = [self.text.as_ref(), self.title.as_ref(), self.audience.as_ref(), names];
        texts.into_iter().flatten().next().map_or(0..0, Spanned::span)
    }
}

impl RawNotify {
    /// The keys that were given among those that only some services have.
    pub(super) fn service_keys(&self) -> Vec<(&'static str, Range<usize>)> {
        let credential = |value: &Option<Spanned<Credential>>| value.as_ref().map(Spanned::span);
        let text = |value: &Option<Text>| value.as_ref().map(Spanned::span);
        [
            ("url", credential(&self.url)),
            ("token", credential(&self.token)),
            ("chat", text(&self.chat)),
            ("key", credential(&self.key)),
            ("secret", credential(&self.secret)),
            ("server", text(&self.server)),
            ("host", text(&self.host)),
            ("port", self.port.as_ref().map(Spanned::span)),
            ("security", text(&self.security)),
            ("username", text(&self.username)),
            ("password", credential(&self.password)),
            ("sender", text(&self.sender)),
            ("recipients", self.recipients.as_ref().map(Spanned::span)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
    }
}

/// All kinds share one table; which keys belong to which is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWatch {
    pub(super) id: Text,
    pub(super) on: Text,
    pub(super) severity: Option<Text>,
    pub(super) finality: Option<Text>,
    pub(super) cooldown: Option<Text>,
    #[serde(default)]
    pub(super) shadow: bool,
    pub(super) event: Option<Text>,
    pub(super) function: Option<Text>,
    pub(super) channels: Option<OneOrMany>,
    pub(super) audience: Option<Text>,
    pub(super) at: Option<OneOrMany>,
    pub(super) from: Option<OneOrMany>,
    pub(super) to: Option<OneOrMany>,
    pub(super) status: Option<Text>,
    pub(super) slot: Option<Text>,
    pub(super) standards: Option<OneOrMany>,
    pub(super) artifact: Option<Text>,
    #[serde(default)]
    pub(super) args: Vec<Text>,
    #[serde(default)]
    pub(super) state: BTreeMap<Text, Text>,
    pub(super) when: Option<Text>,
}

impl RawWatch {
    /// The keys that were given among those that only some kinds have.
    pub(super) fn kind_keys(&self) -> Vec<(&'static str, Range<usize>)> {
        let text = |value: &Option<Text>| value.as_ref().map(Spanned::span);
        let list = |value: &Option<OneOrMany>| value.as_ref().map(|list| list.0.first().map_or(0..0, Spanned::span));
        [
            ("event", text(&self.event)),
            ("function", text(&self.function)),
            ("at", list(&self.at)),
            ("from", list(&self.from)),
            ("to", list(&self.to)),
            ("status", text(&self.status)),
            ("slot", text(&self.slot)),
            ("standards", list(&self.standards)),
            ("artifact", text(&self.artifact)),
            ("args", self.args.first().map(Spanned::span)),
            ("state", self.state.keys().next().map(Spanned::span)),
            ("when", text(&self.when)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMaintenance {
    pub(super) from: Text,
    pub(super) to: Text,
    pub(super) watches: Option<OneOrMany>,
    pub(super) invariants: Option<OneOrMany>,
    pub(super) reason: Text,
}
