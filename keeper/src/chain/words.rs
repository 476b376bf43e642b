//! Words of the state, as many as are wanted, in one request: where a contract lies, a few instructions are put for the time of
//! an `eth_call` that hand back its storage. Nobody's code runs, nothing is interpreted: what comes back is the state itself.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::client::{BatchRequest, Waiter};
use alloy::transports::{TransportError, TransportResult};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::rpc::{Rpc, is_busy};
use super::{Answer, RpcError, aggregate};

/// Storage words per `eth_call`: their gas stays far below what nodes give one.
const SLOTS: usize = 3_000;
/// Accounts per `eth_call`.
const ACCOUNTS: usize = 1_000;
/// Storage words that one contract is asked for at once: its calldata must not take more than 65,535 bytes.
const SLOTS_AT_ONCE: usize = 2_000;
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

/// Words that are asked for block after block: the requests are written once.
#[derive(Debug, Default)]
pub struct Inquiry {
    count: usize,
    parts: Vec<Part>,
}

/// One `eth_call`.
#[derive(Debug)]
struct Part {
    call: Box<RawValue>,
    overrides: Box<RawValue>,
    shape: Shape,
}

/// How the answer is to be taken apart: positions of the words among those that were asked for.
#[derive(Debug)]
enum Shape {
    /// By contract.
    Slots(Vec<Vec<usize>>),
    /// Code hash and balance of each account, as far as they were asked for.
    Accounts(Vec<[Option<usize>; 2]>),
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
                if count.saturating_add(chunk.len()) > SLOTS && count > 0 {
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
        })
    }
}

fn of_slots(contracts: &[(Address, Vec<(usize, U256)>)]) -> Result<Part, serde_json::Error> {
    let mut data = Vec::new();
    let mut overrides = Map::new();
    let reader = json!({ "code": Bytes::from(storage_code()) });
    for (account, slots) in contracts {
        let input: Vec<u8> = slots.iter().flat_map(|(_, slot)| slot.to_be_bytes::<32>()).collect();
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let gas = count.saturating_mul(SLOT_GAS).saturating_add(CALL_GAS);
        // At most SLOTS_AT_ONCE words, which fit.
        let _ = aggregate::add(&mut data, *account, gas, &input);
        overrides.insert(account.to_string(), reader.clone());
    }
    overrides.insert(
        aggregate::AT.to_string(),
        json!({ "code": Bytes::from(aggregate::code()) }),
    );
    let positions = contracts
        .iter()
        .map(|(_, slots)| slots.iter().map(|(at, _)| *at).collect())
        .collect();
    Part::of(data, overrides, Shape::Slots(positions))
}

fn of_accounts(accounts: &[(Address, [Option<usize>; 2])]) -> Result<Part, serde_json::Error> {
    let data = accounts.iter().flat_map(|(account, _)| account.into_word().0).collect();
    let mut overrides = Map::new();
    overrides.insert(
        aggregate::AT.to_string(),
        json!({ "code": Bytes::from(account_code()) }),
    );
    let positions = accounts.iter().map(|(_, positions)| *positions).collect();
    Part::of(data, overrides, Shape::Accounts(positions))
}

impl Part {
    fn of(data: Vec<u8>, overrides: Map<String, Value>, shape: Shape) -> Result<Self, serde_json::Error> {
        Ok(Self {
            call: to_raw_value(&json!({ "to": aggregate::AT, "input": Bytes::from(data) }))?,
            overrides: to_raw_value(&overrides)?,
            shape,
        })
    }

    /// Puts the words of an answer in their places; `None` when it is not what was asked for.
    fn take(&self, output: &Bytes, words: &mut [Option<U256>]) -> Option<()> {
        match &self.shape {
            Shape::Slots(contracts) => {
                let answers = aggregate::answers(output, contracts.len())?;
                for (positions, answer) in contracts.iter().zip(answers) {
                    let Ok(Answer::Output(held)) = answer else { return None };
                    let (found, rest) = held.as_chunks::<32>();
                    if found.len() != positions.len() || !rest.is_empty() {
                        return None;
                    }
                    for (at, word) in positions.iter().zip(found) {
                        *words.get_mut(*at)? = Some(U256::from_be_bytes(*word));
                    }
                }
            }
            Shape::Accounts(accounts) => {
                let (found, rest) = output.as_chunks::<64>();
                if found.len() != accounts.len() || !rest.is_empty() {
                    return None;
                }
                for (positions, pair) in accounts.iter().zip(found) {
                    let (halves, _) = pair.as_chunks::<32>();
                    for (at, word) in positions.iter().zip(halves) {
                        if let Some(at) = at {
                            *words.get_mut(*at)? = Some(U256::from_be_bytes(*word));
                        }
                    }
                }
            }
        }
        Some(())
    }
}

