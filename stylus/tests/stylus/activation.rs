//! Deploying and activating programs the way users do, and what happens to programs that are not active.

use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::STATE_ADDRESS;
use cordon_stylus::precompile::{ARB_WASM, ARB_WASM_CACHE};
use cordon_stylus::{activation, arbos::Space, code, genesis, module, pricing};
use revm::context::result::{ExecutionResult, HaltReason};

use crate::common::{self, Chain, ETHER, GAS, Outcome, SENDER, activate, call, deploy, echo, number};

const ACTIVATED: B256 = B256::new(hex!("c0e812780707128d9a180db8ee4d1c1f1300b6dd0626d577b5d9ac759b76253c"));

fn halted_with_all_gas(outcome: &Outcome, gas: u64) -> bool {
    matches!(outcome.result, ExecutionResult::Halt { .. }) && outcome.gas() == gas
}

#[test]
fn a_program_is_deployed_activated_and_called() {
    let mut chain = Chain::default();
    let wasm = echo();
    let program = deploy(&mut chain, &wasm);
    assert!(halted_with_all_gas(
        &chain.send_with(TxKind::Call(program), b"x", U256::ZERO, 900_000),
        900_000
    ));

    let before = chain.balance(SENDER);
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
    assert!(outcome.success(), "{outcome:?}");
    let (version, fee) = (number(&outcome.output(), 0), number(&outcome.output(), 1));
    assert_eq!(version, U256::from(3));
    assert!(
        fee > U256::from(40_000_000_000_000_u64) && fee < U256::from(60_000_000_000_000_u64),
        "{fee}"
    );
    let paid = before - chain.balance(SENDER) - U256::from(outcome.gas()) * U256::from(100_000_000);
    assert_eq!(paid, fee, "the rest of the value comes back");
    assert_eq!(
        chain.balance(Address::ZERO),
        fee,
        "the network fee account of a new chain is zero"
    );
    assert_eq!(chain.balance(ARB_WASM), U256::ZERO);

    let log = &outcome.result.logs()[0];
    let code_hash = keccak256(code::compress(&wasm).unwrap());
    assert_eq!((log.address, log.topics()), (ARB_WASM, &[ACTIVATED, code_hash][..]));
    assert_eq!(number(&log.data.data, 1), U256::from_be_slice(program.as_slice()));
    assert_eq!((number(&log.data.data, 2), number(&log.data.data, 3)), (fee, version));

    let outcome = chain.send(program, b"hello");
    assert_eq!(outcome.output().as_ref(), b"hello");
}

#[test]
fn activation_burns_the_published_parts() {
    let mut chain = Chain::default();
    let wasm = echo();
    let program = deploy(&mut chain, &wasm);
    let data = activate(program);
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &data, U256::from(ETHER), GAS);
    let prepared = module::prepare(&wasm, &pricing::Params::default(), 0).unwrap();
    let sized = activation::gas(&pricing::Params::default(), &prepared.info);
    // One word in, two out, opening the state, parameters, record, two new words of it, the data pricer, the fee account, the event.
    let rest = 3 + 6 + 800 + 100 + 800 + 40_000 + (5 * 800 + 40_000) + 800 + (3 * 375 + 8 * 128);
    assert_eq!(outcome.gas() - common::intrinsic(&data), 1_659_168 + sized + rest);
}

#[test]
fn activation_reports_what_is_wrong() {
    let mut chain = Chain::default();
    let wasm = echo();
    let program = deploy(&mut chain, &wasm);
    let send = |chain: &mut Chain, to: Address, value: u64| {
        chain.send_with(TxKind::Call(ARB_WASM), &activate(to), U256::from(value), GAS)
    };

    let outcome = send(&mut chain, program, 1);
    assert_eq!(outcome.output()[..4], hex!("09781ab7"), "ProgramInsufficientValue");
    assert_eq!(number(&outcome.output().slice(4..), 0), U256::ONE);
    assert!(outcome.gas() < GAS);

    assert!(send(&mut chain, program, ETHER).success());
    assert_eq!(
        send(&mut chain, program, ETHER).output()[..],
        hex!("cc944bf2"),
        "ProgramUpToDate"
    );

    assert_eq!(
        send(&mut chain, SENDER, ETHER).output()[..],
        hex!("27f38212"),
        "ProgramNotWasm for no code"
    );
    assert_eq!(
        send(&mut chain, genesis::CREATE2_FACTORY, ETHER).output()[..],
        hex!("27f38212"),
        "and for EVM code"
    );

    let broken = Address::with_last_byte(0x77);
    chain.set_code(broken, &hex!("eff000000102"));
    let outcome = send(&mut chain, broken, ETHER);
    assert!(matches!(outcome.result, ExecutionResult::Revert { .. }) && outcome.output().is_empty());
    assert!(
        outcome.gas() < GAS,
        "a stream that cannot be decompressed keeps the gas"
    );
}

