use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256, address, keccak256},
    providers::{DynProvider, Provider},
    rpc::types::{
        TransactionReceipt, TransactionRequest,
        state::{AccountOverride, StateOverride},
        trace::geth::{CallConfig, GethDebugTracingOptions},
    },
    sol,
    sol_types::{SolCall, SolError, SolEvent},
};
use cordon_node::{NodeConfig, NodeHandle, spawn};
use cordon_stylus::{code, genesis::STYLUS_DEPLOYER};
use serde_json::{Value, json};

use crate::support::*;

sol! {
    function codehashVersion(bytes32 codehash) external view returns (uint16 version);
    function programVersion(address program) external view returns (uint16 version);
    function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
    function deploy(bytes bytecode, bytes initData, uint256 initValue, bytes32 salt) external payable returns (address);
    event ProgramActivated(bytes32 indexed codehash, bytes32 moduleHash, address program, uint256 dataFee, uint16 version);
    event ContractDeployed(address deployedContract);
    error ProgramNotActivated();
    error ProgramUpToDate();
}

const ARB_WASM: Address = address!("0000000000000000000000000000000000000071");

/// Answers the word in slot 0, and then stores its calldata there if that is one word.
const REGISTER: &str = r#"(module
    (import "vm_hooks" "pay_for_memory_grow" (func (param i32)))
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (import "vm_hooks" "storage_load_bytes32" (func $load (param i32 i32)))
    (import "vm_hooks" "storage_cache_bytes32" (func $cache (param i32 i32)))
    (import "vm_hooks" "storage_flush_cache" (func $flush (param i32)))
    (memory (export "memory") 1)
    (func (export "user_entrypoint") (param $len i32) (result i32)
        (call $load (i32.const 0) (i32.const 32))
        (if (i32.eq (local.get $len) (i32.const 32))
            (then
                (call $read_args (i32.const 64))
                (call $cache (i32.const 0) (i32.const 64))
                (call $flush (i32.const 0))))
        (call $write_result (i32.const 32) (i32.const 32))
        (i32.const 0)))"#;

fn program(source: &str) -> Bytes {
    code::compress(&wat::parse_str(source).unwrap()).unwrap().into()
}

fn call_to(target: Address, call: &impl SolCall) -> TransactionRequest {
    TransactionRequest::default()
        .with_to(target)
        .with_input(call.abi_encode())
}

/// Deploys and activates a program.
pub(crate) async fn deployed(provider: &DynProvider, wasm: &[u8]) -> Address {
    let code: Bytes = code::compress(wasm).unwrap().into();
    let fee = quote(provider, &code).await.unwrap();
    let address = deploy_code(provider, &code).await;
    assert!(activate(provider, address, fee).await.status());
    address
}

/// The program that answers the word in slot 0, and then stores its calldata there if that is one word.
pub(crate) fn word_program() -> Vec<u8> {
    wat::parse_str(REGISTER).unwrap()
}

async fn deploy_code(provider: &DynProvider, code: &Bytes) -> Address {
    let create = TransactionRequest::default()
        .with_from(ALICE)
        .with_deploy_code(code::init_code(code));
    let receipt = send(provider, create).await;
    assert!(receipt.status());
    receipt.contract_address.unwrap()
}

/// What `cargo stylus check` asks: activation of code that is nowhere yet, from an account that is nobody.
async fn quote(provider: &DynProvider, code: &Bytes) -> Result<U256, String> {
    let (nobody, nowhere) = (Address::repeat_byte(0xd0), Address::repeat_byte(0xd1));
    let overrides = StateOverride::from_iter([
        (
            nobody,
            AccountOverride {
                balance: Some(U256::MAX),
                ..AccountOverride::default()
            },
        ),
        (
            nowhere,
            AccountOverride {
                code: Some(code.clone()),
                ..AccountOverride::default()
            },
        ),
    ]);
    let request = call_to(ARB_WASM, &activateProgramCall { program: nowhere })
        .with_from(nobody)
        .with_value(U256::from(10).pow(U256::from(18)));
    let answer = provider
        .call(request)
        .overrides(overrides)
        .await
        .map_err(|error| error.to_string())?;
    let decoded = activateProgramCall::abi_decode_returns(&answer).unwrap();
    assert_eq!(decoded.version, 3);
    Ok(decoded.dataFee)
}

fn with_fifth(fee: U256) -> U256 {
    fee * U256::from(12) / U256::from(10)
}

async fn activate(provider: &DynProvider, program: Address, fee: U256) -> TransactionReceipt {
    let request = call_to(ARB_WASM, &activateProgramCall { program })
        .with_from(ALICE)
        .with_value(with_fifth(fee));
    let estimate = provider.estimate_gas(request.clone()).await.unwrap();
    assert!(estimate > 1_659_168, "{estimate}");
    send(provider, request.with_gas_limit(estimate)).await
}

async fn deployed_and_active(node: &NodeHandle) -> (DynProvider, Address) {
    let provider = plain(&node.http_endpoint());
    let address = deployed(&provider, &word_program()).await;
    (provider, address)
}

fn write(program: Address, number: u64) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(ALICE)
        .with_to(program)
        .with_input(word(number))
}

fn read(program: Address) -> TransactionRequest {
    TransactionRequest::default().with_to(program)
}

