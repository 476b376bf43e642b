//! Versioned accounts and slots above the forked state.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy::primitives::{Address, B256, Keccak256, U256, map::HashMap as FastMap};
use revm::{bytecode::Bytecode, state::AccountInfo};

/// Hashes that are kept of blocks before the oldest whose state is: as many as the opcode BLOCKHASH reaches back.
const HASHES: u64 = 256;

/// Number of a state: it grows with every change and is never used twice, not even after a revert.
pub(crate) type Version = u64;

/// A slot of an account and its value.
pub(crate) type Slot = ((Address, U256), U256);

/// The values that one key had, oldest first.
#[derive(Debug)]
struct Versions<T>(Vec<(Version, T)>);

impl<T> Versions<T> {
    fn at(&self, version: Version) -> Option<&T> {
        let newer = self.0.partition_point(|(set_in, _)| *set_in <= version);
        newer
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .map(|(_, value)| value)
    }

    fn set(&mut self, version: Version, value: T) {
        match self.0.last_mut() {
            Some((last, current)) if *last == version => *current = value,
            _ => self.0.push((version, value)),
        }
    }

    /// Forgets what was set after `version`; false when nothing is left.
    fn truncate(&mut self, version: Version) -> bool {
        self.0
            .truncate(self.0.partition_point(|(set_in, _)| *set_in <= version));
        !self.0.is_empty()
    }

    /// Forgets what no version from `oldest` on can see.
    fn forget_before(&mut self, oldest: Version) {
        let newer = self.0.partition_point(|(set_in, _)| *set_in <= oldest);
        self.0.drain(..newer.saturating_sub(1));
    }
}

/// What one block or edit changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeSet {
    /// New balance, nonce and code. An empty account is one that is gone.
    pub(crate) accounts: FastMap<Address, AccountInfo>,
    /// New values of slots.
    pub(crate) storage: FastMap<(Address, U256), U256>,
    /// Accounts whose storage began anew: what the chain below has stored there is not to be seen.
    pub(crate) renewed: HashSet<Address>,
}

impl ChangeSet {
    /// A digest that binds the changes, whatever the order they are held in.
    fn digest(&self, hasher: &mut Keccak256) {
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| **address);
        for (address, info) in accounts {
            hasher.update(address);
            hasher.update(info.balance.to_be_bytes::<32>());
            hasher.update(info.nonce.to_be_bytes());
            hasher.update(info.code_hash);
        }
        let mut storage: Vec<_> = self.storage.iter().collect();
        storage.sort_unstable_by_key(|(key, _)| **key);
        for ((address, slot), value) in storage {
            hasher.update(address);
            hasher.update(slot.to_be_bytes::<32>());
            hasher.update(value.to_be_bytes::<32>());
        }
    }

    /// Commitment to a state with commitment `root` after these changes, so that blocks of different states have different hashes.
    pub(crate) fn root_after(&self, root: B256) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(root);
        self.digest(&mut hasher);
        hasher.finalize()
    }

    /// Whether nothing is changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.storage.is_empty() && self.renewed.is_empty()
    }

    /// Adds what was changed after this.
    pub(crate) fn extend(&mut self, newer: &Self) {
        if !newer.renewed.is_empty() {
            self.storage.retain(|(address, _), _| !newer.renewed.contains(address));
        }
        self.renewed.extend(&newer.renewed);
        self.accounts
            .extend(newer.accounts.iter().map(|(address, info)| (*address, info.clone())));
        self.storage.extend(&newer.storage);
    }
}

/// Which keys a version changed, to forget it again.
#[derive(Debug, Default)]
struct Touched {
    accounts: Vec<Address>,
    slots: Vec<(Address, U256)>,
}

/// All local changes, by version.
#[derive(Debug, Default)]
pub(crate) struct Store {
    accounts: FastMap<Address, Versions<AccountInfo>>,
    storage: FastMap<(Address, U256), Versions<U256>>,
    /// First version from which the storage below the account is not to be seen.
    renewed: HashMap<Address, Version>,
    codes: HashMap<B256, Bytecode>,
    touched: BTreeMap<Version, Touched>,
    /// State at the end of each block whose state can be read.
    blocks: BTreeMap<u64, Version>,
    /// Hashes of the local blocks, for the opcode.
    hashes: BTreeMap<u64, B256>,
    last: Version,
    head: Version,
    /// Commitment to the newest state: a hash chain over all changes, not a Merkle root.
    root: B256,
}

