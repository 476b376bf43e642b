//! Starting and stopping a node.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use alloy::primitives::Address;
use futures::future::join_all;
use jsonrpsee::{
    Methods,
    core::middleware::RpcServiceBuilder,
    server::{BatchRequestConfig, Server, ServerConfig, ServerHandle},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    config::NodeConfig,
    cors::Cors,
    error::NodeError,
    node::{Mining, Node, Slot},
    rpc::{self, detour::Bypass},
    save,
    session::Sessions,
    setup,
    validate::validate,
    wire::{Strict, Wire},
};

/// Threads that serve requests; the EVM has others.
const WORKERS: usize = 2;

/// Stack of each thread: deep call trees of contracts need more than the default.
const STACK_BYTES: usize = 16 << 20;

/// The largest request and answer, in bytes.
pub(crate) const MAX_MESSAGE: u32 = 64 << 20;

/// The most connections at a time.
const MAX_CONNECTIONS: u32 = 2_048;

/// The most requests of a batch.
pub(crate) const MAX_BATCH: u32 = 10_000;

/// How long a stopping node waits for work that cannot be interrupted.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the chain of a node stood when it started: a fresh chain's genesis, the forked block, or the newest block of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainStart {
    /// Number of the block.
    pub number: u64,
    /// Its time in seconds since 1970.
    pub timestamp: u64,
    /// Its base fee in wei per gas.
    pub base_fee: u64,
    /// What `eth_gasPrice` answered, in wei per gas.
    pub gas_price: u128,
    /// The most gas of the blocks after it.
    pub gas_limit: u64,
}

impl ChainStart {
    fn of(node: &Node) -> Self {
        let tip = node.tip();
        Self {
            number: tip.number,
            timestamp: tip.timestamp,
            base_fee: tip.base_fee,
            gas_price: node.gas_price(),
            gas_limit: node.next_tip().gas_limit,
        }
    }
}

/// A running node. Dropping the handle stops it.
#[derive(Debug)]
pub struct NodeHandle {
    address: SocketAddr,
    chain_id: u64,
    accounts: Vec<Address>,
    start: ChainStart,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<()>,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
}

/// What a started node tells its handle.
struct Started {
    address: SocketAddr,
    chain_id: u64,
    accounts: Vec<Address>,
    start: ChainStart,
}

/// Starts a node on threads of its own and returns once it answers requests.
///
/// # Errors
///
/// When a setting is not usable, the port is taken, or the chain to fork is out of reach or another one than asked for. Nothing is
/// left running then.
pub async fn spawn(config: NodeConfig) -> Result<NodeHandle, NodeError> {
    validate(&config)?;
    let (started, wait) = oneshot::channel();
    let (stop, stopping) = watch::channel(false);
    let (ending, ended) = watch::channel(());
    let thread = std::thread::Builder::new()
        .name("cordon-node".to_owned())
        .spawn(move || {
            let outcome = host(config, started, stopping);
            drop(ending);
            outcome
        })?;
    let Started {
        address,
        chain_id,
        accounts,
        start,
    } = wait.await.map_err(|_| NodeError::Ended)??;
    Ok(NodeHandle {
        address,
        chain_id,
        accounts,
        start,
        stop,
        ended,
        thread: Some(thread),
    })
}

impl NodeHandle {
    /// Where the node listens, for HTTP and WebSocket alike.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL for HTTP clients.
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// URL for WebSocket clients.
    pub fn ws_endpoint(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Chain id of the node.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The unlocked, funded development accounts.
    pub fn accounts(&self) -> &[Address] {
        &self.accounts
    }

    /// Where the chain stood when the node started.
    pub fn start(&self) -> ChainStart {
        self.start
    }

    /// Stops the node, saves its state where the settings say so, and waits until its threads have ended.
    ///
    /// # Errors
    ///
    /// When the state could not be saved, or the node had failed before.
    pub async fn stop(mut self) -> Result<(), NodeError> {
        // The node may have ended by itself.
        let _ = self.stop.send(true);
        self.stopped().await;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(NodeError::Ended),
            None => Ok(()),
        }
    }

    /// Waits until the node has ended, for whatever reason.
    pub async fn stopped(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the channel closes with the node's thread.
        while ended.changed().await.is_ok() {}
    }
}

/// The node's thread: a runtime of its own, so that the node runs whatever its caller's does.
fn host(
    config: NodeConfig,
    started: oneshot::Sender<Result<Started, NodeError>>,
    stop: watch::Receiver<bool>,
) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("cordon-node")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(config, started, stop));
            runtime.shutdown_timeout(STOP_TIMEOUT);
            outcome
        }
        Err(error) => {
            // Nobody is left to tell when this fails.
            drop(started.send(Err(error.into())));
            Ok(())
        }
    }
}

