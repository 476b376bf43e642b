//! ArbDebug, which only debug chains have.

use std::sync::Arc;

use alloy_primitives::{Address, TxKind, U256, hex, keccak256};
use cordon_stylus::ProgramCache;
use cordon_stylus::precompile::ARB_DEBUG;

use crate::common::{Chain, SENDER};
use crate::precompiles::{account, with_args, words};

const EVM: Address = Address::with_last_byte(0x43);

fn chain(debug: bool) -> Chain {
    let mut chain = Chain::default();
    if debug {
        chain.cache = Arc::new(ProgramCache::for_debug_chain());
    }
    chain
}

#[test]
fn its_error_carries_the_number() {
    let data = with_args(hex!("7ea89f8b"), &[U256::from(7)]);
    let outcome = chain(true).send_with(TxKind::Call(ARB_DEBUG), &data, U256::ZERO, 100_000);
    assert!(!outcome.success());
    let output = outcome.output();
    assert_eq!(output[..4], keccak256("Custom(uint64,string,bool)")[..4]);
    assert_eq!(words(&output.slice(4..100)), [U256::from(7), U256::from(96), U256::ONE]);
    assert_eq!(U256::from_be_slice(&output[100..132]), U256::from(59));
    assert!(String::from_utf8_lossy(&output[132..]).starts_with("This spider family wards off bugs: "));
    assert!(outcome.gas() < 100_000, "a revert keeps the rest of the gas");

    let outcome = chain(false).send_with(TxKind::Call(ARB_DEBUG), &data, U256::ZERO, 100_000);
    assert_eq!((outcome.success(), outcome.gas()), (false, 100_000), "no debug chain");
}

#[test]
fn its_events_show_indexed_and_plain_values() {
    let value = U256::from(0x1234);
    let data = with_args(hex!("7b9963ef"), &[U256::ONE, value]);
    let outcome = chain(true).send_with(TxKind::Call(ARB_DEBUG), &data, U256::from(5), 100_000);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(words(&outcome.output()), [account(SENDER), U256::from(5)]);
    let logs = outcome.result.logs();
    assert_eq!(logs.len(), 2);
    assert!(logs.iter().all(|log| log.address == ARB_DEBUG));
    assert_eq!(logs[0].topics(), [keccak256("Basic(bool,bytes32)"), value.into()]);
    assert_eq!(words(&logs[0].data.data), [U256::ZERO]);
    assert_eq!(
        logs[1].topics(),
        [
            keccak256("Mixed(bool,bool,bytes32,address,address)"),
            U256::ONE.into(),
            value.into(),
            SENDER.into_word(),
        ]
    );
    assert_eq!(words(&logs[1].data.data), [U256::ZERO, account(ARB_DEBUG)]);
}

#[test]
fn code_is_overwritten_on_debug_chains_only() {
    let data = [
        &hex!("1be250d6")[..],
        EVM.into_word().as_slice(),
        &U256::from(64).to_be_bytes::<32>(),
        &U256::from(2).to_be_bytes::<32>(),
        &hex!("60ff"),
        &[0; 30],
    ]
    .concat();
    for debug in [false, true] {
        let mut chain = chain(debug);
        chain.set_code(EVM, &hex!("fe00"));
        let outcome = chain.send_with(TxKind::Call(ARB_DEBUG), &data, U256::ZERO, 100_000);
        assert_eq!(outcome.success(), debug, "{outcome:?}");
        let now = chain
            .db
            .load_account(EVM)
            .unwrap()
            .info
            .code
            .clone()
            .unwrap()
            .original_bytes();
        if debug {
            assert_eq!(outcome.output()[64..66], hex!("fe00"), "what it had");
            assert_eq!(now[..], hex!("60ff"));
        } else {
            assert_eq!(now[..], hex!("fe00"));
        }
    }
}