#[test]
fn an_invalid_program_takes_all_gas_and_says_why() {
    let mut chain = Chain::default();
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#,
    );
    let program = deploy(&mut chain, &wasm.unwrap());
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
    let ExecutionResult::Halt {
        reason: HaltReason::PrecompileErrorWithContext(message),
        ..
    } = &outcome.result
    else {
        panic!("{outcome:?}");
    };
    assert!(message.starts_with("program activation failed: "), "{message}");
    assert!(message.contains("pay_for_memory_grow"), "{message}");
    assert_eq!(outcome.gas(), GAS);
}

#[test]
fn expired_and_outdated_programs_burn_all_gas() {
    let mut chain = Chain::default();
    let program = Address::with_last_byte(0x99);
    let installed = chain.install(program, &echo());
    assert!(chain.send(program, b"x").success());
    chain.now += 366 * 86_400;
    assert!(halted_with_all_gas(
        &chain.send_with(TxKind::Call(program), b"x", U256::ZERO, 800_000),
        800_000
    ));
    let view = call(hex!("d70c0ca7"), &[installed.code_hash]);
    assert_eq!(
        chain.send(ARB_WASM, &view).output()[..4],
        hex!("c9b12e52"),
        "ProgramExpired"
    );

    chain.now = common::NOW;
    let old = activation::ProgramRecord {
        version: 2,
        ..installed.record
    };
    chain.set_slot(STATE_ADDRESS, Space::Programs.slot(installed.code_hash), old.pack());
    assert!(halted_with_all_gas(
        &chain.send_with(TxKind::Call(program), b"x", U256::ZERO, 800_000),
        800_000
    ));
    let outcome = chain.send(ARB_WASM, &view);
    assert_eq!(outcome.output()[..4], hex!("637d968f"), "ProgramNeedsUpgrade");

    let unknown = call(hex!("d70c0ca7"), &[B256::repeat_byte(1)]);
    assert_eq!(
        chain.send(ARB_WASM, &unknown).output()[..],
        hex!("6f809c4e"),
        "ProgramNotActivated"
    );
}

#[test]
fn keepalive_extends_a_life_that_is_old_enough() {
    let mut chain = Chain::default();
    let program = Address::with_last_byte(0x99);
    let installed = chain.install(program, &echo());
    let data = call(hex!("c689bad5"), &[installed.code_hash]);
    let send = |chain: &mut Chain, value| chain.send_with(TxKind::Call(ARB_WASM), &data, U256::from(value), GAS);
    assert_eq!(
        send(&mut chain, ETHER).output()[..4],
        hex!("16bd0cf8"),
        "ProgramKeepaliveTooSoon"
    );
    chain.now += 200 * 86_400;
    assert_eq!(
        send(&mut chain, 0).output()[..4],
        hex!("09781ab7"),
        "the fee is due again"
    );
    assert!(send(&mut chain, ETHER).success());
    chain.now += 300 * 86_400;
    assert!(chain.send(program, b"x").success());
}

#[test]
fn views_answer_parameters_and_records() {
    let mut chain = Chain::default();
    let program = Address::with_last_byte(0x99);
    let installed = chain.install(program, &echo());
    let mut ask = |data: &[u8]| {
        let outcome = chain.send(ARB_WASM, data);
        assert!(outcome.success(), "{outcome:?}");
        outcome
            .output()
            .chunks(32)
            .map(|word| U256::from_be_slice(word).to::<u64>())
            .collect::<Vec<_>>()
    };
    let parameters: [([u8; 4], &[u64]); 13] = [
        (hex!("a996e0c2"), &[3]),
        (hex!("d1c17abc"), &[10_000]),
        (hex!("8ccfaa70"), &[22_000]),
        (hex!("4490c19d"), &[2]),
        (hex!("7af4ba49"), &[1_000]),
        (hex!("11c82ae8"), &[620_674_314]),
        (hex!("9786f96e"), &[128]),
        (hex!("99d0b38d"), &[8_832, 352]),
        (hex!("5fc94c0b"), &[100]),
        (hex!("309f6555"), &[365]),
        (hex!("0a936455"), &[31]),
        (hex!("7af6e819"), &[32]),
        (hex!("2278c278"), &[0]),
    ];
    for (selector, expected) in parameters {
        assert_eq!(ask(&selector), expected, "{}", hex::encode(selector));
    }
    let record = installed.record;
    let (init, cached) = (8_832 + u64::from(record.init_cost), 352 + u64::from(record.cached_cost));
    assert_eq!(
        ask(&call(hex!("62b688aa"), &[program.into_word()])),
        [init + cached, cached]
    );
    assert_eq!(ask(&call(hex!("cc8f4e88"), &[program.into_word()])), [3]);
    assert_eq!(ask(&call(hex!("aef36be3"), &[program.into_word()])), [1]);
    assert_eq!(
        ask(&call(hex!("c775a62a"), &[program.into_word()])),
        [365 * 86_400 - record.age(common::NOW)]
    );
    assert_eq!(
        ask(&call(hex!("4089267f"), &[installed.code_hash])),
        [u64::from(record.asm_size())]
    );
}