async fn run(
    config: NodeConfig,
    started: oneshot::Sender<Result<Started, NodeError>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), NodeError> {
    let served = tokio::select! {
        served = serve(config) => served,
        // The caller gave up waiting.
        _ = stop.changed() => return Ok(()),
    };
    let Served {
        slot,
        servers,
        address,
        socket,
    } = match served {
        Ok(served) => served,
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = started.send(Err(error));
            return Ok(());
        }
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(produce(slot.clone()));
    tasks.spawn(save::regularly(slot.clone()));
    if let Some(serving) = socket {
        tasks.spawn(serving);
    }
    let node = slot.current();
    let report = Started {
        address,
        chain_id: node.chain_id,
        accounts: node.accounts.order.clone(),
        start: ChainStart::of(&node),
    };
    if started.send(Ok(report)).is_ok() {
        // Ends on the request to stop, and when the handle is dropped.
        let _ = stop.changed().await;
    }
    tasks.shutdown().await;
    let stopping = servers.into_iter().filter(|server| server.stop().is_ok());
    let stopped = join_all(stopping.map(ServerHandle::stopped));
    // Open connections are closed with the runtime when they do not end by themselves.
    let _ = tokio::time::timeout(STOP_TIMEOUT, stopped).await;
    save::now(&slot.current()).await.map_err(|error| NodeError::NotSaved {
        reason: error.to_string(),
    })
}

/// A node that answers.
struct Served {
    slot: Arc<Slot>,
    /// One for each address.
    servers: Vec<ServerHandle>,
    /// The first of them.
    address: SocketAddr,
    /// Answers on the socket of the settings, if there is one.
    socket: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

async fn serve(config: NodeConfig) -> Result<Served, NodeError> {
    // The port is taken first: finding it in use costs nothing yet.
    let listener = listen(SocketAddr::new(config.host, config.port))?;
    let address = listener.local_addr()?;
    let mut listeners = vec![listener];
    for host in &config.more_hosts {
        listeners.push(listen(SocketAddr::new(*host, address.port()))?);
    }
    let ipc = config.ipc.clone();
    save::clear(&config).await;
    let cors = Cors::new(config.allow_origin.as_deref());
    let slot = Arc::new(Slot::new(Arc::new(setup::node(config, None).await?)));
    let module = rpc::module(slot.clone()).map_err(|error| NodeError::State {
        reason: error.to_string(),
    })?;
    let sessions = Sessions::new(module.clone(), MAX_CONNECTIONS);
    let servers = listeners
        .into_iter()
        .map(|listener| start(listener, module.clone(), cors.clone(), sessions.clone()))
        .collect::<Result<_, NodeError>>()?;
    let socket = ipc.map(|path| open_socket(path, sessions)).transpose()?;
    Ok(Served {
        slot,
        servers,
        address,
        socket,
    })
}

/// Serves HTTP and WebSocket on a listener.
fn start(
    listener: TcpListener,
    methods: impl Into<Methods>,
    cors: Cors,
    sessions: Sessions,
) -> Result<ServerHandle, NodeError> {
    let config = ServerConfig::builder()
        .max_request_body_size(MAX_MESSAGE)
        .max_response_body_size(MAX_MESSAGE)
        .max_connections(MAX_CONNECTIONS)
        .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
        // WebSockets are served by sessions.
        .http_only()
        .build();
    let layers = tower::ServiceBuilder::new()
        .layer(cors)
        .layer(Wire::new(sessions))
        .layer(Bypass);
    let server = Server::builder()
        .set_config(config)
        .set_http_middleware(layers)
        .set_rpc_middleware(RpcServiceBuilder::new().layer(Bypass).layer_fn(Strict))
        .build_from_tcp(listener)?;
    Ok(server.start(methods))
}

#[cfg(unix)]
fn open_socket(path: PathBuf, sessions: Sessions) -> Result<Pin<Box<dyn Future<Output = ()> + Send>>, NodeError> {
    match crate::ipc::Socket::listen(&path) {
        Ok(socket) => Ok(Box::pin(socket.serve(sessions))),
        Err(source) => Err(NodeError::Ipc { path, source }),
    }
}

#[cfg(not(unix))]
fn open_socket(path: PathBuf, _: Sessions) -> Result<Pin<Box<dyn Future<Output = ()> + Send>>, NodeError> {
    let source = io::ErrorKind::Unsupported.into();
    Err(NodeError::Ipc { path, source })
}

fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => NodeError::PortInUse { address },
        _ => NodeError::Listen { address, source },
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Mines at fixed times while the node is set to.
async fn produce(slot: Arc<Slot>) {
    let mut mining = slot.current().mining.subscribe();
    loop {
        let mode = *mining.borrow_and_update();
        let (Mining::Interval(interval) | Mining::Mixed(interval)) = mode else {
            if mining.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
        // A machine that was busy does not make up for lost blocks in a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if let Err(error) = slot.current().exclusively(|node| node.mine(None)).await {
                        tracing::error!(%error, "no block could be mined");
                    }
                }
                changed = mining.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }
}
