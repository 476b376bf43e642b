use std::process::Command;

use alloy::providers::Provider;

use crate::support::*;

/// What `cast` prints.
fn cast(args: &[&str]) -> String {
    let output = Command::new(tool("cast")).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "cast {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_reads_and_sends() {
    let node = fresh().await;
    let rpc = node.http_endpoint();
    let provider = plain(&rpc);
    let counter = deploy_counter(&provider).await;
    assert_eq!(cast(&["block-number", "--rpc-url", &rpc]), "1");
    assert_eq!(cast(&["chain-id", "--rpc-url", &rpc]), "31337");
    let sent = cast(&["send", &counter.to_string(), "--private-key", KEY, "--rpc-url", &rpc]);
    assert!(sent.contains("status               1 (success)"), "{sent}");
    let zero = format!("0x{}", "00".repeat(32));
    let count = cast(&["call", &counter.to_string(), "--data", &zero, "--rpc-url", &rpc]);
    assert_eq!(count, word(1).to_string());
    assert_eq!(
        cast(&["balance", &BOB.to_string(), "--ether", "--rpc-url", &rpc]),
        "10000.000000000000000000"
    );
    let by_socket = cast(&["block-number", "--rpc-url", &node.ws_endpoint()]);
    assert_eq!(by_socket, provider.get_block_number().await.unwrap().to_string());
}