#[test]
fn wrong_calls_of_precompiles_are_rejected_with_all_gas() {
    let mut chain = Chain::default();
    for (data, value) in [
        (&hex!("a996e0")[..], 0),
        (&hex!("ffffffff")[..], 0),
        (&hex!("a996e0c2")[..], 1),
    ] {
        let outcome = chain.send_with(TxKind::Call(ARB_WASM), data, U256::from(value), 100_000);
        assert!(matches!(outcome.result, ExecutionResult::Revert { .. }), "{outcome:?}");
        assert_eq!((outcome.gas(), outcome.output().len()), (100_000, 0));
    }
}

#[test]
fn cache_managers_make_programs_cheap() {
    let mut chain = Chain::default();
    let program = Address::with_last_byte(0x99);
    let installed = chain.install(program, &echo());
    let data = call(hex!("e73ac9f2"), &[program.into_word()]);
    let refused = chain.send_with(TxKind::Call(ARB_WASM_CACHE), &data, U256::ZERO, 100_000);
    assert_eq!((refused.success(), refused.gas()), (false, 100_000));

    chain.set_slot(STATE_ADDRESS, Space::CacheManagers.word(0), U256::ONE);
    chain.set_slot(
        STATE_ADDRESS,
        Space::CacheManagers.word(1),
        U256::from_be_slice(SENDER.as_slice()),
    );
    chain.set_slot(STATE_ADDRESS, Space::CacheManagers.member(SENDER), U256::ONE);
    let managers = chain.send(ARB_WASM_CACHE, &hex!("0ec1d773")).output();
    assert_eq!(
        (number(&managers, 1), number(&managers, 2)),
        (U256::ONE, U256::from_be_slice(SENDER.as_slice()))
    );
    let outcome = chain.send(ARB_WASM_CACHE, &data);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(outcome.result.logs()[0].topics()[2], installed.code_hash);
    let cached = call(hex!("a72f179b"), &[installed.code_hash]);
    assert_eq!(number(&chain.send(ARB_WASM_CACHE, &cached).output(), 0), U256::ONE);

    let mut fresh = Chain::default();
    fresh.install(program, &echo());
    let uncached = fresh.send(program, b"x").gas();
    assert_eq!(
        uncached - chain.send(program, b"x").gas(),
        8_832 + u64::from(installed.record.init_cost)
    );

    let evict = call(hex!("ce972013"), &[installed.code_hash]);
    assert!(chain.send(ARB_WASM_CACHE, &evict).success());
    assert_eq!(number(&chain.send(ARB_WASM_CACHE, &cached).output(), 0), U256::ZERO);
}

#[test]
fn only_stylus_code_may_start_with_0xef() {
    let mut chain = Chain::default();
    for (code, allowed) in [
        (&hex!("ef00")[..], false),
        (&hex!("eff00000aa")[..], true),
        (&hex!("eff001aa")[..], true),
        (&hex!("eff003aa")[..], false),
    ] {
        let outcome = chain.send_with(TxKind::Create, &code::init_code(code), U256::ZERO, 500_000);
        assert_eq!(outcome.success(), allowed, "{}: {outcome:?}", hex::encode(code));
        if !allowed {
            assert_eq!(outcome.gas(), 500_000);
        }
    }
    let mut old = Chain::new(51);
    assert!(
        !old.send_with(TxKind::Create, &code::init_code(&hex!("eff001aa")), U256::ZERO, 500_000)
            .success()
    );
}

#[test]
fn an_activation_that_is_reverted_is_no_activation() {
    let mut chain = Chain::default();
    let program = deploy(&mut chain, &echo());
    // Activates through a CALL and reverts.
    let target = Address::with_last_byte(0x55);
    // PUSH4 selector; shift; mstore(0); mstore(4, calldataload(0)); call(gas, 0x71, callvalue, 0, 36, 0, 0); revert(0, 0)
    let mut code = hex!("6358c780c260e01b6000526000356004526000600060246000346071").to_vec();
    code.extend_from_slice(&hex!("5af160005260206000fd"));
    chain.set_code(target, &code);
    let outcome = chain.send_with(
        TxKind::Call(target),
        program.into_word().as_slice(),
        U256::from(ETHER),
        GAS,
    );
    assert_eq!(
        number(&outcome.output(), 0),
        U256::ONE,
        "the inner call succeeded: {outcome:?}"
    );
    assert!(!outcome.success());
    assert!(
        !chain
            .send_with(TxKind::Call(program), b"x", U256::ZERO, 900_000)
            .success()
    );
}
