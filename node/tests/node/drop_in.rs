//! What clients of anvil find here: every method that anvil 1.7.1 knows, and answers of the same shape.

use std::collections::BTreeSet;

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, address},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
};
use serde_json::{Value, json};

use crate::support::*;

/// The methods in the table that anvil 1.7.1 reads its requests with.
const ANVIL: &str = "
    web3_clientVersion web3_sha3 eth_protocolVersion eth_chainId eth_networkId net_version net_listening eth_hashrate
    eth_gasPrice eth_maxPriorityFeePerGas eth_blobBaseFee eth_accounts eth_requestAccounts eth_blockNumber eth_coinbase
    eth_getBalance eth_getAccount eth_getAccountInfo eth_getStorageAt eth_getStorageValues eth_getBlockByHash
    eth_getBlockByNumber eth_getTransactionCount eth_getBlockTransactionCountByHash eth_getBlockTransactionCountByNumber
    eth_getUncleCountByBlockHash eth_getUncleCountByBlockNumber eth_getCode eth_getProof eth_sign personal_sign
    eth_signTransaction eth_signTypedData eth_signTypedData_v3 eth_signTypedData_v4 eth_sendTransaction
    eth_sendTransactionSync eth_sendRawTransaction eth_sendRawTransactionSync eth_call eth_simulateV1 eth_createAccessList
    eth_estimateGas eth_fillTransaction eth_getTransactionByHash anvil_getBlobByHash anvil_getBlobsByTransactionHash
    anvil_getGenesisTime eth_getTransactionByBlockHashAndIndex eth_getTransactionByBlockNumberAndIndex
    eth_getRawTransactionByHash eth_getRawTransactionByBlockHashAndIndex eth_getRawTransactionByBlockNumberAndIndex
    eth_getTransactionReceipt eth_getBlockReceipts eth_getUncleByBlockHashAndIndex eth_getUncleByBlockNumberAndIndex
    eth_getLogs eth_newFilter eth_getFilterChanges eth_newBlockFilter eth_newPendingTransactionFilter eth_getFilterLogs
    eth_uninstallFilter eth_getWork eth_submitWork eth_submitHashrate eth_feeHistory eth_syncing eth_config
    debug_getRawTransaction debug_traceTransaction debug_traceCall debug_codeByHash debug_dbGet debug_traceBlockByHash
    debug_traceBlockByNumber trace_transaction trace_block trace_filter trace_replayBlockTransactions
    anvil_impersonateAccount hardhat_impersonateAccount anvil_stopImpersonatingAccount hardhat_stopImpersonatingAccount
    anvil_autoImpersonateAccount hardhat_autoImpersonateAccount anvil_impersonateSignature anvil_getAutomine
    hardhat_getAutomine anvil_mine hardhat_mine anvil_setAutomine evm_setAutomine anvil_setIntervalMining
    evm_setIntervalMining anvil_getIntervalMining anvil_dropTransaction hardhat_dropTransaction anvil_dropAllTransactions
    hardhat_dropAllTransactions anvil_reset hardhat_reset anvil_setRpcUrl anvil_setBalance hardhat_setBalance
    tenderly_setBalance anvil_addBalance hardhat_addBalance tenderly_addBalance anvil_dealERC20 anvil_setERC20Balance
    hardhat_dealERC20 anvil_setERC20Allowance anvil_setCode hardhat_setCode anvil_setNonce evm_setAccountNonce
    hardhat_setNonce anvil_setStorageAt hardhat_setStorageAt anvil_setCoinbase hardhat_setCoinbase anvil_setChainId
    anvil_setLoggingEnabled hardhat_setLoggingEnabled anvil_setMinGasPrice hardhat_setMinGasPrice
    anvil_setNextBlockBaseFeePerGas hardhat_setNextBlockBaseFeePerGas anvil_setTime evm_setTime anvil_dumpState
    hardhat_dumpState anvil_loadState hardhat_loadState anvil_nodeInfo anvil_metadata hardhat_metadata anvil_snapshot
    evm_snapshot anvil_revert evm_revert anvil_increaseTime evm_increaseTime anvil_setNextBlockTimestamp
    evm_setNextBlockTimestamp anvil_setBlockGasLimit evm_setBlockGasLimit anvil_setBlockTimestampInterval
    anvil_removeBlockTimestampInterval evm_mine anvil_mine_detailed evm_mine_detailed eth_sendUnsignedTransaction
    txpool_status txpool_inspect txpool_content erigon_getHeaderByNumber ots_getApiLevel ots_getInternalOperations
    ots_hasCode ots_traceTransaction ots_getTransactionError ots_getBlockDetails ots_getBlockDetailsByHash
    ots_getBlockTransactions ots_searchTransactionsBefore ots_searchTransactionsAfter ots_getTransactionBySenderAndNonce
    eth_getTransactionBySenderAndNonce ots_getContractCreator anvil_removePoolTransactions anvil_reorg anvil_rollback
    anvil_setFeeToken anvil_setValidatorFeeToken anvil_setFeeAmmLiquidity";

