//! Chains that activate programs when they are called, which only development nodes do, when told to.

use std::sync::Arc;

use alloy_primitives::{Address, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::{STATE_ADDRESS, Space};
use cordon_stylus::precompile::ARB_WASM;
use cordon_stylus::{CacheOptions, ProgramCache, code};
use revm::context::result::{ExecutionResult, HaltReason};

use crate::common::{Chain, call, echo, entry};
use crate::deploy::{fragmented, large};
use crate::frames::{CALL, DELEGATE, STATIC, caller, to};

const PROGRAM: Address = Address::with_last_byte(0x99);
const OTHER: Address = Address::with_last_byte(0x42);

fn chain() -> Chain {
    let mut chain = Chain::default();
    let options = CacheOptions {
        activate_on_call: true,
        ..CacheOptions::default()
    };
    chain.cache = Arc::new(ProgramCache::with_options(options).unwrap());
    chain
}

fn put(chain: &mut Chain, address: Address, wasm: &[u8]) {
    chain.set_code(address, &code::compress(wasm).unwrap());
}

fn record(chain: &mut Chain, code: &[u8]) -> U256 {
    let slot = Space::Programs.slot(keccak256(code));
    revm::Database::storage(&mut chain.db, STATE_ADDRESS, slot).unwrap()
}

#[test]
fn a_program_runs_at_its_first_call_and_costs_what_an_active_one_costs() {
    let mut asked = Chain::default();
    asked.install(PROGRAM, &echo());
    let expected = asked.send(PROGRAM, b"hello");
    let mut chain = chain();
    put(&mut chain, PROGRAM, &echo());
    let outcome = chain.send(PROGRAM, b"hello");
    assert_eq!((outcome.output(), outcome.gas()), (expected.output(), expected.gas()));
    let version = chain.send(ARB_WASM, &call(hex!("cc8f4e88"), &[PROGRAM.into_word()]));
    assert_eq!(U256::from_be_slice(&version.output()), U256::from(3), "it stays active");
}

#[test]
fn programs_that_programs_call_run_too() {
    for hook in [CALL, DELEGATE, STATIC] {
        let mut chain = chain();
        put(&mut chain, PROGRAM, &caller(hook));
        put(&mut chain, OTHER, &echo());
        let outcome = chain.send(PROGRAM, &to(OTHER, b"hello"));
        assert_eq!(outcome.output()[..], *b"\0\0\0\0hello", "{hook}: {outcome:?}");
    }
}

#[test]
fn programs_in_fragments_run_too() {
    let mut chain = chain();
    let root = fragmented(&mut chain, &large(60_000), &[1, 2, 3].map(Address::repeat_byte));
    chain.set_code(PROGRAM, &root);
    assert_eq!(
        chain.send(PROGRAM, &[]).output()[..],
        keccak256(0_u64.to_be_bytes())[..]
    );
}

#[test]
fn an_activation_ends_with_a_frame_that_fails() {
    let mut chain = chain();
    let wasm = entry("i32.const 1");
    put(&mut chain, PROGRAM, &wasm);
    assert!(!chain.send(PROGRAM, &[]).success());
    assert_eq!(record(&mut chain, &code::compress(&wasm).unwrap()), U256::ZERO);
}

#[test]
fn what_cannot_be_activated_says_why() {
    let mut chain = chain();
    let no_entry = wat::parse_str(r#"(module (memory (export "memory") 1 1))"#).unwrap();
    put(&mut chain, PROGRAM, &no_entry);
    chain.set_code(OTHER, &hex!("eff000010102"));
    for (program, why) in [(PROGRAM, "user_entrypoint"), (OTHER, "dictionary 1")] {
        let outcome = chain.send_with(TxKind::Call(program), &[], U256::ZERO, 100_000);
        let ExecutionResult::Halt {
            reason: HaltReason::PrecompileErrorWithContext(message),
            ..
        } = &outcome.result
        else {
            panic!("{outcome:?}")
        };
        assert!(
            message.contains("cannot be activated") && message.contains(why),
            "{message}"
        );
    }
}
