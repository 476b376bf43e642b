//! Set-up, roles, announcements, rulebook and logic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, Address, B256, U256};
use alloy_sol_types::SolCall;
use common::{rules, Abi, World, ANYONE, BOOK, GOVERNOR, GUARDIAN, KEEPER, LOGIC, VAULT};
use cordon_core::rule::Verdict;
use cordon_host::mock::MockHost;
use cordon_logic::Guard;

const NEW: Address = Address::repeat_byte(0x77);

#[test]
fn set_up_happens_once_and_wants_a_program_and_a_governor() {
    let mut world = World::new();
    world.as_refused::<Abi::AlreadyInitialized, _>(GOVERNOR, |guard| guard.initialize(LOGIC, GOVERNOR, 0));
    let fresh = || {
        let mut host = MockHost::at(common::START);
        host.data_account(LOGIC, &[0xef, 0xf0, 0, 0, 1]);
        host.data_account(BOOK, &[0x60, 0x00]);
        Guard::new(host)
    };
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(ANYONE, GOVERNOR, 0));
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(BOOK, GOVERNOR, 0));
    world.refused::<Abi::NotGovernor, _>(fresh().initialize(LOGIC, Address::ZERO, 0));
    world.refused::<Abi::DurationBeyondRole, _>(fresh().initialize(LOGIC, GOVERNOR, 31 * 24 * 3600));
    fresh().initialize(LOGIC, GOVERNOR, 0).unwrap();
}

#[test]
fn once_sealed_what_loosens_waits_for_its_announcement() {
    let mut world = World::new();
    let call = Abi::setRoleCall {
        role: Abi::Role::Guardian,
        account: NEW,
        granted: true,
    };
    let missing: Abi::NotAnnounced = world.as_refused(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    assert_eq!(missing.actionHash, keccak256(call.abi_encode()));
    world.as_(GOVERNOR).announce(missing.actionHash).unwrap();
    world.pass(3599);
    world.as_refused::<Abi::AnnouncementPending, _>(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    world.pass(1);
    world.as_(GOVERNOR).set_role(0, NEW, true).unwrap();
    world.done();
    assert!(world.guard.has_role(0, &NEW));
    // Revoking tightens: at once. Granting again needs a new announcement.
    world.as_(GOVERNOR).set_role(0, NEW, false).unwrap();
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    for outcome in [
        world.as_(GOVERNOR).propose_governor(NEW),
        world.as_(GOVERNOR).adopt_rulebook(BOOK),
        world.as_(GOVERNOR).set_logic(LOGIC),
    ] {
        world.refused::<Abi::NotAnnounced, _>(outcome);
    }
}

#[test]
fn an_announcement_can_be_taken_back_and_grows_stale() {
    let mut world = World::new();
    let hash = B256::repeat_byte(5);
    world.as_refused::<Abi::NotGovernor, _>(GUARDIAN, |guard| guard.announce(hash));
    world.as_(GOVERNOR).announce(hash).unwrap();
    world.as_refused::<Abi::NotGovernor, _>(KEEPER, |guard| guard.cancel_announcement(hash));
    world.as_(GUARDIAN).cancel_announcement(hash).unwrap();
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.cancel_announcement(hash));
    let call = Abi::setLogicCall { logic: LOGIC };
    world.as_(GOVERNOR).announce(keccak256(call.abi_encode())).unwrap();
    world.pass(3600 + 14 * 24 * 3600 + 1);
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_logic(LOGIC));
}

#[test]
fn a_governor_is_proposed_and_accepts() {
    let mut world = World::new();
    world.as_refused::<Abi::NotGovernor, _>(NEW, |guard| guard.accept_governor());
    world.announce(&Abi::proposeGovernorCall { governor: NEW });
    world.as_(GOVERNOR).propose_governor(NEW).unwrap();
    world.done();
    assert_eq!(world.guard.governor(), (GOVERNOR, NEW, 3600, true));
    world.as_refused::<Abi::NotGovernor, _>(ANYONE, |guard| guard.accept_governor());
    world.as_(NEW).accept_governor().unwrap();
    world.done();
    assert_eq!(world.guard.governor(), (NEW, Address::ZERO, 3600, true));
    world.as_refused::<Abi::NotGovernor, _>(GOVERNOR, |guard| guard.seal());
}

