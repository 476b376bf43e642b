//! Which words of the state are asked for: the calls that it takes, and what their answers come to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::readers::{account_code, storage_code};
use super::{Answer, aggregate};

/// Storage words per `eth_call`: their gas stays far below what nodes give one, and more than a few thousand are worked on by several
/// cores of the node.
const SLOTS: usize = 1_500;
/// Accounts per `eth_call`.
const ACCOUNTS: usize = 1_000;
/// Storage words that one contract is asked for at once: with their places, the instructions are no longer than code may be
/// (24,576 bytes), should a node insist on it.
const SLOTS_AT_ONCE: usize = 700;
/// Gas of one storage word, and of a call to a contract.
const SLOT_GAS: u32 = 2_400;
const CALL_GAS: u32 = 20_000;

/// A word of the state of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A word of a contract's storage.
    Slot(Address, U256),
    /// Hash of an account's code; zero, or the hash of nothing, for an account without.
    Code(Address),
    /// Native balance in wei.
    Balance(Address),
}

/// Words that are asked for block after block: most of the requests is written once.
#[derive(Debug, Default)]
pub struct Inquiry {
    count: usize,
    pub(super) parts: Vec<Part>,
    /// What the last answer was. Blocks may be asked for in any order, and several at a time: whatever is held here only saves
    /// the way of words that are the same again.
    held: Mutex<Arc<Held>>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// As many as were asked for; none before the first answer.
    words: Vec<U256>,
    /// Of each contract's words, by part and position in it.
    digests: BTreeMap<(usize, usize), B256>,
}

/// One `eth_call`.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) overrides: Box<RawValue>,
    shape: Shape,
}

/// What is called, and how the answer is to be taken apart: positions of the words among those that were asked for.
#[derive(Debug)]
enum Shape {
    /// By contract.
    Slots(Vec<Slots>),
    /// The calldata; code hash and balance of each account, as far as they were asked for.
    Accounts(Bytes, Vec<[Option<usize>; 2]>),
}

/// Words of one contract.
#[derive(Debug)]
struct Slots {
    contract: Address,
    positions: Vec<usize>,
}

/// A call as `eth_call` takes it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    to: Address,
    input: Bytes,
}

impl Inquiry {
    /// Prepares the requests for these words.
    ///
    /// # Errors
    /// Only when JSON cannot be written, which does not happen.
    pub fn of(keys: &[Key]) -> Result<Self, serde_json::Error> {
        let mut slots: BTreeMap<Address, Vec<(usize, U256)>> = BTreeMap::new();
        let mut accounts: BTreeMap<Address, [Option<usize>; 2]> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            match key {
                Key::Slot(account, slot) => slots.entry(*account).or_default().push((at, *slot)),
                Key::Code(account) => accounts.entry(*account).or_default()[0] = Some(at),
                Key::Balance(account) => accounts.entry(*account).or_default()[1] = Some(at),
            }
        }
        let mut parts = Vec::new();
        let mut waiting: Vec<(Address, Vec<(usize, U256)>)> = Vec::new();
        let mut count = 0_usize;
        for (account, slots) in slots {
            for chunk in slots.chunks(SLOTS_AT_ONCE) {
                // An account has one code in a call.
                let is_there = waiting.last().is_some_and(|(held, _)| *held == account);
                if is_there || (count.saturating_add(chunk.len()) > SLOTS && count > 0) {
                    parts.push(of_slots(&std::mem::take(&mut waiting))?);
                    count = 0;
                }
                count = count.saturating_add(chunk.len());
                waiting.push((account, chunk.to_vec()));
            }
        }
        if !waiting.is_empty() {
            parts.push(of_slots(&waiting)?);
        }
        let accounts: Vec<(Address, [Option<usize>; 2])> = accounts.into_iter().collect();
        for chunk in accounts.chunks(ACCOUNTS) {
            parts.push(of_accounts(chunk)?);
        }
        Ok(Self {
            count: keys.len(),
            parts,
            held: Mutex::default(),
        })
    }
}

impl Inquiry {
    /// The last answer.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The words that an answer to somebody who holds `held` comes to; `None` when it is none to this.
    pub(super) fn take(&self, held: &Held, outputs: &[Bytes]) -> Option<Vec<U256>> {
        let mut given = held.clone();
        given.words.resize(self.count, U256::ZERO);
        for (number, (part, output)) in self.parts.iter().zip(outputs).enumerate() {
            part.take(number, output, &mut given)?;
        }
        let words = given.words.clone();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(given);
        Some(words)
    }
}

/// The request for storage words of contracts; no contract is named twice.
fn of_slots(contracts: &[(Address, Vec<(usize, U256)>)]) -> Result<Part, serde_json::Error> {
    let mut overrides = Map::new();
    for (account, slots) in contracts {
        let reader = storage_code(slots.iter().map(|(_, slot)| *slot));
        overrides.insert(account.to_string(), json!({ "code": Bytes::from(reader) }));
    }
    overrides.insert(
        aggregate::AT.to_string(),
        json!({ "code": Bytes::from(aggregate::code()) }),
    );
    let contracts = contracts.iter().map(|(contract, slots)| Slots {
        contract: *contract,
        positions: slots.iter().map(|(at, _)| *at).collect(),
    });
    Part::of(overrides, Shape::Slots(contracts.collect()))
}

