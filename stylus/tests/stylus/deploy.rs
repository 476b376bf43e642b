//! The deployer contract, and programs whose code is spread over several accounts.

use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::{STATE_ADDRESS, Space};
use cordon_stylus::precompile::ARB_WASM;
use cordon_stylus::{code, genesis};
use revm::context::result::ExecutionResult;

use crate::common::{self, Chain, ETHER, GAS, activate, call, echo, number, word};

const DEPLOYED: B256 = B256::new(hex!("8ffcdc15a283d706d38281f500270d8b5a656918f555de0913d7455e3e6bc1bf"));

fn deploy_call(init: &[u8], init_data: &[u8], value: u64, salt: B256) -> Vec<u8> {
    let padded = init.len().next_multiple_of(32);
    let mut data = call(
        hex!("a9a8e4e9"),
        &[word(128), word(160 + padded as u64), word(value), salt],
    );
    for bytes in [init, init_data] {
        data.extend_from_slice(word(bytes.len() as u64).as_slice());
        data.extend_from_slice(bytes);
        data.resize(data.len() + bytes.len().next_multiple_of(32) - bytes.len(), 0);
    }
    data
}

#[test]
fn the_deployer_deploys_activates_and_initialises() {
    let mut chain = Chain::default();
    let init = code::init_code(&code::compress(&echo()).unwrap());
    let init_data: [u8; 32] = U256::from(0xbeef).to_be_bytes();
    for salt in [B256::ZERO, word(5)] {
        let data = deploy_call(&init, &init_data, 0, salt);
        let outcome = chain.send_with(TxKind::Call(genesis::STYLUS_DEPLOYER), &data, U256::from(ETHER), GAS);
        assert!(outcome.success(), "{outcome:?}");
        let program = Address::from_word(number(&outcome.output(), 0).into());
        let log = outcome.result.logs().last().unwrap();
        assert_eq!(
            (log.topics()[0], number(&log.data.data, 0)),
            (DEPLOYED, number(&outcome.output(), 0))
        );
        assert_eq!(chain.slot(program, 0), U256::from(0xbeef), "the initialiser ran");
        assert_eq!(
            chain.balance(genesis::STYLUS_DEPLOYER),
            U256::ZERO,
            "what is left goes back"
        );
        if !salt.is_zero() {
            let mut preimage = salt.to_vec();
            preimage.extend_from_slice(&init_data);
            assert_eq!(
                program,
                genesis::STYLUS_DEPLOYER.create2(keccak256(preimage), keccak256(&init))
            );
        }
        let outcome = chain.send(program, b"hello");
        assert_eq!(outcome.output().as_ref(), b"hello");
    }
}

#[test]
fn the_deployer_refuses_nonsense() {
    let mut chain = Chain::default();
    let mut send = |data: &[u8]| {
        chain
            .send_with(TxKind::Call(genesis::STYLUS_DEPLOYER), data, U256::from(ETHER), GAS)
            .output()
    };
    assert_eq!(
        send(&deploy_call(&[], &[], 0, B256::ZERO))[..4],
        hex!("21744a59"),
        "EmptyBytecode"
    );
    assert_eq!(
        send(&deploy_call(&[0], &[], 7, B256::ZERO))[..4],
        hex!("00cc7971"),
        "InitValueButNotInitData"
    );
    assert_eq!(
        send(&deploy_call(&hex!("fe"), &[], 0, B256::ZERO))[..4],
        hex!("794c92ce"),
        "ContractDeploymentError"
    );
}

/// A program of about `size` bytes that compresses badly and answers one byte of itself.
pub(crate) fn large(size: usize) -> Vec<u8> {
    let mut noise = Vec::new();
    while noise.len() < size {
        noise.extend_from_slice(keccak256((noise.len() as u64).to_be_bytes()).as_slice());
    }
    let text: String = noise.iter().map(|byte| format!("\\{byte:02x}")).collect();
    wat::parse_str(format!(
        r#"(module {} (memory (export "memory") 4 4) (data (i32.const 64) "{text}")
            (func (export "user_entrypoint") (param i32) (result i32)
                (call $write_result (i32.const 64) (i32.const 32)) i32.const 0))"#,
        common::IMPORTS
    ))
    .unwrap()
}

