use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256, bytes},
    providers::Provider,
    rpc::types::{
        BlockOverrides, TransactionRequest,
        state::{AccountOverride, StateOverride},
    },
    sol_types::{Revert, SolError},
};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_contract_is_deployed_called_and_read() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for _ in 0..3 {
        assert!(send(&provider, count_up(counter)).await.status());
    }
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(3));
    assert_eq!(
        provider.get_storage_at(counter, U256::ZERO).await.unwrap(),
        U256::from(3)
    );
    assert_eq!(provider.get_code_at(counter).await.unwrap().len(), 54);
}

#[tokio::test]
async fn a_revert_has_code_3_reason_and_data() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let reason = Bytes::from(Revert::from("closed for today").abi_encode());
    let request = TransactionRequest::default()
        .with_to(counter)
        .with_input(reason.clone());
    for method in ["eth_call", "eth_estimateGas"] {
        let error = provider
            .raw_request::<_, Value>(method.into(), (request.clone(), "latest"))
            .await
            .unwrap_err();
        let payload = error.as_error_resp().unwrap();
        assert_eq!(payload.code, 3);
        assert_eq!(payload.message, "execution reverted: closed for today");
        assert_eq!(payload.as_revert_data().unwrap(), reason);
    }
}

#[tokio::test]
async fn estimates_suffice_and_are_tight() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.estimate_gas(transfer(ALICE, BOB, 1)).await.unwrap(), 21_000);
    let counter = deploy_counter(&provider).await;
    let estimate = provider.estimate_gas(count_up(counter)).await.unwrap();
    let receipt = send(&provider, count_up(counter).with_gas_limit(estimate)).await;
    assert!(receipt.status());
    assert!(
        estimate < receipt.gas_used + receipt.gas_used / 50,
        "{estimate} for {}",
        receipt.gas_used
    );
}

#[tokio::test]
async fn an_endless_loop_is_out_of_gas_not_a_timeout() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let endless = Address::repeat_byte(0x77);
    raw(&provider, "anvil_setCode", json!([endless, "0x5b600056"])).await;
    let request = TransactionRequest::default().with_to(endless);
    for method in ["eth_call", "eth_estimateGas"] {
        let error = provider
            .raw_request::<_, Value>(method.into(), (request.clone(),))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("out of gas"), "{error}");
    }
}

#[tokio::test]
async fn overrides_of_state_and_block_hold_for_one_call() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let slot = AccountOverride {
        state_diff: Some([(Default::default(), U256::from(99).into())].into_iter().collect()),
        ..AccountOverride::default()
    };
    let overridden = provider
        .call(read_count(counter))
        .overrides(StateOverride::from_iter([(counter, slot)]));
    assert_eq!(overridden.await.unwrap(), word(99));
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(0));

    // TIMESTAMP and NUMBER, one word each.
    let clock = AccountOverride {
        code: Some(bytes!("426000524360205260406000f3")),
        ..AccountOverride::default()
    };
    let anywhere = Address::repeat_byte(0x55);
    let answer = provider
        .call(TransactionRequest::default().with_to(anywhere))
        .overrides(StateOverride::from_iter([(anywhere, clock)]))
        .with_block_overrides(BlockOverrides {
            time: Some(1_234),
            number: Some(U256::from(77)),
            ..BlockOverrides::default()
        });
    let expected: Vec<u8> = [word(1_234), word(77)].concat();
    assert_eq!(answer.await.unwrap(), Bytes::from(expected));
    assert!(provider.get_code_at(anywhere).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rich_override_pays_for_the_value_of_a_call() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let poor = Address::repeat_byte(0x66);
    let request = transfer(poor, BOB, 1);
    assert!(provider.call(request.clone()).await.is_err());
    let rich = AccountOverride {
        balance: Some(U256::MAX),
        ..AccountOverride::default()
    };
    provider
        .call(request)
        .overrides(StateOverride::from_iter([(poor, rich)]))
        .await
        .unwrap();
}

#[tokio::test]
async fn fees_are_told() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    for _ in 0..3 {
        send(&provider, transfer(ALICE, BOB, 1)).await;
    }
    let history = provider
        .get_fee_history(10, "latest".parse().unwrap(), &[20.0])
        .await
        .unwrap();
    assert_eq!(history.oldest_block, 0);
    assert_eq!(history.base_fee_per_gas.len(), 5);
    assert_eq!(history.gas_used_ratio.len(), 4);
    assert_eq!(history.reward.unwrap().len(), 4);
    let price = provider.get_gas_price().await.unwrap();
    assert!(price > history.base_fee_per_gas[4], "{price}");
    assert_eq!(provider.get_max_priority_fee_per_gas().await.unwrap(), 0);
    let fees = provider.estimate_eip1559_fees().await.unwrap();
    assert!(fees.max_fee_per_gas >= price);
}

#[tokio::test]
async fn an_access_list_names_what_a_call_touches() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let list = provider.create_access_list(&count_up(counter)).await.unwrap();
    let entry = list.access_list.0.iter().find(|item| item.address == counter).unwrap();
    assert_eq!(entry.storage_keys, [alloy::primitives::B256::ZERO]);
}

#[tokio::test]
async fn arbitrums_node_interface_answers_calls() {
    use alloy::sol_types::{SolCall, SolValue};
    alloy::sol! {
        function gasEstimateComponents(address to, bool contractCreation, bytes data) external payable
            returns (uint64 gas, uint64 l1, uint256 baseFee, uint256 l1BaseFee);
        function blockL1Num(uint64 number) external view returns (uint64);
        function l2BlockRangeForL1(uint64 number) external view returns (uint64, uint64);
    }
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let ask = async |input: Vec<u8>| {
        let interface = Address::with_last_byte(0xc8);
        provider
            .call(
                TransactionRequest::default()
                    .with_from(ALICE)
                    .with_to(interface)
                    .with_input(input),
            )
            .await
    };
    let call = gasEstimateComponentsCall {
        to: counter,
        contractCreation: false,
        data: Bytes::new(),
    };
    let answer = gasEstimateComponentsCall::abi_decode_returns(&ask(call.abi_encode()).await.unwrap()).unwrap();
    assert_eq!(answer.gas, provider.estimate_gas(count_up(counter)).await.unwrap());
    assert_eq!((answer.l1, answer.l1BaseFee), (0, U256::ZERO));
    let number = ask(blockL1NumCall { number: 1 }.abi_encode()).await.unwrap();
    assert_eq!(u64::abi_decode(&number).unwrap(), 1);
    let range = ask(l2BlockRangeForL1Call { number: 1 }.abi_encode()).await.unwrap();
    assert_eq!(<(u64, u64)>::abi_decode_params(&range).unwrap(), (1, 1));
    let unknown = ask(l2BlockRangeForL1Call { number: 99 }.abi_encode())
        .await
        .unwrap_err();
    assert_eq!(unknown.as_error_resp().unwrap().code, 3);
}
