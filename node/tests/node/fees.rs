//! What a transaction pays, and who gets it.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
};
use cordon_node::{NodeConfig, NodeHandle, StateFiles, spawn};
use cordon_stylus::arbos::{ROOT_INFRA_FEE_ACCOUNT, ROOT_NETWORK_FEE_ACCOUNT, STATE_ADDRESS, Space};
use serde_json::json;

use crate::support::*;

const GWEI: u128 = 1_000_000_000;
const NETWORK: Address = Address::repeat_byte(0x4e);
const INFRA: Address = Address::repeat_byte(0x1f);

/// Stores GASPRICE in slot 0.
const PRICE: Address = Address::repeat_byte(0x9a);

async fn set_account(provider: &DynProvider, key: u64, account: Address) {
    let slot = B256::from(Space::Root.word(key));
    raw(
        provider,
        "anvil_setStorageAt",
        json!([STATE_ADDRESS, slot, account.into_word()]),
    )
    .await;
}

async fn priced() -> (NodeHandle, DynProvider) {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    raw(&provider, "anvil_setCode", json!([PRICE, "0x3a5f5500"])).await;
    (node, provider)
}

#[tokio::test]
async fn each_gas_costs_the_base_fee_whatever_is_offered() {
    let (_node, provider) = priced().await;
    let call = || transfer(ALICE, PRICE, 7).with_gas_limit(100_000);
    for request in [
        call()
            .with_max_fee_per_gas(50 * GWEI)
            .with_max_priority_fee_per_gas(3 * GWEI),
        call().with_gas_price(20 * GWEI),
        call().with_gas_price(20 * GWEI).access_list(Default::default()),
    ] {
        raw(&provider, "anvil_setNextBlockBaseFeePerGas", json!([2 * GWEI])).await;
        let before = provider.get_balance(ALICE).await.unwrap();
        let receipt = send(&provider, request).await;
        let number = receipt.block_number.unwrap();
        assert_eq!(receipt.effective_gas_price, 2 * GWEI);
        let paid = U256::from(receipt.gas_used) * U256::from(2 * GWEI) + U256::from(7);
        assert_eq!(before - provider.get_balance(ALICE).await.unwrap(), paid);
        let seen = provider.get_storage_at(PRICE, U256::ZERO).await.unwrap();
        assert_eq!(seen, U256::from(2 * GWEI));
        assert_eq!(provider.get_balance(Address::ZERO).await.unwrap(), U256::ZERO, "no tip");
        let history = provider.get_fee_history(1, number.into(), &[50.0]).await.unwrap();
        assert_eq!(history.reward.unwrap(), [[0]]);
        // Run again, it pays the same.
        let trace =
            json!([receipt.transaction_hash, { "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }]);
        let traced = raw(&provider, "debug_traceTransaction", trace).await;
        let balance = traced["post"][ALICE.to_string().to_lowercase()]["balance"].clone();
        assert_eq!(balance, json!(provider.get_balance(ALICE).await.unwrap()));
    }
    // The sender must be able to pay what it offers all the same.
    let beyond = call()
        .with_max_fee_per_gas(u128::from(u64::MAX) * GWEI)
        .with_max_priority_fee_per_gas(0);
    let refused = provider
        .raw_request::<_, B256>("eth_sendTransaction".into(), (beyond,))
        .await;
    assert!(refused.unwrap_err().to_string().contains("insufficient funds"));
}

#[tokio::test]
async fn fees_go_to_the_accounts_that_arbos_names() {
    let (_node, provider) = priced().await;
    set_account(&provider, ROOT_NETWORK_FEE_ACCOUNT, NETWORK).await;
    let mine = async |base_fee: u128| {
        raw(&provider, "anvil_setNextBlockBaseFeePerGas", json!([base_fee])).await;
        let request = transfer(ALICE, BOB, 1).with_gas_price(100 * GWEI);
        U256::from(send(&provider, request).await.gas_used)
    };
    let balance = async |account| provider.get_balance(account).await.unwrap();
    let gas = mine(GWEI).await;
    assert_eq!(balance(NETWORK).await, gas * U256::from(GWEI));
    // With an account for the infrastructure that one gets the least base fee, 0.1 gwei.
    set_account(&provider, ROOT_INFRA_FEE_ACCOUNT, INFRA).await;
    let before = balance(NETWORK).await;
    let gas = mine(GWEI).await;
    assert_eq!(balance(INFRA).await, gas * U256::from(GWEI / 10));
    assert_eq!(balance(NETWORK).await - before, gas * U256::from(GWEI / 10 * 9));
    // A call pays nobody.
    provider.call(transfer(ALICE, BOB, 1)).await.unwrap();
    assert_eq!(balance(INFRA).await, gas * U256::from(GWEI / 10));
}

#[tokio::test]
async fn a_dump_remembers_what_was_paid() {
    let folder = tempfile::tempdir().unwrap();
    let (node, provider) = priced().await;
    let request = transfer(ALICE, BOB, 1)
        .with_max_fee_per_gas(50 * GWEI)
        .with_max_priority_fee_per_gas(3 * GWEI);
    let receipt = send(&provider, request).await;
    let packed = raw(&provider, "anvil_dumpState", json!([])).await;
    let file = folder.path().join("state.json");
    std::fs::write(&file, alloy::hex::decode(packed.as_str().unwrap()).unwrap()).unwrap();
    node.stop().await.unwrap();
    let node = spawn(NodeConfig {
        state: StateFiles {
            load: Some(file),
            ..StateFiles::default()
        },
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let again = plain(&node.http_endpoint());
    let again = again
        .get_transaction_receipt(receipt.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.effective_gas_price, receipt.effective_gas_price);
}

async fn base_fees(provider: &DynProvider) -> Vec<Option<u64>> {
    let mut fees = Vec::new();
    for number in 0..=3u64 {
        if number > 0 {
            raw(provider, "evm_mine", json!([])).await;
        }
        let block = provider.get_block_by_number(Default::default()).await.unwrap().unwrap();
        fees.push(block.header.base_fee_per_gas);
    }
    fees
}

#[tokio::test]
async fn a_chain_that_starts_below_the_least_base_fee_stays_there() {
    for start in [0, 10_000_000] {
        let node = spawn(NodeConfig {
            base_fee: Some(start),
            ..NodeConfig::default()
        })
        .await
        .unwrap();
        let provider = plain(&node.http_endpoint());
        assert_eq!(base_fees(&provider).await, [Some(start); 4]);
        if start == 0 {
            let free = transfer(ALICE, PRICE, 7).with_gas_limit(100_000).with_gas_price(0);
            assert!(send(&provider, free.clone()).await.status());
            assert!(send(&provider, free).await.status(), "the second one as well");
        }
        let fork = spawn(NodeConfig {
            fork_url: Some(node.http_endpoint().parse().unwrap()),
            ..NodeConfig::default()
        })
        .await
        .unwrap();
        let forked = plain(&fork.http_endpoint());
        assert_eq!(base_fees(&forked).await, [Some(start); 4], "and so does its fork");
    }
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    assert_eq!(base_fees(&provider).await, [Some(100_000_000); 4]);
}
