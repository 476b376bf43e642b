//! A pool that runs empty: what honest people do there must not look like an attack.

use std::path::{Path, PathBuf};

use alloy::primitives::{Address, U256};
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard;

use crate::world::{ANYONE, GOVERNOR, GUARDIAN, World, create, creation_code};

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

const AMOUNT: u64 = 1_000_000;

/// A guard of the vault with one rule for withdrawals, and what the checker says of the rule.
async fn guarding(world: &World, vault: Address, rule: &str) -> (Address, Vec<String>) {
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
[[invariant]]
id = "backed"
scope = "vault"
rule = "{rule}"
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
    let options = GuardOptions::default();
    let deployed = deploy_guard(&world.provider, GOVERNOR, &config, &compiled, &artifacts, options).await;
    (deployed.unwrap().guard, warnings)
}

/// The last honest exit of an empty pool: whoever leaves last is not held by a rule that an empty pool breaks, for its author was told,
/// and said what holds then. The rule without that clause holds the last one, so the test would see it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_honest_exit_of_an_empty_pool_passes() {
    let world = World::new().await;
    let named = ("Token".to_owned(), "TOK".to_owned(), U256::from(18)).abi_encode_params();
    let code = |path: &str, arguments: Vec<u8>| [creation_code(path).to_vec(), arguments].concat().into();
    let token = create(&world.provider, code("TestToken.sol/TestToken.json", named)).await;
    let quote = ("quote".to_owned(), U256::from(100_000_000), ANYONE).abi_encode_params();
    let quote = create(&world.provider, code("PriceFeed.sol/PriceFeed.json", quote)).await;
    let vault = (token, quote, ANYONE, ANYONE, U256::from(1)).abi_encode_params();
    let vault = create(&world.provider, code("CreditVault.sol/CreditVault.json", vault)).await;
    let does = async |to: Address, input: Vec<u8>| world.send(ANYONE, to, input).await.status();
    let amount = U256::from(AMOUNT);
    assert!(does(token, Token::mintCall { to: ANYONE, amount }.abi_encode()).await);
    let approve = Token::approveCall {
        spender: vault,
        amount: U256::MAX,
    };
    assert!(does(token, approve.abi_encode()).await);
    let deposit = || {
        Vault::depositCall {
            assets: amount,
            receiver: ANYONE,
        }
        .abi_encode()
    };
    let redeem = || {
        Vault::redeemCall {
            shares: amount,
            receiver: ANYONE,
        }
        .abi_encode()
    };
    assert!(does(vault, deposit()).await);

    // Every share is backed: what an empty pool cannot say.
    let careless = "vault.totalAssets() * 1e18 / vault.totalSupply() >= 1e18";
    let (guard, warnings) = guarding(&world, vault, careless).await;
    assert!(warnings.iter().any(|text| text.contains("empty pool")), "{warnings:?}");
    assert!(does(vault, Vault::setGuardCall { guard }.abi_encode()).await);
    let refusal = world.call(ANYONE, vault, redeem()).await.expect_err("held by the rule");
    assert_eq!(
        refusal[..4],
        <ICordonGuard::RuleUnknown as alloy::sol_types::SolError>::SELECTOR
    );

    let careful = format!("vault.totalSupply() == 0 || {careless}");
    let (guard, warnings) = guarding(&world, vault, &careful).await;
    assert!(!warnings.iter().any(|text| text.contains("empty pool")), "{warnings:?}");
    assert!(does(vault, Vault::setGuardCall { guard }.abi_encode()).await);
    assert!(does(vault, redeem()).await, "the last one leaves");
    let held = Token::balanceOfCall { account: ANYONE }.abi_encode();
    let held = world.call(ANYONE, token, held).await.unwrap();
    assert_eq!(U256::from_be_slice(&held), amount);
    let supply = world
        .call(ANYONE, vault, Vault::totalSupplyCall {}.abi_encode())
        .await
        .unwrap();
    assert_eq!(U256::from_be_slice(&supply), U256::ZERO);
    assert!(does(vault, deposit()).await, "and the next one comes in");
    world.node.stop().await.unwrap();
}
