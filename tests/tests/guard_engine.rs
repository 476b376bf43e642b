//! The guard's real programs on the node: deployed, activated, and led through an incident by transactions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs::File;
use std::path::{Path, PathBuf};

use alloy::eips::BlockId;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, U256, address, hex, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolError, SolEvent};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard::{self, Action, Level};
use cordon_node::{EngineChoice, NodeConfig, NodeHandle};

const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
const KEEPER: Address = address!("3c44cdddb6a900fa2b585dd299e03d12fa4293bc");
const BEATER: Address = address!("15d34aaf54267db7d7c367839aaf71a00a2c6a65");
const ANYONE: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");

/// EVM code of one word: calldata of a lone selector reads it, anything else sets it to the first argument.
const REGISTER: [u8; 38] = hex!("601a600c600039601a6000f336600414600e5760043560005500 5b60005460005260206000f3");

/// A chain that somebody else runs, and the key of an account there that has some ether.
const RPC_URL: &str = "CORDON_STYLUS_RPC_URL";
const RPC_KEY: &str = "CORDON_STYLUS_KEY";
/// The first development account's, worthless on any other chain.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// One test after the other on a chain that somebody else runs: they send as the same account.
fn take_turn() -> File {
    let path = std::env::temp_dir().join("cordon-stylus-rpc.lock");
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    file
}

struct World {
    node: NodeHandle,
    provider: DynProvider,
    guard: Address,
    /// The guarded contract: registered caller, price and switch.
    price: Address,
    switch: Address,
}

impl World {
    async fn new() -> Self {
        Self::on(NodeConfig::default()).await
    }

    /// A chain with these settings. With a first time given, a second passes with each block, whatever the clock says.
    async fn on(config: NodeConfig) -> Self {
        let counted = config.timestamp.is_some();
        let config = NodeConfig {
            silent: true,
            auto_impersonate: true,
            ..config
        };
        let node = cordon_node::spawn(config).await.unwrap();
        let provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        if counted {
            provider.anvil_set_block_timestamp_interval(1).await.unwrap();
        }
        let (price, switch) = (create(&provider, ANYONE).await, create(&provider, ANYONE).await);
        let guard = deploy(&provider, &node.http_endpoint(), (GOVERNOR, KEEPER), (price, switch)).await;
        provider
            .anvil_set_balance(price, U256::from(10).pow(U256::from(18)))
            .await
            .unwrap();
        Self {
            node,
            provider,
            guard,
            price,
            switch,
        }
    }

    async fn send(&self, from: Address, to: Address, input: Vec<u8>) -> TransactionReceipt {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_gas_limit(10_000_000)
            .with_input(input);
        self.provider
            .send_transaction(request)
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap()
    }

    async fn ok<C: SolCall>(&self, from: Address, call: C) -> TransactionReceipt {
        let receipt = self.send(from, self.guard, call.abi_encode()).await;
        assert!(receipt.status(), "{} was refused", C::SIGNATURE);
        receipt
    }

    /// What the guard answers to a call without a transaction.
    async fn ask<C: SolCall>(&self, from: Address, call: C) -> Result<C::Return, Vec<u8>> {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(self.guard)
            .with_input(call.abi_encode());
        match self.provider.call(request).await {
            Ok(data) => Ok(C::abi_decode_returns(&data).unwrap()),
            Err(error) => Err(error.as_error_resp().unwrap().as_revert_data().unwrap().to_vec()),
        }
    }

    async fn refused<C: SolCall, E: SolError>(&self, from: Address, call: C) -> E {
        let data = self.ask(from, call).await.err().expect("the call must be refused");
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data:x?}"))
    }

    async fn set(&self, register: Address, value: u64) {
        let input = [&[0; 4][..], &U256::from(value).to_be_bytes::<32>()].concat();
        assert!(self.send(ANYONE, register, input).await.status());
    }

    async fn closed(&self) -> bool {
        self.provider.get_storage_at(self.switch, U256::ZERO).await.unwrap() == U256::from(1)
    }

    async fn pass(&self, seconds: u64) {
        let head = self.provider.get_block(BlockId::latest()).await.unwrap().unwrap();
        let time = head.header.timestamp + seconds;
        self.provider.anvil_set_next_block_timestamp(time).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }

    fn enter(action: Action) -> ICordonGuard::enterCall {
        let (asset, amount) = (Address::ZERO, U256::from(1));
        ICordonGuard::enterCall {
            scopes: "1".parse().unwrap(),
            action: action as u8,
            asset,
            amount,
            account: ANYONE,
        }
    }
}

