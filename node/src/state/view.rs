//! Read access to one version of the state, down to the forked chain.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy::primitives::{Address, B256, U256};
use foundry_fork_db::{DatabaseError, SharedBackend, cache::MemDb};
use parking_lot::RwLock;
use revm::{DatabaseRef, bytecode::Bytecode, database_interface::DBErrorMarker, state::AccountInfo};

use crate::endpoint::Endpoint;

use super::store::{ChangeSet, Store, Version};

/// The store as all parts of the node share it.
pub(crate) type SharedStore = Arc<RwLock<Store>>;

/// What lies below the local changes.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// Nothing: a fresh chain.
    Empty,
    /// The forked chain at the fork block, read as needed.
    Fork {
        /// Reads and keeps its state.
        backend: SharedBackend,
        /// What it has read: asking `backend` costs a change of threads.
        known: Arc<MemDb>,
        /// Its name for messages.
        endpoint: Endpoint,
    },
}

impl Base {
    fn failure(&self, error: &DatabaseError) -> StateError {
        StateError::Fork(match self {
            Self::Empty => error.to_string(),
            Self::Fork { endpoint, .. } => endpoint.explain(error),
        })
    }
}

/// A value of the state could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The upstream endpoint failed.
    #[error("the forked chain could not be read: {0}")]
    Fork(String),
    /// No account has code with this hash.
    #[error("no code with hash {0} is known")]
    MissingCode(B256),
}

impl DBErrorMarker for StateError {}

/// One version of the state, or what blocks that are not part of the chain would make of it.
#[derive(Clone, Debug)]
pub(crate) struct StateView {
    store: SharedStore,
    base: Base,
    version: Version,
    /// Changes on top, of such blocks.
    planned: Option<Arc<ChangeSet>>,
}

impl StateView {
    pub(crate) fn new(store: SharedStore, base: Base, version: Version) -> Self {
        Self {
            store,
            base,
            version,
            planned: None,
        }
    }

    /// The version with `changes` on top.
    pub(crate) fn after(self, changes: Arc<ChangeSet>) -> Self {
        Self {
            planned: Some(changes),
            ..self
        }
    }

    /// Whether an account can be read without asking another node.
    pub(crate) fn knows(&self, address: &Address) -> bool {
        if self.planned_account(address).is_some() {
            return true;
        }
        match &self.base {
            Base::Empty => true,
            Base::Fork { known, .. } => {
                self.store.read().account(address, self.version).is_some()
                    || known.accounts.read().contains_key(address)
            }
        }
    }

    /// The account, or an empty one.
    pub(crate) fn account(&self, address: Address) -> Result<AccountInfo, StateError> {
        Ok(self.basic_ref(address)?.unwrap_or_default())
    }

    /// All slots of an account that are not zero; `None` where the chain below has some that cannot be listed.
    pub(crate) fn slots(&self, address: Address) -> Option<BTreeMap<U256, U256>> {
        let store = self.store.read();
        let renewed = self.is_renewed_by_plan(&address);
        let complete = matches!(self.base, Base::Empty) || renewed || store.is_renewed(&address, self.version);
        complete.then(|| {
            let mut slots = match renewed {
                true => BTreeMap::new(),
                false => store.slots_of(address, self.version),
            };
            let planned = self.planned.iter().flat_map(|changes| &changes.storage);
            let own = planned.filter(|((owner, _), _)| *owner == address);
            slots.extend(own.map(|((_, slot), value)| (*slot, *value)));
            slots.retain(|_, value| !value.is_zero());
            slots
        })
    }

    /// Whether anything of an account is not as the chain below has it.
    pub(crate) fn is_touched(&self, address: &Address) -> bool {
        let mut planned = self.planned.iter().flat_map(|changes| changes.storage.keys());
        self.planned_account(address).is_some()
            || planned.any(|(owner, _)| owner == address)
            || self.store.read().is_touched(address, self.version)
    }

