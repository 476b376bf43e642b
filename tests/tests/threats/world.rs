//! A guard on the node, with a market that it can close, values that its rules read, and a registered contract that makes any
//! calls in one transaction.

use std::path::{Path, PathBuf};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolEvent};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard::{self, Action, Level};
use cordon_node::{NodeConfig, NodeHandle};

sol! {
    interface Script {
        struct Step {
            address to;
            bytes data;
        }
        function run(Step[] calldata steps) external;
    }
}

pub(crate) const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
pub(crate) const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
pub(crate) const KEEPER: Address = address!("3c44cdddb6a900fa2b585dd299e03d12fa4293bc");
/// Sends heartbeats, and nothing else.
pub(crate) const BEATER: Address = address!("15d34aaf54267db7d7c367839aaf71a00a2c6a65");
pub(crate) const ANYONE: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");

/// EVM code of one word: calldata of a lone selector reads it, anything else sets it to the first argument.
const REGISTER: [u8; 38] = hex!("601a600c600039601a6000f336600414600e5760043560005500 5b60005460005260206000f3");

/// Contracts with many switches, that a configuration may name.
pub(crate) const DOORS: Address = address!("00000000000000000000000000000000000d0015");
pub(crate) const LAST: Address = address!("00000000000000000000000000000000000d0016");
/// Their code: with two arguments, sets the switch of the first one to the second; with one tells it.
pub(crate) const MANY: [u8; 28] = hex!("366044146013576004355460005260206000f35b6024356004355500");

pub(crate) const MARKET: u8 = 1;
pub(crate) const OTHER: u8 = 2;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Rules, by number.
pub(crate) const PRICE: u16 = 0;
pub(crate) const SPOT: u16 = 1;
pub(crate) const PRODUCT: u16 = 3;

