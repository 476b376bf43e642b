//! Programs put in without the transactions that deploy and activate them, and versions of ArbOS.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, address, bytes, keccak256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol,
    sol_types::SolCall,
};
use cordon_node::{NodeConfig, spawn};
use cordon_stylus::{
    code,
    precompile::{ARB_OWNER, ARB_OWNER_PUBLIC, ARB_SYS, ARB_WASM},
};
use serde_json::{Value, json};

use crate::{
    stylus::{deployed, word_program},
    support::*,
};

sol! {
    function programVersion(address program) external view returns (uint16 version);
    function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
    function setInkPrice(uint32 price) external;
    function getAllChainOwners() external view returns (address[] memory);
    function scheduleArbOSUpgrade(uint64 version, uint64 time) external;
    function getScheduledUpgrade() external view returns (uint64 version, uint64 time);
    function arbOSVersion() external view returns (uint256);
}

const PROGRAM: Address = address!("00000000000000000000000000000000000000a9");
const FORWARDER: Address = address!("00000000000000000000000000000000000000f0");

fn to(target: Address, input: impl Into<Bytes>) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(ALICE)
        .with_to(target)
        .with_input(input.into())
}

async fn ask<C: SolCall>(provider: &DynProvider, target: Address, call: C) -> C::Return {
    let answer = provider.call(to(target, call.abi_encode())).await.unwrap();
    C::abi_decode_returns(&answer).unwrap()
}

async fn version(provider: &DynProvider, program: Address) -> Result<u16, String> {
    let call = to(ARB_WASM, programVersionCall { program }.abi_encode());
    let answer = provider.call(call).await.map_err(|error| error.to_string())?;
    Ok(programVersionCall::abi_decode_returns(&answer).unwrap())
}

async fn refused(provider: &DynProvider, method: &'static str, params: Value) -> String {
    let answer = provider.raw_request::<_, Value>(method.into(), params).await;
    answer.unwrap_err().to_string()
}

/// The program keeps a word and answers the one before; it does both here.
async fn keeps_words(provider: &DynProvider, program: Address) {
    for number in [5, 6] {
        assert!(send(provider, to(program, word(number))).await.status());
        assert_eq!(provider.call(to(program, Bytes::new())).await.unwrap(), word(number));
    }
}

#[tokio::test]
async fn code_that_is_a_module_becomes_an_active_program() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let wasm = Bytes::from(word_program());
    for method in ["anvil_setCode", "hardhat_setCode"] {
        raw(&provider, method, json!([PROGRAM, wasm])).await;
        let code = provider.get_code_at(PROGRAM).await.unwrap();
        assert_eq!(
            code,
            code::compress(&wasm).unwrap(),
            "compressed, as a deployment would be"
        );
        assert_eq!(version(&provider, PROGRAM).await, Ok(3));
    }
    keeps_words(&provider, PROGRAM).await;
    // Compressed code is taken as it is, and not activated by itself.
    let other = address!("00000000000000000000000000000000000000aa");
    let compressed = code::compress(&wat::parse_str(NO_MEMORY_GROWTH).unwrap()).unwrap();
    raw(&provider, "anvil_setCode", json!([other, Bytes::from(compressed)])).await;
    assert!(version(&provider, other).await.is_err());
    assert!(provider.call(to(other, Bytes::new())).await.is_err());
    // Nothing is changed by a module that could not be activated.
    let broken = Bytes::from(wat::parse_str("(module)").unwrap());
    let error = refused(&provider, "anvil_setCode", json!([PROGRAM, broken])).await;
    assert!(
        error.contains("no Stylus program") && error.contains("user_entrypoint"),
        "{error}"
    );
    keeps_words(&provider, PROGRAM).await;
    node.stop().await.unwrap();
}

