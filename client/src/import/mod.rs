//! Configurations of other monitors, as watches and channels of `cordon.toml`.

mod channels;
mod expression;
mod files;
mod openzeppelin;
mod templates;
mod watches;

use std::path::{Path, PathBuf};

pub use openzeppelin::openzeppelin_monitor;

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is not what its place promises.
    #[error("{path} is no {what}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing of use.
    #[error("{path} has no monitors of EVM networks in monitors/*.json: give the directory that holds networks/, monitors/ and triggers/", path = .path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// What came out is no configuration: a mistake of the importer.
    #[error(
        "what was made for the network {network} cannot be read back: {reason}; please report it with the monitor's files"
    )]
    Result {
        /// Slug of the network.
        network: String,
        /// Why.
        reason: String,
    },
}

/// What was made of the configuration for one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Name of the network, fit for a file's name.
    pub network: String,
    /// The text of a `cordon.toml`.
    pub toml: String,
    /// Secrets that stood in the files in plain text: path below the configuration's directory, and the secret. They belong
    /// into files that only their owner can read.
    pub secrets: Vec<(PathBuf, crate::config::SecretText)>,
    /// What could not be carried over, and what is different now, one sentence each.
    pub notes: Vec<String>,
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text as an id: letters, digits, `-` and `_`, not longer than ids may be, and not among `taken`.
fn id(text: &str, taken: &[String]) -> String {
    const LONGEST: usize = 56;
    let mut id = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_ascii_alphanumeric() || c == '_' {
            id.push(c.to_ascii_lowercase());
        } else if !id.ends_with('-') && !id.is_empty() {
            id.push('-');
        }
    }
    let id = id.trim_end_matches('-');
    let id = if id.is_empty() { "unnamed" } else { id };
    let numbered = (2..).map(|number: usize| format!("{id}-{number}"));
    std::iter::once(id.to_owned())
        .chain(numbered)
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or_default()
}

fn read(path: &Path) -> Result<String, ImportError> {
    std::fs::read_to_string(path).map_err(|error| ImportError::Read {
        path: path.to_owned(),
        error,
    })
}
