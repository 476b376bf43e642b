//! A team's own invariant contracts: compiled as for Foundry, put at an unused address for the time of a call, never deployed.
//! A function that reverts is a breach. It is told when it begins: the block before is asked as well. One that was broken before anybody
//! looked is told once: whether it was is what the record says.

use alloy::json_abi::Function;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::sol_types::{Revert, SolError};
use cordon_client::config::InvariantContract;
use cordon_client::revert::revert_words;
use serde_json::json;
use tokio::sync::OnceCell;

use super::{Sighting, Sightings, Subject};
use crate::chain::{Answer, BlockRef, CallError, Question, Refusal, Rpc};
use crate::rules::ReadError;

/// Characters of a reason, and bytes of what a revert answers, that are kept: whoever makes it revert may choose them.
const LONGEST: usize = 1_024;

/// A contract whose functions must not revert.
#[derive(Debug)]
pub(super) struct InvariantWatch {
    subject: Subject,
    contract: InvariantContract,
    /// Where it is put: nobody's address.
    at: Address,
    /// Its code, once the constructor has made it; immutable values are in it.
    code: OnceCell<Bytes>,
}

impl InvariantWatch {
    pub(super) fn new(subject: Subject, contract: InvariantContract) -> Self {
        let at = Address::from_word(keccak256(["cordon invariants ", &subject.id].concat()));
        Self {
            subject,
            contract,
            at,
            code: OnceCell::new(),
        }
    }

    /// The code that the constructor answers, made once; why there is none. A constructor that fails is run again at the next block: what it
    /// misses may come, and an endpoint that refuses may be replaced.
    async fn code(&self, rpc: &Rpc, block: &BlockRef) -> Result<Result<&Bytes, String>, ReadError> {
        if let Some(code) = self.code.get() {
            return Ok(Ok(code));
        }
        let reason = match rpc.create(self.contract.creation.clone(), block.parent).await {
            Ok(code) if code.is_empty() => "its constructor leaves no code".to_owned(),
            Ok(code) => return Ok(Ok(self.code.get_or_init(|| async { code }).await)),
            Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
            Err(CallError::Rpc(error)) => error.to_string(),
            Err(CallError::Reverted(data)) => format!("its constructor reverts: {}", self.words(&data)),
        };
        Ok(Err(reason))
    }

    async fn look(&self, rpc: &Rpc, block: &BlockRef) -> Result<Sightings, ReadError> {
        let mut sightings = Sightings::default();
        let code = match self.code(rpc, block).await? {
            Ok(code) => code.clone(),
            Err(reason) => {
                sightings.unwatched.push(self.subject.unwatched(reason));
                return Ok(sightings);
            }
        };
        let questions: Vec<Question> = self
            .contract
            .functions
            .iter()
            .map(|function| Question::Call {
                to: self.at,
                data: function.selector().to_vec().into(),
                gas: None,
                code: Some((code.clone(), self.contract.storage.clone())),
            })
            .collect();
        let now = self.ask(rpc, block.hash, &questions).await?;
        let broken: Vec<usize> = (0..)
            .zip(&now)
            .filter(|(_, answer)| matches!(answer, Err(Refusal::Reverted(_))))
            .map(|(at, _)| at)
            .collect();
        // Only what is broken now has to be known of the block before.
        let suspects: Vec<Question> = broken.iter().filter_map(|at| questions.get(*at).cloned()).collect();
        let before = self.ask(rpc, block.parent, &suspects).await?;
        for (function, answer) in self.contract.functions.iter().zip(&now) {
            if let Err(Refusal::Node(reason)) = answer {
                let reason = format!("{}: the node refuses: {reason}", function.name);
                sightings.unwatched.push(self.subject.unwatched(reason));
            } else if let Err(Refusal::OutOfGas) = answer {
                let reason = format!("{} needs more gas than the node gives a call", function.name);
                sightings.unwatched.push(self.subject.unwatched(reason));
            }
        }
        for (at, before) in broken.into_iter().zip(before) {
            let (Some(function), Some(Err(Refusal::Reverted(data)))) = (self.contract.functions.get(at), now.get(at))
            else {
                continue;
            };
            let was_broken = matches!(before, Err(Refusal::Reverted(_)));
            sightings.found.push(self.broken(function, data, was_broken));
        }
        Ok(sightings)
    }

    /// A function that reverts.
    fn broken(&self, function: &Function, data: &Bytes, was_broken: bool) -> Sighting {
        let reason = self.words(data);
        let text = format!("{}() reverts: {reason}", function.name);
        let facts = json!({ "on": "invariants", "function": function.name, "reason": reason, "data": kept(data) });
        let key = format!("{}{}", super::INVARIANT, function.name);
        let mut sighting = self.subject.sighting(key, None, text, facts);
        sighting.standing = was_broken;
        sighting
    }

    /// What the contract gave as its reason.
    fn words(&self, data: &Bytes) -> String {
        if data.is_empty() {
            return "no reason given".to_owned();
        }
        let words = match Revert::abi_decode(data) {
            Ok(revert) => revert.reason,
            Err(_) => revert_words(data, &self.contract.errors),
        };
        match words.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}… (cut)", words.get(..at).unwrap_or_default()),
            None => words,
        }
    }

    async fn ask(
        &self,
        rpc: &Rpc,
        block: B256,
        questions: &[Question],
    ) -> Result<Vec<Result<Answer, Refusal>>, ReadError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        rpc.ask_many(block, questions).await.map_err(ReadError::Unreachable)
    }
}

/// Hexadecimal digits, and a mark that none has where some were cut off.
fn kept(data: &[u8]) -> String {
    let mark = if data.len() > LONGEST { "…" } else { "" };
    let kept = data.get(..LONGEST).unwrap_or(data);
    format!("{}{mark}", alloy::hex::encode_prefixed(kept))
}

pub(super) async fn look(watches: &[InvariantWatch], rpc: &Rpc, block: &BlockRef) -> Result<Sightings, ReadError> {
    let mut sightings = Sightings::default();
    for part in futures::future::try_join_all(watches.iter().map(|watch| watch.look(rpc, block))).await? {
        sightings.extend(part);
    }
    Ok(sightings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cordon_client::config::{Finality, Severity};

    use super::*;

    /// Whoever makes a function revert may choose what it says.
    #[test]
    fn a_reason_is_cut_and_says_so() {
        let subject = Subject {
            id: "solvent".into(),
            severity: Severity::P1,
            finality: Finality::Latest,
            cooldown: 0,
            shadow: false,
            channels: vec![],
        };
        let function = Function::parse("invariant_solvent()").unwrap();
        let contract = InvariantContract {
            creation: Bytes::new(),
            functions: vec![function.clone()],
            errors: vec![],
            storage: vec![],
        };
        let watch = InvariantWatch::new(subject, contract);
        let broken = |reason: String| watch.broken(&function, &Revert { reason }.abi_encode().into(), false);
        let long = broken("é".repeat(100_000));
        assert!(long.text.ends_with("éé… (cut)"), "{}", long.text);
        assert!(long.text.chars().count() < 1_100);
        assert!(long.facts.to_string().len() < 5_000);
        assert!(long.facts.to_string().contains("c3a9…"));
        let short = broken("insolvent".into());
        assert_eq!(short.text, "invariant_solvent() reverts: insolvent");
        assert!(!short.facts.to_string().contains('…'));
    }
}
