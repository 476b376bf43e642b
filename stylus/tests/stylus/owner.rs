//! What the chain's owner can do, and who becomes it.

use std::sync::Arc;

use alloy_primitives::{Address, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::STATE_ADDRESS;
use cordon_stylus::precompile::{ARB_DEBUG, ARB_OWNER, ARB_OWNER_PUBLIC, ARB_SYS, ARB_WASM, ARB_WASM_CACHE};
use cordon_stylus::{BlockContext, CacheOptions, ProgramCache, genesis};

use crate::common::{Chain, ETHER, GAS, SENDER, activate, deploy, echo, intrinsic};
use crate::precompiles::{account, ask, with_args, words};

/// What sets, with what, and what then answers which numbers.
type Change<'a> = ([u8; 4], &'a [u64], [u8; 4], &'a [u64]);

/// A chain whose owner is the sender of its transactions.
pub(crate) fn owned(arbos: u64) -> Chain {
    let mut chain = Chain::new(arbos);
    let options = CacheOptions {
        debug_chain: true,
        ..CacheOptions::default()
    };
    chain.cache = Arc::new(ProgramCache::with_options(options).unwrap());
    assert!(chain.send(ARB_DEBUG, &hex!("0e5bbc11")).success(), "becomeChainOwner");
    chain
}

#[test]
fn nobody_owns_a_chain_that_is_not_for_debugging() {
    let mut chain = Chain::default();
    assert!(!chain.send(ARB_DEBUG, &hex!("0e5bbc11")).success());
    assert_eq!(
        ask(
            &mut chain,
            ARB_OWNER_PUBLIC,
            &with_args(hex!("26ef7f68"), &[account(SENDER)])
        ),
        [U256::ZERO]
    );
    let data = with_args(hex!("8c1d4fda"), &[U256::from(20_000)]);
    let outcome = chain.send_with(TxKind::Call(ARB_OWNER), &data, U256::ZERO, 100_000);
    assert!(!outcome.success());
    assert_eq!(outcome.gas(), 100_000, "whoever is not an owner loses all gas");
    assert_eq!(ask(&mut chain, ARB_WASM, &hex!("d1c17abc")), [U256::from(10_000)]);
}

#[test]
fn owners_change_every_parameter_for_free() {
    let mut chain = owned(60);
    let changes: [Change; 12] = [
        (hex!("8c1d4fda"), &[20_000], hex!("d1c17abc"), &[20_000]),
        (hex!("4567cc8e"), &[30_000], hex!("8ccfaa70"), &[30_000]),
        (hex!("3f37a846"), &[3], hex!("4490c19d"), &[3]),
        (hex!("aaa619e0"), &[999], hex!("7af4ba49"), &[999]),
        (hex!("6595381a"), &[64], hex!("9786f96e"), &[64]),
        // In units of 128 and 32 gas, rounded up.
        (hex!("8293405e"), &[129, 33], hex!("99d0b38d"), &[256, 64]),
        (hex!("67e0718f"), &[151], hex!("5fc94c0b"), &[152]),
        (hex!("aac68018"), &[10], hex!("309f6555"), &[10]),
        (hex!("2a9cbe3e"), &[5], hex!("0a936455"), &[5]),
        (hex!("380f1457"), &[7], hex!("7af6e819"), &[7]),
        (hex!("a0a32497"), &[12_345], hex!("2278c278"), &[12_345]),
        (hex!("f1fe1a70"), &[2], hex!("e5a7f893"), &[2]),
    ];
    for (setter, given, getter, answered) in changes {
        let numbers = |numbers: &[u64]| numbers.iter().copied().map(U256::from).collect::<Vec<_>>();
        let data = with_args(setter, &numbers(given));
        let outcome = chain.send(ARB_OWNER, &data);
        assert!(outcome.success(), "{setter:02x?}");
        assert_eq!(outcome.gas(), intrinsic(&data), "{setter:02x?} is free");
        let [log] = outcome.result.logs() else {
            panic!("one log")
        };
        assert_eq!(log.topics()[0], keccak256("OwnerActs(bytes4,address,bytes)"));
        assert_eq!(
            (&log.topics()[1][..4], log.topics()[2]),
            (&setter[..], SENDER.into_word())
        );
        let answers = if getter == hex!("e5a7f893") {
            ARB_OWNER_PUBLIC
        } else {
            ARB_WASM
        };
        assert_eq!(ask(&mut chain, answers, &getter), numbers(answered), "{getter:02x?}");
    }
    for wrong in [0_u64, 1 << 24] {
        let data = with_args(hex!("8c1d4fda"), &[U256::from(wrong)]);
        assert!(!chain.send(ARB_OWNER, &data).success(), "an ink price of {wrong}");
    }
}

#[test]
fn owners_and_cache_managers_come_and_go() {
    let mut chain = owned(60);
    let [first, second, third] = [1, 2, 3].map(Address::with_last_byte);
    let list = |chain: &mut Chain, precompile, selector: [u8; 4]| ask(chain, precompile, &selector)[2..].to_vec();
    for manager in [first, second, third, second] {
        assert!(
            chain
                .send(ARB_OWNER, &with_args(hex!("ffdca515"), &[account(manager)]))
                .success()
        );
    }
    assert_eq!(
        list(&mut chain, ARB_WASM_CACHE, hex!("0ec1d773")),
        [first, second, third].map(account),
        "nobody is there twice"
    );
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("bf197322"), &[account(first)]))
            .success()
    );
    assert_eq!(
        list(&mut chain, ARB_WASM_CACHE, hex!("0ec1d773")),
        [third, second].map(account),
        "the last one fills the gap"
    );
    let is_manager = |chain: &mut Chain, who| ask(chain, ARB_WASM_CACHE, &with_args(hex!("85e2de85"), &[account(who)]));
    assert_eq!(is_manager(&mut chain, first), [U256::ZERO]);
    assert_eq!(is_manager(&mut chain, third), [U256::ONE]);
    assert!(
        !chain
            .send(ARB_OWNER, &with_args(hex!("bf197322"), &[account(first)]))
            .success()
    );
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("481f8dbf"), &[account(second)]))
            .success()
    );
    assert_eq!(
        list(&mut chain, ARB_OWNER_PUBLIC, hex!("516b4e0f")),
        [SENDER, second].map(account)
    );
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("8792701a"), &[account(SENDER)]))
            .success()
    );
    assert!(
        !chain
            .send(ARB_OWNER, &with_args(hex!("481f8dbf"), &[account(third)]))
            .success(),
        "who is no owner any more cannot act"
    );
}

