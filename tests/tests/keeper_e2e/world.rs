//! A chain with the board, the guard and a configured keeper.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use alloy::sol_types::SolCall;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard;
use cordon_client::{CompiledConfig, Config};
use cordon_keeper::record::{Incident, Outcome, Store};
use cordon_keeper::{Keeper, KeeperError, KeeperEvent, Options, Signers};
use cordon_node::{NodeConfig, NodeHandle};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, creation_code};

pub(crate) const GOVERNOR: u32 = 0;
pub(crate) const GUARDIAN: u32 = 1;
pub(crate) const KEEPER: u32 = 2;
pub(crate) const HEARTBEAT: u32 = 3;
pub(crate) const USER: u32 = 4;
/// Another keeper, which holds no role.
pub(crate) const OTHER: u32 = 5;

/// Key of a development account.
pub(crate) fn key(index: u32) -> PrivateKeySigner {
    MnemonicBuilder::<English>::default()
        .phrase(cordon_node::DEFAULT_MNEMONIC)
        .index(index)
        .unwrap()
        .build()
        .unwrap()
}

/// Rules and containment calls of a test, in TOML.
pub(crate) struct Rules(pub(crate) &'static str);

/// A robust rule in TOML: what it reads of the board is at most 100. The last argument are lines of its own, which end it.
macro_rules! at_most {
    ($id:literal, $scope:literal, $read:literal) => {
        at_most!($id, $scope, $read, r#"severity = "P1""#)
    };
    ($id:literal, $scope:literal, $read:literal, $more:literal) => {
        concat!(
            "\n[[invariant]]\nid = \"",
            $id,
            "\"\nscope = \"",
            $scope,
            "\"\nrule = \"board.",
            $read,
            " <= 100\"\nrobust = true\nlevel = \"ReduceOnly\"\n",
            $more,
            "\n"
        )
    };
}

/// The containment call of a scope in TOML, of the market when none is named: it stops the board.
macro_rules! stop_board {
    () => {
        stop_board!("market", "set")
    };
    ($scope:literal, $function:literal) => {
        concat!(
            "\n[[containment]]\nid = \"stop-board\"\nscope = \"",
            $scope,
            "\"\nlevel = \"ReduceOnly\"\ncall = \"board.",
            $function,
            r#"(1, 1)"
done = "board.get(1) == 1"
closes = ["Increase"]
undo = [{ call = "board.set(1, 0)", undone = "board.get(1) == 0" }]
"#
        )
    };
}

/// A rule in TOML on every account that an event of the board names, which is its witness.
macro_rules! account_solvent {
    () => {
        at_most!(
            "account-solvent",
            "market",
            "debt(account)",
            r#"severity = "P1"
param = "account: address"
witness = { contract = "board", event = "event Touched(address indexed account)", field = "account" }"#
        )
    };
}
pub(crate) use {account_solvent, at_most, stop_board};

/// A robust rule on the gauge, and the call that stops the board.
pub(crate) const GAUGE_RULE: Rules = Rules(concat!(at_most!("gauge-low", "market", "get(0)"), stop_board!()));

pub(crate) struct World {
    pub(crate) node: NodeHandle,
    pub(crate) provider: DynProvider,
    pub(crate) board: Address,
    pub(crate) guard: Address,
    pub(crate) config: Config,
    pub(crate) compiled: CompiledConfig,
    pub(crate) dir: tempfile::TempDir,
    /// Whether blocks come by themselves.
    pub(crate) ticks: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn toml(
    node_http: &str,
    node_ws: &str,
    chain: u64,
    guard: Option<Address>,
    board: Address,
    rules: &Rules,
) -> String {
    let address = guard.map_or_else(String::new, |guard| format!("address = \"{guard}\""));
    let [governor, guardian, keeper, heartbeat] =
        [GOVERNOR, GUARDIAN, KEEPER, HEARTBEAT].map(|index| key(index).address());
    format!(
        r#"
[chain]
id  = {chain}
rpc = ["{node_http}"]
ws  = "{node_ws}"

[guard]
{address}
scopes     = ["protocol", "market"]
governor   = "{governor}"
guardians  = ["{guardian}"]
keepers    = ["{keeper}"]
heartbeats = ["{heartbeat}"]

[keeper]
store         = "cordon.db"
key           = {{ env = "CORDON_KEEPER_KEY" }}
heartbeat_key = {{ env = "CORDON_HEARTBEAT_KEY" }}
reports       = "incidents"

[contracts]
board = {{ address = "{board}", abi = ["function get(uint256 key) view returns (uint256)", "function debt(address account) view returns (uint256)", "function shy(uint256 key) view returns (uint256)", "function set(uint256 key, uint256 value)", "function stubborn(uint256 key, uint256 value)", "event Touched(address indexed account)"] }}
{}"#,
        rules.0
    )
}

impl World {
    /// A chain with a block every 250 ms.
    pub(crate) async fn new(rules: &Rules) -> Self {
        Self::with(
            rules,
            NodeConfig {
                block_time: Some(Duration::from_millis(250)),
                silent: true,
                ..NodeConfig::default()
            },
        )
        .await
    }

    pub(crate) async fn with(rules: &Rules, node: NodeConfig) -> Self {
        let ticks = node.block_time.is_some();
        let node = cordon_node::spawn(node).await.unwrap();
        let wallet: EthereumWallet = (0..6).fold(EthereumWallet::from(key(0)), |mut wallet, index| {
            wallet.register_signer(key(index));
            wallet
        });
        let provider = ProviderBuilder::new()
            .wallet(wallet)
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        provider.client().set_poll_interval(Duration::from_millis(20));
        let creation = TransactionRequest::default()
            .with_from(key(USER).address())
            .with_deploy_code(creation_code());
        let receipt = provider
            .send_transaction(creation)
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
        let board = receipt.contract_address.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cordon.toml");
        let (http, ws, chain) = (node.http_endpoint(), node.ws_endpoint(), node.chain_id());
        let before =
            Config::parse(&toml(&http, &ws, chain, None, board, rules), &path).unwrap_or_else(|e| panic!("{e}"));
        let compiled = before.compile().unwrap_or_else(|e| panic!("{e}"));
        let artifacts = Artifacts::load(&root().join("contracts/target/cordon"))
            .unwrap_or_else(|e| panic!("{e}; run scripts/build-contracts"));
        let from = key(GOVERNOR).address();
        let deployment = deploy_guard(&provider, from, &before, &compiled, &artifacts, GuardOptions::default())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let text = toml(&http, &ws, chain, Some(deployment.guard), board, rules);
        std::fs::write(&path, &text).unwrap();
        let config = Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
        Self {
            node,
            provider,
            board,
            guard: deployment.guard,
            config,
            compiled,
            dir,
            ticks,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options::from_config(&self.config).unwrap()
    }

    pub(crate) async fn store(&self) -> Store {
        let place = &self.config.keeper.as_ref().unwrap().store;
        Store::at(place, self.config.source.directory(), self.node.chain_id(), self.guard)
            .await
            .unwrap()
    }

    pub(crate) fn signers() -> Signers {
        Signers::local(key(KEEPER), Some(key(HEARTBEAT)))
    }

    pub(crate) async fn keeper(&self) -> Running {
        self.keeper_with(self.options(), self.store().await, Self::signers())
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// A keeper that has done every block there is.
    pub(crate) async fn keeper_at_head(&self, options: Options, store: Store, signers: Signers) -> Running {
        let mut keeper = self
            .keeper_with(options, store, signers)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        keeper.done(self.height().await).await;
        keeper
    }

    pub(crate) async fn keeper_with(
        &self,
        options: Options,
        store: Store,
        signers: Signers,
    ) -> Result<Running, KeeperError> {
        let keeper = Keeper::new(options, &self.compiled, store, signers).await?;
        Ok(Running::start(keeper).await)
    }

    pub(crate) async fn send(&self, from: u32, to: Address, data: Vec<u8>) -> TransactionReceipt {
        let tx = TransactionRequest::default().with_to(to).with_input(data);
        let receipt = self.mined(from, tx).await;
        assert!(receipt.status(), "a transaction of the test reverted");
        receipt
    }

    /// The receipt of a transaction, however it ended.
    pub(crate) async fn mined(&self, from: u32, tx: TransactionRequest) -> TransactionReceipt {
        let from = key(from).address();
        // As the chain has it: one that is remembered is wrong after a reorg.
        let nonce = self.provider.get_transaction_count(from).await.unwrap();
        let tx = tx.with_from(from).with_nonce(nonce);
        let hash = *self.provider.send_transaction(tx).await.unwrap().tx_hash();
        // Asked for outright: the provider's own wait looks at new heights only, and misses blocks after a reorg.
        let begun = Instant::now();
        loop {
            if let Some(receipt) = self.provider.get_transaction_receipt(hash).await.unwrap() {
                return receipt;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{hash} is not mined");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sets a number on the board; answers the block.
    pub(crate) async fn set(&self, key: U256, value: u64) -> u64 {
        let data = Board::setCall {
            key,
            value: U256::from(value),
        }
        .abi_encode();
        self.send(USER, self.board, data).await.block_number.unwrap()
    }

    pub(crate) async fn get(&self, key: U256) -> U256 {
        let data = Board::getCall { key }.abi_encode();
        let answer = self
            .provider
            .call(TransactionRequest::default().with_to(self.board).with_input(data))
            .await
            .unwrap();
        Board::getCall::abi_decode_returns(&answer).unwrap()
    }

    pub(crate) async fn status(&self, scope: u8) -> ICordonGuard::ScopeStatus {
        let guard = ICordonGuard::new(self.guard, &self.provider);
        guard.scopeStatus(scope).call().await.unwrap()
    }

    pub(crate) async fn level(&self, scope: u8) -> ICordonGuard::Level {
        self.status(scope).await.level
    }

    pub(crate) async fn nonce(&self, account: u32) -> u64 {
        self.provider
            .get_transaction_count(key(account).address())
            .await
            .unwrap()
    }

    pub(crate) async fn height(&self) -> u64 {
        self.provider.get_block_number().await.unwrap()
    }

    pub(crate) async fn rpc(&self, method: &'static str, params: serde_json::Value) -> serde_json::Value {
        self.provider.raw_request(method.into(), params).await.unwrap()
    }

    /// Waits until a height is reached.
    pub(crate) async fn reach(&self, height: u64) {
        until("the height is reached", || async { self.height().await >= height }).await;
    }
}

/// A keeper that runs in this process.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) events: broadcast::Receiver<KeeperEvent>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), KeeperError>>,
}

impl Running {
    async fn start(keeper: Keeper) -> Self {
        let (store, events, stop) = (keeper.store().clone(), keeper.subscribe(), CancellationToken::new());
        let task = tokio::spawn(keeper.run(stop.clone()));
        Self {
            store,
            events,
            stop,
            task,
        }
    }

    /// Waits for an event that matches.
    pub(crate) async fn event(&mut self, what: &str, matches: impl Fn(&KeeperEvent) -> bool) -> KeeperEvent {
        let wait = async {
            loop {
                match self.events.recv().await {
                    Ok(event) if matches(&event) => return event,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(error) => panic!("the keeper ended before {what}: {error}"),
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(event) => event,
            Err(_) => panic!(
                "{what}: nothing in 30 s; incidents {:#?}",
                self.store.incidents().await.unwrap()
            ),
        }
    }

    pub(crate) async fn contained(&mut self) -> (u64, Duration) {
        match self
            .event("containment", |event| matches!(event, KeeperEvent::Contained { .. }))
            .await
        {
            KeeperEvent::Contained {
                block,
                broadcast_to_contained,
                ..
            } => (block, broadcast_to_contained.unwrap_or_default()),
            _ => unreachable!(),
        }
    }

    /// Waits until the block of this height is done.
    pub(crate) async fn done(&mut self, height: u64) {
        self.event(
            "a block",
            |event| matches!(event, KeeperEvent::BlockDone { number, .. } if *number >= height),
        )
        .await;
    }

    pub(crate) async fn incident(&self) -> Incident {
        let mut incidents = self.store.incidents().await.unwrap();
        assert_eq!(incidents.len(), 1, "{incidents:#?}");
        incidents.remove(0)
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("it stops")
            .unwrap()
            .unwrap();
    }
}

/// How all actions of a record have ended, the first one first; `None` of those that have not.
pub(crate) async fn outcomes(store: &Store) -> Vec<Option<Outcome>> {
    let intents = store.intents().await.unwrap();
    intents.into_iter().map(|intent| intent.outcome).collect()
}

pub(crate) async fn until<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let begun = Instant::now();
    while !check().await {
        // Long enough for a machine that does much else: what is waited for comes within seconds, or never.
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