/// The request for code hashes and balances.
fn of_accounts(accounts: &[(Address, [Option<usize>; 2])]) -> Result<Part, serde_json::Error> {
    let data: Vec<u8> = accounts.iter().flat_map(|(account, _)| account.into_word().0).collect();
    let mut overrides = Map::new();
    overrides.insert(
        aggregate::AT.to_string(),
        json!({ "code": Bytes::from(account_code()) }),
    );
    let positions = accounts.iter().map(|(_, positions)| *positions).collect();
    Part::of(overrides, Shape::Accounts(data.into(), positions))
}

impl Part {
    /// Whether it asks for storage, of which there is much.
    pub(super) fn is_storage(&self) -> bool {
        matches!(self.shape, Shape::Slots(_))
    }

    fn of(overrides: Map<String, Value>, shape: Shape) -> Result<Self, serde_json::Error> {
        Ok(Self {
            overrides: to_raw_value(&overrides)?,
            shape,
        })
    }

    /// The call of part number `number`, to somebody who holds `held`.
    pub(super) fn call(&self, number: usize, held: &Held) -> Call {
        let input = match &self.shape {
            Shape::Slots(contracts) => {
                let mut data = Vec::new();
                for (at, slots) in contracts.iter().enumerate() {
                    let count = u32::try_from(slots.positions.len()).unwrap_or(u32::MAX);
                    let gas = count.saturating_mul(SLOT_GAS).saturating_add(CALL_GAS);
                    let digest = held.digests.get(&(number, at)).copied().unwrap_or_default();
                    // A digest always fits.
                    let _ = aggregate::add(&mut data, slots.contract, gas, digest.as_slice());
                }
                data.into()
            }
            Shape::Accounts(data, _) => data.clone(),
        };
        Call {
            to: aggregate::AT,
            input,
        }
    }

    /// Puts the words of an answer to their places in `given`, where those of the last answer still are; `None` when it is not
    /// an answer to this.
    fn take(&self, number: usize, output: &Bytes, given: &mut Held) -> Option<()> {
        match &self.shape {
            Shape::Slots(contracts) => {
                let answers = aggregate::answers(output, contracts.len())?;
                for (at, (slots, answer)) in contracts.iter().zip(answers).enumerate() {
                    let Ok(Answer::Output(told)) = answer else { return None };
                    let (digest, words) = told.split_at_checked(32)?;
                    let digest = B256::try_from(digest).ok()?;
                    let (found, rest) = words.as_chunks::<32>();
                    if found.is_empty() && given.digests.get(&(number, at)) == Some(&digest) {
                        continue;
                    }
                    if found.len() != slots.positions.len() || !rest.is_empty() || keccak256(words) != digest {
                        return None;
                    }
                    for (position, word) in slots.positions.iter().zip(found) {
                        *given.words.get_mut(*position)? = U256::from_be_bytes(*word);
                    }
                    given.digests.insert((number, at), digest);
                }
            }
            Shape::Accounts(_, accounts) => {
                let (found, rest) = output.as_chunks::<64>();
                if found.len() != accounts.len() || !rest.is_empty() {
                    return None;
                }
                for (positions, pair) in accounts.iter().zip(found) {
                    let (halves, _) = pair.as_chunks::<32>();
                    for (at, word) in positions.iter().zip(halves) {
                        if let Some(at) = at {
                            *given.words.get_mut(*at)? = U256::from_be_bytes(*word);
                        }
                    }
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn answer(words: &[U256], digest: B256, is_same: bool) -> Bytes {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
        let told = if is_same {
            digest.to_vec()
        } else {
            [digest.as_slice(), &words].concat()
        };
        let length = u32::try_from(told.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &told].concat().into()
    }

    fn digest(words: &[U256]) -> B256 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
        keccak256(bytes)
    }

    #[test]
    fn nothing_is_taken_for_an_answer_but_words_and_their_digest() {
        let keys = [1, 2].map(|slot| Key::Slot(Address::repeat_byte(1), U256::from(slot)));
        let inquiry = Inquiry::of(&keys).unwrap();
        let words = [U256::from(7), U256::MAX];
        let first = inquiry.held();
        // What was never told cannot be the same again.
        assert_eq!(inquiry.take(&first, &[answer(&words, digest(&words), true)]), None);
        assert_eq!(inquiry.take(&first, &[answer(&words, B256::ZERO, false)]), None);
        assert_eq!(
            inquiry.take(&first, &[answer(&words[..1], digest(&words[..1]), false)]),
            None
        );
        assert_eq!(inquiry.take(&first, &[Bytes::new()]), None);
        assert_eq!(
            inquiry.take(&first, &[answer(&words, digest(&words), false)]),
            Some(words.to_vec())
        );
        let second = inquiry.held();
        assert_eq!(
            inquiry.take(&second, &[answer(&[], digest(&words), true)]),
            Some(words.to_vec())
        );
        assert_eq!(inquiry.take(&second, &[answer(&[], B256::repeat_byte(1), true)]), None);
        // Who held nothing when the block was asked for is not told in short.
        assert_eq!(inquiry.take(&first, &[answer(&[], digest(&words), true)]), None);
    }
}
