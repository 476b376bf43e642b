//! The blocks that this node made, and where they start.

use std::{collections::HashMap, sync::Arc};

use alloy::{
    consensus::{Header, ReceiptEnvelope},
    eips::{calc_next_block_base_fee, eip1559::BaseFeeParams},
    primitives::{Address, B256},
};

use crate::transaction::SignedTransaction;

/// The base fee never falls below this, 0.1 gwei, as ArbGasInfo's minimum says, unless the chain starts with a lower one.
pub(crate) const MIN_BASE_FEE: u64 = 100_000_000;

/// Seconds between two blocks of the layer below, by which its number is carried on after a fork.
const L1_BLOCK_SECONDS: u64 = 12;

/// What calls and the next block need to know about a block, its own or the forked one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    /// Unix seconds.
    pub(crate) timestamp: u64,
    /// Wei per gas.
    pub(crate) base_fee: u64,
    pub(crate) gas_used: u64,
    pub(crate) gas_limit: u64,
    /// What the opcode NUMBER answers: the number of the block of the layer below, or the block's own on a chain without one.
    pub(crate) l1_number: u64,
    pub(crate) beneficiary: Address,
}

impl Tip {
    /// Base fee of the block after this one by EIP-1559, at least `least`, in wei per gas.
    pub(crate) fn next_base_fee(&self, least: u64) -> u64 {
        let fee = calc_next_block_base_fee(
            self.gas_used,
            self.gas_limit.max(1),
            self.base_fee,
            BaseFeeParams::ethereum(),
        );
        fee.max(least)
    }
}

/// Outcome of a transaction in a block.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) envelope: ReceiptEnvelope,
    pub(crate) gas_used: u64,
    /// Wei per gas.
    pub(crate) effective_gas_price: u128,
    pub(crate) created: Option<Address>,
    /// Index in the block of the transaction's first log.
    pub(crate) first_log: u64,
}

/// A block of this node.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) l1_number: u64,
    pub(crate) transactions: Vec<Arc<SignedTransaction>>,
    pub(crate) receipts: Vec<Receipt>,
}

impl Block {
    pub(crate) fn tip(&self) -> Tip {
        Tip {
            number: self.header.number,
            hash: self.hash,
            timestamp: self.header.timestamp,
            base_fee: self.header.base_fee_per_gas.unwrap_or_default(),
            gas_used: self.header.gas_used,
            gas_limit: self.header.gas_limit,
            l1_number: self.l1_number,
            beneficiary: self.header.beneficiary,
        }
    }
}

/// All blocks of this node, on top of the forked one.
#[derive(Debug)]
pub(crate) struct Chain {
    base: Tip,
    first: u64,
    blocks: Vec<Arc<Block>>,
    tip: Tip,
    by_hash: HashMap<B256, u64>,
    transactions: HashMap<B256, (u64, usize)>,
    /// The newest block that came out of a dump, if any did.
    loaded: Option<u64>,
}

impl Chain {
    /// A fork: local blocks follow `base`.
    pub(crate) fn forked(base: Tip) -> Self {
        let first = base.number.saturating_add(1);
        Self::empty(base, first)
    }

    /// A fresh chain that starts with `genesis`.
    pub(crate) fn fresh(genesis: Block) -> Self {
        let mut chain = Self::empty(genesis.tip(), genesis.header.number);
        chain.push(Arc::new(genesis));
        chain
    }

    /// A chain of blocks that were made before. They follow each other; without any the chain stays at block 0.
    pub(crate) fn loaded(blocks: Vec<Arc<Block>>) -> Self {
        let base = blocks.first().map(|block| block.tip()).unwrap_or_default();
        let mut chain = Self::empty(base.clone(), base.number);
        blocks.into_iter().for_each(|block| chain.push(block));
        chain
    }

