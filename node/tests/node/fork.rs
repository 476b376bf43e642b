use alloy::{
    eips::BlockId,
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::Filter,
};
use cordon_node::{NodeConfig, spawn};
use serde_json::json;

use crate::support::*;

/// An anvil of chain 42161 with a counter that stands at 2.
async fn upstream() -> (Anvil, alloy::primitives::Address) {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    let counter = anvil.send(counter_creation()).await.contract_address.unwrap();
    for _ in 0..2 {
        anvil.send(count_up(counter)).await;
    }
    (anvil, counter)
}

#[tokio::test]
async fn a_fork_continues_the_chain_and_leaves_it_alone() {
    let (anvil, counter) = upstream().await;
    let head = anvil.provider().get_block_number().await.unwrap();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_chain_id().await.unwrap(), 42_161);
    assert_eq!(provider.get_block_number().await.unwrap(), head);
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(2));
    let receipt = send(&provider, count_up(counter)).await;
    assert_eq!(receipt.block_number, Some(head + 1));
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(3));
    assert_eq!(anvil.provider().call(read_count(counter)).await.unwrap(), word(2));
    let parent = anvil
        .provider()
        .get_block_by_number(head.into())
        .await
        .unwrap()
        .unwrap();
    let block = provider.get_block_by_number((head + 1).into()).await.unwrap().unwrap();
    assert_eq!(block.header.parent_hash, parent.header.hash);
    assert!(block.header.timestamp >= parent.header.timestamp);
}

#[tokio::test]
async fn what_was_before_the_fork_is_answered_by_the_forked_chain() {
    let (anvil, counter) = upstream().await;
    let up = anvil.provider();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let head = up.get_block_number().await.unwrap();
    send(&provider, count_up(counter)).await;
    for number in 0..=head {
        let expected = up.get_block_by_number(number.into()).await.unwrap().unwrap();
        let block = provider.get_block_by_number(number.into()).await.unwrap().unwrap();
        assert_eq!(block.header.hash, expected.header.hash);
        let by_hash = provider.get_block_by_hash(expected.header.hash).await.unwrap().unwrap();
        assert_eq!(by_hash.header.number, number);
    }
    let before = BlockId::number(head - 1);
    let hash = up
        .get_block_by_number((head - 1).into())
        .await
        .unwrap()
        .unwrap()
        .header
        .hash;
    assert_eq!(provider.call(read_count(counter)).block(before).await.unwrap(), word(1));
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(BlockId::hash(hash))
            .await
            .unwrap(),
        word(1)
    );
    assert_eq!(
        provider
            .get_storage_at(counter, U256::ZERO)
            .block_id(before)
            .await
            .unwrap(),
        U256::from(1)
    );
    // At the fork block itself and after it, by number and hash.
    let at_fork = up.get_block_by_number(head.into()).await.unwrap().unwrap().header.hash;
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(BlockId::hash(at_fork))
            .await
            .unwrap(),
        word(2)
    );
    assert_eq!(
        provider
            .call(read_count(counter))
            .block(BlockId::number(head + 1))
            .await
            .unwrap(),
        word(3)
    );
    let logs = provider
        .get_logs(&Filter::new().from_block(0).address(counter))
        .await
        .unwrap();
    assert_eq!(
        logs.iter().map(|log| log.block_number.unwrap()).collect::<Vec<_>>(),
        [head - 1, head, head + 1]
    );
    let old = up
        .get_block_by_number(head.into())
        .await
        .unwrap()
        .unwrap()
        .transactions
        .hashes()
        .next()
        .unwrap();
    assert_eq!(
        provider
            .get_transaction_receipt(old)
            .await
            .unwrap()
            .unwrap()
            .block_number,
        Some(head)
    );
    assert_eq!(
        provider
            .get_transaction_by_hash(old)
            .await
            .unwrap()
            .unwrap()
            .block_number,
        Some(head)
    );
}

#[tokio::test]
async fn an_older_block_can_be_forked() {
    let (anvil, counter) = upstream().await;
    let head = anvil.provider().get_block_number().await.unwrap();
    let config = NodeConfig {
        fork_block_number: Some(head - 1),
        ..anvil.fork_config()
    };
    let node = spawn(config).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_block_number().await.unwrap(), head - 1);
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(1));
    // Blocks that the forked chain made later are not part of this one.
    assert!(provider.get_block_by_number(head.into()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_fork_stays_where_it_was_while_the_chain_goes_on() {
    let (anvil, counter) = upstream().await;
    let node = spawn(anvil.fork_config()).await.unwrap();
    anvil.send(count_up(counter)).await;
    assert_eq!(anvil.provider().call(read_count(counter)).await.unwrap(), word(3));
    assert_eq!(
        plain(&node.http_endpoint()).call(read_count(counter)).await.unwrap(),
        word(2)
    );
}

#[tokio::test]
async fn a_fork_of_a_fork_works() {
    let (anvil, counter) = upstream().await;
    let first = spawn(anvil.fork_config()).await.unwrap();
    send(&plain(&first.http_endpoint()), count_up(counter)).await;
    let config = NodeConfig {
        fork_url: Some(first.http_endpoint().parse().unwrap()),
        ..NodeConfig::default()
    };
    let second = spawn(config).await.unwrap();
    let provider = plain(&second.http_endpoint());
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(3));
    send(&provider, count_up(counter)).await;
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(4));
}

