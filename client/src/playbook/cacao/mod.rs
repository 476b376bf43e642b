//! Playbooks as OASIS CACAO Security Playbooks 2.0: <https://docs.oasis-open.org/cacao/security-playbooks/v2.0/>.
//!
//! A step becomes an action step whose command a person could follow (`manual`), with what the keeper does in an extension
//! of the step; branches become if-condition, while-condition and parallel steps. The same playbook has the same
//! identifiers whenever it is exported. What an imported playbook says and the keeper cannot do is an error that names it.

mod actions;
mod around;
mod command;
mod export;
mod import;
mod pattern;
mod reader;
mod step;
mod variables;
mod workflow;

use alloy::primitives::{hex, keccak256};

pub use export::export;
pub use import::{ImportError, Imported, import};

/// Version of the standard.
const SPEC: &str = "cacao-2.0";
/// The extension that carries what the standard has no words for.
const EXTENSION: &str = "extension-definition--5f1d6c4e-6a2b-4c1e-9d0f-3b7e2a90c4d1";
/// Who made the export: the keeper as a STIX identity.
const AUTHOR: &str = "identity--c0a3d9f2-18b7-4e55-8f64-7d2e90b1a5c3";
/// Name of the agent that stands for the keeper.
const KEEPER: &str = "Cordon keeper";

/// An identifier of a type: the same for the same parts. Its UUID has the form of version 4, which the standard wants for
/// steps, but comes from a hash: an export of an unchanged playbook is unchanged.
fn identifier(kind: &str, parts: &[&str]) -> String {
    let [a, b, c, d, e] = digest(kind, parts);
    format!("{kind}--{a}-{b}-4{c}-a{d}-{e}")
}

/// Five groups of hex digits (8, 4, 3, 3 and 12) from the hash of the parts, each with its length.
fn digest(kind: &str, parts: &[&str]) -> [String; 5] {
    let mut bytes = Vec::new();
    for part in std::iter::once(&kind).chain(parts) {
        bytes.extend(part.len().to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    let digits = hex::encode(keccak256(bytes));
    let mut rest = digits.chars();
    [8, 4, 3, 3, 12].map(|count| rest.by_ref().take(count).collect())
}
