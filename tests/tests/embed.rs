//! A protocol that embeds the guard's hooks, on the node: closed and opened by a guard, and what its hooks cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::{Path, PathBuf};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256, address};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::{SolCall, SolError};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard, deploy_program};
use cordon_client::guard::ICordonGuard::{self, Level};
use cordon_client::program::Program;
use cordon_node::NodeConfig;

sol! {
    #[sol(rpc)]
    interface Till {
        error ActionClosed(uint8 scope, uint8 level, uint8 action);
        error AlreadyBound(address guard);
        error NotTheGuard(address caller);
        function bind(address guard) external;
        function setLevel(uint8 scope, uint8 level) external;
        function levelOf(uint8 scope) external view returns (uint8);
        function deposit(uint256 amount) external;
        function withdraw(uint256 amount) external;
        function repay(uint256 amount) external;
        function measure() external returns (uint256);
    }
}

const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
const USER: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");

struct World {
    provider: DynProvider,
    till: Address,
    guard: Address,
}

impl World {
    async fn send<C: SolCall>(&self, from: Address, to: Address, call: C) -> bool {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_gas_limit(10_000_000)
            .with_input(call.abi_encode());
        let sent = self.provider.send_transaction(request).await.unwrap();
        sent.get_receipt().await.unwrap().status()
    }

    async fn refused<C: SolCall, E: SolError>(&self, from: Address, call: C) -> E {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(self.till)
            .with_input(call.abi_encode());
        let error = self.provider.call(request).await.expect_err("the call must be refused");
        let data = error.as_error_resp().unwrap().as_revert_data().unwrap_or_default();
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data}"))
    }

    async fn pass(&self, seconds: u64) {
        self.provider.anvil_increase_time(seconds).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
    }
}

fn configuration(endpoint: &str, till: Address) -> String {
    let undone = "till.levelOf(1) == 0 || till.levelOf(1) == 4";
    format!(
        r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "till"]
governor = "{GOVERNOR}"
guardians = ["{GUARDIAN}"]
[contracts]
till = {{ address = "{till}", abi = ["function setLevel(uint8 scope, uint8 level)", "function levelOf(uint8 scope) view returns (uint8)"] }}
[[containment]]
id = "reduce-only"
scope = "till"
level = "ReduceOnly"
call = "till.setLevel(1, 2)"
done = "till.levelOf(1) == 2 || till.levelOf(1) == 3"
closes = ["Deposit", "Trade", "Increase"]
undo = [{{ call = "till.setLevel(1, 0)", undone = "{undone}" }}]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_is_closed_and_opened_by_its_guard_in_its_own_frame() {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = Artifacts::directory(root);
    let program =
        Program::load(&directory.join("example-embedded.bin")).expect("run scripts/build-contracts --example first");
    let till = deploy_program(&provider, GOVERNOR, &program).await.unwrap();
    let config = Config::parse(&configuration(&node.http_endpoint(), till), PathBuf::from("embed.toml")).unwrap();
    let compiled = config.compile().unwrap();
    let artifacts = Artifacts::load(&directory).expect("run scripts/build-contracts first");
    let options = GuardOptions {
        seals: false,
        ..GuardOptions::default()
    };
    let deployed = deploy_guard(&provider, GOVERNOR, &config, &compiled, &artifacts, options)
        .await
        .unwrap();
    let world = World {
        provider,
        till,
        guard: deployed.guard,
    };
    assert!(world.send(GOVERNOR, till, Till::bindCall { guard: world.guard }).await);
    let again: Till::AlreadyBound = world.refused(USER, Till::bindCall { guard: USER }).await;
    assert_eq!(again.guard, world.guard);

    // What is asked of the hooks on a quiet day, storage cold.
    let cost = Till::new(till, &world.provider).measure().call().await.unwrap();
    println!("enter + exit, embedded: {cost} gas");
    assert!(cost <= U256::from(6_000), "{cost}");

    let amount = U256::from(100);
    assert!(world.send(USER, till, Till::depositCall { amount }).await);
    assert!(world.send(USER, till, Till::withdrawCall { amount }).await);
    assert!(world.send(USER, till, Till::depositCall { amount }).await);

    let contain = ICordonGuard::containCall {
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3600,
        evidence: B256::ZERO,
    };
    assert!(world.send(GUARDIAN, world.guard, contain).await);
    let closed: Till::ActionClosed = world.refused(USER, Till::depositCall { amount }).await;
    assert_eq!((closed.scope, closed.level, closed.action), (1, 2, 0));
    assert!(
        world
            .send(USER, till, Till::withdrawCall { amount: U256::from(40) })
            .await,
        "exits stay open"
    );
    assert!(world.send(USER, till, Till::repayCall { amount }).await);

    // A stranger opens nothing, and closes nothing.
    for level in [0, 3] {
        let refused: Till::NotTheGuard = world.refused(USER, Till::setLevelCall { scope: 1, level }).await;
        assert_eq!(refused.caller, USER);
    }
    // Everything that the guard has done is undone when its level has expired; an hour of grace, and the till is open.
    world.pass(3 * 3600 + 60).await;
    assert!(
        world
            .send(USER, world.guard, ICordonGuard::settleCall { scope: 1 })
            .await
    );
    let level = Till::new(till, &world.provider).levelOf(1).call().await.unwrap();
    assert_eq!(level, Level::Grace as u8);
    world.pass(3600).await;
    assert!(world.send(USER, till, Till::depositCall { amount }).await);
    node.stop().await.unwrap();
}
