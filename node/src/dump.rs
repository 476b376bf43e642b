//! The state of a chain as a file, in the format that anvil writes and reads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy::{
    consensus::{Header, ReceiptEnvelope, Transaction as _, TxEnvelope},
    primitives::{Address, B256, Bytes, U256},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use revm::state::AccountInfo;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::{
    chain::{Block, Receipt},
    historical::Snapshot,
    lineage::lineage,
    replace,
    rpc::number,
    state::raw_bytecode,
    transaction::SignedTransaction,
};

/// The most bytes of a dump once it is unpacked.
const MAX_DUMP: u64 = 4 << 30;

/// A dump cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    #[error("the state file {path} cannot be read: {reason}")]
    Read { path: PathBuf, reason: std::io::Error },
    #[error("the state file {path} cannot be written: {reason}")]
    Write { path: PathBuf, reason: std::io::Error },
    #[error("the state is no dump as anvil or this node writes it: {0}")]
    Format(String),
}

/// The accounts of a state.
pub(crate) type Accounts = BTreeMap<Address, DumpedAccount>;

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DumpedAccount {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code: Bytes,
    #[serde(default, deserialize_with = "words")]
    pub(crate) storage: BTreeMap<B256, B256>,
}

impl DumpedAccount {
    /// Balance, nonce and code, as the EVM takes them.
    pub(crate) fn info(&self) -> AccountInfo {
        AccountInfo {
            nonce: self.nonce,
            balance: self.balance,
            ..AccountInfo::default().with_code(raw_bytecode(self.code.clone()))
        }
    }

    /// Whether another one differs in nothing but its storage.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        (self.nonce, self.balance, &self.code) == (other.nonce, other.balance, &other.code)
    }
}

/// Slots and values of any length up to a word: older dumps leave out leading zeros.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<B256, B256>, D::Error> {
    let numbers = BTreeMap::<U256, U256>::deserialize(deserializer)?;
    Ok(numbers
        .into_iter()
        .map(|(slot, value)| (slot.into(), value.into()))
        .collect())
}

#[derive(Debug, Serialize, Deserialize)]
struct DumpedBlock {
    header: Header,
    #[serde(default)]
    transactions: Vec<Value>,
    #[serde(default)]
    ommers: Vec<Value>,
    #[serde(default)]
    withdrawals: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DumpedTransaction {
    info: Value,
    receipt: ReceiptEnvelope,
    block_hash: B256,
    block_number: u64,
}

/// A whole dump.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dump {
    /// The rules' view of the newest block, as revm has it.
    block: Option<Value>,
    pub(crate) accounts: Accounts,
    best_block_number: Option<Value>,
    #[serde(default)]
    blocks: Vec<DumpedBlock>,
    #[serde(default)]
    transactions: Vec<DumpedTransaction>,
    /// The states of older blocks, by the hash of the block.
    #[serde(default)]
    historical_states: Option<Vec<(B256, Snapshot)>>,
}

impl Dump {
    /// Of the newest state and the blocks of a chain, and of the states of older blocks where they are wanted.
    pub(crate) fn new(
        accounts: Accounts,
        blocks: &[Arc<Block>],
        historical_states: Option<Vec<(B256, Snapshot)>>,
    ) -> Result<Self, DumpError> {
        let newest = blocks.last();
        let (mut dumped, mut transactions) = (Vec::new(), Vec::new());
        for block in blocks {
            dumped.push(dump_block(block)?);
            for (index, (transaction, receipt)) in block.transactions.iter().zip(&block.receipts).enumerate() {
                transactions.push(DumpedTransaction {
                    info: info(index, transaction, receipt),
                    receipt: receipt.envelope.clone(),
                    block_hash: block.hash,
                    block_number: block.header.number,
                });
            }
        }
        Ok(Self {
            block: newest.map(|block| environment(&block.header)),
            accounts,
            best_block_number: newest.map(|block| json!(block.header.number)),
            blocks: dumped,
            transactions,
            historical_states,
        })
    }

    /// The accounts of the older blocks whose state is in the dump, by the number of the block.
    pub(crate) fn historical(&self, blocks: &[Arc<Block>]) -> Result<BTreeMap<u64, Accounts>, DumpError> {
        let numbers: HashMap<B256, u64> = blocks.iter().map(|block| (block.hash, block.header.number)).collect();
        let states = self.historical_states.iter().flatten();
        let known = states.filter_map(|(hash, state)| Some((*numbers.get(hash)?, state)));
        known.map(|(number, state)| Ok((number, state.accounts()?))).collect()
    }

