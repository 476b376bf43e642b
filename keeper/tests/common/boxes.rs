//! A contract with numbers in boxes, written by hand: `put(key, value)` stores and logs `Stored`, `get(key)` answers.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use alloy::primitives::{Address, B256, U256, hex, keccak256};
use serde_json::{Value, json};

use super::common::Anvil;

/// Putting this value reverts.
pub const POISON: u64 = 0xdead;
pub const STORED: &str = "event Stored(uint256 indexed key, uint256 value)";
pub const PUT: &str = "function put(uint256 key, uint256 value) payable";

/// Code that tells calls apart by the length of their calldata: nothing is a payment, 36 bytes are `get`, more is `put`.
fn code() -> Vec<u8> {
    let topic = keccak256("Stored(uint256,uint256)");
    let build = |pay: u8, get: u8, poison: u8| -> (Vec<u8>, [u8; 3]) {
        let mut code = vec![0x36, 0x15, 0x60, pay, 0x57]; // calldatasize iszero push pay jumpi
        code.extend([0x36, 0x60, 0x24, 0x14, 0x60, get, 0x57]); // calldatasize == 36 -> get
        code.extend([0x60, 0x24, 0x35]); // value
        code.extend([0x80, 0x61, 0xde, 0xad, 0x14, 0x60, poison, 0x57]); // value == poison -> revert
        code.extend([0x80, 0x60, 0x04, 0x35, 0x55]); // sstore(key, value)
        code.extend([0x60, 0x00, 0x52]); // mstore(0, value)
        code.extend([0x60, 0x04, 0x35, 0x7f]); // key, push32 topic
        code.extend(topic);
        code.extend([0x60, 0x20, 0x60, 0x00, 0xa2]); // log2(0, 32, topic, key)
        let pay = u8::try_from(code.len()).unwrap();
        code.extend([0x5b, 0x00]); // stop
        let get = u8::try_from(code.len()).unwrap();
        code.extend([
            0x5b, 0x60, 0x04, 0x35, 0x54, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3,
        ]);
        let poison = u8::try_from(code.len()).unwrap();
        code.extend([0x5b, 0x60, 0x00, 0x60, 0x00, 0xfd]);
        (code, [pay, get, poison])
    };
    let (_, [pay, get, poison]) = build(0, 0, 0);
    build(pay, get, poison).0
}

/// Runtime code of an invariant contract whose functions revert while box 1 of the contract in its slot 0 is above 100.
pub fn invariant_artifact() -> Value {
    let get = &keccak256("get(uint256)")[..4];
    let mut code = vec![0x63];
    code.extend(get);
    code.extend([0x60, 0xe0, 0x1b, 0x60, 0x00, 0x52]); // mstore(0, selector << 224)
    code.extend([0x60, 0x01, 0x60, 0x04, 0x52]); // mstore(4, 1)
    code.extend([
        0x60, 0x20, 0x60, 0x00, 0x60, 0x24, 0x60, 0x00, 0x60, 0x00, 0x54, 0x5a, 0xfa, 0x50,
    ]); // staticcall
    code.extend([0x60, 0x64, 0x60, 0x00, 0x51, 0x11, 0x60]); // answer > 100 -> revert
    let dest = u8::try_from(code.len() + 3).unwrap();
    code.extend([dest, 0x57, 0x00, 0x5b, 0x60, 0x00, 0x60, 0x00, 0xfd]);
    let length = u8::try_from(code.len()).unwrap();
    let mut creation = vec![0x60, length, 0x80, 0x60, 0x0b, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3];
    creation.extend(code);
    json!({
        "abi": [{ "type": "function", "name": "invariant_box", "inputs": [], "outputs": [], "stateMutability": "view" }],
        "bytecode": { "object": hex::encode_prefixed(creation) },
    })
}

pub async fn place(anvil: &Anvil, at: Address) {
    let code = hex::encode_prefixed(code());
    anvil.rpc("anvil_setCode", json!([at, code])).await;
}

pub fn put_data(key: u64, value: u64) -> String {
    put_words(U256::from(key).into(), U256::from(value).into())
}

pub fn put_words(key: B256, value: B256) -> String {
    let selector = &keccak256("put(uint256,uint256)")[..4];
    hex::encode_prefixed([selector, key.as_slice(), value.as_slice()].concat())
}

/// Sends a transaction from a development account of anvil; answers its hash once it is included.
pub async fn send(anvil: &Anvil, from: Address, to: Address, value: u64, data: &str) -> B256 {
    let hash = anvil.send(transaction(from, to, value, data)).await;
    hash.as_str().unwrap().parse().unwrap()
}

/// The same without waiting.
pub async fn submit(anvil: &Anvil, from: Address, to: Address, value: u64, data: &str) -> B256 {
    let hash = anvil
        .rpc("eth_sendTransaction", json!([transaction(from, to, value, data)]))
        .await;
    hash.as_str().unwrap().parse().unwrap()
}

/// With a gas limit of its own, so that what reverts is included.
fn transaction(from: Address, to: Address, value: u64, data: &str) -> Value {
    json!({ "from": from, "to": to, "value": format!("{value:#x}"), "data": data, "gas": "0x30d40" })
}