/// Splits a program into fragments at `accounts` and returns the root's code.
pub(crate) fn fragmented(chain: &mut Chain, wasm: &[u8], accounts: &[Address]) -> Vec<u8> {
    let code = code::compress(wasm).unwrap();
    let stream = &code[4..];
    let mut root = hex!("eff00200").to_vec();
    root.extend_from_slice(&u32::try_from(wasm.len()).unwrap().to_be_bytes());
    for (account, slice) in accounts
        .iter()
        .zip(stream.chunks(stream.len().div_ceil(accounts.len())))
    {
        assert!(slice.len() + 3 <= 24_576);
        chain.set_code(*account, &[&hex!("eff001")[..], slice].concat());
        root.extend_from_slice(account.as_slice());
    }
    root
}

#[test]
fn programs_in_fragments_are_activated_and_run() {
    let mut chain = Chain::default();
    let wasm = large(60_000);
    let accounts = [1, 2, 3].map(Address::repeat_byte);
    let root = fragmented(&mut chain, &wasm, &accounts);
    let program = chain
        .send_with(TxKind::Create, &code::init_code(&root), U256::ZERO, GAS)
        .created();
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
    assert!(outcome.success(), "{outcome:?}");
    let expected = keccak256(0_u64.to_be_bytes());
    assert_eq!(chain.send(program, &[]).output()[..], expected[..]);
    // Another process that finds the activated program in the state.
    chain.cache = std::sync::Arc::new(crate::common::programs());
    assert_eq!(chain.send(program, &[]).output()[..], expected[..]);
    // A fragment is no program.
    let call = chain.send_with(TxKind::Call(accounts[0]), &[], U256::ZERO, 500_000);
    assert!(!call.success());
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(accounts[0]), U256::from(ETHER), GAS);
    assert!(!outcome.success() && outcome.gas() < GAS && outcome.output().is_empty());
}

#[test]
fn wrong_roots_are_refused_and_keep_the_gas() {
    let mut chain = Chain::default();
    let wasm = large(2_000);
    let accounts = [1, 2, 3, 4, 5].map(Address::repeat_byte);
    let good = fragmented(&mut chain, &wasm, &accounts[..2]);
    let too_many = fragmented(&mut chain, &wasm, &accounts);
    let mut longer = good.clone();
    longer[7] ^= 1;
    let missing = [&good[..28], &[9; 20]].concat();
    for (what, root) in [
        ("five fragments", too_many),
        ("another length", longer),
        ("no such fragment", missing),
    ] {
        let program = Address::repeat_byte(0x66);
        chain.set_code(program, &root);
        let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
        assert!(
            matches!(outcome.result, ExecutionResult::Revert { .. }),
            "{what}: {outcome:?}"
        );
        assert!(outcome.gas() < 3_000_000, "{what}");
    }
}

#[test]
fn a_program_with_a_dictionary_is_deployed_but_not_activated() {
    let mut chain = Chain::default();
    let mut code = code::compress(&echo()).unwrap();
    code[3] = 1;
    let program = chain
        .send_with(TxKind::Create, &code::init_code(&code), U256::ZERO, GAS)
        .created();
    let stored = chain.db.load_account(program).unwrap().info.code.clone().unwrap();
    assert_eq!(stored.original_bytes(), code, "the prefix is one that the chain knows");
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
    let ExecutionResult::Halt { reason, .. } = &outcome.result else {
        panic!("{outcome:?}")
    };
    let message = format!("{reason:?}");
    assert!(
        message.contains("program activation failed: unsupported compression dictionary 1"),
        "{message}"
    );
    // No chain has another one: as any stream that cannot be read.
    code[3] = 2;
    let other = chain
        .send_with(TxKind::Create, &code::init_code(&code), U256::ZERO, GAS)
        .created();
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(other), U256::from(ETHER), GAS);
    assert!(matches!(outcome.result, ExecutionResult::Revert { .. }), "{outcome:?}");
    assert!(outcome.output().is_empty() && outcome.gas() < 2_000_000, "{outcome:?}");
    let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 100_000);
    assert_eq!((outcome.success(), outcome.gas()), (false, 100_000), "not activated");
}

#[test]
fn an_active_program_with_a_dictionary_has_no_result_rather_than_a_wrong_one() {
    // As a fork may find it: activated by a chain that has the dictionary.
    let mut chain = Chain::default();
    let program = Address::repeat_byte(0x66);
    let installed = chain.install(program, &echo());
    let mut code = installed.code.to_vec();
    code[3] = 1;
    chain.set_code(program, &code);
    chain.set_slot(
        STATE_ADDRESS,
        Space::Programs.slot(keccak256(&code)),
        installed.record.pack(),
    );
    let tx = chain.tx(TxKind::Call(program), &[], U256::ZERO, GAS);
    let error = chain.evm(()).transact(tx).unwrap_err().to_string();
    assert!(error.contains("dictionary 1"), "{error}");
}
