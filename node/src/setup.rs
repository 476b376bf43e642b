//! Makes the parts of a node from its settings.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    signers::local::{LocalSignerError, MnemonicBuilder},
};
use cordon_stylus::{
    ProgramCache,
    arbos::STATE_ADDRESS,
    genesis::{self, GenesisAccount},
};
use parking_lot::{Mutex, RwLock};
use revm::DatabaseRef;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::{
    chain::{Chain, MIN_BASE_FEE, Tip},
    clock::{self, Clock},
    config::{DEFAULT_CHAIN_ID, NodeConfig, TRANSACTION_GAS_CAP},
    error::NodeError,
    fork::{Fork, SharedFork},
    node::{Accounts, Cheats, Mining, Node, Snapshots},
    pool::Pool,
    producer,
    rpc::filters::Filters,
    state::{Base, Overlay, SharedStore, StateError, StateView},
    trace::Names,
};

/// The most development accounts.
const MAX_ACCOUNTS: u32 = 1_000;

/// Events that a slow subscriber may be behind before its subscription ends.
const EVENT_BACKLOG: usize = 16_384;

/// Calls that may run at a time.
const PARALLEL_CALLS: usize = 32;

const WEI_PER_ETHER: u64 = 1_000_000_000_000_000_000;

/// Refuses settings that contradict each other or cannot work.
pub(crate) fn validate(config: &NodeConfig) -> Result<(), NodeError> {
    let fail = |field, reason: &str| {
        Err(NodeError::Config {
            field,
            reason: reason.to_owned(),
        })
    };
    if config.fork_block_number.is_some() && config.fork_url.is_none() {
        return fail("fork_block_number", "needs a fork_url");
    }
    if config.block_time.is_some_and(|time| time < Duration::from_millis(1)) {
        return fail(
            "block_time",
            "must be at least one millisecond; leave it out to mine every transaction at once",
        );
    }
    if config.no_mining && config.block_time.is_some() {
        return fail("no_mining", "excludes block_time: choose one");
    }
    if config.accounts > MAX_ACCOUNTS {
        return fail("accounts", "at most 1,000");
    }
    if config.gas_limit.is_some_and(|limit| limit < 21_000) {
        return fail(
            "gas_limit",
            "must be at least 21,000, the cost of the smallest transaction",
        );
    }
    if config.history == 0 {
        return fail("history", "must be at least one block");
    }
    if config.max_transactions == 0 {
        return fail("max_transactions", "must be at least one");
    }
    Ok(())
}

/// Makes the node: connects to the chain to fork, and prepares accounts and state.
pub(crate) async fn node(config: NodeConfig) -> Result<Node, NodeError> {
    let fork: SharedFork = match &config.fork_url {
        Some(url) => Some(Arc::new(Fork::connect(url, &config).await?)),
        None => None,
    };
    let accounts = accounts(&config)?;
    let names = names(&config).await?;
    let base = fork.as_ref().map_or(Base::Empty, |fork| Base::Fork {
        backend: fork.backend.clone(),
        endpoint: fork.endpoint.clone(),
    });
    let store = SharedStore::default();
    let start = fork
        .as_ref()
        .map_or_else(|| genesis_tip(&config), |fork| fork.tip.clone());
    let prepared = {
        let (store, base, start) = (store.clone(), base.clone(), start.clone());
        let (addresses, config) = (accounts.order.clone(), config.clone());
        let forked = fork.is_some();
        tokio::task::spawn_blocking(move || prepare(&store, base, &start, forked, &addresses, &config))
    };
    let chain = prepared
        .await
        .map_err(|error| NodeError::State {
            reason: error.to_string(),
        })?
        .map_err(|error| NodeError::State {
            reason: error.to_string(),
        })?;
    let chain_id = fork
        .as_ref()
        .map_or(config.chain_id.unwrap_or(DEFAULT_CHAIN_ID), |fork| fork.chain_id);
    let now = config.timestamp.unwrap_or_else(clock::unix_now);
    let mining = match (config.block_time, config.no_mining) {
        (Some(interval), _) => Mining::Interval(interval),
        (None, true) => Mining::Manual,
        (None, false) => Mining::Auto,
    };
    Ok(Node {
        chain_id,
        instance: instance(),
        fork,
        base,
        store,
        // A fork of a chain that was sent into the future stays there.
        clock: Mutex::new(Clock::starting_at(now.max(start.timestamp))),
        chain: RwLock::new(chain),
        pool: Mutex::new(Pool::new(config.max_transactions, config.order)),
        cheats: RwLock::new(Cheats {
            auto_impersonate: config.auto_impersonate,
            next_base_fee: config.base_fee,
            gas_limit: config.gas_limit.unwrap_or(start.gas_limit.max(TRANSACTION_GAS_CAP)),
            ..Cheats::default()
        }),
        accounts,
        mining: watch::Sender::new(mining),
        events: broadcast::Sender::new(EVENT_BACKLOG),
        snapshots: Mutex::new(Snapshots::default()),
        filters: Mutex::new(Filters::default()),
        producing: Arc::default(),
        calls: Semaphore::new(PARALLEL_CALLS),
        programs: Arc::new(if config.stylus_console {
            ProgramCache::for_debug_chain()
        } else {
            ProgramCache::new()
        }),
        names,
        config,
    })
}

