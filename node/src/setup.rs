//! Makes the parts of a node from its settings.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    signers::local::{LocalSignerError, MnemonicBuilder},
};
use alloy_genesis::Genesis;
use cordon_stylus::{
    CacheOptions, ProgramCache,
    arbos::STATE_ADDRESS,
    cache,
    genesis::{self, GenesisAccount},
};
use parking_lot::{Mutex, RwLock};
use revm::DatabaseRef;
use tokio::sync::Semaphore;

use crate::{
    chain::{Chain, MIN_BASE_FEE, Tip},
    clock::{self, Clock},
    config::{DEFAULT_CHAIN_ID, DEFAULT_DERIVATION_PATH, KeptPrograms, NodeConfig, TRANSACTION_GAS_CAP},
    dump::Dump,
    error::NodeError,
    fork::{Fork, SharedFork},
    node::{Accounts, Cheats, Lasting, Mining, Node, Snapshots},
    pending::PendingCache,
    pool::Pool,
    seal,
    state::{Base, Overlay, SharedStore, StateError, StateView},
    trace::Names,
    validate::MIN_GAS_LIMIT,
};

/// Events that a slow subscriber may be behind before its subscription ends.
const EVENT_BACKLOG: usize = 16_384;

/// Calls that may run at a time.
const PARALLEL_CALLS: usize = 32;

const WEI_PER_ETHER: u64 = 1_000_000_000_000_000_000;