#[tokio::test]
async fn snapshots_and_impersonation_work_on_a_fork() {
    let (anvil, counter) = upstream().await;
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let snapshot = raw(&provider, "evm_snapshot", json!([])).await;
    send(&provider, count_up(counter)).await;
    raw(&provider, "anvil_impersonateAccount", json!([counter])).await;
    raw(&provider, "anvil_setBalance", json!([counter, "0xde0b6b3a7640000"])).await;
    assert_eq!(send(&provider, transfer(counter, BOB, 1)).await.from, counter);
    assert_eq!(raw(&provider, "evm_revert", json!([snapshot])).await, json!(true));
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(2));
    assert_eq!(provider.get_balance(counter).await.unwrap(), U256::ZERO);
}

#[tokio::test]
async fn arbitrums_contracts_are_there() {
    let (anvil, _) = upstream().await;
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    for address in [
        cordon_stylus::genesis::STYLUS_DEPLOYER,
        cordon_stylus::genesis::CREATE2_FACTORY,
    ] {
        assert!(!provider.get_code_at(address).await.unwrap().is_empty());
    }
    let slot = cordon_stylus::genesis::version_slot();
    let version = provider
        .get_storage_at(cordon_stylus::arbos::STATE_ADDRESS, slot)
        .await
        .unwrap();
    assert_eq!(version, U256::from(60));
}

#[tokio::test]
async fn known_state_outlives_the_forked_chain() {
    let (anvil, counter) = upstream().await;
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    send(&provider, count_up(counter)).await;
    drop(anvil);
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(3));
    let error = provider
        .get_balance(alloy::primitives::Address::repeat_byte(0x99))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the forked chain could not be read"),
        "{error}"
    );
    assert!(send(&provider, count_up(counter)).await.status());
}

#[tokio::test]
async fn traces_of_before_the_fork_follow_the_tracer_that_was_asked_for() {
    let (anvil, counter) = upstream().await;
    let up = anvil.provider();
    let head = up.get_block_number().await.unwrap();
    let block = up.get_block_by_number(head.into()).await.unwrap().unwrap();
    let hash = block.transactions.hashes().next().unwrap();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    // One after the other: none is answered with what another one told.
    for tracer in [
        json!({ "tracer": "callTracer" }),
        json!({}),
        json!({ "tracer": "prestateTracer" }),
        json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } }),
    ] {
        let params = json!([hash, tracer]);
        let answer = raw(&provider, "debug_traceTransaction", params.clone()).await;
        assert_eq!(answer, raw(&up, "debug_traceTransaction", params).await, "{tracer}");
        let told = answer.to_string();
        let steps = tracer.get("tracer").is_none();
        assert_eq!(told.contains("structLogs"), steps, "{tracer}");
        assert_eq!(
            told.contains("\"to\""),
            tracer["tracer"] == json!("callTracer"),
            "{tracer}"
        );
        assert_eq!(
            told.contains("\"logs\""),
            tracer.get("tracerConfig").is_some(),
            "{tracer}"
        );
        assert!(steps || told.contains(&counter.to_string().to_lowercase()), "{tracer}");
    }
}

#[tokio::test]
async fn a_fork_may_have_a_chain_id_of_its_own() {
    let anvil = Anvil::start(&[]).await;
    let mined = anvil.send(transfer(ALICE, BOB, 1)).await.transaction_hash;
    let node = spawn(NodeConfig {
        chain_id: Some(1_337),
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_chain_id().await.unwrap(), 1_337);
    assert!(send(&provider, transfer(ALICE, BOB, 1)).await.status());
    // CHAINID; PUSH0; MSTORE; RETURN(0, 32)
    let asks = alloy::primitives::Address::repeat_byte(0xc1);
    raw(&provider, "anvil_setCode", json!([asks, "0x465f5260205ff3"])).await;
    let seen = raw(&provider, "eth_call", json!([{ "to": asks }])).await;
    assert_eq!(seen, json!(B256::from(U256::from(1_337))));
    // What happened before the fork stays what it was.
    let trace = raw(
        &provider,
        "debug_traceTransaction",
        json!([mined, { "tracer": "callTracer" }]),
    )
    .await;
    assert_eq!(trace["gasUsed"], json!("0x5208"));
    let inside = spawn(NodeConfig {
        chain_id: Some(1_337),
        fork_transaction_hash: Some(mined),
        ..anvil.fork_config()
    });
    let refused = inside.await.unwrap_err().to_string();
    assert!(refused.contains("must be the forked chain's, 31337"), "{refused}");
}
