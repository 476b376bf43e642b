//! Takes the chain out of the node, and puts one in: dumps, loaded dumps, blocks that are run again.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{B256, U256};
use revm::state::AccountInfo;

use crate::{
    chain::{Block, Chain},
    config::Print,
    dump::{Accounts, Dump, DumpError, DumpedAccount},
    fork::Replay,
    historical::Snapshot,
    node::Node,
    rpc::RpcError,
    seal,
    state::{ChangeSet, Version},
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
    /// The newest state as far as this node changed it, and its blocks; with `historical` the states of these as far as they can be
    /// read. The caller is the only one that changes the chain.
    pub(crate) fn dump(&self, historical: bool) -> Result<Dump, RpcError> {
        let head = self.store.read().head();
        let blocks = self.chain.read().blocks().to_vec();
        let states = historical.then(|| self.historical_states(&blocks)).transpose()?;
        Ok(Dump::new(self.accounts_at(head)?, &blocks, states)?)
    }

    /// The states of all blocks before the newest.
    fn historical_states(&self, blocks: &[Arc<Block>]) -> Result<Vec<(B256, Snapshot)>, RpcError> {
        let older = blocks.split_last().map_or(blocks, |(_, older)| older);
        let mut states = Vec::new();
        for block in older {
            let version = self.store.read().version_of_block(block.header.number);
            if let Some(version) = version {
                states.push((block.hash, Snapshot::new(self.accounts_at(version)?)?));
            }
        }
        Ok(states)
    }

    /// The accounts as this node had changed them by `version`.
    fn accounts_at(&self, version: Version) -> Result<Accounts, RpcError> {
        let (accounts, slots) = self.store.read().changed_by(version);
        let view = self.view(version);
        let mut dumped = Accounts::new();
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
        Ok(dumped)
    }

    /// Lays the accounts of a dump over the newest state and goes on from its newest block. On a fork the blocks are taken
    /// over only when they follow the forked one. The caller is the only one that changes the chain.
    pub(crate) fn load(&self, dump: &Dump) -> Result<(), RpcError> {
        let l1_number =
            |header: &alloy::consensus::Header| self.chain.read().l1_number(header.number, header.timestamp);
        let blocks: Vec<Arc<Block>> = dump.blocks(l1_number)?.into_iter().map(Arc::new).collect();
        let root = self.store.read().root();
        let mut chain = self.loaded_chain(dump, blocks, root);
        chain.mark_loaded();
        // Only of blocks that are part of the chain now: on a fork they may not be.
        let historical = dump.historical(chain.blocks())?;
        let tip = chain.tip().clone();
        {
            let mut store = self.store.write();
            store.forget_blocks();
            let (nothing, oldest) = (Accounts::new(), tip.number.saturating_sub(self.config.history));
            let mut before = &nothing;
            for (number, accounts) in historical.range(oldest..tip.number) {
                store.commit(*number, changes(before, accounts));
                before = accounts;
            }
            store.commit(tip.number, changes(before, &dump.accounts));
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
            (Some(fork), Some(_)) if following(&blocks, fork.tip.hash).next().is_some() => {
                let mut chain = Chain::forked(fork.tip.clone());
                following(&blocks, fork.tip.hash).for_each(|block| chain.push(block.clone()));
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
                Chain::fresh(seal::genesis(&tip, root))
            }
        }
    }

    /// Runs the first transactions of an upstream block in a block of this node with the same number, time and fees.
    pub(crate) fn replay(&self, replay: &Replay) -> Result<(), RpcError> {
        let mut next = replay.tip.clone();
        next.hash = B256::ZERO;
        next.gas_used = 0;
        let built = self.build_on(self.ground(), next, replay.transactions.clone(), Print::Nothing);
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

/// What makes the accounts `after` out of the accounts `before`; others are left alone.
fn changes(before: &Accounts, after: &Accounts) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for (address, account) in before {
        let kept = after.get(address);
        if kept.is_none() {
            changes.accounts.insert(*address, AccountInfo::default());
        }
        let gone = account
            .storage
            .keys()
            .filter(|slot| kept.is_none_or(|kept| !kept.storage.contains_key(*slot)));
        changes
            .storage
            .extend(gone.map(|slot| ((*address, U256::from_be_bytes(slot.0)), U256::ZERO)));
    }
    for (address, account) in after {
        let known = before.get(address);
        if known.is_none_or(|known| !known.is_alike(account)) {
            changes.accounts.insert(*address, account.info());
        }
        let set = account.storage.iter();
        let set = set.filter(|(slot, value)| known.is_none_or(|known| known.storage.get(*slot) != Some(*value)));
        changes.storage.extend(set.map(|(slot, value)| {
            let (slot, value) = (U256::from_be_bytes(slot.0), U256::from_be_bytes(value.0));
            ((*address, slot), value)
        }));
    }
    changes
}

/// The blocks after the one with this hash, which may be among them.
fn following(blocks: &[Arc<Block>], hash: B256) -> impl Iterator<Item = &Arc<Block>> {
    blocks.iter().skip_while(move |block| block.header.parent_hash != hash)
}
