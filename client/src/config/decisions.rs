//! What a configuration decides by, without what each machine of a fleet has for itself.

use toml::{Table, Value};

use super::{Config, WatchKind};
use crate::playbook::to_toml;

/// Keys by section that say where things are on one machine, and change no decision.
const OWN: [(&str, &[&str]); 2] = [
    ("chain", &["rpc", "ws"]),
    (
        "keeper",
        &["store", "key", "more_keys", "heartbeat_key", "reports", "playbooks"],
    ),
];

impl Config {
    /// What is decided by, as a text to make a digest of: the file without endpoints, keys, and the places of record, reports and
    /// console, which keepers of a fleet may have each for itself; with the playbooks of the folder that it names, and the code of
    /// invariant contracts. Comments and white space are not in it.
    pub fn decisions(&self) -> String {
        let mut table: Table = self.source.text().parse().unwrap_or_default();
        for (section, keys) in OWN {
            if let Some(Value::Table(section)) = table.get_mut(section) {
                for key in keys {
                    section.remove(*key);
                }
            }
        }
        if let Some(Value::Table(console)) = table.get_mut("keeper").and_then(|keeper| keeper.get_mut("console")) {
            console.remove("listen");
        }
        let mut out = table.to_string();
        for playbook in &self.playbooks {
            out.push_str(&to_toml(playbook));
        }
        for watch in &self.watches {
            if let WatchKind::Invariants(contract) = &watch.kind {
                out.push_str(&contract.creation.to_string());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
[chain]
id = 1
rpc = ["http://one.example"]

[keeper]
store = "cordon.db"
console = { listen = "127.0.0.1:1" }

[contracts]
box = { address = "0x00000000000000000000000000000000b0000001" }

[[watch]]
id = "balance"
on = "balance"
at = "box"
"#;

    fn decisions(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        Config::parse(&TEXT.replace(from, to), Path::new("cordon.toml"))
            .unwrap()
            .decisions()
    }

    #[test]
    fn what_each_machine_has_for_itself_is_no_decision() {
        let here = decisions("id = 1", "id = 1");
        for (from, to) in [
            (
                "rpc = [\"http://one.example\"]",
                "rpc = [{ env = \"RPC\" }, \"https://two.example\"]\nws = \"wss://three.example\"",
            ),
            ("cordon.db", "/var/lib/cordon/cordon.db"),
            ("store =", "reports = \"/tmp\" # a comment\nstore ="),
            ("127.0.0.1:1", "127.0.0.1:2"),
        ] {
            assert_eq!(decisions(from, to), here, "{to}");
        }
        for (from, to) in [
            ("id = 1", "id = 2"),
            ("b0000001", "b0000002"),
            ("store =", "retention = \"2 days\"\nstore ="),
            ("listen = \"127.0.0.1:1\"", "listen = \"127.0.0.1:1\", remote = true"),
            ("[chain]", "[[notify]]\nid = \"out\"\nvia = \"stdout\"\n[chain]"),
        ] {
            assert_ne!(decisions(from, to), here, "{to}");
        }
    }
}
