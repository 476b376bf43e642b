//! Methods that give accounts with their place in the state trie.
//!
//! The node keeps no trie. Where it knows all accounts, on a fresh chain, it builds one for the answer; on a fork it knows only
//! what was touched, and passes on the proofs of the forked chain for what was not.

use std::{collections::BTreeMap, sync::Arc};

use alloy::{
    consensus::TrieAccount,
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256, keccak256, map::HashMap},
    rlp::encode,
    rpc::types::{EIP1186AccountProofResponse, EIP1186StorageProof, serde_helpers::JsonStorageKey},
};
use alloy_trie::{HashBuilder, KECCAK_EMPTY, Nibbles, proof::ProofRetainer};
use jsonrpsee::core::RegisterMethodError;
use revm::{DatabaseRef, state::AccountInfo};
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::data, args::quantity, method};
use crate::{
    fork::Past,
    node::{Node, Place},
    state::StateView,
};

/// The most slots that one request proves or reads.
const MAX_KEYS: usize = 1_024;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_getProof"], proof)?;
    method(module, &["eth_getAccount"], account)?;
    method(module, &["eth_getAccountInfo"], account_info)?;
    method(module, &["eth_getStorageValues"], storage_values)
}

/// A trie with the proofs of some of its keys.
struct Proved {
    root: B256,
    proofs: Vec<Vec<Bytes>>,
}

/// Builds the trie of `leaves`, which are by the hash of their key, and the proofs of `targets`, which are such hashes too.
fn trie(leaves: BTreeMap<B256, Vec<u8>>, targets: &[B256]) -> Proved {
    let paths: Vec<_> = targets.iter().map(Nibbles::unpack).collect();
    let retainer = ProofRetainer::from_iter(paths.iter().copied());
    let mut builder = HashBuilder::default().with_proof_retainer(retainer);
    for (hash, leaf) in leaves {
        builder.add_leaf(Nibbles::unpack(hash), &leaf);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let proof = |path| {
        nodes
            .matching_nodes_sorted(path)
            .into_iter()
            .map(|(_, node)| node)
            .collect()
    };
    Proved {
        root,
        proofs: paths.iter().map(proof).collect(),
    }
}

fn storage_trie<'s>(slots: impl IntoIterator<Item = (&'s U256, &'s U256)>, targets: &[B256]) -> Proved {
    let leaves = slots.into_iter();
    let leaves = leaves.map(|(slot, value)| (keccak256(B256::from(*slot)), encode(value)));
    trie(leaves.collect(), targets)
}

fn trie_account(info: &AccountInfo, storage_root: B256) -> TrieAccount {
    TrieAccount {
        nonce: info.nonce,
        balance: info.balance,
        storage_root,
        code_hash: if info.code_hash.is_zero() {
            KECCAK_EMPTY
        } else {
            info.code_hash
        },
    }
}

/// The proof of an account in the trie of all accounts, which only a fresh chain knows.
fn account_proof(state: &StateView, address: Address) -> Vec<Bytes> {
    let mut storage = state.own_storage();
    let accounts = state.own_accounts();
    let existing = accounts.into_iter().filter(|(_, info)| !info.is_empty());
    let leaves = existing.map(|(address, info)| {
        let slots = storage.remove(&address).unwrap_or_default();
        let root = storage_trie(slots.iter(), &[]).root;
        (keccak256(address), encode(trie_account(&info, root)))
    });
    let proved = trie(leaves.collect(), &[keccak256(address)]);
    proved.proofs.into_iter().next().unwrap_or_default()
}

/// Why the storage root of an account is not known.
fn unlisted(address: Address) -> RpcError {
    RpcError::Unsupported(format!(
        "not all slots of {address} are known: it has its storage from the forked chain, which cannot be listed, and was changed \
         here; ask for the proof at the fork block from the forked chain itself"
    ))
}

/// The storage root of an account, with the proofs of some slots.
fn proved_storage(
    view: &StateView,
    address: Address,
    keys: &[B256],
) -> Result<(Proved, BTreeMap<U256, U256>), RpcError> {
    let slots = match view.slots(address) {
        Some(slots) => slots,
        // An account without code has stored nothing.
        None if view.account(address)?.is_empty_code_hash() => BTreeMap::new(),
        None => return Err(unlisted(address)),
    };
    let targets: Vec<_> = keys.iter().map(keccak256).collect();
    Ok((storage_trie(&slots, &targets), slots))
}

