//! A node with a guard, a limiter and a treasury that only its limits protect.

use std::path::{Path, PathBuf};

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolEvent, SolValue};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_at_fixed_address, deploy_guard, deploy_program};
use cordon_client::guard::ICordonGuard;
use cordon_client::program::Program;
use cordon_node::{NodeConfig, NodeHandle};

sol!("../contracts/solidity/src/ICordonLimiter.sol");

sol! {
    interface Treasury {
        event Measured(uint256 gas);
        function payOut(address asset, uint8 class, address to, uint256 amount) external returns (uint256 item);
        function paidIn(address asset, uint8 class, address account, uint256 amount) external;
        function roundTrip(address asset, address account, uint256 amountIn, uint256 amountOut) external;
        function payOut7265(address asset, address to, uint256 amount) external;
        function payOutMeasured(address asset, address to, uint256 amount) external;
        function paidIn7265(address asset, uint256 amount) external;
        function measureOutflow(address asset, uint8 class, address account, uint256 amount) external;
        function measureInflow(address asset, uint8 class, address account, uint256 amount) external;
        function measureOutflow7265(address asset, address to, uint256 amount) external;
    }

    /// With a number, because an enum of Rust cannot be out of range.
    interface Holds {
        function setHold(address protocol, address asset, uint8 class, uint8 hold) external;
        function holdFor(uint8 scope, address protocol, address asset, uint8 class, uint8 hold) external;
        function letGo(uint8 scope, address protocol, address asset, uint8 class, uint8 hold) external;
    }

    interface Token {
        function mint(address to, uint256 amount) external;
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external;
        function rebase(uint256 newIndex) external;
        function block_(address account, bool yes) external;
    }

    interface Recipient {
        function set(bool refuses, uint256 item) external;
        function reentered() external view returns (bool);
        function redirect(uint256 item, address to) external;
    }
}

pub const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
pub const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
pub const ANYONE: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");
/// Users with nothing at the outset.
pub const ALICE: Address = address!("00000000000000000000000000000000000a11ce");
pub const BOB: Address = address!("0000000000000000000000000000000000000b0b");
pub const NATIVE: Address = address!("0000000000000000000000000000000000000001");

/// Units that may leave per period, in every test's limit.
pub const LIMIT: u64 = 1_000_000;
/// Period and delay of quarantine, seconds.
pub const DAY: u64 = 86_400;
/// What the treasury has of everything.
pub const RICHES: u64 = 1_000_000_000;

pub struct World {
    pub node: NodeHandle,
    pub provider: DynProvider,
    pub guard: Address,
    pub limiter: Address,
    pub treasury: Address,
    /// OpenZeppelin's ERC-20, as Aave's package carries it.
    pub token: Address,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn creation_code(path: &Path, pointer: &str) -> Bytes {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    artifact.pointer(pointer).unwrap().as_str().unwrap().parse().unwrap()
}

impl World {
    pub async fn new() -> Self {
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
        let oz = root().join("scripts/npm/node_modules/@aave/core-v3/artifacts/contracts/mocks/tokens/MintableERC20.sol/MintableERC20.json");
        let arguments = ("Token".to_owned(), "TKN".to_owned(), U256::from(6)).abi_encode_params();
        let token = create(
            &provider,
            [creation_code(&oz, "/bytecode").to_vec(), arguments].concat(),
        )
        .await;
        let mint = Token::mintCall {
            to: ANYONE,
            amount: U256::from(RICHES),
        };
        assert!(send(&provider, ANYONE, token, mint, 1_000_000).await.status());
        let guard = guard(&provider, &node, token).await;
        let program = Program::load(&Artifacts::directory(&root()).join("limiter.bin"))
            .expect("run scripts/build-contracts first");
        let init = ICordonLimiter::initializeCall {
            guard,
            delay: DAY.try_into().unwrap(),
        };
        let (limiter, _) = deploy_at_fixed_address(
            &provider,
            GOVERNOR,
            &program,
            init.abi_encode().into(),
            B256::with_last_byte(1),
        )
        .await
        .unwrap();
        let mut world = Self {
            node,
            provider,
            guard,
            limiter,
            treasury: Address::ZERO,
            token,
        };
        world.treasury = world
            .ours("LimitedTreasury", "LimitedTreasury", &limiter.abi_encode())
            .await;
        let give = Token::transferCall {
            to: world.treasury,
            amount: U256::from(RICHES),
        };
        world.ok(ANYONE, token, give).await;
        // The guard's own calls are sent from its account here.
        let ether = U256::from(10).pow(U256::from(18));
        world.provider.anvil_set_balance(guard, ether).await.unwrap();
        world
            .provider
            .anvil_set_balance(world.treasury, U256::from(RICHES))
            .await
            .unwrap();
        for asset in [token, NATIVE] {
            world.limit(asset, |_| {}).await;
        }
        world
    }

