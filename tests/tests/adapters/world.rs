//! A guard that holds roles of four published contracts, through adapters where the role is broader than one call: the contracts on a chain of
//! stock anvil, the guard on a fork of it.

use std::path::{Path, PathBuf};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, address, b256, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolEvent, SolValue};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard::{self, Level};
use cordon_node::{NodeConfig, NodeHandle};

use crate::live::Live;

sol! {
    interface IManager {
        function grantRole(uint64 role, address account, uint32 delay) external;
        function revokeRole(uint64 role, address account) external;
        function setTargetClosed(address target, bool closed) external;
        function isTargetClosed(address target) external view returns (bool);
    }
    interface IPausable {
        function grantRole(bytes32 role, address account) external;
        function revokeRole(bytes32 role, address account) external;
        function pause() external;
        function unpause() external;
        function paused() external view returns (bool);
    }
    interface ISafe {
        function setup(address[] calldata owners, uint256 threshold, address to, bytes calldata data, address handler, address token, uint256 payment, address receiver) external;
        function enableModule(address module) external;
        function disableModule(address previous, address module) external;
        function execTransaction(address to, uint256 value, bytes calldata data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address receiver, bytes calldata signatures) external returns (bool);
    }
    interface ISafeFactory {
        event ProxyCreation(address indexed proxy, address singleton);
        function createProxyWithNonce(address singleton, bytes calldata initializer, uint256 salt) external returns (address);
    }
    interface IProxyAdmin {
        function transferOwnership(address owner) external;
    }
    interface IAdapter {
        error NotGuard(address caller);
        function bind(address guard) external;
        function close() external;
        function open() external;
        function freeze() external;
        function thaw() external;
        function upgrade(address code, bytes calldata data) external;
        function handBack(address owner) external;
        function frozen() external view returns (bool);
    }
    interface IFeed {
        #[derive(Debug, PartialEq, Eq)]
        enum Notice { Calm, Contained, Stale, Silent }
        struct Status {
            Notice notice;
            uint8 level;
            uint64 since;
            uint64 expiresAt;
            uint64 incident;
            uint64 heartbeatAge;
        }
        error NotCalm(address guard, uint8 scope, Notice notice, uint8 level);
        function cover(address guard, address account, uint8 scope) external;
        function statusOfContract(address guard, address account, uint64 maxHeartbeatAge) external view returns (Status memory);
        function levelOf(address guard, uint8 scope) external view returns (uint8);
        function requireCalm(address guard, uint8 scope, uint64 maxHeartbeatAge) external view;
    }
    interface ISwitch {
        function close(address target) external;
        function open(address target) external;
    }
}

pub(crate) const OWNER: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
pub(crate) const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
pub(crate) const HOUR: u64 = 3600;
/// `keccak256("PAUSER_ROLE")`.
pub(crate) const PAUSER: B256 = b256!("65d7a28e3265b37a6474929f336521b332c1681b933f6cb9f3376673440d862a");
/// Slot in which a proxy keeps its admin.
const ADMIN_SLOT: B256 = b256!("b53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103");
pub(crate) const NOT_CALM: [u8; 4] = IFeed::NotCalm::SELECTOR;
pub(crate) const NOT_GUARD: [u8; 4] = IAdapter::NotGuard::SELECTOR;

pub(crate) struct World {
    live: Live,
    node: Option<NodeHandle>,
    /// Of the chain until [`World::fork`], of the fork from then on.
    pub(crate) provider: DynProvider,
    pub(crate) guard: Address,
    /// OpenZeppelin's AccessManager 5.4.0.
    pub(crate) manager: Address,
    /// A target of it.
    pub(crate) market: Address,
    pub(crate) switch: Address,
    /// OpenZeppelin's ERC20PresetMinterPauser 4.9.6; the guard itself is PAUSER.
    pub(crate) token: Address,
    /// Another one; a Safe 1.4.1 is PAUSER.
    safes_token: Address,
    safe: Address,
    lever: Address,
    freezer: Address,
}

impl World {
    /// A chain of stock anvil alone, without targets and guard.
    pub(crate) async fn bare() -> Self {
        let live = Live::start(&root()).await;
        let provider = ProviderBuilder::new()
            .connect_http(live.endpoint.parse().unwrap())
            .erased();
        Self {
            live,
            node: None,
            provider,
            guard: Address::ZERO,
            manager: Address::ZERO,
            market: Address::repeat_byte(0x77),
            switch: Address::ZERO,
            token: Address::ZERO,
            safes_token: Address::ZERO,
            safe: Address::ZERO,
            lever: Address::ZERO,
            freezer: Address::ZERO,
        }
    }

