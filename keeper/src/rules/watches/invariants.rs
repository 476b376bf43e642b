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
        let facts = json!({ "on": "invariants", "function": function.name, "reason": reason, "data": data });
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
        match Revert::abi_decode(data) {
            Ok(revert) => revert.reason,
            Err(_) => revert_words(data, &self.contract.errors),
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

pub(super) async fn look(watches: &[InvariantWatch], rpc: &Rpc, block: &BlockRef) -> Result<Sightings, ReadError> {
    let mut sightings = Sightings::default();
    for part in futures::future::try_join_all(watches.iter().map(|watch| watch.look(rpc, block))).await? {
        sightings.extend(part);
    }
    Ok(sightings)
}
