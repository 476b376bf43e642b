//! Witnesses: which event tells for which account (or other parameters) a rule is to be checked.

use alloy::dyn_abi::EventExt;
use alloy::json_abi::Event;
use alloy::primitives::{Address, B256, Log};

/// An event of a contract whose fields are a rule's parameters, in the rule's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Name of the contract that emits the event.
    pub contract: String,
    /// Its address.
    pub address: Address,
    /// The event.
    pub event: Event,
    /// Positions among the event's inputs, one per parameter of the rule.
    pub(super) fields: Vec<usize>,
}

impl Witness {
    /// First topic of the event's logs.
    pub fn topic(&self) -> B256 {
        self.event.selector()
    }

    /// The rule's parameters as 32-byte words (numbers and addresses left-padded, bytesN right-padded), when `log` is such an event of the contract and well formed.
    pub fn words(&self, log: &Log) -> Option<Vec<B256>> {
        if log.address != self.address || log.topics().first() != Some(&self.topic()) {
            return None;
        }
        let decoded = self
            .event
            .decode_log_parts(log.topics().iter().copied(), &log.data.data)
            .ok()?;
        self.fields
            .iter()
            .map(|&field| {
                let input = self.event.inputs.get(field)?;
                // Indexed and other inputs are decoded into two lists, each in the order of the event.
                let rank = self
                    .event
                    .inputs
                    .iter()
                    .take(field)
                    .filter(|other| other.indexed == input.indexed)
                    .count();
                let values = if input.indexed { &decoded.indexed } else { &decoded.body };
                values.get(rank)?.as_word()
            })
            .collect()
    }
}
