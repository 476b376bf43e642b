//! Dumps in both directions with stock anvil, and what survives of a node.

use std::{path::Path, time::Duration};

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
};
use cordon_node::{NodeConfig, StateFiles, spawn};
use serde_json::{Value, json};

use crate::support::*;

fn files(load: Option<&Path>, dump: Option<&Path>) -> NodeConfig {
    NodeConfig {
        state: StateFiles {
            load: load.map(Path::to_path_buf),
            dump: dump.map(Path::to_path_buf),
            ..StateFiles::default()
        },
        ..NodeConfig::default()
    }
}

async fn receipt_of(provider: &alloy::providers::DynProvider, hash: alloy::primitives::B256) -> Value {
    raw(provider, "eth_getTransactionReceipt", json!([hash])).await
}

#[tokio::test]
async fn anvils_dump_loads_here() {
    let anvil = Anvil::start(&[]).await;
    let up = anvil.provider();
    let mut sent = Vec::new();
    for request in [counter_creation(), transfer(BOB, ALICE, 5)] {
        let receipt = anvil.send(request).await;
        sent.push((receipt.transaction_hash, receipt));
    }
    let counter = sent[0].1.contract_address.unwrap();
    // Sent without a key: anvil gives it a hash that its encoding does not have.
    raw(&up, "anvil_impersonateAccount", json!([counter])).await;
    raw(&up, "anvil_setBalance", json!([counter, "0xde0b6b3a7640000"])).await;
    let mut request = count_up(counter);
    request.from = Some(counter);
    let receipt = anvil.send(request).await;
    sent.push((receipt.transaction_hash, receipt));
    let packed = raw(&up, "anvil_dumpState", json!([])).await;
    let head = up.get_block_number().await.unwrap();

    // As a request to a running node, and as a file.
    let running = fresh().await;
    raw(&plain(&running.http_endpoint()), "anvil_loadState", json!([packed])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let bytes = alloy::hex::decode(packed.as_str().unwrap()).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let started = spawn(files(Some(&file), None)).await.unwrap();
    for node in [running, started] {
        let provider = plain(&node.http_endpoint());
        assert_eq!(provider.get_block_number().await.unwrap(), head);
        assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(1));
        assert_eq!(
            provider.get_balance(BOB).await.unwrap(),
            up.get_balance(BOB).await.unwrap()
        );
        for (hash, expected) in &sent {
            let receipt = provider.get_transaction_receipt(*hash).await.unwrap().unwrap();
            assert_eq!(receipt.from, expected.from);
            assert_eq!(receipt.gas_used, expected.gas_used);
            assert_eq!(receipt.block_hash, expected.block_hash);
            assert_eq!(receipt.inner.logs(), expected.inner.logs());
        }
        let receipt = send(&provider, count_up(counter)).await;
        assert_eq!(receipt.block_number, Some(head + 1));
        assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(2));
    }
}

#[tokio::test]
async fn a_dump_from_here_loads_in_anvil() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let node = spawn(files(None, Some(&file))).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    raw(&provider, "anvil_impersonateAccount", json!([counter])).await;
    raw(&provider, "anvil_setBalance", json!([counter, "0xde0b6b3a7640000"])).await;
    let mut request = count_up(counter);
    request.from = Some(counter);
    let counted = send(&provider, request).await;
    let balance = provider.get_balance(ALICE).await.unwrap();
    let packed = raw(&provider, "anvil_dumpState", json!([])).await;
    node.stop().await.unwrap();

    let from_file = Anvil::start(&["--load-state", file.to_str().unwrap()]).await;
    let by_request = Anvil::start(&[]).await;
    assert_eq!(
        raw(&by_request.provider(), "anvil_loadState", json!([packed])).await,
        json!(true)
    );
    for anvil in [from_file, by_request] {
        let up = anvil.provider();
        assert_eq!(up.get_block_number().await.unwrap(), 2);
        assert_eq!(up.call(read_count(counter)).await.unwrap(), word(1));
        assert_eq!(up.get_balance(ALICE).await.unwrap(), balance);
        let receipt = receipt_of(&up, counted.transaction_hash).await;
        assert_eq!(receipt["from"], json!(counter));
        assert_eq!(receipt["logs"].as_array().unwrap().len(), 1);
        anvil.send(count_up(counter)).await;
        assert_eq!(up.call(read_count(counter)).await.unwrap(), word(2));
    }
}