/// Deploys a guard that closes `switch` when `price` is above 100.
async fn deploy(
    provider: &DynProvider,
    url: &str,
    (governor, keeper): (Address, Address),
    (price, switch): (Address, Address),
) -> Address {
    let chain_id = provider.get_chain_id().await.unwrap();
    let text = format!(
        r#"
[chain]
id = {chain_id}
rpc = ["{url}"]
[guard]
scopes = ["protocol", "market"]
callers = ["price"]
governor = "{governor}"
guardians = ["{GUARDIAN}"]
keepers = ["{keeper}"]
heartbeats = ["{BEATER}"]
governor_delay = "1 hour"
[contracts]
price = {{ address = "{price}", abi = ["function value() view returns (uint256)"] }}
switch = {{ address = "{switch}", abi = ["function closed() view returns (bool)", "function close(bool closed)"] }}
[[invariant]]
id = "price-low"
scope = "market"
rule = "price.value() <= 100"
robust = true
check = ["Increase"]
in_call = "revert"
level = "ReduceOnly"
[[containment]]
id = "close"
scope = "market"
level = "ReduceOnly"
call = "switch.close(true)"
done = "switch.closed()"
closes = ["Increase"]
undo = [{{ call = "switch.close(false)", undone = "!switch.closed()" }}]
"#
    );
    let config = Config::parse(&text, PathBuf::from("guard_engine.toml")).unwrap();
    let compiled = config.compile().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let artifacts = Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first");
    // A guard of its own, on whatever chain: the same salt would find the one of the run before.
    let options = GuardOptions {
        salt: keccak256(price),
        ..GuardOptions::default()
    };
    deploy_guard(provider, governor, &config, &compiled, &artifacts, options)
        .await
        .unwrap()
        .guard
}

async fn create(provider: &DynProvider, from: Address) -> Address {
    let request = TransactionRequest::default()
        .with_from(from)
        .with_deploy_code(REGISTER.to_vec());
    let receipt = provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    receipt.contract_address.unwrap()
}

