//! Changes in the making, above a view: the transactions of a block, or the overrides of a call.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use alloy::{
    primitives::{Address, B256, Bytes, U256, map::HashMap as FastMap},
    rpc::types::state::{AccountOverride, StateOverride},
};
use revm::{
    Database, DatabaseRef,
    bytecode::Bytecode,
    state::{AccountInfo, EvmState},
};

use super::{
    store::ChangeSet,
    view::{StateError, StateView},
};

/// A view with changes on top.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    view: StateView,
    accounts: FastMap<Address, AccountInfo>,
    storage: FastMap<(Address, U256), U256>,
    renewed: HashSet<Address>,
    /// Hashes of blocks that only exist here.
    hashes: BTreeMap<u64, B256>,
}

impl Overlay {
    pub(crate) fn new(view: StateView) -> Self {
        Self {
            view,
            accounts: FastMap::default(),
            storage: FastMap::default(),
            renewed: HashSet::new(),
            hashes: BTreeMap::new(),
        }
    }

    /// The account, or an empty one.
    pub(crate) fn account(&self, address: Address) -> Result<AccountInfo, StateError> {
        Ok(self.basic_ref(address)?.unwrap_or_default())
    }

    /// Replaces an account.
    pub(crate) fn set_account(&mut self, address: Address, info: AccountInfo) {
        self.accounts.insert(address, info);
    }

    /// Sets one slot.
    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        self.storage.insert((address, slot), value);
    }

    /// Empties an account's storage.
    pub(crate) fn renew(&mut self, address: Address) {
        self.storage.retain(|key, _| key.0 != address);
        self.renewed.insert(address);
    }

    /// Sets the hash of a block.
    pub(crate) fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.hashes.insert(number, hash);
    }

    /// All slots of an account that are not zero; `None` where the chain below has some that cannot be listed.
    pub(crate) fn slots(&self, address: Address) -> Option<BTreeMap<U256, U256>> {
        let mut slots = match self.renewed.contains(&address) {
            true => BTreeMap::new(),
            false => self.view.slots(address)?,
        };
        let own = self.storage.iter().filter(|((owner, _), _)| *owner == address);
        slots.extend(own.map(|((_, slot), value)| (*slot, *value)));
        slots.retain(|_, value| !value.is_zero());
        Some(slots)
    }

    /// Gives an account other code.
    pub(crate) fn set_code(&mut self, address: Address, code: Bytes) -> Result<(), StateError> {
        let mut info = self.account(address)?;
        let (bytecode, hash) = prepared(code);
        info.code_hash = hash;
        info.code = Some(bytecode);
        self.set_account(address, info);
        Ok(())
    }

    /// Takes over what a transaction changed.
    pub(crate) fn commit(&mut self, state: EvmState) {
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            if account.is_created() || account.is_selfdestructed() {
                self.renew(address);
            }
            if account.is_selfdestructed() {
                self.accounts.insert(address, AccountInfo::default());
                continue;
            }
            for (slot, value) in account.storage {
                if value.is_changed() {
                    self.storage.insert((address, slot), value.present_value());
                }
            }
            self.accounts.insert(address, account.info);
        }
    }

    /// Applies the state overrides of a call.
    pub(crate) fn apply(&mut self, overrides: StateOverride) -> Result<(), StateError> {
        for (address, account) in overrides {
            self.apply_account(address, account)?;
        }
        Ok(())
    }

    fn apply_account(&mut self, address: Address, account: AccountOverride) -> Result<(), StateError> {
        let mut info = self.account(address)?;
        if let Some(balance) = account.balance {
            info.balance = balance;
        }
        if let Some(nonce) = account.nonce {
            info.nonce = nonce;
        }
        self.set_account(address, info);
        if let Some(code) = account.code {
            self.set_code(address, code)?;
        }
        if let Some(state) = account.state {
            self.renew(address);
            self.set_slots(address, state);
        }
        if let Some(diff) = account.state_diff {
            self.set_slots(address, diff);
        }
        Ok(())
    }

    fn set_slots(&mut self, address: Address, slots: impl IntoIterator<Item = (B256, B256)>) {
        for (slot, value) in slots {
            self.set_slot(address, slot.into(), value.into());
        }
    }

    /// All changes, to be committed.
    pub(crate) fn into_changes(self) -> ChangeSet {
        ChangeSet {
            accounts: self.accounts,
            storage: self.storage,
            renewed: self.renewed,
        }
    }
}

/// Codes that were put in place of others lately, with their hashes: who asks with overrides asks with the same ones at every block,
/// and to hash and analyse them takes longer than to run them.
static PREPARED: LazyLock<Mutex<FastMap<Bytes, (Bytecode, B256)>>> = LazyLock::new(Mutex::default);

/// Codes that are remembered; with more than that, all are forgotten.
const MOST_PREPARED: usize = 1_024;
/// Length of the longest that is remembered.
const LONGEST_PREPARED: usize = 4_096;

/// Code as an account holds it, and its hash.
fn prepared(code: Bytes) -> (Bytecode, B256) {
    let prepare = |code: Bytes| {
        let bytecode = raw_bytecode(code);
        let hash = bytecode.hash_slow();
        (bytecode, hash)
    };
    if code.len() > LONGEST_PREPARED {
        return prepare(code);
    }
    let held = PREPARED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&code)
        .cloned();
    held.unwrap_or_else(|| {
        let fresh = prepare(code.clone());
        let mut codes = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MOST_PREPARED {
            codes.clear();
        }
        codes.insert(code, fresh.clone());
        fresh
    })
}

/// Code as an account holds it, whatever its first bytes are.
///
/// The constructor of the EVM refuses bytes that look like a broken EIP-7702 delegation; such an account runs as empty.
pub(crate) fn raw_bytecode(code: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}

impl DatabaseRef for Overlay {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        match self.accounts.get(&address) {
            Some(info) => Ok(Some(info.clone()).filter(|info| !info.is_empty())),
            None => self.view.basic_ref(address),
        }
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StateError> {
        let local = self
            .accounts
            .values()
            .find(|info| info.code_hash == hash && info.code.is_some());
        match local.and_then(|info| info.code.clone()) {
            Some(code) => Ok(code),
            None => self.view.code_by_hash_ref(hash),
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        match self.storage.get(&(address, slot)) {
            Some(value) => Ok(*value),
            None if self.renewed.contains(&address) => Ok(U256::ZERO),
            None => self.view.storage_ref(address, slot),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        match self.hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None => self.view.block_hash_ref(number),
        }
    }
}

impl Database for Overlay {
    type Error = StateError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, StateError> {
        self.code_by_hash_ref(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.storage_ref(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StateError> {
        self.block_hash_ref(number)
    }
}
