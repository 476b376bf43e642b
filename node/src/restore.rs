//! Takes the chain out of the node, and puts one in: dumps, loaded dumps, blocks that are run again.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256, U256};
use revm::{bytecode::Bytecode, state::AccountInfo};

use crate::{
    chain::{Block, Chain},
    dump::{Dump, DumpError, DumpedAccount},
    fork::Replay,
    node::Node,
    producer,
    rpc::RpcError,
    state::Overlay,
};

impl From<DumpError> for RpcError {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Format(_) => Self::Params(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl Node {
    /// The newest state as far as this node changed it, and its blocks. The caller is the only one that changes the chain.
    pub(crate) fn dump(&self) -> Result<Dump, RpcError> {
        let (accounts, slots) = self.store.read().newest();
        let view = self.head_view();
        let mut dumped: BTreeMap<Address, DumpedAccount> = BTreeMap::new();
        let owners = accounts
            .into_iter()
            .chain(slots.iter().map(|((address, _), _)| *address));
        for address in owners {
            if let std::collections::btree_map::Entry::Vacant(entry) = dumped.entry(address) {
                let info = view.account(address)?;
                entry.insert(DumpedAccount {
                    nonce: info.nonce,
                    balance: info.balance,
                    code: view.code(address)?.original_bytes(),
                    storage: BTreeMap::new(),
                });
            }
        }
        for ((address, slot), value) in slots {
            // On a fork a zero hides what lies below.
            if (!value.is_zero() || self.fork.is_some())
                && let Some(account) = dumped.get_mut(&address)
            {
                account.storage.insert(B256::from(slot), B256::from(value));
            }
        }
        let blocks = self.chain.read().blocks().to_vec();
        Ok(Dump::new(dumped, &blocks)?)
    }

    /// Lays the accounts of a dump over the newest state and goes on from its newest block. On a fork the blocks are taken
    /// over only when they follow the forked one. The caller is the only one that changes the chain.
    pub(crate) fn load(&self, dump: &Dump) -> Result<(), RpcError> {
        let mut overlay = Overlay::new(self.head_view());
        for (address, account) in &dump.accounts {
            let info = AccountInfo {
                nonce: account.nonce,
                balance: account.balance,
                ..AccountInfo::default().with_code(Bytecode::default())
            };
            overlay.set_account(*address, info);
            if !account.code.is_empty() {
                overlay.set_code(*address, account.code.clone())?;
            }
            for (slot, value) in &account.storage {
                overlay.set_slot(*address, U256::from_be_bytes(slot.0), U256::from_be_bytes(value.0));
            }
        }
        let l1_number =
            |header: &alloy::consensus::Header| self.chain.read().l1_number(header.number, header.timestamp);
        let blocks: Vec<Arc<Block>> = dump.blocks(l1_number)?.into_iter().map(Arc::new).collect();
        check_order(&blocks)?;
        let root = self.store.read().root();
        let chain = self.loaded_chain(dump, blocks, root);
        let tip = chain.tip().clone();
        {
            let mut store = self.store.write();
            store.replace(tip.number, overlay.into_changes());
            for block in chain.blocks() {
                store.set_block_hash(block.header.number, block.hash);
            }
            *self.chain.write() = chain;
        }
        self.snapshots.lock().taken.clear();
        self.pool.lock().clear();
        let mut clock = self.clock.lock();
        if clock.now() < tip.timestamp {
            clock.set(tip.timestamp);
        }
        Ok(())
    }

    fn loaded_chain(&self, dump: &Dump, blocks: Vec<Arc<Block>>, root: B256) -> Chain {
        let present = self.chain.read();
        match (&self.fork, blocks.first()) {
            (Some(fork), Some(first)) if first.header.parent_hash == fork.tip.hash => {
                let mut chain = Chain::forked(fork.tip.clone());
                blocks.into_iter().for_each(|block| chain.push(block));
                chain
            }
            (Some(fork), _) => {
                let mut chain = Chain::forked(fork.tip.clone());
                present.blocks().iter().for_each(|block| chain.push(block.clone()));
                chain
            }
            (None, Some(_)) => Chain::loaded(blocks),
            (None, None) => {
                // A dump without blocks still says how high the chain was.
                let mut tip = present.tip().clone();
                if let Some((number, timestamp)) = dump.head() {
                    (tip.number, tip.timestamp) = (number, timestamp);
                    tip.l1_number = present.l1_number(number, timestamp);
                }
                Chain::fresh(producer::genesis(&tip, root))
            }
        }
    }

    /// Runs the first transactions of an upstream block in a block of this node with the same number, time and fees.
    pub(crate) fn replay(&self, replay: &Replay) -> Result<(), RpcError> {
        let mut next = replay.tip.clone();
        next.hash = B256::ZERO;
        next.gas_used = 0;
        let built = self.build_of(&self.tip(), next, replay.transactions.clone(), false)?;
        if let Some(reason) = built.failure() {
            return Err(RpcError::Internal(format!(
                "the transactions before the one to start from cannot be run again: {reason}"
            )));
        }
        self.commit(built);
        let mut clock = self.clock.lock();
        clock.set(replay.tip.timestamp);
        Ok(())
    }
}

/// Blocks must follow each other.
fn check_order(blocks: &[Arc<Block>]) -> Result<(), DumpError> {
    for (block, next) in blocks.iter().zip(blocks.iter().skip(1)) {
        if block.header.number.checked_add(1) != Some(next.header.number) {
            return Err(DumpError::Format(format!(
                "block {} is followed by block {}",
                block.header.number, next.header.number
            )));
        }
    }
    Ok(())
}