#[tokio::test]
async fn a_fork_goes_on_where_it_was_dumped() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    raw(&anvil.provider(), "anvil_mine", json!(["0x5"])).await;
    let folder = tempfile::tempdir().unwrap();
    let state = StateFiles {
        dump: Some(folder.path().to_path_buf()),
        ..StateFiles::default()
    };
    let node = spawn(NodeConfig {
        state,
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let counted = send(&provider, count_up(counter)).await;
    node.stop().await.unwrap();
    assert!(folder.path().join("state.json").is_file());

    let state = StateFiles {
        load: Some(folder.path().to_path_buf()),
        ..StateFiles::default()
    };
    let node = spawn(NodeConfig {
        state,
        fork_block_number: Some(5),
        ..anvil.fork_config()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(provider.get_block_number().await.unwrap(), 7);
    assert_eq!(provider.call(read_count(counter)).await.unwrap(), word(1));
    let again = provider
        .get_transaction_receipt(counted.transaction_hash)
        .await
        .unwrap();
    assert_eq!(again.unwrap().block_hash, counted.block_hash);
}

#[tokio::test]
async fn the_state_is_written_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kept.json");
    let node = spawn(NodeConfig {
        state: StateFiles {
            dump: Some(file.clone()),
            interval: Some(Duration::from_millis(100)),
            ..StateFiles::default()
        },
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    send(&provider, count_up(counter)).await;
    eventually("the second block in the file", async || {
        let text = std::fs::read(&file).ok()?;
        let dump: Value = serde_json::from_slice(&text).expect("the file is whole at any time");
        (dump["best_block_number"] == json!(2)).then_some(())
    })
    .await;
    let other = spawn(files(Some(&file), None)).await.unwrap();
    let read = plain(&other.http_endpoint()).call(read_count(counter)).await.unwrap();
    assert_eq!(read, word(1));
}

#[tokio::test]
async fn a_dump_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.json");
    let error = spawn(files(Some(&missing), None)).await.unwrap_err().to_string();
    assert!(error.contains("missing.json cannot be read"), "{error}");
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, "{\"accounts\": 7}").unwrap();
    let error = spawn(files(Some(&broken), None)).await.unwrap_err().to_string();
    assert!(error.contains("broken.json") && error.contains("no dump"), "{error}");
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    for state in ["0x", "0x1f8b00", "0x7b7d"] {
        let answer = provider
            .raw_request::<_, Value>("anvil_loadState".into(), json!([state]))
            .await;
        assert!(answer.unwrap_err().to_string().contains("no dump"), "{state}");
    }
    assert!(provider.get_balance(ALICE).await.unwrap() > U256::ZERO);
}

/// The count at each block, as this node or anvil tells it.
async fn counts(provider: &alloy::providers::DynProvider, counter: alloy::primitives::Address, to: u64) -> Vec<u64> {
    let mut counts = Vec::new();
    for number in 1..=to {
        let slot = provider
            .get_storage_at(counter, U256::ZERO)
            .block_id(number.into())
            .await;
        counts.push(slot.unwrap().to::<u64>());
    }
    counts
}

#[tokio::test]
async fn states_of_older_blocks_are_kept_if_wanted_here_and_in_anvil() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.json");
    let node = spawn(NodeConfig {
        state: StateFiles {
            dump: Some(file.clone()),
            historical: true,
            ..StateFiles::default()
        },
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for _ in 0..3 {
        send(&provider, count_up(counter)).await;
    }
    // An account that comes and a slot that goes.
    let slot = B256::ZERO;
    raw(&provider, "anvil_setStorageAt", json!([counter, slot, slot])).await;
    raw(&provider, "evm_mine", json!([])).await;
    let expected = [0, 1, 2, 0, 0];
    assert_eq!(counts(&provider, counter, 5).await, expected);
    let bob = provider.get_balance(BOB).block_id(1.into()).await.unwrap();
    let without = raw(&provider, "anvil_dumpState", json!([false])).await;
    let with = raw(&provider, "anvil_dumpState", json!([])).await;
    node.stop().await.unwrap();

    let again = spawn(files(Some(&file), None)).await.unwrap();
    let by_request = fresh().await;
    raw(&plain(&by_request.http_endpoint()), "anvil_loadState", json!([with])).await;
    for node in [&again, &by_request] {
        let provider = plain(&node.http_endpoint());
        assert_eq!(counts(&provider, counter, 5).await, expected);
        assert_eq!(provider.get_balance(BOB).block_id(1.into()).await.unwrap(), bob);
        assert!(
            provider
                .get_code_at(counter)
                .block_id(0.into())
                .await
                .unwrap()
                .is_empty()
        );
        let read = provider.call(read_count(counter)).block(3.into()).await.unwrap();
        assert_eq!(read, word(2));
        send(&provider, count_up(counter)).await;
        assert_eq!(counts(&provider, counter, 6).await, [0, 1, 2, 0, 0, 1]);
    }
    let newest_only = fresh().await;
    let provider = plain(&newest_only.http_endpoint());
    raw(&provider, "anvil_loadState", json!([without])).await;
    let old = provider.get_balance(BOB).block_id(1.into()).await.unwrap_err();
    assert!(old.to_string().contains("the dump that was loaded"), "{old}");

    let anvil = Anvil::start(&["--load-state", file.to_str().unwrap()]).await;
    assert_eq!(counts(&anvil.provider(), counter, 5).await, expected);
}

#[tokio::test]
async fn anvils_states_of_older_blocks_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anvil.json");
    let anvil = Anvil::start(&["--preserve-historical-states"]).await;
    let up = anvil.provider();
    let mut request = counter_creation();
    let mut counter = None;
    for _ in 0..4 {
        let receipt = anvil.send(request).await;
        counter = counter.or(receipt.contract_address);
        request = count_up(counter.unwrap());
    }
    let counter = counter.unwrap();
    let packed = raw(&up, "anvil_dumpState", json!([true])).await;
    std::fs::write(&file, alloy::hex::decode(packed.as_str().unwrap()).unwrap()).unwrap();
    let node = spawn(files(Some(&file), None)).await.unwrap();
    let provider = plain(&node.http_endpoint());
    assert_eq!(counts(&provider, counter, 4).await, counts(&up, counter, 4).await);
    assert_eq!(counts(&provider, counter, 4).await, [0, 1, 2, 3]);
    assert_eq!(
        provider.get_balance(ALICE).block_id(2.into()).await.unwrap(),
        up.get_balance(ALICE).block_id(2.into()).await.unwrap()
    );
}

/// Anvil keeps the genesis that it made before it loaded a dump, and writes it among the blocks of that dump.
#[tokio::test]
async fn a_dump_of_an_anvil_that_had_loaded_one_loads_here() {
    let ours = fresh().await;
    send(&plain(&ours.http_endpoint()), transfer(ALICE, BOB, 5)).await;
    // Another time, or both would make the same genesis.
    let theirs = Anvil::start(&["--timestamp", "1700000000"]).await;
    raw(&theirs.provider(), "anvil_mine", json!(["0x2"])).await;
    for origin in [theirs.provider(), plain(&ours.http_endpoint())] {
        let head = origin.get_block_number().await.unwrap();
        let packed = raw(&origin, "anvil_dumpState", json!([])).await;
        let second = Anvil::start(&[]).await;
        let up = second.provider();
        raw(&up, "anvil_loadState", json!([packed])).await;
        raw(&up, "anvil_mine", json!(["0x1"])).await;
        let packed = raw(&up, "anvil_dumpState", json!([])).await;
        let node = fresh().await;
        let provider = plain(&node.http_endpoint());
        raw(&provider, "anvil_loadState", json!([packed])).await;
        assert_eq!(provider.get_block_number().await.unwrap(), head + 1);
        for number in 0..=head {
            let hash = async |chain: &alloy::providers::DynProvider| {
                let block = chain.get_block_by_number(number.into()).await.unwrap();
                block.map(|block| block.header.hash)
            };
            assert_eq!(hash(&provider).await, hash(&origin).await, "block {number}");
        }
        assert_eq!(
            provider.get_balance(BOB).await.unwrap(),
            up.get_balance(BOB).await.unwrap()
        );
    }
}
