//! Contracts by name, with their interfaces: what rules may read and containment calls may call.

mod standard;
mod symbols;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use alloy::json_abi::{AbiItem, ContractObject, JsonAbi};
use alloy::primitives::Address;

pub use standard::{STANDARDS, standard};

/// Largest ABI file that is read, in bytes. Compiler artifacts with sources stay well below.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why an interface could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AbiError {
    /// The file cannot be read.
    #[error("cannot read the ABI file {path}: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is too large to be an ABI.
    #[error("the ABI file {path} has {size} bytes, more than {MAX_FILE}", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The file holds no ABI.
    #[error("{path} is neither a JSON ABI nor a compiler artifact with an `abi` member: {reason}", path = .path.display())]
    NoAbi {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Reads a JSON ABI, or the `abi` member of a compiler's artifact (solc, Foundry, Hardhat).
pub fn load_file(path: &Path) -> Result<JsonAbi, AbiError> {
    let read = |error| AbiError::Read {
        path: path.to_owned(),
        error,
    };
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > MAX_FILE {
        return Err(AbiError::TooLarge {
            path: path.to_owned(),
            size,
        });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let no_abi = |reason: String| AbiError::NoAbi {
        path: path.to_owned(),
        reason,
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|error| no_abi(error.to_string()));
    }
    let artifact: ContractObject = serde_json::from_str(&text).map_err(|error| no_abi(error.to_string()))?;
    artifact.abi.ok_or_else(|| no_abi("there is no `abi`".to_owned()))
}

/// Why a text is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SignatureError {
    /// What is wrong.
    pub reason: String,
    /// Where, in characters from 1, when that is known.
    pub column: Option<usize>,
}

impl SignatureError {
    /// From the parser's message about `text`: it repeats what is left of the text, then marks a place below it with `^`.
    pub(crate) fn new(text: &str, error: &dyn std::fmt::Display) -> Self {
        let message = error.to_string();
        let message = message.trim_start_matches("parser error:").trim_start_matches('\n');
        let lines: Vec<&str> = message.lines().collect();
        let Some((at, mark)) = lines.iter().enumerate().find(|(_, line)| line.trim() == "^") else {
            return Self {
                reason: message.trim().replace('\n', "; "),
                column: None,
            };
        };
        let rest = lines.get(at + 1..).unwrap_or_default();
        let repeated = at
            .checked_sub(1)
            .and_then(|before| lines.get(before))
            .copied()
            .unwrap_or_default();
        let offset = text
            .find(repeated.trim_end())
            .map(|bytes| text.get(..bytes).map_or(0, |before| before.chars().count()));
        Self {
            reason: rest.join("; ").trim().to_owned(),
            column: offset.map(|offset| offset + mark.chars().count()),
        }
    }
}

/// Adds one human-readable item (`function …` or `event …`) to `abi`.
pub fn parse_signature(abi: &mut JsonAbi, text: &str) -> Result<(), SignatureError> {
    let item = AbiItem::parse(text.trim().trim_end_matches(';')).map_err(|error| SignatureError::new(text, &error))?;
    match item {
        AbiItem::Function(function) => {
            abi.functions
                .entry(function.name.clone())
                .or_default()
                .push(function.into_owned());
        }
        AbiItem::Event(event) => abi
            .events
            .entry(event.name.clone())
            .or_default()
            .push(event.into_owned()),
        AbiItem::Error(error) => abi
            .errors
            .entry(error.name.clone())
            .or_default()
            .push(error.into_owned()),
        _ => {
            let reason = "only functions, events and errors are of use here".to_owned();
            return Err(SignatureError { reason, column: None });
        }
    }
    Ok(())
}

/// A contract that rules and calls can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Where it is.
    pub address: Address,
    /// What it offers; empty for a contract that is only named as an address.
    pub abi: JsonAbi,
}

/// All contracts of a configuration by name.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    known: BTreeMap<String, Contract>,
    /// Names whose declaration is wrong, so that their uses are not reported as well.
    broken: BTreeSet<String>,
}

impl Contracts {
    /// The contract of that name.
    pub fn get(&self, name: &str) -> Option<&Contract> {
        self.known.get(name)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.known.keys().map(String::as_str)
    }

    /// Names and contracts, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Contract)> {
        self.known.iter().map(|(name, contract)| (name.as_str(), contract))
    }

    /// The first name of a contract at `address`.
    pub fn name_of(&self, address: Address) -> Option<&str> {
        self.iter()
            .find(|(_, contract)| contract.address == address)
            .map(|(name, _)| name)
    }

    /// Adds a contract, replacing one of the same name.
    pub fn insert(&mut self, name: &str, contract: Contract) {
        self.known.insert(name.to_owned(), contract);
    }

    pub(crate) fn insert_broken(&mut self, name: &str) {
        self.broken.insert(name.to_owned());
    }

    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.contains(name)
    }
}