/// Whether the account is at the block as the forked chain has it at the fork block.
fn as_forked(node: &Node, address: Address, state: &StateView) -> bool {
    node.fork.is_some() && !state.is_touched(&address)
}

/// Asks the forked chain about the fork block.
async fn at_fork(node: &Node, name: &str, args: Args, block_index: usize) -> Answer {
    let Some(fork) = &node.fork else {
        return Err(RpcError::NotFound("the block is not known".to_owned()));
    };
    let past = Past::up_to(fork, fork.tip.number);
    let mut params = args.into_values();
    params.resize(block_index, Value::Null);
    params.push(quantity(past.number()));
    past.request(name, params).await
}

async fn proof(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let asked: Vec<JsonStorageKey> = args.optional(1, "storage keys")?.unwrap_or_default();
    if asked.len() > MAX_KEYS {
        return Err(RpcError::Params(format!(
            "{} storage keys are too many; at most {MAX_KEYS}",
            asked.len()
        )));
    }
    let id: Option<BlockId> = args.optional_block(2)?;
    let (tip, view) = match node.place(id).await? {
        Place::Upstream(past) => return past.request_at("eth_getProof", args.into_values(), 2).await,
        Place::Local { tip, state } => (tip, state),
    };
    if as_forked(&node, address, &view) {
        let base = node.chain.read().base().number;
        if tip.number == base {
            return at_fork(&node, "eth_getProof", args, 2).await;
        }
        return Err(RpcError::Unsupported(format!(
            "{address} was not touched since the fork block {base}, whose state root alone it can be proved against: ask for its \
             proof at that block"
        )));
    }
    node.reading(move |node| {
        let info = view.account(address)?;
        let keys: Vec<B256> = asked.iter().map(JsonStorageKey::as_b256).collect();
        let (storage, slots) = proved_storage(&view, address, &keys)?;
        let proved = asked.into_iter().zip(storage.proofs).map(|(key, proof)| {
            let value = slots
                .get(&U256::from_be_bytes(key.as_b256().0))
                .copied()
                .unwrap_or_default();
            EIP1186StorageProof { key, value, proof }
        });
        let account = trie_account(&info, storage.root);
        let answer = EIP1186AccountProofResponse {
            address,
            balance: account.balance,
            code_hash: account.code_hash,
            nonce: account.nonce,
            storage_hash: account.storage_root,
            // On a fork nobody here knows the accounts beside it.
            account_proof: match node.fork {
                None => account_proof(&view, address),
                Some(_) => Vec::new(),
            },
            storage_proof: proved.collect(),
        };
        Ok(serde_json::to_value(answer)?)
    })
    .await
}

async fn account(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("eth_getAccount", args.into_values(), 1).await,
        Place::Local { state, .. } if as_forked(&node, address, &state) => {
            at_fork(&node, "eth_getAccount", args, 1).await
        }
        Place::Local { state: view, .. } => {
            node.reading(move |_| {
                let info = view.account(address)?;
                let (storage, _) = proved_storage(&view, address, &[])?;
                Ok(serde_json::to_value(trie_account(&info, storage.root))?)
            })
            .await
        }
    }
}

async fn account_info(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("eth_getAccountInfo", args.into_values(), 1).await,
        Place::Local { state: view, .. } => {
            node.reading(move |_| {
                let info = view.account(address)?;
                Ok(json!({
                    "balance": quantity(info.balance),
                    "nonce": quantity(info.nonce),
                    "code": data(view.code(address)?.original_byte_slice()),
                }))
            })
            .await
        }
    }
}

async fn storage_values(node: Arc<Node>, args: Args) -> Answer {
    let asked: HashMap<Address, Vec<B256>> = args.required(0, "slots by account")?;
    let count: usize = asked.values().map(Vec::len).sum();
    if count > MAX_KEYS {
        return Err(RpcError::Params(format!(
            "{count} slots are too many; at most {MAX_KEYS}"
        )));
    }
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(past) => past.request_at("eth_getStorageValues", args.into_values(), 1).await,
        Place::Local { state: view, .. } => {
            node.reading(move |_| {
                let mut answer = HashMap::<Address, Vec<B256>>::default();
                for (address, slots) in asked {
                    let values = slots
                        .iter()
                        .map(|slot| Ok(view.storage_ref(address, (*slot).into())?.into()));
                    answer.insert(address, values.collect::<Result<_, RpcError>>()?);
                }
                Ok(serde_json::to_value(answer)?)
            })
            .await
        }
    }
}
