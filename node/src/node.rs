//! The parts of a running node and how they are reached.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    signers::local::PrivateKeySigner,
};
use cordon_stylus::{ProgramCache, Signatures};
use parking_lot::{Mutex, RwLock};
use revm::state::AccountInfo;
use tokio::sync::{OwnedMutexGuard, Semaphore, broadcast, watch};

use crate::{
    chain::{Block, Chain, Tip},
    clock::Clock,
    config::NodeConfig,
    evm::Env,
    fork::SharedFork,
    pending::PendingCache,
    pool::Pool,
    rpc::{RpcError, filters::Filters},
    state::{Base, Overlay, SharedStore, StateView, Version},
    trace::Names,
    transaction::SignedTransaction,
};

pub(crate) use crate::place::Place;

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mining {
    /// As soon as a transaction can be mined.
    Auto,
    /// At fixed times.
    Interval(Duration),
    /// As soon as a transaction can be mined, and at fixed times.
    Mixed(Duration),
    /// Only when asked.
    Manual,
}

/// What subscribers hear of.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A block was mined.
    Head(Arc<Block>),
    /// A block was taken back.
    Removed(Arc<Block>),
    /// A transaction entered the pool.
    Pending(Arc<SignedTransaction>),
}

/// What the `anvil_` methods have set.
#[derive(Debug, Default)]
pub(crate) struct Cheats {
    pub(crate) impersonated: HashSet<Address>,
    pub(crate) auto_impersonate: bool,
    /// Accounts that the precompile for signatures answers for these, whatever was signed.
    pub(crate) signatures: Arc<Signatures>,
    /// For one block.
    pub(crate) next_base_fee: Option<u64>,
    pub(crate) coinbase: Address,
    pub(crate) gas_limit: u64,
    /// Wei per gas that a transaction must offer at least.
    pub(crate) min_gas_price: u128,
    /// Written into the headers of blocks after a reorganisation, so that they differ from those they replace.
    pub(crate) extra_data: Bytes,
}

/// A point to which the chain can be set back.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) version: Version,
    pub(crate) root: B256,
}

/// Snapshots by their id.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pub(crate) next: u64,
    pub(crate) taken: BTreeMap<u64, Snapshot>,
}

/// The unlocked accounts, in the order of derivation.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) order: Vec<Address>,
    pub(crate) keys: HashMap<Address, PrivateKeySigner>,
}

/// What outlives a reset.
#[derive(Clone, Debug)]
pub(crate) struct Lasting {
    pub(crate) mining: watch::Sender<Mining>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) producing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) filters: Arc<Mutex<Filters>>,
    pub(crate) programs: Arc<ProgramCache>,
}

impl Lasting {
    pub(crate) fn new(mining: Mining, event_backlog: usize, programs: ProgramCache) -> Self {
        Self {
            mining: watch::Sender::new(mining),
            events: broadcast::Sender::new(event_backlog),
            producing: Arc::default(),
            filters: Arc::default(),
            programs: Arc::new(programs),
        }
    }
}

/// The node that answers now: a reset puts another in its place.
#[derive(Debug)]
pub(crate) struct Slot(RwLock<Arc<Node>>);

impl Slot {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self(RwLock::new(node))
    }

    pub(crate) fn current(&self) -> Arc<Node> {
        self.0.read().clone()
    }

    /// Puts `node` in the place of the present one, which changes nothing any more. The caller holds `producing`.
    pub(crate) fn replace(&self, node: Arc<Node>) {
        let old = std::mem::replace(&mut *self.0.write(), node);
        old.retired.store(true, Ordering::Release);
    }
}

/// A running node. Locks are held only for moments, never while the EVM runs or the network is waited for; only the holder of
/// `producing` changes chain and state.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) chain_id: u64,
    /// The base fee never falls below this, in wei per gas.
    pub(crate) least_base_fee: u64,
    pub(crate) instance: B256,
    pub(crate) fork: SharedFork,
    pub(crate) base: Base,
    pub(crate) store: SharedStore,
    pub(crate) chain: RwLock<Chain>,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) pending: PendingCache,
    pub(crate) clock: Mutex<Clock>,
    pub(crate) cheats: RwLock<Cheats>,
    pub(crate) accounts: Accounts,
    pub(crate) mining: watch::Sender<Mining>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) snapshots: Mutex<Snapshots>,
    pub(crate) filters: Arc<Mutex<Filters>>,
    pub(crate) producing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) calls: Semaphore,
    pub(crate) programs: Arc<ProgramCache>,
    /// Names of functions, events and errors for traces and messages.
    pub(crate) names: Names,
    /// Another node has taken its place.
    pub(crate) retired: AtomicBool,
}

impl Node {
    /// What a node that takes the place of this one goes on with.
    pub(crate) fn lasting(&self) -> Lasting {
        Lasting {
            mining: self.mining.clone(),
            events: self.events.clone(),
            producing: self.producing.clone(),
            filters: self.filters.clone(),
            programs: self.programs.clone(),
        }
    }

    /// The state as of `version`.
    pub(crate) fn view(&self, version: Version) -> StateView {
        StateView::new(self.store.clone(), self.base.clone(), version)
    }

    /// The newest state.
    pub(crate) fn head_view(&self) -> StateView {
        let version = self.store.read().head();
        self.view(version)
    }

    pub(crate) fn tip(&self) -> Tip {
        self.chain.read().tip().clone()
    }

