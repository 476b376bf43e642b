//! `[contracts]`: addresses and interfaces.

use std::collections::BTreeMap;
use std::ops::Range;

use alloy::json_abi::JsonAbi;

use super::super::schema::{RawAbi, RawContract, Text};
use super::super::source::suggest;
use super::{Checker, RESERVED, is_identifier};
use crate::abi::{Contract, Contracts, STANDARDS, SignatureError, load_file, parse_signature, standard};

impl Checker {
    pub(super) fn contracts(&mut self, raw: &BTreeMap<Text, RawContract>) -> Contracts {
        let mut contracts = Contracts::default();
        for (name, raw) in raw {
            if !is_identifier(name.get_ref()) {
                let help = "letters, digits and `_`, no digit first: rules must be able to name it".to_owned();
                self.error(
                    name.span(),
                    format!("`{}` cannot be the name of a contract", name.get_ref()),
                    help,
                );
            } else if RESERVED.contains(&name.get_ref().as_str()) {
                let message = format!(
                    "`{}` is a word of the rule language and cannot name a contract",
                    name.get_ref()
                );
                self.error(name.span(), message, None);
            }
            let address = self.address(&raw.address);
            let abi = match &raw.abi {
                Some(abi) => self.abi(abi.span(), abi.get_ref()),
                None => Some(JsonAbi::new()),
            };
            match (address, abi) {
                (Some(address), Some(abi)) => contracts.insert(name.get_ref(), Contract { address, abi }),
                _ => contracts.insert_broken(name.get_ref()),
            }
        }
        contracts
    }

    pub(super) fn signature_error(&mut self, text: &Text, what: &str, error: &SignatureError, help: String) {
        let span = match error.column {
            Some(column) => self.source.inside(text.span(), text.get_ref(), column),
            None => text.span(),
        };
        self.error(span, format!("malformed {what}: {}", error.reason), help);
    }

    fn abi(&mut self, span: Range<usize>, raw: &RawAbi) -> Option<JsonAbi> {
        match raw {
            RawAbi::Name(name) => {
                if let Some(abi) = standard(name) {
                    return Some(abi);
                }
                let is_file = name.ends_with(".json");
                if !is_file {
                    let help = suggest(name, STANDARDS).map(|s| format!("{s} A file's name ends with .json"));
                    self.error(span, format!("unknown interface `{name}`"), help);
                    return None;
                }
                load_file(&self.source.resolve(name))
                    .map_err(|error| self.error(span, error.to_string(), None))
                    .ok()
            }
            RawAbi::Signatures(texts) => {
                let mut abi = JsonAbi::new();
                let mut fine = true;
                for text in texts {
                    if let Err(error) = parse_signature(&mut abi, text.get_ref()) {
                        let help =
                            "write it as Solidity does: \"function price(address asset) view returns (uint256)\""
                                .to_owned();
                        self.signature_error(text, "signature", &error, help);
                        fine = false;
                    }
                }
                fine.then_some(abi)
            }
        }
    }
}