fn events<E: SolEvent>(receipt: &TransactionReceipt) -> Vec<E> {
    receipt
        .inner
        .logs()
        .iter()
        .filter_map(|log| E::decode_log(&log.inner).ok().map(|log| log.data))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_from_trip_to_settlement() {
    let world = World::new().await;
    incident(&world).await;
    world.node.stop().await.unwrap();
}

/// Everything that can be seen of the transactions of a chain: how each ended, its gas, and every host call with its ink.
async fn seen(world: &World) -> Vec<String> {
    let head = world.provider.get_block_number().await.unwrap();
    let mut seen = Vec::new();
    for number in 1..=head {
        let receipts = world.provider.get_block_receipts(number.into()).await.unwrap().unwrap();
        for receipt in receipts {
            let options = serde_json::json!({ "tracer": "stylusTracer" });
            let asked = (receipt.transaction_hash, options);
            let trace: serde_json::Value = world
                .provider
                .raw_request("debug_traceTransaction".into(), asked)
                .await
                .unwrap();
            let (status, gas) = (receipt.status(), receipt.gas_used);
            seen.push(format!("{status} {gas} {:?} {trace}", receipt.inner.logs()));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_does_the_same_on_either_engine_to_the_ink() {
    let mut runs = Vec::new();
    for wasm_engine in [EngineChoice::Wasmi, EngineChoice::Wasmtime] {
        let world = World::on(NodeConfig {
            wasm_engine,
            // Times are part of what is compared.
            timestamp: Some(1_760_000_000),
            ..NodeConfig::default()
        });
        let world = world.await;
        incident(&world).await;
        runs.push(seen(&world).await);
        world.node.stop().await.unwrap();
    }
    let [interpreted, native] = &runs[..] else {
        panic!("two runs")
    };
    assert!(interpreted.len() > 12, "{} transactions", interpreted.len());
    let host_calls: usize = interpreted.iter().map(|seen| seen.matches("startInk").count()).sum();
    assert!(host_calls > 200, "{host_calls} host calls");
    for (interpreted, native) in interpreted.iter().zip(native) {
        assert_eq!(interpreted, native, "wasmi left, wasmtime right");
    }
    assert_eq!(interpreted.len(), native.len());
}

/// On the chain that the environment names, or on one of its own: nothing is asked of it that a Nitro node does not do.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_works_on_the_chain_that_the_environment_names() {
    let (node, _turn) = match std::env::var(RPC_URL) {
        Ok(_) => (None, Some(take_turn())),
        Err(_) => (Some(cordon_node::spawn(NodeConfig::default()).await.unwrap()), None),
    };
    let own = node.as_ref().map(NodeHandle::http_endpoint);
    let url = own.unwrap_or_else(|| std::env::var(RPC_URL).unwrap());
    let key = std::env::var(RPC_KEY).unwrap_or_else(|_| KEY.to_owned());
    let key: PrivateKeySigner = key.parse().unwrap();
    let account = key.address();
    let provider = ProviderBuilder::new()
        .wallet(EthereumWallet::from(key))
        .connect_http(url.parse().unwrap())
        .erased();
    let (price, switch) = (create(&provider, account).await, create(&provider, account).await);
    // A keeper of its own: no account may have two of these roles.
    let guard = deploy(&provider, &url, (account, KEEPER), (price, switch)).await;
    let request = |to: Address, input: Vec<u8>| TransactionRequest::default().with_to(to).with_input(input);
    let send = async |to: Address, input: Vec<u8>| {
        let pending = provider.send_transaction(request(to, input)).await.unwrap();
        pending.get_receipt().await.unwrap()
    };
    let trip = ICordonGuard::tripCall {
        rule: 0,
        witness: vec![],
    };
    let error = provider.call(request(guard, trip.abi_encode())).await.unwrap_err();
    let data = error.as_error_resp().unwrap().as_revert_data().unwrap();
    ICordonGuard::RuleHolds::abi_decode(&data).unwrap();
    let set = [&[0; 4][..], &U256::from(101).to_be_bytes::<32>()].concat();
    assert!(send(price, set).await.status());
    let tripped = send(guard, trip.abi_encode()).await;
    assert!(tripped.status(), "{tripped:?}");
    assert_eq!(events::<ICordonGuard::LevelRaised>(&tripped)[0].to, Level::ReduceOnly);
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&tripped).len(), 1);
    let closed = provider.get_storage_at(switch, U256::ZERO).await.unwrap();
    assert_eq!(closed, U256::from(1));
    let status = ICordonGuard::scopeStatusCall { scope: 1 };
    let answer = provider.call(request(guard, status.abi_encode())).await.unwrap();
    let status = ICordonGuard::scopeStatusCall::abi_decode_returns(&answer).unwrap();
    assert_eq!((status.level, status.incident), (Level::ReduceOnly, 1));
    if let Some(node) = node {
        node.stop().await.unwrap();
    }
}

async fn incident(world: &World) {
    let trip = || ICordonGuard::tripCall {
        rule: 0,
        witness: vec![],
    };
    world.refused::<_, ICordonGuard::RuleHolds>(ANYONE, trip()).await;
    world.set(world.price, 101).await;

    let tripped = world.ok(ANYONE, trip()).await;
    assert_eq!(
        events::<ICordonGuard::RuleTripped>(&tripped)[0].observed,
        U256::from(101)
    );
    assert_eq!(events::<ICordonGuard::LevelRaised>(&tripped)[0].to, Level::ReduceOnly);
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&tripped).len(), 1);
    assert!(world.closed().await);
    let status = world
        .ask(ANYONE, ICordonGuard::scopeStatusCall { scope: 1 })
        .await
        .unwrap();
    assert_eq!(
        (status.level, status.incident, status.applied),
        (Level::ReduceOnly, 1, U256::from(1))
    );

    let again = world.ok(ANYONE, trip()).await;
    assert!(again.inner.logs().is_empty());
    assert!(again.gas_used < tripped.gas_used);

    let closed: ICordonGuard::ActionClosed = world.refused(world.price, World::enter(Action::Increase)).await;
    assert_eq!((closed.scope, closed.level), (1, Level::ReduceOnly));
    world.ok(world.price, World::enter(Action::Repay)).await;

    world.set(world.price, 100).await;
    world.ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: 1 }).await;
    world
        .refused::<_, ICordonGuard::ReleaseTooEarly>(GUARDIAN, ICordonGuard::releaseCall { scope: 1 })
        .await;
    world.pass(901).await;
    let released = world.ok(GUARDIAN, ICordonGuard::releaseCall { scope: 1 }).await;
    assert_eq!(events::<ICordonGuard::ContainmentUndone>(&released).len(), 1);
    assert!(!world.closed().await);
    world.pass(3601).await;
    let settled = world.ok(ANYONE, ICordonGuard::settleCall { scope: 1 }).await;
    assert_eq!(events::<ICordonGuard::IncidentClosed>(&settled)[0].incident, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_has_its_bounds_on_the_real_program() {
    let world = World::new().await;
    let evidence = B256::repeat_byte(7);
    let contain = |level, duration| ICordonGuard::containCall {
        scope: 1,
        level,
        duration,
        evidence,
    };
    world
        .refused::<_, ICordonGuard::HeartbeatStale>(KEEPER, contain(Level::ReduceOnly, 60))
        .await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world
        .refused::<_, ICordonGuard::DurationBeyondRole>(KEEPER, contain(Level::Halted, 901))
        .await;
    world
        .refused::<_, ICordonGuard::MissingRole>(ANYONE, contain(Level::Halted, 60))
        .await;
    let contained = world.ok(KEEPER, contain(Level::Halted, 900)).await;
    assert_eq!(events::<ICordonGuard::IncidentOpened>(&contained)[0].evidence, evidence);
    assert!(world.closed().await);
    let levels = world.ask(ANYONE, ICordonGuard::levelsCall {}).await.unwrap();
    assert_eq!(levels._0, U256::from(3 << 3));
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    let adopt = ICordonGuard::adoptRulebookCall {
        book: world.price,
        codeHash: B256::ZERO,
    };
    world.refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, adopt).await;
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_checks_its_rule_and_stops_the_attack() {
    let world = World::new().await;
    let ticket = world.ask(world.price, World::enter(Action::Increase)).await.unwrap();
    assert_ne!(ticket, U256::ZERO);
    world.ok(world.price, ICordonGuard::exitCall { ticket }).await;
    world.set(world.price, 101).await;
    let breached: ICordonGuard::RuleBreached = world.refused(world.price, ICordonGuard::exitCall { ticket }).await;
    assert_eq!((breached.observed, breached.bound), (U256::from(101), U256::from(100)));
    world
        .refused::<_, ICordonGuard::NotRegistered>(ANYONE, World::enter(Action::Deposit))
        .await;
    world.node.stop().await.unwrap();
}

/// Code of a switch that, when it is set, calls back into its caller: `retryContainment(1)`, noting in slot 1 whether it
/// succeeded (2) or not (1), then the view `levels()`, noted in slot 2.
fn meddling_switch() -> Vec<u8> {
    let call = |selector: [u8; 4]| [&[0x63][..], &selector, &hex!("60e01b600052")].concat();
    [
        &hex!("36600414 61004e 57")[..],
        &call(ICordonGuard::retryContainmentCall::SELECTOR),
        &hex!("6001600452 60006000602460006000335af1 6001016001 55"),
        &call(ICordonGuard::levelsCall::SELECTOR),
        &hex!("6000600060046000335afa 6001016002 55 60043560005500"),
        &hex!("5b60005460005260206000f3"),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contained_contract_cannot_meddle() {
    let world = World::new().await;
    world
        .provider
        .anvil_set_code(world.switch, meddling_switch().into())
        .await
        .unwrap();
    world.set(world.price, 101).await;
    let tripped = world
        .ok(
            ANYONE,
            ICordonGuard::tripCall {
                rule: 0,
                witness: vec![],
            },
        )
        .await;
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&tripped).len(), 1);
    assert!(world.closed().await);
    let noted = |slot: u64| world.provider.get_storage_at(world.switch, U256::from(slot));
    assert_eq!(
        noted(1).await.unwrap(),
        U256::from(1),
        "the guard is locked while it calls out"
    );
    assert_eq!(noted(2).await.unwrap(), U256::from(2), "its views answer");
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_has_no_effect_is_reported_and_retried() {
    let world = World::new().await;
    // Answers success to everything, and zero.
    world
        .provider
        .anvil_set_code(world.switch, hex!("60206000f3").into())
        .await
        .unwrap();
    world.set(world.price, 101).await;
    let tripped = world
        .ok(
            ANYONE,
            ICordonGuard::tripCall {
                rule: 0,
                witness: vec![],
            },
        )
        .await;
    assert_eq!(events::<ICordonGuard::ContainmentFailed>(&tripped).len(), 1);
    assert_eq!(
        events::<ICordonGuard::LevelRaised>(&tripped).len(),
        1,
        "the level holds all the same"
    );
    world
        .provider
        .anvil_set_code(world.switch, meddling_switch().into())
        .await
        .unwrap();
    let retried = world.ok(ANYONE, ICordonGuard::retryContainmentCall { scope: 1 }).await;
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&retried).len(), 1);
    assert!(world.closed().await);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_chooses_the_gas_does_not_choose_the_outcome() {
    let world = World::new().await;
    world.set(world.price, 101).await;
    let input = ICordonGuard::tripCall {
        rule: 0,
        witness: vec![],
    }
    .abi_encode();
    let mut refused = 0;
    for gas in (60_000..2_000_000u64).step_by(60_000) {
        let request = TransactionRequest::default()
            .with_from(ANYONE)
            .with_to(world.guard)
            .with_gas_limit(gas)
            .with_input(input.clone());
        let receipt = world
            .provider
            .send_transaction(request)
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
        let failed = events::<ICordonGuard::ContainmentFailed>(&receipt).len();
        assert_eq!(failed, 0, "with {gas} gas the containment call was starved");
        assert_eq!(receipt.status(), world.closed().await, "with {gas} gas");
        if receipt.status() {
            break;
        }
        refused += 1;
    }
    assert!(refused > 0 && world.closed().await);
    world.node.stop().await.unwrap();
}