/// Code of the error that a node gives to a method with parameters that nothing understands.
async fn code(provider: &DynProvider, method: &'static str) -> Option<i64> {
    let answer = provider
        .raw_request::<_, Value>(method.into(), json!([{ "?": 1 }]))
        .await;
    let error = answer.err()?;
    Some(
        error
            .as_error_resp()
            .unwrap_or_else(|| panic!("{method}: {error}"))
            .code,
    )
}

#[tokio::test]
async fn every_method_of_anvil_is_known_here() {
    let anvil = Anvil::start(&[]).await;
    let theirs = anvil.provider();
    let node = fresh().await;
    let ours = plain(&node.http_endpoint());
    let mut names: Vec<&'static str> = ANVIL.split_whitespace().collect();
    assert!(names.len() > 170);
    // Neither node has these over HTTP.
    names.extend(["eth_subscribe", "eth_unsubscribe", "nonsense"]);
    let table = include_str!("../../../docs/node.md");
    let mut unknown = Vec::new();
    for name in names {
        assert!(
            name == "nonsense" || table.contains(&format!("`{name}`")),
            "docs/node.md does not name {name}"
        );
        let (anvil, cordon) = (code(&theirs, name).await, code(&ours, name).await);
        // Anvil says of some what it does not have: they have another code here.
        if (anvil == Some(-32_601)) != (cordon == Some(-32_601)) {
            unknown.push((name, anvil, cordon));
        }
    }
    assert!(unknown.is_empty(), "known to one node only: {unknown:?}");
}

/// Names and kinds of what an answer has, without values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) => json!(if text.starts_with("0x") { "hex" } else { "text" }),
        Value::Array(items) => Value::Array(items.iter().take(1).map(shape).collect()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
    }
}

/// Each field of `theirs` is in `ours` and of its kind, but for those named.
fn has_all_of(ours: &Value, theirs: &Value, except: &[&str], place: &str) -> Vec<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let fields = theirs.iter().filter(|(name, _)| !except.contains(&name.as_str()));
            let missing = fields.flat_map(|(name, theirs)| {
                let place = format!("{place}.{name}");
                match ours.get(name) {
                    Some(ours) => has_all_of(ours, theirs, except, &place),
                    None => vec![place],
                }
            });
            missing.collect()
        }
        (Value::Array(ours), Value::Array(theirs)) => match (ours.first(), theirs.first()) {
            (Some(ours), Some(theirs)) => has_all_of(ours, theirs, except, &format!("{place}[]")),
            (None, None) => Vec::new(),
            _ => vec![format!("{place} has items in one answer only")],
        },
        (ours, theirs) if ours == theirs => Vec::new(),
        (ours, theirs) => vec![format!("{place}: {ours} instead of {theirs}")],
    }
}

/// Sends its value on to the address in its calldata: PUSH0 x4, CALLVALUE, the word at 0, GAS, CALL, STOP.
const FORWARDER: &str = "0x600a600c600039600a6000f35f5f5f5f345f355af100";

/// Init code that reverts with `Error("hi")`: its four parts are stored one after the other.
fn reverting() -> Bytes {
    let word = |start: &[u8]| {
        let mut word = [0; 32];
        word[..start.len()].copy_from_slice(start);
        word
    };
    let (selector, text) = (word(&[0x08, 0xc3, 0x79, 0xa0]), word(b"hi"));
    let code: [&[u8]; 5] = [
        &[0x7f],
        &selector,
        &[
            0x5f, 0x52, 0x60, 0x20, 0x60, 0x04, 0x52, 0x60, 0x02, 0x60, 0x24, 0x52, 0x7f,
        ],
        &text,
        &[0x60, 0x44, 0x52, 0x60, 0x64, 0x5f, 0xfd],
    ];
    Bytes::from(code.concat())
}