impl Store {
    /// Version of the newest state.
    pub(crate) fn head(&self) -> Version {
        self.head
    }

    /// Commitment to the newest state.
    pub(crate) fn root(&self) -> B256 {
        self.root
    }

    /// Sets the commitment that the first change builds on.
    pub(crate) fn set_root(&mut self, root: B256) {
        self.root = root;
    }

    /// Adds `changes` as the newest version, as the state of block `number`.
    pub(crate) fn commit(&mut self, number: u64, changes: ChangeSet) -> Version {
        self.last = self.last.saturating_add(1);
        let version = self.last;
        self.root = changes.root_after(self.root);
        let mut touched = Touched::default();
        for address in changes.renewed {
            self.renewed.entry(address).or_insert(version);
            self.clear_storage(address, version, &changes.storage, &mut touched);
        }
        for (address, info) in changes.accounts {
            if let Some(code) = info.code.as_ref().filter(|code| !code.is_empty()) {
                self.codes.entry(info.code_hash).or_insert_with(|| code.clone());
            }
            self.accounts
                .entry(address)
                .or_insert_with(|| Versions(Vec::new()))
                .set(version, info);
            touched.accounts.push(address);
        }
        for (key, value) in changes.storage {
            self.storage
                .entry(key)
                .or_insert_with(|| Versions(Vec::new()))
                .set(version, value);
            touched.slots.push(key);
        }
        self.touched.insert(version, touched);
        self.head = version;
        self.blocks.insert(number, version);
        version
    }

    /// Sets the local slots of a renewed account to zero unless the change set gives them a value.
    fn clear_storage(
        &mut self,
        address: Address,
        version: Version,
        kept: &FastMap<(Address, U256), U256>,
        touched: &mut Touched,
    ) {
        let slots = self
            .storage
            .iter_mut()
            .filter(|(key, _)| key.0 == address && !kept.contains_key(*key));
        for (key, versions) in slots {
            if versions.at(version).is_some_and(|value| !value.is_zero()) {
                versions.set(version, U256::ZERO);
                touched.slots.push(*key);
            }
        }
    }