/// Makes the node: connects to the chain to fork, and prepares accounts and state.
/// With `before` it takes the place of another one and goes on with its subscribers and its way of mining.
pub(crate) async fn node(mut config: NodeConfig, before: Option<Lasting>) -> Result<Node, NodeError> {
    let genesis = config.genesis.as_deref().map(read_genesis).transpose()?;
    if let Some(genesis) = &genesis {
        take_settings(&mut config, genesis);
    }
    let fork: SharedFork = match &config.fork_url {
        Some(url) => Some(Arc::new(Fork::connect(url, &config).await?)),
        None => None,
    };
    let accounts = accounts(&config)?;
    let names = names(&config).await?;
    let base = fork.as_ref().map_or(Base::Empty, |fork| Base::Fork {
        backend: fork.backend.clone(),
        known: fork.known.clone(),
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
        tokio::task::spawn_blocking(move || prepare(&store, base, &start, forked, &addresses, (&config, genesis)))
    };
    let chain = prepared
        .await
        .map_err(|error| NodeError::State {
            reason: error.to_string(),
        })?
        .map_err(|error| NodeError::State {
            reason: error.to_string(),
        })?;
    let chain_id = chain_id(&config, fork.as_deref())?;
    let now = config.timestamp.unwrap_or_else(clock::unix_now);
    let lasting = match before {
        Some(lasting) => lasting,
        None => Lasting::new(mining(&config), EVENT_BACKLOG, programs(&config)?),
    };
    let node = Node {
        chain_id,
        least_base_fee: MIN_BASE_FEE.min(config.base_fee.unwrap_or(start.base_fee)),
        instance: instance(),
        fork,
        base,
        store,
        // A fork of a chain that was sent into the future stays there.
        clock: Mutex::new(Clock::starting_at(now.max(start.timestamp))),
        chain: RwLock::new(chain),
        pool: Mutex::new(Pool::new(config.max_transactions, config.order)),
        pending: PendingCache::default(),
        cheats: RwLock::new(Cheats {
            auto_impersonate: config.auto_impersonate,
            next_base_fee: config.base_fee,
            gas_limit: config.gas_limit.unwrap_or(start.gas_limit.max(TRANSACTION_GAS_CAP)),
            ..Cheats::default()
        }),
        accounts,
        mining: lasting.mining,
        events: lasting.events,
        snapshots: Mutex::new(Snapshots::default()),
        filters: lasting.filters,
        producing: lasting.producing,
        calls: Semaphore::new(PARALLEL_CALLS),
        programs: lasting.programs,
        retired: AtomicBool::new(false),
        names,
        config,
    };
    start_from(node).await
}

/// Puts in the state that the settings name, and runs the first part of the block in whose middle the fork starts.
async fn start_from(node: Node) -> Result<Node, NodeError> {
    let failed = |reason: String| NodeError::State { reason };
    let work = tokio::task::spawn_blocking(move || {
        if let Some(replay) = node.fork.as_ref().and_then(|fork| fork.replay.as_ref()) {
            node.replay(replay).map_err(|error| error.to_string())?;
        }
        if let Some(path) = &node.config.state.load {
            let dump = Dump::read(path).map_err(|error| error.to_string())?;
            node.load(&dump)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(node)
    });
    work.await.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

/// The settings' chain id, else the forked chain's.
fn chain_id(config: &NodeConfig, fork: Option<&Fork>) -> Result<u64, NodeError> {
    let Some(fork) = fork else {
        return Ok(config.chain_id.unwrap_or(DEFAULT_CHAIN_ID));
    };
    match config.chain_id.filter(|id| *id != fork.chain_id) {
        Some(_) if fork.replay.is_some() => Err(NodeError::Config {
            field: "chain_id",
            reason: format!(
                "must be the forked chain's, {}, with fork_transaction_hash: the transactions before that one are signed for it",
                fork.chain_id
            ),
        }),
        other => Ok(other.unwrap_or(fork.chain_id)),
    }
}

fn mining(config: &NodeConfig) -> Mining {
    match (config.block_time, config.mixed_mining, config.no_mining) {
        (Some(interval), true, _) => Mining::Mixed(interval),
        (Some(interval), false, _) => Mining::Interval(interval),
        (None, _, true) => Mining::Manual,
        (None, _, false) => Mining::Auto,
    }
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

/// The programs that the chain will run, on the engine that was chosen.
fn programs(config: &NodeConfig) -> Result<ProgramCache, NodeError> {
    let options = |directory| CacheOptions {
        engine: config.wasm_engine,
        directory,
        debug_chain: config.stylus_console,
        activate_on_call: config.activate_on_first_call,
        ..CacheOptions::default()
    };
    let directory = match &config.program_cache {
        KeptPrograms::Nowhere => None,
        KeptPrograms::UserCache => cache::default_directory(),
        KeptPrograms::Directory(directory) => Some(directory.clone()),
    };
    match ProgramCache::with_options(options(directory)) {
        Err(error) if config.program_cache == KeptPrograms::UserCache => {
            tracing::warn!(%error, "native code of programs is not kept");
            Ok(ProgramCache::with_options(options(None)).unwrap_or_default())
        }
        kept => kept.map_err(|error| NodeError::Config {
            field: "program_cache",
            reason: error.to_string(),
        }),
    }
}

fn genesis_tip(config: &NodeConfig) -> Tip {
    Tip {
        number: config.genesis_number,
        hash: B256::ZERO,
        timestamp: config.timestamp.unwrap_or_else(clock::unix_now),
        base_fee: config.base_fee.unwrap_or(MIN_BASE_FEE),
        gas_used: 0,
        gas_limit: config.gas_limit.unwrap_or(TRANSACTION_GAS_CAP),
        l1_number: config.genesis_number,
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
    (config, given): (&NodeConfig, Option<Genesis>),
) -> Result<Chain, StateError> {
    store.write().set_root(start.hash);
    let view = StateView::new(store.clone(), base, 0);
    // Every block pays its beneficiary, which is read with the first one otherwise.
    prefetch(&view, &[accounts, &[Address::ZERO]].concat());
    let mut overlay = Overlay::new(view.clone());
    for address in accounts {
        let mut info = overlay.account(*address)?;
        info.balance = U256::from(config.balance).saturating_mul(U256::from(WEI_PER_ETHER));
        overlay.set_account(*address, info);
    }
    let found = view.storage_ref(STATE_ADDRESS, genesis::version_slot())?;
    if !genesis::is_arbitrum(found) {
        let mut alloc = genesis::alloc(config.arbos_version);
        let state = alloc.iter_mut().find(|account| account.address == STATE_ADDRESS);
        if let (Some(state), Some(owner)) = (state, accounts.first()) {
            state.storage.extend(genesis::owned_by(*owner));
        }
        if config.disable_create2_factory {
            alloc.retain(|account| account.address != genesis::CREATE2_FACTORY);
        }
        prefetch(&view, &alloc.iter().map(|account| account.address).collect::<Vec<_>>());
        put_in(&mut overlay, alloc)?;
    }
    if let Some(given) = given {
        put_in(&mut overlay, given.alloc.into_iter().map(genesis_account).collect())?;
    }
    let mut store = store.write();
    store.commit(start.number, overlay.into_changes());
    if forked {
        return Ok(Chain::forked(start.clone()));
    }
    let genesis = seal::genesis(start, store.root());
    store.set_block_hash(start.number, genesis.hash);
    Ok(Chain::fresh(genesis))
}

/// Reads a genesis file.
fn read_genesis(path: &Path) -> Result<Genesis, NodeError> {
    let fail = |reason: String| NodeError::Config {
        field: "genesis",
        reason: format!("{}: {reason}", path.display()),
    };
    let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| fail(format!("no genesis as geth has it: {error}")))
}

/// Takes over what the genesis says, unless the settings say something else.
fn take_settings(config: &mut NodeConfig, genesis: &Genesis) {
    config.chain_id.get_or_insert(genesis.config.chain_id);
    config.timestamp = config.timestamp.or(Some(genesis.timestamp).filter(|time| *time > 0));
    config.gas_limit = config
        .gas_limit
        .or(Some(genesis.gas_limit).filter(|limit| *limit >= MIN_GAS_LIMIT));
    let base_fee = genesis.base_fee_per_gas.and_then(|fee| u64::try_from(fee).ok());
    config.base_fee = config.base_fee.or(base_fee);
    if let Some(number) = genesis.number {
        config.genesis_number = number;
    }
}

fn genesis_account((address, given): (Address, alloy_genesis::GenesisAccount)) -> GenesisAccount {
    let storage = given.storage.unwrap_or_default();
    GenesisAccount {
        address,
        code: given.code.unwrap_or_default(),
        storage: storage
            .into_iter()
            .map(|(slot, value)| (slot.into(), value.into()))
            .collect(),
        balance: given.balance,
        nonce: given.nonce.unwrap_or_default(),
    }
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
    let phrase = MnemonicBuilder::from_phrase(&config.mnemonic);
    let default = config.derivation_path == DEFAULT_DERIVATION_PATH;
    let parent = if default {
        Some(phrase.clone().build_parent_key().map_err(underivable)?)
    } else {
        None
    };
    for index in 0..config.accounts {
        let key = match &parent {
            Some(parent) => parent.child(index).map_err(underivable)?.signer(),
            None => {
                let path = format!("{}/{index}", config.derivation_path.trim_end_matches('/'));
                let derived = phrase.clone().derivation_path(path).map_err(underivable)?;
                derived.build().map_err(underivable)?
            }
        };
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
