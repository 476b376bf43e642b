//! Logs that watches look for. All of a block's logs that somebody wants come in one request; each is matched by its first
//! topic, whatever the number of watches.

use std::collections::HashMap;

use alloy::dyn_abi::{DynSolValue, EventExt};
use alloy::json_abi::Event;
use alloy::primitives::{Address, B256};
use alloy::rpc::types::Log;
use cordon_client::config::Condition;
use serde_json::json;

use super::condition::{Question, judge};
use super::{Sighting, Sightings, Subject, listed, object, settle, shown};
use crate::chain::{BlockRef, Rpc};
use crate::rules::ReadError;

/// One event that is looked for.
#[derive(Debug, Clone)]
struct Wanted {
    subject: Subject,
    event: Event,
    /// Sorted; anybody when empty.
    at: Vec<Address>,
    when: Option<Condition>,
}

/// All events that are looked for.
#[derive(Debug, Default)]
pub(super) struct EventWatch {
    wanted: Vec<Wanted>,
    by_topic: HashMap<B256, Vec<usize>>,
}

/// A log as its event says.
struct Decoded {
    names: Vec<String>,
    values: Vec<DynSolValue>,
}

impl EventWatch {
    pub(super) fn add(&mut self, subject: Subject, event: Event, at: &[Address], when: Option<Condition>) {
        let mut at = at.to_vec();
        at.sort_unstable();
        self.by_topic
            .entry(event.selector())
            .or_default()
            .push(self.wanted.len());
        self.wanted.push(Wanted {
            subject,
            event,
            at,
            when,
        });
    }

    /// Emitters and first topics; no emitter where a watch takes anybody's.
    pub(super) fn wanted(&self) -> Vec<crate::chain::Wanted> {
        let mut all = Vec::new();
        for wanted in &self.wanted {
            let topic = wanted.event.selector();
            if wanted.at.is_empty() {
                all.push((None, topic));
            }
            all.extend(wanted.at.iter().map(|at| (Some(*at), topic)));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) async fn look(&self, rpc: &Rpc, block: &BlockRef, logs: Option<&[Log]>) -> Result<Sightings, ReadError> {
        if self.wanted.is_empty() {
            return Ok(Sightings::default());
        }
        let Some(logs) = logs else {
            let refused = |wanted: &Wanted| wanted.subject.unwatched("the node refuses the block's logs");
            let mut unwatched: Vec<_> = self.wanted.iter().map(refused).collect();
            unwatched.dedup();
            return Ok(Sightings {
                unwatched,
                ..Sightings::default()
            });
        };
        let mut candidates = Vec::new();
        let mut questions = Vec::new();
        for (position, log) in (0..).zip(logs) {
            for wanted in self.meant(log) {
                let Some(decoded) = decode(&wanted.event, log) else {
                    continue;
                };
                questions.push(Question::new(wanted.when.as_ref(), |name| {
                    decoded.word(name, log.address())
                }));
                candidates.push(sighting(wanted, log, position, &decoded));
            }
        }
        let judged = judge(rpc, block, &questions).await.map_err(ReadError::Unreachable)?;
        Ok(settle(candidates.into_iter().zip(judged).collect()))
    }

    fn meant(&self, log: &Log) -> impl Iterator<Item = &Wanted> {
        let of_topic = log.topics().first().and_then(|topic| self.by_topic.get(topic));
        let emitter = log.address();
        of_topic
            .into_iter()
            .flatten()
            .filter_map(|index| self.wanted.get(*index))
            .filter(move |wanted| wanted.at.is_empty() || wanted.at.binary_search(&emitter).is_ok())
    }
}

/// The log's values in the order of the event; `None` when it is another event with the same first topic (ERC-20 and ERC-721
/// transfers differ only in what is indexed).
fn decode(event: &Event, log: &Log) -> Option<Decoded> {
    let indexed = event.inputs.iter().filter(|input| input.indexed).count();
    if log.topics().len() != indexed.checked_add(1)? {
        return None;
    }
    let decoded = event
        .decode_log_parts(log.topics().iter().copied(), &log.data().data)
        .ok()?;
    let (mut indexed, mut body) = (decoded.indexed.into_iter(), decoded.body.into_iter());
    let values: Option<Vec<DynSolValue>> = event
        .inputs
        .iter()
        .map(|input| if input.indexed { indexed.next() } else { body.next() })
        .collect();
    Some(Decoded {
        names: event.inputs.iter().map(|input| input.name.clone()).collect(),
        values: values?,
    })
}

impl Decoded {
    fn word(&self, name: &str, emitter: Address) -> Option<B256> {
        match self.names.iter().position(|held| held == name) {
            Some(at) => self.values.get(at)?.as_word(),
            None if name == "emitter" => Some(emitter.into_word()),
            None => None,
        }
    }
}

fn sighting(wanted: &Wanted, log: &Log, position: u64, decoded: &Decoded) -> Sighting {
    let values: Vec<String> = decoded.values.iter().map(shown).collect();
    let index = log.log_index.unwrap_or(position);
    let name = &wanted.event.name;
    let text = format!("{} emitted {name}({})", log.address(), listed(&decoded.names, &values));
    let facts = json!({
        "on": "event",
        "address": log.address(),
        "event": wanted.event.signature(),
        "args": object(&decoded.names, &values),
        "log": index,
    });
    let subject = &wanted.subject;
    subject.sighting(format!("log:{index}"), log.transaction_hash, text, facts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use alloy::primitives::{LogData, U256};

    #[test]
    fn a_transfer_of_a_token_is_no_transfer_of_a_collectible() {
        let erc20 = Event::parse("event Transfer(address indexed from, address indexed to, uint256 value)").unwrap();
        let erc721 =
            Event::parse("event Transfer(address indexed from, address indexed to, uint256 indexed id)").unwrap();
        assert_eq!(erc20.selector(), erc721.selector());
        let party = Address::repeat_byte(7).into_word();
        let amount = B256::from(U256::from(9));
        let log = |topics: Vec<B256>, data: &[u8]| Log {
            inner: alloy::primitives::Log {
                address: Address::repeat_byte(1),
                data: LogData::new_unchecked(topics, data.to_vec().into()),
            },
            ..Log::default()
        };
        let token = log(vec![erc20.selector(), party, party], amount.as_slice());
        let collectible = log(vec![erc20.selector(), party, party, amount], &[]);
        assert_eq!(
            decode(&erc20, &token).unwrap().word("value", Address::ZERO),
            Some(amount)
        );
        assert!(decode(&erc20, &collectible).is_none() && decode(&erc721, &token).is_none());
        assert_eq!(
            decode(&erc721, &collectible).unwrap().word("id", Address::ZERO),
            Some(amount)
        );
        // A log that is cut short is none of it either.
        assert!(decode(&erc20, &log(vec![erc20.selector(), party, party], &[1; 31])).is_none());
    }
}