pub(crate) struct World {
    pub(crate) node: NodeHandle,
    pub(crate) provider: DynProvider,
    pub(crate) guard: Address,
    /// The registered caller: a [`Script`].
    pub(crate) vault: Address,
    pub(crate) price: Address,
    pub(crate) gauge: Address,
    /// Closes the market.
    pub(crate) switch: Address,
    /// Pauses the protocol, repayment included.
    pub(crate) pause: Address,
    /// What every guard here is configured with.
    pub(crate) basis: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// A guard with more in its configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let node = cordon_node::spawn(NodeConfig {
            silent: true,
            auto_impersonate: true,
            ..NodeConfig::default()
        })
        .await
        .unwrap();
        let provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        let mut registers = [Address::ZERO; 4];
        for register in &mut registers {
            *register = create(&provider, REGISTER.to_vec().into()).await;
        }
        let [price, gauge, switch, pause] = registers;
        for many in [DOORS, LAST] {
            provider.anvil_set_code(many, MANY.to_vec().into()).await.unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let vault = create(&provider, creation_code("Script.sol/Script.json")).await;
        let basis = configuration(&node.http_endpoint(), vault, registers);
        let config = Config::parse(&format!("{basis}{more}"), PathBuf::from("threats.toml")).unwrap();
        let compiled = config.compile().unwrap();
        let artifacts = Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first");
        let options = GuardOptions::default();
        let deployed = deploy_guard(&provider, GOVERNOR, &config, &compiled, &artifacts, options)
            .await
            .unwrap();
        let world = Self {
            node,
            provider,
            guard: deployed.guard,
            vault,
            price,
            gauge,
            switch,
            pause,
            basis,
        };
        world
            .provider
            .anvil_set_balance(vault, U256::from(10).pow(U256::from(18)))
            .await
            .unwrap();
        world
    }

    /// A guard whose set-up has ended.
    pub(crate) async fn sealed() -> Self {
        let world = Self::new().await;
        world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
        world
    }

    /// What the announcement of programs names of their code.
    pub(crate) async fn codes(&self, programs: &[Address]) -> B256 {
        let mut hashes = Vec::new();
        for program in programs {
            let code = self.provider.get_code_at(*program).await.unwrap();
            hashes.extend_from_slice(keccak256(code).as_slice());
        }
        keccak256(hashes)
    }

    pub(crate) async fn send(&self, from: Address, to: Address, input: Vec<u8>) -> TransactionReceipt {
        self.send_with(from, to, input, 20_000_000).await
    }

    pub(crate) async fn send_with(&self, from: Address, to: Address, input: Vec<u8>, gas: u64) -> TransactionReceipt {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_gas_limit(gas)
            .with_input(input);
        let sent = self.provider.send_transaction(request).await.unwrap();
        sent.get_receipt().await.unwrap()
    }

    /// A call of the guard that passes.
    pub(crate) async fn ok<C: SolCall>(&self, from: Address, call: C) -> TransactionReceipt {
        let receipt = self.send(from, self.guard, call.abi_encode()).await;
        assert!(receipt.status(), "{} was refused", C::SIGNATURE);
        receipt
    }

    pub(crate) async fn call(&self, from: Address, to: Address, input: Vec<u8>) -> Result<Bytes, Bytes> {
        self.call_with(from, to, input, 20_000_000).await
    }

    pub(crate) async fn call_with(&self, from: Address, to: Address, input: Vec<u8>, gas: u64) -> Result<Bytes, Bytes> {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_gas_limit(gas)
            .with_input(input);
        self.provider.call(request).await.map_err(|error| {
            let payload = error.as_error_resp().unwrap_or_else(|| panic!("{error}"));
            payload.as_revert_data().unwrap_or_default()
        })
    }

    /// What the guard answers to a call without a transaction.
    pub(crate) async fn ask<C: SolCall>(&self, from: Address, call: C) -> Result<C::Return, Bytes> {
        let answer = self.call(from, self.guard, call.abi_encode()).await?;
        Ok(C::abi_decode_returns(&answer).unwrap())
    }

    /// A call of the guard that is refused with this error.
    pub(crate) async fn refused<C: SolCall, E: SolError>(&self, from: Address, call: C) -> E {
        let data = self.ask(from, call).await.err().expect("the call must be refused");
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data}"))
    }

    fn script(steps: Vec<(Address, Vec<u8>)>) -> Vec<u8> {
        let steps = steps
            .into_iter()
            .map(|(to, data)| Script::Step { to, data: data.into() });
        Script::runCall { steps: steps.collect() }.abi_encode()
    }

    /// Makes the calls in one transaction as the registered contract.
    pub(crate) async fn run(&self, steps: Vec<(Address, Vec<u8>)>) -> TransactionReceipt {
        self.send(ANYONE, self.vault, Self::script(steps)).await
    }

    /// The error with which such a transaction is refused.
    pub(crate) async fn run_refused<E: SolError>(&self, steps: Vec<(Address, Vec<u8>)>) -> E {
        let answer = self.call(ANYONE, self.vault, Self::script(steps)).await;
        let data = answer.expect_err("the transaction must be refused");
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data}"))
    }

    /// What such a transaction with so much gas answers, or is refused with.
    pub(crate) async fn run_within(&self, gas: u64, steps: Vec<(Address, Vec<u8>)>) -> Result<Bytes, Bytes> {
        self.call_with(ANYONE, self.vault, Self::script(steps), gas).await
    }

    pub(crate) fn enter(&self, scope: u8, action: Action) -> (Address, Vec<u8>) {
        self.enter_with(scope, action, Address::ZERO, 1)
    }

    pub(crate) fn enter_with(&self, scope: u8, action: Action, asset: Address, amount: u64) -> (Address, Vec<u8>) {
        let call = ICordonGuard::enterCall {
            scopes: scope.try_into().unwrap(),
            action: action as u8,
            asset,
            amount: U256::from(amount),
            account: ANYONE,
        };
        (self.guard, call.abi_encode())
    }

    /// `exit` with the ticket that `enter` gives.
    pub(crate) async fn exit(&self, scope: u8, action: Action) -> (Address, Vec<u8>) {
        let answer = self.call(self.vault, self.guard, self.enter(scope, action).1).await;
        let ticket = U256::from_be_slice(&answer.unwrap());
        (self.guard, ICordonGuard::exitCall { ticket }.abi_encode())
    }

    /// Whether a guarded call around nothing passes.
    pub(crate) async fn passes(&self, scope: u8, action: Action) -> bool {
        let (to, input) = self.enter(scope, action);
        let Ok(answer) = self.call(self.vault, to, input.clone()).await else {
            return false;
        };
        let ticket = U256::from_be_slice(&answer);
        let exit = (to, ICordonGuard::exitCall { ticket }.abi_encode());
        let steps = Self::script(vec![(to, input), exit]);
        self.call(ANYONE, self.vault, steps).await.is_ok()
    }

    pub(crate) fn setting(register: Address, value: U256) -> (Address, Vec<u8>) {
        (register, [&[0; 4][..], &value.to_be_bytes::<32>()].concat())
    }

    pub(crate) async fn set(&self, register: Address, value: u64) {
        let (to, input) = Self::setting(register, U256::from(value));
        assert!(self.send(ANYONE, to, input).await.status());
    }

    pub(crate) async fn is_set(&self, register: Address) -> bool {
        self.provider.get_storage_at(register, U256::ZERO).await.unwrap() == U256::from(1)
    }

    pub(crate) async fn level(&self, scope: u8) -> Level {
        self.status(scope).await.level
    }

    pub(crate) async fn status(&self, scope: u8) -> ICordonGuard::ScopeStatus {
        self.ask(ANYONE, ICordonGuard::scopeStatusCall { scope }).await.unwrap()
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.provider.anvil_increase_time(seconds).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }

    pub(crate) async fn set_code(&self, account: Address, code: Vec<u8>) {
        self.provider.anvil_set_code(account, code.into()).await.unwrap();
    }
}