    /// The accounts that were set here.
    pub(crate) fn own_accounts(&self) -> HashMap<Address, AccountInfo> {
        let mut accounts: HashMap<_, _> = self.store.read().accounts_at(self.version).into_iter().collect();
        let planned = self.planned.iter().flat_map(|changes| &changes.accounts);
        accounts.extend(planned.map(|(address, info)| (*address, info.clone())));
        accounts
    }

    /// The slots that were set here and are not zero, by account.
    pub(crate) fn own_storage(&self) -> HashMap<Address, HashMap<U256, U256>> {
        let own = self.store.read().storage_at(self.version).into_iter();
        let mut storage: HashMap<Address, HashMap<U256, U256>> = own
            .map(|(address, slots)| (address, slots.into_iter().collect()))
            .collect();
        if let Some(changes) = &self.planned {
            storage.retain(|address, _| !changes.renewed.contains(address));
            for ((address, slot), value) in &changes.storage {
                storage.entry(*address).or_default().insert(*slot, *value);
            }
        }
        for slots in storage.values_mut() {
            slots.retain(|_, value| !value.is_zero());
        }
        storage
    }

    fn planned_account(&self, address: &Address) -> Option<&AccountInfo> {
        self.planned.as_ref()?.accounts.get(address)
    }

    fn is_renewed_by_plan(&self, address: &Address) -> bool {
        self.planned
            .as_ref()
            .is_some_and(|changes| changes.renewed.contains(address))
    }

    /// The account's code as stored, with no padding.
    pub(crate) fn code(&self, address: Address) -> Result<Bytecode, StateError> {
        let info = self.account(address)?;
        match info.code {
            Some(code) => Ok(code),
            None if info.is_empty_code_hash() => Ok(Bytecode::default()),
            None => self.code_by_hash_ref(info.code_hash),
        }
    }
}

impl DatabaseRef for StateView {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        let local = match self.planned_account(&address) {
            Some(info) => Some(info.clone()),
            None => self.store.read().account(&address, self.version),
        };
        let info = match (local, &self.base) {
            (Some(info), _) => Some(info),
            (None, Base::Empty) => None,
            (None, Base::Fork { backend, known, .. }) => {
                let read = known.accounts.read().get(&address).cloned();
                match read {
                    Some(info) => Some(info),
                    None => backend.basic_ref(address).map_err(|error| self.base.failure(&error))?,
                }
            }
        };
        Ok(info.filter(|info| !info.is_empty()))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StateError> {
        if let Some(code) = self.store.read().code(&hash) {
            return Ok(code);
        }
        let mut planned = self.planned.iter().flat_map(|changes| changes.accounts.values());
        let code = planned.find_map(|info| info.code.clone().filter(|_| info.code_hash == hash));
        code.ok_or(StateError::MissingCode(hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let planned = self.planned.as_ref();
        let local = match planned.and_then(|changes| changes.storage.get(&(address, slot))) {
            Some(value) => Some(*value),
            None if self.is_renewed_by_plan(&address) => Some(U256::ZERO),
            None => self.store.read().slot(address, slot, self.version),
        };
        match (local, &self.base) {
            (Some(value), _) => Ok(value),
            (None, Base::Empty) => Ok(U256::ZERO),
            (None, Base::Fork { backend, known, .. }) => {
                let read = known
                    .storage
                    .read()
                    .get(&address)
                    .and_then(|slots| slots.get(&slot).copied());
                match read {
                    Some(value) => Ok(value),
                    None => backend
                        .storage_ref(address, slot)
                        .map_err(|error| self.base.failure(&error)),
                }
            }
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        let local = self.store.read().block_hash(number);
        match (local, &self.base) {
            (Some(hash), _) => Ok(hash),
            (None, Base::Empty) => Ok(B256::ZERO),
            (None, Base::Fork { backend, .. }) => backend
                .block_hash_ref(number)
                .map_err(|error| self.base.failure(&error)),
        }
    }
}
