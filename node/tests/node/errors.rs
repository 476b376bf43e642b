use std::{net::TcpListener, time::Duration};

use cordon_node::{NodeConfig, NodeError, spawn};

use crate::support::*;

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = spawn(NodeConfig {
        port,
        ..NodeConfig::default()
    })
    .await
    .unwrap_err();
    assert!(matches!(error, NodeError::PortInUse { .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("port {port} on 127.0.0.1 is in use")),
        "{error}"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named_without_its_key() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/v2/secret-key").parse().unwrap();
    let error = spawn(NodeConfig {
        fork_url: Some(url),
        ..NodeConfig::default()
    })
    .await
    .unwrap_err();
    assert!(matches!(error, NodeError::ForkUnreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("http://127.0.0.1:{port}, does not answer")),
        "{text}"
    );
    assert!(!text.contains("secret-key"), "{text}");
}

#[tokio::test]
async fn another_chain_and_a_missing_block_are_told_apart() {
    let anvil = Anvil::start(&[]).await;
    let error = spawn(NodeConfig {
        fork_chain_id: Some(42_161),
        ..anvil.fork_config()
    })
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            NodeError::WrongChain {
                expected: 42_161,
                found: 31_337,
                ..
            }
        ),
        "{error:?}"
    );
    let error = spawn(NodeConfig {
        fork_block_number: Some(99),
        ..anvil.fork_config()
    })
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            NodeError::ForkBlockMissing {
                number: 99,
                newest: 0,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let default = NodeConfig::default;
    let cases = [
        (
            "fork_block_number",
            NodeConfig {
                fork_block_number: Some(1),
                ..default()
            },
        ),
        (
            "block_time",
            NodeConfig {
                block_time: Some(Duration::ZERO),
                ..default()
            },
        ),
        (
            "no_mining",
            NodeConfig {
                no_mining: true,
                block_time: Some(Duration::from_secs(1)),
                ..default()
            },
        ),
        (
            "mnemonic",
            NodeConfig {
                mnemonic: "twelve words".to_owned(),
                ..default()
            },
        ),
        (
            "accounts",
            NodeConfig {
                accounts: 5_000,
                ..default()
            },
        ),
        (
            "fork_url",
            NodeConfig {
                fork_url: Some("ftp://127.0.0.1".parse().unwrap()),
                ..default()
            },
        ),
        (
            "history",
            NodeConfig {
                history: 0,
                ..default()
            },
        ),
        (
            "gas_limit",
            NodeConfig {
                gas_limit: Some(1),
                ..default()
            },
        ),
        (
            "max_transactions",
            NodeConfig {
                max_transactions: 0,
                ..default()
            },
        ),
    ];
    for (expected, config) in cases {
        match spawn(config).await {
            Err(NodeError::Config { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stopped_node_frees_its_port() {
    let node = fresh().await;
    let port = node.address().port();
    node.stop().await.unwrap();
    let again = spawn(NodeConfig {
        port,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    assert_eq!(again.address().port(), port);
    drop(again);
    eventually("the end of a dropped node", async || {
        TcpListener::bind(("127.0.0.1", port)).ok()
    })
    .await;
}