const NO_MEMORY_GROWTH: &str = r#"(module (memory (export "memory") 1 1)
    (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#;

#[tokio::test]
async fn deploying_by_one_request_does_what_a_creation_does() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let wasm = Bytes::from(word_program());
    let snapshot = raw(&provider, "evm_snapshot", json!([])).await;
    for (creator, params) in [(ALICE, json!([wasm])), (BOB, json!([wasm, BOB]))] {
        let nonce = provider.get_transaction_count(creator).await.unwrap();
        let answer = raw(&provider, "cordon_deployStylus", params).await;
        let program: Address = serde_json::from_value(answer["address"].clone()).unwrap();
        assert_eq!(program, creator.create(nonce));
        let code = provider.get_code_at(program).await.unwrap();
        assert_eq!(answer["codeHash"], json!(keccak256(&code)));
        assert_eq!(provider.get_transaction_count(creator).await.unwrap(), nonce + 1);
        assert_eq!(provider.get_transaction_count(program).await.unwrap(), 1);
        assert_eq!(version(&provider, program).await, Ok(3));
        keeps_words(&provider, program).await;
    }
    let broken = Bytes::from_static(b"\0asm");
    let error = refused(&provider, "cordon_deployStylus", json!([broken])).await;
    assert!(error.contains("no Stylus program"), "{error}");
    raw(&provider, "evm_revert", json!([snapshot])).await;
    let program = ALICE.create(0);
    assert!(provider.get_code_at(program).await.unwrap().is_empty());
    assert!(
        version(&provider, program).await.is_err(),
        "its activation is reverted with it"
    );
    node.stop().await.unwrap();
}

/// Forwards its calldata to the program and answers what that answers.
fn forwarder() -> Bytes {
    // calldatacopy(0, 0, size); call(gas, 0xa9, 0, 0, size, 0, 0); returndatacopy(0, 0, size); return(0, size)
    bytes!("36600060003760006000366000600060a95af1503d600060003e3d6000f3")
}

/// As [`forwarder`], in the name and with the storage of whoever calls it.
fn proxy(program: Address) -> Bytes {
    let mut code = bytes!("363d3d373d3d3d363d73").to_vec();
    code.extend(program);
    code.extend(bytes!("5af43d82803e903d91602b57fd5bf3"));
    code.into()
}

#[tokio::test]
async fn an_access_list_names_what_a_program_touches() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let program = deployed(&provider, &word_program()).await;
    let proxied = Address::repeat_byte(0xd1);
    raw(&provider, "anvil_setCode", json!([proxied, proxy(program)])).await;
    for target in [program, proxied] {
        let call = to(target, U256::from(5).to_be_bytes::<32>()).with_from(ALICE);
        let listed = provider.create_access_list(&call).await.unwrap();
        let entry = |address: Address| listed.access_list.0.iter().find(|item| item.address == address);
        assert_eq!(entry(target).unwrap().storage_keys, [B256::ZERO]);
        assert!(entry(program).is_some());
        assert!(entry(cordon_stylus::arbos::STATE_ADDRESS).is_none());
        // What is told is what the call costs with the list.
        let mut with_list = call.clone();
        with_list.access_list = Some(listed.access_list.clone());
        let receipt = send(&provider, with_list).await;
        assert_eq!(receipt.gas_used, listed.gas_used.to::<u64>());
    }
}

#[tokio::test]
async fn a_first_call_activates_where_that_is_asked_for() {
    for asked in [false, true] {
        let config = NodeConfig {
            activate_on_first_call: asked,
            ..NodeConfig::default()
        };
        let node = spawn(config).await.unwrap();
        let provider = plain(&node.http_endpoint());
        let compressed = Bytes::from(code::compress(&word_program()).unwrap());
        raw(&provider, "anvil_setCode", json!([PROGRAM, compressed])).await;
        raw(&provider, "anvil_setCode", json!([FORWARDER, forwarder()])).await;
        // By a contract, which a transaction's own target tells nothing about.
        let call = provider.call(to(FORWARDER, Bytes::new())).await.unwrap();
        assert_eq!(call.len(), if asked { 32 } else { 0 });
        assert!(version(&provider, PROGRAM).await.is_err(), "a call changes nothing");
        let receipt = send(&provider, to(FORWARDER, word(7)).with_gas_limit(1_000_000)).await;
        assert!(receipt.status());
        let stored = provider.get_storage_at(PROGRAM, U256::ZERO).await.unwrap();
        assert_eq!(stored, U256::from(if asked { 7 } else { 0 }));
        assert_eq!(version(&provider, PROGRAM).await.is_ok(), asked);
        // Looking at the transaction later runs it as it was.
        let tracer = json!({ "tracer": "callTracer" });
        let trace = raw(
            &provider,
            "debug_traceTransaction",
            json!([receipt.transaction_hash, tracer]),
        )
        .await;
        assert_eq!(trace["gasUsed"], json!(format!("{:#x}", receipt.gas_used)));
        assert_eq!(trace["calls"][0]["error"].is_null(), asked, "{trace}");
        node.stop().await.unwrap();
    }
}

