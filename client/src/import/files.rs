//! The files of openzeppelin-monitor: what of them is read.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ImportError, read};

#[derive(Deserialize)]
pub(super) struct Network {
    pub(super) network_type: String,
    pub(super) slug: String,
    #[serde(default)]
    pub(super) rpc_urls: Vec<RpcUrl>,
    pub(super) chain_id: Option<u64>,
    #[serde(default)]
    pub(super) confirmation_blocks: u64,
}

#[derive(Deserialize)]
pub(super) struct RpcUrl {
    pub(super) url: Value,
    #[serde(default)]
    pub(super) weight: u64,
}

#[derive(Deserialize)]
pub(super) struct Monitor {
    pub(super) name: String,
    #[serde(default)]
    pub(super) networks: Vec<String>,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) addresses: Vec<Monitored>,
    #[serde(default)]
    pub(super) match_conditions: Conditions,
    #[serde(default)]
    pub(super) trigger_conditions: Vec<Value>,
    #[serde(default)]
    pub(super) triggers: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Monitored {
    pub(super) address: String,
    /// `abi` before version 0.2.
    #[serde(alias = "abi")]
    pub(super) contract_spec: Option<Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct Conditions {
    #[serde(default)]
    pub(super) functions: Vec<Signed>,
    #[serde(default)]
    pub(super) events: Vec<Signed>,
    #[serde(default)]
    pub(super) transactions: Vec<OnTransaction>,
}

#[derive(Deserialize)]
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) expression: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct OnTransaction {
    pub(super) status: String,
    pub(super) expression: Option<String>,
}

/// All files of a directory, in the order of their names. One that is missing holds none.
pub(super) fn all<T: DeserializeOwned>(directory: &Path, what: &'static str) -> Result<Vec<T>, ImportError> {
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
