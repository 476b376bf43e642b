use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, address, b256},
    providers::{DynProvider, Provider},
    rpc::types::{
        BlockOverrides, TransactionRequest,
        simulate::{SimBlock, SimulatePayload, SimulatedBlock},
        state::{AccountOverride, StateOverride},
    },
};
use serde_json::{Value, json};

use crate::support::*;

const RICH: Address = Address::repeat_byte(0x11);
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
const EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");

fn balance(account: Address, wei: u64) -> StateOverride {
    let funds = AccountOverride {
        balance: Some(U256::from(wei)),
        ..AccountOverride::default()
    };
    StateOverride::from_iter([(account, funds)])
}

fn code(account: Address, code: &'static [u8]) -> StateOverride {
    let with_code = AccountOverride {
        code: Some(Bytes::from_static(code)),
        ..AccountOverride::default()
    };
    StateOverride::from_iter([(account, with_code)])
}

async fn simulate(provider: &DynProvider, payload: SimulatePayload) -> Vec<SimulatedBlock> {
    provider.simulate(&payload).await.unwrap()
}

async fn refusal(provider: &DynProvider, payload: SimulatePayload) -> (i64, String) {
    let error = provider.simulate(&payload).await.unwrap_err();
    let payload = error.as_error_resp().unwrap();
    (payload.code, payload.message.to_string())
}

#[tokio::test]
async fn blocks_build_on_each_other_and_leave_no_trace() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let first = SimBlock::default()
        .with_state_overrides(balance(RICH, 1_000))
        .call(transfer(RICH, BOB, 600))
        .call(count_up(counter));
    let second = SimBlock::default()
        .call(read_count(counter))
        .call(transfer(RICH, BOB, 400));
    let payload = SimulatePayload::default().extend(first).extend(second);
    let blocks = simulate(&provider, payload).await;
    let numbers: Vec<_> = blocks.iter().map(|block| block.inner.header.number).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(blocks[1].inner.header.parent_hash, blocks[0].inner.header.hash);
    assert_eq!(blocks[1].inner.header.timestamp, blocks[0].inner.header.timestamp + 12);
    assert_eq!(
        blocks[0].inner.header.base_fee_per_gas,
        Some(0),
        "nobody pays without validation"
    );
    assert!(
        blocks
            .iter()
            .flat_map(|block| &block.calls)
            .all(|call| call.status && call.error.is_none())
    );
    let log = &blocks[0].calls[1].logs[0];
    assert_eq!(
        (log.block_number, log.log_index, log.inner.data.data.clone()),
        (Some(2), Some(0), word(1))
    );
    assert_eq!(blocks[1].calls[0].return_data, word(1));
    let used: u64 = blocks[0].calls.iter().map(|call| call.gas_used).sum();
    assert_eq!(blocks[0].inner.header.gas_used, used);
    assert!(blocks[0].inner.transactions.is_hashes());
    assert_eq!(provider.get_block_number().await.unwrap(), 1);
    assert_eq!(provider.get_balance(RICH).await.unwrap(), U256::ZERO);
}