#[test]
fn a_logic_that_does_not_run_is_refused() {
    let mut world = World::new();
    world.announce(&Abi::setLogicCall { logic: NEW });
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, |guard| guard.set_logic(NEW));
    world
        .guard
        .host
        .contract(NEW, &[0xef, 0xf0, 0, 0, 2], |_, _, _| Err(Vec::new()));
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, |guard| guard.set_logic(NEW));
    world
        .guard
        .host
        .contract(NEW, &[0xef, 0xf0, 0, 0, 2], |_, _, _| Ok(vec![0; 32]));
    world.as_(GOVERNOR).set_logic(NEW).unwrap();
    world.done();
    assert_eq!(world.guard.logic(), NEW);
}

#[test]
fn a_rulebook_is_checked_and_its_callers_replace_the_old_ones() {
    let mut world = World::unsealed();
    let bad: Abi::BadRulebook = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(ANYONE));
    assert_eq!(bad.reason, 2);
    let mut code = common::book().encode().unwrap();
    code.truncate(code.len() - 1);
    world.guard.host.data_account(NEW, &code);
    world.as_refused::<Abi::BadRulebook, _>(GOVERNOR, |guard| guard.adopt_rulebook(NEW));
    let mut book = common::book();
    book.callers = vec![ANYONE];
    let code = book.encode().unwrap();
    world.guard.host.data_account(NEW, &code);
    world.as_(GOVERNOR).adopt_rulebook(NEW).unwrap();
    assert_eq!(world.events::<Abi::RulebookAdopted>()[0].codeHash, keccak256(&code));
    world.as_refused::<Abi::NotRegistered, _>(VAULT, |guard| guard.enter([0, 0, 0], 0, B256::ZERO));
    world.as_(ANYONE).enter([0, 0, 0], 0, B256::ZERO).unwrap();
    assert_eq!(world.guard.rulebook(), (NEW, keccak256(&code)));
}

#[test]
fn nobody_but_the_governor_administers() {
    let mut world = World::unsealed();
    for caller in [GUARDIAN, KEEPER, ANYONE, Address::ZERO] {
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.seal());
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_role(0, NEW, true));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.propose_governor(NEW));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.accept_governor());
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.adopt_rulebook(BOOK));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_logic(LOGIC));
    }
    assert!(world
        .as_(GOVERNOR)
        .set_role(9, NEW, true)
        .unwrap_err()
        .data()
        .is_empty());
}

#[test]
fn views_tell_verdicts_and_levels() {
    let mut world = World::new();
    let account = ANYONE.into_word();
    for (rule, witness, verdict) in [
        (rules::PRICE, &[][..], Verdict::Holds),
        (rules::ACCOUNT, &[account][..], Verdict::Holds),
        (rules::STEADY, &[][..], Verdict::Unknown),
    ] {
        assert_eq!(world.as_(ANYONE).evaluate(rule, witness).unwrap().verdict, verdict);
    }
    world.as_refused::<Abi::WrongWitness, _>(ANYONE, |guard| guard.evaluate(rules::ACCOUNT, &[]));
    world.guard.host.gas = 1000;
    let starved = world.as_(ANYONE).evaluate(rules::PRICE, &[]).unwrap();
    assert_eq!((starved.verdict, starved.reason), (Verdict::Unknown, 6));
    world.guard.host.gas = 30_000_000;
    world.as_(GUARDIAN).contain(2, 3, 60, B256::ZERO).unwrap();
    world.done();
    assert_eq!(world.guard.levels(), (U256::from(3) << 6, U256::ZERO));
}