    pub(crate) async fn new() -> Self {
        let mut world = Self::bare().await;
        world.deploy_targets().await;
        world.fork().await;
        world.deploy_guard().await;
        world
    }

    /// From now on everything happens on a fork of the chain, on our node: what runs there already was deployed elsewhere, by others.
    pub(crate) async fn fork(&mut self) {
        let node = cordon_node::spawn(NodeConfig {
            silent: true,
            auto_impersonate: true,
            fork_url: Some(self.live.endpoint.parse().unwrap()),
            ..NodeConfig::default()
        });
        let node = node.await.unwrap();
        self.provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        self.node = Some(node);
        // The idle chain has let its base fee fall below the fork's floor.
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }

    /// The fork's endpoint.
    pub(crate) fn endpoint(&self) -> String {
        self.node.as_ref().expect("the fork").http_endpoint()
    }

    pub(crate) async fn stop(self) {
        if let Some(node) = self.node {
            node.stop().await.unwrap();
        }
        self.live.stop().await;
    }

    /// The published contracts and their adapters; the roles are given to adapters, not to the guard, where one is too broad.
    async fn deploy_targets(&mut self) {
        const OZ: &str = "@openzeppelin/contracts/build/contracts";
        const OZ4: &str = "openzeppelin-contracts-4/build/contracts";
        let manager = self
            .create(published(&format!("{OZ}/AccessManager.json")), OWNER.abi_encode())
            .await;
        let switch = (OWNER, manager, vec![self.market]).abi_encode_params();
        self.manager = manager;
        self.switch = self.create(ours("AccessManagerSwitch"), switch).await;
        let (role, account, delay) = (0, self.switch, 0);
        self.send(OWNER, manager, IManager::grantRoleCall { role, account, delay })
            .await;

        let preset = published(&format!("{OZ4}/ERC20PresetMinterPauser.json"));
        let named = ("Token".to_owned(), "TOK".to_owned()).abi_encode_params();
        self.token = self.create(preset.clone(), named.clone()).await;
        self.safes_token = self.create(preset, named).await;

        self.safe = self.create_safe().await;
        let (role, account) = (PAUSER, self.safe);
        self.send(OWNER, self.safes_token, IPausable::grantRoleCall { role, account })
            .await;
        let lever = (
            OWNER,
            self.safe,
            self.safes_token,
            Bytes::from(IPausable::pauseCall {}.abi_encode()),
            Bytes::from(IPausable::unpauseCall {}.abi_encode()),
        );
        self.lever = self.create(ours("SafeLever"), lever.abi_encode_params()).await;
        self.as_the_safe(ISafe::enableModuleCall { module: self.lever }.abi_encode())
            .await;

        // Any code will do behind the proxy: that of the token.
        let proxy = (self.token, OWNER, Bytes::new()).abi_encode_params();
        let proxy = self
            .create(published(&format!("{OZ}/TransparentUpgradeableProxy.json")), proxy)
            .await;
        let admin = self.provider.get_storage_at(proxy, ADMIN_SLOT.into()).await.unwrap();
        let admin = Address::from_word(admin.into());
        let freezer = (OWNER, admin, proxy, OWNER).abi_encode_params();
        self.freezer = self.create(ours("ProxyFreezer"), freezer).await;
        let owner = self.freezer;
        self.send(OWNER, admin, IProxyAdmin::transferOwnershipCall { owner })
            .await;
        let (code, data) = (self.token, Bytes::new());
        self.send(OWNER, self.freezer, IAdapter::upgradeCall { code, data })
            .await;
    }

    async fn create_safe(&self) -> Address {
        const SAFE: &str = "@safe-global/safe-contracts/build/artifacts/contracts";
        let singleton = self
            .create(published(&format!("{SAFE}/Safe.sol/Safe.json")), vec![])
            .await;
        let factory = published(&format!("{SAFE}/proxies/SafeProxyFactory.sol/SafeProxyFactory.json"));
        let factory = self.create(factory, vec![]).await;
        let setup = ISafe::setupCall {
            owners: vec![OWNER],
            threshold: U256::ONE,
            to: Address::ZERO,
            data: Bytes::new(),
            handler: Address::ZERO,
            token: Address::ZERO,
            payment: U256::ZERO,
            receiver: Address::ZERO,
        };
        let create = ISafeFactory::createProxyWithNonceCall {
            singleton,
            initializer: setup.abi_encode().into(),
            salt: U256::ONE,
        };
        let receipt = self.send(OWNER, factory, create).await;
        let logs = receipt.inner.logs().iter();
        let created = logs.filter_map(|log| ISafeFactory::ProxyCreation::decode_log(&log.inner).ok());
        created.last().unwrap().proxy
    }