/// The same history on a node: a forwarder in block 1; in block 2 two transfers, one of them through it, and a creation that reverts.
async fn history(provider: &DynProvider) -> [B256; 3] {
    raw(provider, "evm_setAutomine", json!([false])).await;
    let gas = json!("0x30000");
    let create = json!([{ "from": ALICE, "data": FORWARDER, "gas": gas }]);
    let created = raw(provider, "eth_sendTransaction", create).await;
    raw(provider, "evm_mine", json!([])).await;
    let forwarder = address!("5FbDB2315678afecb367f032d93F642f64180aa3");
    let calldata = Bytes::from(BOB.into_word().to_vec());
    let forward = json!([{ "from": ALICE, "to": forwarder, "value": "0x7", "data": calldata, "gas": gas }]);
    let forwarded = raw(provider, "eth_sendTransaction", forward).await;
    let plain = json!([{ "from": ALICE, "to": BOB, "value": "0x1", "gas": gas }]);
    raw(provider, "eth_sendTransaction", plain).await;
    let fail = json!([{ "from": ALICE, "data": reverting(), "gas": gas }]);
    let failed = raw(provider, "eth_sendTransaction", fail).await;
    raw(provider, "evm_mine", json!([])).await;
    [created, forwarded, failed].map(|hash| serde_json::from_value(hash).unwrap())
}

#[tokio::test]
async fn otterscan_finds_what_anvil_tells_it() {
    let anvil = Anvil::start(&[]).await;
    let node = fresh().await;
    let (theirs, ours) = (anvil.provider(), plain(&node.http_endpoint()));
    let (at_anvil, here) = (history(&theirs).await, history(&ours).await);
    let forwarder = address!("5FbDB2315678afecb367f032d93F642f64180aa3");

    // Nothing in these depends on fees or hashes.
    for (method, index) in [
        ("ots_getInternalOperations", 0),
        ("ots_getInternalOperations", 1),
        ("ots_traceTransaction", 1),
        ("ots_getTransactionError", 1),
        ("ots_getTransactionError", 2),
    ] {
        let answer = raw(&ours, method, json!([here[index]])).await;
        assert_eq!(answer, raw(&theirs, method, json!([at_anvil[index]])).await, "{method}");
        assert_ne!(answer, Value::Null);
    }
    for (method, params) in [
        ("ots_getApiLevel", json!([])),
        ("ots_hasCode", json!([forwarder, "latest"])),
        ("ots_hasCode", json!([forwarder, "0x0"])),
        ("ots_hasCode", json!([ALICE, 2])),
        ("ots_getTransactionBySenderAndNonce", json!([ALICE, 77])),
        ("ots_getContractCreator", json!([BOB])),
        ("ots_searchTransactionsAfter", json!([Address::repeat_byte(0x99), 0, 2])),
        ("eth_protocolVersion", json!([])),
        ("eth_networkId", json!([])),
        ("eth_requestAccounts", json!([])),
    ] {
        let answer = raw(&ours, method, params.clone()).await;
        assert_eq!(answer, raw(&theirs, method, params).await, "{method}");
    }

    // Anvil tells of its blobs; what there is besides the field is of the same kind.
    let except = ["blobGasPrice", "requestsHash", "nonce", "accessList", "v"];
    for (method, params) in [
        ("ots_getBlockDetails", json!([2])),
        ("ots_getBlockTransactions", json!([2, 0, 2])),
        ("ots_getBlockTransactions", json!([2, 1, 2])),
        ("ots_searchTransactionsBefore", json!([BOB, 0, 5])),
        ("ots_searchTransactionsAfter", json!([BOB, 1, 5])),
        ("ots_getTransactionBySenderAndNonce", json!([ALICE, 1])),
        ("ots_getContractCreator", json!([forwarder])),
        ("anvil_getGenesisTime", json!([])),
    ] {
        let answer = shape(&raw(&ours, method, params.clone()).await);
        let expected = shape(&raw(&theirs, method, params).await);
        // Otterscan's documentation has no logs in lists of a block's transactions.
        let lists = method == "ots_getBlockTransactions";
        let except: Vec<&str> = except
            .into_iter()
            .chain(lists.then_some(["logs", "logsBloom"]).into_iter().flatten())
            .collect();
        let missing = has_all_of(&answer, &expected, &except, method);
        assert!(missing.is_empty(), "{missing:#?}");
    }

    let found = raw(&ours, "ots_searchTransactionsBefore", json!([BOB, 0, 5])).await;
    let hashes = |found: &Value| -> Vec<B256> {
        let transactions = found["txs"].as_array().unwrap().iter();
        transactions
            .map(|found| serde_json::from_value(found["hash"].clone()).unwrap())
            .collect()
    };
    assert_eq!(hashes(&found).len(), 2, "{found}");
    assert!(hashes(&found).contains(&here[1]), "called inside of it");
    assert_eq!((&found["firstPage"], &found["lastPage"]), (&json!(true), &json!(true)));
    let creator = raw(&ours, "ots_getContractCreator", json!([forwarder])).await;
    assert_eq!(creator, json!({ "hash": here[0], "creator": ALICE }));
    let page = raw(&ours, "ots_getBlockTransactions", json!([2, 1, 2])).await;
    assert_eq!(page["fullblock"]["transactionCount"], json!(3));
    assert_eq!(page["fullblock"]["transactions"].as_array().unwrap().len(), 1);
    let input = page["fullblock"]["transactions"][0]["input"].as_str().unwrap();
    assert_eq!(input.len(), 10);
}

