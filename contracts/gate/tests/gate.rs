//! What the gate decides by itself, and what it hands on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use alloy_primitives::{aliases::U24, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError};
use cordon_gate::{run, Outcome, Refusal};
use cordon_host::{
    abi::selector,
    layout::{self, Caller, Hooked, Ticket},
    mock::MockHost,
    quick::{Comparison, Quick},
    CallKind,
};

alloy_sol_types::sol!("../solidity/src/ICordonGuard.sol");

const VAULT: Address = Address::repeat_byte(1);
const LOGIC: Address = Address::repeat_byte(2);
const FEED: Address = Address::repeat_byte(3);
const DEPOSIT: u8 = 0;
const WITHDRAW: u8 = 1;
const TRADE: u8 = 2;
const INCREASE: u8 = 3;

/// Deposits are checked and recorded, withdrawals checked, trades neither; increases have the one-word rule.
fn gate() -> MockHost {
    let mut host = MockHost::at(1);
    let quick = Quick::new(FEED, [1, 2, 3, 4], Comparison::AtMost, &B256::with_last_byte(100)).unwrap();
    let caller = Caller::new(3, Some(quick))
        .with(DEPOSIT, Hooked::Recorded)
        .with(WITHDRAW, Hooked::Checked)
        .with(INCREASE, Hooked::Quick)
        .with_quiet(true);
    host.storage.insert(layout::caller(&VAULT), caller.pack());
    host.storage.insert(layout::LOGIC, LOGIC.into_word());
    host.storage.insert(layout::HOOKS, LOGIC.into_word());
    host.contract(LOGIC, &[1], |_, _, _| Ok(b"answer".to_vec()));
    host.begin(VAULT);
    host
}

fn enter(scopes: u32, action: u8) -> Vec<u8> {
    let (asset, account) = (Address::repeat_byte(8), Address::repeat_byte(9));
    ICordonGuard::enterCall {
        scopes: U24::from(scopes),
        action,
        asset,
        amount: U256::from(7),
        account,
    }
    .abi_encode()
}

fn raise(host: &mut MockHost, scope: u8) {
    let (raised, level): (U256, U256) = (U256::from(1) << 104, U256::from(2) << 40);
    host.storage.insert(layout::LEDGER, raised.into());
    host.storage.insert(layout::scope(scope), level.into());
    let word = host.storage.get_mut(&layout::caller(&VAULT)).unwrap();
    *word = Caller::unpack(word).with_quiet(false).pack();
}

#[test]
fn the_selectors_are_those_of_the_abi() {
    assert_eq!(selector::ENTER, ICordonGuard::enterCall::SELECTOR);
    assert_eq!(selector::EXIT, ICordonGuard::exitCall::SELECTOR);
    assert_eq!(selector::IS_ALLOWED, ICordonGuard::isAllowedCall::SELECTOR);
    assert_eq!(selector::CONTAIN, ICordonGuard::containCall::SELECTOR);
    assert_eq!(selector::CONTAIN_MANY, ICordonGuard::containManyCall::SELECTOR);
    assert_eq!(selector::LEVEL_OF, ICordonGuard::levelOfCall::SELECTOR);
    assert_eq!(selector::LAST_HEARTBEAT, ICordonGuard::lastHeartbeatCall::SELECTOR);
    assert_eq!(selector::HEARTBEAT, ICordonGuard::heartbeatCall::SELECTOR);
    assert_eq!(selector::INITIALIZE, ICordonGuard::initializeCall::SELECTOR);
    assert_eq!(selector::NOT_REGISTERED, ICordonGuard::NotRegistered::SELECTOR);
    assert_eq!(selector::NOT_INITIALIZED, ICordonGuard::NotInitialized::SELECTOR);
    assert_eq!(selector::NOT_A_PROGRAM, ICordonGuard::NotAProgram::SELECTOR);
}

#[test]
fn a_quiet_day_costs_one_read_and_no_call() {
    let mut host = gate();
    assert_eq!(run(&mut host, &enter(0, TRADE)), Outcome::Word(B256::ZERO));
    assert_eq!(host.loads.get(), 1);
    assert!(host.calls.is_empty());
    let exit = ICordonGuard::exitCall { ticket: U256::ZERO }.abi_encode();
    assert_eq!(run(&mut host, &exit), Outcome::Done);
    assert_eq!(host.loads.get(), 1);
}

#[test]
fn the_one_word_rule_is_checked_without_the_logic_and_only_passed_by_the_gate() {
    for (answer, forwarded) in [
        (Ok(B256::with_last_byte(100).to_vec()), false),
        (Ok(B256::with_last_byte(101).to_vec()), true),
        (Ok(vec![0; 31]), true),
        (Ok(vec![0xff; 32]), true),
        (Err(Vec::new()), true),
    ] {
        let mut host = gate();
        host.contract(FEED, &[1], move |_, input, is_static| {
            assert!(is_static && input == [1, 2, 3, 4]);
            answer.clone()
        });
        let Outcome::Word(ticket) = run(&mut host, &enter(0, INCREASE)) else {
            panic!("a ticket");
        };
        let exit = ICordonGuard::exitCall { ticket: ticket.into() }.abi_encode();
        let outcome = run(&mut host, &exit);
        assert_eq!(outcome == Outcome::Forwarded { success: true }, forwarded);
        assert_eq!(outcome == Outcome::Done, !forwarded);
        assert_eq!(host.loads.get(), if forwarded { 3 } else { 2 });
        // Whoever has little gas goes to the logic, which has a floor.
        host.gas = 314_760;
        assert_eq!(run(&mut host, &exit), Outcome::Forwarded { success: true });
    }
}

