//! Read access to one version of the state, down to the forked chain.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256, U256};
use foundry_fork_db::{DatabaseError, SharedBackend, cache::MemDb};
use parking_lot::RwLock;
use revm::{DatabaseRef, bytecode::Bytecode, database_interface::DBErrorMarker, state::AccountInfo};

use crate::endpoint::Endpoint;

use super::store::{Store, Version};

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

/// One version of the state.
#[derive(Clone, Debug)]
pub(crate) struct StateView {
    store: SharedStore,
    base: Base,
    version: Version,
}

impl StateView {
    pub(crate) fn new(store: SharedStore, base: Base, version: Version) -> Self {
        Self { store, base, version }
    }

    /// Whether an account can be read without asking another node.
    pub(crate) fn knows(&self, address: &Address) -> bool {
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
        let complete = matches!(self.base, Base::Empty) || store.is_renewed(&address, self.version);
        complete.then(|| store.slots_of(address, self.version))
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
        let local = self.store.read().account(&address, self.version);
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
        self.store.read().code(&hash).ok_or(StateError::MissingCode(hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let local = self.store.read().slot(address, slot, self.version);
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