    /// The block that would be mined now.
    pub(crate) fn next_tip(&self) -> Tip {
        let tip = self.tip();
        let timestamp = self.clock.lock().peek(tip.timestamp);
        self.tip_after(&tip, timestamp)
    }

    /// The block after `tip` at `timestamp`, still without transactions and hash.
    pub(crate) fn tip_after(&self, tip: &Tip, timestamp: u64) -> Tip {
        let cheats = self.cheats.read();
        let number = tip.number.saturating_add(1);
        Tip {
            number,
            hash: B256::ZERO,
            timestamp,
            base_fee: cheats
                .next_base_fee
                .unwrap_or_else(|| tip.next_base_fee(self.least_base_fee)),
            gas_used: 0,
            gas_limit: cheats.gas_limit,
            l1_number: self.chain.read().l1_number(number, timestamp),
            beneficiary: cheats.coinbase,
        }
    }

    /// The rules of the chain in the block described by `tip`.
    pub(crate) fn env(&self, tip: &Tip) -> Env {
        Env::new(self.chain_id, tip, &self.config, self.programs.clone())
            .with_signatures(self.cheats.read().signatures.clone())
    }

    /// Nonce of an account in the newest state.
    pub(crate) fn nonce(&self, address: Address) -> Result<u64, RpcError> {
        Ok(self.head_view().account(address)?.nonce)
    }

    /// Whether the node may send in the name of an account.
    pub(crate) fn unlocked(&self, address: &Address) -> bool {
        let cheats = self.cheats.read();
        cheats.auto_impersonate || cheats.impersonated.contains(address) || self.accounts.keys.contains_key(address)
    }

    /// What a client should offer per gas: the next base fee and a quarter, so that it survives two full blocks.
    pub(crate) fn gas_price(&self) -> u128 {
        self.gas_price_at(self.next_tip().base_fee)
    }

    /// As [`gas_price`](Self::gas_price), for a block with this base fee in wei per gas.
    pub(crate) fn gas_price_at(&self, base_fee: u64) -> u128 {
        let base_fee = u128::from(base_fee);
        self.config
            .gas_price
            .unwrap_or_else(|| base_fee.saturating_add(base_fee / 4))
            .max(self.cheats.read().min_gas_price)
    }

    /// Waits until nobody else changes the chain.
    pub(crate) async fn lock(&self) -> Result<OwnedMutexGuard<()>, RpcError> {
        let guard = self.producing.clone().lock_owned().await;
        if self.retired.load(Ordering::Acquire) {
            return Err(RpcError::Rejected(
                "the chain was reset meanwhile; send the request again".to_owned(),
            ));
        }
        Ok(guard)
    }

    /// Runs `work`, which changes the chain, on a thread that may block.
    pub(crate) async fn run_locked<T, F>(self: &Arc<Self>, guard: OwnedMutexGuard<()>, work: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(&Node) -> Result<T, RpcError> + Send + 'static,
    {
        let node = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&node);
            drop(guard);
            outcome
        });
        task.await
            .map_err(|error| RpcError::Internal(format!("the node failed: {error}")))?
    }

    /// Runs `work` as the only one that changes the chain, on a thread that may block.
    pub(crate) async fn exclusively<T, F>(self: &Arc<Self>, work: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(&Node) -> Result<T, RpcError> + Send + 'static,
    {
        let guard = self.lock().await?;
        self.run_locked(guard, work).await
    }

    /// Runs `work`, which reads no more of the state than the account: at once where it is known, and elsewhere as
    /// [`reading`](Self::reading), because it may have to be fetched.
    pub(crate) async fn reading_account<T, F>(self: &Arc<Self>, address: Address, work: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(&Node) -> Result<T, RpcError> + Send + 'static,
    {
        if self.head_view().knows(&address) {
            return work(self);
        }
        self.reading(work).await
    }

    /// Runs `work`, which reads the state, on a thread that may block. As many at once as `calls` has room for.
    pub(crate) async fn reading<T, F>(self: &Arc<Self>, work: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(&Node) -> Result<T, RpcError> + Send + 'static,
    {
        let _permit = self
            .calls
            .acquire()
            .await
            .map_err(|_| RpcError::Internal("the node is stopping".to_owned()))?;
        let node = self.clone();
        tokio::task::spawn_blocking(move || work(&node))
            .await
            .map_err(|error| RpcError::Internal(format!("the node failed: {error}")))?
    }

    /// Changes one account in the newest state, outside of any block.
    pub(crate) fn edit_account(&self, address: Address, edit: impl FnOnce(&mut AccountInfo)) -> Result<(), RpcError> {
        let mut overlay = Overlay::new(self.head_view());
        let mut info = overlay.account(address)?;
        edit(&mut info);
        overlay.set_account(address, info);
        self.commit_edit(overlay);
        Ok(())
    }

    /// Makes the changes of `overlay` part of the newest state, outside of any block.
    pub(crate) fn commit_edit(&self, overlay: Overlay) {
        let number = self.chain.read().tip().number;
        self.store.write().commit(number, overlay.into_changes());
    }

    /// Sets one slot in the newest state, outside of any block.
    pub(crate) fn edit_slot(&self, address: Address, slot: U256, value: U256) {
        let mut overlay = Overlay::new(self.head_view());
        overlay.set_slot(address, slot, value);
        self.commit_edit(overlay);
    }
}