/// A call of the guard, as a step of a script.
pub(crate) fn step<C: SolCall>(world: &World, call: &C) -> (Address, Vec<u8>) {
    (world.guard, call.abi_encode())
}

pub(crate) fn trip(rule: u16) -> ICordonGuard::tripCall {
    ICordonGuard::tripCall { rule, witness: vec![] }
}

pub(crate) fn contain(scope: u8, level: Level, duration: u64) -> ICordonGuard::containCall {
    ICordonGuard::containCall {
        scope,
        level,
        duration: u32::try_from(duration).unwrap(),
        evidence: B256::repeat_byte(1),
    }
}

/// Creation code of one of our Solidity contracts, as forge wrote it.
pub(crate) fn creation_code(path: &str) -> Bytes {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("out").join(path)).expect("run forge build first");
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    artifact["bytecode"]["object"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn create(provider: &DynProvider, code: Bytes) -> Address {
    let request = TransactionRequest::default().with_from(ANYONE).with_deploy_code(code);
    let sent = provider.send_transaction(request).await.unwrap();
    sent.get_receipt().await.unwrap().contract_address.unwrap()
}

pub(crate) fn events<E: SolEvent>(receipt: &TransactionReceipt) -> Vec<E> {
    let logs = receipt.inner.logs().iter();
    logs.filter_map(|log| E::decode_log(&log.inner).ok().map(|log| log.data))
        .collect()
}

fn configuration(endpoint: &str, vault: Address, [price, gauge, switch, pause]: [Address; 4]) -> String {
    format!(
        r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "market", "other", "more"]
callers = ["vault"]
governor = "{GOVERNOR}"
guardians = ["{GUARDIAN}"]
keepers = ["{KEEPER}"]
heartbeats = ["{BEATER}"]
governor_delay = "1 hour"
[contracts]
vault = {{ address = "{vault}", abi = ["function run()"] }}
price = {{ address = "{price}", abi = ["function value() view returns (uint256)"] }}
gauge = {{ address = "{gauge}", abi = ["function value() view returns (uint256)"] }}
switch = {{ address = "{switch}", abi = ["function closed() view returns (bool)", "function close(bool closed)"] }}
pause = {{ address = "{pause}", abi = ["function paused() view returns (bool)", "function pause(bool paused)"] }}
[[invariant]]
id = "price-low"
scope = "market"
rule = "price.value() <= 100"
robust = true
check = ["Increase", "Withdraw"]
in_call = "revert"
level = "ReduceOnly"
[[invariant]]
id = "price-spot"
scope = "market"
rule = "price.value() <= 200"
check = ["Deposit"]
in_call = "revert"
level = "ReduceOnly"
[[invariant]]
id = "price-steady"
scope = "market"
rule = "price.value() <= entry(price.value())"
check = ["Trade"]
in_call = "revert"
[[invariant]]
id = "product-low"
scope = "other"
rule = "gauge.value() * gauge.value() <= 10000"
robust = true
check = ["Increase", "Liquidate"]
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
[[containment]]
id = "pause"
scope = "protocol"
level = "Halted"
call = "pause.pause(true)"
done = "pause.paused()"
closes = ["Repay", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
undo = [{{ call = "pause.pause(false)", undone = "!pause.paused()" }}]
"#
    )
}