#[tokio::test]
async fn overrides_shape_blocks_and_gaps_are_filled() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let far = 4_000_000_000;
    let overrides = BlockOverrides {
        number: Some(U256::from(5)),
        time: Some(far),
        coinbase: Some(BOB),
        base_fee: Some(U256::from(7)),
        gas_limit: Some(1_000_000),
        ..BlockOverrides::default()
    };
    // NUMBER, TIMESTAMP, COINBASE, BASEFEE, GASLIMIT to memory; return 160 bytes.
    let tell = &[
        0x43, 0x5f, 0x52, 0x42, 0x60, 32, 0x52, 0x41, 0x60, 64, 0x52, 0x48, 0x60, 96, 0x52, 0x45, 0x60, 128, 0x52,
        0x60, 160, 0x5f, 0xf3,
    ];
    let block = SimBlock::default()
        .with_block_overrides(overrides)
        .with_state_overrides(code(RICH, tell))
        .call(TransactionRequest::default().with_to(RICH));
    let payload = SimulatePayload::default().extend(block).with_full_transactions();
    let blocks = simulate(&provider, payload).await;
    let numbers: Vec<_> = blocks.iter().map(|block| block.inner.header.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "the blocks between are there, and empty");
    let last = blocks.last().unwrap();
    let words = [
        U256::from(5),
        U256::from(far),
        U256::from_be_slice(BOB.as_slice()),
        U256::from(7),
        U256::from(1_000_000),
    ];
    let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
    assert_eq!(last.calls[0].return_data, expected);
    let header = &last.inner.header;
    assert_eq!(
        (header.beneficiary, header.gas_limit, header.timestamp),
        (BOB, 1_000_000, far)
    );
    assert!(last.inner.transactions.is_full());
}

#[tokio::test]
async fn a_failed_call_says_why_and_the_next_one_runs() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    // The guard's NotExpired(1, 2), which the counter sends back.
    let mut data = alloy::primitives::keccak256("NotExpired(uint8,uint64)")[..4].to_vec();
    data.extend([word(1), word(2)].concat());
    let reverting = count_up(counter).with_input(data.clone());
    let hopeless = count_up(counter).with_gas_limit(25_000);
    let block = SimBlock::default()
        .call(reverting)
        .call(hopeless)
        .call(count_up(counter));
    let calls = simulate(&provider, SimulatePayload::default().extend(block))
        .await
        .remove(0)
        .calls;
    let reverted = calls[0].error.as_ref().unwrap();
    assert_eq!((reverted.code, reverted.data.clone()), (3, Some(data.clone().into())));
    assert_eq!(
        reverted.message,
        "execution reverted: NotExpired(scope: 1, expiresAt: 2)"
    );
    assert_eq!((calls[0].status, &calls[0].return_data[..]), (false, &data[..]));
    assert_eq!(calls[1].error.as_ref().unwrap().code, -32_015);
    assert_eq!(calls[1].gas_used, 25_000);
    assert!(calls[2].status);
}

#[tokio::test]
async fn transfers_of_ether_are_logs_if_wanted_and_only_those_that_stand() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    // Sends its value to the address in its calldata and then reverts if a second word is given.
    // 5f5f5f5f 34 5f35 5a f1 50 6020 35 600f 57 00 5b 5f5ffd
    let forward = &[
        0x5f, 0x5f, 0x5f, 0x5f, 0x34, 0x5f, 0x35, 0x5a, 0xf1, 0x50, 0x60, 0x20, 0x35, 0x60, 0x11, 0x57, 0x00, 0x5b,
        0x5f, 0x5f, 0xfd,
    ];
    let forwarder = Address::repeat_byte(0x77);
    let passing = transfer(ALICE, forwarder, 9).with_input(BOB.into_word().to_vec());
    let failing = transfer(ALICE, forwarder, 9).with_input([BOB.into_word(), B256::with_last_byte(1)].concat());
    // Calls the forwarder with both words of its calldata and all value, and goes on whatever happens.
    let outer = Address::repeat_byte(0x78);
    let mut overrides = code(forwarder, forward);
    overrides.extend(code(
        outer,
        &[
            0x60, 0x40, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x60, 0x40, 0x5f, 0x34, 0x73, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
            0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x5a, 0xf1, 0x00,
        ],
    ));
    let caught = transfer(ALICE, outer, 9).with_input([BOB.into_word(), B256::with_last_byte(1)].concat());
    let block = SimBlock::default()
        .with_state_overrides(overrides)
        .call(passing)
        .call(failing)
        .call(caught);
    let payload = SimulatePayload::default().extend(block);
    let plain_logs: Vec<_> = simulate(&provider, payload.clone()).await.remove(0).calls;
    assert!(plain_logs.iter().all(|call| call.logs.is_empty()));
    let calls = simulate(&provider, payload.with_trace_transfers())
        .await
        .remove(0)
        .calls;
    let sides = |index: usize| -> Vec<(Address, Address)> {
        let logs = calls[index].logs.iter();
        logs.map(|log| {
            assert_eq!(
                (log.address(), log.topics()[0], log.inner.data.data.clone()),
                (EMITTER, TRANSFER, word(9))
            );
            (Address::from_word(log.topics()[1]), Address::from_word(log.topics()[2]))
        })
        .collect()
    };
    assert_eq!(sides(0), [(ALICE, forwarder), (forwarder, BOB)]);
    assert_eq!((calls[1].status, sides(1)), (false, vec![]));
    assert_eq!(
        (calls[2].status, sides(2)),
        (true, vec![(ALICE, outer)]),
        "what the inner call undid is not told"
    );
}