#[tokio::test]
async fn typed_data_is_signed_as_anvil_signs_it() {
    let anvil = Anvil::start(&[]).await;
    let node = fresh().await;
    let (theirs, ours) = (anvil.provider(), plain(&node.http_endpoint()));
    let data = json!({
        "types": {
            "EIP712Domain": [{ "name": "name", "type": "string" }, { "name": "chainId", "type": "uint256" }, { "name": "salt", "type": "bytes32" }],
            "Leg": [{ "name": "token", "type": "address" }, { "name": "amounts", "type": "int64[2][]" }],
            "Order": [
                { "name": "legs", "type": "Leg[]" }, { "name": "note", "type": "string" }, { "name": "raw", "type": "bytes" },
                { "name": "id", "type": "bytes4" }, { "name": "ok", "type": "bool" }, { "name": "main", "type": "Leg" },
                { "name": "big", "type": "uint256" }
            ]
        },
        "primaryType": "Order",
        "domain": { "name": "x", "chainId": "31337", "salt": B256::repeat_byte(5) },
        "message": {
            "legs": [
                { "token": ALICE, "amounts": [["1", "-2"], [3, 4]] },
                { "token": BOB, "amounts": [] }
            ],
            "note": "grüezi", "raw": "0x0102", "id": "0xdeadbeef", "ok": true,
            "main": { "token": BOB, "amounts": [[9, -9]] }, "big": U256::MAX
        }
    });
    let signed = raw(&ours, "eth_signTypedData_v4", json!([ALICE, data])).await;
    assert_eq!(signed, raw(&theirs, "eth_signTypedData_v4", json!([ALICE, data])).await);
    for (method, data) in [
        ("eth_signTypedData", data.clone()),
        ("eth_signTypedData_v3", data.clone()),
        ("eth_signTypedData_v4", json!(data.to_string())),
    ] {
        assert_eq!(raw(&ours, method, json!([ALICE, data])).await, signed, "{method}");
    }
    let stranger = Address::repeat_byte(0x55);
    let refused = ours.raw_request::<_, Value>("eth_signTypedData_v4".into(), json!([stranger, data]));
    assert!(refused.await.unwrap_err().to_string().contains("no key"));
    let mut wrong = data;
    wrong["message"]["big"] = json!("much");
    let refused = ours.raw_request::<_, Value>("eth_signTypedData_v4".into(), json!([ALICE, wrong]));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.as_error_resp().unwrap().code, -32_602);
    assert!(refused.to_string().contains("message.big"), "{refused}");
}