    /// The limiter's program, put on the chain in two steps and not set up.
    pub async fn bare_limiter(&self) -> Address {
        let program = Program::load(&Artifacts::directory(&root()).join("limiter.bin")).unwrap();
        deploy_program(&self.provider, GOVERNOR, &program).await.unwrap()
    }

    /// One of our Solidity contracts, with constructor arguments.
    pub async fn ours(&self, file: &str, name: &str, arguments: &[u8]) -> Address {
        let path = root().join(format!("out/{file}.sol/{name}.json"));
        let code = creation_code(&path, "/bytecode/object");
        create(&self.provider, [&code[..], arguments].concat()).await
    }

    /// Makes the treasury rich.
    pub async fn mint(&self, token: Address) {
        let mint = Token::mintCall {
            to: self.treasury,
            amount: U256::from(RICHES),
        };
        assert!(self.send(ANYONE, token, mint).await.status());
    }

    /// An odd token, limited, of which the treasury has plenty.
    pub async fn odd(&self, name: &str, rebasing: bool) -> Address {
        let token = self.ours("OddTokens", name, &[]).await;
        self.mint(token).await;
        self.limit(token, |limit| limit.rebasing = rebasing).await;
        token
    }

    pub fn limit_call(
        &self,
        asset: Address,
        change: impl FnOnce(&mut ICordonLimiter::Limit),
    ) -> ICordonLimiter::setLimitCall {
        let mut limit = ICordonLimiter::Limit {
            units: LIMIT.into(),
            period: DAY.try_into().unwrap(),
            share: 0,
            scope: 1,
            rebasing: false,
            elastic: false,
        };
        change(&mut limit);
        ICordonLimiter::setLimitCall {
            protocol: self.treasury,
            asset,
            class: 0,
            limit,
        }
    }

    pub async fn limit(&self, asset: Address, change: impl FnOnce(&mut ICordonLimiter::Limit)) {
        self.ok(GOVERNOR, self.limiter, self.limit_call(asset, change)).await;
    }

    pub async fn send<C: SolCall>(&self, from: Address, to: Address, call: C) -> TransactionReceipt {
        self.send_with_gas(from, to, call, 10_000_000).await
    }

    pub async fn send_with_gas<C: SolCall>(&self, from: Address, to: Address, call: C, gas: u64) -> TransactionReceipt {
        send(&self.provider, from, to, call, gas).await
    }

    pub async fn ok<C: SolCall>(&self, from: Address, to: Address, call: C) -> TransactionReceipt {
        let receipt = self.send(from, to, call).await;
        assert!(receipt.status(), "{} was refused", C::SIGNATURE);
        receipt
    }

    pub async fn ask<C: SolCall>(&self, from: Address, to: Address, call: C) -> Result<C::Return, Vec<u8>> {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_input(call.abi_encode());
        match self.provider.call(request).await {
            Ok(data) => Ok(C::abi_decode_returns(&data).unwrap()),
            Err(error) => Err(error
                .as_error_resp()
                .unwrap()
                .as_revert_data()
                .unwrap_or_default()
                .to_vec()),
        }
    }

    /// The error that a call of the limiter is refused with.
    pub async fn refused<C: SolCall, E: SolError>(&self, from: Address, call: C) -> E {
        self.refused_by(self.limiter, from, call).await
    }

    /// The error that a call of a contract is refused with.
    pub async fn refused_by<C: SolCall, E: SolError>(&self, contract: Address, from: Address, call: C) -> E {
        let data = self
            .ask(from, contract, call)
            .await
            .err()
            .expect("the call must be refused");
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data:x?}"))
    }