    /// A transaction of the Safe, which its owner sends and thereby signs.
    async fn as_the_safe(&self, data: Vec<u8>) {
        let call = ISafe::execTransactionCall {
            to: self.safe,
            value: U256::ZERO,
            data: data.into(),
            operation: 0,
            safeTxGas: U256::ZERO,
            baseGas: U256::ZERO,
            gasPrice: U256::ZERO,
            gasToken: Address::ZERO,
            receiver: Address::ZERO,
            signatures: [&OWNER.into_word()[..], &[0; 32], &[1]].concat().into(),
        };
        self.send(OWNER, self.safe, call).await;
    }

    /// A guard as a `cordon.toml` says, not sealed yet.
    pub(crate) async fn guarded(&self, text: &str) -> Address {
        let root = root();
        let config = Config::parse(text, PathBuf::from("adapters.toml")).unwrap_or_else(|error| panic!("{error}"));
        let compiled = config.compile().unwrap_or_else(|error| panic!("{error}"));
        let artifacts = Artifacts::load(&Artifacts::directory(&root)).expect("run scripts/build-contracts first");
        let options = GuardOptions::default();
        let deployed = deploy_guard(&self.provider, OWNER, &config, &compiled, &artifacts, options).await;
        deployed.unwrap().guard
    }

    async fn deploy_guard(&mut self) {
        self.guard = self.guarded(&self.configuration()).await;
        let guard = self.guard;
        for adapter in [self.switch, self.lever, self.freezer] {
            self.send(OWNER, adapter, IAdapter::bindCall { guard }).await;
        }
        let (role, account) = (PAUSER, guard);
        self.send(OWNER, self.token, IPausable::grantRoleCall { role, account })
            .await;
        self.send(OWNER, guard, ICordonGuard::sealCall {}).await;
    }

    /// The four containment calls of docs/adapters.md.
    fn configuration(&self) -> String {
        let Self {
            market,
            switch,
            token,
            safes_token,
            lever,
            freezer,
            ..
        } = self;
        let endpoint = self.endpoint();
        format!(
            r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "market", "token", "treasury", "proxy"]
governor = "{OWNER}"
guardians = ["{GUARDIAN}"]
heartbeats = ["{OWNER}"]
governor_delay = "1 hour"
[contracts]
market   = {{ address = "{market}" }}
switch   = {{ address = "{switch}", abi = ["function close(address target)", "function open(address target)", "function isClosed(address target) view returns (bool)"] }}
token    = {{ address = "{token}", abi = ["function pause()", "function unpause()", "function paused() view returns (bool)"] }}
lever    = {{ address = "{lever}", abi = ["function close()", "function open()"] }}
treasury = {{ address = "{safes_token}", abi = ["function paused() view returns (bool)"] }}
freezer  = {{ address = "{freezer}", abi = ["function freeze()", "function thaw()", "function frozen() view returns (bool)"] }}
[[containment]]
id = "close-market"
scope = "market"
level = "ReduceOnly"
call = "switch.close(market)"
done = "switch.isClosed(market)"
closes = ["Deposit", "Trade", "Increase"]
undo = [{{ call = "switch.open(market)", undone = "!switch.isClosed(market)" }}]
[[containment]]
id = "pause-token"
scope = "token"
level = "ReduceOnly"
call = "token.pause()"
done = "token.paused()"
closes = ["Deposit", "Withdraw", "Trade"]
undo = [{{ call = "token.unpause()", undone = "!token.paused()" }}]
[[containment]]
id = "pause-through-the-safe"
scope = "treasury"
level = "ReduceOnly"
call = "lever.close()"
done = "treasury.paused()"
closes = ["Deposit", "Withdraw", "Trade"]
undo = [{{ call = "lever.open()", undone = "!treasury.paused()" }}]
[[containment]]
id = "freeze-proxy"
scope = "proxy"
level = "ReduceOnly"
call = "freezer.freeze()"
done = "freezer.frozen()"
closes = ["Deposit", "Withdraw", "Trade", "Increase", "Decrease", "Repay", "Settle", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
undo = [{{ call = "freezer.thaw()", undone = "!freezer.frozen()" }}]
"#
        )
    }

    /// Whether market, token, the Safe's token and proxy are closed, as they say themselves.
    pub(crate) async fn closed(&self) -> [bool; 4] {
        let target = self.market;
        [
            self.ask(self.manager, &IManager::isTargetClosedCall { target }).await,
            self.ask(self.token, &IPausable::pausedCall {}).await,
            self.ask(self.safes_token, &IPausable::pausedCall {}).await,
            self.ask(self.freezer, &IAdapter::frozenCall {}).await,
        ]
    }