    /// The blocks of this node, oldest first.
    pub(crate) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    fn empty(base: Tip, first: u64) -> Self {
        Self {
            tip: base.clone(),
            base,
            first,
            blocks: Vec::new(),
            by_hash: HashMap::new(),
            transactions: HashMap::new(),
            loaded: None,
        }
    }

    /// The newest block that came out of a dump, if any did.
    pub(crate) fn newest_loaded(&self) -> Option<u64> {
        self.loaded
    }

    /// Notes that the blocks so far came out of a dump.
    pub(crate) fn mark_loaded(&mut self) {
        self.loaded = Some(self.tip.number);
    }

    /// The forked block, or the genesis.
    pub(crate) fn base(&self) -> &Tip {
        &self.base
    }

    pub(crate) fn tip(&self) -> &Tip {
        &self.tip
    }

    pub(crate) fn push(&mut self, block: Arc<Block>) {
        let number = block.header.number;
        self.by_hash.insert(block.hash, number);
        for (index, transaction) in block.transactions.iter().enumerate() {
            self.transactions.insert(transaction.hash(), (number, index));
        }
        self.tip = block.tip();
        self.blocks.push(block);
    }

    /// Forgets transactions, receipts and logs of the block `number`; its header stays.
    pub(crate) fn forget_transactions(&mut self, number: u64) {
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        let Some(block) = index.and_then(|index| self.blocks.get_mut(index)) else {
            return;
        };
        for transaction in &block.transactions {
            self.transactions.remove(&transaction.hash());
        }
        *block = Arc::new(Block {
            transactions: Vec::new(),
            receipts: Vec::new(),
            ..Block::clone(block)
        });
    }

    /// Drops all blocks after `number`; answers them, oldest first.
    pub(crate) fn truncate(&mut self, number: u64) -> Vec<Arc<Block>> {
        let kept = usize::try_from(number.saturating_add(1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let dropped = self.blocks.split_off(kept.min(self.blocks.len()));
        for block in &dropped {
            self.by_hash.remove(&block.hash);
            for transaction in &block.transactions {
                self.transactions.remove(&transaction.hash());
            }
        }
        self.tip = self
            .blocks
            .last()
            .map_or_else(|| self.base.clone(), |block| block.tip());
        dropped
    }

    pub(crate) fn by_number(&self, number: u64) -> Option<Arc<Block>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.blocks.get(index).cloned()
    }

    /// The blocks of this node with numbers from `from` to `to`.
    pub(crate) fn range(&self, from: u64, to: u64) -> &[Arc<Block>] {
        let index = |number: u64| usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = index(to.saturating_add(1)).min(self.blocks.len());
        self.blocks.get(index(from)..end).unwrap_or_default()
    }

    pub(crate) fn by_hash(&self, hash: &B256) -> Option<Arc<Block>> {
        self.by_number(*self.by_hash.get(hash)?)
    }

    /// The block and index of a mined transaction.
    pub(crate) fn transaction(&self, hash: &B256) -> Option<(Arc<Block>, usize)> {
        let (number, index) = *self.transactions.get(hash)?;
        Some((self.by_number(number)?, index))
    }

    /// Tip data of a local block or of the forked one.
    pub(crate) fn tip_of(&self, number: u64) -> Option<Tip> {
        if number == self.base.number {
            return Some(self.base.clone());
        }
        self.by_number(number).map(|block| block.tip())
    }

    /// Number of a local block or of the forked one by hash.
    pub(crate) fn number_of(&self, hash: &B256) -> Option<u64> {
        if *hash == self.base.hash {
            return Some(self.base.number);
        }
        self.by_hash.get(hash).copied()
    }

    /// First number of a block of this node.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// What NUMBER answers in a block of this height and time.
    pub(crate) fn l1_number(&self, number: u64, timestamp: u64) -> u64 {
        if self.base.l1_number == self.base.number {
            return number;
        }
        let elapsed = timestamp.saturating_sub(self.base.timestamp);
        self.base.l1_number.saturating_add(elapsed / L1_BLOCK_SECONDS)
    }
}