#[tokio::test]
async fn the_requests_of_cargo_stylus_deploy_work() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let code = program(REGISTER);

    let asked = call_to(
        ARB_WASM,
        &codehashVersionCall {
            codehash: keccak256(&code),
        },
    );
    let error = provider.call(asked.clone()).await.unwrap_err();
    let data = error.as_error_resp().unwrap().as_revert_data().unwrap();
    assert_eq!(data, ProgramNotActivated {}.abi_encode());

    let fee = quote(&provider, &code).await.unwrap();
    assert!(fee > U256::ZERO);
    let address = deploy_code(&provider, &code).await;
    assert_eq!(provider.get_code_at(address).await.unwrap(), code);

    let before = provider.get_balance(ALICE).await.unwrap();
    let receipt = activate(&provider, address, fee).await;
    assert!(receipt.status());
    let log = ProgramActivated::decode_log(&receipt.logs()[0].inner).unwrap();
    assert_eq!((log.program, log.codehash, log.version), (address, keccak256(&code), 3));
    let paid = before - provider.get_balance(ALICE).await.unwrap();
    let gas = U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
    assert_eq!(paid, gas + log.dataFee, "what is too much of the value comes back");

    let version = provider.call(asked).await.unwrap();
    assert_eq!(codehashVersionCall::abi_decode_returns(&version).unwrap(), 3);
    let again = call_to(ARB_WASM, &activateProgramCall { program: address })
        .with_from(ALICE)
        .with_value(fee);
    let error = provider.estimate_gas(again).await.unwrap_err();
    assert_eq!(
        error.as_error_resp().unwrap().as_revert_data().unwrap(),
        ProgramUpToDate {}.abi_encode()
    );
}

#[tokio::test]
async fn an_active_program_keeps_state_and_its_history() {
    let node = fresh().await;
    let (provider, register) = deployed_and_active(&node).await;
    let first = send(&provider, write(register, 11)).await;
    assert!(first.status());
    let second = send(&provider, write(register, 22)).await;
    assert_eq!(provider.call(read(register)).await.unwrap(), word(22));
    let old = provider
        .call(read(register))
        .block(first.block_hash.unwrap().into())
        .await
        .unwrap();
    assert_eq!(old, word(11));
    assert_eq!(
        provider.get_storage_at(register, U256::ZERO).await.unwrap(),
        U256::from(22)
    );
    let estimate = provider.estimate_gas(write(register, 33)).await.unwrap();
    assert!(
        estimate >= second.gas_used && estimate < second.gas_used * 3 / 2,
        "{estimate} for {}",
        second.gas_used
    );
}

#[tokio::test]
async fn the_deployer_deploys_activates_and_initialises_at_once() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let code = program(REGISTER);
    let fee = quote(&provider, &code).await.unwrap();
    let call = deployCall {
        bytecode: code::init_code(&code).into(),
        initData: word(77),
        initValue: U256::ZERO,
        salt: Default::default(),
    };
    let request = call_to(STYLUS_DEPLOYER, &call)
        .with_from(ALICE)
        .with_value(with_fifth(fee));
    let receipt = send(&provider, request).await;
    assert!(receipt.status());
    let deployed = receipt
        .logs()
        .iter()
        .find_map(|log| ContractDeployed::decode_log(&log.inner).ok())
        .expect("the deployer tells the address")
        .deployedContract;
    assert_eq!(provider.call(read(deployed)).await.unwrap(), word(77));
    let version = provider
        .call(call_to(ARB_WASM, &programVersionCall { program: deployed }))
        .await
        .unwrap();
    assert_eq!(programVersionCall::abi_decode_returns(&version).unwrap(), 3);
}

#[tokio::test]
async fn a_program_that_cannot_be_activated_says_why() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let broken = program(r#"(module (memory (export "memory") 1) (func (export "other")))"#);
    let error = quote(&provider, &broken).await.unwrap_err();
    assert!(error.contains("program activation failed"), "{error}");
    let address = deploy_code(&provider, &broken).await;
    let request = call_to(ARB_WASM, &activateProgramCall { program: address })
        .with_from(ALICE)
        .with_value(U256::from(10).pow(U256::from(15)));
    let error = provider.estimate_gas(request.clone()).await.unwrap_err();
    assert!(error.to_string().contains("program activation failed"), "{error}");
    let receipt = send(&provider, request.with_gas_limit(3_000_000)).await;
    assert!(!receipt.status());
    assert_eq!(receipt.gas_used, 3_000_000);
}

#[tokio::test]
async fn a_program_survives_snapshots_and_forks() {
    let anvil = Anvil::start(&["--chain-id", "42161"]).await;
    let live = spawn(anvil.fork_config()).await.unwrap();
    let (provider, register) = deployed_and_active(&live).await;
    send(&provider, write(register, 5)).await;
    let snapshot = raw(&provider, "evm_snapshot", json!([])).await;
    send(&provider, write(register, 6)).await;
    raw(&provider, "evm_revert", json!([snapshot])).await;
    assert_eq!(provider.call(read(register)).await.unwrap(), word(5));
    let config = NodeConfig {
        fork_url: Some(live.http_endpoint().parse().unwrap()),
        ..NodeConfig::default()
    };
    let fork = spawn(config).await.unwrap();
    let forked = plain(&fork.http_endpoint());
    assert!(send(&forked, write(register, 7)).await.status());
    assert_eq!(forked.call(read(register)).await.unwrap(), word(7));
    assert_eq!(provider.call(read(register)).await.unwrap(), word(5));
}

#[tokio::test]
async fn a_transaction_of_a_program_is_traced() {
    let node = fresh().await;
    let (provider, register) = deployed_and_active(&node).await;
    let receipt = send(&provider, write(register, 5)).await;
    let options = GethDebugTracingOptions::call_tracer(CallConfig::default());
    let options = serde_json::to_value(options).unwrap();
    let trace: Value = raw(
        &provider,
        "debug_traceTransaction",
        json!([receipt.transaction_hash, options]),
    )
    .await;
    assert_eq!(trace["to"], json!(register.to_string().to_lowercase()));
    assert_eq!(trace["output"], json!(word(0)));
    assert_eq!(trace["gasUsed"], json!(format!("{:#x}", receipt.gas_used)));
}
