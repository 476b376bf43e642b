use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256, hex},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol,
    sol_types::SolCall,
};
use cordon_node::{NodeConfig, spawn};
use serde_json::{Value, json};

use crate::{stylus::deployed, support::*};

sol! {
    function transfer(address to, uint256 amount) external returns (bool);
}

/// Prints "hello", logs its calldata's first word under one topic, calls the contract whose address is in its calldata after the
/// selector, and reverts with what that returned.
const TALKER: &str = r#"(module
    (import "vm_hooks" "pay_for_memory_grow" (func (param i32)))
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (import "vm_hooks" "emit_log" (func $emit_log (param i32 i32 i32)))
    (import "vm_hooks" "call_contract" (func $call (param i32 i32 i32 i32 i64 i32) (result i32)))
    (import "vm_hooks" "read_return_data" (func $returned (param i32 i32 i32) (result i32)))
    (import "console" "log_txt" (func $log (param i32 i32)))
    (import "console" "log_i32" (func $number (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 1024) "hello")
    (func (export "user_entrypoint") (param $len i32) (result i32)
        (call $read_args (i32.const 0))
        (call $log (i32.const 1024) (i32.const 5))
        (call $number (i32.const -7))
        (call $emit_log (i32.const 4) (i32.const 32) (i32.const 1))
        (drop (call $call (i32.const 16) (i32.const 0) (i32.const 0) (i32.const 512) (i64.const -1) (i32.const 128)))
        (call $write_result (i32.const 256) (call $returned (i32.const 256) (i32.const 0) (i32.const 512)))
        (i32.const 1)))"#;

/// Calls console.log(string,uint256) with "n" and 5, then reverts with the guard's `NotExpired(1, 2)`.
fn reverting() -> Vec<u8> {
    let mut console = alloy::primitives::keccak256("log(string,uint256)")[..4].to_vec();
    console.extend(
        [U256::from(64), U256::from(5), U256::from(1)]
            .map(|word| word.to_be_bytes::<32>())
            .concat(),
    );
    console.extend([b'n']);
    console.resize(4 + 4 * 32, 0);
    let mut error = alloy::primitives::keccak256("NotExpired(uint8,uint64)")[..4].to_vec();
    error.extend(
        [U256::from(1), U256::from(2)]
            .map(|word| word.to_be_bytes::<32>())
            .concat(),
    );
    // CODECOPY(0, 47, 132); STATICCALL(gas, console, 0, 132, 0, 0); CODECOPY(0, 179, 68); REVERT(0, 68)
    let mut code = hex!("6084602f5f39").to_vec();
    code.extend(hex!("5f5f60845f6a636f6e736f6c652e6c6f675afa50"));
    code.extend(hex!("604460b35f3960445ffd"));
    code.resize(47, 0);
    code.extend(console);
    assert_eq!(code.len(), 179);
    code.extend(error);
    code
}

#[tokio::test]
async fn the_call_tree_shows_programs_contracts_names_and_what_they_print() {
    let node = spawn(NodeConfig {
        stylus_console: true,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let talker = deployed(&provider, &wat::parse_str(TALKER).unwrap()).await;
    let contract = Address::repeat_byte(0x77);
    raw(&provider, "anvil_setCode", json!([contract, Bytes::from(reverting())])).await;
    let input = transferCall {
        to: contract,
        amount: U256::from(5),
    }
    .abi_encode();
    let request = TransactionRequest::default()
        .with_from(ALICE)
        .with_to(talker)
        .with_input(input)
        .with_gas_limit(5_000_000);
    let receipt = send(&provider, request.clone()).await;
    assert!(!receipt.status());
    let text = raw(&provider, "cordon_printTransaction", json!([receipt.transaction_hash])).await;
    let text = text.as_str().unwrap();
    let gas = regexless(text);
    let expected = format!(
        "  [# gas, # ink] wasm {talker}::transfer(to: {contract}, amount: 5)
    ├─ console: hello
    ├─ console: -7
    ├─ emit ({}) 0x
    ├─ [# gas] {contract}::()
    │   ├─ console.log: n 5
    │   └─ ← [Revert] NotExpired(scope: 1, expiresAt: 2)
    └─ ← [Revert] NotExpired(scope: 1, expiresAt: 2)
",
        contract.into_word()
    );
    assert_eq!(gas, expected, "{text}");
    let by_call = raw(&provider, "cordon_printCall", json!([request, "latest"])).await;
    assert_eq!(regexless(by_call.as_str().unwrap()), expected);

    let error = provider.call(request).await.unwrap_err();
    let error = error.as_error_resp().unwrap();
    assert_eq!(error.message, "execution reverted: NotExpired(scope: 1, expiresAt: 2)");
    assert_eq!(error.code, 3);
}

/// The text with every cost replaced by `#`.
fn regexless(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once('[') {
        Some((indent, rest)) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
            let (costs, rest) = rest.split_once(']').unwrap();
            let costs: Vec<_> = costs.split(", ").map(|cost| cost.split_once(' ').unwrap().1).collect();
            let costs: Vec<_> = costs.iter().map(|unit| format!("# {unit}")).collect();
            format!("{indent}[{}]{rest}\n", costs.join(", "))
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[tokio::test]
async fn given_abis_name_the_errors_of_reverts() {
    let directory = tempfile::tempdir().unwrap();
    let abi = r#"{"contractName":"Vault","abi":[{"type":"error","name":"TooLate","inputs":[{"name":"by","type":"uint256"}]}]}"#;
    std::fs::write(directory.path().join("Vault.json"), abi).unwrap();
    let node = spawn(NodeConfig {
        abis: vec![directory.path().to_owned()],
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    let mut data = alloy::primitives::keccak256("TooLate(uint256)")[..4].to_vec();
    data.extend(word(9).iter());
    let request = count_up(counter).with_input(data);
    let error = provider.estimate_gas(request).await.unwrap_err();
    assert_eq!(
        error.as_error_resp().unwrap().message,
        "execution reverted: TooLate(by: 9)"
    );

    let missing = spawn(NodeConfig {
        abis: vec![directory.path().join("absent")],
        ..NodeConfig::default()
    });
    let error = missing.await.unwrap_err().to_string();
    assert!(error.contains("`abis`") && error.contains("absent"), "{error}");
    let unknown = provider
        .raw_request::<_, Value>("cordon_printTransaction".into(), json!([alloy::primitives::B256::ZERO]))
        .await;
    assert!(unknown.unwrap_err().to_string().contains("not known"));
}