    /// Notes the hash of a local block.
    pub(crate) fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.hashes.insert(number, hash);
    }

    /// Hash of a local block.
    pub(crate) fn block_hash(&self, number: u64) -> Option<B256> {
        self.hashes.get(&number).copied()
    }

    /// Version at the end of block `number`, unless its state was forgotten.
    pub(crate) fn version_of_block(&self, number: u64) -> Option<Version> {
        self.blocks.get(&number).copied()
    }

    /// Oldest block whose state can be read.
    pub(crate) fn oldest_block(&self) -> Option<u64> {
        self.blocks.keys().next().copied()
    }

    /// Account at `version` as far as local changes tell.
    pub(crate) fn account(&self, address: &Address, version: Version) -> Option<AccountInfo> {
        self.accounts.get(address)?.at(version).cloned()
    }

    /// Slot at `version` as far as local changes tell; zero when the account's storage began anew by then.
    pub(crate) fn slot(&self, address: Address, slot: U256, version: Version) -> Option<U256> {
        if let Some(value) = self
            .storage
            .get(&(address, slot))
            .and_then(|versions| versions.at(version))
        {
            return Some(*value);
        }
        self.renewed
            .get(&address)
            .filter(|since| **since <= version)
            .map(|_| U256::ZERO)
    }

    /// The slots of an account at `version` that were set locally and are not zero.
    pub(crate) fn slots_of(&self, address: Address, version: Version) -> BTreeMap<U256, U256> {
        let own = self.storage.iter().filter(|((owner, _), _)| *owner == address);
        own.filter_map(|((_, slot), versions)| Some((*slot, *versions.at(version)?)))
            .filter(|(_, value)| !value.is_zero())
            .collect()
    }

    /// Whether the storage of an account began anew by `version`, so that all its slots are known here.
    pub(crate) fn is_renewed(&self, address: &Address, version: Version) -> bool {
        self.renewed.get(address).is_some_and(|since| *since <= version)
    }

    /// The accounts at `version` that were set locally.
    pub(crate) fn accounts_at(&self, version: Version) -> Vec<(Address, AccountInfo)> {
        let known = self.accounts.iter();
        known
            .filter_map(|(address, versions)| Some((*address, versions.at(version)?.clone())))
            .collect()
    }

    /// The slots at `version` that were set locally and are not zero, by account.
    pub(crate) fn storage_at(&self, version: Version) -> HashMap<Address, Vec<(U256, U256)>> {
        let mut found: HashMap<Address, Vec<(U256, U256)>> = HashMap::new();
        for ((address, slot), versions) in &self.storage {
            if let Some(value) = versions.at(version).filter(|value| !value.is_zero()) {
                found.entry(*address).or_default().push((*slot, *value));
            }
        }
        found
    }

    /// Whether anything of an account was set locally by `version`.
    pub(crate) fn is_touched(&self, address: &Address, version: Version) -> bool {
        let account = self.accounts.get(address).and_then(|versions| versions.at(version));
        account.is_some()
            || self
                .storage
                .iter()
                .any(|((owner, _), versions)| owner == address && versions.at(version).is_some())
    }

    /// Code that was put in locally.
    pub(crate) fn code(&self, hash: &B256) -> Option<Bytecode> {
        self.codes.get(hash).cloned()
    }

    /// Goes back to `version`, the state of block `number` with commitment `root`, and forgets all that came after.
    pub(crate) fn revert(&mut self, number: u64, version: Version, root: B256) {
        self.root = root;
        for touched in self.touched.split_off(&version.saturating_add(1)).into_values() {
            for address in touched.accounts {
                if self
                    .accounts
                    .get_mut(&address)
                    .is_some_and(|versions| !versions.truncate(version))
                {
                    self.accounts.remove(&address);
                }
            }
            for key in touched.slots {
                if self
                    .storage
                    .get_mut(&key)
                    .is_some_and(|versions| !versions.truncate(version))
                {
                    self.storage.remove(&key);
                }
            }
        }
        self.renewed.retain(|_, since| *since <= version);
        self.blocks.split_off(&number);
        self.hashes.split_off(&number.saturating_add(1));
        self.blocks.insert(number, version);
        self.head = version;
    }

    /// Accounts and slots that were changed by `version`, with the slots as they are then.
    pub(crate) fn changed_by(&self, version: Version) -> (Vec<Address>, Vec<Slot>) {
        let accounts = self.accounts.iter();
        let accounts = accounts.filter(|(_, versions)| versions.at(version).is_some());
        let slots = self.storage.iter();
        let slots = slots.filter_map(|(key, versions)| Some((*key, *versions.at(version)?)));
        (accounts.map(|(address, _)| *address).collect(), slots.collect())
    }

    /// Lets no older state be read any more: what is committed next belongs to another chain.
    pub(crate) fn forget_blocks(&mut self) {
        self.blocks.clear();
        self.hashes.clear();
    }

    /// Forgets the states of blocks before `oldest`, but none that `pinned` or a later version needs.
    pub(crate) fn prune(&mut self, oldest: u64, pinned: Option<Version>) {
        let Some(keep) = self.blocks.range(oldest..).next().map(|(_, version)| *version) else {
            return;
        };
        let keep = pinned.map_or(keep, |pinned| pinned.min(keep));
        while let Some(entry) = self.blocks.first_entry()
            && *entry.get() < keep
        {
            self.hashes.remove(&entry.key().saturating_sub(HASHES));
            entry.remove();
        }
        while let Some(entry) = self.touched.first_entry()
            && *entry.key() <= keep
        {
            let touched = entry.remove();
            self.forget_before(keep, touched);
        }
    }

    fn forget_before(&mut self, oldest: Version, touched: Touched) {
        for address in touched.accounts {
            if let Some(versions) = self.accounts.get_mut(&address) {
                versions.forget_before(oldest);
            }
        }
        for key in touched.slots {
            if let Some(versions) = self.storage.get_mut(&key) {
                versions.forget_before(oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
