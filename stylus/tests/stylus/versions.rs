//! Every version of ArbOS that can be chosen, and what each change brings.

use alloy_primitives::{Address, TxKind, U256, hex};
use cordon_stylus::arbos::{STATE_ADDRESS, Space};
use cordon_stylus::precompile::{ARB_OWNER, ARB_SYS, ARB_WASM};
use cordon_stylus::{code, genesis};

use crate::common::{Chain, ETHER, GAS, activate, deploy, echo, entry, guest, word};
use crate::hooks::measure;
use crate::owner::owned;
use crate::precompiles::{ask, with_args};

const PROGRAM: Address = Address::with_last_byte(0x99);
const CODE: Address = Address::with_last_byte(0x42);
const NOBODY: Address = Address::with_last_byte(0x77);

/// A change: the first version that has it, what it is, and whether a new chain has it.
type Change = (u64, &'static str, fn(u64) -> bool);

const CHANGES: [Change; 13] = [
    (32, "minInitGas() answers", |arbos| answers(arbos, hex!("99d0b38d"))),
    (40, "the size of modules is a parameter", |arbos| {
        let size = with_args(hex!("455ec2eb"), &[U256::from(100_000)]);
        owned(arbos).send(ARB_OWNER, &size).success()
    }),
    (40, "having no code is not remembered", |arbos| {
        let size = "call $account_code_size (i32.const 0)";
        let again = format!("(drop ({size}))");
        measure(&mut Chain::new(arbos), NOBODY.as_slice(), &again, size).ink > 68_073
    }),
    (50, "the stack has 22,000 words", |arbos| {
        ask(&mut Chain::new(arbos), ARB_WASM, &hex!("8ccfaa70")) == [U256::from(22_000)]
    }),
    (59, "Stylus 3", |arbos| {
        ask(&mut Chain::new(arbos), ARB_WASM, &hex!("a996e0c2")) == [U256::from(3)]
    }),
    (59, "several results are refused", |arbos| {
        let wasm = guest(
            r#"(func $two (result i32 i32) (i32.const 0) (i32.const 0))
               (func (export "user_entrypoint") (param i32) (result i32) (call $two) (drop))"#,
        );
        !activates(arbos, &wasm)
    }),
    (59, "open pages are limited, whatever they cost", |arbos| {
        let mut chain = Chain::new(arbos);
        chain.params.page_limit = 10;
        chain.set_slot(STATE_ADDRESS, Space::Params.word(0), chain.params.pack());
        !runs(&mut chain, "(call $pay_for_memory_grow (i32.const 20)) i32.const 0")
    }),
    (59, "pages beyond 16 bits are out of gas", |arbos| {
        !runs(
            &mut Chain::new(arbos),
            "(call $pay_for_memory_grow (i32.const 65536)) i32.const 0",
        )
    }),
    (59, "activationGas() answers", |arbos| answers(arbos, hex!("2278c278"))),
    (60, "fragments can be deployed", |arbos| {
        let init = code::init_code(&hex!("eff001aa"));
        Chain::new(arbos)
            .send_with(TxKind::Create, &init, U256::ZERO, 500_000)
            .success()
    }),
    (60, "a program of the block is cheap to enter again", |arbos| {
        let mut chain = Chain::new(arbos);
        chain.install(PROGRAM, &echo());
        chain.send(PROGRAM, b"x").gas() > chain.send(PROGRAM, b"x").gas()
    }),
    (60, "modules of 256 KiB", |arbos| {
        let filler = format!(r#"(@custom "filler" "{}")"#, "a".repeat(140_000));
        let wasm = format!(
            r#"(module {filler} (memory (export "memory") 1 1)
                (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#
        );
        activates(arbos, &wat::parse_str(wasm).unwrap())
    }),
    (60, "activating a contract says ProgramNotWasm", |arbos| {
        let data = activate(genesis::CREATE2_FACTORY);
        let outcome = Chain::new(arbos).send_with(TxKind::Call(ARB_WASM), &data, U256::from(ETHER), GAS);
        outcome.output()[..] == hex!("27f38212")
    }),
];

fn answers(arbos: u64, selector: [u8; 4]) -> bool {
    let mut chain = Chain::new(arbos);
    chain
        .send_with(TxKind::Call(ARB_WASM), &selector, U256::ZERO, 100_000)
        .success()
}

fn runs(chain: &mut Chain, body: &str) -> bool {
    chain.install(PROGRAM, &entry(body));
    chain.send_with(TxKind::Call(PROGRAM), &[], U256::ZERO, GAS).success()
}

fn activates(arbos: u64, wasm: &[u8]) -> bool {
    let mut chain = Chain::new(arbos);
    let program = deploy(&mut chain, wasm);
    chain
        .send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS)
        .success()
}

#[test]
fn each_change_comes_with_its_version_and_stays() {
    for (since, what, has) in CHANGES {
        for arbos in 31..=60 {
            assert_eq!(has(arbos), arbos >= since, "{what}, ArbOS {arbos}");
        }
    }
}

#[test]
fn an_account_without_code_does_not_end_what_is_remembered_since_arbos_40() {
    let size = |at: u32| format!("call $account_code_size (i32.const {at})");
    let setup = format!("(drop ({})) (drop ({}))", size(0), size(20));
    let again = |arbos| {
        let mut chain = Chain::new(arbos);
        chain.set_code(CODE, &[0]);
        let accounts = [CODE.into_array(), NOBODY.into_array()].concat();
        measure(&mut chain, &accounts, &setup, &size(0)).ink
    };
    assert_eq!(again(60), 68_073);
    assert_eq!(again(40), 68_073);
    // Before, having no code was remembered in its place: the code is loaded again, from a warm account.
    assert_eq!(again(39), 68_073 + (700 + 100) * 10_000);
}

#[test]
fn a_program_is_deployed_activated_and_run_on_every_version() {
    for arbos in 32..=60 {
        let mut chain = Chain::new(arbos);
        assert_eq!(ask(&mut chain, ARB_SYS, &hex!("051038f2")), [U256::from(55 + arbos)]);
        let program = deploy(&mut chain, &echo());
        let activated = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
        assert!(activated.success(), "ArbOS {arbos}: {activated:?}");
        let output = chain.send(program, word(arbos).as_slice()).output();
        assert_eq!(output[..], word(arbos)[..], "ArbOS {arbos}");
        assert_eq!(chain.slot(program, 0), U256::from(arbos), "ArbOS {arbos}");
    }
}

#[test]
fn the_stack_of_each_version_is_as_deep_as_it_says() {
    // A frame of 9 words: two locals, three operands at most, four. n x 9 + 1 words let it recurse n times.
    let wasm = guest(
        r#"(func $down (param $n i32) (result i32)
               (if (result i32) (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1)))) (else (i32.const 0))))
           (func (export "user_entrypoint") (param $n i32) (result i32)
               (call $down (i32.mul (local.get $n) (i32.const 100))))"#,
    );
    let deepest = |arbos: u64| {
        let mut chain = Chain::new(arbos);
        chain.install(PROGRAM, &wasm);
        let fits = |chain: &mut Chain, hundreds: usize| chain.send(PROGRAM, &vec![0; hundreds]).success();
        (1..=400).take_while(|hundreds| fits(&mut chain, *hundreds)).count() * 100
    };
    let (old, new) = (deepest(49), deepest(50));
    // 262,144 words before, 22,000 since.
    assert!((2_000..=5_000).contains(&new) && old >= new * 10, "{old} {new}");
}