async fn arbos(provider: &DynProvider) -> u64 {
    let version = ask(provider, ARB_SYS, arbOSVersionCall {}).await;
    version.to::<u64>() - 55
}

#[tokio::test]
async fn a_scheduled_upgrade_takes_effect_at_its_time() {
    let node = spawn(NodeConfig {
        arbos_version: 51,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let provider = plain(&node.http_endpoint());
    raw(
        &provider,
        "anvil_setCode",
        json!([PROGRAM, Bytes::from(word_program())]),
    )
    .await;
    assert_eq!((arbos(&provider).await, version(&provider, PROGRAM).await), (51, Ok(2)));
    // The first account owns the chain, the second one nothing.
    let ink = || to(ARB_OWNER, setInkPriceCall { price: 10_001 }.abi_encode()).with_gas_limit(1_000_000);
    assert!(send(&provider, ink()).await.status());
    assert!(!send(&provider, ink().with_from(BOB)).await.status());
    let owners = ask(&provider, ARB_OWNER_PUBLIC, getAllChainOwnersCall {}).await;
    assert_eq!(owners, [ALICE]);
    let now = provider
        .get_block(Default::default())
        .await
        .unwrap()
        .unwrap()
        .header
        .timestamp;
    let schedule = scheduleArbOSUpgradeCall {
        version: 60,
        time: now + 3_600,
    };
    assert!(send(&provider, to(ARB_OWNER, schedule.abi_encode())).await.status());
    let scheduled = ask(&provider, ARB_OWNER_PUBLIC, getScheduledUpgradeCall {}).await;
    assert_eq!((scheduled.version, scheduled.time), (60, now + 3_600));

    raw(&provider, "evm_increaseTime", json!([1_800])).await;
    keeps_words(&provider, PROGRAM).await;
    assert_eq!(arbos(&provider).await, 51);
    raw(&provider, "evm_setNextBlockTimestamp", json!([now + 3_600])).await;
    let failed = send(&provider, to(PROGRAM, word(9)).with_gas_limit(1_000_000)).await;
    assert!(
        !failed.status(),
        "a program of Stylus 2 needs an upgrade in the first block of ArbOS 60"
    );
    assert_eq!(arbos(&provider).await, 60);
    assert_eq!(
        ask(&provider, ARB_OWNER_PUBLIC, getScheduledUpgradeCall {})
            .await
            .version,
        0
    );
    let activation = to(ARB_WASM, activateProgramCall { program: PROGRAM }.abi_encode());
    let activation = activation.with_value(U256::from(10).pow(U256::from(16)));
    assert!(send(&provider, activation).await.status());
    keeps_words(&provider, PROGRAM).await;

    // A fork has the version of the chain, whatever its own setting is.
    let fork = spawn(NodeConfig {
        fork_url: Some(node.http_endpoint().parse().unwrap()),
        arbos_version: 40,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let forked = plain(&fork.http_endpoint());
    assert_eq!((arbos(&forked).await, version(&forked, PROGRAM).await), (60, Ok(3)));
    keeps_words(&forked, PROGRAM).await;
    fork.stop().await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test]
async fn every_version_with_stylus_can_be_chosen_and_no_other() {
    for arbos_version in [0, 29, 61] {
        let config = NodeConfig {
            arbos_version,
            ..NodeConfig::default()
        };
        let error = spawn(config).await.unwrap_err().to_string();
        assert!(error.contains("arbos_version") && error.contains("30 to 60"), "{error}");
    }
    for arbos_version in [30, 32, 40, 50, 51, 59, 60] {
        let config = NodeConfig {
            arbos_version,
            ..NodeConfig::default()
        };
        let node = spawn(config).await.unwrap();
        let provider = plain(&node.http_endpoint());
        assert_eq!(arbos(&provider).await, arbos_version);
        raw(
            &provider,
            "anvil_setCode",
            json!([PROGRAM, Bytes::from(word_program())]),
        )
        .await;
        keeps_words(&provider, PROGRAM).await;
        node.stop().await.unwrap();
    }
}