    /// Number and time of the newest block, and the base fee of it.
    pub(crate) fn head(&self) -> Option<(u64, u64)> {
        let field = |value: &Value| number(value).and_then(|number| u64::try_from(number).ok());
        let environment = self.block.as_ref();
        let newest = self
            .blocks
            .iter()
            .map(|block| &block.header)
            .max_by_key(|header| header.number);
        let best = self.best_block_number.as_ref().and_then(field);
        let best = best
            .or_else(|| environment?.get("number").and_then(field))
            .or(newest.map(|header| header.number))?;
        let time = environment
            .and_then(|environment| environment.get("timestamp").and_then(field))
            .or(newest.map(|header| header.timestamp))?;
        Some((best, time))
    }

    /// The blocks that lead to the best one, oldest first. `l1_number` tells the number of the layer below.
    pub(crate) fn blocks(&self, l1_number: impl Fn(&Header) -> u64) -> Result<Vec<Block>, DumpError> {
        let headers = self.blocks.iter().map(|block| &block.header);
        let headers: Vec<(B256, &Header)> = headers.map(|header| (header.hash_slow(), header)).collect();
        let chain = lineage(&headers, self.head().map(|(number, _)| number))?;
        let mut others: HashSet<B256> = headers.iter().map(|(hash, _)| *hash).collect();
        let mut dumped = Vec::with_capacity(chain.len());
        for index in chain {
            if let (Some((hash, _)), Some(block)) = (headers.get(index), self.blocks.get(index)) {
                others.remove(hash);
                dumped.push((*hash, block));
            }
        }
        if !others.is_empty() {
            tracing::info!(
                blocks = others.len(),
                "the dump holds blocks that are no part of its chain: they are left out"
            );
        }
        let transactions = || {
            let all = self.transactions.iter();
            all.filter(|transaction| !others.contains(&transaction.block_hash))
        };
        let known: BTreeMap<B256, &DumpedTransaction> = transactions()
            .filter_map(|transaction| Some((hash_of(&transaction.info)?, transaction)))
            .collect();
        // Impersonated transactions have another hash than their encoding: they are found by their place.
        let placed: BTreeMap<(u64, u64), &DumpedTransaction> = transactions()
            .filter_map(|transaction| {
                let index = transaction.info.get("transaction_index")?.as_u64()?;
                Some(((transaction.block_number, index), transaction))
            })
            .collect();
        let mut blocks = Vec::with_capacity(dumped.len());
        for (hash, dumped) in dumped {
            let mut block = Block {
                hash,
                l1_number: l1_number(&dumped.header),
                header: dumped.header.clone(),
                transactions: Vec::new(),
                receipts: Vec::new(),
            };
            let (mut logs, mut gas) = (0u64, 0u64);
            for (index, transaction) in (0u64..).zip(&dumped.transactions) {
                let (mut envelope, impersonated) = parse(transaction)?;
                let mined = placed
                    .get(&(block.header.number, index))
                    .or_else(|| known.get(envelope.tx_hash()))
                    .ok_or_else(|| DumpError::Format(format!("transaction {} has no receipt", envelope.tx_hash())))?;
                let sender = impersonated
                    .or_else(|| address(&mined.info, "from"))
                    .ok_or_else(|| DumpError::Format(format!("transaction {} has no sender", envelope.tx_hash())))?;
                if let Some(hash) = hash_of(&mined.info) {
                    envelope = crate::transaction::with_hash(envelope, hash);
                }
                let cumulative = mined.receipt.cumulative_gas_used();
                block.receipts.push(Receipt {
                    gas_used: cumulative.saturating_sub(gas),
                    effective_gas_price: price(&mined.info)
                        .unwrap_or_else(|| envelope.effective_gas_price(block.header.base_fee_per_gas)),
                    created: address(&mined.info, "contract_address"),
                    first_log: logs,
                    envelope: mined.receipt.clone(),
                });
                gas = cumulative;
                logs = logs.saturating_add(u64::try_from(mined.receipt.logs().len()).unwrap_or_default());
                block
                    .transactions
                    .push(Arc::new(SignedTransaction { envelope, sender }));
            }
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Reads a dump: JSON, packed with gzip or not.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DumpError> {
        let format = |error: String| DumpError::Format(error);
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return serde_json::from_slice(bytes).map_err(|error| format(error.to_string()));
        }
        let mut text = Vec::new();
        let mut unpacked = GzDecoder::new(bytes).take(MAX_DUMP);
        unpacked
            .read_to_end(&mut text)
            .map_err(|error| format(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| format(error.to_string()))
    }

    /// As `anvil_dumpState` answers it: JSON packed with gzip.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DumpError> {
        let text = serde_json::to_vec(self).map_err(|error| DumpError::Format(error.to_string()))?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = encoder.write_all(&text).and_then(|()| encoder.finish());
        packed.map_err(|error| DumpError::Format(error.to_string()))
    }

    /// Reads the file that a setting names.
    pub(crate) fn read(path: &Path) -> Result<Self, DumpError> {
        let path = file(path);
        let bytes = std::fs::read(&path).map_err(|reason| DumpError::Read {
            path: path.clone(),
            reason,
        })?;
        Self::decode(&bytes).map_err(|error| match error {
            DumpError::Format(reason) => DumpError::Format(format!("{}: {reason}", path.display())),
            other => other,
        })
    }

    /// Writes the file that a setting names, whole or not at all: whoever is killed while writing leaves the old one.
    pub(crate) fn write(&self, path: &Path) -> Result<(), DumpError> {
        let path = file(path);
        let fail = |reason| DumpError::Write {
            path: path.clone(),
            reason,
        };
        let text = serde_json::to_vec(self).map_err(|error| DumpError::Format(error.to_string()))?;
        replace::write(&path, &text).map_err(fail)
    }
}

/// A folder means `state.json` in it.
pub(crate) fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("state.json")
    } else {
        path.to_path_buf()
    }
}