    pub async fn balance(&self, asset: Address, account: Address) -> u64 {
        let balance = if asset == NATIVE {
            self.provider.get_balance(account).await.unwrap()
        } else {
            self.ask(ANYONE, asset, Token::balanceOfCall { account }).await.unwrap()
        };
        balance.try_into().unwrap()
    }

    /// The treasury pays; answers the item in quarantine.
    pub async fn pay(&self, asset: Address, to: Address, amount: u64) -> Option<ICordonLimiter::Quarantined> {
        let call = Treasury::payOutCall {
            asset,
            class: 0,
            to,
            amount: U256::from(amount),
        };
        let receipt = self.ok(ANYONE, self.treasury, call).await;
        events(&receipt).pop()
    }

    pub async fn available(&self, asset: Address) -> u64 {
        let call = ICordonLimiter::limitOfCall {
            protocol: self.treasury,
            asset,
            class: 0,
        };
        self.ask(ANYONE, self.limiter, call)
            .await
            .unwrap()
            .available
            .try_into()
            .unwrap()
    }

    pub async fn release(&self, item: U256) -> ICordonLimiter::Released {
        let receipt = self
            .ok(ANYONE, self.limiter, ICordonLimiter::releaseCall { item })
            .await;
        events(&receipt).pop().unwrap()
    }

    /// Raises the scope of all limits.
    pub async fn contain(&self, level: ICordonGuard::Level, duration: u32) {
        assert!(self.contain_if_allowed(level, duration).await);
    }

    /// The same; false when the guard refuses.
    pub async fn contain_if_allowed(&self, level: ICordonGuard::Level, duration: u32) -> bool {
        let call = ICordonGuard::containCall {
            scope: 1,
            level,
            duration,
            evidence: B256::ZERO,
        };
        self.send(GUARDIAN, self.guard, call).await.status()
    }

    pub async fn now(&self) -> u64 {
        self.provider
            .get_block(BlockId::latest())
            .await
            .unwrap()
            .unwrap()
            .header
            .timestamp
    }

    pub async fn pass(&self, seconds: u64) {
        self.provider.anvil_increase_time(seconds).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }
}

async fn send<C: SolCall>(provider: &DynProvider, from: Address, to: Address, call: C, gas: u64) -> TransactionReceipt {
    let request = TransactionRequest::default()
        .with_from(from)
        .with_to(to)
        .with_gas_limit(gas)
        .with_input(call.abi_encode());
    provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap()
}

async fn create(provider: &DynProvider, code: Vec<u8>) -> Address {
    let request = TransactionRequest::default()
        .with_from(ANYONE)
        .with_gas_limit(10_000_000)
        .with_deploy_code(code);
    let receipt = provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status(), "a contract was not created");
    receipt.contract_address.unwrap()
}

/// A guard with one market and a rule that never fails: the limits are what matters here.
pub fn guard_config(rpc: &str, token: Address) -> String {
    format!(
        r#"
[chain]
id = 31337
rpc = ["{rpc}"]
[guard]
scopes = ["protocol", "market"]
callers = ["token"]
governor = "{GOVERNOR}"
guardians = ["{GUARDIAN}"]
governor_delay = "1 hour"
[contracts]
token = {{ address = "{token}", abi = "erc20" }}
[[invariant]]
id = "supply"
scope = "market"
rule = "token.totalSupply() > 0"
robust = true
level = "ReduceOnly"
"#
    )
}

async fn guard(provider: &DynProvider, node: &NodeHandle, token: Address) -> Address {
    let text = guard_config(&node.http_endpoint(), token);
    let config = Config::parse(&text, PathBuf::from("limiter.toml")).unwrap();
    let compiled = config.compile().unwrap();
    let artifacts = Artifacts::load(&Artifacts::directory(&root())).expect("run scripts/build-contracts first");
    let options = GuardOptions::default();
    deploy_guard(provider, GOVERNOR, &config, &compiled, &artifacts, options)
        .await
        .unwrap()
        .guard
}

pub fn events<E: SolEvent>(receipt: &TransactionReceipt) -> Vec<E> {
    let logs = receipt.inner.logs().iter();
    logs.filter_map(|log| E::decode_log(&log.inner).ok().map(|log| log.data))
        .collect()
}