#[test]
fn a_checked_action_gets_a_ticket_and_its_exit_goes_to_the_logic() {
    let mut host = gate();
    let Outcome::Word(word) = run(&mut host, &enter(0x00_02_01, WITHDRAW)) else {
        panic!("no ticket")
    };
    assert_eq!(
        Ticket::unpack(&word),
        Some(Ticket {
            counted: false,
            scopes: [0, 2, 1],
            action: WITHDRAW
        })
    );
    let exit = ICordonGuard::exitCall { ticket: word.into() }.abi_encode();
    assert_eq!(run(&mut host, &exit), Outcome::Forwarded { success: true });
    assert_eq!(
        (host.calls[0].kind, host.calls[0].target, &host.calls[0].input),
        (CallKind::Delegate, LOGIC, &exit)
    );
}

#[test]
fn the_logic_decides_when_anything_is_unusual() {
    for (raised, input) in [
        (None, enter(0, DEPOSIT)),               // a rule wants a value from before
        (Some(0), enter(0, TRADE)),              // the protocol is not Normal
        (Some(2), enter(0x02_00_01, TRADE)),     // nor is a named scope
        (None, enter(3, TRADE)),                 // no such scope
        (None, enter(0, 11)),                    // no such action
        (None, enter(0, TRADE)[..163].to_vec()), // too short
        (None, [enter(0, TRADE)[..4].to_vec(), vec![0xff; 160]].concat()), // not a uint24
    ] {
        let mut host = gate();
        if let Some(scope) = raised {
            raise(&mut host, scope);
        }
        assert_eq!(
            run(&mut host, &input),
            Outcome::Forwarded { success: true },
            "{input:x?}"
        );
        assert_eq!(host.calls[0].input, input);
    }
}

#[test]
fn a_level_elsewhere_does_not_slow_a_scope_down() {
    let mut host = gate();
    raise(&mut host, 2);
    assert_eq!(run(&mut host, &enter(1, TRADE)), Outcome::Word(B256::ZERO));
    let allowed = ICordonGuard::isAllowedCall {
        scopes: U24::from(1),
        action: TRADE,
    }
    .abi_encode();
    assert_eq!(run(&mut host, &allowed), Outcome::Word(B256::with_last_byte(1)));
}

/// What a counterparty asks is answered without the logic while it and the whole protocol are Normal, and never when it is not known.
#[test]
fn levels_and_heartbeats_are_told_by_the_gate_on_a_quiet_day() {
    let mut host = gate();
    let ask = |host: &mut MockHost, scope: u8| run(host, &ICordonGuard::levelOfCall { scope }.abi_encode());
    let beat = ICordonGuard::lastHeartbeatCall {}.abi_encode();
    let forwarded = Outcome::Forwarded { success: true };
    assert_eq!(ask(&mut host, 1), forwarded, "a guard that was not set up");
    assert_eq!(run(&mut host, &beat), forwarded);
    let ledger: U256 = U256::from(1) << 255 | U256::from(1_700_000_000u64);
    host.storage.insert(layout::LEDGER, ledger.into());
    assert_eq!(ask(&mut host, 1), Outcome::Word(B256::ZERO));
    assert_eq!(
        run(&mut host, &beat),
        Outcome::Word(U256::from(1_700_000_000u64).into())
    );
    assert_eq!(ask(&mut host, 128), forwarded, "no such scope");
    assert_eq!(run(&mut host, &[0x73, 0xe3, 0x5a, 0xf0]), forwarded, "no argument");
    raise(&mut host, 2);
    assert_eq!(
        ask(&mut host, 1),
        forwarded,
        "left to the logic while anything is raised"
    );
}

#[test]
fn strangers_and_value_are_refused() {
    let mut host = gate();
    host.begin(LOGIC);
    let Outcome::Refused(refusal) = run(&mut host, &enter(0, TRADE)) else {
        panic!("let in")
    };
    assert_eq!(
        refusal.as_slice(),
        ICordonGuard::NotRegistered { caller: LOGIC }.abi_encode()
    );
    host.begin(VAULT);
    host.value = true;
    assert_eq!(run(&mut host, &enter(0, TRADE)), Outcome::Refused(Refusal::Silent));
    host.value = false;
    assert_eq!(run(&mut host, &[1, 2, 3]), Outcome::Refused(Refusal::Silent));
}

#[test]
fn before_set_up_only_initialize_gets_through() {
    let mut host = MockHost::at(1);
    let Outcome::Refused(refusal) = run(&mut host, &ICordonGuard::sealCall {}.abi_encode()) else {
        panic!("let in")
    };
    assert_eq!(refusal.as_slice(), ICordonGuard::NotInitialized {}.abi_encode());
    let initialize = ICordonGuard::initializeCall {
        programs: [LOGIC, VAULT, VAULT, VAULT, VAULT, VAULT],
        governor: VAULT,
        governorDelay: 1,
    }
    .abi_encode();
    // An account without code succeeds and does nothing.
    let Outcome::Refused(refusal) = run(&mut host, &initialize) else {
        panic!("let in")
    };
    assert_eq!(
        refusal.as_slice(),
        ICordonGuard::NotAProgram { account: LOGIC }.abi_encode()
    );
    host.contract(LOGIC, &[1], |storage, _, _| {
        storage.insert(layout::LOGIC, LOGIC.into_word());
        Ok(Vec::new())
    });
    assert_eq!(run(&mut host, &initialize), Outcome::Forwarded { success: true });
}

#[test]
fn the_logics_refusals_are_passed_on() {
    let mut host = gate();
    host.contract(LOGIC, &[1], |_, _, _| Err(b"no".to_vec()));
    assert_eq!(
        run(&mut host, &ICordonGuard::sealCall {}.abi_encode()),
        Outcome::Forwarded { success: false }
    );
}