impl Rpc {
    /// The words of an inquiry on the state of a block, in the order of its keys, in one round trip; the inner error says why the
    /// node gives none.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all.
    pub async fn words(&self, block: B256, inquiry: &Inquiry) -> Result<Result<Vec<U256>, String>, RpcError> {
        if inquiry.parts.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let answers = self
            .ask("a batch", |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(inquiry.parts.len());
                for part in &inquiry.parts {
                    let params = (&part.call, At { block }, &part.overrides);
                    waiters.push(batch.add_call::<_, Bytes>("eth_call", &params)?);
                }
                batch.send().await?;
                outputs(waiters).await
            })
            .await?;
        Ok(answers.and_then(|outputs| {
            let mut words = vec![None; inquiry.count];
            for (part, output) in inquiry.parts.iter().zip(&outputs) {
                part.take(output, &mut words)
                    .ok_or_else(|| "the node does not take state overrides as they are meant".to_owned())?;
            }
            let all: Option<Vec<U256>> = words.into_iter().collect();
            all.ok_or_else(|| "a word was not answered".to_owned())
        }))
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
            self.ask("a batch", move |provider| async move {
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
        let parts = futures::future::try_join_all(parts).await?;
        let all: Result<Vec<Vec<Bytes>>, String> = parts.into_iter().collect();
        Ok(all.map(|all| all.concat()))
    }
}

/// What the requests of a batch answer; the inner error is the first refusal.
async fn outputs(waiters: Vec<Waiter<Bytes>>) -> TransportResult<Result<Vec<Bytes>, String>> {
    let mut outputs = Vec::with_capacity(waiters.len());
    for waiter in waiters {
        match waiter.await {
            Ok(output) => outputs.push(output),
            Err(TransportError::ErrorResp(payload)) if !is_busy(payload.code, &payload.message) => {
                return Ok(Err(payload.message.into_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(outputs))
}

/// A loop over the calldata's words. On the stack: the position. `body` is run at each word and leaves the stack as it was.
fn looped(body: &[u8], end: &[u8]) -> Vec<u8> {
    // push1 0; jumpdest (2); calldatasize, dup2, lt, iszero, push1 END, jumpi
    let mut code = vec![0x60, 0x00, 0x5b, 0x36, 0x81, 0x10, 0x15, 0x60, 0x00, 0x57];
    let end_at = 8;
    code.extend(body);
    // push1 32, add, push1 2, jump
    code.extend([0x60, 0x20, 0x01, 0x60, 0x02, 0x56]);
    let place = u8::try_from(code.len()).unwrap_or_default();
    if let Some(byte) = code.get_mut(end_at) {
        *byte = place;
    }
    code.push(0x5b);
    code.extend(end);
    code
}

/// Answers the words of its storage that the calldata names.
fn storage_code() -> Vec<u8> {
    // dup1, calldataload, sload, dup2, mstore
    let body = [0x80, 0x35, 0x54, 0x81, 0x52];
    // return(0, position)
    looped(&body, &[0x60, 0x00, 0xf3])
}

/// Answers code hash and balance of the accounts that the calldata names.
fn account_code() -> Vec<u8> {
    // dup1, calldataload; dup1, extcodehash, dup3, push1 1, shl, mstore: the hash at twice the position
    let mut body = vec![0x80, 0x35, 0x80, 0x3f, 0x82, 0x60, 0x01, 0x1b, 0x52];
    // balance, dup2, push1 1, shl, push1 32, add, mstore: the balance after it
    body.extend([0x31, 0x81, 0x60, 0x01, 0x1b, 0x60, 0x20, 0x01, 0x52]);
    // return(0, 2 * position)
    looped(&body, &[0x60, 0x01, 0x1b, 0x60, 0x00, 0xf3])
}