#[test]
fn data_fees_go_to_the_account_that_the_owner_names() {
    let mut chain = owned(60);
    let collector = Address::with_last_byte(0xfe);
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("fcdde2b4"), &[account(collector)]))
            .success()
    );
    let program = deploy(&mut chain, &echo());
    let data = activate(program);
    let outcome = chain.send_with(TxKind::Call(ARB_WASM), &data, U256::from(ETHER), GAS);
    assert!(outcome.success());
    assert_eq!(chain.balance(collector), words(&outcome.output())[1], "the whole fee");
}

const fn schedule(version: u64, time: u64) -> [U256; 2] {
    [U256::from_limbs([version, 0, 0, 0]), U256::from_limbs([time, 0, 0, 0])]
}

/// ArbOS version and Stylus version, and what is scheduled.
fn state_of(chain: &mut Chain) -> (U256, U256, Vec<U256>) {
    let [version] = ask(chain, ARB_SYS, &hex!("051038f2"))[..] else {
        panic!("one word")
    };
    let [stylus] = ask(chain, ARB_WASM, &hex!("a996e0c2"))[..] else {
        panic!("one word")
    };
    (
        version - U256::from(55),
        stylus,
        ask(chain, ARB_OWNER_PUBLIC, &hex!("81ef944c")),
    )
}

fn state(version: u64, stylus: u64, scheduled: [u64; 2]) -> (U256, U256, Vec<U256>) {
    (
        U256::from(version),
        U256::from(stylus),
        scheduled.map(U256::from).to_vec(),
    )
}

#[test]
fn an_upgrade_is_made_when_the_next_block_begins() {
    let mut chain = owned(51);
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("e388b381"), &schedule(60, 0)))
            .success()
    );
    assert_eq!(state_of(&mut chain), state(51, 2, [60, 0]), "this block has begun");
    chain.block = BlockContext::new(2);
    assert_eq!(state_of(&mut chain), state(60, 3, [0, 0]));
    assert_eq!(ask(&mut chain, ARB_OWNER_PUBLIC, &hex!("e5a7f893")), [U256::from(4)]);
    let unknown = with_args(hex!("e388b381"), &schedule(61, 0));
    assert!(!chain.send(ARB_OWNER, &unknown).success(), "an unknown version");
}

#[test]
fn a_scheduled_upgrade_waits_for_its_time() {
    let mut chain = owned(51);
    let program = Address::with_last_byte(0x99);
    chain.install(program, &echo());
    let later = chain.now + 1000;
    assert!(
        chain
            .send(ARB_OWNER, &with_args(hex!("e388b381"), &schedule(60, later)))
            .success()
    );
    for (height, now) in [(2, later - 500), (3, later - 1)] {
        (chain.block, chain.now) = (BlockContext::new(height), now);
        assert_eq!(state_of(&mut chain), state(51, 2, [60, later]));
        assert!(chain.send(program, b"x").success());
    }
    // Whatever the first transaction of the block is, and also if it fails, the block has the new rules.
    (chain.block, chain.now) = (BlockContext::new(4), later);
    chain.set_code(Address::with_last_byte(0x43), &hex!("fe"));
    assert!(
        !chain
            .send_with(TxKind::Call(Address::with_last_byte(0x43)), &[], U256::ZERO, 100_000)
            .success()
    );
    assert_eq!(
        chain.db.load_account(STATE_ADDRESS).unwrap().storage[&genesis::version_slot()],
        U256::from(60)
    );
    assert_eq!(state_of(&mut chain), state(60, 3, [0, 0]));
    // A program of Stylus 2 has to be activated again, and then runs.
    let outcome = chain.send_with(TxKind::Call(program), b"x", U256::ZERO, 500_000);
    assert_eq!((outcome.success(), outcome.gas()), (false, 500_000));
    let version = with_args(hex!("cc8f4e88"), &[account(program)]);
    assert_eq!(
        chain.send(ARB_WASM, &version).output()[..4],
        hex!("637d968f"),
        "ProgramNeedsUpgrade"
    );
    let again = chain.send_with(TxKind::Call(ARB_WASM), &activate(program), U256::from(ETHER), GAS);
    assert!(again.success(), "{again:?}");
    assert_eq!(chain.send(program, b"x").output()[..], *b"x");
}

#[test]
fn looking_for_an_upgrade_warms_nothing() {
    // GAS; BALANCE(ArbOS state); POP; GAS; the difference
    let mut code = hex!("5a73").to_vec();
    code.extend_from_slice(STATE_ADDRESS.as_slice());
    code.extend_from_slice(&hex!("31505a900360005260206000f3"));
    let mut chain = Chain::default();
    let reader = Address::with_last_byte(0x43);
    chain.set_code(reader, &code);
    assert_eq!(
        words(&chain.send(reader, &[]).output()),
        [U256::from(2_600 + 3 + 2 + 2)]
    );
}
