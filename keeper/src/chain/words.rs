//! Words of the state, as many as are wanted, in a request or a few: where a contract lies, a few instructions are put for the time of
//! an `eth_call` that hand back its storage. Nobody's code runs, nothing is interpreted: what comes back is the state itself.
//! Of a contract whose words are all what they were at the last answer, only their digest comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::client::{BatchRequest, Waiter};
use alloy::transports::TransportResult;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::batch::refused;
use super::rpc::Rpc;
use super::{Answer, RpcError, aggregate};

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

/// What is wrong with a node whose answer is none to what was asked; such as an empty one, which is what the called address answers without its code.
const NO_OVERRIDES: &str = "the node does not take state overrides as they are meant";

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
    parts: Vec<Part>,
    /// What the last answer was. Blocks may be asked for in any order, and several at a time: whatever is held here only saves
    /// the way of words that are the same again.
    held: Mutex<Arc<Held>>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
struct Held {
    /// As many as were asked for; none before the first answer.
    words: Vec<U256>,
    /// Of each contract's words, by part and position in it.
    digests: BTreeMap<(usize, usize), B256>,
}

/// One `eth_call`.
#[derive(Debug)]
struct Part {
    overrides: Box<RawValue>,
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
struct Call {
    to: Address,
    input: Bytes,
}

#[derive(Debug, Clone, Serialize)]
struct At {
    #[serde(rename = "blockHash")]
    block: B256,
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
    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The words that an answer to somebody who holds `held` comes to; `None` when it is none to this.
    fn take(&self, held: &Held, outputs: &[Bytes]) -> Option<Vec<U256>> {
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
    fn of(overrides: Map<String, Value>, shape: Shape) -> Result<Self, serde_json::Error> {
        Ok(Self {
            overrides: to_raw_value(&overrides)?,
            shape,
        })
    }

    /// The call of part number `number`, to somebody who holds `held`.
    fn call(&self, number: usize, held: &Held) -> Call {
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

impl Rpc {
    /// The words of an inquiry on the state of a block, in the order of its keys, all asked for at the same time; the inner error says why the
    /// node gives none.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all.
    pub async fn words(&self, block: B256, inquiry: &Inquiry) -> Result<Result<Vec<U256>, String>, RpcError> {
        if inquiry.parts.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let held = inquiry.held();
        let last_answer: &Held = &held;
        // Storage in several requests, on which a node works at a time; on those of a batch it works one after the other. Code hashes and
        // balances, which are few, go with the last.
        let slots = inquiry
            .parts
            .iter()
            .filter(|part| matches!(part.shape, Shape::Slots(_)));
        let (alone, last) = inquiry.parts.split_at(slots.count().saturating_sub(1));
        let requests = alone.chunks(1).chain([last]).scan(0_usize, |next, parts| {
            let first = *next;
            *next = next.saturating_add(parts.len());
            Some((first, parts))
        });
        let parts = requests.map(|(first, parts)| {
            self.ask_past_refusals("a batch", move |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(parts.len());
                for (number, part) in (first..).zip(parts) {
                    let params = (part.call(number, last_answer), At { block }, &part.overrides);
                    waiters.push(batch.add_call::<_, Bytes>("eth_call", &params)?);
                }
                batch.send().await?;
                let outputs = outputs(waiters).await?;
                match outputs.iter().any(|output| output.is_empty()) {
                    true => Err(refused(NO_OVERRIDES)),
                    false => Ok(outputs),
                }
            })
        });
        let answers = unless_refused(futures::future::try_join_all(parts).await)?;
        let answers = answers.map(|answers| answers.concat());
        Ok(answers.and_then(|outputs| inquiry.take(&held, &outputs).ok_or_else(|| NO_OVERRIDES.to_owned())))
    }
}

impl Rpc {
    /// The code of accounts on the state of a block, in their order; the inner error says why the node gives none.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all.
    pub async fn codes(&self, block: B256, accounts: &[Address]) -> Result<Result<Vec<Bytes>, String>, RpcError> {
        const PER_BATCH: usize = 100;
        let parts = accounts.chunks(PER_BATCH).map(|part| {
            self.ask_past_refusals("a batch", move |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(part.len());
                for account in part {
                    waiters.push(batch.add_call::<_, Bytes>("eth_getCode", &(account, At { block }))?);
                }
                batch.send().await?;
                outputs(waiters).await
            })
        });
        let all = unless_refused(futures::future::try_join_all(parts).await)?;
        Ok(all.map(|all| all.concat()))
    }
}

/// What the requests of a batch answer, when none is refused.
async fn outputs(waiters: Vec<Waiter<Bytes>>) -> TransportResult<Vec<Bytes>> {
    let mut outputs = Vec::with_capacity(waiters.len());
    for waiter in waiters {
        outputs.push(waiter.await?);
    }
    Ok(outputs)
}

/// An answer, or why no endpoint gives one.
fn unless_refused<T>(answer: Result<T, RpcError>) -> Result<Result<T, String>, RpcError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(RpcError::Refused { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error),
    }
}

/// Answers the digest of the words of its storage at `slots`, and the words after it unless the calldata is that digest.
fn storage_code(slots: impl Iterator<Item = U256>) -> Vec<u8> {
    /// Length of the instructions; behind them stand the places of the words.
    const PLACES: u8 = 63;
    // push1 PLACES, dup1, codesize, sub; dup1, swap2, push1 32, codecopy(32, PLACES, their length)
    let mut code = vec![0x60, PLACES, 0x80, 0x38, 0x03, 0x80, 0x91, 0x60, 0x20, 0x39];
    // push1 32, add: the end; push1 32: the position
    code.extend([0x60, 0x20, 0x01, 0x60, 0x20]);
    // jumpdest (15); dup2, dup2, lt, iszero, push1 34, jumpi
    code.extend([0x5b, 0x81, 0x81, 0x10, 0x15, 0x60, 34, 0x57]);
    // dup1, mload, sload, dup2, mstore: the word in the place of its place
    code.extend([0x80, 0x51, 0x54, 0x81, 0x52]);
    // push1 32, add, push1 15, jump
    code.extend([0x60, 0x20, 0x01, 0x60, 15, 0x56]);
    // jumpdest (34); pop; push1 32, dup2, sub, push1 32, keccak256
    code.extend([0x5b, 0x50, 0x60, 0x20, 0x81, 0x03, 0x60, 0x20, 0x20]);
    // dup1, push1 0, mstore; push1 0, calldataload, eq, push1 57, jumpi
    code.extend([0x80, 0x60, 0x00, 0x52, 0x60, 0x00, 0x35, 0x14, 0x60, 57, 0x57]);
    // return(0, end)
    code.extend([0x60, 0x00, 0xf3]);
    // jumpdest (57); return(0, 32)
    code.extend([0x5b, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    code.extend(slots.flat_map(|slot| slot.to_be_bytes::<32>()));
    code
}

/// Answers code hash and balance of the accounts that the calldata names.
fn account_code() -> Vec<u8> {
    // push1 0: the position; jumpdest (2); calldatasize, dup2, lt, iszero, push1 34, jumpi
    let mut code = vec![0x60, 0x00, 0x5b, 0x36, 0x81, 0x10, 0x15, 0x60, 34, 0x57];
    // dup1, calldataload; dup1, extcodehash, dup3, push1 1, shl, mstore: the hash at twice the position
    code.extend([0x80, 0x35, 0x80, 0x3f, 0x82, 0x60, 0x01, 0x1b, 0x52]);
    // balance, dup2, push1 1, shl, push1 32, add, mstore: the balance after it
    code.extend([0x31, 0x81, 0x60, 0x01, 0x1b, 0x60, 0x20, 0x01, 0x52]);
    // push1 32, add, push1 2, jump
    code.extend([0x60, 0x20, 0x01, 0x60, 0x02, 0x56]);
    // jumpdest (34); return(0, 2 * position)
    code.extend([0x5b, 0x60, 0x01, 0x1b, 0x60, 0x00, 0xf3]);
    code
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::respond::common::Anvil;
    use alloy::providers::DynProvider;

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

    #[tokio::test]
    async fn an_unchanged_contract_answers_its_digest_alone() {
        let anvil = Anvil::start(&[]).await;
        let contract = Address::repeat_byte(0x77);
        let slot = B256::left_padding_from(&[2]);
        anvil
            .rpc("anvil_setStorageAt", json!([contract, slot, B256::repeat_byte(7)]))
            .await;
        anvil.rpc("evm_mine", json!([])).await;
        let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), std::time::Duration::from_secs(5)).unwrap();
        let block = rpc.latest().await.unwrap().hash;
        let keys = [1, 2, 3].map(|slot| Key::Slot(contract, U256::from(slot)));
        let inquiry = Inquiry::of(&keys).unwrap();
        let length = async |held: &Held| {
            let part = &inquiry.parts[0];
            let call = part.call(0, held);
            let overrides = &part.overrides;
            let ask = |p: DynProvider| {
                let params = (call.clone(), At { block }, overrides.clone());
                async move { p.raw_request::<_, Bytes>("eth_call".into(), params).await }
            };
            rpc.ask("eth_call", ask).await.unwrap().len()
        };
        let told = rpc.words(block, &inquiry).await.unwrap().unwrap();
        assert_eq!(told, [U256::ZERO, U256::from_be_bytes([7; 32]), U256::ZERO]);
        assert_eq!(length(&Held::default()).await, 4 + 32 + 3 * 32);
        assert_eq!(length(&inquiry.held()).await, 4 + 32);
        assert_eq!(rpc.words(block, &inquiry).await.unwrap().unwrap(), told);
        // What has changed is told again, in full.
        anvil
            .rpc("anvil_setStorageAt", json!([contract, slot, B256::repeat_byte(8)]))
            .await;
        anvil.rpc("evm_mine", json!([])).await;
        let next = rpc.latest().await.unwrap().hash;
        assert_eq!(
            rpc.words(next, &inquiry).await.unwrap().unwrap()[1],
            U256::from_be_bytes([8; 32])
        );
    }
}