/// Reads the ABIs; artifacts may be many and big.
async fn names(config: &NodeConfig) -> Result<Names, NodeError> {
    let paths = config.abis.clone();
    let failed = |reason: String| NodeError::Config { field: "abis", reason };
    let names = tokio::task::spawn_blocking(move || Names::load(&paths)).await;
    names
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

fn genesis_tip(config: &NodeConfig) -> Tip {
    Tip {
        number: 0,
        hash: B256::ZERO,
        timestamp: config.timestamp.unwrap_or_else(clock::unix_now),
        base_fee: config.base_fee.unwrap_or(MIN_BASE_FEE),
        gas_used: 0,
        gas_limit: config.gas_limit.unwrap_or(TRANSACTION_GAS_CAP),
        l1_number: 0,
        beneficiary: Address::ZERO,
    }
}

/// Puts in what the chain needs and does not bring, and makes the chain that starts with it.
fn prepare(
    store: &SharedStore,
    base: Base,
    start: &Tip,
    forked: bool,
    accounts: &[Address],
    config: &NodeConfig,
) -> Result<Chain, StateError> {
    store.write().set_root(start.hash);
    let view = StateView::new(store.clone(), base, 0);
    prefetch(&view, accounts);
    let mut overlay = Overlay::new(view.clone());
    for address in accounts {
        let mut info = overlay.account(*address)?;
        info.balance = U256::from(config.balance).saturating_mul(U256::from(WEI_PER_ETHER));
        overlay.set_account(*address, info);
    }
    let found = view.storage_ref(STATE_ADDRESS, genesis::version_slot())?;
    if !genesis::is_arbitrum(found) {
        let alloc = genesis::alloc(config.arbos_version);
        prefetch(&view, &alloc.iter().map(|account| account.address).collect::<Vec<_>>());
        put_in(&mut overlay, alloc)?;
    }
    let mut store = store.write();
    store.commit(start.number, overlay.into_changes());
    if forked {
        return Ok(Chain::forked(start.clone()));
    }
    let genesis = producer::genesis(start, store.root());
    store.set_block_hash(start.number, genesis.hash);
    Ok(Chain::fresh(genesis))
}

/// Writes accounts that the chain has no code for; of others only nonce, balance and the given slots.
fn put_in(overlay: &mut Overlay, alloc: Vec<GenesisAccount>) -> Result<(), StateError> {
    for account in alloc {
        let mut info = overlay.account(account.address)?;
        info.nonce = info.nonce.max(account.nonce);
        info.balance = info.balance.saturating_add(account.balance);
        let has_code = !info.is_empty_code_hash();
        overlay.set_account(account.address, info);
        if !has_code {
            // Nothing is stored there below, so nobody needs to ask.
            overlay.renew(account.address);
            overlay.set_code(account.address, account.code)?;
        }
        for (slot, value) in account.storage {
            overlay.set_slot(account.address, slot, value);
        }
    }
    Ok(())
}

/// Reads accounts side by side: one after the other, a remote endpoint would make the start slow. What fails here is read
/// again, and reported, where it is needed.
fn prefetch(view: &StateView, addresses: &[Address]) {
    for some in addresses.chunks(PARALLEL_CALLS) {
        std::thread::scope(|scope| {
            for address in some {
                scope.spawn(|| drop(view.account(*address)));
            }
        });
    }
}

fn accounts(config: &NodeConfig) -> Result<Accounts, NodeError> {
    let mut accounts = Accounts::default();
    let parent = MnemonicBuilder::from_phrase(&config.mnemonic)
        .build_parent_key()
        .map_err(underivable)?;
    for index in 0..config.accounts {
        let key = parent.child(index).map_err(underivable)?.signer();
        accounts.order.push(key.address());
        accounts.keys.insert(key.address(), key);
    }
    Ok(accounts)
}

/// The phrase itself may be a secret and is not named.
fn underivable(error: LocalSignerError) -> NodeError {
    NodeError::Config {
        field: "mnemonic",
        reason: format!("no account can be derived from it: {error}"),
    }
}

/// A number that tells this run of the node from others.
fn instance() -> B256 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_nanos())
        .unwrap_or_default();
    keccak256(
        [
            nanos.to_be_bytes().as_slice(),
            std::process::id().to_be_bytes().as_slice(),
        ]
        .concat(),
    )
}