#[tokio::test]
async fn whoever_is_named_can_send_unsigned() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let stranger = Address::repeat_byte(0x55);
    raw(&provider, "anvil_setBalance", json!([stranger, "0xde0b6b3a7640000"])).await;
    let request = transfer(stranger, BOB, 3);
    let refused = provider
        .raw_request::<_, B256>("eth_sendTransaction".into(), (request.clone(),))
        .await;
    assert!(refused.unwrap_err().to_string().contains("no signer"));
    let hash: B256 = provider
        .raw_request("eth_sendUnsignedTransaction".into(), (request,))
        .await
        .unwrap();
    let receipt = provider.get_transaction_receipt(hash).await.unwrap().unwrap();
    assert!(receipt.status());
    assert_eq!((receipt.from, receipt.to), (stranger, Some(BOB)));
    let nobody = TransactionRequest::default().with_to(BOB);
    let refused = provider
        .raw_request::<_, B256>("eth_sendUnsignedTransaction".into(), (nobody,))
        .await;
    assert_eq!(refused.unwrap_err().as_error_resp().unwrap().code, -32_602);
}

#[tokio::test]
async fn mined_blocks_are_told_with_what_their_transactions_returned() {
    let anvil = Anvil::start(&[]).await;
    let node = fresh().await;
    let (theirs, ours) = (anvil.provider(), plain(&node.http_endpoint()));
    let mut answers = Vec::new();
    for provider in [&theirs, &ours] {
        raw(provider, "evm_setAutomine", json!([false])).await;
        for data in [FORWARDER.parse().unwrap(), reverting()] {
            let create = json!([{ "from": ALICE, "data": data, "gas": "0x30000" }]);
            raw(provider, "eth_sendTransaction", create).await;
        }
        let at = json!([{ "timestamp": 4_000_000_000u64, "blocks": 2 }]);
        answers.push(raw(provider, "evm_mine_detailed", at).await);
    }
    let [theirs, ours] = &answers[..] else { panic!() };
    assert_eq!(ours[0]["timestamp"], theirs[0]["timestamp"]);
    assert_eq!(ours.as_array().unwrap().len(), 2);
    for index in 0..2 {
        for field in ["output", "revertReason"] {
            assert_eq!(
                ours[0]["transactions"][index][field], theirs[0]["transactions"][index][field],
                "{field} of {index}"
            );
        }
    }
    assert_eq!(ours[0]["transactions"][1]["revertReason"], json!("hi"));
}

#[tokio::test]
async fn a_signature_can_be_taken_for_an_accounts() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let signature = Bytes::from([[0x11; 64].as_slice(), &[27]].concat());
    raw(&provider, "anvil_impersonateSignature", json!([[signature, BOB]])).await;
    let ask = |message: u8, v: u8| {
        let mut v_word = [0; 32];
        v_word[31] = v;
        let input = [[message; 32].as_slice(), &v_word, &[0x11; 64]].concat();
        let call = TransactionRequest::default()
            .with_to(Address::with_last_byte(1))
            .with_input(input);
        provider.call(call)
    };
    assert_eq!(ask(1, 27).await.unwrap(), Bytes::from(BOB.into_word()));
    assert_eq!(ask(2, 27).await.unwrap(), Bytes::from(BOB.into_word()));
    assert_ne!(ask(1, 28).await.unwrap(), Bytes::from(BOB.into_word()));
    let short = provider
        .raw_request::<_, Value>("anvil_impersonateSignature".into(), json!([["0x11", BOB]]))
        .await;
    assert_eq!(short.unwrap_err().as_error_resp().unwrap().code, -32_602);
}

#[tokio::test]
async fn the_rules_of_the_chain_are_told() {
    let anvil = Anvil::start(&["--hardfork", "prague"]).await;
    let node = fresh().await;
    let (theirs, ours) = (anvil.provider(), plain(&node.http_endpoint()));
    let (theirs, ours) = (
        raw(&theirs, "eth_config", json!([])).await,
        raw(&ours, "eth_config", json!([])).await,
    );
    let precompiles = |config: &Value| -> BTreeSet<(String, String)> {
        let precompiles = config["current"]["precompiles"].as_object().unwrap().iter();
        precompiles
            .map(|(name, at)| (name.clone(), at.as_str().unwrap().to_owned()))
            .collect()
    };
    let (here, at_anvil) = (precompiles(&ours), precompiles(&theirs));
    assert!(here.is_superset(&at_anvil), "{at_anvil:?}");
    assert!(here.iter().any(|(name, _)| name == "ARB_WASM"));
    assert_eq!(ours["current"]["chainId"], json!("0x7a69"));
    // Types of alloy can read it.
    let _: alloy::eips::eip7910::EthConfig = serde_json::from_value(ours).unwrap();
}