#[tokio::test]
async fn validation_holds_calls_to_the_rules_of_blocks() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let validated = |request: TransactionRequest| {
        SimulatePayload::default()
            .extend(SimBlock::default().call(request))
            .with_validation()
    };
    let (code, message) = refusal(&provider, validated(transfer(ALICE, BOB, 1))).await;
    assert_eq!(code, -38_012, "{message}");
    let paid = transfer(ALICE, BOB, 1)
        .with_max_fee_per_gas(10_000_000_000)
        .with_max_priority_fee_per_gas(0);
    let (code, message) = refusal(&provider, validated(paid.clone().with_nonce(7))).await;
    assert_eq!(code, -38_011, "{message}");
    assert!(message.contains("call 0 of block 1"), "{message}");
    let (code, _) = refusal(&provider, validated(paid.clone().with_from(RICH))).await;
    assert_eq!(code, -38_014);
    let (code, _) = refusal(&provider, validated(paid.clone().with_gas_limit(20_000))).await;
    assert_eq!(code, -38_013);
    let blocks = simulate(&provider, validated(paid)).await;
    assert!(blocks[0].inner.header.base_fee_per_gas.unwrap() > 0);
    assert!(blocks[0].calls[0].status);
}

#[tokio::test]
async fn what_cannot_be_a_chain_is_refused() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    raw(&provider, "anvil_mine", json!([3])).await;
    let at = |number: u64, time: Option<u64>| {
        SimBlock::default().with_block_overrides(BlockOverrides {
            number: Some(U256::from(number)),
            time,
            ..BlockOverrides::default()
        })
    };
    let (code, _) = refusal(&provider, SimulatePayload::default().extend(at(3, None))).await;
    assert_eq!(code, -38_020);
    let (code, _) = refusal(&provider, SimulatePayload::default().extend(at(4, Some(1)))).await;
    assert_eq!(code, -38_021);
    let (code, _) = refusal(&provider, SimulatePayload::default().extend(at(4 + 256, None))).await;
    assert_eq!(code, -38_026);
    let blocks = simulate(&provider, SimulatePayload::default().extend(at(3 + 256, None))).await;
    assert_eq!(blocks.len(), 256);
    let greedy = TransactionRequest::default().with_to(BOB).with_gas_limit(40_000_000);
    let (code, _) = refusal(
        &provider,
        SimulatePayload::default().extend(SimBlock::default().call(greedy)),
    )
    .await;
    assert_eq!(code, -38_015);
    let empty = provider
        .raw_request::<_, Value>("eth_simulateV1".into(), json!([{ "blockStateCalls": [] }]))
        .await;
    assert_eq!(empty.unwrap_err().as_error_resp().unwrap().code, -32_602);
    let moved = json!([{ "blockStateCalls": [{ "stateOverrides": { BOB.to_string(): { "movePrecompileToAddress": ALICE } } }] }]);
    let moved = provider.raw_request::<_, Value>("eth_simulateV1".into(), moved).await;
    assert!(moved.unwrap_err().to_string().contains("precompiles cannot be moved"));
}