    /// All that adapters do for the guard.
    pub(crate) fn adapter_calls(&self) -> [(Address, Vec<u8>); 6] {
        let target = self.market;
        [
            (self.switch, ISwitch::closeCall { target }.abi_encode()),
            (self.switch, ISwitch::openCall { target }.abi_encode()),
            (self.lever, IAdapter::closeCall {}.abi_encode()),
            (self.lever, IAdapter::openCall {}.abi_encode()),
            (self.freezer, IAdapter::freezeCall {}.abi_encode()),
            (self.freezer, IAdapter::thawCall {}.abi_encode()),
        ]
    }

    /// The Safe's owners take the lever away.
    pub(crate) async fn disable_module(&self) {
        let (previous, module) = (Address::with_last_byte(1), self.lever);
        self.as_the_safe(ISafe::disableModuleCall { previous, module }.abi_encode())
            .await;
    }

    /// The proxy's owner takes its admin back.
    pub(crate) async fn hand_back(&self) {
        self.send(OWNER, self.freezer, IAdapter::handBackCall { owner: OWNER })
            .await;
    }

    /// A feed of incidents.
    pub(crate) async fn feed(&self) -> Address {
        self.create(ours("IncidentFeed"), vec![]).await
    }

    /// Gas of a transaction with this call.
    pub(crate) async fn gas<C: SolCall>(&self, to: Address, call: &C) -> u64 {
        let request = Self::request(GUARDIAN, to, call.abi_encode());
        let sent = self.provider.send_transaction(request).await.unwrap();
        sent.get_receipt().await.unwrap().gas_used
    }

    pub(crate) async fn create(&self, code: Bytes, arguments: Vec<u8>) -> Address {
        let code = [&code[..], &arguments].concat();
        let request = TransactionRequest::default().with_from(OWNER).with_deploy_code(code);
        let sent = self.provider.send_transaction(request).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status(), "a deployment failed");
        receipt.contract_address.unwrap()
    }

    fn request(from: Address, to: Address, input: Vec<u8>) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_gas_limit(25_000_000)
            .with_input(input)
    }

    /// A transaction that passes.
    pub(crate) async fn send<C: SolCall>(&self, from: Address, to: Address, call: C) -> TransactionReceipt {
        let request = Self::request(from, to, call.abi_encode());
        let sent = self.provider.send_transaction(request).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status(), "{} was refused", C::SIGNATURE);
        receipt
    }

    /// What a call without a transaction answers.
    pub(crate) async fn ask<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let request = Self::request(GUARDIAN, to, call.abi_encode());
        C::abi_decode_returns(&self.provider.call(request).await.unwrap()).unwrap()
    }

    /// What such a call is refused with.
    pub(crate) async fn refused<C: SolCall>(&self, to: Address, call: &C) -> Bytes {
        self.refused_from(GUARDIAN, to, call.abi_encode()).await
    }

    pub(crate) async fn refused_from(&self, from: Address, to: Address, input: Vec<u8>) -> Bytes {
        let answer = self.provider.call(Self::request(from, to, input)).await;
        let error = answer.expect_err("the call must be refused");
        let payload = error.as_error_resp().unwrap_or_else(|| panic!("{error}"));
        payload.as_revert_data().unwrap_or_default()
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.provider.anvil_increase_time(seconds).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }
}

pub(crate) fn contain(scope: u8, level: Level, duration: u64) -> ICordonGuard::containCall {
    ICordonGuard::containCall {
        scope,
        level,
        duration: u32::try_from(duration).unwrap(),
        evidence: keccak256("dossier"),
    }
}

pub(crate) fn count<E: SolEvent>(receipt: &TransactionReceipt) -> usize {
    let logs = receipt.inner.logs().iter();
    logs.filter(|log| log.topics().first() == Some(&E::SIGNATURE_HASH))
        .count()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup and forge build", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Creation code as a package publishes it.
pub(crate) fn published(path: &str) -> Bytes {
    code_in(path, "bytecode")
}

/// Code of an account as a package publishes it.
pub(crate) fn published_at(path: &str) -> Bytes {
    code_in(path, "deployedBytecode")
}

fn code_in(path: &str, key: &str) -> Bytes {
    let artifact = json(&root().join("scripts/npm/node_modules").join(path));
    artifact[key].as_str().unwrap().parse().unwrap()
}

/// Creation code of an adapter, as forge wrote it.
pub(crate) fn ours(name: &str) -> Bytes {
    let artifact = json(&root().join(format!("out/{name}.sol/{name}.json")));
    artifact["bytecode"]["object"].as_str().unwrap().parse().unwrap()
}
