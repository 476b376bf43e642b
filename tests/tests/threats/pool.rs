//! A pool that runs empty, and one that is given a little: what looks like an attack, and is none.

use std::path::{Path, PathBuf};

use alloy::primitives::{Address, U256, keccak256};
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolValue};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard;

use crate::world::{ANYONE, GOVERNOR, GUARDIAN, World, create, creation_code, trip};

sol! {
    interface Vault {
        function setGuard(address guard) external;
        function deposit(uint256 assets, address receiver) external returns (uint256);
        function redeem(uint256 shares, address receiver) external returns (uint256);
        function totalSupply() external view returns (uint256);
    }
    interface Token {
        function mint(address to, uint256 amount) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
    }
}

/// A guard of the vault with one rule for deposits and withdrawals, and what the checker says of the rule.
async fn guarding(world: &World, [token, vault]: [Address; 2], rule: &str) -> (Address, Vec<String>) {
    let endpoint = world.node.http_endpoint();
    let text = format!(
        r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "vault"]
callers = ["vault"]
governor = "{GOVERNOR}"
guardians = ["{GUARDIAN}"]
heartbeats = ["{GUARDIAN}"]
governor_delay = "1 hour"
[contracts]
vault = {{ address = "{vault}", abi = "erc4626" }}
token = {{ address = "{token}", abi = "erc20" }}
[[invariant]]
id = "backed"
scope = "vault"
rule = "{rule}"
robust = true
level = "ReduceOnly"
check = ["Deposit", "Withdraw"]
in_call = "revert"
"#
    );
    let config = Config::parse(&text, PathBuf::from("pool.toml")).unwrap();
    let compiled = config.compile().unwrap();
    let warnings = compiled
        .warnings
        .iter()
        .map(|warning| warning.message.clone())
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let artifacts = Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first");
    // A guard of its own for each rule.
    let options = GuardOptions {
        salt: keccak256(rule),
        ..GuardOptions::default()
    };
    let deployed = deploy_guard(&world.provider, GOVERNOR, &config, &compiled, &artifacts, options).await;
    (deployed.unwrap().guard, warnings)
}

async fn does<C: SolCall>(world: &World, to: Address, call: C) -> bool {
    world.send(ANYONE, to, call.abi_encode()).await.status()
}

fn amount() -> U256 {
    U256::from(1_000_000)
}

fn deposit() -> Vault::depositCall {
    Vault::depositCall {
        assets: amount(),
        receiver: ANYONE,
    }
}

/// A token and a vault of it with one depositor, whose hooks sleep.
async fn vault(world: &World) -> [Address; 2] {
    let named = ("Token".to_owned(), "TOK".to_owned(), U256::from(18)).abi_encode_params();
    let code = |path: &str, arguments: Vec<u8>| [creation_code(path).to_vec(), arguments].concat().into();
    let token = create(&world.provider, code("TestToken.sol/TestToken.json", named)).await;
    let quote = ("quote".to_owned(), U256::from(100_000_000), ANYONE).abi_encode_params();
    let quote = create(&world.provider, code("PriceFeed.sol/PriceFeed.json", quote)).await;
    let vault = (token, quote, ANYONE, ANYONE, U256::from(1)).abi_encode_params();
    let vault = create(&world.provider, code("CreditVault.sol/CreditVault.json", vault)).await;
    let mint = Token::mintCall {
        to: ANYONE,
        amount: amount(),
    };
    assert!(does(world, token, mint).await);
    let approve = Token::approveCall {
        spender: vault,
        amount: U256::MAX,
    };
    assert!(does(world, token, approve).await);
    assert!(does(world, vault, deposit()).await);
    [token, vault]
}

/// The last honest exit of an empty pool: whoever leaves last is not held by a rule that an empty pool breaks, for its author was told,
/// and said what holds then. The rule without that clause holds the last one, so the test would see it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_honest_exit_of_an_empty_pool_passes() {
    let world = World::new().await;
    let contracts @ [token, vault] = vault(&world).await;
    let redeem = || Vault::redeemCall {
        shares: amount(),
        receiver: ANYONE,
    };
    // Every share is backed: what an empty pool cannot say.
    let careless = "vault.totalAssets() * 1e18 / vault.totalSupply() >= 1e18";
    let (guard, warnings) = guarding(&world, contracts, careless).await;
    assert!(warnings.iter().any(|text| text.contains("empty pool")), "{warnings:?}");
    assert!(does(&world, vault, Vault::setGuardCall { guard }).await);
    let refusal = world
        .call(ANYONE, vault, redeem().abi_encode())
        .await
        .expect_err("held by the rule");
    assert_eq!(refusal[..4], ICordonGuard::RuleUnknown::SELECTOR);

    let careful = format!("vault.totalSupply() == 0 || {careless}");
    let (guard, warnings) = guarding(&world, contracts, &careful).await;
    assert!(!warnings.iter().any(|text| text.contains("empty pool")), "{warnings:?}");
    assert!(does(&world, vault, Vault::setGuardCall { guard }).await);
    assert!(does(&world, vault, redeem()).await, "the last one leaves");
    let held = Token::balanceOfCall { account: ANYONE }.abi_encode();
    let held = world.call(ANYONE, token, held).await.unwrap();
    assert_eq!(U256::from_be_slice(&held), amount());
    let supply = world
        .call(ANYONE, vault, Vault::totalSupplyCall {}.abi_encode())
        .await
        .unwrap();
    assert_eq!(U256::from_be_slice(&supply), U256::ZERO);
    assert!(does(&world, vault, deposit()).await, "and the next one comes in");
    world.node.stop().await.unwrap();
}

/// T25: somebody sends a pool one unit. It breaks an equality, which anyone then trips; the checker warns of it. A bound stands it.
#[tokio::test(flavor = "multi_thread")]
async fn t25_a_donation_trips_an_equality_and_no_bound() {
    let world = World::new().await;
    let contracts @ [token, vault] = vault(&world).await;
    let donate = Token::mintCall {
        to: vault,
        amount: U256::ONE,
    };
    let rule = |sign: &str| format!("token.balanceOf(vault) {sign} vault.totalSupply()");
    let (equal, warnings) = guarding(&world, contracts, &rule("==")).await;
    assert!(
        warnings.iter().any(|text| text.contains("anyone can change a balance")),
        "{warnings:?}"
    );
    let (bounded, warnings) = guarding(&world, contracts, &rule(">=")).await;
    assert!(
        !warnings.iter().any(|text| text.contains("anyone can change a balance")),
        "{warnings:?}"
    );
    assert!(!does(&world, equal, trip(0)).await, "nothing to trip yet");
    assert!(does(&world, token, donate).await);
    assert!(does(&world, equal, trip(0)).await, "a unit closes the pool");
    let refusal = world
        .call(ANYONE, bounded, trip(0).abi_encode())
        .await
        .expect_err("it holds");
    assert_eq!(refusal[..4], ICordonGuard::RuleHolds::SELECTOR);
    world.node.stop().await.unwrap();
}