fn dump_block(block: &Block) -> Result<DumpedBlock, DumpError> {
    let transactions = block.transactions.iter().map(|transaction| {
        let envelope = serde_json::to_value(&transaction.envelope);
        let envelope = envelope.map_err(|error| DumpError::Format(error.to_string()))?;
        let impersonated = transaction.is_impersonated().then_some(transaction.sender);
        Ok(json!({ "transaction": envelope, "impersonated_sender": impersonated }))
    });
    Ok(DumpedBlock {
        header: block.header.clone(),
        transactions: transactions.collect::<Result<_, DumpError>>()?,
        ommers: Vec::new(),
        withdrawals: None,
    })
}

/// What anvil keeps of a transaction besides its receipt. Traces are not kept here: they are made anew when asked for.
fn info(index: usize, transaction: &SignedTransaction, receipt: &Receipt) -> Value {
    json!({
        "transaction_hash": transaction.hash(),
        "transaction_index": index,
        "from": transaction.sender,
        "to": transaction.envelope.to(),
        "contract_address": receipt.created,
        "traces": [],
        "exit": if receipt.envelope.status() { "Stop" } else { "Revert" },
        "out": Value::Null,
        "nonce": transaction.nonce(),
        "gas_used": receipt.gas_used,
        "effective_gas_price": U256::from(receipt.effective_gas_price),
    })
}

fn environment(header: &Header) -> Value {
    json!({
        "number": U256::from(header.number),
        "beneficiary": header.beneficiary,
        "timestamp": U256::from(header.timestamp),
        "gas_limit": header.gas_limit,
        "basefee": header.base_fee_per_gas.unwrap_or_default(),
        "difficulty": U256::ZERO,
        "prevrandao": header.mix_hash,
        "blob_excess_gas_and_price": { "excess_blob_gas": 0, "blob_gasprice": 1 },
        "slot_num": 0,
    })
}

/// What was paid per gas, where this node wrote the dump: in anvil's it follows from the transaction.
fn price(info: &Value) -> Option<u128> {
    number(info.get("effective_gas_price")?).and_then(|price| u128::try_from(price).ok())
}

fn hash_of(info: &Value) -> Option<B256> {
    info.get("transaction_hash")?.as_str()?.parse().ok()
}

fn address(info: &Value, field: &str) -> Option<Address> {
    info.get(field)?.as_str()?.parse().ok()
}

/// A transaction with the account in whose name it was sent without a key, in the forms that anvil has written.
fn parse(transaction: &Value) -> Result<(TxEnvelope, Option<Address>), DumpError> {
    let inner = transaction.get("transaction").unwrap_or(transaction);
    let envelope = serde_json::from_value(inner.clone())
        .map_err(|error| DumpError::Format(format!("a transaction is not understood: {error}")))?;
    Ok((envelope, address(transaction, "impersonated_sender")))
}
